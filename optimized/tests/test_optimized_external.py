"""The stack outside: one flow to one server over a bad link, silence for everybody else, and bounds."""

from __future__ import annotations

import heapq
import random
import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import ConfigError, GatewayConfig, Note, Port, SeededEntropy, Transmit, rules
from glassgate.optimized import BatchGateway, InProcess
from glassgate.optimized import tunnel as tunnel_module
from glassgate.optimized.buffers import RESERVED_FOR_CONTROL, SEND_BUFFER
from glassgate.optimized.external import OutsideArp

HOST, FAR = "10.38.2.5", "8.8.8.8"
OWN, ROUTER, SERVER = "192.168.1.5", "192.168.1.1", "1.2.3.4"
MAC, ROUTER_MAC, NEAR_MAC = (bytes.fromhex(one) for one in ("0200c0a80105", "0200c0a80101", "0200c0a80177"))
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@pytest.fixture(scope="session")
def outside(make):
    """A world whose gateway has its own stack, and the router and server that it speaks to."""

    class Outside(make.World):
        def __init__(self, proto="tcp", mtu=1500, **overrides):
            self.proto = proto
            super().__init__(is_started=False, tunnel={"proto": proto}, **overrides)
            external = {"kind": "stack", "mtu": mtu}
            self.config = GatewayConfig.from_json(self.config.to_json() | {"external": external})
            self.gateway = InProcess(self.config, SeededEntropy(b"test"))
            self.now = 0.0
            self.server_next, self.server_expects = 5000, 0
            self.port = 0
            self.stream = b""
            self.effects = self.gateway.start(0.0)

        def outer(self, frame, after=0.0):
            self.now += after
            self.effects = self.gateway.receive(Port.EXTERNAL, frame, self.now)
            return self

        def from_router(self, packet, after=0.0):
            return self.outer(make.ethernet(packet, ROUTER_MAC, MAC), after)

        def router_answers(self):
            packet = make.arp(2, ROUTER_MAC, ROUTER, OWN, MAC, MAC)
            return self.outer(packet)

        def connect(self):
            self.router_answers()
            (syn,) = self.segments
            self.port, _, sequence = struct.unpack_from(">HHI", syn, 20)
            self.server_expects = sequence + 1
            self.server(SYN | ACK, options=b"\x02\x04\x05\xb4\x01\x03\x03\x00")
            self.learn(HOST)
            return self

        def server(self, flags, text=b"", options=b"", **fields):
            given = {"sequence": self.server_next & 0xFFFFFFFF, "acknowledgment": self.server_expects & 0xFFFFFFFF}
            packet = make.tcp(SERVER, OWN, (1194, self.port), flags, text, options, **(given | fields))
            if "sequence" not in fields:
                self.server_next += len(text) + bool(flags & SYN) + bool(flags & FIN)
            return self.from_router(packet)

        @property
        def outer_frames(self):
            return [e.data for e in self.effects if isinstance(e, Transmit) and e.port is Port.EXTERNAL]

        @property
        def segments(self):
            """IPv4 packets to the server; each must be in a frame to the router, its sums right."""
            packets = []
            for frame in self.outer_frames:
                if frame[12:14] != b"\x08\x00":
                    continue
                assert frame[:12] == ROUTER_MAC + MAC
                packet = frame[14:]
                assert make.checksum(packet[:20]) == 0
                assert packet[12:20] == make.address(OWN) + make.address(SERVER)
                packets.append(packet)
            return packets

        def take(self):
            """The server takes what is in order; the octets of the stream that were new."""
            new = b""
            for packet in self.segments:
                sequence = struct.unpack_from(">I", packet, 24)[0]
                text = packet[20 + (packet[32] >> 4) * 4 :]
                ahead = (sequence - self.server_expects) & 0xFFFFFFFF
                if text and ahead == 0:
                    new += text
                    self.server_expects += len(text)
            self.stream += new
            return new

    return Outside


def udp_out(make, size=100):
    return make.udp(HOST, FAR, 1, 2, bytes(size))


def test_a_record_leaves_in_a_segment_and_a_cut_one_comes_back_whole(make, outside):
    world = outside().connect()
    world.inside(udp_out(make))
    assert len(world.segments) == 1
    assert len(world.take()) == 2 + 24 + 128
    record = world.record(make.udp(FAR, HOST, 2, 1, b"answer"))
    world.server(ACK, record[:9])
    assert world.packets == []
    world.server(PSH | ACK, record[9:])
    assert world.packets == [make.udp(FAR, HOST, 2, 1, b"answer", ttl=63)]
    assert len(world.segments) == 1


