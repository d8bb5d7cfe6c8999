"""``glassgate bench core``: samples are taken in turns, what is measured did its work, ratios are computed right.

Nothing here looks at how long anything took.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import dpkt
import pytest

from glassgate.conformance import cli
from glassgate.conformance.bench import core, figures, plot, report, traffic
from glassgate.conformance.bench.figures import BenchError, Contender, Figure
from glassgate.conformance.subjects.discovery import find
from glassgate.contract import Implementation

QUICK = ["--rounds", "2", "--milliseconds", "1"]
FAST = Figure("upstream", "fast", "batch", 64, (1e-6, 2e-6, 3e-6))
SLOW = Figure("upstream", "slow", "contract", 64, (10e-6, 20e-6, 90e-6))


def contender(name: str, octets_out: int = 1, log: list[str] | None = None) -> Contender:
    """Somebody whose work is to say that one octet came out for each packet."""

    def prepare(packets: int) -> figures.Work:
        if log is not None:
            log.append(name)
        return lambda: packets * octets_out

    return Contender("case", name, "", prepare, lambda packets: packets)


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everybody_has_a_turn_in_each_round_and_each_round_begins_with_another():
    log: list[str] = []
    found = list(figures.take_turns([contender("a", log=log), contender("b", log=log)], rounds=4, seconds=0))
    assert "".join(log) == "aabb" + "ab" + "ba" + "ab" + "ba"
    assert [(figure.subject, len(figure.samples)) for figure in found] == [("a", 4), ("b", 4)]


def test_a_subject_that_did_not_do_its_work_is_no_figure():
    with pytest.raises(BenchError, match="lazy, case: 0 octets came out, not 64"):
        list(figures.take_turns([contender("lazy", octets_out=0)], rounds=1, seconds=0))


def test_a_figure_has_median_quartiles_and_rate():
    figure = replace(SLOW, samples=(5e-6, 1e-6, 2e-6, 4e-6, 3e-6))
    assert figure.median == 3e-6
    assert figure.quartiles == pytest.approx((2e-6, 4e-6))
    assert figure.rate == pytest.approx(333_333.3, rel=1e-4)
    assert replace(SLOW, samples=(7e-6,)).quartiles == (7e-6, 7e-6)


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds_and_not_the_ratio_of_medians():
    slow = replace(SLOW, samples=(10e-6, 30e-6, 6e-6))  # ratios 10, 15, 2; the medians are 10 and 2 µs
    assert slow.cost_against(FAST) == pytest.approx(10)
    assert FAST.cost_against(FAST) == 1


# ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ratio_columns_follow_from_the_samples():
    limit = Figure("upstream", "limit", "", 64, (0.5e-6, 0.5e-6, 0.5e-6))
    shown = report.core_json({}, [limit, SLOW, FAST], limit="limit", base="slow")["figures"]
    assert [figure["cost_times_limit"] for figure in shown] == pytest.approx([1, 40, 4])
    assert [figure["rate_times_base"] for figure in shown] == pytest.approx([20 * 2, 1, 10])
    assert [figure["packets_a_second"] for figure in shown] == [2_000_000, 50_000, 500_000]
    assert shown[1]["microseconds"] == {
        "median": 20.0,
        "first_quartile": 15.0,
        "third_quartile": 55.0,
        "samples": [10.0, 20.0, 90.0],
    }


def test_without_limit_or_base_in_a_case_there_is_no_ratio():
    (shown,) = report.core_json({}, [SLOW], limit="limit", base="fast")["figures"]
    assert (shown["cost_times_limit"], shown["rate_times_base"]) == (None, None)


def test_the_picture_has_a_bar_a_figure_and_is_xml():
    root = ElementTree.fromstring(plot.core([SLOW, FAST], "limit"))
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 2
    assert float(bars[0].attrib["width"]) > float(bars[1].attrib["width"]) > 0


# ── what is measured ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("case", core.cases(), ids=lambda case: case.name)
def test_every_piece_from_inside_is_a_valid_packet_to_the_gateway(case: core.Case):
    if case.name.startswith("downstream"):
        return
    for frame in case.pieces(64):
        packet = dpkt.ethernet.Ethernet(frame).data
        assert isinstance(packet, dpkt.ip.IP)
        given, packet.sum = packet.sum, 0
        assert dpkt.ip.IP(bytes(packet)).sum == given


@pytest.mark.parametrize("name", ["reference", "optimized"])
@pytest.mark.parametrize("case", core.cases(), ids=lambda case: case.name)
def test_each_gateway_does_all_its_work_by_each_interface(case: core.Case, name: str):
    for each in core.contenders(case, [find(name)]):
        assert each.prepare(64)() == each.octets(64), each.name


def test_a_gateway_without_batches_is_measured_by_the_contract_alone():
    plain = replace(find("optimized"), batches=None)
    names = [each.name for each in core.contenders(core.upstream(64), [plain])]
    assert names == ["bare cipher", "optimized contract"]


def test_the_far_end_of_the_records_is_the_configurations():
    session = traffic.configuration().tunnel.session
    assert session is not None
    assert (session.receive.key, session.receive.implicit_iv) == (traffic.BACK_KEY, traffic.BACK_IMPLICIT_IV)


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_prints_a_table_and_writes_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    json_file, svg_file = tmp_path / "core.json", tmp_path / "core.svg"
    arguments = ["bench", "core", "--only", "upstream 64", *QUICK, "--json", str(json_file), "--svg", str(svg_file)]
    assert cli.run(arguments) == 0
    assert "optimized batch" in capsys.readouterr().out
    document = json.loads(json_file.read_text("utf-8"))
    assert (document["schema"], document["bench"], document["base"]) == (report.SCHEMA, "core", "reference")
    assert set(document["environment"]) == set(report.environment())
    names = [(figure["subject"], figure["interface"]) for figure in document["figures"]]
    assert names == [
        ("bare cipher", None),
        ("reference", "contract"),
        ("optimized", "contract"),
        ("optimized", "batch"),
    ]
    for figure in document["figures"]:
        assert len(figure["microseconds"]["samples"]) == 2
        assert min(figure["microseconds"]["samples"]) > 0
        assert figure["packets_a_second"] > 0
        assert figure["rate_times_base"] > 0
        assert figure["cost_times_limit"] > 0
    ElementTree.parse(svg_file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gateway", "nobody"], "bench: no gateway is called 'nobody'"),
        (["--only", "sideways"], "bench: no case holds 'sideways'"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["bench", "core", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


def test_a_gateway_that_forwards_nothing_is_told_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    deaf = Implementation("deaf", "1", find("optimized").capabilities, lambda config, entropy: _Deaf())
    monkeypatch.setattr("glassgate.conformance.bench.command.find", lambda name: deaf)
    assert cli.run(["bench", "core", "--gateway", "deaf", "--only", "upstream 64", *QUICK]) == 2
    assert "deaf contract, upstream 64: 0 octets came out, not 5760" in capsys.readouterr().err


class _Deaf:
    """A gateway that hears nothing."""

    deadline = None

    def start(self, now: float) -> list[object]:
        return []

    def tick(self, now: float) -> list[object]:
        return []

    def flow(self, event: object, now: float) -> list[object]:
        return []

    def receive(self, port: object, data: object, now: float) -> list[object]:
        return []
