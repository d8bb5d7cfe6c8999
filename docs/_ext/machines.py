"""Pictures within the page: drawings of _static, and state machines, drawn from the tables that the code asks.

    ```{machine} glassgate.reference.tcp.states
    CLOSED 0 0
    SYN-SENT 1 0
    CLOSED 1 2 again
    ```

The body says where each state stands, column and row; a state that stands ``again`` is where arrows that would cross
the picture may end. Arrows, their words, and the events that end every state come from the module's ``TRANSITIONS``. A
state without a place, or a place without a state, is an error, so the picture cannot part from the code.
"""

from __future__ import annotations

import importlib
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from html import escape
from math import hypot
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

COLUMN, ROW = 222, 124
HEIGHT = 40
MARGIN = 12
WORDS = 15  # columns of an arrow's words
LINE, LETTER = 15, 6.6  # of an arrow's words: height of a line, width of a letter


@dataclass(frozen=True)
class Place:
    """A point; of a state's box, the middle."""

    x: float
    y: float
    width: float = 0.0
    """Of the box, wide enough for its name."""


@dataclass(frozen=True)
class Arrow:
    """From a state to another, with the events that lead there."""

    source: str
    target: str
    events: tuple[str, ...]


class MachineDirective(SphinxDirective):
    """Draw the table of a module."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Make a picture, and the sentence on what can happen in every state."""
        module = importlib.import_module(self.arguments[0])
        self.env.note_dependency(str(module.__file__))
        arrows, everywhere = _arrows(module.TRANSITIONS)
        places, again = self._places()
        states = {state for arrow in arrows for state in (arrow.source, arrow.target)}
        if states != set(places):
            raise self.error(f"{self.arguments[0]}: states {sorted(states)}, places {sorted(places)}")
        made: list[nodes.Node] = [nodes.raw("", _picture(arrows, places, again), format="html")]
        if everywhere:
            told = ", ".join(f"“{event}”" for event in everywhere)
            targets = sorted(set(everywhere.values()))
            made.append(nodes.paragraph("", f"Wherever there is a connection, {told} lead to {', '.join(targets)}."))
        return made

    def _places(self) -> tuple[dict[str, Place], dict[str, Place]]:
        places: dict[str, Place] = {}
        again: dict[str, Place] = {}
        for line in self.content:
            name, column, row, *more = line.split()
            place = Place(float(column) * COLUMN, float(row) * ROW, max(112, 9.6 * len(name) + 16))
            (again if more else places)[name] = place
        return places, again


# ── from the table ────────────────────────────────────────────────────────────────────────────────────────────────────


def _arrows(transitions: Mapping[tuple[object, object], object]) -> tuple[list[Arrow], dict[str, str]]:
    """The arrows, and apart from them the events that lead from nearly everywhere to one state."""
    by_event: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for (state, event), following in transitions.items():
        by_event[_event(event)].add((_state(state), _state(following)))
    sources = {source for pairs in by_event.values() for source, _ in pairs}
    everywhere = {
        event: next(iter(pairs))[1]
        for event, pairs in by_event.items()
        if len({target for _, target in pairs}) == 1 and len(pairs) >= len(sources) - 2 and len(pairs) > 3
    }
    joined: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event, pairs in by_event.items():
        if event not in everywhere:
            for pair in pairs:
                joined[pair].append(event)
    return [Arrow(*pair, tuple(events)) for pair, events in joined.items()], everywhere


def _state(state: object) -> str:
    if isinstance(state, StrEnum):
        return state.value
    if isinstance(state, Enum):
        return state.name
    assert isinstance(state, type)
    return state.__name__


def _event(event: object) -> str:
    assert isinstance(event, Enum)
    return str(event.value)


# ── to the picture ────────────────────────────────────────────────────────────────────────────────────────────────────


def _picture(arrows: Iterable[Arrow], places: Mapping[str, Place], again: Mapping[str, Place]) -> str:
    pairs = {(arrow.source, arrow.target) for arrow in arrows}
    lines: list[str] = []
    words: list[Words] = []
    for arrow in arrows:
        target = _nearest(places[arrow.source], places[arrow.target], again.get(arrow.target))
        line, told = _arrow(arrow, places[arrow.source], target, (arrow.target, arrow.source) in pairs)
        lines.append(line)
        words.append(told)
    boxes = [_box(name, place, "") for name, place in places.items()]
    boxes += [_box(name, place, " again") for name, place in again.items()]
    corners = [corner for place in (*places.values(), *again.values()) for corner in _corners(place)]
    corners += [corner for told in words for corner in told.corners]
    left, top = min(x for x, _ in corners) - MARGIN, min(y for _, y in corners) - MARGIN
    width, height = max(x for x, _ in corners) + MARGIN - left, max(y for _, y in corners) + MARGIN - top
    size = f"max-width: {width:.0f}px; --width: {width:.0f}px"
    view = f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" style="{size}"'
    told_all = [told.drawn for told in words]
    svg = [f'<svg class="machine" role="img" {view}>', *lines, *boxes, *told_all, "</svg>"]
    return "\n".join(['<div class="picture">', *svg, "</div>"])


