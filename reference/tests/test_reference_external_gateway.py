"""The whole gateway on its own external stack: the seed's system, with both networks on Ethernet.

Frames are made and read with dpkt, records sealed and opened with the cipher itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import dpkt
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from glassgate.contract import ConfigError, Effect, GatewayConfig, MacAddress, Note, Port, Rule, SeededEntropy, rules
from glassgate.contract.gateway import Transmit
from glassgate.reference.flows import Server
from glassgate.reference.gateway import ReferenceGateway, _servers
from glassgate.reference.openvpn.profile import Profile, Remote

KEY, IV = bytes(range(32)), bytes(range(8))
SESSION = {
    "send": {"key": KEY.hex(), "implicit_iv": IV.hex()},
    "receive": {"key": KEY.hex(), "implicit_iv": IV.hex()},
}
INSIDE_MAC, OUTSIDE_MAC = MacAddress.parse("00:f0:0d:f0:0d:00"), MacAddress.parse("02:00:c0:a8:01:05")
HOST_MAC, ROUTER_MAC = MacAddress.parse("02:00:0a:26:02:05"), MacAddress.parse("02:00:c0:a8:01:01")
HOST, GATEWAY, OWN, ROUTER, SERVER, FAR, ROUTER_FAR = (
    bytes(map(int, text.split(".")))
    for text in ("10.38.2.5", "10.38.2.1", "192.168.1.5", "192.168.1.1", "1.2.3.4", "192.0.2.7", "192.0.2.1")
)
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
SERVER_ISS = 9000


@dataclass
class World:
    """The gateway between a host and a router, and the server's place in its TCP stream."""

    gateway: ReferenceGateway
    now: float = 0.0
    rules: list[Rule] = field(default_factory=list)
    inside: list[Any] = field(default_factory=list)
    outside: list[Any] = field(default_factory=list)
    stream: bytes = b""
    """What the server has got of the stream."""
    sequence: int = SERVER_ISS
    syn: Any = None

    def take(self, effects: list[Effect]) -> None:
        self.rules, self.inside, self.outside = [], [], []
        for effect in effects:
            if isinstance(effect, Note):
                self.rules.append(effect.rule)
            else:
                assert isinstance(effect, Transmit)
                frames = self.inside if effect.port is Port.INTERNAL else self.outside
                frames.append(dpkt.ethernet.Ethernet(effect.data))
        for frame in self.outside:
            if isinstance(frame.data, dpkt.ip.IP):
                self.stream += frame.data.data.data

    def wait(self, seconds: float) -> None:
        """Let time pass, every deadline kept."""
        end, effects = self.now + seconds, []
        while self.gateway.deadline is not None and self.gateway.deadline <= end:
            self.now = self.gateway.deadline
            effects += self.gateway.tick(self.now)
        self.now = end
        self.take(effects)

    def from_host(self, packet: dpkt.ip.IP) -> None:
        frame = dpkt.ethernet.Ethernet(dst=INSIDE_MAC, src=HOST_MAC, type=0x0800, data=bytes(packet))
        self.take(self.gateway.receive(Port.INTERNAL, bytes(frame), self.now))

    def from_router(self, payload: bytes, type_: int = 0x0800) -> None:
        frame = dpkt.ethernet.Ethernet(dst=OUTSIDE_MAC, src=ROUTER_MAC, type=type_, data=payload)
        self.take(self.gateway.receive(Port.EXTERNAL, bytes(frame), self.now))

    def from_server(self, flags: int, text: bytes = b"", win: int = 60_000) -> None:
        tcp = dpkt.tcp.TCP(
            sport=self.syn.dport,
            dport=self.syn.sport,
            seq=self.sequence,
            ack=(self.syn.seq + 1 + len(self.stream)) % 2**32,
            flags=flags,
            win=win,
            data=text,
        )
        self.sequence += len(text) + bool(flags & SYN) + bool(flags & FIN)
        self.from_router(bytes(dpkt.ip.IP(src=SERVER, dst=OWN, p=6, ttl=50, data=tcp)))

    def router_answers(self) -> None:
        reply = dpkt.arp.ARP(op=2, sha=ROUTER_MAC, spa=ROUTER, tha=OUTSIDE_MAC, tpa=OWN)
        self.from_router(bytes(reply), 0x0806)
        [frame] = self.outside
        self.syn, self.sequence, self.stream = frame.data.data, SERVER_ISS, b""

    def connect(self) -> None:
        self.router_answers()
        self.from_server(SYN | ACK)


def started(**config: Any) -> World:
    parsed = GatewayConfig.from_json({"tunnel": {"session": SESSION}, **config})
    world = World(ReferenceGateway(parsed, SeededEntropy(b"whole")))
    world.take(world.gateway.start(0.0))
    return world


