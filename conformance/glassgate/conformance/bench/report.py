"""Tables for people, JSON for programs."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from glassgate.conformance.bench import samples as lab_samples
from glassgate.conformance.bench.figures import Figure
from glassgate.conformance.bench.memory import Memory, MemoryFigure
from glassgate.conformance.bench.samples import Case, LabFigure, LabSample
from glassgate.conformance.bench.scale import ScaleFigure

SCHEMA = "1.0"
MICRO = 1e6


WIDTH = 150
"""Columns of a table that does not go to a terminal."""


def console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough."""
    made = Console()
    return made if made.is_terminal else Console(width=WIDTH)


def environment() -> dict[str, str]:
    """What the figures depend on, and may be told to anybody."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cryptography": version("cryptography"),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
    }


def find(figures: Iterable[Figure], case: str, subject: str, interface: str | None = None) -> Figure | None:
    """The figure of that subject in that case, if there is one."""
    for figure in figures:
        if (figure.case, figure.subject) == (case, subject) and interface in (None, figure.interface):
            return figure
    return None


def core_table(figures: Sequence[Figure], limit: str, base: str) -> Table:
    """A line each: rate, cost with its quartiles, cost against the limit, rate against the base."""
    table = new_table(
        f"The cost of a packet in this process: against the {limit}'s cost, against the rate of the {base} gateway",
        ("case", "gateway"),
        ("packets/s", "µs", "quartiles", "cost ÷ limit's", "rate ÷ base's"),
    )
    case = None
    for figure in figures:
        if case is not None and figure.case != case:
            table.add_section()
        table.add_row(
            figure.case if figure.case != case else "",
            f"{figure.subject} {figure.interface}".strip(),
            f"{figure.rate:,.0f}".replace(",", " "),
            f"{figure.median * MICRO:.2f}",
            " – ".join(f"{value * MICRO:.2f}" for value in figure.quartiles),
            *(_ratio(value) for value in ratios(figures, figure, limit, base).values()),
        )
        case = figure.case
    return table


def new_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """An empty table: columns of words to the left, columns of numbers to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in words:
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


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


def core_json(figures: Sequence[Figure], limit: str, base: str) -> dict[str, Any]:
    """All of ``bench core``."""
    listed = [figure_json(figure) | ratios(figures, figure, limit, base) for figure in figures]
    return document("core", {"limit": limit, "base": base, "figures": listed})


def document(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What every JSON of ``bench`` begins with."""
    return {"schema": SCHEMA, "bench": kind, "environment": environment(), **content}


def scale_table(found: Sequence[ScaleFigure]) -> Table:
    """A line for each state and gateway: the cost at each number of entries, and the largest against 10 entries."""
    entries = sorted({one.entries for one in found})
    table = new_table(
        "The cost of a packet (µs) against the number of entries", ("state", "gateway"), (*map(str, entries), "growth")
    )
    last = None
    for state, name in dict.fromkeys((one.state, one.figure.subject) for one in found):
        line = {one.entries: one.figure for one in found if (one.state, one.figure.subject) == (state, name)}
        cells = [f"{line[count].median * MICRO:.1f}" if count in line else "" for count in entries]
        table.add_row(state if state != last else "", name, *cells, _ratio(growth(line)))
        last = state
    return table


def growth(line: Mapping[int, Figure]) -> float | None:
    """The cost at the most entries in times that at ten, which is past every special case of one."""
    most = max(line)
    few = line.get(10)
    return None if few is None or most <= 10 else line[most].cost_against(few)


def memory_table(found: Sequence[MemoryFigure]) -> Table:
    """Two lines a gateway: what it holds early, and after all packets."""
    table = new_table(
        "Memory after many packets", ("gateway",), ("packets", "traced (octets)", "blocks", "resident (kB)")
    )
    for one in found:
        table.add_row(f"{one.subject} {one.interface}", *_memory_cells(one.before))
        table.add_row("" if one.after.packets >= one.wanted else "(time was over)", *_memory_cells(one.after))
    return table


def _memory_cells(held: Memory) -> list[str]:
    counts = held.packets, held.traced, held.blocks, held.resident // 1000
    return ["–" if count is None else f"{count:,}".replace(",", " ") for count in counts]


def scale_json(found: Sequence[ScaleFigure], held: Sequence[MemoryFigure]) -> dict[str, Any]:
    """All of ``bench scale``."""
    listed = [figure_json(one.figure) | {"case": one.state, "entries": one.entries} for one in found]
    return document("scale", {"figures": listed, "memory": [asdict(one) for one in held]})


def lab_table(samples: Sequence[LabSample], base: str, offloads: bool) -> Table:
    """A line for each case and gateway."""
    table = new_table(
        f"The same traffic through each gateway (ratios against {base}; offloads of the external cables "
        f"{'on' if offloads else 'off'})",
        ("traffic", "gateway"),
        ("packets/s", "Mbit/s", "lost", "CPU µs", "busy", "rate ×", "packets/CPU ×", "ping ms", "×", "99 %", "×"),
    )
    found = lab_samples.figures(samples)
    last: Case | None = None
    for (case, gateway), figure in sorted(found.items(), key=lambda item: lab_samples.CASES.index(item[0][0])):
        is_new = case != last
        if is_new and last is not None:
            table.add_section()
        last = case
        table.add_row(case.name if is_new else "", gateway, *lab_cells(figure, found.get((case, base))))
    return table


def lab_cells(figure: LabFigure, its_base: LabFigure | None) -> list[str]:
    """A figure as the columns of the table."""
    rate, per_cpu = figure.against(its_base) if its_base is not None else (None, None)
    return [
        f"{figure.rate:,.0f}".replace(",", " "),
        f"{figure.megabits:.0f}",
        f"{figure.lost:.1%}" if figure.can_lose else "",
        f"{figure.cpu_microseconds:.1f}",
        f"{figure.busy:.0%}",
        _ratio(rate),
        _ratio(per_cpu),
        *(cell for share in (0.5, 0.99) for cell in _latency_cells(figure, its_base, share)),
    ]


def _latency_cells(figure: LabFigure, its_base: LabFigure | None, share: float) -> tuple[str, str]:
    if not figure.pings_ms:
        return "", ""
    ratio = None if its_base is None else figure.latency_against(its_base, share)
    return f"{lab_samples.percentile(figure.pings_ms, share):.2f}", _ratio(ratio)


def lab_json(samples: Sequence[LabSample], base: str, offloads: bool) -> dict[str, Any]:
    """All of ``bench lab``, as ``read.lab`` reads it."""
    found = lab_samples.figures(samples)
    listed = [lab_figure_json(figure, found.get((case, base))) for (case, _), figure in found.items()]
    cards = {"external": "on" if offloads else "off", "internal": "on at the gateway's end"}
    return document("lab", {"base": base, "offloads": cards, "figures": listed})


def lab_figure_json(figure: LabFigure, its_base: LabFigure | None) -> dict[str, Any]:
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
    shares = {"median": 0.5, "99": 0.99}
    values: dict[str, float | None] = {
        name: lab_samples.percentile(figure.pings_ms, share) for name, share in shares.items()
    }
    for name, share in shares.items():
        values[f"{name}_times_base"] = None if its_base is None else figure.latency_against(its_base, share)
    return values
