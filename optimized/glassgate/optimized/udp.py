"""UDP: a datagram to the echo service returns its data; a closed port is answered by an error.

Below: ``ipv4.py``, ``icmp.py``. Above: ``local.py``. Standards: RFC 768; RFC 862; RFC 1122 4.1.3.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          source port          |        destination port       |
    +-------------------------------+-------------------------------+
    |             length            |            checksum           |
    +-------------------------------+-------------------------------+

Same contract as the reference's ``udp.py``. Departures:

1. **A datagram becomes its echo in place, and keeps its checksum.** Ports and addresses only trade places, and a sum
   does not depend on order. Saves 2.8 µs at 1400 octets. A datagram that came without checksum gets one.
   Guard: ``test_optimized_udp.py``, against the sum of all octets.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct

from glassgate.contract import NoteKind, Rule, rules
from glassgate.optimized.buffers import Outgoing
from glassgate.optimized.checksum import is_transport_intact, pseudo_header_sum, transport_checksum
from glassgate.optimized.icmp import ADDRESS, DESTINATION_UNREACHABLE, PORT_UNREACHABLE, Icmp
from glassgate.optimized.ipv4 import (
    AT_DESTINATION,
    AT_SOURCE,
    PROTOCOL_UDP,
    SMALLEST_HEADER,
    describe,
    header_length,
)
from glassgate.optimized.output import Output, Side

HEADER = Struct(">HHHH")
HEADER_LENGTH = 8
ECHO_PORT = 7
CHARACTER_GENERATOR_PORT = 19

Quoted = tuple[memoryview, int, int]
"""What an error about a datagram quotes: the packet as received, or its first fragment as received."""


class Udp:
    """The gateway's UDP: one service, echo."""

    __slots__ = ("_echo_ports", "_icmp", "_outgoing", "_output")

    def __init__(self, echo_ports: Collection[int], outgoing: Outgoing, output: Output, icmp: Icmp) -> None:
        self._echo_ports = frozenset(echo_ports)
        self._outgoing = outgoing
        self._output = output
        self._icmp = icmp

    def receive(self, side: Side, packet: memoryview, start: int, end: int, quoted: Quoted, now: float) -> None:
        """Take a datagram to us (L2)."""
        # READ
        datagram = start + header_length(packet, start)
        if end - datagram < HEADER_LENGTH:
            return self._drop(rules.L2_TRUNCATED, packet, start, end)
        source_port, destination_port, length, checksum = HEADER.unpack_from(packet, datagram)
        source, destination = (ADDRESS.unpack_from(packet, start + at)[0] for at in (AT_SOURCE, AT_DESTINATION))
        # REFUSE
        if not HEADER_LENGTH <= length <= end - datagram:
            return self._drop(rules.L2_LENGTH, packet, start, end)
        stop = datagram + length  # l2-excess: what IP delivered beyond the length is ignored
        pseudo = pseudo_header_sum(source, destination, PROTOCOL_UDP, length)
        if checksum and not is_transport_intact(pseudo, packet[datagram:stop]):
            return self._drop(rules.L2_CHECKSUM, packet, start, end)
        if source_port == 0 or destination_port == 0:
            return self._drop(rules.L2_PORT_ZERO, packet, start, end)
        if destination_port not in self._echo_ports:
            self._drop(rules.L2_CLOSED_PORT, packet, start, end)
            self._icmp.error(
                side,
                *quoted,
                DESTINATION_UNREACHABLE,
                PORT_UNREACHABLE,
                now,
                rules.L2_CLOSED_PORT,
                source=destination,
            )
            return None
        if source_port in (ECHO_PORT, CHARACTER_GENERATOR_PORT):
            return self._drop(rules.L2_ECHO_LOOP, packet, start, end)
        # ANSWER
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DELIVERED, rules.L2_ECHO, describe(packet, start, end))
        HEADER.pack_into(packet, datagram, destination_port, source_port, length, checksum)
        if checksum == 0:  # l2-no-checksum: accepted, but our own datagrams have one
            checksum = transport_checksum(pseudo, packet[datagram:stop]) or 0xFFFF
            HEADER.pack_into(packet, datagram, destination_port, source_port, length, checksum)
        return self._output.send(
            side,
            packet,
            datagram - SMALLEST_HEADER,
            stop,
            protocol=PROTOCOL_UDP,
            source=destination,
            destination=source,
            now=now,
            because=rules.L2_ECHO,
        )

    def _drop(self, rule: Rule, packet: memoryview, start: int, end: int) -> None:
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DROPPED, rule, describe(packet, start, end))
