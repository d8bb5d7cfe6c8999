"""``glassgate vectors``: list, show and export."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from glassgate.conformance import dissect, export, model, report, runner, terminal
from glassgate.conformance.model import ExpectedAction, PacketInput, Vector
from glassgate.contract.rules import RULES

_COLUMNS_OF_A_PIPE = 160
_id_option = click.option("--id", "ids", multiple=True, metavar="GLOB", help="Only ids that match; may be repeated.")
_category_option = click.option("--category", "categories", multiple=True, metavar="GLOB", help="Only this category.")
_rule_option = click.option("--rule", "rules", multiple=True, metavar="GLOB", help="Only vectors that cite this rule.")


@click.group()
def vectors() -> None:
    """List, show and export the vectors."""


def _selected(ids: tuple[str, ...], categories: tuple[str, ...], rules: tuple[str, ...]) -> tuple[Vector, ...]:
    try:
        return runner.select(model.load_packaged(), ids, categories, rules)
    except runner.SelectionError as error:
        raise click.UsageError(str(error)) from None


@vectors.command("list")
@_id_option
@_category_option
@_rule_option
def list_(ids: tuple[str, ...], categories: tuple[str, ...], rules: tuple[str, ...]) -> None:
    """List vectors: id, verdict, title and rules. In a pipe each has one line."""
    chosen = _selected(ids, categories, rules)
    out = terminal.console()
    if out.is_terminal:
        for vector in chosen:
            facts = (f"  {vector.result} · {', '.join(vector.rules)}", "dim")
            terminal.entry(out, Text.assemble((vector.id, "bold"), facts), Text(vector.title))
    else:
        longest = max(len(vector.id) for vector in chosen)
        for vector in chosen:
            words = f"{vector.id:{longest}}  {vector.result:10}  {vector.title}  [{' '.join(vector.rules)}]"
            terminal.line(out, Text(words))
    out.print(f"{len(chosen)} vectors in {len({vector.category for vector in chosen})} categories")


@vectors.command()
@click.argument("vector_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the vector as it stands in its file.")
def show(vector_id: str, as_json: bool) -> None:
    """Show one vector: its rules in words, and each step decoded."""
    known = {vector.id: vector for file in model.load_packaged() for vector in file.vectors}
    if vector_id not in known:
        near = difflib.get_close_matches(vector_id, known, 3) or list(known)[:3]
        raise click.UsageError(f"no vector is called {vector_id!r}; near: {', '.join(near) or 'there are none'}")
    vector = known[vector_id]
    if as_json:
        click.echo(json.dumps(model.vector_to_json(vector), indent=1, ensure_ascii=False))
        return
    console = terminal.console(_COLUMNS_OF_A_PIPE)
    console.print(f"[bold]{vector.id}[/bold] (rev {vector.rev}, {vector.category}, {vector.result})  {vector.title}")
    for slug in vector.rules:
        console.print(f"  rule {slug} ({RULES[slug].level}): {RULES[slug].sentence} ({RULES[slug].citation})")
    console.print(f"  expected because of: {vector.source}")
    console.print(f"  needs: {', '.join(vector.requires) or 'nothing'}")
    if vector.patch:
        console.print(f"  configuration: {json.dumps(vector.patch)}")
    for index, step in enumerate(vector.steps):
        when = f" (only after {step.when})" if step.when else ""
        console.print(f"step {index} at {step.at:g} s: {report.input_told(step)}{when}")
        if isinstance(step.input, PacketInput):
            _show_octets(console, step.input.port, step.input.data)
        for outcome in step.outcomes:
            _show_outcome(console, outcome)


def _show_outcome(console: Console, outcome: model.Outcome) -> None:
    flag = f"or, {outcome.flag}" if outcome.flag else "expected"
    if not outcome.expect:
        console.print(f"  {flag}: silence")
    for expected in outcome.expect:
        console.print(f"  {flag}: {report.effect_told(expected)}")
        if not isinstance(expected, ExpectedAction):
            _show_octets(console, expected.port, expected.data)
            for free in expected.free:
                console.print(f"      free: {json.dumps(model.free_to_json(free))}")


def _show_octets(console: Console, port: model.VectorPort, data: bytes) -> None:
    for layer in dissect.frame(port, data).layers:
        console.print(f"      {layer.name}: {layer.summary}")
    console.print(f"      {data.hex()}", soft_wrap=True)


@vectors.command("export", short_help="Write the vectors, or a capture of each.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--pcapng", is_flag=True, help="Write a capture for each vector instead of the JSON files.")
@_id_option
@_category_option
@_rule_option
def export_(
    folder: Path, pcapng: bool, ids: tuple[str, ...], categories: tuple[str, ...], rules: tuple[str, ...]
) -> None:
    """Write the vector files and their schema into FOLDER, or captures that Wireshark opens."""
    chosen = _selected(ids, categories, rules)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        count = _write_captures(folder, chosen) if pcapng else _write_files(folder, {v.id for v in chosen})
    except OSError as error:
        raise click.UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None
    click.echo(f"{count} files written to {folder}")


def _write_captures(folder: Path, chosen: tuple[Vector, ...]) -> int:
    for vector in chosen:
        with (folder / f"{vector.id}.pcapng").open("wb") as file:
            export.write_vector(vector, file)
    return len(chosen)


def _write_files(folder: Path, ids: set[str]) -> int:
    """The files that hold one of these vectors, whole and unchanged, and the schema."""
    count = 1
    schema = model.schema()
    (folder / f"vectors-{model.MAJOR_VERSION}.schema.json").write_text(json.dumps(schema, indent=2) + "\n", "utf-8")
    for source in model.packaged():
        text = source.read_text(encoding="utf-8")
        if any(vector.id in ids for vector in model.loads(text, source.name).vectors):
            (folder / source.name).write_text(text, "utf-8")
            count += 1
    return count
