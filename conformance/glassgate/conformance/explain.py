"""A gateway explained in a terminal: each frame decoded by field, each decision with its rule, each change of state.

The same explanation serves ``demo``, ``follow`` and whoever has effects to show. It is plain text where the output is
no terminal, and fits 80 columns; from 110 on there is room for the octets themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console
from rich.text import Text

from glassgate.conformance import terminal
from glassgate.conformance.dissect import Dissector, Field, Layer, counted
from glassgate.conformance.simulation import Moment
from glassgate.contract import CloseFlow, Effect, Note, NoteKind, OpenFlow, Port, Rule, Transmit
from glassgate.contract.rules import RULES

WIDE = 110  # columns from which the octets stand beside the fields
FEWEST_COLUMNS = 24  # a text beside something else needs so many
_PATH_COLUMN = 28
_ASIDES = {
    "record, put together": " from several pieces: octets of its own",
    "opened": " with the session's key: octets of their own",
    "quoted packet": ": the packet that this error is about",
}
_HEXADECIMAL = ("checksum", "identification")
FEWEST_ALIKE = 6  # a frame is told by its differences only where at least so many fields are the same

_KIND_STYLES = {
    NoteKind.FORWARDED: "bold green",
    NoteKind.DELIVERED: "bold green",
    NoteKind.DROPPED: "bold red",
    NoteKind.STATE: "bold magenta",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A field in its place: which layer it stands in, and how deep."""

    path: tuple[str, ...]
    layer: Layer
    field: Field


class Detail(StrEnum):
    """How much is told of each frame."""

    BRIEF = "brief"
    """One line, and none of the way through the rules."""
    CHANGES = "changes"
    """Every field; of a frame that is nearly like one before, only what differs."""
    WHOLE = "whole"
    """Every field of every frame."""


DETAILS = tuple(str(detail) for detail in Detail)
DETAIL_HELP = "How much of each frame: a line, what differs from one before, or every field."
"""The choices of an option, and its help."""


