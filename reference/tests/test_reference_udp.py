"""UDP: datagrams read with their pseudo header, the echo service, and who gets no answer."""

from __future__ import annotations

from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import Note, Rule, rules
from glassgate.reference import udp
from glassgate.reference.notes import Malformed
from glassgate.reference.udp import ClosedPort, Datagram

HOST, GATEWAY = IPv4Address("10.38.2.5"), IPv4Address("10.38.2.1")
# Words: pseudo header 0a26 + 0205 + 0a26 + 0201 + 0011 + 000a = 186d; datagram 3039 + 0007 + 000a + 6869 = 98b3;
# together b120, complement 4edf.
DATAGRAM = Datagram(12345, 7, b"hi")

PORTS = st.integers(0, 0xFFFF)
DATAGRAMS = st.builds(Datagram, PORTS, PORTS, st.binary(max_size=60))


def sums_to_zero(octets: bytes, source: IPv4Address, destination: IPv4Address) -> bool:
    """Whether dpkt finds the datagram's checksum good."""
    pseudo_header = source.packed + destination.packed + b"\x00\x11" + octets[4:6]
    return int(dpkt.in_cksum(pseudo_header + octets)) == 0


def octets_of(source_port: int, destination_port: int, length: int, checksum: int, payload: bytes) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in (source_port, destination_port, length, checksum)) + payload


# ── parse and build ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_fields_stand_in_their_order() -> None:
    assert udp.build(DATAGRAM, HOST, GATEWAY) == bytes.fromhex(
        "3039"  # source port
        "0007"  # destination port
        "000a"  # length
        "4edf"  # checksum
        "6869"  # payload
    )


@given(DATAGRAMS)
def test_parse_undoes_build(datagram: Datagram) -> None:
    assert udp.parse(udp.build(datagram, HOST, GATEWAY), HOST, GATEWAY) == datagram


@given(DATAGRAMS)
def test_dpkt_finds_every_built_datagram_good(datagram: Datagram) -> None:
    octets = udp.build(datagram, HOST, GATEWAY)
    assert sums_to_zero(octets, HOST, GATEWAY)
    read = dpkt.udp.UDP(octets)
    assert (read.sport, read.dport, read.ulen, read.data) == (
        datagram.source_port,
        datagram.destination_port,
        len(octets),
        datagram.payload,
    )


def test_a_checksum_that_computes_to_zero_is_sent_as_ffff() -> None:
    # The payload is what the words of pseudo header and header lack to 0xffff.
    words = (0x0A26, 0x0205, 0x0A26, 0x0201, 0x0011, 0x000A, 0x3039, 0x0007, 0x000A)
    fill = 0xFFFF - sum(words)
    octets = udp.build(Datagram(12345, 7, fill.to_bytes(2, "big")), HOST, GATEWAY)
    assert octets[6:8] == b"\xff\xff"
    assert udp.parse(octets, HOST, GATEWAY).has_checksum


def test_a_checksum_of_zero_is_none() -> None:
    assert udp.parse(octets_of(12345, 7, 10, 0, b"hi"), HOST, GATEWAY) == Datagram(12345, 7, b"hi", has_checksum=False)


def test_what_follows_the_length_is_ignored() -> None:
    read = udp.parse(octets_of(12345, 7, 9, 0, b"hi"), HOST, GATEWAY)
    assert (read.payload, read.excess) == (b"h", 1)


@pytest.mark.parametrize("length", range(8))
def test_every_truncation_of_the_header_is_refused(length: int) -> None:
    with pytest.raises(Malformed) as raised:
        udp.parse(bytes(length), HOST, GATEWAY)
    assert raised.value.rule is rules.L2_TRUNCATED


@pytest.mark.parametrize("length", [0, 7, 11, 0xFFFF])
def test_a_length_under_the_header_or_over_the_octets_is_refused(length: int) -> None:
    with pytest.raises(Malformed) as raised:
        udp.parse(octets_of(12345, 7, length, 0, b"hi"), HOST, GATEWAY)
    assert raised.value.rule is rules.L2_LENGTH


def test_a_datagram_whose_checksum_is_one_too_much_is_refused() -> None:
    with pytest.raises(Malformed) as raised:
        udp.parse(octets_of(12345, 7, 10, 0x4EE0, b"hi"), HOST, GATEWAY)
    assert raised.value.rule is rules.L2_CHECKSUM
    assert raised.value.detail == {"checksum": 0x4EE0}


@given(DATAGRAMS)
def test_a_datagram_gone_astray_does_not_add_up(datagram: Datagram) -> None:
    with pytest.raises(Malformed) as raised:
        udp.parse(udp.build(datagram, HOST, GATEWAY), HOST, IPv4Address("10.38.2.77"))
    assert raised.value.rule is rules.L2_CHECKSUM


# ── receive ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def receive(datagram: Datagram) -> list[Rule | Datagram | ClosedPort | Note]:
    return list(udp.receive(udp.build(datagram, HOST, GATEWAY), HOST, GATEWAY, (7, 7777)))


def rule_for(datagram: Datagram) -> str:
    (outcome,) = receive(datagram)
    assert isinstance(outcome, Note)
    return str(outcome.rule)


def test_the_echo_service_returns_the_payload_with_the_ports_exchanged() -> None:
    assert receive(DATAGRAM) == [Datagram(7, 12345, b"hi")]
    assert receive(Datagram(12345, 7777, b"")) == [Datagram(7777, 12345, b"")]


def test_a_port_without_service_is_closed() -> None:
    assert receive(Datagram(12345, 8, b"hi")) == [ClosedPort(8)]
    assert receive(Datagram(7, 8, b"hi")) == [ClosedPort(8)]


@pytest.mark.parametrize("port", [7, 19])
def test_services_that_would_answer_for_ever_get_no_answer(port: int) -> None:
    assert rule_for(Datagram(port, 7, b"hi")) == "l2-echo-loop"


@pytest.mark.parametrize(("source_port", "destination_port"), [(0, 7), (12345, 0), (0, 0), (0, 8)])
def test_nothing_from_or_to_port_zero_is_answered(source_port: int, destination_port: int) -> None:
    assert rule_for(Datagram(source_port, destination_port, b"hi")) == "l2-port-zero"


def test_the_path_says_what_was_let_pass() -> None:
    steps = list(udp.receive(octets_of(12345, 7, 9, 0, b"hi"), HOST, GATEWAY, (7,)))
    assert steps == [rules.L2_EXCESS, rules.L2_NO_CHECKSUM, Datagram(7, 12345, b"h")]
