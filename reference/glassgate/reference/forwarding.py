"""Forwarding: for me, for out there, or neither? And if onward: in which shape?

Below: ipv4.py, options.py, fragments.py, and icmp.py, which has the words for a refusal that is answered. Above: the
gateway, which delivers, transmits and sends the errors. Standards: RFC 1812 5 (a router's way with a packet); the seed.

    from inside                                        from the tunnel
      source: a host of ours?              S16           source: neither martian nor ours?     S16, S29
      destination: me                      S10           destination: me                       S28
                   group, own network …    S14, S15                   another internal host    S29
                   anywhere else: onward   S14                        anywhere else            S30
    then both
      options readable, and no route of their own?  S18
      onward: can its datagram exist? S12 · time to live S17 · way open? S4 · size S21, S22

Nothing here keeps state. Not handled here: what the tunnel and ARP do with a packet once it may go.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from glassgate.contract import Note, Rule, rules
from glassgate.reference import addresses, fragments, icmp, ipv4, mss, options
from glassgate.reference.addresses import Attached
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import dropped


@dataclass(frozen=True, slots=True)
class Place:
    """Where the gateway stands: its networks and its addresses. What it has not is None."""

    inside: Attached
    external: IPv4Address | None = None
    tunnel: IPv4Address | None = None

    @property
    def own(self) -> tuple[IPv4Address | None, ...]:
        """Every address that is the gateway's."""
        return self.inside.own, self.external, self.tunnel


@dataclass(frozen=True, slots=True)
class Deliver:
    """The packet is for the gateway itself."""

    because: Rule


@dataclass(frozen=True, slots=True)
class Onward:
    """The packet goes on, to the other side than it came from."""

    because: Rule


@dataclass(frozen=True, slots=True)
class Refusal:
    """The packet goes no further, and its source may be told."""

    note: Note
    error: icmp.Error


@dataclass(frozen=True, slots=True)
class Ready:
    """The packets that leave in place of one that came, in order, and the rules that shaped them."""

    pieces: tuple[Packet, ...]
    path: tuple[Rule, ...]


# ── where to ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def from_inside(packet: Packet, place: Place) -> Deliver | Onward | Note:
    """Decide on a packet that came from the internal network."""
    refused = _refuse_source(packet, place)
    if refused is not None:
        return refused
    if not place.inside.contains(packet.source):
        return dropped(rules.S16_FOREIGN, source=packet.source)
    if packet.destination == place.inside.own:
        return Deliver(rules.S10_FOR_ME)
    rule = _nowhere(packet.destination, place.inside)
    if rule is not None:
        return dropped(rule, destination=packet.destination)
    if packet.destination in place.own:
        return Onward(rules.S10_OTHER_OWN_ADDRESS)
    return Onward(rules.S14_FORWARD)


def from_tunnel(packet: Packet, place: Place) -> Deliver | Onward | Note:
    """Decide on a packet that came out of the tunnel."""
    refused = _refuse_source(packet, place)
    if refused is not None:
        return refused
    if place.inside.contains(packet.source):
        return dropped(rules.S29_SOURCE_INSIDE, source=packet.source)
    if packet.destination == place.inside.own:
        return Deliver(rules.S28_FOR_ME)
    if packet.destination == place.tunnel:
        return Deliver(rules.S28_TUNNEL_ADDRESS)
    if packet.destination in addresses.MULTICAST or packet.destination == addresses.LIMITED_BROADCAST:
        return dropped(rules.S15_GROUP, destination=packet.destination)
    if place.inside.is_edge(packet.destination):
        return dropped(rules.S29_BROADCAST, destination=packet.destination)
    if not place.inside.contains(packet.destination):
        return dropped(rules.S30_ELSEWHERE, destination=packet.destination)
    return Onward(rules.S29_TO_HOST)


