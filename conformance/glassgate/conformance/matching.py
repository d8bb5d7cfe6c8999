"""The verdict on one step: does what came out agree with one of the outcomes allowed?

The whole ordered list counts. Octets are exact unless they are free; free numbers that are bound must agree with what
was seen before; checksums and lengths are computed again over the octets that really came, never masked.

Before the comparison the octets of the flow are made comparable: consecutive pieces are joined, and, unless the step
judges the flow itself, the far end opens them into inner packets. What it cannot open matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from glassgate.conformance.checksums import ETHERNET_HEADER, NoSuchField, expected_checksum, expected_length
from glassgate.conformance.far_end import FarEnd, Opened
from glassgate.conformance.model import (
    SMALLEST_FRAME,
    AnyOctets,
    Bind,
    Checksum,
    Expected,
    ExpectedAction,
    ExpectedPacket,
    Free,
    Length,
    Outcome,
    PacketInput,
    Range,
    Step,
    VectorPort,
)


@dataclass(frozen=True, slots=True)
class ActualPacket:
    """Octets that left at a port. ``problem`` tells why the far end could not open them."""

    port: VectorPort
    data: bytes
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ActualAction:
    """A wish about the flow, or the refusal of the configuration with its message."""

    do: Literal["open", "close", "refuse"]
    message: str = ""


Actual = ActualPacket | ActualAction
Bindings = Mapping[str, int]
"""The numbers that were captured, by name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Octets that are not as expected, or (an empty span) the whole."""

    start: int
    end: int
    problem: str

    @property
    def place(self) -> str:
        """Which octets, in words; empty for the whole."""
        if not self.end:
            return ""
        return f"octet {self.start}" if self.end == self.start + 1 else f"octets {self.start} to {self.end - 1}"


@dataclass(frozen=True, slots=True)
class Pair:
    """An expectation and what came for it: None where nothing was expected, or nothing came."""

    expected: Expected | None
    actual: Actual | None
    differences: tuple[Difference, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether both agree."""
        return not self.differences and self.expected is not None and self.actual is not None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was made of one step: the outcome that was taken, or None and how the preferred one differs."""

    outcome: Outcome | None
    pairs: tuple[Pair, ...]
    bindings: Bindings


# ── making comparable ────────────────────────────────────────────────────────────────────────────────────────────────


def comparable(
    actuals: Sequence[Actual], step: Step, far_end: FarEnd | None, *, is_stream: bool = True
) -> list[Actual]:
    """What came out, with the flow's octets joined or opened. The far end takes them in any case, to stay in step."""
    made: list[Actual] = []
    for is_flow, run in groupby(actuals, key=_is_flow):
        if not is_flow:
            made += _passed_on(run, far_end)
            continue
        pieces = [piece for piece in run if isinstance(piece, ActualPacket)]
        joined = _joined(pieces) if is_stream else pieces
        opened = [opened for piece in joined for opened in _opened(piece, far_end)]
        made += joined if step.judges_flow_raw else opened
    rest = far_end.unfinished() if far_end is not None else None
    if rest is not None and not step.judges_flow_raw:
        made.append(ActualPacket(VectorPort.FLOW, rest.octets, rest.problem))
    return made


def _is_flow(actual: Actual) -> bool:
    return isinstance(actual, ActualPacket) and actual.port is VectorPort.FLOW


def _passed_on(run: Iterable[Actual], far_end: FarEnd | None) -> list[Actual]:
    passed = list(run)
    if far_end is not None and any(isinstance(actual, ActualAction) and actual.do == "close" for actual in passed):
        far_end.reconnect()
    return passed


def _joined(pieces: Sequence[ActualPacket]) -> list[ActualPacket]:
    return [ActualPacket(VectorPort.FLOW, b"".join(piece.data for piece in pieces))]


def _opened(piece: ActualPacket, far_end: FarEnd | None) -> list[ActualPacket]:
    if far_end is None:
        return [replace(piece, problem="nothing was expected at the flow, and there are no keys to open it with")]
    return [
        ActualPacket(VectorPort.TUNNEL, record.packet)
        if isinstance(record, Opened)
        else ActualPacket(VectorPort.FLOW, record.octets, record.problem)
        for record in far_end.receive(piece.data)
    ]


