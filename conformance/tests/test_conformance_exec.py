"""Programs behind standard input and output: good ones, and each way of being none."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glassgate.conformance import runner
from glassgate.conformance.matching import ActualAction, ActualPacket
from glassgate.conformance.model import Vector, VectorPort, read
from glassgate.conformance.runner import Status
from glassgate.conformance.subjects.exec_ import Exec
from glassgate.conformance.subjects.subject import Fault, Refused, SaysUnsupported, SubjectFault
from glassgate.contract import FlowEvent, Port

KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
HELLO = (
    '{"name":"script","version":"1","language":"Python","capabilities":["external.os","session",'
    '"cipher.aes-256-gcm"],"ports":["internal","flow"]}'
)
NOTHING = '{"out":[],"deadline":null}'
PATIENT, SHORT = 10.0, 2.0
"""Limits of an answer, in seconds. What is late comes in the middle between late and hung: a loaded machine has a
second."""


def script(tmp_path: Path, body: str) -> str:
    """The command of a program that says hello and then, for each further line, runs ``body`` with ``line``."""
    path = tmp_path / "program.py"
    indented = "\n".join("    " + text for text in body.splitlines())
    path.write_text(
        "import sys, time, os, signal\n"
        "def say(text):\n    sys.stdout.write(text + '\\n')\n    sys.stdout.flush()\n"
        f"sys.stdin.readline()\nsay({HELLO!r})\n"
        f"for line in sys.stdin:\n{indented}\n"
    )
    return shlex.join([sys.executable, "-S", "-E", str(path)])


@contextmanager
def program(tmp_path: Path, body: str, limit: float = PATIENT) -> Iterator[Exec]:
    subject = Exec(script(tmp_path, body), limit, 10.0)
    try:
        yield subject
    finally:
        subject.close()


def vector(identity: str = "a-vector") -> Vector:
    steps = [
        {"at": 0.0, "input": {"start": True}, "outcomes": [{"expect": []}]},
        {"at": 1.0, "input": {"tick": True}, "outcomes": [{"expect": []}]},
    ]
    value = {
        "id": identity,
        "rev": 1,
        "title": "A vector",
        "rules": ["s7-reply"],
        "requires": [],
        "result": "valid",
        "source": "this test",
        "steps": steps,
    }
    config = {"external": {"kind": "os"}, "tunnel": {"session": {"send": KEY, "receive": KEY}}}
    file = {"schema": "1.0", "category": "scripts", "summary": "…", "config": config, "vectors": [value]}
    return read(file).vectors[0]


def test_a_program_that_speaks_the_protocol_passes(tmp_path: Path) -> None:
    with program(tmp_path, f"say({NOTHING!r})") as subject:
        assert (subject.name, subject.version, subject.language) == ("script", "1", "Python")
        run = runner.run(subject, [vector()])
        assert run.is_good
        assert [canary.is_alive for canary in run.canaries] == [True, True]


def test_effects_notes_and_deadline_are_read(tmp_path: Path) -> None:
    answer = (
        '{"out":[{"do":"transmit","port":"internal","hex":"0aff"},{"do":"open"},{"do":"close"},'
        '{"do":"note","kind":"dropped","rule":"s9-version","detail":{"version":6}}],"deadline":2.5}'
    )
    with program(tmp_path, f"say({answer!r})") as subject:
        reply = subject.receive(Port.INTERNAL, b"\1", 1.0)
    assert reply.effects == (
        ActualPacket(VectorPort.INTERNAL, b"\x0a\xff"),
        ActualAction("open"),
        ActualAction("close"),
    )
    assert reply.notes[0].rule == "s9-version"
    assert reply.deadline == 2.5


def test_requests_are_those_of_the_protocol(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    with program(tmp_path, f"with open({str(seen)!r}, 'a') as log: log.write(line)\nsay({NOTHING!r})") as subject:
        subject.start({"notes": True}, 0.0)
        subject.receive(Port.FLOW, b"\x0a\xff", 0.5)
        subject.flow(FlowEvent.CLOSED, 1.0)
        subject.tick(2.0)
    assert seen.read_text().splitlines() == [
        '{"op":"start","config":{"notes":true},"now":0.0}',
        '{"op":"receive","port":"flow","hex":"0aff","now":0.5}',
        '{"op":"flow","event":"closed","now":1.0}',
        '{"op":"tick","now":2.0}',
    ]


@pytest.mark.parametrize(
    ("body", "status", "fault", "words"),
    [
        (f"time.sleep(3.0)\nsay({NOTHING!r})", Status.TIMEOUT, Fault.LATE, "late: the answer to 'start' took 3."),
        ("time.sleep(60)", Status.TIMEOUT, Fault.HUNG, "hung: no answer within 4 s"),
        ("sys.exit(3)", Status.ERROR, Fault.DIED, "died: the program ended with status 3"),
        ("print('why', file=sys.stderr); sys.exit(1)", Status.ERROR, Fault.DIED, "its last words: why"),
        ("os.kill(os.getpid(), signal.SIGABRT)", Status.ERROR, Fault.DIED, "ended by signal SIGABRT"),
        ("os.close(1); time.sleep(60)", Status.ERROR, Fault.DIED, "the program closed its output"),
        ("say('ok')", Status.ERROR, Fault.RUBBISH, "rubbish: not a JSON object: 'ok'"),
        ("say('[]')", Status.ERROR, Fault.RUBBISH, "not a JSON object: '[]'"),
        ("say('{}')", Status.ERROR, Fault.RUBBISH, "an answer has 'out' and 'deadline', and not {}"),
        ("say('\\xff')", Status.ERROR, Fault.RUBBISH, "not a JSON object"),
        ('say(\'{"out":[],"deadline":null,"x":1}\')', Status.ERROR, Fault.RUBBISH, "an answer has 'out'"),
        ('say(\'{"out":[],"deadline":"soon"}\')', Status.ERROR, Fault.RUBBISH, "deadline: 'soon' is neither"),
        ('say(\'{"out":[],"deadline":NaN}\')', Status.ERROR, Fault.RUBBISH, "not a JSON object"),
        ('say(\'{"out":{},"deadline":null}\')', Status.ERROR, Fault.RUBBISH, "out: {} is not a list"),
        ('say(\'{"out":[1],"deadline":null}\')', Status.ERROR, Fault.RUBBISH, "out[0]: 1 is no effect"),
        ('say(\'{"out":[{"do":"jump"}],"deadline":null}\')', Status.ERROR, Fault.RUBBISH, "is no effect of protocol 1"),
        (
            'say(\'{"out":[{"do":"transmit","port":"wan","hex":""}],"deadline":null}\')',
            Status.ERROR,
            Fault.RUBBISH,
            "out[0].port: 'wan' is no port",
        ),
        (
            'say(\'{"out":[{"do":"transmit","port":"flow","hex":"0"}],"deadline":null}\')',
            Status.ERROR,
            Fault.RUBBISH,
            "out[0].hex: '0' is not hexadecimal",
        ),
        (f"say({NOTHING!r} + chr(10) + {NOTHING!r})", Status.ERROR, Fault.RUBBISH, "a line that nobody asked for"),
        (
            f"say({NOTHING!r} if 'start' in line else '{{\"error\":\"no ticks\"}}')",
            Status.ERROR,
            Fault.ERROR,
            "steps[1]: error: the program answers 'tick' with 'no ticks'",
        ),
        ('say(\'{"unsupported":"session"}\')', Status.ERROR, None, "says that session is unsupported, and declares it"),
        ('say(\'{"error":"internal.mtu: no"}\')', Status.FAIL, None, "steps[0]: "),
    ],
)
def test_each_way_of_failing_has_its_status_and_words(
    tmp_path: Path, body: str, status: Status, fault: Fault | None, words: str
) -> None:
    with program(tmp_path, body, SHORT if status is Status.TIMEOUT else PATIENT) as subject:
        result = runner.run_vector(subject, vector(), subject.capabilities)
    assert (result.status, result.fault) == (status, fault)
    assert words in result.message


def test_a_program_that_fails_never_makes_a_green_run(tmp_path: Path) -> None:
    with program(tmp_path, "say('ok')") as subject:
        run = runner.run(subject, [vector(f"v-{number}") for number in range(5)])
    assert not run.is_good
    assert run.verdict == "5 error, the canary with a wrong expectation came back error"


def test_a_program_that_dies_once_is_started_again_for_the_next_vector(tmp_path: Path) -> None:
    flag = tmp_path / "died"
    body = f"if 'tick' in line and not os.path.exists({str(flag)!r}):\n    open({str(flag)!r}, 'w'); sys.exit(1)\n"
    with program(tmp_path, body + f"say({NOTHING!r})") as subject:
        run = runner.run(subject, [vector("one"), vector("two")])
    assert [result.status for result in run.results] == [Status.ERROR, Status.PASS]


def test_the_first_greeting_may_take_longer_than_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(f"import sys, time\nsys.stdin.readline()\ntime.sleep(0.5)\nprint({HELLO!r}, flush=True)\n")
    subject = Exec(shlex.join([sys.executable, "-S", "-E", str(path)]), 0.05)
    subject.close()
    assert subject.name == "script"


def test_a_line_that_comes_between_answers_is_found_too(tmp_path: Path) -> None:
    said = tmp_path / "said"
    body = f"say({NOTHING!r})\ntime.sleep(0.2)\nsay({NOTHING!r})\nopen({str(said)!r}, 'w').close()"
    with program(tmp_path, body) as subject:
        subject.tick(0.0)
        deadline = time.monotonic() + PATIENT
        while not said.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(SubjectFault, match="a line that nobody asked for"):
            subject.tick(1.0)


def test_a_late_answer_is_no_answer_to_the_next_question(tmp_path: Path) -> None:
    body = f"if 'start' in line:\n    time.sleep(3.0)\nsay({NOTHING!r})"
    with program(tmp_path, body, SHORT) as subject:
        with pytest.raises(SubjectFault):
            subject.start({}, 0.0)
        assert subject.tick(1.0).effects == ()


def test_a_request_longer_than_a_pipe_is_sent_while_the_program_writes(tmp_path: Path) -> None:
    body = "sys.stderr.write('x' * 300_000)\nsys.stdout.write(' ' * 300_000)\n" + f"say({NOTHING!r})"
    with program(tmp_path, body) as subject:
        assert subject.receive(Port.FLOW, bytes(400_000), 0.0).effects == ()


def test_the_program_and_its_children_are_gone_afterwards(tmp_path: Path) -> None:
    child = tmp_path / "child"
    body = (
        "pid = os.fork()\nif pid == 0:\n    time.sleep(60)\n"
        f"with open({str(child)!r}, 'w') as file: file.write(str(pid))\ntime.sleep(60)"
    )
    with program(tmp_path, body, SHORT) as subject, pytest.raises(SubjectFault):
        subject.tick(0.0)
    pid = int(child.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _is_running(pid):
        time.sleep(0.02)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_refusal_and_an_unsupported_capability_are_told_apart(tmp_path: Path) -> None:
    with program(tmp_path, 'say(\'{"error":"internal.mtu: no"}\')') as subject, pytest.raises(Refused, match="mtu: no"):
        subject.start({}, 0.0)
    with program(tmp_path, 'say(\'{"unsupported":"ovpn"}\')') as subject, pytest.raises(SaysUnsupported):
        subject.start({}, 0.0)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "the command is empty"),
        ("'", "is no command"),
        ("/does/not/exist", "/does/not/exist: cannot be run"),
        (os.devnull, "cannot be run"),
        ("true", "the program ended with status 0"),
        ("cat", "hello: capabilities: None is not a list of names"),
        ("echo {}", "hello: capabilities: None"),
        ('echo \'{"capabilities":["fly"]}\'', "hello: capabilities: unknown: fly"),
        ('echo \'{"capabilities":[],"ports":["wan"]}\'', "hello: ports: ['wan'] is not a list of ports"),
        ('echo \'{"capabilities":[],"ports":["flow"]}\'', "name: None is not a string"),
        ('echo \'{"error":"busy"}\'', "answers the hello with 'busy'"),
        ("sleep 60", "no answer within 0.4 s"),
    ],
)
def test_a_program_that_does_not_greet_is_refused(command: str, words: str) -> None:
    with pytest.raises(SubjectFault) as caught:
        Exec(command, 0.2, 0.2)
    assert words in caught.value.message
