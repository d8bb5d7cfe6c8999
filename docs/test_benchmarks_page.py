"""The tables and pictures of the page of benchmarks are those of the measurements that lie beside it."""

from __future__ import annotations

import re
from pathlib import Path

from glassgate.conformance.bench import pages
from glassgate.conformance.bench.read import read

HERE = Path(__file__).parent
MEASURED = HERE / "benchmarks"


def test_each_table_and_picture_is_what_make_bench_tables_writes() -> None:
    found = read(sorted(MEASURED.glob("*.json")))
    tables = {f"{name}.markdown": text for name, text in pages.tables(found).items()}
    assert tables == {file.name: file.read_text("utf-8") for file in MEASURED.glob("*.markdown")}
    for name, picture in pages.pictures(found).items():
        assert (HERE / "_static" / f"bench-{name}.svg").read_text("utf-8") == picture


def test_the_page_shows_every_table_and_picture() -> None:
    text = (HERE / "benchmarks.md").read_text("utf-8")
    shown = set(re.findall(r"^```\{include\} benchmarks/(.+)$", text, re.MULTILINE))
    assert shown == {file.name for file in MEASURED.glob("*.markdown")}
    pictures = set(re.findall(r"^:file: _static/(bench-.+)$", text, re.MULTILINE))
    assert pictures == {file.name for file in (HERE / "_static").glob("bench-*.svg")}
