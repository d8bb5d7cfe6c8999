"""Finding a gateway in this process: by the name of its entry point, or as ``module:factory``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from glassgate.conformance.subjects.in_process import called_safely
from glassgate.conformance.subjects.subject import SubjectFault
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
    found: object = _imported(point.value, module_name) if module_name else None
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise SubjectError(f"{point.value}: module {module_name!r} has no {attribute!r}") from None
    if isinstance(found, Implementation):
        return found
    if callable(found) and _takes_two(found):
        return Implementation(point.name, "unknown", frozenset(CAPABILITIES), found)
    raise SubjectError(f"{point.value}: is neither an Implementation nor a factory (config, entropy) -> Gateway")


def _imported(value: str, module_name: str) -> ModuleType:
    """A module of somebody else, which may do anything when it is imported."""
    try:
        return called_safely(lambda: importlib.import_module(module_name))
    except SubjectFault as fault:
        cause = fault.__cause__
        why = cause if isinstance(cause, ImportError) else fault.message.replace("the gateway", "the module", 1)
        raise SubjectError(f"{value}: cannot be imported: {why}") from None


def _takes_two(factory: Callable[..., object]) -> bool:
    """Whether it can be called with a configuration and a source of randomness; only what tells its own is refused."""
    try:
        inspect.signature(factory).bind("config", "entropy")
    except TypeError:
        return False
    except ValueError:  # written in C, and it does not tell
        return True
    return True
