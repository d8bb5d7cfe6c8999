"""A program that speaks protocol 1 on its standard input and output, kept on a short rein.

Each answer has a time limit. One that comes after it, but before as long again, is *late*: the program goes on. One
that does not come is *hung*: the program is killed. A program that ends is *dead*, one that prints something else
prints *rubbish*; either is started again for the next vector. What it says on standard error is kept for messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from glassgate.conformance.matching import Actual, ActualAction, ActualPacket
from glassgate.conformance.model import VectorPort
from glassgate.conformance.subjects.subject import Fault, Refused, Reply, Said, SaysUnsupported, SubjectFault
from glassgate.contract import CAPABILITIES, FlowEvent, Port

PROTOCOL = 1
DEFAULT_LIMIT = 5.0
STARTING_LIMIT = 20.0
"""The hello may take longer: an interpreter has to start."""
LONGEST_LINE = 16 * 1024 * 1024
LOG_KEPT = 8 * 1024
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Hello:
    """What the program says of itself."""

    name: str
    version: str
    language: str
    capabilities: frozenset[str]


class Program:
    """The process and its three streams: one line out, one line in, and never a wait without an end."""

    def __init__(self, command: str) -> None:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise SubjectFault(Fault.DIED, f"{command!r} is no command: {error}") from None
        if not words:
            raise SubjectFault(Fault.DIED, "the command is empty")
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # so that its children can be ended with it
            )
        except OSError as error:
            raise SubjectFault(Fault.DIED, f"{words[0]}: cannot be run: {error.strerror}") from None
        self._stdin, self._stdout, self._stderr = _streams(self._process)
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        self._read = bytearray()
        self._has_answered = False
        self._log = b""

    def ask(self, request: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Send a request, get the answer.

        Raises:
            SubjectFault: the answer is late, missing or rubbish, or the program ended.
        """
        if self._has_answered:
            self._look()
        if self._read:
            raise SubjectFault(Fault.RUBBISH, f"a line that nobody asked for: {_shown(bytes(self._read))}")
        asked = time.monotonic()
        line = self._exchange(json.dumps(request, separators=(",", ":")).encode() + b"\n", asked, limit)
        took = time.monotonic() - asked
        self._has_answered = True
        answer = _parsed(line)
        if took > limit:
            raise SubjectFault(
                Fault.LATE, f"the answer to {request['op']!r} took {took:.1f} s; {limit:g} s are allowed"
            )
        return answer

    def _look(self) -> None:
        """Take in what came since the last answer: nothing should have."""
        with contextlib.suppress(BlockingIOError):
            self._read += os.read(self._stdout.fileno(), _CHUNK)

    def _exchange(self, unsent: bytes, asked: float, limit: float) -> bytes:
        """Write the whole request while reading, until one line has come."""
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        try:
            while True:
                left = asked + 2 * limit - time.monotonic()
                ready = self._selector.select(max(left, 0))
                if not ready and left <= 0:
                    raise SubjectFault(Fault.HUNG, f"no answer within {2 * limit:g} s{self._last_words()}")
                for key, _ in ready:
                    if key.fileobj is self._stdin:
                        unsent = self._write(unsent)
                    elif key.fileobj is self._stderr:
                        self._keep_log()
                    elif (line := self._line()) is not None:
                        return line
        finally:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._stdin)

    def _write(self, unsent: bytes) -> bytes:
        try:
            unsent = unsent[os.write(self._stdin.fileno(), unsent[:_CHUNK]) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            unsent = b""  # it ended, or closed its input: its output tells
        if not unsent:
            self._selector.unregister(self._stdin)
        return unsent

    def _line(self) -> bytes | None:
        """One line, if it is whole now."""
        chunk = os.read(self._stdout.fileno(), _CHUNK)
        if not chunk:
            raise SubjectFault(Fault.DIED, self._ending())
        self._read += chunk
        if len(self._read) > LONGEST_LINE:
            raise SubjectFault(Fault.RUBBISH, f"a line of more than {LONGEST_LINE} octets")
        end = self._read.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def _keep_log(self) -> None:
        chunk = os.read(self._stderr.fileno(), _CHUNK)
        if not chunk:
            self._selector.unregister(self._stderr)
        self._log = (self._log + chunk)[-LOG_KEPT:]

    def _last_words(self) -> str:
        lines = self._log.decode("utf-8", "replace").strip().splitlines()
        return f"; its last words: {lines[-1][:200]}" if lines else ""

    def _ending(self) -> str:
        """How it ended, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        with contextlib.suppress(BlockingIOError, ValueError):
            while self._stderr in (key.fileobj for key in self._selector.get_map().values()):
                self._keep_log()
        status = self._process.returncode
        if status is None:
            how = "the program closed its output"
        elif status < 0:
            how = f"the program was ended by signal {signal.Signals(-status).name}"
        else:
            how = f"the program ended with status {status}"
        return how + self._last_words()

    def close(self) -> None:
        """End the program: politely by closing its input, then not."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        self.kill()

    def kill(self) -> None:
        """End the program and its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        for stream in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                stream.close()


def _streams(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr


class Exec:
    """A subject behind a command. ``limit`` is the number of seconds that one answer may take."""

    passes = ("protocol 1",)

    def __init__(self, command: str, limit: float = DEFAULT_LIMIT, starting_limit: float | None = None) -> None:
        self.command = command
        self._limit = limit
        self._starting_limit = max(limit, STARTING_LIMIT) if starting_limit is None else starting_limit
        self._program: Program | None = None
        self._hello = self._greeted()

    @property
    def name(self) -> str:
        """The name that the program gives itself."""
        return self._hello.name

    @property
    def version(self) -> str:
        """The version that the program gives itself."""
        return self._hello.version

    @property
    def language(self) -> str:
        """The language that the program says it is written in."""
        return self._hello.language

    @property
    def capabilities(self) -> frozenset[str]:
        """What the program declares."""
        return self._hello.capabilities

    def start(self, config: Mapping[str, Any], now: float, run: str = "") -> Reply:
        """Begin afresh, with a new process if the last one is gone.

        Raises:
            Refused: the program says that the configuration is an error.
            SaysUnsupported: the program says that a capability is lacking.
            SubjectFault: the program failed.
        """
        if self._program is None:
            self._hello = self._greeted()
        answer = self._asked({"op": "start", "config": config, "now": now})
        if "error" in answer:
            raise Refused(_text(answer, "error"))
        return self._reply(answer)

    def receive(self, port: Port, data: bytes, now: float) -> Reply:
        """Give octets at a port.

        Raises:
            SubjectFault: the program failed.
        """
        return self._step({"op": "receive", "port": port.value, "hex": data.hex(), "now": now})

    def flow(self, event: FlowEvent, now: float) -> Reply:
        """Tell what became of the transport.

        Raises:
            SubjectFault: the program failed.
        """
        return self._step({"op": "flow", "event": event.value, "now": now})

    def tick(self, now: float) -> Reply:
        """Let time pass.

        Raises:
            SubjectFault: the program failed.
        """
        return self._step({"op": "tick", "now": now})

    def close(self) -> None:
        """End the program."""
        if self._program is not None:
            self._program.close()
            self._program = None

    def _greeted(self) -> Hello:
        self._program = Program(self.command)
        return _read_hello(self._asked({"op": "hello", "protocol": PROTOCOL}, self._starting_limit))

    def _step(self, request: Mapping[str, Any]) -> Reply:
        answer = self._asked(request)
        if "error" in answer:
            raise SubjectFault(Fault.ERROR, f"the program answers {request['op']!r} with {_text(answer, 'error')!r}")
        return self._reply(answer)

    def _asked(self, request: Mapping[str, Any], limit: float | None = None) -> dict[str, Any]:
        if self._program is None:
            raise SubjectFault(Fault.DIED, "the program is not running")
        try:
            answer = self._program.ask(request, self._limit if limit is None else limit)
        except SubjectFault as fault:
            self._drop_if_over(fault)
            raise
        if "unsupported" in answer:
            raise SaysUnsupported(_text(answer, "unsupported"))
        return answer

    def _reply(self, answer: Mapping[str, Any]) -> Reply:
        try:
            return read_reply(answer)
        except SubjectFault as fault:
            self._drop_if_over(fault)
            raise

    def _drop_if_over(self, fault: SubjectFault) -> None:
        if fault.fault.ends_subject and self._program is not None:
            self._program.kill()
            self._program = None


# ── reading answers: nothing is taken on trust ───────────────────────────────────────────────────────────────────────


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise SubjectFault(Fault.RUBBISH, f"not a JSON object: {_shown(line)}") from None
    if not isinstance(answer, dict):
        raise SubjectFault(Fault.RUBBISH, f"not a JSON object: {_shown(line)}")
    return answer


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _read_hello(answer: Mapping[str, Any]) -> Hello:
    if "error" in answer:
        raise SubjectFault(Fault.ERROR, f"the program answers the hello with {_text(answer, 'error')!r}")
    capabilities = answer.get("capabilities")
    if not isinstance(capabilities, list) or not all(isinstance(one, str) for one in capabilities):
        raise SubjectFault(Fault.RUBBISH, f"hello: capabilities: {_shown(capabilities)} is not a list of names")
    unknown = sorted(set(capabilities) - CAPABILITIES.keys())
    if unknown:
        raise SubjectFault(Fault.RUBBISH, f"hello: capabilities: unknown: {', '.join(unknown)}")
    ports = answer.get("ports")
    if not isinstance(ports, list) or not ports or not all(port in tuple(Port) for port in ports):
        raise SubjectFault(Fault.RUBBISH, f"hello: ports: {_shown(ports)} is not a list of ports")
    return Hello(_text(answer, "name"), _text(answer, "version"), _text(answer, "language"), frozenset(capabilities))


def read_reply(answer: Mapping[str, Any]) -> Reply:
    """The effects, notes and deadline of an answer to a step.

    Raises:
        SubjectFault: the answer is not what protocol 1 says.
    """
    unknown = sorted(answer.keys() - {"out", "deadline"})
    if unknown or "out" not in answer or "deadline" not in answer:
        raise SubjectFault(Fault.RUBBISH, f"an answer has 'out' and 'deadline', and not {_shown(dict(answer))}")
    deadline = answer["deadline"]
    if deadline is not None and (not isinstance(deadline, int | float) or isinstance(deadline, bool)):
        raise SubjectFault(Fault.RUBBISH, f"deadline: {_shown(deadline)} is neither a number nor null")
    if not isinstance(answer["out"], list):
        raise SubjectFault(Fault.RUBBISH, f"out: {_shown(answer['out'])} is not a list")
    effects: list[Actual] = []
    notes: list[Said] = []
    for index, effect in enumerate(answer["out"]):
        made = _read_effect(effect, f"out[{index}]")
        if isinstance(made, Said):
            notes.append(made)
        else:
            effects.append(made)
    return Reply(tuple(effects), tuple(notes), deadline)


_MEMBERS = {
    "transmit": {"do", "port", "hex"},
    "open": {"do"},
    "close": {"do"},
    "note": {"do", "kind", "rule", "detail"},
}


def _read_effect(effect: object, place: str) -> Actual | Said:
    do = effect.get("do") if isinstance(effect, dict) else None
    if not isinstance(effect, dict) or not isinstance(do, str) or effect.keys() != _MEMBERS.get(do):
        raise SubjectFault(Fault.RUBBISH, f"{place}: {_shown(effect)} is no effect of protocol 1")
    if do == "open":
        return ActualAction("open")
    if do == "close":
        return ActualAction("close")
    if do == "note":
        if not isinstance(effect["detail"], dict):
            raise SubjectFault(Fault.RUBBISH, f"{place}.detail: {_shown(effect['detail'])} is not an object")
        return Said(_text(effect, "kind"), _text(effect, "rule"), effect["detail"])
    if effect["port"] not in ("internal", "external", "flow"):
        raise SubjectFault(Fault.RUBBISH, f"{place}.port: {_shown(effect['port'])} is no port")
    try:
        data = bytes.fromhex(_text(effect, "hex"))
    except ValueError:
        raise SubjectFault(Fault.RUBBISH, f"{place}.hex: {_shown(effect['hex'])} is not hexadecimal") from None
    return ActualPacket(VectorPort(effect["port"]), data)


def _text(answer: Mapping[str, Any], member: str) -> str:
    value = answer.get(member)
    if not isinstance(value, str):
        raise SubjectFault(Fault.RUBBISH, f"{member}: {_shown(value)} is not a string")
    return value


def _shown(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "…") if isinstance(value, bytes) else text[:80]