def test_many_packets_share_segments(make, outside):
    """Four records of 154 octets wait for a window; when it opens they leave as one segment."""
    world = outside().connect()
    world.server(ACK, window=0)
    for _ in range(4):
        world.inside(udp_out(make))
        assert world.segments == []
    world.server(ACK)
    assert [len(packet) for packet in world.segments] == [40 + 4 * 154]


class LossyLink:
    """One packet in ten is lost or comes twice, one in ten comes late. At the far end of it the plainest of servers."""

    def __init__(self, make, world, dice, stream):
        self.make, self.world, self.dice, self.stream = make, world, dice, stream
        self.first = self.acknowledged = world.server_next
        self.resend_at = world.now
        self.delivered = []  # what came out for the hosts
        self._held: dict[int, bytes] = {}
        self._under_way: list[tuple[float, int, str, bytes]] = []
        self._number = 0

    @property
    def is_done(self):
        """Whether each side has all that the other sent."""
        is_acknowledged = self.acknowledged >= self.first + len(self.stream)
        return is_acknowledged and not self.world.gateway.batch.external.connection.pending()

    def turn(self):
        """Until the next event, and what it brings."""
        if self.world.now >= self.resend_at:
            self._send_again()
        times = [self.resend_at, self.world.gateway.deadline or self.resend_at]
        self.world.now = min(times + [arrival for arrival, *_ in self._under_way[:1]])
        while self._under_way and self._under_way[0][0] <= self.world.now:
            _, _, where, packet = heapq.heappop(self._under_way)
            if where == "server":
                self._server_receives(packet)
            else:
                self.world.from_router(packet)
                self.leave()
        self.world.tick()
        self.leave()

    def leave(self):
        """What the gateway has just sent goes its ways."""
        self.delivered.extend(self.world.packets)
        for packet in self.world.segments:
            self._travel("server", packet)

    def _travel(self, where, octets):
        for _ in range(self.dice.choice((0, 2)) if self.dice.random() < 0.1 else 1):
            self._number += 1
            late = self.dice.random() * 0.3 if self.dice.random() < 0.1 else 0.0
            heapq.heappush(self._under_way, (self.world.now + 0.02 + late, self._number, where, octets))

    def _send_again(self):
        """Every second all that is not acknowledged, up to 20 000 octets."""
        self.resend_at = self.world.now + 1
        begin = self.acknowledged - self.first
        for at in range(begin, min(begin + 20_000, len(self.stream)), 1000):
            self._segment(self.first + at, self.stream[at : at + 1000])

    def _server_receives(self, packet):
        sequence, acknowledgment = struct.unpack_from(">II", packet, 24)
        text = packet[20 + (packet[32] >> 4) * 4 :]
        self.acknowledged = max(self.acknowledged, self.first + ((acknowledgment - self.first) & 0xFFFFFFFF))
        if text:
            self._held[sequence] = max(self._held.get(sequence, b""), text, key=len)
            while self._take_what_is_due():
                pass
            self._segment(self.acknowledged)

    def _take_what_is_due(self):
        """Whether something that was held continues the stream."""
        before = self.world.server_expects
        for start in list(self._held):
            behind = (self.world.server_expects - start) & 0xFFFFFFFF
            if behind < 1 << 31:
                new = self._held.pop(start)[behind:]
                self.world.stream += new
                self.world.server_expects = (self.world.server_expects + len(new)) & 0xFFFFFFFF
        return self.world.server_expects != before

    def _segment(self, sequence, text=b""):
        fields = {"sequence": sequence & 0xFFFFFFFF, "acknowledgment": self.world.server_expects & 0xFFFFFFFF}
        self._travel("gateway", self.make.tcp(SERVER, OWN, (1194, self.world.port), ACK, text, **fields))


