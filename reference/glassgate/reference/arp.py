"""ARP: which hardware address has this neighbour, and who may know ours?

Below: Ethernet. Above: whoever sends an IPv4 packet to a neighbour: ``Neighbours.send`` transmits it, or keeps it
until the neighbour has answered. Standards: RFC 826; RFC 5227 2.3, 2.4 (announcing and defending an address);
RFC 1122 2.3.2 (expiry, floods, the queue); RFC 1812 3.3.2, 5.2.7.1.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |       hardware type (1)       |     protocol type (0x0800)    |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |hw. length (6) |prt. length (4)|           operation           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |              sender hardware address (6 octets)               |
    +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                               |    sender protocol address …  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |              …                |                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
    |              target hardware address (6 octets)               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                    target protocol address                    |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

A neighbour is in one of three states, or in none:

    none ──a packet to send──► Asked ──an answer──► Known ──20 minutes unconfirmed──► none
                                 └──silence after three requests──► Missing ──1 s──► none

Not handled here: proxy ARP, RARP, other hardware or protocols. IPv4 packets never teach anything.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from glassgate.contract import BROADCAST, Effect, Limits, MacAddress, Note, Port, Rule, Transmit, rules
from glassgate.reference import ethernet
from glassgate.reference.addresses import UNSPECIFIED, Attached
from glassgate.reference.ethernet import Frame
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import Malformed, changed, dropped, lost, waits

FORMAT = struct.Struct("!HHBBH6s4s6s4s")
HARDWARE_ETHERNET = 1
REQUEST = 1
REPLY = 2
NO_HARDWARE = MacAddress(bytes(6))

REQUEST_INTERVAL = 1.0
REQUESTS = 3
MISSING_SECONDS = 1.0
LIFETIME = 1200.0
REFRESH_AGE = 1140.0
ANNOUNCE_INTERVAL = 2.0  # RFC 5227 1.1
DEFEND_INTERVAL = 10.0  # RFC 5227 1.1


@dataclass(frozen=True, slots=True)
class ArpPacket:
    """An ARP packet between Ethernet and IPv4."""

    operation: int
    sender_hardware: MacAddress
    sender_protocol: IPv4Address
    target_hardware: MacAddress
    target_protocol: IPv4Address


def parse(octets: bytes) -> ArpPacket:
    """Read an ARP packet. What follows it is padding.

    Raises:
        Malformed: it is not all there, or is about other kinds of addresses.
    """
    if len(octets) < FORMAT.size:
        raise Malformed(rules.S7_TRUNCATED, length=len(octets))
    (
        hardware_type,
        protocol_type,
        hardware_length,
        protocol_length,
        operation,
        sender_hardware,
        sender_protocol,
        target_hardware,
        target_protocol,
    ) = FORMAT.unpack_from(octets)
    if hardware_type != HARDWARE_ETHERNET:
        raise Malformed(rules.S7_HARDWARE_TYPE, hardware_type=hardware_type)
    if protocol_type != ethernet.TYPE_IPV4:
        raise Malformed(rules.S7_PROTOCOL_TYPE, protocol_type=protocol_type)
    if (hardware_length, protocol_length) != (6, 4):
        raise Malformed(rules.S7_ADDRESS_LENGTH, hardware_length=hardware_length, protocol_length=protocol_length)
    return ArpPacket(
        operation,
        MacAddress(sender_hardware),
        IPv4Address(sender_protocol),
        MacAddress(target_hardware),
        IPv4Address(target_protocol),
    )


def build(packet: ArpPacket) -> bytes:
    """Write an ARP packet."""
    return FORMAT.pack(
        HARDWARE_ETHERNET,
        ethernet.TYPE_IPV4,
        6,
        4,
        packet.operation,
        packet.sender_hardware,
        packet.sender_protocol.packed,
        packet.target_hardware,
        packet.target_protocol.packed,
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A packet that waits for a neighbour. Of our own there is nothing to quote and nothing to tell."""

    octets: bytes
    about: Packet | None
    """The packet as received, which an error would quote."""
    fate: Note | None = None
    """What is told when it has left. Of a packet that was cut, the last piece has it: one packet has one fate."""


