"""Many frames with one call: each arrives as it was, in order; what is not taken is counted, and the rest goes on."""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Iterator

import pytest

from glassgate.optimized import many, packet_socket
from glassgate.optimized.many import Many


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends that keep packets apart, as a packet socket does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def is_left_out(sender: Many | None) -> bool:
    """Where buffers move about in memory there is no such call, and nothing to look at."""
    assert (sender is None) == (sys.implementation.name != "cpython")
    return sender is None


def laid_out(frames: list[bytes]) -> tuple[memoryview, list[tuple[int, int]]]:
    """Frames in one buffer, with gaps."""
    buffer, bounds = bytearray(b"\xa5" * 5), []
    for frame in frames:
        bounds.append((len(buffer), len(buffer) + len(frame)))
        buffer += frame + b"\xa5" * 3
    return memoryview(buffer), bounds


def received(end: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(end.recv(4096))
        except BlockingIOError:
            return found


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 130])
def test_every_frame_arrives_whole_and_in_order(pair: tuple[socket.socket, socket.socket], count: int):
    sender = Many.of()
    if is_left_out(sender):
        return
    assert sender is not None
    frames = [number.to_bytes(2, "big") * (1 + number % 50) for number in range(count)]
    ours, theirs = pair
    for _ in range(2):  # the headers are made once and used again
        assert sender.send(ours, *laid_out(frames)) == 0
        assert received(theirs) == frames


def test_a_frame_that_is_not_taken_is_lost_alone(pair: tuple[socket.socket, socket.socket]):
    sender = Many.of()
    if is_left_out(sender):
        return
    assert sender is not None
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    frames = [b"before", bytes(60_000), b"after", bytes(60_000)]  # EMSGSIZE
    assert sender.send(ours, *laid_out(frames)) == 2
    assert received(theirs) == [b"before", b"after"]


def test_nothing_is_sent_with_nothing(pair: tuple[socket.socket, socket.socket]):
    sender = Many.of()
    if is_left_out(sender):
        return
    assert sender is not None
    assert sender.send(pair[0], memoryview(bytearray(8)), []) == 0


def test_where_it_cannot_work_there_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.implementation, "name", "pypy")
    assert Many.of() is None
    monkeypatch.undo()
    monkeypatch.setattr(many.ctypes, "CDLL", lambda *arguments, **named: object())
    assert Many.of() is None
    monkeypatch.undo()
    monkeypatch.setattr(many.ctypes, "sizeof", lambda kind: 4)
    assert Many.of() is None


class Recorder:
    """A socket that takes note of frames that come one by one."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, frame: memoryview) -> int:
        self.frames.append(bytes(frame))
        return len(frame)


@pytest.mark.parametrize("count", [0, 1, packet_socket.FEW - 1])
def test_few_frames_leave_one_by_one(count: int):
    made = packet_socket.PacketSocket.__new__(packet_socket.PacketSocket)
    made._coalescer = None
    made._many, made._sending, made.frames_lost = Many.of(), Recorder(), 0
    frames = [b"frame"] * count
    made.send(*laid_out(frames))
    assert made._sending.frames == frames


def test_many_leave_one_by_one_too_where_there_is_no_common_call():
    made = packet_socket.PacketSocket.__new__(packet_socket.PacketSocket)
    made._coalescer = None
    made._many, made._sending, made.frames_lost = None, Recorder(), 0
    made.send(*laid_out([b"frame"] * 100))
    assert made._sending.frames == [b"frame"] * 100


def test_the_layout_is_the_c_librarys():
    assert ctypes.sizeof(ctypes.c_void_p) * many.VECTOR_WORDS == 16
    assert 8 * many.HEADER_WORDS == 64  # 56 octets of msghdr, 4 of length, 4 of padding