def data_packet_ids(stream):
    """The packet ids of the records in a stream, in its order."""
    found = []
    while stream:
        end = 2 + int.from_bytes(stream[:2], "big")
        found.append(int.from_bytes(stream[6:10], "big"))
        stream = stream[end:]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_records_cross_a_link_that_loses_doubles_and_reorders(make, outside, seed):
    """Both streams must come whole."""
    dice = random.Random(seed)
    world = outside().connect()
    questions = [make.udp(HOST, FAR, 1, 2, dice.randbytes(dice.randint(0, 1400))) for _ in range(60)]
    answers = [make.udp(FAR, HOST, 2, 1, dice.randbytes(dice.randint(0, 1400))) for _ in range(60)]
    link = LossyLink(make, world, dice, b"".join(world.record(packet) for packet in answers))
    for packet in questions:
        world.inside(packet)
        link.leave()
        link.turn()
    while not link.is_done:
        assert world.now < 900
        link.turn()
    assert link.delivered == [packet[:8] + b"\x3f" + b"\x11" + make.udp(FAR, HOST, 2, 1, packet[28:], ttl=63)[10:]
                              for packet in answers]  # fmt: skip
    assert data_packet_ids(world.stream) == list(range(1, 61))


def test_a_full_send_buffer_drops_packets_before_an_id_and_leaves_room_for_control(make, outside):
    world = outside().connect()
    tunnel = world.gateway.batch.tunnel
    sizes = []
    for _ in range(400):
        world.inside(udp_out(make, 1400))
        sizes.append(world.gateway.batch.external.connection.pending())
    room = SEND_BUFFER - RESERVED_FOR_CONTROL
    assert room - 1454 - 16 <= max(sizes) <= room
    assert tunnel.sealing.packet_id == max(sizes) // 1454 + 1
    assert world.fates[-1] == "s3-drop-before-id"
    outgoing = world.gateway.batch.outgoing
    before = outgoing.flow_end
    for _ in range(100):
        outgoing.append_record(bytes(1000), True, rules.S27_CONTROL)
    assert outgoing.flow_end - before == 1002 * ((outgoing.control_limit - before) // 1002)
    assert outgoing.flow_end > before


def test_the_flow_region_is_used_over_and_over(make, outside):
    """Ten times what it holds passes through; ids have no gap, and every octet is there."""
    world = outside().connect()
    total = 0
    while total < 10 * SEND_BUFFER:
        world.inside(udp_out(make, 1400))
        while world.take():
            world.server(ACK)
        total = len(world.stream)
    octets, numbers = world.stream, []
    while octets:
        length = int.from_bytes(octets[:2], "big")
        numbers.append(int.from_bytes(octets[6:10], "big"))
        octets = octets[2 + length :]
    assert numbers == list(range(1, len(numbers) + 1))


def test_text_far_ahead_of_a_gap_is_kept_and_the_buffer_is_bounded(make, outside):
    world = outside().connect()
    stream = b"".join(world.record(make.udp(FAR, HOST, 2, 1, bytes(1400))) for _ in range(700))
    start = world.server_next
    for at in range(1400, len(stream), 1400):
        world.server(ACK, stream[at : at + 1400], sequence=start + at)
    assert world.packets == []
    world.server(ACK, stream[:1400], sequence=start)
    assert len(world.packets) == 700
    assert len(world.gateway.batch.tunnel.stream.octets) < 5 << 20


def test_what_is_outside_the_window_is_not_kept(make, outside):
    world = outside().connect()
    before = len(world.gateway.batch.tunnel.stream.octets)
    for ahead in (1 << 20, 1 << 30, -5000):
        world.server(ACK, bytes(1000), sequence=(world.server_next + ahead) & 0xFFFFFFFF)
        assert len(world.segments) == 1
    assert len(world.gateway.batch.tunnel.stream.octets) == before


def test_strangers_get_silence(make, outside):
    world = outside().connect()
    near = "192.168.1.77"
    for packet in (
        make.icmp(near, OWN, 8, 0, bytes(4)),
        make.udp(near, OWN, 9, 7),
        make.udp(SERVER, OWN, 1194, world.port),
        make.tcp(near, OWN, (1194, world.port), SYN),
        make.tcp(SERVER, OWN, (1195, world.port), ACK),
        make.tcp(SERVER, OWN, (1194, world.port ^ 1), ACK),
        make.ipv4(near, OWN, bytes(8), fragment=0x2000),
        make.ipv4(near, "10.38.2.1", bytes(8)),
        make.ipv4(near, OWN, b"", options=b"\x83\x03\x04\x00"),
    ):
        world.outer(make.ethernet(packet, NEAR_MAC, MAC))
        assert world.is_silent, packet
    assert world.gateway.batch.external._reassembly.deadline == float("inf")


def test_a_flood_of_stations_does_not_crowd_the_router_out(make, outside):
    world = outside().connect()
    for last in range(2, 255):
        station = f"192.168.1.{last}"
        if station not in (OWN, ROUTER):
            world.outer(make.arp(1, b"\x02\0\0\0\0" + bytes((last,)), station, OWN))
            assert len(world.outer_frames) == 1
    assert len(world.gateway.batch.external._arp._neighbours) == 1
    assert len(world.inside(udp_out(make)).segments) == 1


def test_fragments_of_the_server_are_put_together(make, outside):
    world = outside().connect()
    record = world.record(make.udp(FAR, HOST, 2, 1, b"answer"))
    fields = {"sequence": world.server_next, "acknowledgment": world.server_expects & 0xFFFFFFFF}
    whole = make.tcp(SERVER, OWN, (1194, world.port), ACK, record, **fields)
    world.from_router(make.ipv4(SERVER, OWN, whole[20:44], protocol=6, fragment=0x2000))
    assert world.is_silent
    world.from_router(make.ipv4(SERVER, OWN, whole[44:], protocol=6, fragment=3))
    assert len(world.packets) == 1


def test_a_segment_of_the_flow_that_ended_is_answered_as_closed_answers(make, outside):
    world = outside().connect()
    world.server(RST)
    world.server(ACK, b"late")
    (reset,) = world.segments
    assert struct.unpack_from(">HHIIBB", reset, 20)[5] == RST
    world.server(RST)
    assert world.is_silent


def test_the_server_closes_while_text_is_in_flight(make, outside):
    """It still gets what was sealed, sent again if need be, and then our FIN; the tunnel is down meanwhile."""
    world = outside().connect()
    world.inside(udp_out(make))
    octets = world.segments[0][40:]
    world.server(FIN | ACK)
    assert [packet[33] & FIN for packet in world.segments] == [FIN]
    world.tick(1.0)
    (again,) = [packet for packet in world.segments if len(packet) > 40 and not packet[33] & SYN]
    assert again[40:] == octets
    world.server_expects += len(octets) + 1
    world.server(ACK)
    assert world.gateway.batch.external._leaving is None


def test_no_next_hop_size_means_the_next_plateau(make, outside):
    """RFC 1191 7: a router of the old kind says 0; from 1500 the next size is 1492."""
    world = outside().connect()
    for _ in range(3):
        world.inside(udp_out(make, 1400))
    segment = world.segments[0]
    segment = segment[:20] + struct.pack(">HHI", world.port, 1194, world.server_expects & 0xFFFFFFFF)
    quoted = make.ipv4(OWN, SERVER, segment[20:28], protocol=6, total_length=1500)
    world.from_router(make.icmp("203.0.113.9", OWN, 3, 4, bytes(4) + quoted))
    assert world.gateway.batch.external.connection.segment_size == 1452


def test_udp_datagrams_larger_than_the_outer_mtu_leave_in_fragments(make, outside):
    world = outside("udp")
    world.router_answers()
    world.learn(HOST)
    world.inside(make.udp(HOST, FAR, 1, 2, bytes(1472)))
    first, second = world.segments
    assert (first[6:8], second[6:8]) == (b"\x20\x00", b"\x00\xb9")
    datagram = first[20:] + second[20:]
    port, destination, length, _ = struct.unpack_from(">HHHH", datagram)
    assert (destination, length) == (1194, len(datagram)) == (1194, 8 + 24 + 1500)
    pseudo = make.address(OWN) + make.address(SERVER) + struct.pack(">HH", 17, length)
    assert make.checksum(pseudo + datagram) == 0
    record = world.record(make.udp(FAR, HOST, 2, 1, b"answer"))[2:]
    world.from_router(make.udp(SERVER, OWN, 1194, port, record))
    assert world.packets == [make.udp(FAR, HOST, 2, 1, b"answer", ttl=63)]
    bad = bytearray(make.udp(SERVER, OWN, 1194, port, record))
    bad[-1] ^= 1
    assert world.from_router(bytes(bad)).fates == ["l2-checksum"]


def test_our_outer_address_is_nobody_s_source(make, outside):
    world = outside().connect()
    world.server(PSH | ACK, world.record(make.udp(OWN, HOST, 2, 1)))
    assert "s16-own" in world.fates
    world.server(PSH | ACK, world.record(make.udp(FAR, OWN, 2, 1)))
    assert "s30-elsewhere" in world.fates


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(-3000, 3000), st.integers(-3000, 3000), st.integers(0, 60)),
                max_size=25), st.booleans())  # fmt: skip
