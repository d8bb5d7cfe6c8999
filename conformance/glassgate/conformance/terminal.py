"""Where commands write: a terminal is as wide as it is, a pipe as wide as its reader needs; no line ends in spaces."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

WHOLE_LINES = 10_000
"""Columns of a pipe in which no line is folded, so that each can be searched for."""
_FEWEST_COLUMNS = 20


def console(columns_of_a_pipe: int = WHOLE_LINES) -> Console:
    """Standard output. Where that is no terminal it has so many columns at least."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=max(made.width, columns_of_a_pipe))


def entry(out: Console, head: Text, *below: Text) -> None:
    """Print an entry of a list: a line to find it by, and what there is to say of it, indented."""
    paragraph(out, head, indent=4)
    for text in below:
        paragraph(out, Text("    ") + text, indent=4)


def paragraph(out: Console, text: Text, indent: int = 0) -> None:
    """Print a paragraph; what does not fit on its first line is indented on the others. No line ends in spaces."""
    first, *others = text.wrap(out, out.width) or [Text()]
    line(out, first)
    if others:
        rest = text[len(first.plain.rstrip()) :]
        rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
        for further in rest.wrap(out, max(out.width - indent, _FEWEST_COLUMNS)):
            line(out, Text(" " * indent) + further)


def line(out: Console, text: Text) -> None:
    """Print one line as it is; what does not fit is cut off."""
    text.rstrip()
    out.print(text, highlight=False, no_wrap=True, crop=True)
