"""The vector format: what is read, what is refused and in which words, and that the published schema agrees."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from glassgate.conformance import model
from glassgate.conformance.model import VectorError, VectorPort, merge_patch

KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
FILE: dict[str, Any] = {
    "schema": "1.0",
    "category": "forwarding",
    "summary": "What the tests need.",
    "config": {"external": {"kind": "os"}, "tunnel": {"session": {"send": KEY, "receive": KEY}}},
    "notes": {"Late": {"bug": "b", "what": "w", "effect": "e", "links": ["https://example.org"], "cves": []}},
    "vectors": [
        {
            "id": "one-vector",
            "rev": 2,
            "title": "A title",
            "rules": ["s17-expired"],
            "requires": ["session"],
            "flags": ["Late"],
            "result": "acceptable",
            "source": "RFC 1812 5.3.1",
            "config": {"notes": False},
            "steps": [
                {
                    "at": 0.0,
                    "input": {"start": True},
                    "outcomes": [
                        {"flag": None, "expect": [{"port": "internal", "hex": "00" * 14, "padding": True}]},
                        {"flag": "Late", "expect": []},
                    ],
                },
                {"at": 1.5, "input": {"tick": True}, "outcomes": [{"flag": None, "expect": []}], "when": "Late"},
                {"at": 2, "input": {"flow": "closed"}, "outcomes": [{"expect": [{"do": "open"}, {"do": "close"}]}]},
                {
                    "at": 3.0,
                    "input": {
                        "port": "tunnel",
                        "hex": "45" + "00" * 27,
                        "fill": [{"at": [4, 6], "kind": "bind", "name": "id", "plus": 1}],
                    },
                    "outcomes": [
                        {
                            "flag": None,
                            "expect": [
                                {
                                    "port": "tunnel",
                                    "hex": "45" + "00" * 27,
                                    "free": [
                                        {"at": [0, 1], "kind": "any"},
                                        {"at": [2, 4], "kind": "length"},
                                        {"at": [4, 6], "kind": "bind", "name": "id", "plus": -1},
                                        {"at": [8, 9], "kind": "range", "low": 1, "high": 64},
                                        {"at": [10, 12], "kind": "checksum", "of": "ip"},
                                    ],
                                }
                            ],
                        }
                    ],
                },
            ],
        }
    ],
}
VALIDATOR = jsonschema.Draft202012Validator(model.schema())


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The sound file with one change."""
    value = copy.deepcopy(FILE)
    change(value)
    return value


