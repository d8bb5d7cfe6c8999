"""What commands print folds at the terminal's edge, is whole in a pipe, and leaves no spaces behind."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from glassgate.conformance import cli, terminal
from glassgate.contract.rules import RULES


def printed(columns: int, head: str, *below: str) -> list[str]:
    """The lines of an entry, in a terminal of so many columns."""
    written = io.StringIO()
    terminal.entry(Console(file=written, width=columns), Text(head), *map(Text, below))
    return written.getvalue().splitlines()


def test_an_entry_is_a_line_and_what_is_said_of_it_below() -> None:
    assert printed(80, "s9-version  MUST", "A version other than 4 is dropped.") == [
        "s9-version  MUST",
        "    A version other than 4 is dropped.",
    ]


def test_what_does_not_fit_is_folded_and_stays_indented() -> None:
    assert printed(24, "s9-version", "A version other than 4 is dropped.") == [
        "s9-version",
        "    A version other than",
        "    4 is dropped.",
    ]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_no_line_is_too_long_and_none_ends_in_spaces(columns: int) -> None:
    for rule in RULES.values():
        for line in printed(columns, rule.slug, rule.sentence, rule.citation):
            assert len(line) <= columns
            assert line == line.rstrip()


def test_a_pipe_has_at_least_the_columns_that_its_reader_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert terminal.console(120).width == 120
    monkeypatch.setenv("COLUMNS", "200")
    assert terminal.console(120).width == 200


@pytest.mark.parametrize("command", [("vectors", "list"), ("rules", "--quick"), ("zoo", "short-record")])
def test_a_list_in_a_pipe_has_whole_lines_without_spaces_at_their_ends(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(command) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert max(map(len, lines)) > 80


def test_in_a_pipe_a_vector_stands_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["vectors", "list", "--id", "arp-request"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "arp-request  valid       A broadcast request for the gateway is answered by a unicast reply  [s7-reply]",
        "1 vectors in 1 categories",
    ]


def test_the_version_is_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("glassgate ")


@pytest.mark.parametrize("group", ["glassgate", "lab", "vectors"])
def test_the_list_of_commands_is_not_cut_off(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*([group] if group != "glassgate" else []), "--help"]) == 0

    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith("...") and "Usage" not in line] == []
