"""What protects a control packet before TLS does: nothing, a keyed hash (tls-auth), or encryption (tls-crypt).

What it answers: is this packet from somebody who has our static key, is it new, what does it say?
Above are ``packets.py`` (the body) and ``reliability.py``; below is the transport.

   plain      header(9) | body
   tls-auth   header(9) | HMAC(n) | replay id(4) | time(4) | body          HMAC over  replay id | time | header | body
   tls-crypt  header(9) | replay id(4) | time(4) | tag(32) | AES-256-CTR(body), tag = HMAC-SHA256 over
              header | replay id | time | body; its first half is the counter block that the encryption starts from

tls-crypt-v2 is tls-crypt with a key of this client's own; the server learns it from a blob that only it can open,
the wrapped client key, which follows the packets of opcodes 10 and 11 in clear. dyn-tls-crypt, from the second key of
a session on, is tls-crypt with a key that the first TLS session exported, mixed with the static key if there is one.

Three steps, kept apart so that nothing is acted on before its tag is verified: ``parse``, ``authenticate``,
``check_replay``. ``authenticate`` decrypts too, for tls-crypt's tag is over what was encrypted.

Standards: PROTOCOL.md sections 3.2 to 3.7, 15; OpenVPN tls_crypt.c, ssl_pkt.c swap_hmac and read_control_auth,
packet_id.c packet_id_test, crypto.c key_direction_state_init.
Not here: what a server does with a wrapped client key.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from glassgate.reference.openvpn.packets import HEADER_OCTETS, ControlRefused, Opcode

STATIC_KEY_OCTETS = 256
TAG_OCTETS = 32
EARLY_NEGOTIATION = 0x0F000000
"""A tls-crypt-v2 client's first replay id is one more: so it tells that it can resend its key (ssl_pkt.h)."""
REPLAY_WINDOW = 64
REPLAY_SECONDS = 15.0

_REPLAY = struct.Struct("!II")


@dataclass(frozen=True, slots=True)
class StaticKey:
    """The 2048 bits of a static key file: two keys of a cipher and a hash half each (crypto.h struct key2)."""

    octets: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.octets) != STATIC_KEY_OCTETS:
            raise ValueError(f"a static key has {STATIC_KEY_OCTETS} octets, not {len(self.octets)}")

    def cipher(self, number: int) -> bytes:
        """The 64 octets of key ``number``'s cipher slot."""
        return self.octets[128 * number : 128 * number + 64]

    def hash(self, number: int) -> bytes:
        """The 64 octets of key ``number``'s hash slot."""
        return self.octets[128 * number + 64 : 128 * number + 128]

    def mixed(self, other: StaticKey) -> StaticKey:
        """Both keys, exclusive or (tls_crypt.c tls_session_generate_dynamic_tls_crypt_key)."""
        mixed = int.from_bytes(self.octets, "big") ^ int.from_bytes(other.octets, "big")
        return StaticKey(mixed.to_bytes(STATIC_KEY_OCTETS, "big"))


@dataclass(frozen=True, slots=True)
class Parsed:
    """A wrapped packet cut into its fields; nothing is believed yet."""

    header: bytes
    replay_id: int
    time: int
    tag: bytes
    content: bytes


class ReplayWindow:
    """Which replay ids were seen: long form, time before counter (packet_id.c packet_id_test, packet_id_add)."""

    def __init__(self) -> None:
        self._time = 0
        self._highest = 0
        self._seen: dict[int, float] = {}

    def check(self, replay_id: int, time: int, now: float) -> None:
        """Accept a new packet, or refuse one seen before.

        Raises:
            ControlRefused: the id is zero, seen, or too old.
        """
        if replay_id == 0:
            raise ControlRefused("a replay id of zero")
        if time < self._time:
            raise ControlRefused("a replay: its time is older than the last", time=time, last=self._time)
        if time > self._time:
            self._time, self._highest = time, 0
            self._seen.clear()
        if replay_id in self._seen or replay_id + REPLAY_WINDOW <= self._highest:
            raise ControlRefused("a replay", replay_id=replay_id, highest=self._highest)
        if any(seen > replay_id and now - at > REPLAY_SECONDS for seen, at in self._seen.items()):
            raise ControlRefused("a replay id lower than one of 15 s ago", replay_id=replay_id)
        self._highest = max(self._highest, replay_id)
        self._seen[replay_id] = now
        for seen in [seen for seen in self._seen if seen + REPLAY_WINDOW <= self._highest]:
            del self._seen[seen]


