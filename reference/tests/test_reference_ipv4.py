"""IPv4: the header read, refused field by field, and written again."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import Rule, rules
from glassgate.reference import ipv4
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import Malformed

# The example of RFC 1071's neighbours: header words add up to 0x2479c, folded 0x479e, complement 0xb861.
OCTETS = bytes.fromhex(
    "4"  # version
    "5"  # header length, in words
    "00"  # type of service
    "0073"  # total length: 115
    "0000"  # identification
    "4000"  # don't fragment
    "40"  # time to live
    "11"  # protocol: UDP
    "b861"  # header checksum
    "c0a80001"  # source 192.168.0.1
    "c0a800c7"  # destination 192.168.0.199
) + bytes(range(95))
PACKET = Packet(
    source=IPv4Address("192.168.0.1"),
    destination=IPv4Address("192.168.0.199"),
    protocol=17,
    payload=bytes(range(95)),
    dont_fragment=True,
    header_checksum=0xB861,
)

ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
PACKETS = st.builds(
    Packet,
    source=ADDRESSES,
    destination=ADDRESSES,
    protocol=st.integers(0, 255),
    payload=st.binary(max_size=60),
    type_of_service=st.integers(0, 255),
    identification=st.integers(0, 0xFFFF),
    reserved_flag=st.booleans(),
    dont_fragment=st.booleans(),
    more_fragments=st.booleans(),
    fragment_offset=st.integers(0, 0x1FFF).map(lambda units: units * 8),
    time_to_live=st.integers(0, 255),
    options=st.integers(0, 10).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
)


def with_checksum(octets: bytes) -> bytes:
    """The header's checksum by dpkt."""
    length = (octets[0] & 15) * 4
    header = octets[:10] + b"\0\0" + octets[12:length]
    checksum: int = dpkt.in_cksum(header)
    return header[:10] + checksum.to_bytes(2, "big") + octets[12:]


def changed(at: int, value: bytes) -> bytes:
    """The example with some octets changed and the checksum right."""
    return with_checksum(OCTETS[:at] + value + OCTETS[at + len(value) :])


def rule_of(octets: bytes) -> Rule:
    with pytest.raises(Malformed) as raised:
        ipv4.parse(octets)
    return raised.value.rule


# ── parse ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parse_reads_every_field() -> None:
    assert ipv4.parse(OCTETS) == PACKET


def test_flags_and_offset_share_a_word() -> None:
    read = ipv4.parse(changed(6, bytes.fromhex("a0b9")))  # reserved and MF, 185 units of 8
    assert (read.reserved_flag, read.dont_fragment, read.more_fragments) == (True, False, True)
    assert read.fragment_offset == 1480
    assert read.fragment_end == 1480 + 95
    assert read.is_fragment


@pytest.mark.parametrize(
    ("more_fragments", "fragment_offset", "is_fragment"),
    [(False, 0, False), (True, 0, True), (False, 8, True), (True, 8, True)],
)
def test_a_fragment_has_more_behind_it_or_something_before_it(
    more_fragments: bool, fragment_offset: int, is_fragment: bool
) -> None:
    packet = replace(PACKET, more_fragments=more_fragments, fragment_offset=fragment_offset)
    assert packet.is_fragment == is_fragment


def test_what_follows_the_total_length_is_padding() -> None:
    assert ipv4.parse(OCTETS + bytes(20)) == PACKET


def test_options_stand_between_header_and_payload() -> None:
    read = ipv4.parse(with_checksum(b"\x46" + OCTETS[1:20] + b"\x01\x01\x01\x00" + OCTETS[20:111]))
    assert (read.options, read.header_length, read.payload) == (b"\x01\x01\x01\x00", 24, OCTETS[20:111])


@pytest.mark.parametrize("length", range(20))
def test_every_truncation_of_the_header_is_refused(length: int) -> None:
    assert rule_of(OCTETS[:length]) is rules.S9_TRUNCATED