def connected(**config: Any) -> World:
    world = started(**config)
    world.connect()
    return world


def ping(source: bytes = HOST, destination: bytes = FAR, size: int = 56) -> dpkt.ip.IP:
    echo = dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=1, seq=1, data=bytes(size)))
    return dpkt.ip.IP(src=source, dst=destination, p=1, ttl=64, data=echo)


def seal(packet_id: int, packet: bytes) -> bytes:
    """A record as the server would send it."""
    header = bytes([9 << 3, 0, 0, 0]) + struct.pack("!I", packet_id)
    sealed = AESGCM(KEY).encrypt(header[4:] + IV, packet, header)
    record = header + sealed[-16:] + sealed[:-16]
    return struct.pack("!H", len(record)) + record


def opened(stream: bytes) -> list[tuple[int, bytes]]:
    """Packet id and packet of each record in what the server got."""
    found = []
    while stream:
        length = int.from_bytes(stream[:2], "big")
        record, stream = stream[2 : 2 + length], stream[2 + length :]
        header, tag, rest = record[:8], record[8:24], record[24:]
        found.append((int.from_bytes(header[4:], "big"), AESGCM(KEY).decrypt(header[4:] + IV, rest + tag, header)))
    return found


def test_the_start_announces_both_addresses_and_asks_for_the_router() -> None:
    world = started()

    assert [frame.data.tpa for frame in world.inside] == [GATEWAY]
    assert [frame.data.tpa for frame in world.outside] == [OWN, ROUTER]
    assert world.gateway.deadline == 1


def test_the_handshake_establishes_the_tunnel() -> None:
    world = connected()

    assert [frame.data.data.flags for frame in world.outside] == [ACK]
    assert rules.S2_ESTABLISHED in world.rules


def test_a_packet_from_inside_reaches_the_server_sealed() -> None:
    world = connected()

    world.from_host(ping())

    [frame] = world.outside
    assert frame.dst == ROUTER_MAC
    assert (frame.data.src, frame.data.dst, frame.data.df) == (OWN, SERVER, 1)
    assert HOST not in bytes(frame)
    [(packet_id, packet)] = opened(world.stream)
    assert packet_id == 1
    assert dpkt.ip.IP(packet).ttl == 63
    assert dpkt.ip.IP(packet).dst == FAR


def test_a_record_of_the_server_comes_out_inside() -> None:
    world = connected()

    world.from_server(ACK | PSH, seal(1, bytes(ping(FAR, HOST))))

    [request] = world.inside
    assert (request.data.op, request.data.tpa) == (dpkt.arp.ARP_OP_REQUEST, HOST)
    assert [frame.data.data.ack for frame in world.outside] == [world.sequence]


def test_a_record_in_two_segments_is_one_record() -> None:
    world = connected()
    record = seal(1, bytes(ping(FAR, GATEWAY)))

    world.from_server(ACK, record[:30])
    assert opened(world.stream) == []
    world.from_server(ACK, record[30:])

    [(_, answer)] = opened(world.stream)
    assert dpkt.ip.IP(answer).data.type == 0  # the gateway's own echo reply went back through the tunnel
    assert len(world.outside) == 1  # in one segment with the acknowledgment


def test_before_the_handshake_the_tunnel_is_down() -> None:
    world = started()

    world.from_host(ping())

    assert rules.S4_TUNNEL_DOWN in world.rules
    assert world.outside == []


def test_a_bad_record_length_resets_the_flow_and_another_is_opened_after_a_second() -> None:
    world = connected()

    world.from_server(ACK, bytes(2))
    assert [frame.data.data.flags for frame in world.outside] == [RST]
    first_port = world.syn.sport
    world.wait(0.99)
    assert [frame for frame in world.outside if frame.type == 0x0800] == []
    world.wait(0.01)

    [frame] = world.outside
    assert frame.data.data.flags == SYN
    assert frame.data.data.sport != first_port


@pytest.mark.parametrize("flags", [FIN | ACK, RST])
def test_a_flow_that_the_server_ends_is_opened_again(flags: int) -> None:
    world = connected()

    world.from_server(flags)
    assert rules.S4_FLOW_LOST in world.rules
    world.wait(1)

    assert SYN in [frame.data.data.flags for frame in world.outside if frame.type == 0x0800]
    world.from_host(ping())
    assert rules.S4_TUNNEL_DOWN in world.rules


def test_failed_attempts_are_repeated_ever_more_rarely() -> None:
    world = started()
    world.router_answers()

    waited = []
    for _ in range(4):
        world.from_server(RST | ACK)
        assert rules.S2_REFUSED in world.rules
        begin = world.now
        while not world.outside:
            assert world.gateway.deadline is not None
            world.wait(world.gateway.deadline - world.now)
            world.outside = [frame for frame in world.outside if frame.type == 0x0800]
        waited.append(world.now - begin)
        world.syn = world.outside[0].data.data

    assert waited == [1, 2, 4, 8]


