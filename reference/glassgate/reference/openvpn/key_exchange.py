"""Key method 2: the first thing that both sides say inside TLS.

What it answers: which random octets, which credentials, what each side can do.

   client                                          server
   0 (4 octets) | 2 (1 octet)                      0 (4 octets) | 2 (1 octet)
   pre-master (48)                                 –
   random 1 (32) | random 2 (32)                   random 1 (32) | random 2 (32)
   options | user name | password | peer info      options | (three empty)

A string is a 16-bit length that counts its closing NUL, then the octets; length 0 means absent.
The whole message is one TLS record and nothing else may share it.

Standards: PROTOCOL.md section 7; OpenVPN ssl.c key_method_2_write, key_method_2_read, push_peer_info,
options.c options_string.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from glassgate.contract.configuration import Cipher
from glassgate.reference.openvpn.key_derivation import Randoms

PRE_MASTER_OCTETS = 48
RANDOM_OCTETS = 32
LARGEST_MESSAGE = 2048
"""ssl_common.h TLS_CHANNEL_BUF_SIZE: a longer message never arrives as a whole."""

IV_PROTO_DATA_V2 = 1 << 1
IV_PROTO_REQUEST_PUSH = 1 << 2
IV_PROTO_TLS_KEY_EXPORT = 1 << 3
IV_PROTO_AUTH_PENDING = 1 << 4
IV_PROTO_EXIT_NOTIFY = 1 << 7
IV_PROTO_AUTH_FAIL_TEMP = 1 << 8
IV_PROTO_DYN_TLS_CRYPT = 1 << 9

IV_PROTO = (
    IV_PROTO_DATA_V2
    | IV_PROTO_REQUEST_PUSH
    | IV_PROTO_TLS_KEY_EXPORT
    | IV_PROTO_AUTH_PENDING
    | IV_PROTO_EXIT_NOTIFY
    | IV_PROTO_AUTH_FAIL_TEMP
    | IV_PROTO_DYN_TLS_CRYPT
)
"""What this client can do (PROTOCOL 7.2): 926."""

_PREFIX = b"\0\0\0\0\2"


class KeyExchangeFailed(Exception):
    """The server's key method 2 message cannot be used, or ours does not fit."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password. An auth-token takes the password's place."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """What the client says."""

    pre_master: bytes = field(repr=False)
    randoms: Randoms
    options: str
    credentials: Credentials | None
    peer_info: str

    def build(self) -> bytes:
        """The octets, for one TLS record.

        Raises:
            KeyExchangeFailed: user name and password are too long for the message.
        """
        username, password = (
            (self.credentials.username, self.credentials.password) if self.credentials else (None, None)
        )
        message = b"".join(
            (
                _PREFIX,
                self.pre_master,
                self.randoms.random1,
                self.randoms.random2,
                _build_string(self.options),
                _build_string(username),
                _build_string(password),
                _build_string(self.peer_info),
            )
        )
        if len(message) > LARGEST_MESSAGE:
            raise KeyExchangeFailed(
                f"key method 2 takes {LARGEST_MESSAGE} octets at most, these are {len(message)}: "
                "user name and password are too long"
            )
        return message


@dataclass(frozen=True, slots=True)
class ServerMessage:
    """What the server says: its random octets and its view of the options, which is informative."""

    randoms: Randoms
    options: str


def parse_server_message(message: bytes) -> ServerMessage:
    """Read the server's message; it has no pre-master secret, and what follows the options is not needed.

    Raises:
        KeyExchangeFailed: the message is too short or of another key method.
    """
    fixed = len(_PREFIX) + 2 * RANDOM_OCTETS
    if len(message) < fixed + 2:
        raise KeyExchangeFailed(f"the server's key method 2 message has {len(message)} octets, needs {fixed + 2}")
    if message[:4] != _PREFIX[:4] or message[4] & 0x0F != 2:  # ssl.c key_method_2_read: the low nibble counts
        raise KeyExchangeFailed(f"the server speaks key method {message[4] & 0x0F}, not 2")
    random1 = message[5 : 5 + RANDOM_OCTETS]
    random2 = message[5 + RANDOM_OCTETS : fixed]
    (length,) = struct.unpack_from("!H", message, fixed)
    options = message[fixed + 2 : fixed + 2 + length]
    if len(options) < length:
        raise KeyExchangeFailed("the server's options string ends early")
    return ServerMessage(Randoms(random1, random2), options.rstrip(b"\0").decode("ascii", "replace"))


def options_string(*, proto: str, mtu: int, wrap_is_tls_auth: bool, key_direction: int | None, digest: str) -> str:
    """Our view of the options, by which a server may warn of disagreement (options.c options_string)."""
    transport = {"tcp": "TCPv4_CLIENT", "udp": "UDPv4"}[proto]
    overhead = {"tcp": 43, "udp": 41}[proto]  # what the stock program prints for its defaults
    parts = ["V4", "dev-type tun", f"link-mtu {mtu + overhead}", f"tun-mtu {mtu}", f"proto {transport}"]
    if wrap_is_tls_auth and key_direction is not None:
        parts.append(f"keydir {key_direction}")
    parts += [f"auth {digest.upper()}", "keysize 128"]
    if wrap_is_tls_auth:
        parts.append("tls-auth")
    return ",".join((*parts, "key-method 2", "tls-client"))


def abilities(*, exports_keys: bool) -> int:
    """``IV_PROTO``. A client that exports no keying material has neither of the keys that are made of it."""
    return IV_PROTO if exports_keys else IV_PROTO & ~(IV_PROTO_TLS_KEY_EXPORT | IV_PROTO_DYN_TLS_CRYPT)


def peer_info(
    ciphers: tuple[Cipher, ...],
    largest_mtu: int,
    version: str,
    extra: tuple[tuple[str, str], ...],
    *,
    exports_keys: bool = True,
) -> str:
    """What this client is and can do, a line each (ssl.c push_peer_info)."""
    both_gcm = {Cipher.AES_128_GCM, Cipher.AES_256_GCM} <= set(ciphers)
    lines = [
        f"IV_VER=glassgate-{version}",
        "IV_PLAT=linux",
        "IV_TCPNL=1",
        f"IV_MTU={largest_mtu}",
        *(["IV_NCP=2"] if both_gcm else []),
        f"IV_CIPHERS={':'.join(ciphers)}",
        f"IV_PROTO={abilities(exports_keys=exports_keys)}",
        *(f"{name}={value}" for name, value in extra),
    ]
    return "".join(f"{line}\n" for line in lines)


def _build_string(text: str | None) -> bytes:
    if text is None:
        return b"\0\0"
    octets = text.encode() + b"\0"
    return struct.pack("!H", len(octets)) + octets
