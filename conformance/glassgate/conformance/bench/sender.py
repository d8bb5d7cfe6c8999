"""The program that offers traffic: equal frames through a packet socket, many a call, at a rate or as fast as it can.

    python -m glassgate.conformance.bench.sender INTERFACE HEX RATE SECONDS      RATE 0: as fast as it can

Frames go straight to the interface (PACKET_QDISC_BYPASS), so a frame costs the sender little, and the machine's
processors are left to those who are measured. It prints ``{"sent": …, "seconds": …}``.
"""

from __future__ import annotations

import ctypes
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass

SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
BATCH = 32
"""Frames a call; at a rate there are calls enough to keep to it, so a burst is never longer."""
PATIENCE = 0.0002


@dataclass(frozen=True, slots=True)
class Sent:
    """What was offered."""

    sent: int
    seconds: float

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.sent / self.seconds


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class Sender:
    """A packet socket that sends one frame over and over."""

    def __init__(self, interface: str, frame: bytes) -> None:
        """Open the socket.

        Raises:
            OSError: there is no such interface, or not the privilege.
        """
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self._socket.bind((interface, 0))
        self._frame = ctypes.create_string_buffer(frame, len(frame))
        self._vector = _Vector(ctypes.addressof(self._frame), len(frame))
        self._messages = (_Message * BATCH)()
        for message in self._messages:
            message.header.vectors = ctypes.pointer(self._vector)
            message.header.vector_count = 1
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg

    def send(self, count: int) -> int:
        """Send up to a batch; how many the interface took."""
        return max(0, int(self._sendmmsg(self._socket.fileno(), self._messages, min(count, BATCH), 0)))

    def run(self, rate: float, seconds: float) -> Sent:
        """Send at a rate for a time; rate 0 is as fast as it goes."""
        sent = 0
        start = time.monotonic()
        end = start + seconds
        while (now := time.monotonic()) < end:
            due = int((now - start) * rate) - sent if rate else BATCH
            if due <= 0:
                time.sleep(PATIENCE)
            else:
                sent += self.send(due)
        return Sent(sent, time.monotonic() - start)


def main(arguments: list[str]) -> int:
    """The command line."""
    if len(arguments) != 4:
        sys.stderr.write("usage: sender INTERFACE HEX RATE SECONDS\n")
        return 2
    interface, frame, rate, seconds = arguments
    result = Sender(interface, bytes.fromhex(frame)).run(float(rate), float(seconds))
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
