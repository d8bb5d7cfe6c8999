"""The comparison of two gateways proves something only if they share no code that a packet touches."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "glassgate" / "optimized"
CONTROL_PLANE = {"glassgate.reference.openvpn.client", "glassgate.reference.openvpn.profile"}


def imported(path: Path) -> Iterator[str]:
    """Each module that a file imports; of ``from package import name`` both readings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_allowed(module: str) -> bool:
    if not module.startswith("glassgate.reference"):
        return True
    return any(
        allowed == module or allowed.startswith(module + ".") or module.startswith(allowed + ".")
        for allowed in CONTROL_PLANE
    )


def test_of_the_reference_only_the_control_plane_is_imported() -> None:
    offences = [
        f"{path.name} imports {module}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for module in imported(path)
        if not is_allowed(module)
    ]
    assert offences == []


def test_a_bare_import_of_the_reference_package_names_the_control_plane_only() -> None:
    """``from glassgate.reference.openvpn import x`` is allowed for client and profile, nothing else."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in (
                "glassgate.reference",
                "glassgate.reference.openvpn",
            ):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                assert names <= CONTROL_PLANE, f"{path.name} imports {names - CONTROL_PLANE}"
            if isinstance(node, ast.Import):
                assert all(alias.name != "glassgate.reference" for alias in node.names), path.name


def test_nothing_of_the_conformance_suite_is_imported() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        assert not [module for module in imported(path) if module.startswith("glassgate.conformance")], path.name


def test_nothing_is_imported_by_a_computed_name() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "importlib" not in text, path.name
        assert "__import__" not in text, path.name


def test_each_departure_names_a_guard_that_exists() -> None:
    """A trick without a test that guards it is not allowed; nor is a test that is gone."""
    tests = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    for path in sorted(PACKAGE.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        named = set(re.findall(r"test_optimized_\w+\.py", docstring))
        assert named <= tests, f"{path.name}: {named - tests}"
        if re.search(r"^1\. \*\*", docstring, re.MULTILINE):
            assert docstring.count("Guard:") >= len(re.findall(r"^\d+\. \*\*", docstring, re.MULTILINE)), path.name
