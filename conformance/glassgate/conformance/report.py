"""What a run found, told to people on a terminal, and to machines as JUnit XML and as JSON.

For a failure: the rule in words, each step in a line, then what was expected beside what came, field by field, and the
octets with those that differ marked. The reports for machines hold the same facts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO
from xml.etree import ElementTree

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from glassgate.conformance import dissect
from glassgate.conformance.matching import Actual, ActualAction, ActualPacket, Difference, Pair
from glassgate.conformance.model import (
    Expected,
    ExpectedAction,
    ExpectedPacket,
    FlowInput,
    PacketInput,
    StartInput,
    Step,
    TickInput,
    VectorPort,
    expected_to_json,
    input_to_json,
)
from glassgate.conformance.runner import Run, Status, StepRecord, VectorResult
from glassgate.contract.rules import RULES

STYLES = {
    Status.PASS: "green",
    Status.PASS_ALTERNATIVE: "green",
    Status.FAIL: "bold red",
    Status.ERROR: "bold red",
    Status.TIMEOUT: "bold red",
    Status.UNSUPPORTED: "dim",
    Status.EXPECTED_FAILURE: "yellow",
    Status.UNEXPECTED_PASS: "bold red",
}
OCTETS_A_ROW = 16
JSON_FORMAT = "glassgate-report"
JSON_VERSION = 1


# ── terminal ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def progress_bar(console: Console) -> Progress:
    """The bar that is shown while vectors run; on a console that is no terminal it shows nothing."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[bad]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def tell(run: Run, console: Console, *, most_failures: int = 10) -> None:
    """Print one run: what went wrong in full, then the table, then the verdict in a line."""
    bad = [result for result in run.results if not result.status.is_good]
    for result in bad[:most_failures]:
        if console.is_terminal:
            console.print(failure(result))
        else:
            console.out(as_text(result), end="", highlight=False)
        console.print()
    if len(bad) > most_failures:
        console.print(f"… and {len(bad) - most_failures} more (--failures N shows more, --json FILE has all)")
    console.print(Text(f"{run.subject} {run.version} ({run.language}): {', '.join(run.capabilities)}", "bold"))
    console.print(table(run))
    for result in run.results:
        if result.status in (Status.EXPECTED_FAILURE, Status.PASS_ALTERNATIVE):
            console.print(Text(f"  {result.status}: {result.vector.id}: {result.message}", STYLES[result.status]))
    console.print(verdict(run))


def verdict(run: Run) -> Text:
    """The last line: good or not, and how many."""
    text = Text(f"{run.subject}: ", "bold")
    if run.is_good:
        text.append("good", "bold green")
    else:
        text.append(f"NOT GOOD ({run.verdict})", "bold red")
    unsupported = run.counts[Status.UNSUPPORTED]
    tail = f", {unsupported} unsupported" if unsupported else ""
    return text.append(f": {run.ran} of {len(run.results)} vectors run in {run.seconds:.2f} s{tail}")


def table(run: Run) -> Table:
    """Categories by statuses; statuses that nobody has are left out."""
    shown = [status for status in Status if run.counts[status]]
    made = Table(box=None, pad_edge=False)
    made.add_column("category", no_wrap=True)
    for status in shown:
        made.add_column(status, justify="right", style=STYLES[status])
    categories = dict.fromkeys(result.vector.category for result in run.results)
    for category in categories:
        counts = [sum(r.vector.category == category and r.status is status for r in run.results) for status in shown]
        made.add_row(category, *(str(count or "·") for count in counts))
    made.add_row("all", *(str(run.counts[status]) for status in shown), style="bold")
    return made


def failure(result: VectorResult) -> RenderableType:
    """Everything about one vector that did not go well."""
    vector = result.vector
    parts: list[RenderableType] = [
        Text.assemble(
            (f"{str(result.status).upper()} ", STYLES[result.status]), (vector.id, "bold"), f"  {vector.title}"
        ),
        Text(f"  {result.message}", "red"),
    ]
    for slug in vector.rules:
        rule = RULES[slug]
        parts.append(Text(f"  rule {slug} ({rule.level}): {rule.sentence} [{rule.citation}]"))
    parts.append(Text(f"  expected because of: {vector.source}"))
    if result.failing_pass:
        parts.append(Text(f"  in the pass: {result.failing_pass}"))
    for record in result.steps:
        parts.append(Padding(step_told(record), (0, 0, 0, 2), expand=False))
    return Group(*parts)


