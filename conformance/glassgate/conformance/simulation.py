"""The network around a gateway, in one process: a host, a router, the tunnel's server. Small, and lossless.

    Host ── internal ── gateway ── external ── Router ── Server ── FarNetwork
                              └─ flow ─────────────────────── FarNetwork      where the system has the transport

Nobody here reads a clock: ``Network`` hands every frame on a little later than it was sent, one at a time, and tells
each ``Moment`` to whoever watches. These are peers to talk to, not judges: they send what is right and answer what is
asked. What they build comes from ``packets``; what they read they read by themselves,
and the far end of the tunnel is the judge's.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Literal, Protocol

from glassgate.conformance import packets
from glassgate.conformance.far_end import FarEnd, Unopened
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.session import Dropped, Ended, Inner, Output, Send
from glassgate.contract import (
    Effect,
    FlowEvent,
    Gateway,
    GatewayConfig,
    OpenFlow,
    Port,
    Session,
    Transmit,
)

ECHO_PORT = 7
DELAY = 0.0005  # seconds from one end of a link to the other
MOST_MOMENTS = 10_000  # no story told here is longer; a storm of frames ends here


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Read:
    """A whole IPv4 packet as a peer reads it."""

    source: str
    destination: str
    protocol: int
    identification: int
    is_last: bool
    offset: int
    payload: bytes


def read_ipv4(octets: bytes) -> Read | None:
    """The packet; None if it is not a valid one (RFC 1122 3.2.1)."""
    if len(octets) < 20 or octets[0] >> 4 != 4:
        return None
    header, total = 4 * (octets[0] & 15), int.from_bytes(octets[2:4], "big")
    if header < 20 or not header <= total <= len(octets) or packets.checksum(octets[:header]):
        return None
    identification, word = struct.unpack_from("!HH", octets, 4)
    source, destination = (str(IPv4Address(octets[at : at + 4])) for at in (12, 16))
    is_last, offset = not word & 0x2000, 8 * (word & 0x1FFF)
    return Read(source, destination, octets[9], identification, is_last, offset, octets[header:total])


class Reassembly:
    """Puts fragments together. Little gets lost where this is used: only when too many wait is the oldest given up."""

    MOST_WAITING = 64

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, str, int, int], dict[int, Read]] = {}

    def add(self, piece: Read) -> Read | None:
        """The whole packet, once this piece completes it."""
        if piece.is_last and not piece.offset:
            return piece
        key = (piece.source, piece.destination, piece.protocol, piece.identification)
        if key not in self._pieces and len(self._pieces) >= self.MOST_WAITING:
            del self._pieces[next(iter(self._pieces))]
        pieces = self._pieces.setdefault(key, {})
        pieces[piece.offset] = piece
        payload = b""
        while (following := pieces.get(len(payload))) is not None:
            payload += following.payload
            if following.is_last:
                del self._pieces[key]
                return replace(piece, offset=0, is_last=True, payload=payload)
            if not following.payload:
                return None
        return None


def fragments(packet: packets.IPv4, mtu: int) -> list[bytes]:
    """The packet in as many pieces as the MTU asks for (RFC 791 2.3: each but the last a multiple of eight octets)."""
    length = len(packet.data())
    if 20 + length <= mtu:
        return [packet.build().data]
    step = (mtu - 20) // 8 * 8
    return [
        packet.piece(start, min(start + step, length), more=start + step < length).build().data
        for start in range(0, length, step)
    ]


def answer(request: Read, identifications: Iterator[int]) -> packets.IPv4 | None:
    """What an ordinary host answers: an echo reply, or the data of a datagram to the echo port (RFC 862)."""
    payload = request.payload
    if request.protocol == packets.ICMP and len(payload) >= 8 and payload[0] == 8 and not packets.checksum(payload):
        identifier, sequence = struct.unpack_from("!HH", payload, 4)
        made = packets.echo_reply(identifier, sequence, payload[8:])
    elif request.protocol == packets.UDP and len(payload) >= 8:
        source_port, destination_port = struct.unpack_from("!HH", payload)
        if destination_port != ECHO_PORT:
            return None
        made = packets.udp(destination_port, source_port, payload[8:])
    else:
        return None
    return packets.IPv4(
        source=request.destination, destination=request.source, identification=next(identifications), payload=made
    )


# ── the host ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Host:
    """A host of the internal network whose default router is the gateway."""

    FIRST_IDENTIFICATION = 0x2001

    def __init__(self, name: str, mac: str, address: str, router: str, mtu: int = 1500) -> None:
        self.name = name
        self.mac = mac
        self.address = address
        self.received: list[Read] = []
        """Every whole packet that came for this host, in order."""
        self._router = router
        self._router_mac: str | None = None
        self._mtu = mtu
        self._waiting: list[bytes] = []
        self._reassembly = Reassembly()
        self._identifications = itertools.count(self.FIRST_IDENTIFICATION)

    def ping(self, destination: str, identifier: int, sequence: int, data: bytes) -> list[bytes]:
        """The frames that send an echo request."""
        return self.send(destination, packets.echo_request(identifier, sequence, data))

    def datagram(self, destination: str, source_port: int, destination_port: int, data: bytes) -> list[bytes]:
        """The frames that send a UDP datagram: several, if it is over the MTU."""
        return self.send(destination, packets.udp(source_port, destination_port, data))

    def send(self, destination: str, payload: packets.Payload) -> list[bytes]:
        """The frames to send now: the packet's, or an ARP request behind which it waits."""
        packet = packets.IPv4(
            source=self.address,
            destination=destination,
            identification=next(self._identifications),
            payload=payload,
        )
        return self._to_router(fragments(packet, self._mtu))

    def receive(self, frame: bytes) -> list[bytes]:
        """Take a frame from the wire; returns the frames that answer it."""
        to, kind = frame[:6], frame[12:14]
        if to not in (packets.mac(self.mac), packets.mac(packets.BROADCAST_MAC)):
            return []
        if kind == b"\x08\x06" and len(frame) >= 42:
            return self._arp(frame[14:42])
        packet = read_ipv4(frame[14:]) if kind == b"\x08\x00" else None
        if packet is None or packet.destination != self.address:
            return []
        whole = self._reassembly.add(packet)
        if whole is None:
            return []
        self.received.append(whole)
        reply = answer(whole, self._identifications)
        return self._to_router(fragments(reply, self._mtu)) if reply is not None else []

    def _arp(self, octets: bytes) -> list[bytes]:
        operation = int.from_bytes(octets[6:8], "big")
        sender_mac, sender = octets[8:14].hex(":"), str(IPv4Address(octets[14:18]))
        target = str(IPv4Address(octets[24:28]))
        frames = []
        if sender == self._router and (target == self.address or self._router_mac is not None):
            self._router_mac = sender_mac
            frames = [self._frame(packet) for packet in self._waiting]
            self._waiting.clear()
        if operation == packets.REQUEST and target == self.address:
            frames.insert(0, _arp_frame(packets.REPLY, self.mac, self.address, sender_mac, sender))
        return frames

    def _to_router(self, built: list[bytes]) -> list[bytes]:
        if self._router_mac is not None:
            return [self._frame(packet) for packet in built]
        is_asked = bool(self._waiting)
        self._waiting += built
        return [] if is_asked else [_arp_frame(packets.REQUEST, self.mac, self.address, None, self._router)]

    def _frame(self, packet: bytes) -> bytes:
        assert self._router_mac is not None
        return _ipv4_frame(self.mac, self._router_mac, packet)


