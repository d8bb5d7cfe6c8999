"""What the owner of a subject declares: a profile, as TOML.

    [subject]
    capabilities = ["external.os", "session", "cipher.aes-256-gcm"]      # instead of what the subject says
    alternatives = ["AnnouncesOnce"]       # the flags of outcomes that it takes where several are right

    [expected-failures]                     # vector id, or a pattern such as "tcp-*": the reason
    "fwd-own-subnet-*" = "redirects on purpose (RFC 1812 5.2.7.2)"

    [unsupported]                           # the same form: not run, for a reason
    "ret-queue-of-32" = "counts memory, not packets"

    [wire]                                  # a live gateway only
    time-scale = 1.0                        # real seconds for a second of a vector

An expected failure that passes is reported as such, and fails the run: the profile is out of date.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path

from glassgate.conformance.model import Vector, VectorFile
from glassgate.contract import CAPABILITIES

TABLES = {"subject", "expected-failures", "unsupported", "wire"}


class ProfileError(ValueError):
    """A profile that cannot be used: file, member and value."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is expected of one subject beyond the vectors. ``None`` means that the profile says nothing about it."""

    capabilities: frozenset[str] | None = None
    alternatives: frozenset[str] | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    time_scale: float = 1.0
    """Real seconds for a second of a vector, where the subject is live."""

    def reason_to_fail(self, vector_id: str) -> str | None:
        """Why this vector is expected to fail; None if it is not."""
        return _reason(self.expected_failures, vector_id)

    def reason_not_to_run(self, vector_id: str) -> str | None:
        """Why this vector is not run; None if it is."""
        return _reason(self.unsupported, vector_id)


def _reason(reasons: Mapping[str, str], vector_id: str) -> str | None:
    return next((reason for pattern, reason in reasons.items() if fnmatchcase(vector_id, pattern)), None)


def packaged(name: str) -> Profile:
    """A profile that comes with this package.

    Raises:
        ProfileError: it holds what a profile does not.
    """
    return load(Path(str(resources.files("glassgate.conformance") / "profiles" / f"{name}.toml")))


def load(path: Path, files: Iterable[VectorFile] = ()) -> Profile:
    """Read a profile; if the vector files that it is about are given, what it says must concern some vector.

    Raises:
        ProfileError: the file cannot be read, or holds what a profile does not.
    """
    value = read_toml(path)
    refuse_unknown(path, "", value, TABLES)
    declared = of_tables(path, value)
    vectors = [vector for file in files for vector in file.vectors]
    if vectors:
        _refuse_idle(path, declared, vectors)
    return declared


def _refuse_idle(path: Path, declared: Profile, vectors: Iterable[Vector]) -> None:
    """A misspelt flag or pattern would be without effect, and nobody would notice."""
    flags = {flag for vector in vectors for flag in vector.flags}
    for flag in sorted(declared.alternatives or ()):
        if flag not in flags:
            raise ProfileError(f"{path}: subject.alternatives: {flag!r} is no vector's flag")
    for name, reasons in (("expected-failures", declared.expected_failures), ("unsupported", declared.unsupported)):
        for pattern in reasons:
            if not any(fnmatchcase(vector.id, pattern) for vector in vectors):
                raise ProfileError(f"{path}: {name}.{pattern}: no vector has such an id")


def read_toml(path: Path) -> dict[str, object]:
    """The tables of a file.

    Raises:
        ProfileError: the file cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: is not TOML: {error}") from None


def of_tables(path: Path, value: Mapping[str, object]) -> Profile:
    """A profile of its tables; ``path`` is for messages.

    Raises:
        ProfileError: they hold what a profile does not.
    """
    subject = table(path, "subject", value)
    refuse_unknown(path, "subject.", subject, {"capabilities", "alternatives"})
    wire = table(path, "wire", value)
    refuse_unknown(path, "wire.", wire, {"time-scale"})
    return Profile(
        capabilities=_names(path, subject, "capabilities", CAPABILITIES),
        alternatives=_names(path, subject, "alternatives"),
        expected_failures=_reasons(path, "expected-failures", value),
        unsupported=_reasons(path, "unsupported", value),
        time_scale=_scale(path, wire),
    )


def _reasons(path: Path, name: str, value: Mapping[str, object]) -> dict[str, str]:
    """A table of patterns and reasons; the first pattern that fits counts."""
    reasons: dict[str, str] = {}
    for pattern, reason in table(path, name, value).items():
        if not isinstance(reason, str) or not reason.strip():
            raise ProfileError(f"{path}: {name}.{pattern}: {reason!r} is not a reason in words")
        reasons[pattern] = reason
    return reasons


def _scale(path: Path, wire: Mapping[str, object]) -> float:
    scale = wire.get("time-scale", 1.0)
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise ProfileError(f"{path}: wire.time-scale: {scale!r} is not a number over 0")
    return float(scale)


def refuse_unknown(path: Path, prefix: str, members: Mapping[str, object], known: set[str]) -> None:
    """Refuse a table with a member that is not known.

    Raises:
        ProfileError: there is one.
    """
    for name in members:
        if name not in known:
            raise ProfileError(f"{path}: {prefix}{name}: unknown member; known here: {', '.join(sorted(known))}")


def table(path: Path, name: str, value: Mapping[str, object]) -> Mapping[str, object]:
    """A table of a file; an empty one if it is not there.

    Raises:
        ProfileError: it is there and no table.
    """
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise ProfileError(f"{path}: {name}: {found!r} is not a table")
    return found


def _names(
    path: Path, members: Mapping[str, object], name: str, known: Mapping[str, object] | None = None
) -> frozenset[str] | None:
    if name not in members:
        return None
    names = members[name]
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise ProfileError(f"{path}: subject.{name}: {names!r} is not a list of names")
    unknown = [one for one in names if known is not None and one not in known]
    if unknown:
        raise ProfileError(f"{path}: subject.{name}: {unknown[0]!r} is unknown")
    return frozenset(names)
