"""Control packets: what stands in them, whatever wraps them.

What it answers: opcode, key id, who sends, what is acknowledged, which message this is.
Above is ``reliability.py``, which orders the messages; below is ``wrapping.py``, which authenticates and hides
all that follows the first nine octets. A packet of the plain mode is header and body, nothing else.

    0                   1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
   +---------+-----+-----------------------------------------------+
   | opcode  | key |                                               |   header: 9 octets, never hidden
   +---------+-----+      sender's session id (8 octets)           |
   |               |                                               |
   +---------------+-----------------------------------------------+
   | n: how many   |  n acknowledged message ids, 4 octets each    |   body
   +---------------+-----------------------------------------------+
   |  receiver's session id (8 octets), only if n > 0              |
   +---------------------------------------------------------------+
   |  message id (4 octets), not in P_ACK_V1                       |
   +---------------------------------------------------------------+
   |  payload: octets of the TLS stream, or nothing                |
   +---------------------------------------------------------------+

Standards: PROTOCOL.md sections 2 and 3.1; OpenVPN ssl_pkt.h, reliable.c reliable_ack_parse, ssl.c tls_pre_decrypt.
Not here: data packets (opcodes 6 and 9), which are the data channel's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from glassgate.contract import rules
from glassgate.contract.rules import Rule

SESSION_ID_OCTETS = 8
HEADER_OCTETS = 1 + SESSION_ID_OCTETS
MOST_ACKNOWLEDGEMENTS = 8
"""reliable.h RELIABLE_ACK_SIZE: a packet with more is refused by the stock program, and here."""

_MESSAGE_ID = struct.Struct("!I")


class Opcode(IntEnum):
    """The first octet's upper five bits, by the names of ssl_pkt.h."""

    P_CONTROL_SOFT_RESET_V1 = 3
    P_CONTROL_V1 = 4
    P_ACK_V1 = 5
    P_DATA_V1 = 6
    P_CONTROL_HARD_RESET_CLIENT_V2 = 7
    P_CONTROL_HARD_RESET_SERVER_V2 = 8
    P_DATA_V2 = 9
    P_CONTROL_HARD_RESET_CLIENT_V3 = 10
    P_CONTROL_WKC_V1 = 11


FROM_SERVER = frozenset(
    (Opcode.P_CONTROL_SOFT_RESET_V1, Opcode.P_CONTROL_V1, Opcode.P_ACK_V1, Opcode.P_CONTROL_HARD_RESET_SERVER_V2)
)
"""The control packets that a server sends; anything else from it is refused."""


class ControlRefused(Exception):
    """A control packet that is not acted on. Over TCP it costs the connection (PROTOCOL 16.2)."""

    def __init__(self, reason: str, because: Rule = rules.S26_CONTROL_REFUSED, **detail: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.because = because
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Header:
    """What is never hidden: the first nine octets."""

    opcode: Opcode
    key_id: int
    session_id: bytes

    def build(self) -> bytes:
        """The nine octets."""
        return bytes((self.opcode << 3 | self.key_id,)) + self.session_id


@dataclass(frozen=True, slots=True)
class Body:
    """What follows the header once it is authentic and readable."""

    acknowledgements: tuple[int, ...]
    peer_session_id: bytes
    """The id of the side whose messages are acknowledged; empty if there is nothing to acknowledge."""
    message_id: int | None
    """None in a P_ACK_V1, which is no message."""
    payload: bytes = b""

    def build(self) -> bytes:
        """The octets of the body."""
        parts = [bytes((len(self.acknowledgements),))]
        parts += [_MESSAGE_ID.pack(message_id) for message_id in self.acknowledgements]
        if self.acknowledgements:
            parts.append(self.peer_session_id)
        if self.message_id is not None:
            parts.append(_MESSAGE_ID.pack(self.message_id))
        return b"".join((*parts, self.payload))


def parse_header(packet: bytes) -> Header:
    """Read opcode, key id and session id.

    Raises:
        ControlRefused: the packet is too short, of no known opcode, or names no session.
    """
    if len(packet) < HEADER_OCTETS:
        raise ControlRefused("a control packet under 9 octets", length=len(packet))
    try:
        opcode = Opcode(packet[0] >> 3)
    except ValueError:
        raise ControlRefused("an opcode out of range", rules.S26_OPCODE, opcode=packet[0] >> 3) from None
    session_id = bytes(packet[1:HEADER_OCTETS])
    if not any(session_id):  # session_id.h session_id_defined
        raise ControlRefused("a session id of zero", opcode=opcode.name)
    return Header(opcode, packet[0] & 7, session_id)


def parse_body(opcode: Opcode, body: bytes) -> Body:
    """Read acknowledgements, message id and payload.

    Raises:
        ControlRefused: the body ends too early or acknowledges more than eight messages.
    """
    if not body:
        raise ControlRefused("a control packet without acknowledgement count", opcode=opcode.name)
    count = body[0]
    if count > MOST_ACKNOWLEDGEMENTS:
        raise ControlRefused("more than 8 acknowledgements", opcode=opcode.name, count=count)
    end = 1 + 4 * count
    peer_end = end + (SESSION_ID_OCTETS if count else 0)
    rest = peer_end + (0 if opcode is Opcode.P_ACK_V1 else 4)
    if len(body) < rest:
        raise ControlRefused("a control packet that ends early", opcode=opcode.name, length=len(body), needed=rest)
    acknowledgements = struct.unpack_from(f"!{count}I", body, 1)
    peer_session_id = body[end:peer_end]
    if opcode is Opcode.P_ACK_V1:
        return Body(acknowledgements, peer_session_id, None)
    return Body(acknowledgements, peer_session_id, _MESSAGE_ID.unpack_from(body, peer_end)[0], body[rest:])


# ── what a server may tell in its first message ──────────────────────────────────────────────────────────────────────

TLV_FLAGS = 1
FLAG_RESEND_WKC = 1


def parse_early_negotiation(payload: bytes) -> bool:
    """Whether message 1 must carry the wrapped client key again (ssl.c parse_early_negotiation_tlvs).

    The payload of a hard reset is a list of type, length, value; unknown types are skipped.

    Raises:
        ControlRefused: the list is malformed.
    """
    resend = False
    while payload:
        if len(payload) < 4:
            raise ControlRefused("an early negotiation entry that ends early", left=len(payload))
        kind, length = struct.unpack_from("!HH", payload)
        value, payload = payload[4 : 4 + length], payload[4 + length :]
        if len(value) < length:
            raise ControlRefused("an early negotiation entry that ends early", length=length, left=len(value))
        if kind == TLV_FLAGS:
            if length != 2:
                raise ControlRefused("early negotiation flags that are not 2 octets", length=length)
            resend = bool(int.from_bytes(value, "big") & FLAG_RESEND_WKC)
    return resend