def _flow_joined(expected: Sequence[Expected]) -> list[Expected]:
    """The expectation with consecutive pieces of the flow joined, as the actual ones are."""
    made: list[Expected] = []
    for one in expected:
        last = made[-1] if made else None
        if (
            isinstance(one, ExpectedPacket)
            and isinstance(last, ExpectedPacket)
            and one.port is last.port is VectorPort.FLOW
        ):
            moved = tuple(
                replace(free, start=free.start + len(last.data), end=free.end + len(last.data)) for free in one.free
            )
            made[-1] = ExpectedPacket(VectorPort.FLOW, last.data + one.data, last.free + moved)
        else:
            made.append(one)
    return made


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def judge(
    step: Step, actuals: Sequence[Actual], bindings: Bindings, *, is_stream: bool = True, by_port: bool = False
) -> Judgement:
    """The first outcome that agrees with what came out; if none does, how the preferred one differs.

    ``by_port``: the order counts at each port, and not between ports, for there is none between two wires.
    """
    if by_port:
        actuals = sorted(actuals, key=_port_of)
    for outcome in step.outcomes:
        expected = _in_order(outcome, is_stream, by_port)
        if len(expected) != len(actuals):
            continue
        captured = dict(bindings)
        pairs = [_compared(one, actual, captured) for one, actual in zip(expected, actuals, strict=True)]
        if all(pair.is_right for pair in pairs):
            return Judgement(outcome, tuple(pairs), captured)
    expected = _in_order(step.outcomes[0], is_stream, by_port)
    return Judgement(None, tuple(_aligned(expected, actuals, bindings)), bindings)


def _in_order(outcome: Outcome, is_stream: bool, by_port: bool) -> list[Expected]:
    expected = _flow_joined(outcome.expect) if is_stream else list(outcome.expect)
    return sorted(expected, key=_port_of) if by_port else expected


def _port_of(effect: Expected | Actual) -> str:
    return effect.port if isinstance(effect, ExpectedPacket | ActualPacket) else ""


def _compared(expected: Expected, actual: Actual, captured: dict[str, int]) -> Pair:
    return Pair(expected, actual, tuple(differences(expected, actual, captured)))


def differences(expected: Expected, actual: Actual, captured: dict[str, int]) -> list[Difference]:
    """How one effect differs from what is expected; numbers bound for the first time are added to ``captured``."""
    if isinstance(expected, ExpectedAction) or isinstance(actual, ActualAction):
        return _action_differences(expected, actual)
    if actual.problem:
        return [Difference(0, 0, actual.problem)]
    if expected.port is not actual.port:
        return [Difference(0, 0, f"left at {actual.port}, not at {expected.port}")]
    if actual.data == expected.data and not expected.free:
        return []
    size = len(expected.data)
    found = list(_size_differences(expected, actual.data))
    common = min(size, len(actual.data))
    found += _exact_differences(expected, actual.data[:common])
    if common == size:
        for free in expected.free:
            problem = _free_problem(free, actual.data[:size], expected.port, captured)
            if problem:
                found.append(Difference(free.start, free.end, problem))
    return sorted(found, key=lambda difference: difference.start)


def _action_differences(expected: Expected, actual: Actual) -> list[Difference]:
    if not isinstance(expected, ExpectedAction):
        return [Difference(0, 0, f"{describe(actual)} instead of a packet at {expected.port}")]
    if not isinstance(actual, ActualAction) or expected.do != actual.do:
        return [Difference(0, 0, f"{describe(actual)} instead of {expected.do!r}")]
    if expected.do == "refuse" and expected.member not in actual.message:
        return [Difference(0, 0, f"the error does not name {expected.member}: {actual.message}")]
    return []


def _size_differences(expected: ExpectedPacket, data: bytes) -> Iterable[Difference]:
    size = len(expected.data)
    if len(data) < size:
        yield Difference(len(data), size, f"has {len(data)} octets, not {size}")
    elif len(data) > size:
        if not expected.padding or len(data) > max(size, SMALLEST_FRAME):
            yield Difference(size, len(data), f"has {len(data)} octets, not {size}")
        elif any(data[size:]):
            yield Difference(size, len(data), "the padding is not zero")


def _exact_differences(expected: ExpectedPacket, data: bytes) -> list[Difference]:
    """Runs of octets that differ and are not free."""
    is_free = bytearray(len(data))
    for free in expected.free:
        is_free[free.start : free.end] = b"\1" * max(0, min(free.end, len(data)) - free.start)
    differing = [
        index
        for index, (wanted, got, free) in enumerate(zip(expected.data, data, is_free, strict=False))
        if wanted != got and not free
    ]
    runs: list[list[int]] = []
    for index in differing:
        if runs and runs[-1][1] == index:
            runs[-1][1] = index + 1
        else:
            runs.append([index, index + 1])
    return [
        Difference(start, end, f"is {_abridged(data[start:end])}, not {_abridged(expected.data[start:end])}")
        for start, end in runs
    ]


