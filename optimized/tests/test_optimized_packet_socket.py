"""The packet socket: its filter, its ring, its calls, and what senders leave to their hardware."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.optimized import packet_socket
from glassgate.optimized.packet_socket import ARENA, PacketSocket, station_filter

HOST, FAR = "10.38.2.5", "8.8.8.8"
PLAIN = bytes(10)


def virtio(flags=0, kind=0, size=0, at=0, into=0) -> bytes:
    return struct.pack("=BBHHHH", flags, kind, 0, size, at, into)


def without_checksum(make, packet: bytes, at: int) -> bytes:
    """As a sender leaves it to its hardware: the field holds the sum of the pseudo header, not inverted."""
    pseudo = packet[12:20] + bytes((0, packet[9])) + (len(packet) - 20).to_bytes(2, "big")
    return packet[: 20 + at] + (0xFFFF - make.checksum(pseudo)).to_bytes(2, "big") + packet[22 + at :]


def unbound(
    receiving=None, ring: bytearray | None = None, slot_size: int = 2048, *, is_end: bool = False
) -> PacketSocket:
    """A packet socket without an interface: from a ring in memory, or from some other socket."""
    made = PacketSocket.__new__(PacketSocket)
    made._arena = bytearray(ARENA)
    made._arena_view = memoryview(made._arena)
    made._ring = memoryview(ring) if ring is not None else None
    made._slot = 0
    made._slot_size = slot_size
    made._receiving = receiving
    made.frames_received = made.frames_lost = 0
    made._is_end, made.is_vouched = is_end, False
    return made


def gathered(made: PacketSocket) -> list[bytes]:
    return [bytes(buffer[start:end]) for buffer, bounds in made.batches() for start, end in bounds]


# the filter


def run_filter(program: bytes, frame: bytes, has_tag: bool) -> bool:
    """The kernel's classic BPF, as far as this program needs it (Linux networking/filter)."""
    at = accumulator = 0
    while True:
        code, jump_true, jump_false, k = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                accumulator = has_tag if k == 0xFFFFF000 + 48 else int.from_bytes(frame[k : k + 4], "big")
            case 0x28:
                accumulator = int.from_bytes(frame[k : k + 2], "big")
            case 0x30:
                accumulator = frame[k]
            case 0x15:
                at += jump_true if accumulator == k else jump_false
            case 0x45:
                at += jump_true if accumulator & k else jump_false
            case 0x06:
                return k > 0
            case _:
                raise AssertionError(code)


@pytest.mark.parametrize(
    ("destination", "has_tag", "passes"),
    [
        ("00f00df00d00", False, True),
        ("00f00df00d00", True, False),
        ("ffffffffffff", False, True),
        ("01005e000001", False, True),
        ("01005e000001", True, False),
        ("00f00df00d01", False, False),
        ("02f00df00d00", False, False),
    ],
)
def test_the_kernel_passes_what_the_gateway_would(make, destination, has_tag, passes):
    frame = bytes.fromhex(destination) + bytes(50)
    assert run_filter(station_filter(make.MAC), frame, has_tag) == passes


# the ring


class Ring:
    """The kernel's side of a ring: it fills slots that are its own."""

    def __init__(self, slots: int = 8, size: int = 2048) -> None:
        self.memory = bytearray(slots * size)
        self.size = size
        self.slots = slots
        self.next = 0

    def put(self, frame: bytes, header: bytes = PLAIN, status: int = 1) -> bool:
        at = self.next * self.size
        if int.from_bytes(self.memory[at : at + 4], sys.byteorder):
            return False
        kept = frame[: self.size - 76]
        self.memory[at : at + 14] = struct.pack("=IIIH", status, len(frame), len(kept), 76)
        self.memory[at + 66 : at + 76] = header
        self.memory[at + 76 : at + 76 + len(kept)] = kept
        self.next = (self.next + 1) % self.slots
        return True


def frame_of(make, number: int) -> bytes:
    return make.ethernet(make.udp(HOST, FAR, number, 2, bytes(number)), make.hardware(HOST))


