"""How control packets are wrapped, as the server does it: not at all, tls-auth, tls-crypt.

    plain      header(9) ‖ message
    tls-auth   header(9) ‖ HMAC(n) ‖ replay id(4) ‖ time(4) ‖ message
               the HMAC is over replay id ‖ time ‖ header ‖ message                           (ssl_pkt.c swap_hmac)
    tls-crypt  header(9) ‖ replay id(4) ‖ time(4) ‖ tag(32) ‖ AES-256-CTR(message)
               the tag is over header ‖ replay id ‖ time ‖ message; its first half is the counter   (tls_crypt.c)

Everything that is sent, a retransmission too, has a replay id of its own. The time is that of the first packet and says
nothing: it only keeps apart what two sessions send under one key (packet_id.c, the long form).
"""

from __future__ import annotations

import hmac
import struct
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from glassgate.conformance.server.control import HEADER_OCTETS, Refused

REPLAY_OCTETS = 8
TAG_OCTETS = 32
WINDOW = 64


class Wrapping(Protocol):
    """What stands between a control packet and the wire."""

    def wrap(self, header: bytes, message: bytes) -> bytes:
        """The whole packet."""

    def unwrap(self, packet: bytes) -> bytes:
        """The message of an authentic packet that was not seen before.

        Raises:
            Refused: it is not authentic, or a replay.
        """


class ReplayIds:
    """The long form: a counter and a time. What came once does not come again."""

    def __init__(self, clock: int) -> None:
        self._clock = clock
        self._sent = 0
        self._time = 0
        self._window = Window()

    def following(self) -> bytes:
        """The next one of our own."""
        self._sent += 1
        return struct.pack("!II", self._sent, self._clock)

    def check(self, octets: bytes) -> None:
        """Remember one of the peer's, once its packet was found authentic.

        Raises:
            Refused: it came before, or is older than the window reaches.
        """
        number, time = struct.unpack("!II", octets)
        if time > self._time:
            self._time, self._window = time, Window()
        if time < self._time or not self._window.take(number):
            raise Refused(f"the replay id {number} at time {time} came before")


class Window:
    """Which of the last 64 numbers came; the first is 1 (packet_id.c)."""

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0

    def take(self, number: int) -> bool:
        """Whether it is new; it is not the next time."""
        if number == 0:
            return False
        if number > self._highest:
            self._seen = (self._seen << min(number - self._highest, WINDOW) | 1) % (1 << WINDOW)
            self._highest = number
            return True
        bit = 1 << (self._highest - number)
        if self._highest - number >= WINDOW or self._seen & bit:
            return False
        self._seen |= bit
        return True


class Plain:
    """No wrapping."""

    def wrap(self, header: bytes, message: bytes) -> bytes:
        """Header and message as they are."""
        return header + message

    def unwrap(self, packet: bytes) -> bytes:
        """What stands behind the header."""
        return packet[HEADER_OCTETS:]


class TlsAuth:
    """A keyed digest. ``direction`` is the server's: 0 or 1, or None where both ends use the same half of the key."""

    def __init__(self, key: bytes, digest: str, direction: int | None, clock: int) -> None:
        size = hmac.new(b"", digestmod=digest).digest_size
        first, second = key[64 : 64 + size], key[192 : 192 + size]
        self._send = second if direction == 1 else first
        self._receive = second if direction == 0 else first
        self._digest = digest
        self._size = size
        self._replay_ids = ReplayIds(clock)

    def wrap(self, header: bytes, message: bytes) -> bytes:
        """With the HMAC and the next replay id before the message."""
        replay = self._replay_ids.following()
        return header + hmac.digest(self._send, replay + header + message, self._digest) + replay + message

    def unwrap(self, packet: bytes) -> bytes:
        """The message, if HMAC and replay id are right."""
        replay_at = HEADER_OCTETS + self._size
        message_at = replay_at + REPLAY_OCTETS
        if len(packet) < message_at:
            raise Refused(f"{len(packet)} octets are too few for tls-auth")
        header, told = packet[:HEADER_OCTETS], packet[HEADER_OCTETS:replay_at]
        replay, message = packet[replay_at:message_at], packet[message_at:]
        if not hmac.compare_digest(told, hmac.digest(self._receive, replay + header + message, self._digest)):
            raise Refused("the HMAC of tls-auth is wrong")
        self._replay_ids.check(replay)
        return message


class TlsCrypt:
    """Encryption and a keyed digest: the server sends with key 0 and receives with key 1."""

    def __init__(self, key: bytes, clock: int) -> None:
        self._send = key[0:32], key[64:96]
        self._receive = key[128:160], key[192:224]
        self._replay_ids = ReplayIds(clock)

    def wrap(self, header: bytes, message: bytes) -> bytes:
        """The message encrypted, its tag before it."""
        encrypt, authenticate = self._send
        clear = header + self._replay_ids.following()
        tag = hmac.digest(authenticate, clear + message, "sha256")
        return clear + tag + _ctr(encrypt, tag, message)

    def unwrap(self, packet: bytes) -> bytes:
        """The message, if tag and replay id are right."""
        tag_at = HEADER_OCTETS + REPLAY_OCTETS
        message_at = tag_at + TAG_OCTETS
        if len(packet) < message_at:
            raise Refused(f"{len(packet)} octets are too few for tls-crypt")
        decrypt, authenticate = self._receive
        clear, tag = packet[:tag_at], packet[tag_at:message_at]
        message = _ctr(decrypt, tag, packet[message_at:])
        if not hmac.compare_digest(tag, hmac.digest(authenticate, clear + message, "sha256")):
            raise Refused("the tag of tls-crypt is wrong")
        self._replay_ids.check(packet[HEADER_OCTETS:tag_at])
        return message


def _ctr(key: bytes, tag: bytes, octets: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(tag[:16])).encryptor().update(octets)
