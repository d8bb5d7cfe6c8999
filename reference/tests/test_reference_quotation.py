"""Quotations in ICMP errors: whose packet, which sequence number, and which size would have fitted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.reference import ipv4
from glassgate.reference.icmp import Message
from glassgate.reference.quotation import Quote, is_too_big, next_hop_mtu, quoted
from glassgate.reference.tcp.connection import Endpoint
from glassgate.reference.tcp.sequence import SequenceNumber

OCTETS = bytes.fromhex(
    "4500"  # version 4, header length 5, type of service 0
    "05dc"  # total length 1500
    "00014000"  # identification 1, don't fragment
    "40060000"  # time to live 64, TCP, checksum left out
    "c0a80105"  # from 192.168.1.5
    "01020304"  # to 1.2.3.4
    "c000"  # source port 49152
    "04aa"  # destination port 1194
    "000003e9"  # sequence number 1001
)
QUOTE = Quote(
    protocol=6,
    source=Endpoint(IPv4Address("192.168.1.5"), 49152),
    destination=Endpoint(IPv4Address("1.2.3.4"), 1194),
    sequence=SequenceNumber(1001),
    total_length=1500,
)


def test_a_header_and_eight_octets_tell_whose_packet_it_was() -> None:
    assert quoted(OCTETS) == QUOTE


def test_the_packet_s_options_are_stepped_over() -> None:
    assert quoted(b"\x47" + OCTETS[1:20] + bytes(8) + OCTETS[20:]) == QUOTE


@pytest.mark.parametrize("length", range(len(OCTETS)))
def test_less_tells_nothing(length: int) -> None:
    assert quoted(OCTETS[:length]) is None


@pytest.mark.parametrize("first", [0x65, 0x44, 0x05, 0x55])
def test_another_version_or_too_short_a_header_tells_nothing(first: int) -> None:
    assert quoted(bytes([first]) + OCTETS[1:]) is None


def test_a_later_fragment_has_no_ports_to_tell() -> None:
    assert quoted(OCTETS[:6] + b"\x00\x01" + OCTETS[8:]) is None


PORTS, NUMBERS = st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1)


@given(NUMBERS, NUMBERS, PORTS, PORTS, NUMBERS, st.integers(0, 255), st.integers(0, 10), st.binary(max_size=20))
def test_whoever_s_packet_is_quoted_is_found(
    source: int, destination: int, source_port: int, destination_port: int,
    sequence: int, protocol: int, words: int, rest: bytes,
) -> None:  # fmt: skip
    front = source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big") + sequence.to_bytes(4, "big")
    addresses = IPv4Address(source), IPv4Address(destination)
    packet = ipv4.Packet(*addresses, protocol, front + rest, options=bytes(4 * words))
    assert quoted(ipv4.build(packet)) == Quote(
        protocol,
        Endpoint(addresses[0], source_port),
        Endpoint(addresses[1], destination_port),
        SequenceNumber(sequence),
        packet.total_length,
    )


@given(st.binary(max_size=80))
def test_no_octets_raise(octets: bytes) -> None:
    assert quoted(octets) is None or len(octets) >= 28


@pytest.mark.parametrize(("type_", "code", "too_big"), [(3, 4, True), (3, 3, False), (4, 4, False), (11, 0, False)])
def test_only_3_4_says_too_big(type_: int, code: int, too_big: bool) -> None:
    assert is_too_big(Message(type_, code)) is too_big


def test_the_size_that_would_fit_is_the_one_told() -> None:
    assert next_hop_mtu(Message(3, 4, bytes([0, 0, 0x05, 0x14])), QUOTE) == 1300


@pytest.mark.parametrize(
    ("total_length", "next_lower"),  # table 7-1 of RFC 1191
    [
        (65535, 32000),
        (32000, 17914),
        (17914, 8166),
        (8166, 4352),
        (4352, 2002),
        (2002, 1492),
        (1500, 1492),
        (1492, 1006),
        (1006, 508),
        (508, 296),
        (296, 68),
        (68, 68),
    ],
)
def test_where_no_size_is_told_the_next_usual_one_is_tried(total_length: int, next_lower: int) -> None:
    assert next_hop_mtu(Message(3, 4), replace(QUOTE, total_length=total_length)) == next_lower
