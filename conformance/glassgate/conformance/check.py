"""``glassgate check``: judge gateways by the vectors, and say so on the terminal and in files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console

from glassgate.conformance import export, model, profile, report, runner, terminal
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.report_html import write_html
from glassgate.conformance.subjects import discovery, live
from glassgate.conformance.subjects.exec_ import Exec
from glassgate.conformance.subjects.in_process import DEFAULT_LIMIT, InProcess
from glassgate.conformance.subjects.subject import SaysUnsupported, Subject, SubjectFault
from glassgate.conformance.subjects.through_handshake import ThroughHandshake, leads_to
from glassgate.conformance.subjects.through_stack import ThroughStack
from glassgate.conformance.subjects.wire import Wire

NOT_GOOD = 1
NOT_TERMINAL_WIDTH = 140
Writers = tuple[tuple[Path | None, Callable[[Sequence[runner.Run], TextIO], None]], ...]


class _OutputFile(click.Path):
    """A file that can be written: found out before the run, not after it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False, writable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.absolute().parent.is_dir():
            self.fail(f"{path}: its folder does not exist", param, ctx)
        return path


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME | all | MODULE:FACTORY]…")
@click.option("--exec", "commands", multiple=True, metavar="COMMAND", help="Judge a program that speaks protocol 1.")
@click.option(
    "--wire",
    "wires",
    multiple=True,
    metavar="linux|reference|optimized|FILE.toml",
    help="Judge a live gateway on real interfaces (root): one brought up for it, or the one that FILE describes.",
)
@click.option("--slow", is_flag=True, help="On the wire: run also what takes more than 10 s of real time each.")
@click.option(
    "--through-stack",
    is_flag=True,
    help="Reach the tunnel through the gateway's own external stack, with a router and a server that the suite plays.",
)
@click.option(
    "--handshake",
    is_flag=True,
    help="Make each tunnel by a handshake with a server that the suite plays, instead of by known keys.",
)
@click.option("--id", "ids", multiple=True, metavar="GLOB", help="Only vectors whose id matches; may be repeated.")
@click.option("--category", "categories", multiple=True, metavar="GLOB", help="Only vectors of this category.")
@click.option("--rule", "rules", multiple=True, metavar="GLOB", help="Only vectors that cite this rule.")
@click.option("--vectors", "paths", multiple=True, type=click.Path(path_type=Path), help="A file or folder of vectors.")
@click.option("--profile", "profile_path", type=click.Path(path_type=Path), help="What the subject's owner declares.")
@click.option("--timeout", default=DEFAULT_LIMIT, show_default=True, help="Seconds that one answer may take.")
@click.option(
    "--failures", default=10, type=click.IntRange(min=0), show_default=True, help="How many failures are shown in full."
)
@click.option("--junit", type=_OutputFile(), metavar="FILE", help="Write JUnit XML.")
@click.option(
    "--html", type=_OutputFile(), metavar="FILE", help="Write one page: vectors by subjects, each cell with its log."
)
@click.option(
    "--pcapng",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a capture of each failure.",
)
@click.option("--badge", type=_OutputFile(), metavar="FILE", help="Write a badge for shields.io as JSON.")
@click.option("--json", "json_file", type=_OutputFile(), metavar="FILE", help="Write everything as JSON.")
def check(
    names: tuple[str, ...],
    commands: tuple[str, ...],
    wires: tuple[str, ...],
    slow: bool,
    through_stack: bool,
    handshake: bool,
    ids: tuple[str, ...],
    categories: tuple[str, ...],
    rules: tuple[str, ...],
    paths: tuple[Path, ...],
    profile_path: Path | None,
    timeout: float,
    failures: int,
    junit: Path | None,
    html: Path | None,
    pcapng: Path | None,
    badge: Path | None,
    json_file: Path | None,
) -> int:
    """Judge gateways by the vectors: installed ones by NAME (or all), others by --exec.

    The exit status is 0 only if nothing failed and at least one vector was run; 1 if a gateway is not good; 2 if
    what was asked for cannot be done.
    """
    if not timeout > 0:
        raise click.UsageError(f"--timeout: {timeout} is not over 0 seconds")
    if handshake and (through_stack or wires):
        raise click.UsageError("--handshake is for gateways by NAME or --exec, and not together with --through-stack")
    try:
        files = _load(paths)
        chosen = runner.select(files, ids, categories, rules)
        declared = None if profile_path is None else profile.load(profile_path, files + model.load_packaged())
        subjects = _subjects(names, commands, timeout) if names or commands or not wires else []
        subjects += _live(wires, declared, slow)
        if through_stack:
            subjects = _through_stack(subjects)
        if handshake:
            chosen, subjects = _through_handshake(chosen, subjects)
    except (runner.SelectionError, profile.ProfileError, discovery.SubjectError) as error:
        raise click.UsageError(str(error)) from None
    console = terminal.console(NOT_TERMINAL_WIDTH)
    runs: list[runner.Run] = []
    try:
        for subject in subjects:
            own = subject.profile if isinstance(subject, Wire) else declared
            runs.append(_run(subject, chosen, own, console))
            report.tell(runs[-1], console, most_failures=failures)
    finally:
        for subject in subjects:
            subject.close()
    writers: Writers = (
        (junit, report.write_junit),
        (json_file, report.write_json),
        (html, write_html),
        (badge, report.write_badge),
    )
    _write_reports(runs, writers, pcapng)
    return 0 if all(run.is_good for run in runs) else NOT_GOOD


