"""One key's negotiation: reset, TLS, key method 2, and then the control strings said under that key.

What it answers: how far is this key, what is to be sent, what did the server say?
Below are the reliability layer and TLS; above is the client, which decides what to do with what was said, and when a
new key begins. The first key has id 0; each later one is a negotiation of its own, beside the last.

   PRE_START ── reset acknowledged ──→ START ── handshake done, our key sent ──→ SENT_KEY
                                                                                    │ the server's key read
   GENERATED_KEYS ←── keys made ── ACTIVE ←── all that we sent is acknowledged ── GOT_KEY

Standards: PROTOCOL.md sections 5, 6, 7, 15; OpenVPN ssl.c tls_process_state, ssl_common.h S_… for the states.
Not here: which wrapping protects the packets, which is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from glassgate.reference.openvpn.key_exchange import ClientMessage, ServerMessage, parse_server_message
from glassgate.reference.openvpn.packets import (
    HEADER_OCTETS,
    MOST_ACKNOWLEDGEMENTS,
    Body,
    Header,
    Opcode,
    parse_early_negotiation,
)
from glassgate.reference.openvpn.reliability import MOST_PIGGYBACKED, Reliability
from glassgate.reference.openvpn.tls import TlsClient, TlsSettings
from glassgate.reference.openvpn.wrapping import Wrapping

OUTER_OVERHEAD = 28
"""IPv4 and UDP headers, which ``max-packet-size`` counts, over TCP too (ssl.c calc_control_channel_frame_overhead)."""
BODY_OVERHEAD = 1 + 4 * MOST_PIGGYBACKED + 8 + 4
LEAST_PAYLOAD = 16
"""ssl.c write_outgoing_tls_ciphertext: however large the wrapped client key is, so much of TLS goes along."""


class State(Enum):
    """How far a key is (ssl_common.h)."""

    PRE_START = "our reset is under way"
    START = "TLS handshake"
    SENT_KEY = "our key method 2 message is under way"
    GOT_KEY = "the server's is here"
    ACTIVE = "both have both"
    GENERATED_KEYS = "the data keys are made"


class Event(Enum):
    """What moves a key on."""

    RESET_ACKNOWLEDGED = "our reset was acknowledged"
    KEY_SENT = "the handshake is done and our message was given to TLS"
    KEY_RECEIVED = "the server's message was read"
    ALL_ACKNOWLEDGED = "all that we sent was acknowledged"
    KEYS_MADE = "the data keys were made"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PRE_START, Event.RESET_ACKNOWLEDGED): State.START,
    (State.START, Event.KEY_SENT): State.SENT_KEY,
    (State.SENT_KEY, Event.KEY_RECEIVED): State.GOT_KEY,
    (State.GOT_KEY, Event.ALL_ACKNOWLEDGED): State.ACTIVE,
    (State.ACTIVE, Event.KEYS_MADE): State.GENERATED_KEYS,
}
"""Every pair that may happen; any other is a mistake of this program."""

NEGOTIATED = frozenset((State.ACTIVE, State.GENERATED_KEYS))


@dataclass(frozen=True, slots=True)
class Offer:
    """What a negotiation begins with."""

    key_id: int
    opcode: Opcode
    """The reset that it starts with: hard for a session's first key, soft later."""
    session_id: bytes
    message: ClientMessage
    wrapped_client_key_octets: int = 0
    largest_control_packet: int = 1250
    tls_timeout: float = 2.0


