"""The tunnel: how a flow lives and ends, what each record is, and what a client may ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv4Network
from typing import cast

import pytest

from glassgate.contract import (
    Cipher,
    CloseFlow,
    Note,
    OpenFlow,
    ReceiveKey,
    Rule,
    SendKey,
    Session,
    Transmit,
    Tunnel,
    rules,
)
from glassgate.reference.openvpn import framing
from glassgate.reference.openvpn.client import (
    Client,
    ClientOutput,
    Configured,
    DropKey,
    Failed,
    InstallKey,
    Report,
    SendExit,
    SendPacket,
    SendPing,
    UseKey,
)
from glassgate.reference.openvpn.data_channel import OCC_MAGIC, PING, ReceivingKey, SendingKey
from glassgate.reference.openvpn.profile import Profile, Remote
from glassgate.reference.openvpn.tunnel import TRANSITIONS, Event, InnerPacket, OpenVpnTunnel, Step

INSIDE = IPv4Network("10.38.2.0/24")
OURS, THEIRS, IV = bytes(range(32)), bytes(range(32, 64)), bytes(8)
SESSION = Session(SendKey(OURS, IV), ReceiveKey(THEIRS, IV), key_id=1)
CONTROL = bytes([4 << 3])  # P_CONTROL_V1; what follows the opcode is the client's


def established(session: Session = SESSION, proto: str = "tcp") -> OpenVpnTunnel:
    """A tunnel with fixed keys, its flow open."""
    tunnel = OpenVpnTunnel(Tunnel(session=session, proto="tcp" if proto == "tcp" else "udp"), INSIDE, None, None)
    list(tunnel.start(True, 0.0))
    return tunnel


def sealer(key_id: int = 1, next_packet_id: int = 1) -> SendingKey:
    """The far end's sending key."""
    return SendingKey(key_id, Cipher.AES_256_GCM, 0, THEIRS, IV, next_packet_id)


def said(steps: Iterable[Step]) -> list[str]:
    """Notes and flow effects by rule, inner packets by content: they tell, too, that a record was opened."""
    words = []
    for step in steps:
        if isinstance(step, Note) and step.rule is not rules.S26_OPEN:
            words.append(str(step.rule))
        elif isinstance(step, InnerPacket):
            words.append(f"inner {step.octets.decode()}")
        elif isinstance(step, OpenFlow | CloseFlow):
            words.append(f"{type(step).__name__} {step.because}")
        elif isinstance(step, Transmit):
            words.append(f"transmit {step.because}")
    return words


def receive(tunnel: OpenVpnTunnel, *records: bytes, now: float = 1.0) -> list[str]:
    return said(tunnel.receive(b"".join(map(framing.build, records)), now))


# ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_flow_that_is_open_at_start_has_its_keys_at_once() -> None:
    tunnel = OpenVpnTunnel(Tunnel(session=SESSION), INSIDE, None, None)
    assert not tunnel.is_up
    assert said(tunnel.start(True, 0.0)) == ["s2-flow-opened", "s2-established"]
    assert tunnel.is_up
    assert tunnel.deadline is None


def test_fixed_keys_have_nothing_to_do_as_time_passes() -> None:
    assert said(established().tick(1000.0)) == []


def test_a_flow_that_is_not_open_is_asked_for() -> None:
    tunnel = OpenVpnTunnel(Tunnel(session=SESSION), INSIDE, None, None)
    assert said(tunnel.start(False, 0.0)) == ["OpenFlow s2-open-flow"]
    assert said(tunnel.opened(0.5)) == ["s2-flow-opened", "s2-established"]


def test_fixed_keys_end_with_their_flow_and_the_flow_is_opened_again() -> None:
    tunnel = established()
    assert said(tunnel.closed(10.0)) == ["s4-flow-lost", "s4-keys-end"]
    assert not tunnel.is_up
    assert tunnel.deadline == 11.0
    assert said(tunnel.tick(10.9)) == []
    assert said(tunnel.tick(11.0)) == ["OpenFlow s2-retry"]
    assert said(tunnel.opened(11.5)) == ["s2-flow-opened"]
    assert not tunnel.is_up
    assert receive(tunnel, sealer().seal(b"late")) == ["s26-unknown-key"]


