"""The data channel: PROTOCOL.md's known answers, the four steps of opening, and the replay window."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.contract import Cipher, Rule, rules
from glassgate.reference.notes import Malformed
from glassgate.reference.openvpn import data_channel
from glassgate.reference.openvpn.data_channel import ReceivingKey, ReplayWindow, SendingKey

# PROTOCOL.md 20.4: key block 00 01 02 … ff, key id 2, peer id 5, packet id 7. The client encrypts with octets 0 to 63,
# its implicit IV begins at 64 (8.3).
KEY_BLOCK = bytes(range(256))
IMPLICIT_IV = KEY_BLOCK[64:72]
PLAINTEXT = b"glassgate data channel test"
KNOWN_ANSWERS = [
    (
        Cipher.AES_256_GCM,
        5,
        "4a00000500000007d8f17e42bda2494821ec014b3243ad3a9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc59fc6099955b42",
    ),
    (
        Cipher.AES_256_GCM,
        None,
        "32000000079eb4045e1629d2c234ee443c1ac0332f9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc59fc6099955b42",
    ),
    (
        Cipher.AES_128_GCM,
        5,
        "4a0000050000000767c92ec227085ff10e9e4fbec57ec39d5d8e0b55c55366200a0c7657c3db05056d61a780b4c9552f0520db",
    ),
    (
        Cipher.AES_128_GCM,
        None,
        "32000000071c46d08b15ac39774ebb532166f24f9a5d8e0b55c55366200a0c7657c3db05056d61a780b4c9552f0520db",
    ),
    (
        Cipher.CHACHA20_POLY1305,
        5,
        "4a000005000000074967e6373d6db76387f0d3b2e3a1d2938379564ae6c1c9c8328ee40f75cb8512da17c044e5463fdd512d24",
    ),
    (
        Cipher.CHACHA20_POLY1305,
        None,
        "32000000073d97492410f59691a43632289f7faa2e8379564ae6c1c9c8328ee40f75cb8512da17c044e5463fdd512d24",
    ),
]


def sending(cipher: Cipher = Cipher.AES_256_GCM, peer_id: int | None = 5, next_packet_id: int = 1) -> SendingKey:
    return SendingKey(2, cipher, peer_id, KEY_BLOCK[: cipher.key_octets], IMPLICIT_IV, next_packet_id)


def receiving(cipher: Cipher = Cipher.AES_256_GCM) -> ReceivingKey:
    return ReceivingKey(cipher, KEY_BLOCK[: cipher.key_octets], IMPLICIT_IV)


def rule_of(key: ReceivingKey, record: bytes) -> Rule:
    with pytest.raises(Malformed) as raised:
        key.open(record)
    return raised.value.rule


# ── seal and open ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("cipher", "peer_id", "record"), KNOWN_ANSWERS)
def test_seal_gives_the_known_answers(cipher: Cipher, peer_id: int | None, record: str) -> None:
    assert sending(cipher, peer_id, 7).seal(PLAINTEXT) == bytes.fromhex(record)


@pytest.mark.parametrize(("cipher", "peer_id", "record"), KNOWN_ANSWERS)
def test_open_takes_the_known_answers(cipher: Cipher, peer_id: int | None, record: str) -> None:
    opened = receiving(cipher).open(bytes.fromhex(record))
    assert (opened.data_packet_id, opened.plaintext) == (7, PLAINTEXT)


@settings(max_examples=30)
@given(st.sampled_from(Cipher), st.none() | st.integers(0, 0xFFFFFF), st.binary(min_size=1, max_size=60))
def test_open_undoes_seal(cipher: Cipher, peer_id: int | None, plaintext: bytes) -> None:
    key = receiving(cipher)
    sealer = sending(cipher, peer_id)
    for expected_id in (1, 2, 3):
        opened = key.open(sealer.seal(plaintext))
        assert (opened.data_packet_id, opened.plaintext, opened.is_gap) == (expected_id, plaintext, False)


def test_packet_ids_rise_by_one_and_end_at_the_last() -> None:
    sealer = sending(next_packet_id=0xFFFFFFFE)
    assert [sealer.seal(b"x")[4:8].hex() for _ in range(2)] == ["fffffffe", "ffffffff"]
    assert sealer.ids_left == 0


# ── what is refused, step by step ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("peer_id", [5, None])
def test_every_truncation_is_refused(peer_id: int | None) -> None:
    record = sending(peer_id=peer_id).seal(b"x")
    overhead = len(record) - 1
    assert overhead == (24 if peer_id is not None else 21)
    for length in range(1, overhead):
        assert rule_of(receiving(), record[:length]) is rules.S26_TOO_SHORT
    assert rule_of(receiving(), record[:overhead]) is rules.S26_EMPTY


@pytest.mark.parametrize("peer_id", [5, None])
def test_one_flipped_bit_anywhere_that_is_authentic_is_refused(peer_id: int | None) -> None:
    record = sending(peer_id=peer_id).seal(b"xyz")
    first = 8  # the bits of the first octet choose opcode and key
    for bit in range(first, 8 * len(record)):
        corrupt = bytearray(record)
        corrupt[bit // 8] ^= 1 << bit % 8
        assert rule_of(receiving(), bytes(corrupt)) is rules.S26_AUTHENTICATION


def test_a_record_that_is_refused_moves_nothing() -> None:
    key = receiving()
    forged = bytearray(sending(next_packet_id=1000).seal(b"x"))
    forged[-1] ^= 1
    assert rule_of(key, bytes(forged)) is rules.S26_AUTHENTICATION
    assert key.open(sending(next_packet_id=1).seal(b"x")).data_packet_id == 1


@pytest.mark.parametrize("packet_id", [0, 100, 36])
def test_zero_a_repetition_and_64_behind_are_replays(packet_id: int) -> None:
    key = receiving()
    key.open(sending(next_packet_id=100).seal(b"x"))
    assert rule_of(key, sending(next_packet_id=packet_id).seal(b"x")) is rules.S26_REPLAY


def test_63_behind_is_taken_once_and_a_gap_is_told() -> None:
    key = receiving()
    assert key.open(sending(next_packet_id=100).seal(b"x")).is_gap
    assert not key.open(sending(next_packet_id=37).seal(b"x")).is_gap
    assert rule_of(key, sending(next_packet_id=37).seal(b"x")) is rules.S26_REPLAY


# ── the replay window ────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(0, 300) | st.integers(0, 2**32 - 1), max_size=60))
def test_the_window_is_the_set_of_what_was_seen_and_the_last_64(packet_ids: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for packet_id in packet_ids:
        highest = max(seen, default=0)
        expected = packet_id > 0 and packet_id not in seen and packet_id > highest - 64
        assert window.accepts(packet_id) == expected
        if expected:
            window.add(packet_id)
            seen.add(packet_id)
        assert window._seen < 1 << 64  # however far it has come


# ── the first octet ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_opcode_and_key_id_share_the_first_octet() -> None:
    record = sending().seal(b"x")
    assert (data_channel.opcode_of(record), data_channel.key_id_of(record)) == (9, 2)
