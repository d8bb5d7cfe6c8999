"""What a lab leaves on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glassgate.conformance.lab import state
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.state import LabState, ProcessRecord


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def test_a_lab_is_found_again_as_it_was_saved(lab_directory: Path, child: subprocess.Popen[bytes]) -> None:
    made = state.create("reference", ProcessRecord.of("lab run", os.getpid()))
    made = made.with_process(ProcessRecord.of("server", child.pid))
    made.save()

    assert list(state.labs()) == [made]
    assert state.find(made.name) == made


def test_names_are_unique_and_mark_every_namespace(lab_directory: Path) -> None:
    made = [state.create("reference", None) for _ in range(5)]

    assert len({lab.name for lab in made}) == 5
    assert all(state.NAME.fullmatch(lab.name) for lab in made)
    assert made[0].namespace("far") == f"{made[0].name}-far"


def test_only_its_owner_can_look_into_the_runtime_directory(lab_directory: Path) -> None:
    made = state.create("reference", None)

    assert lab_directory.stat().st_mode & 0o777 == 0o700
    assert made.directory.stat().st_mode & 0o777 == 0o700


def test_a_runtime_directory_that_others_can_write_is_refused(lab_directory: Path) -> None:
    lab_directory.mkdir()
    lab_directory.chmod(0o777)

    with pytest.raises(LabError, match=str(lab_directory)):
        state.create("reference", None)


def test_a_runtime_directory_that_is_a_link_is_refused(lab_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    lab_directory.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(LabError, match=str(lab_directory)):
        state.create("reference", None)


def test_a_runtime_directory_that_cannot_be_made_is_named(lab_directory: Path) -> None:
    lab_directory.write_text("a file")

    with pytest.raises(LabError, match=f"{lab_directory} cannot be made"):
        state.create("reference", None)


def test_there_are_no_labs_where_there_is_no_directory(lab_directory: Path) -> None:
    assert list(state.labs()) == []


def test_other_names_in_the_directory_are_nobodys_labs(lab_directory: Path) -> None:
    (lab_directory / "gg12").mkdir(parents=True)
    (lab_directory / "something").mkdir()

    assert list(state.labs()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"gateway":"reference","owner":3,"processes":[]}'])
def test_a_damaged_state_file_still_names_its_lab(lab_directory: Path, text: str) -> None:
    made = state.create("reference", None)
    (made.directory / state.STATE_FILE).write_text(text)

    assert list(state.labs()) == [LabState(made.name, "unknown", None)]


def test_an_unknown_name_is_told_with_those_that_are_there(lab_directory: Path) -> None:
    made = state.create("reference", None)

    with pytest.raises(LabError, match=f"no lab 'ggffffff' .there: {made.name}."):
        state.find("ggffffff")


def test_a_process_lives_until_it_ends(child: subprocess.Popen[bytes]) -> None:
    record = ProcessRecord.of("child", child.pid)
    assert record.is_alive

    child.communicate()

    assert not record.is_alive


def test_a_process_that_waits_to_be_reaped_does_not_live() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    record = ProcessRecord.of("child", child.pid)
    assert child.stdout is not None
    child.stdout.read()  # until its end
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not record.is_alive

    child.communicate()


def test_a_process_id_that_somebody_else_has_now_is_not_ours(child: subprocess.Popen[bytes]) -> None:
    record = ProcessRecord("child", child.pid, ProcessRecord.of("child", child.pid).started - 1)

    assert not record.is_alive


def test_a_lab_is_in_use_while_its_run_lives(lab_directory: Path, child: subprocess.Popen[bytes]) -> None:
    made = state.create("reference", ProcessRecord.of("lab run", child.pid))
    assert made.is_in_use

    child.communicate()

    assert not made.is_in_use