def _ipv4_frame(source: str, destination: str, packet: bytes) -> bytes:
    frame = packets.Ethernet(source=source, destination=destination, type=packets.TYPE_IPV4, payload=packet)
    return frame.build().data


def _arp_frame(operation: int, mac: str, address: str, target_mac: str | None, target: str) -> bytes:
    packet = packets.Arp(
        operation=operation,
        sender_hardware=mac,
        sender_protocol=address,
        target_hardware=target_mac or packets.ZERO_MAC,
        target_protocol=target,
    )
    destination = target_mac or packets.BROADCAST_MAC
    frame = packets.Ethernet(source=mac, destination=destination, type=packets.TYPE_ARP, payload=packet.build())
    return frame.build().data


# ── the far network ───────────────────────────────────────────────────────────────────────────────────────────────────


class Beyond:
    """A network in which every address answers: echo requests, and datagrams to the echo port."""

    def __init__(self, mtu: int = 1500) -> None:
        self._mtu = mtu
        self._identifications = itertools.count(0x7001)
        self._reassembly = Reassembly()

    def receive(self, packet: bytes) -> list[bytes]:
        """Take a packet; returns those that answer it."""
        read = read_ipv4(packet)
        whole = self._reassembly.add(read) if read is not None else None
        reply = answer(whole, self._identifications) if whole is not None else None
        return fragments(reply, self._mtu) if reply is not None else []


