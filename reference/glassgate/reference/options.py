"""IPv4 options: can they be read, and does one of them ask for a route of its own?

Below: ipv4.py, which keeps a header's options as octets. Above: fragments.py (which options each fragment carries) and
forwarding.py (which packets are refused for their options). Standards: RFC 791 3.1; RFC 7126 4.3, 4.4.

     0                   1                   2
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |C|cls|  number |     length    |  data …
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The first octet is the option's type: C, the copied bit, has the option repeated in every fragment. End of options (0)
and no operation (1) are that one octet. The length counts type and length too. Not handled here: what record route,
timestamp and the rest hold; a router that is not asked to fill them leaves them alone (S18).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

END_OF_OPTIONS = 0
NO_OPERATION = 1
LOOSE_SOURCE_ROUTE = 131
STRICT_SOURCE_ROUTE = 137
COPIED = 0x80


@dataclass(frozen=True, slots=True)
class Option:
    """One option, its type and length octets included. ``offset`` counts from the first octet of the options."""

    offset: int
    octets: bytes

    @property
    def type(self) -> int:
        """Copied bit, class and number in one octet."""
        return self.octets[0]

    @property
    def is_copied(self) -> bool:
        """Whether every fragment carries it."""
        return bool(self.type & COPIED)

    @property
    def is_source_route(self) -> bool:
        """Whether it dictates the packet's way, loosely or strictly."""
        return self.type in (LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An option whose length is missing, under 2, or over what is left: where it begins, nothing more can be read."""

    offset: int


def parse(octets: bytes) -> Iterator[Option | Unreadable]:
    """Read options up to their end. An unreadable one is the last.

    >>> [option.type for option in parse(bytes.fromhex("01 44040500 00 ffff"))]
    [1, 68]
    """
    offset = 0
    while offset < len(octets) and octets[offset] != END_OF_OPTIONS:
        if octets[offset] == NO_OPERATION:
            length = 1
        else:
            length = octets[offset + 1] if offset + 1 < len(octets) else 0
            if length < 2 or offset + length > len(octets):
                yield Unreadable(offset)
                return
        yield Option(offset, octets[offset : offset + length])
        offset += length


def has_end(octets: bytes) -> bool:
    """Whether an end-of-options octet stands before the end of the options: what follows it is not read."""
    read = sum(len(option.octets) for option in parse(octets) if isinstance(option, Option))
    return octets[read : read + 1] == bytes([END_OF_OPTIONS])


def build(chosen: list[Option]) -> bytes:
    """Write options one behind the other, padded with end-of-options octets to a multiple of 4 (RFC 791 3.1)."""
    octets = b"".join(option.octets for option in chosen)
    return octets + bytes(-len(octets) % 4)


def copied(octets: bytes) -> bytes:
    """The options that a fragment other than the first carries (S21)."""
    return build([option for option in parse(octets) if isinstance(option, Option) and option.is_copied])
