"""The maximum segment size of passing SYNs: lowered, never raised, and the checksum stays right."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.reference import mss
from glassgate.reference.ipv4 import Packet

SOURCE, DESTINATION = IPv4Address("10.38.2.5"), IPv4Address("8.8.8.8")


def syn(options: bytes, control: int = 0x02, offset: int | None = None) -> Packet:
    """A TCP packet with some options and dpkt's checksum."""
    words = 5 + len(options) // 4 if offset is None else offset
    segment = bytes.fromhex("c000 01bb 00000001 00000000") + bytes([words << 4, control])
    segment += bytes.fromhex("ffff 0000 0000") + options
    pseudo_header = SOURCE.packed + DESTINATION.packed + b"\x00\x06" + len(segment).to_bytes(2, "big")
    checksum = dpkt.in_cksum(pseudo_header + segment)
    segment = segment[:16] + checksum.to_bytes(2, "big") + segment[18:]
    return Packet(SOURCE, DESTINATION, 6, segment)


def is_good(packet: Packet) -> bool:
    pseudo_header = packet.source.packed + packet.destination.packed + b"\x00\x06"
    pseudo_header += len(packet.payload).to_bytes(2, "big")
    return int(dpkt.in_cksum(pseudo_header + packet.payload)) == 0


@pytest.mark.parametrize("control", [0x02, 0x12, 0xC2])
def test_a_syn_that_announces_more_is_lowered(control: int) -> None:
    clamped = mss.clamp(syn(bytes.fromhex("020405b4"), control), 1386)
    assert clamped.payload[20:24] == bytes.fromhex("0204056a")
    assert is_good(clamped)


def test_an_option_at_an_odd_octet_is_lowered_too() -> None:
    clamped = mss.clamp(syn(bytes.fromhex("01 020405b4 010101")), 1386)
    assert clamped.payload[20:25] == bytes.fromhex("010204056a")
    assert is_good(clamped)


@given(st.integers(0, 0xFFFF), st.integers(1, 0xFFFF), st.booleans())
def test_the_checksum_stays_right(announced: int, largest: int, is_odd: bool) -> None:
    option = b"\x02\x04" + announced.to_bytes(2, "big")
    packet = syn(b"\x01" + option + b"\x01\x01\x00" if is_odd else option)
    clamped = mss.clamp(packet, largest)
    assert is_good(clamped)
    assert (clamped == packet) == (announced <= largest)


@pytest.mark.parametrize(
    "packet",
    [
        syn(bytes.fromhex("0204056a")),  # announces just that
        syn(bytes.fromhex("02040218")),  # announces less
        syn(bytes.fromhex("020405b4"), control=0x10),  # no SYN
        syn(b""),  # announces nothing
        syn(bytes.fromhex("00 020405b4 000000")),  # behind the end of options
        syn(bytes.fromhex("020005b4")),  # a length of 0
        syn(bytes.fromhex("01010102")),  # no length
        syn(bytes.fromhex("010203b4")),  # another length
        syn(bytes.fromhex("02 08 05b4")),  # beyond the options
        syn(bytes.fromhex("020405b4"), offset=5),  # beyond the header
        replace(syn(bytes.fromhex("020405b4")), protocol=17),
        replace(syn(bytes.fromhex("020405b4")), fragment_offset=8),
        replace(syn(b""), payload=syn(b"").payload[:19]),
    ],
)
def test_everything_else_is_left_as_it_is(packet: Packet) -> None:
    assert mss.clamp(packet, 1386) is packet


def test_a_data_offset_beyond_the_end_is_read_as_far_as_there_are_octets() -> None:
    assert mss.clamp(syn(bytes.fromhex("020405b4"), offset=15), 1386).payload[22:24] == bytes.fromhex("056a")