def test_any_segments_of_the_server_are_taken_without_a_fault(make, outside, segments, is_syn_sent):
    world = outside()
    if is_syn_sent:
        world.router_answers()
        world.port = struct.unpack_from(">H", world.segments[0], 20)[0]
    else:
        world.connect()
        world.inside(udp_out(make))
    for flags, sequence, acknowledgment, length in segments:
        fields = {"sequence": (world.server_next + sequence) & 0xFFFFFFFF,
                  "acknowledgment": (world.server_expects + acknowledgment) & 0xFFFFFFFF}  # fmt: skip
        world.server(flags, bytes(length), **fields)
        world.tick(0.5)
    assert world.gateway.deadline is not None


@given(st.binary(max_size=120))
def test_any_octets_outside_are_taken_without_a_fault(make, outside, octets):
    world = outside().connect()
    for frame in (
        octets,
        MAC + ROUTER_MAC + b"\x08\x00" + octets,
        make.ethernet(make.ipv4(SERVER, OWN, octets, protocol=6), ROUTER_MAC, MAC),
        make.ethernet(make.icmp(SERVER, OWN, 3, 4, octets), ROUTER_MAC, MAC),
    ):
        world.outer(frame)
        assert world.segments == []


def test_a_server_by_name_is_refused_in_one_line(monkeypatch):
    remote = SimpleNamespace(host="vpn.example.org", port=1194, proto="tcp")
    profile = SimpleNamespace(connect_retry=1.0, connect_retry_longest=60.0, attempts=0, remotes=(remote,))
    monkeypatch.setattr(tunnel_module, "_profile", lambda text: profile)
    monkeypatch.setattr(tunnel_module.control, "Client", lambda profile, entropy: None)
    config = GatewayConfig.from_json({"tunnel": {"ovpn": "client"}})
    with pytest.raises(ConfigError, match=r"remote vpn\.example\.org: .* needs an IPv4 address, not a name"):
        InProcess(config, SeededEntropy(b""))