def _corners(place: Place) -> list[tuple[float, float]]:
    return [(place.x + side * place.width / 2, place.y + side * HEIGHT / 2) for side in (-1, 1)]


def _nearest(source: Place, target: Place, again: Place | None) -> Place:
    if again is None:
        return target
    return min(target, again, key=lambda place: hypot(place.x - source.x, place.y - source.y))


def _box(name: str, place: Place, more: str) -> str:
    left, top = _corners(place)[0]
    return (
        f'<rect class="state{more}" x="{left:g}" y="{top:g}" width="{place.width:g}" height="{HEIGHT}" rx="7"/>'
        f'<text class="state" x="{place.x:g}" y="{place.y + 5:g}">{escape(name)}</text>'
    )


@dataclass(frozen=True)
class Words:
    """The words of an arrow, drawn, and the corners of what they cover."""

    drawn: str
    corners: list[tuple[float, float]]


def _arrow(arrow: Arrow, source: Place, target: Place, has_counterpart: bool) -> tuple[str, Words]:
    """The line with its tip, and the words beside it."""
    if source == target:
        return _loop(arrow, source)
    length = hypot(target.x - source.x, target.y - source.y)
    along = ((target.x - source.x) / length, (target.y - source.y) / length)
    aside = (-along[1] * 9, along[0] * 9) if has_counterpart else (0.0, 0.0)
    start = _edge(source, along, aside)
    end = _edge(target, (-along[0], -along[1]), aside)
    share = 0.5 if 0 in (round(along[0], 1), round(along[1], 1)) else 0.38  # two that cross, or meet, do so later
    beside = Place(start.x + (end.x - start.x) * share, start.y + (end.y - start.y) * share)
    return _line(start, end, along), _words(arrow.events, beside, along, is_below=aside[1] > 0)


def _edge(place: Place, along: tuple[float, float], aside: tuple[float, float]) -> Place:
    """Where a line from the middle of a box, moved aside, leaves the box."""
    reach = min(
        (place.width / 2 - abs(aside[0])) / abs(along[0]) if abs(along[0]) > 0.01 else float("inf"),
        (HEIGHT / 2 - abs(aside[1])) / abs(along[1]) if abs(along[1]) > 0.01 else float("inf"),
    )
    return Place(place.x + aside[0] + along[0] * reach, place.y + aside[1] + along[1] * reach)


def _line(start: Place, end: Place, along: tuple[float, float]) -> str:
    back = Place(end.x - along[0] * 9, end.y - along[1] * 9)
    left = Place(back.x - along[1] * 5, back.y + along[0] * 5)
    right = Place(back.x + along[1] * 5, back.y - along[0] * 5)
    return (
        f'<path class="line" d="M{start.x:.1f} {start.y:.1f} L{back.x:.1f} {back.y:.1f}"/>'
        f'<path class="tip" d="M{end.x:.1f} {end.y:.1f} L{left.x:.1f} {left.y:.1f} L{right.x:.1f} {right.y:.1f} Z"/>'
    )


def _loop(arrow: Arrow, place: Place) -> tuple[str, Words]:
    bottom, x = place.y + HEIGHT / 2, place.x
    curve = f"M{x - 16:g} {bottom:g} C{x - 26:g} {bottom + 30:g} {x + 26:g} {bottom + 30:g} {x + 16:g} {bottom + 6:g}"
    tip = f"M{x + 13:g} {bottom:g} L{x + 11:g} {bottom + 10:g} L{x + 21:g} {bottom + 7:g} Z"
    drawn = f'<path class="line" d="{curve}"/><path class="tip" d="{tip}"/>'
    return drawn, _words(arrow.events, Place(x, bottom + 22), (1.0, 0.0), is_below=True)


def _words(events: Iterable[str], beside: Place, along: tuple[float, float], *, is_below: bool) -> Words:
    """An arrow's words: above or below it where it is level, else to its right."""
    lines = textwrap.wrap(", ".join(events), WORDS)
    is_level = abs(along[1]) < 0.3
    if not is_level:
        first = beside.y - LINE * (len(lines) / 2 - 0.75)
    else:
        first = beside.y + LINE if is_below else beside.y - LINE * (len(lines) - 1) - 6
    x = beside.x if is_level else beside.x + 8
    style = f"text-anchor: {'middle' if is_level else 'start'}"
    drawn = "".join(
        f'<text class="words" style="{style}" x="{x:.1f}" y="{first + LINE * index:.1f}">{escape(line)}</text>'
        for index, line in enumerate(lines)
    )
    width = LETTER * max(map(len, lines))
    left = x - width / 2 if is_level else x
    return Words(drawn, [(left, first - LINE), (left + width, first + LINE * (len(lines) - 1) + 4)])


class PictureDirective(SphinxDirective):
    """A drawing from ``_static``, within the page: so it takes the page's colours, and can be moved on a phone."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Put the drawing in."""
        path = Path(self.env.srcdir) / self.arguments[0]
        self.env.note_dependency(str(path))
        drawing = path.read_text(encoding="utf-8")
        return [nodes.raw("", f'<div class="picture">{drawing}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("machine", MachineDirective)
    app.add_directive("picture", PictureDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
