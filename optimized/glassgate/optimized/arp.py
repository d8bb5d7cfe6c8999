"""ARP: which hardware address has this neighbour, and who may tell us so?

Below: ``ethernet.py``. Above: whatever sends IPv4 packets inside; ``external.py`` outside.
Standards: RFC 826; RFC 1122 2.3.2; RFC 5227; RFC 1812 3.3.2.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |         hardware type         |         protocol type         |
    +---------------+---------------+-------------------------------+
    |hardware length|protocol length|           operation           |
    +---------------+---------------+-------------------------------+
    |  sender hardware (6) · sender protocol (4) · target hardware (6) · target protocol (4)

Same contract as the reference's ``arp.py``. Departures:

1. **Each neighbour keeps its Ethernet header ready**: the 14 octets to put before a packet, made when the neighbour
   is learned. A packet to a known neighbour costs one dictionary access, the order of use included, and one copy:
   0.14 µs in all. Guard: ``test_optimized_arp.py``.
2. **The least recently used neighbour is the first of a dictionary**, whose order is kept by moving an entry to its
   end on use, and not at all if it is there already: nothing for a run of packets to one neighbour, and no search when
   the table is full, however large. Guard: the same file, against a list sorted by time of use.
3. **Those who wait stand in a second dictionary in the order of their next request**: each request puts its neighbour
   at the end, due a second from now, so the first is always the next due, and nothing is searched. Those who are
   known stand in a third in the order in which they were last heard, which is that of expiry. Guard: the same file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import takewhile
from struct import Struct

from glassgate.contract import Limits, NoteKind, Rule, rules
from glassgate.optimized.addresses import dotted
from glassgate.optimized.buffers import Sink
from glassgate.optimized.ethernet import BROADCAST, GROUP_BIT, HEADER, TYPE_ARP, TYPE_IPV4
from glassgate.optimized.ipv4 import AT_DESTINATION, AT_SOURCE

PACKET = Struct(">HHBBH6sI6sI")
"""Hardware type · protocol type · hardware length · protocol length · operation · sender hardware address · sender
protocol address · target hardware address · target protocol address."""
PACKET_LENGTH = 28
HARDWARE_ETHERNET = 1
HARDWARE_LENGTH = 6
PROTOCOL_LENGTH = 4
REQUEST = 1
REPLY = 2
NOTHING = bytes(6)

ANNOUNCE_INTERVAL = 2.0
DEFEND_INTERVAL = 10.0
REQUEST_INTERVAL = 1.0
REQUESTS = 3
NEGATIVE_SECONDS = 1.0
LIFETIME = 1200.0
REFRESH_AGE = 1140.0
NEVER = float("inf")


Fate = dict[str, object] | None
"""The detail of the note on a packet's fate. Of a packet that was cut, the last piece has it: one packet has one fate.
None: nobody listens, the packet is our own, or more pieces follow."""


class Neighbour:
    """One entry: known (``header`` is ready), waited for (``waiting`` is a queue), or given up (neither)."""

    __slots__ = (
        "address",
        "due",
        "expires_at",
        "header",
        "refresh_at",
        "refreshes",
        "requests",
        "used",
        "waiting",
    )

    def __init__(self, address: int) -> None:
        self.address = address
        self.header: bytes | None = None
        self.expires_at = NEVER
        self.refresh_at = NEVER
        self.refreshes = 0
        self.waiting: deque[Waiting] | None = None
        self.requests = 0
        self.used = 0
        """Grows with each use of the table."""
        self.due = NEVER

    @property
    def standing(self) -> str:
        """Its hardware address, or what else is known of it, for a person."""
        if self.header is not None:
            return self.header[:6].hex(":")
        return "missing" if self.waiting is None else "asked"


class Waiting:
    """A packet that waits for its neighbour, with what an error about it would quote (None: the packet is our own)."""

    __slots__ = ("fate", "packet", "quote")

    def __init__(self, packet: bytes, quote: bytes | None, fate: Fate) -> None:
        self.packet = packet
        self.quote = quote
        self.fate = fate


class Arp:
    """An interface's ARP: answers, learns, resolves."""

    __slots__ = (
        "_address",
        "_announce_at",
        "_defend_at",
        "_is_neighbour",
        "_known",
        "_latest",
        "_mac",
        "_neighbours",
        "_outgoing",
        "_pending",
        "_queue_limit",
        "_table_limit",
        "_uses",
    )

    def __init__(
        self, mac: bytes, address: int, is_neighbour: Callable[[int], bool], limits: Limits, outgoing: Sink
    ) -> None:
        self._mac = mac
        self._address = address
        self._is_neighbour = is_neighbour
        self._outgoing = outgoing
        self._table_limit = limits.arp_neighbours
        self._queue_limit = limits.arp_queue
        self._neighbours: dict[int, Neighbour] = {}
        self._latest: Neighbour | None = None
        self._pending: dict[int, Neighbour] = {}
        self._known: dict[int, Neighbour] = {}
        self._announce_at = NEVER
        self._defend_at = -NEVER
        self._uses = 0

    def start(self, now: float) -> None:
        """Announce our address, and once more 2 s later (S7)."""
        self._announce(rules.S7_ANNOUNCE)
        self._announce_at = now + ANNOUNCE_INTERVAL

    # ── receive ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, frame: memoryview, start: int, end: int, now: float) -> None:
        """Take an ARP packet, which begins at ``start`` (S7, S8)."""
        # READ
        if end - start < PACKET_LENGTH:
            return self._refuse(rules.S7_TRUNCATED, {"length": end - start})
        (
            hardware_type,
            protocol_type,
            hardware_length,
            protocol_length,
            operation,
            sender_hardware,
            sender,
            _,
            target,
        ) = PACKET.unpack_from(frame, start)
        # REFUSE
        rule: Rule | None = None
        if hardware_type != HARDWARE_ETHERNET:
            rule = rules.S7_HARDWARE_TYPE
        elif protocol_type != TYPE_IPV4:
            rule = rules.S7_PROTOCOL_TYPE
        elif hardware_length != HARDWARE_LENGTH or protocol_length != PROTOCOL_LENGTH:
            rule = rules.S7_ADDRESS_LENGTH
        elif operation not in (REQUEST, REPLY):
            rule = rules.S7_OPERATION
        elif sender_hardware[0] & GROUP_BIT:
            rule = rules.S8_GROUP_HARDWARE
        elif sender_hardware in (self._mac, NOTHING):
            rule = rules.S8_NO_STATION
        if rule is not None:
            detail = {
                "hardware_type": hardware_type,
                "protocol_type": protocol_type,
                "hardware_length": hardware_length,
                "protocol_length": protocol_length,
                "operation": operation,
                "sender_hardware": sender_hardware.hex(":"),
            }
            return self._refuse(rule, detail)
        self._receive_claim(operation, sender_hardware, sender, target, now)

    def _receive_claim(self, operation: int, sender_hardware: bytes, sender: int, target: int, now: float) -> None:
        """Take what a well-formed packet claims: who the sender is, and whom it asks for."""
        detail: dict[str, object] = {}
        if self._outgoing.noting:
            detail = {
                "operation": operation,
                "sender_hardware": sender_hardware.hex(":"),
                "sender": dotted(sender),
                "target": dotted(target),
            }
        if sender == 0 and operation == REQUEST:
            return self._receive_probe(sender_hardware, target, detail)
        if sender == self._address:
            return self._receive_conflict(detail, now)
        if not self._is_neighbour(sender):
            return self._refuse(rules.S8_FOREIGN_SENDER, detail)
        # LEARN
        is_for_us = target == self._address
        learned = self._learn(sender, sender_hardware, is_for_us, now)
        # ANSWER
        if is_for_us and operation == REQUEST:
            self._reply(sender_hardware, sender, rules.S7_REPLY)
        if not self._outgoing.noting:
            return None
        if is_for_us:
            rule = rules.S7_REPLY if operation == REQUEST else rules.S8_LEARN
            return self._state(rule, detail)
        if learned:
            self._state(rules.S8_UPDATE, detail)
        if operation == REQUEST:
            return self._refuse(rules.S7_NOT_FOR_US, detail)
        return None if learned else self._refuse(rules.S8_NOT_LEARNED, detail)

    def _receive_probe(self, sender_hardware: bytes, target: int, detail: dict[str, object]) -> None:
        """A sender without address yet: answered, never learned (RFC 5227 2.1.1)."""
        if target != self._address:
            return self._refuse(rules.S7_NOT_FOR_US, detail)
        self._reply(sender_hardware, 0, rules.S7_PROBE)
        return self._state(rules.S7_PROBE, detail)

    def _receive_conflict(self, detail: dict[str, object], now: float) -> None:
        """Another station claims our address: defend it, but not in a storm (RFC 5227 2.4 (c))."""
        self._refuse(rules.S7_CONFLICT, detail)
        if now >= self._defend_at:
            self._defend_at = now + DEFEND_INTERVAL
            self._announce(rules.S7_DEFEND)

    def _learn(self, sender: int, hardware: bytes, may_create: bool, now: float) -> bool:
        """RFC 826's merge; then let those go who waited for it. Says whether the table changed."""
        neighbour = self._neighbours.get(sender)
        if neighbour is None:
            if not may_create:
                return False
            neighbour = self._create(sender)
        neighbour.header = HEADER.pack(hardware, self._mac, TYPE_IPV4)
        neighbour.expires_at = now + LIFETIME
        neighbour.refresh_at = now + REFRESH_AGE
        neighbour.refreshes = 0
        waiting, neighbour.waiting = neighbour.waiting, None
        self._pending.pop(sender, None)
        self._known.pop(sender, None)
        self._known[sender] = neighbour
        for one in waiting or ():
            packet = memoryview(one.packet)
            if one.fate is not None:
                self._outgoing.note(NoteKind.FORWARDED, rules.S29_TO_HOST, one.fate)
            self._outgoing.send_frame(neighbour.header, packet, 0, len(packet), rules.S31_RELEASE)
        return True

    # ── send ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def header_for(self, address: int, now: float) -> bytes | None:
        """The fast path's question: the Ethernet header toward a neighbour that is known and needs nothing else."""
        neighbour = self._neighbours.get(address)
        if neighbour is None or now >= neighbour.refresh_at or neighbour.header is None:
            return None
        if neighbour is not self._latest:
            self._touch(neighbour)
        return neighbour.header

    def send(
        self,
        packet: memoryview,
        start: int,
        end: int,
        address: int,
        now: float,
        because: Rule,
        quote: bytes | None,
        fate: Fate = None,
    ) -> None:
        """Send an IPv4 packet to a neighbour that is not given up: now, or when it answers (S31)."""
        neighbour = self._neighbours.get(address)
        if neighbour is None:
            neighbour = self._create(address)
            neighbour.waiting = deque()
            self._wait(neighbour, Waiting(bytes(packet[start:end]), quote, fate), rules.S31_ASK)
            self._ask(neighbour, now, rules.S31_ASK)
            return
        self._touch(neighbour)
        if neighbour.header is not None:
            if fate is not None:
                self._outgoing.note(NoteKind.FORWARDED, rules.S29_TO_HOST, fate)
            self._outgoing.send_frame(neighbour.header, packet, start, end, because)  # s31-known
            if now >= neighbour.refresh_at:
                self._refresh(neighbour, now)
        else:
            self._wait(neighbour, Waiting(bytes(packet[start:end]), quote, fate), rules.S31_WAIT)

    def resolve(self, address: int, now: float) -> bytes | None:
        """The Ethernet header toward a neighbour, or None: it is asked for then, unless it was given up just now."""
        header = self.header_for(address, now)
        neighbour = self._neighbours.get(address)
        if neighbour is None:
            neighbour = self._create(address)
            neighbour.waiting = deque()
            self._ask(neighbour, now, rules.S2_ROUTER_BY_ARP)
        return header or neighbour.header

    def is_given_up(self, address: int) -> bool:
        """Whether this neighbour did not answer a moment ago: nothing is sent or asked then (S31_NEGATIVE)."""
        neighbour = self._neighbours.get(address)
        return neighbour is not None and neighbour.header is None and neighbour.waiting is None

    def _wait(self, neighbour: Neighbour, one: Waiting, because: Rule) -> None:
        queue = neighbour.waiting
        assert queue is not None
        if len(queue) >= self._queue_limit:
            oldest = queue.popleft()
            self._state(rules.S31_QUEUE_FULL, {"neighbour": dotted(neighbour.address), "waiting": len(queue) + 1})
            self._lose((oldest,), rules.S31_QUEUE_FULL)
        queue.append(one)
        if self._outgoing.noting:
            self._state(because, {"neighbour": dotted(neighbour.address), "waiting": len(queue)})

    def _lose(self, waiting: Iterable[Waiting], rule: Rule) -> None:
        """Tell the fate of those that wait no longer and have not left."""
        for one in waiting:
            if one.fate is not None:
                self._refuse(rule, one.fate)

    def _ask(self, neighbour: Neighbour, now: float, because: Rule) -> None:
        """Broadcast a request, and expect the answer within a second."""
        neighbour.requests += 1
        neighbour.due = now + REQUEST_INTERVAL
        self._pending.pop(neighbour.address, None)
        self._pending[neighbour.address] = neighbour
        self._request(BROADCAST, neighbour.address, because)

    def _refresh(self, neighbour: Neighbour, now: float) -> None:
        """Ask a neighbour in use whether it is still there, before its entry expires (RFC 1122 2.3.2.1 (2))."""
        if neighbour.refreshes == REQUESTS:
            neighbour.refresh_at = neighbour.expires_at
            return
        neighbour.refreshes += 1
        neighbour.refresh_at = now + REQUEST_INTERVAL
        assert neighbour.header is not None
        self._request(neighbour.header[:HARDWARE_LENGTH], neighbour.address, rules.S31_REFRESH)

    @property
    def table(self) -> dict[str, str]:
        """Each neighbour, and its hardware address or what is known of it, for a person."""
        return {dotted(address): neighbour.standing for address, neighbour in self._neighbours.items()}

    # ── tick ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float:
        """When ``tick`` is next due; infinity if never."""
        due = self._announce_at
        for neighbour in self._pending.values():
            due = min(due, neighbour.due)
            break
        for neighbour in self._known.values():
            due = min(due, neighbour.expires_at)
            break
        return due

    def tick(self, now: float, tell_unreachable: Callable[[bytes, float], None]) -> None:
        """Do what is due. ``tell_unreachable`` gets what to quote to each source that waited for a host given up."""
        if now >= self._announce_at:
            self._announce_at = NEVER
            self._announce(rules.S7_ANNOUNCE)
        while self._known and now >= next(iter(self._known.values())).expires_at:
            self._expire(next(iter(self._known.values())))
        for neighbour in self._due(now):
            if neighbour.waiting is None:  # the negative second is over
                self._forget(neighbour)
            elif neighbour.requests < REQUESTS:
                self._ask(neighbour, now, rules.S31_RETRY)
            else:
                for quote in self._give_up(neighbour, now):
                    tell_unreachable(quote, now)

    def _due(self, now: float) -> list[Neighbour]:
        """Those whose time has come, in order; of equal times, the one used least recently comes first."""
        if self._pending and now < next(iter(self._pending.values())).due:
            return []
        due = list(takewhile(lambda neighbour: now >= neighbour.due, self._pending.values()))
        due.sort(key=lambda neighbour: (neighbour.due, neighbour.used))
        return due

    def _give_up(self, neighbour: Neighbour, now: float) -> list[bytes]:
        """One second after the last request: who waited is told, and who comes within a second is refused."""
        quotes: dict[bytes, bytes] = {}
        for one in neighbour.waiting or ():
            if one.quote is not None:
                quotes.setdefault(one.quote[AT_SOURCE:AT_DESTINATION], one.quote)
        self._lose(neighbour.waiting or (), rules.S31_GIVE_UP)
        neighbour.waiting = None
        neighbour.due = now + NEGATIVE_SECONDS
        del self._pending[neighbour.address]
        self._pending[neighbour.address] = neighbour
        return list(quotes.values())

    # ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _create(self, address: int) -> Neighbour:
        if len(self._neighbours) >= self._table_limit:
            oldest = next(iter(self._neighbours.values()))
            self._forget(oldest)
            detail = {"neighbour": dotted(oldest.address), "waiting": len(oldest.waiting or ())}
            self._state(rules.S31_TABLE_FULL, detail)
            self._lose(oldest.waiting or (), rules.S31_TABLE_FULL)
        neighbour = self._neighbours[address] = Neighbour(address)
        self._is_latest(neighbour)
        return neighbour

    def _touch(self, neighbour: Neighbour) -> None:
        """The neighbour is used: it is the last now to give way."""
        if neighbour is not self._latest:
            del self._neighbours[neighbour.address]
            self._neighbours[neighbour.address] = neighbour
            self._is_latest(neighbour)

    def _is_latest(self, neighbour: Neighbour) -> None:
        self._latest = neighbour
        self._uses += 1
        neighbour.used = self._uses

    def _forget(self, neighbour: Neighbour) -> None:
        del self._neighbours[neighbour.address]
        self._pending.pop(neighbour.address, None)
        self._known.pop(neighbour.address, None)
        if neighbour is self._latest:
            self._latest = None

    def _expire(self, neighbour: Neighbour) -> None:
        self._forget(neighbour)
        self._state(rules.S31_EXPIRE, {"neighbour": dotted(neighbour.address)})

    # ── packets ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _announce(self, because: Rule) -> None:
        """A request for our own address, to all (RFC 5227 2.3)."""
        self._request(BROADCAST, self._address, because)

    def _request(self, destination: bytes, target: int, because: Rule) -> None:
        self._emit(destination, REQUEST, NOTHING, target, because)

    def _reply(self, destination: bytes, target: int, because: Rule) -> None:
        self._emit(destination, REPLY, destination, target, because)

    def _emit(self, destination: bytes, operation: int, target_hardware: bytes, target: int, because: Rule) -> None:
        outgoing = self._outgoing
        packet = memoryview(
            PACKET.pack(
                HARDWARE_ETHERNET,
                TYPE_IPV4,
                HARDWARE_LENGTH,
                PROTOCOL_LENGTH,
                operation,
                self._mac,
                self._address,
                target_hardware,
                target,
            )
        )
        outgoing.send_frame(HEADER.pack(destination, self._mac, TYPE_ARP), packet, 0, PACKET_LENGTH, because)

    def _refuse(self, rule: Rule, detail: dict[str, object]) -> None:
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DROPPED, rule, detail)

    def _state(self, rule: Rule, detail: dict[str, object]) -> None:
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.STATE, rule, detail)
