"""What to do with text that comes before its turn?

Below: ``sequence.py``. Above: ``connection.py``, which offers only text inside the receive window.

RFC 9293 3.10.7.4, seventh: segments beyond a gap SHOULD be held. What is held first stays: later copies of an octet,
equal or not, change nothing. Text that touches what is held becomes one piece with it, so there are as many pieces as
gaps before them, however many segments came. Octets are bounded by the window, pieces by
``LARGEST_NUMBER_OF_PIECES``: text that would need one more is not kept, and the other side sends it again.

     expected   gap   piece      gap   piece
    ─────┼───────────┼──────────┼─────┼───────┼────
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from glassgate.reference.tcp.sequence import SequenceNumber

LARGEST_NUMBER_OF_PIECES = 64


@dataclass(slots=True)
class Reassembly:
    """The pieces beyond the gap: in order, none touching another. ``pieces[i]`` begins at ``starts[i]``."""

    starts: list[SequenceNumber] = field(default_factory=list)
    pieces: list[bytearray] = field(default_factory=list)
    fin: SequenceNumber | None = None
    """Where the other side's text ends, once a FIN has told."""

    def __len__(self) -> int:
        return len(self.pieces)

    def learn_fin(self, end: SequenceNumber) -> None:
        """The other side's text ends here. The first FIN counts; text held beyond it was never sent by that side."""
        if self.fin is not None:
            return
        self.fin = end
        while self.starts and self.starts[-1] >= end:
            del self.starts[-1], self.pieces[-1]
        if self.starts:
            del self.pieces[-1][end - self.starts[-1] :]

    def hold(self, expected: SequenceNumber, start: SequenceNumber, text: bytes) -> None:
        """Keep what is new of the text that begins at ``start``; what comes before ``expected`` was taken already."""
        if start < expected:
            start, text = expected, text[expected - start :]
        if self.fin is not None:
            text = text[: max(self.fin - start, 0)]
        if not text:
            return
        first = bisect_left(self.starts, start)
        if first and self.starts[first - 1] + len(self.pieces[first - 1]) >= start:
            first -= 1
        last = bisect_right(self.starts, start + len(text))
        # One more piece is allowed to text whose turn it is: it leaves at once.
        if first < last:
            self._join(first, last, start, text)
        elif len(self.pieces) < LARGEST_NUMBER_OF_PIECES or start == expected:
            self.starts.insert(first, start)
            self.pieces.insert(first, bytearray(text))

    def _join(self, first: int, last: int, start: SequenceNumber, text: bytes) -> None:
        """Make one piece of the text and of the pieces ``first`` to ``last`` - 1, which it touches."""
        begin, whole = self.starts[first], self.pieces[first]
        if start < begin:
            whole[:0] = text[: begin - start]
            begin = start
        whole += text[begin + len(whole) - start :]
        for at in range(first + 1, last):
            offset = self.starts[at] - begin
            whole[offset : offset + len(self.pieces[at])] = self.pieces[at]
        self.starts[first:last], self.pieces[first:last] = [begin], [whole]

    def take(self, expected: SequenceNumber) -> bytes:
        """The text that begins at ``expected`` and has no gap; it is held no longer."""
        if not self.starts or self.starts[0] != expected:
            return b""
        del self.starts[0]
        return bytes(self.pieces.pop(0))
