"""A gateway with a bug in it: the reference's sources with a few lines changed, loaded beside nothing else.

The change is made in the text of a module while Python loads it, so an animal is a real gateway, and what differs is
exactly what its entry in the zoo shows. The modules of the package are loaded afresh for it and put back afterwards.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from glassgate.contract import Implementation

PACKAGE = "glassgate.reference"


class ChangeError(ValueError):
    """A change does not fit the sources any more."""


def changed_text(module: str, text: str, changes: Sequence[tuple[str, str]]) -> str:
    """The text with each change made.

    Raises:
        ChangeError: what is to be replaced does not stand there exactly once.
    """
    for before, after in changes:
        count = text.count(before)
        if count != 1:
            raise ChangeError(f"{module}: stands {count} times, not once: {before.strip().splitlines()[0]!r}")
        text = text.replace(before, after)
    return text


class _ChangingLoader(SourceFileLoader):
    """Loads a module from its source with changes, and neither reads nor writes compiled files."""

    def __init__(self, name: str, path: str, changes: Sequence[tuple[str, str]]) -> None:
        super().__init__(name, path)
        self._changes = changes

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        path = self.get_filename(fullname)
        text = changed_text(fullname, self.get_data(path).decode(), self._changes)
        return compile(text, path, "exec", dont_inherit=True)


class _ChangingFinder(MetaPathFinder):
    def __init__(self, changes: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        self._changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._changes:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _ChangingLoader(fullname, spec.origin, self._changes[fullname])
        return spec


@contextmanager
def bred(changes: Mapping[str, Sequence[tuple[str, str]]], untouched: Collection[str] = ()) -> Iterator[Implementation]:
    """The reference gateway with ``changes`` (module → what stands there, what is to stand there) while it lasts.

    Modules in ``untouched``, which do not depend on the changed ones, stay loaded: that saves time.

    Raises:
        ChangeError: a change does not fit.
    """
    absolute = {f"{PACKAGE}.{module}": pairs for module, pairs in changes.items()}
    kept = _taken_out(untouched)
    finder = _ChangingFinder(absolute)
    sys.meta_path.insert(0, finder)
    try:
        implementation = importlib.import_module(PACKAGE).implementation
        for module in absolute:
            importlib.import_module(module)
        assert isinstance(implementation, Implementation)
        importlib.import_module(f"{PACKAGE}.gateway")  # made lazily otherwise, when the change may be gone
        yield implementation
    finally:
        sys.meta_path.remove(finder)
        _taken_out(untouched)
        _put_back(kept)


def _taken_out(untouched: Collection[str]) -> dict[str, ModuleType]:
    """Take the package's modules out of those that are loaded."""
    names = [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]
    return {name: sys.modules.pop(name) for name in names if name not in untouched}


def _put_back(modules: Mapping[str, ModuleType]) -> None:
    """Load them again as they were. The package is also an attribute of the one above it."""
    sys.modules.update(modules)
    above, _, name = PACKAGE.rpartition(".")
    if PACKAGE in modules:
        setattr(sys.modules[above], name, modules[PACKAGE])
    else:
        delattr(sys.modules[above], name)
