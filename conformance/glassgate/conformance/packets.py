"""Exact octets, for those who write vectors: Ethernet, ARP, IPv4, ICMP, UDP, TCP and data records, a field an argument.

Nothing here is a stack. A builder writes what it is told, right or wrong: a header length of 4, a checksum that is off
by one. What it is not told it computes from the definition in the standard: lengths from the payload, checksums by
RFC 1071's sum over 16-bit words. What reads packets for the judge shares no code with this.

A field whose value is left to the gateway is given as ``ANY``, ``bound("name")`` or ``within(low, high)``: its place
then stands in ``free``, and a checksum over it becomes one that is recomputed. In the octets such a field is zero.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any, Literal

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from glassgate.conformance.model import AnyOctets, Bind, Checksum, Free, Range
from glassgate.contract import Cipher, MacAddress

ChecksumOf = Literal["ip", "icmp", "udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Octets:
    """Octets, and which of them are free."""

    data: bytes = b""
    free: tuple[Free, ...] = ()

    def __add__(self, other: Octets | bytes) -> Octets:
        tail = octets(other)
        return Octets(self.data + tail.data, self.free + tuple(_moved(one, len(self.data)) for one in tail.free))

    def __len__(self) -> int:
        return len(self.data)


def octets(value: Octets | bytes) -> Octets:
    """Plain octets are all exact."""
    return value if isinstance(value, Octets) else Octets(bytes(value))


def _moved(free: Free, distance: int) -> Free:
    return replace(free, start=free.start + distance, end=free.end + distance)


@dataclass(frozen=True, slots=True)
class Unfixed:
    """A value that the gateway chooses; ``at`` makes the free octets that hold it."""

    at: Callable[[int, int], Free]


ANY = Unfixed(AnyOctets)


def bound(name: str, plus: int = 0) -> Unfixed:
    """Whatever it is, it is the same wherever this name stands (and ``plus`` more here)."""
    return Unfixed(lambda start, end: Bind(start, end, name, plus))


def within(low: int, high: int) -> Unfixed:
    """Any value from ``low`` to ``high``, both included."""
    return Unfixed(lambda start, end: Range(start, end, low, high))


Value = int | Unfixed


def _fields(layout: str, *values: Value | bytes) -> Octets:
    """Pack fields in network order; an unfixed one is zero and noted as free."""
    free = []
    plain: list[int | bytes] = []
    for index, value in enumerate(values):
        if isinstance(value, Unfixed):
            start = struct.calcsize("!" + layout[:index])
            free.append(value.at(start, start + struct.calcsize("!" + layout[index])))
            plain.append(0)
        else:
            plain.append(value)
    return Octets(struct.pack("!" + layout, *plain), tuple(free))


def _with_checksum(
    packet: Octets, at: int, of: ChecksumOf, given: int | None, compute: Callable[[bytes], int]
) -> Octets:
    """Put the checksum in its place: the one given, else the computed one, which is recomputed over free octets."""
    value = compute(packet.data) if given is None else given
    data = packet.data[:at] + struct.pack("!H", value) + packet.data[at + 2 :]
    if packet.free and given is None:
        free = sorted((*packet.free, Checksum(at, at + 2, of)), key=lambda one: one.start)
        return Octets(data, tuple(free))
    return Octets(data, packet.free)


# ── RFC 1071 ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def checksum(data: bytes) -> int:
    """The Internet checksum: the one's complement of the one's complement sum of the 16-bit words (RFC 1071 1).

    >>> hex(checksum(bytes.fromhex("0001f203f4f5f6f7")))     # RFC 1071 3
    '0x220d'
    """
    if len(data) % 2:
        data += b"\0"
    total = 0
    for high, low in zip(data[::2], data[1::2], strict=True):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def address(text: str) -> bytes:
    """The four octets of dotted decimal."""
    return IPv4Address(text).packed


def mac(text: str) -> bytes:
    """The six octets of an Ethernet address in colon notation."""
    return bytes(MacAddress.parse(text))


# ── Ethernet (RFC 894) ────────────────────────────────────────────────────────────────────────────────────────────────

TYPE_IPV4 = 0x0800
TYPE_ARP = 0x0806
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
SHORTEST_FRAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ethernet:
    """A frame: destination, source, type, payload, and padding up to ``pad_to`` octets."""

    source: str
    destination: str
    type: int
    payload: Octets | bytes
    pad_to: int = 0
    pad_with: int = 0

    def build(self) -> Octets:
        """The frame's octets."""
        frame = Octets(mac(self.destination) + mac(self.source) + struct.pack("!H", self.type)) + self.payload
        return frame + bytes([self.pad_with]) * max(0, self.pad_to - len(frame))

    def but(self, **changes: Any) -> Ethernet:
        """The same frame with some fields changed."""
        return replace(self, **changes)


