"""A host that listens: both gateways' echo services speak with one that answers what they really sent.

The stories of ``grammar.py`` are written before they are played: their hosts guess what came back. This host sees it.
It acknowledges all or a part, repeats itself, closes its window and opens it, stays silent until a timer of the gateway
runs out, and so comes to the seventh retransmission or the fifth probe, where no story comes by chance.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from glassgate.conformance import packets
from glassgate.conformance.far_end import FarEnd
from glassgate.conformance.fuzz.grammar import GATEWAY, GATEWAY_MAC
from glassgate.conformance.fuzz.oracles import Judge, Output
from glassgate.conformance.fuzz.player import Player
from glassgate.conformance.fuzz.stories import TICKS_PER_SECOND
from glassgate.conformance.model import Bind, Checksum, Input, PacketInput, StartInput, TickInput, VectorPort
from glassgate.conformance.packets import ACK, FIN, PSH, RST, SYN, Arp, Ethernet, IPv4, Octets, Payload
from glassgate.conformance.subjects import discovery
from glassgate.contract import GatewayConfig, SeededEntropy

HOST, MAC = "10.38.2.5", "02:00:00:00:00:05"
FIRST = 0xFFFFF000
"""The host's initial sequence number: its numbers wrap after 4095 octets."""
WINDOWS = st.sampled_from((65535, 4000, 1461, 1000, 150, 100, 10, 1, 0))
SEGMENT_SIZES = st.sampled_from((28, 100, 536, 1460))
SCALES = st.sampled_from((b"", b"\1\3\3\0"))
SIZES = st.sampled_from((1, 99, 100, 101, 536, 700, 1460))
KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
CONFIG: dict[str, Any] = {
    "external": {"kind": "os"},
    "tunnel": {"session": {"send": KEY, "receive": KEY}},
    "services": {"tcp_echo": [7]},
}


class Pair:
    """Both gateways, given the same; what they do must be the same after normalisation."""

    def __init__(self) -> None:
        config = GatewayConfig.from_json(CONFIG)
        assert config.tunnel.session is not None
        self._judge = Judge(config)
        self._now = 0
        factories = [discovery.find(name).factory for name in ("reference", "optimized")]
        self._gateways = [factory(config, SeededEntropy(config.entropy)) for factory in factories]
        self._players = [Player(one, FarEnd(config.tunnel.session, config.tunnel.proto)) for one in self._gateways]

    def give(self, input_: Input) -> tuple[Output, ...]:
        """Give it to both; what both sent."""
        left, right = (player.turn(input_, self._now / TICKS_PER_SECOND) for player in self._players)
        assert not left.error, left.error
        assert not right.error, right.error
        for turn in (left, right):
            assert self._judge.broken_invariant(input_, turn) == ""
        sent = self._judge.normal(left.outputs)
        assert sent == self._judge.normal(right.outputs)
        assert sorted(left.rules) == sorted(right.rules)
        return sent

    def wait(self, ticks: int) -> tuple[Output, ...]:
        """Let time pass."""
        self._now += ticks
        return self.give(TickInput())

    def wait_until_due(self) -> tuple[Output, ...]:
        """Let time pass until the first of them has something to do."""
        due = min((one.deadline for one in self._gateways if one.deadline is not None), default=None)
        return self.wait(0 if due is None else max(0, math.ceil(due * TICKS_PER_SECOND) - self._now))


TALKING = precondition(lambda self: not self.is_over)