class ReplayCounter:
    """The ids that we give out: the time stays that of the first packet, the counter moves (packet_id.c)."""

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._time: int | None = None

    def next(self, now: float) -> bytes:
        """Replay id and time of the next packet, 8 octets. Every transmission takes one, repeated or not."""
        if self._time is None:
            self._time = max(1, int(now)) & 0xFFFFFFFF
        self._last += 1
        return _REPLAY.pack(self._last, self._time)


class Wrapping(Protocol):
    """One direction pair of protection, with the replay state of one session."""

    overhead: int
    """Octets that a wrapped packet is longer than header and body."""

    def wrap(self, header: bytes, body: bytes, now: float) -> bytes:
        """A packet to send; never the same twice."""

    def parse(self, packet: bytes) -> Parsed:
        """Cut a packet into fields. Raises ControlRefused."""

    def authenticate(self, parsed: Parsed) -> bytes:
        """The body, verified and readable. Raises ControlRefused."""

    def check_replay(self, parsed: Parsed, now: float) -> None:
        """Refuse what was seen before. Raises ControlRefused."""


class Plain:
    """No protection: TLS alone (PROTOCOL 3.2)."""

    overhead = 0

    def wrap(self, header: bytes, body: bytes, now: float) -> bytes:
        """Header and body."""
        return header + body

    def parse(self, packet: bytes) -> Parsed:
        """Header and body."""
        return Parsed(packet[:HEADER_OCTETS], 0, 0, b"", packet[HEADER_OCTETS:])

    def authenticate(self, parsed: Parsed) -> bytes:
        """There is nothing to verify."""
        return parsed.content

    def check_replay(self, parsed: Parsed, now: float) -> None:
        """There is nothing to compare."""


class TlsAuth:
    """A keyed hash over each packet (PROTOCOL 3.3).

    ``direction`` is the profile's ``key-direction``: 1 for the usual client, 0 for its mirror image, None for
    one key both ways (crypto.c key_direction_state_init).
    """

    def __init__(self, key: StaticKey, digest: str, direction: int | None) -> None:
        self._digest = digest
        size = hmac.new(b"", digestmod=digest).digest_size
        send, receive = {None: (0, 0), 0: (0, 1), 1: (1, 0)}[direction]
        self._send_key = key.hash(send)[:size]
        self._receive_key = key.hash(receive)[:size]
        self._size = size
        self._counter = ReplayCounter()
        self._window = ReplayWindow()
        self.overhead = size + _REPLAY.size

    def wrap(self, header: bytes, body: bytes, now: float) -> bytes:
        """The hash stands before the replay id on the wire, and the replay id before the header in the hash."""
        replay = self._counter.next(now)
        return b"".join((header, self._hash(self._send_key, replay, header, body), replay, body))

    def parse(self, packet: bytes) -> Parsed:
        """Cut a packet into fields."""
        start = HEADER_OCTETS + self._size
        if len(packet) < start + _REPLAY.size:
            raise ControlRefused("too short for tls-auth", length=len(packet))
        replay_id, time = _REPLAY.unpack_from(packet, start)
        header, tag = packet[:HEADER_OCTETS], packet[HEADER_OCTETS:start]
        return Parsed(header, replay_id, time, tag, packet[start + _REPLAY.size :])

    def authenticate(self, parsed: Parsed) -> bytes:
        """The body, if its hash is right."""
        replay = _REPLAY.pack(parsed.replay_id, parsed.time)
        expected = self._hash(self._receive_key, replay, parsed.header, parsed.content)
        if not hmac.compare_digest(expected, parsed.tag):
            raise ControlRefused("tls-auth: the packet's hash is wrong: another key, direction or digest ('auth')?")
        return parsed.content

    def check_replay(self, parsed: Parsed, now: float) -> None:
        """Refuse what was seen before."""
        self._window.check(parsed.replay_id, parsed.time, now)

    def _hash(self, key: bytes, replay: bytes, header: bytes, body: bytes) -> bytes:
        return hmac.digest(key, replay + header + body, self._digest)


