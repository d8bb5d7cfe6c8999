"""What was found, as tables (``Sheet``) for people and as JSON for programs. ``read.py`` reads the JSON again."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from glassgate.conformance.bench import samples as lab_samples
from glassgate.conformance.bench.figures import Figure
from glassgate.conformance.bench.memory import Memory, MemoryFigure
from glassgate.conformance.bench.samples import LabFigure, LabSample, Setting
from glassgate.conformance.bench.scale import ScaleFigure
from glassgate.conformance.bench.sheets import Sheet, ratio, thousands

SCHEMA = "1.1"
MICRO = 1e6
PING_SHARES = {"median": 0.5, "99": 0.99}


def environment() -> dict[str, str | int | float]:
    """What the figures depend on, and may be told to anybody. To be asked before there is load of our own."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cryptography": version("cryptography"),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "processors": os.cpu_count() or 1,
        "load_average": round(os.getloadavg()[0], 2),
    }


def document(kind: str, around: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """What every JSON of ``bench`` begins with."""
    return {"schema": SCHEMA, "bench": kind, "environment": around, **content}


# ── core ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def find(figures: Iterable[Figure], case: str, subject: str, interface: str | None = None) -> Figure | None:
    """The figure of that subject in that case, if there is one."""
    for figure in figures:
        if (figure.case, figure.subject) == (case, subject) and interface in (None, figure.interface):
            return figure
    return None


def core_sheet(figures: Sequence[Figure], limit: str, base: str) -> Sheet:
    """A line each: rate, cost with its quartiles, cost against the limit, rate against the base."""
    rows = []
    case = None
    for figure in figures:
        rows.append(
            (
                figure.case if figure.case != case else "",
                figure.name,
                thousands(figure.rate),
                f"{figure.median * MICRO:.2f}",
                " – ".join(f"{value * MICRO:.2f}" for value in figure.quartiles),
                *(ratio(value) for value in ratios(figures, figure, limit, base).values()),
            )
        )
        case = figure.case
    return Sheet(
        f"The cost of a packet in this process: against the {limit}'s cost, against the rate of the {base} gateway",
        ("case", "gateway"),
        ("packets/s", "µs", "quartiles", "cost ÷ limit's", "rate ÷ base's"),
        rows,
    )


def ratios(figures: Sequence[Figure], figure: Figure, limit: str, base: str) -> dict[str, float | None]:
    """Its cost in times the limit's, and its rate in times the base's."""
    its_limit = find(figures, figure.case, limit)
    its_base = find(figures, figure.case, base)
    return {
        "cost_times_limit": None if its_limit is None else figure.cost_against(its_limit),
        "rate_times_base": None if its_base is None else its_base.cost_against(figure),
    }


def figure_json(figure: Figure) -> dict[str, Any]:
    """One figure with all its samples."""
    first, third = figure.quartiles
    return {
        "case": figure.case,
        "subject": figure.subject,
        "interface": figure.interface or None,
        "packets_a_sample": figure.packets,
        "packets_a_second": round(figure.rate),
        "microseconds": {
            "median": round(figure.median * MICRO, 4),
            "first_quartile": round(first * MICRO, 4),
            "third_quartile": round(third * MICRO, 4),
            "samples": [round(sample * MICRO, 4) for sample in figure.samples],
        },
    }


def core_json(around: Mapping[str, Any], figures: Sequence[Figure], limit: str, base: str) -> dict[str, Any]:
    """All of ``bench core``."""
    listed = [figure_json(figure) | ratios(figures, figure, limit, base) for figure in figures]
    return document("core", around, {"limit": limit, "base": base, "figures": listed})


# ── scale ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def scale_sheet(found: Sequence[ScaleFigure]) -> Sheet:
    """A line for each state and gateway: the cost at each number of entries, and the largest against 10 entries."""
    entries = sorted({one.entries for one in found})
    rows = []
    last = None
    for (state, name), line in lines(found).items():
        cells = [f"{line[count].median * MICRO:.1f}" if count in line else "" for count in entries]
        rows.append((state if state != last else "", name, *cells, ratio(growth(line))))
        last = state
    title = "The cost of a packet (µs) against the number of entries"
    return Sheet(title, ("state", "gateway"), (*map(thousands, entries), "growth"), rows)


def lines(found: Sequence[ScaleFigure]) -> dict[tuple[str, str], dict[int, Figure]]:
    """By state and gateway: the figure at each number of entries."""
    gathered: dict[tuple[str, str], dict[int, Figure]] = {}
    for one in found:
        gathered.setdefault((one.state, one.figure.subject), {})[one.entries] = one.figure
    return gathered


def growth(line: Mapping[int, Figure]) -> float | None:
    """The cost at the most entries in times that at ten, which is past every special case of one."""
    most = max(line)
    few = line.get(10)
    return None if few is None or most <= 10 else line[most].cost_against(few)


def memory_sheet(found: Sequence[MemoryFigure]) -> Sheet:
    """Two lines a gateway: what it holds early, and after all packets."""
    rows = []
    for one in found:
        rows.append((f"{one.subject} {one.interface}", *_memory_cells(one.before)))
        rows.append(("" if one.after.packets >= one.wanted else "(time was over)", *_memory_cells(one.after)))
    numbers = ("packets", "traced (octets)", "blocks", "resident (kB)")
    return Sheet("Memory after many packets", ("gateway",), numbers, rows)


def _memory_cells(held: Memory) -> list[str]:
    return [thousands(count) for count in (held.packets, held.traced, held.blocks, held.resident // 1000)]


def scale_json(around: Mapping[str, Any], found: Sequence[ScaleFigure], held: Sequence[MemoryFigure]) -> dict[str, Any]:
    """All of ``bench scale``."""
    listed = [figure_json(one.figure) | {"case": one.state, "entries": one.entries} for one in found]
    return document("scale", around, {"figures": listed, "memory": [asdict(one) for one in held]})


# ── lab ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def lab_sheet(samples: Sequence[LabSample], base: str, setting: Setting) -> Sheet:
    """A line for each case and gateway: rate and cost."""
    return Sheet(
        f"The same traffic through each gateway (ratios against {base}; {setting.name})",
        ("traffic", "gateway"),
        ("packets/s", "Mbit/s", "lost", "CPU µs", "busy", "rate ×", "packets/CPU ×"),
        _lab_rows(samples, base, _lab_cells),
    )


def latency_sheet(samples: Sequence[LabSample], base: str, setting: Setting) -> Sheet | None:
    """A line for each case with pings and gateway; None if there were no pings."""
    pinged = [sample for sample in samples if sample.pings_ms]
    numbers = ("median ms", "median ×", "99 % ms", "99 % ×")
    title = f"Round trips of pings beside that traffic (ratios against {base}; {setting.name})"
    rows = _lab_rows(pinged, base, _latency_cells)
    return Sheet(title, ("traffic", "gateway"), numbers, rows) if rows else None


def _lab_rows(
    samples: Sequence[LabSample], base: str, cells: Callable[[LabFigure, LabFigure | None], list[str]]
) -> list[tuple[str, ...]]:
    found = lab_samples.figures(samples)
    rows: list[tuple[str, ...]] = []
    last = None
    for (case, gateway), figure in sorted(found.items(), key=lambda item: lab_samples.CASES.index(item[0][0])):
        rows.append((case.name if case != last else "", gateway, *cells(figure, found.get((case, base)))))
        last = case
    return rows


def _lab_cells(figure: LabFigure, its_base: LabFigure | None) -> list[str]:
    rate, per_cpu = figure.against(its_base) if its_base is not None else (None, None)
    return [
        thousands(figure.rate),
        f"{figure.megabits:.0f}",
        f"{figure.lost:.1%}" if figure.can_lose else "",
        f"{figure.cpu_microseconds:.1f}",
        f"{figure.busy:.0%}",
        ratio(rate),
        ratio(per_cpu),
    ]


def _latency_cells(figure: LabFigure, its_base: LabFigure | None) -> list[str]:
    cells = []
    for share in PING_SHARES.values():
        times = None if its_base is None else figure.latency_against(its_base, share)
        cells += [f"{lab_samples.percentile(figure.pings_ms, share):.2f}", ratio(times)]
    return cells


def lab_json(around: Mapping[str, Any], samples: Sequence[LabSample], base: str, setting: Setting) -> dict[str, Any]:
    """All of ``bench lab``."""
    found = lab_samples.figures(samples)
    listed = [_lab_figure_json(figure, found.get((case, base))) for (case, _), figure in found.items()]
    cards = {"external": setting.offloads, "internal": "on at the gateway's end"}
    return document("lab", around, {"base": base, "offloads": cards, "isolated": setting.isolated, "figures": listed})


def _lab_figure_json(figure: LabFigure, its_base: LabFigure | None) -> dict[str, Any]:
    """One figure with all its samples."""
    rate, per_cpu = figure.against(its_base) if its_base is not None else (None, None)
    first = figure.samples[0]
    return {
        **asdict(first.case),
        "gateway": first.gateway,
        "octets": first.size,
        "packets_a_second": round(figure.rate),
        "megabits_a_second": round(figure.megabits, 1),
        "lost": round(figure.lost, 4) if figure.can_lose else None,
        "cpu_seconds_a_million": round(figure.cpu_microseconds, 3),
        "packets_a_cpu_second": round(1e6 / figure.cpu_microseconds),
        "gateway_busy": round(figure.busy, 3),
        "server_busy": None if figure.server_busy is None else round(figure.server_busy, 3),
        "rate_times_base": rate,
        "packets_a_cpu_second_times_base": per_cpu,
        "ping_ms": _latency_json(figure, its_base) if figure.pings_ms else None,
        "samples": [_lab_sample_json(sample) for sample in figure.samples],
    }


def _lab_sample_json(sample: LabSample) -> dict[str, Any]:
    names = ("offered", "delivered", "seconds", "cpu_seconds", "server_cpu_seconds")
    return {name: getattr(sample, name) for name in names} | {"pings_ms": list(sample.pings_ms)}


def _latency_json(figure: LabFigure, its_base: LabFigure | None) -> dict[str, float | None]:
    values: dict[str, float | None] = {
        name: lab_samples.percentile(figure.pings_ms, share) for name, share in PING_SHARES.items()
    }
    for name, share in PING_SHARES.items():
        values[f"{name}_times_base"] = None if its_base is None else figure.latency_against(its_base, share)
    return values
