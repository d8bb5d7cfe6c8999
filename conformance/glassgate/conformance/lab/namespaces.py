"""Sockets and settings inside a namespace, without a program in it: the caller's thread goes there and comes back."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from glassgate.conformance.lab.errors import LabError

NAMESPACES = Path("/run/netns")
SETTINGS = "/proc/sys/net"
CLONE_NEWNET = 0x40000000  # setns(2)
ETH_P_ALL = 0x0003  # packet(7), linux/if_ether.h
SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
PACKET_IGNORE_OUTGOING = 23
SO_TIMESTAMPNS = 35  # socket(7)
ANCILLARY_OCTETS = 64
SIOCETHTOOL = 0x8946  # linux/sockios.h
ETHTOOL_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # linux/ethtool.h: STXCSUM, STSO, SGSO, SGRO
RECEIVE_OCTETS = 4 * 1024 * 1024
LARGEST_READ = 65535 + 18


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Within it, this thread's new sockets and its /proc/sys/net belong to a namespace.

    Raises:
        LabError: there is no such namespace, or this user may not enter it.
    """
    try:
        there = os.open(NAMESPACES / namespace, os.O_RDONLY)
    except OSError as error:
        raise LabError(f"namespace {namespace}: {error.strerror}") from None
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _enter(there, namespace)
        try:
            yield
        finally:
            _enter(here, "our own")
    finally:
        os.close(there)
        os.close(here)


def _enter(descriptor: int, name: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, CLONE_NEWNET) != 0:
        raise LabError(f"namespace {name} cannot be entered: {os.strerror(ctypes.get_errno())}")


def write_settings(namespace: str, settings: Mapping[str, str], if_known: Mapping[str, str] | None = None) -> None:
    """Write the kernel's settings of a namespace, by their path under /proc/sys/net.

    Raises:
        LabError: this kernel does not have one of ``settings``, or refuses a value.
    """
    with inside(namespace):
        known = {path: value for path, value in (if_known or {}).items() if Path(SETTINGS, path).exists()}
        for path, value in {**settings, **known}.items():
            try:
                Path(SETTINGS, path).write_text(value, encoding="ascii")
            except OSError as error:
                raise LabError(f"{SETTINGS}/{path} = {value}: {error.strerror}") from None


def without_offloads(namespace: str, interface: str) -> None:
    """Let an interface send what a wire would carry: checksums computed, segments of its own MTU. (ethtool -K)

    Raises:
        LabError: the interface cannot do without.
    """
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in ETHTOOL_OFFLOADS:
            value = array.array("I", [command, 0])
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            try:
                fcntl.ioctl(any_socket, SIOCETHTOOL, request)
            except OSError as error:
                raise LabError(f"interface {interface}: offloads stay on: {error.strerror}") from None


class PacketSocket:
    """Everything that an interface receives, and a way to send anything from it; what it sends itself is not seen."""

    def __init__(self, namespace: str | None, interface: str) -> None:
        self._came: float | None = None
        if namespace is None:
            self.socket = _bound(interface)
        else:
            with inside(namespace):
                self.socket = _bound(interface)

    def fileno(self) -> int:
        """For a selector."""
        return self.socket.fileno()

    def send(self, octets: bytes) -> None:
        """Put octets on the wire as they are.

        Raises:
            LabError: the interface does not take them.
        """
        try:
            self.socket.send(octets)
        except OSError as error:
            raise LabError(f"{len(octets)} octets cannot be sent: {error.strerror}") from None

    def receive(self) -> bytes | None:
        """The next frame or packet; None if there is none."""
        try:
            octets, ancillary, _, _ = self.socket.recvmsg(LARGEST_READ, ANCILLARY_OCTETS)
            self._came = _stamp(ancillary)
            return octets
        except BlockingIOError:
            return None
        except OSError as error:
            raise LabError(f"the interface is gone: {error.strerror}") from None

    def age(self) -> float:
        """How many seconds ago that came which ``receive`` gave last, by the kernel's own stamp."""
        return 0.0 if self._came is None else max(0.0, time.time() - self._came)

    def close(self) -> None:
        """Let go of the interface."""
        self.socket.close()


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> float | None:
    """When a frame came, in seconds since 1970, if the kernel says so."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("ll", data)
            return float(seconds) + float(nanoseconds) / 1e9
    return None


def _bound(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0))
    try:
        made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        # An interface that came up a moment ago has no queue yet, and what is queued there is lost.
        made.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_OCTETS)
        made.bind((interface, ETH_P_ALL))  # only now: before, it would hear every interface
    except OSError as error:
        made.close()
        raise LabError(f"interface {interface}: {error.strerror}") from None
    made.setblocking(False)
    return made
