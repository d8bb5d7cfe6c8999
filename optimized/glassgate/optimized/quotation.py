"""Quotations: whose packet is an ICMP error about, and what would have fitted?

Below: ``ipv4.py``. Above: ``external.py`` and ``tcp_service.py``, which look for the connection that sent the packet.
Standards: RFC 792; RFC 1191 4, 7.1; RFC 5927 4.1.

    the error's data   |  IPv4 header as sent, 20 octets or more  | source port | destination port | sequence number |

Same contract as the reference's ``quotation.py``. Departures: none. Errors are rare, and each is read anew.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from glassgate.optimized.ipv4 import AT_FRAGMENT, FRAGMENT_OFFSET, SMALLEST_HEADER, header_length

MESSAGE = Struct(">BBHHH")
"""Type, code, checksum, unused, next-hop MTU."""
HEADER = Struct(">BBHHHBBHII")
TRANSPORT = Struct(">HHI")
"""Both ports, and the sequence number if it is TCP."""
SMALLEST_MTU = 68
PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, SMALLEST_MTU)
"""Sizes to try where a router does not say what fits (RFC 1191 7.1)."""


class Quote(NamedTuple):
    """What an error quotes of a packet: enough to tell whose it was (RFC 792)."""

    protocol: int
    source: int
    source_port: int
    destination: int
    destination_port: int
    sequence: int
    total_length: int

    def next_hop_mtu(self, said: int) -> int:
        """The size that would have fitted: as the error says, or the next usual size below the packet's."""
        return said or next((size for size in PLATEAUS if size < self.total_length), SMALLEST_MTU)


def read_quote(packet: memoryview, start: int, end: int) -> Quote | None:
    """The packet quoted at ``start``; None if that is no IPv4 packet, a later fragment, or too little of one."""
    if end - start < SMALLEST_HEADER:
        return None
    transport = start + header_length(packet, start)
    if packet[start] >> 4 != 4 or transport < start + SMALLEST_HEADER or end - transport < TRANSPORT.size:
        return None
    if int.from_bytes(packet[start + AT_FRAGMENT : start + AT_FRAGMENT + 2], "big") & FRAGMENT_OFFSET:
        return None
    _, _, total_length, _, _, _, protocol, _, source, destination = HEADER.unpack_from(packet, start)
    source_port, destination_port, sequence = TRANSPORT.unpack_from(packet, transport)
    return Quote(protocol, source, source_port, destination, destination_port, sequence, total_length)
