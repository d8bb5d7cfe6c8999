"""The demo: the story as expected with either gateway, a gateway that gets a thing wrong found out, and the capture."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dpkt
import pytest
from rich.console import Console

from glassgate.conformance import capture, cli, demo, model, simulation
from glassgate.conformance.explain import Detail
from glassgate.conformance.subjects import discovery
from glassgate.contract import (
    Effect,
    Entropy,
    FlowEvent,
    Gateway,
    GatewayConfig,
    Implementation,
    Port,
    SeededEntropy,
    Transmit,
    rules,
)

GATEWAYS = ["reference", "optimized"]
HANDSHAKE = "✓ the handshake gave both ends a key for the tunnel"
CHECKS = [
    "✓ the far end opened the echo, one hop older and otherwise unchanged",
    "✓ the host got its echo reply, octet for octet",
    "✓ the far end opened three fragments, as the host cut them",
    "✓ every frame to the host is within its MTU",
    "✓ the host got the datagram back, octet for octet",
]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    status = cli.run(["demo", "--no-suite", *arguments])
    return status, capsys.readouterr().out.splitlines()


# ── the story ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("session", [True, False])
def test_the_story_is_as_expected_and_fits(
    gateway: str, columns: int, session: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    status, lines = told(capsys, "--gateway", gateway, "--external", "os", *(["--session"] if session else []))
    assert status == 0
    assert [line for line in lines if line.startswith(("✓", "✗"))] == ([] if session else [HANDSHAKE]) + CHECKS
    assert lines[-1] == "All as expected."
    assert max(map(len, lines)) <= columns
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in "".join(lines)  # plain where there is no terminal


def test_a_narrow_terminal_loses_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    status, lines = told(capsys, "--external", "os")
    assert status == 0
    assert max(map(len, lines)) <= 44
    assert "              00:f0:0d:f0:0d:00  the" in lines


def test_the_detail_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = []
    for detail in ("brief", "changes", "whole"):
        status, lines = told(capsys, "--external", "os", "--detail", detail)
        assert status == 0
        lengths.append(len(lines))
    assert lengths[0] * 3 < lengths[1] < lengths[2]


def test_decisions_stand_with_rule_words_and_citation(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = told(capsys)
    text = " ".join(" ".join(lines).split())
    assert "forwarded by s14-forward A packet to somewhere else is transmitted via the tunnel. (MUST, seed" in text
    assert "s17-decrement A forwarded packet's time to live falls by one, and its checksum stays right." in text
    assert "state by s8-learn" in text


def test_the_state_that_changes_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    _, lines = told(capsys, "--external", "stack", "--detail", "brief")
    text = "\n".join(lines)
    assert "neighbour 10.38.2.5, hardware 02:00:0a:26:02:05" in text  # the ARP table
    assert "data packet id 4, highest 4, seen in window 4" in text  # the replay window
    assert "state ESTABLISHED, was SYN-SENT" in text  # TCP
    assert "octets waiting" in text  # a record of which a part is there


def test_the_gateways_own_stack_is_used_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = told(capsys, "--external", "stack")
    assert status == 0
    assert [line for line in lines if line.startswith(("✓", "✗"))] == [HANDSHAKE, *CHECKS]
    text = "\n".join(lines)
    assert "the router → gateway, at external" in text
    assert "who has 192.168.1.1? tell 192.168.1.5" in text
    assert "SYN ACK" in text


@pytest.mark.parametrize("external", ["os", "stack"])
def test_the_handshake_is_told_a_line_for_each_packet(
    external: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    _, lines = told(capsys, "--external", external, "--detail", "brief")
    start = next(index for index, line in enumerate(lines) if "The handshake" in line)
    packets = [line.split("  ", 2)[1:] for line in lines[start : lines.index(HANDSHAKE)] if "→" in line]
    assert packets[0] == [
        "gateway → far end",
        "P_CONTROL_HARD_RESET_CLIENT_V2, key id 0, message 0: the client begins a session",
    ]
    assert packets[1] == [
        "far end → gateway",
        "P_CONTROL_HARD_RESET_SERVER_V2, key id 0, message 0, acknowledges 0",
    ]
    told_of = "\n".join(words for _, words in packets)
    order = ["ClientHello", "ServerHello", "TLS is up", "message of the client", "message of the server", "PUSH_REPLY"]
    assert [told_of.count(words) for words in order] == [1] * len(order)
    assert sorted(order, key=told_of.index) == order
    assert "cipher AES-256-GCM" in told_of
    assert "  ■ state by s2-established" in lines


def test_the_whole_handshake_is_told_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = told(capsys, "--external", "os", "--detail", "whole")
    assert status == 0
    assert any("tls-crypt tag" in line for line in lines)


# ── a gateway that is wrong ───────────────────────────────────────────────────────────────────────────────────────────


class Tampered:
    """The reference gateway, with what it transmits at one port changed."""

    def __init__(self, config: GatewayConfig, entropy: Entropy, port: Port, change: Callable[[bytes], bytes]) -> None:
        self._gateway: Gateway = discovery.find("reference")(config, entropy)
        self._port = port
        self._change = change

    def _changed(self, effects: list[Effect]) -> list[Effect]:
        return [
            replace(effect, data=self._change(effect.data))
            if isinstance(effect, Transmit) and effect.port is self._port
            else effect
            for effect in effects
        ]

    def start(self, now: float) -> list[Effect]:
        return self._changed(self._gateway.start(now))

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        return self._changed(self._gateway.receive(port, data, now))

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        return self._changed(self._gateway.flow(event, now))

    def tick(self, now: float) -> list[Effect]:
        return self._changed(self._gateway.tick(now))

    @property
    def deadline(self) -> float | None:
        return self._gateway.deadline


def last_octet_flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def time_to_live_kept(frame: bytes) -> bytes:
    """Undo the gateway's decrement in a frame to the host; TTL and checksum are the two words concerned."""
    if frame[12:14] != b"\x08\x00":
        return frame
    header = bytearray(frame[14:34])
    header[8] += 1
    header[10:12] = bytes(2)
    header[10:12] = dpkt.in_cksum(bytes(header)).to_bytes(2, "little")
    return frame[:14] + bytes(header) + frame[34:]


