"""UDP: is the datagram sound, and does a service listen on its port?

Below: ipv4.py (whole packets for the gateway itself). Above: the echo service of RFC 862, which is so small that it is
here. Standards: RFC 768; RFC 1122 4.1.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |          source port          |        destination port       |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |             length            |            checksum           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  payload …

The length counts the header. The checksum covers a pseudo header too (checksum.py). Not handled here: datagrams in
transit, which nobody looks into.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from glassgate.contract import Note, Rule, rules
from glassgate.reference import checksum
from glassgate.reference.ipv4 import PROTOCOL_UDP
from glassgate.reference.notes import Malformed, dropped

HEADER = struct.Struct("!HHHH")
ECHO_PORT = 7  # RFC 862
CHARACTER_GENERATOR_PORT = 19  # RFC 864


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram."""

    source_port: int
    destination_port: int
    payload: bytes
    has_checksum: bool = True
    """Whether it came with one: the sender may leave it out."""
    excess: int = 0
    """How many octets IP delivered beyond its length."""


@dataclass(frozen=True, slots=True)
class ClosedPort:
    """Nobody listens there."""

    port: int


def parse(octets: bytes, source: IPv4Address, destination: IPv4Address) -> Datagram:
    """Read a datagram that came from one address to the other. What follows its length is ignored (L2).

    Raises:
        Malformed: header or length is not all there, or a checksum that is not 0 does not add up.
    """
    if len(octets) < HEADER.size:
        raise Malformed(rules.L2_TRUNCATED, length=len(octets))
    source_port, destination_port, length, received_checksum = HEADER.unpack_from(octets)
    if not HEADER.size <= length <= len(octets):
        raise Malformed(rules.L2_LENGTH, length=length, octets=len(octets))
    excess = len(octets) - length
    octets = octets[:length]
    pseudo_header = checksum.pseudo_header(source, destination, PROTOCOL_UDP, length)
    has_checksum = received_checksum != 0
    if has_checksum and not checksum.is_good(pseudo_header + octets):
        raise Malformed(rules.L2_CHECKSUM, checksum=received_checksum)
    return Datagram(source_port, destination_port, octets[HEADER.size :], has_checksum, excess)


def build(datagram: Datagram, source: IPv4Address, destination: IPv4Address) -> bytes:
    """Write a datagram, with a checksum. One that computes to 0 is sent as 0xffff, for 0 says that there is none."""
    length = HEADER.size + len(datagram.payload)
    without = HEADER.pack(datagram.source_port, datagram.destination_port, length, 0) + datagram.payload
    pseudo_header = checksum.pseudo_header(source, destination, PROTOCOL_UDP, length)
    computed = checksum.compute(pseudo_header + without) or 0xFFFF
    return HEADER.pack(datagram.source_port, datagram.destination_port, length, computed) + datagram.payload


def receive(
    octets: bytes, source: IPv4Address, destination: IPv4Address, echo_ports: Collection[int]
) -> Iterator[Rule | Datagram | ClosedPort | Note]:
    """Take a datagram for the gateway itself: the echo of it, or why there is none, comes last (L2)."""
    # READ
    datagram = parse(octets, source, destination)
    if datagram.excess:
        yield rules.L2_EXCESS
    if not datagram.has_checksum:
        yield rules.L2_NO_CHECKSUM

    # REFUSE
    ports = {"source_port": datagram.source_port, "destination_port": datagram.destination_port}
    if 0 in ports.values():
        yield dropped(rules.L2_PORT_ZERO, **ports)
    elif datagram.destination_port not in echo_ports:
        yield ClosedPort(datagram.destination_port)
    elif datagram.source_port in (ECHO_PORT, CHARACTER_GENERATOR_PORT):
        yield dropped(rules.L2_ECHO_LOOP, **ports)

    # LEARN: nothing. The echo service keeps no state.

    # ANSWER
    else:
        yield Datagram(datagram.destination_port, datagram.source_port, datagram.payload)