# a kernel below


def finished(make, octets):
    """What a kernel makes of a frame with a virtio header: checksums completed, long segments cut."""
    flags, kind, headers, size, begins, into = struct.unpack("=BBHHHH", octets[:10])
    frame = octets[10:]
    if not flags:
        assert octets[:10] == bytes(10)
        return [frame]
    assert (flags, begins, into) == (1, 34, 16)
    packet, segment, text = frame[14:34], frame[34:headers], frame[headers:]
    assert kind == (len(text) > size > 0)
    assert make.checksum(packet) == 0
    assert int.from_bytes(packet[2:4], "big") == len(frame) - 14
    pseudo = packet[12:20] + struct.pack(">HH", 6, len(frame) - 34)
    assert int.from_bytes(segment[16:18], "big") % 0xFFFF == (0xFFFF - make.checksum(pseudo)) % 0xFFFF
    port, to, sequence, acknowledgment, _, bits, window, _, urgent = struct.unpack(">HHIIBBHHH", segment[:20])
    assert urgent == 0
    found = []
    for number, at in enumerate(range(0, max(len(text), 1), size or 1)):
        is_last = at + size >= len(text) or not kind
        mine = bits if is_last else bits & ~(PSH | FIN)
        identification = (int.from_bytes(packet[4:6], "big") + number) & 0xFFFF
        fields = {"acknowledgment": acknowledgment, "window": window, "fragment": 0x4000}
        one = make.tcp(
            OWN, SERVER, (port, to), mine, text[at : at + size] if kind else text, segment[20:],
            sequence=(sequence + at) & 0xFFFFFFFF, identification=identification, **fields,
        )  # fmt: skip
        found.append(make.ethernet(one, frame[6:12], frame[:6]))
        if is_last:
            break
    return found