class Listener(RuleBasedStateMachine):
    """The host. What the gateway has sent counts from its SYN, which is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.sequence = FIRST
        self.heard = 0
        """Up to here everything has come."""
        self.acknowledged = 0
        self.window = 65535
        self.beyond: dict[int, int] = {}
        """Where segments that came too early begin, and end."""
        self.is_over = True

    def hear(self, outputs: tuple[Output, ...]) -> None:
        """Take the segments in; a closed window takes no text."""
        for output in outputs:
            packet = output.data[14:]
            if output.port != "internal" or len(packet) < 40 or packet[9] != 6:
                continue
            if packet[33] & RST:
                self.is_over = True
                continue
            start, flags = struct.unpack_from("!I", packet, 24)[0], packet[33]
            end = start + len(packet) - 20 - (packet[32] >> 4) * 4 + (flags >> 1 & 1) + (flags & FIN)
            if end <= max(self.acknowledged, 1) + self.window:
                self.beyond[start] = max(end, self.beyond.get(start, 0))
        while reached := [end for start, end in self.beyond.items() if start <= self.heard < end]:
            self.heard = max(reached)

    def send(self, flags: int, data: bytes = b"", ahead: int = 0, options: bytes = b"", **more: int) -> None:
        """Send a segment, ``ahead`` of where it should be, and take in the answer."""
        given: packets.Value = 0
        if flags & ACK:
            given = packets.bound("isn", self.acknowledged + more.get("acknowledges_ahead", 0))
        segment = packets.tcp(5000, 7, flags, sequence=(self.sequence + ahead) % 2**32, acknowledgment=given,
                              window=self.window, data=data, options=options)  # fmt: skip
        self.give(IPv4(source=HOST, destination=GATEWAY, payload=segment))

    def give(self, packet: IPv4) -> None:
        built = packet.build()
        frame = Ethernet(source=MAC, destination=GATEWAY_MAC, type=packets.TYPE_IPV4, payload=built).build()
        fill = tuple(one for one in frame.free if isinstance(one, Bind | Checksum))
        self.hear(self.pair.give(PacketInput(VectorPort.INTERNAL, frame.data, fill)))

    @initialize()
    def begins(self) -> None:
        self.pair.give(StartInput())

    def introduces_itself(self) -> None:
        arp = Arp(operation=packets.REQUEST, sender_hardware=MAC, sender_protocol=HOST, target_protocol=GATEWAY)
        frame = Ethernet(source=MAC, destination=packets.BROADCAST_MAC, type=packets.TYPE_ARP, payload=arp.build())
        self.pair.give(PacketInput(VectorPort.INTERNAL, frame.build().data))

    @rule(size=SEGMENT_SIZES, window=WINDOWS, scale=SCALES)
    @precondition(lambda self: self.is_over)
    def opens(self, size: int, window: int, scale: bytes) -> None:
        """The SYN, and the acknowledgement of the answer."""
        self.introduces_itself()
        self.heard = self.acknowledged = 0
        self.beyond.clear()
        self.is_over = False
        self.send(SYN, options=packets.maximum_segment_size(size) + scale)
        self.sequence += 1
        self.acknowledged, self.window = self.heard, window
        self.send(ACK)

    @rule()
    @TALKING
    def acknowledges(self) -> None:
        self.acknowledged = self.heard
        self.send(ACK)

    @rule(octets=SIZES)
    @TALKING
    def acknowledges_a_part(self, octets: int) -> None:
        self.acknowledged = min(self.heard, self.acknowledged + octets)
        self.send(ACK)

    @rule(window=WINDOWS)
    @TALKING
    def changes_its_window(self, window: int) -> None:
        self.window = window
        self.send(ACK)

    @rule(times=st.integers(2, 5))
    @TALKING
    def repeats_itself(self, times: int) -> None:
        for _ in range(times):
            self.send(ACK)

    @rule(octets=SIZES, acknowledges=st.booleans())
    @TALKING
    def speaks(self, octets: int, acknowledges: bool) -> None:
        if acknowledges:
            self.acknowledged = self.heard
        self.send(PSH | ACK, bytes(octets))
        self.sequence += octets

    @rule(
        flags=st.sampled_from((ACK, ACK, RST, SYN, SYN | ACK, 0)),
        ahead=st.sampled_from((-70000, -100, -1, 1, 100, 40000)),
        octets=st.sampled_from((0, 1, 100)),
        is_of_answer=st.booleans(),
    )
    @TALKING
    def is_disturbed(self, flags: int, ahead: int, octets: int, is_of_answer: bool) -> None:
        """A segment from an older connection, or a stranger's: its own number is wrong, or that of its answer."""
        if is_of_answer and flags & ACK:
            self.send(flags, bytes(octets), acknowledges_ahead=self.heard - self.acknowledged + ahead)
        else:
            self.send(flags, bytes(octets), ahead)

    @rule(octets=st.sampled_from((0, 10)))
    @precondition(lambda self: not self.is_over and self.sequence % 8 == 0)
    def ends(self, octets: int) -> None:
        self.send(FIN | ACK, bytes(octets))
        self.sequence += octets + 1

    @rule(mtu=st.sampled_from((0, 68, 296, 576, 1400)))
    @precondition(lambda self: not self.is_over and self.heard > self.acknowledged)
    def hears_that_it_was_too_big(self, mtu: int) -> None:
        sequence = packets.bound("isn", self.acknowledged)
        segment = packets.tcp(7, 5000, ACK, sequence=sequence, acknowledgment=0)
        quoted = IPv4(source=GATEWAY, destination=HOST, payload=segment, dont_fragment=True).build()
        quote = Octets(quoted.data[:28], tuple(one for one in quoted.free if one.end <= 28))
        message = Octets(bytes([3, 4, 0, 0, 0, 0]) + mtu.to_bytes(2, "big")) + quote
        summed = Octets(message.data, (Checksum(2, 4, "icmp"), *message.free))
        self.give(IPv4(source=HOST, destination=GATEWAY, payload=Payload(1, lambda *_: summed)))

    @rule(times=st.sampled_from((1, 1, 1, 2, 7)))
    @TALKING
    def waits_for_the_gateway(self, times: int) -> None:
        for _ in range(times):
            self.hear(self.pair.wait_until_due())

    @rule(ticks=st.sampled_from((1, 100, 512, 1023, 1024, 3000)))
    @TALKING
    def waits(self, ticks: int) -> None:
        self.hear(self.pair.wait(ticks))


def test_two_gateways_tell_a_listening_host_the_same() -> None:
    run_state_machine_as_test(Listener, settings=settings(max_examples=25, stateful_step_count=40, deadline=None))