def _refuse_source(packet: Packet, place: Place) -> Note | None:
    """Refuse the sources that are no host's, from either side (S16)."""
    block = addresses.martian(packet.source)
    if block is not None:
        return dropped(rules.S16_MARTIAN, source=packet.source, block=block)
    if packet.source in place.own:
        return dropped(rules.S16_OWN, source=packet.source)
    if place.inside.is_edge(packet.source):
        return dropped(rules.S16_NETWORK, source=packet.source)
    return None


def _nowhere(destination: IPv4Address, inside: Attached) -> Rule | None:
    """The rule by which a packet from inside to ``destination`` goes nowhere, or None (S14)."""
    if destination == addresses.LIMITED_BROADCAST or inside.is_edge(destination):
        return rules.S14_BROADCAST
    if destination in addresses.MULTICAST:
        return rules.S14_MULTICAST
    if destination in addresses.THIS_NETWORK:
        return rules.S14_THIS_NETWORK
    if destination in addresses.LOOPBACK:
        return rules.S14_LOOPBACK
    if destination in addresses.LINK_LOCAL:
        return rules.S14_LINK_LOCAL
    if destination in addresses.RESERVED:
        return rules.S14_RESERVED
    if inside.contains(destination):
        return rules.S14_OWN_NETWORK
    return None


# ── in which shape ───────────────────────────────────────────────────────────────────────────────────────────────────


def refuse_options(packet: Packet) -> Refusal | Note | None:
    """Refuse a packet for its options (S18), on whichever way it is; None if they may stay."""
    for option in options.parse(packet.options):
        pointer = ipv4.SHORTEST_HEADER + option.offset
        if isinstance(option, options.Unreadable):
            return Refusal(dropped(rules.S18_MALFORMED_OPTION, pointer=pointer), icmp.parameter_problem(pointer))
        if option.is_source_route:
            return dropped(rules.S18_SOURCE_ROUTE, type=option.type)
    return None


def onward(packet: Packet, mtu: int, is_way_open: bool, mssfix: int | None) -> Ready | Refusal | Note:
    """Make a packet ready to leave where packets of at most ``mtu`` octets can, or refuse it.

    ``mssfix`` is the largest TCP segment size that a SYN may announce on its way through, None for any.
    """
    if packet.is_fragment and fragments.is_too_long(packet):
        return dropped(rules.S12_TOO_LONG, fragment_offset=packet.fragment_offset, length=len(packet.payload))
    if packet.time_to_live <= 1:
        return Refusal(dropped(rules.S17_EXPIRED, time_to_live=packet.time_to_live), icmp.TIME_TO_LIVE_EXCEEDED)
    if not is_way_open:
        return Refusal(dropped(rules.S4_TUNNEL_DOWN, destination=packet.destination), icmp.NETWORK_UNREACHABLE)
    if packet.total_length > mtu and packet.dont_fragment:
        return Refusal(dropped(rules.S22_DF, total_length=packet.total_length, mtu=mtu), icmp.fragmentation_needed(mtu))
    clamped = packet if mssfix is None else mss.clamp(packet, mssfix)
    pieces = tuple(fragments.fragment(ipv4.decremented(clamped), mtu))
    return Ready(pieces, _shape(packet, clamped is packet, len(pieces)))


def _shape(packet: Packet, is_payload_kept: bool, pieces: int) -> tuple[Rule, ...]:
    """The rules by which the packet keeps or changes its shape."""
    path = [rules.S17_DECREMENT, rules.S18_UNCHANGED, rules.S19_ANY_PROTOCOL]
    if not is_payload_kept:
        path.append(rules.S23_MSSFIX)
    if packet.options:
        path.append(rules.S18_OPTIONS_KEPT if pieces == 1 else rules.S21_OPTIONS)
    if options.has_end(packet.options):
        path.append(rules.S18_END_OF_OPTIONS)
    if packet.is_fragment:
        path.append(rules.S12_TRANSIT)
    if pieces == 1:
        path.append(rules.S22_FITS)
    else:
        path.append(rules.S21_REFRAGMENT if packet.is_fragment else rules.S21_FRAGMENT)
    return tuple(path)
