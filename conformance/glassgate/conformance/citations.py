"""Where a gateway's sources cite the rules, and which of these places a run of the vectors really reaches.

A citation is ``rules.S17_EXPIRED`` in the text of a package, or the slug ``s17-expired`` in a comment behind a line or
in front of one: so can a line be cited that has no time to name its rule. It is reached if Python executes that line
while vectors run; one in a table that is made when the module is loaded counts as reached if the gateway names the
rule in a note.

A package follows a rule in its own sources, or in modules of another one that it imports: of the reference, the
optimized gateway shares the control plane.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from glassgate.conformance import imports, runner
from glassgate.conformance.model import Vector
from glassgate.conformance.subjects.in_process import InProcess
from glassgate.contract import Implementation, rules

_SLUG = re.compile(r"\b[a-z]\d+-[a-z0-9-]+\b")
_SLUGS = {name: value.slug for name, value in vars(rules).items() if isinstance(value, rules.Rule)}


@dataclass(frozen=True, slots=True, order=True)
class Citation:
    """A place in a package's sources that names a rule."""

    rule: str
    module: str
    line: int
    function: str
    path: str

    @property
    def is_in_function(self) -> bool:
        """Whether its line is executed when something is decided, and not when the module is loaded."""
        return self.function != ""

    def __str__(self) -> str:
        return f"{self.module}:{self.line}"


def citations(package: str) -> list[Citation]:
    """All citations in a package, in order of module and line."""
    found: list[Citation] = []
    for path, module in imports.modules(package):
        found += _in_module(path, module)
    return sorted(found, key=lambda citation: (citation.module, citation.line))


def shared(package: str, owner: str) -> list[Citation]:
    """The citations in those modules of ``owner`` that ``package`` imports, or that they import in turn."""
    of_owner = {f"{owner}.{module}": path for path, module in imports.modules(owner)}
    waiting = [name for path, _ in imports.modules(package) for name in imports.imported(path)]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        if name in of_owner and name not in found:
            found[name] = of_owner[name]
            waiting += imports.imported(of_owner[name])
    apart = [citation for name, path in found.items() for citation in _in_module(path, name.removeprefix("glassgate."))]
    return sorted(apart, key=lambda citation: (citation.module, citation.line))


def _in_module(path: Path, module: str) -> Iterator[Citation]:
    tree = ast.parse(path.read_text("utf-8"))
    for function, node in _attributes(tree, ""):
        if isinstance(node.value, ast.Name) and node.value.id == "rules" and node.attr in _SLUGS:
            yield Citation(_SLUGS[node.attr], module, node.end_lineno or node.lineno, function, str(path))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for slug, line in _in_comments(path):
        around = [node.name for node in functions if node.lineno <= line <= (node.end_lineno or line)]
        yield Citation(slug, module, line, around[-1] if around else "", str(path))


def _in_comments(path: Path) -> Iterator[tuple[str, int]]:
    """The slugs in comments, with the line of code that each is about: its own, or the next that holds code."""
    waiting: list[str] = []
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                slugs = [slug for slug in _SLUG.findall(token.string) if slug in rules.RULES]
                if token.line.strip().startswith("#"):
                    waiting += slugs
                else:
                    yield from ((slug, token.start[0]) for slug in slugs)
            elif waiting and token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING):
                yield from ((slug, token.start[0]) for slug in waiting)
                waiting.clear()


def _attributes(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Attribute]]:
    """Every attribute below a node, with the name of the function that it is executed in.

    A default and a decorator stand in a function's text, and are executed where it is defined.
    """
    for field, value in ast.iter_fields(node):
        inside = function
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and field == "body":
            inside = node.name
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Attribute):
                yield inside, child
            if isinstance(child, ast.AST):
                yield from _attributes(child, inside)


@dataclass(frozen=True, slots=True)
class Reached:
    """What a run of vectors reached: lines by file, and the rules that the gateway named."""

    lines: frozenset[tuple[str, int]]
    named: frozenset[str]

    def includes(self, citation: Citation) -> bool:
        """Whether the vectors really came by this place."""
        if citation.is_in_function:
            return (citation.path, citation.line) in self.lines
        return citation.rule in self.named


def reached(implementation: Implementation, vectors: Sequence[Vector], places: Iterable[Citation]) -> Reached:
    """Run the vectors once, and watch the lines on which rules are cited."""
    watched: dict[str, set[int]] = {}
    for citation in places:
        watched.setdefault(citation.path, set()).add(citation.line)
    subject = InProcess(implementation)
    named: set[str] = set()
    with _tracing(watched) as lines:
        for vector in vectors:
            result = runner.run_vector(subject, vector, subject.capabilities)
            named |= {note.rule for step in result.steps for note in step.notes}
            named |= {rule for step in result.steps for note in step.notes for rule in _path(note.detail)}
    return Reached(frozenset(lines), frozenset(named))


def _path(detail: Any) -> list[str]:
    path = detail.get("path", "")
    return path.split() if isinstance(path, str) else []


@contextmanager
def _tracing(watched: dict[str, set[int]]) -> Iterator[set[tuple[str, int]]]:
    """Collect the watched lines that are executed. A file whose lines were all seen is not watched any more."""
    seen: set[tuple[str, int]] = set()
    left = {path: set(lines) for path, lines in watched.items()}

    def in_frame(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            path = frame.f_code.co_filename
            if frame.f_lineno in left[path]:
                left[path].discard(frame.f_lineno)
                seen.add((path, frame.f_lineno))
        return in_frame

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        lines = left.get(frame.f_code.co_filename)
        return in_frame if lines else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield seen
    finally:
        sys.settrace(before)
