"""TCP to closed ports: resets with the fields of RFC 9293 3.10.7.1; and MSS clamping."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.optimized.tcp import clamp_maximum_segment_size

HOST = "10.38.2.5"
US = "10.38.2.1"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@pytest.fixture
def world(make):
    return make.World(learned=[HOST])


@pytest.mark.parametrize("flags", [SYN, SYN | FIN, FIN, PSH, 0])
@pytest.mark.parametrize("length", [0, 5])
def test_a_segment_without_acknowledgement_is_reset_with_all_octets_acknowledged(make, world, flags, length):
    world.inside(make.tcp(HOST, US, (4000, 80), flags, bytes(length), sequence=0xFFFFFFFE))
    expected = (0xFFFFFFFE + length + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFFFFFF
    (reset,) = world.packets
    fields = struct.unpack(">HHIIBBHHH", reset[20:])
    assert fields[:7] == (80, 4000, 0, expected, 0x50, RST | ACK, 0)
    assert make.transport(6, US, HOST, reset[20:36] + b"\0\0" + reset[38:], 16) == reset[20:]
    assert reset[6:8] == b"\x40\x00"
    assert (reset[1], reset[8]) == (0, 64)


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK])
def test_a_segment_with_acknowledgement_is_reset_there(make, world, flags):
    world.inside(make.tcp(HOST, US, (4000, 80), flags, b"data", acknowledgment=77))
    fields = struct.unpack(">HHIIBBHHH", world.packets[0][20:])
    assert fields[:7] == (80, 4000, 77, 0, 0x50, RST, 0)


def test_a_segment_that_gets_no_answer(make, world):
    segment = bytearray(make.tcp(HOST, US, (4000, 80), SYN)[20:])
    cases = {"l3-truncated": [segment[:19]], "l3-checksum": [segment[:-1] + b"\x01"]}
    for offset in (0x40, 0x60, 0xF0):
        cases["l3-truncated"].append(segment[:12] + bytes((offset,)) + segment[13:])
    for rule, segments in cases.items():
        for octets in segments:
            world.inside(make.ipv4(HOST, US, bytes(octets), protocol=6))
            assert world.fates == [rule]
            assert world.is_silent
    for ports, flags, rule in [((4000, 80), RST, "l3-no-reset-to-reset"), ((0, 80), SYN, "l3-port-zero")]:
        assert world.inside(make.tcp(HOST, US, ports, flags)).fates == [rule]
        assert world.is_silent
    assert world.inside(make.tcp(HOST, US, (4000, 0), SYN)).fates == ["l3-port-zero"]


@given(
    st.lists(st.sampled_from([b"\x01", b"\x08\x0a" + bytes(8), b"\x03\x03\x07"]), max_size=3), st.integers(0, 0xFFFF)
)
def test_the_maximum_segment_size_is_lowered_and_the_checksum_stays_right(make, before, value):
    """At even and odd positions alike."""

    def segment(size):
        options = b"".join(before) + b"\x02\x04" + size.to_bytes(2, "big") + b"\x04\x02"
        return make.tcp(HOST, "8.8.8.8", (4000, 80), SYN, b"data", options + bytes(-len(options) % 4))

    packet = bytearray(b"\xa5" + segment(value))
    clamp_maximum_segment_size(memoryview(packet), 1, len(packet), 1360)
    assert bytes(packet[1:]) == segment(min(value, 1360))


@given(st.binary(max_size=24), st.sampled_from([SYN, SYN | ACK, ACK]))
def test_any_options_are_clamped_without_a_fault(make, options, flags):
    octets = make.tcp(HOST, "8.8.8.8", (4000, 80), flags, b"", options + bytes(-len(options) % 4))
    packet = bytearray(octets)
    clamp_maximum_segment_size(memoryview(packet), 0, len(packet), 1360)
    assert make.transport(6, HOST, "8.8.8.8", bytes(packet[20:36]) + b"\0\0" + bytes(packet[38:]), 16) == packet[20:]
    if not flags & SYN:
        assert packet == octets
