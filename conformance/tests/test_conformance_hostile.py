"""Whatever stands in a line, an answer, a vector file or a profile: read, or refused in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glassgate.conformance import model, profile, serve
from glassgate.conformance.model import VectorError
from glassgate.conformance.profile import ProfileError
from glassgate.conformance.subjects.exec_ import read_reply
from glassgate.conformance.subjects.subject import SubjectFault
from glassgate.contract import (
    CAPABILITIES,
    ConfigError,
    Effect,
    Entropy,
    FlowEvent,
    GatewayConfig,
    Implementation,
    Port,
    Transmit,
    rules,
)

KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
CONFIG = {"external": {"kind": "os"}, "tunnel": {"session": {"send": KEY, "receive": KEY}}}
WORDS = [
    "op",
    "now",
    "port",
    "hex",
    "event",
    "steps",
    "config",
    "out",
    "deadline",
    "do",
    "kind",
    "rule",
    "detail",
    "at",
]
WORDS += ["free", "start", "tick", "flow", "fill", "when"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [*WORDS, "internal", "external", "receive", "run", "stop", "hello", "transmit", "note", "00", "bind"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner),
    max_leaves=12,
)


class Quiet:
    """Gives each frame back."""

    def __init__(self, config: GatewayConfig, entropy: Entropy) -> None:
        return

    def start(self, now: float) -> list[Effect]:
        return []

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        return [Transmit(port, bytes(data), rules.S7_REPLY)]

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        return []

    def tick(self, now: float) -> list[Effect]:
        return []

    @property
    def deadline(self) -> float | None:
        return None


quiet = Implementation("quiet", "1", frozenset(CAPABILITIES), Quiet)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [at]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in members:
        found += paths(inner, (*at, name))
    return found


def with_change(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """The same value with something else in one place."""
    if not place:
        return new
    changed = copy.deepcopy(value)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = new
    return changed


def refusal(call: Callable[[], object], kind: type[Exception]) -> str | None:
    """The words of the refusal; None if nothing was refused. Any other exception fails the test."""
    try:
        call()
    except kind as error:
        return str(error)
    return None


def one_line(text: str) -> bool:
    return bool(text) and len(text.splitlines()) == 1


@given(st.lists(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), max_size=6))
def test_every_line_is_answered_and_the_service_lives(lines: list[bytes]) -> None:
    service = serve.Service(quiet)
    service.answer(json.dumps({"op": "start", "config": CONFIG, "now": 0}).encode())
    for line in lines:
        answer = service.answer(line)
        assert json.dumps(answer, allow_nan=False)
        if "error" in answer:
            assert one_line(answer["error"])
    assert service.answer(b'{"op":"stop"}') == {"stopped": True}


STEPS = [
    {"op": "start", "config": CONFIG, "now": 0.0},
    {"op": "receive", "port": "internal", "hex": "00ff", "now": 1.0},
    {"op": "flow", "event": "closed", "now": 2.0},
    {"op": "run", "steps": [{"op": "tick", "now": 3.0}]},
]


@given(st.data(), JSON)
def test_a_good_line_with_one_member_changed_is_answered(data: st.DataObject, new: Any) -> None:
    service = serve.Service(quiet)
    index = data.draw(st.integers(0, len(STEPS) - 1))
    changed = with_change(STEPS[index], data.draw(st.sampled_from(paths(STEPS[index]))), new)
    for request in (*STEPS[:index], changed):
        answer = service.answer(json.dumps(request).encode())
        assert len({"out", "results", "error", "unsupported", "stopped", "name"} & answer.keys()) == 1


@given(JSON | st.dictionaries(st.sampled_from(["out", "deadline"]), JSON, min_size=2))
def test_an_answer_is_read_or_is_rubbish(answer: Any) -> None:
    value = answer if isinstance(answer, dict) else {"out": answer, "deadline": None}
    words = refusal(lambda: read_reply(value), SubjectFault)
    assert words is None or one_line(words)


FILE = model.to_json(model.load_packaged()[0])
FILE["vectors"] = FILE["vectors"][:1]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), JSON)
def test_a_vector_file_with_one_member_changed_is_read_or_refused(data: st.DataObject, new: Any) -> None:
    changed = with_change(FILE, data.draw(st.sampled_from(paths(FILE))), new)
    text = json.dumps(changed)
    words = refusal(lambda: model.loads(text, "file.json"), VectorError)
    if words is None:
        made = model.loads(text, "file.json")
        assert model.read(model.to_json(made)).vectors == made.vectors
    else:
        assert one_line(words)
        assert words.startswith("file.json: ")


@given(st.text(max_size=200))
def test_a_text_is_a_vector_file_or_is_refused(text: str) -> None:
    words = refusal(lambda: model.loads(text, "file.json"), VectorError)
    assert words is not None
    assert words.startswith("file.json: ")


@given(JSON)
def test_a_configuration_is_read_or_refused(value: Any) -> None:
    words = refusal(lambda: GatewayConfig.from_json(value), ConfigError)
    assert words


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_a_profile_is_read_or_refused(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "profile.toml"
    path.write_bytes(octets)
    words = refusal(lambda: profile.load(path), ProfileError)
    assert words is None or words.startswith(str(path))
