"""Capture files: pcapng written with comments, pcap and pcapng read.

Written files follow draft-ietf-opsawg-pcapng: one section, one interface for each port, each packet with its direction
and what was said about it, so that Wireshark shows the explanation beside the octets. The reader takes what tcpdump
and Wireshark write, in either order of octets, and says in one line what it cannot read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

ETHERNET = 1
RAW_IP = 101
_RAW_IPV4 = 228
_RAW_ON_BSD = (12, 14)

LINK_TYPES = {ETHERNET: "Ethernet", RAW_IP: "raw IP"}
"""The link types that can be read, as LINKTYPE numbers. (The other numbers of raw IP are read as 101.)"""

MOST_OCTETS = 262_144
"""No frame of ours is longer: a length over this is damage, not a packet (the limit of tcpdump and Wireshark)."""

SECTION_HEADER, INTERFACE, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 3, 6
BYTE_ORDER = 0x1A2B3C4D
_OPTION_COMMENT = 1
_OPTION_NAME = 2
_OPTION_DESCRIPTION = 3
_OPTION_RESOLUTION = 9
_OPTION_FLAGS = 2
NANOSECONDS = 9


class CaptureError(ValueError):
    """A capture that cannot be read: what is wrong and where, in one line."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One packet of a capture file. ``number`` counts from 1, as Wireshark does; ``direction`` is seldom told."""

    number: int
    seconds: float
    link_type: int
    data: bytes
    interface: str = ""
    direction: Literal["in", "out", ""] = ""
    missing: int = 0
    """How many of the packet's last octets were not captured."""


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Writer:
    """Writes one pcapng section to a binary stream, little-endian, times in nanoseconds."""

    def __init__(self, stream: BinaryIO, application: str = "glassgate") -> None:
        self._stream = stream
        self._interfaces = 0
        body = struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1) + _options((4, application.encode()))
        self._block(SECTION_HEADER, body)

    def interface(self, name: str, description: str = "", link_type: int = ETHERNET) -> int:
        """Declare an interface; returns its number."""
        options = _options(
            (_OPTION_NAME, name.encode()),
            (_OPTION_DESCRIPTION, description.encode()),
            (_OPTION_RESOLUTION, bytes([NANOSECONDS])),
        )
        self._block(INTERFACE, struct.pack("<HHI", link_type, 0, 0) + options)
        self._interfaces += 1
        return self._interfaces - 1

    def packet(
        self,
        interface: int,
        seconds: float,
        data: bytes,
        *comments: str,
        direction: Literal["in", "out", ""] = "",
    ) -> None:
        """Write one packet with its comments. ``direction`` is as the gateway sees it."""
        assert interface < self._interfaces, interface
        time = round(seconds * 1e9)
        fixed = struct.pack("<IIIII", interface, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
        flags = {"in": 1, "out": 2, "": 0}[direction]
        options = _options(
            *((_OPTION_COMMENT, comment.encode()) for comment in comments), (_OPTION_FLAGS, struct.pack("<I", flags))
        )
        self._block(ENHANCED_PACKET, fixed + _padded(data) + options)

    def _block(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._stream.write(struct.pack("<II", kind, length) + body + struct.pack("<I", length))


def _options(*options: tuple[int, bytes]) -> bytes:
    """Options as code, length and padded value, closed by the option of code 0; empty ones are left out."""
    written = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options if value]
    return b"".join(written) + bytes(4) if written else b""


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(octets: bytes) -> Iterator[Captured]:
    """The packets of a pcap or pcapng file, one after another.

    Raises:
        CaptureError: this is no such file, or it is damaged (raised where the damage is reached).
    """
    magic = octets[:4]
    if magic == struct.pack("<I", SECTION_HEADER):  # a palindrome: the same in either order
        return _read_pcapng(octets)
    for order in "<>":
        for number, resolution in ((0xA1B2C3D4, 1e6), (0xA1B23C4D, 1e9)):
            if magic == struct.pack(f"{order}I", number):
                return _read_pcap(octets, order, resolution)
    raise CaptureError(f"begins with {magic.hex() or 'nothing'}, which is neither pcap nor pcapng")


def is_capture(octets: bytes) -> bool:
    """Whether the octets begin as a pcap or pcapng file does."""
    try:
        read(octets)
    except CaptureError:
        return False
    return True


def _read_pcap(octets: bytes, order: str, resolution: float) -> Iterator[Captured]:
    if len(octets) < 24:
        raise CaptureError(f"a pcap file header has 24 octets; {len(octets)} are there")
    link_type = _link_type(struct.unpack_from(f"{order}I", octets, 20)[0] & 0x0FFFFFFF)
    place, number = 24, 0
    while place < len(octets):
        number += 1
        if len(octets) - place < 16:
            raise CaptureError(f"packet {number}: its header is cut off")
        seconds, fraction, length, whole = struct.unpack_from(f"{order}IIII", octets, place)
        data = _packet_data(octets, place + 16, length, len(octets), number)
        missing = max(whole - length, 0)
        yield Captured(number, seconds + fraction / resolution, link_type, data, missing=missing)
        place += 16 + length


def _packet_data(octets: bytes, start: int, length: int, end: int, number: int) -> bytes:
    if length > MOST_OCTETS:
        raise CaptureError(f"packet {number}: its length of {length} is over {MOST_OCTETS}")
    if start + length > end:
        raise CaptureError(f"packet {number}: {max(end - start, 0)} of {length} octets are there")
    return octets[start : start + length]


def _link_type(value: int) -> int:
    if value == _RAW_IPV4 or value in _RAW_ON_BSD:
        return RAW_IP
    if value not in LINK_TYPES:
        known = ", ".join(f"{number} ({name})" for number, name in LINK_TYPES.items())
        raise CaptureError(f"link type {value} cannot be read; these can: {known}")
    return value


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    name: str
    resolution: float


def _read_pcapng(octets: bytes) -> Iterator[Captured]:
    order, interfaces, number = "<", list[_Interface](), 0
    for kind, start, end, order in _blocks(octets):
        if kind == SECTION_HEADER:
            interfaces = []
        elif kind == INTERFACE:
            interfaces.append(_read_interface(octets, start, end, order))
        elif kind in (ENHANCED_PACKET, SIMPLE_PACKET):
            number += 1
            read_packet = _read_enhanced if kind == ENHANCED_PACKET else _read_simple
            yield read_packet(octets, start, end, order, interfaces, number)


def _blocks(octets: bytes) -> Iterator[tuple[int, int, int, str]]:
    """Each block's type, where its body starts and ends, and the order of octets in its section."""
    place, order = 0, "<"
    while place < len(octets):
        if len(octets) - place < 12:
            raise CaptureError(f"octet {place}: the last block is cut off")
        if octets[place : place + 4] == struct.pack("<I", SECTION_HEADER):
            order = _order(octets, place)
        kind, length = struct.unpack_from(f"{order}II", octets, place)
        if length < 12 or length % 4 or place + length > len(octets):
            raise CaptureError(f"octet {place}: a block length of {length} cannot be right")
        if octets[place + length - 4 : place + length] != octets[place + 4 : place + 8]:
            raise CaptureError(f"octet {place}: the two lengths of a block differ")
        yield kind, place + 8, place + length - 4, order
        place += length


def _order(octets: bytes, place: int) -> str:
    mark = octets[place + 8 : place + 12]
    for order in "<>":
        if mark == struct.pack(f"{order}I", BYTE_ORDER):
            return order
    raise CaptureError(f"octet {place}: a section header without its byte-order mark")


def _read_interface(octets: bytes, start: int, end: int, order: str) -> _Interface:
    if end - start < 8:
        raise CaptureError(f"octet {start}: an interface block is cut off")
    link_type, _, snap_length = struct.unpack_from(f"{order}HHI", octets, start)
    name, resolution = "", 1e6
    for code, value in _read_options(octets, start + 8, end, order):
        if code == _OPTION_NAME:
            name = value.decode("utf-8", "replace")
        elif code == _OPTION_RESOLUTION and value:
            resolution = 2.0 ** (value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** value[0]
    return _Interface(_link_type(link_type), snap_length, name, resolution)


def _read_options(octets: bytes, place: int, end: int, order: str) -> Iterator[tuple[int, bytes]]:
    while end - place >= 4:
        code, length = struct.unpack_from(f"{order}HH", octets, place)
        if code == 0 or place + 4 + length > end:
            return
        yield code, octets[place + 4 : place + 4 + length]
        place += 4 + length + -length % 4


def _read_enhanced(
    octets: bytes, start: int, end: int, order: str, interfaces: list[_Interface], number: int
) -> Captured:
    if end - start < 20:
        raise CaptureError(f"packet {number}: its block is cut off")
    index, high, low, length, whole = struct.unpack_from(f"{order}IIIII", octets, start)
    interface = _interface(interfaces, index, number)
    data = _packet_data(octets, start + 20, length, end, number)
    seconds = (high << 32 | low) / interface.resolution
    direction = _direction(octets, start + 20 + length + -length % 4, end, order)
    missing = max(whole - length, 0)
    return Captured(number, seconds, interface.link_type, data, interface.name, direction, missing)


def _direction(octets: bytes, options: int, end: int, order: str) -> Literal["in", "out", ""]:
    for code, value in _read_options(octets, options, end, order):
        if code == _OPTION_FLAGS and len(value) == 4:
            match struct.unpack(f"{order}I", value)[0] & 3:
                case 1:
                    return "in"
                case 2:
                    return "out"
    return ""


def _read_simple(
    octets: bytes, start: int, end: int, order: str, interfaces: list[_Interface], number: int
) -> Captured:
    if end - start < 4:
        raise CaptureError(f"packet {number}: its block is cut off")
    interface = _interface(interfaces, 0, number)
    length = struct.unpack_from(f"{order}I", octets, start)[0]
    kept = min(length, interface.snap_length or length)
    data = _packet_data(octets, start + 4, kept, end, number)
    return Captured(number, 0.0, interface.link_type, data, interface.name, missing=length - kept)


def _interface(interfaces: list[_Interface], index: int, number: int) -> _Interface:
    if index >= len(interfaces):
        raise CaptureError(f"packet {number}: interface {index} was not declared")
    return interfaces[index]
