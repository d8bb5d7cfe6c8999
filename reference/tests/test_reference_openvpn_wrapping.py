"""What protects control packets. The vectors are those that the stock program accepted or sent (PROTOCOL.md 20.3)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given
from hypothesis import strategies as st

from glassgate.reference.openvpn.packets import Body, ControlRefused, Header, Opcode, parse_body, parse_header
from glassgate.reference.openvpn.wrapping import (
    Plain,
    ReplayCounter,
    ReplayWindow,
    StaticKey,
    TlsAuth,
    TlsCrypt,
    TlsCryptV2,
    Wrapping,
    WrapTlsAuth,
    WrapTlsCrypt,
)

KEY = StaticKey(bytes(range(256)))
OURS = bytes.fromhex("0102030405060708")
THEN = float(0x65000000)
RESET = Header(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, OURS)
EMPTY = Body((), b"", 0).build()


def mirrored(key: StaticKey) -> StaticKey:
    """The same key as the other side holds it: both halves exchanged."""
    return StaticKey(key.octets[128:] + key.octets[:128])


# ── what we send ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wrapping", "expected"),
    [
        (
            TlsAuth(KEY, "sha1", 1),
            "380102030405060708" "602941d9a95a08dd2d0892de37cd48c0953c7742" "00000001" "65000000" "0000000000",
        ),
        (
            TlsAuth(KEY, "sha256", 1),
            "380102030405060708" "7a8e3ff36fd2511a4d423bcba2d6cda3d982f8d32959f098f4e0d7e5b89aa9f7"
            "00000001" "65000000" "0000000000",
        ),
        (
            TlsAuth(KEY, "sha1", None),
            "380102030405060708" "83fe3c468ab30a06c73e615e80ad44f527f758b2" "00000001" "65000000" "0000000000",
        ),
        (
            TlsCrypt(KEY),
            "380102030405060708" "00000001" "65000000"
            "cfccca8dc0e5aba43f54ed925ae825837d70281fd40c461fdde5ff4c89d0c5bb" "677280b699",
        ),
    ],
    ids=["tls-auth SHA1", "tls-auth SHA256", "tls-auth without direction", "tls-crypt"],
)  # fmt: skip
def test_a_reset_is_wrapped_as_the_stock_server_accepted_it(wrapping: Wrapping, expected: str) -> None:
    packet = wrapping.wrap(RESET.build(), EMPTY, THEN)
    assert packet.hex() == expected
    assert len(packet) == len(RESET.build() + EMPTY) + wrapping.overhead


def wrapped_client_key(key: bytes, metadata: bytes) -> bytes:
    """What a server made when it gave out a client's key (PROTOCOL.md 3.5), server key seq(80,128)."""
    server_key = bytes(range(0x80, 0x100))
    length = (32 + len(key) + len(metadata) + 2).to_bytes(2, "big")
    tag = hmac.digest(server_key[64:96], length + key + metadata, "sha256")
    encryptor = Cipher(AES(server_key[:32]), CTR(tag[:16])).encryptor()
    return tag + encryptor.update(key + metadata) + length


V2_KEY = StaticKey(bytes((7 * number + 3) % 256 for number in range(256)))
V2_WRAPPED = wrapped_client_key(V2_KEY.octets, b"\0glassgate")


def test_a_tls_crypt_v2_reset_carries_the_wrapped_key_in_clear() -> None:
    reset = Header(Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, 0, OURS)
    packet = TlsCryptV2(V2_KEY, V2_WRAPPED).wrap(reset.build(), EMPTY, THEN)
    assert packet[:54].hex() == (
        "500102030405060708" "0f000001" "65000000"
        "8b4e2595170f25910921e61313db9f0ade284ab8db4c7a8fdca2e6d51b2a11ac" "afe0f2d52a"
    )  # fmt: skip
    assert packet[54:] == V2_WRAPPED
    assert packet[54:86].hex() == "c09b42227f4a389b6ba286601206f920b6312d67fe506af27a938c50518c210f"
    assert len(packet) == 354


@pytest.mark.parametrize(
    ("opcode", "carries"),
    [(Opcode.P_CONTROL_WKC_V1, True), (Opcode.P_CONTROL_V1, False), (Opcode.P_ACK_V1, False)],
)
def test_only_the_packets_that_need_it_carry_the_wrapped_key(opcode: Opcode, carries: bool) -> None:
    packet = TlsCryptV2(V2_KEY, V2_WRAPPED).wrap(Header(opcode, 0, OURS).build(), b"\0", THEN)
    assert packet.endswith(V2_WRAPPED) is carries


