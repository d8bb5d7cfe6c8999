"""How does text arrive? The receive window, what waits to be read, what waits for its turn.

Below: ``sequence.py``, ``segment.py``, ``reassembly.py``. Above: ``connection.py``.

RFC 9293 3.3.1 (receive sequence variables), 3.4 (acceptability), 3.8.6.2.2 (silly windows); RFC 7323 2 (scaling).

        read      incoming      │            window              │ refused
    ───────────┼────────────────┼───────────┬────────┬───────────┼──────────
                               nxt          └ held ──┘         edge
"""

from __future__ import annotations

from dataclasses import dataclass, field

from glassgate.reference.tcp.reassembly import Reassembly
from glassgate.reference.tcp.segment import FIN, Segment
from glassgate.reference.tcp.sequence import SequenceNumber

LARGEST_FIELD = 0xFFFF
"""The most that the window field holds."""


def shift_for(capacity: int) -> int:
    """The smallest shift count that lets the window field tell a window of ``capacity`` octets (RFC 7323 2.3)."""
    return max(capacity.bit_length() - 16, 0)


@dataclass(slots=True)
class Receiving:
    """One connection's receiving half. ``nxt`` is RCV.NXT, ``edge`` is RCV.NXT+RCV.WND as last announced."""

    capacity: int
    """How many octets may wait to be read."""
    segment_size: int
    """The text of a full segment, as we announced it."""
    shift: int
    """Rcv.Wind.Shift."""
    is_scaling: bool = True
    """Whether our SYN tells the shift: always in an active open, else if the other side told its own."""
    nxt: SequenceNumber = SequenceNumber(0)
    edge: SequenceNumber = SequenceNumber(0)
    incoming: bytearray = field(default_factory=bytearray)
    reassembly: Reassembly = field(default_factory=Reassembly)

    @property
    def wnd(self) -> int:
        """RCV.WND."""
        return self.edge - self.nxt

    def begin(self, syn: Segment) -> None:
        """Take the other side's SYN; text and FIN that came with it wait (RFC 9293 3.10.7.2, third)."""
        self.nxt = syn.sequence_number + 1
        self.edge = self.nxt + self.window_of_syn
        self.hold(syn)

    @property
    def window_of_syn(self) -> int:
        """The window field of a SYN: never scaled (RFC 7323 2.2)."""
        return min(self.capacity, LARGEST_FIELD)

    def agree_on_shift(self, theirs: int | None) -> None:
        """Scaling works only if both sides offered it; without it the window is what the field holds."""
        if theirs is None:
            self.shift, self.is_scaling = 0, False
        self.capacity = min(self.capacity, LARGEST_FIELD << self.shift)

    def is_acceptable(self, segment: Segment) -> bool:
        """The table of RFC 9293 3.10.7.4, first: some of the segment lies in the window.

        A closed window takes the segment that is next, without its text, for the sake of its ACK or RST.
        """
        start, length, window = segment.sequence_number, segment.length, self.wnd
        if window == 0:
            return start == self.nxt
        if length == 0:
            return start.is_within(self.nxt, window)
        return start.is_within(self.nxt, window) or (start + (length - 1)).is_within(self.nxt, window)

    def take(self, segment: Segment) -> int:
        """Take the segment's text and FIN, as far as they lie in the window; how many octets became readable."""
        is_all = not self.reassembly and self.reassembly.fin is None and not segment.control & FIN
        if segment.sequence_number == self.nxt and is_all:
            text = segment.text[: self.wnd]  # the common case: in order, and nothing waits
        else:
            self.hold(segment)
            text = self.reassembly.take(self.nxt)
        self.incoming += text
        self.nxt = self.nxt + len(text)
        return len(text)

    def hold(self, segment: Segment) -> None:
        """Keep the text and FIN that lie in the window for their turn."""
        start = segment.text_start
        end = start + len(segment.text)
        if segment.control & FIN and self.nxt <= end < self.edge:
            self.reassembly.learn_fin(end)
        self.reassembly.hold(self.nxt, start, segment.text[: max(self.edge - start, 0)])

    @property
    def is_fin_next(self) -> bool:
        """Whether all text has come and the FIN is what follows."""
        return self.reassembly.fin == self.nxt

    def take_fin(self) -> None:
        """The FIN takes one sequence number; nothing follows it."""
        self.nxt = self.nxt + 1
        self.edge = max(self.edge, self.nxt)

    def read(self, limit: int) -> bytes:
        """Hand over up to ``limit`` octets, in order."""
        text = bytes(self.incoming[:limit])
        del self.incoming[: len(text)]
        return text

    @property
    def is_update_due(self) -> bool:
        """Whether the window may open by enough to be worth telling (RFC 9293 3.8.6.2.2)."""
        return self._possible_edge - self.edge >= min(self.segment_size, self.capacity // 2)

    @property
    def _possible_edge(self) -> SequenceNumber:
        return self.nxt + (self.capacity - len(self.incoming))

    def announce(self) -> int:
        """The window field of a segment that leaves now. The edge moves in worthwhile steps, and never back."""
        if self.is_update_due:
            self.edge = self._possible_edge
        return self.wnd >> self.shift
