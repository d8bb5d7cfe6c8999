"""What a run of ``glassgate mutants`` found, as a page of the documentation: the score and every survivor by module.

It is written from what ``--json`` tells, so that a run of long ago can have its page, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

_HEAD = """\
# How strong the vectors are: mutation

The reference gateway is changed a little, in every way that [cosmic-ray](https://cosmic-ray.readthedocs.io) knows: a
`<` becomes a `<=`, a 1 a 2, an `and` an `or`. Then the vectors alone, without any unit test, must notice: one fails,
takes another of its outcomes, or a rule that it cites is no longer what the gateway tells as its reason. (`glassgate
rules` demands that rule of it.) A change that is not noticed has *survived*: either a vector is missing, or nothing
that a host or the far end could ever see depends on the change.

    make mutation                                   # all of it: some minutes on two quiet processors
    make mutation SAMPLE=150                        # a sample, as in every pull request
    glassgate mutants ipv4 --json ipv4.json         # one module
    glassgate mutants --json all.json --page docs/mutation.md

The run fails if a change survives without an excuse, if an excuse is not needed any more, or if less than 95 % of *all*
changes are noticed, those that mean the same included. Excuses stand in `mutants/excused.toml`, each with its reason;
one that begins with *Equivalent* says that the changed gateway does the same as before, whatever comes.
"""


def page(found: Mapping[str, Any], date: str) -> str:
    """The page about a run that ended on a date; ``found`` is what ``--json`` writes."""
    return "\n".join([_HEAD, *_score(found, date), *_survivors(found["survivors"])]) + "\n"


def is_equivalent(reason: str | None) -> bool:
    """Whether an excuse says that the change means the same.

    >>> is_equivalent("Equivalent: no octet is below zero.")
    True
    >>> is_equivalent("Only the rule in the note differs.")
    False
    """
    return reason is not None and reason.startswith("Equivalent")


def _score(found: Mapping[str, Any], date: str) -> Iterator[str]:
    yield f"## The score of {date}\n"
    yield "| module | changes | noticed | survived | of these equivalent | score | score without these |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, told in found["modules"].items():
        yield _row(f"`{name}`", told, [one for one in found["survivors"] if one["module"] == name])
    yield _row("**all**", found["total"], found["survivors"])
    yield ""


def _row(name: str, told: Mapping[str, Any], survivors: Sequence[Mapping[str, Any]]) -> str:
    changes, survived = told["changes"], told["survived"]
    equivalent = sum(is_equivalent(one["excuse"]) for one in survivors)
    noticed = changes - survived
    meant = 100.0 * noticed / (changes - equivalent) if changes > equivalent else 100.0
    figures = (changes, noticed, survived, equivalent, f"{told['per_cent']:.1f} %", f"{meant:.1f} %")
    return f"| {name} | {' | '.join(map(str, figures))} |"


def _survivors(survivors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Every survivor, and why\n"
    for module, ones in groupby(sorted(survivors, key=lambda one: str(one["module"])), key=lambda one: one["module"]):
        yield f"### `{module}`\n"
        # A line that was changed in several ways is told once, with one reason.
        for (text, reason), same in groupby(
            sorted(ones, key=lambda one: (one["line"], str(one["excuse"]))),
            key=lambda one: (one["text"], one["excuse"]),
        ):
            lines = ", ".join(_code(one["becomes"].strip() or "(left out)") for one in same)
            yield f"- {_code(text)} becomes {lines}. {reason or '**Not excused.**'}"
        yield ""


def _code(text: str) -> str:
    """A piece of a program in a line of Markdown, whatever it holds.

    >>> _code("a `b`")
    '`` a `b` ``'
    """
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"
