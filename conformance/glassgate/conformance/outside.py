"""The external network as a gateway with its own stack meets it: the router, and behind it the tunnel's server.

    the gateway's frame → ARP for the router: answered
                        → TCP to the server:  taken in order, acknowledged at once; its text is what the flow carries
                        → anything else:      what a router or server would not have, told as that

No segment is lost here and none is late, so the gateway's TCP has nothing to repeat. Its own faults are looked for by
vectors at the port ``external``; this is only the way by which the others reach the tunnel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from glassgate.conformance.checksums import expected_checksum, internet_checksum
from glassgate.contract import ExternalStack, MacAddress

ROUTER = MacAddress.parse("02:00:c0:a8:01:01")
MAX_SEGMENT = 1460
INITIAL_SEQUENCE = 0x51000000
WINDOW = 0xFFFF
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16
_ARP, _IPV4, _TCP = 0x0806, 0x0800, 6
_MODULUS = 1 << 32


class News(StrEnum):
    """What became of the flow, seen from outside."""

    WANTED = "open"
    """The gateway asks for a connection."""
    RESET = "close"
    """The gateway gave the connection up."""


@dataclass(frozen=True, slots=True)
class Octets:
    """Octets of the stream that the gateway sent."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Strange:
    """A frame that nobody outside would have, and why."""

    frame: bytes
    problem: str


Event = News | Octets | Strange


@dataclass(slots=True)
class _Connection:
    """The server's half of a connection. ``is_open`` is false while the gateway's SYN waits for its answer."""

    port: int
    next_receive: int
    next_send: int = INITIAL_SEQUENCE
    is_open: bool = False


class Outside:
    """Router and server. ``accepts`` says whether the next SYN is answered at once, or only when told to."""

    def __init__(self, external: ExternalStack, server: IPv4Address, port: int, *, accepts: bool) -> None:
        self._external = external
        self._server = server
        self._port = port
        self._accepts = accepts
        self._connection: _Connection | None = None
        self._last_syn: tuple[int, int] | None = None

    def receive(self, frame: bytes) -> tuple[list[Event], list[bytes]]:
        """Take a frame of the gateway: what it means, and the frames that answer it."""
        kind = int.from_bytes(frame[12:14], "big")
        if kind == _ARP:
            return [], self._arp(frame)
        problem = self._problem(frame, kind)
        if problem:
            return [Strange(frame, problem)], []
        return self._segment(frame)

    def send(self, data: bytes) -> list[bytes]:
        """The frames that bring octets of the stream to the gateway; none where there is no connection."""
        connection = self._connection
        if connection is None or not connection.is_open:
            return []
        frames = []
        for start in range(0, len(data), MAX_SEGMENT):
            text = data[start : start + MAX_SEGMENT]
            frames.append(self._frame(connection, _PSH | _ACK, text))
            connection.next_send = (connection.next_send + len(text)) % _MODULUS
        return frames

    def open(self) -> list[bytes]:
        """Answer the SYN that waits."""
        connection = self._connection
        if connection is None or connection.is_open:
            return []
        answer = self._frame(connection, _SYN | _ACK)
        connection.next_send = (connection.next_send + 1) % _MODULUS
        connection.is_open = True
        return [answer]

    def close(self) -> list[bytes]:
        """Reset the connection, or refuse the SYN that waits."""
        connection, self._connection = self._connection, None
        return [] if connection is None else [self._frame(connection, _RST | _ACK)]

    # ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _arp(self, frame: bytes) -> list[bytes]:
        """The router answers for its own address, and nobody for any other."""
        packet = frame[14:42]
        if packet[6:8] != b"\0\1" or packet[24:28] != self._external.gateway.packed or packet[14:18] == packet[24:28]:
            return []
        reply = packet[:6] + b"\0\2" + ROUTER + packet[24:28] + packet[8:18]
        return [packet[8:14] + ROUTER + _ARP.to_bytes(2, "big") + reply]

    def _problem(self, frame: bytes, kind: int) -> str:
        """Why neither router nor server would have the frame; empty if they would."""
        if kind != _IPV4 or len(frame) < 54:
            return f"type 0x{kind:04x} is nothing that leaves here, or it is cut off"
        if frame[:6] != ROUTER:
            return f"goes to {frame[:6].hex(':')}, not to the router"
        if frame[6:12] != self._external.mac:
            return f"comes from {frame[6:12].hex(':')}, not from the gateway's hardware address"
        source, destination = IPv4Address(frame[26:30]), IPv4Address(frame[30:34])
        if source != self._external.address.ip or destination != self._server:
            return f"goes from {source} to {destination}, not from {self._external.address.ip} to {self._server}"
        if frame[14] != 0x45 or internet_checksum(frame[14:34]):
            return "the IPv4 header is wrong"
        if frame[23] != _TCP or frame[36:38] != self._port.to_bytes(2, "big"):
            return "is no TCP to the server's port"
        if expected_checksum(frame, 14, 50, "tcp") != int.from_bytes(frame[50:52], "big"):
            return "the TCP checksum is wrong"
        return ""

    def _segment(self, frame: bytes) -> tuple[list[Event], list[bytes]]:
        end = 14 + int.from_bytes(frame[16:18], "big")
        port, _, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", frame, 34)
        text = frame[34 + 4 * (offset >> 4) : end]
        if flags & _SYN:
            return self._syn(port, sequence)
        connection = self._connection
        if connection is None or port != connection.port or not connection.is_open:
            return ([], []) if flags & _RST else ([Strange(frame, "belongs to no connection")], [])
        if flags & _RST:
            self._connection = None
            return [News.RESET], []
        return self._text(connection, frame, sequence, text, bool(flags & _FIN))

    def _syn(self, port: int, sequence: int) -> tuple[list[Event], list[bytes]]:
        if self._last_syn == (port, sequence):
            return [], []  # sent again: no news, be it that it waits or that it was refused
        self._last_syn = port, sequence
        self._connection = _Connection(port, (sequence + 1) % _MODULUS)
        if self._accepts:
            self._accepts = False
            return [], self.open()
        return [News.WANTED], []

    def _text(
        self, connection: _Connection, frame: bytes, sequence: int, text: bytes, is_last: bool
    ) -> tuple[list[Event], list[bytes]]:
        ahead = (sequence - connection.next_receive) % _MODULUS
        if ahead >= _MODULUS // 2:
            return [], [self._frame(connection, _ACK)]  # sent again, though nothing was lost: acknowledged again
        if ahead:
            return [Strange(frame, f"leaves {ahead} octets of the stream out")], []
        connection.next_receive = (connection.next_receive + len(text) + is_last) % _MODULUS
        events: list[Event] = [Octets(text)] if text else []
        answers = [self._frame(connection, _ACK)] if text or is_last else []
        if is_last:
            self._connection = None
            events.append(News.RESET)
        return events, answers

    # ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _frame(self, connection: _Connection, flags: int, text: bytes = b"") -> bytes:
        options = struct.pack("!BBH", 2, 4, MAX_SEGMENT) if flags & _SYN else b""
        offset = (5 + len(options) // 4) << 4
        fixed = (self._port, connection.port, connection.next_send, connection.next_receive, offset, flags, WINDOW)
        segment = struct.pack("!HHIIBBHHH", *fixed, 0, 0) + options + text
        addresses = self._server.packed + self._external.address.ip.packed
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, _TCP, 0) + addresses
        header = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
        frame = self._external.mac + ROUTER + _IPV4.to_bytes(2, "big") + header + segment
        return frame[:50] + expected_checksum(frame, 14, 50, "tcp").to_bytes(2, "big") + frame[52:]
