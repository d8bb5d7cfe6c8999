"""``glassgate mutants``: change the reference a little, in every way the tool knows, and let the vectors notice it."""

from __future__ import annotations

import importlib
import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from glassgate.conformance import model
from glassgate.conformance.mutants.excuses import Excuse, ExcuseError, excuse_for, read_excuses, read_left_out, unneeded
from glassgate.conformance.mutants.making import DATA_PLANE, Mutant, ToolMissing, mutants_of, path_of
from glassgate.conformance.mutants.page import page as page_of
from glassgate.conformance.mutants.trying import Laboratory, Trial, Verdict, heard
from glassgate.conformance.subjects import discovery

BAR = 95.0
"""Per cent of the changes that the vectors alone must notice."""
LINE_EVERY = 500
"""Where there is no terminal, a line tells of so many changes."""


@dataclass(frozen=True, slots=True)
class Score:
    """How a module, or all of them, came off."""

    name: str
    trials: tuple[Trial, ...]
    excuses: tuple[Excuse, ...]

    @property
    def counted(self) -> int:
        """The changes that a vector could meet."""
        return sum(trial.counts for trial in self.trials)

    @property
    def survivors(self) -> list[Trial]:
        """The changes that no vector noticed."""
        return [trial for trial in self.trials if trial.verdict is Verdict.SURVIVED]

    @property
    def unexcused(self) -> list[Trial]:
        """Those without an excuse."""
        return [trial for trial in self.survivors if excuse_for(trial, self.excuses) is None]

    @property
    def per_cent(self) -> float:
        """How many of a hundred were noticed; an excused survivor was not."""
        return 100.0 * (1 - len(self.survivors) / self.counted) if self.counted else 100.0

    def bar(self, is_sample: bool) -> float:
        """What it must reach. Chance may take a sample down by two standard deviations."""
        spread = 200.0 * math.sqrt(BAR / 100 * (1 - BAR / 100) / max(self.counted, 1))
        return BAR - spread if is_sample else BAR


@click.command()
@click.argument("modules", nargs=-1)
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Try N changes only, drawn by --seed.")
@click.option("--seed", default=1, show_default=True, help="Another seed draws another sample.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, help="How many at a time.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write everything as JSON.")
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the score and every survivor by module as a page of the documentation.",
)
def mutants(
    modules: tuple[str, ...], sample: int | None, seed: int, jobs: int, json_file: Path | None, page: Path | None
) -> int:
    """Change the reference gateway a little, one change at a time, and run the vectors until one notices.

    MODULES are those of the data plane (with * and ? as usual); all if none is given. Exit status 1 if a change goes
    unnoticed without an excuse, if too many do, or, after a whole run, if an excuse is not needed.
    """
    chosen = [name for name in DATA_PLANE if not modules or any(fnmatchcase(name, one) for one in modules)]
    if not chosen:
        raise click.UsageError(f"no module is called {', '.join(modules)}; known: {', '.join(DATA_PLANE)}")
    try:
        excuses = [excuse for excuse in read_excuses() if excuse.module in chosen]
        texts = {name: path_of(name).read_text("utf-8") for name in chosen}
        left_out = read_left_out()
        every = [mutant for name in chosen for mutant in mutants_of(name, texts[name])]
        every = [mutant for mutant in every if not any(one.covers(mutant) for one in left_out)]
    except (ToolMissing, ExcuseError) as error:
        raise click.UsageError(str(error)) from None
    drawn = every if sample is None else random.Random(seed).sample(every, min(sample, len(every)))
    console = Console(highlight=False)
    began = time.monotonic()
    trials = [*_tried(drawn, texts, jobs, console)]
    scores = [Score(name, tuple(t for t in trials if t.mutant.module == name), tuple(excuses)) for name in chosen]
    total = Score("data plane" if not modules else "these", tuple(trials), tuple(excuses))
    _tell(scores, total, console)
    found = _found(scores, total)
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if page is not None:
        page.write_text(page_of(found, date.today().isoformat()), "utf-8")
    problems = _problems(total, excuses, is_sample=sample is not None)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{len(trials)} changes in {time.monotonic() - began:.0f} s, {len(problems)} problems")
    return 1 if problems else 0


def _tried(drawn: Sequence[Mutant], texts: dict[str, str], jobs: int, console: Console) -> Iterator[Trial]:
    implementation = discovery.find("reference")
    importlib.import_module("glassgate.reference.gateway")  # with what it needs, so that each child has it
    vectors = [vector for file in model.load_packaged() for vector in file.vectors]
    sound = heard(implementation, vectors)
    laboratory = Laboratory(texts, {name: str(path_of(name)) for name in texts}, vectors, sound)
    trials = laboratory.trials(drawn, jobs)
    if console.is_terminal:
        yield from track(trials, "changes", total=len(drawn), console=console, transient=True)
        return
    for number, trial in enumerate(trials, 1):
        if number % LINE_EVERY == 0:
            console.print(f"{number} of {len(drawn)} changes tried, now in {trial.mutant.module}")
        yield trial


def _problems(total: Score, excuses: Sequence[Excuse], is_sample: bool) -> list[str]:
    bar = total.bar(is_sample)
    problems = [f"{trial.mutant}: survives, and has no excuse" for trial in total.unexcused]
    if total.per_cent < bar:
        problems.append(f"{total.per_cent:.1f} % were noticed; the bar is {bar:.1f} %")
    if not is_sample:
        problems += [
            f"{excuse}: is excused, and nothing of it survives" for excuse in unneeded(excuses, total.survivors)
        ]
    return problems


def _tell(scores: Sequence[Score], total: Score, console: Console) -> None:
    table = Table(title="Changes of the reference, and the vectors alone to notice them", title_justify="left")
    table.add_column("module")
    for column in ("changes", "killed", "endless", "survived", "excused", "score"):
        table.add_column(column, justify="right")
    for score in (*scores, total):
        killed = [sum(trial.verdict is one for trial in score.trials) for one in (Verdict.KILLED, Verdict.ENDLESS)]
        excused = len(score.survivors) - len(score.unexcused)
        figures = (score.counted, *killed, len(score.survivors), excused)
        table.add_row(score.name, *map(str, figures), f"{score.per_cent:.1f} %", end_section=score is scores[-1])
    console.print(table)
    for trial in total.unexcused:
        console.print(f"{trial.mutant.module}:{trial.mutant.line} {trial.mutant.operator}", markup=False)
        console.print(f"  - {trial.mutant.text}", markup=False)
        console.print(f"  + {trial.becomes}", markup=False)


def _found(scores: Sequence[Score], total: Score) -> dict[str, Any]:
    def told(score: Score) -> dict[str, object]:
        return {"changes": score.counted, "survived": len(score.survivors), "per_cent": round(score.per_cent, 2)}

    survivors = [
        {
            "module": trial.mutant.module,
            "line": trial.mutant.line,
            "function": trial.mutant.function,
            "operator": trial.mutant.operator,
            "text": trial.mutant.text,
            "becomes": trial.becomes,
            "excuse": excuse.reason if (excuse := excuse_for(trial, total.excuses)) else None,
        }
        for trial in total.survivors
    ]
    modules = {score.name: told(score) for score in scores}
    return {"modules": modules, "total": told(total), "survivors": survivors}