def step_told(record: StepRecord) -> RenderableType:
    """One step: a line if it went as expected, else expected and actual."""
    good = record.judgement.outcome is not None
    head = Text(f"step {record.index} at {record.step.at:g} s: {input_told(record.step)}", "" if good else "bold")
    parts: list[RenderableType] = [head]
    if good and record.judgement.pairs:
        count = len(record.judgement.pairs)
        head.append(f" → {count} as expected", "green")
    elif good:
        head.append(" → silence, as expected", "green")
    else:
        for number, pair in enumerate(record.judgement.pairs):
            parts.append(Padding(pair_told(number, pair), (0, 0, 0, 2), expand=False))
        if not record.judgement.pairs:
            parts.append(Text("  nothing was expected and nothing came"))
    for said in record.notes if not good else ():
        values = ", ".join(f"{name} {value}" for name, value in said.detail.items())
        parts.append(
            Text(f"  the gateway says: {said.kind} because of {said.rule}{': ' if values else ''}{values}", "dim")
        )
    return Group(*parts)


def input_told(step: Step) -> str:
    """A step's input in a few words."""
    match step.input:
        case StartInput():
            return "start"
        case TickInput():
            return "time passes"
        case FlowInput(event):
            return f"the flow is {event}"
        case PacketInput(port, data):
            return f"{port} ← {summary(port, data)}"


def summary(port: VectorPort, data: bytes) -> str:
    """Octets of a port in a few words."""
    layer = dissect.frame(port, data)
    names = " / ".join(part.name for part in layer.layers)
    return f"{len(data)} octets, {names}: {layer.summary}" if names else f"{len(data)} octets"


def pair_told(number: int, pair: Pair) -> RenderableType:
    """What was expected and what came for it."""
    parts: list[RenderableType] = []
    if pair.is_right and pair.expected is not None:
        return Text(f"{number}  as expected: {effect_told(pair.expected)}", "green")
    if pair.expected is not None:
        parts.append(Text(f"{number}  expected: {effect_told(pair.expected)}"))
    if pair.actual is not None:
        parts.append(Text(f"{number}  actual:   {effect_told(pair.actual)}"))
    for difference in pair.differences:
        place = f"{difference.place}: " if difference.place else ""
        parts.append(Text(f"   ✗ {place}{difference.problem}", "red"))
    if isinstance(pair.expected, ExpectedPacket) and isinstance(pair.actual, ActualPacket):
        fields = differing_fields(pair.expected, pair.actual, pair.differences)
        if fields:
            parts.append(_fields_table(fields))
        parts.append(_Octets(pair.expected.data, pair.actual.data, pair.differences))
    elif isinstance(pair.actual, ActualPacket):
        parts.append(_Octets(b"", pair.actual.data, ()))
    elif isinstance(pair.expected, ExpectedPacket):
        parts.append(_Octets(pair.expected.data, b"", ()))
    return Group(*parts)


def effect_told(effect: Expected | Actual) -> str:
    """An effect in a few words."""
    if isinstance(effect, ExpectedPacket | ActualPacket):
        return f"{effect.port} → {summary(effect.port, effect.data)}"
    words = {"open": "the flow is to be opened", "close": "the flow is to be reset"}
    if effect.do in words:
        return words[effect.do]
    what = effect.member if isinstance(effect, ExpectedAction) else effect.message
    return f"the configuration is refused: {what}"


def differing_fields(
    expected: ExpectedPacket, actual: ActualPacket, differences: Sequence[Difference]
) -> list[tuple[str, str, str]]:
    """The fields that hold something else: name, expected, actual. Fields whose octets are free are left out."""
    wanted = _fields(expected.port, expected.data)
    got = _fields(actual.port, actual.data)
    free = [(free.start, free.end) for free in expected.free]
    rows = []
    for name in dict.fromkeys((*wanted, *got)):
        start, end, value = wanted.get(name, (0, 0, "—"))
        other = got.get(name, (0, 0, "—"))[2]
        is_free = any(first <= start and end <= last for first, last in free) and not any(
            difference.start < end and start < difference.end for difference in differences
        )
        if value != other and not (end and is_free):
            rows.append((name, value, other))
    return rows


