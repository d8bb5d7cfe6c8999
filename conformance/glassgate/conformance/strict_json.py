"""JSON as RFC 8259 has it, and no more: for everything that somebody else wrote.

Python's reader takes NaN, and of two members with one name it keeps the last; a file that says ``mtu`` twice would
be judged by the one that its author did not look at. Whatever is wrong comes as one ``ValueError`` with one line.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

LONGEST_INTEGER = 4000
"""Digits. Reading takes the square of their number; CPython refuses a few more than these, PyPy takes any."""


def parse(text: str) -> Any:
    """The value that a JSON text holds.

    Raises:
        ValueError: it is not JSON; the line says what, and where it can, the place.

    >>> parse('{"mtu": 1500, "mtu": 1400}')
    Traceback (most recent call last):
        ...
    ValueError: is not JSON: the member 'mtu' stands twice in one object
    """
    try:
        return json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant, parse_int=_integer)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the member {name!r} stands twice in one object")
        members[name] = value
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(digits)} digits: {digits[:12]}…")
    return int(digits)