def test_each_failure_doubles_the_wait_up_to_a_minute() -> None:
    tunnel = established()
    now, waits = 0.0, []
    for _ in range(8):
        list(tunnel.closed(now))
        assert tunnel.deadline is not None
        waits.append(tunnel.deadline - now)
        now = tunnel.deadline
        list(tunnel.tick(now))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_news_that_does_not_fit_the_state_changes_nothing() -> None:
    tunnel = established()
    assert said(tunnel.opened(1.0)) == ["s2-flow-opened"]
    assert tunnel.is_up
    list(tunnel.closed(2.0))
    assert said(tunnel.closed(2.0)) == ["s4-flow-lost"]
    assert said(tunnel.opened(2.0)) == ["s2-flow-opened"]
    assert tunnel.deadline == 3.0
    assert receive(tunnel, b"late") == ["s4-flow-lost"]


def test_every_state_but_waiting_ends_in_waiting() -> None:
    ends = {(state.__name__, event) for (state, event), to in TRANSITIONS.items() if to.__name__ == "Waiting"}
    assert ends == {(state, event) for state in ("Opening", "Connected") for event in (Event.CLOSED, Event.LOST)}


def test_a_restart_gives_up_the_flow_and_makes_another() -> None:
    tunnel, client, _ = connected(*KEYS)
    assert said(tunnel.restart(5.0)) == ["CloseFlow s3-reset-lost-flow", "s3-reset-lost-flow"]
    assert tunnel.deadline == 6.0
    assert said(tunnel.restart(5.5)) == [], "there is nothing to give up"
    assert said(tunnel.tick(5.5)) == ["OpenFlow s2-retry"], "and nothing to wait for"
    assert said(tunnel.restart(6.5)) == ["CloseFlow s3-reset-lost-flow", "s3-reset-lost-flow"], "while it is opened"
    assert tunnel.deadline == 8.5
    assert client.heard == ["start 0"]


def test_a_tunnel_that_was_not_started_is_not_restarted() -> None:
    tunnel = OpenVpnTunnel(Tunnel(session=SESSION), INSIDE, None, None)
    assert said(tunnel.restart(5.0)) == []
    assert tunnel.deadline is None


def test_a_server_that_closes_before_the_tunnel_is_up_has_a_reason() -> None:
    tunnel, client, _ = connected()
    client.look_at = "its log says why"
    told, lost = tunnel.closed(2.0)
    assert isinstance(told, Note)
    assert (told.rule, told.detail["reason"]) == (
        rules.S2_HANDSHAKE_FAILED,
        "the server closed the connection: its log says why",
    )
    assert said([lost]) == ["s4-flow-lost"]


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_records_are_taken_in_order_however_they_arrive() -> None:
    tunnel, far_end = established(), sealer()
    stream = framing.build(far_end.seal(b"one")) + framing.build(far_end.seal(b"two"))
    assert said(tunnel.receive(stream[:-1], 1.0)) == ["inner one", "s3-incomplete"]
    assert said(tunnel.receive(stream[-1:], 1.0)) == ["inner two"]


def test_packets_are_sealed_under_rising_ids() -> None:
    tunnel = established()
    opener = ReceivingKey(Cipher.AES_256_GCM, OURS, IV)
    for expected_id in (1, 2):
        (step,) = tunnel.send(b"packet", rules.S14_FORWARD, 1.0)
        assert isinstance(step, Transmit)
        assert step.data[:3] == bytes.fromhex("001e49")  # 30 octets, P_DATA_V2 under key 1
        assert opener.open(step.data[2:]).data_packet_id == expected_id