class Far(Protocol):
    """What lies beyond the tunnel: its far end, and behind that a network."""

    opened: list[bytes]
    """Every inner packet that came, in order."""
    unopened: list[Unopened]
    """What did not open, and why."""

    def connected(self) -> None:
        """The transport begins."""

    def receive(self, octets: bytes, now: float) -> list[bytes]:
        """Take octets of the stream; returns the framed records that answer."""

    def send(self, packet: bytes, now: float) -> list[bytes]:
        """The framed records that carry an inner packet; none if there is no tunnel."""


class FarNetwork:
    """A far end whose keys are known from the start."""

    def __init__(self, session: Session, mtu: int = 1500, *, is_silent: bool = False) -> None:
        self.opened: list[bytes] = []
        self.unopened: list[Unopened] = []
        self._far_end = FarEnd(session)
        self._beyond = Beyond(mtu)
        self._is_silent = is_silent

    def connected(self) -> None:
        """Both streams begin."""
        self._far_end.reconnect()

    def receive(self, octets: bytes, now: float) -> list[bytes]:
        """Take octets of the stream; returns the framed records that answer."""
        records = []
        for found in self._far_end.receive(octets):
            if isinstance(found, Unopened):
                self.unopened.append(found)
                continue
            self.opened.append(found.packet)
            answers = [] if self._is_silent else self._beyond.receive(found.packet)
            records += [self._far_end.send(packet) for packet in answers]
        return records

    def send(self, packet: bytes, now: float) -> list[bytes]:
        """The framed record that carries an inner packet."""
        return [self._far_end.send(packet)]


class NegotiatedFar:
    """A far end that negotiates its keys with whoever connects. ``watch`` is told what it has to say meanwhile.

    Nothing is lost between the two, and no story lasts long: what its clock would bring is not asked for.
    """

    def __init__(self, endpoint: Endpoint, watch: Callable[[Output], None]) -> None:
        self.opened: list[bytes] = []
        self.unopened: list[Unopened] = []
        self._endpoint = endpoint
        self._watch = watch
        self._beyond = Beyond(endpoint.settings.mtu)
        self._is_over = False

    def connected(self) -> None:
        """A connection, in which nothing was said yet."""
        self._endpoint.connected()
        self._is_over = False

    def receive(self, octets: bytes, now: float) -> list[bytes]:
        """Take octets of the stream; returns what is said in reply, each packet framed."""
        return [] if self._is_over else self._records(self._endpoint.receive(octets, now), now)

    def send(self, packet: bytes, now: float) -> list[bytes]:
        """The framed record that carries an inner packet; none if there is no tunnel."""
        return self._records(self._endpoint.send(packet, now), now)

    def renegotiate(self, now: float) -> list[bytes]:
        """What this end says when it wants new keys."""
        return self._records(self._endpoint.renegotiate(now), now)

    def _records(self, outputs: Iterable[Output], now: float) -> list[bytes]:
        records = []
        for output in outputs:
            match output:
                case Send(packet):
                    records.append(packet)
                case Inner(packet):
                    self.opened.append(packet)
                    for reply in self._beyond.receive(packet):
                        records += self.send(reply, now)
                case Dropped(problem) | Ended(problem):
                    self.unopened.append(Unopened(b"", problem))
                    self._is_over |= isinstance(output, Ended) and self._endpoint.settings.proto == "tcp"
            self._watch(output)
        return records


