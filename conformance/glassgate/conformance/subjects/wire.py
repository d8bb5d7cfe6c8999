"""A live gateway: frames on a real internal network, inner packets at the far side of a real tunnel, real time.

    internal network ── LIVE GATEWAY ══ tunnel ══ its peer ── the peer's tun interface

The judge stands on both sides. It has no keys: what the far end gets and sends are inner packets at the interface of a
peer that terminates the tunnel. So the vectors that judge the stream itself are not for the wire.

When is a step over? After each input the judge sends a **marker** out of the tunnel, a TCP SYN to a closed port of the
gateway's tunnel address, and waits for its reset: all that the input caused was sent before. If less has come than the
step allows, it waits a while longer. The reset is not judged, and the marker changes no state that a vector knows of.
Order counts at each port; between two ports of a wire there is none.

The start is preparation: a gateway that has seen nothing, up and announced. Only vectors about that judge it.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address
from typing import Any, Protocol

from glassgate.conformance import packets
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.signals import undisturbed
from glassgate.conformance.matching import Actual, ActualPacket
from glassgate.conformance.model import (
    Expected,
    ExpectedAction,
    FlowInput,
    PacketInput,
    Vector,
    VectorPort,
)
from glassgate.conformance.profile import Profile
from glassgate.conformance.subjects.subject import Fault, Reply, SubjectFault
from glassgate.contract import FlowEvent, GatewayConfig, Port, rules

MARKER_SOURCE = "203.0.113.250"
"""Nobody in the vectors has this address (RFC 5737)."""
MARKER_PORT = 9
"""Discard: no vector's gateway listens there."""
MARKER_SECONDS = 2.0
"""How long the marker may take. A tunnel that does not carry it is broken."""
GRACE_SECONDS = 0.15
"""How much longer to wait for what has not come."""
START_SECONDS = 10.0
"""How long a fresh gateway may take until it answers through its tunnel."""
START_PROBE_SECONDS = 0.05
SECOND_ANNOUNCEMENT, SECOND_TOLERANCE = 2.0, 0.3
"""When the second announcement comes after the first (RFC 5227 2.3)."""
LATE_GRACE_SECONDS = 0.5
"""The same for what time brings: a gateway's timers may be late, and must not be early."""
LATENESS = 0.05
"""A judge that looks so much later than it meant to may see what was due after that."""
READING_STEP = 0.1
"""Steps of a story that are no further apart than this only have an order (the authors' BETWEEN_STEPS)."""
SLOW_SECONDS = 10.0
"""A vector that lasts longer is not run unless asked for."""
USUAL_CAPABILITIES = frozenset({"external.os", "session", "cipher.aes-256-gcm", "udp_echo", "tcp_echo"})
"""What a profile means that declares none."""
SMALLEST_SENT = 14
"""No interface sends less than an Ethernet header."""


class Side(Protocol):
    """Where the judge stands: frames or packets come and go."""

    def fileno(self) -> int:
        """For a selector."""

    def send(self, octets: bytes) -> None:
        """Send one, as it is.

        Raises:
            LabError: it cannot be sent.
        """

    def receive(self) -> bytes | None:
        """The next one; None if there is none.

        Raises:
            LabError: there will be none any more.
        """

    def age(self) -> float:
        """How many seconds ago that came which ``receive`` gave last."""


class LiveGateway(Protocol):
    """What the judge needs of a gateway and its surroundings."""

    @property
    def version(self) -> str:
        """What it is, exactly."""

    @property
    def internal(self) -> Side:
        """The internal network."""

    @property
    def tunnel(self) -> Side:
        """The far side of the tunnel."""

    @property
    def helpers(self) -> Collection[socket.socket]:
        """Sockets of services that the judge must serve in the gateway's place."""

    def serve(self, ready: socket.socket) -> None:
        """Do what a helper that is ready has to do."""

    def fresh(self, config: GatewayConfig) -> None:
        """Be a gateway that has seen nothing.

        Raises:
            LabError: that is not to be had.
        """

    def why_not(self, vector: Vector, config: GatewayConfig) -> str:
        """Why this gateway cannot be brought to the vector's configuration; empty if it can."""

    def close(self) -> list[str]:
        """Leave nothing behind."""


