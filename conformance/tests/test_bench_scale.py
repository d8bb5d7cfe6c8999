"""``glassgate bench scale``: states are really there, lines are really drawn."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from glassgate.conformance import cli
from glassgate.conformance.bench import report, scale, traffic
from glassgate.conformance.bench.figures import BenchError, Figure
from glassgate.conformance.bench.scale import ScaleFigure, State
from glassgate.conformance.subjects.discovery import find
from glassgate.contract import Port, Transmit

NAMES = ("reference", "optimized")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state", scale.STATES, ids=lambda state: state.name)
def test_packets_of_each_state_are_answered(state: State, name: str):
    implementation = find(name)
    if state.requires is not None and state.requires not in implementation.capabilities:
        return
    for count in (1, 30):
        made = scale.contender(state, implementation, count)
        for _ in range(2):  # the state lives from turn to turn
            assert made.prepare(scale.PERIOD)() == made.octets(scale.PERIOD)


@pytest.mark.parametrize("name", NAMES)
def test_every_host_that_the_gateway_knows_gets_its_packets(name: str):
    filled = scale.neighbours(find(name), 20)
    frames = [
        effect.data
        for packet in itertools.islice(filled.packets, 40)
        for effect in filled.gateway.receive(filled.port, packet, traffic.READY)
        if isinstance(effect, Transmit)
    ]
    assert len({frame[:6] for frame in frames}) == 20
    assert {frame[12:14] for frame in frames} == {b"\x08\x00"}


@pytest.mark.parametrize("name", NAMES)
def test_a_timer_runs_for_each_host_that_is_asked_for(name: str):
    filled = scale.timers(find(name), 30)
    requests = filled.gateway.tick(traffic.READY + 1.0)
    assert sum(isinstance(effect, Transmit) and effect.port is Port.INTERNAL for effect in requests) == 29


@pytest.mark.parametrize("name", NAMES)
def test_more_connections_than_a_host_has_ports_come_from_several(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scale, "PORTS", 10)
    made = scale.contender(scale.STATES[3], find(name), 25)
    assert made.prepare(scale.PERIOD)() == made.octets(scale.PERIOD)


def test_a_gateway_that_takes_no_connection_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scale, "ECHO_PORT", 0)
    with pytest.raises(BenchError, match="TCP connections: 0 frames answer SYN number 0, not one"):
        scale.contender(scale.STATES[3], find("reference"), 1)


def test_lines_grow_by_tens_up_to_what_is_wanted():
    few = State("few", scale.neighbours, most=100)
    assert scale.sizes(few, 100_000, full=False) == [1, 10, 100]
    assert scale.sizes(few, 1000, full=True) == [1, 10, 100, 1000]


def test_a_line_ends_where_filling_would_take_too_long():
    counts = [1, 10, 100]
    assert len(scale._standing(scale.STATES[0], find("optimized"), counts, patience=0)) == 1
    assert len(scale._standing(scale.STATES[0], find("optimized"), counts, patience=60)) == 3


def test_growth_is_the_cost_at_most_entries_in_times_that_at_ten():
    line = {count: Figure(str(count), "x", "", 1, (cost, cost)) for count, cost in ((1, 9e-6), (10, 2e-6), (100, 3e-6))}
    assert report.growth(line) == pytest.approx(1.5)
    assert report.growth({1: line[1], 10: line[10]}) is None


def test_json_names_state_and_entries():
    figure = Figure("10", "x", "contract", 128, (2e-6,))
    (shown,) = report.scale_json({}, [ScaleFigure("ARP entries", 10, figure)], [])["figures"]
    assert (shown["case"], shown["entries"], shown["microseconds"]["median"]) == ("ARP entries", 10, 2.0)


def test_the_command_prints_tables_and_writes_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    json_file, svg_file = tmp_path / "scale.json", tmp_path / "scale.svg"
    quick = ["--gateway", "optimized", "--largest", "10", "--rounds", "1", "--packets", "5000"]
    assert cli.run(["bench", "scale", *quick, "--json", str(json_file), "--svg", str(svg_file)]) == 0
    output = capsys.readouterr().out
    assert "ARP entries" in output
    assert "resident" in output
    assert "growth" in output
    document = json.loads(json_file.read_text("utf-8"))
    assert document["bench"] == "scale"
    assert {figure["entries"] for figure in document["figures"]} == {1, 10}
    assert all(figure["microseconds"]["median"] > 0 for figure in document["figures"])
    assert [one["after"]["packets"] for one in document["memory"]] == [5000, 5000]
    assert [one["interface"] for one in document["memory"]] == ["contract", "batch"]
    assert ElementTree.parse(svg_file).getroot().find("{http://www.w3.org/2000/svg}polyline") is not None


def test_one_state_can_be_asked_for_without_the_question_of_memory(capsys: pytest.CaptureFixture[str]):
    quick = ["--gateway", "optimized", "--largest", "1", "--rounds", "1", "--only", "ARP"]
    assert cli.run(["bench", "scale", *quick]) == 0
    output = capsys.readouterr().out
    assert ("ARP entries" in output, "TCP" in output, "resident" in output) == (True, False, False)


def test_a_state_that_nobody_has_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["bench", "scale", "--only", "moods"]) == 2
    assert "bench: no state holds 'moods'; the first is 'ARP entries'" in capsys.readouterr().err
