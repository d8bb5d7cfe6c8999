"""The table of a run, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glassgate.conformance import terminal
from glassgate.conformance.lab.checks import Result, Verdict
from glassgate.conformance.lab.network import Lab

NARROWEST = 120
"""Columns of the table where it does not go to a terminal."""
LOG_LINES = 20
STYLES = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "bold red",
    Verdict.DIFFERS: "yellow",
    Verdict.UNSUPPORTED: "yellow",
    Verdict.NOT_RUN: "dim",
}


def console() -> Console:
    """A console that does not fold the table when its output is piped."""
    return terminal.console(NARROWEST)


def table(results: Sequence[Result], title: str) -> Table:
    """The results so far."""
    grid = Table(title=f"glassgate lab: {title}", title_justify="left", box=box.SIMPLE_HEAD)
    grid.add_column("check", no_wrap=True)
    grid.add_column("measured", overflow="fold")
    grid.add_column("verdict", no_wrap=True)
    for result in results:
        grid.add_row(Text(result.title), Text(result.measured), Text(result.verdict, style=STYLES[result.verdict]))
    return grid


def summary(results: Sequence[Result], seconds: float) -> str:
    """One line: how many of each verdict, and how long it took."""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return f"{told or 'nothing was run'} in {seconds:.1f} s"


def to_json(parts: Mapping[str, Sequence[Result]], gateway: str, *, is_complete: bool) -> dict[str, Any]:
    """The same for programs, part by part. A run that was interrupted has not passed."""
    lines = [
        {
            "part": title,
            "check": result.title,
            "verdict": result.verdict.value,
            "measured": result.measured,
            "seconds": round(result.seconds, 3),
        }
        for title, results in parts.items()
        for result in results
    ]
    return {"gateway": gateway, "passed": is_complete and has_passed(together(parts)), "checks": lines}


def together(parts: Mapping[str, Sequence[Result]]) -> list[Result]:
    """The results of all parts."""
    return [result for results in parts.values() for result in results]


def has_passed(results: Sequence[Result]) -> bool:
    """Whether all is well: something passed, and nothing failed or was left out for want of a tunnel."""
    verdicts = {result.verdict for result in results}
    return Verdict.PASSED in verdicts and not verdicts & {Verdict.FAILED, Verdict.NOT_RUN}


def show_logs(out: Console, lab: Lab, roles: Sequence[str]) -> None:
    """The last lines that the programs behind a failure have said."""
    for role in roles:
        lines = lab.log(role).rstrip().splitlines()[-LOG_LINES:]
        out.rule(f"{role}: the last {len(lines)} lines of its log", align="left")
        for line in lines:
            out.print(Text(line), soft_wrap=True)
