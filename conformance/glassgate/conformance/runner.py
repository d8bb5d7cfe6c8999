"""Runs vectors against a subject and gives each its status.

Before anything is scored, two canaries show that this run can say no: a capability that nobody has must come back
unsupported, and a vector with an expectation that nobody meets must fail. If either does not, the run is worth nothing
and says so.

A vector is run once for each pass of the subject. The statuses are counted as they come; the run is good only if
nothing failed and at least one vector was run.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from glassgate.conformance.checksums import NoSuchField
from glassgate.conformance.far_end import FarEnd
from glassgate.conformance.matching import (
    Actual,
    ActualAction,
    Bindings,
    Difference,
    Judgement,
    Pair,
    comparable,
    filled,
    judge,
)
from glassgate.conformance.model import (
    ExpectedPacket,
    FlowInput,
    Outcome,
    PacketInput,
    StartInput,
    Step,
    TickInput,
    Vector,
    VectorFile,
    VectorPort,
)
from glassgate.conformance.profile import Profile
from glassgate.conformance.subjects.subject import (
    Fault,
    LiveSubject,
    Refused,
    Reply,
    Said,
    SaysUnsupported,
    Subject,
    SubjectFault,
)
from glassgate.contract import ConfigError, FlowEvent, GatewayConfig, Port, rules

MOST_TRIES = 3
"""How often a vector is tried in real time, if this machine is too busy to judge it."""
MOST_ENDINGS = 3
"""A subject that dies, hangs or prints rubbish this many times in a row is not tried again."""


class Status(StrEnum):
    """What became of one vector."""

    PASS = "pass"
    PASS_ALTERNATIVE = "pass-alternative"
    FAIL = "fail"
    ERROR = "error"
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    EXPECTED_FAILURE = "expected-failure"
    UNEXPECTED_PASS = "unexpected-pass"

    @property
    def is_good(self) -> bool:
        """Whether a run with this status can be green."""
        return self not in (Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.UNEXPECTED_PASS)


class SelectionError(ValueError):
    """No vector is selected."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step as it was taken: what was really given, what came out, what the gateway said, and the judgement."""

    index: int
    step: Step
    given: bytes
    """The octets given at the port: for ``tunnel`` the sealed record, for the rest the filled input."""
    effects: tuple[Actual, ...]
    notes: tuple[Said, ...]
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class VectorResult:
    """The status of one vector, and everything that led to it."""

    vector: Vector
    status: Status
    message: str = ""
    flags: tuple[str, ...] = ()
    """The flags of the alternative outcomes that were taken."""
    fault: Fault | None = None
    failing_pass: str = ""
    steps: tuple[StepRecord, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Canary:
    """A vector whose status is known beforehand."""

    name: str
    wanted: Status
    result: VectorResult

    @property
    def is_alive(self) -> bool:
        """Whether the run can tell right from wrong in this respect."""
        return self.result.status is self.wanted


@dataclass(frozen=True, slots=True)
class Run:
    """All results of one subject."""

    subject: str
    version: str
    language: str
    capabilities: tuple[str, ...]
    canaries: tuple[Canary, ...]
    results: tuple[VectorResult, ...]
    seconds: float = 0.0
    counts: dict[Status, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts.update({status: sum(r.status is status for r in self.results) for status in Status})

    @property
    def ran(self) -> int:
        """How many vectors were really run."""
        return len(self.results) - self.counts[Status.UNSUPPORTED]

    @property
    def is_good(self) -> bool:
        """Whether nothing failed, something ran, and both canaries are alive."""
        return self.verdict == ""

    @property
    def verdict(self) -> str:
        """Why the run is not good; empty if it is."""
        dead = [f"{one.name} came back {one.result.status}" for one in self.canaries if not one.is_alive]
        if any(not one.is_alive and one.result.status.is_good for one in self.canaries):
            return f"void: {dead[0]}"
        bad = [f"{self.counts[status]} {status}" for status in Status if not status.is_good and self.counts[status]]
        if bad or dead:
            return ", ".join(bad + dead)
        return "" if self.ran else "nothing ran: the subject supports none of the vectors"


Progress = Callable[[VectorResult], None]


# ── which vectors ────────────────────────────────────────────────────────────────────────────────────────────────────


def select(
    files: Iterable[VectorFile],
    ids: Sequence[str] = (),
    categories: Sequence[str] = (),
    rules: Sequence[str] = (),
) -> tuple[Vector, ...]:
    """The vectors whose id matches one of ``ids``, of one of ``categories``, citing one of ``rules``; each a pattern.

    Raises:
        SelectionError: there are none.
    """
    vectors = [vector for file in files for vector in file.vectors]
    if not vectors:
        raise SelectionError("there are no vectors at all")
    chosen = tuple(
        vector
        for vector in vectors
        if _matches([vector.id], ids) and _matches([vector.category], categories) and _matches(vector.rules, rules)
    )
    if not chosen:
        wanted = [*(f"id {one!r}" for one in ids), *(f"category {one!r}" for one in categories)]
        wanted += [f"rule {one!r}" for one in rules]
        known = ", ".join(sorted({vector.category for vector in vectors}))
        hint = "`glassgate rules` lists the rules" if rules else f"the categories are {known}"
        raise SelectionError(f"no vector matches {' and '.join(wanted)}; {hint}")
    return chosen


def _matches(values: Iterable[str], patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for value in values for pattern in patterns)


# ── a run ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(
    subject: Subject, vectors: Sequence[Vector], profile: Profile | None = None, progress: Progress | None = None
) -> Run:
    """Let the canaries sing, then run every vector."""
    profile = profile or Profile()
    started = time.monotonic()
    declared = subject.capabilities if profile.capabilities is None else profile.capabilities
    canaries = _canaries(subject, vectors, declared)
    results = []
    endings = 0
    for vector in vectors:
        if endings >= MOST_ENDINGS:
            lost = f"not run: the subject died, hung or printed rubbish {MOST_ENDINGS} times in a row"
            result = VectorResult(vector, Status.ERROR, lost)
        elif (reason := profile.reason_not_to_run(vector.id)) is not None:
            result = VectorResult(vector, Status.UNSUPPORTED, reason)
        else:
            result = _weighed(run_vector(subject, vector, declared), profile)
        if result.status is not Status.UNSUPPORTED and endings < MOST_ENDINGS:
            endings = endings + 1 if result.fault is not None and result.fault.ends_subject else 0
        results.append(result)
        if progress is not None:
            progress(result)
    return Run(
        subject.name,
        subject.version,
        subject.language,
        tuple(sorted(declared)),
        canaries,
        tuple(results),
        time.monotonic() - started,
    )


def _weighed(result: VectorResult, profile: Profile) -> VectorResult:
    """What the status becomes in the light of the profile."""
    reason = profile.reason_to_fail(result.vector.id)
    chosen = profile.alternatives
    if result.status is Status.PASS_ALTERNATIVE and chosen is not None and not chosen.issuperset(result.flags):
        strange = ", ".join(sorted(set(result.flags) - chosen))
        result = replace(result, status=Status.FAIL, message=f"took the outcome {strange}, which the profile omits")
    if reason is None or result.status is Status.UNSUPPORTED:
        return result
    if result.status.is_good:
        return replace(result, status=Status.UNEXPECTED_PASS, message=f"passes, though expected to fail: {reason}")
    if result.status is Status.FAIL:
        return replace(result, status=Status.EXPECTED_FAILURE, message=reason)
    return result


def _canaries(subject: Subject, vectors: Sequence[Vector], declared: frozenset[str]) -> tuple[Canary, ...]:
    """Two vectors that must not pass, made of the start of the first vector that the subject can run."""
    runnable = next((one for one in vectors if not _why_not(subject, one, _configuration(one), declared)), None)
    if runnable is None:
        return ()
    unheard_of = f"canary.{secrets.token_hex(8)}"
    asking = replace(runnable, id="canary-capability", requires=(*runnable.requires, unheard_of))
    nonsense = ExpectedPacket(VectorPort.INTERNAL, secrets.token_bytes(60))
    start = runnable.steps[0]
    outcomes = tuple(replace(outcome, expect=(*outcome.expect, nonsense)) for outcome in start.outcomes)
    wrong = replace(runnable, id="canary-expectation", steps=(replace(start, outcomes=outcomes),))
    return (
        Canary("the canary with an unheard-of capability", Status.UNSUPPORTED, run_vector(subject, asking, declared)),
        Canary("the canary with a wrong expectation", Status.FAIL, run_vector(subject, wrong, declared)),
    )


# ── one vector ───────────────────────────────────────────────────────────────────────────────────────────────────────


def run_vector(subject: Subject, vector: Vector, declared: frozenset[str]) -> VectorResult:
    """Run one vector in every pass; the first pass that is not good decides."""
    config = _configuration(vector)
    if reason := _why_not(subject, vector, config, declared):
        return VectorResult(vector, Status.UNSUPPORTED, reason)
    started = time.monotonic()
    first: VectorResult | None = None
    for name in subject.passes:
        result = _told_in_time(subject, vector, config, name)
        if first is None:
            first = result
        elif result.status.is_good and first.status.is_good:
            result = _repeated(first, result)
        if not result.status.is_good:
            return replace(result, failing_pass=name, seconds=time.monotonic() - started)
    assert first is not None
    return replace(first, seconds=time.monotonic() - started)


def _told_in_time(subject: Subject, vector: Vector, config: GatewayConfig | None, name: str) -> VectorResult:
    """The result of one pass; a failure in real time for which the judge was too slow itself is not held against it."""
    for _ in range(MOST_TRIES):
        result = _Story(subject, vector, config, name).told()
        if result.status.is_good or not isinstance(subject, LiveSubject) or not subject.was_late:
            break
    return result


def _repeated(first: VectorResult, second: VectorResult) -> VectorResult:
    """Both passes have the same events and random octets, so the same effects must come, octet for octet."""
    for before, after in zip(first.steps, second.steps, strict=False):
        if before.effects != after.effects:
            problem = f"steps[{before.index}]: the same events gave other effects than in the first pass"
            return replace(second, status=Status.FAIL, message=problem)
    return second


def _configuration(vector: Vector) -> GatewayConfig | None:
    """The vector's configuration; None where it is one that a gateway must refuse."""
    try:
        return GatewayConfig.from_json(vector.config)
    except ConfigError:
        return None


def _why_not(subject: Subject, vector: Vector, config: GatewayConfig | None, declared: frozenset[str]) -> str:
    """Why a vector is not run: a capability that is not declared, or what a live subject cannot do; empty if it is."""
    if lacking := _lacking(vector, config, declared):
        return f"needs {', '.join(lacking)}"
    return subject.why_not(vector, config) if isinstance(subject, LiveSubject) else ""


def _lacking(vector: Vector, config: GatewayConfig | None, declared: frozenset[str]) -> list[str]:
    """The capabilities that the vector needs and the subject does not declare."""
    needs = (*vector.requires, *(config.needs if config is not None else ()))
    return [needed for needed in dict.fromkeys(needs) if needed not in declared]


class _Story:
    """One vector in one pass: the steps in order, what was bound, which flags were taken."""

    def __init__(self, subject: Subject, vector: Vector, config: GatewayConfig | None, run_name: str) -> None:
        self._subject = subject
        self._live = subject if isinstance(subject, LiveSubject) else None
        self._vector = vector
        self._run_name = run_name
        self._bindings: Bindings = {}
        self._flags: list[str] = []
        self._records: list[StepRecord] = []
        self._deadline: float | None = None
        self._is_stream = config is None or config.tunnel.proto == "tcp"
        self._far_end: FarEnd | None = None
        if config is not None and config.tunnel.session is not None and config.external.kind == "os":
            self._far_end = FarEnd(config.tunnel.session, config.tunnel.proto)

    def told(self) -> VectorResult:
        """The result."""
        for index, step in enumerate(self._vector.steps):
            if step.when is not None and step.when not in self._flags:
                continue
            try:
                if self._live is not None:
                    self._live.awaits(max(len(outcome.expect) for outcome in step.outcomes))
                    if _prepares(self._vector, index):
                        self._prepare(step)
                        continue
                given, reply = self._take(step)
            except SaysUnsupported as error:
                return self._over(Status.ERROR, f"says that {error.capability} is unsupported, and declares it", index)
            except Refused as error:
                given, reply = b"", Reply((ActualAction("refuse", str(error)),))
            except SubjectFault as error:
                status = Status.TIMEOUT if error.fault.is_timeout else Status.ERROR
                return self._over(status, f"{error.fault}: {error.message}", index, error.fault)
            except NoSuchField as error:
                return self._over(Status.ERROR, f"the input cannot be filled in: {error}", index)
            outcome = self._judge(index, step, given, reply)
            if outcome is None:
                return self._over(Status.FAIL, self._difference(), index)
            problem = self._deadline_problem(step, reply)
            if problem:
                return self._over(Status.FAIL, problem, index)
            if outcome.flag is not None:
                self._flags.append(outcome.flag)
        status = Status.PASS_ALTERNATIVE if self._flags else Status.PASS
        return VectorResult(
            self._vector, status, ", ".join(self._flags), tuple(self._flags), steps=tuple(self._records)
        )

    def _take(self, step: Step) -> tuple[bytes, Reply]:
        """Do what the step says; give the octets that were really given, and what came of it."""
        given = step.input
        if isinstance(given, StartInput):
            return b"", self._subject.start(self._vector.config, step.at, self._run_name)
        if isinstance(given, TickInput):
            return b"", self._subject.tick(step.at)
        if isinstance(given, FlowInput):
            if self._far_end is not None and given.event is FlowEvent.CLOSED:
                self._far_end.reconnect()
            return b"", self._subject.flow(given.event, step.at)
        return self._give(given, step.at)

    def _prepare(self, step: Step) -> None:
        """Bring a live gateway to where the story begins; what it announces on the way is not judged."""
        if isinstance(step.input, StartInput) and self._live is not None:
            self._live.prepare(self._vector.config)

    def _give(self, given: PacketInput, at: float) -> tuple[bytes, Reply]:
        octets = filled(given, self._bindings)
        port = Port.FLOW if given.port is VectorPort.TUNNEL else Port(given.port.value)
        if given.port is VectorPort.TUNNEL:
            if self._live is not None:
                return octets, self._live.far_end_sends(octets, at)
            assert self._far_end is not None, "the model refuses a tunnel without session"
            octets = self._far_end.send(octets)
        elif given.port is VectorPort.FLOW and self._far_end is not None:
            self._far_end.note_injected(octets)
        return octets, self._subject.receive(port, octets, at)

    def _judge(self, index: int, step: Step, given: bytes, reply: Reply) -> Outcome | None:
        effects = comparable(reply.effects, step, self._far_end, is_stream=self._is_stream)
        by_port = self._live is not None
        judgement = judge(step, effects, self._bindings, is_stream=self._is_stream, by_port=by_port)
        self._bindings = judgement.bindings
        self._records.append(StepRecord(index, step, given, reply.effects, reply.notes, judgement))
        return judgement.outcome

    def _deadline_problem(self, step: Step, reply: Reply) -> str:
        """Why a driver that ticks at each deadline would not do what this step did; empty if it would."""
        if self._live is not None:
            return ""
        before, self._deadline = self._deadline, reply.deadline
        is_due = before is not None and before <= step.at
        if isinstance(step.input, TickInput) and reply.effects and not is_due:
            return f"time brings effects at {step.at:g} s, but the deadline was {before}: no driver would have asked"
        if isinstance(step.input, TickInput) and reply.deadline is not None and reply.deadline <= step.at:
            return f"after the tick at {step.at:g} s the deadline is {reply.deadline:g}: a driver would never rest"
        return ""

    def _difference(self) -> str:
        """The first difference of the last step, in words."""
        pairs = self._records[-1].judgement.pairs
        first = next(((pair, pair.differences[0]) for pair in pairs if pair.differences), None)
        return _told(*first) if first else "differs"

    def _over(self, status: Status, problem: str, index: int, fault: Fault | None = None) -> VectorResult:
        message = f"steps[{index}]: {problem}"
        return VectorResult(
            self._vector, status, message, tuple(self._flags), fault, self._run_name, tuple(self._records)
        )


def _prepares(vector: Vector, index: int) -> bool:
    """Whether a step is the start, or the second announcement that goes with it, in a vector about something else."""
    if rules.S7_ANNOUNCE.slug in vector.rules or len(vector.steps) == 1:
        return False
    step = vector.steps[index]
    is_announcement = isinstance(step.input, TickInput) and step.outcomes == vector.steps[0].outcomes
    return index == 0 or (index == 1 and is_announcement)


def _told(pair: Pair, difference: Difference) -> str:
    """A difference in words, with what it is about."""
    if pair.expected is not None:
        about = f"{pair.expected.port} packet" if isinstance(pair.expected, ExpectedPacket) else repr(pair.expected.do)
    else:
        assert pair.actual is not None
        about = repr(pair.actual.do) if isinstance(pair.actual, ActualAction) else f"{pair.actual.port} packet"
    return f"{about}{', ' if difference.place else ''}{difference.place}: {difference.problem}"