def test_a_silent_router_is_asked_again() -> None:
    world = started()

    world.wait(3)
    assert rules.S2_ROUTER_SILENT in world.rules
    world.wait(1)

    assert [frame.data.tpa for frame in world.outside] == [ROUTER]


def test_under_pressure_packets_are_dropped_before_they_take_an_id() -> None:
    world = connected()
    world.from_server(ACK, win=0)
    is_dropped = False
    for _ in range(250):
        world.from_host(ping(size=1400))
        is_dropped = is_dropped or rules.S3_DROP_BEFORE_ID in world.rules
    assert is_dropped

    for _ in range(1000):
        length = len(world.stream)
        world.from_server(ACK)
        if len(world.stream) == length:
            break

    ids = [packet_id for packet_id, _ in opened(world.stream)]
    assert ids == list(range(1, len(ids) + 1))
    assert 150 < len(ids) < 250


def test_a_gateway_that_stops_closes_its_flow() -> None:
    world = connected()

    world.take(world.gateway.stop(world.now))

    assert [frame.data.data.flags for frame in world.outside] == [FIN | ACK]


def test_a_packet_too_big_about_our_own_echo_is_heard() -> None:
    world = connected()
    syn = dpkt.tcp.TCP(sport=4000, dport=7, seq=1, flags=SYN, win=60_000, opts=bytes.fromhex("020405b4"))
    syn.off = 6
    world.from_server(ACK, seal(1, bytes(dpkt.ip.IP(src=FAR, dst=GATEWAY, p=6, data=syn))))
    answer = dpkt.ip.IP(opened(world.stream)[-1][1]).data
    text = dpkt.tcp.TCP(sport=4000, dport=7, seq=2, ack=answer.seq + 1, flags=ACK, win=60_000, data=bytes(1000))
    world.from_server(ACK, seal(2, bytes(dpkt.ip.IP(src=FAR, dst=GATEWAY, p=6, data=text))))
    echo = opened(world.stream)[-1][1]
    assert len(dpkt.ip.IP(echo).data.data) == 1000

    too_big = dpkt.icmp.ICMP(type=3, code=4, data=struct.pack("!HH", 0, 600) + echo[:28])
    world.from_server(ACK, seal(3, bytes(dpkt.ip.IP(src=ROUTER_FAR, dst=GATEWAY, p=1, data=too_big))))

    assert rules.L4_FLOW_ERROR in world.rules
    assert [len(packet) for _, packet in opened(world.stream)[-2:]] == [600, 40 + 440]


def test_an_icmp_error_about_nothing_in_flight_is_not_heard() -> None:
    world = connected()

    quote = bytes(ping(GATEWAY, FAR))[:28]
    too_big = dpkt.icmp.ICMP(type=3, code=4, data=struct.pack("!HH", 0, 600) + quote)
    world.from_server(ACK, seal(1, bytes(dpkt.ip.IP(src=ROUTER_FAR, dst=GATEWAY, p=1, data=too_big))))

    assert rules.L4_ICMP_NO_ANSWER in world.rules


def test_over_udp_the_tunnel_is_up_at_once() -> None:
    world = started(tunnel={"proto": "udp", "session": SESSION})

    world.from_host(ping())
    reply = dpkt.arp.ARP(op=2, sha=ROUTER_MAC, spa=ROUTER, tha=OUTSIDE_MAC, tpa=OWN)
    world.from_router(bytes(reply), 0x0806)

    [frame] = world.outside
    assert frame.data.data.dport == 1194
    assert opened(struct.pack("!H", len(frame.data.data.data)) + frame.data.data.data)[0][0] == 1


def test_remotes_are_tried_at_their_addresses() -> None:
    config = GatewayConfig.from_json({"tunnel": {"session": SESSION}})
    profile = SimpleNamespace(remotes=[Remote("1.2.3.4", 443, "tcp"), Remote("1.2.3.5", 1194, "udp")])

    assert _servers(config, cast(Profile, profile)) == [
        Server(IPv4Address("1.2.3.4"), 443, "tcp"),
        Server(IPv4Address("1.2.3.5"), 1194, "udp"),
    ]


def test_a_remote_that_is_a_name_needs_the_operating_system() -> None:
    config = GatewayConfig.from_json({"tunnel": {"session": SESSION}})
    profile = SimpleNamespace(remotes=[Remote("vpn.example.org", 1194, "tcp")])

    with pytest.raises(ConfigError, match=r"tunnel\.ovpn: remote: .*'vpn\.example\.org'"):
        _servers(config, cast(Profile, profile))
