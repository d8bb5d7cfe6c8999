"""The server of a tunnel, without I/O: packets and the time go in, packets, inner packets and tidings come out.

A packet is whole: one datagram, or one record of the stream without its length. One client is served at a time; its
reset begins a session, and a reset of another begins another in its place.

Parse, authenticate, check replay, act: nothing is acted on before. Over TCP a packet that is refused ends the
connection, since nobody but the client can have sent it; over UDP it is dropped (forward.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from glassgate.conformance.far_end import DataChannel, Unopened
from glassgate.conformance.server import key_exchange, key_files
from glassgate.conformance.server.control import (
    CLIENT_RESETS,
    DATA,
    WITH_CLIENT_KEY,
    Header,
    Message,
    Opcode,
    Refused,
    opcode_of,
    parse_header,
    parse_message,
)
from glassgate.conformance.server.negotiation import Negotiation
from glassgate.conformance.server.reliability import MOST_IN_ACK, MOST_PIGGYBACKED
from glassgate.conformance.server.settings import Control, Protocol, Settings, push_replies
from glassgate.conformance.server.tls import DYNAMIC_WRAPPING_LABEL, server_context
from glassgate.conformance.server.wrapping import Plain, TlsAuth, TlsCrypt, Window, Wrapping
from glassgate.contract import Cipher, Entropy
from glassgate.contract import Session as DataSession

HAND_WINDOW = 60.0  # seconds for a negotiation (options.c)
FAREWELL = 5.0  # seconds in which a client that is turned away may still acknowledge that it was told (push.c)
LARGEST_PACKET_ID = 0xFFFFFFFF
PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")  # ping.c
OCC = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")  # occ.c
OCC_EXIT = 6


# ── what comes out ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Send:
    """Send a packet to the client."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class Inner:
    """The client sent an inner packet."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class Crossed:
    """A control packet came or left: for who watches."""

    is_sent: bool
    header: Header
    message: Message
    meaning: str

    @property
    def words(self) -> str:
        """The packet in one line."""
        parts = [f"{self.header.opcode.name}, key id {self.header.key_id}"]
        if self.message.message_id is not None:
            parts.append(f"message {self.message.message_id}")
        if self.message.acknowledged:
            parts.append("acknowledges " + " ".join(map(str, self.message.acknowledged)))
        return ", ".join(parts) + (f": {self.meaning}" if self.meaning else "")


@dataclass(frozen=True, slots=True)
class Installed:
    """A data key is there, named as the client names its halves. The first of a session establishes the tunnel."""

    session: DataSession


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet came to nothing."""

    problem: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over; over TCP, close the connection."""

    reason: str


Output = Send | Inner | Crossed | Installed | Dropped | Ended


# ── one session ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _DataKey:
    """A key of the data channel, both directions."""

    from_client: DataChannel
    to_client: DataChannel
    window: Window = field(default_factory=Window)
    is_heard: bool = False
    """Whether the client has sent with it, so that it surely opens with it."""


@dataclass(slots=True)
class _Session:
    session_id: bytes
    client_session_id: bytes
    wrapping: Wrapping
    static_key: bytes
    """What wraps, for the wrapping of later keys; empty if nothing does."""
    current: Negotiation
    last_received: float
    last_sent: float
    previous: Negotiation | None = None
    later_wrapping: Wrapping | None = None
    cipher: Cipher | None = None
    protocol: int = 0
    data_keys: dict[int, _DataKey] = field(default_factory=dict)
    farewell: tuple[float, str] | None = None
    """When a client that was turned away is left alone, and why it was."""

    @property
    def negotiations(self) -> list[Negotiation]:
        return [self.current] if self.previous is None else [self.previous, self.current]

    @property
    def is_established(self) -> bool:
        return bool(self.data_keys)

    def wrapping_of(self, key_id: int) -> Wrapping:
        """How the control packets of a key are wrapped (ssl.c tls_session_get_tls_wrap)."""
        return self.later_wrapping if key_id and self.later_wrapping is not None else self.wrapping

    def sending_key(self) -> _DataKey | None:
        """The newest key that the client surely has."""
        for negotiation in reversed(self.negotiations):
            key = self.data_keys.get(negotiation.key_id)
            if key is not None and (key.is_heard or negotiation.reliability.is_idle):
                return key
        return None


class Server:
    """The far end. ``clock`` is the time, in seconds since 1970, that wrapped packets bear."""

    def __init__(self, settings: Settings, entropy: Entropy, clock: int = 1) -> None:
        self._settings = settings
        self._entropy = entropy
        self._clock = clock
        self._context = server_context(settings.identity, settings.tls)
        self._key = _read_key(settings)
        self._session: _Session | None = None

    # ── the doors ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, packet: bytes, now: float) -> list[Output]:
        """Take a packet of the client."""
        try:
            if opcode_of(packet) in DATA:
                return list(self._data(packet, now))
            return [*self._control(packet, now), *self._leave(now)]
        except Refused as refused:
            if self._settings.proto == "tcp":
                return self._end(str(refused))
            return [Dropped(str(refused))]

    def send(self, packet: bytes, now: float) -> list[Output]:
        """Send an inner packet; where there is no tunnel, it is dropped."""
        key = self._session.sending_key() if self._session is not None else None
        if key is None or key.to_client.next_packet_id > LARGEST_PACKET_ID:
            return [Dropped("there is no key to seal it with")]
        assert self._session is not None
        self._session.last_sent = now
        return [Send(key.to_client.seal(packet))]

    def tick(self, now: float) -> list[Output]:
        """Do what is due."""
        session = self._session
        if session is None:
            return []
        current, settings = session.current, self._settings
        if session.farewell is not None and now >= session.farewell[0]:
            return self._end(session.farewell[1])
        if current.finished is None and now >= current.began + HAND_WINDOW:
            return self._end(f"no keys within {HAND_WINDOW:g} s")
        if settings.ping and session.is_established:
            if now >= session.last_received + 2 * settings.ping_restart:
                return self._end(f"nothing came for {2 * settings.ping_restart} s")
            if now >= session.last_sent + settings.ping:
                session.last_sent = now  # also where no key can be used yet: the next time to look is not now
                pinged = self.send(PING, now) if session.sending_key() is not None else []
                return [*pinged, *self._leave(now)]
        if (due := self._renegotiation_due()) is not None and now >= due:
            return self.renegotiate(now)
        return list(self._leave(now))

    def renegotiate(self, now: float) -> list[Output]:
        """Ask for new keys, if those in use are done."""
        session = self._session
        if session is None or session.current.finished is None or not session.is_established:
            return []
        self._begin_key(session, _following(session.current.key_id), now)
        return list(self._leave(now))

    def say(self, text: str, now: float) -> list[Output]:
        """Say a control string, such as RESTART or HALT, if there is a TLS session to say it in."""
        if self._session is None or self._session.current.finished is None:
            return []
        self._session.current.say(text)
        return list(self._leave(now))

    def disconnected(self) -> None:
        """The transport is gone, and the session with it."""
        self._session = None

    @property
    def is_established(self) -> bool:
        """Whether inner packets can cross."""
        return self._session is not None and self._session.sending_key() is not None

    @property
    def deadline(self) -> float | None:
        """When something is due."""
        session = self._session
        if session is None:
            return None
        times = [negotiation.reliability.deadline for negotiation in session.negotiations]
        if session.current.finished is None:
            times.append(session.current.began + HAND_WINDOW)
        if self._settings.ping and session.is_established:
            times.append(session.last_sent + self._settings.ping)
            times.append(session.last_received + 2 * self._settings.ping_restart)
        if session.farewell is not None:
            times.append(session.farewell[0])
        times.append(self._renegotiation_due())
        return min((time for time in times if time is not None), default=None)

    def _renegotiation_due(self) -> float | None:
        session = self._session
        if session is None or not self._settings.renegotiates_after or session.current.finished is None:
            return None
        if not session.is_established or session.farewell is not None:
            return None
        return session.current.finished + self._settings.renegotiates_after

    def _end(self, reason: str) -> list[Output]:
        self._session = None
        return [Ended(reason)]

    # ── control packets ───────────────────────────────────────────────────────────────────────────────────────────────

    def _control(self, packet: bytes, now: float) -> Iterator[Output]:
        header = parse_header(packet)
        session = self._session
        if session is None or session.client_session_id != header.session_id:
            yield from self._begin(header, packet, now)
            return
        if header.opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2:
            raise Refused("the reset of a server")
        if header.opcode in WITH_CLIENT_KEY and self._settings.control is Control.TLS_CRYPT_V2:
            packet = _without_client_key(self._key, packet)[1]
        message = parse_message(header.opcode, session.wrapping_of(header.key_id).unwrap(packet))
        if message.acknowledged and message.remote_session_id != session.session_id:
            raise Refused("it acknowledges messages of another session")
        session.last_received = now
        negotiation = self._negotiation_of(session, header, now)
        strings, meaning = negotiation.receive(message, now)
        yield Crossed(False, header, message, meaning)
        yield from self._progress(session, negotiation, now)
        for text in strings:
            yield from self._hear(session, text, now)

    def _begin(self, header: Header, packet: bytes, now: float) -> Iterator[Output]:
        """A client's reset begins a session, in place of the one that was."""
        if header.opcode not in CLIENT_RESETS or header.key_id:
            raise Refused(f"{header.opcode.name} of a session that is not known")
        static_key = self._key
        if self._settings.control is Control.TLS_CRYPT_V2:
            if header.opcode not in WITH_CLIENT_KEY:
                raise Refused("a reset without the client's key of tls-crypt-v2")
            static_key, packet = _without_client_key(self._key, packet)
        wrapping = self._wrapping(static_key)
        message = parse_message(header.opcode, wrapping.unwrap(packet))
        if message.message_id != 0:
            raise Refused(f"a reset with message id {message.message_id}")
        negotiation = self._fresh_key(0, Opcode.P_CONTROL_HARD_RESET_SERVER_V2, now)
        session_id = self._entropy(8)
        self._session = _Session(session_id, header.session_id, wrapping, static_key, negotiation, now, now)
        negotiation.receive(message, now)
        yield Crossed(False, header, message, "the client begins a session")

    def _wrapping(self, static_key: bytes) -> Wrapping:
        settings = self._settings
        match settings.control:
            case Control.PLAIN:
                return Plain()
            case Control.TLS_AUTH:
                return TlsAuth(static_key, settings.auth, settings.key_direction, self._clock)
            case Control.TLS_CRYPT | Control.TLS_CRYPT_V2:
                return TlsCrypt(static_key, self._clock)

    def _negotiation_of(self, session: _Session, header: Header, now: float) -> Negotiation:
        """The key that a packet is about; a soft reset begins one."""
        for negotiation in session.negotiations:
            if negotiation.key_id == header.key_id:
                return negotiation
        expected = _following(session.current.key_id)
        if header.opcode is not Opcode.P_CONTROL_SOFT_RESET_V1 or header.key_id != expected:
            raise Refused(f"{header.opcode.name} with key id {header.key_id}: the current one is {expected}")
        if session.current.finished is None or not session.is_established:
            raise Refused("a soft reset before the last key was done")
        return self._begin_key(session, header.key_id, now)

    def _begin_key(self, session: _Session, key_id: int, now: float) -> Negotiation:
        if session.previous is not None:
            session.data_keys.pop(session.previous.key_id, None)
        session.previous = session.current
        session.current = self._fresh_key(key_id, Opcode.P_CONTROL_SOFT_RESET_V1, now)
        return session.current

    def _fresh_key(self, key_id: int, reset: Opcode, now: float) -> Negotiation:
        return Negotiation(key_id, reset, self._settings, self._context, self._entropy, now)

    def _leave(self, now: float) -> Iterator[Output]:
        """What is to be sent now, first what has a message, then acknowledgements alone."""
        session = self._session
        if session is None:
            return
        for negotiation in session.negotiations:
            reliability = negotiation.reliability
            for outgoing in reliability.due(now):
                acknowledged = reliability.take_acknowledgements(MOST_PIGGYBACKED)
                message = Message(acknowledged, session.client_session_id, outgoing.message_id, outgoing.payload)
                again = f" (sent {outgoing.times} times now)" if outgoing.times > 1 else ""
                yield from self._emit(session, negotiation, outgoing.opcode, message, outgoing.meaning + again, now)
            while reliability.owes_acknowledgement:
                message = Message(reliability.take_acknowledgements(MOST_IN_ACK), session.client_session_id)
                yield from self._emit(session, negotiation, Opcode.P_ACK_V1, message, "", now)

    def _emit(
        self, session: _Session, key: Negotiation, opcode: Opcode, message: Message, meaning: str, now: float
    ) -> Iterator[Output]:
        header = Header(opcode, key.key_id, session.session_id)
        session.last_sent = now
        yield Crossed(True, header, message, meaning)
        yield Send(session.wrapping_of(key.key_id).wrap(header.build(), message.build()))

    # ── what was said ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _progress(self, session: _Session, negotiation: Negotiation, now: float) -> Iterator[Output]:
        """Go on once the client has said what it can."""
        client = negotiation.client
        if client is None or negotiation.key_id in session.data_keys or negotiation is not session.current:
            return
        if session.farewell is not None:
            return
        if self._settings.user not in (None, (client.user, client.password)):
            self._turn_away(session, "AUTH_FAILED", "the user's name or password is wrong", now)
        elif negotiation.key_id:
            yield from self._install(session, negotiation)
        elif client.protocol & Protocol.REQUEST_PUSH:
            yield from self._push(session, negotiation, now)

    def _push(self, session: _Session, negotiation: Negotiation, now: float) -> Iterator[Output]:
        """Choose what holds for this session, and tell it; then the first data key can be made (push.c, ssl_ncp.c)."""
        client, settings = negotiation.client, self._settings
        assert client is not None
        session.cipher = next((cipher for cipher in settings.ciphers if cipher in client.ciphers), None)
        session.protocol = client.protocol
        if session.cipher is None:
            words = "AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)"
            self._turn_away(session, words, "there is no cipher that both have", now)
            return
        for text in push_replies(settings.pushed(session.cipher, client.protocol, "IV_MTU" in client.peer_info)):
            negotiation.say(text)
        if settings.uses_own_wrapping(client.protocol):
            session.later_wrapping = TlsCrypt(self._later_key(session, negotiation), self._clock)
        yield from self._install(session, negotiation)

    def _later_key(self, session: _Session, negotiation: Negotiation) -> bytes:
        """The key that wraps renegotiations: exported, exclusive-or the one that wrapped so far (tls_crypt.c)."""
        exported = negotiation.export(DYNAMIC_WRAPPING_LABEL)
        if not session.static_key:
            return exported
        return bytes(left ^ right for left, right in zip(exported, session.static_key, strict=True))

    def _install(self, session: _Session, negotiation: Negotiation) -> Iterator[Output]:
        settings, cipher = self._settings, session.cipher
        assert cipher is not None
        block = negotiation.key_block(
            by_exporter=settings.uses_exporter(session.protocol),
            client_session_id=session.client_session_id,
            server_session_id=session.session_id,
        )
        first, second = key_exchange.cut(block, cipher)
        peer_id = settings.peer_id if settings.uses_peer_id(session.protocol) else None
        data = DataSession(first, second, cipher, peer_id, negotiation.key_id, settings.address, settings.mtu)
        session.data_keys[negotiation.key_id] = _DataKey(
            DataChannel(cipher, first.key, first.implicit_iv, negotiation.key_id, peer_id),
            DataChannel(cipher, second.key, second.implicit_iv, negotiation.key_id, peer_id),
        )
        yield Installed(data)

    def _turn_away(self, session: _Session, text: str, reason: str, now: float) -> None:
        session.current.say(text)
        session.farewell = now + FAREWELL, reason

    def _hear(self, session: _Session, text: str, now: float) -> Iterable[Output]:
        if text == "PUSH_REQUEST" and not session.is_established and session.farewell is None:
            return self._push(session, session.current, now)
        return self._end("the client leaves") if text == "EXIT" else ()

    # ── data packets ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _data(self, packet: bytes, now: float) -> Iterator[Output]:
        key = self._session.data_keys.get(packet[0] & 7) if self._session is not None else None
        if key is None:
            yield Dropped(f"data under key id {packet[0] & 7}, which is not known")
            return
        assert self._session is not None
        opened = key.from_client.peek(packet)
        if isinstance(opened, Unopened):
            raise Refused(opened.problem)
        if not key.window.take(opened.packet_id):
            raise Refused(f"the packet id {opened.packet_id} came before")
        self._session.last_received = now
        key.is_heard = True
        if opened.packet[:16] == OCC:
            if opened.packet[16:17] == bytes([OCC_EXIT]):
                yield from self._end("the client leaves")
        elif opened.packet != PING:
            yield Inner(opened.packet)


def _following(key_id: int) -> int:
    """0 is for a session's first key only; after it 1 to 7, again and again (ssl.c key_state_init)."""
    return key_id % 7 + 1


def _read_key(settings: Settings) -> bytes:
    match settings.control:
        case Control.PLAIN:
            return b""
        case Control.TLS_AUTH | Control.TLS_CRYPT:
            return key_files.parse_static_key(settings.key)
        case Control.TLS_CRYPT_V2:
            return key_files.parse_v2_server_key(settings.key)


def _without_client_key(server_key: bytes, packet: bytes) -> tuple[bytes, bytes]:
    try:
        return key_files.unwrap_client_key(server_key, packet)
    except key_files.KeyFileError as error:
        raise Refused(str(error)) from None
