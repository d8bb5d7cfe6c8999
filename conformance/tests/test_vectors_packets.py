"""The builders of packets: what they compute against published examples, and that they write what they are told."""

from __future__ import annotations

from dataclasses import replace

import dpkt
import pytest

from glassgate.conformance.authoring.places import FAR_END_SEALS, GATEWAY_SEALS, of_cipher
from glassgate.conformance.model import AnyOctets, Bind, Checksum, Range
from glassgate.conformance.packets import (
    ANY,
    REQUEST,
    SYN,
    Arp,
    Ethernet,
    IPv4,
    bound,
    checksum,
    echo_request,
    framed,
    icmp_error,
    octets,
    raw,
    record_route,
    tcp,
    udp,
    within,
)
from glassgate.contract import Cipher

# PROTOCOL 20.4: key block 00 01 … ff, key id 2, peer id 5, packet id 7, client to server
KNOWN_PLAINTEXT = b"glassgate data channel test"
KNOWN_V2 = {
    Cipher.AES_256_GCM: "4a00000500000007d8f17e42bda2494821ec014b3243ad3a"
    "9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc59fc6099955b42",
    Cipher.AES_128_GCM: "4a0000050000000767c92ec227085ff10e9e4fbec57ec39d"
    "5d8e0b55c55366200a0c7657c3db05056d61a780b4c9552f0520db",
    Cipher.CHACHA20_POLY1305: "4a000005000000074967e6373d6db76387f0d3b2e3a1d293"
    "8379564ae6c1c9c8328ee40f75cb8512da17c044e5463fdd512d24",
}
KNOWN_V1 = {
    Cipher.AES_256_GCM: "32000000079eb4045e1629d2c234ee443c1ac0332f"
    "9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc59fc6099955b42",
    Cipher.AES_128_GCM: "32000000071c46d08b15ac39774ebb532166f24f9a"
    "5d8e0b55c55366200a0c7657c3db05056d61a780b4c9552f0520db",
    Cipher.CHACHA20_POLY1305: "32000000073d97492410f59691a43632289f7faa2e"
    "8379564ae6c1c9c8328ee40f75cb8512da17c044e5463fdd512d24",
}


@pytest.mark.parametrize("cipher", Cipher)
def test_a_record_with_peer_id_is_the_published_one(cipher: Cipher) -> None:
    seal = replace(of_cipher(GATEWAY_SEALS, cipher), key_id=2, peer_id=5)
    assert seal.record(7, KNOWN_PLAINTEXT).hex() == KNOWN_V2[cipher]


@pytest.mark.parametrize("cipher", Cipher)
def test_a_record_without_peer_id_is_the_published_one(cipher: Cipher) -> None:
    seal = replace(of_cipher(GATEWAY_SEALS, cipher), key_id=2, peer_id=None)
    assert seal.record(7, KNOWN_PLAINTEXT).hex() == KNOWN_V1[cipher]


def test_a_spoilt_tag_differs_in_one_bit() -> None:
    good, bad = FAR_END_SEALS.record(1, b"x"), FAR_END_SEALS.record(1, b"x", tag_flip=1)
    assert [at for at in range(len(good)) if good[at] != bad[at]] == [23]


def test_framing_puts_the_length_in_front() -> None:
    assert framed(b"abc", b"") == b"\x00\x03abc\x00\x00"


def test_the_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


def test_the_checksum_counts_a_zero_octet_after_an_odd_last_one() -> None:
    assert checksum(b"\x01\x02\x03") == checksum(b"\x01\x02\x03\x00")


def test_the_checksum_of_zeros_is_all_ones() -> None:
    assert checksum(bytes(10)) == 0xFFFF


def test_an_ipv4_header_written_by_hand() -> None:
    packet = IPv4(source="10.38.2.5", destination="8.8.8.8", payload=raw(17, b"\x01\x02"), identification=0x1C46)
    # 4500 + 0016 + 1c46 + 0000 + 4011 + 0a26 + 0205 + 0808 + 0808 = bda8, its complement 4257
    assert packet.build().data.hex() == "450000161c4600004011" + "4257" + "0a26020508080808" + "0102"


def test_what_is_given_is_written_right_or_wrong() -> None:
    wrong = IPv4(
        source="1.2.3.4",
        destination="5.6.7.8",
        payload=raw(0, b""),
        version=6,
        header_length=4,
        total_length=9,
        header_checksum=0xABCD,
    )
    data = wrong.build().data
    assert (data[0], data[2:4].hex(), data[10:12].hex()) == (0x64, "0009", "abcd")


