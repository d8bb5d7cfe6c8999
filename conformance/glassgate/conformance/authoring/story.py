"""The words in which a vector is told.

    category = Category("forwarding", "…")

    category.vector(
        "fwd-ttl-2-passes",
        "A packet with two hops to live leaves with one",
        rules.S17_DECREMENT,
        source="RFC 1812 5.3.1",
        steps=[host_sends(datagram.but(time_to_live=2)).expect(into_tunnel(datagram.but(time_to_live=1)))],
    )

A step is an input (``host_sends``, ``far_end_sends``, ``flow_brings``, ``time_passes`` …) and what must leave because
of it: ``expect(…)`` in order, or ``silence()``. ``or_else(flag, …)`` names a further outcome that the standards allow.
The two announcements of the start stand before the first step; a step without ``at`` comes 0.1 s after the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from typing import Any

from glassgate.conformance.authoring.places import CONFIG, FAR, GATEWAY, HOST, Station
from glassgate.conformance.model import (
    SMALLEST_FRAME,
    Bind,
    Checksum,
    Expected,
    ExpectedAction,
    ExpectedPacket,
    FlagNote,
    FlowInput,
    Input,
    Outcome,
    PacketInput,
    Result,
    StartInput,
    Step,
    TickInput,
    Vector,
    VectorFile,
    VectorPort,
    merge_patch,
)
from glassgate.conformance.packets import (
    ANY,
    BROADCAST_MAC,
    REPLY,
    REQUEST,
    TYPE_ARP,
    TYPE_IPV4,
    Arp,
    Ethernet,
    IPv4,
    Octets,
    Payload,
    echo_reply,
    echo_request,
    octets,
    udp,
)
from glassgate.contract import FlowEvent, Rule

FIRST_STEP = 3.0
BETWEEN_STEPS = 0.1

# ── what leaves ───────────────────────────────────────────────────────────────────────────────────────────────────────


OPENS = ExpectedAction("open")
CLOSES = ExpectedAction("close")


def leaves(port: VectorPort, what: Octets) -> ExpectedPacket:
    """Octets that must leave at a port. A short frame may be padded; only Ethernet pads."""
    padding = port.carries_frames and len(what) < SMALLEST_FRAME
    return ExpectedPacket(port, what.data, what.free, padding)


def to_host(packet: IPv4, station: Station = HOST, *, gateway: Station = GATEWAY) -> ExpectedPacket:
    """An IPv4 packet in a frame from the gateway to a station."""
    frame = Ethernet(source=gateway.mac, destination=station.mac, type=TYPE_IPV4, payload=packet.build())
    return leaves(VectorPort.INTERNAL, frame.build())


def arp_reply_to(station: Station, *, gateway: Station = GATEWAY, target: str | None = None) -> ExpectedPacket:
    """The gateway tells a station where the gateway's address is."""
    reply = Arp(
        operation=REPLY,
        sender_hardware=gateway.mac,
        sender_protocol=gateway.address,
        target_hardware=station.mac,
        target_protocol=station.address if target is None else target,
    )
    return leaves(VectorPort.INTERNAL, _arp_frame(reply, gateway.mac, station.mac).build())


def asks_for(wanted: str, *, of: str | None = None, gateway: Station = GATEWAY) -> ExpectedPacket:
    """The gateway asks for an address: everybody, or the station with the hardware address ``of``."""
    request = Arp(
        operation=REQUEST, sender_hardware=gateway.mac, sender_protocol=gateway.address, target_protocol=wanted
    )
    return leaves(VectorPort.INTERNAL, _arp_frame(request, gateway.mac, of or BROADCAST_MAC).build())


def announces(gateway: Station = GATEWAY) -> ExpectedPacket:
    """The gateway announces its own address (RFC 5227 2.3): a request whose sender and target are the same."""
    return asks_for(gateway.address, gateway=gateway)


def into_tunnel(packet: IPv4) -> ExpectedPacket:
    """An inner packet that the far end gets out of the tunnel."""
    return leaves(VectorPort.TUNNEL, packet.build())


def on_flow(stream: bytes) -> ExpectedPacket:
    """Octets in the tunnel's stream, exactly."""
    return leaves(VectorPort.FLOW, octets(stream))


def _arp_frame(packet: Arp, source: str, destination: str) -> Ethernet:
    return Ethernet(source=source, destination=destination, type=TYPE_ARP, payload=packet.build())


# ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Story:
    """One step of a story: an input and the outcomes allowed. Each word returns the step with something added."""

    input: Input
    outcomes: tuple[Outcome, ...] = ()
    time: float | None = None
    only_after: str | None = None

    def expect(self, *expected: Expected) -> Story:
        """These leave, in this order, and nothing else."""
        return replace(self, outcomes=(*self.outcomes, Outcome(expected)))

    def silence(self) -> Story:
        """Nothing leaves."""
        return self.expect()

    def or_else(self, flag: str, *expected: Expected) -> Story:
        """Another outcome that is acceptable; its flag stands in the category's notes."""
        return replace(self, outcomes=(*self.outcomes, Outcome(expected, flag)))

    def at(self, time: float) -> Story:
        """When it happens, in seconds."""
        return replace(self, time=time)

    def when(self, flag: str) -> Story:
        """Only if an earlier step took the outcome of that flag."""
        return replace(self, only_after=flag)


