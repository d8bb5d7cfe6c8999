"""What every gateway is to those who drive it: four doors in, a list of effects out.

A gateway does no I/O, reads no clock and draws no randomness of its own. ``now`` is in seconds from any
origin and never decreases. An event at ``now`` first does what was due by ``now``: ``receive`` and ``flow`` behave
as if ``tick(now)`` had been called just before, so a driver that is late loses nothing.
With equal configuration, events and random octets the effects are equal, octet for octet.

The data that comes in belongs to the caller: it may be any buffer, read-only or not, and is overwritten after the
call. A gateway keeps no view of it. The effects belong to the caller too, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from glassgate.contract.configuration import GatewayConfig
from glassgate.contract.entropy import Entropy
from glassgate.contract.rules import Rule


class Port(StrEnum):
    """Where octets enter and leave.

    ``INTERNAL`` and ``EXTERNAL`` carry Ethernet frames without preamble and frame check sequence. ``FLOW`` carries
    the tunnel's transport where the operating system provides it: octets of the TCP stream, cut anywhere, or whole
    UDP datagrams.
    """

    INTERNAL = "internal"
    EXTERNAL = "external"
    FLOW = "flow"


class FlowEvent(StrEnum):
    """What the operating system reports of the tunnel's transport, where the port is ``flow``."""

    OPENED = "opened"
    CLOSED = "closed"


class NoteKind(StrEnum):
    """What became of a packet, or that the gateway's own state changed."""

    FORWARDED = "forwarded"
    DELIVERED = "delivered"
    DROPPED = "dropped"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Transmit:
    """Octets that leave at a port."""

    port: Port
    data: bytes
    because: Rule = field(compare=False)


@dataclass(frozen=True, slots=True)
class OpenFlow:
    """A wish: connect the tunnel's transport (only where the operating system provides it)."""

    because: Rule = field(compare=False)


@dataclass(frozen=True, slots=True)
class CloseFlow:
    """The tunnel's transport is to be reset; ``flow(CLOSED)`` need not follow (S3: a flow given up is reset)."""

    because: Rule = field(compare=False)


@dataclass(frozen=True, slots=True)
class Note:
    """What was decided and why. ``detail`` holds the values that decided, by the standard's field names.

    Values are JSON scalars: integers, strings, booleans, None. A configuration with ``notes`` false gets none.
    """

    kind: NoteKind
    rule: Rule
    detail: Mapping[str, object] = field(default_factory=dict)


Effect = Transmit | OpenFlow | CloseFlow | Note


class Gateway(Protocol):
    """A running gateway. None of these calls raises on account of what a packet holds."""

    def start(self, now: float) -> list[Effect]:
        """Begin. Called once, before anything else."""

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        """Take one frame, one piece of the stream or one datagram."""

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        """Take the news that the transport opened or closed (configurations whose external kind is ``os``)."""

    def tick(self, now: float) -> list[Effect]:
        """Do all that is due by ``now``."""

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due; None if nothing is pending."""


class Unsupported(Exception):
    """The configuration asks for a capability that this implementation does not have."""

    def __init__(self, capability: str) -> None:
        super().__init__(f"unsupported: {capability}")
        self.capability = capability


CAPABILITIES: Mapping[str, str] = {
    "external.stack": "runs its own Ethernet, ARP, IPv4 and transport on the external network",
    "external.os": "leaves the tunnel's transport to the operating system",
    "session": "takes fixed session keys from its configuration",
    "ovpn": "takes an OpenVPN configuration file and negotiates the session",
    "transport.udp": "carries the tunnel over UDP",
    "cipher.aes-256-gcm": "seals and opens with AES-256-GCM",
    "cipher.aes-128-gcm": "seals and opens with AES-128-GCM",
    "cipher.chacha20-poly1305": "seals and opens with ChaCha20-Poly1305",
    "udp_echo": "offers the echo service over UDP",
    "tcp_echo": "offers the echo service over TCP",
    "notes": "tells what it decided and by which rule",
}
"""Each capability of protocol 1, and what it promises."""


@dataclass(frozen=True)
class Implementation:
    """What an entry point of the group ``glassgate.gateways`` names: a factory that says what it can do."""

    name: str
    version: str
    capabilities: frozenset[str]
    factory: Callable[[GatewayConfig, Entropy], Gateway]
    language: str = "Python"
    batches: Callable[[GatewayConfig, Entropy], object] | None = None
    """The same gateway with doors for whole batches over reused buffers, where it has them: for those who measure."""

    def __post_init__(self) -> None:
        unknown = self.capabilities - CAPABILITIES.keys()
        if unknown:
            raise ValueError(f"{self.name}: unknown capabilities {', '.join(sorted(unknown))}")

    def __call__(self, config: GatewayConfig, entropy: Entropy) -> Gateway:
        """Make a gateway.

        Raises:
            Unsupported: the configuration needs a capability that is not declared.
        """
        for capability in config.needs:
            if capability not in self.capabilities:
                raise Unsupported(capability)
        return self.factory(config, entropy)
