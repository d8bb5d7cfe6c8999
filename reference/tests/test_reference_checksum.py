"""The Internet checksum: the RFCs' own examples, and the identities that make it useful to a router."""

from __future__ import annotations

from ipaddress import IPv4Address

import dpkt
from hypothesis import given
from hypothesis import strategies as st

from glassgate.reference import checksum

WORDS = st.integers(0, 0xFFFF)


def by_remainder(octets: bytes) -> int:
    """Another way to the sum: a number in base 65536 and its digits' sum are equal modulo 65535."""
    value = int.from_bytes(octets + bytes(len(octets) % 2), "big")
    return value % 0xFFFF or (0xFFFF if value else 0)


# ── the sum ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_sum_of_rfc_1071_section_3_is_ddf2() -> None:
    assert checksum.one_complement_sum(bytes.fromhex("0001 f203 f4f5 f6f7")) == 0xDDF2


def test_an_odd_last_octet_counts_as_the_upper_half_of_a_word() -> None:
    assert checksum.one_complement_sum(bytes.fromhex("0001 f2")) == 0xF201


def test_only_zeros_sum_to_zero() -> None:
    assert checksum.one_complement_sum(bytes(20)) == 0x0000
    assert checksum.one_complement_sum(b"\xff\xff") == 0xFFFF
    assert checksum.one_complement_sum(b"") == 0x0000


@given(st.binary(max_size=200))
def test_the_sum_is_a_remainder(octets: bytes) -> None:
    assert checksum.one_complement_sum(octets) == by_remainder(octets)


@given(st.binary(max_size=200))
def test_dpkt_computes_the_same_checksum(octets: bytes) -> None:
    assert checksum.compute(octets) == dpkt.in_cksum(octets)


# ── what adds up ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(min_size=1, max_size=100).map(lambda octets: octets + bytes(len(octets) % 2)))
def test_octets_with_their_checksum_add_up(octets: bytes) -> None:
    assert checksum.is_good(octets + checksum.compute(octets).to_bytes(2, "big"))


@given(st.binary(min_size=2, max_size=64), st.data())
def test_one_flipped_bit_no_longer_adds_up(octets: bytes, data: st.DataObject) -> None:
    octets += bytes(len(octets) % 2)
    whole = bytearray(octets + checksum.compute(octets).to_bytes(2, "big"))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert not checksum.is_good(bytes(whole))


# ── changing one word ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_update_of_rfc_1624_section_4_is_0000_and_not_ffff() -> None:
    assert checksum.update(0xDD2F, 0x5555, 0x3285) == 0x0000


@given(WORDS, WORDS, st.binary(min_size=2, max_size=40).map(lambda octets: octets[: len(octets) // 2 * 2]))
def test_an_update_is_the_checksum_computed_anew(old: int, new: int, others: bytes) -> None:
    others = b"\x45\x00" + others  # an IPv4 header is never all zero
    before = checksum.compute(others + old.to_bytes(2, "big"))
    after = checksum.compute(others + new.to_bytes(2, "big"))
    assert checksum.update(before, old, new) == after


# ── the pseudo header ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_pseudo_header_has_addresses_protocol_and_length() -> None:
    written = checksum.pseudo_header(IPv4Address("10.38.2.5"), IPv4Address("8.8.4.4"), 17, 0x0123)
    assert written == bytes.fromhex(
        "0a260205"  # source address
        "08080404"  # destination address
        "00"  # zero
        "11"  # protocol
        "0123"  # length
    )
