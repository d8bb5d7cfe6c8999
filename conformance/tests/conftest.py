"""What several test files of this component share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from glassgate.conformance.lab import programs, state


@pytest.fixture
def needs_root_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root, namespaces and the lab's programs; the labs of this test live in a runtime directory of its own.

    What is missing is named. On a machine that calls itself CI nothing may be missing.
    """
    without(programs.missing())
    return own_runtime_directory(tmp_path, monkeypatch)


@pytest.fixture
def needs_tshark() -> None:
    """An independent dissector."""
    without([] if shutil.which("tshark") else ["tshark is missing: apt-get install tshark"])


def without(problems: list[str]) -> None:
    """End a test that cannot run here: skipped on somebody's machine, failed where CI promised everything."""
    if not problems:
        return
    message = f"the lab cannot run here: {'; '.join(problems)}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def lab_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory for labs, of this test alone. Nothing is built in it: no privilege is needed."""
    return own_runtime_directory(tmp_path, monkeypatch)


def own_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "labs"
    monkeypatch.setenv(state.RUNTIME_VARIABLE, str(directory))
    return directory
