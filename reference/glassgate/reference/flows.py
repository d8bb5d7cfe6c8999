"""Flows: the tunnel's transport to its server, over TCP or over UDP, where the gateway has its own stack.

Below: ``external.py`` puts each ``Payload`` into a packet to the server, and brings what comes from there. Above: the
tunnel, which is told ``FlowOpened``, ``FlowOctets`` and ``FlowClosed`` and asks to send and to abort. Standards: the
seed's "Tunnel setup"; RFC 9293 3.10; RFC 5927 4.1 (only errors about what is in flight count).

A record is sent whole or not at all, and what is sent keeps its order (S3). A TCP flow that is over still answers as
CLOSED does (RFC 9293 3.10.7.1), so that the server forgets it too.

Not handled here: records (openvpn/framing.py), retries (openvpn/tunnel.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal, Protocol

from glassgate.contract import Note, Rule, rules
from glassgate.reference import icmp, ipv4, udp
from glassgate.reference.notes import changed, delivered, dropped
from glassgate.reference.quotation import Quote, is_too_big, next_hop_mtu
from glassgate.reference.tcp import segment as wire
from glassgate.reference.tcp.connection import Connection, Endpoint, Options, SendSegment
from glassgate.reference.tcp.segment import Segment
from glassgate.reference.tcp.sequence import SequenceNumber
from glassgate.reference.tcp.service import answer_of_closed
from glassgate.reference.tcp.states import State

RECEIVE_CAPACITY = 1 << 20
"""Octets: the window we offer the server, enough for 100 Mbit/s over 80 ms."""
SEND_CAPACITY = 1 << 18
"""Octets that may wait for the server's acknowledgement."""
CONTROL_RESERVE = 1 << 14
"""Of these, so many are kept for the control channel: it must get through when data fill the rest."""
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
