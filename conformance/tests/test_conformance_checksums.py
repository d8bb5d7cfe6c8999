"""Checksums and lengths as the judge computes them, against RFC 1071 word by word and against dpkt."""

from __future__ import annotations

import struct

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glassgate.conformance.checksums import NoSuchField, expected_checksum, expected_length, internet_checksum

HOST, FAR = bytes([10, 38, 2, 5]), bytes([8, 8, 8, 8])


def word_by_word(octets: bytes) -> int:
    """RFC 1071 1, as it is written there."""
    total = 0
    for (word,) in struct.iter_unpack("!H", octets + b"\0" * (len(octets) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def packet(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    """An IPv4 packet by dpkt, which fills in its own checksums."""
    words, size = 5 + len(options) // 4, 20 + len(options + payload)
    return bytes(dpkt.ip.IP(src=HOST, dst=FAR, p=protocol, hl=words, opts=options, data=payload, len=size))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\0\0")
@example(b"\xff\xff")
@example(b"\xff\xff\xff\xff")
@example(b"\x80\x00\x7f\xff")
def test_the_sum_by_remainder_is_the_sum_word_by_word(octets: bytes) -> None:
    assert internet_checksum(octets) == word_by_word(octets)


@given(st.binary(max_size=60), st.integers(0, 10))
def test_each_checksum_is_the_one_that_dpkt_computes(data: bytes, words: int) -> None:
    options = b"\x01" * 4 * words
    ip = packet(1, bytes(dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=1, seq=2, data=data))), options)
    start = 20 + len(options)
    assert expected_checksum(ip, 0, 10, "ip") == int.from_bytes(ip[10:12], "big")
    assert expected_checksum(ip, 0, start + 2, "icmp") == int.from_bytes(ip[start + 2 : start + 4], "big")
    udp = bytes(dpkt.ip.IP(src=HOST, dst=FAR, p=17, data=dpkt.udp.UDP(sport=1, dport=2, ulen=8 + len(data), data=data)))
    assert expected_checksum(udp, 0, 26, "udp") == int.from_bytes(udp[26:28], "big")
    tcp = bytes(dpkt.ip.IP(src=HOST, dst=FAR, p=6, data=dpkt.tcp.TCP(sport=1, dport=2, data=data)))
    assert expected_checksum(tcp, 0, 36, "tcp") == int.from_bytes(tcp[36:38], "big")


def test_in_a_frame_the_packet_begins_after_fourteen_octets() -> None:
    ip = packet(1, b"\x08\0\0\0\0\1\0\2")
    assert expected_checksum(bytes(14) + ip, 14, 24, "ip") == int.from_bytes(ip[10:12], "big")
    assert expected_length(bytes(14) + ip, 14, 16) == 28


def test_a_udp_checksum_that_computes_to_zero_is_all_ones() -> None:
    # 0x0a26 + 0x0205 + 0x0808 + 0x0808 + 17 + 2 * 10 + ports 1, 2 and the data make 0xffff with this data (RFC 768).
    fixed = 0x0A26 + 0x0205 + 0x0808 + 0x0808 + 17 + 10 + 10 + 1 + 2
    udp = struct.pack("!HHHHH", 1, 2, 10, 0, 0xFFFF - fixed)
    assert expected_checksum(packet(17, udp), 0, 26, "udp") == 0xFFFF


def test_octets_after_the_udp_length_and_after_the_total_length_do_not_count() -> None:
    udp = struct.pack("!HHHH", 1, 2, 10, 0) + b"ab"
    plain = expected_checksum(packet(17, udp), 0, 26, "udp")
    assert expected_checksum(packet(17, udp + b"excess"), 0, 26, "udp") == plain
    assert expected_checksum(packet(17, udp) + b"padding", 0, 26, "udp") == plain


def test_lengths_are_counted_over_what_came() -> None:
    ip = packet(17, struct.pack("!HHHH", 1, 2, 0, 0) + b"abc")
    assert expected_length(ip, 0, 2) == 31
    assert expected_length(ip, 0, 24) == 11


@pytest.mark.parametrize(
    ("octets", "at", "of"),
    [
        (b"", 10, "ip"),
        (b"\x60" + bytes(39), 10, "ip"),
        (packet(1, bytes(8)), 12, "ip"),
        (packet(1, bytes(8)), 24, "icmp"),
        (packet(1, bytes(8)), 26, "udp"),
        (packet(17, bytes(7)), 26, "udp"),
        (packet(6, bytes(10)), 36, "tcp"),
        (bytes(19), 22, "icmp"),
        (b"\x42" + bytes(39), 10, "icmp"),
    ],
)
def test_where_there_is_no_such_checksum_it_says_so(octets: bytes, at: int, of: str) -> None:
    with pytest.raises(NoSuchField):
        expected_checksum(octets, 0, at, of)  # type: ignore[arg-type]


def test_where_there_is_no_length_it_says_so() -> None:
    with pytest.raises(NoSuchField):
        expected_length(packet(1, bytes(8)), 0, 24)