def test_no_two_packets_are_alike() -> None:
    for wrapping in (TlsAuth(KEY, "sha1", 1), TlsCrypt(KEY), TlsCryptV2(V2_KEY, V2_WRAPPED)):
        packets = {wrapping.wrap(RESET.build(), EMPTY, THEN) for _ in range(5)}
        assert len(packets) == 5


def test_the_time_stays_that_of_the_first_packet() -> None:
    counter = ReplayCounter()
    assert counter.next(THEN).hex() == "0000000165000000"
    assert counter.next(THEN + 100).hex() == "0000000265000000"


# ── what we receive ──────────────────────────────────────────────────────────────────────────────────────────────────

SERVER_REPLIES = {
    "tls-crypt": (
        TlsCrypt(KEY),
        "4033415fc880cc3ce6000000016b04c9247ed03025aae163c507e05e17f3d2ed09f1b43631be971aa22c06fa328a456feecd76c3"
        "2b7adfd6c6b5291f3afe523008b1",
        "33415fc880cc3ce6",
        b"",
    ),
    "tls-crypt-v2": (
        TlsCryptV2(V2_KEY, V2_WRAPPED),
        "40930f2737f8941c75000000016b04c926ef43e2364a02e62882494bc350e6701e4024d22e8642fa084529fa313c940496a3a550"
        "8421176b60fdd48831669201bf068e9961125647",
        "930f2737f8941c75",
        bytes.fromhex("000100020001"),
    ),
    "tls-auth": (
        TlsAuth(KEY, "sha1", 1),
        "40af65797a812bc1041158b3f37be085543dfb91e46243bbdaeca897ae000000016b04c91e0100000000010203040506070800000000",
        "af65797a812bc104",
        b"",
    ),
    "plain": (Plain(), "40807de7c757e257e60100000000010203040506070800000000", "807de7c757e257e6", b""),
}


@pytest.mark.parametrize("name", SERVER_REPLIES)
def test_the_stock_servers_reset_is_opened(name: str) -> None:
    wrapping, packet, session_id, payload = SERVER_REPLIES[name]
    header = parse_header(bytes.fromhex(packet))
    parsed = wrapping.parse(bytes.fromhex(packet))
    assert header.session_id.hex() == session_id
    assert parse_body(header.opcode, wrapping.authenticate(parsed)) == Body((0,), OURS, 0, payload)
    assert parsed.replay_id == (0 if name == "plain" else 1)


@pytest.mark.parametrize("name", ["tls-crypt", "tls-crypt-v2", "tls-auth"])
def test_every_flipped_bit_is_found_out(name: str) -> None:
    wrapping, packet, _, _ = SERVER_REPLIES[name]
    good = bytes.fromhex(packet)
    for place in range(len(good)):
        bad = good[:place] + bytes((good[place] ^ 1,)) + good[place + 1 :]
        with pytest.raises(ControlRefused):
            wrapping.authenticate(wrapping.parse(bad))


@pytest.mark.parametrize("name", ["tls-crypt", "tls-crypt-v2", "tls-auth"])
def test_every_truncation_is_refused(name: str) -> None:
    wrapping, packet, _, _ = SERVER_REPLIES[name]
    good = bytes.fromhex(packet)
    for length in range(len(good)):
        with pytest.raises(ControlRefused):
            wrapping.authenticate(wrapping.parse(good[:length]))


@pytest.mark.parametrize("direction", [0, 1, None])
def test_tls_auth_directions_are_mirror_images(direction: int | None) -> None:
    other = {0: 1, 1: 0, None: None}[direction]
    ours, theirs = TlsAuth(KEY, "sha512", direction), TlsAuth(KEY, "sha512", other)
    assert theirs.authenticate(theirs.parse(ours.wrap(RESET.build(), EMPTY, THEN))) == EMPTY


BOTH_ENDS = {
    "plain": (Plain, Plain),
    "tls-auth": (lambda: TlsAuth(KEY, "sha1", 1), lambda: TlsAuth(KEY, "sha1", 0)),
    "tls-auth, one key": (lambda: TlsAuth(KEY, "sha512", None), lambda: TlsAuth(KEY, "sha512", None)),
    "tls-crypt": (lambda: TlsCrypt(KEY), lambda: TlsCrypt(mirrored(KEY))),
    "tls-crypt-v2": (lambda: TlsCryptV2(V2_KEY, V2_WRAPPED), lambda: TlsCrypt(mirrored(V2_KEY))),
}
"""A client, and what opens its packets."""


