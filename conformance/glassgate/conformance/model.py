"""The vector format: what a file of vectors holds, read from JSON and checked member by member.

A **file** has a category, a configuration shared by its vectors, and notes on the flags that they use.
A **vector** is a story in **steps**: at a time something comes in, then one of the **outcomes** must come out: an
ordered list of frames, every octet exact or named **free**. The published schema is ``schema/vectors-1.schema.json``;
this reader demands the same and also what a schema cannot say (rules that exist, free octets inside their packet, times
that do not go back). An error names file, vector, member and value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Any, Literal, NoReturn

from glassgate.conformance import strict_json
from glassgate.contract import CAPABILITIES, ConfigError, FlowEvent, GatewayConfig
from glassgate.contract.rules import RULES

SCHEMA_VERSION = "1.0"
MAJOR_VERSION = 1
SMALLEST_FRAME = 60
"""Ethernet's minimum without the frame check sequence: padding may fill up to here (IEEE 802.3 3.2.8)."""

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FLAG = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class VectorError(ValueError):
    """A vector file that cannot be used. Says which file, vector and member, and what the member held."""

    def __init__(self, file: str, vector: str, member: str, problem: str) -> None:
        parts = [file, f"vector {vector}" if vector else "", member, problem]
        super().__init__(": ".join(part for part in parts if part))
        self.file = file
        self.vector = vector
        self.member = member
        self.problem = problem


class VectorPort(StrEnum):
    """The ports of a vector: those of a gateway, and ``TUNNEL``, where the runner plays the far end."""

    INTERNAL = "internal"
    EXTERNAL = "external"
    FLOW = "flow"
    TUNNEL = "tunnel"

    @property
    def carries_frames(self) -> bool:
        """Whether an Ethernet header comes first here."""
        return self in (VectorPort.INTERNAL, VectorPort.EXTERNAL)


class Result(StrEnum):
    """The verdict in one word."""

    VALID = "valid"
    """The input must be processed."""
    INVALID = "invalid"
    """The input must be discarded or answered by an error."""
    ACCEPTABLE = "acceptable"
    """Two or more outcomes are right; each but the preferred one has a flag."""


# ── free octets ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class AnyOctets:
    """Octets from ``start`` up to ``end`` that may be anything."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Bind:
    """A number that is captured under a name at first sight (less ``plus``) and must agree (plus ``plus``) afterwards.

    In an input it is the place where the captured number, plus ``plus``, is written.
    """

    start: int
    end: int
    name: str
    plus: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """A number from ``low`` to ``high``, both included."""

    start: int
    end: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Length:
    """The IPv4 total length or the UDP length, counted again over the octets that really came."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum, computed again over the octets that really came."""

    start: int
    end: int
    of: Literal["ip", "icmp", "udp", "tcp"]


Free = AnyOctets | Bind | Range | Length | Checksum
Fill = Bind | Checksum


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class StartInput:
    """The gateway is started."""


@dataclass(frozen=True, slots=True)
class TickInput:
    """Time passes."""


@dataclass(frozen=True, slots=True)
class FlowInput:
    """The operating system reports of the transport."""

    event: FlowEvent


@dataclass(frozen=True, slots=True)
class PacketInput:
    """A frame at ``internal`` or ``external``, octets at ``flow``, or an inner packet that the far end is to seal.

    ``fill`` names octets that depend on what the gateway chose before: bound numbers, then checksums over all.
    """

    port: VectorPort
    data: bytes
    fill: tuple[Fill, ...] = ()


Input = StartInput | TickInput | FlowInput | PacketInput


# ── outcomes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ExpectedPacket:
    """One frame, piece of the stream or inner packet. With ``padding``, zero octets up to 60 may follow."""

    port: VectorPort
    data: bytes
    free: tuple[Free, ...] = ()
    padding: bool = False