class WithKernel:
    """The gateway as a driver has it, and the same for effects, which has the same events and the same chances."""

    def __init__(self, make, outside, mtu, **overrides):
        world = outside(mtu=mtu, **overrides)
        self.make, self.config = make, world.config
        self.kernel = BatchGateway(self.config, SeededEntropy(b"test"))
        self.plain = BatchGateway(self.config, SeededEntropy(b"test"), recording=True)
        self.largest = 0
        self.sent = []
        self.now = 0.0
        self.port = self.expects = 0
        self.next = 5000
        for one in (self.kernel, self.plain):
            one.start(0.0)
        self.compare()
        self.outer(make.ethernet(make.arp(2, ROUTER_MAC, ROUTER, OWN, MAC, MAC)[14:], ROUTER_MAC, MAC, 0x0806))
        self.port, _, sequence = struct.unpack_from(">HHI", self.sent[-1], 34)
        self.expects = sequence + 1
        self.server(SYN | ACK, options=b"\x02\x04\x05\xb4\x01\x03\x03\x05")
        self.inner([make.arp(1, make.hardware(HOST), HOST, "10.38.2.1")])

    def outer(self, frame, is_vouched=False):
        self.now += 0.001
        for one in (self.kernel, self.plain):
            one.receive_outside(memoryview(bytearray(frame)), [(0, len(frame))], self.now, is_vouched=is_vouched)
        self.compare()

    def inner(self, frames):
        self.now += 0.001
        for one in (self.kernel, self.plain):
            buffer, bounds = bytearray(), []
            for frame in frames:
                bounds.append((len(buffer), len(buffer) + len(frame)))
                buffer += frame
            one.receive_frames(memoryview(buffer), bounds, self.now)
        self.compare()

    def server(self, flags, text=b"", options=b"", change=None, is_vouched=False, **fields):
        given = {"sequence": self.next, "acknowledgment": self.expects & 0xFFFFFFFF, "window": 0x7FFF} | fields
        packet = self.make.tcp(SERVER, OWN, (1194, self.port), flags, text, options, **given)
        self.next += len(text) + bool(flags & (SYN | FIN))
        packet = change(packet) if change else packet
        self.outer(self.make.ethernet(packet, ROUTER_MAC, MAC), is_vouched)

    def compare(self):
        frames = self.kernel.external.frames
        assert all(start >= 0 for start, _ in frames.bounds)
        left = [bytes(frames.view[start:end]) for start, end in frames.bounds]
        frames.sent()
        found = [piece for octets in left for piece in finished(self.make, octets)]
        effects = self.plain.outgoing.take_effects()
        assert found == [e.data for e in effects if isinstance(e, Transmit) and e.port is Port.EXTERNAL]
        self.largest = max([self.largest, *map(len, left)])
        self.sent = found
        self.inside = [bytes(self.kernel.outgoing.frames[a:b]) for a, b in self.kernel.outgoing.frame_bounds]
        assert self.inside == [e.data for e in effects if isinstance(e, Transmit) and e.port is Port.INTERNAL]
        self.kernel.outgoing.frames_sent()
        for frame in found:
            if frame[12:14] == b"\x08\x00":
                sequence = struct.unpack_from(">I", frame, 38)[0]
                ahead = sequence + len(frame) - 54 - (self.expects & 0xFFFFFFFF)
                self.expects += max(ahead, 0) if len(frame) > 58 else 0


@pytest.mark.parametrize("mtu", [1500, 576])
def test_what_the_kernel_cuts_and_sums_is_what_would_have_been_sent(make, outside, mtu):
    world = WithKernel(make, outside, mtu)
    frames = [make.ethernet(udp_out(make, 1300), make.hardware(HOST)) for _ in range(40)]
    for _ in range(12):
        world.inner(frames)
        world.server(ACK)
    assert world.largest > 10 * mtu
    for window in (312, 100, 0x7FFF):  # in units of 32 octets: no multiple of a segment
        world.inner(frames)
        world.server(ACK, window=window)
        assert {len(frame) for frame in world.sent} == {14 + mtu}
    world.outer(make.arp(1, ROUTER_MAC, ROUTER, OWN))
    assert [frame[12:14] for frame in world.sent] == [b"\x08\x06"]
    world.server(ACK | FIN)
    world.server(ACK)


