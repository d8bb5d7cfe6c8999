"""The changes that no vector can notice, each with a reason: ``excused.toml``.

An excuse is known by the module and the text of the line, so it keeps its place when lines move, and falls when its
line is written anew. ``becomes`` tells the changed lines that are meant; without it, every change of the line is.

What only makes notes, or only a driver calls, is no part of the data plane: such functions and lines are left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from importlib import resources

from glassgate.conformance.mutants.making import Mutant
from glassgate.conformance.mutants.trying import Trial

EXCUSED = "excused.toml"
_MEMBERS = {"module", "line", "becomes", "function", "reason"}


class ExcuseError(ValueError):
    """The file of excuses is wrong."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why some changes of a line survive. Without a line, of a whole function; ``function`` narrows the line down."""

    module: str
    line: str
    becomes: tuple[str, ...]
    function: str
    reason: str

    def covers(self, trial: Trial) -> bool:
        """Whether it is about this change."""
        mutant = trial.mutant
        return (
            mutant.module == self.module
            and (not self.line or mutant.text == self.line)
            and (not self.becomes or trial.becomes in self.becomes)
            and (not self.function or mutant.function == self.function)
        )

    def __str__(self) -> str:
        return f"{self.module}: {self.line or self.function}"


def read_excuses(text: str | None = None) -> list[Excuse]:
    """The excuses that come with this package, or those in ``text``.

    Raises:
        ExcuseError: a member is missing, unknown or empty.
    """
    entries = tomllib.loads(_packaged() if text is None else text).get("excuse", [])
    return [_excuse(f"{EXCUSED}: excuse[{index}]", entry) for index, entry in enumerate(entries)]


def _excuse(name: str, entry: dict[str, object]) -> Excuse:
    _check(name, entry, _MEMBERS)
    lines = entry.get("becomes", [])
    if not isinstance(lines, list):
        raise ExcuseError(f"{name}.becomes: is no list")
    text = {member: str(entry.get(member, "")) for member in ("module", "line", "function", "reason")}
    return Excuse(becomes=tuple(str(line) for line in lines), **text)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A function or a line that is not changed at all."""

    module: str
    function: str
    line: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether a change would be there."""
        return (
            mutant.module == self.module
            and (not self.function or mutant.function == self.function)
            and (not self.line or mutant.text == self.line)
        )


def read_left_out(text: str | None = None) -> list[LeftOut]:
    """What comes with this package as left out, or what ``text`` tells.

    Raises:
        ExcuseError: a member is missing, unknown or empty.
    """
    entries = tomllib.loads(_packaged() if text is None else text).get("left_out", [])
    return [_left_out(f"{EXCUSED}: left_out[{index}]", entry) for index, entry in enumerate(entries)]


def _left_out(name: str, entry: dict[str, object]) -> LeftOut:
    _check(name, entry, _MEMBERS - {"becomes"})
    return LeftOut(**{member: str(entry.get(member, "")) for member in ("module", "function", "line", "reason")})


def _check(name: str, entry: dict[str, object], known: Set[str]) -> None:
    strange = sorted(set(entry) - known)
    if strange:
        raise ExcuseError(f"{name}: {strange[0]} is not known; known are {', '.join(sorted(known))}")
    for member in ("module", "reason"):
        if not entry.get(member):
            raise ExcuseError(f"{name}.{member}: is missing")
    if not entry.get("line") and not entry.get("function"):
        raise ExcuseError(f"{name}: tells neither line nor function")


def _packaged() -> str:
    return (resources.files("glassgate.conformance.mutants") / EXCUSED).read_text("utf-8")


def excuse_for(trial: Trial, excuses: Iterable[Excuse]) -> Excuse | None:
    """The first excuse that covers a survivor."""
    return next((excuse for excuse in excuses if excuse.covers(trial)), None)


def unneeded(excuses: Sequence[Excuse], survivors: Sequence[Trial]) -> list[Excuse]:
    """Those that cover no survivor of a whole run."""
    return [excuse for excuse in excuses if not any(excuse.covers(trial) for trial in survivors)]
