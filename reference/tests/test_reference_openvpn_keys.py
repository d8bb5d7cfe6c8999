"""From secrets to keys, and the message that carries them (PROTOCOL.md 7, 8, 20.1, 20.2)."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from glassgate.contract import Cipher
from glassgate.reference.openvpn import key_exchange
from glassgate.reference.openvpn.key_derivation import (
    DATA_KEYS_LABEL,
    DYNAMIC_TLS_CRYPT_LABEL,
    Randoms,
    cut_key_block,
    prf_key_block,
    tls1_prf,
)
from glassgate.reference.openvpn.key_exchange import (
    ClientMessage,
    Credentials,
    KeyExchangeFailed,
    parse_server_message,
)

PRE_MASTER = bytes(range(48))
CLIENT = Randoms(b"\xa1" * 32, b"\xa2" * 32)
OURS = bytes.fromhex("0102030405060708")


# ── the PRF ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_prf_of_the_stock_programs_own_unit_test() -> None:
    secret = (
        b"Lorem ipsum dolor sit amet, consectetur adipisici elit, sed eiusmod tempor incidunt ut labore et dolore "
        b"magna aliqua."
    )
    seed = b"Quis aute iure reprehenderit in voluptate velit esse cillum dolore"
    assert len(secret) == 117, "odd: the halves share an octet"
    expected = "d98c8518c85e946927916acfc2d592fbb1567e4b4b1459e6a904ac2ddab72d67"
    assert tls1_prf(secret, b"", seed, 32).hex() == expected


def test_a_synthetic_key_block() -> None:
    server = Randoms(b"\xb1" * 32, b"\xb2" * 32)
    block = prf_key_block(PRE_MASTER, CLIENT, server, OURS, bytes.fromhex("1112131415161718"))
    assert hashlib.sha256(block).hexdigest() == "6da9e0be54ce32c3d75d399bc751f98d47accd14118d8c5831983433b937f440"
    assert block[:32].hex() == "3d52c6db0935aae800475118fff216f8999c2deb140e5401527e338ff09ed85f"
    assert block[64:96].hex() == "c11f9b8036eaac77b113fd99111cefbe646389795636fde16abd6fc51b0d2889"
    assert block[128:160].hex() == "6b2bd02a6d0a58f49e6b50741e5abd45499d190896936d5407039fd33c7d4b33"
    assert block[192:224].hex() == "356bbd5eda61a3f1a94b5a160ccbece0f59c541ae8d44e54b00694a5d5d29764"


def test_the_key_block_that_a_stock_server_had_too() -> None:
    server = Randoms(
        bytes.fromhex("a71afba8876b3c51419cb294d07aabb9cdefd6d2825c99fd261e6d92bda95ad8"),
        bytes.fromhex("3cbd5982feaca5c62bc06d608cbec9c1b286615f40be6e8a1d11525f6e15cacb"),
    )
    block = prf_key_block(PRE_MASTER, CLIENT, server, OURS, bytes.fromhex("bc01c8a9c0d9e8ef"))
    assert hashlib.sha256(block).hexdigest() == "7b01aa3f1ce18011a64c29d562425487e3a4fad6d5afe3529d6d4e2487aa5672"
    keys = cut_key_block(block, Cipher.AES_256_GCM)
    assert keys.send_key.hex() == "9496a7aaf437f588a589edfa37183bbbc919e9a5812870ca813a7f1e587ce6ae"
    assert keys.send_implicit_iv.hex() == "84dec77195edcdf1"
    assert keys.receive_key.hex() == "36c38cd06834a5c8577b42439e5bcb709271ae4bcae49e662ab5a989322dd650"
    assert keys.receive_implicit_iv.hex() == "389c2ec2c77ad051"


def test_a_key_block_is_cut_by_the_ciphers_key_length() -> None:
    block = bytes(range(256))
    for cipher, length in ((Cipher.AES_128_GCM, 16), (Cipher.AES_256_GCM, 32), (Cipher.CHACHA20_POLY1305, 32)):
        keys = cut_key_block(block, cipher)
        assert keys.send_key == block[:length]
        assert keys.send_implicit_iv == block[64:72]
        assert keys.receive_key == block[128 : 128 + length]
        assert keys.receive_implicit_iv == block[192:200]


# ── the exporter, whose labels are ours and whose computing is the TLS library's ─────────────────────────────────────


def expand_label(secret: bytes, label: bytes, context: bytes, octets: int, digest: str) -> bytes:
    """HKDF-Expand-Label of RFC 8446 7.1."""
    full = b"tls13 " + label
    info = octets.to_bytes(2, "big") + bytes((len(full),)) + full + bytes((len(context),)) + context
    out, block, number = b"", b"", 1
    while len(out) < octets:
        block = hmac.digest(secret, block + info + bytes((number,)), digest)
        out, number = out + block, number + 1
    return out[:octets]


@pytest.mark.parametrize(
    ("label", "place", "expected"),
    [
        (DATA_KEYS_LABEL, 0, "07dcc0b4eb7d10d1900fb212a1d22d2f4404f97cca7ad9407d2923dc681e218c"),
        (DATA_KEYS_LABEL, 64, "774eb010f4c6414c"),
        (DATA_KEYS_LABEL, 128, "882e3cfd9ff2e7e995bfa89d35a57bb2ecedcd3a1b88f76a968dcf762c9f1eac"),
        (DATA_KEYS_LABEL, 192, "1b77aaebf1ebfbf8"),
        (DYNAMIC_TLS_CRYPT_LABEL, 0, "8af82e81e46a73f569bb0caa53dc0cc370e25ee49cb70ee87c5bce142473ecc4"),
        (DYNAMIC_TLS_CRYPT_LABEL, 192, "81c958bdf629c0a0c35e1de67ea7aabf0bbe92b5c8774dd5a39b9efb327f2c7f"),
    ],
)
def test_the_labels_lead_to_the_keys_that_a_stock_server_had(label: bytes, place: int, expected: str) -> None:
    # TLS 1.3 by hand from a key log's EXPORTER_SECRET (PROTOCOL.md 20.2, RFC 8446 7.5)
    exporter_secret = bytes.fromhex(
        "8d1960dca8fe88785ce40f4b7cd8fde6eeba49129e2055acb144667ec9d40bb391e30caa93d627d1e3dc2b73d1e4b69b"
    )
    empty = hashlib.sha384(b"").digest()
    derived = expand_label(exporter_secret, label, empty, 48, "sha384")
    exported = expand_label(derived, b"exporter", empty, 256, "sha384")
    assert exported[place : place + len(expected) // 2].hex() == expected


# ── key method 2 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_clients_message_field_by_field() -> None:
    message = ClientMessage(PRE_MASTER, CLIENT, "V4", Credentials("me", "it"), "IV_VER=1\n").build()
    assert message == (
        bytes(4) + b"\x02"  # key method
        + PRE_MASTER + CLIENT.random1 + CLIENT.random2
        + b"\x00\x03V4\x00"  # options: the length counts the NUL
        + b"\x00\x03me\x00" + b"\x00\x03it\x00"
        + b"\x00\x0aIV_VER=1\n\x00"
    )  # fmt: skip


def test_absent_credentials_have_length_zero() -> None:
    message = ClientMessage(PRE_MASTER, CLIENT, "V4", None, "").build()
    assert message.endswith(b"\x00\x03V4\x00\x00\x00\x00\x00\x00\x01\x00")


def test_a_message_over_2048_octets_is_refused_before_it_is_sent() -> None:
    with pytest.raises(KeyExchangeFailed, match="too long"):
        ClientMessage(PRE_MASTER, CLIENT, "V4", Credentials("me", "x" * 2000), "").build()


def test_the_servers_message_has_no_pre_master_secret() -> None:
    message = bytes(4) + b"\x02" + b"\xb1" * 32 + b"\xb2" * 32 + b"\x00\x03V4\x00" + bytes(6)
    parsed = parse_server_message(message)
    assert (parsed.randoms, parsed.options) == (Randoms(b"\xb1" * 32, b"\xb2" * 32), "V4")


@pytest.mark.parametrize("length", [0, 4, 5, 69, 70, 73])
def test_a_servers_message_that_ends_early_is_refused(length: int) -> None:
    message = bytes(4) + b"\x02" + bytes(64) + b"\x00\x03V4\x00"
    with pytest.raises(KeyExchangeFailed):
        parse_server_message(message[:length])


def test_another_key_method_is_refused() -> None:
    with pytest.raises(KeyExchangeFailed, match="key method 1"):
        parse_server_message(bytes(4) + b"\x01" + bytes(70))


def test_iv_proto_promises_what_this_client_does() -> None:
    assert key_exchange.IV_PROTO == 926  # PROTOCOL.md 7.2


def test_a_client_that_exports_no_keys_promises_nothing_that_is_made_of_them() -> None:
    without = key_exchange.peer_info(tuple(Cipher), 1600, "0.1", (), exports_keys=False)
    assert f"IV_PROTO={926 - (1 << 3) - (1 << 9)}" in without.splitlines()  # PROTOCOL.md 7.2: bits 3 and 9


def test_peer_info_has_a_line_for_each_ability() -> None:
    text = key_exchange.peer_info(tuple(Cipher), 1600, "0.1", (("UV_SITE", "here"),))
    assert text.splitlines() == [
        "IV_VER=glassgate-0.1",
        "IV_PLAT=linux",
        "IV_TCPNL=1",
        "IV_MTU=1600",
        "IV_NCP=2",
        "IV_CIPHERS=AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",
        "IV_PROTO=926",
        "UV_SITE=here",
    ]
    assert "IV_NCP" not in key_exchange.peer_info((Cipher.CHACHA20_POLY1305,), 1600, "0.1", ())


def test_the_options_string_is_the_stock_programs() -> None:
    # PROTOCOL.md 7.1
    text = key_exchange.options_string(proto="tcp", mtu=1500, wrap_is_tls_auth=True, key_direction=1, digest="sha1")
    assert text == (
        "V4,dev-type tun,link-mtu 1543,tun-mtu 1500,proto TCPv4_CLIENT,keydir 1,auth SHA1,keysize 128,tls-auth,"
        "key-method 2,tls-client"
    )
    text = key_exchange.options_string(proto="udp", mtu=1500, wrap_is_tls_auth=False, key_direction=1, digest="sha1")
    assert text == (
        "V4,dev-type tun,link-mtu 1541,tun-mtu 1500,proto UDPv4,auth SHA1,keysize 128,key-method 2,tls-client"
    )


def test_no_secret_is_shown() -> None:
    message = ClientMessage(PRE_MASTER, CLIENT, "V4", Credentials("me", "hunter2"), "")
    assert "hunter2" not in repr(message)
    assert repr(PRE_MASTER)[2:-1] not in repr(message)
    assert "a1" not in repr(CLIENT)