def story(port: Port, change: Callable[[bytes], bytes], *, negotiates: bool = False) -> list[demo.Finding]:
    implementation = Implementation(
        "tampered",
        "0",
        discovery.find("reference").capabilities,
        lambda config, entropy: Tampered(config, entropy, port, change),
    )
    telling = demo._Story(implementation, "os", Console(file=io.StringIO()), Detail.BRIEF, negotiates=negotiates)
    assert not telling.tell()
    return telling._findings


def test_a_record_that_does_not_open_is_found_out() -> None:
    findings = story(Port.FLOW, last_octet_flipped)
    assert findings[0].problem == "the tag is wrong: it does not decrypt with the session's key"


def test_a_handshake_that_goes_wrong_is_found_out() -> None:
    findings = story(Port.FLOW, last_octet_flipped, negotiates=True)
    assert findings[0].expected == "the handshake gave both ends a key for the tunnel"
    assert findings[0].problem == "the tag of tls-crypt is wrong"


def test_an_answer_with_one_wrong_octet_is_found_out() -> None:
    findings = story(Port.INTERNAL, lambda frame: frame if len(frame) < 60 else last_octet_flipped(frame))
    problems = [finding.problem for finding in findings]
    assert problems[1] == "octet 63 is 36, not 37"
    assert problems[4].startswith("octet ")


def test_an_answer_that_does_not_come_is_found_out() -> None:
    findings = story(Port.INTERNAL, lambda frame: frame if len(frame) < 60 else frame[:12] + b"\xff\xff" + frame[14:])
    assert findings[1].problem == "it got 0 packets so far, not 1"


def test_the_demo_ends_with_status_1_if_something_is_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulation, "answer", lambda request, identifications: None)
    status, lines = told(capsys)
    assert status == 1
    assert "✗ the host got its echo reply, octet for octet: it got 0 packets so far, not 1" in lines
    assert lines[-1] == "NOT as expected."


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gateway", "nobody"], "no gateway is called 'nobody'"),
        (["--external", "moon"], "'moon' is not one of"),
        (["--pcapng", "/nowhere/demo.pcapng"], "/nowhere/demo.pcapng"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["demo", "--no-suite", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


# ── the suite ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_vectors_the_demo_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("glassgate.conformance.model.load_packaged", lambda: ())
    assert cli.run(["demo"]) == 2
    assert "there are no vectors at all" in capsys.readouterr().err


def test_the_suite_is_run_against_every_gateway_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = model.load_packaged()
    few = replace(files[0], vectors=files[0].vectors[:5])
    monkeypatch.setattr("glassgate.conformance.model.load_packaged", lambda: (few,))
    assert cli.run(["demo", "--detail", "brief"]) == 0
    text = capsys.readouterr().out
    assert "reference: good: 5 of 5 vectors run" in text
    assert "optimized: good: 5 of 5 vectors run" in text
    assert text.index("The suite") < text.index("The gateway starts")


# ── the capture ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("external", ["os", "stack"])
def test_the_capture_holds_what_each_port_saw(
    external: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "demo.pcapng"
    assert told(capsys, "--external", external, "--pcapng", str(path))[0] == 0
    octets = path.read_bytes()
    packets = list(capture.read(octets))
    outside = "flow" if external == "os" else "external"
    assert {packet.interface for packet in packets} == {"internal", outside, "tunnel"}
    inner = [dpkt.ip.IP(packet.data) for packet in packets if packet.interface == "tunnel"]
    assert [(ip.p, ip.ttl) for ip in inner] == [(1, 63), (1, 64)] + [(17, 63)] * 3 + [(17, 64)] * 3
    assert b"forwarded by s14-forward: A packet to somewhere else" in octets
    for packet in packets:
        if packet.interface == "flow":
            ip = dpkt.ip.IP(packet.data)
            assert (ip.len, {ip.tcp.sport, ip.tcp.dport}) == (len(packet.data), {49152, 1194})


def test_the_same_network_always_tells_the_same_story() -> None:
    def moments() -> list[simulation.Moment]:
        config = demo.configuration("os")
        seen: list[simulation.Moment] = []
        gateway = discovery.find("reference")(config, SeededEntropy(config.entropy))
        network = simulation.Network(gateway, config, seen.append)
        network.start()
        network.inject(network.host.ping("192.0.2.7", 1, 1, b"again"))
        network.run(until=5.0)
        return seen

    assert moments() == moments()


def test_a_storm_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MOST_MOMENTS", 500)

    class Storm(Tampered):
        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            request = bytes.fromhex(
                "ffffffffffff00f00df00d000806000108000604000100f00df00d000a2602010000000000000a260205"
            )
            return [Transmit(Port.INTERNAL, request, rules.S31_ASK)]

    config = demo.configuration("os")
    gateway = Storm(config, SeededEntropy(b""), Port.FLOW, bytes)
    seen: list[simulation.Moment] = []
    network = simulation.Network(gateway, config, seen.append)
    network.start()
    network.inject(network.host.ping("192.0.2.7", 1, 1, b""))
    with pytest.raises(RuntimeError, match="answer each other for ever"):
        network.run(until=1e9)
    assert len(seen) == simulation.MOST_MOMENTS
