"""Does the cost of a packet depend on how much the gateway remembers?

For each kind of state a gateway is filled with 1, 10, … entries, its limits raised, and packets are sent that meet that
state. All sizes of one gateway stand side by side and are measured in turns. Flat means that the largest costs no more
than a packet at a handful of entries, but for what the processor's caches do with more memory.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from glassgate.conformance.bench import traffic
from glassgate.conformance.bench.doors import CONTRACT
from glassgate.conformance.bench.figures import BenchError, Contender, Figure, Work, take_turns
from glassgate.conformance.packets import ACK, PSH, SYN, IPv4, tcp
from glassgate.contract import Effect, Gateway, Implementation, Limits, Port, SeededEntropy, Transmit

WIDE = "10.32.0.1/12"
"""A network with room for a million neighbours."""
WIDE_GATEWAY = "10.32.0.1"
SOMEBODY = "10.32.0.2"
MANY = 2**31 - 1
LIMITS = Limits(
    arp_neighbours=MANY, arp_queue=32, reassembly_contexts=MANY, reassembly_octets=MANY,
    tcp_half_open=MANY, tcp_connections=MANY,
)  # fmt: skip
ECHO_PORT = 7
PORTS = 50_000
OCTETS = 256
PATIENCE, FULL_PATIENCE = 5.0, 600.0
"""How long filling one gateway may take, in seconds of processor time."""
PERIOD = 128
"""Packets of a sample: each meets another entry, until all had one."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A gateway with its state, and packets that meet it, for ever new."""

    gateway: Gateway
    port: Port
    packets: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class State:
    """A kind of state: how it is filled with so many entries, and what may be asked for."""

    name: str
    fill: Callable[[Implementation, int], Filled]
    requires: str | None = None
    most: int = 100_000
    """The most entries unless everything is wanted."""


def _begin(implementation: Implementation) -> Gateway:
    config = traffic.configuration(LIMITS, WIDE, tcp_echo=_tcp_echo(implementation))
    gateway = implementation(config, SeededEntropy(b"bench"))
    gateway.start(traffic.START)
    gateway.tick(traffic.READY)
    _meet(gateway, SOMEBODY)
    return gateway


def _tcp_echo(implementation: Implementation) -> tuple[int, ...]:
    return (ECHO_PORT,) if "tcp_echo" in implementation.capabilities else ()


def _meet(gateway: Gateway, address: str) -> None:
    """Let the gateway learn a host."""
    gateway.receive(Port.INTERNAL, traffic.introduction(address, _mac(address), WIDE_GATEWAY), traffic.READY)


def _mac(address: str) -> str:
    return traffic.hardware(int(IPv4Address(address)))


def _hosts(count: int) -> list[str]:
    first = int(IPv4Address(SOMEBODY))
    return [str(IPv4Address(first + number)) for number in range(count)]


def neighbours(implementation: Implementation, count: int) -> Filled:
    """Hosts that the gateway knows; packets out of the tunnel go to one after the other."""
    gateway = _begin(implementation)
    hosts = _hosts(count)
    for host in hosts:
        _meet(gateway, host)
    datagrams = (traffic.datagram(traffic.BEYOND, host, OCTETS) for host in itertools.cycle(hosts))
    return Filled(gateway, Port.FLOW, _sealed(datagrams))


def _sealed(packets: Iterator[bytes]) -> Iterator[bytes]:
    channel = traffic.far_channel()
    return (traffic.framed(channel, packet) for packet in packets)


def timers(implementation: Implementation, count: int) -> Filled:
    """Hosts that are asked for and have not answered: a timer and a packet each; others pass beside them."""
    gateway = _begin(implementation)
    channel = traffic.far_channel()
    for host in _hosts(count)[1:]:
        gateway.receive(Port.FLOW, traffic.framed(channel, traffic.datagram(traffic.BEYOND, host, 64)), traffic.READY)
    datagram = traffic.datagram(traffic.BEYOND, SOMEBODY, OCTETS)
    return Filled(gateway, Port.FLOW, (traffic.framed(channel, datagram) for _ in itertools.count()))