# ── ARP (RFC 826) ─────────────────────────────────────────────────────────────────────────────────────────────────────

REQUEST = 1
REPLY = 2
ZERO_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arp:
    """An ARP packet for IPv4 over Ethernet, unless told otherwise."""

    operation: int
    sender_hardware: str
    sender_protocol: str
    target_hardware: str = ZERO_MAC
    target_protocol: str
    hardware_type: int = 1
    protocol_type: int = TYPE_IPV4
    hardware_length: int = 6
    protocol_length: int = 4

    def build(self) -> Octets:
        """The 28 octets."""
        fixed = struct.pack(
            "!HHBBH",
            self.hardware_type,
            self.protocol_type,
            self.hardware_length,
            self.protocol_length,
            self.operation,
        )
        sender = mac(self.sender_hardware) + address(self.sender_protocol)
        return Octets(fixed + sender + mac(self.target_hardware) + address(self.target_protocol))

    def but(self, **changes: Any) -> Arp:
        """The same packet with some fields changed."""
        return replace(self, **changes)


# ── IPv4 (RFC 791) ────────────────────────────────────────────────────────────────────────────────────────────────────

ICMP = 1
TCP = 6
UDP = 17


@dataclass(frozen=True, slots=True)
class Payload:
    """What an IPv4 packet carries: its protocol number, and its octets given the two addresses (for checksums)."""

    protocol: int
    build: Callable[[str, str], Octets]


