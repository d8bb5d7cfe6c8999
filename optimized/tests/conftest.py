"""Builders for the tests of the optimized gateway: octets made from the standards, not with its own code."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import settings

from glassgate.contract import Effect, GatewayConfig, Note, NoteKind, Port, SeededEntropy, Transmit
from glassgate.optimized import InProcess

settings.register_profile("no deadline", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("no deadline")

MAC = bytes.fromhex("00f00df00d00")
BROADCAST = b"\xff" * 6
SEND_KEY, SEND_IV = bytes(range(32)), bytes(range(64, 72))
RECEIVE_KEY, RECEIVE_IV = bytes(range(32, 64)), bytes(range(72, 80))


def checksum(octets: bytes) -> int:
    """RFC 1071, word by word with an end-around carry."""
    total = 0
    for at in range(0, len(octets), 2):
        total += int.from_bytes(octets[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def address(text: str) -> bytes:
    return IPv4Address(text).packed


def hardware(text: str) -> bytes:
    """The made-up hardware address of a host inside."""
    return b"\x02\x00" + address(text)


def ipv4(source: str, destination: str, payload: bytes = b"", **fields: int | bytes) -> bytes:
    """A packet. Fields: tos, identification, fragment (flags and offset), ttl, protocol, options, total_length."""
    options = bytes(fields.get("options", b""))
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x45 + len(options) // 4,
        fields.get("tos", 0),
        fields.get("total_length", 20 + len(options) + len(payload)),
        fields.get("identification", 0x1234),
        fields.get("fragment", 0),
        fields.get("ttl", 64),
        fields.get("protocol", 253),
        0,
        address(source),
        address(destination),
    )
    header += options
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def transport(protocol: int, source: str, destination: str, segment: bytes, at: int) -> bytes:
    """A UDP datagram or TCP segment with its checksum, which stands at ``at``, filled in."""
    pseudo = address(source) + address(destination) + struct.pack(">HH", protocol, len(segment))
    value = checksum(pseudo + segment) or 0xFFFF
    return segment[:at] + value.to_bytes(2, "big") + segment[at + 2 :]


def udp(
    source: str, destination: str, source_port: int, destination_port: int, data: bytes = b"", **fields: int
) -> bytes:
    datagram = struct.pack(">HHHH", source_port, destination_port, 8 + len(data), 0) + data
    return ipv4(source, destination, transport(17, source, destination, datagram, 6), protocol=17, **fields)


def tcp(
    source: str,
    destination: str,
    ports: tuple[int, int],
    flags: int,
    data: bytes = b"",
    options: bytes = b"",
    **fields: int,
) -> bytes:
    sequence, acknowledgment = fields.pop("sequence", 1000), fields.pop("acknowledgment", 2000)
    window = fields.pop("window", 8192)
    offset = (5 + len(options) // 4) << 4
    segment = struct.pack(">HHIIBBHHH", *ports, sequence, acknowledgment, offset, flags, window, 0, 0) + options + data
    return ipv4(source, destination, transport(6, source, destination, segment, 16), protocol=6, **fields)


def icmp(source: str, destination: str, message_type: int, code: int, rest: bytes, **fields: int) -> bytes:
    message = bytes((message_type, code, 0, 0)) + rest
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    return ipv4(source, destination, message, protocol=1, **fields)


def ethernet(payload: bytes, source: bytes, destination: bytes = MAC, ether_type: int = 0x0800) -> bytes:
    return destination + source + ether_type.to_bytes(2, "big") + payload


def arp(
    operation: int,
    sender_hardware: bytes,
    sender: str,
    target: str,
    target_hardware: bytes = bytes(6),
    destination: bytes = BROADCAST,
) -> bytes:
    packet = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + sender_hardware + address(sender)
    return ethernet(packet + target_hardware + address(target), sender_hardware, destination, 0x0806)


class World:
    """A gateway with known keys, hosts inside and a far end that seals and opens."""

    def __init__(self, *, learned: Iterable[str] = (), is_started: bool = True, **overrides: object) -> None:
        session: dict[str, object] = {
            "send": {"key": SEND_KEY.hex(), "implicit_iv": SEND_IV.hex()},
            "receive": {"key": RECEIVE_KEY.hex(), "implicit_iv": RECEIVE_IV.hex()},
        }
        session |= overrides.pop("session", {})  # type: ignore[operator]
        tunnel = {"session": session} | overrides.pop("tunnel", {})  # type: ignore[operator]
        self.config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": tunnel, **overrides})
        self.gateway = InProcess(self.config, SeededEntropy(b"test"))
        self.now = 3.0
        self._sealing = AESGCM(RECEIVE_KEY)
        self._opening = AESGCM(SEND_KEY)
        self.next_packet_id = 1
        self.expected_packet_id = 1
        self.effects: list[Effect] = []
        if is_started:
            self.effects = self.gateway.start(0.0)
            self.gateway.tick(2.0)
        for host in learned:
            self.learn(host)

    def learn(self, host: str) -> None:
        self.frame(arp(1, hardware(host), host, "10.38.2.1"))

    # events

    def frame(self, frame: bytes | memoryview, after: float = 0.0) -> World:
        self.now += after
        self.effects = self.gateway.receive(Port.INTERNAL, frame, self.now)
        return self

    def inside(self, packet: bytes, after: float = 0.0) -> World:
        """A host inside sends a packet to the gateway's hardware address."""
        host = str(IPv4Address(packet[12:16])) if len(packet) >= 16 else "10.38.2.5"
        return self.frame(ethernet(packet, hardware(host)), after)

    def flow(self, octets: bytes, after: float = 0.0) -> World:
        self.now += after
        self.effects = self.gateway.receive(Port.FLOW, octets, self.now)
        return self

    def tunnel(self, packet: bytes, after: float = 0.0) -> World:
        """The far end sends an inner packet."""
        return self.flow(self.record(packet), after)

    def record(self, packet: bytes, packet_id: int | None = None) -> bytes:
        if packet_id is None:
            packet_id = self.next_packet_id
            self.next_packet_id += 1
        head = b"\x48\x00\x00\x00" + packet_id.to_bytes(4, "big")
        sealed = self._sealing.encrypt(head[4:] + RECEIVE_IV, packet, head)
        record = head + sealed[-16:] + sealed[:-16]
        return len(record).to_bytes(2, "big") + record

    def tick(self, after: float = 0.0) -> World:
        self.now += after
        self.effects = self.gateway.tick(self.now)
        return self

    # what came of it

    @property
    def frames(self) -> list[bytes]:
        return [e.data for e in self.effects if isinstance(e, Transmit) and e.port is Port.INTERNAL]

    @property
    def packets(self) -> list[bytes]:
        """The IPv4 packets sent inside."""
        return [frame[14:] for frame in self.frames if frame[12:14] == b"\x08\x00"]

    @property
    def sealed(self) -> list[bytes]:
        """The inner packets sent through the tunnel; packet ids must rise by one."""
        opened = []
        stream = b"".join(e.data for e in self.effects if isinstance(e, Transmit) and e.port is Port.FLOW)
        while stream:
            length = int.from_bytes(stream[:2], "big")
            record, stream = stream[2 : 2 + length], stream[2 + length :]
            assert len(record) == length
            head, tag, sealed = record[:8], record[8:24], record[24:]
            assert head[:4] == b"\x48\x00\x00\x00"
            assert int.from_bytes(head[4:], "big") == self.expected_packet_id
            self.expected_packet_id += 1
            opened.append(self._opening.decrypt(head[4:] + SEND_IV, sealed + tag, head))
        return opened

    @property
    def notes(self) -> list[Note]:
        return [e for e in self.effects if isinstance(e, Note)]

    @property
    def fates(self) -> list[str]:
        """The rules of all notes but those about state."""
        return [note.rule.slug for note in self.notes if note.kind is not NoteKind.STATE]

    @property
    def states(self) -> list[str]:
        return [note.rule.slug for note in self.notes if note.kind is NoteKind.STATE]

    @property
    def words(self) -> list[str]:
        """Wishes about the flow."""
        return [type(e).__name__ for e in self.effects if type(e).__name__ in ("OpenFlow", "CloseFlow")]

    @property
    def is_silent(self) -> bool:
        return not [e for e in self.effects if not isinstance(e, Note)]


class Make:
    """The builders, as one fixture."""

    MAC = MAC
    BROADCAST = BROADCAST
    SEND_KEY, SEND_IV, RECEIVE_KEY, RECEIVE_IV = SEND_KEY, SEND_IV, RECEIVE_KEY, RECEIVE_IV
    World = World
    address = staticmethod(address)
    arp = staticmethod(arp)
    checksum = staticmethod(checksum)
    ethernet = staticmethod(ethernet)
    hardware = staticmethod(hardware)
    icmp = staticmethod(icmp)
    ipv4 = staticmethod(ipv4)
    tcp = staticmethod(tcp)
    transport = staticmethod(transport)
    udp = staticmethod(udp)


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make
