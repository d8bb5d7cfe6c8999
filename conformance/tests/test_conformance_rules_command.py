"""``glassgate rules``: the real table has no hole without a reason, and one that had would fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glassgate.conformance import model, rules_command
from glassgate.conformance.citations import Citation, Reached
from glassgate.conformance.cli import run
from glassgate.conformance.rules_command import (
    ExceptionsError,
    Excuse,
    Row,
    read_exceptions,
    table_of,
    unexcused,
)
from glassgate.contract.rules import RULES

ROOT = Path(__file__).parents[2]
EXPIRED = RULES["s17-expired"]
HERE = Citation("s17-expired", "gateway", 1, "expire", "/gateway.py")
BOTH = {"reference": [HERE], "optimized": [HERE]}
VECTORS = [vector for file in model.load_packaged() for vector in file.vectors]


def excuse(*lacks: str) -> dict[str, Excuse]:
    return {"s17-expired": Excuse(frozenset(lacks), "because")}


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_real_table_has_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["rules"])

    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith(" 0 problems"), [line for line in out.splitlines() if ": lacks" in line]
    assert status == 0


def test_a_rule_with_vectors_and_with_branches_that_they_reach_lacks_nothing() -> None:
    assert Row(EXPIRED, 1, BOTH, BOTH).holes == frozenset()


def test_what_a_rule_can_lack() -> None:
    assert Row(EXPIRED, 0, BOTH, BOTH).holes == {"vectors"}
    assert Row(EXPIRED, 1, {"reference": [HERE]}, BOTH).holes == {"optimized"}
    assert Row(EXPIRED, 1, BOTH, {"optimized": [HERE]}).holes == {"reference reached"}
    assert Row(EXPIRED, 0).holes == {"vectors", "reference", "optimized"}


def test_the_table_joins_vectors_branches_and_what_was_reached() -> None:
    seen = Reached(frozenset({("/gateway.py", 1)}), frozenset())
    vectors = [vector for vector in VECTORS if vector.id in ("fwd-ttl-1", "fwd-ttl-0")]

    row = {row.rule.slug: row for row in table_of(vectors, {"reference": ([HERE], seen)})}["s17-expired"]

    assert row.vectors == 2
    assert row.places == row.executed == {"reference": [HERE]}
    assert row.holes == {"optimized"}


# ── holes and excuses ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hole_without_an_excuse_is_a_problem() -> None:
    row = Row(EXPIRED, 0, BOTH, BOTH)

    assert unexcused([row], {}) == ["s17-expired: lacks vectors"]
    assert unexcused([row], excuse("reference")) == [
        "s17-expired: lacks vectors",
        "s17-expired: is excused for lacking reference, and has it",
    ]


def test_an_excused_hole_is_none() -> None:
    assert unexcused([Row(EXPIRED, 0, BOTH, BOTH)], excuse("vectors")) == []


def test_an_excuse_that_is_not_needed_is_a_problem() -> None:
    assert unexcused([Row(EXPIRED, 1, BOTH, BOTH)], excuse("vectors")) == [
        "s17-expired: is excused for lacking vectors, and has it"
    ]


def test_the_command_fails_on_a_problem(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_command, "_observed", lambda vectors: {})

    status = run(["rules", "--holes"])

    assert status == 1
    assert "s17-expired: lacks reference" in capsys.readouterr().out.splitlines()


def test_quick_counts_vectors_and_judges_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["rules", "--quick"])

    assert status == 0
    assert "s17-expired" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[s17-no-such]\nlacks = ["vectors"]\nreason = "r"', "s17-no-such: there is no such rule"),
        ('[s17-expired]\nreason = "r"', "s17-expired.lacks: needs some of optimized, "),
        ('[s17-expired]\nlacks = ["courage"]\nreason = "r"', "s17-expired.lacks: needs some of optimized, "),
        ('[s17-expired]\nlacks = ["vectors"]', "s17-expired.reason: is missing"),
    ],
)
def test_a_wrong_exception_is_told(text: str, problem: str) -> None:
    with pytest.raises(ExceptionsError, match=re.escape(f"rule-exceptions.toml: {problem}")):
        read_exceptions(text)


def test_each_test_that_an_excuse_names_is_there() -> None:
    named = [name for excuse in read_exceptions().values() for name in excuse.shown]

    for name in named:
        path, _, test = name.partition("::")
        assert f"\ndef {test}(" in (ROOT / path).read_text("utf-8"), name


def test_each_excuse_names_a_test_that_shows_the_rule_instead() -> None:
    assert [slug for slug, excuse in read_exceptions().items() if not excuse.shown] == []
