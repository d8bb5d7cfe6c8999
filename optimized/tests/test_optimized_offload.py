"""What a sender leaves undone, and what we leave: frames of which nothing was left undone are the measure."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.optimized.offload import complete_checksum, leave_to_kernel, segment

HOST, FAR = "10.38.2.5", "8.8.8.8"


def without_checksum(make, packet: bytes, at: int) -> bytes:
    """As a sender leaves it to its hardware: the field holds the sum of the pseudo header, not inverted."""
    pseudo = packet[12:20] + bytes((0, packet[9])) + (len(packet) - 20).to_bytes(2, "big")
    return packet[: 20 + at] + (0xFFFF - make.checksum(pseudo)).to_bytes(2, "big") + packet[22 + at :]


# what senders leave undone


@pytest.mark.parametrize("length", [0, 1, 2, 999])
def test_a_checksum_left_to_hardware_is_completed(make, length):
    data = bytes(range(200)) * 5
    for whole, at in [
        (make.udp(HOST, FAR, 1, 2, data[:length]), 6),
        (make.tcp(HOST, FAR, (1, 2), 16, data[:length]), 16),
    ]:
        frame = bytearray(b"\xa5" + make.ethernet(without_checksum(make, whole, at), make.hardware(HOST)) + b"\xa5")
        complete_checksum(memoryview(frame), 1, len(frame) - 1, 34, at)
        assert frame == b"\xa5" + make.ethernet(whole, make.hardware(HOST)) + b"\xa5"


@given(st.integers(1, 4000), st.integers(1, 1460), st.sampled_from([16, 24, 17, 0x98]))
def test_a_large_tcp_segment_is_cut_as_its_sender_would_have(make, length, size, flags):
    data = bytes(index * 3 & 0xFF for index in range(length))
    large = make.ethernet(make.tcp(HOST, FAR, (1, 2), flags, data, identification=0xFFFF), make.hardware(HOST))
    arena = bytearray(b"\xa5\xa5" + large + bytes(len(large) + 100 * (length // size + 2)))
    frames = [
        bytes(arena[start:end]) for start, end in segment(memoryview(arena), 2, 2 + len(large), size, 2 + len(large))
    ]
    starts = range(0, length, size)
    expected = []
    for number, at in enumerate(starts):
        mine = flags & ~(0x80 if number else 0) & ~(0 if at + size >= length else 0x09)
        fields = {"sequence": 1000 + at, "identification": (0xFFFF + number) & 0xFFFF}
        packet = make.tcp(HOST, FAR, (1, 2), mine, data[at : at + size], **fields)
        expected.append(make.ethernet(packet, make.hardware(HOST)))
    assert frames == expected


def test_a_large_udp_segment_is_cut_into_datagrams(make):
    large = make.ethernet(make.udp(HOST, FAR, 1, 2, bytes(range(250))), make.hardware(HOST))
    arena = bytearray(large + bytes(2000))
    frames = [bytes(arena[start:end]) for start, end in segment(memoryview(arena), 0, len(large), 100, len(large))]
    assert frames == [
        make.ethernet(
            make.udp(HOST, FAR, 1, 2, bytes(range(250))[at : at + 100], identification=0x1234 + at // 100),
            make.hardware(HOST),
        )
        for at in (0, 100, 200)
    ]


# what we leave undone


@pytest.mark.parametrize(("length", "size"), [(0, 500), (499, 500), (500, 500), (501, 500), (2000, 500)])
def test_what_is_left_to_the_kernel_can_be_done_by_it(make, length, size):
    """The header says all that is needed to make of it what there would have been."""
    data = bytes(range(250)) * 8
    packet = make.tcp(HOST, FAR, (1, 2), 24, data[:length], b"\x01" * 4)
    whole = make.ethernet(packet, make.hardware(HOST))
    view = memoryview(bytearray(b"\xa5" * 10 + whole[:50] + b"\xff\xff" + whole[52:]))
    leave_to_kernel(view, 0, 58, size, len(view))
    flags, kind, headers, cut_at, begins, into = struct.unpack("=BBHHHH", view[:10])
    assert (flags, headers, begins, into) == (1, 58, 34, 16)
    assert (kind, cut_at) == ((1, size) if length > size else (0, 0))
    complete_checksum(view, 10, len(view), begins, into)
    assert view[10:] == whole
