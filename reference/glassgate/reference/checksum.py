"""The Internet checksum: the one sum that IPv4, ICMP, UDP and TCP share.

It answers: do these octets add up, and which 16 bits make them add up? The sum is over 16-bit words in one's
complement arithmetic: a carry out of the top is added at the bottom. An odd last octet counts as if a zero followed.
That sum has two zeros, 0x0000 and 0xffff. Only words that are all zero sum to 0x0000, so the checksum of anything
else, the complement of its sum, is never 0xffff.

Standards: RFC 1071 (the sum), RFC 1624 3 (changing one word of what is summed), RFC 768 and RFC 9293 3.1
(the pseudo header). Nothing is below this file.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address


def one_complement_sum(octets: bytes) -> int:
    """The 16-bit one's complement sum of ``octets`` (RFC 1071 1).

    >>> hex(one_complement_sum(bytes.fromhex("0001 f203 f4f5 f6f7")))
    '0xddf2'
    """
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def compute(octets: bytes) -> int:
    """The checksum of ``octets``, in which the checksum's own field is zero.

    >>> hex(compute(bytes.fromhex("0001 f203 f4f5 f6f7")))
    '0x220d'
    """
    return ~one_complement_sum(octets) & 0xFFFF


def is_good(octets: bytes) -> bool:
    """Whether ``octets``, their checksum among them, add up.

    >>> is_good(bytes.fromhex("0001 f203 f4f5 f6f7 220d"))
    True
    """
    return one_complement_sum(octets) == 0xFFFF


def update(checksum: int, old: int, new: int) -> int:
    """The checksum after one 16-bit word of what it covers changed from ``old`` to ``new``.

    RFC 1624 3, equation 3: HC' = ~(~HC + ~m + m'). Adding complements, and not subtracting as RFC 1141 did, is what
    keeps a checksum of 0x0000 from turning into 0xffff. The RFC's own example:

    >>> hex(update(0xDD2F, 0x5555, 0x3285))
    '0x0'
    """
    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: IPv4Address, destination: IPv4Address, protocol: int, length: int) -> bytes:
    """What UDP and TCP sum in front of their own octets, so that a packet gone astray does not add up.

    ``length`` is that of the UDP datagram or TCP segment, header included.

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                         source address                        |
        |                      destination address                      |
        |      zero     |    protocol   |             length            |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    """
    return source.packed + destination.packed + struct.pack("!BBH", 0, protocol, length)
