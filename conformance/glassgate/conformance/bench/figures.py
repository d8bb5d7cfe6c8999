"""Samples taken in turns, and what may be said of them.

Two figures of two runs say nothing: the machine has other work, its clock changes. So all that is compared is measured
in rounds; in each round everybody has a turn, and each begins with another one. A ratio is the median of the rounds'
own ratios, which a disturbance of a round hardly moves. Time is the processor's time of this process: what others take
from the same processor does not count, though what they do to its caches does.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Work = Callable[[], int]
"""Does all there is to do, and returns how many octets came out."""


class BenchError(Exception):
    """What was measured did not do its work: its time means nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody to be measured: ``prepare`` makes work for a number of packets, outside the measured time."""

    case: str
    subject: str
    interface: str
    prepare: Callable[[int], Work]
    octets: Callable[[int], int]
    """How many octets must come out for that many packets."""
    packets: Sequence[int] = (64, 128, 256, 512, 1024, 2048)
    """Sizes of a sample to choose from."""

    @property
    def name(self) -> str:
        """Subject and interface in one."""
        return f"{self.subject} {self.interface}".strip()


@dataclass(frozen=True, slots=True)
class Figure:
    """The samples of one contender: seconds a packet, a sample a round, in the order of the rounds."""

    case: str
    subject: str
    interface: str
    packets: int
    samples: tuple[float, ...]

    @property
    def name(self) -> str:
        """Subject and interface in one."""
        return f"{self.subject} {self.interface}".strip()

    @property
    def median(self) -> float:
        """The median, in seconds a packet."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile, in seconds a packet."""
        return quartiles(self.samples)

    @property
    def rate(self) -> float:
        """Packets a second."""
        return 1 / self.median

    def cost_against(self, other: Figure) -> float:
        """How many times the other's cost: the median of the rounds' ratios."""
        return statistics.median(own / its for own, its in zip(self.samples, other.samples, strict=True))


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile; both are the sample itself if there is only one.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    (2.0, 4.0)
    """
    if len(samples) < 2:
        return samples[0], samples[0]
    first, _, third = statistics.quantiles(samples, n=4, method="inclusive")
    return first, third


def take_turns(contenders: Sequence[Contender], rounds: int, seconds: float) -> Iterator[Figure]:
    """Measure them in turns; ``seconds`` is the time of one sample. Figures come in the order of the contenders.

    Raises:
        BenchError: somebody's output has the wrong size.
    """
    sizes = [_calibrate(contender, seconds) for contender in contenders]
    samples: list[list[float]] = [[] for _ in contenders]
    count = len(contenders)
    for turn in range(rounds):
        for place in range(count):
            number = (turn + place) % count
            samples[number].append(measure(contenders[number], sizes[number]))
    for contender, size, taken in zip(contenders, sizes, samples, strict=True):
        yield Figure(contender.case, contender.subject, contender.interface, size, tuple(taken))


def _calibrate(contender: Contender, seconds: float) -> int:
    """The size of a sample, after one that only warms up."""
    smallest = contender.packets[0]
    measure(contender, smallest)
    one = measure(contender, smallest)
    return max((size for size in contender.packets if size * one <= seconds), default=smallest)


def measure(contender: Contender, packets: int) -> float:
    """One sample: processor seconds a packet. The garbage collector waits, as in ``timeit``.

    Raises:
        BenchError: the output has the wrong size.
    """
    work = contender.prepare(packets)
    collects = gc.isenabled()
    gc.disable()
    try:
        start = time.process_time()
        octets = work()
        taken = time.process_time() - start
    finally:
        if collects:
            gc.enable()
    expected = contender.octets(packets)
    if octets != expected:
        raise BenchError(f"{contender.name}, {contender.case}: {octets} octets came out, not {expected}")
    return taken / packets
