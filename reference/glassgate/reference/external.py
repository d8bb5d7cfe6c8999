"""The external network, where the gateway has its own stack: one flow to the server, through the router.

It takes the place of an operating system: the tunnel asks it to open, send and abort, and hears ``FlowOpened``,
``FlowOctets`` and ``FlowClosed``.

Below: Ethernet at the port ``external``. Above: ``gateway.py``, which joins it with the tunnel. Standards: the seed's
"Tunnel setup"; RFC 1122 3.3.1.1 (the router is the next hop); RFC 9293 3.10.1; RFC 5927 (whom to believe).

    open ──► ARP for the router ──► SYN to the router's MAC ──► … ──► FlowOpened
    octets ──► TCP (tcp/connection.py) ──► IPv4, DF set ──► arp.Neighbours.send(router) ──► external frame
    external frame ──► ethernet.receive ──► ARP, or IPv4 ──► our flow? ──► TCP ──► FlowOctets
                                                        └──► anything else: silence (S25)

A TCP flow that ends is kept until the next one ends: its last acknowledgements are still given, and what still comes
for it is answered as CLOSED answers (RFC 9293 3.10.7.1), so that the server forgets it too.

Not handled here: other connections, services, echo, hosts of the external network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Literal, Protocol

from glassgate.contract import Effect, Entropy, ExternalStack, Limits, Note, Port, Rule, Transmit, rules
from glassgate.reference import ethernet, fragments, icmp, ipv4, udp
from glassgate.reference.addresses import Attached
from glassgate.reference.arp import Neighbours, Unreachable, Waiting
from glassgate.reference.fragments import Reassembly, Whole
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import Malformed, changed, delivered, dropped
from glassgate.reference.quotation import Quote, is_too_big, next_hop_mtu, quoted
from glassgate.reference.tcp import segment as wire
from glassgate.reference.tcp.connection import Connection, Endpoint, Options, SendSegment
from glassgate.reference.tcp.segment import Segment
from glassgate.reference.tcp.sequence import SequenceNumber, initial_sequence_number
from glassgate.reference.tcp.service import answer_of_closed
from glassgate.reference.tcp.states import State

RECEIVE_CAPACITY = 1 << 20
"""Octets: the window we offer the server, enough for 100 Mbit/s over 80 ms."""
SEND_CAPACITY = 1 << 18
"""Octets that may wait for the server's acknowledgement."""
CONTROL_RESERVE = 1 << 14
"""Of these, so many are kept for the control channel: it must get through when data fill the rest."""
FIRST_PORT, PORTS = 49152, 16384
"""The dynamic ports (RFC 6335 6); each attempt draws one (RFC 6056 3.3.1)."""
SECRET_LENGTH = 16

BELIEVED_ERRORS = frozenset({icmp.DESTINATION_UNREACHABLE, icmp.TIME_EXCEEDED, icmp.PARAMETER_PROBLEM})
"""Source quench is obsolete (RFC 6633), and redirects are for hosts that choose among routers."""
ATTEMPT_ENDS = {
    rules.L3_RESET: rules.S2_REFUSED,
    rules.L4_FLOW_ERROR: rules.S2_REFUSED,
    rules.L3_GIVE_UP: rules.S2_UNANSWERED,
}
"""Why a connection ended, and what that means to an attempt to connect."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the flow goes."""

    address: IPv4Address
    port: int
    proto: Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class FlowOpened:
    """The flow is connected."""


@dataclass(frozen=True, slots=True)
class FlowClosed:
    """The flow has ended, or could not be opened."""


