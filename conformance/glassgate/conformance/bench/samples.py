"""What is measured in the lab: which gateways, with which traffic, and what one turn found."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glassgate.conformance.lab.tunnel import GatewayKind

OCTETS = 1400
"""An IP packet, which just fits the tunnel."""
SEGMENT = OCTETS - 40
"""What a TCP segment carries in such a packet."""
STAMPED_SEGMENT = SEGMENT - 12
"""The same with a timestamp option, as Linux sends it."""
SERVER, SINK = "server", "sink"
UPSTREAM, DOWNSTREAM = "upstream", "downstream"
PACKETS, BULK = "packets", "TCP"


@dataclass(frozen=True, slots=True)
class Subject:
    """A gateway as it stands in a lab."""

    kind: GatewayKind
    own_stack: bool = False
    """Whether it has its own TCP outside, rather than the kernel's."""

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.kind}, own stack" if self.own_stack else self.kind.value

    @property
    def word(self) -> str:
        """As it is chosen on the command line."""
        return self.name.replace(", ", "-").replace(" ", "-")


SUBJECTS = (
    Subject(GatewayKind.OPENVPN),
    Subject(GatewayKind.REFERENCE),
    Subject(GatewayKind.OPTIMIZED),
    Subject(GatewayKind.OPTIMIZED, own_stack=True),
    Subject(GatewayKind.REFERENCE, own_stack=True),
)
"""The first is what the others are compared with."""
USUAL = SUBJECTS[:4]
"""Who is measured unless others are asked for."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of traffic: to or from which far end, which way, and of what."""

    far_end: str
    direction: str
    load: str

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.far_end} {self.direction} {self.load}"


TRANSFERS = (Case(SERVER, UPSTREAM, BULK), Case(SERVER, DOWNSTREAM, BULK))
"""TCP from end to end."""
CASES = (
    Case(SERVER, UPSTREAM, PACKETS),
    Case(SERVER, DOWNSTREAM, PACKETS),
    *TRANSFERS,
    Case(SINK, UPSTREAM, PACKETS),
    Case(SINK, DOWNSTREAM, PACKETS),
    Case(SINK, DOWNSTREAM, BULK),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how often, how much."""

    rounds: int
    seconds: float
    rate: float
    burst: int


@dataclass(frozen=True, slots=True)
class Setting:
    """How the labs were."""

    offloads: str
    """``on`` or ``off``, on the external cables."""
    isolated: bool
    """Whether the gateway had a processor to itself."""

    @property
    def name(self) -> str:
        """As it is told."""
        alone = ", gateway and testers isolated" if self.isolated else ""
        return f"offloads of the external cables {self.offloads}{alone}"

    @property
    def word(self) -> str:
        """For the name of a file."""
        return f"offloads-{self.offloads}{'-isolated' if self.isolated else ''}"


@dataclass(frozen=True, slots=True)
class LabSample:
    """One turn of one gateway."""

    gateway: str
    case: Case
    offered: int
    delivered: int
    """Packets; of a TCP transfer, as many segments of full size as its octets fill."""
    size: int
    """Octets of each of them: of the whole packet, or of what a segment carries."""
    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float | None = None
    """The same of the stock server's process, to see who had more to do."""
    pings_ms: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Packets delivered a second."""
        return self.delivered / self.seconds

    @property
    def megabits(self) -> float:
        """Megabits delivered a second."""
        return self.rate * self.size * 8 / 1e6

    @property
    def cpu_microseconds(self) -> float:
        """Microseconds of the gateway's processor time for each packet delivered: seconds for a million."""
        return self.cpu_seconds * 1e6 / self.delivered if self.delivered else float("inf")

    @property
    def busy(self) -> float:
        """The share of a processor that the gateway's process had."""
        return self.cpu_seconds / self.seconds


@dataclass(frozen=True, slots=True)
class LabFigure:
    """The samples of one gateway in one case."""

    samples: tuple[LabSample, ...]

    @property
    def rate(self) -> float:
        """Packets delivered a second: the median."""
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def megabits(self) -> float:
        """Megabits delivered a second: the median."""
        return statistics.median(sample.megabits for sample in self.samples)

    @property
    def cpu_microseconds(self) -> float:
        """Processor time a packet: the median."""
        return statistics.median(sample.cpu_microseconds for sample in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most processor time a packet."""
        costs = [sample.cpu_microseconds for sample in self.samples]
        return min(costs), max(costs)

    @property
    def busy(self) -> float:
        """The share of a processor that the gateway's process had: the median."""
        return statistics.median(sample.busy for sample in self.samples)

    @property
    def server_busy(self) -> float | None:
        """The same of the stock server's."""
        shares = [
            sample.server_cpu_seconds / sample.seconds
            for sample in self.samples
            if sample.server_cpu_seconds is not None
        ]
        return statistics.median(shares) if shares else None

    @property
    def lost(self) -> float:
        """The share of what was offered that did not arrive."""
        offered = sum(sample.offered for sample in self.samples)
        return max(0.0, 1 - sum(sample.delivered for sample in self.samples) / offered) if offered else 0.0

    @property
    def can_lose(self) -> bool:
        """Whether what is lost shows: TCP with its far end sends it again."""
        return self.samples[0].case not in TRANSFERS

    @property
    def pings_ms(self) -> tuple[float, ...]:
        """All round trips."""
        return tuple(time for sample in self.samples for time in sample.pings_ms)

    def against(self, base: LabFigure) -> tuple[float, float]:
        """Times the base's rate, and times its packets a second of processor time: medians of the rounds' ratios."""
        pairs = list(self._pairs(base))
        rate = statistics.median(own.rate / its.rate for own, its in pairs)
        return rate, statistics.median(its.cpu_microseconds / own.cpu_microseconds for own, its in pairs)

    def latency_against(self, base: LabFigure, share: float) -> float | None:
        """Times the base's round trip at that share of them: the median of the rounds' ratios."""
        ratios = [
            percentile(own.pings_ms, share) / percentile(its.pings_ms, share)
            for own, its in self._pairs(base)
            if own.pings_ms and its.pings_ms
        ]
        return statistics.median(ratios) if ratios else None

    def _pairs(self, base: LabFigure) -> Iterator[tuple[LabSample, LabSample]]:
        return zip(self.samples, base.samples, strict=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed (nearest rank).

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5), percentile([4.0, 1.0, 3.0, 2.0], 0.99)
    (2.0, 4.0)
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def figures(samples: Sequence[LabSample]) -> dict[tuple[Case, str], LabFigure]:
    """By case and gateway, in the order in which they came."""
    keys = dict.fromkeys((sample.case, sample.gateway) for sample in samples)
    return {key: LabFigure(tuple(one for one in samples if (one.case, one.gateway) == key)) for key in keys}
