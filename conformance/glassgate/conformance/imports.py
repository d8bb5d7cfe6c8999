"""Which modules a package has, and which import which: read from the sources, nothing is loaded."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


def modules(package: str) -> Iterator[tuple[Path, str]]:
    """Each module's file and its name within the package."""
    for folder in _folders(package):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """The modules that a module imports by their absolute names; of a package's names, each may be a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dependents(package: str) -> dict[str, frozenset[str]]:
    """Of each module of a package, by absolute names: itself and those that import it, or that import these.

    Packages are left out: in ``from package import module`` what counts is the module.
    """
    files = {f"{package}.{name}": path for path, name in modules(package) if path.stem != "__init__"}
    importers: dict[str, set[str]] = defaultdict(set)
    for name, path in files.items():
        for wanted in imported(path):
            importers[wanted].add(name)
    return {name: _reached(name, importers) for name in files}


def _reached(name: str, importers: dict[str, set[str]]) -> frozenset[str]:
    found = {name}
    waiting = [name]
    while waiting:
        new = importers.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return frozenset(found)


def _folders(package: str) -> list[Path]:
    spec = find_spec(package)
    return [Path(place) for place in spec.submodule_search_locations or ()] if spec is not None else []
