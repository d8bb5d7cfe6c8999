"""The tunnel: the life of its flow, of the session on it, and of the keys by which packets pass.

Below: the flow, a TCP stream or UDP datagrams, whoever provides it. Beside it: the control plane (client.py), which
negotiates keys and says when the session is over; in its stead the configuration may bring fixed keys, which end with
their flow. Above: the gateway, which sends inner packets and takes those that come. Standards: OpenVPN forward.c
process_incoming_link, ssl.c tls_pre_decrypt; PROTOCOL.md 2, 12, 15, 16.

    Waiting ──due──► Opening ──opened──► Connected ──closed · lost──► Waiting, each time for twice as long
       ▲                │
       └─closed · lost──┘                Connected without a key in use is a tunnel that is down

A record goes the same way each time: its opcode is read, its key is found, it is authenticated, its packet id is
checked for replay, and only then is it acted on. Over TCP what fails there cannot be loss on the way, so the flow is
given up; over UDP anybody may have sent it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network

from glassgate.contract import CloseFlow, Effect, Note, NoteKind, OpenFlow, Port, Rule, Session, Transmit, Tunnel, rules
from glassgate.reference.notes import Malformed, changed, delivered, dropped
from glassgate.reference.openvpn import data_channel, framing
from glassgate.reference.openvpn.client import (
    Client,
    ClientOutput,
    Configured,
    DropKey,
    Failed,
    InstallKey,
    SendExit,
    SendPacket,
    SendPing,
    UseKey,
)
from glassgate.reference.openvpn.data_channel import ReceivingKey, SendingKey
from glassgate.reference.openvpn.framing import RecordReader
from glassgate.reference.openvpn.profile import Profile

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
DEFAULT_MTU = 1500  # OpenVPN options.c tun-mtu


@dataclass(frozen=True, slots=True)
class DataKey:
    """The two directions of one key."""

    key_id: int
    sending: SendingKey
    receiving: ReceivingKey


@dataclass(frozen=True, slots=True)
class InnerPacket:
    """A packet that came out of the tunnel, authentic and new."""

    octets: bytes


Step = Effect | Rule | InnerPacket


# ── states ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Waiting:
    """There is no flow. It is opened at ``due``; None is never."""

    due: float | None


@dataclass(slots=True)
class Opening:
    """A flow is asked for."""


@dataclass(slots=True)
class Connected:
    """There is a flow. ``reader`` is None where each datagram is a record."""

    reader: RecordReader | None
    keys: dict[int, DataKey] = field(default_factory=dict)
    in_use: DataKey | None = None
    """The key that seals."""


State = Waiting | Opening | Connected


class Event(StrEnum):
    """What can befall a flow."""

    DUE = "due"
    OPENED = "opened"
    CLOSED = "closed"
    LOST = "lost"


TRANSITIONS: Mapping[tuple[type[State], Event], type[State]] = {
    (Waiting, Event.DUE): Opening,
    (Opening, Event.OPENED): Connected,
    (Opening, Event.CLOSED): Waiting,
    (Opening, Event.LOST): Waiting,
    (Connected, Event.CLOSED): Waiting,
    (Connected, Event.LOST): Waiting,
}
"""A pair that is not listed changes nothing: a second close, for one, after we gave the flow up ourselves."""


# ── the tunnel ───────────────────────────────────────────────────────────────────────────────────────────────────────


class OpenVpnTunnel:
    """One tunnel, over one flow at a time. ``client`` and ``profile`` are None where the configuration has the keys."""

    def __init__(self, config: Tunnel, inside: IPv4Network, client: Client | None, profile: Profile | None) -> None:
        self._proto = config.proto
        self._inside = inside
        self._client = client
        self._profile = profile
        self._session: Session | None = config.session
        self._state: State = Waiting(None)
        self._first_delay = profile.connect_retry if profile else FIRST_DELAY
        self._longest_delay = profile.connect_retry_longest if profile else LONGEST_DELAY
        self._delay = self._first_delay
        self._failures = 0
        """Attempts in a row that led to no key."""
        self.remote = 0
        """Which of the profile's remotes the flow goes to."""
        self.address = config.session.address if config.session else None
        """Our address in the tunnel; None until the server has pushed one."""
        self.mtu = config.session.mtu if config.session else DEFAULT_MTU
        """The largest inner packet, in octets (S23)."""
        self.mssfix: int | None = None
        """The largest TCP segment size that a passing SYN may announce, in octets; None: any."""

    @property
    def is_up(self) -> bool:
        """Whether inner packets may be sent."""
        return isinstance(self._state, Connected) and self._state.in_use is not None

    @property
    def status(self) -> dict[str, object]:
        """How things stand, in JSON's values, for a person."""
        keys = sorted(self._state.keys) if isinstance(self._state, Connected) else []
        return {
            "flow": type(self._state).__name__.lower(),
            "is_up": self.is_up,
            "address": str(self.address) if self.address else None,
            "mtu": self.mtu,
            "mssfix": self.mssfix,
            "remote": self.remote,
            "keys": keys,
            "key_in_use": self._key_in_use.key_id if self.is_up else None,
        }

    @property
    def ids_left(self) -> int:
        """How many records may still be sealed under the key in use."""
        return self._key_in_use.sending.ids_left

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due."""
        if isinstance(self._state, Waiting):
            return self._state.due
        return self._client.deadline if self._client and isinstance(self._state, Connected) else None

    def start(self, is_flow_open: bool, now: float) -> Iterator[Step]:
        """Begin: on a flow that is open already, or by asking for one."""
        self._state = Opening()
        if is_flow_open:
            yield from self.opened(now)
        else:
            yield OpenFlow(rules.S2_OPEN_FLOW)

    def opened(self, now: float) -> Iterator[Step]:
        """The flow is connected: fixed keys count at once, a client begins its handshake."""
        if not self._move(Event.OPENED, Connected(self._new_reader())):
            yield changed(rules.S2_FLOW_OPENED, is_expected=False)
            return
        yield changed(rules.S2_FLOW_OPENED)
        if self._session is not None:
            self._install(_key_of_session(self._session))
            yield from self._use(self._session.key_id)
        elif self._client is not None:
            yield from self._obey(self._client.start(now, self.remote), now)

    def closed(self, now: float) -> Iterator[Step]:
        """The flow has ended, or did not come about."""
        if (type(self._state), Event.CLOSED) not in TRANSITIONS:
            yield changed(rules.S4_FLOW_LOST, is_expected=False)
            return
        if isinstance(self._state, Opening):
            self._next_remote()
        look_at = self._client.look_at if self._client and isinstance(self._state, Connected) else None
        if look_at is not None:
            yield changed(rules.S2_HANDSHAKE_FAILED, reason=f"the server closed the connection: {look_at}")
        yield from self._down(Event.CLOSED, rules.S4_FLOW_LOST, now)

    def receive(self, octets: bytes, now: float) -> Iterator[Step]:
        """Take what arrived on the flow: a piece of the stream, or a datagram."""
        if not isinstance(self._state, Connected):
            yield dropped(rules.S4_FLOW_LOST, length=len(octets))
        elif self._state.reader is None:
            yield from self._datagram(octets, now)
        else:
            yield from self._stream(self._state.reader, octets, now)

    def send(self, octets: bytes, because: Rule, now: float) -> Iterator[Step]:
        """Seal one inner packet and send its record (S24)."""
        if not self.is_up:  # sending the fragment before this one has ended the session
            yield changed(rules.S4_TUNNEL_DOWN, length=len(octets))
            return
        yield self._transmit(self._key_in_use.sending.seal(octets), because)
        if self._client is not None:
            self._client.data_sent(now, len(octets))
            if self._key_in_use.sending.next_packet_id == data_channel.RENEGOTIATE_PACKET_ID:
                yield changed(rules.S24_RENEGOTIATE, next_packet_id=data_channel.RENEGOTIATE_PACKET_ID)
                yield from self._obey(self._client.renegotiate(now), now)

    def tick(self, now: float) -> Iterator[Step]:
        """Open the flow again when its time has come, and let the client do what is due."""
        if isinstance(self._state, Waiting) and self._state.due is not None and self._state.due <= now:
            self._move(Event.DUE, Opening())
            yield OpenFlow(rules.S2_RETRY)
        elif isinstance(self._state, Connected) and self._client is not None:
            due = self._client.deadline
            if due is not None and due <= now:
                yield from self._obey(self._client.tick(now), now)

    def stop(self, now: float) -> Iterator[Step]:
        """Leave politely. The flow may be closed after it."""
        if isinstance(self._state, Connected) and self._client is not None:
            yield from self._obey(self._client.stop(now), now)

    def restart(self, now: float) -> Iterator[Step]:
        """Give the flow up, whatever its state, and make another; one that is waited for is opened at once."""
        if not isinstance(self._state, Waiting):
            yield from self._lose(rules.S3_RESET_LOST_FLOW, now)
        elif self._state.due is not None:
            self._state.due = now

    # ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _move(self, event: Event, state: State) -> bool:
        """Change the state if the table allows it."""
        if TRANSITIONS.get((type(self._state), event)) is not type(state):
            return False
        self._state = state
        return True

    def _new_reader(self) -> RecordReader | None:
        """A stream's records begin with its first octet; datagrams need no reader."""
        if self._profile is None:
            return RecordReader(self.mtu) if self._proto == "tcp" else None
        return RecordReader(DEFAULT_MTU) if self._profile.remotes[self.remote].proto == "tcp" else None

    def _lose(self, because: Rule, now: float) -> Iterator[Step]:
        """Give the flow up: it is reset, and opened again later (S3)."""
        yield CloseFlow(because)
        yield from self._down(Event.LOST, rules.S3_RESET_LOST_FLOW, now)

    def _down(self, event: Event, because: Rule, now: float, wait: float = 0.0) -> Iterator[Step]:
        """There is no flow any more, nor any key (S4). It is opened again, each time after twice the time."""
        self._failures += 1
        if self._has_tried_enough:
            self._move(event, Waiting(None))
            reason = f"{self._failures} attempts in a row have failed (connect-retry-max)"
            yield changed(because, reason=reason, will_retry=False)
            return
        delay = max(self._delay, wait)
        self._move(event, Waiting(now + delay))
        self._delay = min(2 * self._delay, self._longest_delay)
        yield changed(because, retry_in_seconds=delay)
        if self._session is not None:
            self._session = None
            yield changed(rules.S4_KEYS_END)

    @property
    def _has_tried_enough(self) -> bool:
        """Whether every remote has had as many attempts as the profile allows; 0 is no end."""
        if self._profile is None or not self._profile.attempts:
            return False
        return self._failures >= self._profile.attempts * len(self._profile.remotes)

    def _next_remote(self) -> None:
        """The next attempt goes to the profile's next server."""
        if self._profile is not None:
            self.remote = (self.remote + 1) % len(self._profile.remotes)

    def _transmit(self, record: bytes, because: Rule) -> Transmit:
        assert isinstance(self._state, Connected)
        return Transmit(Port.FLOW, record if self._state.reader is None else framing.build(record), because)

    # ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _stream(self, reader: RecordReader, octets: bytes, now: float) -> Iterator[Step]:
        """Over TCP a record that is refused ends the flow, and what follows it is not read (S26)."""
        reader.feed(octets)
        try:
            while isinstance(self._state, Connected) and (record := reader.next_record()) is not None:
                yield rules.S3_RECORD
                yield from self._record(record, now)
        except Malformed as malformed:
            yield malformed.note()
            yield from self._lose(malformed.rule, now)
        if isinstance(self._state, Connected) and reader.octets_waiting:
            yield changed(rules.S3_INCOMPLETE, octets_waiting=reader.octets_waiting)

    def _datagram(self, octets: bytes, now: float) -> Iterator[Step]:
        """Over UDP a record that is refused is dropped, for anybody can send one (S26)."""
        try:
            if not octets:
                raise Malformed(rules.S26_TOO_SHORT, length=0)
            yield from self._record(octets, now)
        except Malformed as malformed:
            yield malformed.note()

    def _record(self, record: bytes, now: float) -> Iterator[Step]:
        """Take one record.

        Raises:
            Malformed: it is refused.
        """
        opcode = data_channel.opcode_of(record)
        if not data_channel.FIRST_OPCODE <= opcode <= data_channel.LAST_OPCODE:
            raise Malformed(rules.S26_OPCODE, opcode=opcode)
        if opcode in (data_channel.P_DATA_V1, data_channel.P_DATA_V2):
            yield from self._data_record(record, now)
            return
        if self._client is not None:
            yield from self._obey(self._client.receive(record, now), now)
        yield delivered(rules.S27_CONTROL, opcode=opcode)

    def _data_record(self, record: bytes, now: float) -> Iterator[Step]:
        """Find the key that the record names, open the record with it, and hand up what it holds (S26, S27)."""
        assert isinstance(self._state, Connected)
        key_id = data_channel.key_id_of(record)
        key = self._state.keys.get(key_id)
        if key is None:
            yield dropped(rules.S26_UNKNOWN_KEY, key_id=key_id)
            return
        opened = key.receiving.open(record)
        rule = rules.S26_GAP if opened.is_gap else rules.S26_OPEN
        yield rule
        yield changed(
            rule,
            key_id=key_id,
            data_packet_id=opened.data_packet_id,
            highest=opened.highest,
            seen_in_window=opened.seen_in_window,
        )
        if key is not self._state.in_use:
            yield rules.S27_TWO_KEYS
        if self._client is not None:
            self._client.data_received(now, len(opened.plaintext))
        if opened.plaintext == data_channel.PING:
            yield delivered(rules.S27_PING)
        elif opened.plaintext.startswith(data_channel.OCC_MAGIC):
            yield from self._options_consistency(opened.plaintext, now)
        else:
            yield InnerPacket(opened.plaintext)

    def _options_consistency(self, plaintext: bytes, now: float) -> Iterator[Step]:
        """Of these messages only the exit is acted on: the peer is gone (PROTOCOL.md 12.2)."""
        operation = plaintext[len(data_channel.OCC_MAGIC) :][:1]
        yield delivered(rules.S27_OCC, operation=operation)
        if operation == data_channel.OCC_EXIT and self._client is not None:
            yield from self._lose(rules.S27_OCC, now)

    # ── the client's wishes ──────────────────────────────────────────────────────────────────────────────────────────

    def _obey(self, outputs: Iterable[ClientOutput], now: float) -> Iterator[Step]:
        """Do what the control plane asks for, in its order, until it gives up."""
        for output in outputs:
            if isinstance(self._state, Connected):
                yield from self._obey_one(output, now)

    def _obey_one(self, output: ClientOutput, now: float) -> Iterator[Step]:
        match output:
            case SendPacket(packet, because):
                yield self._transmit(packet, because)
            case SendPing():
                yield from self._send_message(data_channel.PING, rules.S24_PING, now)
            case SendExit():
                yield from self._send_message(data_channel.OCC_MAGIC + data_channel.OCC_EXIT, rules.S27_OCC, now)
            case InstallKey():
                self._install(_key_of_client(output))
            case UseKey(key_id):
                self._delay, self._failures = self._first_delay, 0
                yield from self._use(key_id)
            case DropKey(key_id):
                self._forget(key_id)
            case Configured():
                yield from self._configure(output, now)
            case Failed():
                yield from self._fail(output, now)
            case _:
                yield Note(NoteKind.STATE, output.because, output.detail)

    def _configure(self, pushed: Configured, now: float) -> Iterator[Step]:
        """Take what the server pushed, if it goes together with the internal network (S1, S4)."""
        if pushed.address.network.overlaps(self._inside):
            yield changed(rules.S1_PREFIXES_APART, pushed=pushed.address, internal=str(self._inside))
            yield from self._lose(rules.S1_PREFIXES_APART, now)
            return
        self.address, self.mtu, self.mssfix = pushed.address, pushed.mtu, pushed.mssfix
        assert isinstance(self._state, Connected)
        if self._state.reader is not None:
            self._state.reader.allow(max(pushed.mtu, DEFAULT_MTU))
        yield changed(rules.S4_FRESH_SESSION, address=pushed.address, mtu=pushed.mtu, mssfix=pushed.mssfix)

    def _fail(self, failed: Failed, now: float) -> Iterator[Step]:
        """The control plane gives the session up: for a while, or for good."""
        yield CloseFlow(failed.because)
        if failed.next_remote:
            self._next_remote()
        yield changed(failed.because, reason=failed.reason, will_retry=failed.retry)
        if failed.retry:
            yield from self._down(Event.LOST, rules.S2_RETRY, now, wait=failed.delay)
        else:
            self._move(Event.LOST, Waiting(None))

    def _send_message(self, message: bytes, because: Rule, now: float) -> Iterator[Step]:
        """Seal a message of the tunnel's own."""
        if self.is_up and self.ids_left:
            yield self._transmit(self._key_in_use.sending.seal(message), because)
            assert self._client is not None
            self._client.data_sent(now)

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _key_in_use(self) -> DataKey:
        assert isinstance(self._state, Connected)
        assert self._state.in_use is not None
        return self._state.in_use

    def _install(self, key: DataKey) -> None:
        """Receive with a key from now on."""
        assert isinstance(self._state, Connected)
        self._state.keys[key.key_id] = key

    def _use(self, key_id: int) -> Iterator[Step]:
        """Send with an installed key from now on."""
        assert isinstance(self._state, Connected)
        self._state.in_use = self._state.keys[key_id]
        yield changed(rules.S2_ESTABLISHED, key_id=key_id, address=self.address)

    def _forget(self, key_id: int) -> None:
        """Neither send nor receive with a key any more."""
        assert isinstance(self._state, Connected)
        forgotten = self._state.keys.pop(key_id, None)
        if forgotten is self._state.in_use:
            self._state.in_use = None


def _key_of_session(session: Session) -> DataKey:
    """The key that the configuration gives."""
    send, receive = session.send, session.receive
    return DataKey(
        session.key_id,
        SendingKey(session.key_id, session.cipher, session.peer_id, send.key, send.implicit_iv, send.next_packet_id),
        ReceivingKey(session.cipher, receive.key, receive.implicit_iv),
    )


def _key_of_client(key: InstallKey) -> DataKey:
    """A key that was negotiated."""
    return DataKey(
        key.key_id,
        SendingKey(key.key_id, key.cipher, key.peer_id, key.send_key, key.send_implicit_iv),
        ReceivingKey(key.cipher, key.receive_key, key.receive_implicit_iv),
    )
