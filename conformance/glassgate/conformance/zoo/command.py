"""``glassgate zoo``: every animal, where it comes from, and the vector that catches it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import click
from rich.console import Console
from rich.progress import track
from rich.text import Text

from glassgate.conformance import model, runner, terminal
from glassgate.conformance.subjects.in_process import InProcess
from glassgate.conformance.zoo.animals import ANIMALS, Animal
from glassgate.conformance.zoo.breeding import ChangeError, bred


@dataclass(frozen=True, slots=True)
class Catch:
    """What the suite made of an animal: the vectors that fail on it and cite one of its rules."""

    animal: Animal
    vectors: tuple[str, ...]
    problem: str = ""

    @property
    def is_caught(self) -> bool:
        """Whether at least one did."""
        return bool(self.vectors)


def hunt(animal: Animal, vectors: Sequence[model.Vector]) -> Catch:
    """Run the vectors that cite a rule of the animal against it."""
    apt = [vector for vector in vectors if set(vector.rules) & set(animal.rules)]
    try:
        with bred(animal.changes) as implementation:
            subject = InProcess(implementation)
            caught = tuple(vector.id for vector in apt if not _passes(subject, vector))
    except ChangeError as error:
        return Catch(animal, (), str(error))
    return Catch(animal, caught, "" if apt else "no vector cites its rules")


def _passes(subject: InProcess, vector: model.Vector) -> bool:
    return runner.run_vector(subject, vector, subject.capabilities).status.is_good


@click.command()
@click.argument("names", nargs=-1)
@click.option("--show", is_flag=True, help="Show the change that makes each animal, too.")
def zoo(names: tuple[str, ...], show: bool) -> int:
    """Set real bugs of real gateways free, one at a time, and tell which vector catches each.

    NAMES are animals, with * and ? as usual; all if none is given. Exit status 1 if one gets away.
    """
    chosen = [animal for animal in ANIMALS if not names or any(fnmatchcase(animal.name, name) for name in names)]
    if not chosen:
        raise click.UsageError(f"no animal is called {', '.join(names)}; `glassgate zoo` lists them all")
    vectors = [vector for file in model.load_packaged() for vector in file.vectors]
    console = terminal.console()
    catches = list(_hunted(chosen, vectors, console))
    for catch in catches:
        terminal.entry(console, _head(catch), _story(catch.animal))
    for animal in chosen if show else ():
        _print_change(console, animal)
    away = [catch for catch in catches if not catch.is_caught]
    console.print(f"{len(catches)} animals, {len(catches) - len(away)} caught, {len(away)} got away")
    return 1 if away else 0


def _hunted(animals: Sequence[Animal], vectors: Sequence[model.Vector], console: Console) -> Iterator[Catch]:
    for animal in track(animals, "zoo", console=console, transient=True, disable=not console.is_terminal):
        yield hunt(animal, vectors)


def _head(catch: Catch) -> Text:
    """The animal, and who catches it."""
    name = (catch.animal.name, "bold")
    if not catch.is_caught:
        return Text.assemble(name, (f"  got away {catch.problem}", "red"))
    more = f" and {len(catch.vectors) - 1} more" if len(catch.vectors) > 1 else ""
    return Text.assemble(name, (f"  caught by {catch.vectors[0]}{more}", "green"))


def _story(animal: Animal) -> Text:
    """What it does, and where it comes from."""
    return Text.assemble(animal.what, (f" ({animal.origin})", "dim"))


def _print_change(console: Console, animal: Animal) -> None:
    console.rule(animal.name, align="left")
    for module, pairs in animal.changes.items():
        for before, after in pairs:
            console.print(f"{module}.py", markup=False)
            for sign, text in (("-", before), ("+", after)):
                for line in text.rstrip("\n").splitlines():
                    console.print(f"{sign} {line}", markup=False, highlight=False)
