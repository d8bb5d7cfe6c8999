"""From secrets to keys: the TLS 1.0 PRF, the labels of the TLS exporter, and how a key block is cut.

What it answers: with which octets is data sealed and opened?
Two ways lead to the same 256 octets; the server's push tells which (``tls-ekm`` or its absence). For a client:

   octet  0        64           128        192          256
          │ seal:  │ seal: nonce│ open:    │ open: nonce│
          │ cipher │ (or hash)  │ cipher   │ (or hash)  │      each slot is used from its start, as far as needed

Standards: PROTOCOL.md section 8; OpenVPN ssl.c generate_key_expansion, crypto_openssl.c ssl_tls1_PRF; RFC 2246 5;
RFC 5705, RFC 8446 7.5 for the exporter, which the TLS library computes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from glassgate.contract.configuration import Cipher

KEY_BLOCK_OCTETS = 256
IMPLICIT_IV_OCTETS = 8

DATA_KEYS_LABEL = b"EXPORTER-OpenVPN-datakeys"
DYNAMIC_TLS_CRYPT_LABEL = b"EXPORTER-OpenVPN-dynamic-tls-crypt"
MASTER_SECRET_LABEL = b"OpenVPN master secret"
KEY_EXPANSION_LABEL = b"OpenVPN key expansion"


@dataclass(frozen=True, slots=True)
class Randoms:
    """One side's random octets of key method 2."""

    random1: bytes = field(repr=False)
    random2: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DataKeys:
    """What a key block holds for one AEAD cipher, seen from a client."""

    send_key: bytes = field(repr=False)
    send_implicit_iv: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    receive_implicit_iv: bytes = field(repr=False)


def tls1_prf(secret: bytes, label: bytes, seed: bytes, octets: int) -> bytes:
    """The pseudorandom function of TLS 1.0: P_MD5 of one half, exclusive or P_SHA1 of the other (RFC 2246 5)."""
    half = (len(secret) + 1) // 2  # the halves of an odd secret share an octet
    by_md5 = _p_hash("md5", secret[:half], label + seed, octets)
    by_sha1 = _p_hash("sha1", secret[len(secret) - half :], label + seed, octets)
    return bytes(one ^ other for one, other in zip(by_md5, by_sha1, strict=True))


def prf_key_block(
    pre_master: bytes, client: Randoms, server: Randoms, client_session_id: bytes, server_session_id: bytes
) -> bytes:
    """The key block where the server did not push ``tls-ekm`` (generate_key_expansion_openvpn_prf)."""
    master = tls1_prf(pre_master, MASTER_SECRET_LABEL, client.random1 + server.random1, 48)
    session_ids = client_session_id + server_session_id
    return tls1_prf(master, KEY_EXPANSION_LABEL, client.random2 + server.random2 + session_ids, KEY_BLOCK_OCTETS)


def cut_key_block(key_block: bytes, cipher: Cipher) -> DataKeys:
    """The client's four pieces; the nonces' implicit parts come from the hash slots (PROTOCOL 8.3)."""
    return DataKeys(
        send_key=key_block[0 : cipher.key_octets],
        send_implicit_iv=key_block[64 : 64 + IMPLICIT_IV_OCTETS],
        receive_key=key_block[128 : 128 + cipher.key_octets],
        receive_implicit_iv=key_block[192 : 192 + IMPLICIT_IV_OCTETS],
    )


def _p_hash(digest: str, secret: bytes, seed: bytes, octets: int) -> bytes:
    """P_hash: a chain of keyed hashes, each hashed once more with the seed (RFC 2246 5)."""
    out = b""
    chain = seed
    while len(out) < octets:
        chain = hmac.digest(secret, chain, digest)
        out += hmac.digest(secret, chain + seed, digest)
    return out[:octets]