@dataclass(frozen=True, slots=True)
class ExpectedAction:
    """The flow is to be opened or closed; or (``refuse``) the configuration is an error that names ``member``."""

    do: Literal["open", "close", "refuse"]
    member: str = ""


Expected = ExpectedPacket | ExpectedAction


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that must come out, in order. The preferred outcome has no flag."""

    expect: tuple[Expected, ...] = ()
    flag: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """At ``at`` seconds ``input`` happens; one of ``outcomes`` must follow.

    With ``when``, the step is only taken if an earlier step had the outcome of that flag.
    """

    at: float
    input: Input
    outcomes: tuple[Outcome, ...]
    when: str | None = None

    @property
    def judges_flow_raw(self) -> bool:
        """Whether the octets of the flow are compared as they are; else the far end opens them into packets."""
        return any(
            isinstance(expected, ExpectedPacket) and expected.port is VectorPort.FLOW
            for outcome in self.outcomes
            for expected in outcome.expect
        )


@dataclass(frozen=True, slots=True)
class FlagNote:
    """What a flag stands for: the class of bug, what it is, its effect, and where to read about it."""

    bug: str
    what: str
    effect: str
    links: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vector:
    """One story with its verdict. ``config`` is the whole configuration, the file's with this vector's patch."""

    id: str
    title: str
    rules: tuple[str, ...]
    requires: tuple[str, ...]
    result: Result
    source: str
    steps: tuple[Step, ...]
    rev: int = 1
    flags: tuple[str, ...] = ()
    patch: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    category: str = ""


@dataclass(frozen=True, slots=True)
class VectorFile:
    """The vectors of one category, and what they share."""

    category: str
    summary: str
    config: Mapping[str, Any]
    vectors: tuple[Vector, ...]
    notes: Mapping[str, FlagNote] = field(default_factory=dict)
    schema: str = SCHEMA_VERSION
    name: str = ""
    """The name of the file, for messages."""


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396 2); neither argument is changed.

    >>> merge_patch({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}})
    {'a': {'c': 2, 'd': 3}}
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


# ── where vectors are ────────────────────────────────────────────────────────────────────────────────────────────────


def packaged() -> list[Traversable]:
    """The vector files that come with this package, by name."""
    folder = resources.files("glassgate.conformance") / "vectors"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".json")]
    return sorted(found, key=lambda entry: entry.name.removesuffix(".json"))


def load_packaged() -> tuple[VectorFile, ...]:
    """All vectors that come with this package.

    Raises:
        VectorError: a file is wrong, or two vectors have the same id.
    """
    return load_all(packaged())


def load_all(sources: Iterable[Traversable]) -> tuple[VectorFile, ...]:
    """The vectors of several files.

    Raises:
        VectorError: a file is wrong, or two vectors have the same id.
    """
    files = tuple(load(source) for source in sources)
    _check_ids_unique(files)
    return files


def load(source: Traversable) -> VectorFile:
    """Read a vector file (a ``pathlib.Path`` is a ``Traversable``).

    Raises:
        VectorError: the file cannot be read or is wrong.
    """
    name = source.name
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 at octet {error.start}"
        raise VectorError(str(source), "", "", f"cannot be read: {problem}") from None
    return loads(text, name)


def loads(text: str, name: str = "vectors") -> VectorFile:
    """Read the text of a vector file; ``name`` is for messages.

    Raises:
        VectorError: the text is wrong.
    """
    try:
        value = strict_json.parse(text)
    except ValueError as error:
        raise VectorError(name, "", "", str(error)) from None
    return read(value, name)


def read(value: object, name: str = "vectors") -> VectorFile:
    """Check the parsed JSON of a vector file.

    Raises:
        VectorError: a member is unknown, missing or wrong.
    """
    members = _Members(_Place(name), value)
    schema = _read_schema_version(members)
    category = members.slug("category")
    summary = members.text("summary")
    config = members.mapping("config", {})
    notes = {flag: _read_note(place, note) for flag, place, note in members.named("notes")}
    members.check_flags(notes)
    vectors = tuple(
        _read_vector(place, item, category, config, notes) for place, item in members.items("vectors", at_least=1)
    )
    members.done()
    made = VectorFile(category, summary, config, vectors, notes, schema, name)
    _check_ids_unique((made,))
    return made


def schema() -> Any:
    """The published JSON Schema of vector files."""
    folder = resources.files("glassgate.conformance") / "schema"
    return json.loads((folder / f"vectors-{MAJOR_VERSION}.schema.json").read_text(encoding="utf-8"))


def _check_ids_unique(files: Iterable[VectorFile]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        for vector in file.vectors:
            if vector.id in seen:
                raise VectorError(file.name, vector.id, "id", f"is used already in {seen[vector.id]}")
            seen[vector.id] = file.name


# ── reading, one function for each object of the JSON ────────────────────────────────────────────────────────────────


def _read_schema_version(members: _Members) -> str:
    version = members.text("schema")
    match = re.fullmatch(r"(\d+)\.(\d+)", version)
    if not match:
        members.fail("schema", f"{version!r} is not a version such as {SCHEMA_VERSION!r}")
    if int(match[1]) != MAJOR_VERSION:
        members.fail("schema", f"version {version} cannot be read; this program reads {MAJOR_VERSION}.x")
    return version


def _read_note(place: _Place, value: object) -> FlagNote:
    members = _Members(place, value)
    note = FlagNote(
        bug=members.text("bug"),
        what=members.text("what"),
        effect=members.text("effect"),
        links=members.texts("links", ()),
        cves=members.texts("cves", ()),
    )
    members.done()
    return note


def _read_vector(
    place: _Place, value: object, category: str, shared: Mapping[str, Any], notes: Mapping[str, FlagNote]
) -> Vector:
    members = _Members(place, value)
    members.place = place.of_vector(members.slug("id"))
    patch = members.mapping("config", {})
    _check_removals(members, "config", shared, patch)
    vector = Vector(
        id=members.slug("id"),
        rev=members.integer("rev", low=1),
        title=members.text("title"),
        rules=members.texts("rules", known=RULES, at_least=1),
        requires=members.texts("requires", known=CAPABILITIES),
        flags=members.texts("flags", (), known=notes),
        result=Result(members.choice("result", tuple(Result))),
        source=members.text("source"),
        patch=patch,
        config=merge_patch(shared, patch),
        steps=tuple(_read_step(place, item, notes) for place, item in members.items("steps", at_least=1)),
        category=category,
    )
    members.done()
    _check_vector(members, vector)
    return vector


def _read_step(place: _Place, value: object, notes: Mapping[str, FlagNote]) -> Step:
    members = _Members(place, value)
    step = Step(
        at=members.seconds("at"),
        input=_read_input(*members.take("input")),
        outcomes=tuple(_read_outcome(place, item, notes) for place, item in members.items("outcomes", at_least=1)),
        when=members.text("when") if members.has("when") else None,
    )
    members.done()
    flags = [outcome.flag for outcome in step.outcomes]
    if flags[0] is not None:
        members.fail("outcomes[0].flag", f"{flags[0]!r}: the first outcome is the preferred one and has no flag")
    if None in flags[1:]:
        members.fail(f"outcomes[{flags.index(None, 1)}].flag", "an outcome that is not preferred needs a flag")
    if len(set(flags)) != len(flags):
        members.fail("outcomes", "two outcomes have the same flag")
    return step


def _read_input(place: _Place, value: object) -> Input:
    members = _Members(place, value)
    made: Input
    if members.has("start"):
        members.true("start")
        made = StartInput()
    elif members.has("tick"):
        members.true("tick")
        made = TickInput()
    elif members.has("flow"):
        made = FlowInput(FlowEvent(members.choice("flow", tuple(FlowEvent))))
    elif members.has("port"):
        port = VectorPort(members.choice("port", tuple(VectorPort)))
        data = members.hex("hex")
        made = PacketInput(port, data, _read_fill(members, len(data)))
    else:
        members.fail("", "an input needs one of 'start', 'tick', 'flow' and 'port'")
    members.done()
    return made


def _read_outcome(place: _Place, value: object, notes: Mapping[str, FlagNote]) -> Outcome:
    members = _Members(place, value)
    flag = members.take("flag", None)[1]
    if flag is not None:
        flag = members.text("flag")
        if flag not in notes:
            members.fail("flag", f"{flag!r} is not explained in the file's notes")
    outcome = Outcome(tuple(_read_expected(place, item) for place, item in members.items("expect")), flag)
    members.done()
    return outcome


def _read_expected(place: _Place, value: object) -> Expected:
    members = _Members(place, value)
    made: Expected
    if members.has("do"):
        do = members.choice("do", ("open", "close", "refuse"))
        if do == "refuse":
            made = ExpectedAction("refuse", members.text("member"))
        else:
            made = ExpectedAction("open" if do == "open" else "close")
    else:
        port = VectorPort(members.choice("port", tuple(VectorPort)))
        data = members.hex("hex")
        free = tuple(_read_free(place, item, len(data)) for place, item in members.items("free", ()))
        padding = members.boolean("padding", False)
        if padding and not port.carries_frames:
            members.fail("padding", f"only frames are padded, not what leaves at {port}")
        _check_apart(members, "free", free)
        made = ExpectedPacket(port, data, free, padding)
    members.done()
    return made


def _read_fill(members: _Members, octets: int) -> tuple[Fill, ...]:
    fills: list[Fill] = []
    for place, item in members.items("fill", ()):
        free = _read_free(place, item, octets)
        if not isinstance(free, Bind | Checksum):
            place.fail("kind", "only 'bind' and 'checksum' can be filled in")
        fills.append(free)
    _check_apart(members, "fill", fills)
    return tuple(fills)


def _read_free(place: _Place, value: object, octets: int) -> Free:
    members = _Members(place, value)
    kind = members.choice("kind", ("any", "bind", "range", "length", "checksum"))
    start, end = members.span("at", octets)
    made: Free
    if kind == "bind":
        made = Bind(start, end, members.text("name"), members.integer("plus", 0))
    elif kind == "range":
        made = Range(start, end, members.integer("low", low=0), members.integer("high", low=0))
        if made.low > made.high:
            members.fail("low", f"{made.low} is over high, {made.high}")
    elif kind == "length":
        made = Length(start, end)
    elif kind == "checksum":
        made = Checksum(start, end, _CHECKSUMS[members.choice("of", tuple(_CHECKSUMS))])
    else:
        made = AnyOctets(start, end)
    if isinstance(made, Length | Checksum) and end - start != 2:
        members.fail("at", f"[{start}, {end}] is not two octets, as a {kind} is")
    members.done()
    return made


_CHECKSUMS: Mapping[str, Literal["ip", "icmp", "udp", "tcp"]] = {"ip": "ip", "icmp": "icmp", "udp": "udp", "tcp": "tcp"}


def _check_apart(members: _Members, name: str, free: Sequence[Free]) -> None:
    """Refuse free octets that overlap: it would not be clear which one counts."""
    in_order = sorted(free, key=lambda item: item.start)
    for before, after in pairwise(in_order):
        if after.start < before.end:
            members.fail(name, f"[{before.start}, {before.end}] and [{after.start}, {after.end}] overlap")


def _check_vector(members: _Members, vector: Vector) -> None:
    """Refuse what is sound member by member and not together."""
    choices = any(len(step.outcomes) > 1 for step in vector.steps)
    if choices != (vector.result is Result.ACCEPTABLE):
        members.fail("result", f"{str(vector.result)!r}, but {'some' if choices else 'no'} step has two outcomes")
    _check_steps(members, vector.steps)
    refuses = any(isinstance(effect, ExpectedAction) and effect.do == "refuse" for effect in _expectations(vector))
    try:
        config = GatewayConfig.from_json(vector.config)
    except ConfigError as error:
        if not refuses:
            members.fail("config", f"the file's and the vector's together are wrong: {error}")
        return
    _check_ports(members, vector, config)


def _check_removals(members: _Members, path: str, target: Any, patch: Mapping[str, Any]) -> None:
    """Refuse a null where there is nothing to remove: a patch cannot set a member to null (RFC 7396 1)."""
    for name, value in patch.items():
        present = isinstance(target, Mapping) and name in target
        if value is None and not present:
            members.fail(f"{path}.{name}", "null removes a member (RFC 7396), and the file's config does not have it")
        if isinstance(value, Mapping):
            _check_removals(members, f"{path}.{name}", target[name] if present else {}, value)


def _check_steps(members: _Members, steps: Sequence[Step]) -> None:
    flags: set[str | None] = set()
    for index, step in enumerate(steps):
        if isinstance(step.input, StartInput) != (index == 0):
            members.fail(f"steps[{index}].input", "the first step is the start, and no other is")
        if index and step.at < steps[index - 1].at:
            members.fail(f"steps[{index}].at", f"{step.at} is before {steps[index - 1].at}: time does not go back")
        if step.when is not None and step.when not in flags:
            members.fail(f"steps[{index}].when", f"no earlier step has an outcome with the flag {step.when!r}")
        flags.update(outcome.flag for outcome in step.outcomes)


def _check_ports(members: _Members, vector: Vector, config: GatewayConfig) -> None:
    """Refuse ports that the configuration lacks, and a tunnel whose far end the runner cannot play."""
    absent = {VectorPort.EXTERNAL} if config.external.kind == "os" else {VectorPort.FLOW, VectorPort.TUNNEL}
    if config.tunnel.session is None:
        absent.add(VectorPort.TUNNEL)
    for index, step in enumerate(vector.steps):
        packets: list[object] = [step.input, *(expected for outcome in step.outcomes for expected in outcome.expect)]
        for packet in packets:
            if isinstance(packet, PacketInput | ExpectedPacket) and packet.port in absent:
                members.fail(f"steps[{index}]", f"there is no port {str(packet.port)!r} with this configuration")


def _expectations(vector: Vector) -> Iterator[Expected]:
    for step in vector.steps:
        for outcome in step.outcomes:
            yield from outcome.expect


# ── members, taken one by one ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a file: for messages."""

    file: str
    vector: str = ""
    path: str = ""

    def member(self, name: str) -> _Place:
        joint = "." if self.path and name and not name.startswith("[") else ""
        return _Place(self.file, self.vector, f"{self.path}{joint}{name}")

    def of_vector(self, vector: str) -> _Place:
        """The place inside a vector: its id says more than its number in the file."""
        return _Place(self.file, vector)

    def fail(self, name: str, problem: str) -> NoReturn:
        raise VectorError(self.file, self.vector, self.member(name).path, problem)