class Explainer:
    """Writes moments to a console."""

    def __init__(self, console: Console, dissector: Dissector, detail: Detail = Detail.CHANGES) -> None:
        self._console = console
        self._dissector = dissector
        self._detail = detail
        self._before: dict[tuple[object, ...], tuple[int, list[_Row]]] = {}
        self._paths: dict[str, int] = {}
        self._said: set[str] = set()

    # ── moments ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def moment(self, moment: Moment) -> None:
        """Tell one call of the gateway: what came, what was decided, what left."""
        self._heading(f"{moment.number} · {moment.at:.4f} s · {_event(moment)}")
        if moment.port is not None:
            self.octets(moment.port, moment.data, outbound=False, number=moment.number)
        self.effects(moment.effects, number=moment.number)

    def effects(self, effects: Sequence[Effect], *, number: int = 0) -> None:
        """Tell the decisions, then what left because of them; each in its order."""
        self._said.clear()
        for note in effects:
            if isinstance(note, Note):
                self._note(note, number)
        for effect in effects:
            if isinstance(effect, Transmit):
                self._act(f"sends at {effect.port}", effect.because)
                self.octets(effect.port, effect.data, outbound=True, number=number)
            elif isinstance(effect, OpenFlow | CloseFlow):
                self._act("asks for the flow" if isinstance(effect, OpenFlow) else "gives up the flow", effect.because)
        if not effects:
            self._print(Text("  nothing was due", style="dim"))

    def octets(self, port: Port | str, data: bytes, *, outbound: bool, number: int = 0) -> Layer:
        """Decode and show one frame, or what stands in it otherwise than in the frame before."""
        layer = self._dissector.frame(port, data, outbound=outbound)
        rows = [_Row(path, holder, found) for path, holder, found in layer.walk()]
        title = Text.assemble("  ", (f"{port}, {counted(len(data))}: ", "dim"), (layer.summary, "bold cyan"))
        self._print(title, indent=4)
        if self._detail is not Detail.BRIEF:
            self._rows(self._differences((port, outbound), number, rows))
        return layer

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note(self, note: Note, number: int) -> None:
        self._print(Text.assemble("  ■ ", (str(note.kind), _KIND_STYLES[note.kind]), " by ", (str(note.rule), "bold")))
        self._in_words(note.rule)
        detail = {name: value for name, value in note.detail.items() if name != "path"}
        if detail:
            self._print(Text.assemble("    ", (told(detail), "yellow")), indent=4)
        if note.detail.get("path") and self._detail is not Detail.BRIEF:
            self._path(str(note.detail["path"]), number)

    def _act(self, words: str, because: Rule) -> None:
        self._print(Text.assemble("  ▶ ", (words, "bold blue"), " by ", (str(because), "bold")), indent=4)
        self._in_words(because)

    def _in_words(self, rule: Rule) -> None:
        """The rule's sentence, the first time that it is cited in this moment."""
        if rule.slug not in self._said:
            self._said.add(rule.slug)
            words = Text.assemble("    ", (rule.sentence, "italic"), (f" ({rule.level}, {rule.citation})", "dim"))
            self._print(words, indent=4)

    def _path(self, path: str, number: int) -> None:
        """The rules that the packet passed on its way, in words the first time that it is this way."""
        slugs = path.split()
        if path in self._paths:
            self._print(Text(f"    by the same {len(slugs)} rules as in {self._paths[path]}", style="dim"), indent=4)
            return
        self._paths[path] = number
        self._print(Text("    its way through the rules:", style="dim"))
        for slug in slugs:
            sentence = RULES[slug].sentence if slug in RULES else "a rule that is not in the registry"
            self._columns(Text.assemble((f"      {slug}".ljust(_PATH_COLUMN), "bold")), Text(sentence, style="italic"))

    # ── fields ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _differences(self, way: tuple[object, ...], number: int, rows: list[_Row]) -> list[_Row]:
        """All rows, or those that differ from the last frame that went the same way and has the same fields."""
        key = (*way, *((row.path, row.field.name) for row in rows))
        earlier, before = self._before.get(key, (0, []))
        self._before[key] = (number, rows)
        if self._detail is Detail.WHOLE or not before:
            return rows
        differing = [
            row
            for row, old in zip(rows, before, strict=True)
            if (row.field.value, row.field.problem) != (old.field.value, old.field.problem)
        ]
        alike = len(rows) - len(differing)
        if alike < FEWEST_ALIKE:
            return rows
        which = f"in {earlier}" if earlier != number else "in the one before"
        words = f"{alike} fields are as {which}; these differ:" if differing else f"all {alike} fields are as {which}"
        self._print(Text(f"    {words}", style="dim"))
        return differing

    def _rows(self, rows: list[_Row]) -> None:
        path: tuple[str, ...] = ()
        for row in rows:
            if row.path != path:
                self._layer_titles(path, row)
                path = row.path
            self._field(row)

    def _layer_titles(self, before: tuple[str, ...], row: _Row) -> None:
        """Name the layer that begins here, and those around it that were not named yet."""
        for depth in range(1, len(row.path)):
            if row.path[: depth + 1] == before[: depth + 1]:
                continue
            name = row.path[depth]
            is_own = depth == len(row.path) - 1
            aside = ": " + row.layer.summary if is_own and name == "option" else _ASIDES.get(name, "")
            self._print(Text.assemble(" " * (2 + 2 * depth), (name, "bold"), (aside, "dim")), indent=4)

    def _field(self, row: _Row) -> None:
        found = row.field
        prefix = Text.assemble((f"{_span(found):>12} ", "dim"))
        if self._console.width >= WIDE:
            octets = row.layer.octets[found.start : found.end]
            shown = octets.hex() if len(octets) <= 12 else f"{octets[:11].hex()}…"
            prefix.append(f"{shown:<25}", style="dim")
        prefix.append(f"{found.name:<26}")
        value = Text.assemble((found.value, "cyan"))
        if found.meaning:
            value.append(f"  {found.meaning}")
        if found.problem:
            value.append(f"  ✗ {found.problem}", style="bold red")
        self._columns(prefix, value)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _heading(self, words: str) -> None:
        line = "─" * max(2, self._console.width - len(words) - 5)
        title = Text.assemble(("── ", "dim"), (words, "bold"), (f" {line}", "dim"))
        self._console.print()
        self._console.print(title, no_wrap=True, crop=True)

    def _print(self, text: Text, indent: int = 4) -> None:
        terminal.paragraph(self._console, text, indent)

    def _columns(self, prefix: Text, text: Text) -> None:
        """Print a text beside its prefix, every line of it in its own column; below it where there is no room."""
        left = self._console.width - len(prefix)
        if left < FEWEST_COLUMNS:
            self._print(prefix)
            prefix, left = Text(" " * 14), max(self._console.width - 14, 8)
        for line in text.wrap(self._console, left) or [Text()]:
            terminal.line(self._console, prefix + line)
            prefix = Text(" " * len(prefix))


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def told(detail: Mapping[str, object]) -> str:
    """The values that decided, in words.

    >>> told({"time_to_live": 1, "source": "10.38.2.5", "is_fragment": False})
    'time to live 1, source 10.38.2.5, is fragment no'
    """
    return ", ".join(f"{name.replace('_', ' ')} {_scalar(name, value)}" for name, value in detail.items())


def _scalar(name: str, value: object) -> str:
    if name.endswith(_HEXADECIMAL) and isinstance(value, int):
        return f"0x{value:04x}"  # as the fields of the frame show it
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def reasons(effects: Iterable[Effect]) -> list[str]:
    """One line for each decision among the effects, for a comment in a capture."""
    lines = []
    for effect in effects:
        if isinstance(effect, Note):
            detail = f" [{told(effect.detail)}]" if effect.detail else ""
            lines.append(f"{effect.kind} by {effect.rule}: {effect.rule.sentence} ({effect.rule.citation}){detail}")
        elif isinstance(effect, OpenFlow | CloseFlow):
            verb = "opens" if isinstance(effect, OpenFlow) else "closes"
            lines.append(f"{verb} the flow by {effect.because}: {effect.because.sentence}")
    return lines


def _event(moment: Moment) -> str:
    match moment.door:
        case "start":
            return "the gateway starts"
        case "tick":
            return "the gateway's clock: something is due"
        case "flow":
            return f"the system reports: the flow is {moment.event}"
    return f"{moment.sender} → gateway, at {moment.port}"


def _span(found: Field) -> str:
    """The octets of a field, the last included, as the standards' diagrams count them."""
    if found.end <= found.start + 1:
        return str(found.start)
    return f"{found.start}–{found.end - 1}"