# ── the external side ─────────────────────────────────────────────────────────────────────────────────────────────────

FIN, SYN, RST, PSH, ACK = packets.FIN, packets.SYN, packets.RST, packets.PSH, packets.ACK


class Server:
    """The tunnel's server at the far side of the router: one TCP connection at a time, on a network without loss."""

    def __init__(self, address: str, port: int, far: Far) -> None:
        self.address = address
        self.port = port
        self._far = far
        self._peer: tuple[str, int] | None = None
        self._send_next = 0
        self._receive_next = 0
        self._segment_size = 536
        self._identifications = itertools.count(0x5001)

    def receive(self, packet: Read, now: float) -> list[bytes]:
        """Take a packet; returns the packets that answer it."""
        segment = packet.payload
        if packet.protocol != packets.TCP or packet.destination != self.address or len(segment) < 20:
            return []
        source_port, port, sequence, _ = struct.unpack_from("!HHII", segment)
        header, control = 4 * (segment[12] >> 4), segment[13]
        if port != self.port or not 20 <= header <= len(segment):
            return []
        if control & RST:
            self._peer = None
            return []
        if control & SYN:
            return [self._accept((packet.source, source_port), sequence, segment[20:header])]
        if self._peer != (packet.source, source_port):
            return []
        return self._text(sequence, segment[header:], bool(control & FIN), now)

    def _accept(self, peer: tuple[str, int], sequence: int, options: bytes) -> bytes:
        self._peer = peer
        self._far.connected()
        self._receive_next = (sequence + 1) % 2**32
        self._send_next = 0x10000000
        self._segment_size = _maximum_segment_size(options)
        made = self._segment(SYN | ACK, options=packets.maximum_segment_size(1460))
        self._send_next += 1
        return made

    def _text(self, sequence: int, text: bytes, is_fin: bool, now: float) -> list[bytes]:
        if not text and not is_fin:
            return []
        if sequence != self._receive_next:
            return [self._segment(ACK)]
        self._receive_next = (self._receive_next + len(text) + is_fin) % 2**32
        answers = b"".join(self._far.receive(text, now))
        if is_fin:
            return [self._segment(FIN | ACK)]
        if not answers:
            return [self._segment(ACK)]
        return list(self._pieces(answers))

    def send(self, octets: bytes) -> list[bytes]:
        """Send octets into the connection, if there is one."""
        return list(self._pieces(octets)) if self._peer is not None else []

    def _pieces(self, octets: bytes) -> Iterator[bytes]:
        for start in range(0, len(octets), self._segment_size):
            text = octets[start : start + self._segment_size]
            is_last = start + self._segment_size >= len(octets)
            yield self._segment(ACK | PSH if is_last else ACK, text)
            self._send_next = (self._send_next + len(text)) % 2**32

    def _segment(self, control: int, text: bytes = b"", options: bytes = b"") -> bytes:
        assert self._peer is not None
        address, port = self._peer
        segment = packets.tcp(
            self.port,
            port,
            control,
            sequence=self._send_next,
            acknowledgment=self._receive_next,
            options=options,
            data=text,
        )
        packet = packets.IPv4(
            source=self.address,
            destination=address,
            identification=next(self._identifications) & 0xFFFF,
            dont_fragment=True,
            payload=segment,
        )
        return packet.build().data


def _maximum_segment_size(options: bytes) -> int:
    """What a SYN offers (RFC 9293 3.7.1: 536 where it offers nothing)."""
    while options:
        if options[0] == 1:
            options = options[1:]
        elif options[0] == 0 or len(options) < 2 or options[1] < 2:
            break
        elif options[0] == 2 and options[1] == 4 and len(options) >= 4:
            return int.from_bytes(options[2:4], "big")
        else:
            options = options[options[1] :]
    return 536