@dataclass(slots=True)
class Negotiation:
    """One key id's control channel."""

    offer: Offer
    wrapping: Wrapping
    settings: TlsSettings
    must_finish: float
    """When the hand window ends."""
    state: State = State.PRE_START
    server_message: ServerMessage | None = None
    peer_session_id: bytes = b""
    established: float = 0.0
    """When the key became active."""
    _tls: TlsClient = field(init=False)
    _reliability: Reliability = field(init=False)
    _messages: int = 1
    _resend_wrapped_client_key: bool = False

    def __post_init__(self) -> None:
        self._tls = TlsClient(self.settings)
        self._reliability = Reliability(self.offer.tls_timeout)
        self._reliability.send(self.offer.opcode, b"")

    @property
    def key_id(self) -> int:
        """The key that is negotiated."""
        return self.offer.key_id

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, opcode: Opcode, body: Body) -> bool:
        """Take one authentic packet. False if its message is beyond the window, and therefore dropped."""
        self._reliability.acknowledged(body.acknowledgements)
        if body.message_id is None:
            return True
        return self._reliability.receive(body.message_id, opcode, body.payload)

    def progress(self, now: float) -> list[str]:
        """Go on as far as possible. Gives the control strings that the server said.

        Raises:
            TlsFailed: the TLS session cannot go on.
            KeyExchangeFailed: the server's key method 2 message cannot be used.
            ControlRefused: the server's early negotiation is malformed.
        """
        said: list[str] = []
        if self.state is State.PRE_START and self._reliability.first_is_acknowledged:
            self._move(Event.RESET_ACKNOWLEDGED)
        self._read_messages()
        if self.state is not State.PRE_START:
            self._tls.handshake()
            if self.state is State.START and self._tls.established:
                self._tls.write(self.offer.message.build())
                self._move(Event.KEY_SENT)
            for record in self._tls.records():
                said += self._read_record(record)
            self.flush()
        if self.state is State.GOT_KEY and self._reliability.everything_acknowledged:
            self._move(Event.ALL_ACKNOWLEDGED)
            self.established = now
        return said

    def _read_messages(self) -> None:
        """Resets may carry early negotiation; all else is the TLS stream."""
        for opcode, payload in self._reliability.read():
            if opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2:
                self._resend_wrapped_client_key = parse_early_negotiation(payload)
            elif opcode is Opcode.P_CONTROL_V1:
                self._tls.receive(payload)

    def _read_record(self, record: bytes) -> list[str]:
        """The first record is the server's key method 2 message; the others hold strings closed by NUL."""
        if self.state is State.SENT_KEY:
            self.server_message = parse_server_message(record)
            self._move(Event.KEY_RECEIVED)
            return []
        closed, _, _ = record.rpartition(b"\0")  # what no NUL closes is no string (ssl_pkt.c extract_command_buffer)
        return [_printable(text) for text in closed.split(b"\0") if text]

    def keys_made(self) -> None:
        """The client has made the data keys."""
        self._move(Event.KEYS_MADE)

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def say(self, text: str) -> None:
        """Say a control string, in a record of its own."""
        assert self.state in NEGOTIATED
        self._tls.write(text.encode() + b"\0")
        self.flush()

    def export(self, label: bytes, octets: int) -> bytes:
        """Keying material of this key's TLS session."""
        return self._tls.export(label, octets)

    @property
    def description(self) -> str:
        """The TLS version and cipher, for a person."""
        return self._tls.description

    def flush(self) -> None:
        """Cut what TLS wants to send into messages."""
        ciphertext = self._tls.ciphertext()
        while ciphertext:
            opcode, room = self._next_message()
            self._reliability.send(opcode, ciphertext[:room])
            self._messages += 1
            ciphertext = ciphertext[room:]

    def _next_message(self) -> tuple[Opcode, int]:
        """Opcode and room of the next message; message 1 carries the wrapped client key if the server asks."""
        overhead = OUTER_OVERHEAD + HEADER_OCTETS + BODY_OVERHEAD + self.wrapping.overhead
        room = self.offer.largest_control_packet - overhead
        if self._messages == 1 and self._resend_wrapped_client_key:
            return Opcode.P_CONTROL_WKC_V1, max(LEAST_PAYLOAD, room - self.offer.wrapped_client_key_octets)
        return Opcode.P_CONTROL_V1, max(LEAST_PAYLOAD, room)

    def packets(self, now: float) -> list[bytes]:
        """The packets that are due: messages, with acknowledgements along; else acknowledgements alone."""
        packets = []
        for message in self._reliability.due(now):
            acknowledged = self._reliability.acknowledgements(MOST_PIGGYBACKED)
            body = Body(acknowledged, self.peer_session_id, message.message_id, message.payload)
            packets.append(self._wrapped(message.opcode, body, now))
        while self._reliability.owes_acknowledgement:
            acknowledged = self._reliability.acknowledgements(MOST_ACKNOWLEDGEMENTS)
            body = Body(acknowledged, self.peer_session_id, None)
            packets.append(self._wrapped(Opcode.P_ACK_V1, body, now))
        return packets

    def _wrapped(self, opcode: Opcode, body: Body, now: float) -> bytes:
        """Every transmission is wrapped afresh, for an identical one would be a replay (PROTOCOL 4)."""
        header = Header(opcode, self.key_id, self.offer.session_id)
        return self.wrapping.wrap(header.build(), body.build(), now)

    @property
    def everything_acknowledged(self) -> bool:
        """Whether the server has all that was said."""
        return self._reliability.everything_acknowledged

    @property
    def deadline(self) -> float | None:
        """When packets are next due."""
        return self._reliability.deadline


def _printable(octets: bytes) -> str:
    """A control string as it may be shown: no line end, anything unprintable made visible (buffer.c string_mod)."""
    text = octets.decode("utf-8", "replace").rstrip("\r\n")
    return "".join(character if character.isprintable() else "?" for character in text)
