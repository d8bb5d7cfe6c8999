"""Segments that leave together: cut again, by these tests or by the kernel, they are the octets that they were."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.optimized import coalescing
from glassgate.optimized.coalescing import ARENA, FEWEST, Coalescer, remainder_of_library, runs

HOST, FAR = "10.38.2.5", "8.8.8.8"
TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")
ACK, PSH, FIN, RST, SYN, URG, ECE, CWR = 16, 8, 1, 4, 2, 32, 64, 128


@dataclass(frozen=True)
class Sent:
    """What decides how a segment looks."""

    size: int = 700
    sequence: int = 1000
    identification: int = 77
    flags: int = ACK
    options: bytes = b""
    acknowledgment: int = 2000
    window: int = 8192
    ports: tuple[int, int] = (80, 4000)
    source: str = FAR
    ttl: int = 60
    tos: int = 0
    fragment: int = 0x4000
    hardware: bytes = b"\x02\x00\x0a\x26\x02\x05"
    urgent: int = 0
    is_damaged: bool = False

    @property
    def next(self) -> Sent:
        """The segment that follows it."""
        following = {"sequence": (self.sequence + self.size) % (1 << 32)}
        return replace(self, identification=(self.identification + 1) % (1 << 16), **following)

    def frame(self, make: Any) -> bytes:
        data = bytes((self.sequence + at) * 7 & 0xFF for at in range(self.size))
        fields = {name: getattr(self, name) for name in ("sequence", "acknowledgment", "window", "identification")}
        fields |= {name: getattr(self, name) for name in ("ttl", "tos", "fragment")}
        packet = make.tcp(self.source, HOST, self.ports, self.flags, data, self.options, **fields)
        if self.urgent:
            packet = urging(make, packet, self.source, self.urgent)
        if self.is_damaged:
            packet = packet[:-1] + bytes((packet[-1] ^ 1,))
        return make.ethernet(packet, make.MAC, self.hardware)


def urging(make: Any, packet: bytes, source: str, urgent: int) -> bytes:
    segment = packet[20:36] + bytes(2) + urgent.to_bytes(2, "big") + packet[40:]
    return packet[:20] + make.transport(6, source, HOST, segment, 16)


def row(count: int, first: Sent) -> list[Sent]:
    found = [first]
    while len(found) < count:
        found.append(found[-1].next)
    return found


def laid_out(frames: Sequence[bytes]) -> tuple[memoryview, list[tuple[int, int]]]:
    buffer, bounds = bytearray(b"\xa5" * 3), []
    for frame in frames:
        bounds.append((len(buffer), len(buffer) + len(frame)))
        buffer += frame
    return memoryview(buffer + bytes(200)), bounds


def by_python(address: int, limbs: int, divisor: int) -> int:
    """What GMP promises of mpn_mod_1, said otherwise."""
    return int.from_bytes(ctypes.string_at(address, limbs * 8), "little") % divisor


def leaving(frames: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """What leaves for these frames: virtio header and frame each."""
    buffer, bounds = laid_out(frames)
    before = bytes(buffer)
    coalescer = Coalescer(by_python)
    found = []
    for batch in coalescer.batches(buffer, bounds, runs(buffer, bounds)):
        found += [bytes(coalescer.view[start:end]) for start, end in batch]
    assert buffer == before
    return [(octets[:10], octets[10:]) for octets in found]


def cut(make: Any, header: bytes, frame: bytes) -> list[bytes]:
    """Linux's tcp_gso_segment and inet_gso_segment, by building each piece anew from what the large frame says."""
    flags, kind, headers, size, begins, into = struct.unpack("=BBHHHH", header)
    if kind == 0:
        assert header == bytes(10)
        return [frame]
    assert (flags, kind, begins, into) == (1, 1, 34, 16)
    packet, segment = frame[14:34], frame[34:headers]
    _, tos, total, identification, fragment, ttl, _, _, source, _ = struct.unpack(">BBHHHBBH4s4s", packet)
    assert total == len(frame) - 14
    assert make.checksum(packet) == 0
    here, there, sequence, acknowledgment, offset, bits, window, unfinished, urgent = struct.unpack(
        ">HHIIBBHHH", segment[:20]
    )
    assert headers == 34 + (offset >> 4) * 4
    pseudo = packet[12:20] + struct.pack(">HH", 6, len(frame) - 34)
    assert unfinished % 0xFFFF == (0xFFFF - make.checksum(pseudo)) % 0xFFFF
    pieces = []
    for number, at in enumerate(range(headers, len(frame), size)):
        is_last = at + size >= len(frame)
        one = make.tcp(
            ".".join(map(str, source)), HOST, (here, there), gso_flags(bits, number == 0, is_last),
            frame[at : at + size], segment[20:], sequence=(sequence + at - headers) % (1 << 32),
            acknowledgment=acknowledgment, window=window, ttl=ttl, tos=tos, fragment=fragment,
            identification=(identification + number) % (1 << 16),
        )  # fmt: skip
        one = urging(make, one, ".".join(map(str, source)), urgent)
        if one[36:38] == b"\xff\xff":
            one = one[:36] + bytes(2) + one[38:]  # TCP has no use for a negative zero
        pieces.append(make.ethernet(one, frame[6:12], frame[:6]))
    return pieces


