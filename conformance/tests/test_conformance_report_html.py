"""The HTML page: whole without network and script, every cell with its log, nothing of a subject taken as markup."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from glassgate.conformance.matching import ActualPacket, judge
from glassgate.conformance.model import (
    ExpectedPacket,
    Outcome,
    PacketInput,
    Result,
    StartInput,
    Step,
    Vector,
    VectorPort,
)
from glassgate.conformance.report_html import write_html
from glassgate.conformance.runner import Run, Status, StepRecord, VectorResult
from glassgate.conformance.subjects.subject import Said

HOSTILE = '<script>alert("x")</script>&'
FRAME = bytes.fromhex("ffffffffffff02000a26020508060001080006040001") + bytes(20)
VOID = {"meta", "br", "link", "img", "input", "hr"}


def vector(identity: str, category: str = "arp") -> Vector:
    given = PacketInput(VectorPort.INTERNAL, FRAME)
    steps = (
        Step(0.0, StartInput(), (Outcome(),)),
        Step(3.0, given, (Outcome((ExpectedPacket(VectorPort.INTERNAL, FRAME),)),)),
    )
    return Vector(identity, HOSTILE, ("s7-reply",), (), Result.VALID, "RFC 826", steps, category=category)


def result(of: Vector, status: Status, came: bytes = FRAME) -> VectorResult:
    effects = (ActualPacket(VectorPort.INTERNAL, came),)
    judgement = judge(of.steps[1], effects, {})
    notes = (Said("dropped", HOSTILE, {HOSTILE: HOSTILE}),)
    records = (StepRecord(1, of.steps[1], FRAME, effects, notes, judgement),)
    return VectorResult(of, status, HOSTILE, steps=records)


def runs() -> list[Run]:
    one, two, other = vector("one"), vector("two"), vector("three", "framing")
    first = (result(one, Status.PASS), result(two, Status.FAIL, FRAME[:-1] + b"\1"), result(other, Status.UNSUPPORTED))
    second = (result(one, Status.PASS_ALTERNATIVE), result(two, Status.TIMEOUT))
    return [Run(HOSTILE, "1", "Python", (), (), first), Run("second", "2", "C", ("session",), (), second)]


class Reader(HTMLParser):
    """Checks that elements nest, and keeps what the tests ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.elements: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.text += data


def page() -> str:
    file = io.StringIO()
    write_html(runs(), file)
    return file.getvalue()


def read() -> Reader:
    reader = Reader()
    reader.feed(page())
    reader.close()
    return reader


def test_elements_nest_and_identifiers_are_unique() -> None:
    reader = read()
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)


def test_it_needs_neither_network_nor_script() -> None:
    reader = read()
    assert not {"script", "link", "img", "iframe"} & set(reader.elements)
    assert all(link.startswith("#") for link in reader.links)
    assert "url(" not in page()
    assert "@import" not in page()


def test_every_link_leads_somewhere_and_every_result_has_a_log() -> None:
    reader = read()
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert {f"log-0-{name}" for name in ("one", "two", "three")} | {"log-1-one", "log-1-two"} <= set(reader.ids)


def test_what_a_subject_says_is_text() -> None:
    assert HOSTILE in read().text
    assert "<script" not in page()


def test_a_failure_is_shown_with_the_octets_that_differ() -> None:
    assert "is 01, not 00" in read().text
    assert "<mark>01</mark>" in page()
    assert "Not good (2)" in read().text


@pytest.mark.parametrize(("times", "folded"), [(1, False), (20, True)])
def test_a_long_list_of_failures_is_folded(times: int, folded: bool) -> None:
    one, *_ = runs()
    bad = [result for result in one.results if not result.status.is_good]
    file = io.StringIO()
    write_html([replace(one, results=tuple(bad * times * 2))], file)
    assert ('<details class="bad-list">' in file.getvalue()) is folded
    assert ('<details class="bad-list" open>' in file.getvalue()) is not folded


def test_a_vector_that_nobody_supports_stays_on_the_page() -> None:
    assert "three" in read().text
    everywhere = [
        replace(run, results=tuple(replace(r, status=Status.UNSUPPORTED) for r in run.results)) for run in runs()
    ]
    file = io.StringIO()
    write_html(everywhere, file)
    assert file.getvalue().count('class="cell unsupported"') == 5


@pytest.mark.chromium
def test_a_browser_shows_the_log_that_the_address_names_and_no_other(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        message = "no headless Chromium is installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    # A probe in the copy for this test alone: it writes into the title which logs are displayed.
    probe = (
        "<script>onload = () => document.title = [...document.querySelectorAll('.log')]"
        ".filter(log => getComputedStyle(log).display != 'none').map(log => log.id).join(' ')</script></body>"
    )
    path = tmp_path / "page.html"
    path.write_text(page().replace("</body>", probe), encoding="utf-8")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    for fragment, title in (("", "<title></title>"), ("#log-0-two", "<title>log-0-two</title>")):
        shown = subprocess.run(
            [chromium, *arguments, f"{path.as_uri()}{fragment}"], capture_output=True, text=True, timeout=60, check=True
        )
        assert title in shown.stdout