@given(st.lists(st.integers(0, 8), max_size=12))
def test_frames_come_out_of_the_ring_in_order_and_slots_go_back(make, arrivals):
    ring = Ring()
    made = unbound(ring=ring.memory)
    number = 0
    for count in arrivals:
        put = []
        for _ in range(count):
            number += 1
            frame = frame_of(make, number)
            assert ring.put(frame)
            put.append(frame)
        assert gathered(made) == put
    assert made.frames_received == number


def test_a_large_segment_keeps_its_place_among_others(make):
    ring = Ring()
    made = unbound(ring=ring.memory)
    data = bytes(1200)
    ring.put(frame_of(make, 1))
    large = make.ethernet(make.tcp(HOST, FAR, (9, 2), 16, data), make.hardware(HOST))
    ring.put(large, virtio(1, 1, 500, 34, 16))
    ring.put(frame_of(make, 2))
    frames = gathered(made)
    assert [int.from_bytes(frame[34:36], "big") for frame in frames] == [1, 9, 9, 9, 2]
    assert b"".join(frame[54:] for frame in frames[1:4]) == data
    assert made.frames_received == 3
    assert all(ring.put(frame_of(make, number)) for number in range(8))


def test_a_frame_larger_than_a_slot_comes_from_the_queue_behind(make):
    ring = Ring()
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.setblocking(False)
    with there, here:
        made = unbound(here, ring.memory)
        large = make.ethernet(make.tcp(HOST, FAR, (9, 2), 16, bytes(5000)), make.hardware(HOST))
        header = virtio(1, 1, 1400, 34, 16)
        ring.put(frame_of(make, 1))
        ring.put(large, header, status=3)
        there.send(header + large)
        ring.put(frame_of(make, 2))
        ring.put(large, header, status=3)  # but there was no room for this one
        ring.put(frame_of(make, 3))
        frames = gathered(made)
    assert [int.from_bytes(frame[34:36], "big") for frame in frames] == [1, 9, 9, 9, 9, 2, 3]


def test_the_bounded_batch_leaves_the_rest_for_later(make, monkeypatch):
    monkeypatch.setattr(packet_socket, "MOST_FRAMES", 3)
    ring = Ring()
    made = unbound(ring=ring.memory)
    for number in range(1, 6):
        ring.put(frame_of(make, number))
    assert len(gathered(made)) == 3
    assert len(gathered(made)) == 2


# where segments end


def vouched(made: PacketSocket) -> list[tuple[bytes, bool]]:
    return [(bytes(buffer[start:end]), made.is_vouched) for buffer, bounds in made.batches() for start, end in bounds]


UNFINISHED, VERIFIED = virtio(1, 0, 0, 34, 6), virtio(2)
LARGE_TCP, LARGE_UDP = virtio(1, 1, 500, 34, 16), virtio(1, 5, 500, 34, 6)


def test_where_segments_end_the_kernel_answers_for_checksums_and_size(make):
    ring = Ring()
    made = unbound(ring=ring.memory, is_end=True)
    large = make.ethernet(make.tcp(HOST, FAR, (9, 2), 16, bytes(1200)), make.hardware(HOST))
    datagrams = make.ethernet(make.udp(HOST, FAR, 9, 2, bytes(900)), make.hardware(HOST))
    put = [(frame_of(make, 1), PLAIN), (frame_of(make, 2), UNFINISHED), (frame_of(make, 3), VERIFIED)]
    put += [(large, LARGE_TCP), (frame_of(make, 4), PLAIN), (datagrams, LARGE_UDP), (frame_of(make, 5), VERIFIED)]
    for _ in range(3):
        for frame, header in put:
            assert ring.put(frame, header)
        found = vouched(made)
        assert found[:5] == [(frame, header != PLAIN) for frame, header in put[:5]]
        assert [(len(frame) - 42, answered) for frame, answered in found[5:7]] == [(500, False), (400, False)]
        assert found[7:] == [(frame_of(make, 5), True)]
    assert made.frames_received == 3 * len(put)


