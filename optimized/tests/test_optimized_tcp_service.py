"""The echo service: every octet comes back, connections are bounded, and timers come up in time."""

from __future__ import annotations

import struct
from ipaddress import IPv4Interface

import pytest

HOST, US, FAR = "10.38.2.5", "10.38.2.1", "8.8.8.8"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MSS = b"\x02\x04\x05\xb4"


class Peer:
    """A host's half of one connection: it sends what it is told, and remembers what it was told."""

    def __init__(self, make, world, port=5000):
        self.make, self.world, self.port = make, world, port
        self.sequence, self.expected = 1000, 0
        self.returned = b""
        self.last_flags = 0
        self.window = 0

    def send(self, flags, text=b"", options=b"", **fields):
        given = {"sequence": self.sequence, "acknowledgment": self.expected if flags & ACK else 0} | fields
        self.world.inside(self.make.tcp(HOST, US, (self.port, 7), flags, text, options, **given))
        self.sequence = (given["sequence"] + len(text) + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFFFFFF
        return self.hear()

    def hear(self):
        for packet in self.world.packets:
            _, port, sequence, _, offset, flags, self.window = struct.unpack_from(">HHIIBBH", packet, 20)
            if port != self.port:
                continue
            text = packet[20 + (offset >> 4) * 4 :]
            if flags & SYN:
                self.expected = sequence
            if sequence == self.expected:
                self.returned += text
                self.expected = (sequence + len(text) + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFFFFFF
            self.last_flags = flags
        return self

    def open(self, options=MSS):
        self.send(SYN, options=options)
        return self.send(ACK)


@pytest.fixture
def world(make):
    return make.World(learned=[HOST])


def test_every_octet_comes_back_in_order(make, world):
    peer = Peer(make, world).open()
    text = bytes(range(256)) * 100
    for at in range(0, len(text), 1000):
        peer.send(PSH | ACK, text[at : at + 1000])
        peer.send(ACK)
    assert peer.returned == text
    peer.send(FIN | ACK)
    assert peer.last_flags == FIN | ACK
    peer.send(ACK)
    assert world.gateway.batch._local._service._connections == {}


def test_a_window_closes_when_nothing_is_acknowledged_and_its_opening_is_told(make, world):
    peer = Peer(make, world).open()
    first = peer.expected
    while peer.window:
        peer.send(PSH | ACK, bytes(min(peer.window, 1400)), acknowledgment=first)
    (connection,) = world.gateway.batch._local._service._connections.values()
    assert len(connection._octets) == 64 * 1024
    peer.send(ACK, b"", acknowledgment=(first + 3000) & 0xFFFFFFFF)
    assert peer.window > 0


def test_text_beyond_a_gap_lies_ready(make, world):
    peer = Peer(make, world).open()
    peer.send(ACK, b"world", sequence=1006)
    assert peer.returned == b""
    peer.send(PSH | ACK, b"hello", sequence=1001)
    assert peer.returned == b"helloworld"


def test_the_scale_is_offered_only_if_asked_for(make, world):
    world.inside(make.tcp(HOST, US, (5000, 7), SYN, b"", MSS + b"\x01\x03\x03\x07"))
    assert world.packets[0][40:] == MSS + b"\x01\x03\x03\x00"
    world.inside(make.tcp(HOST, US, (5001, 7), SYN, b"", MSS))
    assert world.packets[0][40:] == MSS


def test_half_open_connections_give_way_oldest_first_and_established_ones_never(make):
    world = make.World(learned=[HOST], limits={"tcp_half_open": 3, "tcp_connections": 5})
    peers = [Peer(make, world, port).open() for port in (6000, 6001)]
    for port in range(7000, 7100):
        world.inside(make.tcp(HOST, US, (port, 7), SYN, b"", MSS))
        assert len(world.packets) == 1
    service = world.gateway.batch._local._service
    assert [key[1] for key in service._half_open] == [7097, 7098, 7099]
    assert len(service._connections) == 5
    for peer in peers:
        assert peer.send(PSH | ACK, b"still here").returned == b"still here"
    Peer(make, world, 6002).open()
    Peer(make, world, 6003).open()
    Peer(make, world, 6004).open()
    world.inside(make.tcp(HOST, US, (6005, 7), SYN, b"", MSS))
    assert world.fates == ["l3-connection-limit"]


def test_timers_come_up_in_time_however_many_there_are(make, world):
    """Each SYN and ACK is repeated one second after it left, not before; a stopped timer brings nothing."""
    for number in range(20):
        world.inside(make.tcp(HOST, US, (6000 + number, 7), SYN, b"", MSS), after=1 / 64)
    start = world.now - 19 / 64
    assert world.gateway.deadline == start + 1
    for number in range(0, 20, 2):
        world.inside(make.tcp(HOST, US, (6000 + number, 7), RST, sequence=1001))
    for number in range(1, 20, 2):
        assert world.gateway.deadline == start + number / 64 + 1
        world.tick(world.gateway.deadline - world.now)
        assert [packet[22:24] for packet in world.packets] == [struct.pack(">H", 6000 + number)]


def test_the_heap_of_timers_does_not_grow(make, world):
    peer = Peer(make, world).open()
    for _ in range(500):
        peer.send(PSH | ACK, b"x")
        peer.send(ACK)
        world.now += 0.01
    assert len(world.gateway.batch._local._service._timers) <= 2


def test_out_of_the_tunnel_the_answer_returns_there(make, world):
    world.tunnel(make.tcp(FAR, US, (5000, 7), SYN, b"", MSS))
    (answer,) = world.sealed
    assert answer[33] == SYN | ACK
    assert answer[40:44] == MSS


def test_from_an_address_that_is_gone_nothing_leaves(make, world):
    """The tunnel came back with another address: what connected to the old one is not answered from it."""
    world.tunnel(make.tcp(FAR, "10.8.0.2", (5000, 7), SYN, b"", MSS))
    assert len(world.sealed) == 1
    world.gateway.batch.tunnel._addresses.set_tunnel(IPv4Interface("10.9.0.2/24"))
    world.tick(1.0)
    assert world.is_silent


def too_big(peer, world, make, mtu, ahead=0, offset=0, first=0x45):
    """A router could not pass on what the service sent from ``ahead`` before ``peer.expected`` on."""
    segment = struct.pack(">HHI", 7, peer.port, (peer.expected - ahead) & 0xFFFFFFFF)
    quoted = make.ipv4(US, HOST, segment, protocol=6, fragment=0x4000 | offset)
    rest = struct.pack(">HH", 0, mtu) + bytes([first]) + quoted[1:]
    world.inside(make.icmp(HOST, US, 3, 4, rest))


def test_what_is_too_big_for_the_path_leaves_again_in_smaller_segments(make, world):
    peer = Peer(make, world).open()
    peer.send(PSH | ACK, bytes(1000))
    too_big(peer, world, make, 576, ahead=1000)
    assert world.fates == ["l4-flow-error"]
    assert [len(packet) for packet in world.packets] == [40 + 536, 40 + 464]


@pytest.mark.parametrize("wrong", [{"ahead": 1001}, {"ahead": 0}, {"ahead": 1000, "offset": 1}, {"first": 0x65}])
def test_errors_about_nothing_in_flight_are_not_believed(make, world, wrong):
    peer = Peer(make, world).open()
    peer.send(PSH | ACK, bytes(1000))
    too_big(peer, world, make, 576, **wrong)
    assert (world.fates, world.packets) == (["l4-icmp-no-answer"], [])