def reassemblies(implementation: Implementation, count: int) -> Filled:
    """Datagrams of which a fragment is missing; whole pings come beside them, in two fragments each."""
    gateway = _begin(implementation)
    mac = _mac(SOMEBODY)
    for number in range(count):
        source = str(IPv4Address(int(IPv4Address(SOMEBODY)) + 1 + number // 60000))
        first, _ = traffic.pieces(source, WIDE_GATEWAY, 128, number % 60000, 64)
        gateway.receive(Port.INTERNAL, traffic.frame(first, mac), traffic.READY)

    def fragments() -> Iterator[bytes]:
        for number in itertools.cycle(range(60000)):
            for piece in traffic.pieces(SOMEBODY, WIDE_GATEWAY, OCTETS, number, 128):
                yield traffic.frame(piece, mac)

    return Filled(gateway, Port.INTERNAL, fragments())


def connections(implementation: Implementation, count: int) -> Filled:
    """Connections to the echo service, each established; an octet to one after the other, which comes back."""
    gateway = _begin(implementation)
    for number in range(0, count, PORTS):
        _meet(gateway, _client(number))
    open_ones = [_connect(gateway, number) for number in range(count)]

    def segments() -> Iterator[bytes]:
        for turn in itertools.count():
            for number, theirs in enumerate(open_ones):
                yield _segment(number, 2 + turn, theirs + 1 + turn, ACK | PSH, b"x")

    return Filled(gateway, Port.INTERNAL, segments())


def _connect(gateway: Gateway, number: int) -> int:
    """Open a connection; returns the gateway's initial sequence number."""
    effects = gateway.receive(Port.INTERNAL, _segment(number, 1, 0, SYN), traffic.READY)
    answers = [effect.data for effect in effects if isinstance(effect, Transmit)]
    if len(answers) != 1:
        raise BenchError(f"TCP connections: {len(answers)} frames answer SYN number {number}, not one")
    theirs = int.from_bytes(answers[0][38:42], "big")
    gateway.receive(Port.INTERNAL, _segment(number, 2, theirs + 1, ACK), traffic.READY)
    return theirs


def _segment(number: int, sequence: int, acknowledgment: int, flags: int, data: bytes = b"") -> bytes:
    ports, source = (10_000 + number % PORTS, ECHO_PORT), _client(number)
    payload = tcp(*ports, flags, sequence=sequence, acknowledgment=acknowledgment & 0xFFFFFFFF, data=data)
    packet = IPv4(source=source, destination=WIDE_GATEWAY, payload=payload).build().data
    return traffic.frame(packet, _mac(source))


def _client(number: int) -> str:
    """Who has the connection of that number: a host has so many ports."""
    return str(IPv4Address(int(IPv4Address(SOMEBODY)) + number // PORTS))


STATES = (
    State("ARP entries", neighbours),
    State("hosts asked for (timers)", timers),
    State("open reassemblies", reassemblies),
    State("TCP connections", connections, requires="tcp_echo", most=10_000),
)


def contender(state: State, implementation: Implementation, count: int) -> Contender:
    """A filled gateway as somebody who has turns. Its state lives from turn to turn."""
    filled = state.fill(implementation, count)

    def prepare(packets: int) -> Work:
        pieces = list(itertools.islice(filled.packets, packets))
        receive = filled.gateway.receive

        def work() -> int:
            answered = 0
            for piece in pieces:
                answered += _transmits(receive(filled.port, piece, traffic.READY))
            return answered

        return work

    # Of the fragments every other one brings an answer; everything else brings one each.
    share = 2 if state.fill is reassemblies else 1
    return Contender(f"{count}", implementation.name, CONTRACT, prepare, lambda packets: packets // share, (PERIOD,))


def _transmits(effects: Sequence[Effect]) -> int:
    return sum(isinstance(effect, Transmit) for effect in effects)


@dataclass(frozen=True, slots=True)
class ScaleFigure:
    """One point of a line: the cost at so many entries."""

    state: str
    entries: int
    figure: Figure


def sizes(state: State, largest: int, *, full: bool) -> list[int]:
    """1, 10, … up to the largest that is wanted."""
    most = largest if full else min(largest, state.most)
    return list(itertools.takewhile(lambda size: size <= most, (10**power for power in range(10))))


def measured(
    states: Sequence[State], implementations: Sequence[Implementation], largest: int, rounds: int, *, full: bool
) -> Iterator[list[ScaleFigure]]:
    """The lines: for each state and each gateway that can have it."""
    for state in states:
        for implementation in implementations:
            if state.requires is not None and state.requires not in implementation.capabilities:
                yield []
                continue
            counts = sizes(state, largest, full=full)
            standing = _standing(state, implementation, counts, FULL_PATIENCE if full else PATIENCE)
            found = take_turns(standing, rounds, 0.0)
            yield [ScaleFigure(state.name, int(one.case), one) for one in found]


def _standing(state: State, implementation: Implementation, counts: Sequence[int], patience: float) -> list[Contender]:
    """Filled gateways of growing size, until filling the next would take too long: that line ends there."""
    standing = []
    for count in counts:
        start = time.process_time()
        standing.append(contender(state, implementation, count))
        if (time.process_time() - start) * 10 > patience:
            break
    return standing