@given(st.sampled_from(sorted(BOTH_ENDS)), st.integers(0, 7), st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_what_one_end_wraps_the_other_end_reads(name: str, key_id: int, bodies: list[bytes]) -> None:
    ours, theirs = (make() for make in BOTH_ENDS[name])
    header = Header(Opcode.P_CONTROL_V1, key_id, OURS).build()
    for body in bodies:
        packet = ours.wrap(header, body, THEN)
        assert len(packet) == len(header + body) + ours.overhead
        parsed = theirs.parse(packet)
        assert (parsed.header, theirs.authenticate(parsed)) == (header, body)
        theirs.check_replay(parsed, THEN)
        if name != "plain":
            with pytest.raises(ControlRefused):
                theirs.check_replay(parsed, THEN)


def test_a_client_never_accepts_its_own_packets() -> None:
    for wrapping in (TlsAuth(KEY, "sha1", 1), TlsCrypt(KEY)):
        with pytest.raises(ControlRefused):
            wrapping.authenticate(wrapping.parse(wrapping.wrap(RESET.build(), EMPTY, THEN)))


@pytest.mark.parametrize("made", [WrapTlsAuth(KEY, "sha1", 1), WrapTlsCrypt(KEY)])
def test_each_session_begins_with_a_fresh_window(made: WrapTlsAuth | WrapTlsCrypt) -> None:
    assert made.static_key is KEY
    theirs = replace(made, key=mirrored(KEY)) if isinstance(made, WrapTlsCrypt) else replace(made, direction=0)
    packet = theirs.start().wrap(RESET.build(), EMPTY, THEN)
    for wrapping in (made.start(), made.start()):
        parsed = wrapping.parse(packet)
        wrapping.check_replay(parsed, 0.0)
        with pytest.raises(ControlRefused, match="a replay"):
            wrapping.check_replay(parsed, 0.0)


def test_a_static_key_has_2048_bits() -> None:
    with pytest.raises(ValueError, match="a static key has 256 octets, not 255"):
        StaticKey(bytes(255))


def test_a_server_holds_the_key_the_other_way_round() -> None:
    ours, theirs = TlsCrypt(KEY), TlsCrypt(mirrored(KEY))
    assert theirs.authenticate(theirs.parse(ours.wrap(RESET.build(), EMPTY, THEN))) == EMPTY


def test_keys_are_mixed_octet_by_octet() -> None:
    mixed = KEY.mixed(V2_KEY)
    assert mixed.octets == bytes(one ^ other for one, other in zip(KEY.octets, V2_KEY.octets, strict=True))
    assert hashlib.sha256(mixed.mixed(KEY).octets).digest() == hashlib.sha256(V2_KEY.octets).digest()


# ── replay (PROTOCOL.md 3.7) ─────────────────────────────────────────────────────────────────────────────────────────


def accepts(window: ReplayWindow, replay_id: int, time: int = 100, now: float = 0.0) -> bool:
    try:
        window.check(replay_id, time, now)
    except ControlRefused:
        return False
    return True


def test_an_id_is_accepted_once() -> None:
    window = ReplayWindow()
    assert [accepts(window, number) for number in (1, 2, 2, 1, 5, 3, 3)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_zero_is_never_an_id() -> None:
    assert not accepts(ReplayWindow(), 0)


def test_the_window_is_sixty_four_ids_wide() -> None:
    window = ReplayWindow()
    assert accepts(window, 1000)
    assert accepts(window, 1000 - 63)
    assert not accepts(window, 1000 - 64)


def test_a_later_time_starts_the_ids_again_and_an_earlier_one_is_refused() -> None:
    window = ReplayWindow()
    assert accepts(window, 50, time=100)
    assert accepts(window, 1, time=101)
    assert not accepts(window, 51, time=100)


def test_an_id_below_one_of_fifteen_seconds_ago_is_refused() -> None:
    window = ReplayWindow()
    assert accepts(window, 10, now=0.0)
    assert accepts(window, 8, now=15.0)
    assert not accepts(window, 7, now=15.1)


def test_a_session_may_begin_at_any_id() -> None:
    assert accepts(ReplayWindow(), 0x0F000001)  # PROTOCOL.md 3.5: tls-crypt-v2 servers do


def test_the_window_does_not_grow() -> None:
    window = ReplayWindow()
    for number in range(1, 10_000):
        assert accepts(window, number)
    assert len(window._seen) <= 64