def raw(protocol: int, data: bytes) -> Payload:
    """A payload that is just octets."""
    return Payload(protocol, lambda source, destination: Octets(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class IPv4:
    """An IPv4 packet. ``header_length`` counts 4-octet words and ``fragment_offset`` 8-octet blocks, as in the header.

    Lengths and checksum are right unless given. ``options`` are written as they are: a multiple of four octets.
    """

    source: str
    destination: str
    payload: Payload
    version: int = 4
    header_length: int | None = None
    type_of_service: int = 0
    total_length: int | None = None
    identification: Value = 0x1234
    reserved_bit: bool = False
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    time_to_live: int = 64
    header_checksum: int | None = None
    options: bytes | Octets = b""

    def data(self) -> Octets:
        """What follows the header."""
        return self.payload.build(self.source, self.destination)

    def build(self) -> Octets:
        """The packet's octets."""
        data = self.data()
        words = 5 + len(self.options) // 4 if self.header_length is None else self.header_length
        length = 20 + len(self.options) + len(data) if self.total_length is None else self.total_length
        flags = self.reserved_bit << 15 | self.dont_fragment << 14 | self.more_fragments << 13 | self.fragment_offset
        fixed = _fields(
            "BBHHHBBH",
            self.version << 4 | words,
            self.type_of_service,
            length,
            self.identification,
            flags,
            self.time_to_live,
            self.payload.protocol,
            0,
        )
        header = fixed + address(self.source) + address(self.destination) + self.options
        return _with_checksum(header, 10, "ip", self.header_checksum, checksum) + data

    def but(self, **changes: Any) -> IPv4:
        """The same packet with some fields changed; its payload's own checksums follow the addresses."""
        return replace(self, **changes)

    def piece(self, start: int, end: int, *, more: bool, options: bytes | Octets | None = None, **changes: Any) -> IPv4:
        """The fragment with this packet's data octets ``start`` up to ``end``: the author says where to cut.

        ``start`` counts from this packet's own first data octet; it is a multiple of eight.
        """
        assert start % 8 == 0, start
        kept = self.data()
        assert not kept.free, "cut a packet whose data are exact"
        assert end <= len(kept), (end, len(kept))
        return replace(
            self,
            payload=raw(self.payload.protocol, kept.data[start:end]),
            fragment_offset=self.fragment_offset + start // 8,
            more_fragments=more,
            options=self.options if options is None else options,
            **changes,
        )


# ── ICMP (RFC 792) ────────────────────────────────────────────────────────────────────────────────────────────────────


def icmp(type_: int, code: int, rest: bytes = bytes(4), data: bytes = b"", *, given: int | None = None) -> Payload:
    """Any ICMP message: type, code, checksum, the header's other four octets, data."""

    def build(source: str, destination: str) -> Octets:
        return _with_checksum(Octets(bytes([type_, code, 0, 0]) + rest + data), 2, "icmp", given, checksum)

    return Payload(ICMP, build)


def echo_request(identifier: int = 0x0007, sequence: int = 1, data: bytes = b"glassgate", **given: int) -> Payload:
    """An ICMP echo request."""
    return icmp(8, 0, struct.pack("!HH", identifier, sequence), data, **given)


def echo_reply(identifier: int = 0x0007, sequence: int = 1, data: bytes = b"glassgate", **given: int) -> Payload:
    """An ICMP echo reply."""
    return icmp(0, 0, struct.pack("!HH", identifier, sequence), data, **given)


def icmp_error(type_: int, code: int, about: IPv4 | bytes, rest: bytes = bytes(4)) -> Payload:
    """An ICMP error that quotes a packet as far as the whole error stays within 576 octets (RFC 1812 4.3.2.3)."""
    quoted = about if isinstance(about, bytes) else about.build().data
    return icmp(type_, code, rest, quoted[: 576 - 20 - 8])


def fragmentation_needed(about: IPv4, mtu: int) -> Payload:
    """ICMP 3/4 with the Next-Hop MTU of RFC 1191 4."""
    return icmp_error(3, 4, about, struct.pack("!HH", 0, mtu))


def parameter_problem(about: IPv4, pointer: int) -> Payload:
    """ICMP 12/0; ``pointer`` is the octet of the quoted header at fault."""
    return icmp_error(12, 0, about, bytes([pointer, 0, 0, 0]))


# ── UDP (RFC 768) and TCP (RFC 9293 3.1) ──────────────────────────────────────────────────────────────────────────────


def _pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    return address(source) + address(destination) + struct.pack("!BBH", 0, protocol, length)


def udp(
    source_port: Value,
    destination_port: Value,
    data: bytes = b"",
    *,
    length: int | None = None,
    given: int | None = None,
    excess: bytes = b"",
) -> Payload:
    """A UDP datagram; ``given`` is a checksum other than the right one, ``excess`` follows what the length covers."""

    def build(source: str, destination: str) -> Octets:
        total = 8 + len(data) if length is None else length
        whole = _fields("HHHH", source_port, destination_port, total, 0) + data
        pseudo = _pseudo_header(source, destination, UDP, total)
        computed = checksum(pseudo + whole.data) or 0xFFFF  # RFC 768: a computed 0 is sent as all ones
        return _with_checksum(whole, 6, "udp", given, lambda _: computed) + excess

    return Payload(UDP, build)


FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


def tcp(
    source_port: Value,
    destination_port: Value,
    flags: Value,
    *,
    sequence: Value = 0,
    acknowledgment: Value = 0,
    window: Value = 65535,
    options: Octets | bytes = b"",
    data: bytes = b"",
    data_offset: int | None = None,
    urgent_pointer: int = 0,
    given: int | None = None,
) -> Payload:
    """A TCP segment; ``given`` is a checksum other than the right one, ``data_offset`` counts 4-octet words."""

    def build(source: str, destination: str) -> Octets:
        words = 5 + len(options) // 4 if data_offset is None else data_offset
        header = _fields(
            "HHIIBBHHH",
            source_port,
            destination_port,
            sequence,
            acknowledgment,
            words << 4,
            flags,
            window,
            0,
            urgent_pointer,
        )
        whole = header + options + data
        pseudo = _pseudo_header(source, destination, TCP, len(whole))
        return _with_checksum(whole, 16, "tcp", given, lambda segment: checksum(pseudo + segment))

    return Payload(TCP, build)


def maximum_segment_size(octets_: int) -> bytes:
    """The option MSS (RFC 9293 3.2)."""
    return struct.pack("!BBH", 2, 4, octets_)


# ── IPv4 options (RFC 791 3.1) ────────────────────────────────────────────────────────────────────────────────────────

END_OF_OPTIONS = b"\x00"
NO_OPERATION = b"\x01"


def option(type_: int, data: bytes = b"", *, length: int | None = None) -> bytes:
    """An option with type, length and data; ``length`` says another length than the right one."""
    return bytes([type_, 2 + len(data) if length is None else length]) + data


def record_route(*routers: str, room: int = 3) -> bytes:
    """Record route with room for ``room`` addresses, the first of them filled in. Not copied into fragments."""
    return option(7, bytes([4 + 4 * len(routers)]) + _route(routers, room))


def loose_source_route(*routers: str, pointer: int = 4) -> bytes:
    """Loose source and record route. Copied into fragments."""
    return option(131, bytes([pointer]) + _route(routers, len(routers)))


def strict_source_route(*routers: str, pointer: int = 4) -> bytes:
    """Strict source and record route. Copied into fragments."""
    return option(137, bytes([pointer]) + _route(routers, len(routers)))


def timestamp(room: int = 2) -> bytes:
    """Internet timestamp, timestamps only, with room for ``room`` of them. Not copied into fragments."""
    return option(68, bytes([5, 0]) + bytes(4 * room))


def timestamp_entered(room: int = 2) -> Octets:
    """The same with one timestamp entered: the milliseconds since midnight UT of whoever forwarded it."""
    return Octets(option(68, bytes([9, 0]) + bytes(4 * room)), (AnyOctets(4, 8),))


ROUTER_ALERT = option(148, bytes(2))
"""Router alert (RFC 2113). Copied into fragments."""


def _route(routers: Iterable[str], room: int) -> bytes:
    return b"".join(address(one) for one in routers).ljust(4 * room, b"\0")


# ── OpenVPN's data channel and framing (PROTOCOL 1, 2, 10.1) ──────────────────────────────────────────────────────────

P_DATA_V1 = 6
P_DATA_V2 = 9
PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
OCC_EXIT = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c06")
TAG_OCTETS = 16


@dataclass(frozen=True, slots=True)
class Seal:
    """One direction of a data channel: cipher, key, implicit IV, and how the records are labelled."""

    key: bytes
    implicit_iv: bytes
    cipher: Cipher = Cipher.AES_256_GCM
    key_id: int = 0
    peer_id: int | None = 0

    def record(
        self,
        packet_id: int,
        payload: bytes,
        *,
        tag_flip: int = 0,
        opcode: int | None = None,
        peer_id: int | None = None,
    ) -> bytes:
        """One data record: header, packet id, tag, ciphertext. ``tag_flip`` spoils the tag's last octet.

        ``peer_id`` here labels this one record otherwise.
        """
        labelled = self.peer_id if peer_id is None else peer_id
        kind = (P_DATA_V1 if labelled is None else P_DATA_V2) if opcode is None else opcode
        header = bytes([kind << 3 | self.key_id]) + (b"" if labelled is None else labelled.to_bytes(3, "big"))
        number = struct.pack("!I", packet_id)
        associated = number if labelled is None else header + number
        algorithm = ChaCha20Poly1305 if self.cipher is Cipher.CHACHA20_POLY1305 else AESGCM
        sealed = algorithm(self.key).encrypt(number + self.implicit_iv, payload, associated)
        ciphertext, tag = sealed[:-TAG_OCTETS], sealed[-TAG_OCTETS:]
        return header + number + tag[:-1] + bytes([tag[-1] ^ tag_flip]) + ciphertext


def framed(*records: bytes) -> bytes:
    """Records as they travel in the stream, each behind its 16-bit length."""
    return b"".join(struct.pack("!H", len(record)) + record for record in records)
