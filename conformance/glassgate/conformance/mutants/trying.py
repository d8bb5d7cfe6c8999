"""A change made in a process of its own, and the vectors run until one fails.

The process is forked from one that has everything loaded: vectors, runner and the libraries under the gateway. So a
change costs the loading of the modules that depend on it, and nothing of it can stay behind. Vectors that never enter
the function of the change are left out; those that killed its neighbours come first. Each is run in one pass: the
other differs in the kind of buffer, and the reference copies what it is given before it looks at it. A vector notices a
change if it fails, if another of its outcomes comes than comes of the reference, or if a rule that it cites is no
longer told as the reason, for ``glassgate rules`` demands that, too.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import selectors
import signal
import sys
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import FrameType

from glassgate.conformance import runner
from glassgate.conformance.imports import dependents
from glassgate.conformance.model import Vector
from glassgate.conformance.mutants.making import Mutant, becomes, is_same_code, mutated
from glassgate.conformance.subjects.in_process import PLAIN, InProcess, called_safely
from glassgate.conformance.subjects.subject import SubjectFault
from glassgate.conformance.zoo.breeding import PACKAGE, ChangeError, bred
from glassgate.contract import Implementation

CALL_SECONDS = 3.0
"""A call that takes longer has lost its end; the slowest sound one takes some milliseconds."""
MUTANT_SECONDS = 240.0
MOST_MEMORY = 4 << 30
_OUR_OWN_FAULT = 70


class Verdict(StrEnum):
    """What became of a change."""

    KILLED = "killed"
    SURVIVED = "survived"
    ENDLESS = "endless"
    """Killed, too: what it made did not come to an end in time, or wanted all the memory."""
    STILLBORN = "stillborn"
    """The module cannot be loaded: no vector's merit."""
    NO_CHANGE = "no change"
    """Only an annotation differs."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A change and what became of it."""

    mutant: Mutant
    verdict: Verdict
    vector: str = ""
    """The vector that failed."""
    becomes: str = ""
    """The line as changed."""
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether it was a change that a vector could meet."""
        return self.verdict not in (Verdict.STILLBORN, Verdict.NO_CHANGE)


class _Once(InProcess):
    """A gateway that meets each vector in one pass."""

    passes: tuple[str, ...] = (PLAIN,)


@dataclass(slots=True)
class Sound:
    """What the vectors make of the reference as it is."""

    entered: dict[tuple[str, int], list[Vector]] = field(default_factory=lambda: defaultdict(list))
    """The vectors that enter a function, by the path of its file and its first line."""
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The outcomes that are taken, where a vector has several."""
    named: dict[str, frozenset[str]] = field(default_factory=dict)
    """Which of the rules that a vector cites are told as reasons while it runs."""


def named(result: runner.VectorResult) -> frozenset[str]:
    """The rules that the vector cites and the gateway told as a reason."""
    told = frozenset(note.rule for step in result.steps for note in step.notes)
    return told.intersection(result.vector.rules)


def heard(implementation: Implementation, vectors: Sequence[Vector]) -> Sound:
    """Run the vectors once, and note the functions of the reference that each enters."""
    subject = _Once(implementation)
    sound = Sound()
    folder = os.path.dirname(sys.modules[PACKAGE].__file__ or "")
    seen: set[tuple[str, int]] = set()

    def enter(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder):
            seen.add((frame.f_code.co_filename, frame.f_code.co_firstlineno))

    for vector in vectors:
        seen.clear()
        sys.setprofile(enter)
        try:
            result = runner.run_vector(subject, vector, subject.capabilities)
        finally:
            sys.setprofile(None)
        sound.flags[vector.id], sound.named[vector.id] = result.flags, named(result)
        for place in seen:
            sound.entered[place].append(vector)
    return sound


@dataclass(slots=True)
class _Child:
    mutant: Mutant
    process: int
    began: float
    said: bytearray = field(default_factory=bytearray)


