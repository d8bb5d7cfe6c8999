"""What to do with text that comes before its turn?

Below: ``sequence.py``. Above: ``connection.py``, which offers only text inside the receive window.

RFC 9293 3.10.7.4, seventh: segments beyond a gap SHOULD be held. What is held first stays: later copies of an octet,
equal or not, change nothing. Octets are bounded by the window, pieces by ``LARGEST_NUMBER_OF_PIECES``: text that would
need more is not kept, and the other side sends it again.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from glassgate.reference.tcp.sequence import SequenceNumber

LARGEST_NUMBER_OF_PIECES = 256


@dataclass(slots=True)
class Reassembly:
    """The pieces beyond the gap: in order, none touching what another holds. ``pieces[i]`` begins at ``starts[i]``."""

    starts: list[SequenceNumber] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    fin: SequenceNumber | None = None
    """Where the other side's text ends, once a FIN has told."""

    def __len__(self) -> int:
        return len(self.pieces)

    def learn_fin(self, end: SequenceNumber) -> None:
        """The other side's text ends here. The first FIN counts; text held beyond it was never sent by that side."""
        if self.fin is not None:
            return
        self.fin = end
        while self.starts and self.starts[-1] + len(self.pieces[-1]) > end:
            self.pieces[-1] = self.pieces[-1][: max(end - self.starts[-1], 0)]
            if self.pieces[-1]:
                break
            del self.starts[-1], self.pieces[-1]

    def hold(self, expected: SequenceNumber, start: SequenceNumber, text: bytes) -> None:
        """Keep what is new of the text that begins at ``start``; what comes before ``expected`` was taken already."""
        if start < expected:
            start, text = expected, text[expected - start :]
        if self.fin is not None:
            text = text[: max(self.fin - start, 0)]
        # One more piece is allowed to text whose turn it is: it leaves at once.
        room = LARGEST_NUMBER_OF_PIECES - len(self.pieces) + (start == expected)
        at = bisect_right(self.starts, start)
        if at:
            covered = max(self.starts[at - 1] + len(self.pieces[at - 1]) - start, 0)
            start, text = start + covered, text[covered:]
        while text and room > 0:
            gap = self.starts[at] - start if at < len(self.starts) else len(text)
            if gap > 0:
                self.starts.insert(at, start)
                self.pieces.insert(at, text[:gap])
                at, room = at + 1, room - 1
            if gap >= len(text):
                return
            skipped = gap + len(self.pieces[at])
            start, text = start + skipped, text[skipped:]
            at += 1

    def take(self, expected: SequenceNumber) -> bytes:
        """The text that begins at ``expected`` and has no gap; it is held no longer."""
        count = 0
        while count < len(self.starts) and self.starts[count] == expected:
            expected = expected + len(self.pieces[count])
            count += 1
        text = b"".join(self.pieces[:count])
        del self.starts[:count], self.pieces[:count]
        return text
