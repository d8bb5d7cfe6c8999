"""Quotations: whose packet is an ICMP error about?

Below: icmp.py reads the error. Above: ``external.py`` and ``gateway.py`` look for the connection that sent the packet,
and for the sequence number among those in flight: only then is the error believed. Standards: RFC 792;
RFC 1191 4, 5, 7; RFC 5927 4.1.

    the error's data   |  IPv4 header as sent, 20 octets or more  | source port | destination port | sequence number |

Not handled here: what becomes of the connection.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from glassgate.reference import icmp, ipv4
from glassgate.reference.tcp.connection import Endpoint
from glassgate.reference.tcp.sequence import SequenceNumber

QUOTED = struct.Struct("!HHI")
"""Both ports, and the sequence number if it is TCP."""
PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)
"""What to try when a router that drops does not say what it would take (RFC 1191 5; the plateaus of table 7-1)."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What an ICMP error quotes of a packet: enough to tell whose it was (RFC 792)."""

    protocol: int
    source: Endpoint
    destination: Endpoint
    sequence: SequenceNumber
    total_length: int


def quoted(octets: bytes) -> Quote | None:
    """What the data of an error quotes, or None: an IPv4 header and the 8 octets behind it, at least (RFC 792)."""
    header_length = (octets[0] & 0x0F) * 4 if octets else 0
    if header_length < ipv4.SHORTEST_HEADER or len(octets) < header_length + 8 or octets[0] >> 4 != ipv4.VERSION:
        return None
    if int.from_bytes(octets[6:8], "big") & ipv4.OFFSET_MASK:
        return None  # no transport header is in a later fragment
    source_port, destination_port, sequence = QUOTED.unpack_from(octets, header_length)
    return Quote(
        protocol=octets[9],
        source=Endpoint(IPv4Address(octets[12:16]), source_port),
        destination=Endpoint(IPv4Address(octets[16:20]), destination_port),
        sequence=SequenceNumber(sequence),
        total_length=int.from_bytes(octets[2:4], "big"),
    )


def is_too_big(error: icmp.Message) -> bool:
    """Whether a packet did not fit and was not to be fragmented."""
    return (error.type, error.code) == (icmp.DESTINATION_UNREACHABLE, 4)


def next_hop_mtu(error: icmp.Message, quote: Quote) -> int:
    """The size that would have fitted: as the error says, or the next usual size below that of the packet."""
    said = int.from_bytes(error.rest[2:], "big")
    return said or next((plateau for plateau in PLATEAUS if plateau < quote.total_length), PLATEAUS[-1])
