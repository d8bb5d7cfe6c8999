"""An Ethernet interface of Linux as a port: whole frames in and out, as they are on a wire.

What it answers: which frame arrived? Between machines in one kernel no wire makes frames what they should be. A
sender there leaves checksums blank, and hands over segments of 64 KiB, for hardware that will never see them. This
file puts that right, so that the gateway sees what a wire would carry. It takes three measures:

- offloads of the interface are switched off for as long as it is used (``Offloads``);
- each frame comes with a header that tells what was left undone (``PACKET_VNET_HDR``): checksums are completed, and
  large segments are cut, here (``finish``);
- a VLAN tag that the kernel took out is put back, so that the gateway can refuse it by its rule (S5).

The header is struct virtio_net_hdr, 10 octets in the machine's byte order:

    flags(1) | gso_type(1) | hdr_len(2) | gso_size(2) | csum_start(2) | csum_offset(2)

Standards: packet(7), netdevice(7); linux/if_packet.h, linux/virtio_net.h, linux/ethtool.h; RFC 9293 3.1, RFC 768.
Not here: what a frame means.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from glassgate.reference import checksum

LARGEST_FRAME = 65535 + 14 + 4
"""The largest IP packet in a frame with a VLAN tag: what segmentation offload may hand over at once."""

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_AUXDATA = 8
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1

TP_STATUS_VLAN_VALID = 1 << 4
AUXDATA = struct.Struct("=IIIHHHH")
VNET_HEADER = struct.Struct("=BBHHHH")
NO_OFFLOAD = bytes(VNET_HEADER.size)
NEEDS_CHECKSUM = 1
GSO_NONE, GSO_TCPV4, GSO_UDP_L4, GSO_ECN = 0, 1, 5, 0x80

SIOCGIFMTU = 0x8921
SIOCETHTOOL = 0x8946
OFFLOADS = {
    "receive checksum": (0x14, 0x15),
    "transmit checksum": (0x16, 0x17),
    "TCP segmentation": (0x1E, 0x1F),
    "generic segmentation": (0x23, 0x24),
    "generic receive": (0x2B, 0x2C),
}
"""What is switched off, with ethtool's commands to read and to write it (linux/ethtool.h)."""


# ── what the kernel left undone ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Undone:
    """The header in front of a received frame."""

    flags: int
    gso_type: int
    header_length: int
    segment_octets: int
    checksum_start: int
    checksum_offset: int

    @classmethod
    def parse(cls, octets: bytes) -> Undone:
        """Read the ten octets."""
        return cls(*VNET_HEADER.unpack(octets))


def finish(undone: Undone, frame: bytes) -> Iterator[bytes]:
    """The frames that a wire would have carried instead of this one."""
    kind = undone.gso_type & ~GSO_ECN
    if kind in (GSO_TCPV4, GSO_UDP_L4) and undone.segment_octets:
        yield from _cut(undone, frame, kind)
    elif undone.flags & NEEDS_CHECKSUM:
        yield _with_checksum(frame, undone.checksum_start, undone.checksum_offset)
    else:
        yield frame


def _with_checksum(frame: bytes, start: int, offset: int) -> bytes:
    """Complete a checksum: the field holds the pseudo-header's sum already (linux/skbuff.h CHECKSUM_PARTIAL)."""
    place = start + offset
    if place + 2 > len(frame):
        return frame
    found = checksum.compute(frame[start:])
    if offset == 6 and found == 0:  # UDP: a computed zero is sent as all ones (RFC 768)
        found = 0xFFFF
    return frame[:place] + found.to_bytes(2, "big") + frame[place + 2 :]


def _cut(undone: Undone, frame: bytes, kind: int) -> Iterator[bytes]:
    """Cut one large segment into those that its sender meant (what the kernel's inet_gso_segment does)."""
    start = _transport_start(frame)
    end = start + (8 if kind == GSO_UDP_L4 else _tcp_header_octets(frame, start))
    if not start or end > len(frame):
        yield frame  # nothing that this file can cut: the gateway sees it as it is
        return
    header, payload = frame[:end], frame[end:]
    for number, place in enumerate(range(0, len(payload), undone.segment_octets)):
        piece = payload[place : place + undone.segment_octets]
        is_last = place + len(piece) == len(payload)
        yield _segment(header, piece, start, kind, number, place, is_last)


def _transport_start(frame: bytes) -> int:
    """Where TCP or UDP begins in a frame with IPv4; 0 if there is none. (What was merged here has no csum_start.)"""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4:
        return 0
    return 14 + (frame[14] & 0x0F) * 4


def _tcp_header_octets(frame: bytes, start: int) -> int:
    return (frame[start + 12] >> 4) * 4 if len(frame) > start + 12 else len(frame)


