"""Which connection is a segment for, and who answers if there is none? The echo service of RFC 862 is the user.

Below: ``connection.py``, ``segment.py``; IPv4 delivers whole payloads. Above: ``gateway.py``, through these doors:

    receive(octets, source, destination, mtu, now)   one TCP segment for the gateway; ``mtu`` of where answers leave
    tick(now)                                        do what is due
    deadline                                         when that is

Each returns a list: ``Outgoing`` (an IPv4 payload, protocol 6, to be sent with DF set and TTL 64; back to where its
destination lives) and ``Note``. ``receive`` raises ``Malformed``, to be caught at the gateway's door.

RFC 9293 3.10.7.1 (closed), 3.10.7.2 (LISTEN); RFC 4987 3 (SYN floods). Half-open connections are few (``Limits``), and
the oldest gives way to the next: established ones never do, and a new client gets in as soon as it is quicker than
the flood is deep.

Not handled here: broadcast and multicast, which IPv4 keeps away (S15); a new SYN in TIME-WAIT (RFC 6191); idle
connections, which stay until an end closes them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address

from glassgate.contract import Entropy, Limits, Note, Rule, rules
from glassgate.reference.notes import changed, dropped
from glassgate.reference.tcp import segment as wire
from glassgate.reference.tcp.connection import Connection, Endpoint, Options, SendSegment
from glassgate.reference.tcp.segment import ACK, RST, SYN, Segment
from glassgate.reference.tcp.sequence import SequenceNumber, initial_sequence_number
from glassgate.reference.tcp.states import State

ECHO_BUFFER = 32 * 1024
"""Octets that wait in each direction of an echo connection."""
SECRET_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A TCP segment that leaves as the payload of an IPv4 packet."""

    source: IPv4Address
    destination: IPv4Address
    octets: bytes
    because: Rule


Key = tuple[Endpoint, Endpoint]
"""Local and remote end."""


def answer_of_closed(segment: Segment) -> Segment | None:
    """What CLOSED answers: a reset that its receiver will believe; nothing to a reset (RFC 9293 3.10.7.1)."""
    ports = segment.destination_port, segment.source_port
    if segment.control & RST:
        return None
    if segment.control & ACK:
        return Segment(*ports, sequence_number=segment.acknowledgment_number, control=RST)
    everything = segment.sequence_number + segment.length
    return Segment(*ports, SequenceNumber(0), acknowledgment_number=everything, control=RST | ACK)


