"""The keys that wrap the control channel, read from OpenVPN's own files and written in their form.

A static key has 2048 bits in four slots of 64 octets: cipher and HMAC of key 0, cipher and HMAC of key 1. With
tls-crypt-v2 the server's file holds a key that wraps each client's own, and the client's file its key, plain and
wrapped:

    client's file   Kc(256) ‖ WKc
    WKc             T(32) ‖ AES-256-CTR(Ke, first half of T, Kc ‖ metadata) ‖ length(2)
    T               HMAC-SHA256(Ka, length ‖ Kc ‖ metadata)

(OpenVPN crypto.c read_key_file, tls_crypt.c; openvpn-rfc "Client-specific encryption keys".)
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from glassgate.contract import Entropy

STATIC_KEY_OCTETS = 256
V2_SERVER_KEY_OCTETS = 128
TAG_OCTETS = 32
SMALLEST_WRAPPED, LARGEST_WRAPPED = 290, 1024
METADATA = b"\x00glassgate"  # type 0: the user's own
_STATIC = "OpenVPN Static key V1"
_V2_SERVER = "OpenVPN tls-crypt-v2 server key"
_V2_CLIENT = "OpenVPN tls-crypt-v2 client key"


class KeyFileError(ValueError):
    """A key file that cannot be read; the words say why, and hold nothing of the key."""


def parse_static_key(text: str) -> bytes:
    """The 256 octets of a static key file.

    Raises:
        KeyFileError: it is no such file.
    """
    body = _between(text, _STATIC)
    try:
        key = bytes.fromhex("".join(body.split()))
    except ValueError:
        raise KeyFileError(f"'{_STATIC}' holds what is not hexadecimal") from None
    if len(key) != STATIC_KEY_OCTETS:
        raise KeyFileError(f"'{_STATIC}' holds {len(key)} octets, not {STATIC_KEY_OCTETS}")
    return key


def parse_v2_server_key(text: str) -> bytes:
    """The 128 octets of a tls-crypt-v2 server's key file.

    Raises:
        KeyFileError: it is no such file.
    """
    body = _between(text, _V2_SERVER)
    try:
        key = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error:
        raise KeyFileError(f"'{_V2_SERVER}' holds what is not base64") from None
    if len(key) != V2_SERVER_KEY_OCTETS:
        raise KeyFileError(f"'{_V2_SERVER}' holds {len(key)} octets, not {V2_SERVER_KEY_OCTETS}")
    return key


def make_static_key(entropy: Entropy) -> str:
    """A fresh static key file."""
    octets = entropy(STATIC_KEY_OCTETS).hex()
    return _file(_STATIC, [octets[start : start + 32] for start in range(0, len(octets), 32)])


def make_v2_keys(entropy: Entropy) -> tuple[str, str]:
    """A fresh key file for a tls-crypt-v2 server, and one for its client."""
    server, client = entropy(V2_SERVER_KEY_OCTETS), entropy(STATIC_KEY_OCTETS)
    wrapped = wrap_client_key(server, client, METADATA)
    return _file(_V2_SERVER, _base64(server)), _file(_V2_CLIENT, _base64(client + wrapped))


def wrap_client_key(server: bytes, client: bytes, metadata: bytes) -> bytes:
    """WKc: the client's key as only the server can read it."""
    length = (TAG_OCTETS + len(client) + len(metadata) + 2).to_bytes(2, "big")
    tag = hmac.digest(server[64:96], length + client + metadata, "sha256")
    return tag + _ctr(server[:32], tag[:16], client + metadata) + length


def unwrap_client_key(server: bytes, packet: bytes) -> tuple[bytes, bytes]:
    """The client's key that a packet carries at its end, and the packet without it.

    Raises:
        KeyFileError: there is none, or it was not wrapped by this server's key.
    """
    length = int.from_bytes(packet[-2:], "big")
    if not SMALLEST_WRAPPED <= length <= min(LARGEST_WRAPPED, len(packet)):
        raise KeyFileError(f"a wrapped client key of {length} octets in a packet of {len(packet)}")
    rest, wrapped = packet[:-length], packet[-length:]
    tag, sealed = wrapped[:TAG_OCTETS], wrapped[TAG_OCTETS:-2]
    opened = _ctr(server[:32], tag[:16], sealed)
    if not hmac.compare_digest(tag, hmac.digest(server[64:96], wrapped[-2:] + opened, "sha256")):
        raise KeyFileError("the client's key was not wrapped by this server's key")
    return opened[:STATIC_KEY_OCTETS], rest


def _ctr(key: bytes, counter: bytes, octets: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(octets)


def _between(text: str, label: str) -> str:
    found = re.search(f"-----BEGIN {label}-----(.*?)-----END {label}-----", text, re.DOTALL)
    if found is None:
        raise KeyFileError(f"there is no '{label}' in it")
    return found[1]


def _base64(octets: bytes) -> list[str]:
    text = base64.b64encode(octets).decode()
    return [text[start : start + 64] for start in range(0, len(text), 64)]


def _file(label: str, lines: list[str]) -> str:
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