def _run(
    subject: Subject, chosen: tuple[model.Vector, ...], declared: profile.Profile | None, console: Console
) -> runner.Run:
    done = bad = 0
    with report.progress_bar(console) as bar:
        task = bar.add_task(subject.name, total=len(chosen), bad="")

        def advance(result: runner.VectorResult) -> None:
            nonlocal done, bad
            done += 1
            bad += not result.status.is_good
            bar.update(task, advance=1, bad=f"[red]{bad} not good[/red]" if bad else "")

        try:
            return runner.run(subject, chosen, declared, advance)
        except KeyboardInterrupt:
            console.print(f"{subject.name}: stopped after {done} of {len(chosen)} vectors, {bad} of them not good")
            raise


def _subjects(names: tuple[str, ...], commands: tuple[str, ...], timeout: float) -> list[Subject]:
    """The subjects that were asked for; ``all`` is every gateway that is installed."""
    if not names and not commands:
        raise click.UsageError(f"name a gateway ({', '.join(discovery.names())} or all), or give --exec 'COMMAND'")
    wanted = [one for name in names for one in (discovery.names() if name == "all" else [name])]
    subjects: list[Subject] = [InProcess(discovery.find(name), timeout) for name in dict.fromkeys(wanted)]
    for command in commands:
        try:
            subjects.append(Exec(command, timeout))
        except (SubjectFault, SaysUnsupported) as error:
            for subject in subjects:
                subject.close()
            told = f"{error.fault}: {error}" if isinstance(error, SubjectFault) else f"says unsupported: {error}"
            raise click.UsageError(f"--exec {command!r}: {told}") from None
    return subjects


def _live(wires: tuple[str, ...], declared: profile.Profile | None, slow: bool) -> list[Wire]:
    """The live gateways that were asked for. What is brought up for them is taken down, also if we are terminated."""
    if wires:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
    subjects: list[Wire] = []
    try:
        for name in dict.fromkeys(wires):
            subjects.append(live.find(name, declared, slow=slow))
    except BaseException as error:
        for subject in subjects:
            subject.close()
        if isinstance(error, LabError):
            raise click.UsageError(f"--wire {name}: {error}") from None
        raise
    return subjects


def _through_stack(subjects: list[Subject]) -> list[Subject]:
    """The same subjects, met through their own external stacks."""
    for subject in subjects:
        if "external.stack" not in subject.capabilities:
            for started in subjects:
                started.close()
            raise click.UsageError(f"--through-stack: {subject.name} does not declare external.stack")
    return [ThroughStack(subject) for subject in subjects]


def _through_handshake(
    chosen: tuple[model.Vector, ...], subjects: list[Subject]
) -> tuple[tuple[model.Vector, ...], list[Subject]]:
    """The vectors that a handshake leads to, and the same subjects met after one."""
    for subject in subjects:
        if not {"ovpn", "external.os"} <= subject.capabilities:
            for started in subjects:
                started.close()
            raise click.UsageError(f"--handshake: {subject.name} does not declare ovpn and external.os")
    reached = tuple(vector for vector in chosen if leads_to(vector))
    if not reached:
        raise runner.SelectionError("no handshake leads to any of the vectors that were chosen")
    if len(reached) < len(chosen):
        click.echo(
            f"{len(chosen) - len(reached)} of {len(chosen)} vectors are left out: no handshake leads there", err=True
        )
    return reached, [ThroughHandshake(subject) for subject in subjects]


def _load(paths: tuple[Path, ...]) -> tuple[model.VectorFile, ...]:
    """The vectors of these files and folders; without any, those that come with the package."""
    if not paths:
        return model.load_packaged()
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise runner.SelectionError(f"{path}: holds no vector file (*.json)")
        files += found
    return model.load_all(files)


def _write_reports(runs: list[runner.Run], writers: Writers, pcapng: Path | None) -> None:
    """Write what was asked for; a disk may be full, whatever was looked at before the run."""
    for path, write in writers:
        if path is not None:
            try:
                with path.open("w", encoding="utf-8") as file:
                    write(runs, file)
            except OSError as error:
                raise click.UsageError(f"{path}: cannot be written: {error.strerror}") from None
    if pcapng is not None:
        try:
            _write_captures(runs, pcapng)
        except OSError as error:
            raise click.UsageError(f"{error.filename or pcapng}: cannot be written: {error.strerror}") from None


def _write_captures(runs: list[runner.Run], folder: Path) -> None:
    """A capture of each vector that did not go well; where there are several subjects, each has a folder."""
    for run in runs:
        place = folder / run.subject if len(runs) > 1 else folder
        place.mkdir(parents=True, exist_ok=True)
        for result in run.results:
            if not result.status.is_good and result.steps:
                with (place / f"{result.vector.id}.pcapng").open("wb") as file:
                    export.write_result(result, file)
