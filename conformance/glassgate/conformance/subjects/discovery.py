"""Finding a gateway in this process: by the name of its entry point, or as ``module:factory``."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from glassgate.contract import CAPABILITIES, Implementation

GROUP = "glassgate.gateways"


class SubjectError(ValueError):
    """There is no such gateway, or it cannot be loaded."""


def names() -> list[str]:
    """The names of the gateways that are installed, in order."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find(name: str) -> Implementation:
    """The implementation of that name, or the one at ``module:factory``.

    A factory that is no ``Implementation`` is taken to have every capability.

    Raises:
        SubjectError: the name is unknown or its module does not load.
    """
    if ":" in name:
        _look_here()
        return _load(EntryPoint(name=name, value=name, group=GROUP))
    for point in entry_points(group=GROUP):
        if point.name == name:
            return _load(point)
    known = ", ".join(names()) or "none"
    raise SubjectError(f"no gateway is called {name!r}; known: {known} (or give module:factory)")


def _look_here() -> None:
    """A console script does not look for modules where the user stands, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _load(point: EntryPoint) -> Implementation:
    module_name, _, attribute = point.value.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise SubjectError(f"{point.value}: cannot be imported: {error}") from None
    except (AttributeError, ValueError):
        raise SubjectError(f"{point.value}: module {module_name!r} has no {attribute!r}") from None
    if isinstance(found, Implementation):
        return found
    if callable(found):
        return Implementation(point.name, "unknown", frozenset(CAPABILITIES), found)
    raise SubjectError(f"{point.value}: is neither an Implementation nor a factory (config, entropy) -> Gateway")