def test_the_ids_that_are_left_are_counted() -> None:
    tunnel = established(replace(SESSION, send=SendKey(OURS, IV, 0xFFFFFFFF)))
    assert tunnel.ids_left == 1
    list(tunnel.send(b"last", rules.S14_FORWARD, 1.0))
    assert tunnel.ids_left == 0


def test_the_tunnels_own_messages_go_no_further() -> None:
    tunnel, far_end = established(), sealer()
    assert receive(tunnel, far_end.seal(PING)) == ["s27-ping"]
    assert receive(tunnel, far_end.seal(b"no " + PING.hex().encode())) == ["inner no " + PING.hex()]
    assert receive(tunnel, far_end.seal(OCC_MAGIC + b"\x00")) == ["s27-occ"]
    assert receive(tunnel, far_end.seal(OCC_MAGIC + b"\x06")) == ["s27-occ"]
    assert tunnel.is_up


def test_control_packets_between_data_are_taken_and_nothing_more() -> None:
    tunnel, far_end = established(), sealer()
    assert receive(tunnel, far_end.seal(b"one"), CONTROL, far_end.seal(b"two")) == [
        "inner one",
        "s27-control",
        "inner two",
    ]


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (bytes([2 << 3]) + bytes(30), "s26-opcode"),
        (bytes([12 << 3]) + bytes(30), "s26-opcode"),
        (bytes([9 << 3 | 1]) + bytes(10), "s26-too-short"),
        (bytes([9 << 3 | 1]) + bytes(23), "s26-empty"),
        (bytes([9 << 3 | 1]) + bytes(30), "s26-authentication"),
        (sealer(next_packet_id=0).seal(b"zero"), "s26-replay"),
    ],
)
def test_a_refused_record_ends_a_stream_and_is_dropped_from_datagrams(record: bytes, rule: str) -> None:
    over_tcp = established()
    assert receive(over_tcp, record, sealer().seal(b"behind it")) == [
        rule,
        f"CloseFlow {rule}",
        "s3-reset-lost-flow",
        "s4-keys-end",
    ]
    assert not over_tcp.is_up
    over_udp = established(proto="udp")
    assert said(over_udp.receive(record, 1.0)) == [rule]
    assert said(over_udp.receive(sealer().seal(b"after it"), 1.0)) == ["inner after it"]


def test_a_bad_length_ends_the_stream_after_the_records_before_it() -> None:
    tunnel = established()
    steps = said(tunnel.receive(framing.build(sealer().seal(b"before")) + b"\x00\x00", 1.0))
    assert steps == ["inner before", "s3-bad-length", "CloseFlow s3-bad-length", "s3-reset-lost-flow", "s4-keys-end"]


def test_a_record_under_another_key_is_ignored() -> None:
    tunnel = established()
    assert receive(tunnel, sealer(key_id=2).seal(b"other"), sealer().seal(b"ours")) == ["s26-unknown-key", "inner ours"]


def test_an_empty_datagram_is_dropped() -> None:
    assert said(established(proto="udp").receive(b"", 1.0)) == ["s26-too-short"]


def test_a_datagram_leaves_without_a_length() -> None:
    (step,) = established(proto="udp").send(b"packet", rules.S14_FORWARD, 1.0)
    assert isinstance(step, Transmit)
    assert step.data[:1] == b"\x49"


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class ScriptedClient:
    """A control plane that says what the test tells it to, and writes down what it hears."""

    outputs: list[ClientOutput] = field(default_factory=list)
    deadline: float | None = None
    heard: list[str] = field(default_factory=list)
    look_at: str | None = None

    def _say(self, heard: str) -> list[ClientOutput]:
        self.heard.append(heard)
        outputs, self.outputs = self.outputs, []
        return outputs

    def start(self, now: float, remote: int = 0) -> list[ClientOutput]:
        return self._say(f"start {remote}")

    def receive(self, packet: bytes, now: float) -> list[ClientOutput]:
        return self._say(f"receive {packet.hex()}")

    def tick(self, now: float) -> list[ClientOutput]:
        self.deadline = None
        return self._say(f"tick {now}")

    def stop(self, now: float) -> list[ClientOutput]:
        return self._say("stop")

    def renegotiate(self, now: float) -> list[ClientOutput]:
        return self._say("renegotiate")

    def data_received(self, now: float, octets: int = 0) -> None:
        self.heard.append(f"received {octets}")

    def data_sent(self, now: float, octets: int = 0) -> None:
        self.heard.append(f"sent {octets}")


