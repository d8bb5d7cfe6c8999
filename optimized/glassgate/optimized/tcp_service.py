"""The echo service over TCP: who has a connection, who may have one, and what comes back?

Below: ``tcp_connection.py``, ``output.py``. Above: ``local.py``.
Standards: RFC 862; RFC 9293 3.10.7.2, 3.7.1; RFC 6528; RFC 4987 3; RFC 5961.

Same contract as the reference's ``tcp`` package. Departures:

1. **What was received is what is sent**: the service returns every octet, so a connection has one buffer for both
   ways. Text is placed behind what still waits to be acknowledged, and segments are cut from the front. Saves two
   copies of each octet. Guard: ``test_optimized_tcp_service.py``.
2. **Timers stand in one heap, one entry a connection at most twice**: a timer that moves to later is found out when
   its old entry comes up. What a packet costs does not depend on the number of connections or timers. Guard: the same.
3. **Half-open connections stand in a dictionary of their own, in the order of their SYNs**: the oldest gives way
   without a search. Guard: the same file.
"""

from __future__ import annotations

import heapq

from glassgate.contract import Entropy, GatewayConfig, NoteKind, Rule, rules
from glassgate.optimized.addresses import Addresses, dotted
from glassgate.optimized.buffers import HEADROOM, Outgoing
from glassgate.optimized.ipv4 import DONT_FRAGMENT, PROTOCOL_TCP, SMALLEST_HEADER, describe
from glassgate.optimized.output import Output, Side
from glassgate.optimized.quotation import MESSAGE, read_quote
from glassgate.optimized.tcp import ACK, HEADER_LENGTH, RST, SYN, Segment, send_reset, syn_options, write_segment
from glassgate.optimized.tcp_connection import Connection, State, initial_sequence_number
from glassgate.optimized.tunnel import Tunnel

WINDOW = 32 * 1024
"""The most that a peer may send before it hears from us, in octets."""
CAPACITY = 2 * WINDOW
"""The most that a connection holds: what came and was not acknowledged on its way back."""
SECRET_LENGTH = 16
NEVER = float("inf")

Key = tuple[int, int, int, int]
"""Remote address, remote port, local address, local port."""

REFUSALS = frozenset(
    (
        rules.L3_SEQUENCE,
        rules.L3_CHALLENGE_RESET,
        rules.L3_CHALLENGE_SYN,
        rules.L3_NO_ACK,
        rules.L3_UNACCEPTABLE_ACK,
        rules.L3_UNLISTED,
    )
)
"""Fates of segments that change nothing."""


class EchoConnection(Connection):
    """One connection of the service."""

    __slots__ = ("_arrived", "_octets", "_service", "entry_at", "key", "side")

    def __init__(self, service: EchoService, key: Key, side: Side, segment_size: int) -> None:
        super().__init__(segment_size, receive_shift=0, capacity=WINDOW)
        self._service = service
        self.key = key
        self.side = side
        self.entry_at = NEVER
        """When this connection's entry of the heap comes up."""
        self._octets = bytearray()
        self._arrived = 0
        """How many of the octets, from the first on, are there in order."""

    def pending(self) -> int:
        """Octets that the send buffer holds."""
        return self._arrived

    def release(self, count: int) -> None:
        """The peer has its first octets back."""
        del self._octets[:count]
        self._arrived -= count

    def window(self) -> int:
        """All of the window, until the buffer fills with what is not acknowledged."""
        return min(WINDOW, CAPACITY - self._arrived)

    def place(self, packet: memoryview, start: int, end: int, ahead: int) -> None:
        """Behind what is there, or further on, with a gap."""
        at = self._arrived + ahead
        stop = at + end - start
        if stop > len(self._octets):
            self._octets.extend(bytes(stop - len(self._octets)))
        self._octets[at:stop] = packet[start:end]

    def deliver(self, count: int, now: float) -> None:
        """RFC 862: what came in goes back."""
        self._arrived += count  # l3-echo

    def delivered_all(self, now: float) -> None:
        """The peer is done, and so is the service once all is returned."""
        self.close(now)

    def emit(self, flags: int, sequence: int, at: int, length: int, now: float, because: Rule) -> bool:
        """Write the segment into the work buffer, and send it the way the connection came."""
        return self._service.emit(self, flags, sequence, self._octets[at : at + length], now, because)

    def changed(self, rule: Rule, now: float) -> None:
        """Tell the service."""
        self._service.changed(self, rule)