@pytest.mark.parametrize("has_ring", [True, False])
def test_a_large_segment_is_taken_whole_where_it_ends(make, has_ring):
    ring = Ring()
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.setblocking(False)
    large = make.ethernet(make.tcp(HOST, FAR, (9, 2), 16, bytes(5000)), make.hardware(HOST))
    frames = [(frame_of(make, 1), PLAIN), (large, LARGE_TCP), (frame_of(make, 2), UNFINISHED)]
    with there, here:
        made = unbound(here, ring.memory if has_ring else None, is_end=True)
        for frame, header in frames:
            ring.put(frame, header, status=3 if frame is large else 1)
            if frame is large or not has_ring:
                there.send(header + frame)
        assert vouched(made) == [(frame, header != PLAIN) for frame, header in frames]
        datagrams = make.ethernet(make.udp(HOST, FAR, 9, 2, bytes(5000)), make.hardware(HOST))
        ring.put(datagrams, LARGE_UDP, status=3)
        there.send(LARGE_UDP + datagrams)
        assert [(len(frame), answered) for frame, answered in vouched(made)] == [(542, False)] * 10


# without a ring


def test_frames_come_one_by_one_where_there_is_no_ring(make):
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.setblocking(False)
    with there, here:
        made = unbound(here)
        data = bytes(range(250)) * 8
        whole = make.udp(HOST, FAR, 5, 2, b"data")
        there.send(PLAIN + frame_of(make, 1))
        there.send(virtio(1, 1, 900, 34, 16) + make.ethernet(make.tcp(HOST, FAR, (9, 2), 16, data), b"\x02" * 6))
        there.send(virtio(1, 0, 0, 34, 6) + make.ethernet(without_checksum(make, whole, 6), b"\x02" * 6))
        frames = gathered(made)
        assert gathered(made) == []
    assert frames[0] == frame_of(make, 1)
    assert [len(frame) - 54 for frame in frames[1:4]] == [900, 900, 200]
    assert frames[4] == make.ethernet(whole, b"\x02" * 6)


@given(st.lists(st.integers(1, 1400), min_size=2, max_size=30))
def test_frames_never_overlap_in_the_arena(make, sizes):
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.setblocking(False)
    there.setblocking(False)
    with there, here:
        for size in sizes[:10]:
            there.send(PLAIN + bytes(14 + size))
        for _, bounds in unbound(here).batches():
            assert all(end <= start for (_, end), (start, _) in pairwise(bounds))


# a real interface

VETH = """
import socket, sys
from glassgate.optimized.packet_socket import PacketSocket
mac = bytes.fromhex("00f00df00d00")
frames = [mac + b"\\x02" * 6 + b"\\x08\\x00" + bytes([n]) * 100 for n in range(40)]
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("ggopt1", 0))
made = PacketSocket("ggopt0", mac, 1500, has_ring=sys.argv[1] == "ring")
assert (made._ring is not None) == (sys.argv[1] == "ring")
for frame in frames:
    sender.send(frame)
    sender.send(b"\\x02" * 6 + frame[6:])
got = [bytes(b[s:e]) for _ in range(3) for b, bounds in made.batches() for s, e in bounds]
assert got == frames, (len(got), len(frames))
receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
receiver.bind(("ggopt1", 0x88B5))
receiver.settimeout(5)
out = bytearray(b"\\xff" * 6 + mac + b"\\x88\\xb5" + bytes(50))
made.send(memoryview(out), [(0, len(out))])
assert receiver.recv(2000) == out
made.close()
print("all came")
"""


@pytest.mark.root
@pytest.mark.parametrize("way", ["ring", "calls"])
def test_on_a_real_interface(way, tmp_path):
    """In a network namespace of its own, which ends with the process."""
    script = tmp_path / "veth.py"
    script.write_text(VETH)
    commands = (
        "ip link add ggopt0 type veth peer name ggopt1 && ip link set ggopt0 up && ip link set ggopt1 up"
        f" && {sys.executable} {script} {way}"
    )
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", commands], capture_output=True, text=True, timeout=30, check=False
    )
    if "Operation not permitted" in done.stderr and not os.environ.get("CI"):
        pytest.skip("a network namespace needs root: unshare -n is not permitted here")
    assert done.stdout == "all came\n", done.stderr
