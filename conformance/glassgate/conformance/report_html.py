"""What runs found, as one HTML page: a matrix of vectors by subjects, each cell opening its log.

The page holds everything itself: no network, no script. A cell is a link to its log; the style sheet shows the log that
the address names (``:target``) and hides the others. Vectors that nobody supports stay on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import TextIO

from glassgate.conformance.matching import ActualPacket, Pair
from glassgate.conformance.model import ExpectedPacket, Vector
from glassgate.conformance.report import differing_fields, effect_told, input_told
from glassgate.conformance.runner import Run, Status, StepRecord, VectorResult
from glassgate.contract.rules import RULES

MARKS = {
    Status.PASS: "✓",
    Status.PASS_ALTERNATIVE: "✓",
    Status.FAIL: "✗",
    Status.ERROR: "!",
    Status.TIMEOUT: "⏱",
    Status.UNSUPPORTED: "–",
    Status.EXPECTED_FAILURE: "✗",
    Status.UNEXPECTED_PASS: "✓",
}
OCTETS_A_ROW = 16
MOST_IN_SIGHT = 20
"""A list of more failures than this is folded, for the matrix tells as much in less room."""


def write_html(runs: Sequence[Run], file: TextIO) -> None:
    """Write the page."""
    file.writelines(f"{line}\n" for line in _page(runs))


def _page(runs: Sequence[Run]) -> Iterator[str]:
    names = ", ".join(run.subject for run in runs)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Glassgate conformance: {escape(names)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>"
    vectors = {result.vector.id: result.vector for run in runs for result in run.results}
    yield "<header>\n<h1>Glassgate conformance</h1>"
    yield (
        f'<p class="lead">{len(vectors)} packet-level vectors, judged octet for octet. Each mark opens its log: '
        "what went in, what was expected by which rule, and what came.</p>\n</header>"
    )
    yield '<section class="subjects">'
    for run in runs:
        yield from _subject(run)
    yield "</section>"
    categories = list(dict.fromkeys(vector.category for vector in vectors.values()))
    links = "".join(f'<a href="#category-{escape(category)}">{escape(category)}</a>' for category in categories)
    yield f'<nav aria-label="Categories">{links}</nav>\n<main>'
    yield from _not_good(runs)
    for category in categories:
        chosen = [vector for vector in vectors.values() if vector.category == category]
        yield from _matrix(category, chosen, runs)
    yield "</main>"
    for number, run in enumerate(runs):
        for result in run.results:
            yield from _log(number, run, result)
    legend = ", ".join(f"{MARKS[status]} {status}" for status in Status)
    yield f"<footer><p>{legend}. A dashed frame: another outcome that is right too.</p></footer>\n</body>\n</html>"


def _style() -> str:
    return (resources.files("glassgate.conformance") / "report.css").read_text(encoding="utf-8")


def _subject(run: Run) -> Iterator[str]:
    word, style = ("good", "ok") if run.is_good else (f"not good: {run.verdict}", "no")
    yield f'<article class="subject"><h3>{escape(run.subject)} {escape(run.version)}</h3>'
    yield f'<p class="{style}">{escape(word)}</p><div class="bar">'
    total = max(1, len(run.results))
    for status in Status:
        if run.counts[status]:
            share = 100 * run.counts[status] / total
            yield f'<i class="{status}" style="width:{share:.2f}%" title="{run.counts[status]} {status}"></i>'
    counts = ", ".join(f"{run.counts[status]} {status}" for status in Status if run.counts[status])
    yield f"</div><p>{counts}</p><p>{escape(run.language)}; {escape(', '.join(run.capabilities))}</p>"
    for canary in run.canaries:
        word = "as it must" if canary.is_alive else f"but must be {canary.wanted}"
        yield f"<p>{escape(canary.name)} came back {canary.result.status}, {word}</p>"
    yield "</article>"


def _not_good(runs: Sequence[Run]) -> Iterator[str]:
    """What needs somebody's attention, before everything else."""
    bad = [(number, run, r) for number, run in enumerate(runs) for r in run.results if not r.status.is_good]
    if bad:
        is_open = " open" if len(bad) <= MOST_IN_SIGHT else ""
        yield f'<details class="bad-list"{is_open}><summary>Not good ({len(bad)})</summary><ul>'
        for number, run, result in bad:
            link = f'<a class="id" href="#{_anchor(number, result)}">{escape(result.vector.id)}</a>'
            yield f"<li>{link} {escape(run.subject)}, {result.status}: {escape(result.message)}</li>"
        yield "</ul></details>"