def _segment(header: bytes, piece: bytes, start: int, kind: int, number: int, place: int, is_last: bool) -> bytes:
    """One segment: lengths, identification, sequence number and flags as they would have been, checksums new."""
    segment = bytearray(header + piece)
    struct.pack_into("!H", segment, 16, len(segment) - 14)
    identification = (int.from_bytes(header[18:20], "big") + number) & 0xFFFF
    struct.pack_into("!H", segment, 18, identification)
    if kind == GSO_TCPV4:
        _fix_tcp(segment, start, number, place, is_last)
    else:
        struct.pack_into("!H", segment, start + 4, len(segment) - start)
    segment[24:26] = b"\0\0"
    struct.pack_into("!H", segment, 24, checksum.compute(bytes(segment[14:start])))
    offset = 16 if kind == GSO_TCPV4 else 6
    protocol = segment[23]
    pseudo_header = bytes(segment[26:34]) + struct.pack("!BBH", 0, protocol, len(segment) - start)
    struct.pack_into("!H", segment, start + offset, 0)
    found = checksum.compute(pseudo_header + bytes(segment[start:]))
    struct.pack_into("!H", segment, start + offset, found or (0xFFFF if kind == GSO_UDP_L4 else 0))
    return bytes(segment)


FIN, PUSH, CWR = 0x01, 0x08, 0x80


def _fix_tcp(segment: bytearray, start: int, number: int, place: int, is_last: bool) -> None:
    """FIN and PSH belong to the last segment, CWR to the first (RFC 3168 6.1.2; tcp_offload.c tcp_gso_segment)."""
    sequence_number = int.from_bytes(segment[start + 4 : start + 8], "big") + place
    struct.pack_into("!I", segment, start + 4, sequence_number & 0xFFFFFFFF)
    if not is_last:
        segment[start + 13] &= ~(FIN | PUSH) & 0xFF
    if number:
        segment[start + 13] &= ~CWR & 0xFF


# ── the interface ────────────────────────────────────────────────────────────────────────────────────────────────────


class Offloads:
    """The interface's offloads, switched off and, at the end, back to what they were."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._were_on: list[int] = []

    def switch_off(self) -> list[str]:
        """Switch off what is on. Gives the names of those that would not go."""
        stubborn = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for name, (get, set_) in OFFLOADS.items():
                try:
                    if self._ethtool(control, get):
                        self._ethtool(control, set_, 0)
                        self._were_on.append(set_)
                except OSError:
                    stubborn.append(name)
        return stubborn

    def restore(self) -> None:
        """Switch on again what was on. An interface that is gone needs nothing."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control, contextlib.suppress(OSError):
            for set_ in self._were_on:
                self._ethtool(control, set_, 1)
        self._were_on.clear()

    def _ethtool(self, control: socket.socket, command: int, value: int = 0) -> int:
        """One ethtool command with a value (struct ethtool_value behind struct ifreq)."""
        pair = array.array("I", (command, value))
        request = struct.pack("16sP16x", self._interface.encode(), pair.buffer_info()[0])
        fcntl.ioctl(control, SIOCETHTOOL, request)
        return pair[1]


def mtu_of(interface: str) -> int:
    """The interface's MTU, in octets.

    Raises:
        OSError: there is no such interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16si20x", interface.encode(), 0)
        answer = fcntl.ioctl(control, SIOCGIFMTU, request)
    mtu: int = struct.unpack_from("i", answer, 16)[0]
    return mtu


class PacketSocket:
    """One interface, open for frames. Not blocking."""

    def __init__(self, interface: str) -> None:
        """Open the interface.

        Raises:
            OSError: there is no such interface, or no permission.
        """
        self.interface = interface
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: nothing arrives before bind
        self._socket.setblocking(False)
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)  # Linux 4.20 and later
        membership = struct.pack("iHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
        self._socket.bind((interface, ETH_P_ALL))
        self._offloads = Offloads(interface)
        self.stubborn_offloads = self._offloads.switch_off()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def receive(self) -> list[bytes] | None:
        """The frames of one read; None if nothing is there.

        Raises:
            OSError: the interface went down.
        """
        space = socket.CMSG_SPACE(AUXDATA.size)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(VNET_HEADER.size + LARGEST_FRAME, space)
        except BlockingIOError:
            return None
        undone = Undone.parse(data[: VNET_HEADER.size])
        frames = finish(undone, data[VNET_HEADER.size :])
        tag = _vlan_tag(ancillary)
        return [frame[:12] + tag + frame[12:] if tag else frame for frame in frames]

    def send(self, frame: bytes) -> bool:
        """Send one frame. False if it could not leave: no room, or too long for the interface."""
        try:
            self._socket.send(NO_OFFLOAD + frame)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the interface and leave it as it was."""
        self._socket.close()
        self._offloads.restore()


def _vlan_tag(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The 802.1Q tag that the kernel took out of the frame; empty if there was none."""
    for level, kind, octets in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(octets) >= AUXDATA.size:
            status, _, _, _, _, control, identifier = AUXDATA.unpack_from(octets)
            if status & TP_STATUS_VLAN_VALID:
                return struct.pack("!HH", identifier or 0x8100, control)
    return b""