class TlsCrypt:
    """Encryption and a keyed hash (PROTOCOL 3.4). A client sends with key 1 and receives with key 0."""

    overhead = _REPLAY.size + TAG_OCTETS

    def __init__(self, key: StaticKey, last_replay_id: int = 0) -> None:
        self._send_cipher, self._send_hash = key.cipher(1)[:32], key.hash(1)[:32]
        self._receive_cipher, self._receive_hash = key.cipher(0)[:32], key.hash(0)[:32]
        self._counter = ReplayCounter(last_replay_id)
        self._window = ReplayWindow()

    def wrap(self, header: bytes, body: bytes, now: float) -> bytes:
        """The tag is over the plain body and starts the encryption's counter."""
        front = header + self._counter.next(now)
        tag = hmac.digest(self._send_hash, front + body, "sha256")
        return b"".join((front, tag, _counter_mode(self._send_cipher, tag, body)))

    def parse(self, packet: bytes) -> Parsed:
        """Cut a packet into fields."""
        front = HEADER_OCTETS + _REPLAY.size
        if len(packet) < front + TAG_OCTETS:
            raise ControlRefused("too short for tls-crypt", length=len(packet))
        replay_id, time = _REPLAY.unpack_from(packet, HEADER_OCTETS)
        tag, content = packet[front : front + TAG_OCTETS], packet[front + TAG_OCTETS :]
        return Parsed(packet[:HEADER_OCTETS], replay_id, time, tag, content)

    def authenticate(self, parsed: Parsed) -> bytes:
        """Decrypt first, for the tag is over the plain body; give nothing out before it is verified."""
        body = _counter_mode(self._receive_cipher, parsed.tag, parsed.content)
        front = parsed.header + _REPLAY.pack(parsed.replay_id, parsed.time)
        if not hmac.compare_digest(hmac.digest(self._receive_hash, front + body, "sha256"), parsed.tag):
            raise ControlRefused("tls-crypt: the packet's tag is wrong: another key?")
        return body

    def check_replay(self, parsed: Parsed, now: float) -> None:
        """Refuse what was seen before."""
        self._window.check(parsed.replay_id, parsed.time, now)


class TlsCryptV2(TlsCrypt):
    """tls-crypt with a client's own key; its wrapped form follows the packets of opcodes 10 and 11 (PROTOCOL 3.5)."""

    def __init__(self, client_key: StaticKey, wrapped_client_key: bytes) -> None:
        super().__init__(client_key, EARLY_NEGOTIATION)
        self._wrapped_client_key = wrapped_client_key

    def wrap(self, header: bytes, body: bytes, now: float) -> bytes:
        """The wrapped client key stands outside tag and encryption."""
        packet = super().wrap(header, body, now)
        if header[0] >> 3 in (Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, Opcode.P_CONTROL_WKC_V1):
            return packet + self._wrapped_client_key
        return packet


# ── what a profile asks for ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class WrapPlain:
    """No static key."""

    def start(self) -> Wrapping:
        """Fresh replay state for a session."""
        return Plain()

    @property
    def static_key(self) -> StaticKey | None:
        """What dyn-tls-crypt mixes into its key."""
        return None


@dataclass(frozen=True, slots=True)
class WrapTlsAuth:
    """``tls-auth FILE [direction]``; ``digest`` is the directive ``auth``, by hashlib's name."""

    key: StaticKey
    digest: str
    direction: int | None

    def start(self) -> Wrapping:
        """Fresh replay state for a session."""
        return TlsAuth(self.key, self.digest, self.direction)

    @property
    def static_key(self) -> StaticKey | None:
        """What dyn-tls-crypt mixes into its key."""
        return self.key


@dataclass(frozen=True, slots=True)
class WrapTlsCrypt:
    """``tls-crypt FILE``."""

    key: StaticKey

    def start(self) -> Wrapping:
        """Fresh replay state for a session."""
        return TlsCrypt(self.key)

    @property
    def static_key(self) -> StaticKey | None:
        """What dyn-tls-crypt mixes into its key."""
        return self.key


@dataclass(frozen=True, slots=True)
class WrapTlsCryptV2:
    """``tls-crypt-v2 FILE``: this client's key, and the same as only the server can open it."""

    key: StaticKey
    wrapped: bytes = field(repr=False)

    def start(self) -> Wrapping:
        """Fresh replay state for a session."""
        return TlsCryptV2(self.key, self.wrapped)

    @property
    def static_key(self) -> StaticKey | None:
        """What dyn-tls-crypt mixes into its key."""
        return self.key


Wrap = WrapPlain | WrapTlsAuth | WrapTlsCrypt | WrapTlsCryptV2


def _counter_mode(key: bytes, tag: bytes, data: bytes) -> bytes:
    """AES-256 in counter mode; the tag's first 16 octets are the first counter block. Its own inverse."""
    encryptor = Cipher(AES(key), CTR(tag[:16])).encryptor()
    return encryptor.update(data) + encryptor.finalize()
