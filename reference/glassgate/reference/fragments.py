"""Fragments: how a packet that is too big is cut, and how what was cut for us is joined again.

Below: ipv4.py and options.py. Above: forwarding.py cuts packets in transit; the gateway joins only what is for itself,
for a router does not reassemble what it forwards (RFC 1812 5.2.6). Standards: RFC 791 3.2; RFC 1812 4.2.2.7;
RFC 1122 3.3.2; RFC 5722, which discards overlapping fragments in IPv6, as is done here for IPv4.

    the payload of a datagram, in octets           0               1480              2960  3000
    one packet                                     |-----------------------------------------|
    cut for an MTU of 1500: offsets 0, 185, 370    |-- 1480, MF ----|-- 1480, MF ----|-- 40 --|

Offsets in the header count units of 8 octets, so every fragment but the last carries a multiple of 8. Here they are in
octets, like every length. Not handled here: what is done with a datagram once it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from glassgate.contract import Limits, Note, rules
from glassgate.reference import ipv4, options
from glassgate.reference.ipv4 import OFFSET_UNIT, Packet
from glassgate.reference.notes import changed, dropped

TIMEOUT_SECONDS = 60.0


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def fragment(packet: Packet, mtu: int) -> Iterator[Packet]:
    """Cut ``packet`` into fragments of at most ``mtu`` octets, in order; one that fits is itself (S21).

    A packet that is a fragment already keeps its place in its datagram: offsets go on from its own, and its last piece
    has its own ``more_fragments``.
    """
    if packet.total_length <= mtu:
        yield packet
        return
    piece, rest = _first_piece(packet, mtu)
    yield piece
    later_options = options.copied(packet.options)
    rest = replace(rest, options=later_options)
    while rest.total_length > mtu:
        piece, rest = _first_piece(rest, mtu)
        yield piece
    yield rest


def _first_piece(packet: Packet, mtu: int) -> tuple[Packet, Packet]:
    """What fits of ``packet``, and what does not."""
    size = (mtu - packet.header_length) // OFFSET_UNIT * OFFSET_UNIT
    piece = replace(packet, payload=packet.payload[:size], more_fragments=True, header_checksum=None)
    rest = replace(
        packet,
        payload=packet.payload[size:],
        fragment_offset=packet.fragment_offset + size,
        header_checksum=None,
    )
    return piece, rest


def is_too_long(packet: Packet) -> bool:
    """Whether this fragment's datagram, with its header, would not fit the 16 bits of its total length (S12)."""
    return packet.header_length + packet.fragment_end > ipv4.LONGEST_PACKET


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Key:
    """What the fragments of one datagram have in common (RFC 791 3.2)."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    identification: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A datagram that is complete. ``first_fragment`` is as received: an error about the datagram quotes it."""

    packet: Packet
    first_fragment: Packet


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A datagram whose time is over. ``first_fragment`` is what an ICMP error quotes, None if it never came."""

    key: Key
    first_fragment: Packet | None


@dataclass(slots=True)
class Assembling:
    """What is held of one datagram. ``pieces`` do not overlap and are in the order of their offsets."""

    due: float
    pieces: list[Packet] = field(default_factory=list)
    octets: int = 0
    """How much they hold together."""
    end: int | None = None
    """Where the datagram's payload ends, once its last fragment came."""

    @property
    def first_fragment(self) -> Packet | None:
        """The fragment at offset 0."""
        return self.pieces[0] if self.pieces and self.pieces[0].fragment_offset == 0 else None

    @property
    def is_whole(self) -> bool:
        """Whether there is an end, and no gap before it."""
        return self.end is not None and self.octets == self.end

    def holds(self, fragment: Packet) -> bool:
        """Whether every octet of ``fragment`` is held already, and equal."""
        position = fragment.fragment_offset
        for piece in self.pieces:
            if piece.fragment_offset <= position < piece.fragment_end:
                until = min(piece.fragment_end, fragment.fragment_end)
                if _between(piece, position, until) != _between(fragment, position, until):
                    return False
                position = until
        return position == fragment.fragment_end

    def overlaps(self, fragment: Packet) -> bool:
        """Whether an octet of ``fragment`` is held already."""
        return any(
            piece.fragment_offset < fragment.fragment_end and fragment.fragment_offset < piece.fragment_end
            for piece in self.pieces
        )

    @property
    def reaches(self) -> int:
        """The octet that follows the last one held."""
        return self.pieces[-1].fragment_end if self.pieces else 0

    def add(self, fragment: Packet) -> None:
        """Hold ``fragment``, which overlaps nothing."""
        self.pieces.append(fragment)
        self.pieces.sort(key=lambda piece: piece.fragment_offset)
        self.octets += len(fragment.payload)
        if not fragment.more_fragments:
            self.end = fragment.fragment_end


@dataclass(slots=True)
class Discarded:
    """A datagram that is refused whole: what still comes of it is dropped until its time is over."""

    due: float
    octets: int = 0


