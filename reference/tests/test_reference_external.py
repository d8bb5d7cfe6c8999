"""The external stack: the router by ARP, one flow to the server by TCP or UDP, silence to everything else.

Frames from outside are made with dpkt, and frames that leave are read with it: an independent second opinion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.contract import Effect, ExternalStack, Limits, MacAddress, Note, Rule, SeededEntropy, Transmit, rules
from glassgate.reference.external import External
from glassgate.reference.flows import CONTROL_RESERVE, SEND_CAPACITY, FlowClosed, FlowOctets, FlowOpened, Server

CONFIG = ExternalStack()
OWN_MAC, ROUTER_MAC = CONFIG.mac, MacAddress.parse("02:00:c0:a8:01:01")
OWN, ROUTER, SERVER = (IPv4Address(text).packed for text in ("192.168.1.5", "192.168.1.1", "1.2.3.4"))
STRANGER = IPv4Address("1.2.3.5").packed
BROADCAST = b"\xff" * 6
TO_SERVER = Server(IPv4Address("1.2.3.4"), 1194, "tcp")
OVER_UDP = Server(IPv4Address("1.2.3.4"), 1194, "udp")
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
THEIRS = 5000
"""The server's initial sequence number."""


@dataclass
class World:
    """The stack, what it last did, and a clock."""

    stack: External
    now: float = 100.0
    news: list[object] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    frames: list[Any] = field(default_factory=list)
    rule_of_frames: list[Rule] = field(default_factory=list)

    def take(self, steps: Iterable[Effect | Rule | FlowOpened | FlowClosed | FlowOctets]) -> list[Any]:
        """Let it happen; the frames that leave, read by dpkt."""
        self.news, self.rules, self.frames, self.rule_of_frames = [], [], [], []
        for step in steps:
            if isinstance(step, Transmit):
                self.frames.append(dpkt.ethernet.Ethernet(step.data))
                self.rule_of_frames.append(step.because)
                assert self.frames[-1].src == OWN_MAC
            elif isinstance(step, Note):
                self.rules.append(step.rule)
            elif not isinstance(step, Rule):
                self.news.append(step)
        return self.frames

    def receive(self, frame: bytes) -> list[Any]:
        return self.take([*self.stack.tick(self.now), *self.stack.receive(frame, self.now)])

    def wait(self, seconds: float) -> list[Any]:
        """Let time pass, every deadline kept."""
        end = self.now + seconds
        steps: list[Any] = []
        while self.stack.deadline is not None and self.stack.deadline <= end:
            self.now = self.stack.deadline
            steps += self.stack.tick(self.now)
        self.now = end
        return self.take(steps)

    def open(self, server: Server = TO_SERVER) -> list[Any]:
        return self.take(self.stack.open(server, self.now))

    def send(self, octets: bytes) -> list[Any]:
        return self.take(self.stack.send(octets, self.now))

    # ── the server's side of the connection ──────────────────────────────────────────────────────────────────────────

    def syn_sent(self) -> Any:
        """Open by a router that is known; the SYN."""
        self.receive(arp(dpkt.arp.ARP_OP_REPLY))
        [frame] = self.open()
        return frame.data.data

    def connect(self) -> Any:
        """Complete the handshake; the SYN."""
        syn = self.syn_sent()
        self.receive(segment(syn, SYN | ACK, seq=THEIRS, ack=syn.seq + 1, opts=bytes.fromhex("020405b4")))
        assert FlowOpened() in self.news
        return syn


def world(config: ExternalStack = CONFIG, seed: bytes = b"outside") -> World:
    return World(External(config, Limits(), SeededEntropy(seed), True))


def arp(operation: int, sender: bytes = ROUTER, target: bytes = OWN, to: bytes = OWN_MAC) -> bytes:
    packet = dpkt.arp.ARP(op=operation, sha=ROUTER_MAC, spa=sender, tha=OWN_MAC, tpa=target)
    return bytes(dpkt.ethernet.Ethernet(dst=to, src=ROUTER_MAC, type=0x0806, data=packet))