class _Members:
    """The members of one JSON object; what is left over at ``done`` is unknown."""

    def __init__(self, place: _Place, value: object) -> None:
        if not isinstance(value, Mapping):
            place.fail("", f"{_shown(value)} is not an object")
        self.place = place
        self._values: Mapping[str, object] = value
        self._known: set[str] = set()

    def fail(self, name: str, problem: str) -> NoReturn:
        self.place.fail(name, problem)

    def has(self, name: str) -> bool:
        return name in self._values

    def take(self, name: str, *default: object) -> tuple[_Place, object]:
        self._known.add(name)
        if name in self._values:
            return self.place.member(name), self._values[name]
        if default:
            return self.place.member(name), default[0]
        self.fail(name, "is missing")

    def done(self) -> None:
        for name in self._values:
            if name not in self._known:
                self.fail(name, f"unknown member; known here: {', '.join(sorted(self._known))}")

    def text(self, name: str) -> str:
        value = self.take(name)[1]
        if not isinstance(value, str) or not value.strip():
            self.fail(name, f"{_shown(value)} is not a text")
        return value

    def slug(self, name: str) -> str:
        value = self.text(name)
        if not _SLUG.fullmatch(value):
            self.fail(name, f"{value!r} is not a slug: small letters and digits with single hyphens between")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        value = self.take(name)[1]
        if not isinstance(value, str) or value not in choices:
            self.fail(name, f"{_shown(value)} is not one of {', '.join(choices)}")
        return value

    def true(self, name: str) -> None:
        value = self.take(name)[1]
        if value is not True:
            self.fail(name, f"{_shown(value)} is not true")

    def boolean(self, name: str, default: bool) -> bool:
        value = self.take(name, default)[1]
        if not isinstance(value, bool):
            self.fail(name, f"{_shown(value)} is not true or false")
        return value

    def integer(self, name: str, *default: int, low: int | None = None) -> int:
        value = self.take(name, *default)[1]
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(name, f"{_shown(value)} is not an integer")
        if low is not None and value < low:
            self.fail(name, f"{value} is under {low}")
        return value

    def seconds(self, name: str) -> float:
        value = self.take(name)[1]
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
            self.fail(name, f"{_shown(value)} is not a number of seconds from 0 to 1e9")
        return float(value)

    def hex(self, name: str) -> bytes:
        value = self.take(name)[1]
        if not isinstance(value, str) or not re.fullmatch(r"([0-9a-f]{2})*", value):
            self.fail(name, f"{_shown(value)} is not hexadecimal octets in small letters")
        return bytes.fromhex(value)

    def span(self, name: str, octets: int) -> tuple[int, int]:
        value = self.take(name)[1]
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in value)
        ):
            self.fail(name, f"{_shown(value)} is not a pair [start, end]")
        start, end = value
        if not 0 <= start < end <= octets:
            self.fail(name, f"[{start}, {end}] is not a span within the {octets} octets")
        return start, end

    def mapping(self, name: str, default: Mapping[str, Any]) -> Mapping[str, Any]:
        value = self.take(name, default)[1]
        if not isinstance(value, Mapping):
            self.fail(name, f"{_shown(value)} is not an object")
        return value

    def named(self, name: str) -> Iterator[tuple[str, _Place, object]]:
        for key, value in self.mapping(name, {}).items():
            yield key, self.place.member(name).member(key), value

    def items(self, name: str, *default: object, at_least: int = 0) -> list[tuple[_Place, object]]:
        value = self.take(name, *default)[1]
        if not isinstance(value, list | tuple):
            self.fail(name, f"{_shown(value)} is not a list")
        if len(value) < at_least:
            self.fail(name, f"needs at least {at_least}")
        return [(self.place.member(f"{name}[{index}]"), item) for index, item in enumerate(value)]

    def texts(
        self, name: str, *default: Sequence[str], known: Mapping[str, object] | None = None, at_least: int = 0
    ) -> tuple[str, ...]:
        texts: list[str] = []
        for index, (_, item) in enumerate(self.items(name, *default, at_least=at_least)):
            if not isinstance(item, str):
                self.fail(f"{name}[{index}]", f"{_shown(item)} is not a text")
            if known is not None and item not in known:
                self.fail(f"{name}[{index}]", f"{item!r} is unknown")
            if item in texts:
                self.fail(f"{name}[{index}]", f"{item!r} stands twice")
            texts.append(item)
        return tuple(texts)

    def check_flags(self, flags: Iterable[str]) -> None:
        for flag in flags:
            if not _FLAG.fullmatch(flag):
                self.fail("notes", f"{flag!r} is not a flag: a letter, then letters, digits, '_' and '-'")