class TcpService:
    """All connections to the gateway's own services."""

    def __init__(self, echo_ports: Collection[int], limits: Limits, entropy: Entropy, has_notes: bool = True) -> None:
        self._echo_ports = frozenset(echo_ports)
        self._limits = limits
        self._secret = entropy(SECRET_LENGTH)
        self._has_notes = has_notes
        self._connections: dict[Key, Connection] = {}
        self._half_open: dict[Key, None] = {}  # in the order of their SYNs
        self._deadlines: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._connections)

    # ── receive ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(
        self, octets: bytes, source: IPv4Address, destination: IPv4Address, mtu: int, now: float
    ) -> list[Outgoing | Note]:
        """Take a segment to one of the gateway's addresses.

        Raises:
            Malformed: it is truncated, or its checksum is bad.
        """
        # READ
        segment = wire.parse(octets, source, destination)
        local, remote = Endpoint(destination, segment.destination_port), Endpoint(source, segment.source_port)
        connection = self._connections.get((local, remote))
        if connection is not None:
            connection.receive(segment, now)
            return self._serve(connection, now)

        # REFUSE
        if 0 in (local.port, remote.port):
            return self._refuse(rules.L3_PORT_ZERO, segment)
        if local.port not in self._echo_ports:
            rule = rules.L3_NO_RESET_TO_RESET if segment.control & RST else rules.L3_CLOSED_PORT
            return self._answer(rule, segment, local, remote)
        if segment.control & RST:  # first (3.10.7.2)
            return self._refuse(rules.L3_LISTEN_RESET, segment)
        if segment.control & ACK:  # second
            return self._answer(rules.L3_LISTEN_ACK, segment, local, remote)
        if not segment.control & SYN:  # fourth
            return self._refuse(rules.L3_LISTEN_NOTHING, segment)
        made_room = self._make_room()
        if made_room is None:
            return self._refuse(rules.L3_CONNECTION_LIMIT, segment)

        # LEARN: third
        connection = self._add(local, remote, mtu, now)
        connection.listen(segment, now)

        # ANSWER
        return [*made_room, *self._serve(connection, now)]

    def _refuse(self, rule: Rule, segment: Segment) -> list[Outgoing | Note]:
        """The segment goes no further."""
        if not self._has_notes:
            return []
        return [
            dropped(
                rule,
                source_port=segment.source_port,
                destination_port=segment.destination_port,
                control=segment.control_names,
                sequence_number=int(segment.sequence_number),
                acknowledgment_number=int(segment.acknowledgment_number),
            )
        ]

    def _answer(self, rule: Rule, segment: Segment, local: Endpoint, remote: Endpoint) -> list[Outgoing | Note]:
        """The segment goes no further, and its sender hears that nothing is here."""
        answer = answer_of_closed(segment)
        outgoing = [] if answer is None else [self._outgoing(local, remote, SendSegment(answer, rule))]
        return [*outgoing, *self._refuse(rule, segment)]

    # ── the table of connections ──────────────────────────────────────────────────────────────────────────────────────

    def _make_room(self) -> list[Note] | None:
        """Have the oldest half-open connection give way if there are too many; None if nothing can give way."""
        is_full = len(self._connections) >= self._limits.tcp_connections
        if not is_full and len(self._half_open) < self._limits.tcp_half_open:
            return []
        if not self._half_open:
            return None
        oldest = next(iter(self._half_open))
        name = self._connections[oldest].name
        self._forget(oldest)
        return [changed(rules.L3_HALF_OPEN_LIMIT, connection=name)] if self._has_notes else []

    def _add(self, local: Endpoint, remote: Endpoint, mtu: int, now: float) -> Connection:
        options = Options(
            mtu,
            receive_capacity=ECHO_BUFFER,
            send_capacity=ECHO_BUFFER,
            text_because=rules.L3_ECHO,
            is_nagle=False,  # who types into an echo wants to see each octet come back
            has_notes=self._has_notes,
        )
        iss = initial_sequence_number(self._secret, local, remote, now)
        connection = Connection(local, remote, iss, options)
        self._connections[local, remote] = connection
        self._half_open[local, remote] = None
        return connection

    def _forget(self, key: Key) -> None:
        del self._connections[key]
        self._half_open.pop(key, None)
        self._deadlines.pop(key, None)

    # ── the user ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _serve(self, connection: Connection, now: float) -> list[Outgoing | Note]:
        """Let the echo service do its part, and send what there is to send."""
        key = connection.local, connection.remote
        echo(connection)
        outputs = connection.flush(now)
        if connection.state is not State.SYN_RECEIVED:
            self._half_open.pop(key, None)
        deadline = connection.deadline
        if connection.state is State.CLOSED:
            self._forget(key)
        elif deadline is not None:
            self._deadlines[key] = deadline
        else:
            self._deadlines.pop(key, None)
        return [
            self._outgoing(connection.local, connection.remote, output) if isinstance(output, SendSegment) else output
            for output in outputs
        ]

    def _outgoing(self, local: Endpoint, remote: Endpoint, output: SendSegment) -> Outgoing:
        octets = wire.build(output.segment, local.address, remote.address)
        return Outgoing(local.address, remote.address, octets, output.because)

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due."""
        return min(self._deadlines.values(), default=None)

    def tick(self, now: float) -> list[Outgoing | Note]:
        """Do what is due by ``now``, the earliest first."""
        due = sorted((deadline, key) for key, deadline in self._deadlines.items() if deadline <= now)
        outputs: list[Outgoing | Note] = []
        for _, key in due:
            connection = self._connections[key]
            connection.tick(now)
            outputs += self._serve(connection, now)
        return outputs

    # ── ICMP errors about our segments ────────────────────────────────────────────────────────────────────────────────

    def packet_too_big(self, local: Endpoint, remote: Endpoint, sequence: SequenceNumber, mtu: int, now: float) -> bool:
        """Take a 3/4 that quotes a segment of ours; whether it was about one in flight (RFC 5927 4.1)."""
        connection = self._connections.get((local, remote))
        if connection is None or not connection.is_in_flight(sequence):
            return False
        connection.packet_too_big(mtu)
        self._deadlines[local, remote] = now  # what was too big is sent again in the next tick
        return True


def echo(connection: Connection) -> None:
    """RFC 862: send back what comes, as fast as it is taken; close when the other side has and all is sent back."""
    connection.write(connection.read(connection.room))
    if connection.state is State.CLOSE_WAIT and not connection.readable:
        connection.close()
