"""What the optimized gateway is to reach, and what was found: ratios, with the range of the rounds' own ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from glassgate.conformance.bench import doors, report, samples
from glassgate.conformance.bench.figures import Figure
from glassgate.conformance.bench.memory import Memory
from glassgate.conformance.bench.read import Found
from glassgate.conformance.bench.samples import Case, LabFigure
from glassgate.conformance.bench.sheets import Sheet

WHO = "optimized"
UPSTREAM = "upstream 1400"
TO_SINK = Case(samples.SINK, samples.UPSTREAM, samples.PACKETS)
FROM_SOURCE = Case(samples.SINK, samples.DOWNSTREAM, samples.PACKETS)
BULK_FROM_SOURCE = Case(samples.SINK, samples.DOWNSTREAM, samples.BULK)
BULK = Case(samples.SERVER, samples.DOWNSTREAM, samples.BULK)
AT_EQUAL_LOAD = samples.CASES[:2]
FLAT = 1.25
"""What still counts as flat: the caches of a processor do not hold a hundred thousand entries."""


@dataclass(frozen=True, slots=True)
class Aim:
    """One line: what is to be reached, in words and as a bound for the median of some ratios."""

    words: str
    measured_as: str
    bound: float
    is_least: bool
    ratios: tuple[float, ...]

    @property
    def is_reached(self) -> bool:
        """Whether the median keeps to the bound, to the two digits that are shown."""
        found = round(self.median, 2)
        return found >= self.bound if self.is_least else found <= self.bound

    @property
    def median(self) -> float:
        """What was found."""
        return statistics.median(self.ratios)


def sheet(found: Found) -> Sheet:
    """All aims of which there are figures."""
    rows = []
    for aim in aims(found):
        low, high = min(aim.ratios), max(aim.ratios)
        spread = f"{low:.2f} – {high:.2f}" if len(aim.ratios) > 1 else ""
        bound = f"{'≥' if aim.is_least else '≤'} {aim.bound:g}"
        verdict = "reached" if aim.is_reached else "not reached"
        rows.append((aim.words, aim.measured_as, bound, f"{aim.median:.2f}", spread, verdict))
    title = f"The {WHO} gateway against what it is to reach (times, or shares)"
    return Sheet(title, ("aim", "measured as"), ("at", "found", "of the rounds", ""), rows)


def aims(found: Found) -> Iterator[Aim]:
    """From what was measured, in the order of the issue that set them."""
    yield from _lab_aims(found)
    yield from _core_aims(found)
    yield from _scale_aims(found)


def _lab_aims(found: Found) -> Iterator[Aim]:
    for words, case, bound, of in (
        ("upstream at saturation: packets a CPU second", TO_SINK, 10, _cost),
        ("upstream at saturation: packets a second", TO_SINK, 6, _rate),
        ("downstream, single packets: packets a CPU second", FROM_SOURCE, 2.5, _cost),
        ("downstream, one TCP flow: segments a CPU second", BULK_FROM_SOURCE, 4, _cost),
        ("downstream, TCP from end to end: segments a CPU second", BULK, 4, _cost),
    ):
        pair = found.figure(case, WHO), found.figure(case, found.lab_base)
        if pair[0] is not None and pair[1] is not None and pair[0][0] == pair[1][0]:
            alone = ", isolated" if pair[0][0].isolated else ""
            ratios = _of_rounds(pair[0][1], pair[1][1], of)
            yield Aim(f"{words}, × {found.lab_base}", f"{case.name}{alone}", bound, True, ratios)
    for case in AT_EQUAL_LOAD:
        pair = found.figure(case, WHO), found.figure(case, found.lab_base)
        if pair[0] is not None and pair[1] is not None and pair[0][0] == pair[1][0]:
            for name, share in (("median", 0.5), ("99 %", 0.99)):
                if ratios := _latencies(pair[0][1], pair[1][1], share):
                    words = f"latency under load, {name}, × {found.lab_base}"
                    yield Aim(words, case.name, 1, False, ratios)


Of = Callable[[samples.LabSample, samples.LabSample], float]


def _cost(own: samples.LabSample, its: samples.LabSample) -> float:
    return its.cpu_microseconds / own.cpu_microseconds


def _rate(own: samples.LabSample, its: samples.LabSample) -> float:
    return own.rate / its.rate


def _of_rounds(own: LabFigure, its: LabFigure, of: Of) -> tuple[float, ...]:
    return tuple(of(one, other) for one, other in zip(own.samples, its.samples, strict=True))


def _latencies(own: LabFigure, its: LabFigure, share: float) -> tuple[float, ...]:
    return tuple(
        samples.percentile(one.pings_ms, share) / samples.percentile(other.pings_ms, share)
        for one, other in zip(own.samples, its.samples, strict=True)
        if one.pings_ms and other.pings_ms
    )


def _core_aims(found: Found) -> Iterator[Aim]:
    limit, base = (found.core.get((UPSTREAM, name)) for name in (found.limit, f"{found.base} {doors.CONTRACT}"))
    for interface in (doors.BATCHES, doors.CONTRACT):
        own = found.core.get((UPSTREAM, f"{WHO} {interface}"))
        if own is not None and limit is not None:
            words = f"a packet in process, by {interface}: cost, × {found.limit}"
            yield Aim(words, f"core {UPSTREAM}", 4, False, _costs(own, limit))
        if own is not None and base is not None:
            words = f"a packet in process, by {interface}: rate, × {found.base}"
            yield Aim(words, f"core {UPSTREAM}", 8, True, _costs(base, own))


def _costs(own: Figure, its: Figure) -> tuple[float, ...]:
    return tuple(one / other for one, other in zip(own.samples, its.samples, strict=True))


def _scale_aims(found: Found) -> Iterator[Aim]:
    for (state, name), line in report.lines(list(found.scale.values())).items():
        if name == WHO and report.growth(line) is not None:
            words = f"flat over {state}: cost at {max(line):,}, × that at 10".replace(",", " ", 1)
            yield Aim(words, "scale", FLAT, False, _costs(line[max(line)], line[10]))
    for one in found.memory.values():
        if one.subject == WHO:
            after = f"{one.after.packets:,}".replace(",", " ")
            for words, early, late in _held(one.before, one.after):
                yield Aim(
                    f"memory after {after} packets, by {one.interface}: {words}", "scale", 1, False, (late / early,)
                )


def _held(before: Memory, after: Memory) -> Sequence[tuple[str, int, int]]:
    held = [("resident, × early", before.resident, after.resident)]
    if before.blocks is not None and after.blocks is not None:
        held.append(("pieces of memory, × early", before.blocks, after.blocks))
    return held
