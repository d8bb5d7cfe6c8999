"""How much may be under way without crowding the path?

Below: nothing. Above: ``connection.py``, which reports acknowledgements and losses, and obeys ``window``.

RFC 5681 (slow start, congestion avoidance, fast retransmit, fast recovery), RFC 6582 (NewReno: partial
acknowledgements), RFC 3042 (limited transmit). All amounts are octets.

      slow start ──window over threshold──► congestion avoidance
          ▲                                        │ third duplicate acknowledgement (fast retransmit)
          │ time-out (from everywhere)             ▼
          └────────────────────────────────── fast recovery ──everything up to `recover` acknowledged──► avoidance

Not handled here: selective acknowledgements, explicit congestion notification.
"""

from __future__ import annotations

from dataclasses import dataclass

from glassgate.reference.tcp.sequence import SequenceNumber

DUPLICATES_OF_A_LOSS = 3
"""So many duplicate acknowledgements in a row mean that a segment is lost, not late (RFC 5681 3.2)."""
LARGEST_WINDOW = 1 << 30
"""Octets: more can never be under way (RFC 7323 2.3)."""


def initial_window(segment_size: int) -> int:
    """IW (RFC 5681 3.1)."""
    if segment_size > 2190:
        return 2 * segment_size
    if segment_size > 1095:
        return 3 * segment_size
    return 4 * segment_size


@dataclass(slots=True)
class Congestion:
    """The congestion control of one direction. ``recover`` is the end of what had been sent at the last loss."""

    segment_size: int
    """SMSS: the text of a full segment."""
    recover: SequenceNumber
    congestion_window: int = 0
    slow_start_threshold: int = LARGEST_WINDOW
    duplicates: int = 0
    """Duplicate acknowledgements in a row."""
    in_recovery: bool = False

    @property
    def window(self) -> int:
        """What may be under way now: the first two duplicates allow a segment each (RFC 3042)."""
        if self.in_recovery:
            return self.congestion_window
        return self.congestion_window + min(self.duplicates, DUPLICATES_OF_A_LOSS - 1) * self.segment_size

    def start(self, syn_was_lost: bool) -> None:
        """The handshake is complete. A lost SYN is a loss: then one segment (RFC 5681 3.1)."""
        self.congestion_window = self.segment_size if syn_was_lost else initial_window(self.segment_size)

    def restart_after_idle(self) -> None:
        """Nothing was sent for a time-out: what was known of the path is stale (RFC 5681 4.1)."""
        self.congestion_window = min(self.congestion_window, initial_window(self.segment_size))

    def acknowledged(self, octets: int, una: SequenceNumber) -> bool:
        """New data were acknowledged, up to ``una``. True if the segment there is to be sent again at once."""
        self.duplicates = 0
        if self.in_recovery:
            return self._acknowledged_in_recovery(octets, una)
        self.recover = max(self.recover, una + -1)  # keep it near: sequence numbers wrap
        if self.congestion_window < self.slow_start_threshold:
            growth = min(octets, self.segment_size)
        else:
            growth = max(1, self.segment_size * self.segment_size // self.congestion_window)
        self.congestion_window = min(self.congestion_window + growth, LARGEST_WINDOW)
        return False

    def _acknowledged_in_recovery(self, octets: int, una: SequenceNumber) -> bool:
        """A full acknowledgement ends recovery; a partial one tells of the next hole (RFC 6582 3.2 step 3)."""
        if una >= self.recover:
            self.in_recovery = False
            self.congestion_window = self.slow_start_threshold
            return False
        self.congestion_window = max(self.congestion_window - octets, 0)
        if octets >= self.segment_size:
            self.congestion_window += self.segment_size
        self.congestion_window = max(self.congestion_window, self.segment_size)
        return True

    def duplicate(self, una: SequenceNumber, sent: SequenceNumber) -> bool:
        """A duplicate acknowledgement of ``una``. True if it is the third: send that segment again at once."""
        self.duplicates += 1
        if self.in_recovery:
            # A segment has left the network: another may enter (RFC 5681 3.2 step 4).
            self.congestion_window = min(self.congestion_window + self.segment_size, LARGEST_WINDOW)
            return False
        # Duplicates of what was sent again in an earlier recovery are no new loss (RFC 6582 3.2 step 2).
        if self.duplicates != DUPLICATES_OF_A_LOSS or una <= self.recover:
            return False
        self._halve(sent - una)
        self.congestion_window = self.slow_start_threshold + DUPLICATES_OF_A_LOSS * self.segment_size
        self.in_recovery = True
        self.recover = sent
        return True

    def timed_out(self, una: SequenceNumber, sent: SequenceNumber, is_first: bool) -> None:
        """Nothing came back in time. Only the first time-out of a segment halves (RFC 5681 3.1, equation 4)."""
        if is_first:
            self._halve(sent - una)
        self.congestion_window = self.segment_size
        self.in_recovery = False
        self.duplicates = 0
        self.recover = sent

    def _halve(self, flight: int) -> None:
        self.slow_start_threshold = max(flight // 2, 2 * self.segment_size)
