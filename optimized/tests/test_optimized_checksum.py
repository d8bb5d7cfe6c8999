"""The checksum by remainder, against RFC 1071's loop; the corners where they could part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glassgate.optimized.checksum import (
    adjusted,
    internet_checksum,
    is_intact,
    is_transport_intact,
    pseudo_header_sum,
    transport_checksum,
)

octets = st.binary(max_size=100) | st.integers(0, 60).map(bytes) | st.integers(0, 60).map(lambda n: b"\xff" * n)


@given(octets)
def test_the_remainder_is_the_sum_of_the_loop(make, region):
    assert internet_checksum(region) == make.checksum(region)
    assert internet_checksum(memoryview(b"\xa5" + region)[1:]) == make.checksum(region)


def test_nothing_but_zeros_sums_to_zero_and_so_has_checksum_ffff(make):
    for length in (2, 8, 9, 1400):
        assert internet_checksum(bytes(length)) == 0xFFFF == make.checksum(bytes(length))


def test_a_sum_of_ffff_has_checksum_0():
    assert internet_checksum(b"\xff\xff") == 0
    assert internet_checksum(b"\xff\xfe\x00\x01") == 0


@given(octets)
def test_intact_is_what_carries_its_own_checksum(make, region):
    region = region + bytes(len(region) % 2)
    assert is_intact(make.checksum(region + b"\0\0").to_bytes(2, "big") + region)


def test_all_zeros_are_not_intact():
    """Their sum is 0 where a right checksum makes it 0xFFFF: 0 is no checksum of zeros."""
    assert not is_intact(bytes(20))
    assert is_intact(b"\xff\xff" + bytes(18))


@given(st.binary(min_size=4, max_size=40).filter(any), st.integers(0, 0xFFFF), st.data())
def test_a_changed_word_changes_the_checksum_by_the_difference(make, region, new_word, data):
    region = region + bytes(len(region) % 2)
    at = data.draw(st.integers(0, len(region) // 2 - 1)) * 2
    changed = region[:at] + new_word.to_bytes(2, "big") + region[at + 2 :]
    if not any(changed):
        return  # the corner that only an all-zero message has: icmp.py looks after it
    old_word = int.from_bytes(region[at : at + 2], "big")
    assert adjusted(make.checksum(region), old_word, new_word) == make.checksum(changed)


def test_the_adjusted_checksum_is_never_ffff():
    """RFC 1624 3: equation 3 yields 0 where equation 2 of RFC 1141 yields 0xFFFF."""
    assert adjusted(0xDD2F, 0x5555, 0x3285) == 0x0000
    assert all(adjusted(value, 0x4011, 0x3F11) != 0xFFFF for value in range(0x10000))


@given(octets, st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.sampled_from([6, 17]))
def test_a_transport_checksum_covers_the_pseudo_header(make, region, source, destination, protocol):
    pseudo = source.to_bytes(4, "big") + destination.to_bytes(4, "big") + bytes((0, protocol))
    pseudo += len(region).to_bytes(2, "big")
    total = pseudo_header_sum(source, destination, protocol, len(region))
    assert transport_checksum(total, region) == make.checksum(pseudo + region)
    segment = bytes(2) + region
    total = pseudo_header_sum(source, destination, protocol, len(segment))
    value = transport_checksum(total, segment)
    assert is_transport_intact(total, value.to_bytes(2, "big") + region)
    assert not is_transport_intact(total, (value ^ 0x0100).to_bytes(2, "big") + region)
