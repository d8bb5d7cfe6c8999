"""``glassgate rules``: each rule with the vectors that test it and the branches that cite it, executed or not.

What the optimized gateway takes over of the reference, its control plane, counts for both. A rule without a vector,
without a branch in one of the gateways, or with a branch that no vector reaches is a hole. The command fails on a hole,
unless ``rule-exceptions.toml`` excuses it with a reason; it fails on an excuse that is no longer needed, too.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

import click
from rich.console import Console
from rich.text import Text

from glassgate.conformance import model, terminal
from glassgate.conformance.citations import Citation, Reached, citations, reached, shared
from glassgate.conformance.subjects import discovery
from glassgate.contract.rules import CHAPTERS, RULES, Rule

GATEWAYS = ("reference", "optimized")
EXCEPTIONS = "rule-exceptions.toml"


class ExceptionsError(ValueError):
    """The file of exceptions is wrong."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why a rule may lack something. ``lacks`` are words such as ``vectors``, ``reference``, ``optimized reached``."""

    lacks: frozenset[str]
    reason: str
    shown: tuple[str, ...] = ()
    """The tests that show the rule instead, as ``file::test``."""


@dataclass(slots=True)
class Row:
    """What is known of one rule."""

    rule: Rule
    vectors: int
    places: dict[str, list[Citation]] = field(default_factory=dict)
    executed: dict[str, list[Citation]] = field(default_factory=dict)

    @property
    def holes(self) -> frozenset[str]:
        """What the rule lacks, in the words of the exceptions."""
        lacking = set() if self.vectors else {"vectors"}
        for gateway in GATEWAYS:
            if not self.places.get(gateway):
                lacking.add(gateway)
            elif not self.executed.get(gateway):
                lacking.add(f"{gateway} reached")
        return frozenset(lacking)


@click.command()
@click.option("--holes", is_flag=True, help="List only rules that lack something, excused or not.")
@click.option("--quick", is_flag=True, help="Count vectors only; look into no sources and run nothing.")
def rules(holes: bool, quick: bool) -> int:
    """List the rules: what each says, who tests it, where each gateway follows it.

    A branch is shown as module:line; ✓ says that the vectors reach it. Exit status 1 if a rule has a hole without an
    excuse, or an excuse without a hole.
    """
    vectors = [vector for file in model.load_packaged() for vector in file.vectors]
    rows = table_of(vectors, {} if quick else _observed(vectors))
    excuses = read_exceptions()
    console = terminal.console()
    shown = [row for row in rows if row.holes] if holes else rows
    _tell(console, shown, None if quick else excuses)
    if quick:
        return 0
    problems = unexcused(rows, excuses)
    console.print()
    for problem in problems:
        console.print(problem, style="red", markup=False)
    excused = sum(bool(row.holes) for row in rows)
    console.print(f"{len(rows)} rules, {excused} with an excused hole, {len(problems)} problems")
    return 1 if problems else 0


def _observed(vectors: Sequence[model.Vector]) -> Mapping[str, tuple[list[Citation], Reached]]:
    """The citations of each gateway, and what the vectors reach of them."""
    observed = {}
    for gateway in GATEWAYS:
        places = citations(f"glassgate.{gateway}")
        for owner in GATEWAYS:
            if owner != gateway:
                places += shared(f"glassgate.{gateway}", f"glassgate.{owner}")
        observed[gateway] = places, reached(discovery.find(gateway), vectors, places)
    return observed


def table_of(vectors: Sequence[model.Vector], observed: Mapping[str, tuple[list[Citation], Reached]]) -> list[Row]:
    """One row for each rule, in the registry's order."""
    tested = Counter(rule for vector in vectors for rule in vector.rules)
    rows = {slug: Row(rule, tested[slug]) for slug, rule in RULES.items()}
    for gateway, (places, came_by) in observed.items():
        by_rule: dict[str, list[Citation]] = defaultdict(list)
        for place in places:
            by_rule[place.rule].append(place)
        for slug, cited in by_rule.items():
            rows[slug].places[gateway] = cited
            rows[slug].executed[gateway] = [place for place in cited if came_by.includes(place)]
    return list(rows.values())


def read_exceptions(text: str | None = None) -> dict[str, Excuse]:
    """The exceptions that come with this package, or those in ``text``.

    Raises:
        ExceptionsError: a rule does not exist, or lacks something that no rule can lack, or has no reason.
    """
    if text is None:
        text = (resources.files("glassgate.conformance") / EXCEPTIONS).read_text()
    known = {"vectors", *GATEWAYS, *(f"{gateway} reached" for gateway in GATEWAYS)}
    excuses = {}
    for slug, entry in tomllib.loads(text).items():
        if slug not in RULES:
            raise ExceptionsError(f"{EXCEPTIONS}: {slug}: there is no such rule")
        lacks, reason = frozenset(entry.get("lacks", ())), str(entry.get("reason", ""))
        if not lacks or not lacks <= known:
            raise ExceptionsError(f"{EXCEPTIONS}: {slug}.lacks: needs some of {', '.join(sorted(known))}")
        if not reason:
            raise ExceptionsError(f"{EXCEPTIONS}: {slug}.reason: is missing")
        excuses[slug] = Excuse(lacks, reason, tuple(entry.get("shown", ())))
    return excuses


def unexcused(rows: Sequence[Row], excuses: Mapping[str, Excuse]) -> list[str]:
    """Each hole without an excuse and each excuse without a hole, in words."""
    problems = []
    for row in rows:
        excused = excuses[row.rule.slug].lacks if row.rule.slug in excuses else frozenset()
        problems += [f"{row.rule.slug}: lacks {hole}" for hole in sorted(row.holes - excused)]
        problems += [
            f"{row.rule.slug}: is excused for lacking {hole}, and has it" for hole in sorted(excused - row.holes)
        ]
    return problems


def _tell(out: Console, rows: Sequence[Row], excuses: Mapping[str, Excuse] | None) -> None:
    """Each rule below its chapter. Without excuses nobody looked where the gateways follow it."""
    for chapter, title in CHAPTERS.items():
        below = [row for row in rows if row.rule.requirement == chapter]
        if below:
            out.print()
            terminal.line(out, Text(f"{chapter} {title}", style="bold"))
        for row in below:
            facts = [row.rule.level, f"{row.vectors or 'no'} vector{'s' * (row.vectors != 1)}"]
            if excuses is not None:
                facts += [f"{gateway} {_branches(row, gateway)}" for gateway in GATEWAYS]
            head = Text.assemble((row.rule.slug, "bold cyan"), f"  {' · '.join(facts)}")
            says = [Text.assemble(row.rule.sentence, (f" ({row.rule.citation})", "dim"))]
            if excuses and row.rule.slug in excuses:
                says.append(Text(f"excused: {excuses[row.rule.slug].reason}", style="yellow"))
            terminal.entry(out, head, *says)


def _branches(row: Row, gateway: str) -> str:
    """The first branch that is reached, else the first there is; how many more."""
    places, executed = row.places.get(gateway, []), row.executed.get(gateway, [])
    if not places:
        return "nowhere"
    shown = f"{executed[0]} ✓" if executed else f"{places[0]} not reached"
    return shown + (f" +{len(places) - 1}" if len(places) > 1 else "")