def _fields(port: VectorPort, data: bytes) -> dict[str, tuple[int, int, str]]:
    fields: dict[str, tuple[int, int, str]] = {}
    for path, _, field in dissect.frame(port, data).walk():
        name = " · ".join((*path[1:], field.name))
        while name in fields:
            name += "′"
        fields[name] = (field.start, field.end, f"{field.value} {field.meaning and f'({field.meaning})'}".strip())
    return fields


def _fields_table(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    made = Table(box=None, pad_edge=False)
    for column, style in (("field", ""), ("expected", "green"), ("actual", "red")):
        made.add_column(column, style=style, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return Padding(made, (0, 0, 0, 3), expand=False)


class _Octets:
    """Rows of octets in hexadecimal, expected above actual where both are there; what differs is underlined with ^."""

    def __init__(self, expected: bytes, actual: bytes, differences: Sequence[Difference]) -> None:
        self._expected = expected
        self._actual = actual
        self._marked = {index for difference in differences for index in range(difference.start, difference.end)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        both = bool(self._expected) and bool(self._actual)
        size = max(len(self._expected), len(self._actual))
        skipped = False
        for start in range(0, size, OCTETS_A_ROW):
            row = range(start, start + OCTETS_A_ROW)
            if both and self._marked and not self._marked.intersection(row):
                if not skipped:
                    yield Text("        ⋮", "dim")
                skipped = True
                continue
            skipped = False
            yield from self._row(row, both)

    def _row(self, row: range, both: bool) -> Iterator[Text]:
        if self._expected:
            yield Text(f"   {row.start:04x}  {_hex(self._expected, row)}{'   expected' if both else ''}")
        if self._actual:
            text = Text(f"   {row.start:04x}  ")
            for index in row:
                octet = f"{self._actual[index]:02x} " if index < len(self._actual) else "   "
                text.append(octet, "bold red" if index in self._marked else "")
            yield text.append("  actual" if both else "")
        if both and self._marked.intersection(row):
            marks = "".join("^^ " if index in self._marked else "   " for index in row)
            yield Text(f"         {marks.rstrip()}", "red")


def _hex(octets: bytes, row: range) -> str:
    return octets[row.start : row.stop].hex(" ").ljust(3 * OCTETS_A_ROW - 1)


# ── JUnit XML ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_junit(runs: Sequence[Run], file: TextIO) -> None:
    """The runs as JUnit XML: a suite for each subject and category, a case for each vector."""
    root = ElementTree.Element("testsuites")
    for run in runs:
        if run.verdict and all(result.status.is_good for result in run.results):
            _junit_verdict(root, run)
        for category in dict.fromkeys(result.vector.category for result in run.results):
            results = [result for result in run.results if result.vector.category == category]
            suite = ElementTree.SubElement(
                root,
                "testsuite",
                name=f"{run.subject}.{category}",
                tests=str(len(results)),
                failures=str(sum(r.status in (Status.FAIL, Status.UNEXPECTED_PASS) for r in results)),
                errors=str(sum(r.status in (Status.ERROR, Status.TIMEOUT) for r in results)),
                skipped=str(sum(r.status in (Status.UNSUPPORTED, Status.EXPECTED_FAILURE) for r in results)),
                time=f"{sum(r.seconds for r in results):.3f}",
            )
            for result in results:
                _junit_case(suite, run, result)
    ElementTree.indent(root)
    file.write('<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n")


def _junit_verdict(root: ElementTree.Element, run: Run) -> None:
    """A run can be bad though no vector is: then the run itself is a case that fails."""
    suite = ElementTree.SubElement(root, "testsuite", name=f"{run.subject}.run", tests="1", failures="1")
    case = ElementTree.SubElement(suite, "testcase", classname=run.subject, name="run")
    ElementTree.SubElement(case, "failure", message=_clean(run.verdict))


def _junit_case(suite: ElementTree.Element, run: Run, result: VectorResult) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"{run.subject}.{result.vector.category}",
        name=result.vector.id,
        time=f"{result.seconds:.3f}",
    )
    kinds = {
        Status.FAIL: "failure",
        Status.UNEXPECTED_PASS: "failure",
        Status.ERROR: "error",
        Status.TIMEOUT: "error",
        Status.UNSUPPORTED: "skipped",
        Status.EXPECTED_FAILURE: "skipped",
    }
    if result.status in kinds:
        kind = str(result.fault or result.status)
        element = ElementTree.SubElement(case, kinds[result.status], message=_clean(result.message), type=kind)
        if not result.status.is_good:
            element.text = _clean(as_text(result))


def as_text(result: VectorResult) -> str:
    """A failure as plain text."""
    console = Console(width=120, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(failure(result))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _clean(text: str) -> str:
    """Text without the control characters that XML 1.0 cannot hold."""
    return "".join(character if character in "\n\t" or character.isprintable() else "�" for character in text)


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_json(runs: Sequence[Run], file: TextIO) -> None:
    """The runs as JSON, each with every step of every vector."""
    value = {"format": JSON_FORMAT, "version": JSON_VERSION, "runs": [_run_json(run) for run in runs]}
    json.dump(value, file, ensure_ascii=False, indent=1)
    file.write("\n")


def write_badge(runs: Sequence[Run], file: TextIO) -> None:
    """A badge in the form that shields.io reads from an address: how many vectors of those that were run are good."""
    good = sum(
        result.status.is_good and result.status is not Status.UNSUPPORTED for run in runs for result in run.results
    )
    message = f"{good} of {sum(run.ran for run in runs)}"
    colour = "brightgreen" if runs and all(run.is_good for run in runs) else "red"
    json.dump({"schemaVersion": 1, "label": "conformance", "message": message, "color": colour}, file)
    file.write("\n")


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "subject": run.subject,
        "version": run.version,
        "language": run.language,
        "capabilities": list(run.capabilities),
        "good": run.is_good,
        "verdict": run.verdict,
        "seconds": round(run.seconds, 3),
        "counts": {status.value: count for status, count in run.counts.items()},
        "canaries": [
            {"name": canary.name, "wanted": canary.wanted.value, "status": canary.result.status.value}
            for canary in run.canaries
        ],
        "results": [_result_json(result) for result in run.results],
    }


def _result_json(result: VectorResult) -> dict[str, Any]:
    vector = result.vector
    return {
        "id": vector.id,
        "rev": vector.rev,
        "category": vector.category,
        "title": vector.title,
        "rules": list(vector.rules),
        "status": result.status.value,
        "message": result.message,
        "flags": list(result.flags),
        "fault": None if result.fault is None else result.fault.value,
        "pass": result.failing_pass,
        "seconds": round(result.seconds, 6),
        "steps": [_step_json(record) for record in result.steps],
    }


def _step_json(record: StepRecord) -> dict[str, Any]:
    outcome = record.judgement.outcome
    return {
        "index": record.index,
        "at": record.step.at,
        "input": input_to_json(record.step.input),
        "given": record.given.hex(),
        "effects": [actual_to_json(actual) for actual in record.effects],
        "notes": [{"kind": said.kind, "rule": said.rule, "detail": dict(said.detail)} for said in record.notes],
        "good": outcome is not None,
        "flag": None if outcome is None else outcome.flag,
        "pairs": [_pair_json(pair) for pair in record.judgement.pairs if not pair.is_right],
    }


def _pair_json(pair: Pair) -> dict[str, Any]:
    return {
        "expected": None if pair.expected is None else expected_to_json(pair.expected),
        "actual": None if pair.actual is None else actual_to_json(pair.actual),
        "differences": [
            {"at": [difference.start, difference.end], "problem": difference.problem} for difference in pair.differences
        ],
    }


def actual_to_json(actual: Actual) -> dict[str, Any]:
    """The JSON value of an effect that came out."""
    if isinstance(actual, ActualAction):
        return {"do": actual.do, "message": actual.message} if actual.message else {"do": actual.do}
    made = {"port": actual.port.value, "hex": actual.data.hex()}
    return made | {"problem": actual.problem} if actual.problem else made
