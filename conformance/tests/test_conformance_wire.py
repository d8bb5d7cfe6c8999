"""The wire, without one: a gateway of a few lines between two queues, and what the judge makes of what it does."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from glassgate.conformance import model, profile, runner
from glassgate.conformance.lab import foreign
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.matching import ActualPacket, judge
from glassgate.conformance.model import ExpectedPacket, Outcome, Step, TickInput, Vector, VectorPort
from glassgate.conformance.packets import ACK, RST, IPv4, tcp
from glassgate.conformance.profile import Profile, ProfileError
from glassgate.conformance.runner import Status
from glassgate.conformance.subjects import wire
from glassgate.conformance.subjects.live import find
from glassgate.conformance.subjects.subject import SubjectFault
from glassgate.conformance.subjects.wire import Wire
from glassgate.contract import GatewayConfig, Port

VECTORS = {vector.id: vector for file in model.load_packaged() for vector in file.vectors}
CONFIG = VECTORS["fwd-ttl-2"].config
FRAME, PACKET = bytes(14) + b"a frame", b"E" + b"a packet".ljust(40, b".")
ANNOUNCEMENT = wire._announcement(GatewayConfig.from_json(CONFIG))


class Queue:
    """One side: what the gateway sends waits here; what the judge sends is handed to ``heard``."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self.seconds_ago = 0.0
        self._judge, self._gateway = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._judge.setblocking(False)

    def fileno(self) -> int:
        return self._judge.fileno()

    def send(self, octets: bytes) -> None:
        self._heard(octets)

    def receive(self) -> bytes | None:
        try:
            return self._judge.recv(65535)
        except BlockingIOError:
            return None

    def age(self) -> float:
        return self.seconds_ago

    def emit(self, octets: bytes) -> None:
        self._gateway.send(octets)

    def close(self) -> None:
        self._judge.close()
        self._gateway.close()


class Small:
    """A live gateway that answers the marker, and does with frames and packets what a test tells it."""

    version = "1"
    helpers = ()

    def __init__(self) -> None:
        self.internal = Queue(self._from_inside)
        self.tunnel = Queue(self._from_far_end)
        self.on_frame: Callable[[bytes], None] = lambda frame: None
        self.on_packet: Callable[[bytes], None] = lambda packet: None
        self.refuses = ""
        self.is_deaf = False
        self.started: list[GatewayConfig] = []

    def serve(self, ready: socket.socket) -> None:
        """It has no helpers."""

    def fresh(self, config: GatewayConfig) -> None:
        self.started.append(config)

    def why_not(self, vector: Vector, config: GatewayConfig) -> str:
        return self.refuses

    def close(self) -> list[str]:
        self.internal.close()
        self.tunnel.close()
        return []

    def _from_inside(self, frame: bytes) -> None:
        self.on_frame(frame)

    def _from_far_end(self, packet: bytes) -> None:
        if packet[12:16] != socket.inet_aton(wire.MARKER_SOURCE):
            self.on_packet(packet)
        elif not self.is_deaf:
            self.tunnel.emit(reset_about(packet))


def reset_about(syn: bytes) -> bytes:
    """RFC 9293 3.10.7.1: a closed port answers a SYN by a reset that acknowledges it."""
    sequence = int.from_bytes(syn[24:28], "big")
    segment = tcp(9, 9, RST | ACK, acknowledgment=sequence + 1, window=0)
    return IPv4(source="10.8.0.2", destination=wire.MARKER_SOURCE, payload=segment).build().data


@pytest.fixture
def gateway() -> Iterator[Small]:
    made = Small()
    yield made
    made.close()


def prepared(gateway: Small, declared: Profile | None = None) -> Wire:
    subject = Wire("small", gateway, declared or Profile())
    subject.prepare(CONFIG)
    return subject


