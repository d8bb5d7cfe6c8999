"""The house rules, checked: imports point up the reading order, nothing inside reads a clock, examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import glassgate.reference

PACKAGE = Path(glassgate.reference.__file__).parent
README = (PACKAGE.parents[1] / "README.md").read_text(encoding="utf-8")
MODULES = sorted(
    module.name.removeprefix("glassgate.reference.")
    for module in pkgutil.walk_packages([str(PACKAGE)], "glassgate.reference.")
    if not module.ispkg
) + sorted(f"openvpn.{path.stem}" for path in (PACKAGE / "openvpn").glob("*.py"))
MODULES = sorted(set(MODULES))
WORLD = {"__main__", "driver", "packet_socket"}
"""What stands between a gateway and a real network: it alone may read clocks and open sockets."""
TLS = {"openvpn.tls"}
"""The TLS library keeps its own time and randomness (README)."""


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


def syntax_of(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def reading_order() -> list[str]:
    """The modules that the README's table names, in its order; a folder stands for all its modules."""
    table = README.split("## What to read", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")]
    names = [name for row in rows for name in re.findall(r"`([\w/]+(?:\.py|/))`", row)]
    return [name.removesuffix(".py").removesuffix("/").replace("/", ".") for name in names]


def place(module: str) -> int:
    """Where a module stands in the reading order. The control plane stands where its client does."""
    order = reading_order()
    for name in (module, module.split(".")[0]):
        if name in order:
            return order.index(name)
    assert module.startswith("openvpn."), f"{module} is not in the README's reading order"
    return order.index("openvpn.client")


def imported(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    found = set()
    for node in ast.walk(syntax_of(module)):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if not node.module.startswith("glassgate.reference"):
            continue
        base = node.module.removeprefix("glassgate.reference").removeprefix(".")
        for alias in node.names:
            inner = f"{base}.{alias.name}".removeprefix(".")
            found.add(inner if inner in MODULES else base)
    return found - {""}  # the package itself: its picture, its name and version


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_to_files_earlier_in_the_reading_order(module: str) -> None:
    if module in WORLD:
        return
    for other in imported(module):
        same_folder = other.split(".")[0] == module.split(".")[0]
        assert place(other) < place(module) or (place(other) == place(module) and same_folder), f"{module} ← {other}"


@pytest.mark.parametrize("module", [name for name in MODULES if name not in WORLD])
def test_nothing_inside_reads_a_clock_or_does_input_and_output(module: str) -> None:
    forbidden = {"time", "random", "secrets", "os", "socket", "select", "threading", "logging", "asyncio", "subprocess"}
    for node in ast.walk(syntax_of(module)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module.split(".")[0]]
        assert module in TLS or not forbidden & set(names), f"{module} imports {names}"
        assert not isinstance(node, ast.Global), f"{module} changes a module's variable"


@pytest.mark.parametrize("module", MODULES)
def test_no_handler_catches_everything(module: str) -> None:
    for node in ast.walk(syntax_of(module)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert ast.unparse(node.type) not in {"Exception", "BaseException"}


@pytest.mark.parametrize("module", ["arp", "ethernet", "fragments", "icmp", "udp"])
def test_every_receive_of_a_layer_has_the_four_sections_in_order(module: str) -> None:
    text = path_of(module).read_text(encoding="utf-8")
    (receive,) = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == "receive"
    ]
    body = "\n".join(text.splitlines()[receive.lineno - 1 : receive.end_lineno])
    assert re.findall(r"# (READ|REFUSE|LEARN|ANSWER)\b", body) == ["READ", "REFUSE", "LEARN", "ANSWER"]


@pytest.mark.parametrize("module", [name for name in MODULES if name not in WORLD])
def test_examples_in_docstrings_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"glassgate.reference.{module}"))
    assert results.failed == 0
