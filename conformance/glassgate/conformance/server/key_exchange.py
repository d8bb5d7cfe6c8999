"""Key method 2, the server's side: what the client says, what the server answers, and the keys that come of it.

    client   0(4) ‖ 2(1) ‖ pre-master(48) ‖ random1(32) ‖ random2(32) ‖ options ‖ user ‖ password ‖ peer info
    server   0(4) ‖ 2(1) ‖                  random1(32) ‖ random2(32) ‖ options ‖ 0(2) ‖ 0(2) ‖ 0(2)
    string   length(2), the final zero octet counted ‖ octets ‖ 0

Each is one TLS record. (ssl.c key_method_2_read and _write. openvpn-rfc gives the server a pre-master of its own: there
is none.) The keys come from the TLS exporter, or from the pseudo-random function of TLS 1.0 (RFC 2246 5):

    master(48)      PRF(pre-master, "OpenVPN master secret", client random1 ‖ server random1)
    key block(256)  PRF(master, "OpenVPN key expansion", client random2 ‖ server random2 ‖ client and server session id)
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import NamedTuple

from glassgate.conformance.server.control import Refused
from glassgate.contract import Cipher, ReceiveKey, SendKey

METHOD = 2
PRE_MASTER_OCTETS = 48
RANDOM_OCTETS = 32
KEY_BLOCK_OCTETS = 256
IMPLICIT_IV_OCTETS = 8


class Randoms(NamedTuple):
    """The two random strings of one side."""

    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """What the client said."""

    pre_master: bytes = field(repr=False)
    randoms: Randoms = field(repr=False)
    options: str
    user: str
    password: str = field(repr=False)
    peer_info: dict[str, str]

    @property
    def protocol(self) -> int:
        """The bits of IV_PROTO."""
        told = self.peer_info.get("IV_PROTO", "0")
        return int(told) if told.isdecimal() else 0

    @property
    def ciphers(self) -> list[str]:
        """What the client can have as the data channel's cipher (ssl_ncp.c)."""
        if "IV_CIPHERS" in self.peer_info:
            return self.peer_info["IV_CIPHERS"].split(":")
        return ["AES-256-GCM", "AES-128-GCM"] if self.peer_info.get("IV_NCP") == "2" else []


def parse(octets: bytes) -> ClientMessage:
    """Read the client's message.

    Raises:
        Refused: it ends too early, or has another method.
    """
    strings_at = 5 + PRE_MASTER_OCTETS + 2 * RANDOM_OCTETS
    if len(octets) < strings_at:
        raise Refused(f"a key exchange message of {len(octets)} octets ends too early")
    if octets[:4] != bytes(4) or octets[4] & 15 != METHOD:
        raise Refused(f"a key exchange message begins with {octets[:5].hex()}, not with method 2")
    randoms_at = 5 + PRE_MASTER_OCTETS
    first, second = octets[randoms_at : randoms_at + RANDOM_OCTETS], octets[randoms_at + RANDOM_OCTETS : strings_at]
    options, user, password, peer_info = _strings(octets[strings_at:])
    pairs = (line.partition("=") for line in peer_info.splitlines())
    return ClientMessage(
        octets[5:randoms_at], Randoms(first, second), options, user, password, {name: told for name, _, told in pairs}
    )


def _strings(octets: bytes) -> list[str]:
    """The four strings; those that are missing at the end are empty."""
    found = []
    for _ in range(4):
        length = int.from_bytes(octets[:2], "big")
        if 2 + length > len(octets) and octets:
            raise Refused(f"a string of {length} octets ends beyond the key exchange message")
        found.append(octets[2 : 2 + length].rstrip(b"\0").decode("utf-8", "replace"))
        octets = octets[2 + length :]
    return found


def build(randoms: Randoms, options: str) -> bytes:
    """The server's message."""
    text = options.encode() + b"\0"
    head = bytes(4) + bytes([METHOD]) + randoms.first + randoms.second
    return head + len(text).to_bytes(2, "big") + text + bytes(6)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def prf(secret: bytes, label: bytes, seed: bytes, octets: int) -> bytes:
    """The pseudo-random function of TLS 1.0: MD5 under one half of the secret, exclusive-or SHA-1 under the other."""
    half = (len(secret) + 1) // 2
    by_md5 = _expand("md5", secret[:half], label + seed, octets)
    by_sha1 = _expand("sha1", secret[len(secret) - half :], label + seed, octets)
    return bytes(left ^ right for left, right in zip(by_md5, by_sha1, strict=True))


def _expand(digest: str, secret: bytes, seed: bytes, octets: int) -> bytes:
    """P_hash (RFC 2246 5)."""
    expanded, chained = b"", seed
    while len(expanded) < octets:
        chained = hmac.digest(secret, chained, digest)
        expanded += hmac.digest(secret, chained + seed, digest)
    return expanded[:octets]


def prf_key_block(
    pre_master: bytes, client: Randoms, server: Randoms, client_session_id: bytes, server_session_id: bytes
) -> bytes:
    """The 256 octets of key, without the TLS exporter (ssl.c generate_key_expansion_openvpn_prf)."""
    master = prf(pre_master, b"OpenVPN master secret", client.first + server.first, PRE_MASTER_OCTETS)
    seed = client.second + server.second + client_session_id + server_session_id
    return prf(master, b"OpenVPN key expansion", seed, KEY_BLOCK_OCTETS)


def cut(key_block: bytes, cipher: Cipher) -> tuple[SendKey, ReceiveKey]:
    """The keys as the client names them: it sends with the first half, and receives with the second."""
    first, second = key_block[:128], key_block[128:]
    return (
        SendKey(first[: cipher.key_octets], first[64 : 64 + IMPLICIT_IV_OCTETS]),
        ReceiveKey(second[: cipher.key_octets], second[64 : 64 + IMPLICIT_IV_OCTETS]),
    )
