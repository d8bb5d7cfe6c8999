"""How long to wait for an acknowledgement before sending again?

Below: nothing. Above: ``connection.py``, which measures round trips and asks for the time-out.

RFC 6298, its section numbers in the comments; Karn's rule (3): a segment sent twice measures nothing, since nobody can
tell which of the two was acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_RTO = 1.0
"""Seconds, before anything was measured (2.1)."""
MINIMUM_RTO = 1.0
"""Seconds (2.4)."""
MAXIMUM_RTO = 60.0
"""Seconds (2.5)."""
RTO_AFTER_LOST_SYN = 3.0
"""Seconds: what data starts with after a SYN had to be sent again (5.7)."""
CLOCK_GRANULARITY = 0.001
"""Seconds, G. Our ``now`` is finer, but the drivers' clocks need not be."""
ALPHA, BETA, K = 1 / 8, 1 / 4, 4


@dataclass(slots=True)
class RetransmissionTimeout:
    """The time-out of one connection, in seconds: measured, smoothed, doubled while nothing is acknowledged."""

    smoothed_round_trip: float | None = None
    round_trip_variation: float = 0.0
    seconds: float = INITIAL_RTO

    def measure(self, round_trip: float) -> None:
        """Take a round-trip time of a segment that was sent once (2.2, 2.3)."""
        if self.smoothed_round_trip is None:
            self.smoothed_round_trip = round_trip
            self.round_trip_variation = round_trip / 2
        else:
            deviation = abs(self.smoothed_round_trip - round_trip)
            self.round_trip_variation = (1 - BETA) * self.round_trip_variation + BETA * deviation
            self.smoothed_round_trip = (1 - ALPHA) * self.smoothed_round_trip + ALPHA * round_trip
        measured = self.smoothed_round_trip + max(CLOCK_GRANULARITY, K * self.round_trip_variation)
        # This also undoes the doublings, which hold until something could be measured again (5, end).
        self.seconds = min(max(measured, MINIMUM_RTO), MAXIMUM_RTO)

    def back_off(self) -> None:
        """Double it: the time-out passed without an acknowledgement (5.5)."""
        self.seconds = min(2 * self.seconds, MAXIMUM_RTO)

    def after_lost_syn(self) -> None:
        """Begin with data after a SYN that had to be sent again (5.7)."""
        self.seconds = RTO_AFTER_LOST_SYN
