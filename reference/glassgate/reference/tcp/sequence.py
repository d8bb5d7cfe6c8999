"""Which of two sequence numbers comes first? They wrap at 2**32, so only their distance can tell.

Below: nothing. Above: every other file of this folder.

RFC 9293 3.4 (arithmetic modulo 2**32); RFC 6528 3 (initial sequence numbers).

      0                      a            b                      2**32
      |──────────────────────┼────────────┼──────────────────────|      b - a > 0: a comes before b, wherever zero lies
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address

MODULUS = 1 << 32
_MASK = MODULUS - 1
_HALF = MODULUS >> 1


class SequenceNumber(int):
    """A place in one direction of a connection's octets.

    ``a + octets`` is a place further on, ``a - b`` is how far ``a`` lies ahead of ``b`` (negative if behind), and the
    comparisons follow that distance. Sound for places less than 2**31 apart, which windows of at most 2**30 assure.

    >>> SequenceNumber(0xFFFFFFFF) + 2
    SequenceNumber(1)
    >>> SequenceNumber(1) - SequenceNumber(0xFFFFFFFF)
    2
    >>> SequenceNumber(0xFFFFFFFF) < SequenceNumber(1)
    True
    """

    __slots__ = ()

    def __new__(cls, value: int) -> SequenceNumber:
        """The place ``value``, modulo 2**32."""
        return super().__new__(cls, value & _MASK)

    def __add__(self, octets: int) -> SequenceNumber:
        return SequenceNumber(int.__add__(self, octets))

    def __sub__(self, other: int) -> int:
        return (int.__sub__(self, other) + _HALF & _MASK) - _HALF

    def __lt__(self, other: int) -> bool:
        return self - other < 0

    def __le__(self, other: int) -> bool:
        return self - other <= 0

    def __gt__(self, other: int) -> bool:
        return self - other > 0

    def __ge__(self, other: int) -> bool:
        return self - other >= 0

    def is_within(self, first: SequenceNumber, octets: int) -> bool:
        """Whether this is one of the ``octets`` places that begin at ``first``: ``first =< self < first + octets``."""
        return 0 <= self - first < octets

    def __repr__(self) -> str:
        return f"SequenceNumber({int(self)})"


TICKS_PER_SECOND = 250_000
"""The initial sequence number's clock: one tick in 4 microseconds (RFC 9293 3.4.1)."""


def initial_sequence_number(
    secret: bytes,
    local: tuple[IPv4Address, int],
    remote: tuple[IPv4Address, int],
    now: float,
) -> SequenceNumber:
    """ISN = M + F(local address and port, remote address and port, secret) (RFC 6528 3).

    M lets a later connection of the same four begin ahead of an earlier one; F keeps a stranger, who can watch the
    numbers of his own connections, from telling those of others.
    """
    four = b"".join(address.packed + port.to_bytes(2, "big") for address, port in (local, remote))
    keyed = hashlib.sha256(secret + four).digest()[:4]
    return SequenceNumber(int(now * TICKS_PER_SECOND) + int.from_bytes(keyed, "big"))