@dataclass(frozen=True, slots=True)
class FlowOctets:
    """What arrived: a piece of the stream, or one datagram."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Payload:
    """What leaves to the server as the payload of an IPv4 packet."""

    octets: bytes
    because: Rule


FlowStep = Payload | FlowOpened | FlowClosed | FlowOctets | Note
Step = Effect | Rule | FlowOpened | FlowClosed | FlowOctets


class Flow(Protocol):
    """A transport to the server."""

    protocol: int
    """IPv4's number of it."""
    local: Endpoint
    remote: Endpoint

    def open(self, now: float) -> Iterator[FlowStep]:
        """Begin."""

    def receive(self, octets: bytes, now: float) -> Iterator[FlowStep]:
        """Take the payload of a packet from the server. Raises ``Malformed``."""

    def send(self, octets: bytes, now: float) -> Iterator[FlowStep]:
        """Send all of these octets, or none if there is no room."""

    def abort(self, because: Rule, now: float) -> Iterator[FlowStep]:
        """End it at once, and tell the server."""

    def close(self, now: float) -> Iterator[FlowStep]:
        """End it in order: nobody wants to hear of it any more."""

    def error(self, error: icmp.Message, quote: Quote, now: float) -> Iterator[FlowStep]:
        """Take an ICMP error about a packet of this flow."""

    def has_left(self, now: float) -> None:
        """What waited for the router's hardware address has left now."""

    def router_silent(self, now: float) -> Iterator[FlowStep]:
        """What was to be sent could not: the router does not answer ARP."""

    @property
    def room(self) -> int:
        """How many octets of data ``send`` takes."""

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due."""

    def tick(self, now: float) -> Iterator[FlowStep]:
        """Do what is due."""


# ── the flow over TCP ────────────────────────────────────────────────────────────────────────────────────────────────


class TcpFlow:
    """The tunnel's TCP connection (S2, S3)."""

    protocol = ipv4.PROTOCOL_TCP

    def __init__(self, local: Endpoint, remote: Endpoint, iss: SequenceNumber, mtu: int, has_notes: bool) -> None:
        self.local = local
        self.remote = remote
        self._connection = Connection(
            local,
            remote,
            iss,
            Options(
                mtu,
                RECEIVE_CAPACITY,
                SEND_CAPACITY,
                text_because=rules.S25_OUTER_ADDRESSES,
                is_nagle=False,  # a record that waits for others delays somebody's packet
                has_notes=has_notes,
            ),
        )
        self._is_open = False
        self._is_over = False

    def open(self, now: float) -> Iterator[FlowStep]:
        """Send a SYN."""
        self._connection.open(now)
        yield from self._flush(now)

    def receive(self, octets: bytes, now: float) -> Iterator[FlowStep]:
        """Take a segment.

        Raises:
            Malformed: it is truncated, or its checksum is bad.
        """
        segment = wire.parse(octets, self.remote.address, self.local.address)
        if self._connection.state is State.CLOSED:
            yield from self._answer_of_closed(segment)
            return
        self._connection.receive(segment, now)
        yield from self._follow(now)

    def _answer_of_closed(self, segment: Segment) -> Iterator[FlowStep]:
        answer = answer_of_closed(segment)
        rule = rules.L3_NO_RESET_TO_RESET if answer is None else rules.L3_CLOSED_PORT
        if answer is not None:
            yield self._payload(SendSegment(answer, rule))
        yield dropped(rule, connection=self._connection.name, control=segment.control_names)

    def _follow(self, now: float) -> Iterator[FlowStep]:
        """Tell what has become of the connection, let the tunnel answer, and send what there is to send."""
        connection = self._connection
        if connection.state is State.ESTABLISHED and not self._is_open:
            self._is_open = True
            yield FlowOpened()
        if connection.readable:
            yield FlowOctets(connection.read(connection.readable))
        if connection.state is State.CLOSE_WAIT:
            connection.close()
        yield from self._flush(now)
        if connection.is_remote_closed and not self._is_over:
            yield from self._end()

    def _end(self) -> Iterator[FlowStep]:
        self._is_over = True
        because = self._connection.closed_because
        if because in ATTEMPT_ENDS and not self._is_open:
            yield changed(ATTEMPT_ENDS[because], connection=self._connection.name)
        yield FlowClosed()

    def send(self, octets: bytes, now: float) -> Iterator[FlowStep]:
        """Queue a record for the stream: whole, or not at all (S3)."""
        if len(octets) > self._connection.room:
            yield dropped(rules.S3_DROP_BEFORE_ID, length=len(octets), room=self._connection.room)
            return
        self._connection.write(octets)
        yield from self._flush(now)

    def abort(self, because: Rule, now: float) -> Iterator[FlowStep]:
        """Reset the connection (S3)."""
        self._is_over = True
        self._connection.abort(because)
        yield from self._flush(now)

    def close(self, now: float) -> Iterator[FlowStep]:
        """Send what waits, and a FIN."""
        self._is_over = True
        if self._connection.state is not State.CLOSED:
            self._connection.close()
            yield from self._flush(now)

    def error(self, error: icmp.Message, quote: Quote, now: float) -> Iterator[FlowStep]:
        """Take an ICMP error, if it quotes what is in flight (L4); of those only 3/4 matters to an open connection."""
        if not self._connection.is_in_flight(quote.sequence):
            yield dropped(rules.S25_FOREIGN_ERROR, type=error.type, code=error.code, sequence_number=quote.sequence)
            return
        if is_too_big(error):
            self._connection.packet_too_big(next_hop_mtu(error, quote))
        elif (error.type, error.code) in ((icmp.DESTINATION_UNREACHABLE, 2), (icmp.DESTINATION_UNREACHABLE, 3)):
            self._connection.unreachable()
        yield from self._follow(now)
        yield delivered(rules.L4_FLOW_ERROR, type=error.type, code=error.code, sequence_number=quote.sequence)

    def has_left(self, now: float) -> None:
        """The connection's time begins when its segment leaves."""
        self._connection.held_back_until(now)

    def router_silent(self, now: float) -> Iterator[FlowStep]:
        """Ends an attempt; an open connection sends again (S2)."""
        self.has_left(now)
        if self._connection.state is State.SYN_SENT:
            self._connection.abort(rules.S2_ROUTER_SILENT)
            yield from self._follow(now)

    @property
    def room(self) -> int:
        """How many octets of data may be sent: some room stays for the control channel."""
        return self._connection.room - CONTROL_RESERVE

    @property
    def deadline(self) -> float | None:
        """When the connection's next timer runs out."""
        return self._connection.deadline

    def tick(self, now: float) -> Iterator[FlowStep]:
        """Let the connection do what is due."""
        if self.deadline is not None and self.deadline <= now:
            self._connection.tick(now)
            yield from self._follow(now)

    def _flush(self, now: float) -> Iterator[FlowStep]:
        for output in self._connection.flush(now):
            yield self._payload(output) if isinstance(output, SendSegment) else output

    def _payload(self, output: SendSegment) -> Payload:
        return Payload(wire.build(output.segment, self.local.address, self.remote.address), output.because)


