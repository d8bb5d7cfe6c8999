"""``glassgate fuzz LEFT RIGHT``: progress while it runs, then each finding as a draft vector."""

from __future__ import annotations

import math
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from glassgate.conformance import model
from glassgate.conformance.dissect import Dissector
from glassgate.conformance.fuzz import campaign, mutation
from glassgate.conformance.fuzz.campaign import Divergence, Plan, Tally
from glassgate.conformance.fuzz.corpus import CorpusError, packaged, prune, read, write
from glassgate.conformance.fuzz.oracles import Turn
from glassgate.conformance.fuzz.stories import Story
from glassgate.conformance.model import PacketInput
from glassgate.conformance.subjects import discovery


@click.command()
@click.argument("left")
@click.argument("right")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="How long.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Where the dice start.")
@click.option("--jobs", type=click.IntRange(min=1, max=64), default=1, show_default=True, help="Processes.")
@click.option(
    "--corpus", type=click.Path(path_type=Path), help="A file of stories: read if there, written at the end, pruned."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="A directory for findings, a draft each.")
@click.option("--rules/--no-rules", default=True, show_default=True, help="Compare the rules that are noted, too.")
@click.option("--tcp/--no-tcp", default=True, show_default=True, help="Talk with the TCP echo service, too.")
def fuzz(
    left: str,
    right: str,
    seconds: float,
    seed: int,
    jobs: int,
    corpus: Path | None,
    out: Path | None,
    rules: bool,
    tcp: bool,
) -> int:
    """Find inputs on which two gateways part.

    LEFT and RIGHT are names of gateways, or module:factory. A finding is shrunk and printed as a draft vector without
    expectation: agreement is not evidence, and a disagreement is not settled by vote. Exit status 1 if there is one.
    The standards leave TCP some freedom that glassgate's gateways use alike; two others that are both right may part,
    and --no-tcp leaves TCP out.
    """
    for name in (left, right):
        try:
            discovery.find(name)
        except discovery.SubjectError as error:
            raise click.ClickException(str(error)) from None
    if not math.isfinite(seconds):
        raise click.UsageError(f"--seconds: {seconds} is not a finite number of seconds")
    _make_folder(out)
    plan = Plan(left, right, seed, rules, with_tcp=tcp)
    old = _read_corpus(corpus) if corpus is not None and corpus.exists() else []
    starters = [*_suite_stories(), *packaged(), *old]
    plan = Plan(left, right, seed, rules, campaign.playable(plan, starters), tcp)
    console = Console()
    tally = _run(console, plan, seconds, jobs)
    if corpus is not None:
        _write_corpus(corpus, prune(plan.pairing().left, [*old, *tally.corpus]))
    _summarise(console, tally, plan)
    for number, divergence in enumerate(tally.divergences.values(), 1):
        _show(console, number, divergence, plan)
        if out is not None:
            _write_draft(out, number, divergence)
    return 1 if tally.divergences else 0


def _run(console: Console, plan: Plan, seconds: float, jobs: int) -> Tally:
    columns = (
        TextColumn("fuzz"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn(
            "{task.fields[rate]:.0f}/s · {task.fields[rules]} rules · {task.fields[pairs]} pairs · "
            "{task.fields[findings]} findings"
        ),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("fuzz", total=seconds, rate=0.0, rules=0, pairs=0, findings=0)

        def report(tally: Tally, elapsed: float) -> None:
            progress.update(
                bar,
                completed=elapsed,
                rate=tally.executions / max(elapsed, 1e-9),
                rules=len(tally.rules),
                pairs=len(tally.pairs),
                findings=len(tally.divergences),
            )

        return campaign.run(plan, seconds, jobs, report)


def _suite_stories() -> list[Story]:
    """The suite's vectors, as stories to mutate."""
    files = model.load_packaged()
    return [mutation.from_steps(vector.config, vector.steps) for file in files for vector in file.vectors]


def _read_corpus(path: Path) -> list[Story]:
    try:
        return read(path)
    except CorpusError as error:
        raise click.ClickException(str(error)) from None


def _make_folder(folder: Path | None) -> None:
    """Before the run: nobody waits for an hour to hear that its findings cannot be kept."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"--out {folder}: cannot be made: {error.strerror}") from None


def _write_corpus(path: Path, stories: list[Story]) -> None:
    try:
        write(path, stories)
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from None


def _summarise(console: Console, tally: Tally, plan: Plan) -> None:
    console.print(
        f"{plan.left} and {plan.right}: {tally.executions} stories with {tally.operations} operations, "
        f"{len(tally.rules)} rules in {len(tally.pairs)} pairs, {len(tally.divergences)} findings",
        highlight=False,
        soft_wrap=True,
    )


def _show(console: Console, number: int, divergence: Divergence, plan: Plan) -> None:
    finding, story = divergence.finding, divergence.story
    console.rule(f"finding {number}: {finding.kind}", align="left")
    console.print(
        f"{finding.problem}\n(slice of seed {divergence.seed})", highlight=False, markup=False, soft_wrap=True
    )
    dissector = Dissector.for_config(story.gateway_config)
    for index, (at, input_) in enumerate(story.timed()):
        mark = "→" if index == finding.at else " "
        what = type(input_).__name__.removesuffix("Input").lower()
        if isinstance(input_, PacketInput):
            what = f"{input_.port}  {dissector.frame(str(input_.port), input_.data).summary}"
        console.print(f"{mark} {at:10.4f}  {what}", highlight=False, markup=False, soft_wrap=True)
    for name, turn in ((plan.left, divergence.left), (plan.right, divergence.right)):
        _show_turn(console, name, turn, dissector)
    console.print(story.draft(f"draft-{number}", finding.problem), highlight=False, markup=False, soft_wrap=True)


def _show_turn(console: Console, name: str, turn: Turn, dissector: Dissector) -> None:
    console.print(f"  {name}:", highlight=False, markup=False, soft_wrap=True)
    for output in turn.outputs:
        summary = dissector.frame(output.port, output.data).summary if output.data else ""
        console.print(
            f"    {output.port}  {summary}  {output.data.hex()}", highlight=False, markup=False, soft_wrap=True
        )
    said = turn.error or ", ".join(turn.rules) or "nothing noted"
    console.print(f"    ({said})", highlight=False, markup=False, soft_wrap=True)


def _write_draft(directory: Path, number: int, divergence: Divergence) -> None:
    path = directory / f"draft-{number}.json"
    path.write_text(divergence.story.draft(f"draft-{number}", divergence.finding.problem) + "\n")