def _shown(value: object) -> str:
    """A value as a message shows it: short, whatever it is."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_json(file: VectorFile) -> dict[str, Any]:
    """The JSON value of a file; members that hold their default are left out."""
    return {
        "schema": file.schema,
        "category": file.category,
        "summary": file.summary,
        "config": file.config,
        "notes": {
            flag: {"bug": n.bug, "what": n.what, "effect": n.effect, "links": list(n.links), "cves": list(n.cves)}
            for flag, n in file.notes.items()
        },
        "vectors": [vector_to_json(vector) for vector in file.vectors],
    }


def vector_to_json(vector: Vector) -> dict[str, Any]:
    """The JSON value of one vector, its configuration as the patch over its file's."""
    made: dict[str, Any] = {
        "id": vector.id,
        "rev": vector.rev,
        "title": vector.title,
        "rules": list(vector.rules),
        "requires": list(vector.requires),
        "flags": list(vector.flags),
        "result": vector.result.value,
        "source": vector.source,
    }
    if vector.patch:
        made["config"] = vector.patch
    made["steps"] = [step_to_json(step) for step in vector.steps]
    return made


def step_to_json(step: Step) -> dict[str, Any]:
    """The JSON value of one step."""
    made: dict[str, Any] = {
        "at": step.at,
        "input": input_to_json(step.input),
        "outcomes": [
            {"flag": outcome.flag, "expect": [expected_to_json(expected) for expected in outcome.expect]}
            for outcome in step.outcomes
        ],
    }
    if step.when is not None:
        made["when"] = step.when
    return made


