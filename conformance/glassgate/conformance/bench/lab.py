"""The same offered traffic through a stock OpenVPN client and through each gateway, in the namespaces of the lab.

All labs stand side by side, and have their turns in rounds. Two far ends:

``server``: the stock server. The load is the same for all, one that every gateway carries, and pings go along.
``sink``:   ``far.py``, which counts records and opens none. Upstream frames come faster than any gateway takes them;
            downstream a burst of records was sealed beforehand.

What a gateway costs is the user and system time of its process, as the scheduler counts it in nanoseconds (proc(5):
``stat`` has the same in hundredths of a second). The kernel's forwarding for the stock
client happens in softirqs, which belong to no process of the gateway, so it is not counted against OpenVPN; neither is
the kernel's part of receiving frames into a gateway's ring. On the external cables, segmentation and checksum offload
are on, as with real network cards, for all alike. Both far ends push ``socket-flags TCP_NODELAY``, as the lab does.
"""

from __future__ import annotations

import json
import os
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glassgate.conformance.bench import traffic
from glassgate.conformance.bench.figures import BenchError
from glassgate.conformance.bench.sender import Sent
from glassgate.conformance.lab import programs, topology
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.signals import undisturbed
from glassgate.conformance.lab.tunnel import PORT, GatewayKind, TunnelOptions, gateway_command
from glassgate.conformance.packets import TYPE_IPV4, Ethernet

OCTETS = 1400
DISCARD_PORT = 9
SERVER, SINK = "server", "sink"
UPSTREAM, DOWNSTREAM = "upstream", "downstream"
READY_SECONDS = 20
DRAIN_SECONDS = 0.3
PING_INTERVAL = 0.01
NICENESS = -15
EXTERNAL_ENDS = (
    (topology.GATEWAY, topology.EXTERNAL_INTERFACE),
    (topology.ROUTER, "inside"),
    (topology.ROUTER, "outside"),
    (topology.SERVER, "outside"),
)
DISCARD = "import socket,time; s=socket.socket(2,2); s.bind(('',9)); time.sleep(600)"
"""Whoever has a port open sends no ICMP errors; nobody reads, so it costs nothing."""


@dataclass(frozen=True, slots=True)
class LabSample:
    """One turn of one gateway."""

    gateway: str
    far_end: str
    direction: str
    offered: int
    delivered: int
    seconds: float
    cpu_seconds: float
    pings_ms: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Packets delivered a second."""
        return self.delivered / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Microseconds of the gateway's processor time for each packet delivered: seconds for a million."""
        return self.cpu_seconds * 1e6 / self.delivered if self.delivered else float("inf")


# ── a lab to measure in ───────────────────────────────────────────────────────────────────────────────────────────────


