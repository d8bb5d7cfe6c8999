"""ICMP: echo, what an error quotes, about what there is none, and how many there are."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import Limits, Note, Rule, rules
from glassgate.reference import icmp, ipv4
from glassgate.reference.addresses import Attached
from glassgate.reference.icmp import Error, Message, TokenBucket
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import Malformed

# Words: 0800 + 0001 + 0002 + 6869 = 706c; complement 8f93.
OCTETS = bytes.fromhex(
    "08"  # type: echo request
    "00"  # code
    "8f93"  # checksum
    "0001"  # identifier
    "0002"  # sequence number
    "6869"  # data
)
ECHO = Message(icmp.ECHO_REQUEST, 0, bytes.fromhex("00010002"), b"hi")
PACKET = Packet(IPv4Address("10.38.2.5"), IPv4Address("8.8.8.8"), 17, bytes(600), time_to_live=1, header_checksum=1)
NETWORKS = (Attached(IPv4Interface("10.38.2.1/24")), Attached(IPv4Interface("10.8.0.2/24")))

MESSAGES = st.builds(
    Message, st.integers(0, 255), st.integers(0, 255), st.binary(min_size=4, max_size=4), st.binary(max_size=60)
)

# ── parse and build ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_parse_reads_the_fields_in_order() -> None:
    assert icmp.parse(OCTETS) == ECHO


def test_build_computes_the_checksum() -> None:
    assert icmp.build(ECHO) == OCTETS


@given(MESSAGES)
def test_parse_undoes_build(message: Message) -> None:
    assert icmp.parse(icmp.build(message)) == message


@given(MESSAGES)
def test_dpkt_reads_what_is_built_and_finds_it_good(message: Message) -> None:
    octets = icmp.build(message)
    read = dpkt.icmp.ICMP.__new__(dpkt.icmp.ICMP)
    dpkt.Packet.unpack(read, octets)
    assert (read.type, read.code, read.data) == (message.type, message.code, message.rest + message.data)
    assert dpkt.in_cksum(octets) == 0


@pytest.mark.parametrize("length", range(8))
def test_every_truncation_of_the_header_is_refused(length: int) -> None:
    with pytest.raises(Malformed) as raised:
        icmp.parse(OCTETS[:length])
    assert raised.value.rule is rules.L1_TRUNCATED


def test_an_echo_request_for_another_sequence_number_does_not_add_up() -> None:
    with pytest.raises(Malformed) as raised:
        icmp.parse(OCTETS[:7] + b"\3" + OCTETS[8:])
    assert raised.value.rule is rules.L1_CHECKSUM
    assert raised.value.detail == {"checksum": 0x8F93}


@given(st.integers(0, 79))
def test_one_flipped_bit_is_a_bad_checksum(bit: int) -> None:
    octets = bytearray(OCTETS)
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Malformed) as raised:
        icmp.parse(bytes(octets))
    assert raised.value.rule is rules.L1_CHECKSUM


# ── echo ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_echo_request_returns_as_a_reply() -> None:
    assert icmp.receive(OCTETS, has_echo_service=True) == replace(ECHO, type=icmp.ECHO_REPLY)


def test_without_the_service_there_is_silence() -> None:
    outcome = icmp.receive(OCTETS, has_echo_service=False)
    assert isinstance(outcome, Note)
    assert outcome.rule is rules.L1_DISABLED


@pytest.mark.parametrize("type_", [0, 3, 4, 5, 11, 12, 13, 15, 17, 255])
def test_other_types_need_no_answer(type_: int) -> None:
    outcome = icmp.receive(icmp.build(replace(ECHO, type=type_)), has_echo_service=True)
    assert isinstance(outcome, Note)
    assert outcome.rule is rules.L4_ICMP_NO_ANSWER


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_quotes_the_header_as_received_and_fits_576_octets() -> None:
    message = icmp.error_message(icmp.TIME_TO_LIVE_EXCEEDED, PACKET)
    assert (message.type, message.code, message.rest) == (11, 0, bytes(4))
    assert message.data == ipv4.build(PACKET)[:548]
    assert message.data[8] == 1  # the time to live that it came with
    assert message.data[10:12] == b"\x00\x01"  # the checksum that it came with


def test_a_short_packet_is_quoted_whole() -> None:
    short = replace(PACKET, payload=b"four")
    assert icmp.error_message(icmp.HOST_UNREACHABLE, short).data == ipv4.build(short)


def test_next_hop_mtu_is_the_lower_half_of_the_second_word() -> None:
    assert icmp.fragmentation_needed(1477) == Error(3, 4, bytes.fromhex("000005c5"))


def test_the_pointer_is_the_first_octet_of_the_second_word() -> None:
    assert icmp.parameter_problem(21) == Error(12, 0, bytes.fromhex("15000000"))
    assert str(icmp.parameter_problem(21)) == "12/0"


@pytest.mark.parametrize(
    ("about", "rule"),
    [
        (PACKET, None),
        (replace(PACKET, more_fragments=True), None),
        (replace(PACKET, fragment_offset=8), rules.S20_NOT_ABOUT_LATER_FRAGMENT),
        (replace(PACKET, protocol=1, payload=OCTETS), None),
        (replace(PACKET, protocol=1, payload=b""), None),
        (replace(PACKET, protocol=17, payload=b"\x03" + bytes(7)), None),
        *[
            (replace(PACKET, protocol=1, payload=bytes([type_]) + bytes(7)), rules.S20_NOT_ABOUT_ERROR)
            for type_ in (3, 4, 5, 11, 12)
        ],
        (replace(PACKET, destination=IPv4Address("224.0.0.251")), rules.S20_NOT_ABOUT_GROUP),
        (replace(PACKET, destination=IPv4Address("255.255.255.255")), rules.S20_NOT_ABOUT_GROUP),
        (replace(PACKET, destination=IPv4Address("10.38.2.255")), rules.S20_NOT_ABOUT_GROUP),
        (replace(PACKET, source=IPv4Address("0.0.0.0")), rules.S20_NOT_TO_SOURCE),
        (replace(PACKET, source=IPv4Address("10.8.0.255")), rules.S20_NOT_TO_SOURCE),
    ],
)
def test_about_some_packets_there_is_no_error(about: Packet, rule: Rule | None) -> None:
    assert icmp.refuse_error(about, NETWORKS) is rule


# ── the token bucket ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    bucket = TokenBucket(Limits(icmp_burst=3, icmp_rate=20))
    assert [bucket.take(3.0) for _ in range(5)] == [True, True, True, False, False]
    assert bucket.take(3.05)  # a twentieth of a second, which is no binary fraction
    assert not bucket.take(3.05)
    assert not bucket.take(3.09)
    assert bucket.take(3.1)


def test_an_idle_bucket_fills_up_to_its_burst_and_no_further() -> None:
    bucket = TokenBucket(Limits(icmp_burst=2, icmp_rate=20))
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(2000.0) for _ in range(3)] == [True, True, False]
