"""TCP: no port is open here yet, so each segment is answered as the standard says for a closed one; and MSS clamping.

Below: ``ipv4.py``. Above: ``local.py``, ``forwarding.py``. Standards: RFC 9293 3.1, 3.7.1, 3.10.7.1; OpenVPN mss.c.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          source port          |        destination port       |
    +-------------------------------+-------------------------------+
    |                        sequence number                        |
    +---------------------------------------------------------------+
    |                     acknowledgment number                     |
    +-------+-------+---------------+-------------------------------+
    | offset| rsrvd |     flags     |             window            |
    +-------+-------+---------------+-------------------------------+
    |            checksum           |         urgent pointer        |
    +-------------------------------+-------------------------------+

Same contract as the part of the reference's ``tcp`` that it covers. Departures:

1. **The maximum segment size is lowered in place**, the checksum by difference (RFC 1624). Guard:
   ``test_optimized_tcp.py``, against the sum of all octets.

Not handled: connections (the echo service over TCP).
"""

from __future__ import annotations

from struct import Struct

from glassgate.contract import NoteKind, Rule, rules
from glassgate.optimized.buffers import HEADROOM, Outgoing
from glassgate.optimized.checksum import adjusted, is_transport_intact, pseudo_header_sum, transport_checksum
from glassgate.optimized.icmp import ADDRESS
from glassgate.optimized.ipv4 import (
    AT_DESTINATION,
    AT_FRAGMENT,
    AT_PROTOCOL,
    AT_SOURCE,
    DONT_FRAGMENT,
    FRAGMENT_OFFSET,
    PROTOCOL_TCP,
    SMALLEST_HEADER,
    WORD,
    describe,
    header_length,
)
from glassgate.optimized.output import Output, Side

HEADER = Struct(">HHIIBBHHH")
HEADER_LENGTH = 20
AT_FLAGS = 13
AT_CHECKSUM = 16

FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10

OPTION_END = 0
OPTION_NO_OPERATION = 1
OPTION_MAXIMUM_SEGMENT_SIZE = 2


class Tcp:
    """The gateway's TCP, as long as it has no connections."""

    __slots__ = ("_outgoing", "_output")

    def __init__(self, outgoing: Outgoing, output: Output) -> None:
        self._outgoing = outgoing
        self._output = output

    def receive(self, side: Side, packet: memoryview, start: int, end: int, now: float) -> None:
        """Take a segment to us (L3)."""
        # READ
        segment = start + header_length(packet, start)
        length = end - segment
        if length < HEADER_LENGTH:
            return self._drop(rules.L3_TRUNCATED, packet, start, end)
        source_port, destination_port, sequence, acknowledgment, offset, flags, _, _, _ = HEADER.unpack_from(
            packet, segment
        )
        data_offset = (offset >> 4) * 4
        source, destination = (ADDRESS.unpack_from(packet, start + at)[0] for at in (AT_SOURCE, AT_DESTINATION))
        # REFUSE
        if not HEADER_LENGTH <= data_offset <= length:
            return self._drop(rules.L3_TRUNCATED, packet, start, end)
        pseudo = pseudo_header_sum(source, destination, PROTOCOL_TCP, length)
        if not is_transport_intact(pseudo, packet[segment:end]):
            return self._drop(rules.L3_CHECKSUM, packet, start, end)
        if source_port == 0 or destination_port == 0:
            return self._drop(rules.L3_PORT_ZERO, packet, start, end)
        if flags & RST:
            return self._drop(rules.L3_NO_RESET_TO_RESET, packet, start, end)
        # ANSWER: RFC 9293 3.10.7.1
        self._drop(rules.L3_CLOSED_PORT, packet, start, end)
        if flags & ACK:
            answer = (destination_port, source_port, acknowledgment, 0, 5 << 4, RST, 0, 0, 0)
        else:
            segment_length = length - data_offset + bool(flags & SYN) + bool(flags & FIN)
            expected = (sequence + segment_length) & 0xFFFFFFFF
            answer = (destination_port, source_port, 0, expected, 5 << 4, RST | ACK, 0, 0, 0)
        return self._reset(side, answer, destination, source, now)

    def _reset(self, side: Side, fields: tuple[int, ...], source: int, destination: int, now: float) -> None:
        work = self._output.work
        segment = HEADROOM + SMALLEST_HEADER
        stop = segment + HEADER_LENGTH
        HEADER.pack_into(work.octets, segment, *fields)
        pseudo = pseudo_header_sum(source, destination, PROTOCOL_TCP, HEADER_LENGTH)
        WORD.pack_into(work.octets, segment + AT_CHECKSUM, transport_checksum(pseudo, work.view[segment:stop]))
        self._output.send(
            side,
            work.view,
            HEADROOM,
            stop,
            protocol=PROTOCOL_TCP,
            source=source,
            destination=destination,
            now=now,
            because=rules.L3_CLOSED_PORT,
            fragment=DONT_FRAGMENT,
        )

    def _drop(self, rule: Rule, packet: memoryview, start: int, end: int) -> None:
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DROPPED, rule, describe(packet, start, end))


def clamp_maximum_segment_size(packet: memoryview, start: int, end: int, largest: int) -> None:
    """Lower the MSS option of a passing SYN to ``largest``, if it is above (S23_MSSFIX). Anything odd is left alone."""
    if packet[start + AT_PROTOCOL] != PROTOCOL_TCP:
        return
    if WORD.unpack_from(packet, start + AT_FRAGMENT)[0] & FRAGMENT_OFFSET:
        return
    segment = start + header_length(packet, start)
    if end - segment < HEADER_LENGTH or not packet[segment + AT_FLAGS] & SYN:
        return
    at = segment + HEADER_LENGTH
    stop = min(segment + (packet[segment + 12] >> 4) * 4, end)
    while at + 4 <= stop:
        option = packet[at]
        if option == OPTION_END:
            return
        if option == OPTION_NO_OPERATION:
            at += 1
            continue
        length = packet[at + 1]
        if length < 2:
            return
        if option == OPTION_MAXIMUM_SEGMENT_SIZE and length == 4:
            _lower(packet, segment, at + 2, largest)
        at += length


def _lower(packet: memoryview, segment: int, at: int, largest: int) -> None:
    """Lower the 16-bit value at ``at``; an odd position weighs the other way round in the checksum (RFC 1071 2 (B))."""
    value = WORD.unpack_from(packet, at)[0]
    if value <= largest:
        return
    checksum = WORD.unpack_from(packet, segment + AT_CHECKSUM)[0]
    WORD.pack_into(packet, at, largest)
    if (at - segment) & 1:
        value, largest = _swapped(value), _swapped(largest)
    WORD.pack_into(packet, segment + AT_CHECKSUM, adjusted(checksum, value, largest))


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8