@dataclass(slots=True)
class Asked:
    """Requests went out; packets wait, the oldest first."""

    due: float
    """When to ask again, or to give up."""
    requests: int = 1
    queue: deque[Waiting] = field(default_factory=deque)


@dataclass(slots=True)
class Known:
    """The neighbour's hardware address, confirmed at some time by an ARP packet of its own."""

    hardware: MacAddress
    confirmed: float
    probes: int = 0
    """Unicast requests since then."""
    probed: float = 0.0

    @property
    def due(self) -> float:
        """When the entry is forgotten."""
        return self.confirmed + LIFETIME


@dataclass(slots=True)
class Missing:
    """The neighbour did not answer: for a moment it is not asked for again."""

    due: float
    """When the entry is forgotten."""


Entry = Asked | Known | Missing


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A packet that could not be sent, for its neighbour does not answer."""

    waiting: Waiting
    neighbour: IPv4Address
    because: Rule


Step = Effect | Rule | Unreachable


class Neighbours:
    """The gateway's ARP on one port. Entries are kept in the order of their last use, the longest unused first."""

    def __init__(self, port: Port, own: MacAddress, network: Attached, limits: Limits) -> None:
        self._port = port
        self._own = own
        self._network = network
        self._limits = limits
        self._entries: dict[IPv4Address, Entry] = {}
        self._by_state: dict[type[Entry], dict[IPv4Address, Entry]] = {Asked: {}, Known: {}, Missing: {}}
        """The same entries, each state's in the order in which they are due: the first tells when, without a search."""
        self._announce_due: float | None = None
        self._defended: float | None = None

    @property
    def table(self) -> dict[str, str]:
        """Each neighbour, and its hardware address or what is known of it, for a person."""
        return {
            str(neighbour): str(entry.hardware) if isinstance(entry, Known) else type(entry).__name__.lower()
            for neighbour, entry in self._entries.items()
        }

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due."""
        times = [next(iter(entries.values())).due for entries in self._by_state.values() if entries]
        if self._announce_due is not None:
            times.append(self._announce_due)
        return min(times, default=None)

    def start(self, now: float) -> Iterator[Step]:
        """Announce our address, twice (S7)."""
        self._announce_due = now + ANNOUNCE_INTERVAL
        yield self._announcement(rules.S7_ANNOUNCE)

    def receive(self, octets: bytes, now: float) -> Iterator[Step]:
        """Take the payload of an ARP frame. The order is RFC 826's: merge first, and look at the operation last."""
        # READ
        packet = parse(octets)
        is_for_us = packet.target_protocol == self._network.own

        # REFUSE
        if packet.operation not in (REQUEST, REPLY):
            yield dropped(rules.S7_OPERATION, operation=packet.operation)
            return
        if packet.sender_hardware.is_group:
            yield dropped(rules.S8_GROUP_HARDWARE, sender_hardware=packet.sender_hardware)
            return
        if packet.sender_hardware in (self._own, NO_HARDWARE):
            yield dropped(rules.S8_NO_STATION, sender_hardware=packet.sender_hardware)
            return
        if packet.sender_protocol == self._network.own:
            yield from self._conflict(packet, now)
            return
        is_probe = packet.operation == REQUEST and packet.sender_protocol == UNSPECIFIED
        if not is_probe and not self._network.is_host(packet.sender_protocol):
            yield dropped(rules.S8_FOREIGN_SENDER, sender_protocol=packet.sender_protocol)
            return

        # LEARN
        learned = None if is_probe else self._merge(packet, is_for_us)
        if learned is not None:
            yield from self._confirm(packet.sender_protocol, packet.sender_hardware, learned, now)

        # ANSWER
        if packet.operation == REQUEST and is_for_us:
            yield self._reply(packet, rules.S7_PROBE if is_probe else rules.S7_REPLY)
        elif packet.operation == REQUEST:
            yield dropped(rules.S7_NOT_FOR_US, target_protocol=packet.target_protocol)
        elif learned is None:
            yield dropped(rules.S8_NOT_LEARNED, sender_protocol=packet.sender_protocol)

    def send(self, neighbour: IPv4Address, waiting: Waiting, because: Rule, now: float) -> Iterator[Step]:
        """Send a packet to a neighbour: at once if its hardware address is known, else when it has answered (S31)."""
        entry = self._entries.get(neighbour)
        if entry is None:
            yield from self._make_room()
            self._enter(neighbour, Asked(now + REQUEST_INTERVAL, queue=deque([waiting])))
            yield _waits(rules.S31_ASK, neighbour, waiting, 1)
            yield self._request(neighbour, BROADCAST, rules.S31_ASK)
            return
        if isinstance(entry, Missing):  # this is no use of it: who is not there crowds out nobody who is
            yield Unreachable(waiting, neighbour, rules.S31_NEGATIVE)
            return
        self._entries[neighbour] = self._entries.pop(neighbour)
        if isinstance(entry, Known):
            yield rules.S31_KNOWN
            yield from self._transmit_packet(entry.hardware, waiting, because)
            yield from self._refresh(neighbour, entry, now)
        else:
            yield from self._enqueue(neighbour, entry, waiting)

    def tick(self, now: float) -> Iterator[Step]:
        """Announce, ask again, give up and forget, whatever is due by ``now``."""
        if self.deadline is None or self.deadline > now:
            return
        if self._announce_due is not None and self._announce_due <= now:
            self._announce_due = None
            yield self._announcement(rules.S7_ANNOUNCE)
        # Something is due, and only then is the table searched: of equal times, the one unused for longest comes first.
        due = [(entry.due, neighbour) for neighbour, entry in self._entries.items() if entry.due <= now]
        for _, neighbour in sorted(due, key=lambda pair: pair[0]):
            entry = self._entries[neighbour]
            if isinstance(entry, Known):
                self._leave(neighbour)
                yield changed(rules.S31_EXPIRE, neighbour=neighbour)
            elif isinstance(entry, Missing):
                self._leave(neighbour)
            elif entry.requests < REQUESTS:
                entry.requests += 1
                entry.due = now + REQUEST_INTERVAL
                self._enter(neighbour, entry)
                yield self._request(neighbour, BROADCAST, rules.S31_RETRY)
            else:
                self._enter(neighbour, Missing(now + MISSING_SECONDS))
                yield changed(rules.S31_GIVE_UP, neighbour=neighbour, packets_waiting=len(entry.queue))
                for waiting in entry.queue:
                    yield Unreachable(waiting, neighbour, rules.S31_GIVE_UP)

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _conflict(self, packet: ArpPacket, now: float) -> Iterator[Step]:
        """Someone sends from our address (S7): say so, keep the address, and say that it is ours, not too often."""
        is_defended = self._defended is None or now - self._defended >= DEFEND_INTERVAL
        if is_defended:
            self._defended = now
            yield self._announcement(rules.S7_DEFEND)
        yield dropped(rules.S7_CONFLICT, sender_hardware=packet.sender_hardware, is_defended=is_defended)

    def _merge(self, packet: ArpPacket, is_for_us: bool) -> Rule | None:
        """The rule by which the sender's addresses are believed, or None."""
        if is_for_us:
            return rules.S8_LEARN
        if packet.sender_protocol in self._entries:
            return rules.S8_UPDATE
        return None

    def _confirm(self, neighbour: IPv4Address, hardware: MacAddress, rule: Rule, now: float) -> Iterator[Step]:
        """Believe a neighbour's hardware address, and send what waited for it."""
        if neighbour not in self._entries:
            yield from self._make_room()
        before = self._entries.get(neighbour)
        self._enter(neighbour, Known(hardware, now))
        yield changed(rule, neighbour=neighbour, hardware=hardware)
        if isinstance(before, Asked):
            for waiting in before.queue:
                yield rules.S31_RELEASE
                yield from self._transmit_packet(hardware, waiting, rules.S31_RELEASE)

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _enqueue(self, neighbour: IPv4Address, entry: Asked, waiting: Waiting) -> Iterator[Step]:
        """Have one more packet wait; when that is one too many, the oldest is dropped."""
        if len(entry.queue) == self._limits.arp_queue:
            oldest = entry.queue.popleft()
            yield changed(rules.S31_QUEUE_FULL, neighbour=neighbour)
            yield from _losses([oldest], rules.S31_QUEUE_FULL, neighbour)
        entry.queue.append(waiting)
        yield _waits(rules.S31_WAIT, neighbour, waiting, len(entry.queue))

    def _refresh(self, neighbour: IPv4Address, entry: Known, now: float) -> Iterator[Step]:
        """Ask a neighbour that is in use whether it is still there, before its entry expires (RFC 1122 2.3.2.1 (2))."""
        is_old = now - entry.confirmed >= REFRESH_AGE
        is_time = entry.probes == 0 or now - entry.probed >= REQUEST_INTERVAL
        if is_old and is_time and entry.probes < REQUESTS:
            entry.probes += 1
            entry.probed = now
            yield self._request(neighbour, entry.hardware, rules.S31_REFRESH)

    # ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, neighbour: IPv4Address, entry: Entry) -> None:
        """Put a neighbour into a state, or keep it there for as long again. That is no use of it."""
        before = self._entries.get(neighbour)
        if before is not None:
            del self._by_state[type(before)][neighbour]
        self._entries[neighbour] = entry
        self._by_state[type(entry)][neighbour] = entry  # it came last and stays as long as any other: it is due last

    def _leave(self, neighbour: IPv4Address) -> Entry:
        """Have nothing more to do with a neighbour."""
        entry = self._entries.pop(neighbour)
        del self._by_state[type(entry)][neighbour]
        return entry

    def _make_room(self) -> Iterator[Step]:
        """Have the entry used least recently give way, with whatever waits there, when the table is full."""
        if len(self._entries) < self._limits.arp_neighbours:
            return
        neighbour = next(iter(self._entries))
        entry = self._leave(neighbour)
        queue = entry.queue if isinstance(entry, Asked) else deque[Waiting]()
        yield changed(rules.S31_TABLE_FULL, neighbour=neighbour, packets_lost=len(queue))
        yield from _losses(queue, rules.S31_TABLE_FULL, neighbour)

    # ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _announcement(self, because: Rule) -> Transmit:
        own = self._network.own
        return self._transmit(BROADCAST, ArpPacket(REQUEST, self._own, own, NO_HARDWARE, own), because)

    def _request(self, neighbour: IPv4Address, to: MacAddress, because: Rule) -> Transmit:
        return self._transmit(to, ArpPacket(REQUEST, self._own, self._network.own, NO_HARDWARE, neighbour), because)

    def _reply(self, request: ArpPacket, because: Rule) -> Transmit:
        answer = ArpPacket(REPLY, self._own, self._network.own, request.sender_hardware, request.sender_protocol)
        return self._transmit(request.sender_hardware, answer, because)

    def _transmit(self, to: MacAddress, packet: ArpPacket, because: Rule) -> Transmit:
        frame = Frame(to, self._own, ethernet.TYPE_ARP, build(packet))
        return Transmit(self._port, ethernet.build(frame), because)

    def _transmit_packet(self, to: MacAddress, waiting: Waiting, because: Rule) -> Iterator[Step]:
        frame = Frame(to, self._own, ethernet.TYPE_IPV4, waiting.octets)
        yield Transmit(self._port, ethernet.build(frame), because)
        if waiting.fate is not None:
            yield waiting.fate


# ── what is told of packets that wait ────────────────────────────────────────────────────────────────────────────────


def _waits(rule: Rule, neighbour: IPv4Address, waiting: Waiting, packets_waiting: int) -> Note:
    """The gateway's own packets, and pieces before the last, conclude nothing."""
    tell = changed if waiting.fate is None else waits
    return tell(rule, neighbour=neighbour, packets_waiting=packets_waiting)


def _losses(queue: Iterable[Waiting], rule: Rule, neighbour: IPv4Address) -> Iterator[Note]:
    """The fate of those in ``queue`` that no longer wait: nobody is told (RFC 1122 2.3.2.2 asks for none)."""
    for waiting in queue:
        if waiting.fate is not None and waiting.about is not None:
            yield lost(rule, neighbour=neighbour, source=waiting.about.source)