# ── the flow over UDP ────────────────────────────────────────────────────────────────────────────────────────────────


class UdpFlow:
    """The tunnel's datagrams: there is nothing to open, and nothing to keep."""

    protocol = ipv4.PROTOCOL_UDP
    room = ipv4.LONGEST_PACKET
    deadline = None

    def __init__(self, local: Endpoint, remote: Endpoint) -> None:
        self.local = local
        self.remote = remote

    def open(self, now: float) -> Iterator[FlowStep]:
        """Datagrams may be sent at once."""
        yield FlowOpened()

    def receive(self, octets: bytes, now: float) -> Iterator[FlowStep]:
        """Take a datagram.

        Raises:
            Malformed: it is truncated, or its checksum is bad.
        """
        yield FlowOctets(udp.parse(octets, self.remote.address, self.local.address).payload)

    def send(self, octets: bytes, now: float) -> Iterator[FlowStep]:
        """Send a datagram."""
        datagram = udp.Datagram(self.local.port, self.remote.port, octets)
        octets = udp.build(datagram, self.local.address, self.remote.address)
        yield Payload(octets, rules.S25_OUTER_ADDRESSES)

    def abort(self, because: Rule, now: float) -> Iterator[FlowStep]:
        """Nothing tells the server."""
        yield changed(because)

    def close(self, now: float) -> Iterator[FlowStep]:
        """There is nothing to close."""
        yield from ()

    def error(self, error: icmp.Message, quote: Quote, now: float) -> Iterator[FlowStep]:
        """Anybody can send one: it is told, and ends nothing."""
        yield delivered(rules.L4_FLOW_ERROR, type=error.type, code=error.code)

    def has_left(self, now: float) -> None:
        """Datagrams are not timed."""

    def router_silent(self, now: float) -> Iterator[FlowStep]:
        """The datagram is lost, as datagrams are."""
        yield changed(rules.S2_ROUTER_SILENT)

    def tick(self, now: float) -> Iterator[FlowStep]:
        """Nothing is ever due."""
        yield from ()