def gso_flags(bits: int, is_first: bool, is_last: bool) -> int:
    bits &= 0xFF if is_last else ~(PSH | FIN)
    return bits if is_first else bits & ~CWR


def is_left_out() -> bool:
    """Where buffers move about in memory there is nothing to look at."""
    if sys.implementation.name == "cpython":
        return False
    assert Coalescer.of() is None
    return True


CHANGES: dict[str, Any] = {
    "another port": lambda one: replace(one, ports=(80, 4001)),
    "another source": lambda one: replace(one, source="8.8.4.4"),
    "another neighbour": lambda one: replace(one, hardware=b"\x02\x00\x0a\x26\x02\x06"),
    "a gap": lambda one: replace(one, sequence=(one.sequence + 1) % (1 << 32)),
    "a repetition": lambda one: replace(one, sequence=(one.sequence - one.size) % (1 << 32)),
    "another acknowledgment": lambda one: replace(one, acknowledgment=2001),
    "another window": lambda one: replace(one, window=8191),
    "another time": lambda one: replace(one, options=TIMESTAMPS),
    "another time to live": lambda one: replace(one, ttl=59),
    "another type of service": lambda one: replace(one, tos=3),
    "congestion experienced": lambda one: replace(one, flags=ACK | ECE),
    "window reduced": lambda one: replace(one, flags=ACK | CWR),
    "FIN": lambda one: replace(one, flags=ACK | FIN),
    "RST": lambda one: replace(one, flags=ACK | RST),
    "SYN": lambda one: replace(one, flags=ACK | SYN),
    "URG": lambda one: replace(one, flags=ACK | URG, urgent=5),
    "urgent pointer": lambda one: replace(one, urgent=5),
    "no ACK": lambda one: replace(one, flags=PSH),
    "another identification": lambda one: replace(one, identification=(one.identification + 1) % (1 << 16)),
    "the same identification": lambda one: replace(one, identification=one.identification - 1),
    "may be fragmented": lambda one: replace(one, fragment=0),
    "a fragment": lambda one: replace(one, fragment=0x2000),
    "larger": lambda one: replace(one, size=one.size + 1),
    "damaged": lambda one: replace(one, is_damaged=True),
}


# what may be one


