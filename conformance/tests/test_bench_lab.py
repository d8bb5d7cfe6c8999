"""``glassgate bench lab``: plumbing, readings and ratios, from given samples. How fast anything is nobody asks here."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from xml.etree import ElementTree

import dpkt
import pytest

from glassgate.conformance import cli
from glassgate.conformance.bench import far, isolation, laboratory, plot, report, samples, traffic, watcher
from glassgate.conformance.bench.figures import BenchError
from glassgate.conformance.bench.samples import Case, LabFigure, LabSample, Setting, Subject
from glassgate.conformance.bench.sender import Sent
from glassgate.conformance.bench.watcher import Burst, Received
from glassgate.conformance.far_end import StreamFraming
from glassgate.conformance.lab import state, topology
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import introduce

PACKETS = Case(samples.SERVER, samples.UPSTREAM, samples.PACKETS)


def sample(gateway: str, delivered: int, cpu: float, seconds: float = 2.0, pings: tuple[float, ...] = ()) -> LabSample:
    return LabSample(gateway, PACKETS, 1000, delivered, samples.OCTETS, seconds, cpu, cpu / 2, pings)


SLOW = (sample("slow", 500, 0.010, pings=(1.0, 9.0)), sample("slow", 800, 0.008, pings=(2.0,)))
QUICK = (sample("quick", 1000, 0.005, pings=(0.5,)), sample("quick", 1000, 0.002, pings=(0.25,)))


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sample_has_rate_and_processor_time_a_packet():
    assert SLOW[0].rate == 250
    assert SLOW[0].cpu_microseconds == pytest.approx(20)
    assert sample("deaf", 0, 1.0).cpu_microseconds == float("inf")
    assert SLOW[0].megabits == pytest.approx(250 * 1400 * 8 / 1e6)
    assert SLOW[0].busy == pytest.approx(0.005)


def test_ratios_are_medians_of_the_rounds_ratios():
    rate, per_cpu = LabFigure(QUICK).against(LabFigure(SLOW))
    assert rate == pytest.approx((2 + 1.25) / 2)
    assert per_cpu == pytest.approx((20 / 5 + 10 / 2) / 2)


def test_what_is_lost_and_all_pings_belong_to_a_figure():
    figure = LabFigure(SLOW)
    assert figure.lost == pytest.approx(0.35)
    assert LabFigure((sample("x", 1001, 0.1),)).lost == 0  # one that strayed here
    assert figure.pings_ms == (1.0, 9.0, 2.0)


def test_latency_is_compared_round_by_round():
    quick, slow = LabFigure(QUICK), LabFigure(SLOW)
    assert quick.latency_against(slow, 0.5) == pytest.approx((0.5 / 1.0 + 0.25 / 2.0) / 2)
    assert quick.latency_against(slow, 0.99) == pytest.approx((0.5 / 9.0 + 0.25 / 2.0) / 2)
    assert quick.latency_against(LabFigure((sample("x", 1, 1.0), sample("x", 1, 1.0))), 0.5) is None


def test_who_was_busy_can_be_seen():
    assert LabFigure(SLOW).busy == pytest.approx(0.0045)
    assert LabFigure(SLOW).server_busy == pytest.approx(0.00225)


def test_segments_are_counted_by_their_octets_however_they_were_left_together():
    headers = 14 + 20 + 20
    assert Received(3, 3 * (headers + 1360)).packets(headers, 1360) == 3
    assert Received(1, headers + 45 * 1360).packets(headers, 1360) == 45
    assert Received(3, headers + 45 * 1360 + 2 * 42).packets(headers, 1360) == 45  # two ARP frames among them
    assert Received(3, 5000).packets(headers, 0) == 3
    assert (Received(5, 900) - Received(2, 500)) == Received(3, 400)


class Clock:
    """Time that passes only while somebody waits."""

    now = 100.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("come", "burst"),
    [
        ([0, 0, 10, 40, 100], Burst(100.004, 100.008, 100)),  # all came
        ([0, 10, 40, 40], Burst(100.002, 100.004, 40)),  # some were lost: nothing more for a while
        ([0], Burst(110.002, 110.004, 0)),  # nothing at all
    ],
)
def test_a_burst_is_watched_from_its_first_packet_to_its_last(come: list[int], burst: Burst):
    clock = Clock()
    seen = iter(come)
    found = watcher.watch(lambda: next(seen, come[-1]), 100, lambda: clock.now, clock.wait)
    assert found.delivered == burst.delivered
    assert (found.begin, found.end) == (pytest.approx(burst.begin, abs=0.003), pytest.approx(burst.end, abs=0.003))


def test_a_burst_that_never_ends_is_watched_for_so_long_and_no_longer():
    clock = Clock()
    found = watcher.watch(lambda: int(clock.now * 10), 10**9, lambda: clock.now, clock.wait)
    assert found.end - 100 == pytest.approx(watcher.LONGEST_SECONDS, abs=1.1)


def test_the_watcher_needs_all_its_arguments():
    program = [sys.executable, "-m", "glassgate.conformance.bench.watcher", "eth0"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_gateway_has_a_name_for_tables_and_a_word_for_the_command_line():
    own = Subject(samples.SUBJECTS[2].kind, own_stack=True)
    assert (own.name, own.word) == ("optimized, own stack", "optimized-own-stack")
    assert [one.word for one in samples.USUAL] == ["openvpn", "reference", "optimized", "optimized-own-stack"]


def test_percentiles_are_values_that_were_seen():
    values = [float(number) for number in range(1, 201)]
    assert samples.percentile(values, 0.5) == 100
    assert samples.percentile(values, 0.99) == 198
    assert samples.percentile([7.0], 0.99) == 7


def test_json_has_the_ratios_and_every_sample():
    shown = report.lab_json({}, [*SLOW, *QUICK], "slow", Setting("on", False))
    slow, quick = shown["figures"]
    assert (slow["rate_times_base"], slow["packets_a_cpu_second_times_base"]) == (1, 1)
    assert quick["packets_a_cpu_second_times_base"] == pytest.approx(4.5)
    assert quick["ping_ms"] == {
        "median": 0.25,
        "99": 0.5,
        "median_times_base": pytest.approx((0.5 / 1.0 + 0.25 / 2.0) / 2),
        "99_times_base": pytest.approx((0.5 / 9.0 + 0.25 / 2.0) / 2),
    }
    assert shown["offloads"] == {"external": "on", "internal": "on at the gateway's end"}
    assert (slow["far_end"], slow["direction"], slow["load"]) == ("server", "upstream", "packets")
    assert [one["delivered"] for one in slow["samples"]] == [500, 800]
    assert json.loads(json.dumps(shown)) == shown


def test_without_the_base_there_are_no_ratios():
    (quick,) = report.lab_json({}, QUICK, "slow", Setting("off", True))["figures"]
    assert quick["rate_times_base"] is None


def test_the_picture_of_the_lab_has_a_bar_a_figure():
    root = ElementTree.fromstring(plot.lab([*SLOW, *QUICK], "slow"))
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 2
    assert float(bars[0].attrib["width"]) > float(bars[1].attrib["width"]) > 0


# ── readings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_processor_time_is_the_sum_over_threads(tmp_path: Path):
    for number, text in enumerate(("1500000000 7 3\n", "500000000 0 1\n")):
        (tmp_path / "task" / str(number)).mkdir(parents=True)
        (tmp_path / "task" / str(number) / "schedstat").write_text(text, encoding="ascii")
    assert laboratory.cpu_seconds(tmp_path) == 2.0
    assert laboratory.cpu_seconds(Path(f"/proc/{os.getpid()}")) > 0


def test_times_are_read_from_pings_output():
    output = "64 bytes from 203.0.113.10: icmp_seq=1 ttl=62 time=0.431 ms\n64 bytes …: icmp_seq=2 ttl=62 time=12 ms\n"
    assert laboratory.read_times(output) == (0.431, 12.0)


def test_frames_are_addressed_to_the_next_hop_and_fit_the_tunnel():
    frame = dpkt.ethernet.Ethernet(
        laboratory._frame(topology.HOST5, topology.INTERNAL_MAC, topology.HOST5_ADDRESS, topology.FAR_ADDRESS)
    )
    assert frame.dst.hex(":") == topology.INTERNAL_MAC
    assert len(frame.data) == samples.OCTETS
    assert str(IPv4Address(frame.data.dst)) == topology.FAR_ADDRESS
    assert frame.data.data.dport == 9


def test_the_sender_needs_all_its_arguments():
    program = [sys.executable, "-m", "glassgate.conformance.bench.sender", "eth0"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: sender INTERFACE HEX RATE SECONDS" in done.stderr


def test_what_was_sent_has_a_rate():
    assert Sent(500, 0.25).rate == 2000


def test_the_segments_of_a_flow_follow_each_other_and_are_valid():
    packets = [dpkt.ip.IP(packet) for packet in traffic.segments("203.0.113.11", "10.38.2.5", 1360, 40)]
    assert {len(packet) for packet in packets} == {1400}
    assert [packet.tcp.seq for packet in packets] == [number * 1360 for number in range(40)]
    for packet in packets:
        given, packet.tcp.sum, packet.sum = (packet.tcp.sum, packet.sum), 0, 0
        made = dpkt.ip.IP(bytes(packet))
        assert (made.tcp.sum, made.sum) == given


# ── isolation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_processor_cannot_be_shared_by_device_and_testers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5}, raising=False)  # PyPy has none
    with pytest.raises(BenchError, match="--isolated needs two processors"):
        isolation.processors()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 7, 9})
    assert isolation.processors() == ({5}, {7, 9})
    monkeypatch.delattr(os, "sched_getaffinity")
    with pytest.raises(BenchError, match="this Python cannot choose processors"):
        isolation.processors()


@pytest.mark.root
def test_who_never_waits_is_ended_by_the_system(needs_root_lab: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolation, "LONGEST_RUN", 200_000)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        isolation.place(child.pid, isolation.SENDER, {max(os.sched_getaffinity(0))})
        assert os.sched_getscheduler(child.pid) == os.SCHED_FIFO
        assert child.wait(10) in (-signal.SIGXCPU, -signal.SIGKILL)


def test_programs_of_others_do_not_go_before_all_others(capsys: pytest.CaptureFixture[str]):
    assert cli.run(["bench", "lab", "--isolated", "--far-end", "server"]) == 2
    assert "bench: --isolated is for the sink" in capsys.readouterr().err


def test_without_the_privilege_the_option_is_named(monkeypatch: pytest.MonkeyPatch):
    def refuse(*given: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "prlimit", refuse)
    with pytest.raises(BenchError, match="--isolated: no real-time priority here: Operation not permitted"):
        isolation.place(os.getpid(), 5, {0})


# ── the sink ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def connected() -> Iterator[tuple[far.Sink, socket.socket]]:
    settings, _ = introduce(os.urandom)
    sink = far.Sink(Endpoint(settings, os.urandom))
    ours, theirs = socket.socketpair()
    sink.connection = theirs
    with ours, theirs:
        yield sink, ours


@pytest.mark.parametrize("cut", [1, 2, 3, 100, 1429, 10_000])
def test_the_sink_counts_data_records_however_the_stream_is_cut(connected: tuple[far.Sink, socket.socket], cut: int):
    sink, ours = connected
    record = bytes([far.P_DATA_V2 << 3]) + bytes(1424)
    stream = StreamFraming.framed(record) * 4
    for start in range(0, len(stream), cut):
        ours.sendall(stream[start : start + cut])
        assert sink.receive(0.0)
    assert sink.count() == {"records": 4, "octets": len(stream)}
    assert sink.count() == {"records": 0, "octets": 0}


def test_the_sink_tells_that_the_client_has_gone(connected: tuple[far.Sink, socket.socket]):
    sink, ours = connected
    ours.shutdown(socket.SHUT_WR)
    assert not sink.receive(0.0)


def test_without_a_tunnel_there_is_nothing_to_send(connected: tuple[far.Sink, socket.socket]):
    sink, _ = connected
    assert sink.seal([b"packet"] * 5, 0.0) == {"sealed": 0}
    assert sink.send() == {"sent": 0}


# ── for real ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.root
@pytest.mark.parametrize("gateways", [["openvpn", "reference"], ["optimized", "optimized-own-stack"]])
def test_packets_and_transfers_pass_both_ways_to_either_far_end(
    gateways: list[str], needs_root_lab: Path, tmp_path: Path
):
    file = tmp_path / "lab.json"
    chosen = [word for gateway in gateways for word in ("--gateway", gateway)]
    quick = ["--rounds", "1", "--seconds", "0.3", "--rate", "500", "--burst", "300", "--json", str(file)]
    try:
        assert cli.run(["bench", "lab", *chosen, *quick]) == 0
    finally:
        left = list(state.labs())
        for one in left:
            Lab(one).down()
    assert left == []
    figures = json.loads(file.read_text("utf-8"))["figures"]
    names = [subject.name for subject in samples.SUBJECTS if subject.word in gateways]
    assert {(one["far_end"], one["direction"], one["load"], one["gateway"]) for one in figures} == {
        (case.far_end, case.direction, case.load, name) for case in samples.CASES for name in names
    }
    for one in figures:
        assert one["samples"][0]["delivered"] > 0, one
        assert one["cpu_seconds_a_million"] > 0
        assert one["rate_times_base"] > 0