class Wire:
    """A subject whose answers come from the wire."""

    def __init__(self, name: str, gateway: LiveGateway, profile: Profile, *, slow: bool = False) -> None:
        self._name = name
        self._gateway = gateway
        self.profile = profile
        """What the gateway's owner declares."""
        self._slow = slow
        self._scale = profile.time_scale
        self._tunnel_address = ""
        self._marker = 0
        self._wanted = 0
        self._announcement = b""
        self._announced: float | None = None
        """When the gateway was first heard to announce itself."""
        self._second_due: float | None = None
        """When it will do so again, and nobody judges that."""
        self._origin: float | None = None
        self._due: float | None = None
        """When the step that is being taken was to be taken, if it was waited for."""
        self.was_late = False
        """Whether the judge itself was late in this vector, so that a verdict about time means little."""
        self._story_time = 0.0

    # ── what it is ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """What it is called, and that it is live."""
        return f"{self._name} on the wire"

    @property
    def version(self) -> str:
        """Its version."""
        return self._gateway.version

    @property
    def language(self) -> str:
        """Nobody asks a live gateway for its language; the reports say how it was met."""
        return "live"

    @property
    def capabilities(self) -> frozenset[str]:
        """What its profile declares."""
        return self.profile.capabilities or USUAL_CAPABILITIES

    @property
    def passes(self) -> tuple[str, ...]:
        """One pass: what is on a wire is nobody's buffer."""
        return ("wire",)

    def why_not(self, vector: Vector, config: GatewayConfig | None) -> str:
        """Why this vector makes no sense on a wire; empty if it does."""
        if config is None:
            return "is about a configuration that is refused; a live gateway has one"
        if config.external.kind != "os" or config.tunnel.session is None or config.tunnel.proto != "tcp":
            return "judges the outer packets, which have other keys and ports on a wire"
        if any(_is_about_flow(step.input) or step.judges_flow_raw for step in vector.steps):
            return "gives or judges the octets of the stream, and the keys on a wire are not known"
        if any(isinstance(one, ExpectedAction) for one in _expectations(vector)):
            return "judges what becomes of the flow, which a live gateway shows nobody"
        if any(isinstance(step.input, PacketInput) and len(step.input.data) < SMALLEST_SENT for step in vector.steps
               if isinstance(step.input, PacketInput) and step.input.port is VectorPort.INTERNAL):  # fmt: skip
            return "sends less than an Ethernet header, which no interface does"
        if any(isinstance(step.input, PacketInput) and not step.input.data for step in vector.steps):
            return "sends an empty packet, which no interface does"
        if rules.S20_RATE.slug in vector.rules:
            return "counts the tokens of a bucket, and on a wire there is always time for some more"
        lasts = (vector.steps[-1].at - vector.steps[min(2, len(vector.steps) - 1)].at) * self._scale
        if lasts > SLOW_SECONDS and not self._slow:
            return f"takes {lasts:g} s of real time: --slow"
        return self._gateway.why_not(vector, config)

    def awaits(self, most: int) -> None:
        """How many effects the next step allows: with so many, there is nothing more to wait for."""
        self._wanted = most

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, config: Mapping[str, Any], now: float, run: str) -> Reply:
        """Put a fresh gateway there; what it announces is the reply.

        Raises:
            SubjectFault: that did not work.
        """
        early = self._begin(config)
        began = time.monotonic() if self._announced is None else self._announced
        self._origin, self._story_time = began - now * self._scale, now
        return Reply((*early, *self._settled(len(early)).effects))

    def prepare(self, config: Mapping[str, Any]) -> None:
        """Put a fresh gateway there that has announced itself.

        Raises:
            SubjectFault: that did not work.
        """
        self._begin(config)
        self._settled()
        self._origin = None
        if self._announced is not None:
            self._second_due = self._announced + SECOND_ANNOUNCEMENT

    def _begin(self, config: Mapping[str, Any]) -> list[Actual]:
        checked = GatewayConfig.from_json(config)
        assert checked.tunnel.session is not None, "why_not has been asked"
        self._tunnel_address = str(checked.tunnel.session.address.ip)
        self._announcement = _announcement(checked)
        self._due, self.was_late = None, False
        self._announced = None
        self._second_due = None
        try:
            self._gateway.fresh(checked)
        except LabError as error:
            raise SubjectFault(Fault.ERROR, str(error)) from None
        return self._awakened()

    def _awakened(self) -> list[Actual]:
        """What comes until the gateway answers the first marker: it may not have its tunnel yet."""
        gathered: list[Actual] = []
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._send_marker()
            gathered += self._collected(time.monotonic() + START_PROBE_SECONDS, until_marker=True)
            if gathered and gathered[-1] is _MARKER:
                return gathered[:-1]
        raise SubjectFault(Fault.HUNG, f"the gateway did not answer through the tunnel within {START_SECONDS:g} s")

    def receive(self, port: Port, data: bytes, now: float) -> Reply:
        """Send a frame on the internal network.

        Raises:
            SubjectFault: the frame cannot be sent, or the tunnel is down.
        """
        assert port is Port.INTERNAL, "why_not has been asked"
        return self._given(self._gateway.internal, data, now)

    def far_end_sends(self, packet: bytes, now: float) -> Reply:
        """Send an inner packet from the far side of the tunnel.

        Raises:
            SubjectFault: the packet cannot be sent, or the tunnel is down.
        """
        return self._given(self._gateway.tunnel, packet, now)

    def flow(self, event: FlowEvent, now: float) -> Reply:
        """Nothing can be told to a live gateway about its transport."""
        raise SubjectFault(Fault.ERROR, f"a live gateway cannot be told that its flow is {event}")

    def tick(self, now: float) -> Reply:
        """Let real time pass.

        Raises:
            SubjectFault: the tunnel is down.
        """
        early = self._until(now)
        late = self._settled(len(early), LATE_GRACE_SECONDS)
        return Reply((*early, *late.effects))

    def close(self) -> None:
        """Leave nothing behind, whatever signals come meanwhile."""
        with undisturbed():
            self._gateway.close()

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _until(self, now: float) -> list[Actual]:
        """Wait until a time of the story, and collect what comes meanwhile."""
        before, self._story_time = self._story_time, now
        if self._origin is None:
            self._origin = time.monotonic() - now * self._scale
            return []
        if now - before <= READING_STEP + 1e-6:
            return []
        self._due = self._origin + now * self._scale
        return self._collected(self._due)

    # ── sending and collecting ────────────────────────────────────────────────────────────────────────────────────────

    def _given(self, port: Side, data: bytes, now: float) -> Reply:
        early = self._until(now)
        try:
            port.send(data)
        except LabError as error:
            raise SubjectFault(Fault.ERROR, str(error)) from None
        return Reply((*early, *self._settled(len(early)).effects))

    def _settled(self, already: int = 0, grace: float = GRACE_SECONDS) -> Reply:
        """What came of the last input: all until the marker is back, and a while longer if something lacks."""
        self._send_marker()
        effects = self._collected(time.monotonic() + MARKER_SECONDS, until_marker=True)
        if effects and effects[-1] is _MARKER:
            effects.pop()
        else:
            raise SubjectFault(Fault.HUNG, f"the tunnel carried no marker within {MARKER_SECONDS:g} s")
        if self._due is not None:
            self.was_late |= time.monotonic() > self._due + LATENESS
            self._due = None
        deadline = time.monotonic() + grace
        while already + len(effects) < self._wanted and time.monotonic() < deadline:
            effects += self._collected(deadline, most=self._wanted - already - len(effects))
        return Reply(tuple(effects))

    def _collected(self, deadline: float, *, until_marker: bool = False, most: int | None = None) -> list[Actual]:
        """What arrives at both sides until a time, until the marker is back, or until so many have come."""
        gathered: list[Actual] = []
        while True:
            try:
                gathered += self._waiting()
            except LabError as error:
                raise SubjectFault(Fault.ERROR, str(error)) from None
            if until_marker and gathered and gathered[-1] is _MARKER:
                return gathered
            if most is not None and len(gathered) >= most:
                return gathered
            left = deadline - time.monotonic()
            if left <= 0:
                return gathered
            sides: tuple[Side | socket.socket, ...] = (self._gateway.internal, self._gateway.tunnel)
            ready, _, _ = select.select((*sides, *self._gateway.helpers), (), (), left)
            for one in ready:
                if isinstance(one, socket.socket):
                    self._gateway.serve(one)

    def _waiting(self) -> list[Actual]:
        """What has arrived at both sides. If the marker is back, it stands last."""
        found: list[Actual] = []
        is_back = False
        while (octets := self._gateway.tunnel.receive()) is not None:
            answered = self._marker_answered(octets)
            is_back |= answered == self._marker
            if answered is None:
                found.append(ActualPacket(VectorPort.TUNNEL, octets))
        # Read after the tunnel: what the input caused inside was sent before the marker was answered.
        while (octets := self._gateway.internal.receive()) is not None:
            found += self._arrived(octets)
        return [*found, _MARKER] if is_back else found

    def _arrived(self, octets: bytes) -> list[Actual]:
        """A frame of the internal network, unless it is the second announcement of a gateway that is prepared."""
        if octets.startswith(self._announcement):
            came = time.monotonic() - self._gateway.internal.age()
            self._announced = self._announced or came
            if self._second_due is not None and abs(came - self._second_due) < SECOND_TOLERANCE:
                self._second_due = None
                return []
        return [ActualPacket(VectorPort.INTERNAL, octets)]

    # ── the marker ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send_marker(self) -> None:
        self._marker += 1
        try:
            self._gateway.tunnel.send(self._marker_packet())
        except LabError as error:
            raise SubjectFault(Fault.ERROR, str(error)) from None

    def _marker_packet(self) -> bytes:
        syn = packets.tcp(MARKER_PORT, MARKER_PORT, packets.SYN, sequence=self._marker)
        return packets.IPv4(source=MARKER_SOURCE, destination=self._tunnel_address, payload=syn).build().data

    def _marker_answered(self, octets: bytes) -> int | None:
        """Which marker a packet out of the tunnel answers; None if it is no marker's answer."""
        if len(octets) != 40 or octets[9] != socket.IPPROTO_TCP or octets[16:20] != IPv4Address(MARKER_SOURCE).packed:
            return None
        (acknowledged,) = struct.unpack_from(">I", octets, 28)
        return int(acknowledged) - 1


_MARKER = ActualPacket(VectorPort.TUNNEL, b"")


def _announcement(config: GatewayConfig) -> bytes:
    """The frame in which a gateway announces its address (RFC 5227 2.3)."""
    own, address = str(config.internal.mac), str(config.internal.address.ip)
    arp = packets.Arp(operation=packets.REQUEST, sender_hardware=own, sender_protocol=address, target_protocol=address)
    frame = packets.Ethernet(source=own, destination=packets.BROADCAST_MAC, type=packets.TYPE_ARP, payload=arp.build())
    return frame.build().data


def _is_about_flow(given: object) -> bool:
    return isinstance(given, FlowInput) or (isinstance(given, PacketInput) and given.port is VectorPort.FLOW)


def _expectations(vector: Vector) -> list[Expected]:
    return [one for step in vector.steps for outcome in step.outcomes for one in outcome.expect]
