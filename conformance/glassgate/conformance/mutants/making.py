"""Which changes there are, and the text of a module with one of them made.

The operators and their positions are cosmic-ray's; what it would write to the file of a module is made here in memory.
Its operators that change nothing a vector could ever see are left out:

- ``NoOp``, which is a test of the tool;
- ``==`` turned into ``is``, and the like: which small numbers are one object is CPython's choice;
- ``is`` turned into ``==``, where there is one object of a kind.

So are changes of assertions, which are about our own callers and decide nothing; in an annotation, which no gateway
evaluates; and in what a dataclass forbids (``frozen``, ``slots``), which no packet can ask for: see ``is_same_code``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DATA_PLANE = (
    "addresses",
    "ethernet",
    "arp",
    "ipv4",
    "options",
    "fragments",
    "icmp",
    "udp",
    "forwarding",
    "checksum",
    "openvpn.framing",
    "openvpn.data_channel",
    "gateway",
)
"""The modules of the reference that a data packet passes."""

_IDENTITY = ("Is", "IsNot")
EXTRA = "mutation"


class ToolMissing(RuntimeError):
    """The mutation tool is not installed."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: which occurrence of which operator, and where."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int
    text: str
    """The line without its indentation."""
    function: str
    """The function around it, as ``Class.function``; empty outside of any, where all vectors depend on it."""
    first_line: int
    """The first line of that function, as Python counts it; 0 outside of any."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.operator}"


def path_of(module: str) -> Path:
    """Where a module of the reference stands."""
    spec = find_spec(f"glassgate.reference.{module}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def mutants_of(module: str, text: str) -> list[Mutant]:
    """Every change that can be made to a module, in the order of its lines.

    Raises:
        ToolMissing: cosmic-ray is not installed.
    """
    nodes = [*_tool("ast").ast_nodes(_tool("ast").get_ast(text))]
    tree = ast.parse(text)
    functions = [*_functions(tree, "")]
    asserted = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = text.splitlines()
    found = []
    for name, operator in _operators().items():
        positions = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, (line, column) in enumerate(positions):
            if line in asserted:
                continue
            function, first = _around(functions, line)
            place = Mutant(module, name, occurrence, line, column, lines[line - 1].strip(), function, first)
            found.append(place)
    return sorted(found, key=lambda mutant: (mutant.line, mutant.column, mutant.operator, mutant.occurrence))


def mutated(text: str, mutant: Mutant) -> str:
    """The text of a module with the change made."""
    made = _tool("mutating").mutate_code(text, _operators()[mutant.operator], mutant.occurrence)
    assert isinstance(made, str)
    return made


def is_same_code(before: str, after: str) -> bool:
    """Whether two texts differ at most in annotations and in what dataclasses forbid.

    >>> is_same_code("def f(x: int | None) -> int: ...", "def f(x: int & None) -> str: ...")
    True
    """
    return ast.dump(_what_runs(before)) == ast.dump(_what_runs(after))


def becomes(before: str, after: str) -> str:
    """What stands where the texts begin to differ: the changed line, or the one that closed a gap.

    >>> becomes("a\\nb + c\\n", "a\\nb - c\\n")
    'b - c'
    """
    rest = zip(before.splitlines(), after.splitlines(), strict=False)
    return " ".join(next((new.strip() for old, new in rest if old != new), "").split())


def _what_runs(text: str) -> ast.AST:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call):
                    decorator.keywords = [one for one in decorator.keywords if one.arg not in ("frozen", "slots")]
    return tree


def _functions(node: ast.AST, above: str) -> Iterator[tuple[int, int, int, str]]:
    """Of each function: the first and last line of its body, the line that its code object tells, its name."""
    for child in ast.iter_child_nodes(node):
        name = above
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            name = f"{above}.{child.name}".lstrip(".")
        if isinstance(child, ast.FunctionDef):
            first = min([child.lineno, *(one.lineno for one in child.decorator_list)])
            yield child.body[0].lineno, child.end_lineno or child.lineno, first, name
        yield from _functions(child, name)


def _around(functions: Sequence[tuple[int, int, int, str]], line: int) -> tuple[str, int]:
    """The innermost function whose body has the line."""
    inside = [(name, first) for start, end, first, name in functions if start <= line <= end]
    return inside[-1] if inside else ("", 0)


@cache
def _operators() -> dict[str, Any]:
    plugins = _tool("plugins")
    classes = {name.rpartition("/")[2]: plugins.get_operator(name) for name in plugins.operator_names()}
    return {
        name: made()
        for name, made in classes.items()
        if not made.arguments() and name != "NoOp" and not _is_of_identity(name)
    }


def _is_of_identity(name: str) -> bool:
    """Whether an operator puts ``is`` where a comparison of values stands, or the other way round."""
    if "Comparison" not in name:
        return False
    was, becomes = name.rpartition("Operator_")[2].split("_")
    return (becomes in _IDENTITY and was not in _IDENTITY) or (was, becomes) in (("Is", "Eq"), ("IsNot", "NotEq"))


def _tool(part: str) -> Any:
    """A part of cosmic-ray, which is an extra."""
    from importlib import import_module

    try:
        return import_module(f"cosmic_ray.{part}")
    except ModuleNotFoundError:
        raise ToolMissing(f"cosmic-ray is not installed: pip install 'glassgate[{EXTRA}]'") from None
