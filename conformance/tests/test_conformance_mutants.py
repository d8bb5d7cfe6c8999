"""Mutants: which changes there are, what becomes of one, what is excused, and what the command says.

The tool itself is an extra: the tests that need it make a small one in its place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from glassgate.conformance import model
from glassgate.conformance.cli import run
from glassgate.conformance.imports import dependents
from glassgate.conformance.mutants import command, making
from glassgate.conformance.mutants.command import BAR, Score
from glassgate.conformance.mutants.excuses import Excuse, ExcuseError, excuse_for, read_excuses, read_left_out, unneeded
from glassgate.conformance.mutants.making import (
    DATA_PLANE,
    Mutant,
    ToolMissing,
    becomes,
    is_same_code,
    mutants_of,
    mutated,
    path_of,
)
from glassgate.conformance.mutants.trying import Laboratory, Trial, Verdict, heard
from glassgate.conformance.subjects import discovery

CHOSEN = ("fwd-ttl-1", "fwd-ttl-2", "fwd-udp", "fwd-checksum-of-options")
VECTORS = [vector for file in model.load_packaged() for vector in file.vectors if vector.id in CHOSEN]
IPV4 = path_of("ipv4").read_text("utf-8")
LINE = "VERSION = 4"


def mutant(text: str = LINE, module: str = "ipv4", function: str = "", first_line: int = 0) -> Mutant:
    return Mutant(module, "Replace", 0, 1, 0, text, function, first_line)


def survivor(text: str, becomes: str = "", function: str = "") -> Trial:
    return Trial(mutant(text, function=function), Verdict.SURVIVED, becomes=becomes)


# ── making ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Twos:
    """An operator that puts a 3 for each 2 of a text."""

    @classmethod
    def arguments(cls) -> tuple[str, ...]:
        return ()

    def mutation_positions(self, text: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        for number, line in enumerate(text.splitlines(), 1):
            for column, sign in enumerate(line):
                if sign == "2":
                    yield (number, column), (number, column + 1)


def _replace(text: str, operator: Twos, occurrence: int) -> str:
    line, column = [start for start, _ in operator.mutation_positions(text)][occurrence]
    lines = text.splitlines(keepends=True)
    lines[line - 1] = lines[line - 1][:column] + "3" + lines[line - 1][column + 1 :]
    return "".join(lines)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is used of cosmic-ray, with one operator that counts and two that do not."""

    def module(**members: object) -> ModuleType:
        return SimpleNamespace(**members)  # type: ignore[return-value]

    monkeypatch.setitem(sys.modules, "cosmic_ray", ModuleType("cosmic_ray"))
    monkeypatch.setitem(
        sys.modules, "cosmic_ray.ast", module(get_ast=lambda text: text, ast_nodes=lambda tree: iter([tree]))
    )
    names = ["core/Twos", "core/NoOp", "core/ReplaceComparisonOperator_Eq_Is"]
    monkeypatch.setitem(
        sys.modules, "cosmic_ray.plugins", module(operator_names=lambda: names, get_operator=lambda name: Twos)
    )
    monkeypatch.setitem(sys.modules, "cosmic_ray.mutating", module(mutate_code=_replace))
    making._operators.cache_clear()
    yield
    making._operators.cache_clear()


SMALL = """\
SIZE = 2

class Packet:
    @property
    def half(self, by=2):
        assert by > 2, (
            "2"
        )
        return 2 / by
"""


def test_each_change_outside_of_assertions_knows_its_line_and_the_function_around_it(tool: None) -> None:
    places = [(one.operator, one.line, one.text, one.function, one.first_line) for one in mutants_of("small", SMALL)]

    assert places == [
        ("Twos", 1, "SIZE = 2", "", 0),
        ("Twos", 5, "def half(self, by=2):", "", 0),
        ("Twos", 9, "return 2 / by", "Packet.half", 4),
    ]


def test_a_change_is_made_in_the_text(tool: None) -> None:
    third = mutants_of("small", SMALL)[2]

    assert becomes(SMALL, mutated(SMALL, third)) == "return 3 / by"


def test_without_the_tool_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cosmic_ray", None)
    with pytest.raises(ToolMissing):
        mutants_of("small", SMALL)

    assert run(["mutants"]) == 2
    assert "pip install 'glassgate[mutation]'" in capsys.readouterr().err


def test_annotations_and_what_dataclasses_forbid_are_no_code() -> None:
    before = "@dataclass(frozen=True)\nclass A:\n    a: int | None = 1\n    def f(self, b: int) -> int: ...\n"

    assert is_same_code(before, before.replace("True", "False").replace("|", "&").replace("int", "str"))
    assert not is_same_code(before, before.replace("= 1", "= 2"))
    assert not is_same_code("dataclass(order=True)", "dataclass(order=False)")


def test_every_module_of_the_data_plane_is_there() -> None:
    assert all(path_of(name).is_file() for name in DATA_PLANE)


def test_what_depends_on_a_module_is_loaded_again() -> None:
    of = dependents("glassgate.reference")

    assert "glassgate.reference.gateway" in of["glassgate.reference.checksum"]
    assert of["glassgate.reference.gateway"] >= {"glassgate.reference.gateway"}
    assert "glassgate.reference.openvpn.tls" not in of["glassgate.reference.checksum"]


