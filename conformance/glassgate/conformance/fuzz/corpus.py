"""The corpus: the fewest and shortest stories that together reach what all stories have reached.

What a story reaches are the pairs of rules that follow one another in what the first gateway does. A story earns its
place by pairs that no story chosen before it has reached. The corpus that is shipped is replayed on both gateways by
the tests, and every campaign begins with it.

A file holds a JSON array, a story a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from glassgate.conformance import strict_json
from glassgate.conformance.fuzz.player import play
from glassgate.conformance.fuzz.stories import Story
from glassgate.contract import Implementation

LARGEST = 250_000
"""Octets: what a corpus in a file may take."""

Pair = tuple[str, str]


class CorpusError(ValueError):
    """The file is no corpus; the message says which and why."""


def reached(implementation: Implementation, story: Story) -> frozenset[Pair]:
    """The pairs of rules that follow one another when ``story`` is played."""
    return frozenset(pairwise(rule for turn in play(implementation, story) for rule in turn.reasons))


def packaged() -> tuple[Story, ...]:
    """The corpus that is shipped."""
    text = resources.files("glassgate.conformance.fuzz").joinpath("corpus.json").read_text(encoding="utf-8")
    return tuple(Story.from_json(value) for value in strict_json.parse(text))


def read(path: Path) -> list[Story]:
    """The stories of a file.

    Raises:
        CorpusError: it cannot be read, or is no corpus.
    """
    try:
        values = strict_json.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CorpusError(f"{path}: {error}") from None
    if not isinstance(values, list):
        raise CorpusError(f"{path}: is not a list of stories")
    return [_read_story(path, number, value) for number, value in enumerate(values)]


def _read_story(path: Path, number: int, value: Any) -> Story:
    try:
        return Story.from_json(value)
    except ValueError as error:
        raise CorpusError(f"{path}: story {number}: {error}") from None


def write(path: Path, stories: Iterable[Story]) -> None:
    """Write beside the file and rename, so that an old corpus is never half overwritten.

    Raises:
        OSError: it cannot be written.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("[\n" + ",\n".join(map(line, stories)) + "\n]\n", encoding="utf-8")
    fresh.replace(path)


def line(story: Story) -> str:
    """A story as it stands in a file."""
    return json.dumps(story.to_json(), separators=(",", ":"))


def prune(implementation: Implementation, stories: Sequence[Story], largest: int = LARGEST) -> list[Story]:
    """The corpus of ``stories``: each time the one with most new pairs an octet, until nothing is new or fits."""
    left = {index: reached(implementation, story) for index, story in enumerate(stories)}
    sizes = [len(line(story)) + len(",\n") for story in stories]
    covered: set[Pair] = set()
    chosen: list[Story] = []
    room = largest
    while left := {index: fresh for index, pairs in left.items() if (fresh := pairs - covered)}:
        index = max(left, key=lambda index: (len(left[index]) / sizes[index], -index))
        fresh = left.pop(index)
        if sizes[index] <= room:
            room -= sizes[index]
            chosen.append(stories[index])
            covered |= fresh
    return chosen