@dataclass(frozen=True)
class Remotes:
    """As much of a profile as the tunnel looks at."""

    remotes: tuple[Remote, ...] = (Remote("1.2.3.4", 1194, "tcp"), Remote("1.2.3.5", 1194, "udp"))
    connect_retry: float = 1.0
    connect_retry_longest: float = 60.0
    attempts: int = 0


CONFIGURED = Configured(IPv4Interface("10.8.0.6/24"), 1400, 1340)
KEYS: list[ClientOutput] = [
    InstallKey(1, Cipher.AES_256_GCM, 0, OURS, IV, THEIRS, IV),
    CONFIGURED,
    UseKey(1),
]


def connected(*outputs: ClientOutput) -> tuple[OpenVpnTunnel, ScriptedClient, list[str]]:
    """A tunnel that negotiates, its flow open, the client's first words said."""
    client = ScriptedClient(list(outputs))
    profile = cast(Profile, Remotes())
    tunnel = OpenVpnTunnel(Tunnel(ovpn="a profile"), INSIDE, cast(Client, client), profile)
    assert said(tunnel.start(False, 0.0)) == ["OpenFlow s2-open-flow"]
    return tunnel, client, said(tunnel.opened(1.0))


def test_an_open_flow_starts_the_handshake() -> None:
    tunnel, client, steps = connected(SendPacket(b"reset", rules.S2_OPEN_FLOW))
    assert client.heard == ["start 0"]
    assert steps == ["s2-flow-opened", "transmit s2-open-flow"]
    assert not tunnel.is_up


def test_control_packets_go_to_the_client_whole() -> None:
    tunnel, client, _ = connected()
    client.outputs = [Report(rules.S27_CONTROL, {"why": "heard"})]
    assert receive(tunnel, CONTROL + b"\x01") == ["s27-control", "s27-control"]
    assert client.heard[-1] == "receive 2001"


def test_a_key_in_use_brings_the_tunnel_up_as_pushed() -> None:
    tunnel, client, steps = connected(*KEYS)
    assert steps == ["s2-flow-opened", "s4-fresh-session", "s2-established"]
    assert tunnel.is_up
    assert (tunnel.address, tunnel.mtu, tunnel.mssfix) == (IPv4Interface("10.8.0.6/24"), 1400, 1340)
    list(tunnel.send(b"packet", rules.S14_FORWARD, 1.0))
    assert receive(tunnel, sealer().seal(b"answer")) == ["inner answer"]
    assert client.heard[1:] == ["sent 6", "received 6"]


def test_two_keys_live_at_once_until_one_is_dropped() -> None:
    tunnel, client, _ = connected(*KEYS)
    client.outputs = [InstallKey(2, Cipher.AES_256_GCM, 0, OURS, IV, THEIRS, IV)]
    receive(tunnel, CONTROL)
    assert receive(tunnel, sealer(2).seal(b"new"), sealer(1).seal(b"old")) == ["inner new", "inner old"]
    client.outputs = [UseKey(2), DropKey(1)]
    assert receive(tunnel, CONTROL) == ["s2-established", "s27-control"]
    assert receive(tunnel, sealer(1, 5).seal(b"older")) == ["s26-unknown-key"]
    assert tunnel.is_up
    client.outputs = [DropKey(2)]
    receive(tunnel, CONTROL)
    assert not tunnel.is_up