# ── trying ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def trial_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Trial]:
    """Try one change of ``ipv4``: a text for another."""
    implementation = discovery.find("reference")
    sound = heard(implementation, VECTORS)

    def tried(before: str, after: str, function: str = "", first_line: int = 0) -> Trial:
        assert IPV4.count(before) == 1
        monkeypatch.setattr(
            "glassgate.conformance.mutants.trying.mutated", lambda text, mutant: IPV4.replace(before, after)
        )
        laboratory = Laboratory({"ipv4": IPV4}, {"ipv4": str(path_of("ipv4"))}, VECTORS, sound)
        (trial,) = laboratory.trials([mutant(before, function=function, first_line=first_line)], 1)
        return trial

    return tried


def test_a_change_that_a_vector_notices_is_killed_by_it(trial_of: Callable[..., Trial]) -> None:
    trial = trial_of("VERSION = 4", "VERSION = 5")

    assert trial.verdict is Verdict.KILLED
    assert trial.vector in {vector.id for vector in VECTORS}
    assert trial.becomes == "VERSION = 5"
    assert trial.counts


def test_a_change_that_no_vector_notices_survives(trial_of: Callable[..., Trial]) -> None:
    assert trial_of("VERSION = 4", "VERSION = 4 + 0").verdict is Verdict.SURVIVED


def test_another_reason_than_the_rule_that_a_vector_cites_is_noticed(trial_of: Callable[..., Trial]) -> None:
    trial = trial_of("Malformed(rules.S9_CHECKSUM, ", "Malformed(rules.S9_VERSION, ")

    assert (trial.verdict, trial.vector) == (Verdict.KILLED, "fwd-checksum-of-options")


def test_a_module_that_cannot_be_loaded_is_stillborn_and_does_not_count(trial_of: Callable[..., Trial]) -> None:
    trials = [trial_of("VERSION = 4", "VERSION = 4 / 0"), trial_of("VERSION = 4", "VERSION = ")]

    assert [trial.verdict for trial in trials] == [Verdict.STILLBORN] * 2
    assert not any(trial.counts for trial in trials)


def test_a_change_without_end_is_ended(trial_of: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glassgate.conformance.mutants.trying.MUTANT_SECONDS", 2.0)

    trial = trial_of("VERSION = 4", "VERSION = 4\nwhile True: pass")

    assert trial.verdict is Verdict.ENDLESS
    assert trial.counts


def test_a_function_that_no_vector_enters_is_not_tried_on_any(trial_of: Callable[..., Trial]) -> None:
    assert trial_of("VERSION = 4", "VERSION = 5", "nobody", 9999).verdict is Verdict.SURVIVED


def test_nothing_stays_behind(trial_of: Callable[..., Trial]) -> None:
    before = sys.modules["glassgate.reference.ipv4"]
    trial_of("VERSION = 4", "VERSION = 5")

    assert sys.modules["glassgate.reference.ipv4"] is before
    assert path_of("ipv4").read_text("utf-8") == IPV4


# ── excuses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_excuse_covers_the_changes_of_its_line_that_it_tells() -> None:
    excuse = Excuse("ipv4", "a < b", ("a <= b",), "", "the two are never equal")

    assert excuse.covers(survivor("a < b", "a <= b"))
    assert not excuse.covers(survivor("a < b", "a > b"))
    assert not excuse.covers(survivor("a < c", "a <= b"))
    assert excuse_for(survivor("a < b", "a <= b"), [excuse]) is excuse
    assert excuse_for(survivor("a < c"), [excuse]) is None


def test_an_excuse_may_be_about_a_function() -> None:
    excuse = Excuse("ipv4", "", (), "Packet.told", "only a person reads it")

    assert excuse.covers(survivor("whatever", function="Packet.told"))
    assert not excuse.covers(survivor("whatever", function="Packet.build"))


def test_an_excuse_without_a_survivor_is_not_needed() -> None:
    excuse = Excuse("ipv4", "a < b", (), "", "why")

    assert unneeded([excuse], []) == [excuse]
    assert unneeded([excuse], [survivor("a < b")]) == []


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('line = "a"\nreason = "r"', "excuse[0].module: is missing"),
        ('module = "ipv4"\nline = "a"', "excuse[0].reason: is missing"),
        ('module = "ipv4"\nreason = "r"', "excuse[0]: tells neither line nor function"),
        ('module = "ipv4"\nline = "a"\nreason = "r"\nlines = 3', "excuse[0]: lines is not known"),
        ('module = "ipv4"\nline = "a"\nreason = "r"\nbecomes = "b"', "excuse[0].becomes: is no list"),
    ],
)
def test_a_wrong_excuse_is_told(entry: str, problem: str) -> None:
    with pytest.raises(ExcuseError) as caught:
        read_excuses(f"[[excuse]]\n{entry}\n")
    assert str(caught.value).startswith(f"excused.toml: {problem}")


