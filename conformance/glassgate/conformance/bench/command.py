"""``glassgate bench``: core, scale, lab, tables. Exit status 0: measured; 2: it could not be."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import Progress, TaskID, TimeElapsedColumn, track

from glassgate.conformance.bench import core, lab, memory, pages, plot, report, samples, scale, sheets
from glassgate.conformance.bench.figures import BenchError, Figure
from glassgate.conformance.bench.read import read
from glassgate.conformance.lab import programs
from glassgate.conformance.lab.errors import Interrupted, LabError
from glassgate.conformance.lab.signals import interruptible
from glassgate.conformance.subjects.discovery import SubjectError, find, names
from glassgate.contract import Implementation

BASE = "reference"
PACKETS, FULL_PACKETS = 30_000, 10_000_000
MEMORY = "memory"
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
    console, around = sheets.console(), report.environment()
    figures: list[Figure] = []
    running = core.measured(subjects, cases, rounds, milliseconds / 1000)
    try:
        for found in track(running, "measuring", total=len(cases), console=console, transient=True):
            figures += found
    except BenchError as error:
        raise click.ClickException(f"bench: {error}") from None
    base = BASE if any(figure.subject == BASE for figure in figures) else subjects[0].name
    console.print(sheets.rich_table(report.core_sheet(figures, core.CIPHER, base)))
    write(json_file, report.core_json(around, figures, core.CIPHER, base))
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


@bench.command(name="scale")
@GATEWAY_OPTION
@click.option("--only", default="", metavar="TEXT", help="Only states whose name holds TEXT; memory is one.")
@click.option("--largest", default=100_000, show_default=True, type=click.IntRange(1, 10**6), help="Most entries.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 1000), help="Turns that everybody has.")
@click.option("--packets", type=click.IntRange(5000, 10**9), help="Packets for the question of memory.")
@click.option(
    "--timeout", default=3600, show_default=True, type=click.IntRange(1, 10**6),
    help="Seconds for one gateway's packets; the figure tells how many passed.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="Ten million packets, and the most entries of everything: takes long.")
@JSON_OPTION
@SVG_OPTION
def scale_command(
    chosen: tuple[str, ...],
    only: str,
    largest: int,
    rounds: int,
    packets: int | None,
    timeout: int,
    full: bool,
    json_file: TextIO | None,
    svg_file: Path | None,
) -> int:
    """The cost of a packet against what the gateway remembers, and memory after many packets."""
    subjects = implementations(chosen)
    states = [state for state in scale.STATES if only in state.name]
    if not states and only not in MEMORY:
        raise click.ClickException(f"bench: no state holds {only!r}; the first is {scale.STATES[0].name!r}")
    wanted = (packets or (FULL_PACKETS if full else PACKETS)) if only in MEMORY else 0
    console, around = sheets.console(), report.environment()
    found: list[scale.ScaleFigure] = []
    running = scale.measured(states, subjects, largest, rounds, full=full)
    try:
        held = memories(subjects, wanted, timeout, console)
        for line in track(running, "measuring", total=len(states) * len(subjects), console=console, transient=True):
            found += line
    except BenchError as error:
        raise click.ClickException(f"bench: {error}") from None
    if found:
        console.print(sheets.rich_table(report.scale_sheet(found)))
    if held:
        console.print(sheets.rich_table(report.memory_sheet(held)))
    write(json_file, report.scale_json(around, found, held))
    if svg_file is not None and found:
        svg_file.write_text(plot.scale(found), encoding="utf-8")
    return 0


def memories(
    subjects: Sequence[Implementation], packets: int, seconds: float, console: Console
) -> list[memory.MemoryFigure]:
    """What each gateway holds after so many packets, by each of its interfaces, with an estimate of the time left."""
    asked = [(one.name, interface) for one in subjects for interface in memory.interfaces(one)] if packets else []
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    found = []
    with Progress(*columns, console=console, transient=True, speed_estimate_period=60) as progress:
        for name, interface in asked:
            task = progress.add_task(f"memory: {name} {interface}, {packets} packets", total=packets)
            tell = functools.partial(_tell_progress, progress, task)
            found.append(memory.ask(name, interface, packets, seconds, tell))
            progress.remove_task(task)
    return found


def _tell_progress(progress: Progress, task: TaskID, passed: int) -> None:
    progress.update(task, completed=passed)


@bench.command(name="lab")
@click.option(
    "--gateway", "chosen", multiple=True, type=click.Choice([subject.word for subject in samples.SUBJECTS]),
    help="Only this one (again for more); all but reference-own-stack.",
)  # fmt: skip
@click.option("--far-end", default="both", show_default=True, type=click.Choice(["both", samples.SERVER, samples.SINK]),
    help="The stock server, or a fast sink and source at saturation.",
)  # fmt: skip
@click.option("--load", default="both", show_default=True, type=click.Choice(["both", samples.PACKETS, samples.BULK]),
    help="Packets by themselves, or TCP in bulk.",
)  # fmt: skip
@click.option("--offloads", default="on", show_default=True, type=click.Choice(["on", "off"]),
    help="Segmentation and checksum offload of the external cables; real cards have it on.",
)  # fmt: skip
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="Turns of each gateway.")
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0.1, 60), help="Time of a turn.")
@click.option(
    "--rate", default=4000, show_default=True, type=click.IntRange(100, 10**6), help="Packets/s to the server."
)
@click.option("--burst", default=20000, show_default=True, type=click.IntRange(100, 10**6), help="Records downstream.")
@click.option("--timeout", default=600, show_default=True, type=click.IntRange(1, 7200), help="Seconds for all of it.")
@click.option(
    "--isolated", is_flag=True,
    help="A processor for the gateway, the others for its testers, before all other programs. Only with the sink.",
)  # fmt: skip
@JSON_OPTION
@SVG_OPTION
def lab_command(
    chosen: tuple[str, ...],
    far_end: str,
    load: str,
    offloads: str,
    rounds: int,
    seconds: float,
    rate: int,
    burst: int,
    timeout: int,
    isolated: bool,
    json_file: TextIO | None,
    svg_file: Path | None,
) -> int:
    """The same traffic through stock openvpn and the gateways, in network namespaces (root)."""
    subjects = [one for one in samples.SUBJECTS if one.word in chosen] or list(samples.USUAL)
    if isolated and far_end == samples.SERVER:
        raise click.ClickException("bench: --isolated is for the sink: programs of others do not get that priority")
    far_end = samples.SINK if isolated else far_end
    cases = [one for one in samples.CASES if far_end in ("both", one.far_end) and load in ("both", one.load)]
    plan = samples.Plan(rounds, seconds, rate, burst)
    console, around = sheets.console(), report.environment()
    found: list[samples.LabSample] = []
    try:
        programs.require()
        with interruptible(timeout), lab.benches(subjects, offloads=offloads == "on", isolated=isolated) as made:
            turns = rounds * len(subjects) * len(cases)
            running = lab.measured(made, plan, cases)
            for sample in track(running, "measuring", total=turns, console=console, transient=True):
                found.append(sample)
    except (LabError, BenchError) as error:
        raise click.ClickException(f"bench: {error}") from None
    except Interrupted as interrupted:
        click.echo(f"glassgate: bench: {interrupted.reason}; the labs are taken down", err=True)
        return interrupted.exit_status
    base, setting = subjects[0].name, samples.Setting(offloads, isolated)
    for sheet in (report.lab_sheet(found, base, setting), report.latency_sheet(found, base, setting)):
        if sheet is not None:
            console.print(sheets.rich_table(sheet))
    write(json_file, report.lab_json(around, found, base, setting))
    if svg_file is not None:
        svg_file.write_text(plot.lab(found, base), encoding="utf-8")
    return 0


@bench.command(name="tables")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", "directory", type=click.Path(file_okay=False, path_type=Path),
    help="Write each table into a file of its own there, rather than all to the terminal.",
)  # fmt: skip
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), help="Draw the pictures there, too.")
def tables_command(files: tuple[Path, ...], directory: Path | None, pictures: Path | None) -> int:
    """Markdown and pictures from what core, lab and scale wrote by --json; a later file replaces what it repeats."""
    try:
        found = read(files)
    except BenchError as error:
        raise click.ClickException(f"bench: {error}") from None
    for name, text in pages.tables(found).items():
        if directory is None:
            click.echo(text)
        else:
            write_file(directory / f"{name}.markdown", text)
    if pictures is not None:
        for name, picture in pages.pictures(found).items():
            write_file(pictures / f"bench-{name}.svg", picture)
    return 0


def write_file(file: Path, text: str) -> None:
    """Write a file, and its directory if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
