"""``glassgate bench``: core, scale, lab. Exit status 0: measured; 2: it could not be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import click
from rich.progress import track

from glassgate.conformance.bench import core, plot, report
from glassgate.conformance.bench.figures import BenchError, Figure
from glassgate.conformance.subjects.discovery import SubjectError, find, names
from glassgate.contract import Implementation

BASE = "reference"
JSON_OPTION = click.option(
    "--json", "json_file", type=click.File("w", lazy=True), help="Write all samples there, too."
)  # fmt: skip
SVG_OPTION = click.option(
    "--svg", "svg_file", type=click.Path(dir_okay=False, path_type=Path), help="Draw the figures there, too."
)  # fmt: skip
GATEWAY_OPTION = click.option(
    "--gateway", "chosen", multiple=True, metavar="NAME", help="Only this one (again for more); all that are installed."
)  # fmt: skip
ROUNDS_OPTION = click.option(
    "--rounds", default=15, show_default=True, type=click.IntRange(1, 1000), help="Turns that everybody has."
)  # fmt: skip
MILLISECONDS_OPTION = click.option(
    "--milliseconds", default=8, show_default=True, type=click.IntRange(1, 1000), help="Time of one sample."
)  # fmt: skip


@click.group()
def bench() -> None:
    """What a packet costs, gateways side by side in one run. Only ratios count."""


@bench.command(name="core")
@GATEWAY_OPTION
@click.option("--only", default="", metavar="TEXT", help="Only cases whose name holds TEXT.")
@ROUNDS_OPTION
@MILLISECONDS_OPTION
@JSON_OPTION
@SVG_OPTION
def core_command(
    chosen: tuple[str, ...],
    only: str,
    rounds: int,
    milliseconds: int,
    json_file: TextIO | None,
    svg_file: Path | None,
) -> int:
    """The cost of a packet in this process, beside the bare cipher's."""
    subjects = implementations(chosen)
    cases = [case for case in core.cases() if only in case.name]
    if not cases:
        raise click.ClickException(f"bench: no case holds {only!r}; the first is {core.cases()[0].name!r}")
    console = report.console()
    figures: list[Figure] = []
    running = core.measured(subjects, cases, rounds, milliseconds / 1000)
    try:
        for found in track(running, "measuring", total=len(cases), console=console, transient=True):
            figures += found
    except BenchError as error:
        raise click.ClickException(f"bench: {error}") from None
    base = BASE if any(figure.subject == BASE for figure in figures) else subjects[0].name
    console.print(report.core_table(figures, core.CIPHER, base))
    write(json_file, report.core_json(figures, core.CIPHER, base))
    if svg_file is not None:
        svg_file.write_text(plot.core(figures, core.CIPHER), encoding="utf-8")
    return 0


def implementations(chosen: Sequence[str]) -> list[Implementation]:
    """The gateways of those names; all that are installed if none is given, the base first."""
    wanted = list(chosen) or sorted(names(), key=lambda name: (name != BASE, name))
    try:
        return [find(name) for name in wanted]
    except SubjectError as error:
        raise click.ClickException(f"bench: {error}") from None


def write(file: TextIO | None, content: Mapping[str, Any]) -> None:
    """Write JSON, if there is where to."""
    if file is not None:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