def _matrix(category: str, vectors: Sequence[Vector], runs: Sequence[Run]) -> Iterator[str]:
    found = [{result.vector.id: result for result in run.results} for run in runs]
    yield f'<h2 id="category-{escape(category)}">{escape(category)} <small>({len(vectors)})</small></h2>'
    heads = "".join(f'<th scope="col" class="cell">{escape(run.subject)}</th>' for run in runs)
    yield f'<table class="matrix"><thead><tr><th scope="col">vector</th>{heads}</tr></thead><tbody>'
    for vector in vectors:
        cells = "".join(_cell(number, results.get(vector.id)) for number, results in enumerate(found))
        title = f'<span class="id">{escape(vector.id)}</span> <span class="title">{escape(vector.title)}</span>'
        yield f"<tr><td>{title}</td>{cells}</tr>"
    yield "</tbody></table>"


def _cell(number: int, result: VectorResult | None) -> str:
    if result is None:
        return '<td class="cell"></td>'
    label = escape(f"{result.vector.id}: {result.status}", quote=True)
    link = f'<a class="mark" href="#{_anchor(number, result)}" aria-label="{label}">{MARKS[result.status]}</a>'
    return f'<td class="cell {result.status}" title="{result.status}">{link}</td>'


def _anchor(number: int, result: VectorResult) -> str:
    return f"log-{number}-{result.vector.id}"


# ── a log ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _log(number: int, run: Run, result: VectorResult) -> Iterator[str]:
    vector = result.vector
    yield f'<section class="log {result.status}" id="{_anchor(number, result)}">'
    yield f'<a class="close" href="#category-{escape(vector.category)}" aria-label="close">✕</a>'
    yield f"<h3>{escape(vector.title)}</h3>"
    about = f"rev {vector.rev}, {vector.result}, by {escape(run.subject)}"
    yield f'<p><span class="id">{escape(vector.id)}</span>, {about}</p>'
    message = f": {escape(result.message)}" if result.message else ""
    yield f'<p class="message">{result.status}{message}</p>'
    for slug in vector.rules:
        rule = RULES[slug]
        cited = f"<span>{slug}, {rule.level}, {escape(rule.citation)}</span>"
        yield f'<p class="rule">{escape(rule.sentence)}<br>{cited}</p>'
    yield f"<p>Expected because of: {escape(vector.source)}</p>"
    if result.failing_pass:
        yield f"<p>In the pass: {escape(result.failing_pass)}</p>"
    yield '<ol class="steps">'
    for record in result.steps:
        yield from _step(record)
    yield "</ol>\n</section>"


def _step(record: StepRecord) -> Iterator[str]:
    pairs = record.judgement.pairs
    good = record.judgement.outcome is not None
    word = f"{len(pairs)} as expected" if pairs else "silence, as expected"
    verdict = f'<span class="ok">{word}</span>' if good else '<span class="no">not as expected</span>'
    time = f'<span class="time">{record.step.at:g} s</span>'
    yield f"<li>{time} {escape(input_told(record.step))} → {verdict}"
    for pair in pairs:
        if pair.is_right and pair.actual is not None:
            yield f'<p class="note">{escape(effect_told(pair.actual))}</p>'
        else:
            yield from _pair(pair)
    for said in record.notes:
        values = ", ".join(f"{name} {value}" for name, value in said.detail.items())
        yield f'<p class="note">says: {escape(said.kind)} because of {escape(said.rule)} {escape(values)}</p>'
    yield "</li>"


def _pair(pair: Pair) -> Iterator[str]:
    yield '<div class="pair">'
    if pair.expected is not None:
        yield f'<p class="ok">expected: {escape(effect_told(pair.expected))}</p>'
    if pair.actual is not None:
        yield f'<p class="no">came: {escape(effect_told(pair.actual))}</p>'
    for difference in pair.differences:
        place = f"{difference.place}: " if difference.place else ""
        yield f'<p class="no">✗ {place}{escape(difference.problem)}</p>'
    expected = pair.expected if isinstance(pair.expected, ExpectedPacket) else None
    actual = pair.actual if isinstance(pair.actual, ActualPacket) else None
    if expected is not None and actual is not None:
        fields = differing_fields(expected, actual, pair.differences)
        if fields:
            rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in fields)
            yield f'<table class="fields"><tr><th>field</th><th>expected</th><th>came</th></tr>{rows}</table>'
    marked = {index for difference in pair.differences for index in range(difference.start, difference.end)}
    for name, packet in (("expected", expected), ("came", actual)):
        if packet is not None:
            yield f"<pre>{name}\n{_octets(packet.data, marked)}</pre>"
    yield "</div>"


def _octets(data: bytes, marked: set[int]) -> str:
    """Rows of octets in hexadecimal, those that differ marked."""
    rows = []
    for start in range(0, len(data), OCTETS_A_ROW):
        row = (
            f"<mark>{data[index]:02x}</mark>" if index in marked else f"{data[index]:02x}"
            for index in range(start, min(start + OCTETS_A_ROW, len(data)))
        )
        rows.append(f"{start:04x}  {' '.join(row)}")
    return "\n".join(rows)
