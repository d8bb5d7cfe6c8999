"""Records in a stream: where does one OpenVPN packet end and the next begin?

Below: a TCP stream, which arrives cut anywhere. Above: the tunnel, which takes whole records. Over UDP a datagram is a
record and this file is not used. Standards: OpenVPN socket.c stream_buf_*; PROTOCOL.md 1.

     0                   1
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |             length            |  the record, ``length`` octets …
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The length does not count itself. Nothing marks where a record begins, so after one bad length all is lost: the stream
ends.
"""

from __future__ import annotations

import struct

from glassgate.contract import rules
from glassgate.reference.notes import Malformed

LENGTH = struct.Struct("!H")
MARGIN = 268  # a record may be so much longer than the tunnel's MTU, as in the stock program: 1768 for 1500


def build(record: bytes) -> bytes:
    """Put a record's length in front of it."""
    return LENGTH.pack(len(record)) + record


class RecordReader:
    """What has arrived of the stream and was not yet taken as a record: the octets from ``start`` on."""

    def __init__(self, mtu: int) -> None:
        self._longest = mtu + MARGIN
        self._octets = b""
        self._start = 0

    def allow(self, mtu: int) -> None:
        """Take records as long as a tunnel of this MTU has them."""
        self._longest = mtu + MARGIN

    def feed(self, octets: bytes) -> None:
        """Take the next piece of the stream. All whole records are to be taken out before the next."""
        self._octets = self._octets[self._start :] + octets
        self._start = 0

    def next_record(self) -> bytes | None:
        """Take the next record out, or None while it is not all there (S3).

        Raises:
            Malformed: its length is impossible; the stream cannot be read any further.
        """
        if self.octets_waiting < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._octets, self._start)
        if not 1 <= length <= self._longest:
            raise Malformed(rules.S3_BAD_LENGTH, length=length, longest=self._longest)
        if self.octets_waiting < LENGTH.size + length:
            return None
        start = self._start + LENGTH.size
        self._start = start + length
        return self._octets[start : self._start]

    @property
    def octets_waiting(self) -> int:
        """How much was not yet taken."""
        return len(self._octets) - self._start
