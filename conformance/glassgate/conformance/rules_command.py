"""``glassgate rules``: the registry, and how many vectors test each rule."""

from __future__ import annotations

from collections import Counter

import click
from rich.console import Console
from rich.table import Table

from glassgate.conformance import model
from glassgate.contract.rules import CHAPTERS, RULES


@click.command()
@click.option("--untested", is_flag=True, help="List only rules that no vector tests.")
def rules(untested: bool) -> None:
    """List the rules, and how many vectors test each."""
    tested = Counter(rule for file in model.load_packaged() for vector in file.vectors for rule in vector.rules)
    table = Table(box=None, pad_edge=False)
    for column in ("rule", "level", "vectors", "what it says", "from"):
        table.add_column(column, no_wrap=column == "rule", justify="right" if column == "vectors" else "left")
    for chapter, title in CHAPTERS.items():
        shown = [
            rule
            for rule in RULES.values()
            if rule.requirement == chapter and not (untested and tested[rule.slug])
        ]
        if shown:
            table.add_row(f"[bold]{chapter} {title}[/bold]")
        for rule in shown:
            table.add_row(rule.slug, rule.level, str(tested[rule.slug] or "-"), rule.sentence, rule.citation)
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    without = sum(not tested[slug] for slug in RULES)
    console.print(f"{len(RULES)} rules, {len(RULES) - without} with vectors, {without} without", highlight=False)