# ── sending and collecting ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_frame_causes_at_either_side_is_its_reply(gateway: Small) -> None:
    def both(frame: bytes) -> None:
        gateway.tunnel.emit(PACKET)
        gateway.internal.emit(FRAME)

    gateway.on_frame = both
    reply = prepared(gateway).receive(Port.INTERNAL, FRAME, 3.0)
    assert {(one.port, one.data) for one in reply.effects if isinstance(one, ActualPacket)} == {
        (VectorPort.TUNNEL, PACKET),
        (VectorPort.INTERNAL, FRAME),
    }


def test_silence_is_proved_by_the_marker_and_costs_no_waiting(gateway: Small) -> None:
    subject = prepared(gateway)
    began = time.monotonic()
    assert subject.receive(Port.INTERNAL, FRAME, 3.0).effects == ()
    assert time.monotonic() - began < wire.GRACE_SECONDS


def test_what_is_awaited_may_come_after_the_marker(gateway: Small) -> None:
    gateway.on_packet = lambda packet: None
    subject = prepared(gateway)
    subject.awaits(1)
    answer = gateway.tunnel.emit

    def late(octets: bytes) -> None:
        answer(octets)
        gateway.internal.emit(FRAME)

    gateway.tunnel.emit = late  # type: ignore[method-assign]
    assert [one.data for one in subject.far_end_sends(PACKET, 3.0).effects if isinstance(one, ActualPacket)] == [FRAME]


def test_a_tunnel_that_carries_no_marker_is_the_subjects_fault(gateway: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MARKER_SECONDS", 0.05)
    subject = prepared(gateway)
    gateway.is_deaf = True
    with pytest.raises(SubjectFault, match="carried no marker"):
        subject.receive(Port.INTERNAL, FRAME, 3.0)


def test_a_gateway_that_never_comes_up_is_the_subjects_fault(gateway: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "START_SECONDS", 0.1)
    gateway.is_deaf = True
    with pytest.raises(SubjectFault, match="did not answer through the tunnel"):
        prepared(gateway)


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_steps_that_only_have_an_order_are_not_waited_for(gateway: Small) -> None:
    subject = prepared(gateway)
    began = time.monotonic()
    for number in range(10):
        subject.receive(Port.INTERNAL, FRAME, 3.0 + number / 10)
    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("scale", [0.25, 0.5])
def test_time_that_passes_in_a_story_passes_really_by_the_scale(gateway: Small, scale: float) -> None:
    subject = prepared(gateway, Profile(time_scale=scale))
    subject.receive(Port.INTERNAL, FRAME, 3.0)
    began = time.monotonic()
    subject.tick(4.0)
    assert scale - 0.05 <= time.monotonic() - began < scale + 0.5


def test_the_second_announcement_of_a_prepared_gateway_is_not_judged(
    gateway: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SECOND_ANNOUNCEMENT", 0.0)
    gateway.internal.emit(ANNOUNCEMENT)
    subject = prepared(gateway)
    gateway.on_frame = lambda frame: gateway.internal.emit(ANNOUNCEMENT)
    assert subject.receive(Port.INTERNAL, FRAME, 3.0).effects == ()
    again = subject.receive(Port.INTERNAL, FRAME, 3.1).effects
    assert again == (ActualPacket(VectorPort.INTERNAL, ANNOUNCEMENT),), "only one is owed"


def test_a_start_that_is_judged_shows_the_announcement(gateway: Small) -> None:
    gateway.internal.emit(ANNOUNCEMENT)
    subject = Wire("small", gateway, Profile())
    assert subject.start(CONFIG, 0.0, "wire").effects == (ActualPacket(VectorPort.INTERNAL, ANNOUNCEMENT),)


def test_time_begins_when_the_announcement_came_not_when_it_was_read(gateway: Small) -> None:
    gateway.internal.emit(ANNOUNCEMENT)
    gateway.internal.seconds_ago = 40.0
    subject = Wire("small", gateway, Profile())
    subject.start(CONFIG, 0.0, "wire")
    began = time.monotonic()
    subject.tick(40.2)
    assert time.monotonic() - began < 20.0


# ── which vectors ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ("fwd-ttl-2", ""),
        ("story-first-ping", ""),
        ("config-short-key", "configuration that is refused"),
        ("ext-arp-for-router", "outer packets"),
        ("fwd-frame-of-13-octets", "Ethernet header"),
    ],
)
def test_vectors_that_make_no_sense_on_a_wire_say_why(gateway: Small, vector: str, reason: str) -> None:
    one = VECTORS.get(vector) or next(v for v in VECTORS.values() if _is_like(v, reason))
    assert reason in Wire("small", gateway, Profile()).why_not(one, _config(one))


