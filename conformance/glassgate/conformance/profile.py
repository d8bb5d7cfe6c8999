"""What the owner of a subject declares: a profile, as TOML.

    [subject]
    capabilities = ["external.os", "session", "cipher.aes-256-gcm"]      # instead of what the subject says
    alternatives = ["AnnouncesOnce"]       # the flags of outcomes that it takes where several are right

    [expected-failures]                     # vector id, or a pattern such as "tcp-*": the reason
    "fwd-own-subnet-*" = "redirects on purpose (RFC 1812 5.2.7.2)"

An expected failure that passes is reported as such, and fails the run: the profile is out of date.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from glassgate.contract import CAPABILITIES


class ProfileError(ValueError):
    """A profile that cannot be used: file, member and value."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is expected of one subject beyond the vectors. ``None`` means that the profile says nothing about it."""

    capabilities: frozenset[str] | None = None
    alternatives: frozenset[str] | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)

    def reason_to_fail(self, vector_id: str) -> str | None:
        """Why this vector is expected to fail; None if it is not."""
        for pattern, reason in self.expected_failures.items():
            if fnmatchcase(vector_id, pattern):
                return reason
        return None


def load(path: Path) -> Profile:
    """Read a profile.

    Raises:
        ProfileError: the file cannot be read, or holds what a profile does not.
    """
    try:
        with path.open("rb") as file:
            value = tomllib.load(file)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: is not TOML: {error}") from None
    _refuse_unknown(path, "", value, {"subject", "expected-failures"})
    subject = _table(path, "subject", value)
    _refuse_unknown(path, "subject.", subject, {"capabilities", "alternatives"})
    failures = _table(path, "expected-failures", value)
    for pattern, reason in failures.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ProfileError(f"{path}: expected-failures.{pattern}: {reason!r} is not a reason in words")
    return Profile(
        capabilities=_names(path, subject, "capabilities", CAPABILITIES),
        alternatives=_names(path, subject, "alternatives"),
        expected_failures={pattern: str(reason) for pattern, reason in failures.items()},
    )


def _refuse_unknown(path: Path, prefix: str, table: Mapping[str, object], known: set[str]) -> None:
    for name in table:
        if name not in known:
            raise ProfileError(f"{path}: {prefix}{name}: unknown member; known here: {', '.join(sorted(known))}")


def _table(path: Path, name: str, value: Mapping[str, object]) -> Mapping[str, object]:
    table = value.get(name, {})
    if not isinstance(table, dict):
        raise ProfileError(f"{path}: {name}: {table!r} is not a table")
    return table


def _names(
    path: Path, table: Mapping[str, object], name: str, known: Mapping[str, object] | None = None
) -> frozenset[str] | None:
    if name not in table:
        return None
    names = table[name]
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise ProfileError(f"{path}: subject.{name}: {names!r} is not a list of names")
    unknown = [one for one in names if known is not None and one not in known]
    if unknown:
        raise ProfileError(f"{path}: subject.{name}: {unknown[0]!r} is unknown")
    return frozenset(names)