def _free_problem(free: Free, data: bytes, port: VectorPort, captured: dict[str, int]) -> str:
    """Why free octets are not as they may be; empty if they are."""
    if isinstance(free, AnyOctets):
        return ""
    value = int.from_bytes(data[free.start : free.end], "big")
    modulus = 1 << 8 * (free.end - free.start)
    if isinstance(free, Range):
        return "" if free.low <= value <= free.high else f"is {value}, not from {free.low} to {free.high}"
    if isinstance(free, Bind):
        wanted = (captured.setdefault(free.name, (value - free.plus) % modulus) + free.plus) % modulus
        return "" if value == wanted else f"is {value}, not {wanted} ({free.name}{free.plus:+} as seen before)"
    ip_start = ETHERNET_HEADER if port.carries_frames else 0
    try:
        if isinstance(free, Length):
            wanted = expected_length(data, ip_start, free.start)
        else:
            wanted = expected_checksum(data, ip_start, free.start, free.of)
    except NoSuchField as error:
        return str(error)
    return "" if value == wanted else f"is 0x{value:04x}, not 0x{wanted:04x} as computed over what came"


def _aligned(expected: Sequence[Expected], actuals: Sequence[Actual], bindings: Bindings) -> list[Pair]:
    """Expected and actual beside each other: what agrees stays together, and what is left is paired in between.

    The longest common subsequence, so that one frame missing is told as that and not as all frames wrong.
    """
    same = [[not differences(one, actual, dict(bindings)) for actual in actuals] for one in expected]
    best = [[0] * (len(actuals) + 1) for _ in range(len(expected) + 1)]
    for row in reversed(range(len(expected))):
        for column in reversed(range(len(actuals))):
            skip = max(best[row + 1][column], best[row][column + 1])
            best[row][column] = max(skip, best[row + 1][column + 1] + 1) if same[row][column] else skip
    pairs: list[Pair] = []
    row = column = 0
    captured = dict(bindings)
    while row < len(expected) and column < len(actuals):
        if best[row][column] == best[row + 1][column + 1] + same[row][column]:
            pairs.append(_compared(expected[row], actuals[column], captured))
            row, column = row + 1, column + 1
        elif best[row][column] == best[row + 1][column]:
            pairs.append(_missing(expected[row]))
            row += 1
        else:
            pairs.append(_too_many(actuals[column]))
            column += 1
    pairs += [_missing(one) for one in expected[row:]]
    pairs += [_too_many(actual) for actual in actuals[column:]]
    return pairs


def _missing(expected: Expected) -> Pair:
    return Pair(expected, None, (Difference(0, 0, "did not come"),))


def _too_many(actual: Actual) -> Pair:
    problem = actual.problem if isinstance(actual, ActualPacket) else ""
    return Pair(None, actual, (Difference(0, 0, problem or "was not expected"),))


# ── filling inputs ───────────────────────────────────────────────────────────────────────────────────────────────────


def filled(given: PacketInput, bindings: Bindings) -> bytes:
    """The octets of an input with the captured numbers and then the checksums written in.

    Raises:
        NoSuchField: a number was not captured, or there is no such checksum.
    """
    data = bytearray(given.data)
    for fill in given.fill:
        if isinstance(fill, Bind):
            if fill.name not in bindings:
                raise NoSuchField(f"no octets were bound to {fill.name!r} before")
            size = fill.end - fill.start
            data[fill.start : fill.end] = ((bindings[fill.name] + fill.plus) % (1 << 8 * size)).to_bytes(size, "big")
    ip_start = ETHERNET_HEADER if given.port.carries_frames else 0
    for fill in sorted((fill for fill in given.fill if isinstance(fill, Checksum)), key=lambda fill: -fill.start):
        data[fill.start : fill.end] = expected_checksum(bytes(data), ip_start, fill.start, fill.of).to_bytes(2, "big")
    return bytes(data)


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def describe(actual: Actual) -> str:
    """An effect in a few words."""
    if isinstance(actual, ActualPacket):
        return f"{len(actual.data)} octets at {actual.port}"
    return {"open": "'open'", "close": "'close'"}.get(actual.do, f"a refusal ({actual.message})")


def _abridged(octets: bytes) -> str:
    return octets.hex() if len(octets) <= 16 else f"{octets[:16].hex()}… ({len(octets)} octets)"