@pytest.mark.parametrize("length", range(20, 115))
def test_every_truncation_of_the_payload_is_refused(length: int) -> None:
    assert rule_of(OCTETS[:length]) is rules.S9_TOTAL_LENGTH_LONG


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (changed(0, b"\x65"), rules.S9_VERSION),
        (changed(0, b"\x05"), rules.S9_VERSION),
        (b"\x44" + OCTETS[1:], rules.S9_HEADER_LENGTH),
        (b"\x40" + OCTETS[1:], rules.S9_HEADER_LENGTH),
        (changed(2, (19).to_bytes(2, "big")), rules.S9_TOTAL_LENGTH_SHORT),
        (changed(0, b"\x46\x00\x00\x17"), rules.S9_TOTAL_LENGTH_SHORT),
        (changed(2, (116).to_bytes(2, "big")), rules.S9_TOTAL_LENGTH_LONG),
        (OCTETS[:10] + b"\xb8\x62" + OCTETS[12:], rules.S9_CHECKSUM),
        (OCTETS[:10] + b"\x00\x00" + OCTETS[12:], rules.S9_CHECKSUM),
    ],
)
def test_each_condition_of_rfc_1812_5_2_2_has_its_rule(octets: bytes, rule: Rule) -> None:
    assert rule_of(octets) is rule


@given(st.integers(0, 159))
def test_one_flipped_bit_of_the_header_is_refused(bit: int) -> None:
    octets = bytearray(OCTETS)
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Malformed):
        ipv4.parse(bytes(octets))


# ── build ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_build_computes_the_checksum_where_it_is_not_given() -> None:
    assert ipv4.build(replace(PACKET, header_checksum=None)) == OCTETS


def test_build_keeps_a_received_checksum_in_its_other_form() -> None:
    # 0xffff and 0x0000 are both right where the rest adds up to 0xffff; only one of them was received.
    plain = replace(PACKET, identification=0xB861, header_checksum=None)
    assert ipv4.build(plain)[10:12] == b"\x00\x00"
    received = ipv4.build(plain)[:10] + b"\xff\xff" + ipv4.build(plain)[12:]
    assert ipv4.build(ipv4.parse(received)) == received


@given(PACKETS)
def test_parse_undoes_build_and_build_undoes_parse(packet: Packet) -> None:
    octets = ipv4.build(packet)
    read = ipv4.parse(octets)
    assert replace(read, header_checksum=None) == packet
    assert ipv4.build(read) == octets


@given(PACKETS)
def test_dpkt_reads_what_is_built(packet: Packet) -> None:
    octets = ipv4.build(packet)
    read = dpkt.ip.IP.__new__(dpkt.ip.IP)
    dpkt.Packet.unpack(read, octets)
    assert (read.v, read.hl * 4, read.len) == (4, packet.header_length, len(octets))
    assert (read.tos, read.id, read.ttl, read.p) == (
        packet.type_of_service,
        packet.identification,
        packet.time_to_live,
        packet.protocol,
    )
    assert (read.src, read.dst) == (packet.source.packed, packet.destination.packed)
    assert (read.rf, read.df, read.mf) == (packet.reserved_flag, packet.dont_fragment, packet.more_fragments)
    assert read._flags_offset & 0x1FFF == packet.fragment_offset // 8
    assert with_checksum(octets) == octets


# ── time to live ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(PACKETS.filter(lambda packet: packet.time_to_live > 1), st.booleans())
def test_a_decremented_packet_differs_in_time_to_live_and_checksum_only(packet: Packet, is_other_zero: bool) -> None:
    received = ipv4.parse(ipv4.build(packet))
    if received.header_checksum == 0 and is_other_zero:
        received = replace(received, header_checksum=0xFFFF)
    sent = ipv4.decremented(received)
    anew = ipv4.build(replace(packet, time_to_live=packet.time_to_live - 1))
    assert ipv4.build(sent) == anew


def test_the_corner_of_rfc_1624_does_not_become_ffff() -> None:
    # The word of time to live and protocol falls by 0x0100: from a checksum of 0xfeff to 0x0000 in one's complement.
    received = ipv4.parse(with_checksum(ipv4.build(replace(PACKET, identification=0xB961, header_checksum=None))))
    assert received.header_checksum == 0xFEFF
    assert ipv4.decremented(received).header_checksum == 0x0000
