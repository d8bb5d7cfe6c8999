"""Ethernet: which frames are read, and by which rule the others are not."""

from __future__ import annotations

from dataclasses import replace

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import BROADCAST, MacAddress, Note, rules
from glassgate.reference import ethernet
from glassgate.reference.ethernet import Frame
from glassgate.reference.notes import Malformed

GATEWAY = MacAddress.parse("00:f0:0d:f0:0d:00")
HOST = MacAddress.parse("02:00:0a:26:02:05")
OCTETS = bytes.fromhex(
    "00f00df00d00"  # destination
    "02000a260205"  # source
    "0800"  # type
    "6869"  # payload
)
FRAME = Frame(GATEWAY, HOST, ethernet.TYPE_IPV4, b"hi")

MACS = st.binary(min_size=6, max_size=6).map(MacAddress)
FRAMES = st.builds(Frame, MACS, MACS, st.integers(0, 0xFFFF), st.binary(max_size=60))

# ── parse and build ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_parse_reads_the_fields_in_order() -> None:
    assert ethernet.parse(OCTETS) == FRAME


def test_build_writes_no_padding() -> None:
    assert ethernet.build(FRAME) == OCTETS


@given(FRAMES)
def test_parse_undoes_build(frame: Frame) -> None:
    assert ethernet.parse(ethernet.build(frame)) == frame


@given(FRAMES)
def test_dpkt_reads_what_is_built(frame: Frame) -> None:
    read = dpkt.ethernet.Ethernet.__new__(dpkt.ethernet.Ethernet)
    dpkt.Packet.unpack(read, ethernet.build(frame))
    assert (read.dst, read.src, read.type) == (frame.destination, frame.source, frame.type)


@pytest.mark.parametrize("length", range(14))
def test_every_truncation_of_the_header_is_a_runt(length: int) -> None:
    with pytest.raises(Malformed) as raised:
        ethernet.parse(OCTETS[:length])
    assert raised.value.rule is rules.S5_RUNT
    assert raised.value.detail == {"length": length}


# ── receive ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def rule_for(frame: Frame) -> str:
    """The rule by which a frame is refused, or its type where it is read."""
    outcome = ethernet.receive(ethernet.build(frame), GATEWAY)
    return str(outcome.rule) if isinstance(outcome, Note) else f"{outcome.type:04x}"


def test_a_frame_to_us_is_read() -> None:
    assert ethernet.receive(OCTETS, GATEWAY) == FRAME


def test_arp_is_read_from_broadcast_frames_and_ipv4_is_not() -> None:
    assert rule_for(replace(FRAME, destination=BROADCAST, type=ethernet.TYPE_ARP)) == "0806"
    assert rule_for(replace(FRAME, destination=BROADCAST)) == "s6-ip-in-group-frame"


def test_ipv4_in_a_multicast_frame_is_refused_too() -> None:
    assert rule_for(replace(FRAME, destination=MacAddress.parse("01:00:5e:00:00:fb"))) == "s6-ip-in-group-frame"


def test_a_frame_to_another_station_has_no_effect() -> None:
    assert (
        rule_for(replace(FRAME, destination=HOST, source=MacAddress(bytes([2, 0, 0, 0, 0, 9])))) == "s5-other-station"
    )


def test_a_source_is_neither_a_group_nor_us() -> None:
    assert rule_for(replace(FRAME, source=BROADCAST)) == "s5-source-group"
    assert rule_for(replace(FRAME, source=GATEWAY)) == "s5-source-own"


@pytest.mark.parametrize(
    ("type_", "rule"),
    [
        (0x0000, "s5-length-field"),
        (0x05FF, "s5-length-field"),
        (0x0600, "s5-unknown-type"),
        (0x8100, "s5-vlan"),
        (0x86DD, "s5-unknown-type"),
        (0x0800, "0800"),
        (0x0806, "0806"),
    ],
)
def test_the_type_decides_what_is_read(type_: int, rule: str) -> None:
    assert rule_for(replace(FRAME, type=type_)) == rule