def input_to_json(given: Input) -> dict[str, Any]:
    """The JSON value of an input."""
    if isinstance(given, StartInput):
        return {"start": True}
    if isinstance(given, TickInput):
        return {"tick": True}
    if isinstance(given, FlowInput):
        return {"flow": given.event.value}
    made: dict[str, Any] = {"port": given.port.value, "hex": given.data.hex()}
    if given.fill:
        made["fill"] = [free_to_json(free) for free in given.fill]
    return made


def expected_to_json(expected: Expected) -> dict[str, Any]:
    """The JSON value of one expected effect."""
    if isinstance(expected, ExpectedAction):
        return {"do": expected.do, "member": expected.member} if expected.do == "refuse" else {"do": expected.do}
    made: dict[str, Any] = {"port": expected.port.value, "hex": expected.data.hex()}
    if expected.free:
        made["free"] = [free_to_json(free) for free in expected.free]
    if expected.padding:
        made["padding"] = True
    return made


def free_to_json(free: Free) -> dict[str, Any]:
    """The JSON value of free octets."""
    at = [free.start, free.end]
    if isinstance(free, AnyOctets):
        return {"at": at, "kind": "any"}
    if isinstance(free, Bind):
        return {"at": at, "kind": "bind", "name": free.name, "plus": free.plus}
    if isinstance(free, Range):
        return {"at": at, "kind": "range", "low": free.low, "high": free.high}
    if isinstance(free, Length):
        return {"at": at, "kind": "length"}
    return {"at": at, "kind": "checksum", "of": free.of}


def dumps(file: VectorFile) -> str:
    """The text of a file: always the same for the same value. What fits on a line stands on a line.

    Raises:
        VectorError: the file would not be accepted when read.
    """
    value = to_json(file)
    read(value, file.name or file.category)
    return _laid_out(value, 0) + "\n"


def _laid_out(value: Any, indent: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= 118 or not isinstance(value, dict | list) or not value:
        return line
    margin = " " * (indent + 1)
    if isinstance(value, list):
        parts = [_laid_out(item, indent + 1) for item in value]
        return "[\n" + ",\n".join(margin + part for part in parts) + "\n" + " " * indent + "]"
    parts = [f"{json.dumps(name, ensure_ascii=False)}: {_laid_out(item, indent + 1)}" for name, item in value.items()]
    return "{\n" + ",\n".join(margin + part for part in parts) + "\n" + " " * indent + "}"
