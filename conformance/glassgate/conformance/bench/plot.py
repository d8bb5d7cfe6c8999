"""Pictures: figures as bars with their quartiles, and as lines over a growing number. Plain SVG, no library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from glassgate.conformance.bench.figures import Figure
from glassgate.conformance.bench.samples import CASES, LabSample, figures
from glassgate.conformance.bench.scale import ScaleFigure

MICRO = 1e6
WIDTH, LEFT, RIGHT, BAR, GAP = 860, 250, 60, 15, 14
COLOURS = ("#8c959f", "#b35900", "#0b8a8a", "#3f5fbf", "#8250df")
STYLE = """
    .gg-plot { --ink: var(--color-foreground-primary, #1f2328); --faint: var(--color-foreground-muted, #59636e);
      --line: var(--color-foreground-border, #8c959f); font-family: system-ui, sans-serif; width: 100%; height: auto; }
    @media (prefers-color-scheme: dark) { svg.gg-plot:root { --ink: #e6edf3; --faint: #9198a1; --line: #656c76; } }
    .gg-plot text { fill: var(--ink); font-size: 13px; }
    .gg-plot .faint { fill: var(--faint); font-size: 12px; }
    .gg-plot .end { text-anchor: end; }
    .gg-plot .middle { text-anchor: middle; }
    .gg-plot .grid { stroke: var(--line); stroke-width: 0.5; stroke-dasharray: 2 4; }
    .gg-plot .spread { stroke: var(--ink); stroke-width: 1.4; }
    .gg-plot .path { fill: none; stroke-width: 2; }
"""


def core(found: Sequence[Figure], limit: str) -> str:
    """Bars of cost on a logarithmic axis, a group a case; a line through each bar's end from quartile to quartile."""
    bars = []
    for figure in found:
        first, third = figure.quartiles
        bars.append(Bar((figure.case,), figure.name, figure.median * MICRO, (first * MICRO, third * MICRO)))
    title = "The cost of a packet, in microseconds (logarithmic)"
    text = f"Bars for each gateway beside the {limit}, upstream and downstream, with lines from quartile to quartile."
    return bar_chart(title, text, bars)


def lab(samples: Sequence[LabSample], base: str) -> str:
    """Bars of processor time a packet, a group a case; a line through each from the least to the most."""
    bars = [
        Bar((f"{case.far_end} {case.direction}", case.load), name, figure.cpu_microseconds, figure.spread)
        for (case, name), figure in sorted(figures(samples).items(), key=lambda item: CASES.index(item[0][0]))
    ]
    title = "Processor time of the gateway's process for each packet delivered, in microseconds (logarithmic)"
    text = f"Bars for each gateway beside {base}, with lines from the least to the most of the rounds."
    return bar_chart(title, text, bars)


@dataclass(frozen=True, slots=True)
class Bar:
    """A value of somebody in a group, in microseconds."""

    group: tuple[str, ...]
    name: str
    value: float
    spread: tuple[float, float]


def bar_chart(title: str, text: str, bars: Sequence[Bar]) -> str:
    """Bars on a logarithmic axis, one below the other, a colour for each name."""
    low = log10(min(bar.spread[0] for bar in bars)) - 0.1
    high = log10(max(bar.spread[1] for bar in bars)) + 0.1

    def across(microseconds: float) -> float:
        return LEFT + (log10(microseconds) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    names = list(dict.fromkeys(bar.name for bar in bars))
    body: list[str] = []
    top = 40.0
    group: tuple[str, ...] | None = None
    for bar in bars:
        if bar.group != group:
            top += GAP if group is not None else 0
            group = bar.group
            body += [
                f'<text x="8" y="{top + 11 + line * BAR:g}">{escape(words)}</text>' for line, words in enumerate(group)
            ]
        body += _bar(bar, COLOURS[names.index(bar.name) % len(COLOURS)], top, across)
        top += BAR
    return picture(title, text, top + 12, [*_decades(across, low, high, top), *body])


def _bar(bar: Bar, colour: str, top: float, across: Callable[[float], float]) -> list[str]:
    """One bar with its name, its spread and its value."""
    end, first, last = across(bar.value), *map(across, bar.spread)
    return [
        f'<text class="faint end" x="{LEFT - 6}" y="{top + 11:g}">{escape(bar.name)}</text>',
        f'<rect x="{LEFT}" y="{top + 1:.1f}" width="{end - LEFT:.1f}" height="{BAR - 2}" fill="{colour}"/>',
        f'<line class="spread" x1="{first:.1f}" x2="{last:.1f}" y1="{top + 7.5:.1f}" y2="{top + 7.5:.1f}"/>',
        f'<text class="faint" x="{max(end, last) + 5:.1f}" y="{top + 11:g}">{bar.value:.2f}</text>',
    ]


def _decades(across: Callable[[float], float], low: float, high: float, bottom: float) -> list[str]:
    """A faint line at each power of ten, and at twice and five times it."""
    lines = []
    for power in range(floor(low), ceil(high) + 1):
        for step in (1, 2, 5):
            value = step * 10.0**power
            if low <= log10(value) <= high:
                x = across(value)
                lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="36" y2="{bottom:g}"/>')
                lines.append(f'<text class="faint middle" x="{x:.1f}" y="32">{value:g}</text>')
    return lines


def scale(found: Sequence[ScaleFigure]) -> str:
    """Small charts side by side: cost over the number of entries (logarithmic), a line a gateway."""
    names = list(dict.fromkeys(one.figure.subject for one in found))
    states = list(dict.fromkeys(one.state for one in found))
    body = []
    for number, name in enumerate(names):
        x = 8 + 220 * number
        body.append(f'<rect x="{x}" y="30" width="12" height="12" fill="{COLOURS[number + 1]}"/>')
        body.append(f'<text class="faint" x="{x + 18}" y="41">{escape(name)}</text>')
    for place, state in enumerate(states):
        left, top = 50 + place % 2 * 420, 70 + place // 2 * 190
        body += _chart([one for one in found if one.state == state], state, names, left, top)
    title = "The cost of a packet, in microseconds, against what the gateway remembers"
    text = "A chart for each kind of state; flat lines mean that the cost does not depend on it."
    return picture(title, text, 70 + (len(states) + 1) // 2 * 190, body)


def _chart(found: Sequence[ScaleFigure], state: str, names: Sequence[str], left: float, top: float) -> list[str]:
    width, height = 350.0, 110.0
    most = max(log10(one.entries) for one in found) or 1.0
    high = max(one.figure.median for one in found) * 1.2
    body = [f'<text x="{left}" y="{top}">{escape(state)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = top + 20 + height * (1 - share)
        body.append(f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text class="faint end" x="{left - 4}" y="{y + 4:.1f}">{high * share * MICRO:.0f}</text>')
    for entries in sorted({one.entries for one in found}):
        x = left + log10(entries) / most * width
        body.append(f'<text class="faint middle" x="{x:.1f}" y="{top + height + 36:.1f}">{entries}</text>')
    for number, name in enumerate(names):
        points = [
            (left + log10(one.entries) / most * width, top + 20 + height * (1 - one.figure.median / high))
            for one in found
            if one.figure.subject == name
        ]
        if points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            body.append(f'<polyline class="path" stroke="{COLOURS[number + 1]}" points="{path}"/>')
    return body


def picture(title: str, text: str, height: float, body: Sequence[str]) -> str:
    """A whole SVG that stands alone, too."""
    lines = "\n".join(body)
    return (
        f'<svg class="gg-plot" viewBox="0 0 {WIDTH} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">\n'
        f"<title>{escape(title)}</title>\n<desc>{escape(text)}</desc>\n<style>{STYLE}</style>\n"
        f'<text x="8" y="18">{escape(title)}</text>\n{lines}\n</svg>\n'
    )