def test_dpkt_reads_udp_as_it_was_written() -> None:
    packet = IPv4(source="10.38.2.5", destination="10.38.2.1", payload=udp(5000, 7, b"hello"))
    read = dpkt.ip.IP(packet.build().data)
    assert (read.udp.sport, read.udp.dport, bytes(read.udp.data)) == (5000, 7, b"hello")


def test_dpkt_computes_the_same_checksums() -> None:
    for payload in (udp(1, 2, b"odd"), tcp(1, 2, SYN, sequence=7, options=bytes.fromhex("020405b4")), echo_request()):
        packet = IPv4(source="10.38.2.5", destination="10.38.2.1", payload=payload).build().data
        again = dpkt.ip.IP(packet)
        again.sum = 0
        again.data.sum = 0
        assert bytes(again) == packet


def test_a_udp_checksum_that_computes_to_zero_is_all_ones() -> None:
    packet = IPv4(source="10.38.2.5", destination="10.38.2.1", payload=udp(5000, 7, bytes.fromhex("d3f9")))
    assert packet.data().data[6:8] == b"\xff\xff"


def test_an_arp_request_written_by_hand() -> None:
    packet = Arp(
        operation=REQUEST,
        sender_hardware="02:00:0a:26:02:05",
        sender_protocol="10.38.2.5",
        target_protocol="10.38.2.1",
    )
    assert packet.build().data.hex() == "0001080006040001" + "02000a260205" + "0a260205" + "000000000000" + "0a260201"


def test_a_frame_is_padded_only_where_asked() -> None:
    frame = Ethernet(source="02:00:00:00:00:01", destination="02:00:00:00:00:02", type=0x0800, payload=b"x")
    assert frame.build().data.hex() == "020000000002" + "020000000001" + "0800" + "78"
    assert len(frame.but(pad_to=60).build()) == 60


def test_fields_left_open_are_named_and_the_checksum_over_them_is_recomputed() -> None:
    packet = IPv4(source="10.38.2.1", destination="10.38.2.5", payload=raw(1, b""), identification=ANY)
    assert packet.build().free == (AnyOctets(4, 6), Checksum(10, 12, "ip"))


def test_named_fields_move_with_what_stands_before_them() -> None:
    packet = IPv4(source="1.1.1.1", destination="2.2.2.2", payload=raw(1, b""), identification=bound("id", 1))
    assert (octets(bytes(14)) + packet.build()).free == (Bind(18, 20, "id", 1), Checksum(24, 26, "ip"))


def test_a_checksum_that_is_given_stays_although_fields_are_open() -> None:
    packet = IPv4(source="1.1.1.1", destination="2.2.2.2", payload=raw(1, b""), identification=ANY, header_checksum=7)
    assert packet.build().free == (AnyOctets(4, 6),)


def test_open_fields_of_tcp_are_in_the_segment() -> None:
    segment = tcp(7, 5000, SYN, sequence=bound("isn"), acknowledgment=bound("isn", 1), window=within(1, 9))
    whole = IPv4(source="1.1.1.1", destination="2.2.2.2", payload=segment).build()
    assert whole.free == (Bind(24, 28, "isn"), Bind(28, 32, "isn", 1), Range(34, 36, 1, 9), Checksum(36, 38, "tcp"))


def test_a_piece_has_its_octets_offset_and_flag() -> None:
    whole = IPv4(source="1.1.1.1", destination="2.2.2.2", payload=raw(99, bytes(range(40))), fragment_offset=10)
    piece = whole.piece(16, 32, more=True)
    assert (piece.data().data, piece.fragment_offset, piece.more_fragments) == (bytes(range(16, 32)), 12, True)


def test_the_whole_error_has_576_octets_at_most() -> None:
    about = IPv4(source="1.1.1.1", destination="2.2.2.2", payload=raw(99, bytes(1400)))
    error = IPv4(source="2.2.2.2", destination="1.1.1.1", payload=icmp_error(11, 0, about)).build().data
    assert len(error) == 576
    assert error[28:] == about.build().data[:548]


def test_record_route_has_room_for_addresses() -> None:
    assert record_route("10.0.0.1", room=2).hex() == "070b08" + "0a000001" + "00000000"
