"""The vectors themselves: told apart, cited, fenced, and every expected packet read by a dissector that is not ours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import dpkt
import pytest

from glassgate.conformance.model import (
    Checksum,
    ExpectedAction,
    ExpectedPacket,
    PacketInput,
    Result,
    Vector,
    VectorFile,
    VectorPort,
    load_packaged,
)
from glassgate.contract.rules import RULES

FILES = load_packaged()
VECTORS = [vector for file in FILES for vector in file.vectors]
ETHERNET_HEADER = 14
BAD_ON_PURPOSE = {
    # what is forwarded keeps the transport checksum that it came with
    "fwd-keeps-udp-with-bad-checksum",
    "fwd-back-keeps-bad-udp-checksum",
}


def named(vector_id: str) -> Vector:
    return next(vector for vector in VECTORS if vector.id == vector_id)


def expectations(file: VectorFile) -> Iterator[tuple[Vector, ExpectedPacket]]:
    """Every packet that the file's vectors expect."""
    for vector in file.vectors:
        for outcome in chain.from_iterable(step.outcomes for step in vector.steps):
            yield from ((vector, one) for one in outcome.expect if isinstance(one, ExpectedPacket))


def ip_packets(file: VectorFile) -> Iterator[tuple[Vector, bytes]]:
    """Every IPv4 packet among them, without its frame."""
    for vector, expected in expectations(file):
        if expected.port is VectorPort.TUNNEL:
            yield vector, expected.data
        elif expected.port.carries_frames and expected.data[12:14] == b"\x08\x00":
            yield vector, expected.data[ETHERNET_HEADER:]


# ── the collection ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_at_least_400_vectors() -> None:
    assert len(VECTORS) >= 400


def test_ids_are_slugs_and_stand_once() -> None:
    assert [name for name, times in Counter(vector.id for vector in VECTORS).items() if times > 1] == []
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", vector.id) for vector in VECTORS)


def test_every_rule_cited_exists_and_each_vector_cites_one_and_a_standard() -> None:
    for vector in VECTORS:
        assert vector.rules, vector.id
        assert all(slug in RULES for slug in vector.rules), vector.id
        assert re.search(r"RFC \d+|seed|PROTOCOL \d|OpenVPN|IEEE|CERT|CVE", vector.source), vector.id


def test_no_two_vectors_tell_the_same_story() -> None:
    seen: dict[str, str] = {}
    for vector in VECTORS:
        story = repr((sorted(map(repr, vector.config.items())), [(step.at, step.input) for step in vector.steps]))
        assert story not in seen, f"{vector.id} is {seen.get(story)} again"
        seen[story] = vector.id


def test_titles_are_told_apart() -> None:
    again = [title for title, times in Counter(vector.title for vector in VECTORS).items() if times > 1]
    assert again == []


def test_an_invalid_vector_ends_with_a_fence() -> None:
    """The last step sends an ordinary packet, and something comes of it; where nothing starts there is no fence."""
    for vector in VECTORS:
        last = vector.steps[-1]
        refused = any(isinstance(one, ExpectedAction) and one.do == "refuse" for one in last.outcomes[0].expect)
        if vector.result is Result.INVALID and not refused:
            assert isinstance(last.input, PacketInput), vector.id
            assert all(outcome.expect for outcome in last.outcomes), vector.id


def test_every_flag_in_the_notes_is_used() -> None:
    for file in FILES:
        assert set(file.notes) == set(chain.from_iterable(vector.flags for vector in file.vectors)), file.name


# ── an independent dissector ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.category)
def test_dpkt_reads_every_expected_packet_and_finds_its_checksums_good(file: VectorFile) -> None:
    for vector, packet in ip_packets(file):
        read = dpkt.ip.IP(packet)
        assert read.len == len(packet), vector.id
        assert dpkt.in_cksum(packet[: read.hl * 4]) == 0, vector.id
        assert read.ttl > 0, vector.id
        if not (read.offset or read.mf) and vector.id not in BAD_ON_PURPOSE:
            assert transport_checksum_is_good(packet, read), vector.id


def transport_checksum_is_good(packet: bytes, read: dpkt.ip.IP) -> bool:
    payload = packet[read.hl * 4 :]
    if len(payload) < 8 or read.p not in (dpkt.ip.IP_PROTO_ICMP, dpkt.ip.IP_PROTO_UDP, dpkt.ip.IP_PROTO_TCP):
        return True
    if read.p == dpkt.ip.IP_PROTO_ICMP:
        return bool(dpkt.in_cksum(payload) == 0)
    if read.p == dpkt.ip.IP_PROTO_UDP and payload[6:8] == b"\0\0":
        return True
    pseudo = read.src + read.dst + bytes([0, read.p]) + len(payload).to_bytes(2, "big")
    return bool(dpkt.in_cksum(pseudo + payload) == 0)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.category)