def packet(protocol: int, payload: object, source: bytes = SERVER, destination: bytes = OWN, **header: int) -> bytes:
    ip = dpkt.ip.IP(src=source, dst=destination, p=protocol, ttl=60, data=payload, **header)
    return bytes(dpkt.ethernet.Ethernet(dst=OWN_MAC, src=ROUTER_MAC, type=0x0800, data=bytes(ip)))


def segment(
    syn: Any, flags: int, seq: int = THEIRS + 1, ack: int = 0, text: bytes = b"", opts: bytes = b"", win: int = 60_000
) -> bytes:
    """A segment of the server's, in answer to our SYN."""
    tcp = dpkt.tcp.TCP(
        sport=syn.dport, dport=syn.sport, seq=seq, ack=ack % 2**32, flags=flags, win=win, data=text, opts=opts
    )
    tcp.off = 5 + len(opts) // 4
    return packet(6, tcp)


def icmp(type_: int, code: int, quote: bytes, rest: bytes = bytes(4), source: bytes = ROUTER) -> bytes:
    message = bytes([type_, code, 0, 0]) + rest + quote
    total = sum(message[at] << 8 | (message + b"\0")[at + 1] for at in range(0, len(message), 2))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    return packet(1, message[:2] + checksum.to_bytes(2, "big") + message[4:], source=source)


def own_packet(tcp: Any) -> bytes:
    """The IPv4 packet that carried this segment of ours."""
    return bytes(dpkt.ip.IP(src=OWN, dst=SERVER, p=6, data=tcp))


def flags(frames: list[Any]) -> list[int]:
    return [frame.data.data.flags for frame in frames]


# ── the router, and the SYN (S2) ─────────────────────────────────────────────────────────────────────────────────────


def test_the_external_address_is_announced_twice() -> None:
    outside = world()

    [first] = outside.take(outside.stack.start(outside.now))
    [second] = outside.wait(2)

    for frame in (first, second):
        assert frame.dst == BROADCAST
        assert (frame.data.op, frame.data.spa, frame.data.tpa) == (dpkt.arp.ARP_OP_REQUEST, OWN, OWN)


def test_the_first_frame_asks_for_the_router_and_the_syn_goes_to_its_address() -> None:
    outside = world()

    [request] = outside.open()
    assert request.dst == BROADCAST
    assert (request.data.op, request.data.tpa) == (dpkt.arp.ARP_OP_REQUEST, ROUTER)

    [frame] = outside.receive(arp(dpkt.arp.ARP_OP_REPLY))
    ip, tcp = frame.data, frame.data.data
    assert frame.dst == ROUTER_MAC
    assert (ip.src, ip.dst, ip.p, ip.ttl, ip.df, ip.mf, ip.tos) == (OWN, SERVER, 6, 64, 1, 0, 0)
    assert (tcp.dport, tcp.flags, tcp.ack) == (1194, SYN, 0)
    assert 49152 <= tcp.sport <= 65535
    assert dpkt.tcp.parse_opts(tcp.opts) == [(2, (1460).to_bytes(2, "big")), (1, b""), (3, b"\x05")]


def test_the_segment_size_comes_from_the_external_mtu() -> None:
    outside = world(ExternalStack(mtu=576))

    assert dpkt.tcp.parse_opts(outside.syn_sent().opts)[0] == (2, (536).to_bytes(2, "big"))


def test_while_arp_waits_for_the_router_the_flow_s_time_stands_still() -> None:
    outside = world()
    outside.open()
    outside.wait(2.5)

    frames = outside.receive(arp(dpkt.arp.ARP_OP_REPLY))

    assert flags(frames) == [SYN]
    assert flags(outside.wait(0.99)) == []
    assert flags(outside.wait(0.02)) == [SYN]


def test_a_router_that_stays_silent_ends_the_attempt() -> None:
    outside = world()
    outside.open()

    requests = outside.wait(2.9)
    assert [frame.data.tpa for frame in requests] == [ROUTER, ROUTER]
    assert outside.news == []
    assert outside.wait(0.1) == []
    assert outside.news == [FlowClosed()]
    assert rules.S2_ROUTER_SILENT in outside.rules


