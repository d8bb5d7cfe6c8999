"""The data channel: one inner packet sealed into one record, and opened again.

Below: records (framing.py, or UDP datagrams). Above: the tunnel, which knows which key is in use. Standards: OpenVPN
crypto.c openvpn_encrypt_aead, openvpn_decrypt_aead, packet_id.c; PROTOCOL.md 2, 10.1, 10.3; RFC 5116 (AEAD).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | opcode  |key_id|                   peer_id                    |   P_DATA_V1 has no peer_id: its header is 1 octet
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                         data_packet_id                        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                        tag (16 octets)                        |
    |                               …                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  ciphertext, as long as the plaintext …

    nonce            data_packet_id (4) · implicit_iv (8)
    additional data  P_DATA_V2: header (4) · data_packet_id (4)       P_DATA_V1: data_packet_id (4)

The tag stands before the ciphertext, while AEAD interfaces put it after: it is moved, both ways. Not handled here:
CBC ciphers, compression framing, epoch keys (PROTOCOL.md 10.2, 11, 18).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from glassgate.contract import Cipher, rules
from glassgate.reference.notes import Malformed

P_DATA_V1 = 6
P_DATA_V2 = 9
FIRST_OPCODE = 3  # 1 and 2 belong to a key method that is long dead
LAST_OPCODE = 11

PACKET_ID = struct.Struct("!I")
TAG_LENGTH = 16
LAST_PACKET_ID = 0xFFFFFFFF
RENEGOTIATE_PACKET_ID = 0xFF000000
REPLAY_WINDOW = 64
IN_WINDOW = (1 << REPLAY_WINDOW) - 1

PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
OCC_MAGIC = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")
OCC_EXIT = bytes([6])


def opcode_of(record: bytes) -> int:
    """The upper five bits of a record's first octet (PROTOCOL.md 2)."""
    return record[0] >> 3


def key_id_of(record: bytes) -> int:
    """The lower three bits of a record's first octet."""
    return record[0] & 0x07


def aead(cipher: Cipher, key: bytes) -> AESGCM | ChaCha20Poly1305:
    """The cipher with its key."""
    return ChaCha20Poly1305(key) if cipher is Cipher.CHACHA20_POLY1305 else AESGCM(key)


class SendingKey:
    """The key that seals, and the packet id that comes next under it."""

    def __init__(
        self, key_id: int, cipher: Cipher, peer_id: int | None, key: bytes, implicit_iv: bytes, next_packet_id: int = 1
    ) -> None:
        self._aead = aead(cipher, key)
        self._implicit_iv = implicit_iv
        if peer_id is None:
            self._header = bytes([P_DATA_V1 << 3 | key_id])
        else:
            self._header = bytes([P_DATA_V2 << 3 | key_id]) + peer_id.to_bytes(3, "big")
        self._is_header_authentic = peer_id is not None
        self.next_packet_id = next_packet_id

    @property
    def ids_left(self) -> int:
        """How many packet ids are left. Without one, nothing more is sealed (S24)."""
        return LAST_PACKET_ID + 1 - self.next_packet_id

    def seal(self, plaintext: bytes) -> bytes:
        """Make the record of one inner packet, under the next packet id."""
        assert self.ids_left > 0
        packet_id = PACKET_ID.pack(self.next_packet_id)
        self.next_packet_id += 1
        additional = self._header + packet_id if self._is_header_authentic else packet_id
        sealed = self._aead.encrypt(packet_id + self._implicit_iv, plaintext, additional)
        ciphertext, tag = sealed[:-TAG_LENGTH], sealed[-TAG_LENGTH:]
        return self._header + packet_id + tag + ciphertext


@dataclass(frozen=True, slots=True)
class Opened:
    """What a record held. ``is_gap``: packet ids before this one have not come (S26)."""

    data_packet_id: int
    plaintext: bytes
    is_gap: bool
    highest: int
    """The highest packet id seen so far."""
    seen_in_window: int
    """How many of the 64 packet ids up to the highest were seen."""


class ReceivingKey:
    """The key that opens, and the packet ids that were seen under it."""

    def __init__(self, cipher: Cipher, key: bytes, implicit_iv: bytes) -> None:
        self._aead = aead(cipher, key)
        self._implicit_iv = implicit_iv
        self._window = ReplayWindow()

    def open(self, record: bytes) -> Opened:
        """Take a data record apart: read it, authenticate it, check for replay, and only then believe it (S26).

        Raises:
            Malformed: at one of these steps; nothing was learned from the record.
        """
        # READ
        header_length = 4 if opcode_of(record) == P_DATA_V2 else 1
        tag_start = header_length + PACKET_ID.size
        tag_end = tag_start + TAG_LENGTH
        if len(record) < tag_end:
            raise Malformed(rules.S26_TOO_SHORT, length=len(record))
        if len(record) == tag_end:
            raise Malformed(rules.S26_EMPTY, length=len(record))
        packet_id = record[header_length:tag_start]
        (data_packet_id,) = PACKET_ID.unpack(packet_id)

        # AUTHENTICATE
        additional = record[:tag_start] if header_length == 4 else packet_id
        sealed = record[tag_end:] + record[tag_start:tag_end]
        try:
            plaintext = self._aead.decrypt(packet_id + self._implicit_iv, sealed, additional)
        except InvalidTag:
            raise Malformed(rules.S26_AUTHENTICATION, data_packet_id=data_packet_id) from None

        # CHECK REPLAY
        if not self._window.accepts(data_packet_id):
            raise Malformed(rules.S26_REPLAY, data_packet_id=data_packet_id, highest=self._window.highest)

        # ACT
        is_gap = data_packet_id > self._window.highest + 1
        self._window.add(data_packet_id)
        return Opened(data_packet_id, plaintext, is_gap, self._window.highest, len(self._window))


class ReplayWindow:
    """The highest packet id seen, and which of the 63 below it: bit n of ``seen`` stands for ``highest - n``."""

    def __init__(self) -> None:
        self.highest = 0
        self._seen = 0

    def __len__(self) -> int:
        return self._seen.bit_count()

    def accepts(self, packet_id: int) -> bool:
        """Whether ``packet_id`` is new: above the highest, or in the window and unseen. 0 never is."""
        if packet_id == 0:
            return False
        if packet_id > self.highest:
            return True
        behind = self.highest - packet_id
        return behind < REPLAY_WINDOW and not self._seen >> behind & 1

    def add(self, packet_id: int) -> None:
        """Remember an accepted packet id."""
        if packet_id > self.highest:
            distance = min(packet_id - self.highest, REPLAY_WINDOW)
            self._seen = self._seen << distance & IN_WINDOW
            self.highest = packet_id
        self._seen |= 1 << (self.highest - packet_id)