@pytest.mark.parametrize("options", [b"", TIMESTAMPS, bytes.fromhex("01") * 40])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 700, 1347, 1348])
@pytest.mark.parametrize("last", [0, 1])
def test_a_row_of_segments_is_one_frame(make, options, size, last):
    if is_left_out():
        return
    sent = row(9, Sent(size=max(size, 41 - len(options)), options=options))
    sent[-1] = replace(sent[-1], size=max(sent[-1].size - last, 41 - len(options)), flags=ACK | PSH * last)
    frames = [one.frame(make) for one in sent]
    ((header, frame),) = leaving(frames)
    assert cut(make, header, frame) == frames


def test_numbers_go_round(make):
    if is_left_out():
        return
    frames = [one.frame(make) for one in row(6, Sent(sequence=0xFFFFFFFF - 1500, identification=0xFFFE))]
    ((header, frame),) = leaving(frames)
    assert cut(make, header, frame) == frames


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("place", [0, 3, 5])
def test_what_differs_leaves_by_itself(make, name, place):
    if is_left_out():
        return
    sent = row(10, Sent())
    sent[place] = CHANGES[name](sent[place])
    frames = [one.frame(make) for one in sent]
    left = leaving(frames)
    assert len(left) > 1
    assert [piece for one in left for piece in cut(make, *one)] == frames


@pytest.mark.parametrize("name", CHANGES)
def test_what_all_have_is_had_by_all(make, name):
    if is_left_out():
        return
    frames = [CHANGES[name](one).frame(make) for one in row(10, Sent())]
    assert [piece for one in leaving(frames) for piece in cut(make, *one)] == frames


@pytest.mark.parametrize(
    ("name", "change"),
    [("shorter", {"size": 600}), ("pushed", {"flags": ACK | PSH})],
)
def test_what_is_shorter_or_pushed_is_the_last(make, name, change):
    if is_left_out():
        return
    first = row(4, Sent())
    first[-1] = replace(first[-1], **change)
    frames = [one.frame(make) for one in first + row(4, replace(first[-1].next, flags=ACK))]
    left = leaving(frames)
    assert [len(cut(make, *one)) for one in left] == [4, 4]
    assert [piece for one in left for piece in cut(make, *one)] == frames


def test_fewer_are_not_worth_it(make):
    buffer, bounds = laid_out([one.frame(make) for one in row(FEWEST - 1, Sent())])
    assert runs(buffer, bounds) == []
    buffer, bounds = laid_out([one.frame(make) for one in row(FEWEST, Sent())])
    assert runs(buffer, bounds) == [(0, FEWEST)]


def test_fragments_are_never_one(make):
    for fragment in (0x2000, 0x0001, 0x2001, 0x8000):
        buffer, bounds = laid_out([one.frame(make) for one in row(5, Sent(fragment=fragment))])
        assert runs(buffer, bounds) == []


def test_neither_options_of_ip_nor_too_short_a_header_are_understood(make):
    for at, octet, text in ((14, 0x46, 700), (46, 0x40, 704)):
        sent = [Sent(sequence=number * text, identification=number) for number in range(5)]
        plain = [one.frame(make) for one in sent]
        buffer, bounds = laid_out([frame[:at] + bytes((octet,)) + frame[at + 1 :] for frame in plain])
        assert runs(buffer, bounds) == []
    with_option = []
    for one in row(5, Sent()):
        data = one.frame(make)[34:]
        packet = make.ipv4(FAR, HOST, data, protocol=6, options=b"\x01" * 4, identification=one.identification)
        with_option.append(make.ethernet(packet, make.MAC, one.hardware))
    buffer, bounds = laid_out(with_option)
    assert runs(buffer, bounds) == []


def test_a_packet_is_no_larger_than_ip_can_say(make):
    if is_left_out():
        return
    frames = [one.frame(make) for one in row(60, Sent(size=1448, options=TIMESTAMPS))]
    left = leaving(frames)
    assert len(left) == 2
    assert max(len(frame) for _, frame in left) <= 14 + 65535
    assert [piece for one in left for piece in cut(make, *one)] == frames


