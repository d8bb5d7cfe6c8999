"""IPv4: is this a packet at all, and what does its header say?

Below: Ethernet inside, the tunnel's data channel outside. Above: fragments, ICMP, UDP, TCP, and forwarding, which
decides where a packet goes. Standards: RFC 791 3.1; RFC 1812 4.2.2.5, 5.2.2; RFC 1122 3.2.1.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |version|  IHL  |type of service|          total length         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |         identification        |0|D|M|    fragment offset      |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | time to live  |    protocol   |        header checksum        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                         source address                        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       destination address                     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |        options, padded to a multiple of 4 octets, then payload …
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

Version and lengths are not kept: they follow from the options and the payload. Not handled here: what the options
mean (options.py), and any look at the addresses (forwarding.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from glassgate.contract import rules
from glassgate.reference import checksum
from glassgate.reference.notes import Malformed

HEADER = struct.Struct("!BBHHHBBH4s4s")
SHORTEST_HEADER = 20
LONGEST_PACKET = 65535
VERSION = 4

RESERVED_FLAG = 0x8000
DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
OFFSET_MASK = 0x1FFF
OFFSET_UNIT = 8

PROTOCOL_ICMP = 1
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet. ``fragment_offset`` is in octets, a multiple of 8."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    payload: bytes
    type_of_service: int = 0
    identification: int = 0
    reserved_flag: bool = False
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    time_to_live: int = 64
    options: bytes = b""
    """As they stand in the header, padding included: a multiple of 4 octets."""
    header_checksum: int | None = None
    """As received, and kept right where the header changes; None lets ``build`` compute it."""

    @property
    def header_length(self) -> int:
        """In octets, options included."""
        return SHORTEST_HEADER + len(self.options)

    @property
    def total_length(self) -> int:
        """Header and payload."""
        return self.header_length + len(self.payload)

    @property
    def is_fragment(self) -> bool:
        """Whether this is a piece of a datagram and not the whole."""
        return self.more_fragments or self.fragment_offset > 0

    @property
    def fragment_end(self) -> int:
        """The octet of the datagram's payload that follows this packet's last."""
        return self.fragment_offset + len(self.payload)


def parse(octets: bytes) -> Packet:
    """Read a packet. What follows the total length is padding and is cut off (S9).

    Raises:
        Malformed: one of RFC 1812 5.2.2's conditions does not hold.
    """
    if len(octets) < SHORTEST_HEADER:
        raise Malformed(rules.S9_TRUNCATED, length=len(octets))
    (
        version_and_length,
        type_of_service,
        total_length,
        identification,
        flags_and_offset,
        time_to_live,
        protocol,
        header_checksum,
        source,
        destination,
    ) = HEADER.unpack_from(octets)
    version, header_length = version_and_length >> 4, (version_and_length & 0x0F) * 4
    if version != VERSION:
        raise Malformed(rules.S9_VERSION, version=version)
    if header_length < SHORTEST_HEADER:
        raise Malformed(rules.S9_HEADER_LENGTH, header_length=header_length)
    if total_length < header_length:
        raise Malformed(rules.S9_TOTAL_LENGTH_SHORT, total_length=total_length, header_length=header_length)
    if total_length > len(octets):
        raise Malformed(rules.S9_TOTAL_LENGTH_LONG, total_length=total_length, length=len(octets))
    if not checksum.is_good(octets[:header_length]):
        raise Malformed(rules.S9_CHECKSUM, header_checksum=header_checksum)
    return Packet(
        source=IPv4Address(source),
        destination=IPv4Address(destination),
        protocol=protocol,
        payload=octets[header_length:total_length],
        type_of_service=type_of_service,
        identification=identification,
        reserved_flag=bool(flags_and_offset & RESERVED_FLAG),
        dont_fragment=bool(flags_and_offset & DONT_FRAGMENT),
        more_fragments=bool(flags_and_offset & MORE_FRAGMENTS),
        fragment_offset=(flags_and_offset & OFFSET_MASK) * OFFSET_UNIT,
        time_to_live=time_to_live,
        options=octets[SHORTEST_HEADER:header_length],
        header_checksum=header_checksum,
    )


def build(packet: Packet) -> bytes:
    """Write a packet. One that ``parse`` gave is written as it was read, its checksum included."""
    assert len(packet.options) % 4 == 0
    assert packet.fragment_offset % OFFSET_UNIT == 0
    header = _header(packet, packet.header_checksum or 0)
    if packet.header_checksum is None:
        header = _header(packet, checksum.compute(header))
    return header + packet.payload


def _header(packet: Packet, header_checksum: int) -> bytes:
    flags = (
        (RESERVED_FLAG if packet.reserved_flag else 0)
        | (DONT_FRAGMENT if packet.dont_fragment else 0)
        | (MORE_FRAGMENTS if packet.more_fragments else 0)
    )
    fixed = HEADER.pack(
        VERSION << 4 | packet.header_length // 4,
        packet.type_of_service,
        packet.total_length,
        packet.identification,
        flags | packet.fragment_offset // OFFSET_UNIT,
        packet.time_to_live,
        packet.protocol,
        header_checksum,
        packet.source.packed,
        packet.destination.packed,
    )
    return fixed + packet.options


def decremented(packet: Packet) -> Packet:
    """The packet with its time to live less one, and nothing else changed (S17, S18).

    The checksum is adjusted, not computed anew: a header that was corrupted inside the gateway must not leave it with
    a good checksum (RFC 1812 4.2.2.5 has that reason). Time to live and protocol share the word that changes.
    """
    assert packet.time_to_live > 1
    assert packet.header_checksum is not None
    old = packet.time_to_live << 8 | packet.protocol
    return replace(
        packet,
        time_to_live=packet.time_to_live - 1,
        header_checksum=checksum.update(packet.header_checksum, old, old - 0x0100),
    )