def test_while_the_router_counts_as_missing_an_attempt_ends_at_once() -> None:
    outside = world()
    outside.open()
    outside.wait(3.5)

    assert outside.open() == []

    assert outside.news == [FlowClosed()]


def test_a_syn_that_nobody_answers_ends_the_attempt_after_three_minutes() -> None:
    outside = world()
    outside.syn_sent()

    frames = outside.wait(182)
    assert flags(frames) == [SYN] * 7
    assert outside.wait(2) == []
    assert outside.news == [FlowClosed()]
    assert rules.S2_UNANSWERED in outside.rules


def test_a_reset_refuses_the_attempt() -> None:
    outside = world()
    syn = outside.syn_sent()

    outside.receive(segment(syn, RST | ACK, seq=0, ack=syn.seq + 1))

    assert outside.news == [FlowClosed()]
    assert rules.S2_REFUSED in outside.rules


def test_a_question_that_the_full_arp_table_forgot_is_asked_again() -> None:
    outside = World(External(CONFIG, Limits(arp_neighbours=1), SeededEntropy(b"full"), True))
    outside.open()
    outside.receive(arp(dpkt.arp.ARP_OP_REQUEST, sender=IPv4Address("192.168.1.77").packed))
    assert rules.S31_TABLE_FULL in outside.rules

    frames = outside.wait(4)

    assert [frame.data.tpa for frame in frames] == [ROUTER]
    assert flags(outside.receive(arp(dpkt.arp.ARP_OP_REPLY))) == [SYN]


def test_a_server_on_the_external_network_is_asked_for_itself() -> None:
    outside = world()

    [request] = outside.open(Server(IPv4Address("192.168.1.9"), 1194, "tcp"))

    assert request.data.tpa == IPv4Address("192.168.1.9").packed


def test_each_attempt_has_a_port_of_its_own() -> None:
    outside = world()
    ports = {outside.syn_sent().sport}
    for _ in range(5):
        ports.add(outside.open()[0].data.data.sport)

    assert len(ports) > 4


def test_the_port_drawn_twice_in_a_row_is_not_used_twice() -> None:
    outside = World(External(CONFIG, Limits(), bytes, True))  # every draw is zero

    ports = [outside.syn_sent().sport] + [outside.open()[0].data.data.sport for _ in range(3)]

    assert ports == [49152, 49153, 49154, 49152]


# ── the flow (S3) ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_handshake_opens_the_flow() -> None:
    outside = world()
    syn = outside.syn_sent()

    [answer] = outside.receive(segment(syn, SYN | ACK, seq=THEIRS, ack=syn.seq + 1))

    assert outside.news == [FlowOpened()]
    assert (answer.data.data.flags, answer.data.data.ack) == (ACK, THEIRS + 1)


def test_octets_leave_at_once_and_each_record_whole() -> None:
    outside = world()
    syn = outside.connect()

    [first] = outside.send(b"one")
    [second] = outside.send(b"two")

    assert [first.data.data.data, second.data.data.data] == [b"one", b"two"]
    assert second.data.data.seq == (syn.seq + 4) % 2**32
    assert outside.rule_of_frames == [rules.S25_OUTER_ADDRESSES]


def test_octets_that_arrive_are_handed_up_in_order() -> None:
    outside = world()
    syn = outside.connect()

    outside.receive(segment(syn, ACK, THEIRS + 4, syn.seq + 1, b"def"))
    assert outside.news == []
    [answer] = outside.receive(segment(syn, ACK, THEIRS + 1, syn.seq + 1, b"abc"))

    assert outside.news == [FlowOctets(b"abcdef")]
    assert answer.data.data.ack == THEIRS + 7


