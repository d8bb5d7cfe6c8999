"""The maximum segment size of passing TCP connections: lowered in their SYNs, so that their segments fit the tunnel.

Below: ipv4.py. Above: forwarding.py, where the tunnel has a limit (``mssfix``, configured or pushed). This is the one
place where a packet in transit is looked into. Standards: OpenVPN mss.c mss_fixup_ipv4; PROTOCOL.md 14.2;
RFC 9293 3.1, 3.2 (header and options).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | offset|rsvd |N|C|E|U|A|P|R|S|F|             window            |   octets 12 to 15 of the TCP header
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |            checksum           |         urgent pointer        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |    kind (2)   |   length (4)  |      maximum segment size     |   one of the options, anywhere among them
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

What cannot be read is left as it is: it is the receiver's to refuse. Not handled here: connections over IPv6.
"""

from __future__ import annotations

from dataclasses import replace

from glassgate.reference import checksum
from glassgate.reference.ipv4 import PROTOCOL_TCP, Packet

SHORTEST_HEADER = 20
DATA_OFFSET_AT = 12
CONTROL_AT = 13
CHECKSUM_AT = 16
SYN = 0x02

END_OF_OPTIONS = 0
NO_OPERATION = 1
MAXIMUM_SEGMENT_SIZE = 2
MAXIMUM_SEGMENT_SIZE_LENGTH = 4


def clamp(packet: Packet, largest: int) -> Packet:
    """The packet, its maximum segment size lowered to ``largest`` octets if it is a SYN that announces more (S23)."""
    if packet.protocol != PROTOCOL_TCP or packet.fragment_offset > 0:
        return packet
    place = _announcement(packet.payload)
    if place is None:
        return packet
    announced = int.from_bytes(packet.payload[place : place + 2], "big")
    if announced <= largest:
        return packet
    segment = bytearray(packet.payload)
    segment[place : place + 2] = largest.to_bytes(2, "big")
    old, new = (announced, largest) if place % 2 == 0 else (_swapped(announced), _swapped(largest))
    received = int.from_bytes(segment[CHECKSUM_AT : CHECKSUM_AT + 2], "big")
    segment[CHECKSUM_AT : CHECKSUM_AT + 2] = checksum.update(received, old, new).to_bytes(2, "big")
    return replace(packet, payload=bytes(segment))


def _announcement(segment: bytes) -> int | None:
    """Where in a SYN the announced size stands, or None."""
    if len(segment) < SHORTEST_HEADER or not segment[CONTROL_AT] & SYN:
        return None
    end = min((segment[DATA_OFFSET_AT] >> 4) * 4, len(segment))
    place = SHORTEST_HEADER
    while place < end and segment[place] != END_OF_OPTIONS:
        if segment[place] == NO_OPERATION:
            place += 1
            continue
        length = segment[place + 1] if place + 1 < end else 0
        if length < 2 or place + length > end:
            return None
        if segment[place] == MAXIMUM_SEGMENT_SIZE and length == MAXIMUM_SEGMENT_SIZE_LENGTH:
            return place + 2
        place += length
    return None


def _swapped(word: int) -> int:
    """How a word that begins at an odd octet counts in the sum: its halves are in two words (RFC 1071 2 (B))."""
    return (word & 0xFF) << 8 | word >> 8