def test_what_is_left_out_is_a_function_or_a_line() -> None:
    (function, line) = read_left_out(
        '[[left_out]]\nmodule = "ipv4"\nfunction = "told"\nreason = "r"\n'
        '[[left_out]]\nmodule = "ipv4"\nline = "a"\nreason = "r"\n'
    )

    assert function.covers(mutant("b", function="told"))
    assert not function.covers(mutant("b", function="build"))
    assert line.covers(mutant("a"))
    assert not line.covers(mutant("a", module="udp"))
    with pytest.raises(ExcuseError, match="neither line nor function"):
        read_left_out('[[left_out]]\nmodule = "ipv4"\nreason = "r"\n')


def test_each_excused_line_stands_in_its_module() -> None:
    for excuse in (*read_excuses(), *read_left_out()):
        assert excuse.module in DATA_PLANE
        if excuse.line:
            lines = [line.strip() for line in path_of(excuse.module).read_text("utf-8").splitlines()]
            assert excuse.line in lines, str(excuse)


# ── the score ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def killed(number: int) -> list[Trial]:
    return [Trial(mutant(), Verdict.KILLED, "fwd-udp")] * number


def test_an_excused_survivor_was_not_noticed_all_the_same() -> None:
    score = Score("ipv4", (*killed(9), survivor("a < b")), (Excuse("ipv4", "a < b", (), "", "why"),))

    assert score.per_cent == pytest.approx(90.0)
    assert score.unexcused == []


def test_what_could_not_be_tried_does_not_count() -> None:
    score = Score("ipv4", (*killed(1), Trial(mutant(), Verdict.STILLBORN), Trial(mutant(), Verdict.NO_CHANGE)), ())

    assert (score.counted, score.per_cent) == (1, 100.0)


def test_a_sample_may_be_a_little_below_the_bar() -> None:
    score = Score("ipv4", tuple(killed(200)), ())

    assert score.bar(is_sample=False) == BAR
    assert BAR - 4 < score.bar(is_sample=True) < BAR


def _trials(*trials: Trial) -> Callable[..., Iterator[Trial]]:
    return lambda *arguments: iter(trials)


def test_the_command_fails_on_a_survivor_without_an_excuse(
    tool: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "read_excuses", list)
    monkeypatch.setattr(command, "_tried", _trials(*killed(99), survivor("a < b", "a <= b")))

    status = run(["mutants", "ipv4", "--json", str(tmp_path / "all.json")])

    out = capsys.readouterr().out
    assert status == 1
    assert "  - a < b\n  + a <= b\n" in out
    assert "ipv4:1 Replace: survives, and has no excuse" in out
    written = json.loads((tmp_path / "all.json").read_text())
    assert written["total"] == {"changes": 100, "survived": 1, "per_cent": 99.0}
    assert written["survivors"][0]["excuse"] is None


def test_the_command_fails_under_the_bar_and_on_an_idle_excuse(
    tool: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    excuses = [Excuse("ipv4", "a < b", (), "", "why"), Excuse("ipv4", "a < c", (), "", "why")]
    monkeypatch.setattr(command, "read_excuses", lambda: excuses)
    monkeypatch.setattr(command, "_tried", _trials(*killed(9), survivor("a < b")))

    status = run(["mutants", "ipv4"])

    out = capsys.readouterr().out
    assert status == 1
    assert "90.0 % were noticed; the bar is 95.0 %" in out
    assert "ipv4: a < c: is excused, and nothing of it survives" in out
    assert "survives, and has no excuse" not in out


def test_a_sample_does_not_ask_for_every_excuse(
    tool: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "read_excuses", lambda: [Excuse("ipv4", "a < b", (), "", "why")])
    monkeypatch.setattr(command, "_tried", _trials(*killed(9)))

    assert run(["mutants", "ipv4", "--sample", "9"]) == 0
    assert "0 problems" in capsys.readouterr().out


def test_an_unknown_module_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mutants", "ipv6"]) == 2
    assert "no module is called ipv6; known: addresses, " in capsys.readouterr().err


# ── the page ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_tells_the_score_with_and_without_what_means_the_same_and_each_survivor_once(
    tool: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivors = [survivor("a | b", "a + b"), survivor("a | b", "a ^ b"), survivor("return", "")]
    excuses = [
        Excuse("ipv4", "a | b", (), "", "Equivalent: no bit in common."),
        Excuse("ipv4", "return", (), "", "Only the note differs."),
    ]
    monkeypatch.setattr(command, "read_excuses", lambda: excuses)
    monkeypatch.setattr(command, "_tried", _trials(*killed(97), *survivors))

    run(["mutants", "ipv4", "--page", str(tmp_path / "page.md")])

    lines = (tmp_path / "page.md").read_text("utf-8").splitlines()
    assert "| `ipv4` | 100 | 97 | 3 | 2 | 97.0 % | 99.0 % |" in lines
    assert "| **all** | 100 | 97 | 3 | 2 | 97.0 % | 99.0 % |" in lines
    assert "- `a | b` becomes `a + b`, `a ^ b`. Equivalent: no bit in common." in lines
    assert "- `return` becomes `(left out)`. Only the note differs." in lines
