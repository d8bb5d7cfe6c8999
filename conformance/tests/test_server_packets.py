"""Control packets and what wraps them, octet for octet as a stock OpenVPN 2.6.14 has them; and every refusal.

The fixed packets were sent to a stock server, or came from one, with the static key 00 01 … ff.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.conformance.server import key_files
from glassgate.conformance.server.control import (
    Header,
    Message,
    Opcode,
    Refused,
    opcode_of,
    parse_header,
    parse_message,
)
from glassgate.conformance.server.wrapping import Plain, TlsAuth, TlsCrypt, Window, Wrapping

KEY = bytes(range(256))
CLIENT, TIME = bytes.fromhex("0102030405060708"), 0x65000000
RESET = Message(message_id=0)

V2_SERVER_KEY = bytes(range(0x80, 0x100))
V2_CLIENT_KEY = bytes((7 * index + 3) % 256 for index in range(256))
V2_TAG = "c09b42227f4a389b6ba286601206f920b6312d67fe506af27a938c50518c210f"


def crypt() -> TlsCrypt:
    return TlsCrypt(KEY, TIME)


def auth(direction: int | None, digest: str = "sha1") -> TlsAuth:
    return TlsAuth(KEY, digest, direction, TIME)


# ── what a stock server took ──────────────────────────────────────────────────────────────────────────────────────────

FROM_CLIENT = {
    "plain": (Plain, "3801020304050607080000000000"),
    "tls-auth, direction": (
        lambda: auth(0),
        "380102030405060708602941d9a95a08dd2d0892de37cd48c0953c774200000001650000000000000000",
    ),
    "tls-auth SHA256": (
        lambda: auth(0, "sha256"),
        "3801020304050607087a8e3ff36fd2511a4d423bcba2d6cda3d982f8d32959f098f4e0d7e5b89aa9f700000001650000000000000000",
    ),
    "tls-auth, no direction": (
        lambda: auth(None),
        "38010203040506070883fe3c468ab30a06c73e615e80ad44f527f758b200000001650000000000000000",
    ),
    "tls-crypt": (
        crypt,
        "3801020304050607080000000165000000cfccca8dc0e5aba43f54ed925ae825837d70281fd40c461fdde5ff4c89d0c5bb677280b699",
    ),
}


@pytest.mark.parametrize("kind", FROM_CLIENT)
def test_a_clients_reset_is_read(kind: str) -> None:
    wrapping, packet = FROM_CLIENT[kind][0](), bytes.fromhex(FROM_CLIENT[kind][1])
    assert parse_header(packet) == Header(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, CLIENT)
    assert parse_message(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, wrapping.unwrap(packet)) == RESET


# ── what a stock server said ──────────────────────────────────────────────────────────────────────────────────────────

FROM_SERVER = {
    "plain": (lambda: Plain(), "40807de7c757e257e60100000000010203040506070800000000"),
    "tls-auth": (
        lambda: TlsAuth(KEY, "sha1", 0, 0x6B04C91E),
        "40af65797a812bc1041158b3f37be085543dfb91e46243bbdaeca897ae000000016b04c91e0100000000010203040506070800000000",
    ),
    "tls-crypt": (
        lambda: TlsCrypt(KEY, 0x6B04C924),
        "4033415fc880cc3ce6000000016b04c9247ed03025aae163c507e05e17f3d2ed09f1b43631be971aa22c06fa328a456feecd76c3"
        "2b7adfd6c6b5291f3afe523008b1",
    ),
}


@pytest.mark.parametrize("kind", FROM_SERVER)
def test_a_servers_reset_is_built(kind: str) -> None:
    make, known = FROM_SERVER[kind]
    packet = bytes.fromhex(known)
    header = Header(Opcode.P_CONTROL_HARD_RESET_SERVER_V2, 0, packet[1:9])
    assert make().wrap(header.build(), Message((0,), CLIENT, 0).build()) == packet


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [kind for kind in FROM_CLIENT if kind != "plain"])
def test_every_octet_is_authenticated_and_nothing_is_read_twice(kind: str) -> None:
    packet = bytes.fromhex(FROM_CLIENT[kind][1])
    fresh: Callable[[], Wrapping] = FROM_CLIENT[kind][0]
    for index in range(len(packet)):
        spoilt = packet[:index] + bytes([packet[index] ^ 0x40]) + packet[index + 1 :]
        with pytest.raises(Refused):
            fresh().unwrap(spoilt)
        with pytest.raises(Refused):
            fresh().unwrap(packet[:index])
    wrapping = fresh()
    wrapping.unwrap(packet)
    with pytest.raises(Refused, match="the replay id 1 at time 1694498816 came before"):
        wrapping.unwrap(packet)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        ("", "a packet without an octet"),
        ("10" + "00" * 20, "opcode 2 is not from 3 to 11"),
        ("60" + "00" * 20, "opcode 12 is not from 3 to 11"),
        ("2001020304050607", "P_CONTROL_V1 of 8 octets has no room for a session id"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(octets: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        parse_header(bytes.fromhex(octets))


@pytest.mark.parametrize("octets", ["", "00", "01", "0100000000", "00000000", "0100000000010203040506070800"])
def test_a_message_that_ends_too_early_is_refused(octets: str) -> None:
    with pytest.raises(Refused, match="are too few"):
        parse_message(Opcode.P_CONTROL_V1, bytes.fromhex(octets))


def test_more_than_eight_acknowledgements_are_refused() -> None:
    eight = Message(tuple(range(8)), CLIENT)
    assert parse_message(Opcode.P_ACK_V1, eight.build()) == eight
    with pytest.raises(Refused, match="9 acknowledgements"):
        parse_message(Opcode.P_ACK_V1, Message(tuple(range(9)), CLIENT).build())


def is_read_or_refused(read: Callable[[], object]) -> bool:
    """Whether nothing but a refusal comes out, and that in words."""
    try:
        read()
    except Refused as refusal:
        return bool(str(refusal))
    return True


@given(st.binary(max_size=80))
def test_no_octets_raise_anything_but_a_refusal(octets: bytes) -> None:
    for read in (
        lambda: opcode_of(octets),
        lambda: parse_header(octets),
        lambda: parse_message(Opcode.P_CONTROL_V1, octets),
        lambda: crypt().unwrap(octets),
        lambda: auth(0).unwrap(octets),
    ):
        assert is_read_or_refused(read)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=8), st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_a_message_is_read_as_it_was_built(acknowledged: list[int], message_id: int, payload: bytes) -> None:
    message = Message(tuple(acknowledged), CLIENT if acknowledged else b"", message_id, payload)
    assert parse_message(Opcode.P_CONTROL_V1, message.build()) == message


# ── the window ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_window_reaches_back_sixty_three_numbers() -> None:
    window = Window()
    assert [window.take(number) for number in (0, 1, 1, 100, 37, 36, 37, 100, 99, 2**32 - 1, 101)] == [
        False, True, False, True, True, False, False, False, True, True, False,
    ]  # fmt: skip


@given(st.lists(st.integers(0, 200), max_size=60))
def test_the_window_takes_nothing_twice(numbers: list[int]) -> None:
    window, taken = Window(), [0]
    for number in numbers:
        is_expected = number not in taken and number > max(taken) - 64
        assert window.take(number) is is_expected
        if is_expected:
            taken.append(number)


def test_a_later_time_begins_again_and_an_earlier_one_is_refused() -> None:
    server, header = crypt(), Header(Opcode.P_ACK_V1, 0, CLIENT).build()
    turned = KEY[128:] + KEY[:128]  # the client sends with the other half
    server.unwrap(TlsCrypt(turned, 100).wrap(header, b"\0"))
    server.unwrap(TlsCrypt(turned, 101).wrap(header, b"\0"))
    with pytest.raises(Refused, match="the replay id 1 at time 100 came before"):
        server.unwrap(TlsCrypt(turned, 100).wrap(header, b"\0"))


# ── key files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clients_key_of_the_second_version_is_wrapped_and_unwrapped() -> None:
    wrapped = key_files.wrap_client_key(V2_SERVER_KEY, V2_CLIENT_KEY, b"\0glassgate")
    assert (len(wrapped), wrapped[:32].hex(), wrapped[-2:].hex()) == (300, V2_TAG, "012c")
    assert wrapped[32:48].hex() == "f5ada6959f0028e0d41c1cbe0bbf72ee"
    assert key_files.unwrap_client_key(V2_SERVER_KEY, b"packet" + wrapped) == (V2_CLIENT_KEY, b"packet")


@pytest.mark.parametrize("index", [0, 40, 299])
def test_a_clients_key_that_was_changed_is_refused(index: int) -> None:
    wrapped = bytearray(key_files.wrap_client_key(V2_SERVER_KEY, V2_CLIENT_KEY, b"\0glassgate"))
    wrapped[index] ^= 1
    with pytest.raises(key_files.KeyFileError):
        key_files.unwrap_client_key(V2_SERVER_KEY, b"packet" + wrapped)


def test_key_files_are_read_as_they_are_written() -> None:
    def entropy(count: int) -> bytes:
        return KEY[:count]

    assert key_files.parse_static_key(key_files.make_static_key(entropy)) == KEY
    server, client = key_files.make_v2_keys(entropy)
    assert key_files.parse_v2_server_key(server) == KEY[:128]
    assert "OpenVPN tls-crypt-v2 client key" in client


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no 'OpenVPN Static key V1' in it"),
        ("-----BEGIN OpenVPN Static key V1-----\n00\n-----END OpenVPN Static key V1-----", "holds 1 octets, not 256"),
        ("-----BEGIN OpenVPN Static key V1-----\nxx\n-----END OpenVPN Static key V1-----", "is not hexadecimal"),
    ],
)
def test_a_wrong_static_key_file_is_told(text: str, words: str) -> None:
    with pytest.raises(key_files.KeyFileError, match=words):
        key_files.parse_static_key(text)


def test_the_tag_of_tls_crypt_is_the_standard_librarys_hmac() -> None:
    packet = crypt().wrap(bytes(9), b"message")
    assert packet[17:49] == hmac.digest(KEY[64:96], packet[:17] + b"message", "sha256")
