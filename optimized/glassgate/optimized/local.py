"""Local delivery: what is a packet that is for the gateway itself?

Below: ``fragments.py``, ``icmp.py``, ``udp.py``, ``tcp.py``. Above: ``forwarding.py``.
Standards: RFC 1812 5.2.3; RFC 1122 3.2.1.7, 3.2.2.1, 3.3.2.

The time to live is not looked at here (S11_TTL_IGNORED). Departures from the reference: none of its own; it hands on
buffer, start and end, and an answer may be made over the question.
"""

from __future__ import annotations

from glassgate.contract import GatewayConfig, NoteKind, rules
from glassgate.optimized.buffers import Outgoing
from glassgate.optimized.fragments import Reassembly
from glassgate.optimized.icmp import (
    ADDRESS,
    DESTINATION_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    REASSEMBLY_TIME_EXCEEDED,
    TIME_EXCEEDED,
    Icmp,
)
from glassgate.optimized.ipv4 import (
    AT_DESTINATION,
    AT_FRAGMENT,
    AT_PROTOCOL,
    FRAGMENT_OFFSET,
    MORE_FRAGMENTS,
    PROTOCOL_ICMP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    WORD,
    describe,
)
from glassgate.optimized.output import Output, Side
from glassgate.optimized.tcp import Tcp
from glassgate.optimized.tcp_service import EchoService
from glassgate.optimized.udp import Udp


class Local:
    """The internal stack above IPv4."""

    __slots__ = ("_icmp", "_outgoing", "_reassembly", "_service", "_tcp", "_udp")

    def __init__(
        self, config: GatewayConfig, outgoing: Outgoing, output: Output, icmp: Icmp, service: EchoService
    ) -> None:
        self._outgoing = outgoing
        self._reassembly = Reassembly(config.limits, outgoing)
        self._icmp = icmp
        self._udp = Udp(config.services.udp_echo, outgoing, output, icmp)
        self._tcp = Tcp(outgoing, output, service)
        self._service = service
        icmp.listener = service

    def receive(self, side: Side, packet: memoryview, start: int, end: int, now: float) -> None:
        """Take a valid packet to one of our addresses, whole or a fragment (S10, S28)."""
        quoted = packet, start, end  # s11-ttl-ignored: nothing here reads the time to live
        if WORD.unpack_from(packet, start + AT_FRAGMENT)[0] & (MORE_FRAGMENTS | FRAGMENT_OFFSET):
            whole = self._reassembly.receive(packet, start, end, side, now)
            if whole is None:
                return
            end, first = whole
            packet, start = self._reassembly.whole.view, 0
            quoted = memoryview(first), 0, len(first)
        protocol = packet[start + AT_PROTOCOL]
        if protocol == PROTOCOL_ICMP:
            self._icmp.receive(side, packet, start, end, now)
        elif protocol == PROTOCOL_UDP:
            self._udp.receive(side, packet, start, end, quoted, now)
        elif protocol == PROTOCOL_TCP:
            self._tcp.receive(side, packet, start, end, now)
        else:
            if self._outgoing.noting:
                self._outgoing.note(NoteKind.DROPPED, rules.L4_PROTOCOL, describe(packet, start, end))
            self._icmp.error(
                side,
                *quoted,
                DESTINATION_UNREACHABLE,
                PROTOCOL_UNREACHABLE,
                now,
                rules.L4_PROTOCOL,
                source=ADDRESS.unpack_from(packet, start + AT_DESTINATION)[0],
            )

    @property
    def deadline(self) -> float:
        """When ``tick`` is next due; infinity if never."""
        return min(self._reassembly.deadline, self._service.deadline)

    def tick(self, now: float) -> None:
        """Tell the senders of datagrams that did not become whole in time (S12_TIMEOUT); then TCP's timers."""
        for datagram in self._reassembly.tick(now):
            first = datagram.first
            assert first is not None
            assert isinstance(datagram.side, Side)
            quoted = memoryview(first)
            if self._outgoing.noting:
                self._outgoing.note(NoteKind.DROPPED, rules.S12_TIMEOUT, describe(quoted, 0, len(first)))
            self._icmp.error(
                datagram.side,
                quoted,
                0,
                len(first),
                TIME_EXCEEDED,
                REASSEMBLY_TIME_EXCEEDED,
                now,
                rules.S12_TIMEOUT,
            )
        self._service.tick(now)