class Router:
    """The router of the external network. Beyond it there is the server and nothing else."""

    def __init__(self, mac: str, address: str, server: Server) -> None:
        self.mac = mac
        self.address = address
        self._server = server
        self._gateway_mac: str | None = None

    def receive(self, frame: bytes, now: float) -> list[bytes]:
        """Take a frame from the external network; returns the frames that answer it."""
        if frame[12:14] == b"\x08\x06" and len(frame) >= 42:
            return self._arp(frame[14:42])
        if frame[:6] != packets.mac(self.mac) or frame[12:14] != b"\x08\x00":
            return []
        packet = read_ipv4(frame[14:])
        return self._frames(self._server.receive(packet, now)) if packet is not None else []

    def send(self, octets: bytes) -> list[bytes]:
        """The frames in which the server sends octets of the stream."""
        return self._frames(self._server.send(octets))

    def _frames(self, built: Iterable[bytes]) -> list[bytes]:
        if self._gateway_mac is None:
            return []
        return [_ipv4_frame(self.mac, self._gateway_mac, packet) for packet in built]

    def _arp(self, octets: bytes) -> list[bytes]:
        operation = int.from_bytes(octets[6:8], "big")
        sender_mac, sender = octets[8:14].hex(":"), str(IPv4Address(octets[14:18]))
        self._gateway_mac = sender_mac  # the gateway is the router's only neighbour
        if operation != packets.REQUEST or str(IPv4Address(octets[24:28])) != self.address:
            return []
        return [_arp_frame(packets.REPLY, self.mac, self.address, sender_mac, sender)]


# ── the network ───────────────────────────────────────────────────────────────────────────────────────────────────────

