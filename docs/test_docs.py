"""The pages build without a warning, have every rule and vector, link to what exists, and show in a browser."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag
from xml.etree import ElementTree

import pytest

from glassgate.conformance import cli, model
from glassgate.contract import GatewayConfig
from glassgate.contract.rules import RULES
from glassgate.reference.tcp import states

HERE = Path(__file__).parent
ROOT = HERE.parent
TEXTS = sorted(path for folder in (".", "docs", "tutorials", "conformance", "reference", "optimized")
               for path in (ROOT / folder).glob("*.md"))  # fmt: skip
PAGES = sorted(path.relative_to(HERE).with_suffix(".html").as_posix() for path in HERE.rglob("*.md"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """The anchors and links of a page, and what a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.headings = 0
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        for name in ("id", "name"):
            if (anchor := named.get(name)) is not None:
                self.anchors.add(anchor)
        if tag == "a" and (link := named.get("href")) is not None:
            self.links.add(link)
        self.headings += tag == "h1"


# ── every page ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_there_with_one_title(page: str, html: Path) -> None:
    assert Page(html / page).headings == 1


def test_no_page_has_a_table_of_contents_in_its_text(html: Path) -> None:
    # The theme shows one beside the page, and a red error in the place of any other.
    assert [page for page in PAGES if re.search(r'class="[^"]*\bcontents\b', (html / page).read_text("utf-8"))] == []


def test_every_link_leads_to_a_page_and_an_anchor_that_exist(html: Path) -> None:
    pages = {path: Page(path) for path in html.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            address, anchor = urldefrag(unquote(link))
            target = (path.parent / address).resolve() if address else path
            if target not in pages:
                if not target.exists():
                    broken.append(f"{path.relative_to(html)}: {link}")
            elif anchor and anchor not in pages[target].anchors:
                broken.append(f"{path.relative_to(html)}: {link}")
    assert broken == []


def anchors_of(text: str) -> set[str]:
    """What a forge calls the headings of a Markdown page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere_where_the_sources_are_read(text: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", text.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        address, anchor = urldefrag(link)
        target = text.parent / address if address else text
        if not re.match(r"[a-z]+:", link):
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target.read_text("utf-8")), link


@pytest.mark.parametrize("picture", sorted(path.name for path in (HERE / "_static").glob("*.svg")))
def test_a_picture_stands_alone_too(picture: str) -> None:
    root = ElementTree.parse(HERE / "_static" / picture).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{http://www.w3.org/2000/svg}title") is not None


# ── pages made from the code ──────────────────────────────────────────────────────────────────────────────────────────


def test_every_rule_has_its_anchor_sentence_and_citation(html: Path) -> None:
    path = html / "rules.html"
    assert Page(path).anchors.issuperset(RULES)
    shown = " ".join(unescape(re.sub(r"<[^>]+>", "", path.read_text("utf-8"))).split())
    for rule in RULES.values():
        for words in (rule.sentence, rule.citation):
            assert _plain(words) in _plain(shown), rule.slug


def _plain(words: str) -> str:
    """Without what typography makes of quotation marks and apostrophes."""
    return re.sub(r"[\"'“”‘’]", "", words)


def test_every_vector_has_its_anchor(html: Path) -> None:
    ids = {vector.id for file in model.load_packaged() for vector in file.vectors}
    assert Page(html / "vectors.html").anchors.issuperset(ids)


def test_a_rule_leads_to_the_lines_that_cite_it(html: Path) -> None:
    text = (html / "rules.html").read_text("utf-8")
    entry = text[text.index('id="s17-expired"') : text.index('id="s17-decrement"')]
    assert re.search(r'href="source/reference/forwarding\.html#L-\d+"', entry)
    assert re.search(r'href="source/optimized/[a-z_]+\.html#L-\d+"', entry)
    assert 'href="vectors.html#' in entry


def test_every_member_of_the_configuration_is_on_its_page_with_a_meaning(html: Path) -> None:
    text = (html / "configuration.html").read_text("utf-8")
    rows = re.findall(r"<tr[^>]*>\s*<td><p><code[^>]*>(?:<span[^>]*>)?([a-z_]+)(.*?)</tr>", text, re.DOTALL)
    meanings = {name: re.sub(r"<[^>]+>", "", cells.rsplit("<td>", 1)[-1]).strip() for name, cells in rows}
    assert set(GatewayConfig.__slots__) <= set(meanings)
    assert [name for name, meaning in meanings.items() if not meaning] == []


def test_the_pictures_of_state_machines_have_every_state_and_arrow(html: Path) -> None:
    text = (html / "state-machines.html").read_text("utf-8")
    pictures = re.findall(r'<svg class="machine".*?</svg>', text, re.DOTALL)
    assert len(pictures) == 3
    assert all(f">{state.value}</text>" in pictures[0] for state in states.State)
    listed = {
        (source, target) for (source, event), target in states.TRANSITIONS.items() if event not in states._ANY_TIME
    }
    assert pictures[0].count('class="tip"') == len(listed)


def test_every_command_has_its_help(html: Path) -> None:
    anchors = Page(html / "commands.html").anchors
    assert anchors.issuperset(f"glassgate-{name}" for name in cli.COMMANDS)


# ── in a browser ──────────────────────────────────────────────────────────────────────────────────────────────────────


def browse(address: str, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Let a headless Chromium load a page."""
    if CHROMIUM is None:
        missing = "there is no Chromium in the path"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        *options,
        address,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)


def colours(png: bytes) -> int:
    """How many different octets the rows of a PNG hold: a page without content has very few."""
    place, data = 8, b""
    while place < len(png):
        length = struct.unpack_from(">I", png, place)[0]
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += 12 + length
    return len(set(zlib.decompress(data)))


@pytest.mark.chromium
@pytest.mark.parametrize("page", ["index.html", "way-of-a-packet.html", "rules.html"])
def test_a_page_shows_in_a_browser_without_complaint(page: str, html: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    done = browse((html / page).as_uri(), tmp_path / "profile", f"--screenshot={picture}", "--window-size=1300,1000")
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert colours(picture.read_bytes()) > 100


@pytest.mark.chromium
def test_the_picture_of_the_network_has_a_size(html: Path, tmp_path: Path) -> None:
    probe = tmp_path / "probe.html"
    text = (html / "index.html").read_text("utf-8").replace("_static/", f"{(html / '_static').as_uri()}/")
    script = (
        "const box = document.querySelector('svg.gg-picture').getBoundingClientRect();"
        "document.title = `${box.width > 400} ${box.height > 150}`;"
    )
    probe.write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    done = browse(probe.as_uri(), tmp_path / "profile", "--dump-dom", "--window-size=1300,1000")
    assert "<title>true true</title>" in done.stdout