class Bench:
    """One lab with its gateway, and what is needed to load and to read it."""

    def __init__(self, kind: GatewayKind, *, goes_first: bool = False) -> None:
        self.lab = Lab.create(kind, owned=True)
        self.kind = kind
        self._goes_first = goes_first
        self._far: subprocess.Popen[str] | None = None

    def build(self) -> None:
        """Make the network, with offloads on the external cables, and somebody at the ports that are aimed at."""
        self.lab.build()
        for host, interface in EXTERNAL_ENDS:
            switch = [f"{name} on".split() for name in topology.OFFLOADS]
            words = ["ethtool", "-K", interface, *(word for pair in switch for word in pair)]
            programs.demand(self.lab.command(host, words))
        for host in (topology.FAR, topology.HOST5):
            self.lab.spawn(f"discard {host}", host, [sys.executable, "-c", DISCARD])

    def down(self) -> list[str]:
        """Take all of it down."""
        self._end_far()
        with undisturbed():
            return self.lab.down()

    def begin(self, far_end: str) -> None:
        """Bring up the tunnel to that far end.

        Raises:
            BenchError: no packet came through in time.
        """
        self.lab.stop_tunnel()
        self._end_far()
        if far_end == SERVER:
            self.lab.start_tunnel(TunnelOptions())
            self._wait(lambda: self._pings(count=1) != ())
        else:
            self._start_far()
            frame = self.upstream_frame()
            self._wait(lambda: self._reaches_sink(frame))
        for role in (topology.GATEWAY, topology.SERVER):
            for pid in self._living(role):
                self._prefer(pid)

    def _prefer(self, pid: int) -> None:
        """Have a process go before the other work of this machine, if that is wanted."""
        if self._goes_first:
            os.setpriority(os.PRIO_PROCESS, pid, NICENESS)

    def _wait(self, is_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not is_up():
            if time.monotonic() > deadline:
                raise BenchError(f"{self.kind}: the tunnel did not come up: {self.lab.last_words(topology.GATEWAY)}")
            time.sleep(0.1)

    # ── the sink ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_far(self) -> None:
        configuration = self.lab.directory / "client.ovpn"
        configuration.unlink(missing_ok=True)
        program = [sys.executable, "-m", "glassgate.conformance.bench.far"]
        command = [*program, topology.SERVER_ADDRESS, str(PORT), str(configuration)]
        with (self.lab.directory / "far.log").open("a") as log:
            self._far = subprocess.Popen(
                self.lab.command(topology.SERVER, command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=programs.environment(),
                cwd="/",
            )
        self._answer(self._far)
        self._prefer(self._far.pid)
        command = gateway_command(self.kind, configuration, own_stack=False)
        self.lab.spawn(topology.GATEWAY, topology.GATEWAY, command)

    def _end_far(self) -> None:
        if self._far is None:
            return
        with self._far:
            self._far.terminate()
        self._far = None

    def _ask(self, words: str) -> dict[str, int]:
        assert self._far is not None
        _stream(self._far.stdin).write(words + "\n")
        _stream(self._far.stdin).flush()
        return self._answer(self._far)

    def _answer(self, far: subprocess.Popen[str]) -> dict[str, int]:
        readable, _, _ = select.select([_stream(far.stdout)], [], [], READY_SECONDS)
        line = _stream(far.stdout).readline() if readable else ""
        if not line:
            raise BenchError(f"{self.kind}: the far end does not answer")
        answer: dict[str, int] = json.loads(line)
        return answer

    def _reaches_sink(self, frame: bytes) -> bool:
        self._ask("count")
        self._send(topology.HOST5, frame, rate=100, seconds=0.05)
        time.sleep(0.05)
        return self._ask("count")["records"] > 0

    # ── load ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def upstream_frame(self) -> bytes:
        """A packet from a host to the far host, as the host puts it onto its cable."""
        return _frame(topology.HOST5, topology.INTERNAL_MAC, topology.HOST5_ADDRESS, topology.FAR_ADDRESS)

    def downstream_frame(self) -> bytes:
        """A packet from the far host to a host inside."""
        (inside,) = (end for end in topology.ends(topology.SERVER) if end.interface == "inside")
        return _frame(topology.FAR, inside.mac, topology.FAR_ADDRESS, topology.HOST5_ADDRESS)

    def _sending(
        self, host: str, frame: bytes, rate: float, seconds: float, interface: str = topology.UPLINK
    ) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", "glassgate.conformance.bench.sender"]
        command = [*program, interface, frame.hex(), f"{rate:g}", f"{seconds:g}"]
        sending = subprocess.Popen(
            self.lab.command(host, command), stdout=subprocess.PIPE, text=True, env=programs.environment(), cwd="/"
        )
        self._prefer(sending.pid)
        return sending

    def _send(self, host: str, frame: bytes, rate: float, seconds: float, interface: str = topology.UPLINK) -> Sent:
        with self._sending(host, frame, rate, seconds, interface) as sending:
            output, _ = sending.communicate(timeout=seconds + READY_SECONDS)
        if sending.returncode:
            raise BenchError(f"{self.kind}: the sender failed on {host}")
        return Sent(**json.loads(output))

    def _pings(self, count: int) -> tuple[float, ...]:
        """Round trips from the other host to the far host, in milliseconds; what was lost is not among them."""
        command = ["ping", "-n", "-i", f"{PING_INTERVAL:g}", "-c", str(count), "-W", "1", topology.FAR_ADDRESS]
        done = self.lab.run(topology.HOST6, command, seconds=count * PING_INTERVAL + READY_SECONDS)
        return read_times(done.stdout)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def cpu_seconds(self) -> float:
        """User and system time of the gateway's process."""
        (pid,) = self._living(topology.GATEWAY)
        return cpu_seconds(Path(f"/proc/{pid}"))

    def _living(self, role: str) -> list[int]:
        return [one.pid for one in self.lab.state.processes if one.role == role and one.is_alive]

    def received(self, host: str) -> int:
        """Frames that have come to a host."""
        text = programs.demand(
            self.lab.command(host, ["cat", f"/sys/class/net/{topology.UPLINK}/statistics/rx_packets"])
        )
        return int(text)

    # ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def at_equal_load(self, direction: str, rate: float, seconds: float) -> LabSample:
        """The stock server, a given rate, and pings beside it."""
        is_up = direction == UPSTREAM
        from_host, to_host = (topology.HOST5, topology.FAR) if is_up else (topology.FAR, topology.HOST5)
        frame = self.upstream_frame() if is_up else self.downstream_frame()
        before, cpu = self.received(to_host), self.cpu_seconds()
        with self._sending(from_host, frame, rate, seconds) as sending:
            pings = self._pings(int(seconds / PING_INTERVAL))
            output, _ = sending.communicate(timeout=seconds + READY_SECONDS)
        time.sleep(DRAIN_SECONDS)
        cpu = self.cpu_seconds() - cpu
        sent = Sent(**json.loads(output))
        delivered = self.received(to_host) - before - (len(pings) if is_up else 0)
        return LabSample(self.kind, SERVER, direction, sent.sent, delivered, sent.seconds, cpu, pings)

    def into_sink(self, seconds: float) -> LabSample:
        """Upstream at saturation. The frames enter at the switch's port to the gateway: a bridge would cost more."""
        self._ask("count")
        cpu = self.cpu_seconds()
        sent = self._send(topology.SWITCH, self.upstream_frame(), 0, seconds, topology.GATEWAY)
        delivered = self._ask("count")["records"]
        return LabSample(self.kind, SINK, UPSTREAM, sent.sent, delivered, sent.seconds, self.cpu_seconds() - cpu)

    def out_of_source(self, count: int) -> LabSample:
        """Downstream: a burst of so many records, until the last has come."""
        packet = self.downstream_frame()[traffic.FRAME_HEADER :]
        before, cpu = self.received(topology.HOST5), self.cpu_seconds()
        assert self._far is not None
        _stream(self._far.stdin).write(f"flood {count} {packet.hex()}\n")
        _stream(self._far.stdin).flush()
        begin, end, delivered = self._watch(topology.HOST5, before, count)
        sent = self._answer(self._far)["sent"]
        return LabSample(self.kind, SINK, DOWNSTREAM, sent, delivered, end - begin, self.cpu_seconds() - cpu)

    def _watch(self, host: str, before: int, count: int) -> tuple[float, float, int]:
        """When the first came, when the last, and how many."""
        begin = end = time.monotonic()
        last = before
        deadline = begin + READY_SECONDS
        while time.monotonic() < deadline:
            found, now = self.received(host), time.monotonic()
            if last == before:
                begin = now
            if found != last:
                last, end = found, now
            elif last != before and now - end > DRAIN_SECONDS:
                break
            if last - before >= count:
                break
            time.sleep(0.01)
        return begin, max(end, begin + 1e-3), last - before


def cpu_seconds(process: Path) -> float:
    """User and system time of a process, all its threads: the first number of each schedstat, in nanoseconds."""
    counted = process.glob("task/*/schedstat")
    return sum(int(one.read_text(encoding="ascii").split()[0]) for one in counted) / 1e9


def read_times(output: str) -> tuple[float, ...]:
    """The round trips that iputils' ping tells, in milliseconds."""
    return tuple(float(value) for value in re.findall(r"time=([\d.]+) ms", output))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed (nearest rank).

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5), percentile([4.0, 1.0, 3.0, 2.0], 0.99)
    (2.0, 4.0)
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _frame(host: str, to_mac: str, source: str, destination: str) -> bytes:
    (uplink,) = topology.ends(host)
    packet = traffic.datagram(source, destination, OCTETS)
    return Ethernet(source=uplink.mac, destination=to_mac, type=TYPE_IPV4, payload=packet).build().data


# ── all of it ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how often, how much."""

    rounds: int
    seconds: float
    rate: float
    burst: int


@contextmanager
def benches(kinds: Sequence[GatewayKind], *, go_first: bool = False) -> Iterator[list[Bench]]:
    """A lab for each gateway, all of them taken down whatever happens."""
    with ExitStack() as stack:
        made = []
        for kind in kinds:
            one = Bench(kind, goes_first=go_first)
            stack.callback(one.down)
            one.build()
            made.append(one)
        yield made


def measured(made: Sequence[Bench], plan: Plan, far_ends: Sequence[str]) -> Iterator[LabSample]:
    """All samples, each as soon as it is there."""
    for far_end in far_ends:
        for one in made:
            one.begin(far_end)
        for turn in range(plan.rounds):
            for place in range(len(made)):
                yield from _turn(made[(turn + place) % len(made)], far_end, plan)


def _turn(one: Bench, far_end: str, plan: Plan) -> Iterator[LabSample]:
    if far_end == SERVER:
        for direction in (UPSTREAM, DOWNSTREAM):
            yield one.at_equal_load(direction, plan.rate, plan.seconds)
    else:
        yield one.into_sink(plan.seconds)
        yield one.out_of_source(plan.burst)


@dataclass(frozen=True, slots=True)
class LabFigure:
    """The samples of one gateway, one far end and one direction."""

    samples: tuple[LabSample, ...]

    @property
    def rate(self) -> float:
        """Packets delivered a second: the median."""
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def cpu_microseconds(self) -> float:
        """Processor time a packet: the median."""
        return statistics.median(sample.cpu_microseconds for sample in self.samples)

    @property
    def lost(self) -> float:
        """The share of what was offered that did not arrive."""
        offered = sum(sample.offered for sample in self.samples)
        return 1 - sum(sample.delivered for sample in self.samples) / offered

    @property
    def pings_ms(self) -> tuple[float, ...]:
        """All round trips."""
        return tuple(time for sample in self.samples for time in sample.pings_ms)

    def against(self, base: LabFigure) -> tuple[float, float]:
        """Times the base's rate, and times its packets a second of processor time: medians of the rounds' ratios."""
        pairs = list(zip(self.samples, base.samples, strict=True))
        rate = statistics.median(own.rate / its.rate for own, its in pairs)
        return rate, statistics.median(its.cpu_microseconds / own.cpu_microseconds for own, its in pairs)


def figures(samples: Sequence[LabSample]) -> dict[tuple[str, str, str], LabFigure]:
    """By far end, direction and gateway, in the order in which they came."""
    keys = dict.fromkeys((sample.far_end, sample.direction, sample.gateway) for sample in samples)
    return {
        key: LabFigure(tuple(one for one in samples if (one.far_end, one.direction, one.gateway) == key))
        for key in keys
    }


def write_log(made: Sequence[Bench], directory: Path) -> None:
    """Keep the gateways' logs, for who wants to know why."""
    for one in made:
        (directory / f"bench-{one.kind}.log").write_text(one.lab.log(topology.GATEWAY), encoding="utf-8")