def test_a_checksum_of_negative_zero_stays(make):
    """0xFFFF for 0 is right, but nobody would compute it."""
    if is_left_out():
        return
    sent = row(5, Sent())
    frames = [one.frame(make) for one in sent]
    at = 14 + 20 + 16
    value = int.from_bytes(frames[2][at : at + 2], "big")
    tail = int.from_bytes(frames[2][-2:], "big") + value
    tail = (tail & 0xFFFF) + (tail >> 16)
    frames[2] = frames[2][:at] + b"\xff\xff" + frames[2][at + 2 : -2] + tail.to_bytes(2, "big")
    left = leaving(frames)
    assert [piece for one in left for piece in cut(make, *one)] == frames


# damaged segments


@pytest.mark.parametrize("places", [(0,), (4,), (8,), (0, 1), (3, 4, 5), (1, 3, 5, 7), tuple(range(9))])
def test_a_damaged_segment_leaves_as_it_came(make, places):
    if is_left_out():
        return
    sent = [replace(one, is_damaged=number in places) for number, one in enumerate(row(9, Sent()))]
    frames = [one.frame(make) for one in sent]
    left = leaving(frames)
    assert [(bytes(10), frames[place]) for place in places] == [
        one for one in left if one[1] in [frames[n] for n in places]
    ]
    assert [piece for one in left for piece in cut(make, *one)] == frames


def test_two_damages_do_not_hide_each_other(make):
    if is_left_out():
        return
    frames = [one.frame(make) for one in row(5, Sent())]
    for number, step in ((1, 1), (3, -1)):
        octets = bytearray(frames[number])
        octets[60] = octets[60] + step & 0xFF
        frames[number] = bytes(octets)
    assert [frame for header, frame in leaving(frames) if header == bytes(10)] == frames


@pytest.mark.parametrize("size", range(41, 60))
def test_every_length_and_every_octet_counts(make, size):
    if is_left_out():
        return
    good = [one.frame(make) for one in row(3, Sent(size=size))]
    assert len(leaving(good)) == 1
    for at in [*range(34, 54), *range(54, 54 + size, 3), 53 + size]:
        damaged = bytearray(good[1])
        damaged[at] ^= 0x40
        buffer, bounds = laid_out([good[0], bytes(damaged), good[2]])
        assert Coalescer(by_python)._damaged(buffer, bounds, 0, 3) == [1]


# a batch


KINDS = st.sampled_from(["next"] * 12 + ["short", "push", "new", *CHANGES])


@given(st.lists(KINDS, max_size=40), st.integers(41, 1448), st.sampled_from([b"", TIMESTAMPS]))
def test_any_batch_is_what_it_was_once_it_is_cut(make, kinds, size, options):
    if is_left_out():
        return
    one = Sent(size=size, options=options)
    frames = []
    for kind in kinds:
        if kind == "new":
            one = Sent(size=size, options=options, sequence=len(frames) * 99991)
            frames.append(make.ethernet(make.udp(FAR, HOST, 1, 2, bytes(size)), make.MAC, one.hardware))
        shown = one
        if kind == "short":
            shown = replace(one, size=max(1, size - 3))
        elif kind == "push":
            shown = replace(one, flags=ACK | PSH)
        elif kind in CHANGES:
            shown = CHANGES[kind](one)
        frames.append(shown.frame(make))
        one = one.next
    left = leaving(frames)
    assert [piece for pair in left for piece in cut(make, *pair)] == frames


