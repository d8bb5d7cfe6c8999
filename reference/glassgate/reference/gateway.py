"""The gateway: the way of a packet from layer to layer. The only file that knows all the others.

Each step is a generator. It yields effects in the order in which they happen, and between them the rules by which the
packet got so far. The door (``_at_the_door``) collects both: effects become the caller's list, and rules become the
``path`` of the note on the packet's fate, which follows what the packet caused. It is also where ``Malformed`` is
caught, so that one unreadable packet ends there and nowhere else.

Two sides: INSIDE is the internal network, behind ARP; TUNNEL is whatever lies beyond the tunnel. What comes from a side
is answered to that side. Standards: DESIGN.md "The way of a packet"; RFC 1812 5.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address

from glassgate.contract import (
    CloseFlow,
    ConfigError,
    Effect,
    Entropy,
    ExternalOs,
    ExternalStack,
    FlowEvent,
    GatewayConfig,
    Note,
    OpenFlow,
    Port,
    Rule,
    Transmit,
    rules,
)
from glassgate.reference import arp, ethernet, external, forwarding, fragments, icmp, ipv4, udp
from glassgate.reference.addresses import Attached
from glassgate.reference.arp import Neighbours, Unreachable, Waiting
from glassgate.reference.external import External
from glassgate.reference.flows import FlowClosed, FlowOctets, FlowOpened, Server
from glassgate.reference.forwarding import Onward, Place, Ready, Refusal
from glassgate.reference.fragments import Reassembly, TimedOut
from glassgate.reference.icmp import TokenBucket
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import Malformed, changed, concludes, delivered, dropped, forwarded
from glassgate.reference.openvpn.client import Client
from glassgate.reference.openvpn.profile import Profile, ProfileError
from glassgate.reference.openvpn.tunnel import InnerPacket, OpenVpnTunnel
from glassgate.reference.quotation import is_too_big, next_hop_mtu, quoted
from glassgate.reference.tcp.service import Outgoing, TcpService
from glassgate.reference.udp import ClosedPort, Datagram

RECORD_OVERHEAD = 2 + 4 + 4 + 16
"""Octets that a record adds to its packet: length, opcode and peer id, packet id, tag (PROTOCOL.md 10)."""


class Side(StrEnum):
    """Where a packet comes from, or goes to."""

    INSIDE = "inside"
    TUNNEL = "tunnel"


Step = Effect | Rule
FLOW_EFFECTS = (OpenFlow, CloseFlow, Transmit)
"""What the tunnel wants of its transport."""


class ReferenceGateway:
    """The gateway that is written to be read."""

    def __init__(self, config: GatewayConfig, entropy: Entropy) -> None:
        self._config = config
        self._inside = Attached(config.internal.address, config.internal.sources)
        self._neighbours = Neighbours(Port.INTERNAL, config.internal.mac, self._inside, config.limits)
        self._reassembly = Reassembly(config.limits)
        self._errors = TokenBucket(config.limits)
        self._identification = int.from_bytes(entropy(2), "big")
        self._tcp = TcpService(config.services.tcp_echo, config.limits, entropy, config.notes)
        profile = None if config.tunnel.ovpn is None else _profile(config.tunnel.ovpn)
        client = None if profile is None else Client(profile, entropy)
        self._tunnel = OpenVpnTunnel(config.tunnel, config.internal.address.network, client, profile)
        self._external: External | None = None  # where the operating system has the transport
        if isinstance(config.external, ExternalStack):
            self._external = External(config.external, config.limits, entropy, config.notes)
            self._servers = _servers(config, profile)

    # ── the four doors ───────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, now: float) -> list[Effect]:
        """Announce the internal address, and bring the tunnel up."""
        return self._at_the_door(self._start(now))

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        """Take one frame from inside or outside, or what arrived on the flow."""
        octets = bytes(data)  # the caller overwrites what it gave us
        effects = self.tick(now)
        if port is Port.INTERNAL:
            return effects + self._at_the_door(self._frame_from_inside(octets, now))
        if port is Port.EXTERNAL:
            assert self._external is not None
            return effects + self._at_the_door(self._outside(self._external.receive(octets, now), now))
        return effects + self._at_the_door(self._through_the_tunnel(self._tunnel.receive(octets, now), now))

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        """Take the news that the flow opened or closed."""
        effects = self.tick(now)
        news = self._tunnel.opened(now) if event is FlowEvent.OPENED else self._tunnel.closed(now)
        return effects + self._at_the_door(self._through_the_tunnel(news, now))

    def tick(self, now: float) -> list[Effect]:
        """Do all that is due by ``now``."""
        return self._at_the_door(self._tick(now))

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due."""
        times = (
            self._neighbours.deadline,
            self._reassembly.deadline,
            self._tcp.deadline,
            self._tunnel.deadline,
            self._external.deadline if self._external else None,
        )
        return min((time for time in times if time is not None), default=None)

    def stop(self, now: float) -> list[Effect]:
        """Leave politely: a driver that ends transmits this, and then closes the flow."""
        effects = self._at_the_door(self._through_the_tunnel(self._tunnel.stop(now), now))
        if self._external is None:
            return effects
        return effects + self._at_the_door(self._outside(self._external.close(now), now))

    def restart(self, now: float) -> list[Effect]:
        """Give the connection up and make another (S3)."""
        return self._at_the_door(self._through_the_tunnel(self._tunnel.restart(now), now))

    @property
    def remote(self) -> int:
        """Which of the OpenVPN configuration's remotes the flow is to be opened to."""
        return self._tunnel.remote

    @property
    def status(self) -> dict[str, object]:
        """How things stand, in JSON's values: the tunnel, and the neighbours inside."""
        return {"tunnel": self._tunnel.status, "neighbours": self._neighbours.table}

    def _at_the_door(self, steps: Iterable[Step]) -> list[Effect]:
        """Gather effects, and with each note on a packet's fate the rules that led there."""
        effects: list[Effect] = []
        path: list[str] = []
        for step in steps:
            if isinstance(step, Rule):
                path.append(step.slug)
            elif not isinstance(step, Note):
                effects.append(step)
            elif self._config.notes:
                if concludes(step):
                    step = replace(step, detail={**step.detail, "path": " ".join(dict.fromkeys(path))})
                    path.clear()
                effects.append(step)
        return effects

    def _start(self, now: float) -> Iterator[Step]:
        if self._config.internal.address.network.prefixlen > 30:
            yield changed(rules.S1_NO_BROADCAST_IN_31, address=self._config.internal.address)
        yield from self._neighbourhood(self._neighbours.start(now), now)
        if self._external is not None:
            yield from self._outside(self._external.start(now), now)
        is_flow_open = self._config.tunnel.session is not None and isinstance(self._config.external, ExternalOs)
        yield from self._through_the_tunnel(self._tunnel.start(is_flow_open, now), now)

    def _tick(self, now: float) -> Iterator[Step]:
        yield from self._neighbourhood(self._neighbours.tick(now), now)
        for over in self._reassembly.tick(now):
            yield from self._timed_out(over, now)
        yield from self._segments(self._tcp.tick(now), now)
        if self._external is not None:
            yield from self._outside(self._external.tick(now), now)
        yield from self._through_the_tunnel(self._tunnel.tick(now), now)

    # ── from inside ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _frame_from_inside(self, octets: bytes, now: float) -> Iterator[Step]:
        """An Ethernet frame: ARP, or IPv4, or nothing for us (S5)."""
        try:
            frame = ethernet.receive(octets, self._config.internal.mac)
            if isinstance(frame, Note):
                yield frame
            elif frame.type == ethernet.TYPE_ARP:
                if len(frame.payload) > arp.FORMAT.size:
                    yield rules.S5_PADDING
                yield from self._neighbourhood(self._neighbours.receive(frame.payload, now), now)
            else:
                yield rules.S5_FOR_US
                yield from self._packet(frame.payload, Side.INSIDE, now)
        except Malformed as malformed:
            yield malformed.note()

    # ── from the tunnel ──────────────────────────────────────────────────────────────────────────────────────────────

    def _through_the_tunnel(self, steps: Iterable[Step | InnerPacket], now: float) -> Iterator[Step]:
        """What the tunnel did, its packets taken up (S27)."""
        for step in steps:
            if isinstance(step, InnerPacket):
                yield from self._packet_from_tunnel(step.octets, now)
            elif self._external is not None and isinstance(step, FLOW_EFFECTS):
                yield step.because
                yield from self._outside(self._on_our_own_stack(self._external, step, now), now)
            else:
                yield step

    def _on_our_own_stack(
        self, stack: External, wish: OpenFlow | CloseFlow | Transmit, now: float
    ) -> Iterator[external.Step]:
        """What the operating system would do for the tunnel, done here (S2, S3)."""
        if isinstance(wish, OpenFlow):
            yield from stack.open(self._servers[self._tunnel.remote], now)
        elif isinstance(wish, CloseFlow):
            yield from stack.abort(wish.because, now)
        else:
            yield from stack.send(wish.data, now)

    def _outside(self, steps: Iterable[external.Step], now: float) -> Iterator[Step]:
        """What the external stack did, its news given to the tunnel."""
        for step in steps:
            if isinstance(step, FlowOpened):
                yield from self._through_the_tunnel(self._tunnel.opened(now), now)
            elif isinstance(step, FlowClosed):
                yield from self._through_the_tunnel(self._tunnel.closed(now), now)
            elif isinstance(step, FlowOctets):
                yield from self._through_the_tunnel(self._tunnel.receive(step.octets, now), now)
            else:
                yield step

    def _packet_from_tunnel(self, octets: bytes, now: float) -> Iterator[Step]:
        try:
            if octets[0] >> 4 == 6:
                raise Malformed(rules.S27_IPV6, version=6, length=len(octets))
            yield from self._packet(octets, Side.TUNNEL, now)
        except Malformed as malformed:
            yield malformed.note()

    # ── from either ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _packet(self, octets: bytes, came_from: Side, now: float) -> Iterator[Step]:
        """Read a packet, decide where it goes, and see it on its way."""
        packet = ipv4.parse(octets)
        if packet.total_length < len(octets):
            yield rules.S9_PADDING
        if came_from is Side.INSIDE and self._inside.is_further(packet.source):
            yield rules.S16_CONFIGURED
        decide = forwarding.from_inside if came_from is Side.INSIDE else forwarding.from_tunnel
        decision = decide(packet, self._place)
        if isinstance(decision, Note):
            yield decision
            return
        yield decision.because
        refused = forwarding.refuse_options(packet)
        if refused is not None:
            yield from self._refuse(refused, packet, now)
        elif isinstance(decision, Onward):
            yield from self._onward(packet, decision, came_from, now)
        elif packet.is_fragment:
            yield from self._join(packet, now)
        else:
            yield from self._deliver(packet, packet, now)

    def _onward(self, packet: Packet, decision: Onward, came_from: Side, now: float) -> Iterator[Step]:
        """Forward a packet to the other side."""
        if came_from is Side.INSIDE:
            ready = forwarding.onward(packet, self._tunnel.mtu, self._tunnel.is_up, self._tunnel.mssfix)
        else:
            ready = forwarding.onward(packet, self._config.internal.mtu, True, self._tunnel.mssfix)
        if not isinstance(ready, Ready):
            yield from self._refuse(ready, packet, now)
            return
        yield from ready.path
        count = len(ready.pieces)
        fate = forwarded(decision.because, source=packet.source, destination=packet.destination, packets=count)
        if came_from is Side.INSIDE:
            yield rules.S23_INNER_MTU
            yield from self._into_tunnel(ready.pieces, fate, decision.because, now)
        else:
            yield rules.S32_INTERNAL_MTU
            yield from self._to_neighbour(ready.pieces, packet, fate, decision.because, now)

    def _refuse(self, refused: Refusal | Note, packet: Packet, now: float) -> Iterator[Step]:
        """Drop a packet, and tell its source if there is an error that says so."""
        if isinstance(refused, Refusal):
            yield from self._error(refused.error, packet, None, refused.note.rule, now)
            refused = refused.note
        yield refused

    # ── for the gateway itself ───────────────────────────────────────────────────────────────────────────────────────

    def _join(self, packet: Packet, now: float) -> Iterator[Step]:
        """Hold a fragment until its datagram is whole (S12)."""
        for outcome in self._reassembly.receive(packet, now):
            if isinstance(outcome, Note):
                yield outcome
            else:
                yield rules.S12_COMPLETE
                yield from self._deliver(outcome.packet, outcome.first_fragment, now)

    def _timed_out(self, over: TimedOut, now: float) -> Iterator[Step]:
        """A datagram's missing fragments did not come in time (S12)."""
        if over.first_fragment is None:
            yield dropped(rules.S12_TIMEOUT_SILENT, source=over.key.source, identification=over.key.identification)
            return
        yield from self._error(icmp.REASSEMBLY_TIME_EXCEEDED, over.first_fragment, None, rules.S12_TIMEOUT, now)
        yield dropped(rules.S12_TIMEOUT, source=over.key.source, identification=over.key.identification)

    def _deliver(self, packet: Packet, about: Packet, now: float) -> Iterator[Step]:
        """Give a packet to the local service that it is for. An error would quote ``about``."""
        yield rules.S11_TTL_IGNORED
        if packet.protocol == ipv4.PROTOCOL_ICMP:
            yield from self._deliver_icmp(packet, now)
        elif packet.protocol == ipv4.PROTOCOL_UDP:
            yield from self._deliver_udp(packet, about, now)
        elif packet.protocol == ipv4.PROTOCOL_TCP:
            mtu = self._config.internal.mtu if self._inside.contains(packet.source) else self._tunnel.mtu
            segments = self._tcp.receive(packet.payload, packet.source, packet.destination, mtu, now)
            yield from self._segments(segments, now)
        else:
            yield from self._error(icmp.PROTOCOL_UNREACHABLE, about, about.destination, rules.L4_PROTOCOL, now)
            yield dropped(rules.L4_PROTOCOL, protocol=packet.protocol)

    def _deliver_icmp(self, packet: Packet, now: float) -> Iterator[Step]:
        if icmp.is_error(packet):
            yield from self._hear_error(icmp.parse(packet.payload), now)
            return
        reply = icmp.receive(packet.payload, self._config.services.icmp_echo)
        if isinstance(reply, Note):
            yield reply
            return
        asker, asked = packet.source, packet.destination
        answer = Packet(asked, asker, ipv4.PROTOCOL_ICMP, icmp.build(reply), packet.type_of_service)
        yield from self._originate(answer, rules.L1_ECHO, now)
        yield delivered(rules.L1_ECHO, source=asker, length=len(reply.data))

    def _hear_error(self, error: icmp.Message, now: float) -> Iterator[Step]:
        """An ICMP error matters if it is about a segment that our own TCP has in flight, too big for its path (L4)."""
        quote = quoted(error.data)
        if (
            quote is not None
            and quote.protocol == ipv4.PROTOCOL_TCP
            and is_too_big(error)
            and self._tcp.packet_too_big(
                quote.source, quote.destination, quote.sequence, next_hop_mtu(error, quote), now
            )
        ):
            yield from self._segments(self._tcp.tick(now), now)
            yield delivered(rules.L4_FLOW_ERROR, type=error.type, code=error.code)
        else:
            yield dropped(rules.L4_ICMP_NO_ANSWER, type=error.type, code=error.code)

    def _deliver_udp(self, packet: Packet, about: Packet, now: float) -> Iterator[Step]:
        asker, asked = packet.source, packet.destination
        for outcome in udp.receive(packet.payload, asker, asked, self._config.services.udp_echo):
            if isinstance(outcome, ClosedPort):
                yield from self._error(icmp.PORT_UNREACHABLE, about, asked, rules.L2_CLOSED_PORT, now)
                yield dropped(rules.L2_CLOSED_PORT, destination_port=outcome.port)
            elif isinstance(outcome, Datagram):
                answer = Packet(asked, asker, ipv4.PROTOCOL_UDP, udp.build(outcome, asked, asker))
                yield from self._originate(answer, rules.L2_ECHO, now)
                yield delivered(rules.L2_ECHO, source=asker, length=len(outcome.payload))
            else:
                yield outcome

    def _segments(self, outputs: Iterable[Outgoing | Note], now: float) -> Iterator[Step]:
        """What TCP did; its segments leave with DF set, for it finds out the path's MTU (RFC 1191)."""
        for output in outputs:
            if isinstance(output, Note):
                yield output
                continue
            segment = Packet(output.source, output.destination, ipv4.PROTOCOL_TCP, output.octets, dont_fragment=True)
            yield from self._originate(segment, output.because, now)

    # ── what the gateway says itself ─────────────────────────────────────────────────────────────────────────────────

    def _error(
        self, error: icmp.Error, about: Packet, source: IPv4Address | None, because: Rule, now: float
    ) -> Iterator[Step]:
        """Send an ICMP error about a packet to its source, if one may be sent (S20).

        It comes from ``source``; None is the address of the interface that it leaves by.
        """
        refused = icmp.refuse_error(about, self._networks)
        if refused is None and not self._errors.take(now):
            refused = rules.S20_RATE
        if refused is not None:
            yield changed(refused, error=str(error), source=about.source)
            return
        yield from (rules.S20_SOURCE, rules.S20_QUOTE, rules.S20_HEADER)
        message = Packet(
            source=source or self._address_toward(about.source),
            destination=about.source,
            protocol=ipv4.PROTOCOL_ICMP,
            payload=icmp.build(icmp.error_message(error, about)),
            type_of_service=icmp.INTERNETWORK_CONTROL,
        )
        yield from self._originate(message, because, now)

    def _originate(self, packet: Packet, because: Rule, now: float) -> Iterator[Step]:
        """Send a packet of the gateway's own, from one of its addresses, to the side where its destination is."""
        if packet.source not in self._place.own:  # a connection has outlived the tunnel address that it was made to
            yield changed(rules.S1_OWN_SOURCE, source=packet.source)
            return
        yield rules.S1_OWN_SOURCE
        self._identification = (self._identification + 1) & 0xFFFF
        packet = replace(packet, identification=self._identification)
        if self._inside.contains(packet.destination):
            yield rules.S13_REPLY
            pieces = [*fragments.fragment(packet, self._config.internal.mtu)]
            yield from self._to_neighbour(pieces, None, None, because, now)
        elif self._tunnel.is_up:
            yield from self._into_tunnel([*fragments.fragment(packet, self._tunnel.mtu)], None, because, now)
        else:
            yield changed(rules.S4_TUNNEL_DOWN, destination=packet.destination)

    @property
    def _place(self) -> Place:
        """The gateway's addresses as they are now: that of the tunnel may be pushed."""
        external = self._config.external
        return Place(
            self._inside,
            external.address.ip if isinstance(external, ExternalStack) else None,
            self._tunnel.address.ip if self._tunnel.address else None,
        )

    @property
    def _networks(self) -> tuple[Attached, ...]:
        """The networks whose broadcast addresses are known here."""
        return (self._inside, Attached(self._tunnel.address)) if self._tunnel.address else (self._inside,)

    def _address_toward(self, destination: IPv4Address) -> IPv4Address:
        """The gateway's address on the side where ``destination`` is."""
        if self._inside.contains(destination) or self._tunnel.address is None:
            return self._inside.own
        return self._tunnel.address.ip

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _into_tunnel(self, pieces: Sequence[Packet], fate: Note | None, because: Rule, now: float) -> Iterator[Step]:
        """Seal and send what replaces one packet, all of it or nothing."""
        if self._tunnel.ids_left < len(pieces):
            yield rules.S3_DROP_BEFORE_ID
            yield dropped(rules.S24_IDS_USED_UP, ids_left=self._tunnel.ids_left)
            return
        needed = sum(piece.total_length + RECORD_OVERHEAD for piece in pieces)
        if self._external is not None and self._external.room < needed:
            yield dropped(rules.S3_DROP_BEFORE_ID, room=self._external.room, needed=needed)
            return
        yield rules.S24_SEAL
        for piece in pieces:
            yield from self._through_the_tunnel(self._tunnel.send(ipv4.build(piece), because, now), now)
        if fate is not None:
            yield fate

    def _to_neighbour(
        self, pieces: Sequence[Packet], about: Packet | None, fate: Note | None, because: Rule, now: float
    ) -> Iterator[Step]:
        """Send what replaces one packet to the host that it is for, or have it wait."""
        waiting = [Waiting(ipv4.build(piece), about) for piece in pieces]
        waiting[-1] = replace(waiting[-1], fate=fate)
        neighbour = pieces[0].destination
        sent = (step for piece in waiting for step in self._neighbours.send(neighbour, piece, because, now))
        yield from self._neighbourhood(sent, now)

    def _neighbourhood(self, steps: Iterable[Step | Unreachable], now: float) -> Iterator[Step]:
        """What ARP did, and an error to each source whose packets found nobody (S31)."""
        told: set[tuple[IPv4Address, IPv4Address]] = set()
        for step in steps:
            if not isinstance(step, Unreachable):
                yield step
                continue
            about = step.waiting.about
            if about is None:
                continue
            if (step.neighbour, about.source) not in told:
                told.add((step.neighbour, about.source))
                yield from self._error(icmp.HOST_UNREACHABLE, about, None, step.because, now)
            if step.waiting.fate is not None:
                yield dropped(step.because, neighbour=step.neighbour, source=about.source)


def _profile(text: str) -> Profile:
    """Read the OpenVPN configuration file.

    Raises:
        ConfigError: it cannot be used.
    """
    try:
        return Profile.parse(text)
    except ProfileError as error:
        raise ConfigError("tunnel.ovpn", str(error)) from error


def _servers(config: GatewayConfig, profile: Profile | None) -> list[Server]:
    """Where the flow may go, in the order of the profile's remotes.

    Raises:
        ConfigError: a remote is a name, and our own stack has no resolver.
    """
    if profile is None:
        return [Server(config.tunnel.remote, config.tunnel.port, config.tunnel.proto)]
    try:
        return [Server(IPv4Address(remote.host), remote.port, remote.proto) for remote in profile.remotes]
    except AddressValueError as error:
        raise ConfigError(
            "tunnel.ovpn", f"remote: {error}; with external.kind 'stack' it must be an address"
        ) from error