def _arrives(port: VectorPort, what: Octets | bytes) -> Story:
    """An input; octets that depend on what the gateway chose earlier are filled in by the runner."""
    given = octets(what)
    fill = tuple(one for one in given.free if isinstance(one, Bind | Checksum))
    assert len(fill) == len(given.free), "an input may depend on bound values only"
    return Story(PacketInput(port, given.data, fill))


def _built(packet: IPv4 | Octets | bytes) -> Octets:
    return packet.build() if isinstance(packet, IPv4) else octets(packet)


def frame_arrives(frame: Ethernet | bytes) -> Story:
    """Any frame, or what is too short to be one, on the internal network."""
    return _arrives(VectorPort.INTERNAL, frame if isinstance(frame, bytes) else frame.build())


def frame_with(packet: IPv4 | bytes, by: Station = HOST, to: str = GATEWAY.mac, **fields: Any) -> Ethernet:
    """A packet in a frame from a station to the gateway."""
    given: dict[str, Any] = {"source": by.mac, "destination": to, "type": TYPE_IPV4, "payload": _built(packet)} | fields
    return Ethernet(**given)


def host_sends(packet: IPv4 | bytes, by: Station = HOST, to: str = GATEWAY.mac) -> Story:
    """A station of the internal network sends an IPv4 packet to the gateway's hardware address."""
    return frame_arrives(frame_with(packet, by, to))


def arp_arrives(packet: Arp, *, to: str = BROADCAST_MAC, by: str | None = None) -> Story:
    """An ARP packet; the frame comes from the hardware address that the packet gives, unless told otherwise."""
    return frame_arrives(_arp_frame(packet, by or packet.sender_hardware, to))


def far_end_sends(packet: IPv4 | bytes) -> Story:
    """The far end sends an inner packet through the tunnel."""
    return _arrives(VectorPort.TUNNEL, _built(packet))


def flow_brings(stream: bytes) -> Story:
    """Octets of the tunnel's stream arrive."""
    return _arrives(VectorPort.FLOW, stream)


def time_passes(to: float) -> Story:
    """Nothing arrives; it becomes later."""
    return Story(TickInput(), time=to)


def flow_opens() -> Story:
    """The operating system reports that the transport is connected."""
    return Story(FlowInput(FlowEvent.OPENED))


def flow_closes() -> Story:
    """The operating system reports that the transport is closed."""
    return Story(FlowInput(FlowEvent.CLOSED))


# ── what is said often ────────────────────────────────────────────────────────────────────────────────────────────────


def request_from(station: Station, wanted: str = GATEWAY.address) -> Arp:
    """A station's ARP request."""
    return Arp(operation=REQUEST, sender_hardware=station.mac, sender_protocol=station.address, target_protocol=wanted)


def reply_from(station: Station, to: Station = GATEWAY) -> Arp:
    """A station's ARP reply."""
    return Arp(
        operation=REPLY,
        sender_hardware=station.mac,
        sender_protocol=station.address,
        target_hardware=to.mac,
        target_protocol=to.address,
    )


def gratuitous_from(station: Station) -> Arp:
    """A station's announcement of itself."""
    return request_from(station, station.address)


def introduces(station: Station = HOST) -> Story:
    """A station asks for the gateway by ARP, is answered, and from now on is known (RFC 826)."""
    return arp_arrives(request_from(station)).expect(arp_reply_to(station))


def answers(station: Station, *released: Expected) -> Story:
    """A station answers the gateway's ARP request; what waited for it leaves."""
    return arp_arrives(reply_from(station), to=GATEWAY.mac).expect(*released)


def from_gateway(to: str, payload: Payload, *, source: str = GATEWAY.address, **fields: Any) -> IPv4:
    """What the gateway originates: TTL 64, an identification of its choice (RFC 6864 4.1, 4.2)."""
    given: dict[str, Any] = {"identification": ANY, "time_to_live": 64} | fields
    return IPv4(source=source, destination=to, payload=payload, **given)


def error_to(to: str, payload: Payload, *, source: str = GATEWAY.address) -> IPv4:
    """An ICMP error of the gateway's: precedence 6, internetwork control (RFC 1812 4.3.2.5)."""
    return from_gateway(to, payload, source=source, type_of_service=0xC0)


def fence(by: Station = HOST) -> Story:
    """From inside an ordinary packet still gets into the tunnel: the silence before was no death."""
    packet = IPv4(source=by.address, destination=FAR, payload=udp(40000, 40001, b"fence"), identification=0xFE4C)
    return host_sends(packet, by).expect(into_tunnel(packet.but(time_to_live=63)))


_FENCE_ECHO = IPv4(source=FAR, destination=GATEWAY.address, payload=echo_request(0xFE4C, 1, b"fence"), time_to_live=60)
_FENCE_ANSWER = from_gateway(FAR, echo_reply(0xFE4C, 1, b"fence"))


