"""Citations: where they are found, which are reached, and which are shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassgate.conformance import model
from glassgate.conformance.citations import Citation, Reached, citations, reached, shared
from glassgate.conformance.subjects import discovery

SOURCES = {
    "owner/__init__.py": "",
    "owner/control.py": """\
from glassgate.contract import rules
from owner import helper

def refuse():
    return rules.S26_CONTROL_REFUSED
""",
    "owner/helper.py": """\
def help():
    pass  # s24-ping
""",
    "owner/data.py": """\
from glassgate.contract import rules

def forward():
    return rules.S14_FORWARD
""",
    "taker/__init__.py": "",
    "taker/gateway.py": """\
from glassgate.contract import rules
from owner.control import refuse

TABLE = {17: rules.S17_EXPIRED}

class Gateway:
    def expire(self, hops):
        if hops <= 1:  # s17-expired: the last hop
            return rules.S17_EXPIRED
        # s17-decrement, and s20-made-up is no rule
        return (
            hops - 1
        )

def unrelated():
    return rules.NO_SUCH_RULE, other.S17_EXPIRED  # about s17 expired

def drop(because=rules.S14_FORWARD):
    return because, rules.S17_DECREMENT
""",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages; ``taker`` imports one module of ``owner``, which imports another."""
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def found(package: str) -> list[tuple[str, int, str]]:
    return [(citation.rule, citation.line, citation.function) for citation in citations(package)]


def test_a_rule_is_cited_by_its_name_or_by_its_slug_in_a_comment(packages: Path) -> None:
    assert found("taker") == [
        ("s17-expired", 4, ""),
        ("s17-expired", 8, "expire"),
        ("s17-expired", 9, "expire"),
        ("s17-decrement", 11, "expire"),
        ("s14-forward", 18, ""),
        ("s17-decrement", 19, "drop"),
    ]


def test_a_default_is_executed_where_the_function_is_defined_and_not_when_it_runs(packages: Path) -> None:
    default = next(citation for citation in citations("taker") if citation.rule == "s14-forward")

    assert not default.is_in_function


def test_a_citation_tells_its_place_in_words(packages: Path) -> None:
    assert str(citations("taker")[0]) == "gateway:4"


def test_a_package_shares_the_modules_that_it_imports_and_what_those_import(packages: Path) -> None:
    assert [(citation.rule, citation.module) for citation in shared("taker", "owner")] == [
        ("s26-control-refused", "owner.control"),
        ("s24-ping", "owner.helper"),
    ]


def test_nobody_shares_with_a_package_that_imports_nothing_of_it(packages: Path) -> None:
    assert shared("owner", "taker") == []


def test_the_optimized_gateway_shares_the_control_plane_and_nothing_else() -> None:
    modules = {citation.module for citation in shared("glassgate.optimized", "glassgate.reference")}

    assert "reference.openvpn.client" in modules
    assert all(module.startswith("reference.openvpn.") for module in modules)
    assert not modules & {"reference.openvpn.tunnel", "reference.openvpn.data_channel", "reference.openvpn.framing"}
    assert shared("glassgate.reference", "glassgate.optimized") == []


def test_a_line_is_reached_if_executed_and_a_table_if_its_rule_is_named() -> None:
    in_function = Citation("s17-expired", "gateway", 8, "expire", "/gateway.py")
    in_table = Citation("s17-expired", "gateway", 4, "", "/gateway.py")

    assert Reached(frozenset({("/gateway.py", 8)}), frozenset()).includes(in_function)
    assert not Reached(frozenset({("/gateway.py", 9)}), frozenset({"s17-expired"})).includes(in_function)
    assert Reached(frozenset(), frozenset({"s17-expired"})).includes(in_table)
    assert not Reached(frozenset({("/gateway.py", 4)}), frozenset()).includes(in_table)


def test_a_vector_reaches_the_branches_that_decide_it_and_no_others() -> None:
    vectors = [v for file in model.load_packaged() for v in file.vectors if v.id == "fwd-ttl-1"]
    places = citations("glassgate.reference")

    came_by = reached(discovery.find("reference"), vectors, places)

    rules = {place.rule for place in places if came_by.includes(place)}
    assert {"s17-expired", "s20-quote"} <= rules
    assert not rules & {"s22-df", "s21-fragment", "l2-echo"}