def test_the_path_of_a_record_says_how_it_was_opened() -> None:
    tunnel, client, _ = connected(*KEYS)
    client.outputs = [InstallKey(2, Cipher.AES_256_GCM, 0, OURS, IV, THEIRS, IV)]
    receive(tunnel, CONTROL)
    passed = [
        [str(step) for step in tunnel.receive(framing.build(record), 1.0) if isinstance(step, Rule)]
        for record in (sealer(1).seal(b"first"), sealer(1, 5).seal(b"fifth"), sealer(2).seal(b"new"))
    ]
    assert passed == [
        ["s3-record", "s26-open"],
        ["s3-record", "s26-gap"],
        ["s3-record", "s26-open", "s27-two-keys"],
    ]


def test_each_record_that_is_opened_changes_the_replay_window() -> None:
    tunnel = established()
    notes = [
        step
        for packet_id in (1, 3, 2, 66)
        for step in tunnel.receive(framing.build(sealer(1, packet_id).seal(b"x")), 1.0)
        if isinstance(step, Note)
    ]
    assert [note.detail for note in notes] == [
        {"key_id": 1, "data_packet_id": 1, "highest": 1, "seen_in_window": 1},
        {"key_id": 1, "data_packet_id": 3, "highest": 3, "seen_in_window": 2},
        {"key_id": 1, "data_packet_id": 2, "highest": 3, "seen_in_window": 3},
        {"key_id": 1, "data_packet_id": 66, "highest": 66, "seen_in_window": 2},  # 64 of them: 3 to 66
    ]
    assert [note.rule.slug for note in notes] == ["s26-open", "s26-gap", "s26-open", "s26-gap"]


def test_pings_and_exits_are_sealed_when_there_is_a_key() -> None:
    _, client, steps = connected(SendPing(), *KEYS, SendPing(), SendExit())
    assert steps[-2:] == ["transmit s24-ping", "transmit s27-occ"]
    assert steps.count("transmit s24-ping") == 1
    assert client.heard == ["start 0", "sent 0", "sent 0"]


def test_the_clients_time_is_the_tunnels() -> None:
    tunnel, client, _ = connected()
    client.deadline = 5.0
    assert tunnel.deadline == 5.0
    assert said(tunnel.tick(4.9)) == []
    client.outputs = [SendPacket(b"again", rules.S24_PING)]
    assert said(tunnel.tick(5.0)) == ["transmit s24-ping"]


def test_a_session_that_failed_is_begun_afresh_at_the_next_remote() -> None:
    failed = Failed(rules.S2_HANDSHAKE_FAILED, "no answer", retry=True, next_remote=True, delay=5.0)
    tunnel, client, steps = connected(failed, SendPacket(b"too late", rules.S24_PING))
    assert steps == ["s2-flow-opened", "CloseFlow s2-handshake-failed", "s2-handshake-failed", "s2-retry"]
    assert (tunnel.remote, tunnel.deadline) == (1, 6.0)
    assert said(tunnel.tick(6.0)) == ["OpenFlow s2-retry"]
    list(tunnel.opened(6.1))
    assert client.heard[-1] == "start 1"
    client.outputs = [SendPacket(b"reset", rules.S24_PING)]
    client.deadline = 7.0
    (step,) = tunnel.tick(7.0)
    assert isinstance(step, Transmit)
    assert step.data == b"reset"  # the second remote speaks UDP: no length in front


def test_over_udp_a_pushed_mtu_needs_no_reader_to_be_told() -> None:
    tunnel, client, _ = connected()
    list(tunnel.closed(1.0))
    tunnel.remote = 1
    list(tunnel.tick(2.0))
    client.outputs = [*KEYS]
    assert said(tunnel.opened(2.0)) == ["s2-flow-opened", "s4-fresh-session", "s2-established"]


def test_a_session_that_is_over_for_good_is_not_begun_again() -> None:
    tunnel, _, steps = connected(Failed(rules.S2_HANDSHAKE_FAILED, "refused", retry=False))
    assert steps[-1] == "s2-handshake-failed"
    assert tunnel.deadline is None
    assert said(tunnel.tick(1000.0)) == []


