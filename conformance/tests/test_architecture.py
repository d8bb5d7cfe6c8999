"""Which component may know which: read from the sources, so that an import inside a function counts, too.

Two gateways that share code prove nothing about each other, and a judge that shares code with a gateway proves less.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import glassgate.contract

REPOSITORY = Path(glassgate.contract.__file__).parents[3]
PACKAGES = {
    "contract": REPOSITORY / "conformance/glassgate/contract",
    "conformance": REPOSITORY / "conformance/glassgate/conformance",
    "reference": REPOSITORY / "reference/glassgate/reference",
    "optimized": REPOSITORY / "optimized/glassgate/optimized",
}
CONTROL_PLANE = ("glassgate.reference.openvpn.client", "glassgate.reference.openvpn.profile")
"""What runs once a session, and no data packet touches."""
ALLOWED: dict[str, tuple[str, ...]] = {
    "contract": ("glassgate.contract",),
    "reference": ("glassgate.reference", "glassgate.contract"),
    "optimized": ("glassgate.optimized", "glassgate.contract", *CONTROL_PLANE),
    "conformance": ("glassgate.conformance", "glassgate.contract"),
}
LAYERS = ("ethernet", "arp", "ipv4", "options", "fragments", "icmp", "udp", "tcp", "mss", "quotation", "forwarding")
DATA_PLANE = (*LAYERS, "external", "flows", "gateway", "openvpn.framing", "openvpn.data_channel", "openvpn.tunnel")
"""The reference's files that a data packet passes."""


def modules(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The full names that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: an import that begins with a dot cannot be judged"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def strangers(package: str) -> list[str]:
    return [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path in modules(package)
        for name in imported(path)
        if is_within(name, ("glassgate",)) and not is_within(name, ALLOWED[package])
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_component_imports_only_what_it_may_know(package: str) -> None:
    assert modules(package)
    assert strangers(package) == []


def test_the_control_plane_that_both_gateways_use_knows_nothing_of_the_data_plane() -> None:
    """What ``optimized`` takes from ``reference`` must not bring a packet's code along by another way."""
    data_plane = tuple(f"glassgate.reference.{module}" for module in DATA_PLANE)
    for module in DATA_PLANE:
        path = PACKAGES["reference"] / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module
    reached, waiting = set[str](), list(CONTROL_PLANE)
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        path = PACKAGES["reference"] / module.removeprefix("glassgate.reference.").replace(".", "/")
        if path.with_suffix(".py").exists():
            waiting += [name for name in imported(path.with_suffix(".py")) if is_within(name, ("glassgate.reference",))]
            waiting += [
                name.rpartition(".")[0]
                for name in imported(path.with_suffix(".py"))
                if is_within(name, ("glassgate.reference.openvpn",))
            ]
    assert [name for name in sorted(reached) if is_within(name, data_plane)] == []


def test_the_judge_loads_no_gateway_by_a_name_of_its_own() -> None:
    """Gateways are found by their entry points. Only what changes a gateway's sources must know which."""
    for path in modules("conformance"):
        if path.parent.name in ("mutants", "zoo"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                texts = [str(value.value) for value in ast.walk(node) if isinstance(value, ast.Constant)]
                assert not [text for text in texts if text.startswith(("glassgate.reference", "glassgate.optimized"))]


# ── for the reader ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("component", ["reference", "optimized", "conformance"])
def test_a_component_s_page_names_each_of_its_files(component: str) -> None:
    page = (REPOSITORY / component / "README.md").read_text("utf-8")
    files = {path.name for path in PACKAGES[component].glob("*.py")} - {"__init__.py"}
    assert len(files) > 10
    assert sorted(name for name in files if name not in page and not name.endswith("_command.py")) == []
