"""Vectors are authored, never recorded: filling needs no gateway, and gives the packaged files octet for octet."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glassgate.conformance import authoring, filling, packets

AUTHORING = Path(authoring.__file__).parent
SOURCES = sorted((AUTHORING / "sources").glob("*.py"))

WITHOUT_GATEWAYS = """
import sys

class Unimportable:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("glassgate.reference", "glassgate.optimized")):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Unimportable())
for name in ("reference", "optimized"):
    try:
        __import__(f"glassgate.{name}")
    except ImportError:
        pass
    else:
        sys.exit(f"glassgate.{name} could be imported: this proves nothing")
from glassgate.conformance import filling
sys.exit(filling.main(["--check"]))
"""


def test_filling_gives_the_packaged_files() -> None:
    assert filling.differences() == []


def test_filling_works_with_both_gateways_unimportable() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_GATEWAYS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vectors")
    filling.fill(directory)
    return directory


def test_filling_writes_the_packaged_files_octet_for_octet(filled_once: Path) -> None:
    packaged = {path.name: path.read_bytes() for path in filling.VECTORS.glob("*.json")}
    assert packaged
    assert {path.name: path.read_bytes() for path in filled_once.iterdir()} == packaged


def test_a_changed_a_missing_and_a_recorded_file_are_found(filled_once: Path, tmp_path: Path) -> None:
    shutil.copytree(filled_once, tmp_path, dirs_exist_ok=True)
    changed = tmp_path / "arp.json"
    changed.write_text(changed.read_text("utf-8").replace("0806", "0807", 1), "utf-8")
    (tmp_path / "framing.json").rename(tmp_path / "recorded.json")
    assert filling.differences(tmp_path) == [
        "framing.json: missing",
        "arp.json: differs from its source",
        "recorded.json: has no source",
    ]


def test_check_tells_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filling.differences, "__defaults__", (tmp_path,))
    assert filling.main(["--check"]) == 1
    assert "arp.json: missing; run python -m glassgate.conformance.filling" in capsys.readouterr().err


def test_there_is_no_option_that_updates_expectations(capsys: pytest.CaptureFixture[str]) -> None:
    assert filling.main(["--update"]) == 2
    assert capsys.readouterr().err == "glassgate: '--update' is not known; the only option is --check\n"


AUTHORED = [*SOURCES, *sorted(AUTHORING.glob("*.py")), Path(packets.__file__), Path(filling.__file__)]
ALLOWED = (
    "glassgate.contract",
    "glassgate.conformance.authoring",
    "glassgate.conformance.packets",
    "glassgate.conformance.model",
)


@pytest.mark.parametrize("path", AUTHORED, ids=lambda path: path.stem)
def test_a_source_imports_nothing_of_the_gateways_or_the_judge(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert all(name.startswith(ALLOWED) for name in names if name.startswith("glassgate")), (path.name, names)


def test_every_source_is_filled() -> None:
    assert {path.stem for path in SOURCES} - {"__init__"} == set(authoring.SOURCES)


def test_a_file_is_replaced_at_one_stroke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the file open while it is filled anew reads the old one to its end."""
    monkeypatch.setattr(filling, "files", lambda: {"a.json": "new\n"})
    (tmp_path / "a.json").write_text("the old one\n")
    with (tmp_path / "a.json").open() as opened:
        filling.fill(tmp_path)
        assert opened.read() == "the old one\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "new\n"
