"""Protocol 1, line by line: each answer, every kind of bad line, and the whole through a process."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glassgate.conformance import serve
from glassgate.contract import (
    CloseFlow,
    Effect,
    Entropy,
    FlowEvent,
    GatewayConfig,
    Implementation,
    Note,
    NoteKind,
    OpenFlow,
    Port,
    Transmit,
    Unsupported,
    rules,
)

KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
CONFIG = {"external": {"kind": "os"}, "tunnel": {"session": {"send": KEY, "receive": KEY}}}
START = {"op": "start", "config": CONFIG, "now": 0.0}
BECAUSE = rules.S7_REPLY


class Mirror:
    """Gives each octet back, tells of everything, and fails when told to."""

    def __init__(self, config: GatewayConfig, entropy: Entropy) -> None:
        self.entropy = entropy
        if config.internal.mtu == 1000:
            raise Unsupported("session")

    def start(self, now: float) -> list[Effect]:
        return [Transmit(Port.INTERNAL, self.entropy(2), BECAUSE)]

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        if bytes(data) == b"\xee":
            raise ValueError("no\nsuch thing")
        return [Transmit(port, bytes(data), BECAUSE), Note(NoteKind.DELIVERED, BECAUSE, {"octets": len(data)})]

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        return [OpenFlow(BECAUSE)] if event is FlowEvent.CLOSED else [CloseFlow(BECAUSE)]

    def tick(self, now: float) -> list[Effect]:
        return []

    @property
    def deadline(self) -> float | None:
        return 7.5


mirror = Implementation("mirror", "1", frozenset({"external.os", "session", "cipher.aes-256-gcm", "notes"}), Mirror)


@pytest.fixture
def ask() -> Callable[..., Any]:
    """Asks one service; a request is an object or a line as it stands."""
    service = serve.Service(mirror)

    def asked(request: dict[str, Any] | bytes) -> Any:
        line = request if isinstance(request, bytes) else json.dumps(request).encode()
        return service.answer(line)

    return asked


def test_hello_tells_who_it_is(ask: Callable[..., Any]) -> None:
    assert ask({"op": "hello", "protocol": 1}) == {
        "name": "mirror",
        "version": "1",
        "language": "Python",
        "capabilities": ["cipher.aes-256-gcm", "external.os", "notes", "session"],
        "ports": ["internal", "flow"],
    }


def test_start_uses_the_seeded_octets_and_tells_the_deadline(ask: Callable[..., Any]) -> None:
    # The SHA-256 of nine zero octets (the seed 00, then a 64-bit zero) begins with 3e7077fd.
    answer = ask(START | {"config": CONFIG | {"entropy": "00"}})
    assert answer == {"out": [{"do": "transmit", "port": "internal", "hex": "3e70"}], "deadline": 7.5}


def test_each_step_is_answered_with_effects_in_order(ask: Callable[..., Any]) -> None:
    ask(START)
    assert ask({"op": "receive", "port": "internal", "hex": "0aFF", "now": 0.001})["out"] == [
        {"do": "transmit", "port": "internal", "hex": "0aff"},
        {"do": "note", "kind": "delivered", "rule": "s7-reply", "detail": {"octets": 2}},
    ]
    assert ask({"op": "flow", "event": "closed", "now": 0.002})["out"] == [{"do": "open"}]
    assert ask({"op": "flow", "event": "opened", "now": 0.003})["out"] == [{"do": "close"}]
    assert ask({"op": "tick", "now": 1}) == {"out": [], "deadline": 7.5}
    assert ask({"op": "stop"}) == {"stopped": True}
    assert ask({"op": "tick", "now": 2}) == {"error": "tick: nothing is started"}


def test_run_takes_several_steps(ask: Callable[..., Any]) -> None:
    steps = [START, {"op": "tick", "now": 1.0}, {"op": "receive", "port": "flow", "hex": "", "now": 1.0}]
    results = ask({"op": "run", "steps": steps})["results"]
    assert [len(result["out"]) for result in results] == [1, 0, 2]


def test_a_wrong_step_of_a_run_is_told_by_its_number_and_ends_it(ask: Callable[..., Any]) -> None:
    ask(START)
    steps = [{"op": "tick", "now": 2.0}, {"op": "tick", "now": 1.0}, {"op": "tick", "now": 9.0}]
    assert ask({"op": "run", "steps": steps}) == {"error": "steps[1]: now: 1 is before 2: time does not go back"}
    assert "out" in ask({"op": "tick", "now": 2.0})


def test_start_may_come_again_and_begins_afresh(ask: Callable[..., Any]) -> None:
    first = ask(START)
    ask({"op": "tick", "now": 50.0})
    assert ask(START) == first
    assert "out" in ask({"op": "tick", "now": 0.5})


def test_after_a_start_that_failed_nothing_is_started(ask: Callable[..., Any]) -> None:
    ask(START)
    assert "error" in ask(START | {"config": {}})
    assert ask({"op": "tick", "now": 1.0}) == {"error": "tick: nothing is started"}


def test_what_the_gateway_lacks_is_unsupported(ask: Callable[..., Any]) -> None:
    assert ask(START | {"config": {"tunnel": {"session": {"send": KEY, "receive": KEY}}}}) == {
        "unsupported": "external.stack"
    }
    assert ask(START | {"config": CONFIG | {"internal": {"mtu": 1000}}}) == {"unsupported": "session"}


def test_a_gateway_that_raises_is_told_in_one_line_and_is_stopped(ask: Callable[..., Any]) -> None:
    ask(START)
    answer = ask({"op": "receive", "port": "internal", "hex": "ee", "now": 1.0})
    assert answer["error"].startswith("the gateway raised ValueError: no such thing (test_conformance_serve.py, line")
    assert ask({"op": "tick", "now": 1.0}) == {"error": "tick: nothing is started"}


RECEIVE = {"op": "receive", "port": "internal", "hex": "00", "now": 1.0}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"", "the line is not JSON"),
        (b"{", "the line is not JSON"),
        (b"\xff{}", "the line is not UTF-8: octet 0"),
        (b"[]", "the line is not a JSON object but []"),
        (b'"start"', "the line is not a JSON object but 'start'"),
        (b"[" * 100_000, "the line is nested too deeply"),
        (b'{"op":"tick","op":"tick","now":1}', "the member 'op' stands twice"),
        (b'{"op":"tick","now":NaN}', "NaN is no number of JSON"),
        (b'{"op":"tick","now":Infinity}', "Infinity is no number of JSON"),
        (b'{"op":"tick","now":1e999}', "now: inf is not a time in seconds"),
        (b'{"op":"tick","now":1' + b"0" * 400 + b"}", "is not a time in seconds"),
        ({}, "op: is missing"),
        ({"op": "jump"}, "op: 'jump' is not one of hello, start, receive, flow, tick, run, stop"),
        ({"op": ["tick"]}, "op: ['tick'] is not one of"),
        ({"op": "hello"}, "protocol: is missing"),
        ({"op": "hello", "protocol": 2}, "protocol: 2 is not spoken here, only 1"),
        ({"op": "hello", "protocol": True}, "protocol: True is not spoken here"),
        ({"op": "hello", "protocol": 1, "name": "x"}, "name: unknown member; known here: op, protocol"),
        (RECEIVE | {"extra": 1}, "extra: unknown member; known here: op, port, hex, now"),
        ({"op": "tick"}, "now: is missing"),
        ({"op": "tick", "now": "1"}, "now: '1' is not a time in seconds"),
        ({"op": "tick", "now": True}, "now: True is not a time in seconds"),
        ({"op": "tick", "now": None}, "now: None is not a time in seconds"),
        ({"op": "tick", "now": 0.4}, "now: 0.4 is before 0.5: time does not go back"),
        ({"op": "stop", "now": 1}, "now: unknown member; known here: op"),
        (RECEIVE | {"port": "wan"}, "port: 'wan' is not one of internal, external, flow"),
        (RECEIVE | {"port": ["internal"]}, "port: ['internal'] is not one of"),
        (RECEIVE | {"port": "tunnel"}, "port: 'tunnel' is not one of"),
        (RECEIVE | {"port": "external"}, "port: the configuration has no port 'external'"),
        (RECEIVE | {"hex": "0"}, "hex: '0' is not hexadecimal octets"),
        (RECEIVE | {"hex": "00 11"}, "hex: '00 11' is not hexadecimal octets"),
        (RECEIVE | {"hex": "zz"}, "hex: 'zz' is not hexadecimal octets"),
        (RECEIVE | {"hex": None}, "hex: None is not hexadecimal octets"),
        ({"op": "flow", "event": "lost", "now": 1.0}, "event: 'lost' is not one of opened, closed"),
        ({"op": "run"}, "steps: is missing"),
        ({"op": "run", "steps": {}}, "steps: {} is not a list"),
        ({"op": "run", "steps": [1]}, "steps[0]: 1 is not an object"),
        ({"op": "run", "steps": [{"op": "run", "steps": []}]}, "steps[0]: op: 'run' is not one of start, receive"),
        ({"op": "run", "steps": [{"op": "stop"}]}, "steps[0]: op: 'stop' is not one of start, receive, flow, tick"),
        ({"op": "run", "steps": [RECEIVE, RECEIVE | {"hex": "0"}]}, "steps[1]: hex: '0' is not hexadecimal"),
    ],
)
def test_a_line_that_is_wrong_is_answered_by_an_error_and_changes_nothing(
    ask: Callable[..., Any], request_: dict[str, Any] | bytes, words: str
) -> None:
    ask(START)
    ask({"op": "tick", "now": 0.5})
    answer = ask(request_)
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert "\n" not in answer["error"]
    assert "out" in ask({"op": "tick", "now": 1.0})


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"op": "start", "now": 0.0}, "config: is missing"),
        ({"op": "start", "config": CONFIG}, "now: is missing"),
        (START | {"config": []}, "config: [] is not an object"),
        (START | {"config": CONFIG | {"colour": "red"}}, "colour: unknown member"),
        (START | {"config": CONFIG | {"internal": {"mtu": 67}}}, "internal.mtu: 67 is under 68"),
        (START | {"config": {"external": {"kind": "os"}}}, "tunnel: needs exactly one of 'session'"),
        (START | {"now": float("inf")}, "Infinity is no number of JSON"),
        ({"op": "tick", "now": 0.0}, "tick: nothing is started"),
        (RECEIVE, "receive: nothing is started"),
        ({"op": "flow", "event": "opened", "now": 0.0}, "flow: nothing is started"),
        ({"op": "run", "steps": [{"op": "tick", "now": 0.0}]}, "steps[0]: tick: nothing is started"),
    ],
)
def test_before_a_good_start_nothing_can_be_done(ask: Callable[..., Any], request_: dict[str, Any], words: str) -> None:
    answer = ask(request_)
    assert list(answer) == ["error"]
    assert words in answer["error"]


def test_news_of_the_flow_does_not_come_where_the_gateway_has_its_own_stack() -> None:
    stack = Implementation("mirror", "1", frozenset({"external.stack", "session", "cipher.aes-256-gcm"}), Mirror)
    service = serve.Service(stack)
    config = {"tunnel": CONFIG["tunnel"]}
    service.answer(json.dumps({"op": "start", "config": config, "now": 0}).encode())
    answer = service.answer(b'{"op":"flow","event":"opened","now":1}')
    assert answer == {"error": "port: the configuration has no port 'flow' (external.kind decides)"}


def test_a_line_that_is_too_long_is_refused_and_the_next_one_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "LONGEST_LINE", 50)
    answers = io.BytesIO()
    lines = b"x" * 175 + b"\n" + b'{"op":"stop"}\n' + b'{"op":"stop"}'
    serve.loop(serve.Service(mirror), io.BytesIO(lines), answers)
    first, second, third = map(json.loads, answers.getvalue().splitlines())
    assert first == {"error": "the line is longer than 50 octets"}
    assert second == third == {"stopped": True}


def test_a_process_answers_each_line_as_it_comes_and_ends_with_its_input() -> None:
    command = [sys.executable, "-c", "from glassgate.conformance.cli import main; main()"]
    with subprocess.Popen(
        [*command, "serve", f"{Path(__file__).stem}:mirror"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line, member in ((b'{"op":"hello","protocol":1}\n', "name"), (b"rubbish\n", "error")):
            process.stdin.write(line)
            process.stdin.flush()
            assert member in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stdout.read() == b""