class Laboratory:
    """Tries changes, several at a time."""

    def __init__(
        self, texts: Mapping[str, str], paths: Mapping[str, str], vectors: Sequence[Vector], sound: Sound
    ) -> None:
        self._texts = texts
        self._paths = paths
        self._vectors = vectors
        self._sound = sound
        self._dependents = dependents(PACKAGE)
        self._killers: dict[tuple[str, str], list[str]] = defaultdict(list)

    def trials(self, mutants: Iterable[Mutant], jobs: int) -> Iterator[Trial]:
        """Try each change, ``jobs`` at a time; in the order in which they are done."""
        waiting = deque(mutants)
        gc.freeze()  # what all children share stays shared
        alive: dict[int, _Child] = {}
        with selectors.DefaultSelector() as selector:
            try:
                while waiting or alive:
                    while waiting and len(alive) < jobs:
                        reading, child = self._forked(waiting.popleft())
                        alive[reading] = child
                        selector.register(reading, selectors.EVENT_READ)
                    for key, _ in selector.select(timeout=1.0):
                        octets = os.read(key.fd, 65536)
                        alive[key.fd].said += octets
                        if not octets:
                            selector.unregister(key.fd)
                            yield self._done(key.fd, alive.pop(key.fd))
                    _end([child for child in alive.values() if time.monotonic() - child.began > MUTANT_SECONDS])
            finally:
                _end([*alive.values()])
                for reading, child in alive.items():
                    os.close(reading)
                    os.waitpid(child.process, 0)

    def _forked(self, mutant: Mutant) -> tuple[int, _Child]:
        reading, writing = os.pipe()
        process = os.fork()
        if process:
            os.close(writing)
            return reading, _Child(mutant, process, time.monotonic())
        status = _OUR_OWN_FAULT  # whatever happens, this process goes no further than here
        try:
            gc.disable()
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            verdict, vector, line = self._tried(mutant)
            os.write(writing, json.dumps([verdict.value, vector, line]).encode())
            status = 0
        finally:
            if status:
                traceback.print_exception(sys.exception())
            sys.stderr.flush()
            os._exit(status)

    def _done(self, reading: int, child: _Child) -> Trial:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child.process, 0)[1])
        seconds = time.monotonic() - child.began
        if status > 0:
            raise RuntimeError(f"{child.mutant} could not be tried")
        if not child.said:
            return Trial(child.mutant, Verdict.ENDLESS, seconds=seconds)
        verdict, vector, line = json.loads(child.said)
        killers = self._killers[child.mutant.module, child.mutant.function]
        if vector:
            killers[:] = [vector, *(one for one in killers if one != vector)]
        return Trial(child.mutant, Verdict(verdict), vector, line, seconds)

    def _tried(self, mutant: Mutant) -> tuple[Verdict, str, str]:
        before = self._texts[mutant.module]
        after = mutated(before, mutant)
        line = becomes(before, after)
        try:
            if is_same_code(before, after):
                return Verdict.NO_CHANGE, "", line
        except SyntaxError:
            return Verdict.STILLBORN, "", line
        breeding = bred({mutant.module: [(before, after)]}, self._untouched_by(mutant.module))
        try:
            implementation = called_safely(breeding.__enter__)
        except SubjectFault as fault:
            if isinstance(fault.__cause__, ChangeError):
                raise  # somebody is editing the sources
            return Verdict.STILLBORN, "", line
        vectors = self._apt(mutant)
        subject = _Once(implementation, CALL_SECONDS)
        for vector in vectors:
            result = runner.run_vector(subject, vector, subject.capabilities)
            sound = self._sound.flags[vector.id], self._sound.named[vector.id]
            if not result.status.is_good or (result.flags, named(result)) != sound:
                verdict = Verdict.ENDLESS if result.status is runner.Status.TIMEOUT else Verdict.KILLED
                return verdict, vector.id, line
        return Verdict.SURVIVED, "", line

    def _untouched_by(self, module: str) -> set[str]:
        """The modules that need not be loaded again. Packages must be: they remember the modules below them."""
        return set(self._dependents) - self._dependents[f"{PACKAGE}.{module}"]

    def _apt(self, mutant: Mutant) -> list[Vector]:
        """The vectors that can meet the change, those that killed others in the same function first."""
        killers = self._killers[mutant.module, mutant.function]
        place = {vector: rank for rank, vector in enumerate(killers)}
        apt: Sequence[Vector] = self._vectors
        if mutant.function:
            apt = self._sound.entered.get((self._paths[mutant.module], mutant.first_line), ())
        return sorted(apt, key=lambda vector: place.get(vector.id, len(place)))


def _end(children: Iterable[_Child]) -> None:
    for child in children:
        os.kill(child.process, signal.SIGKILL)