def _is_like(vector: Vector, reason: str) -> bool:
    """The first vector of the kind, where a name has changed."""
    kinds: dict[str, Callable[[Vector], bool]] = {
        "configuration that is refused": lambda v: v.category == "configuration" and _config(v) is None,
        "outer packets": lambda v: v.config["external"]["kind"] == "stack",
        "Ethernet header": lambda v: any(
            isinstance(step.input, model.PacketInput) and len(step.input.data) < 14 and step.input.port == "internal"
            for step in v.steps
        ),
    }
    return kinds[reason](vector)


def _config(vector: Vector) -> GatewayConfig | None:
    return runner._configuration(vector)


def test_the_stream_itself_is_not_for_the_wire(gateway: Small) -> None:
    subject = Wire("small", gateway, Profile())
    framing = [vector for vector in VECTORS.values() if vector.category == "framing"]
    assert all(subject.why_not(vector, _config(vector)) for vector in framing)


def test_what_takes_long_is_run_only_if_asked_for(gateway: Small) -> None:
    long = next(v for v in VECTORS.values() if v.category == "return-routing" and v.steps[-1].at > 1000)
    assert "--slow" in Wire("small", gateway, Profile()).why_not(long, _config(long))
    assert Wire("small", gateway, Profile(), slow=True).why_not(long, _config(long)) == ""


def test_the_gateways_own_reason_counts(gateway: Small) -> None:
    gateway.refuses = "has no such setting"
    one = VECTORS["fwd-ttl-2"]
    assert Wire("small", gateway, Profile()).why_not(one, _config(one)) == "has no such setting"


# ── in a run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_gateway_that_does_nothing_fails_and_both_canaries_live(gateway: Small) -> None:
    done = runner.run(Wire("small", gateway, Profile()), [VECTORS["fwd-ttl-2"]])
    assert [canary.is_alive for canary in done.canaries] == [True, True]
    assert done.results[0].status is Status.FAIL
    assert not done.is_good


def test_a_gateway_that_does_right_passes_though_it_announces_nothing(gateway: Small) -> None:
    vector = VECTORS["fwd-ttl-2"]
    sides = {VectorPort.INTERNAL: gateway.internal, VectorPort.TUNNEL: gateway.tunnel}
    script = [step for step in vector.steps if isinstance(step.input, model.PacketInput)]

    def act(octets: bytes) -> None:
        for expected in script.pop(0).outcomes[0].expect:
            assert isinstance(expected, ExpectedPacket)
            sides[expected.port].emit(expected.data)

    subject = Wire("small", gateway, Profile())
    runner.run(subject, [])  # nothing: only to see that this is no fault
    gateway.on_frame = gateway.on_packet = act
    assert runner.run_vector(subject, vector, subject.capabilities).status is Status.PASS
    assert len(gateway.started) == 1


def test_a_profile_may_declare_that_a_vector_is_not_run(gateway: Small) -> None:
    declared = Profile(unsupported={"fwd-ttl-2*": "counts in dozens"})
    done = runner.run(Wire("small", gateway, declared), [VECTORS["fwd-ttl-2"]], declared)
    assert (done.results[0].status, done.results[0].message) == (Status.UNSUPPORTED, "counts in dozens")
    assert not done.is_good, "nothing ran"


