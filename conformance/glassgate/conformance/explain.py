"""A gateway explained in a terminal: each frame decoded by field, each decision with its rule, each change of state.

The same explanation serves ``demo``, ``follow`` and whoever has effects to show. It is plain text where the output is
no terminal, and fits 80 columns; from 110 on there is room for the octets themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from glassgate.conformance.dissect import Dissector, Field, Layer, abridged, counted
from glassgate.conformance.simulation import Moment
from glassgate.contract import CloseFlow, Effect, Note, NoteKind, OpenFlow, Port, Rule, Transmit

WIDE = 110  # columns from which the octets stand beside the fields
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


class Explainer:
    """Writes moments to a console. ``whole`` shows every field, even of a frame that is nearly like the one before."""

    def __init__(self, console: Console, dissector: Dissector, *, whole: bool = False) -> None:
        self._console = console
        self._dissector = dissector
        self._whole = whole
        self._before: dict[str, tuple[int, list[_Row]]] = {}

    # ── moments ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def moment(self, moment: Moment) -> None:
        """Tell one call of the gateway: what came, what was decided, what left."""
        self._heading(f"{moment.number} · {moment.at:.4f} s · {_event(moment)}")
        if moment.port is not None:
            self.octets(moment.port, moment.data, outbound=False, number=moment.number)
        self.effects(moment.effects, number=moment.number)

    def effects(self, effects: Iterable[Effect], *, number: int = 0) -> None:
        """Tell the effects in their order."""
        is_silent = True
        for effect in effects:
            is_silent = False
            if isinstance(effect, Note):
                self._note(effect)
            elif isinstance(effect, Transmit):
                self._arrow(f"sends at {effect.port}", effect.because)
                self.octets(effect.port, effect.data, outbound=True, number=number)
            else:
                self._arrow(
                    "asks for the flow" if isinstance(effect, OpenFlow) else "gives up the flow", effect.because
                )
        if is_silent:
            self._print(Text("  nothing: no decision was due", style="dim"))

    def octets(self, port: Port | str, data: bytes, *, outbound: bool, number: int = 0) -> Layer:
        """Decode and show one frame, or what stands in it otherwise than in the frame before."""
        layer = self._dissector.frame(port, data, outbound=outbound)
        rows = [_Row(path, holder, found) for path, holder, found in layer.walk()]
        self._print(
            Text.assemble("  ", (f"{port}, {counted(len(data))}: ", "dim"), (layer.summary, "bold cyan")), indent=4
        )
        self._rows(self._differences(f"{port} {outbound}", number, rows))
        return layer

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note(self, note: Note) -> None:
        title = Text.assemble("  ■ ", (str(note.kind), _KIND_STYLES[note.kind]), " by ", (str(note.rule), "bold"))
        self._print(title, indent=4)
        self._rule_in_words(note.rule)
        if note.detail:
            self._print(Text.assemble("    ", (told(note.detail), "yellow")), indent=4)

    def _arrow(self, words: str, because: Rule) -> None:
        self._print(Text.assemble("  ▶ ", (words, "bold blue"), " by ", (str(because), "bold")), indent=4)
        self._rule_in_words(because)

    def _rule_in_words(self, rule: Rule) -> None:
        words = Text.assemble("    ", (rule.sentence, "italic"), f" ({rule.level}, {rule.citation})")
        self._print(words, indent=4)

    # ── fields ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _differences(self, key: str, number: int, rows: list[_Row]) -> list[_Row]:
        """All rows, or those that differ from the last frame of this port and direction where the two are alike."""
        earlier, before = self._before.get(key, (0, []))
        self._before[key] = (number, rows)
        shape = [(row.path, row.field.name) for row in rows]
        if self._whole or shape != [(row.path, row.field.name) for row in before]:
            return rows
        differing = [
            row
            for row, old in zip(rows, before, strict=True)
            if (row.field.value, row.field.problem) != (old.field.value, old.field.problem)
        ]
        alike = len(rows) - len(differing)
        if alike < FEWEST_ALIKE:
            return rows
        self._print(Text(f"    {alike} fields are as in {earlier or 'the frame before'}; these differ:", style="dim"))
        return differing

    def _rows(self, rows: list[_Row]) -> None:
        path: tuple[str, ...] = ()
        table = self._table()
        for row in rows:
            if row.path != path:
                self._flush(table)
                table = self._table()
                self._layer_titles(path, row)
                path = row.path
            table.add_row(*self._cells(row))
        self._flush(table)

    def _layer_titles(self, before: tuple[str, ...], row: _Row) -> None:
        """Name the layer that begins here, and those around it that were not named yet."""
        for depth in range(1, len(row.path)):
            if row.path[: depth + 1] == before[: depth + 1]:
                continue
            name = row.path[depth]
            told_apart = f" {row.layer.summary}" if depth == len(row.path) - 1 and name == "option" else ""
            words = (
                "opened with the session's key (these octets stand nowhere in the frame)" if name == "opened" else ""
            )
            self._print(Text.assemble(" " * (2 + 2 * depth), (words or name + told_apart, "bold")), indent=4)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=12, justify="right", no_wrap=True, style="dim")
        if self._console.width >= WIDE:
            table.add_column(width=25, no_wrap=True, style="dim")
        table.add_column(width=25, overflow="fold")
        table.add_column(overflow="fold")
        return table

    def _flush(self, table: Table) -> None:
        if table.row_count:
            self._console.print(table, highlight=False)

    def _cells(self, row: _Row) -> list[Text]:
        found = row.field
        value = Text.assemble((found.value, "cyan"))
        if found.meaning:
            value.append(f"  {found.meaning}")
        if found.problem:
            value.append(f"  ✗ {found.problem}", style="bold red")
        cells = [Text(_span(found)), Text(found.name), value]
        if self._console.width >= WIDE:
            octets = row.layer.octets[found.start : found.end]
            cells.insert(1, Text(octets.hex() if len(octets) <= 12 else f"{octets[:12].hex()}…"[:25]))
        return cells

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _heading(self, words: str) -> None:
        self._console.print()
        line = "─" * max(2, self._console.width - len(words) - 5)
        self._console.print(
            Text.assemble(("── ", "dim"), (words, "bold"), (f" {line}", "dim")), no_wrap=True, crop=True
        )

    def _print(self, text: Text, indent: int = 0) -> None:
        """Print a paragraph; what does not fit on its first line is indented as the first line's text is."""
        lines = text.wrap(self._console, max(self._console.width - indent, 20))
        for index, line in enumerate(lines):
            self._console.print(Text(" " * indent if index else "") + line, highlight=False, no_wrap=True)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def told(detail: Mapping[str, object]) -> str:
    """The values that decided, in words.

    >>> told({"time_to_live": 1, "source": "10.38.2.5", "is_fragment": False})
    'time to live 1, source 10.38.2.5, is fragment no'
    """
    return ", ".join(f"{name.replace('_', ' ')} {_scalar(value)}" for name, value in detail.items())


def _scalar(value: object) -> str:
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


__all__ = ["Explainer", "abridged", "reasons", "told"]