def test_a_flow_that_cannot_be_opened_goes_to_the_next_remote_and_after_the_last_to_the_first() -> None:
    client, profile = ScriptedClient(), Remotes(remotes=(Remote("1.2.3.4", 1194, "tcp"),) * 3)
    tunnel = OpenVpnTunnel(Tunnel(ovpn="a profile"), INSIDE, cast(Client, client), cast(Profile, profile))
    list(tunnel.start(False, 0.0))
    remotes = []
    for now in (0.0, 100.0, 200.0):
        list(tunnel.closed(now))
        list(tunnel.tick(now + 99.0))
        remotes.append(tunnel.remote)
    assert remotes == [1, 2, 0]


def test_connect_retry_max_ends_the_attempts_when_every_remote_has_had_its_own() -> None:
    client, profile = ScriptedClient(), Remotes(attempts=1)
    tunnel = OpenVpnTunnel(Tunnel(ovpn="a profile"), INSIDE, cast(Client, client), cast(Profile, profile))
    list(tunnel.start(False, 0.0))
    list(tunnel.closed(1.0))
    assert said(tunnel.tick(2.0)) == ["OpenFlow s2-retry"]
    (note,) = tunnel.closed(3.0)
    assert isinstance(note, Note)
    assert note.detail["will_retry"] is False
    assert tunnel.deadline is None


def test_a_pushed_network_that_overlaps_the_internal_one_is_refused() -> None:
    tunnel, _, steps = connected(replace(CONFIGURED, address=IPv4Interface("10.38.0.2/16")), UseKey(1))
    assert steps == ["s2-flow-opened", "s1-prefixes-apart", "CloseFlow s1-prefixes-apart", "s3-reset-lost-flow"]
    assert tunnel.address is None


def test_success_forgets_the_failures_before_it() -> None:
    tunnel, client, _ = connected()
    list(tunnel.closed(1.0))
    list(tunnel.tick(2.0))
    client.outputs = [*KEYS]
    list(tunnel.opened(2.0))
    list(tunnel.closed(10.0))
    assert tunnel.deadline == 11.0


def test_a_server_that_says_goodbye_is_gone() -> None:
    tunnel, _, _ = connected(*KEYS)
    assert receive(tunnel, sealer().seal(OCC_MAGIC + b"\x06")) == ["s27-occ", "CloseFlow s27-occ", "s3-reset-lost-flow"]


def test_renegotiation_begins_long_before_ids_run_out() -> None:
    tunnel, client, _ = connected(*KEYS)
    tunnel._key_in_use.sending.next_packet_id = 0xFEFFFFFF
    assert said(tunnel.send(b"packet", rules.S14_FORWARD, 1.0)) == ["transmit s14-forward", "s24-renegotiate"]
    assert said(tunnel.send(b"packet", rules.S14_FORWARD, 1.0)) == ["transmit s14-forward"]
    assert client.heard.count("renegotiate") == 1


def test_a_session_that_ends_between_two_fragments_loses_the_second() -> None:
    tunnel, client, _ = connected(*KEYS)
    tunnel._key_in_use.sending.next_packet_id = 0xFEFFFFFF
    client.outputs = [Failed(rules.S2_HANDSHAKE_FAILED, "no", retry=True)]
    assert "CloseFlow s2-handshake-failed" in said(tunnel.send(b"first", rules.S14_FORWARD, 1.0))
    assert said(tunnel.send(b"second", rules.S14_FORWARD, 1.0)) == ["s4-tunnel-down"]


def test_leaving_is_the_clients_to_say() -> None:
    tunnel, client, _ = connected(*KEYS)
    client.outputs = [SendExit()]
    assert said(tunnel.stop(2.0)) == ["transmit s27-occ"]
    list(tunnel.closed(3.0))
    assert said(tunnel.stop(3.0)) == []
    assert said(established().stop(3.0)) == []