def vector(value: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = value["vectors"][0]
    return made


def step(value: dict[str, Any], index: int) -> dict[str, Any]:
    made: dict[str, Any] = vector(value)["steps"][index]
    return made


def frame(value: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = step(value, 3)["outcomes"][0]["expect"][0]
    return made


def test_a_file_is_the_same_after_writing_and_reading() -> None:
    read = model.read(FILE)
    again = model.loads(model.dumps(read))
    assert again.vectors == read.vectors
    assert again.notes == read.notes
    assert model.dumps(again) == model.dumps(read)


def test_the_values_are_where_they_belong() -> None:
    read = model.read(FILE).vectors[0]
    assert (read.id, read.rev, read.category) == ("one-vector", 2, "forwarding")
    assert read.config["notes"] is False
    assert read.config["external"] == {"kind": "os"}
    assert read.steps[1].when == "Late"
    expected = read.steps[3].outcomes[0].expect[0]
    assert isinstance(expected, model.ExpectedPacket)
    assert expected.port is VectorPort.TUNNEL
    assert expected.free[2] == model.Bind(4, 6, "id", -1)
    assert expected.free[4] == model.Checksum(10, 12, "ip")


def test_the_schema_is_a_schema_and_accepts_the_file() -> None:
    jsonschema.Draft202012Validator.check_schema(model.schema())  # raises
    assert list(VALIDATOR.iter_errors(FILE)) == []


BY_THE_SCHEMA: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown major version": (lambda v: v.update(schema="2.0"), "schema: version 2.0 cannot be read"),
    "no version": (lambda v: v.pop("schema"), "schema: is missing"),
    "unknown member of the file": (lambda v: v.update(more=1), "more: unknown member"),
    "unknown member of a note": (lambda v: v["notes"]["Late"].update(more=1), "notes.Late.more: unknown member"),
    "category not a slug": (lambda v: v.update(category="For Warding"), "category: 'For Warding' is not a slug"),
    "flag not a flag": (lambda v: v["notes"].update({"no flag": v["notes"]["Late"]}), "notes: 'no flag' is not"),
    "no vectors": (lambda v: v.update(vectors=[]), "vectors: needs at least 1"),
    "config no object": (lambda v: v.update(config=[]), "config: [] is not an object"),
    "unknown member of a vector": (lambda v: vector(v).update(more=1), "one-vector: more: unknown member"),
    "id not a slug": (lambda v: vector(v).update(id="One"), "id: 'One' is not a slug"),
    "rev under 1": (lambda v: vector(v).update(rev=0), "one-vector: rev: 0 is under 1"),
    "rev no integer": (lambda v: vector(v).update(rev="1"), "rev: '1' is not an integer"),
    "title empty": (lambda v: vector(v).update(title=" "), "title: ' ' is not a text"),
    "no rule": (lambda v: vector(v).update(rules=[]), "rules: needs at least 1"),
    "a rule twice": (lambda v: vector(v).update(rules=["s17-expired"] * 2), "rules[1]: 's17-expired' stands twice"),
    "unknown result": (lambda v: vector(v).update(result="good"), "result: 'good' is not one of"),
    "no steps": (lambda v: vector(v).update(steps=[]), "steps: needs at least 1"),
    "unknown member of a step": (lambda v: step(v, 0).update(more=1), "steps[0].more: unknown member"),
    "time negative": (lambda v: step(v, 0).update(at=-1), "steps[0].at: -1 is not a number of seconds"),
    "time no number": (lambda v: step(v, 0).update(at="0"), "steps[0].at: '0' is not a number"),
    "no outcome": (lambda v: step(v, 1).update(outcomes=[]), "steps[1].outcomes: needs at least 1"),
    "unknown member of an outcome": (lambda v: step(v, 1)["outcomes"][0].update(x=1), "outcomes[0].x: unknown"),
    "input without kind": (lambda v: step(v, 1).update(input={}), "steps[1].input: an input needs one of"),
    "input of two kinds": (lambda v: step(v, 1)["input"].update(start=True), "steps[1].input.tick: unknown member"),
    "tick false": (lambda v: step(v, 1).update(input={"tick": False}), "input.tick: False is not true"),
    "unknown event": (lambda v: step(v, 2).update(input={"flow": "lost"}), "input.flow: 'lost' is not one of"),
    "unknown port": (lambda v: frame(v).update(port="wan"), "expect[0].port: 'wan' is not one of"),
    "hex odd": (lambda v: frame(v).update(hex="450"), "expect[0].hex: '450' is not hexadecimal"),
    "hex capital": (lambda v: frame(v).update(hex="4A"), "expect[0].hex: '4A' is not hexadecimal octets in small"),
    "unknown action": (lambda v: step(v, 2)["outcomes"][0]["expect"].append({"do": "x"}), "do: 'x' is not one of"),
    "refusal without member": (lambda v: step(v, 2)["outcomes"][0]["expect"].append({"do": "refuse"}), "is missing"),
    "unknown kind of free": (lambda v: frame(v)["free"][0].update(kind="some"), "free[0].kind: 'some' is not one of"),
    "free without place": (lambda v: frame(v)["free"][0].pop("at"), "free[0].at: is missing"),
    "place no pair": (lambda v: frame(v)["free"][0].update(at=[1]), "free[0].at: [1] is not a pair"),
    "bind without name": (lambda v: frame(v)["free"][2].pop("name"), "free[2].name: is missing"),
    "range without high": (lambda v: frame(v)["free"][3].pop("high"), "free[3].high: is missing"),
    "unknown checksum": (lambda v: frame(v)["free"][4].update(of="fcs"), "free[4].of: 'fcs' is not one of"),
    "fill of a wrong kind": (
        lambda v: step(v, 3)["input"].update(fill=[{"at": [0, 1], "kind": "any"}]),
        "fill[0].kind: only 'bind' and 'checksum'",
    ),
}

BEYOND_THE_SCHEMA: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown rule": (lambda v: vector(v).update(rules=["s99-nothing"]), "rules[0]: 's99-nothing' is unknown"),
    "unknown capability": (lambda v: vector(v).update(requires=["fly"]), "requires[0]: 'fly' is unknown"),
    "flag without note": (lambda v: vector(v).update(flags=["Other"]), "flags[0]: 'Other' is unknown"),
    "outcome's flag without note": (
        lambda v: step(v, 0)["outcomes"][1].update(flag="Other"),
        "outcomes[1].flag: 'Other' is not explained",
    ),
    "id used twice": (lambda v: v["vectors"].append(v["vectors"][0]), "vector one-vector: id: is used already"),
    "first outcome with a flag": (
        lambda v: step(v, 0)["outcomes"].reverse(),
        "outcomes[0].flag: 'Late': the first outcome is the preferred one",
    ),
    "two preferred outcomes": (lambda v: step(v, 0)["outcomes"][1].update(flag=None), "outcomes[1].flag: an outcome"),
    "choice in a valid vector": (lambda v: vector(v).update(result="valid"), "result: 'valid', but some step"),
    "time going back": (lambda v: step(v, 3).update(at=1.0), "steps[3].at: 1.0 is before 2.0"),
    "start not first": (
        lambda v: step(v, 0).update(input={"tick": True}),
        "steps[0].input: the first step is the start",
    ),
    "start twice": (lambda v: step(v, 1).update(input={"start": True}), "steps[1].input: the first step is the start"),
    "condition never met": (lambda v: step(v, 1).update(when="Never"), "steps[1].when: no earlier step"),
    "free beyond the packet": (lambda v: frame(v)["free"][0].update(at=[27, 29]), "at: [27, 29] is not a span"),
    "free empty": (lambda v: frame(v)["free"][0].update(at=[1, 1]), "at: [1, 1] is not a span"),
    "free overlapping": (lambda v: frame(v)["free"][0].update(at=[1, 3]), "free: [1, 3] and [2, 4] overlap"),
    "range upside down": (lambda v: frame(v)["free"][3].update(low=65), "free[3].low: 65 is over high, 64"),
    "checksum of three octets": (lambda v: frame(v)["free"][4].update(at=[10, 13]), "is not two octets"),
    "padding in the tunnel": (lambda v: frame(v).update(padding=True), "padding: only frames are padded"),
    "port that the configuration lacks": (lambda v: frame(v).update(port="external"), "there is no port 'external'"),
    "wrong configuration": (lambda v: vector(v).update(config={"internal": {"mtu": 67}}), "internal.mtu: 67 is under"),
    "patch that removes nothing": (
        lambda v: vector(v).update(config={"tunnel": {"session": {"peer_id": None}}}),
        "config.tunnel.session.peer_id: null removes a member",
    ),
}