# ── order ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_order_counts_at_each_port_and_not_between_ports_of_a_wire() -> None:
    inside = [ExpectedPacket(VectorPort.INTERNAL, bytes([number])) for number in (1, 2)]
    through = ExpectedPacket(VectorPort.TUNNEL, b"\3")
    step = Step(1.0, TickInput(), (Outcome((inside[0], through, inside[1])),))
    one, two, three = (ActualPacket(expected.port, expected.data) for expected in (*inside, through))
    assert judge(step, [three, one, two], {}, by_port=True).outcome is not None
    assert judge(step, [three, one, two], {}).outcome is None
    assert judge(step, [three, two, one], {}, by_port=True).outcome is None


# ── Linux's profile ───────────────────────────────────────────────────────────────────────────────────────────────────

LINUX = profile.packaged("linux")


@pytest.mark.parametrize("pattern", [*LINUX.expected_failures, *LINUX.unsupported])
def test_each_line_of_linuxs_profile_is_about_a_vector(pattern: str) -> None:
    assert any(fnmatchcase(vector, pattern) for vector in VECTORS)


@pytest.mark.parametrize("pattern", LINUX.expected_failures)
def test_each_expected_failure_of_linux_cites_a_section_or_our_own_choice(pattern: str) -> None:
    assert re.search(r"RFC \d+|IEEE 802|\b[SL]\d+\b", LINUX.expected_failures[pattern])


# ── a file for anybody's gateway ──────────────────────────────────────────────────────────────────────────────────────

WHOLE = """
[gateway]
name = "mine"
internal = "eth1"
tunnel = "tun0"
tunnel-namespace = "server"
fresh = ["./restart", "now"]
obeys = ["internal.mtu"]

[subject]
capabilities = ["external.os", "session", "cipher.aes-256-gcm"]

[expected-failures]
"arp-*" = "has no ARP"
"""


def test_a_file_tells_the_sides_the_command_and_the_profile(tmp_path: Path) -> None:
    (path := tmp_path / "mine.toml").write_text(WHOLE)
    surroundings, declared = foreign.load(path)
    assert (surroundings.name, surroundings.internal, surroundings.tunnel) == ("mine", "eth1", "tun0")
    assert (surroundings.internal_namespace, surroundings.tunnel_namespace) == (None, "server")
    assert surroundings.fresh == ("./restart", "now")
    assert surroundings.folder == tmp_path
    assert declared.reason_to_fail("arp-conflict-probe") == "has no ARP"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"[gateway]": "[gateways]"}, "gateways: unknown member"),
        ({'name = "mine"': ""}, "gateway.name: None is not a name"),
        ({'"eth1"': "1"}, "gateway.internal: 1 is not a name"),
        ({'["./restart", "now"]': '"./restart"'}, "gateway.fresh: './restart' is not a list of words"),
        ({'obeys = ["internal.mtu"]': "fresh-seconds = 0"}, "gateway.fresh-seconds: 0 is not a number over 0"),
        ({"internal =": "inside ="}, "gateway.inside: unknown member"),
    ],
)
def test_what_is_wrong_in_such_a_file_is_named(tmp_path: Path, change: dict[str, str], complaint: str) -> None:
    text = WHOLE
    for old, new in change.items():
        text = text.replace(old, new)
    (path := tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ProfileError, match=re.escape(complaint)):
        foreign.load(path)


def test_a_name_that_is_neither_known_nor_a_file_is_refused() -> None:
    with pytest.raises(LabError, match="'windows' is neither linux, reference, optimized nor a file"):
        find("windows", None, slow=False)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"wire": {"time-scale": 0}}, "wire.time-scale: 0 is not a number over 0"),
        ({"wire": {"speed": 1}}, "wire.speed: unknown member"),
        ({"unsupported": {"arp-*": ""}}, "unsupported.arp-*: '' is not a reason in words"),
    ],
)
def test_what_is_wrong_in_a_profiles_tables_is_named(table: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(complaint)):
        profile.of_tables(Path("p.toml"), table)
