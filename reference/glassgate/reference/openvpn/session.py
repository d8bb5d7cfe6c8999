"""A session of the control plane: one connection's state, and the times that hold for it.

What it answers: which keys are alive and which of them speaks, how much has moved, which timers hold.
Below: ``negotiation.py`` (one key), ``push.py`` (what the server wants). Above: ``client.py`` and ``appointments.py``.
Standards: PROTOCOL.md sections 9, 12, 15; OpenVPN ping.c, forward.c check_inactivity_timeout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from glassgate.reference.openvpn.negotiation import NEGOTIATED, Negotiation
from glassgate.reference.openvpn.outputs import Failed
from glassgate.reference.openvpn.profile import Profile, Remote
from glassgate.reference.openvpn.push import Pushed, PushReply
from glassgate.reference.openvpn.wrapping import Wrapping

PING_RESTART_BEFORE_PUSH = 120.0
"""options.h PRE_PULL_INITIAL_PING_RESTART, over UDP only (init.c)."""

_Number = TypeVar("_Number", int, float)


class Ended(Exception):
    """The session is over; raised anywhere below the doors, told as ``Failed`` by them."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.failed = failed


@dataclass(slots=True)
class Timers:
    """What holds for this session: the profile's, then what was pushed (seconds; 0 means never)."""

    ping: float
    ping_restart: float
    ping_exit: float
    inactive: float
    inactive_octets: int
    session_timeout: float
    explicit_exit_notify: int

    @classmethod
    def before_push(cls, profile: Profile, proto: str) -> Timers:
        """Until the server has pushed, no ping leaves, and silence is waited out by the hand window."""
        default = PING_RESTART_BEFORE_PUSH if proto == "udp" else 0.0
        return cls(0.0, default, 0.0, 0.0, 0, 0.0, profile.explicit_exit_notify)

    @classmethod
    def after_push(cls, profile: Profile, pushed: Pushed) -> Timers:
        """A pushed timer stands above the profile's."""
        restart, leave = profile.ping_restart or 0.0, profile.ping_exit
        if pushed.ping_restart is not None and pushed.ping_exit is not None:
            restart, leave = pushed.ping_restart, pushed.ping_exit
        inactive = (profile.inactive, profile.inactive_octets)
        if pushed.inactive is not None:
            inactive = (pushed.inactive, pushed.inactive_octets)
        return cls(
            ping=_first(pushed.ping, profile.ping),
            ping_restart=restart,
            ping_exit=leave,
            inactive=inactive[0],
            inactive_octets=inactive[1],
            session_timeout=_first(pushed.session_timeout, profile.session_timeout),
            explicit_exit_notify=_first(pushed.explicit_exit_notify, profile.explicit_exit_notify),
        )


@dataclass(slots=True)
class Session:
    """One connection's state. What outlives a connection is the client's."""

    session_id: bytes
    remote: Remote
    wrapping: Wrapping
    timers: Timers
    last_received: float
    last_sent: float
    current: Negotiation = field(init=False)
    """The newest key."""
    previous: Negotiation | None = None
    """The key before it: its last messages may still need an acknowledgement, its records still come."""
    previous_ends: float = 0.0
    peer_session_id: bytes = b""
    dynamic_wrapping: Wrapping | None = None
    push_reply: PushReply = field(default_factory=PushReply)
    pushed: Pushed | None = None
    configured: float | None = None
    """When the tunnel came up."""
    next_push_request: float = 0.0
    push_ends: float = 0.0
    moved_octets: int = 0
    """Inner octets since ``inactive_since``, both ways."""
    inactive_since: float = 0.0
    key_octets: int = 0
    key_packets: int = 0
    leaving: float | None = None
    """When to wait no longer for the acknowledgement of our exit."""

    @property
    def keys(self) -> list[Negotiation]:
        """The keys whose control channels are alive, oldest first."""
        return [self.current] if self.previous is None else [self.previous, self.current]

    @property
    def speaker(self) -> Negotiation:
        """The newest key that control strings can be said under."""
        if self.previous is not None and self.current.state not in NEGOTIATED:
            return self.previous
        return self.current

    def moved(self, now: float, octets: int) -> None:
        """Count inner octets for ``inactive`` and for the limits of a key."""
        self.key_packets += 1
        self.key_octets += octets
        self.moved_octets += octets
        if octets and self.moved_octets >= self.timers.inactive_octets:
            self.inactive_since, self.moved_octets = now, 0


def _first(pushed: _Number | None, own: _Number) -> _Number:
    return own if pushed is None else pushed
