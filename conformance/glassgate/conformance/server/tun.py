"""A network interface of Linux behind the far end: what the client sends goes to the kernel, and its answers come back.

Needs root (or CAP_NET_ADMIN) and /dev/net/tun. The interface lives as long as its file is open.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv4Network

from glassgate.conformance.lab import programs

DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
NAME_OCTETS = 16  # linux/if.h IFNAMSIZ, the final zero octet counted
MOST_AT_ONCE = 64  # packets, before others get their turn


class Tun:
    """An interface with an address, up, and routes into it."""

    def __init__(self, name: str, address: IPv4Interface, mtu: int, routes: Iterable[IPv4Network] = ()) -> None:
        """Make it.

        Raises:
            OSError: this is no Linux, or not for this user.
            LabError: the program ``ip`` is missing, or it did not do what was asked.
        """
        self._file = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
        self._mtu = mtu
        try:
            fcntl.ioctl(self._file, TUNSETIFF, struct.pack(f"{NAME_OCTETS}sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
            programs.demand(["ip", "address", "add", str(address), "dev", name])
            programs.demand(["ip", "link", "set", name, "up", "mtu", str(mtu)])
            for route in routes:
                programs.demand(["ip", "route", "add", str(route), "dev", name])
        except BaseException:
            os.close(self._file)
            raise

    def fileno(self) -> int:
        """For a selector."""
        return self._file

    def receive(self, packet: bytes) -> list[bytes]:
        """Give a packet to the kernel; its answers come by ``read``. What is no IPv4 packet it does not take."""
        try:
            os.write(self._file, packet)
        except OSError:
            return []  # the kernel refuses what no interface could have brought
        return []

    def read(self) -> list[bytes]:
        """What the kernel sends into the interface, some packets at a time."""
        packets = []
        try:
            for _ in range(MOST_AT_ONCE):
                packets.append(os.read(self._file, self._mtu))
        except BlockingIOError:
            pass
        return [packet for packet in packets if packet and packet[0] >> 4 == 4]

    def close(self) -> None:
        """The interface goes, and its routes with it."""
        os.close(self._file)
