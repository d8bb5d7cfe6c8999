"""Fill the authored sources into ``vectors/*.json``.

    python -m glassgate.conformance.filling            write the files
    python -m glassgate.conformance.filling --check    exit with 1 if any file differs from its source

The formatting is canonical: two runs give the same octets. Filling needs no gateway, and none can speak here.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from glassgate.conformance.authoring import SOURCES
from glassgate.conformance.authoring.story import Category
from glassgate.conformance.model import dumps

VECTORS = Path(__file__).parent / "vectors"


def categories() -> list[Category]:
    """Every authored category, in the order of the lecture."""
    return [importlib.import_module(f"glassgate.conformance.authoring.sources.{name}").category for name in SOURCES]


def files() -> dict[str, str]:
    """The name and text of each file."""
    return {f"{category.name}.json": dumps(category.file()) for category in categories()}


def differences(directory: Path = VECTORS) -> list[str]:
    """What is missing in the directory, stands there without a source, or differs from its source."""
    texts = files()
    found = [f"{name}: missing" for name in texts if not (directory / name).exists()]
    for path in sorted(directory.glob("*.json")):
        if path.name not in texts:
            found.append(f"{path.name}: has no source")
        elif path.read_text("utf-8") != texts[path.name]:
            found.append(f"{path.name}: differs from its source")
    return found


def fill(directory: Path = VECTORS) -> None:
    """Write every file, each at one stroke: who reads it meanwhile has the old one or the new, and no part."""
    directory.mkdir(exist_ok=True)
    for name, text in files().items():
        beside = directory / f".{name}.{os.getpid()}"
        beside.write_text(text, "utf-8")
        beside.replace(directory / name)


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Fill, or check. The exit status: 0 done or equal, 1 different, 2 not understood."""
    if list(arguments) == ["--check"]:
        found = differences()
        sys.stderr.writelines(f"glassgate: {line}; run python -m glassgate.conformance.filling\n" for line in found)
        return 1 if found else 0
    if arguments:
        sys.stderr.write(f"glassgate: {arguments[0]!r} is not known; the only option is --check\n")
        return 2
    fill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
