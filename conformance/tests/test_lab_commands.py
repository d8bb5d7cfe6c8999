"""``glassgate lab`` as its user meets it, without root: what is said, and the exit status."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from glassgate.conformance.cli import run
from glassgate.conformance.lab import checks, programs, report, state
from glassgate.conformance.lab.checks import Check, Result, Run, Verdict
from glassgate.conformance.lab.errors import CheckFailed, LabError
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.state import LabState

PASSED = Result("ping far host", Verdict.PASSED, "5/5 answered", 1.0)
FAILED = Result("file in", Verdict.FAILED, "curl: (28) timed out", 20.0)
DIFFERS = Result("own network", Verdict.DIFFERS, "Linux sends it back inside", 1.0)
UNSUPPORTED = Result("TCP echo at the gateway", Verdict.UNSUPPORTED, "the gateway does not declare tcp_echo", 0.0)
NOT_RUN = Result("file out", Verdict.NOT_RUN, "no tunnel", 0.0)


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch, lab_directory: Path) -> None:
    """Pretend that root and all programs are there."""
    monkeypatch.setattr(programs, "missing", lambda packages: [])


@pytest.mark.parametrize("command", [["run"], ["all"], ["up"], ["down"], ["status"], ["shell", "host5"]])
def test_without_root_every_command_says_so_and_is_unusable(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lab_directory: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert run(["lab", *command]) == 2

    said = capsys.readouterr().err
    assert said.startswith("glassgate: lab: root is needed")
    assert said.count("\n") == 1
    assert not lab_directory.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--gateway", "other"], "'other'"),
        (["run", "--size", "0"], "0"),
        (["run", "--seconds", "soon"], "'soon'"),
        (["run", "--gateway", "openvpn", "--external", "stack"], "openvpn"),
        (["matrix", "--only", "carrier pigeon"], "'carrier pigeon'"),
        (["faults", "--only", "meteorite"], "'meteorite'"),
        (["run", "--json", "/nowhere/results"], "/nowhere/results"),
        (["shell", "nowhere"], "'nowhere'"),
        (["walk"], "'walk'"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(
    arguments: list[str], named: str, able: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lab", *arguments]) == 2

    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", [["shell", "host5"], ["down", "gg000000"], ["shell", "host5", "--lab", "gg000000"]])
def test_a_lab_that_is_not_there_is_said_to_be_not_there(
    command: list[str], able: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lab", *command]) == 2
    assert "no lab" in capsys.readouterr().err


def test_several_labs_are_named_to_choose_from(able: None, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(state.create("reference", None).name for _ in range(2))

    assert run(["lab", "shell", "host5"]) == 2
    assert ", ".join(names) in capsys.readouterr().err


def test_down_leaves_a_lab_alone_while_its_run_lives(
    able: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = state.create("reference", None)
    used = state.create("reference", state.ProcessRecord.of("lab run", os.getpid()))
    taken: list[str] = []
    monkeypatch.setattr(Lab, "down", lambda self: taken.append(self.state.name) or [])

    assert run(["lab", "down"]) == 0
    assert taken == [left.name]

    assert run(["lab", "down", used.name]) == 0  # unless it is named
    assert taken == [left.name, used.name]


def test_what_could_not_be_taken_down_is_told(
    able: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state.create("reference", None)
    monkeypatch.setattr(Lab, "down", lambda self: ["gg-far: busy"])

    assert run(["lab", "down"]) == 2
    assert "gg-far: busy" in capsys.readouterr().err


def test_a_network_that_cannot_be_built_is_taken_down_and_unusable(
    able: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(self: Lab) -> None:
        raise LabError("ip netns add: status 1: no space")

    taken: list[str] = []
    monkeypatch.setattr(Lab, "build", cannot)
    monkeypatch.setattr(Lab, "down", lambda self: taken.append(self.state.name) or [])

    assert run(["lab", "run"]) == 2
    assert "lab: ip netns add: status 1: no space" in capsys.readouterr().err
    assert len(taken) == 1


def lab_of(kind: str) -> Run:
    return Run(Lab(LabState("gg000000", kind, None)), 1000, 1)


def refuses(run: Run) -> str:
    raise CheckFailed("0/5 answered")


def test_a_check_that_fails_tells_what_it_saw() -> None:
    result = checks.execute(lab_of("reference"), Check("ping", refuses))

    assert (result.verdict, result.measured) == (Verdict.FAILED, "0/5 answered")


def test_a_gateway_that_died_is_told_beside_what_was_seen(lab_directory: Path) -> None:
    dead = state.create("reference", None).with_process(state.ProcessRecord("gateway", os.getpid(), 0))
    (dead.directory / "gateway.log").write_text("Traceback\nAssertionError: time to live\n")

    result = checks.execute(Run(Lab(dead), 1000, 1), Check("ping", refuses))

    assert result.measured == "0/5 answered; the gateway has ended: AssertionError: time to live"


def test_a_known_difference_counts_for_the_kernel_only() -> None:
    check = Check("own network", refuses, "Linux sends it back")

    assert checks.execute(lab_of("openvpn"), check).verdict is Verdict.DIFFERS
    assert checks.execute(lab_of("reference"), check).verdict is Verdict.FAILED


def test_what_a_gateway_does_not_declare_is_not_asked_of_it() -> None:
    check = Check("own echo", refuses, requires=("no.such-capability",))

    result = checks.execute(lab_of("reference"), check)

    assert (result.verdict, result.measured) == (
        Verdict.UNSUPPORTED,
        "the gateway does not declare no.such-capability",
    )
    assert (
        checks.execute(lab_of("reference"), Check("own echo", refuses, requires=("notes",))).verdict is Verdict.FAILED
    )


def test_a_program_that_hangs_fails_its_check_and_no_other() -> None:
    def hangs(run: Run) -> str:
        raise LabError("no end after 5 s: ping")

    assert checks.execute(lab_of("openvpn"), Check("ping", hangs, "Linux…")).verdict is Verdict.FAILED


def test_without_a_tunnel_nothing_else_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(run: Run) -> str:
        raise AssertionError("this was run")

    monkeypatch.setattr(checks, "CHECKS", (Check("tunnel", refuses), Check("ping", never), Check("file", never)))

    verdicts = [result.verdict for result in checks.results(lab_of("reference"))]

    assert verdicts == [Verdict.FAILED, Verdict.NOT_RUN, Verdict.NOT_RUN]


@pytest.mark.parametrize(
    ("results", "passed"),
    [
        ([PASSED, DIFFERS], True),
        ([PASSED, FAILED], False),
        ([FAILED, NOT_RUN], False),
        ([PASSED, NOT_RUN], False),
        ([PASSED, UNSUPPORTED], True),
        ([UNSUPPORTED], False),
        ([], False),
    ],
)
def test_all_is_well_only_if_something_was_run_and_nothing_failed(results: list[Result], passed: bool) -> None:
    assert report.has_passed(results) == passed
    assert report.to_json({"reference": results}, "reference", is_complete=True)["passed"] == passed
    assert not report.to_json({"reference": results}, "reference", is_complete=False)["passed"]


def test_the_table_holds_what_was_measured_and_the_verdict() -> None:
    out = Console(file=io.StringIO(), width=120)
    out.print(report.table([PASSED, FAILED], "reference"))
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()

    assert any("ping far host" in line and "5/5 answered" in line and "passed" in line for line in lines)
    assert any("file in" in line and "curl: (28) timed out" in line and "failed" in line for line in lines)


def test_the_summary_counts_verdicts() -> None:
    assert report.summary([PASSED, PASSED, FAILED, DIFFERS], 12.34) == "2 passed, 1 failed, 1 differs in 12.3 s"