def test_what_has_no_room_is_dropped_whole() -> None:
    outside = world()
    syn = outside.connect()
    outside.receive(segment(syn, ACK, ack=syn.seq + 1, win=0))
    while outside.stack.room >= 2000:
        outside.send(bytes(2000))
    queued = -1
    while rules.S3_DROP_BEFORE_ID not in outside.rules:
        queued += 1
        outside.send(bytes(2000))

    # What a gateway may not send as data is kept for the control channel, and that is bounded too.
    assert queued in (CONTROL_RESERVE // 2000, CONTROL_RESERVE // 2000 + 1)
    assert outside.stack.room < SEND_CAPACITY - CONTROL_RESERVE


def test_before_the_first_attempt_there_is_no_room() -> None:
    assert world().stack.room == 0


def test_a_lost_segment_is_sent_again() -> None:
    outside = world()
    outside.connect()
    outside.send(b"record")

    [again] = outside.wait(1)

    assert again.data.data.data == b"record"
    assert outside.rule_of_frames == [rules.L3_RETRANSMIT]


def test_a_router_that_falls_silent_later_does_not_end_the_flow() -> None:
    outside = world()
    outside.connect()
    outside.wait(1300)  # its ARP entry has expired
    outside.send(b"record")

    outside.wait(3)

    assert outside.news == []
    assert rules.S31_GIVE_UP in outside.rules
    outside.wait(0.9)
    outside.receive(arp(dpkt.arp.ARP_OP_REQUEST))  # the router is back
    [again] = outside.wait(1)
    assert again.data.data.data == b"record"


# ── the end of the flow (S3, S4) ─────────────────────────────────────────────────────────────────────────────────────


def test_a_fin_of_the_server_ends_the_flow_in_order() -> None:
    outside = world()
    syn = outside.connect()

    [answer] = outside.receive(segment(syn, FIN | ACK, ack=syn.seq + 1, text=b"last"))
    assert outside.news == [FlowOctets(b"last"), FlowClosed()]
    assert (answer.data.data.flags, answer.data.data.ack) == (FIN | ACK, THEIRS + 6)

    assert flags(outside.wait(1)) == [FIN | ACK]  # until it is acknowledged
    assert outside.receive(segment(syn, ACK, seq=THEIRS + 6, ack=syn.seq + 2)) == []
    assert outside.news == []
    assert outside.wait(500) == []


def test_a_reset_of_the_server_ends_the_flow() -> None:
    outside = world()
    syn = outside.connect()

    assert outside.receive(segment(syn, RST)) == []

    assert outside.news == [FlowClosed()]


def test_a_flow_that_is_given_up_is_reset_and_tells_nobody() -> None:
    outside = world()
    syn = outside.connect()

    [reset] = outside.take(outside.stack.abort(rules.S3_BAD_LENGTH, outside.now))

    assert (reset.data.data.flags, reset.data.data.seq) == (RST, (syn.seq + 1) % 2**32)
    assert outside.news == []
    assert outside.wait(500) == []


def test_a_gateway_that_stops_sends_what_waits_and_a_fin() -> None:
    outside = world()
    syn = outside.connect()
    outside.receive(segment(syn, ACK, ack=syn.seq + 1, win=0))
    assert outside.send(b"exit") == []
    assert outside.take(outside.stack.close(outside.now)) == []

    [last] = outside.receive(segment(syn, ACK, ack=syn.seq + 1))
    assert (last.data.data.data, last.data.data.flags) == (b"exit", FIN | PSH | ACK)
    outside.receive(segment(syn, FIN | ACK, ack=syn.seq + 6))
    assert outside.news == []
    assert outside.take(outside.stack.abort(rules.L3_ABORT, outside.now)) == []
    assert outside.take(outside.stack.close(outside.now)) == []


def test_a_gateway_that_stops_before_it_began_or_over_udp_has_nothing_to_close() -> None:
    outside = world()
    assert outside.take(outside.stack.close(outside.now)) == []
    outside.open(OVER_UDP)
    assert outside.take(outside.stack.close(outside.now)) == []


def test_a_flow_whose_segments_nobody_acknowledges_is_given_up_and_reset() -> None:
    outside = world()
    outside.connect()
    outside.send(b"record")

    frames = outside.wait(124)

    assert flags(frames) == [PSH | ACK] * 6 + [RST]
    assert outside.news == [FlowClosed()]


def test_what_still_comes_for_a_flow_that_is_over_is_reset_and_resets_are_not() -> None:
    outside = world()
    syn = outside.connect()
    outside.take(outside.stack.abort(rules.L3_ABORT, outside.now))

    [answer] = outside.receive(segment(syn, ACK, ack=syn.seq + 7, text=b"late"))
    assert (answer.data.data.flags, answer.data.data.seq) == (RST, (syn.seq + 7) % 2**32)
    assert outside.rules == [rules.L3_CLOSED_PORT]
    assert outside.receive(segment(syn, RST)) == []
    assert outside.rules == [rules.L3_NO_RESET_TO_RESET]
    assert outside.news == []


def test_the_flow_before_may_finish_while_the_next_begins() -> None:
    outside = world()
    old = outside.connect()
    outside.receive(segment(old, FIN | ACK, ack=old.seq + 1))

    [new] = outside.open()
    frames = outside.wait(1)
    assert sorted(flags(frames)) == [SYN, FIN | ACK]
    outside.receive(segment(old, ACK, seq=THEIRS + 2, ack=old.seq + 2))
    assert flags(outside.wait(2)) == [SYN]
    outside.receive(segment(new.data.data, SYN | ACK, seq=9, ack=new.data.data.seq + 1))
    assert outside.news == [FlowOpened()]


def test_a_server_that_opens_and_ends_at_once_is_heard_out() -> None:
    outside = world()
    syn = outside.syn_sent()

    outside.receive(segment(syn, SYN | FIN | ACK, seq=THEIRS, ack=syn.seq + 1))

    assert outside.news == [FlowClosed()]


# ── silence (S25) ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_arp_for_the_external_address_is_answered_and_for_others_not() -> None:
    outside = world()

    [reply] = outside.receive(arp(dpkt.arp.ARP_OP_REQUEST))
    assert (reply.dst, reply.data.op, reply.data.sha) == (ROUTER_MAC, dpkt.arp.ARP_OP_REPLY, OWN_MAC)
    assert outside.rule_of_frames == [rules.S25_ARP_REPLY]
    assert outside.receive(arp(dpkt.arp.ARP_OP_REQUEST, target=IPv4Address("192.168.1.6").packed)) == []


STRANGE = {
    "an echo request": packet(1, bytes.fromhex("0800f7ff00000000")),
    "a SYN to a service": packet(6, dpkt.tcp.TCP(sport=9, dport=7, flags=SYN)),
    "a datagram to a service": packet(17, dpkt.udp.UDP(sport=9, dport=7, ulen=8)),
    "another protocol": packet(47, bytes(20)),
    "a packet to another address": packet(6, dpkt.tcp.TCP(sport=1194, dport=7), destination=STRANGER),
    "a packet to the internal address": packet(
        6, dpkt.tcp.TCP(sport=9, dport=7, flags=SYN), destination=IPv4Address("10.38.2.1").packed
    ),
    "a fragment from a stranger": packet(6, bytes(8), source=STRANGER, mf=1),
    "nothing after the header": packet(6, b""),
}


@pytest.mark.parametrize("frame", STRANGE.values(), ids=STRANGE.keys())
def test_everything_else_is_met_with_silence(frame: bytes) -> None:
    outside = world()
    outside.connect()

    assert outside.receive(frame) == []

    assert outside.rules == [rules.S25_SILENCE]
    assert outside.news == []


@pytest.mark.parametrize(
    "change", [{"sport": 1195}, {"dport": 1}, {"source": STRANGER}], ids=["their port", "our port", "their address"]
)
def test_a_segment_of_another_connection_is_met_with_silence(change: dict[str, Any]) -> None:
    outside = world()
    syn = outside.connect()
    tcp = dpkt.tcp.TCP(
        sport=change.get("sport", 1194),
        dport=change.get("dport", syn.sport),
        seq=THEIRS + 1,
        flags=RST,
    )

    assert outside.receive(packet(6, tcp, source=change.get("source", SERVER))) == []

    assert outside.rules == [rules.S25_SILENCE]


def test_unreadable_frames_end_with_their_rule() -> None:
    outside = world()
    syn = outside.connect()
    spoiled = bytearray(segment(syn, ACK, ack=syn.seq + 1, text=b"x"))
    spoiled[-1] ^= 1

    for frame, rule in (
        (bytes(13), rules.S5_RUNT),
        (bytes(spoiled), rules.L3_CHECKSUM),
        (packet(6, b"")[:20], rules.S9_TRUNCATED),
        (packet(1, b"\x03"), rules.L1_TRUNCATED),
        (bytes(OWN_MAC + ROUTER_MAC) + b"\x12\x34", rules.S5_UNKNOWN_TYPE),
    ):
        assert outside.receive(frame) == []
        assert outside.rules == [rule]


def test_a_segment_in_fragments_is_joined() -> None:
    outside = world()
    syn = outside.connect()
    tcp = segment(syn, ACK, ack=syn.seq + 1, text=b"twelve octets")[34:]

    outside.receive(packet(6, tcp[:24], mf=1, id=7))
    outside.receive(packet(6, tcp[24:], offset=24 // 8, id=7))

    assert outside.news == [FlowOctets(b"twelve octets")]


def test_a_segment_whose_fragments_do_not_all_come_is_forgotten() -> None:
    outside = world()
    outside.connect()
    outside.receive(packet(6, bytes(24), mf=1, id=7))

    assert outside.wait(61) == []

    assert outside.rules == [rules.S12_TIMEOUT_SILENT]


# ── ICMP errors (L4) ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_too_big_has_the_record_sent_again_in_smaller_segments() -> None:
    outside = world()
    outside.connect()
    [sent] = outside.send(bytes(1460))

    frames = outside.receive(icmp(3, 4, own_packet(sent.data.data)[:28], bytes([0, 0, 4, 0])))

    assert [len(frame.data.data.data) for frame in frames] == [984, 476]
    assert rules.L4_FLOW_ERROR in outside.rules


def test_a_packet_too_big_without_a_size_means_the_next_plateau() -> None:
    outside = world()
    outside.connect()
    [sent] = outside.send(bytes(1460))

    frames = outside.receive(icmp(3, 4, own_packet(sent.data.data)[:28]))

    assert [len(frame.data) for frame in frames] == [1492, 20 + 20 + 8]


def test_an_error_about_a_sequence_number_not_in_flight_is_ignored() -> None:
    outside = world()
    outside.connect()
    [sent] = outside.send(bytes(1460))
    sent.data.data.seq = (sent.data.data.seq + 1460) % 2**32

    assert outside.receive(icmp(3, 4, own_packet(sent.data.data), bytes([0, 0, 4, 0]))) == []

    assert outside.rules == [rules.S25_FOREIGN_ERROR]


@pytest.mark.parametrize("code", [2, 3])
def test_an_unreachable_port_or_protocol_ends_an_attempt(code: int) -> None:
    outside = world()
    syn = outside.syn_sent()

    outside.receive(icmp(3, code, own_packet(syn)))

    assert outside.news == [FlowClosed()]
    assert rules.S2_REFUSED in outside.rules


@pytest.mark.parametrize(("type_", "code"), [(3, 0), (3, 1), (3, 3), (11, 0), (12, 0)])
def test_no_error_but_a_packet_too_big_matters_to_an_open_flow(type_: int, code: int) -> None:
    outside = world()
    outside.connect()
    [sent] = outside.send(b"record")

    assert outside.receive(icmp(type_, code, own_packet(sent.data.data))) == []

    assert outside.news == []
    assert outside.rules == [rules.L4_FLOW_ERROR]


@pytest.mark.parametrize("type_", [0, 4, 5, 13])
def test_messages_that_are_no_errors_are_met_with_silence(type_: int) -> None:
    outside = world()
    syn = outside.syn_sent()

    assert outside.receive(icmp(type_, 0, own_packet(syn))) == []

    assert outside.rules == [rules.S25_SILENCE]


@pytest.mark.parametrize("length", [0, 1, 19, 27])
def test_an_error_that_quotes_too_little_is_foreign(length: int) -> None:
    outside = world()
    syn = outside.syn_sent()

    outside.receive(icmp(3, 3, own_packet(syn)[:length]))

    assert outside.rules == [rules.S25_FOREIGN_ERROR]


def test_an_error_about_somebody_else_s_packet_is_foreign() -> None:
    outside = world()
    syn = outside.syn_sent()
    syn.dport = 1195

    outside.receive(icmp(3, 3, own_packet(syn)))

    assert outside.rules == [rules.S25_FOREIGN_ERROR]
    assert outside.news == []


# ── the flow over UDP ────────────────────────────────────────────────────────────────────────────────────────────────


def test_over_udp_the_flow_is_open_at_once_and_datagrams_wait_for_the_router() -> None:
    outside = world()

    assert outside.open(OVER_UDP) == []
    assert outside.news == [FlowOpened()]
    [request] = outside.send(b"record")
    assert request.data.tpa == ROUTER
    [frame] = outside.receive(arp(dpkt.arp.ARP_OP_REPLY))

    ip, datagram = frame.data, frame.data.data
    assert frame.dst == ROUTER_MAC
    assert (ip.src, ip.dst, ip.p, ip.df) == (OWN, SERVER, 17, 0)
    assert (datagram.dport, datagram.data) == (1194, b"record")


def test_over_udp_a_datagram_of_the_server_is_handed_up_whole() -> None:
    outside = world()
    outside.receive(arp(dpkt.arp.ARP_OP_REPLY))
    outside.open(OVER_UDP)
    [frame] = outside.send(b"record")

    outside.receive(packet(17, dpkt.udp.UDP(sport=1194, dport=frame.data.data.sport, ulen=13, data=b"reply")))

    assert outside.news == [FlowOctets(b"reply")]


def test_over_udp_a_large_record_leaves_in_fragments() -> None:
    outside = world()
    outside.receive(arp(dpkt.arp.ARP_OP_REPLY))
    outside.open(OVER_UDP)

    frames = outside.send(bytes(1500))

    assert [(frame.data.offset, frame.data.mf, len(frame.data)) for frame in frames] == [
        (0, 1, 1500),
        (1480 // 8, 0, 20 + 28),
    ]


def test_over_udp_neither_errors_nor_a_silent_router_end_the_flow() -> None:
    outside = world()
    outside.open(OVER_UDP)
    outside.send(b"record")
    outside.send(b"another")
    outside.wait(3)
    assert outside.rules.count(rules.S2_ROUTER_SILENT) == 1
    assert outside.news == []

    outside.receive(arp(dpkt.arp.ARP_OP_REQUEST))
    [frame] = outside.send(b"record")
    outside.receive(icmp(3, 3, bytes(frame.data)))
    assert outside.rules == [rules.L4_FLOW_ERROR]
    assert outside.news == []


def test_over_udp_giving_up_sends_nothing() -> None:
    outside = world()
    outside.open(OVER_UDP)

    assert outside.take(outside.stack.abort(rules.S26_PING_RESTART, outside.now)) == []
    assert outside.stack.room > 65_000


# ── hostile frames ───────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["octets", "tcp", "icmp", "ip"]), st.binary(max_size=60)), max_size=10))
def test_no_frames_raise(story: list[tuple[str, bytes]]) -> None:
    outside = world()
    syn = outside.connect()
    for kind, octets in story:
        match kind:
            case "octets":
                frame = bytes(OWN_MAC + ROUTER_MAC) + octets
            case "tcp":
                frame = segment(syn, octets[0] & 63 if octets else 0, THEIRS + len(octets), syn.seq + 1, octets)
            case "icmp":
                frame = icmp(3, 4, octets)
            case _:
                frame = packet(6, octets)
        sent = outside.receive(frame) + outside.wait(0.1)
        assert all(step.src == OWN_MAC for step in sent)


def test_addresses_come_from_the_configuration() -> None:
    config = ExternalStack(
        mac=MacAddress.parse("02:00:00:00:00:09"),
        address=IPv4Interface("172.16.5.2/30"),
        gateway=IPv4Address("172.16.5.1"),
    )
    stack = External(config, Limits(), SeededEntropy(b""), True)

    [request] = [step for step in stack.open(TO_SERVER, 0.0) if isinstance(step, Transmit)]

    frame = dpkt.ethernet.Ethernet(request.data)
    assert frame.src == config.mac
    assert (frame.data.spa, frame.data.tpa) == (config.address.ip.packed, config.gateway.packed)
