"""Tables as data: the same rows for a terminal (rich) and for a page (Markdown)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 120
"""Columns of a table that does not go to a terminal."""


NO_BREAK = "\u00a0"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: columns of words to the left, columns of numbers to the right. A first cell that is empty repeats."""

    title: str
    words: Sequence[str]
    numbers: Sequence[str]
    rows: Sequence[Sequence[str]]


def console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough."""
    made = Console()
    return made if made.is_terminal else Console(width=WIDTH)


def rich_table(sheet: Sheet) -> Table:
    """For a terminal: a gap before each row that begins something new, if rows repeat at all."""
    table = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in sheet.words:
        table.add_column(heading, no_wrap=True)
    for heading in sheet.numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    repeats = any(not row[0] for row in sheet.rows)
    for row, after in pairwise([*sheet.rows, None]):
        assert row is not None
        table.add_row(*row, end_section=repeats and after is not None and bool(after[0]))
    return table


def markdown(sheet: Sheet) -> str:
    """For a page. A number is not broken at its spaces."""
    count = len(sheet.words)
    rules = [*("---" for _ in sheet.words), *("---:" for _ in sheet.numbers)]
    rows = [[*row[:count], *(cell.replace(" ", NO_BREAK) for cell in row[count:])] for row in sheet.rows]
    lines = [_line([*sheet.words, *sheet.numbers]), f"|{'|'.join(rules)}|", *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def ratio(value: float | None) -> str:
    """As many digits as mean something."""
    return "" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def thousands(value: float | None) -> str:
    """A whole number with spaces; a dash for what is not known."""
    return "–" if value is None else f"{value:,.0f}".replace(",", " ")