def test_every_expected_frame_comes_from_the_gateway_to_one_station_or_asks_all(file: VectorFile) -> None:
    for vector, expected in expectations(file):
        if expected.port.carries_frames:
            frame = dpkt.ethernet.Ethernet(expected.data)
            assert frame.src.hex(":") == vector.config[expected.port.value]["mac"], vector.id
            if frame.type == dpkt.ethernet.ETH_TYPE_ARP:
                assert len(expected.data) == 42, vector.id
                assert frame.data.sha == frame.src, vector.id
                assert frame.data.op == dpkt.arp.ARP_OP_REQUEST or not frame.dst[0] & 1, vector.id
            else:
                assert frame.type == dpkt.ethernet.ETH_TYPE_IP, vector.id
                assert not frame.dst[0] & 1, vector.id


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.category)
def test_no_expected_packet_exceeds_the_mtu_of_its_port(file: VectorFile) -> None:
    for vector, expected in expectations(file):
        if expected.port is VectorPort.TUNNEL:
            assert len(expected.data) <= vector.config["tunnel"]["session"]["mtu"], vector.id
        elif expected.port is VectorPort.INTERNAL:
            assert len(expected.data) <= ETHERNET_HEADER + vector.config["internal"]["mtu"], vector.id


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.category)
def test_an_expected_icmp_error_is_never_about_an_error_and_never_over_576_octets(file: VectorFile) -> None:
    for vector, packet in ip_packets(file):
        read = dpkt.ip.IP(packet)
        is_ours = read.p == dpkt.ip.IP_PROTO_ICMP and read.ttl == 64 and not read.offset
        if not is_ours or packet[read.hl * 4] not in (3, 11, 12):
            continue
        quoted = packet[read.hl * 4 + 8 :]
        inner = dpkt.ip.IP(quoted)
        assert len(packet) <= 576, vector.id
        assert read.tos == 0xC0, vector.id
        assert not inner.offset, vector.id
        assert inner.p != dpkt.ip.IP_PROTO_ICMP or quoted[inner.hl * 4] not in (3, 4, 5, 11, 12), vector.id


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.category)
def test_where_the_identification_is_free_the_header_checksum_is_recomputed(file: VectorFile) -> None:
    for vector, expected in expectations(file):
        start = ETHERNET_HEADER if expected.port.carries_frames else 0
        if any((one.start, one.end) == (start + 4, start + 6) for one in expected.free):
            assert Checksum(start + 10, start + 12, "ip") in expected.free, vector.id


# ── famous examples, written by hand ──────────────────────────────────────────────────────────────────────────────────


def expected_hex(vector_id: str, step: int) -> list[str]:
    return [
        one.data.hex() for one in named(vector_id).steps[step].outcomes[0].expect if isinstance(one, ExpectedPacket)
    ]


def test_1500_octets_into_an_mtu_of_1477() -> None:
    first, second = (bytes.fromhex(packet) for packet in expected_hex("frag-1500-into-1477", 2))
    # total length 1476 = 05c4, MF and offset 0; total length 44 = 002c, offset 182 = 00b6
    assert first[:12].hex() == "4500" + "05c4" + "1234" + "2000" + "3ffd" + f"{sum_of(first):04x}"
    assert second[:12].hex() == "4500" + "002c" + "1234" + "00b6" + "3ffd" + f"{sum_of(second):04x}"
    assert (len(first), len(second)) == (1456 + 20, 24 + 20)


def sum_of(packet: bytes) -> int:
    return int(dpkt.in_cksum(packet[:10] + b"\0\0" + packet[12:20]))


def test_the_announcement_at_the_start() -> None:
    assert expected_hex("local-echo", 0) == [
        "ffffffffffff" + "00f00df00d00" + "0806"
        "0001" + "0800" + "06" + "04" + "0001"
        "00f00df00d00" + "0a260201" + "000000000000" + "0a260201"
    ]  # fmt: skip


def test_the_reply_to_an_arp_request() -> None:
    assert expected_hex("arp-request", 2) == [
        "02000a260205" + "00f00df00d00" + "0806"
        "0001" + "0800" + "06" + "04" + "0002"
        "00f00df00d00" + "0a260201" + "02000a260205" + "0a260205"
    ]  # fmt: skip


def test_time_exceeded_about_a_packet_with_a_time_to_live_of_1() -> None:
    (frame,) = expected_hex("fwd-ttl-1", 3)
    quoted = "450000251234" + "0000" + "0111" + "712f" + "0a260205" + "c6336407"  # the header as it arrived
    assert frame[: 2 * 14] == "02000a260205" + "00f00df00d00" + "0800"
    assert frame[2 * 14 :].startswith("45c0")
    assert frame[2 * 23 : 2 * 24] == "01"  # ICMP
    assert frame[2 * 26 : 2 * 34] == "0a260201" + "0a260205"
    assert frame[2 * 34 : 2 * 36] == "0b00"
    assert frame[2 * 38 : 2 * 42] == "00000000"
    assert dpkt.in_cksum(bytes.fromhex(quoted)) == 0
    assert frame[2 * 42 :].startswith(quoted)


def test_a_reset_to_a_syn_at_the_end_of_sequence_space() -> None:
    (frame,) = expected_hex("local-tcp-closed-sequence-wraps", 3)
    segment = frame[2 * 34 :]
    # ports 80 and 5000, sequence number 0, acknowledgement 0, offset 5, RST and ACK
    assert segment[: 2 * 14] == "0050" + "1388" + "00000000" + "00000000" + "50" + "14"


def test_a_record_of_20_octets_of_packet_is_44_long() -> None:
    (stream,) = expected_hex("frame-outgoing", 2)
    assert stream.startswith("002c" + "48000000" + "00000001")
    assert len(stream) == 2 * (2 + 44)
