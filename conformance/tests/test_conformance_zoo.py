"""The zoo: every animal is caught by a vector that cites one of its rules, and none is left behind afterwards."""

from __future__ import annotations

import importlib
import sys

import pytest

from glassgate.conformance import model
from glassgate.conformance.cli import run
from glassgate.conformance.subjects import discovery
from glassgate.conformance.zoo.animals import ANIMALS, Animal
from glassgate.conformance.zoo.breeding import ChangeError, bred, changed_text
from glassgate.conformance.zoo.command import hunt
from glassgate.contract.rules import RULES

VECTORS = [vector for file in model.load_packaged() for vector in file.vectors]


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_the_animal_is_caught(animal: Animal) -> None:
    catch = hunt(animal, VECTORS)

    assert catch.is_caught, catch.problem or "no vector that cites its rules fails on it"


def test_there_are_forty_at_least_each_with_a_name_of_its_own_and_rules_that_exist() -> None:
    assert len({animal.name for animal in ANIMALS}) == len(ANIMALS) >= 40
    assert {rule for animal in ANIMALS for rule in animal.rules} <= set(RULES)
    assert all(animal.origin for animal in ANIMALS)


def test_the_gateway_is_sound_again_when_the_animal_is_gone() -> None:
    discovery.find("reference")
    before = sys.modules["glassgate.reference"]
    with bred({"ipv4": [("VERSION = 4", "VERSION = 5")]}):
        assert sys.modules["glassgate.reference"] is not before
        assert sys.modules["glassgate.reference.ipv4"].VERSION == 5

    assert sys.modules["glassgate.reference"] is before
    assert importlib.import_module("glassgate.reference.ipv4").VERSION == 4
    assert importlib.import_module("glassgate").reference is before
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "_ChangingFinder"]


def test_a_change_that_does_not_fit_the_sources_says_so() -> None:
    with pytest.raises(ChangeError, match="stands 0 times, not once: 'nowhere'"):
        changed_text("module", "text", [("nowhere", "")])
    with pytest.raises(ChangeError, match="stands 2 times"):
        changed_text("module", "a a", [("a", "b")])
    with pytest.raises(ChangeError, match="ipv4"), bred({"ipv4": [("nowhere", "")]}):
        pass


def test_an_animal_without_a_change_gets_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tame = Animal("tame", "It does nothing wrong.", "nowhere", ("s17-expired",), {"ipv4": []})
    monkeypatch.setattr("glassgate.conformance.zoo.command.ANIMALS", (tame,))

    status = run(["zoo"])

    assert status == 1
    assert "1 got away" in capsys.readouterr().out


def test_the_command_shows_one_animal_and_its_change(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["zoo", "teardrop", "--show"])

    out = capsys.readouterr().out
    assert status == 0
    assert "1 animals, 1 caught, 0 got away" in out
    assert "-     if held.overlaps(packet):" in out


def test_an_unknown_animal_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["zoo", "unicorn"])

    assert status == 2
    assert "no animal is called unicorn" in capsys.readouterr().err