class EchoService:
    """All connections, within their limits."""

    __slots__ = (
        "_addresses",
        "_connections",
        "_half_open",
        "_half_open_limit",
        "_internal_mtu",
        "_limit",
        "_outgoing",
        "_output",
        "_secret",
        "_timers",
        "_tunnel",
        "_turns",
        "ports",
    )

    def __init__(
        self,
        config: GatewayConfig,
        addresses: Addresses,
        outgoing: Outgoing,
        output: Output,
        tunnel: Tunnel,
        entropy: Entropy,
    ) -> None:
        self.ports = frozenset(config.services.tcp_echo)
        self._addresses = addresses
        self._outgoing = outgoing
        self._output = output
        self._tunnel = tunnel
        self._internal_mtu = config.internal.mtu
        self._limit = config.limits.tcp_connections
        self._half_open_limit = config.limits.tcp_half_open
        self._secret = entropy(SECRET_LENGTH)
        self._connections: dict[Key, EchoConnection] = {}
        self._half_open: dict[Key, EchoConnection] = {}
        self._timers: list[tuple[float, Key, int, EchoConnection]] = []
        self._turns = 0

    # ── receive ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, side: Side, segment: Segment, packet: memoryview, start: int, now: float) -> None:
        """Take a segment to the service."""
        key = segment.source, segment.source_port, segment.destination, segment.destination_port
        connection = self._connections.get(key)
        if connection is None:
            self._listen(key, side, segment, packet, start, now)
            return
        index = len(self._outgoing.effects)
        rule = connection.receive(segment, packet, now)
        if self._outgoing.noting:
            kind = NoteKind.DROPPED if rule in REFUSALS else NoteKind.DELIVERED
            self._outgoing.note_at(index, kind, rule, describe(packet, start, segment.end))
        if connection.state is not State.CLOSED:
            connection.output(now)
            connection.tell_window(now)
            self._schedule(connection)

    def _listen(self, key: Key, side: Side, segment: Segment, packet: memoryview, start: int, now: float) -> None:
        """RFC 9293 3.10.7.2, in its order: reset, acknowledgement, SYN, anything else."""
        if segment.flags & RST:
            return self._refuse(rules.L3_LISTEN_RESET, segment, packet, start)
        if segment.flags & ACK:
            self._refuse(rules.L3_LISTEN_ACK, segment, packet, start)
            number = segment.acknowledgment
            return send_reset(self._output, side, segment, RST, number, 0, now, rules.L3_LISTEN_ACK)
        if not segment.flags & SYN:
            return self._refuse(rules.L3_LISTEN_NOTHING, segment, packet, start)
        if not self._make_room():
            return self._refuse(rules.L3_CONNECTION_LIMIT, segment, packet, start)
        mtu = self._internal_mtu if side is Side.INSIDE else self._tunnel.mtu
        connection = EchoConnection(self, key, side, mtu - SMALLEST_HEADER - HEADER_LENGTH)  # l3-mss
        self._connections[key] = self._half_open[key] = connection
        if self._outgoing.noting:
            described = describe(packet, start, segment.end)
            self._outgoing.note(NoteKind.DELIVERED, rules.L3_PASSIVE_OPEN, described)
        # l3-initial-sequence
        initial = initial_sequence_number(self._secret, now, key[2], key[3], key[0], key[1])
        connection.accept(segment, packet, initial, now)
        self._schedule(connection)
        return None

    def _make_room(self) -> bool:
        """A half-open connection gives way to a new one, the oldest first; one that is established never does."""
        half_open = self._half_open
        if len(half_open) < self._half_open_limit and len(self._connections) < self._limit:
            return True
        if not half_open:
            return False
        oldest = next(iter(half_open.values()))
        oldest.state = State.CLOSED
        oldest.due = NEVER
        self._forget(oldest)
        self._state(rules.L3_HALF_OPEN_LIMIT, oldest)
        return True

    def too_big(self, packet: memoryview, message: int, end: int, now: float) -> bool:
        """Take fragmentation needed: what is in flight leaves again, in smaller segments (RFC 1191 6.4; L4)."""
        quote = read_quote(packet, message + MESSAGE.size, end)
        if quote is None or quote.protocol != PROTOCOL_TCP:
            return False
        key = quote.destination, quote.destination_port, quote.source, quote.source_port
        connection = self._connections.get(key)
        if connection is None or not connection.is_in_flight(quote.sequence):
            return False
        said = MESSAGE.unpack_from(packet, message)[4]
        connection.lower_segment_size(quote.next_hop_mtu(said) - SMALLEST_HEADER - HEADER_LENGTH, now)
        self._schedule(connection)
        return True

    # ── what connections ask for ──────────────────────────────────────────────────────────────────────────────────

    def emit(
        self, connection: EchoConnection, flags: int, sequence: int, text: bytearray, now: float, because: Rule
    ) -> bool:
        """Write and send a segment. From an address that is no longer ours nothing leaves (S1_OWN_SOURCE)."""
        remote, remote_port, local, local_port = connection.key
        if not self._addresses.is_own(local):
            return True
        options = syn_options(connection.offered_size, connection.offered_shift) if flags & SYN else b""
        work = self._output.work
        at = HEADROOM + SMALLEST_HEADER
        text_at = at + HEADER_LENGTH + len(options)
        stop = text_at + len(text)
        work.view[at + HEADER_LENGTH : text_at] = options
        work.view[text_at:stop] = text
        acknowledgment = connection.receive_next & 0xFFFFFFFF if flags & ACK else 0
        window = 0 if flags & RST else connection.window_field
        offset = (text_at - at) << 2
        fields = local_port, remote_port, sequence & 0xFFFFFFFF, acknowledgment, offset, flags, window
        write_segment(work.view, at, stop, fields, local, remote)
        self._output.send(
            connection.side,
            work.view,
            HEADROOM,
            stop,
            protocol=PROTOCOL_TCP,
            source=local,
            destination=remote,
            now=now,
            because=because,
            fragment=DONT_FRAGMENT,
        )
        return True

    def changed(self, connection: EchoConnection, rule: Rule) -> None:
        """A connection was established, is over, or something about it is to be told."""
        if connection.state is State.CLOSED:
            self._forget(connection)
        elif connection.state is not State.SYN_RECEIVED:
            self._half_open.pop(connection.key, None)
        self._state(rule, connection)

    def _forget(self, connection: EchoConnection) -> None:
        self._half_open.pop(connection.key, None)
        if self._connections.get(connection.key) is connection:
            del self._connections[connection.key]

    # ── tick ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _schedule(self, connection: EchoConnection) -> None:
        """See to it that an entry comes up when the connection's timer does, or before."""
        if connection.due < connection.entry_at:
            connection.entry_at = connection.due
            self._turns += 1
            remote, remote_port, local, local_port = connection.key
            order = local, local_port, remote, remote_port  # of timers that are due at once
            heapq.heappush(self._timers, (connection.due, order, self._turns, connection))

    @property
    def deadline(self) -> float:
        """When ``tick`` is next due; infinity if never."""
        timers = self._timers
        while timers:
            at, _, _, connection = timers[0]
            if at == connection.entry_at == connection.due:
                return at
            heapq.heappop(timers)
            if at == connection.entry_at:  # the timer has moved to later, or stopped
                connection.entry_at = NEVER
                self._schedule(connection)
        return NEVER

    def tick(self, now: float) -> None:
        """Let each connection do what is due."""
        while self.deadline <= now:
            _, _, _, connection = heapq.heappop(self._timers)
            connection.entry_at = NEVER
            connection.tick(now)
            self._schedule(connection)

    # ── notes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _refuse(self, rule: Rule, segment: Segment, packet: memoryview, start: int) -> None:
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DROPPED, rule, describe(packet, start, segment.end))

    def _state(self, rule: Rule, connection: EchoConnection) -> None:
        if self._outgoing.noting:
            remote, remote_port, _, local_port = connection.key
            detail = {
                "remote": dotted(remote),
                "remote_port": remote_port,
                "local_port": local_port,
                "state": connection.state.value,
            }
            self._outgoing.note(NoteKind.STATE, rule, detail)