def fence_from_tunnel() -> Story:
    """Out of the tunnel an ordinary packet still gets in: the gateway answers an echo request."""
    return far_end_sends(_FENCE_ECHO).expect(into_tunnel(_FENCE_ANSWER))


def fence_local(by: Station = HOST) -> Story:
    """The gateway still answers a host that it knows."""
    asked = IPv4(source=by.address, destination=GATEWAY.address, payload=echo_request(0xFE4C, 2, b"fence"))
    return host_sends(asked, by).expect(to_host(from_gateway(by.address, echo_reply(0xFE4C, 2, b"fence")), by))


def fence_for_host(to: Station = HOST) -> Story:
    """Out of the tunnel an ordinary packet still gets to a host that is known."""
    packet = IPv4(source=FAR, destination=to.address, payload=udp(40001, 40000, b"fence"), identification=0xFE4C)
    return far_end_sends(packet).expect(to_host(packet.but(time_to_live=63), to))


# ── the vector ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Category:
    """One file of vectors."""

    name: str
    summary: str
    vectors: list[Vector] = field(default_factory=list)
    notes: dict[str, FlagNote] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=lambda: CONFIG)

    def vector(
        self,
        id_: str,
        title: str,
        *of: Rule,
        source: str,
        steps: Iterable[Story],
        result: Result = Result.VALID,
        requires: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        rev: int = 1,
        begins: Iterable[Story] | None = None,
    ) -> None:
        """Add a vector: its story is the start (or ``begins``), then ``steps``."""
        patch = config or {}
        whole = merge_patch(self.config, patch)
        told = _scheduled((*(start(_gateway_of(whole)) if begins is None else begins), *steps))
        flags = sorted({outcome.flag for step in told for outcome in step.outcomes if outcome.flag})
        self.vectors.append(
            Vector(
                id=id_,
                rev=rev,
                title=title,
                rules=tuple(rule.slug for rule in of),
                requires=_requirements(whole, requires),
                flags=tuple(flags),
                result=result,
                source=source,
                patch=patch,
                config=whole,
                steps=told,
                category=self.name,
            )
        )

    def refused(self, id_: str, title: str, *of: Rule, source: str, config: Mapping[str, Any], member: str) -> None:
        """Add a vector whose configuration is an error that names ``member``: the gateway does not start."""
        whole = merge_patch(self.config, config)
        start = Step(0.0, StartInput(), (Outcome((ExpectedAction("refuse", member),)),))
        usual = (f"external.{whole['external']['kind']}", "session")
        slugs = tuple(rule.slug for rule in of)
        self.vectors.append(
            Vector(id_, title, slugs, usual, Result.INVALID, source, (start,), 1, (), config, whole, self.name)
        )

    def invalid(self, id_: str, title: str, *of: Rule, **more: Any) -> None:
        """Add a vector whose packet must be discarded or answered by an error. Its last step is a fence."""
        self.vector(id_, title, *of, result=Result.INVALID, **more)

    def file(self) -> VectorFile:
        """The whole file."""
        return VectorFile(
            self.name, self.summary, self.config, tuple(self.vectors), self.notes, name=f"{self.name}.json"
        )


def start(gateway: Station = GATEWAY) -> tuple[Story, Story]:
    """The gateway starts at 0 s and announces its address, and again at 2 s (RFC 5227 2.3)."""
    first = Story(StartInput(), time=0.0).expect(announces(gateway))
    return first, time_passes(2.0).expect(announces(gateway))


def _gateway_of(config: Mapping[str, Any]) -> Station:
    inside = config["internal"]
    return Station(str(IPv4Interface(inside["address"]).ip), inside["mac"])


def _requirements(config: Mapping[str, Any], more: Iterable[str]) -> tuple[str, ...]:
    session = config["tunnel"].get("session")
    keys = ["ovpn"] if session is None else ["session", f"cipher.{session['cipher'].lower()}"]
    usual = [f"external.{config['external']['kind']}", *keys]
    if config["tunnel"]["proto"] == "udp":
        usual.append("transport.udp")
    return (*usual, *(capability for capability in more if capability not in usual))


def _scheduled(stories: Iterable[Story]) -> tuple[Step, ...]:
    """Give each step its time: its own, else a little after the one before."""
    steps: list[Step] = []
    now = 0.0
    for story in stories:
        following = max(FIRST_STEP, round(now + BETWEEN_STEPS, 6))
        now = following if story.time is None else story.time
        steps.append(Step(now, story.input, story.outcomes or (Outcome(),), story.only_after))
    return tuple(steps)


# ── flags of several categories ───────────────────────────────────────────────────────────────────────────────────────

OPTION_ENTERED = FlagNote(
    bug="none",
    what="the gateway enters itself into record route and timestamp, as RFC 1812 5.3.13.5 and .6 have it",
    effect="the packet's receiver learns the way that it took; the vectors prefer options that are left alone",
)
"""A note that each category which has the flag lists."""
