"""The stack outside: how does the tunnel's flow reach the server, and who else may speak to us there?

Below: ``ethernet.py``, ``arp.py``, ``ipv4.py``, ``fragments.py``, ``tcp_flow.py``. Above: ``gateway.py``.
Standards: seed "Tunnel setup"; RFC 1122 3.3.1.1, 4.2.3.9; RFC 1191 6; RFC 5927; RFC 6056 3.3.1.

    external frame ─ Ethernet ─┬▶ Arp                                      router known ─▶ SYN; or UDP is open
                               └▶ IPv4 ─┬▶ TCP of our flow ─▶ FlowConnection ─▶ downstream
                                        ├▶ UDP of our flow ─▶ a record
                                        ├▶ ICMP that quotes our flow ─▶ a smaller segment size
                                        └▶ anything else: silence

Same contract as the reference's ``external.py``. Departures:

1. **A frame is written where it leaves from**: headers before the text, in the region of frames; one copy from the send
   buffer. Guard: ``test_optimized_external.py``.
2. **Records of a batch share segments**: what several packets became leaves in full segments once the batch is done.
   Guard: the same file.
3. **The kernel sums and cuts** (``offload.py``) where one is below, not where effects are made: many segments are
   written as one with one header, and frames that the kernel vouches for are not summed again, however large they come.
   Packets of 1400 octets, 64 a batch: upstream 3.8 µs each for 10.8, sealing included; downstream 8.3 for 19.9 in large
   frames, 16.4 in frames of one segment. Guard: the same file, against what is sent where all is done here.
4. **The router is the only neighbour that is remembered**: nobody else is sent anything but an ARP reply, so nobody
   can crowd it out. Guard: the same file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address

from glassgate.contract import ConfigError, Entropy, ExternalStack, GatewayConfig, NoteKind, Rule, rules
from glassgate.optimized.addresses import dotted
from glassgate.optimized.arp import Arp
from glassgate.optimized.buffers import (
    HEADROOM,
    LARGEST_PACKET,
    VIRTIO_LENGTH,
    Outgoing,
    OutsideFrames,
    WorkBuffer,
)
from glassgate.optimized.checksum import is_intact, is_transport_intact, pseudo_header_sum, transport_checksum
from glassgate.optimized.ethernet import HEADER_LENGTH as FRAME_HEADER
from glassgate.optimized.ethernet import TYPE_ARP, TYPE_IPV4, Ethernet
from glassgate.optimized.fragments import Reassembly, cut
from glassgate.optimized.icmp import (
    ADDRESS,
    DESTINATION_UNREACHABLE,
    ERRORS,
    FRAGMENTATION_NEEDED,
)
from glassgate.optimized.ipv4 import (
    AT_DESTINATION,
    AT_FRAGMENT,
    AT_PROTOCOL,
    AT_SOURCE,
    AT_TOTAL_LENGTH,
    DONT_FRAGMENT,
    FRAGMENT_OFFSET,
    MORE_FRAGMENTS,
    PROTOCOL_ICMP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    SMALLEST_HEADER,
    WORD,
    describe,
    header_length,
    options_refusal,
    refusal,
    write_header,
)
from glassgate.optimized.offload import leave_to_kernel
from glassgate.optimized.quotation import MESSAGE, Quote, read_quote
from glassgate.optimized.tcp import ACK, HEADER_LENGTH, RST, SYN, Segment, syn_options, write_segment
from glassgate.optimized.tcp import HEADER as TCP_HEADER
from glassgate.optimized.tcp_connection import State, initial_sequence_number
from glassgate.optimized.tcp_flow import FlowConnection
from glassgate.optimized.tunnel import Flow, Tunnel
from glassgate.optimized.udp import HEADER as UDP_HEADER
from glassgate.optimized.udp import HEADER_LENGTH as UDP_HEADER_LENGTH

FIRST_EPHEMERAL_PORT = 49152
EPHEMERAL_PORTS = 65536 - FIRST_EPHEMERAL_PORT
SECRET_LENGTH = 16
NEVER = float("inf")

REFUSALS = frozenset(
    rule.slug
    for rule in (
        rules.L3_SEQUENCE,
        rules.L3_CHALLENGE_RESET,
        rules.L3_CHALLENGE_SYN,
        rules.L3_NO_ACK,
        rules.L3_UNACCEPTABLE_ACK,
        rules.L3_SYN_SENT,
    )
)
"""Fates of segments that change nothing, by their slugs."""

TakeDatagram = Callable[[memoryview, float], None]


class OutsideArp(Arp):
    """ARP of the external network: answers for us, and remembers the router alone."""

    __slots__ = ("_router",)

    def remember_only(self, router: int) -> None:
        """Nobody else is ever sent a packet."""
        self._router = router

    def _learn(self, sender: int, hardware: bytes, may_create: bool, now: float) -> bool:
        return sender == self._router and super()._learn(sender, hardware, may_create, now)


class External:
    """The external network, with one flow to one server."""

    __slots__ = (
        "_arp",
        "_deliver",
        "_destination",
        "_destination_port",
        "_ended_port",
        "_entropy",
        "_ethernet",
        "_identification",
        "_is_resolving",
        "_is_stream",
        "_leaving",
        "_mtu",
        "_notes_ordinary",
        "_outgoing",
        "_own",
        "_port",
        "_reassembly",
        "_router",
        "_secret",
        "_segment",
        "_server",
        "_take_datagram",
        "_tunnel",
        "_work",
        "connection",
        "frames",
        "is_full",
        "ordinary",
    )

    def __init__(
        self,
        config: GatewayConfig,
        outside: ExternalStack,
        outgoing: Outgoing,
        tunnel: Tunnel,
        entropy: Entropy,
        deliver: Callable[[float], bool],
        take_datagram: TakeDatagram,
    ) -> None:
        network = outside.address.network
        self._own = int(outside.address.ip)
        self._router = int(outside.gateway)
        self._mtu = outside.mtu
        self._outgoing = outgoing
        self._tunnel = tunnel
        self._entropy = entropy
        self._deliver = deliver
        self._take_datagram = take_datagram
        self.frames = OutsideFrames(outgoing)
        self._ethernet = Ethernet(bytes(outside.mac), self.frames)
        first, last = int(network.network_address), int(network.broadcast_address)
        has_broadcast = network.prefixlen <= 30

        def is_neighbour(address: int) -> bool:
            return first + has_broadcast <= address <= last - has_broadcast and address != self._own

        self._arp = OutsideArp(bytes(outside.mac), self._own, is_neighbour, config.limits, self.frames)
        self._arp.remember_only(self._router)
        self._reassembly = Reassembly(config.limits, self.frames)
        self._segment = Segment()
        self._work = WorkBuffer()
        self._secret = entropy(SECRET_LENGTH)
        self._identification = int.from_bytes(entropy(2), "big")
        self._server = self._servers(config)
        self._destination, self._destination_port = self._server[0]
        self._is_stream = tunnel.is_stream
        self._port = 0
        self._ended_port = 0
        self._is_resolving = False
        self.connection: FlowConnection | None = None
        """The connection that is the flow."""
        self._leaving: FlowConnection | None = None
        """The one before, which the server closed and which says its last words."""
        self._notes_ordinary = config.notes
        self.ordinary: Counter[str] = Counter()
        """How many segments of the flow were taken, by rule, where no note is made of these."""
        self.is_full = False
        """Whether frames for inside must leave before more of the stream is taken."""
        outgoing.transport = self
        outgoing.set_flow_limits()

    def _servers(self, config: GatewayConfig) -> list[tuple[int, int]]:
        """Address and port of each server; this stack asks no name servers."""
        profile = self._tunnel.profile
        if profile is None:
            return [(int(config.tunnel.remote), config.tunnel.port)]
        servers = []
        for remote in profile.remotes:
            try:
                servers.append((int(IPv4Address(remote.host)), remote.port))
            except ValueError:
                problem = f"remote {remote.host}: the gateway's own stack needs an IPv4 address, not a name"
                raise ConfigError("tunnel.ovpn", problem) from None
        return servers

    def start(self, now: float) -> None:
        """Announce our address outside (S7, RFC 5227 2.3)."""
        self._arp.start(now)

    # ── the flow: what the tunnel wants ───────────────────────────────────────────────────────────────────────────

    def open(self, because: Rule, now: float) -> None:
        """Connect: the router first (S2_ROUTER_BY_ARP)."""
        self._destination, self._destination_port = self._server[self._tunnel.remote % len(self._server)]
        self._is_stream = self._tunnel.is_stream
        self._state(because, {"server": dotted(self._destination), "port": self._destination_port})
        self._is_resolving = True
        if self._arp.is_given_up(self._router):
            self._is_resolving = False
            return self._tunnel.flow_closed(now, rules.S2_ROUTER_SILENT)
        return self._connect_if_resolved(now)

    def abort(self, because: Rule, now: float) -> None:
        """Give the flow up: it is reset, not left open (S3_RESET_LOST_FLOW)."""
        self._is_resolving = False
        connection, self.connection = self.connection, None
        if connection is not None:
            self._ended_port = connection.port
            connection.abort(now)

    def close(self, now: float) -> None:
        """Leave in order: a FIN follows what is still to be sent (S4_LEAVE)."""
        if self.connection is not None:
            self.connection.close(now)

    def _connect_if_resolved(self, now: float) -> None:
        if not self._is_resolving or self._arp.resolve(self._router, now) is None:
            return
        self._is_resolving = False
        last = self._port
        chosen = FIRST_EPHEMERAL_PORT + int.from_bytes(self._entropy(2), "big") % EPHEMERAL_PORTS
        self._port = chosen if chosen != last else FIRST_EPHEMERAL_PORT + (chosen + 1) % EPHEMERAL_PORTS
        if not self._is_stream:
            self._tunnel.flow_opened(now)
            return
        self._leaving = None
        size = self._mtu - SMALLEST_HEADER - HEADER_LENGTH
        connection = FlowConnection(self, self._outgoing, self._tunnel.stream, self._port, size)
        self.connection = connection
        addresses = self._own, self._port, self._destination, self._destination_port
        connection.open(initial_sequence_number(self._secret, now, *addresses), now)

    # ── the flow: what its connection tells ───────────────────────────────────────────────────────────────────────

    def deliver(self, now: float) -> None:
        """The tunnel reads at once."""
        self.is_full = self._deliver(now)

    def ended_by_peer(self, connection: FlowConnection, now: float) -> None:
        """The server closed: so do we, and the tunnel is down (S4_FLOW_LOST)."""
        if connection is self.connection:
            connection.detach()
            self.connection, self._leaving = None, connection
            self._ended_port = connection.port
            self._tunnel.flow_closed(now)
        connection.close(now)

    def changed(self, connection: FlowConnection, rule: Rule, now: float) -> None:
        """Established, or over; the tunnel is told what that means to it."""
        detail: dict[str, object] = {"port": connection.port, "state": connection.state.value}
        self._state(rule, detail)
        if connection.state is State.ESTABLISHED and rule is rules.L3_ESTABLISHED:
            self._tunnel.flow_opened(now)
        if connection.state is not State.CLOSED:
            return
        if connection is self._leaving:
            self._leaving = None
        elif connection is self.connection:
            self.connection = None
            self._ended_port = connection.port
            is_refused = rule is rules.S2_REFUSED
            self._tunnel.flow_closed(now, rules.S2_REFUSED if is_refused else rules.S2_UNANSWERED)

    # ── receive ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, frame: memoryview, start: int, end: int, now: float, *, is_vouched: bool = False) -> None:
        """Take a frame of the external network. It may be written over.

        It may be as large as IP allows. If it ``is_vouched``, its TCP or UDP checksum is known to be right.
        """
        ether_type = self._ethernet.receive(frame, start, end)
        if ether_type == TYPE_IPV4:
            self._receive_packet(frame, start + FRAME_HEADER, end, now, is_vouched)
        elif ether_type == TYPE_ARP:
            self._arp.receive(frame, start + FRAME_HEADER, end, now)  # s25-arp-reply
            self._connect_if_resolved(now)

    def _receive_packet(self, packet: memoryview, start: int, end: int, now: float, is_vouched: bool) -> None:
        # READ
        rule = refusal(packet, start, end)
        if rule is not None:
            return self._drop(rule, packet, start, end)
        end = start + WORD.unpack_from(packet, start + AT_TOTAL_LENGTH)[0]
        # REFUSE
        if ADDRESS.unpack_from(packet, start + AT_DESTINATION)[0] != self._own:
            return self._drop(rules.S25_SILENCE, packet, start, end)
        found = options_refusal(packet, start)
        if found is not None:
            return self._drop(found[0], packet, start, end)
        if WORD.unpack_from(packet, start + AT_FRAGMENT)[0] & (MORE_FRAGMENTS | FRAGMENT_OFFSET):
            if ADDRESS.unpack_from(packet, start + AT_SOURCE)[0] != self._destination:
                return self._drop(rules.S25_SILENCE, packet, start, end)
            whole = self._reassembly.receive(packet, start, end, None, now)
            if whole is None:
                return None
            packet, start, end, is_vouched = self._reassembly.whole.view, 0, whole[0], False
        # ANSWER
        protocol = packet[start + AT_PROTOCOL]
        if protocol == PROTOCOL_TCP and self._is_stream:
            return self._receive_segment(packet, start, end, now, is_vouched)
        if protocol == PROTOCOL_UDP and not self._is_stream:
            return self._receive_datagram(packet, start, end, now, is_vouched)
        if protocol == PROTOCOL_ICMP:
            return self._receive_error(packet, start, end, now)
        return self._drop(rules.S25_SILENCE, packet, start, end)

    def _receive_segment(self, packet: memoryview, start: int, end: int, now: float, is_vouched: bool) -> None:
        """A segment of our flow, of the one that just ended, or a stranger's (S25_SILENCE)."""
        segment = self._segment
        rule = segment.read(packet, start, end, is_vouched=is_vouched)
        if rule is not None:
            return self._drop(rule, packet, start, end)
        port = segment.destination_port
        if (segment.source, segment.source_port) != (self._destination, self._destination_port):
            return self._drop(rules.S25_SILENCE, packet, start, end)
        for connection in (self.connection, self._leaving):
            if connection is not None and connection.port == port:
                return self._take_segment(connection, segment, packet, start, now)
        if port != self._ended_port:
            return self._drop(rules.S25_SILENCE, packet, start, end)
        if segment.flags & RST:
            return self._drop(rules.L3_NO_RESET_TO_RESET, packet, start, end)
        self._drop(rules.L3_CLOSED_PORT, packet, start, end)
        fields = segment.closed_answer()
        self._write(port, self._mtu, *fields, 0, b"", memoryview(b""), now, rules.L3_CLOSED_PORT)
        return None

    def _take_segment(
        self, connection: FlowConnection, segment: Segment, packet: memoryview, start: int, now: float
    ) -> None:
        index = len(self._outgoing.effects)
        end = segment.end  # another segment may be read meanwhile
        rule = connection.receive(segment, packet, now)
        is_refused = rule.slug in REFUSALS
        if not is_refused and not self._notes_ordinary:
            self.ordinary[rule.slug] += 1
        elif self._outgoing.noting:
            kind = NoteKind.DROPPED if is_refused else NoteKind.DELIVERED
            self._outgoing.note_at(index, kind, rule, describe(packet, start, end))

    def _receive_datagram(self, packet: memoryview, start: int, end: int, now: float, is_vouched: bool) -> None:
        """A datagram of our flow is one record (RFC 768)."""
        at = start + header_length(packet, start)
        if end - at < UDP_HEADER_LENGTH:
            return self._drop(rules.L2_TRUNCATED, packet, start, end)
        source_port, port, length, checksum = UDP_HEADER.unpack_from(packet, at)
        source = ADDRESS.unpack_from(packet, start + AT_SOURCE)[0]
        if not UDP_HEADER_LENGTH <= length <= end - at:
            return self._drop(rules.L2_LENGTH, packet, start, end)
        stop = at + length
        pseudo = pseudo_header_sum(source, self._own, PROTOCOL_UDP, length)
        if checksum and not is_vouched and not is_transport_intact(pseudo, packet[at:stop]):
            return self._drop(rules.L2_CHECKSUM, packet, start, end)
        if (source, source_port, port) != (self._destination, self._destination_port, self._port):
            return self._drop(rules.S25_SILENCE, packet, start, end)
        if self._tunnel.flow is not Flow.OPEN:
            return self._drop(rules.S4_FLOW_LOST, packet, start, end)
        return self._take_datagram(packet[at + UDP_HEADER_LENGTH : stop], now)

    def _receive_error(self, packet: memoryview, start: int, end: int, now: float) -> None:
        """An ICMP error counts if it quotes what is in flight of our flow (S25_FOREIGN_ERROR, L4_FLOW_ERROR)."""
        # READ
        message = start + header_length(packet, start)
        quote = read_quote(packet, message + MESSAGE.size, end)
        # REFUSE
        if quote is None or not is_intact(packet[message:end]) or packet[message] not in ERRORS:
            return self._drop(rules.S25_FOREIGN_ERROR, packet, start, end)
        kind, code, _, _, mtu = MESSAGE.unpack_from(packet, message)
        if not self._is_ours(quote):
            return self._drop(rules.S25_FOREIGN_ERROR, packet, start, end)
        # LEARN
        if self._outgoing.noting:
            detail: dict[str, object] = {"type": kind, "code": code, "mtu": mtu}
            self._outgoing.note(NoteKind.DELIVERED, rules.L4_FLOW_ERROR, detail)
        if (kind, code) == (DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED) and self.connection is not None:
            self.connection.lower_segment_size(quote.next_hop_mtu(mtu) - SMALLEST_HEADER - HEADER_LENGTH, now)
        return None

    def _is_ours(self, quote: Quote) -> bool:
        """Whether the packet quoted is one that we sent to the server, a moment ago (RFC 5927 4.1)."""
        if (quote.source, quote.destination) != (self._own, self._destination):
            return False
        if (quote.source_port, quote.destination_port) != (self._port, self._destination_port):
            return False
        if not self._is_stream:
            return quote.protocol == PROTOCOL_UDP
        is_tcp = quote.protocol == PROTOCOL_TCP
        return is_tcp and self.connection is not None and self.connection.is_in_flight(quote.sequence)

    # ── send ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def output(self, now: float) -> None:
        """The batch is done: send what the flow has, and the acknowledgement that is owed."""
        if not self._is_stream:
            self._send_datagrams(now)
            return
        for connection in (self.connection, self._leaving):
            if connection is not None:
                connection.output(now)

    def emit(
        self, connection: FlowConnection, flags: int, sequence: int, text: memoryview, now: float, because: Rule
    ) -> bool:
        """Write a segment of a connection."""
        options = syn_options(connection.offered_size, connection.offered_shift) if flags & SYN else b""
        acknowledgment = connection.receive_next & 0xFFFFFFFF if flags & ACK else 0
        window = 0 if flags & RST else connection.window_field
        number = sequence & 0xFFFFFFFF
        size = connection.segment_size
        return self._write(connection.port, size, flags, number, acknowledgment, window, options, text, now, because)

    def _write(
        self,
        port: int,
        size: int,
        flags: int,
        sequence: int,
        acknowledgment: int,
        window: int,
        options: bytes,
        text: memoryview,
        now: float,
        because: Rule,
    ) -> bool:
        """Write a segment, or many with at most ``size`` octets of text each, where its frame leaves from.

        False if the region is full.
        """
        frames = self.frames
        packet = frames.end + FRAME_HEADER
        segment = packet + SMALLEST_HEADER
        text_at = segment + HEADER_LENGTH + len(options)
        stop = text_at + len(text)
        if stop > frames.capacity:
            frames.refused += 1
            return False
        frames.view[segment + HEADER_LENGTH : text_at] = options
        frames.view[text_at:stop] = text
        fields = port, self._destination_port, sequence, acknowledgment, (text_at - segment) << 2, flags, window
        header = self._arp.header_for(self._router, now) if frames.has_kernel else None
        if header is None:
            write_segment(frames.view, segment, stop, fields, self._own, self._destination)
            self._send_packet(frames.view, packet, stop, PROTOCOL_TCP, DONT_FRAGMENT, now, because)
        else:
            frames.view[frames.end : packet] = header
            self._leave_to_kernel(packet, segment, text_at, stop, size, fields)
        return True

    def _leave_to_kernel(
        self, packet: int, segment: int, text: int, end: int, size: int, fields: tuple[int, ...]
    ) -> None:
        """Write the headers; the checksum is the kernel's work, and so is the cut of what is more than a segment."""
        frames = self.frames
        TCP_HEADER.pack_into(frames.view, segment, *fields, 0, 0)
        first = self._identification + 1 & 0xFFFF
        self._identification = self._identification + max(1, -(-(end - text) // size)) & 0xFFFF  # one for each piece
        write_header(frames.view, packet, end, first, DONT_FRAGMENT, 0, PROTOCOL_TCP, self._own, self._destination)
        leave_to_kernel(frames.view, frames.end - VIRTIO_LENGTH, text - packet + FRAME_HEADER, size, end)
        frames.commit_unfinished(end)

    def most_text(self, connection: FlowConnection, now: float) -> int:
        """How much text may leave at once: as many whole segments as IP has room for, if a kernel is there to cut."""
        size = connection.segment_size
        if not self.frames.has_kernel or self._arp.header_for(self._router, now) is None:
            return size
        return size * max(1, (LARGEST_PACKET - SMALLEST_HEADER - HEADER_LENGTH) // size)

    def _send_datagrams(self, now: float) -> None:
        """Each record is one datagram, in fragments if need be; what finds no room is lost, as datagrams may be."""
        outgoing, work = self._outgoing, self._work
        datagram = HEADROOM + SMALLEST_HEADER
        for start, end in outgoing.record_bounds:
            length = UDP_HEADER_LENGTH + end - start
            stop = datagram + length
            work.view[datagram + UDP_HEADER_LENGTH : stop] = outgoing.flow[start:end]
            UDP_HEADER.pack_into(work.octets, datagram, self._port, self._destination_port, length, 0)
            pseudo = pseudo_header_sum(self._own, self._destination, PROTOCOL_UDP, length)
            checksum = transport_checksum(pseudo, work.view[datagram:stop]) or 0xFFFF
            UDP_HEADER.pack_into(work.octets, datagram, self._port, self._destination_port, length, checksum)
            self._send_packet(work.view, HEADROOM, stop, PROTOCOL_UDP, 0, now, rules.S25_OUTER_ADDRESSES)
        if outgoing.record_bounds:
            outgoing.drop_flow()

    def _send_packet(
        self, packet: memoryview, start: int, end: int, protocol: int, fragment: int, now: float, because: Rule
    ) -> None:
        """From our address to the server, in a frame to the router."""
        self._identification = (self._identification + 1) & 0xFFFF
        # s25-outer-addresses
        write_header(packet, start, end, self._identification, fragment, 0, protocol, self._own, self._destination)
        pieces = ((start, end),) if end - start <= self._mtu else cut(packet, start, end, self._mtu)
        for piece_start, piece_end in pieces:
            header = self._arp.header_for(self._router, now)
            if header is not None:
                self.frames.send_frame(header, packet, piece_start, piece_end, because)
            elif not self._arp.is_given_up(self._router):
                self._arp.send(packet, piece_start, piece_end, self._router, now, because, None)

    # ── tick ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float:
        """When ``tick`` is next due; infinity if never."""
        deadline = min(self._arp.deadline, self._reassembly.deadline)
        for connection in (self.connection, self._leaving):
            if connection is not None:
                deadline = min(deadline, connection.due)
        return deadline

    def tick(self, now: float) -> None:
        """Do what is due: ARP, then the connection's timer."""
        self._arp.tick(now, lambda quote, now: None)
        self._reassembly.tick(now)
        if self._is_resolving and self._arp.is_given_up(self._router):
            self._is_resolving = False
            self._tunnel.flow_closed(now, rules.S2_ROUTER_SILENT)
        for connection in (self.connection, self._leaving):
            if connection is not None and now >= connection.due:
                connection.tick(now)

    # ── notes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drop(self, rule: Rule, packet: memoryview, start: int, end: int) -> None:
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DROPPED, rule, describe(packet, start, end))

    def _state(self, rule: Rule, detail: dict[str, object]) -> None:
        if self._outgoing.telling:
            self._outgoing.note(NoteKind.STATE, rule, detail)