def test_what_the_kernel_vouches_for_is_not_summed_and_may_be_large(make, outside):
    world = WithKernel(make, outside, 1500)
    far = outside()
    packets = [make.udp(FAR, HOST, 2, 1, bytes([number]) * 1300) for number in range(45)]
    stream = b"".join(far.record(packet) for packet in packets)

    def unfinished(packet):
        return packet[:36] + b"\x12\x34" + packet[38:]

    world.server(ACK | PSH, stream[:60000], change=unfinished, is_vouched=True)
    assert len(world.inside) == 60000 // (2 + 24 + 1328)
    came = world.inside
    world.server(ACK | PSH, stream[60000:], change=unfinished)
    assert world.inside == []
    world.server(ACK | PSH, stream[60000:], sequence=5001 + 60000)
    assert [frame[14:] for frame in came + world.inside] == [
        make.udp(FAR, HOST, 2, 1, bytes([number]) * 1300, ttl=63) for number in range(45)
    ]


def test_nobody_vouches_for_fragments(make, outside):
    world = WithKernel(make, outside, 1500)
    record = outside().record(make.udp(FAR, HOST, 2, 1, bytes(200)))
    for spoilt, count in ((b"\x12", 0), (b"", 1)):
        fields = {"sequence": world.next, "acknowledgment": world.expects & 0xFFFFFFFF}
        segment = make.tcp(SERVER, OWN, (1194, world.port), ACK, record, **fields)[20:]
        segment = segment[:16] + spoilt + segment[16 + len(spoilt) :]
        for start, end, more in ((0, 128, 0x2000), (128, len(segment), 0)):
            fragment = {"fragment": more | start // 8, "protocol": 6, "identification": 7 + count}
            packet = make.ipv4(SERVER, OWN, segment[start:end], **fragment)
            world.outer(make.ethernet(packet, ROUTER_MAC, MAC), is_vouched=True)
        assert len(world.inside) == count


def test_a_datagram_that_is_vouched_for_is_not_summed(make, outside):
    world = outside("udp")
    world.router_answers()
    gateway = world.gateway.batch
    world.learn(HOST)
    world.inside(udp_out(make))
    port = int.from_bytes(world.outer_frames[0][34:36], "big")
    packet = make.udp(SERVER, OWN, 1194, port, world.record(make.udp(FAR, HOST, 2, 1, b"in"))[2:])
    frame = make.ethernet(packet[:26] + b"\x12\x34" + packet[28:], ROUTER_MAC, MAC)
    for is_vouched in (False, True):
        buffer = memoryview(bytearray(frame))
        gateway.receive_outside(buffer, [(0, len(frame))], world.now, is_vouched=is_vouched)
        world.effects = gateway.outgoing.take_effects()
        assert len(world.packets) == is_vouched


def test_without_the_routers_address_nothing_is_left_to_the_kernel(make, outside, monkeypatch):
    """A packet that waits for ARP leaves later as it is: it must be whole."""
    world = WithKernel(make, outside, 1500)
    sent = []
    monkeypatch.setattr(OutsideArp, "header_for", lambda self, address, now: None)
    monkeypatch.setattr(OutsideArp, "is_given_up", lambda self, address: False)
    monkeypatch.setattr(OutsideArp, "send", lambda self, view, start, end, *more: sent.append(bytes(view[start:end])))
    frames = [make.ethernet(udp_out(make, 1300), make.hardware(HOST)) for _ in range(20)]
    buffer = b"".join(frames)
    bounds = [(at, at + len(frames[0])) for at in range(0, len(buffer), len(frames[0]))]
    world.kernel.receive_frames(memoryview(bytearray(buffer)), bounds, world.now)
    assert len(sent) > 1
    for packet in sent:
        assert len(packet) <= 1500
        assert make.checksum(packet[12:20] + struct.pack(">HH", 6, len(packet) - 20) + packet[20:]) == 0


def test_segments_that_are_taken_are_counted_where_nobody_wants_a_note_of_each(make, outside):
    world = WithKernel(make, outside, 1500, notes=False)
    world.kernel.outgoing.noting = True
    world.server(ACK)
    world.server(ACK, acknowledgment=world.expects + 5_000_000)
    assert world.kernel.ordinary["l3-acceptable-ack"] == 1
    assert "l3-unacceptable-ack" not in world.kernel.ordinary
    noted = [effect.rule.slug for effect in world.kernel.outgoing.take_effects() if isinstance(effect, Note)]
    assert "l3-unacceptable-ack" in noted
    assert "l3-acceptable-ack" not in noted
