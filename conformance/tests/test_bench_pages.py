"""Tables, pictures and verdicts for the page, from what was written as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from glassgate.conformance import cli
from glassgate.conformance.bench import aims, pages, report, samples, sheets
from glassgate.conformance.bench.figures import BenchError, Figure
from glassgate.conformance.bench.memory import Memory, MemoryFigure
from glassgate.conformance.bench.read import read
from glassgate.conformance.bench.samples import Case, LabSample, Setting
from glassgate.conformance.bench.scale import ScaleFigure
from glassgate.conformance.bench.sheets import Sheet

SETTING = Setting("on", False)
AROUND = report.environment() | {"processors": 2, "load_average": 0.5}
CORE = (
    Figure("upstream 1400", "bare cipher", "", 64, (1e-6, 1e-6, 1e-6)),
    Figure("upstream 1400", "reference", "contract", 64, (40e-6, 44e-6, 48e-6)),
    Figure("upstream 1400", "optimized", "batch", 64, (3e-6, 4e-6, 6e-6)),
)
LINE = [
    ScaleFigure("ARP entries", entries, Figure(str(entries), "optimized", "contract", 64, (cost, cost)))
    for entries, cost in ((1, 2e-6), (10, 2e-6), (1000, 3e-6))
]
HELD = MemoryFigure("optimized", "batch", 10_000, Memory(2000, 8, 1000, 4_000_000), Memory(10_000, 8, 1001, 4_000_000))


def turns(gateway: str, case: Case, costs: Sequence[float], pings: tuple[float, ...] = ()) -> list[LabSample]:
    return [LabSample(gateway, case, 1000, 1000, 1400, 0.5, cost * 1e-3, None, pings) for cost in costs]


LAB = [
    *turns("openvpn", aims.TO_SINK, (10, 10, 12)),
    *turns("optimized", aims.TO_SINK, (1, 2, 1)),
    *turns("openvpn", aims.AT_EQUAL_LOAD[0], (10,), (1.0, 4.0)),
    *turns("optimized", aims.AT_EQUAL_LOAD[0], (10,), (2.0, 4.0)),
]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    contents = {
        "core": report.core_json(AROUND, CORE, "bare cipher", "reference"),
        "scale": report.scale_json(AROUND, LINE, [HELD]),
        "lab": report.lab_json(AROUND, LAB, "openvpn", SETTING),
    }
    return [write(tmp_path / f"{name}.json", content) for name, content in contents.items()]


def write(file: Path, content: dict[str, Any]) -> Path:
    file.write_text(json.dumps(content), "utf-8")
    return file


def test_what_was_written_is_read_again(files: list[Path]):
    found = read(files)
    assert [figure.name for figure in found.core.values()] == [figure.name for figure in CORE]
    assert [figure.samples for figure in found.core.values()] == [pytest.approx(figure.samples) for figure in CORE]
    assert [one.entries for one in found.scale.values()] == [1, 10, 1000]
    assert list(found.memory.values()) == [HELD]
    assert found.samples(SETTING) == LAB
    assert found.samples(Setting("off", False)) == []


def test_a_later_file_replaces_what_it_repeats_and_leaves_the_rest(files: list[Path], tmp_path: Path):
    quicker = Figure("upstream 1400", "optimized", "batch", 64, (1e-6,))
    again = write(tmp_path / "again.json", report.core_json(AROUND, [quicker], "bare cipher", "reference"))
    found = read([*files, again])
    assert len(found.core) == 3
    assert found.core["upstream 1400", "optimized batch"].samples == pytest.approx((1e-6,))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "0.9", "bench": "core"}', '{"schema": "1.1", "bench": "x"}']
)
def test_a_file_that_is_something_else_is_named(text: str, tmp_path: Path):
    file = tmp_path / "else.json"
    file.write_text(text, "utf-8")
    with pytest.raises(BenchError, match=r"else\.json: not what bench --json writes"):
        read([file])


def test_the_figure_that_counts_is_the_least_disturbed_of_the_nearest_to_real(files: list[Path], tmp_path: Path):
    for setting, best in ((Setting("off", True), SETTING), (Setting("on", True), Setting("on", True))):
        files.append(write(tmp_path / f"{setting.word}.json", report.lab_json(AROUND, LAB, "openvpn", setting)))
        figure = read(files).figure(aims.TO_SINK, "openvpn")
        assert figure is not None
        assert figure[0] == best
    assert read(files).usual_setting() == SETTING
    assert read(files).figure(aims.TO_SINK, "nobody") is None
    assert set(pages.tables(read(files))) > {"lab-offloads-on", "lab-offloads-off-isolated", "lab-offloads-on-isolated"}


def test_a_sheet_is_a_table_of_markdown():
    sheet = Sheet("title", ("a",), ("b", "c"), [("x | y", "1 000", "2"), ("", "3", "4")])
    assert sheets.markdown(sheet) == "| a | b | c |\n|---|---:|---:|\n| x \\| y | 1\u00a0000 | 2 |\n|  | 3 | 4 |\n"


def test_aims_are_judged_by_the_median_of_the_rounds(files: list[Path]):
    judged = {(aim.words, aim.measured_as): aim for aim in aims.aims(read(files))}
    cpu = judged["upstream at saturation: packets a CPU second, × openvpn", "sink upstream packets"]
    assert cpu.ratios == pytest.approx((10, 5, 12))
    assert (cpu.median, cpu.is_reached) == (pytest.approx(10), True)
    rate = judged["upstream at saturation: packets a second, × openvpn", "sink upstream packets"]
    assert (rate.median, rate.is_reached) == (1, False)
    median = judged["latency under load, median, × openvpn", "server upstream packets"]
    assert (median.median, median.is_reached) == (2, False)
    assert judged["latency under load, 99 %, × openvpn", "server upstream packets"].is_reached
    cost = judged["a packet in process, by batch: cost, × bare cipher", "core upstream 1400"]
    assert (cost.median, cost.is_reached) == (pytest.approx(4), True)
    times = judged["a packet in process, by batch: rate, × reference", "core upstream 1400"]
    assert (times.median, times.is_reached) == (pytest.approx(11), True)
    flat = judged["flat over ARP entries: cost at 1 000, × that at 10", "scale"]
    assert (flat.median, flat.is_reached) == (pytest.approx(1.5), False)
    assert judged["memory after 10 000 packets, by batch: pieces of memory, × early", "scale"].is_reached


def test_an_aim_without_figures_is_not_listed(files: list[Path]):
    only_core = aims.sheet(read(files[:1]))
    assert [row[1] for row in only_core.rows] == ["core upstream 1400"] * 2
    assert all(row[-1] == "reached" for row in only_core.rows)


def test_every_table_says_where_its_figures_come_from(files: list[Path]):
    made = pages.tables(read(files))
    assert set(made) == {"core", "lab-offloads-on", "latency-offloads-on", "scale", "memory", "aims"}
    for name, text in made.items():
        assert ("load average when it began: 0.5" in text) is (name != "aims"), name


def test_the_command_prints_markdown_or_writes_files_and_pictures(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["bench", "tables", *map(str, files)]
    assert cli.run(arguments) == 0
    assert "| sink upstream packets | openvpn |" in capsys.readouterr().out
    assert cli.run([*arguments, "--to", str(tmp_path / "tables"), "--pictures", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert "not\u00a0reached" in (tmp_path / "tables" / "aims.markdown").read_text("utf-8")
    for name in ("core", "scale", "lab"):
        assert ElementTree.parse(tmp_path / f"bench-{name}.svg").getroot().tag.endswith("svg")


def test_a_wrong_file_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "x.json"
    file.write_text("{}", "utf-8")
    assert cli.run(["bench", "tables", str(file)]) == 2
    complaint = capsys.readouterr().err
    assert f"bench: {file}: not what bench --json writes (KeyError: 'schema')" in complaint
    assert complaint.count("\n") == 1


def test_all_bounds_of_the_lab_are_about_cases_that_are_measured():
    assert {aims.TO_SINK, aims.FROM_SOURCE, aims.BULK_FROM_SOURCE, aims.BULK} <= set(samples.CASES)
