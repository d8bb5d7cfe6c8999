"""How does text leave? What waits to be sent, what waits to be acknowledged, and what may be sent now.

Below: ``sequence.py``, ``timers.py``, ``congestion.py``. Above: ``connection.py``, which makes segments of the pieces.

RFC 9293 3.3.1 (send sequence variables), 3.7.4 (Nagle), 3.8.6.1 (closed windows), 3.8.6.2.1 (silly windows);
RFC 6298 5 (the retransmission timer); RFC 5681 4.1 (restart after idle); RFC 7323 2 (scaling).

     acknowledged │     outgoing: sent     │      outgoing: not sent     │ FIN
    ──────────────┼──────────┬─────────────┼──────────────────┬──────────┼─────
                 una        nxt         highest           una + wnd     fin

After a time-out or a probe ``nxt`` goes back to ``una`` and everything is sent again from there, as the windows allow;
``highest`` stays. Where the standard says SND.NXT and means the end of all that was sent, ``highest`` is it.

One timer is enough, for there is one thing at a time that only the passing of time can move on (``Wait``):

    text waits, and the window is closed           a probe, a time-out after it closed, then ever more rarely
    else something is under way                    a retransmission, a time-out after it left or was last answered
    else text waits, for the window is silly       what the window takes, half a second later
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from glassgate.contract import Rule, rules
from glassgate.reference.tcp.congestion import Congestion
from glassgate.reference.tcp.sequence import SequenceNumber
from glassgate.reference.tcp.timers import MAXIMUM_RTO, RetransmissionTimeout

OVERRIDE = 0.5
"""Seconds after which a window too small to be worth it is used all the same (RFC 9293 3.8.6.2.1: 0.1 to 1)."""


class Wait(Enum):
    """What a connection's sending half waits for."""

    ACKNOWLEDGMENT = "something under way is to be acknowledged"
    OPEN_WINDOW = "the window is closed over text"
    BETTER_WINDOW = "the window is silly, and nothing is under way that could change it"


@dataclass(frozen=True, slots=True)
class Piece:
    """What one segment is to carry."""

    sequence_number: SequenceNumber
    text: bytes
    is_last: bool
    """No text waits behind this (RFC 9293 3.9.1: PSH)."""
    has_fin: bool
    because: Rule


