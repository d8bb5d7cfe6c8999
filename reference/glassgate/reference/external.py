"""The external network, where the gateway has its own stack: Ethernet, ARP for the router, IPv4, and one flow.

It takes the place of an operating system: the tunnel asks it to open, send and abort, and hears ``FlowOpened``,
``FlowOctets`` and ``FlowClosed``.

Below: Ethernet at the port ``external``. Above: ``gateway.py``, which joins it with the tunnel. Standards: the seed's
"Tunnel setup"; RFC 1122 3.3.1.1 (the router is the next hop); RFC 5927 (which errors to believe).

    open ──► ARP for the router ──► SYN to the router's MAC ──► … ──► FlowOpened
    octets ──► flows.TcpFlow ──► IPv4, DF set ──► arp.Neighbours.send(router) ──► external frame
    external frame ──► ethernet.receive ──► ARP, or IPv4 ──► our flow? ──► flows.TcpFlow ──► FlowOctets
                                                        └──► anything else: silence (S25)

The flow that ended last is kept beside the one in use: its last acknowledgements are still given.

Not handled here: other connections, services, echo, hosts of the external network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from glassgate.contract import Effect, Entropy, ExternalStack, Limits, Note, Port, Rule, Transmit, rules
from glassgate.reference import arp, ethernet, fragments, icmp, ipv4
from glassgate.reference.addresses import Attached
from glassgate.reference.arp import Neighbours, Unreachable, Waiting
from glassgate.reference.flows import (
    Flow,
    FlowClosed,
    FlowOctets,
    FlowOpened,
    FlowStep,
    Payload,
    Server,
    TcpFlow,
    UdpFlow,
)
from glassgate.reference.fragments import Reassembly, Whole
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import Malformed, dropped
from glassgate.reference.quotation import quoted
from glassgate.reference.tcp.connection import Endpoint
from glassgate.reference.tcp.sequence import initial_sequence_number

FIRST_PORT, PORTS = 49152, 16384
"""The dynamic ports (RFC 6335 6); each attempt draws one (RFC 6056 3.3.1)."""
SECRET_LENGTH = 16
PATIENCE_WITH_ROUTER = arp.REQUESTS * arp.REQUEST_INTERVAL
"""Seconds. ARP itself gives up by then, unless its table was too full to keep the question."""
BELIEVED_ERRORS = frozenset({icmp.DESTINATION_UNREACHABLE, icmp.TIME_EXCEEDED, icmp.PARAMETER_PROBLEM})
"""Source quench is obsolete (RFC 6633), and redirects are for hosts that choose among routers."""

Step = Effect | Rule | FlowOpened | FlowClosed | FlowOctets


class External:
    """The gateway's own Ethernet, ARP and IPv4 on the external network."""

    def __init__(self, config: ExternalStack, limits: Limits, entropy: Entropy, has_notes: bool) -> None:
        self._config = config
        self._address = config.address.ip
        self._entropy = entropy
        self._has_notes = has_notes
        self._secret = entropy(SECRET_LENGTH)
        self._identification = int.from_bytes(entropy(2), "big")
        self._neighbours = Neighbours(Port.EXTERNAL, config.mac, Attached(config.address), limits)
        self._reassembly = Reassembly(limits)
        self._flows: list[Flow] = []  # the one in use, and the one before it
        self._waits_for_router_until: float | None = None

    # ── the doors ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, now: float) -> Iterator[Step]:
        """Announce the external address (S7)."""
        yield from self._neighbourhood(self._neighbours.start(now), now)

    def open(self, server: Server, now: float) -> Iterator[Step]:
        """Begin a new flow to the server (S2)."""
        local, remote = Endpoint(self._address, self._draw_port()), Endpoint(server.address, server.port)
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
        times = [self._neighbours.deadline, self._reassembly.deadline, self._waits_for_router_until]
        if self._waits_for_router_until is None:
            times += [flow.deadline for flow in self._flows]
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> Iterator[Step]:
        """Do what is due by ``now``."""
        yield from self._neighbourhood(self._neighbours.tick(now), now)
        for over in self._reassembly.tick(now):
            yield dropped(rules.S12_TIMEOUT_SILENT, source=over.key.source, identification=over.key.identification)
        if self._waits_for_router_until is not None and self._waits_for_router_until <= now:
            # ARP has forgotten what waited, for its table was full: the flow may send it again.
            self._waits_for_router_until = None
            self._flows[0].has_left(now)
        if self._waits_for_router_until is None:
            for flow in self._flows:
                yield from self._run(flow, flow.tick(now), now)

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _packet(self, packet: Packet, now: float) -> Iterator[Step]:
        """An IPv4 packet: of our own flow, an error about it, or nothing for us (S25)."""
        if packet.destination != self._address:
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
            self._address,
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
        self._waits_for_router_until = now + PATIENCE_WITH_ROUTER
        for piece in fragments.fragment(packet, self._config.mtu):
            steps = self._neighbours.send(next_hop, Waiting(ipv4.build(piece), None), payload.because, now)
            yield from self._neighbourhood(steps, now, has_waited=False)

    def _neighbourhood(
        self, steps: Iterable[Effect | Rule | Unreachable], now: float, has_waited: bool = True
    ) -> Iterator[Step]:
        """What ARP did. The flow hears when what waited has left, and when it never will."""
        for step in steps:
            if isinstance(step, Unreachable):
                if self._waits_for_router_until is not None:
                    self._waits_for_router_until = None
                    yield from self._run(self._flows[0], self._flows[0].router_silent(now), now)
                yield dropped(step.because, neighbour=step.neighbour)
                continue
            if self._waits_for_router_until is not None and _is_packet(step):
                self._waits_for_router_until = None
                if has_waited:
                    self._flows[0].has_left(now)
            if isinstance(step, Transmit) and step.because is rules.S7_REPLY:
                yield replace(step, because=rules.S25_ARP_REPLY)
            else:
                yield step

    def _draw_port(self) -> int:
        """A port that cannot be guessed, and is none of the flows before."""
        drawn = int.from_bytes(self._entropy(2), "big") % PORTS
        while any(flow.local.port == FIRST_PORT + drawn for flow in self._flows):
            drawn = (drawn + 1) % PORTS
        return FIRST_PORT + drawn


def _silence(packet: Packet) -> Note:
    return dropped(rules.S25_SILENCE, source=packet.source, destination=packet.destination, protocol=packet.protocol)


def _is_packet(step: object) -> bool:
    """Whether this is a frame that carries IPv4."""
    return isinstance(step, Transmit) and int.from_bytes(step.data[12:14], "big") == ethernet.TYPE_IPV4
