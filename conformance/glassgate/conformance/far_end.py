"""The far end of the tunnel, as the judge plays it: stream framing and data channel, strict where OpenVPN is.

Written from the wire facts of OpenVPN 2.6 and independent of both gateways:

    stream   length(2) ‖ record, …                                           one UDP datagram is one record
    record   header ‖ packet id(4) ‖ tag(16) ‖ ciphertext
    header   opcode(5 bits) key id(3 bits) [‖ peer id(3), P_DATA_V2 only]
    nonce    packet id(4) ‖ implicit IV(8)
    AAD      header ‖ packet id for P_DATA_V2; the packet id alone for P_DATA_V1

A gateway's packet ids must rise by exactly one, from the number in its configuration (S24).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from glassgate.contract import Cipher, Session

P_DATA_V1 = 6
P_DATA_V2 = 9
TAG_OCTETS = 16
MAX_PACKET_ID = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Opened:
    """An inner packet that came out of a record."""

    packet: bytes
    packet_id: int


@dataclass(frozen=True, slots=True)
class Unopened:
    """A record, or an end of the stream, that an OpenVPN server would not have; and why."""

    octets: bytes
    problem: str


class StreamFraming:
    """One direction of the stream: records come out whole, however it is cut."""

    def __init__(self) -> None:
        self._held = b""

    @staticmethod
    def framed(record: bytes) -> bytes:
        """The record as it stands in the stream."""
        return len(record).to_bytes(2, "big") + record

    @property
    def held(self) -> bytes:
        """Octets of a record that has not come whole."""
        return self._held

    def clear(self) -> None:
        """Begin again, as with a new connection."""
        self._held = b""

    def push(self, octets: bytes) -> list[bytes]:
        """Take octets of the stream; give the records that are whole now."""
        stream = self._held + octets
        records = []
        start = 0
        while len(stream) - start >= 2:
            end = start + 2 + int.from_bytes(stream[start : start + 2], "big")
            if end > len(stream):
                break
            records.append(stream[start + 2 : end])
            start = end
        self._held = stream[start:]
        return records


class DataChannel:
    """One direction of the data channel under one key: ``seal`` to send, ``open`` to receive, or ``peek`` at own."""

    def __init__(
        self, cipher: Cipher, key: bytes, implicit_iv: bytes, key_id: int, peer_id: int | None, next_packet_id: int = 1
    ) -> None:
        self._aead = ChaCha20Poly1305(key) if cipher is Cipher.CHACHA20_POLY1305 else AESGCM(key)
        self._implicit_iv = implicit_iv
        self._key_id = key_id
        self._header = _header(key_id, peer_id)
        self.next_packet_id = next_packet_id

    def seal(self, packet: bytes) -> bytes:
        """The record of an inner packet, under the next packet id."""
        packet_id = self.next_packet_id.to_bytes(4, "big")
        self.next_packet_id = min(self.next_packet_id + 1, MAX_PACKET_ID)  # used up: the last one again, a replay
        associated = packet_id if self._header[0] >> 3 == P_DATA_V1 else self._header + packet_id
        sealed = self._aead.encrypt(packet_id + self._implicit_iv, packet, associated)
        return self._header + packet_id + sealed[-TAG_OCTETS:] + sealed[:-TAG_OCTETS]

    def open(self, record: bytes) -> Opened | Unopened:
        """The packet in a record of the gateway; the header, the packet id and the tag must be right."""
        opened = self.peek(record)
        if isinstance(opened, Unopened):
            return opened
        if not record.startswith(self._header):
            return Unopened(record, f"the header is {record[:4].hex()}, not {self._header.hex()}")
        wanted, self.next_packet_id = self.next_packet_id, opened.packet_id + 1
        if opened.packet_id != wanted:
            return Unopened(record, f"the packet id is {opened.packet_id}, not {wanted}: ids rise by one")
        return opened

    def peek(self, record: bytes) -> Opened | Unopened:
        """The packet in a record with this key, whatever its packet id; nothing is remembered."""
        opcode = record[0] >> 3 if record else 0
        if opcode not in (P_DATA_V1, P_DATA_V2):
            return Unopened(record, f"opcode {opcode} is not one of data" if record else "the record is empty")
        if record[0] & 7 != self._key_id:
            return Unopened(record, f"the key id is {record[0] & 7}, not {self._key_id}")
        header_end = 1 if opcode == P_DATA_V1 else 4
        tag_start = header_end + 4
        payload_start = tag_start + TAG_OCTETS
        if len(record) <= payload_start:
            return Unopened(record, f"{len(record)} octets are too few for a data record with a payload")
        packet_id = record[header_end:tag_start]
        associated = packet_id if opcode == P_DATA_V1 else record[:tag_start]
        sealed = record[payload_start:] + record[tag_start:payload_start]
        try:
            packet = self._aead.decrypt(packet_id + self._implicit_iv, sealed, associated)
        except InvalidTag:
            return Unopened(record, "the tag is wrong: it does not decrypt with the session's key")
        return Opened(packet, int.from_bytes(packet_id, "big"))


class FarEnd:
    """The other side of a session with known keys, where the port is ``flow``."""

    def __init__(self, session: Session, proto: str = "tcp") -> None:
        self._is_stream = proto == "tcp"
        self._from_gateway = DataChannel(
            session.cipher,
            session.send.key,
            session.send.implicit_iv,
            session.key_id,
            session.peer_id,
            session.send.next_packet_id,
        )
        self._to_gateway = DataChannel(
            session.cipher, session.receive.key, session.receive.implicit_iv, session.key_id, session.peer_id
        )
        self._received = StreamFraming()
        self._injected = StreamFraming()

    def send(self, packet: bytes) -> bytes:
        """What comes to the gateway at ``flow`` when this end sends an inner packet."""
        record = self._to_gateway.seal(packet)
        return StreamFraming.framed(record) if self._is_stream else record

    def receive(self, octets: bytes) -> list[Opened | Unopened]:
        """What the gateway sent at ``flow``, opened record by record."""
        records = self._received.push(octets) if self._is_stream else [octets]
        return [self._from_gateway.open(record) for record in records]

    def unfinished(self) -> Unopened | None:
        """The beginning of a record whose rest did not come. (Records leave whole, S3.) It is forgotten after this."""
        held = self._received.held
        self._received.clear()
        return Unopened(held, "the stream ends inside a record") if held else None

    def note_injected(self, octets: bytes) -> None:
        """Learn what somebody else sent to the gateway in this end's name, so that the next packet id is a new one."""
        for record in self._injected.push(octets) if self._is_stream else [octets]:
            found = self._to_gateway.peek(record)
            if isinstance(found, Opened) and found.packet_id >= self._to_gateway.next_packet_id:
                self._to_gateway.next_packet_id = min(found.packet_id + 1, MAX_PACKET_ID)

    def reconnect(self) -> None:
        """The connection is gone: both streams begin again."""
        self._received.clear()
        self._injected.clear()


def _header(key_id: int, peer_id: int | None) -> bytes:
    if peer_id is None:
        return bytes([P_DATA_V1 << 3 | key_id])
    return bytes([P_DATA_V2 << 3 | key_id]) + peer_id.to_bytes(3, "big")
