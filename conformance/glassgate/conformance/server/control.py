"""Control packets: the header that every one has, and the message inside whatever wraps it.

    packet    opcode(5 bits) key id(3 bits) ‖ own session id(8) ‖ message, wrapped (see ``wrapping``)
    message   count ‖ acknowledged message id(4), … ‖ [remote session id(8), if any are] ‖ [message id(4) ‖ payload]

P_ACK_V1 ends before the message id. (openvpn-rfc "wire packet format", but for the entries of its acknowledgements,
which have four octets; reliable.c.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

SESSION_ID_OCTETS = 8
HEADER_OCTETS = 1 + SESSION_ID_OCTETS
MOST_ACKNOWLEDGED = 8  # reliable.h RELIABLE_ACK_SIZE


class Opcode(IntEnum):
    """What a packet is (ssl_pkt.h)."""

    P_CONTROL_SOFT_RESET_V1 = 3
    P_CONTROL_V1 = 4
    P_ACK_V1 = 5
    P_DATA_V1 = 6
    P_CONTROL_HARD_RESET_CLIENT_V2 = 7
    P_CONTROL_HARD_RESET_SERVER_V2 = 8
    P_DATA_V2 = 9
    P_CONTROL_HARD_RESET_CLIENT_V3 = 10
    P_CONTROL_WKC_V1 = 11


DATA = (Opcode.P_DATA_V1, Opcode.P_DATA_V2)
CLIENT_RESETS = (Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, Opcode.P_CONTROL_HARD_RESET_CLIENT_V3)
WITH_CLIENT_KEY = (Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, Opcode.P_CONTROL_WKC_V1)


class Refused(Exception):
    """A packet that this end does not take; the words say why. Over TCP it ends the connection, as OpenVPN does."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first octets of a control packet; never encrypted."""

    opcode: Opcode
    key_id: int
    session_id: bytes
    """The sender's own."""

    def build(self) -> bytes:
        """The nine octets."""
        return bytes([self.opcode << 3 | self.key_id]) + self.session_id


@dataclass(frozen=True, slots=True)
class Message:
    """What a control packet says, unwrapped."""

    acknowledged: tuple[int, ...] = ()
    remote_session_id: bytes = b""
    """Whose messages are acknowledged: the receiver's session id. Empty if none are."""
    message_id: int | None = None
    """None in a P_ACK_V1."""
    payload: bytes = b""

    def build(self) -> bytes:
        """The octets to be wrapped."""
        count = len(self.acknowledged)
        octets = struct.pack(f"!B{count}I", count, *self.acknowledged)
        octets += self.remote_session_id if count else b""
        return octets if self.message_id is None else octets + struct.pack("!I", self.message_id) + self.payload


def opcode_of(packet: bytes) -> Opcode:
    """The opcode of any packet.

    Raises:
        Refused: the packet is empty, or its opcode is none of OpenVPN's.
    """
    if not packet:
        raise Refused("a packet without an octet")
    try:
        return Opcode(packet[0] >> 3)
    except ValueError:
        raise Refused(f"opcode {packet[0] >> 3} is not from 3 to 11") from None


def parse_header(packet: bytes) -> Header:
    """Read the header of a control packet.

    Raises:
        Refused: it is too short, or its opcode is none.
    """
    opcode = opcode_of(packet)
    if len(packet) < HEADER_OCTETS:
        raise Refused(f"{opcode.name} of {len(packet)} octets has no room for a session id")
    return Header(opcode, packet[0] & 7, packet[1:HEADER_OCTETS])


def parse_message(opcode: Opcode, octets: bytes) -> Message:
    """Read what a control packet says.

    Raises:
        Refused: it ends too early, or acknowledges more than eight messages.
    """
    count = octets[0] if octets else 0
    if count > MOST_ACKNOWLEDGED:
        raise Refused(f"{count} acknowledgements are more than {MOST_ACKNOWLEDGED}")
    session_at = 1 + 4 * count
    message_at = session_at + (SESSION_ID_OCTETS if count else 0)
    payload_at = message_at + (0 if opcode is Opcode.P_ACK_V1 else 4)
    if len(octets) < max(payload_at, 1):
        raise Refused(f"{opcode.name}: {len(octets)} octets are too few for {count} acknowledgements and a message id")
    acknowledged = struct.unpack_from(f"!{count}I", octets, 1)
    remote_session_id = octets[session_at:message_at]
    if opcode is Opcode.P_ACK_V1:
        return Message(acknowledged, remote_session_id)
    (message_id,) = struct.unpack_from("!I", octets, message_at)
    return Message(acknowledged, remote_session_id, message_id, octets[payload_at:])
