"""The timers of the control plane: one list of appointments, computed afresh from the session's state.

What it answers: what is due when, and what is done then. There is no timer to set or to forget: a state in which
something is due says so, and the earliest appointment is the client's deadline.
Below: ``session.py``. Above: ``client.py``, which keeps them.
Standards: PROTOCOL.md sections 9, 12, 15; OpenVPN ping.c, forward.c check_push_request,
ssl.c should_trigger_renegotiation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from glassgate.contract import rules
from glassgate.reference.openvpn.negotiation import NEGOTIATED, State
from glassgate.reference.openvpn.outputs import ClientOutput, Failed, SendPing
from glassgate.reference.openvpn.profile import Profile
from glassgate.reference.openvpn.session import Ended, Session

PUSH_REQUEST_FIRST = 1.0
PUSH_REQUEST_EVERY = 5.0
"""forward.c check_push_request: a server that knows IV_PROTO_REQUEST_PUSH needs none."""

Act = Callable[[Session, float], Iterable[ClientOutput]]
"""What is done when an appointment is due, at that session and at that time."""
LEFT = Failed(rules.S4_LEAVE, "this side leaves", retry=False)


def appointments(session: Session, profile: Profile, renew: Act, retire: Act) -> Iterator[tuple[float, Act]]:
    """What is due when, computed from what is. To ``renew`` and to ``retire`` a key is the client's."""
    for key in session.keys:
        if key.deadline is not None:
            yield key.deadline, _nothing  # packets leave at the end of every tick
    if session.current.state not in NEGOTIATED:
        yield session.current.must_finish, _negotiation_too_slow
    elif session.pushed is None:
        yield session.next_push_request, _request_push
        yield session.push_ends, _push_too_slow
    if session.previous is not None:
        yield session.previous_ends, retire
    if session.leaving is not None:
        yield 0.0 if session.speaker.everything_acknowledged else session.leaving, _leave
    yield from _of_a_tunnel(session)
    if session.configured is not None and session.current.state is State.GENERATED_KEYS:
        yield from _renewal(session, profile, renew)


def _of_a_tunnel(session: Session) -> Iterator[tuple[float, Act]]:
    """The timers of a tunnel that is up, and ``ping-restart``, which may run before."""
    timers = session.timers
    if timers.ping_restart:
        yield session.last_received + timers.ping_restart, _peer_silent
    if session.configured is None:
        return
    if timers.ping:
        yield session.last_sent + timers.ping, _send_ping
    if timers.ping_exit:
        yield session.last_received + timers.ping_exit, _peer_silent_for_good
    if timers.inactive:
        yield session.inactive_since + timers.inactive, _inactive
    if timers.session_timeout:
        yield session.configured + timers.session_timeout, _session_over


def _renewal(session: Session, profile: Profile, renew: Act) -> Iterator[tuple[float, Act]]:
    """A key lasts for a time, and for so many octets and packets (ssl.c should_trigger_renegotiation)."""
    octets_are_up = 0 < profile.renegotiate_octets <= session.key_octets
    packets_are_up = 0 < profile.renegotiate_packets <= session.key_packets
    if octets_are_up or packets_are_up:
        yield session.current.established, renew
    elif profile.renegotiate_seconds:
        yield session.current.established + profile.renegotiate_seconds, renew


# ── what is done then ────────────────────────────────────────────────────────────────────────────────────────────────


def _nothing(session: Session, now: float) -> Iterable[ClientOutput]:
    return []


def _negotiation_too_slow(session: Session, now: float) -> Iterable[ClientOutput]:
    key = session.current
    reason = f"key {key.key_id} was not negotiated in time; it stopped at: {key.state.value}"
    if not session.peer_session_id:
        reason = "the server does not answer: wrong port, wrong static key, or not there"
    raise Ended(Failed(rules.S2_HANDSHAKE_FAILED, reason, retry=True, next_remote=True))


def _request_push(session: Session, now: float) -> Iterable[ClientOutput]:
    session.current.say("PUSH_REQUEST")
    session.next_push_request = now + PUSH_REQUEST_EVERY
    return []


def _push_too_slow(session: Session, now: float) -> Iterable[ClientOutput]:
    raise Ended(Failed(rules.S2_HANDSHAKE_FAILED, "the server did not push in time", retry=True, next_remote=True))


def _leave(session: Session, now: float) -> Iterable[ClientOutput]:
    raise Ended(LEFT)


def _peer_silent(session: Session, now: float) -> Iterable[ClientOutput]:
    told = f"nothing from the server for {session.timers.ping_restart:g} s (ping-restart)"
    raise Ended(Failed(rules.S26_PING_RESTART, told, retry=True, next_remote=True))


def _peer_silent_for_good(session: Session, now: float) -> Iterable[ClientOutput]:
    told = f"nothing from the server for {session.timers.ping_exit:g} s (ping-exit)"
    raise Ended(Failed(rules.S4_IDLE, told, retry=False))


def _send_ping(session: Session, now: float) -> Iterable[ClientOutput]:
    session.last_sent = now
    return [SendPing()]


def _inactive(session: Session, now: float) -> Iterable[ClientOutput]:
    told = f"too little traffic for {session.timers.inactive:g} s (inactive)"
    raise Ended(Failed(rules.S4_IDLE, told, retry=False))


def _session_over(session: Session, now: float) -> Iterable[ClientOutput]:
    told = f"the session has lasted {session.timers.session_timeout:g} s (session-timeout)"
    raise Ended(Failed(rules.S4_IDLE, told, retry=False))