def test_a_batch_larger_than_the_memory_leaves_in_several(make):
    if is_left_out():
        return
    frames = []
    for number in range(ARENA // 65536 + 2):
        frames += [one.frame(make) for one in row(45, Sent(size=1448, sequence=number * 1_000_000))]
    buffer, bounds = laid_out(frames)
    coalescer = Coalescer(by_python)
    batches, pieces = 0, []
    for batch in coalescer.batches(buffer, bounds, runs(buffer, bounds)):
        batches += 1
        for start, end in batch:
            octets = bytes(coalescer.view[start:end])
            pieces += cut(make, octets[:10], octets[10:])
    assert batches > 1
    assert pieces == frames


# the library


def test_the_library_computes_what_its_manual_says():
    call = remainder_of_library()
    if call is None:
        return
    octets = bytearray(os.urandom(1500))
    address = ctypes.addressof(ctypes.c_char.from_buffer(octets))
    for at, limbs in [(0, 0), (0, 1), (1, 7), (3, 180), (8, 186), (5, 2)]:
        assert call(address + at, limbs, 0xFFFF) == by_python(address + at, limbs, 0xFFFF)


def test_without_the_library_nothing_is_joined(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(coalescing.ctypes, "CDLL", missing)
    assert Coalescer.of() is None
    monkeypatch.undo()
    monkeypatch.setattr(coalescing.ctypes, "CDLL", lambda name: object())
    assert Coalescer.of() is None
    monkeypatch.undo()
    monkeypatch.setattr(sys, "byteorder", "big")
    assert Coalescer.of() is None


# a real interface

VETH = """
import json, socket, sys
from glassgate.optimized import packet_socket
from glassgate.optimized.coalescing import Coalescer
from glassgate.optimized.packet_socket import PacketSocket
mac, peer_mac = bytes.fromhex("00f00df00d00"), bytes.fromhex("02000a260205")
frames = [bytes.fromhex(line) for line in sys.stdin.read().split()]
buffer, bounds = bytearray(), []
for frame in frames:
    bounds.append((len(buffer), len(buffer) + len(frame)))
    buffer += frame
buffer += bytes(100)
made, peer = PacketSocket("ggcoa0", mac, 1500), PacketSocket("ggcoa1", peer_mac, 1500)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
wire.bind(("ggcoa1", 0x0800))
wire.settimeout(5)
made.send(memoryview(buffer), bounds)
seen = [wire.recv(70000)]
wire.settimeout(0.5)
try:
    while True:
        seen.append(wire.recv(70000))
except TimeoutError:
    pass
got = [bytes(b[s:e]) for _ in range(9) for b, bounds in peer.batches() for s, e in bounds]
print(json.dumps({
    "has library": Coalescer.of() is not None, "on the wire": len(seen), "are the same": seen == frames,
    "received": got == frames, "lost": made.frames_lost,
}))
"""


@pytest.mark.root
@pytest.mark.parametrize("offload", ["on", "off"])
def test_the_kernel_cuts_what_was_joined_into_what_there_was(make, offload, tmp_path):
    """In a network namespace of its own, which ends with the process."""
    sent = row(20, Sent(size=1448, options=TIMESTAMPS, fragment=0, identification=0xFFF8))
    sent[7] = replace(sent[7], is_damaged=True)
    sent[-1] = replace(sent[-1], size=333, flags=ACK | PSH)
    frames = [one.frame(make) for one in sent]
    frames.insert(10, make.ethernet(make.udp(FAR, HOST, 1, 2, bytes(100)), make.MAC, sent[0].hardware))
    script = tmp_path / "veth.py"
    script.write_text(VETH)
    commands = (
        "ip link add ggcoa0 type veth peer name ggcoa1"
        f" && ethtool -K ggcoa0 tso {offload} gso {offload} tx {offload} > /dev/null"
        f" && ethtool -K ggcoa1 gro off > /dev/null"
        " && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
        f" && ip link set ggcoa0 up && ip link set ggcoa1 up && {sys.executable} {script}"
    )
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", commands], input="\n".join(frame.hex() for frame in frames),
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr and not os.environ.get("CI"):
        pytest.skip("a network namespace needs root: unshare -n is not permitted here")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["received"] is True, told
    assert told["lost"] == 0
    is_joined = told["has library"] and offload == "on"
    assert told["on the wire"] == (5 if is_joined else len(frames)), told
    assert told["are the same"] is not is_joined, told