# ── the stack ────────────────────────────────────────────────────────────────────────────────────────────────────────


class External:
    """The gateway's own Ethernet, ARP and IPv4 on the external network."""

    def __init__(self, config: ExternalStack, limits: Limits, entropy: Entropy, has_notes: bool) -> None:
        self._config = config
        self._entropy = entropy
        self._has_notes = has_notes
        self._secret = entropy(SECRET_LENGTH)
        self._identification = int.from_bytes(entropy(2), "big")
        self._neighbours = Neighbours(Port.EXTERNAL, config.mac, Attached(config.address), limits)
        self._reassembly = Reassembly(limits)
        self._flows: list[Flow] = []  # the one in use, and the one before it
        self._is_waiting_for_router = False

    # ── the doors ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, now: float) -> Iterator[Step]:
        """Announce the external address (S7)."""
        yield from self._neighbourhood(self._neighbours.start(now), now)

    def open(self, server: Server, now: float) -> Iterator[Step]:
        """Begin a new flow to the server (S2)."""
        local, remote = Endpoint(self._config.address.ip, self._draw_port()), Endpoint(server.address, server.port)
        flow: Flow
        if server.proto == "tcp":
            iss = initial_sequence_number(self._secret, local, remote, now)
            flow = TcpFlow(local, remote, iss, self._config.mtu, self._has_notes)
        else:
            flow = UdpFlow(local, remote)
        self._flows = [flow, *self._flows[:1]]
        yield from self._run(flow, flow.open(now), now)

    @property
    def room(self) -> int:
        """How many octets of data the flow takes now (S3)."""
        return self._flows[0].room if self._flows else 0

    def send(self, octets: bytes, now: float) -> Iterator[Step]:
        """Send octets on the flow."""
        yield from self._run(self._flows[0], self._flows[0].send(octets, now), now)

    def abort(self, because: Rule, now: float) -> Iterator[Step]:
        """Give the flow up (S3)."""
        yield from self._run(self._flows[0], self._flows[0].abort(because, now), now)

    def close(self, now: float) -> Iterator[Step]:
        """End the flow in order: the gateway is about to stop."""
        if self._flows:
            yield from self._run(self._flows[0], self._flows[0].close(now), now)

    def receive(self, octets: bytes, now: float) -> Iterator[Step]:
        """Take a frame from outside."""
        try:
            frame = ethernet.receive(octets, self._config.mac)
            if isinstance(frame, Note):
                yield frame
            elif frame.type == ethernet.TYPE_ARP:
                yield from self._neighbourhood(self._neighbours.receive(frame.payload, now), now)
            else:
                yield from self._packet(ipv4.parse(frame.payload), now)
        except Malformed as malformed:
            yield malformed.note()

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due. While ARP waits for the router, the flow's time stands still."""
        times = [self._neighbours.deadline, self._reassembly.deadline]
        if not self._is_waiting_for_router:
            times += [flow.deadline for flow in self._flows]
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> Iterator[Step]:
        """Do what is due by ``now``."""
        yield from self._neighbourhood(self._neighbours.tick(now), now)
        for over in self._reassembly.tick(now):
            yield dropped(rules.S12_TIMEOUT_SILENT, source=over.key.source, identification=over.key.identification)
        if not self._is_waiting_for_router:
            for flow in self._flows:
                yield from self._run(flow, flow.tick(now), now)

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _packet(self, packet: Packet, now: float) -> Iterator[Step]:
        """An IPv4 packet: of our own flow, an error about it, or nothing for us (S25)."""
        if packet.destination != self._config.address.ip:
            yield _silence(packet)
        elif not packet.is_fragment:
            yield from self._whole(packet, now)
        elif any(flow.remote.address == packet.source for flow in self._flows):
            for outcome in self._reassembly.receive(packet, now):
                if isinstance(outcome, Whole):
                    yield rules.S12_COMPLETE
                    yield from self._whole(outcome.packet, now)
                else:
                    yield outcome
        else:
            yield _silence(packet)

    def _whole(self, packet: Packet, now: float) -> Iterator[Step]:
        """A packet for us that is no fragment, or none any more."""
        if packet.protocol == ipv4.PROTOCOL_ICMP:
            yield from self._icmp(icmp.parse(packet.payload), packet, now)
            return
        ports = int.from_bytes(packet.payload[:2], "big"), int.from_bytes(packet.payload[2:4], "big")
        remote, local = Endpoint(packet.source, ports[0]), Endpoint(packet.destination, ports[1])
        flow = self._find(packet.protocol, local, remote)
        if flow is None:
            yield _silence(packet)
        else:
            yield from self._run(flow, flow.receive(packet.payload, now), now)

    def _icmp(self, message: icmp.Message, packet: Packet, now: float) -> Iterator[Step]:
        """Errors about our own flow are given to it; nothing else is heard (S25, L4)."""
        if message.type not in BELIEVED_ERRORS:
            yield _silence(packet)
            return
        quote = quoted(message.data)
        flow = None if quote is None else self._find(quote.protocol, quote.source, quote.destination)
        if quote is None or flow is None:
            yield dropped(rules.S25_FOREIGN_ERROR, source=packet.source, type=message.type, code=message.code)
        else:
            yield from self._run(flow, flow.error(message, quote, now), now)

    def _find(self, protocol: int, local: Endpoint, remote: Endpoint) -> Flow | None:
        """The flow between these ends, the one in use first."""
        for flow in self._flows:
            if (flow.protocol, flow.local, flow.remote) == (protocol, local, remote):
                return flow
        return None

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, flow: Flow, steps: Iterable[FlowStep], now: float) -> Iterator[Step]:
        """What a flow did, its payloads put into packets."""
        for step in steps:
            if isinstance(step, Payload):
                yield from self._send(flow, step, now)
            else:
                yield step

    def _send(self, flow: Flow, payload: Payload, now: float) -> Iterator[Step]:
        """Send a packet to the server: by way of the router, unless the server is a neighbour (RFC 1122 3.3.1.1)."""
        self._identification = (self._identification + 1) & 0xFFFF
        packet = Packet(
            self._config.address.ip,
            flow.remote.address,
            flow.protocol,
            payload.octets,
            identification=self._identification,
            dont_fragment=flow.protocol == ipv4.PROTOCOL_TCP,  # it finds out the path's MTU (RFC 1191)
        )
        is_neighbour = packet.destination in self._config.address.network
        next_hop = packet.destination if is_neighbour else self._config.gateway
        if not is_neighbour:
            yield rules.S2_ROUTER_BY_ARP
        self._is_waiting_for_router = True
        for piece in fragments.fragment(packet, self._config.mtu):
            steps = self._neighbours.send(next_hop, Waiting(ipv4.build(piece), None), payload.because, now)
            yield from self._neighbourhood(steps, now, has_waited=False)

    def _neighbourhood(
        self, steps: Iterable[Effect | Rule | Unreachable], now: float, has_waited: bool = True
    ) -> Iterator[Step]:
        """What ARP did. The flow hears when what waited has left, and when it never will."""
        for step in steps:
            is_over = isinstance(step, Unreachable) or _is_packet(step)
            if is_over and self._is_waiting_for_router:
                self._is_waiting_for_router = False
                if isinstance(step, Unreachable):
                    yield from self._run(self._flows[0], self._flows[0].router_silent(now), now)
                elif has_waited:
                    self._flows[0].has_left(now)
            if isinstance(step, Unreachable):
                yield dropped(step.because, neighbour=step.neighbour)
            elif isinstance(step, Transmit) and step.because is rules.S7_REPLY:
                yield replace(step, because=rules.S25_ARP_REPLY)
            else:
                yield step

    def _draw_port(self) -> int:
        """A port that cannot be guessed, and is not the one of the flow before."""
        port = FIRST_PORT + int.from_bytes(self._entropy(2), "big") % PORTS
        if self._flows and port == self._flows[0].local.port:
            port = FIRST_PORT + (port + 1 - FIRST_PORT) % PORTS
        return port


def _silence(packet: Packet) -> Note:
    return dropped(rules.S25_SILENCE, source=packet.source, destination=packet.destination, protocol=packet.protocol)


def _is_packet(step: object) -> bool:
    """Whether this is a frame that carries IPv4."""
    return isinstance(step, Transmit) and int.from_bytes(step.data[12:14], "big") == ethernet.TYPE_IPV4