@dataclass(slots=True)
class Sending:
    """One connection's sending half. ``una``, ``nxt``, ``wnd``, ``wl1``, ``wl2`` are SND.UNA and so on."""

    iss: SequenceNumber
    capacity: int
    """How many octets may wait, sent ones that are not acknowledged included."""
    segment_size: int
    """SMSS, the text of a full segment: no more than the interface, the other side and the path take."""
    is_nagle: bool
    """Whether a small segment waits while others are under way (RFC 9293 3.7.4)."""
    text_because: Rule
    """Why text is sent at all: the service's or the tunnel's rule."""
    una: SequenceNumber = SequenceNumber(0)
    nxt: SequenceNumber = SequenceNumber(0)
    highest: SequenceNumber = SequenceNumber(0)
    wnd: int = 0
    wl1: SequenceNumber = SequenceNumber(0)
    wl2: SequenceNumber = SequenceNumber(0)
    largest_window: int = 0
    """MAX.SND.WND (RFC 5961 5.2)."""
    shift: int = 0
    """Snd.Wind.Shift."""
    fin: SequenceNumber | None = None
    """The sequence number of our FIN, once the user has closed."""
    outgoing: bytearray = field(default_factory=bytearray)
    timeout: RetransmissionTimeout = field(default_factory=RetransmissionTimeout)
    congestion: Congestion = field(init=False)
    wait: Wait | None = None
    due: float | None = None
    """When we will have waited for long enough."""
    unanswered: int = 0
    """Time-outs and probes since the other side last answered."""
    is_sent_again: bool = False
    """Whether a time-out has sent what is first unacknowledged again (RFC 5681 3.1)."""
    probes: int = 0
    """Probes of the window since it closed."""
    resend_because: Rule | None = None
    """Why the first unacknowledged segment is to be sent again at once."""
    timed: tuple[SequenceNumber, float] | None = None
    """The end of the segment whose round trip is being measured, and when it left."""
    last_sent_at: float = 0.0

    def __post_init__(self) -> None:
        self.una = self.nxt = self.highest = self.iss
        self.congestion = Congestion(self.segment_size, recover=self.iss)

    # ── the handshake ─────────────────────────────────────────────────────────────────────────────────────────────────

    def syn_sent(self, now: float) -> None:
        """A SYN has left, for the first time or again."""
        self.timed = (self.iss + 1, now) if self.highest == self.iss else None
        self.nxt = self.highest = self.iss + 1
        self._wait_for(Wait.ACKNOWLEDGMENT, now)

    def syn_timed_out(self) -> None:
        """Nothing came in answer to our SYN."""
        self.unanswered += 1
        self.timeout.back_off()
        self.timed = None

    def syn_acknowledged(self, now: float) -> None:
        """The other side has our SYN: text may follow."""
        was_lost = self.unanswered > 0
        self._measure(self.iss + 1, now)
        if was_lost:
            self.timeout.after_lost_syn()
        self.una = self.nxt = self.iss + 1
        self.unanswered = 0
        self._wait_for(None, now)
        self.congestion.start(was_lost)

    # ── what the user wants ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def room(self) -> int:
        """How many octets ``write`` takes."""
        return max(self.capacity - len(self.outgoing), 0)

    def close(self) -> None:
        """No text will follow: the FIN comes after the last octet."""
        self.fin = self.una + len(self.outgoing)

    @property
    def is_fin_acknowledged(self) -> bool:
        """Whether the other side has everything, our FIN included."""
        return self.fin is not None and self.una > self.fin

    # ── what the other side says ──────────────────────────────────────────────────────────────────────────────────────

    def update_window(self, sequence: SequenceNumber, acknowledgment: SequenceNumber, window: int) -> None:
        """Take the window of a segment that is newer than the last that gave one (RFC 9293 3.10.7.4, fifth).

        While the window is closed, to say so is an answer, and the connection stays open (RFC 9293 3.8.6.1, MUST-37).
        """
        was_closed = self.wnd == 0
        if self.wl1 < sequence or (self.wl1 == sequence and self.wl2 <= acknowledgment):
            self.wnd, self.wl1, self.wl2 = window, sequence, acknowledgment
            self.largest_window = max(self.largest_window, window)
            if window > 0:
                self.probes = 0
        if was_closed or self.wnd == 0:
            self.unanswered = 0

    def acknowledge(self, acknowledgment: SequenceNumber, now: float) -> None:
        """SND.UNA < SEG.ACK =< SND.NXT: forget what the other side has."""
        octets = acknowledgment - self.una
        self._measure(acknowledgment, now)
        del self.outgoing[:octets]
        self.una = acknowledgment
        self.nxt = max(self.nxt, acknowledgment)
        self.unanswered = 0
        self.is_sent_again = False
        self._wait_for(None, now)  # RFC 6298 5.2, 5.3: what is still outstanding starts it again
        if self.congestion.acknowledged(octets, acknowledgment):
            self.resend_because = rules.L3_FAST_RETRANSMIT

    def duplicate(self) -> None:
        """A duplicate acknowledgement (RFC 5681 2)."""
        if self.congestion.duplicate(self.una, self.highest):
            self.resend_because = rules.L3_FAST_RETRANSMIT

    def _measure(self, acknowledgment: SequenceNumber, now: float) -> None:
        if self.timed is not None and acknowledgment >= self.timed[0]:
            self.timeout.measure(now - self.timed[1])
            self.timed = None

    def lower_segment_size(self, size: int) -> None:
        """The path takes no more: cut what is under way anew, and send it again (RFC 1191 6.4)."""
        if size < self.segment_size:
            self.segment_size = self.congestion.segment_size = size
            if self.una != self.iss:  # a SYN has no text to be cut
                self.timed = None
                self.nxt = self.una

    # ── what may leave now ────────────────────────────────────────────────────────────────────────────────────────────

    def pieces(self, now: float) -> Iterator[Piece]:
        """All that may be sent now, in order."""
        if self.resend_because is not None:
            because, self.resend_because = self.resend_because, None
            yield from self._first_again(because, now)
        if self.highest == self.una and now - self.last_sent_at > self.timeout.seconds:
            self.congestion.restart_after_idle()
        while True:
            offset = self.nxt - self.una
            waiting = max(len(self.outgoing) - offset, 0)
            usable = min(self.wnd, self.congestion.window) - offset
            size = max(min(waiting, usable, self.segment_size), 0)
            has_fin = self.nxt + size == self.fin and usable >= 0
            if not has_fin and not self._is_worthwhile(size, waiting):
                break
            because = self.text_because if self.nxt >= self.highest else rules.L3_RETRANSMIT
            yield self._piece(self.nxt, size, because, now)
            self.nxt = self.nxt + (size + has_fin)
        if self.wait is not (wait := self._what_is_missing):
            self._wait_for(wait, now)

    def _first_again(self, because: Rule, now: float) -> Iterator[Piece]:
        """What is first unacknowledged, as it was sent, once more; none of it that the window does not take."""
        size = min(self.segment_size, self.highest - self.una, len(self.outgoing), self.wnd)
        if size or self.una == self.fin:
            yield self._piece(self.una, size, because, now)

    def _is_worthwhile(self, size: int, waiting: int) -> bool:
        """Nagle, and no silly windows (RFC 9293 3.8.6.2.1): a full segment, or all there is, or half of the window."""
        if size == 0:
            return False
        if size == self.segment_size or self.nxt < self.highest:  # what is sent again is not held back (RFC 6298 5.4)
            return True
        if size == waiting:
            return not self.is_nagle or self.nxt == self.una or self.fin is not None
        return size >= self.largest_window // 2

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _what_is_missing(self) -> Wait | None:
        if self.outgoing and self.wnd == 0:
            return Wait.OPEN_WINDOW
        if self.highest != self.una:
            return Wait.ACKNOWLEDGMENT
        return Wait.BETTER_WINDOW if self.outgoing else None

    def _wait_for(self, wait: Wait | None, now: float) -> None:
        """Begin to wait for something, from now on."""
        seconds = {
            Wait.ACKNOWLEDGMENT: self.timeout.seconds,
            Wait.OPEN_WINDOW: min(self.timeout.seconds * 2**self.probes, MAXIMUM_RTO),
            Wait.BETTER_WINDOW: OVERRIDE,
        }
        self.wait = wait
        self.due = None if wait is None else now + seconds[wait]

    def probe(self, now: float) -> Piece:
        """The window has been closed for long enough: try it with one octet (RFC 9293 3.8.6.1)."""
        self.wait = None
        self.unanswered += 1
        self.probes += 1
        self.nxt = self.una  # the octet is refused, most likely, and will be sent again
        return self._piece(self.una, 1, rules.L3_PROBE, now)

    def override(self, now: float) -> Piece:
        """The window has been silly for long enough: use it all the same (RFC 9293 3.8.6.2.1 (4))."""
        size = min(self.wnd, len(self.outgoing), self.segment_size)
        piece = self._piece(self.nxt, size, self.text_because, now)
        self.nxt = self.nxt + size
        return piece

    def departed(self, now: float) -> None:
        """What was thought to have left has left only now."""
        if self.wait is Wait.ACKNOWLEDGMENT:
            self._wait_for(self.wait, now)
        if self.timed is not None:
            self.timed = (self.timed[0], now)

    def time_out(self) -> None:
        """The retransmission timer has run out (RFC 6298 5.4 to 5.6): go back, and begin slowly."""
        self.congestion.timed_out(self.una, self.highest, is_first=not self.is_sent_again)
        self.is_sent_again = True
        self.unanswered += 1
        self.timeout.back_off()
        self.timed = None
        self.nxt = self.una
        self.wait = None

    def _piece(self, sequence: SequenceNumber, size: int, because: Rule, now: float) -> Piece:
        """Cut a piece out of what waits, and note that it has left."""
        offset = sequence - self.una
        text = bytes(self.outgoing[offset : offset + size])
        has_fin = sequence + size == self.fin
        end = sequence + (size + has_fin)
        if sequence < self.highest:
            self.timed = None  # Karn: what is sent again measures nothing
        elif self.timed is None:
            self.timed = (end, now)
        self.highest = max(self.highest, end)
        self.last_sent_at = now
        is_last = offset + size == len(self.outgoing)
        return Piece(sequence, text, is_last, has_fin, because if size else rules.L3_CLOSE)

    @property
    def sequence_of_acknowledgment(self) -> SequenceNumber:
        """SEG.SEQ of a segment without text: the end of what was sent, but not of what a closed window did not take."""
        return self.nxt if self.wnd == 0 else self.highest

    def forget(self) -> None:
        """The connection is over."""
        self.outgoing.clear()
        self.wait = self.due = self.resend_because = None
