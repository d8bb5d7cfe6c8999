"""The tunnel: the life of its flow, of the session on it, and of the keys by which packets pass.

Below: the flow, a TCP stream or UDP datagrams, whoever provides it. Beside it: the control plane (client.py), which
negotiates keys and says when the session is over; in its stead the configuration may bring fixed keys, which end with
their flow. Above: the gateway, which sends inner packets and takes those that come. Standards: OpenVPN forward.c
process_incoming_link, ssl.c tls_pre_decrypt; PROTOCOL.md 2, 12, 15, 16.

    Waiting ──due──► Opening ──opened──► Connected ──closed · lost──► Waiting, each time for twice as long
       ▲                │
       └────closed──────┘                Connected without a key in use is a tunnel that is down

A record goes the same way each time: its opcode is read, its key is found, it is authenticated, its packet id is
checked for replay, and only then is it acted on. Over TCP what fails there cannot be loss on the way, so the flow is
given up; over UDP anybody may have sent it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from glassgate.contract import CloseFlow, Effect, OpenFlow, Port, Rule, Session, Transmit, Tunnel, rules
from glassgate.reference.notes import Malformed, changed, delivered, dropped
from glassgate.reference.openvpn import data_channel, framing
from glassgate.reference.openvpn.data_channel import ReceivingKey, SendingKey
from glassgate.reference.openvpn.framing import RecordReader

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


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
    (Connected, Event.CLOSED): Waiting,
    (Connected, Event.LOST): Waiting,
}
"""A pair that is not listed changes nothing: a second close, for one, after we gave the flow up ourselves."""


# ── the tunnel ───────────────────────────────────────────────────────────────────────────────────────────────────────


class OpenVpnTunnel:
    """One tunnel, over one flow at a time."""

    def __init__(self, config: Tunnel) -> None:
        self._is_stream = config.proto == "tcp"
        self._session: Session | None = config.session
        self._state: State = Waiting(None)
        self._delay = FIRST_DELAY
        self.address = config.session.address if config.session else None
        self.mtu = config.session.mtu if config.session else 1500

    @property
    def is_up(self) -> bool:
        """Whether inner packets may be sent."""
        return isinstance(self._state, Connected) and self._state.in_use is not None

    @property
    def ids_left(self) -> int:
        """How many records may still be sealed under the key in use."""
        assert isinstance(self._state, Connected)
        assert self._state.in_use is not None
        return data_channel.LAST_PACKET_ID + 1 - self._state.in_use.sending.next_packet_id

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due."""
        return self._state.due if isinstance(self._state, Waiting) else None

    def start(self, is_flow_open: bool, now: float) -> Iterator[Step]:
        """Begin: with a flow that is open already, or by asking for one."""
        self._state = Opening()
        if is_flow_open:
            yield from self._opened(now)
        else:
            yield OpenFlow(rules.S2_OPEN_FLOW)

    def opened(self, now: float) -> Iterator[Step]:
        """The flow is connected."""
        if (type(self._state), Event.OPENED) in TRANSITIONS:
            yield from self._opened(now)
        else:
            yield changed(rules.S2_FLOW_OPENED, is_expected=False)

    def closed(self, now: float) -> Iterator[Step]:
        """The flow has ended, or did not come about."""
        if (type(self._state), Event.CLOSED) in TRANSITIONS:
            yield from self._down(rules.S4_FLOW_LOST, now)
        else:
            yield changed(rules.S4_FLOW_LOST, is_expected=False)

    def receive(self, octets: bytes, now: float) -> Iterator[Step]:
        """Take what arrived on the flow: a piece of the stream, or a datagram."""
        if not isinstance(self._state, Connected):
            yield dropped(rules.S4_FLOW_LOST, length=len(octets))
            return
        reader = self._state.reader
        if reader is None:
            yield from self._datagram(octets, now)
            return
        reader.feed(octets)
        try:
            while isinstance(self._state, Connected) and (record := reader.next_record()) is not None:
                yield from self._record(record, now)
        except Malformed as malformed:
            yield malformed.note()
            yield from self._lose(malformed.rule, now)
        if reader.octets_waiting and isinstance(self._state, Connected):
            yield changed(rules.S3_INCOMPLETE, octets_waiting=reader.octets_waiting)

    def send(self, octets: bytes, because: Rule, now: float) -> Iterator[Step]:
        """Seal one inner packet and send its record (S24)."""
        assert isinstance(self._state, Connected)
        assert self._state.in_use is not None
        yield self._transmit(self._state.in_use.sending.seal(octets), because)

    def tick(self, now: float) -> Iterator[Step]:
        """Open the flow again when its time has come."""
        if isinstance(self._state, Waiting) and self._state.due is not None and self._state.due <= now:
            self._state = Opening()
            yield OpenFlow(rules.S2_RETRY)

    # ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _opened(self, now: float) -> Iterator[Step]:
        reader = RecordReader(self.mtu) if self._is_stream else None
        self._state = Connected(reader)
        yield changed(rules.S2_FLOW_OPENED)
        if self._session is not None:
            key = _session_key(self._session)
            self._state.keys[key.key_id] = self._state.in_use = key
            yield changed(rules.S2_ESTABLISHED, key_id=key.key_id, address=self._session.address)

    def _lose(self, because: Rule, now: float) -> Iterator[Step]:
        """Give the flow up: it is reset, and opened again later (S3)."""
        yield CloseFlow(because)
        yield from self._down(rules.S3_RESET_LOST_FLOW, now)

    def _down(self, because: Rule, now: float) -> Iterator[Step]:
        """There is no flow any more; neither are there keys."""
        self._state = Waiting(now + self._delay)
        yield changed(because, retry_in_seconds=self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)
        if self._session is not None:
            self._session = None
            yield changed(rules.S4_KEYS_END)

    def _transmit(self, record: bytes, because: Rule) -> Transmit:
        return Transmit(Port.FLOW, framing.build(record) if self._is_stream else record, because)

    # ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _datagram(self, octets: bytes, now: float) -> Iterator[Step]:
        """Over UDP a record that is refused is dropped, for anybody can send one (S26)."""
        try:
            if octets:
                yield from self._record(octets, now)
        except Malformed as malformed:
            yield malformed.note()

    def _record(self, record: bytes, now: float) -> Iterator[Step]:
        """Take one record apart, step by step.

        Raises:
            Malformed: the record is refused.
        """
        yield rules.S3_RECORD
        opcode = data_channel.opcode_of(record)
        if not data_channel.FIRST_OPCODE <= opcode <= data_channel.LAST_OPCODE:
            raise Malformed(rules.S26_OPCODE, opcode=opcode)
        if opcode in (data_channel.P_DATA_V1, data_channel.P_DATA_V2):
            yield from self._data_record(record, now)
        else:
            yield delivered(rules.S27_CONTROL, opcode=opcode)

    def _data_record(self, record: bytes, now: float) -> Iterator[Step]:
        assert isinstance(self._state, Connected)
        key = self._state.keys.get(data_channel.key_id_of(record))
        if key is None:
            yield dropped(rules.S26_UNKNOWN_KEY, key_id=data_channel.key_id_of(record))
            return
        opened = key.receiving.open(record)
        yield rules.S26_GAP if opened.is_gap else rules.S26_OPEN
        yield from self._inner(opened.plaintext, now)

    def _inner(self, plaintext: bytes, now: float) -> Iterator[Step]:
        """Keep the tunnel's own messages here, and hand packets up (S27)."""
        if plaintext == data_channel.PING:
            yield delivered(rules.S27_PING)
        elif plaintext.startswith(data_channel.OCC_MAGIC):
            yield delivered(rules.S27_OCC)
        else:
            yield InnerPacket(plaintext)


def _session_key(session: Session) -> DataKey:
    """The key that the configuration gives."""
    send, receive = session.send, session.receive
    return DataKey(
        session.key_id,
        SendingKey(session.key_id, session.cipher, session.peer_id, send.key, send.implicit_iv, send.next_packet_id),
        ReceivingKey(session.cipher, receive.key, receive.implicit_iv),
    )
