"""The OpenVPN client's control plane: from a connected transport to data keys, and on to their renewal.

What it answers: which control packets leave, which data keys are in force, when the session is over.
Below it is the transport (whole packets, no length prefix); beside it the data channel, which seals and opens with
the keys that this file hands out. Nothing a data packet touches is here: the data plane only reports, with
``data_received`` and ``data_sent``, that something authentic came or something left, for the ping timers.

``now`` and the random octets are arguments. One exception, which cannot be helped: the TLS library draws its own
randomness, so two handshakes are never equal octet for octet.

A packet that comes in takes four steps, in this order and visible in ``Client.receive``: parse, authenticate, check
replay, act. Time works through one list of appointments (``appointments.py``): what is due then is done, and the
earliest is the deadline. What it wants done is told in the values of ``outputs.py``.

Standards: PROTOCOL.md sections 3 to 9, 12, 13, 15, 16; OpenVPN ssl.c tls_pre_decrypt and tls_multi_process, push.c,
forward.c parse_incoming_control_channel_command, ping.c.
Not here: connecting and its back-off, which are the tunnel's; ``Failed`` tells it whether, where and when.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from glassgate.contract import rules
from glassgate.contract.configuration import Cipher
from glassgate.contract.entropy import Entropy
from glassgate.reference import implementation
from glassgate.reference.openvpn import key_exchange
from glassgate.reference.openvpn.appointments import LEFT, PUSH_REQUEST_FIRST, Act, appointments
from glassgate.reference.openvpn.key_derivation import (
    DATA_KEYS_LABEL,
    DYNAMIC_TLS_CRYPT_LABEL,
    KEY_BLOCK_OCTETS,
    Randoms,
    cut_key_block,
    prf_key_block,
)
from glassgate.reference.openvpn.key_exchange import ClientMessage, Credentials, KeyExchangeFailed
from glassgate.reference.openvpn.negotiation import Negotiation, Offer, State
from glassgate.reference.openvpn.outputs import (
    ClientOutput,
    Configured,
    DropKey,
    Failed,
    InstallKey,
    Report,
    SendExit,
    SendPacket,
    SendPing,
    UseKey,
)
from glassgate.reference.openvpn.packets import (
    FROM_SERVER,
    SESSION_ID_OCTETS,
    Body,
    ControlRefused,
    Header,
    Opcode,
    parse_body,
    parse_header,
)
from glassgate.reference.openvpn.profile import Mssfix, Profile, ProfileError
from glassgate.reference.openvpn.push import Pushed, PushRefused, read_options
from glassgate.reference.openvpn.session import Ended, Session, Timers
from glassgate.reference.openvpn.tls import TlsFailed
from glassgate.reference.openvpn.wrapping import StaticKey, TlsCrypt, Wrapping, WrapTlsAuth, WrapTlsCryptV2

__all__ = [
    "Client",
    "ClientOutput",
    "Configured",
    "DropKey",
    "Failed",
    "InstallKey",
    "Report",
    "SendExit",
    "SendPacket",
    "SendPing",
    "UseKey",
    "largest_segment",
]
"""The client, and what it says: whoever calls it needs both."""

LARGEST_MTU_OFFERED = 1600
"""IV_MTU: what a server may push as ``tun-mtu`` (options.c TUN_MTU_MAX_MIN)."""
EXIT_PATIENCE = 1.0
"""How long an exit notification may stay unacknowledged."""


class Client:
    """One OpenVPN client. ``start`` begins a session; after ``Failed`` it may be started again, afresh."""

    def __init__(self, profile: Profile, entropy: Entropy) -> None:
        self._profile = profile
        self._entropy = entropy
        self._session: Session | None = None
        self._token: Credentials | None = None
        """The auth-token: it takes the password's place, in later sessions too."""

    # ── the doors ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, now: float, remote: int = 0) -> list[ClientOutput]:
        """The transport to ``profile.remotes[remote]`` is connected: begin a fresh session."""
        server = self._profile.remotes[remote % len(self._profile.remotes)]
        timers = Timers.before_push(self._profile, server.proto)
        wrapping = self._profile.wrap.start()
        session = Session(self._fresh_session_id(), server, wrapping, timers, last_received=now, last_sent=now)
        session.current = self._fresh_key(session, 0, now)
        self._session = session
        return self.tick(now)

    def receive(self, packet: bytes, now: float) -> list[ClientOutput]:
        """Take one whole control packet (opcodes 3, 4, 5, 7, 8, 10 and 11)."""
        session = self._session
        if session is None:
            return []
        try:
            # Parse.
            header = parse_header(packet)
            wrapping = _wrapping_of(session, header)
            parsed = wrapping.parse(packet)
            # Authenticate.
            body = parse_body(header.opcode, wrapping.authenticate(parsed))
            # Check replay.
            wrapping.check_replay(parsed, now)
            # Act.
            key, outputs = self._key_of(session, header, body, now)
        except ControlRefused as refused:
            return self._refuse(session, refused)
        session.last_received = now
        if not key.receive(header.opcode, body):
            detail: dict[str, object] = {"reason": "beyond the receive window", "message_id": body.message_id}
            outputs.append(Report(rules.S26_CONTROL_REFUSED, detail))
        return [*outputs, *self.tick(now)]

    def tick(self, now: float) -> list[ClientOutput]:
        """Do all that is due by ``now``."""
        session = self._session
        if session is None:
            return []
        outputs: list[ClientOutput] = []
        try:
            for output in self._progress(session, now):
                outputs.append(output)
            for due, act in list(self._appointments(session)):
                if now >= due:
                    outputs.extend(act(session, now))
        except Ended as ended:
            return [*outputs, *_packets(session, now), *self._end(ended.failed)]
        except (TlsFailed, KeyExchangeFailed) as error:
            session.current.flush()  # TLS tells the server why, by an alert
            failed = Failed(rules.S2_HANDSHAKE_FAILED, str(error), retry=True, next_remote=True)
            return [*outputs, *_packets(session, now), *self._end(failed)]
        except PushRefused as error:
            return [*outputs, *self._end(Failed(rules.S2_PUSHED, str(error), retry=False))]
        except ControlRefused as refused:
            return [*outputs, *self._refuse(session, refused)]
        return [*outputs, *_packets(session, now)]

    def stop(self, now: float) -> list[ClientOutput]:
        """Leave politely: what the outputs send is the exit notification (PROTOCOL 12.4).

        Where the server takes it on the control channel, ``Failed`` follows its acknowledgement, or a second; else
        ``Failed`` is among these outputs.
        """
        session = self._session
        if session is None:
            return []
        if session.configured is not None and session.pushed is not None and session.pushed.exit_notify:
            session.leaving = now + EXIT_PATIENCE
            with contextlib.suppress(TlsFailed):  # then there is nobody to tell it to
                session.speaker.say("EXIT")
            return self.tick(now)
        notes: list[ClientOutput] = []
        if session.configured is not None and session.remote.proto == "udp":
            notes += [SendExit()] * min(1, session.timers.explicit_exit_notify)
        return [*notes, *self._end(LEFT)]

    def renegotiate(self, now: float) -> list[ClientOutput]:
        """Begin a new key now: the data plane calls this when packet ids of the key in use pass 0xFF000000."""
        session = self._session
        if session is None or session.current.state is not State.GENERATED_KEYS:
            return []
        return [*self._renew(session, now), *self.tick(now)]

    def data_received(self, now: float, octets: int = 0) -> None:
        """A data record was authentic (a ping, too): the peer lives. ``octets``: its inner IP packet's length."""
        if self._session is not None:
            self._session.last_received = now
            self._session.moved(now, octets)

    def data_sent(self, now: float, octets: int = 0) -> None:
        """A data record left. ``octets``: its inner IP packet's length, 0 for a ping."""
        if self._session is not None:
            self._session.last_sent = now
            self._session.moved(now, octets)

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due; None if nothing is pending."""
        if self._session is None:
            return None
        return min((due for due, _ in self._appointments(self._session)), default=None)

    @property
    def look_at(self) -> str | None:
        """Where to look if the server now closes the connection without a word; None once the tunnel is up."""
        session = self._session
        if session is None or session.configured is not None:
            return None
        if not session.peer_session_id:
            return "it never answered: wrong tls-crypt or tls-auth key, or no OpenVPN server"
        if session.current.state in (State.PRE_START, State.START):
            return "during the TLS handshake: it may refuse this client's certificate; its log says why"
        return "after the TLS handshake: it may refuse this client's certificate or password; its log says why"

    # ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, failed: Failed) -> list[ClientOutput]:
        self._session = None
        return [failed]

    def _refuse(self, session: Session, refused: ControlRefused) -> list[ClientOutput]:
        """Over TCP nothing is lost or forged on the way, so a bad packet ends the connection (PROTOCOL 16.2)."""
        if session.remote.proto == "tcp":
            return self._end(Failed(refused.because, f"a control packet is refused: {refused.reason}", retry=True))
        return [Report(refused.because, {"reason": refused.reason, **refused.detail})]

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fresh_session_id(self) -> bytes:
        """Eight random octets, not all zero (session_id.c session_id_random)."""
        session_id = bytes(SESSION_ID_OCTETS)
        while not any(session_id):
            session_id = self._entropy(SESSION_ID_OCTETS)
        return session_id

    def _fresh_key(self, session: Session, key_id: int, now: float) -> Negotiation:
        """Begin a negotiation with our reset; its opcode tells what kind of session this is."""
        profile = self._profile
        opcode, wrapped_octets = Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0
        if isinstance(profile.wrap, WrapTlsCryptV2):
            opcode, wrapped_octets = Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, len(profile.wrap.wrapped)
        if key_id:
            opcode = Opcode.P_CONTROL_SOFT_RESET_V1
        offer = Offer(
            key_id,
            opcode,
            session.session_id,
            self._client_message(session),
            wrapped_octets,
            profile.largest_control_packet,
            profile.tls_timeout,
        )
        wrapping = session.dynamic_wrapping if key_id and session.dynamic_wrapping else session.wrapping
        key = Negotiation(offer, wrapping, profile.tls, must_finish=now + profile.hand_window)
        key.peer_session_id = session.peer_session_id
        return key

    def _client_message(self, session: Session) -> ClientMessage:
        """Fresh random octets each time, and the same strings (ssl.c key_method_2_write)."""
        profile = self._profile
        return ClientMessage(
            pre_master=self._entropy(key_exchange.PRE_MASTER_OCTETS),
            randoms=Randoms(self._entropy(key_exchange.RANDOM_OCTETS), self._entropy(key_exchange.RANDOM_OCTETS)),
            options=key_exchange.options_string(
                proto=session.remote.proto,
                mtu=profile.mtu,
                wrap_is_tls_auth=isinstance(profile.wrap, WrapTlsAuth),
                key_direction=profile.key_direction,
                digest=profile.digest,
            ),
            credentials=self._token or profile.credentials,
            peer_info=key_exchange.peer_info(
                profile.data_ciphers,
                self._largest_mtu,
                implementation.version,
                profile.peer_info,
                exports_keys=profile.exports_keys,
            ),
        )

    @property
    def _largest_mtu(self) -> int:
        return max(LARGEST_MTU_OFFERED, self._profile.mtu)

    def _key_of(
        self, session: Session, header: Header, body: Body, now: float
    ) -> tuple[Negotiation, list[ClientOutput]]:
        """Which key an authentic packet belongs to; a soft reset begins the next (ssl.c tls_pre_decrypt).

        Raises:
            ControlRefused: it belongs to no key of this session.
        """
        if body.acknowledgements and body.peer_session_id != session.session_id:
            raise ControlRefused("it acknowledges another session's messages")
        self._check_peer(session, header)
        for key in session.keys:
            if key.key_id == header.key_id:
                return key, []
        is_next = header.key_id == _next_key_id(session.current.key_id)
        if not (header.opcode is Opcode.P_CONTROL_SOFT_RESET_V1 and is_next):
            raise ControlRefused("its key id is out of step", key_id=header.key_id, current=session.current.key_id)
        if session.current.state is not State.GENERATED_KEYS:
            raise ControlRefused("a soft reset before the last key was done", key_id=header.key_id)
        outputs = list(self._renew(session, now))
        return session.current, outputs

    def _check_peer(self, session: Session, header: Header) -> None:
        """The server's first reset tells its session id, which then stays (PROTOCOL 16.2)."""
        if session.peer_session_id:
            if header.session_id != session.peer_session_id:
                raise ControlRefused("it is of another session", opcode=header.opcode.name)
            return
        if header.opcode is not Opcode.P_CONTROL_HARD_RESET_SERVER_V2:
            raise ControlRefused("the server has not begun a session", opcode=header.opcode.name)
        session.peer_session_id = session.current.peer_session_id = header.session_id

    def _renew(self, session: Session, now: float) -> Iterator[ClientOutput]:
        """Begin the next key; the last one keeps receiving for the transition window (ssl.c key_state_soft_reset)."""
        yield from self._retire(session, now)
        session.previous, session.previous_ends = session.current, now + self._profile.tran_window
        session.current = self._fresh_key(session, _next_key_id(session.current.key_id), now)
        yield Report(rules.S24_RENEGOTIATE, {"key_id": session.current.key_id})

    def _retire(self, session: Session, now: float) -> Iterator[ClientOutput]:
        """The lame duck's time is over (ssl.c lame_duck_must_die)."""
        if session.previous is not None:
            yield DropKey(session.previous.key_id)
            session.previous = None

    # ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _progress(self, session: Session, now: float) -> Iterator[ClientOutput]:
        """Let each key go on, hear what the server says, and make data keys once all is known."""
        for key in session.keys:
            for text in key.progress(now):
                yield from self._hear(session, text, now)
        key = session.current
        if key.state is not State.ACTIVE:
            return
        if session.pushed is not None:
            yield from self._make_data_keys(session, session.pushed, key, now)
        elif not session.push_ends:
            session.push_ends = now + self._profile.hand_window
            session.next_push_request = now + PUSH_REQUEST_FIRST
            yield Report(rules.S2_FLOW_OPENED, {"tls": key.description})

    def _make_data_keys(self, session: Session, pushed: Pushed, key: Negotiation, now: float) -> Iterator[ClientOutput]:
        """The new key receives at once, and sends: all that the server needs for it is acknowledged (PROTOCOL 15)."""
        cipher = self._cipher(pushed, key)
        if session.configured is None:
            yield from self._configure(session, pushed, now)
        keys = cut_key_block(self._key_block(session, pushed, key), cipher)
        yield InstallKey(
            key.key_id,
            cipher,
            pushed.peer_id,
            keys.send_key,
            keys.send_implicit_iv,
            keys.receive_key,
            keys.receive_implicit_iv,
        )
        yield UseKey(key.key_id)
        key.keys_made()
        session.key_octets = session.key_packets = 0

    def _key_block(self, session: Session, pushed: Pushed, key: Negotiation) -> bytes:
        """By the TLS exporter if the server pushed ``tls-ekm``, else by the PRF (ssl.c generate_key_expansion)."""
        if pushed.tls_key_export:
            return key.export(DATA_KEYS_LABEL, KEY_BLOCK_OCTETS)
        ours, theirs = key.offer.message, key.server_message
        assert theirs is not None
        return prf_key_block(ours.pre_master, ours.randoms, theirs.randoms, session.session_id, session.peer_session_id)

    def _cipher(self, pushed: Pushed, key: Negotiation) -> Cipher:
        """What was pushed, else what the server's options string says, else the fallback (ssl_ncp.c)."""
        if pushed.cipher is not None:
            if pushed.cipher not in (*self._profile.data_ciphers, self._profile.fallback_cipher):
                raise PushRefused(f"the server chose the cipher {pushed.cipher}, which was not offered")
            return pushed.cipher
        assert key.server_message is not None
        for option in key.server_message.options.split(","):
            name = option.removeprefix("cipher ")
            if name != option and name in self._profile.data_ciphers:
                return Cipher(name)
        if self._profile.fallback_cipher is None:
            raise PushRefused("the server chose no cipher, and the profile has no 'data-ciphers-fallback'")
        return self._profile.fallback_cipher

    def _configure(self, session: Session, pushed: Pushed, now: float) -> Iterator[ClientOutput]:
        """The tunnel comes up with what was pushed (init.c do_up)."""
        if pushed.address is None:
            raise PushRefused("the server pushed no tunnel address ('ifconfig'), and the profile has none")
        session.configured = session.inactive_since = now
        session.timers = Timers.after_push(self._profile, pushed)
        if pushed.dynamic_tls_crypt:
            session.dynamic_wrapping = self._dynamic_wrapping(session)
        for option in pushed.reports:
            yield Report(rules.S2_PUSHED, {"ignored": option})
        mtu = min(pushed.mtu or self._profile.mtu, self._largest_mtu)
        fix = self._profile.mssfix
        yield Configured(
            pushed.address,
            mtu,
            None if fix is None else largest_segment(fix, session.remote.proto, pushed.peer_id is not None),
        )

    def _dynamic_wrapping(self, session: Session) -> Wrapping:
        """The key for all control packets of later keys (tls_crypt.c tls_session_generate_dynamic_tls_crypt_key)."""
        exported = StaticKey(session.current.export(DYNAMIC_TLS_CRYPT_LABEL, KEY_BLOCK_OCTETS))
        static = self._profile.wrap.static_key
        return TlsCrypt(exported if static is None else exported.mixed(static))

    # ── what the server says ─────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        """One control string, told by how it begins (forward.c parse_incoming_control_channel_command)."""
        for prefix, act in _SAID.items():
            if text.startswith(prefix):
                return act(self, session, text, now)
        return [Report(rules.S27_CONTROL, {"unknown": text[:32]})]

    def _hear_push_reply(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        options = session.push_reply.add(text)
        if options is None:
            return []
        try:
            pushed = read_options(options, self._profile.topology, self._profile.ifconfig, self._profile.ignores)
        except ProfileError as error:  # 'pull-filter reject'
            raise PushRefused(str(error)) from None
        if pushed.auth_token is not None:
            known = self._token or self._profile.credentials
            self._token = Credentials(pushed.auth_token_user or (known.username if known else ""), pushed.auth_token)
        if session.pushed is None:
            session.pushed = pushed  # a later reply brings a token and nothing else (PROTOCOL 9)
        return []

    def _hear_auth_failed(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        """Wrong credentials end it; an expired token or a busy server does not (push.c receive_auth_failed)."""
        reason = text.removeprefix("AUTH_FAILED").removeprefix(",")
        told = f"the server refuses: AUTH_FAILED{': ' + reason if reason else ''}"
        if reason.startswith("SESSION"):
            self._token = None
            raise Ended(Failed(rules.S4_PEER_ENDS, told, retry=self._profile.credentials is not None))
        if reason.startswith("TEMP"):
            raise Ended(_try_later(told, reason.removeprefix("TEMP")))
        if reason.startswith("CRV1:"):
            told = "the server asks for an answer from a person (dynamic challenge), which is not supported"
        raise Ended(Failed(rules.S4_PEER_ENDS, told, retry=self._profile.retry_authentication, delay=_AUTH_DELAY))

    def _hear_restart(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        """Come back: to the next server if the flag N says so, else to this one (push.c server_pushed_signal)."""
        message = text.removeprefix("RESTART").removeprefix(",")
        flags = message[1 : message.index("]")] if message.startswith("[") and "]" in message else ""
        told = f"the server asks for a restart{': ' + message if message else ''}"
        raise Ended(Failed(rules.S4_PEER_ENDS, told, retry=True, next_remote="N" in flags))

    def _hear_halt(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        message = text.removeprefix("HALT").removeprefix(",")
        raise Ended(Failed(rules.S4_PEER_ENDS, f"the server says HALT{': ' + message if message else ''}", retry=False))

    def _hear_exit(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        raise Ended(Failed(rules.S4_PEER_ENDS, "the server leaves", retry=True))

    def _hear_info(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        return [Report(rules.S27_CONTROL, {"information": text[:256]})]

    def _hear_auth_pending(self, session: Session, text: str, now: float) -> Iterable[ClientOutput]:
        """Wait longer for the push, up to a bound of our own (push.c receive_auth_pending)."""
        longest = max(self._profile.renegotiate_seconds / 2, self._profile.hand_window)
        for keyword in text.split(",")[1:]:
            word, _, value = keyword.partition(" ")
            if word == "timeout" and value.isascii() and value.isdigit() and len(value) < 10:
                session.push_ends = now + min(float(value), longest)
                session.next_push_request = session.next_push_request or now + PUSH_REQUEST_FIRST
        return [Report(rules.S27_CONTROL, {"information": text[:256]})]

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _appointments(self, session: Session) -> Iterator[tuple[float, Act]]:
        return appointments(session, self._profile, self._renew, self._retire)


_AUTH_DELAY = 10.0
"""init.c socket_restart_pause: with ``auth-retry nointeract`` the stock program waits so long."""

_SAID: dict[str, Callable[[Client, Session, str, float], Iterable[ClientOutput]]] = {
    "PUSH_REPLY": Client._hear_push_reply,
    "AUTH_FAILED": Client._hear_auth_failed,
    "RESTART": Client._hear_restart,
    "HALT": Client._hear_halt,
    "INFO": Client._hear_info,  # INFO_PRE as well
    "AUTH_PENDING": Client._hear_auth_pending,
    "EXIT": Client._hear_exit,
}
"""What a server may say, by how it begins."""


def _try_later(told: str, flags: str) -> Failed:
    """``AUTH_FAILED,TEMP[backoff N,advance WHERE]:…``: come back, not too soon (push.c parse_auth_failed_temp)."""
    delay, advance = 0.0, "no"
    inside = flags[1 : flags.index("]")] if flags.startswith("[") and "]" in flags else ""
    for flag in inside.split(","):
        word, _, value = flag.strip().partition(" ")
        if word == "backoff" and value.isascii() and value.isdigit() and len(value) < 10:
            delay = float(value)
        elif word == "advance":
            advance = value
    return Failed(rules.S4_PEER_ENDS, told, retry=True, next_remote=advance in ("addr", "remote"), delay=delay)


def _wrapping_of(session: Session, header: Header) -> Wrapping:
    """What protects this packet: keys after the first may have a wrapping of their own (PROTOCOL 15)."""
    if header.opcode not in FROM_SERVER:
        raise ControlRefused("it is none that a server sends", opcode=header.opcode.name)
    if header.key_id and session.dynamic_wrapping is not None:
        return session.dynamic_wrapping
    return session.wrapping


def _packets(session: Session, now: float) -> list[ClientOutput]:
    """What all keys want to send now."""
    packets: list[ClientOutput] = []
    for key in session.keys:
        if key.key_id and key.state is not State.GENERATED_KEYS:
            because = rules.S24_RENEGOTIATE
        else:
            because = rules.S2_FLOW_OPENED if session.configured is None else rules.S27_CONTROL
        packets += [SendPacket(packet, because) for packet in key.packets(now)]
    if packets:
        session.last_sent = now
    return packets


def _next_key_id(key_id: int) -> int:
    """0 is the session's first key and never comes again: 1 follows 7 (ssl.c key_state_init)."""
    return key_id % 7 + 1


def largest_segment(fix: Mssfix, proto: str, is_v2: bool) -> int:
    """The largest TCP segment that ``mssfix`` lets pass over IPv4, in octets (mss.c frame_calculate_mssfix).

    >>> largest_segment(Mssfix(1492, "mtu"), "udp", True), largest_segment(Mssfix(1492, "mtu"), "tcp", True)
    (1400, 1386)
    """
    inner_headers = 40
    if fix.mode == "fixed":
        return max(0, fix.octets - inner_headers)
    overhead = (2 if proto == "tcp" else 0) + (4 if is_v2 else 1) + 4 + 16
    outer_headers = 20 + (20 if proto == "tcp" else 8) if fix.mode == "mtu" else 0
    return max(0, fix.octets - overhead - outer_headers - inner_headers)
