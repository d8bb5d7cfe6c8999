"""What the lab needs, and how it runs programs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from glassgate.conformance.lab import programs
from glassgate.conformance.lab.errors import LabError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
MEET = """
import sys, time
from pathlib import Path

Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
"""


def everything_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(programs.shutil, "which", lambda program, path: f"/bin/{program}")  # type: ignore[attr-defined]
    monkeypatch.setattr(programs, "TUN_DEVICE", Path(os.devnull))


def test_nothing_is_missing_where_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    everything_there(monkeypatch)

    assert programs.missing() == []
    programs.require()


def test_without_root_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    everything_there(monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(LabError, match="root is needed"):
        programs.require()


@pytest.mark.parametrize(("program", "package"), [("ping", "iputils-ping"), ("ip", "iproute2"), ("curl", "curl")])
def test_a_missing_program_is_told_with_its_package(
    monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    everything_there(monkeypatch)
    which = lambda name, path: None if name == program else name  # noqa: E731
    monkeypatch.setattr(programs.shutil, "which", which)  # type: ignore[attr-defined]

    assert programs.missing() == [f"{program} is missing: apt-get install {package}"]


def test_a_machine_without_tun_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    everything_there(monkeypatch)
    monkeypatch.setattr(programs, "TUN_DEVICE", tmp_path / "tun")

    assert len(programs.missing()) == 1
    assert str(tmp_path / "tun") in programs.missing()[0]


def test_a_program_that_does_not_end_is_killed_in_time() -> None:
    start = time.monotonic()

    with pytest.raises(LabError, match=r"no end after 0\.2 s"):
        programs.run(SLEEP, seconds=0.2)

    assert time.monotonic() - start < 10


def test_programs_that_do_not_end_together_are_all_killed() -> None:
    start = time.monotonic()

    with pytest.raises(LabError, match=r"no end after 0\.5 s"):
        programs.run_together([SLEEP, SLEEP], seconds=0.5)

    assert time.monotonic() - start < 10


def test_programs_run_at_the_same_time(tmp_path: Path) -> None:
    """Each ends only when it has seen the other: one after the other, the first would wait in vain."""
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    commands = [[sys.executable, "-c", MEET, mine, its] for mine, its in ((one, other), (other, one))]

    assert [done.returncode for done in programs.run_together(commands, seconds=30)] == [0, 0]


def test_a_command_that_must_succeed_fails_with_its_own_last_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such interface')"]

    with pytest.raises(LabError, match="status 1: no such interface"):
        programs.demand(command)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(LabError, match="no-such-program is missing"):
        programs.run(["no-such-program"], seconds=1)
