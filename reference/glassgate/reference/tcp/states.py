"""In which state is a connection, and what leads to the next?

Below: nothing. Above: ``connection.py``, which asks ``TRANSITIONS`` and never sets a state otherwise.

RFC 9293 3.3.2, figure 5. A pair that the table does not list is refused (``L3_UNLISTED``) and changes nothing.

    CLOSED ──open──► SYN-SENT ──SYN and ACK────────────► ESTABLISHED ──close──► FIN-WAIT-1 ──ACK of FIN──► FIN-WAIT-2
                        │ SYN                             ▲      │ FIN              │ FIN                     │ FIN
    LISTEN ──SYN──► SYN-RECEIVED ──ACK of SYN─────────────┘      ▼                  ▼                         ▼
                                                CLOSE-WAIT    CLOSING ──ACK of FIN──────────────────► TIME-WAIT
                                                     │ close                                              │ 2 MSL
                                                  LAST-ACK ──ACK of FIN──► CLOSED ◄───────────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """The states of RFC 9293 3.3.2. LISTEN belongs to a service, every other state to a connection."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"


class Event(StrEnum):
    """What can change a state: calls of the user, segments that passed their checks, and the passing of time."""

    OPEN = "open"
    LISTEN = "passive open"
    CLOSE = "close"
    ABORT = "abort"
    SYN = "SYN"
    SYN_AND_ACKNOWLEDGMENT = "SYN and acknowledgment of our SYN"
    SYN_ACKNOWLEDGED = "acknowledgment of our SYN"
    FIN = "FIN"
    FIN_ACKNOWLEDGED = "acknowledgment of our FIN"
    RESET = "reset"
    UNREACHABLE = "ICMP error that ends an attempt"
    GIVE_UP = "retransmissions unanswered"
    TIME_OUT = "2 MSL passed"


_ANY_TIME = (Event.ABORT, Event.RESET, Event.GIVE_UP)
"""Events that end a connection in whatever state it is."""

TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.CLOSED, Event.OPEN): State.SYN_SENT,
    (State.CLOSED, Event.LISTEN): State.LISTEN,
    (State.LISTEN, Event.SYN): State.SYN_RECEIVED,
    (State.SYN_SENT, Event.SYN_AND_ACKNOWLEDGMENT): State.ESTABLISHED,
    (State.SYN_SENT, Event.SYN): State.SYN_RECEIVED,  # simultaneous open
    (State.SYN_SENT, Event.CLOSE): State.CLOSED,
    (State.SYN_SENT, Event.UNREACHABLE): State.CLOSED,
    (State.SYN_RECEIVED, Event.SYN_ACKNOWLEDGED): State.ESTABLISHED,
    (State.SYN_RECEIVED, Event.CLOSE): State.SYN_RECEIVED,  # the FIN waits for ESTABLISHED
    (State.SYN_RECEIVED, Event.SYN): State.CLOSED,  # opened passively: the service's LISTEN goes on
    (State.ESTABLISHED, Event.CLOSE): State.FIN_WAIT_1,
    (State.ESTABLISHED, Event.FIN): State.CLOSE_WAIT,
    (State.FIN_WAIT_1, Event.FIN_ACKNOWLEDGED): State.FIN_WAIT_2,
    (State.FIN_WAIT_1, Event.FIN): State.CLOSING,  # simultaneous close
    (State.FIN_WAIT_2, Event.FIN): State.TIME_WAIT,
    (State.CLOSE_WAIT, Event.CLOSE): State.LAST_ACK,
    (State.CLOSING, Event.FIN_ACKNOWLEDGED): State.TIME_WAIT,
    (State.LAST_ACK, Event.FIN_ACKNOWLEDGED): State.CLOSED,
    (State.TIME_WAIT, Event.TIME_OUT): State.CLOSED,
} | {
    (state, event): State.CLOSED for state in State if state not in (State.CLOSED, State.LISTEN) for event in _ANY_TIME
}
"""What follows from an event in a state."""

RECEIVING = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
"""The other side may still send text (RFC 9293 3.10.7.4, seventh)."""

SENDING = frozenset({State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK})
"""Text or a FIN of ours may still have to leave."""

TELLS_OF_ABORT = frozenset(
    {State.SYN_RECEIVED, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT}
)
"""An abort sends a reset from these, and is silent in the others (RFC 9293 3.10.5)."""