@pytest.mark.parametrize("name", BY_THE_SCHEMA)
def test_what_the_schema_refuses_the_reader_refuses_too_and_names_the_member(name: str) -> None:
    change, words = BY_THE_SCHEMA[name]
    value = changed(change)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(value)
    with pytest.raises(VectorError) as caught:
        model.read(value, "file.json")
    assert str(caught.value).startswith("file.json: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", BEYOND_THE_SCHEMA)
def test_what_a_schema_cannot_say_is_refused_by_the_reader(name: str) -> None:
    change, words = BEYOND_THE_SCHEMA[name]
    with pytest.raises(VectorError) as caught:
        model.read(changed(change), "file.json")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "file.json: is not JSON: line 1, column 2: Expecting property name"),
        ("[]", "file.json: [] is not an object"),
        ('{"schema": "1.0", "schema": "1.0"}', "is not JSON: the member 'schema' stands twice in one object"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_text_that_is_no_vector_file_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(VectorError) as caught:
        model.loads(text, "file.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"absent\.json: cannot be read"):
        model.load(tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes(b'{"schema": "\xe9"}')
    with pytest.raises(VectorError, match=r"latin\.json: cannot be read"):
        model.load(tmp_path / "latin.json")


def test_a_configuration_that_is_to_be_refused_may_be_wrong() -> None:
    def refuse(value: dict[str, Any]) -> None:
        start = step(value, 0)
        start["outcomes"] = [{"flag": None, "expect": [{"do": "refuse", "member": "internal.mtu"}]}]
        vector(value).update(config={"internal": {"mtu": 67}}, steps=[start], result="invalid")

    value = changed(refuse)
    VALIDATOR.validate(value)
    assert model.read(value).vectors[0].steps[0].outcomes[0].expect == (model.ExpectedAction("refuse", "internal.mtu"),)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396 appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_are_those_of_the_standard(target: Any, patch: Any, result: Any) -> None:
    before = json.dumps(target)
    assert merge_patch(target, patch) == result
    assert json.dumps(target) == before


def test_every_packaged_file_obeys_the_published_schema() -> None:
    for source in model.packaged():
        assert list(VALIDATOR.iter_errors(json.loads(source.read_text(encoding="utf-8")))) == [], source.name
