"""Two of our connections over a link that loses, doubles, delays and shuffles segments: every octet arrives in order.

The link draws from a seed, so a failure repeats. Segments cross it as octets: each is built, read by dpkt and parsed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import IPv4Address

import dpkt
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.contract import rules
from glassgate.reference.tcp import segment as wire
from glassgate.reference.tcp.connection import Connection, Endpoint, Options, SendSegment
from glassgate.reference.tcp.segment import Segment
from glassgate.reference.tcp.sequence import SequenceNumber
from glassgate.reference.tcp.states import State

HERE = Endpoint(IPv4Address("192.168.1.5"), 49152)
THERE = Endpoint(IPv4Address("1.2.3.4"), 1194)
DELAY = 0.02


def options(**changes: object) -> Options:
    values: dict[str, object] = {
        "mtu": 576,
        "receive_capacity": 8192,
        "send_capacity": 8192,
        "text_because": rules.L3_ECHO,
    }
    return Options(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Faults:
    loss: float = 0.0
    doubling: float = 0.0
    delay: float = 0.0
    """Further seconds, at most: late segments are overtaken."""


@dataclass
class Link:
    """Both ends, the segments under way, and a clock that jumps from event to event."""

    here: Connection
    there: Connection
    faults: Faults
    random: random.Random
    now: float = 1000.0
    under_way: list[tuple[float, int, Connection, bytes]] = field(default_factory=list)
    count: int = 0
    lost_in_a_row: dict[Connection, int] = field(default_factory=dict)

    def flush(self, sender: Connection) -> None:
        receiver = self.there if sender is self.here else self.here
        for output in sender.flush(self.now):
            if isinstance(output, SendSegment):
                octets = wire.build(output.segment, sender.local.address, sender.remote.address)
                agree_with_dpkt(octets, output.segment)
                copies = 2 if self.random.random() < self.faults.doubling else 1
                for _ in range(copies):
                    self.count += 1
                    if not self.is_lost(sender):
                        arrival = self.now + DELAY + self.random.random() * self.faults.delay
                        heappush(self.under_way, (arrival, self.count, receiver, octets))

    def is_lost(self, sender: Connection) -> bool:
        """At most two in a row one way: with worse luck a connection is rightly given up, which is another test."""
        row = self.lost_in_a_row.get(sender, 0)
        is_lost = self.random.random() < self.faults.loss and row < 2
        self.lost_in_a_row[sender] = row + 1 if is_lost else 0
        return is_lost

    def step(self) -> bool:
        """The next arrival or timer; False if nothing is left."""
        times = [end.deadline for end in (self.here, self.there) if end.deadline is not None]
        times += [self.under_way[0][0]] if self.under_way else []
        if not times:
            return False
        self.now = max(self.now, min(times))
        if self.under_way and self.under_way[0][0] <= self.now:
            _, _, receiver, octets = heappop(self.under_way)
            segment = wire.parse(octets, receiver.remote.address, receiver.local.address)
            if receiver.state is State.LISTEN or (receiver.state is State.CLOSED and receiver.closed_because is None):
                receiver.listen(segment, self.now)
            elif receiver.state is not State.CLOSED:
                receiver.receive(segment, self.now)
        for end in (self.here, self.there):
            end.tick(self.now)
        return True


def agree_with_dpkt(octets: bytes, segment: Segment) -> None:
    read = dpkt.tcp.TCP(octets)
    assert (read.sport, read.dport, read.seq, read.ack) == (
        segment.source_port,
        segment.destination_port,
        segment.sequence_number,
        segment.acknowledgment_number,
    )
    assert (read.flags, read.win, bytes(read.data)) == (segment.control, segment.window, segment.text)


def join(seed: int, faults: Faults, here: Options, there: Options) -> Link:
    random_ = random.Random(seed)
    first, second = (SequenceNumber(random_.getrandbits(32)) for _ in "12")
    ends = Connection(HERE, THERE, first, here), Connection(THERE, HERE, second, there)
    return Link(*ends, faults, random_)


def exchange(link: Link, to_there: bytes, to_here: bytes, longest: int = 20_000) -> tuple[bytes, bytes]:
    """Open, send both ways, close; what each end has read."""
    unsent = {link.here: to_there, link.there: to_here}
    read = {link.here: b"", link.there: b""}
    closed: set[Connection] = set()
    link.here.open(link.now)
    link.flush(link.here)
    for _ in range(longest):
        if not link.step():
            break
        for end in (link.here, link.there):
            read[end] += end.read(link.random.randrange(1, 5000))
            unsent[end] = unsent[end][end.write(unsent[end]) :]
            if not unsent[end] and end not in closed and end.state in (State.ESTABLISHED, State.CLOSE_WAIT):
                closed.add(end)
                end.close()
            link.flush(end)
    return read[link.here] + link.here.read(link.here.readable), read[link.there] + link.there.read(link.there.readable)


def text(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


FAULTS = st.builds(Faults, loss=st.floats(0, 0.2), doubling=st.floats(0, 0.3), delay=st.sampled_from([0, 0.01, 0.2]))
LENGTHS = st.integers(0, 20_000)
SIDES = st.builds(
    options,
    mtu=st.sampled_from([68, 576, 1500]),
    receive_capacity=st.sampled_from([100, 3000, 65535, 300_000]),
    send_capacity=st.sampled_from([500, 8192, 100_000]),
    is_nagle=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), faults=FAULTS, here=SIDES, there=SIDES, lengths=st.tuples(LENGTHS, LENGTHS))
def test_every_octet_arrives_in_order_whatever_the_link_does(
    seed: int, faults: Faults, here: Options, there: Options, lengths: tuple[int, int]
) -> None:
    link = join(seed, faults, here, there)
    to_there, to_here = text(seed, lengths[0]), text(seed + 1, lengths[1])

    read_here, read_there = exchange(link, to_there, to_here)

    assert read_there == to_there
    assert read_here == to_here
    assert link.here.state is link.there.state is State.CLOSED


def test_a_perfect_link_needs_no_retransmission() -> None:
    link = join(1, Faults(), options(mtu=1500), options(mtu=1500))

    exchange(link, text(1, 30_000), b"")

    assert link.count < 30_000 / 1460 * 3


def test_a_few_lost_segments_do_not_wait_for_the_timer() -> None:
    wide = options(mtu=1500, receive_capacity=1 << 20, send_capacity=1 << 20)
    link = join(3, Faults(loss=0.005), wide, wide)
    octets = text(3, 1_000_000)

    _, read_there = exchange(link, octets, b"")

    assert read_there == octets
    assert link.now - 1000 < 1 + 2 * 120  # TIME-WAIT included


def test_both_ends_may_open_at_once() -> None:
    link = join(5, Faults(), options(), options())
    link.there.open(link.now)
    link.flush(link.there)

    read_here, read_there = exchange(link, b"from here", b"from there")

    assert (read_here, read_there) == (b"from there", b"from here")


def test_the_same_seed_gives_the_same_octets_on_the_wire() -> None:
    def wire_of(seed: int) -> list[tuple[float, int, bytes]]:
        link = join(seed, Faults(loss=0.1, doubling=0.1, delay=0.05), options(), options())
        link.here.open(link.now)
        link.flush(link.here)
        seen: list[tuple[float, int, bytes]] = []
        for _ in range(100):
            seen += [(at, count, octets) for at, count, _, octets in link.under_way[:1]]
            link.step()
            link.there.write(link.there.read(1000))
            link.here.write(b"again and again")
            link.flush(link.here)
            link.flush(link.there)
        return seen

    assert wire_of(7) == wire_of(7)
