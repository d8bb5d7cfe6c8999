"""The registry of rules: its shape, which tools rely on."""

from __future__ import annotations

import re

import pytest

from glassgate.contract import Level, rules
from glassgate.contract.rules import CHAPTERS, RULES, Rule


def constants() -> dict[str, Rule]:
    return {name: value for name, value in vars(rules).items() if isinstance(value, Rule)}


def test_each_rule_has_a_constant_that_is_its_slug_in_capitals() -> None:
    assert {name: rule.slug for name, rule in constants().items()} == {
        slug.upper().replace("-", "_"): slug for slug in RULES
    }


@pytest.mark.parametrize("rule", RULES.values(), ids=str)
def test_each_rule_is_whole(rule: Rule) -> None:
    assert re.fullmatch(r"[sl]\d+(-[a-z0-9]+)+", rule.slug)
    assert rule.requirement in CHAPTERS
    assert re.fullmatch(r"[A-Z0-9].*[.]", rule.sentence)
    assert len(rule.sentence) <= 160
    assert rule.citation.strip()
    assert rule.level in Level
    assert rules.find(rule.slug) is rule
    assert str(rule) == rule.slug


def test_every_requirement_has_a_rule_and_rules_stand_in_their_order() -> None:
    order = list(CHAPTERS)
    places = [order.index(rule.requirement) for rule in RULES.values()]
    assert places == sorted(places)
    assert set(places) == set(range(len(order)))


def test_the_requirements_are_numbered_without_gaps() -> None:
    assert list(CHAPTERS) == [*(f"S{number}" for number in range(1, 33)), *(f"L{number}" for number in range(1, 5))]


def test_no_two_rules_say_the_same() -> None:
    assert len({rule.sentence for rule in RULES.values()}) == len(RULES)


def test_a_rule_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="s99-nothing"):
        rules.find("s99-nothing")
