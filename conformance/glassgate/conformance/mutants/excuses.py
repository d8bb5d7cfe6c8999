"""The changes that no vector can notice, each with a reason: ``excused.toml``.

An excuse is known by the module and the text of the line, so it keeps its place when lines move, and falls when its
line is written anew. ``becomes`` tells the changed lines that are meant; without it, every change of the line is.

A function that only says what notes tell, or that only a driver calls, is no part of the data plane: it is left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

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
    if text is None:
        text = (resources.files("glassgate.conformance.mutants") / EXCUSED).read_text("utf-8")
    return [_excuse(index, entry) for index, entry in enumerate(tomllib.loads(text).get("excuse", []))]


def _excuse(index: int, entry: dict[str, object]) -> Excuse:
    name = f"{EXCUSED}: excuse[{index}]"
    strange = sorted(set(entry) - _MEMBERS)
    if strange:
        raise ExcuseError(f"{name}: {strange[0]} is not known; known are {', '.join(sorted(_MEMBERS))}")
    for member in ("module", "reason"):
        if not entry.get(member):
            raise ExcuseError(f"{name}.{member}: is missing")
    if not entry.get("line") and not entry.get("function"):
        raise ExcuseError(f"{name}: tells neither line nor function")
    lines = entry.get("becomes", [])
    if not isinstance(lines, list):
        raise ExcuseError(f"{name}.becomes: is no list")
    text = {member: str(entry.get(member, "")) for member in ("module", "line", "function", "reason")}
    return Excuse(becomes=tuple(str(line) for line in lines), **text)


def read_left_out(text: str | None = None) -> dict[tuple[str, str], str]:
    """Module and function of what is not tried, each with its reason.

    Raises:
        ExcuseError: a member is missing.
    """
    if text is None:
        text = (resources.files("glassgate.conformance.mutants") / EXCUSED).read_text("utf-8")
    left_out = {}
    for index, entry in enumerate(tomllib.loads(text).get("left_out", [])):
        for member in ("module", "function", "reason"):
            if not entry.get(member):
                raise ExcuseError(f"{EXCUSED}: left_out[{index}].{member}: is missing")
        left_out[str(entry["module"]), str(entry["function"])] = str(entry["reason"])
    return left_out


def excuse_for(trial: Trial, excuses: Iterable[Excuse]) -> Excuse | None:
    """The first excuse that covers a survivor."""
    return next((excuse for excuse in excuses if excuse.covers(trial)), None)


def unneeded(excuses: Sequence[Excuse], survivors: Sequence[Trial]) -> list[Excuse]:
    """Those that cover no survivor of a whole run."""
    return [excuse for excuse in excuses if not any(excuse.covers(trial) for trial in survivors)]