Door = Literal["start", "receive", "flow", "tick"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One call of the gateway: when, by whom, with what; and the effects."""

    number: int
    at: float
    door: Door
    effects: list[Effect]
    port: Port | None = None
    data: bytes = b""
    sender: str = ""
    event: FlowEvent | None = None


@dataclass(order=True, slots=True)
class _Pending:
    at: float
    number: int
    door: Door = field(compare=False)
    port: Port | None = field(compare=False, default=None)
    data: bytes = field(compare=False, default=b"")
    sender: str = field(compare=False, default="")
    event: FlowEvent | None = field(compare=False, default=None)


class Network:
    """A gateway among its peers. ``watch`` is told every moment, in order.

    In a network that ``is_silent`` nobody inside or beyond the tunnel speaks; only the transport works.
    """

    def __init__(
        self,
        gateway: Gateway,
        config: GatewayConfig,
        watch: Callable[[Moment], None],
        far: Far | None = None,
        *,
        is_silent: bool = False,
    ) -> None:
        self.now = 0.0
        inside = config.internal
        self.host = Host(
            "the host", "02:00:0a:26:02:05", str(inside.address.ip + 4), str(inside.address.ip), inside.mtu
        )
        self.far = far if far is not None else _far_of_known_keys(config, is_silent)
        self._is_silent = is_silent
        self._gateway = gateway
        self._watch = watch
        self._router: Router | None = None
        if config.external.kind == "stack":
            server = Server(str(config.tunnel.remote), config.tunnel.port, self.far)
            self._router = Router("02:00:c0:a8:01:01", str(config.external.gateway), server)
        self._queue: list[_Pending] = []
        self._numbers = itertools.count()
        self._moments = itertools.count(1)

    @property
    def names(self) -> dict[str, str]:
        """What the peers' addresses are called."""
        names = {self.host.mac: "the host", self.host.address: "the host"}
        return names | ({self._router.mac: "the router"} if self._router is not None else {})

    def start(self) -> None:
        """Start the gateway, now."""
        self._call(_Pending(self.now, next(self._numbers), "start"))

    def inject(self, frames: Iterable[bytes]) -> None:
        """Let the host send frames, one after another."""
        for frame in frames:
            self._later(Port.INTERNAL, frame, "the host")

    def arrive(self, at: float, port: Port, data: bytes, sender: str) -> None:
        """Let octets arrive at a port at a time that is not past."""
        assert at >= self.now, (at, self.now)
        heapq.heappush(self._queue, _Pending(at, next(self._numbers), "receive", port, data, sender))

    def arrive_from_tunnel(self, at: float, packet: bytes, sender: str) -> None:
        """Let the far end seal an inner packet, so that it arrives at a time that is not past."""
        self.arrive_in_stream(at, self.far.send(packet, self.now), sender)

    def arrive_in_stream(self, at: float, records: Iterable[bytes], sender: str) -> None:
        """Let records of the far end arrive at a time that is not past."""
        for record in records:
            if self._router is None:
                self.arrive(at, Port.FLOW, record, sender)
                continue
            for frame in self._router.send(record):
                self.arrive(at, Port.EXTERNAL, frame, sender)

    def run(self, until: float) -> None:
        """Let everything happen that is due by ``until``."""
        while (following := self._due_by(until)) is not None:
            self._call(following)
        self.now = max(self.now, until)

    def _due_by(self, until: float) -> _Pending | None:
        """What happens next, if it happens by then: the gateway's own deadline or an arrival."""
        deadline = self._gateway.deadline
        arrival = self._queue[0].at if self._queue else float("inf")
        if deadline is not None and deadline < arrival:
            return _Pending(max(deadline, self.now), -1, "tick") if deadline <= until else None
        return heapq.heappop(self._queue) if arrival <= until else None

    def _later(self, port: Port, data: bytes, sender: str) -> None:
        number = next(self._numbers)
        last = max((pending.at for pending in self._queue if pending.port is port), default=self.now)
        heapq.heappush(
            self._queue, _Pending(round(max(last, self.now) + DELAY, 6), number, "receive", port, data, sender)
        )

    def _call(self, pending: _Pending) -> None:
        self.now = pending.at
        number = next(self._moments)
        if number > MOST_MOMENTS:
            raise RuntimeError(
                f"{MOST_MOMENTS} events and no end: the gateway and its peers answer each other for ever"
            )
        effects = self._enter(pending)
        self._watch(
            Moment(number, self.now, pending.door, effects, pending.port, pending.data, pending.sender, pending.event)
        )
        for effect in effects:
            self._deliver(effect)

    def _enter(self, pending: _Pending) -> list[Effect]:
        if pending.door == "start":
            return self._gateway.start(self.now)
        if pending.door == "tick":
            return self._gateway.tick(self.now)
        if pending.event is not None:
            return self._gateway.flow(pending.event, self.now)
        assert pending.port is not None
        return self._gateway.receive(pending.port, pending.data, self.now)

    def _deliver(self, effect: Effect) -> None:
        if isinstance(effect, OpenFlow):
            self.far.connected()
            heapq.heappush(
                self._queue,
                _Pending(self.now + DELAY, next(self._numbers), "flow", event=FlowEvent.OPENED, sender="the system"),
            )
        if not isinstance(effect, Transmit):
            return
        if effect.port is Port.INTERNAL and not self._is_silent:
            for frame in self.host.receive(effect.data):
                self._later(Port.INTERNAL, frame, "the host")
        elif effect.port is Port.EXTERNAL and self._router is not None:
            for frame in self._router.receive(effect.data, self.now):
                self._later(Port.EXTERNAL, frame, "the router")
        elif effect.port is Port.FLOW:
            for record in self.far.receive(effect.data, self.now):
                self._later(Port.FLOW, record, "the far end")


def _far_of_known_keys(config: GatewayConfig, is_silent: bool) -> FarNetwork:
    session = config.tunnel.session
    assert session is not None, "without known keys the far end has to negotiate: give one that can"
    return FarNetwork(session, session.mtu, is_silent=is_silent)