class Reassembly:
    """Every datagram of which something is held, oldest first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._contexts: dict[Key, Assembling | Discarded] = {}
        self.octets = 0
        """What all datagrams hold together."""

    @property
    def deadline(self) -> float | None:
        """When the oldest datagram's time is over. Times are not renewed, so the oldest is the first."""
        return next((context.due for context in self._contexts.values()), None)

    def __len__(self) -> int:
        return len(self._contexts)

    def receive(self, packet: Packet, now: float) -> Iterator[Note | Whole]:
        """Take a fragment for the gateway itself."""
        # READ
        key = Key(packet.source, packet.destination, packet.protocol, packet.identification)
        context = self._contexts.get(key)

        # REFUSE
        refusal = _refuse_alone(packet, self._limits) or _refuse_as_known(context, packet)
        if refusal is not None:  # it changes nothing
            yield refusal
            return
        if isinstance(context, Assembling):
            refusal = _refuse_beside(context, packet, self._limits)
            if refusal is not None:  # nor can the others be believed
                self._discard(key, context)
                yield refusal
                return

        # LEARN
        yield from self._make_room(key, packet)
        context = self._contexts.setdefault(key, Assembling(now + TIMEOUT_SECONDS))
        assert isinstance(context, Assembling)
        context.add(packet)
        self.octets += len(packet.payload)

        # ANSWER
        if context.is_whole:
            self._forget(key)
            yield _join(context.pieces)
        else:
            yield changed(
                rules.S12_HOLD,
                source=packet.source,
                identification=packet.identification,
                fragment_offset=packet.fragment_offset,
                octets_held=context.octets,
            )

    def tick(self, now: float) -> Iterator[TimedOut]:
        """Forget the datagrams whose time is over by ``now``."""
        while self.deadline is not None and self.deadline <= now:
            key = next(iter(self._contexts))
            context = self._forget(key)
            if isinstance(context, Assembling):
                yield TimedOut(key, context.first_fragment)

    def _discard(self, key: Key, context: Assembling) -> None:
        """Hold nothing more of a datagram, and remember until its time is over that it is refused."""
        self.octets -= context.octets
        self._contexts[key] = Discarded(context.due)

    def _make_room(self, key: Key, packet: Packet) -> Iterator[Note]:
        """Have the oldest datagrams give way until one more fragment fits."""
        if key not in self._contexts and len(self._contexts) >= self._limits.reassembly_contexts:
            yield self._give_way(rules.S12_CONTEXT_LIMIT, next(iter(self._contexts)))
        while self.octets + len(packet.payload) > self._limits.reassembly_octets:
            yield self._give_way(rules.S12_OCTET_LIMIT, next(k for k, held in self._contexts.items() if held.octets))

    def _give_way(self, rule: rules.Rule, oldest: Key) -> Note:
        held = self._forget(oldest)
        return changed(rule, source=oldest.source, identification=oldest.identification, octets_held=held.octets)

    def _forget(self, key: Key) -> Assembling | Discarded:
        context = self._contexts.pop(key)
        self.octets -= context.octets
        return context


def _refuse_alone(packet: Packet, limits: Limits) -> Note | None:
    """What is wrong with this fragment whatever came before it, or None."""
    values = {"fragment_offset": packet.fragment_offset, "length": len(packet.payload)}
    if is_too_long(packet):
        return dropped(rules.S12_TOO_LONG, **values)
    if not packet.payload:
        return dropped(rules.S12_EMPTY, **values)
    if packet.more_fragments and len(packet.payload) % OFFSET_UNIT:
        return dropped(rules.S12_NOT_MULTIPLE_OF_8, **values)
    if len(packet.payload) > limits.reassembly_octets:
        return dropped(rules.S12_OCTET_LIMIT, **values)
    return None


def _refuse_as_known(context: Assembling | Discarded | None, packet: Packet) -> Note | None:
    """Why nothing can be learned from this fragment that is not known already, or None."""
    if isinstance(context, Discarded):
        return dropped(rules.S12_DISCARDED, fragment_offset=packet.fragment_offset)
    if isinstance(context, Assembling) and context.holds(packet):
        return dropped(rules.S12_DUPLICATE, fragment_offset=packet.fragment_offset)
    return None


def _refuse_beside(held: Assembling, packet: Packet, limits: Limits) -> Note | None:
    """Why this fragment cannot be of one datagram with those that are held, or None. The whole is refused then."""
    values = {"fragment_offset": packet.fragment_offset, "fragment_end": packet.fragment_end}
    end = held.end if packet.more_fragments else packet.fragment_end
    reaches = max(held.reaches, packet.fragment_end)
    if held.end is not None and end != held.end:
        return dropped(rules.S12_TWO_ENDS, end=held.end, **values)
    if end is not None and reaches > end:
        return dropped(rules.S12_BEYOND_END, end=end, reaches=reaches, **values)
    if held.overlaps(packet):
        return dropped(rules.S12_OVERLAP, **values)
    if len(held.pieces) == limits.reassembly_fragments:
        return dropped(rules.S12_FRAGMENT_LIMIT, fragments=len(held.pieces))
    first = packet if packet.fragment_offset == 0 else held.first_fragment
    if first is not None and first.header_length + reaches > ipv4.LONGEST_PACKET:
        return dropped(rules.S12_TOO_LONG, header_length=first.header_length, **values)
    return None


def _join(pieces: list[Packet]) -> Whole:
    """The datagram that ``pieces`` make up: its header is that of its first fragment."""
    payload = b"".join(piece.payload for piece in pieces)
    first = pieces[0]
    return Whole(replace(first, payload=payload, more_fragments=False, header_checksum=None), first)


def _between(packet: Packet, start: int, end: int) -> bytes:
    """The octets of ``packet`` from one place to another of its datagram."""
    return packet.payload[start - packet.fragment_offset : end - packet.fragment_offset]
