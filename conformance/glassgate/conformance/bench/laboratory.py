"""One lab with its gateway, and what is needed to load it and to read what that cost.

What a gateway costs is the user and system time of its process, as the scheduler counts it in nanoseconds (proc(5):
``stat`` has the same in hundredths of a second). The kernel's forwarding for the stock client happens in softirqs,
which belong to no process of the gateway, so it is not counted against OpenVPN; neither is the kernel's part of
receiving frames into a gateway's ring.

A card of the gateway is as Linux finds a real one: transmit checksum, segmentation (TSO, GSO) and generic receive
offload are on, and a driver that does not want them switches them off. So they are on the external cables, if that is
wanted, and on the gateway's end of the internal one. All other ends inside are as the lab has them, off: what goes to
the gateway there is frames as a wire carries them. A frame that the gateway leaves to be cut by its card is cut by
nobody, though: the host takes it whole, as it would take what its own card has merged.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from glassgate.conformance.bench import isolation, traffic
from glassgate.conformance.bench.figures import BenchError
from glassgate.conformance.bench.samples import (
    BULK,
    DOWNSTREAM,
    OCTETS,
    SEGMENT,
    SERVER,
    STAMPED_SEGMENT,
    UPSTREAM,
    Case,
    LabSample,
    Plan,
    Subject,
)
from glassgate.conformance.bench.sender import Sent
from glassgate.conformance.bench.watcher import LONGEST_SECONDS, Burst
from glassgate.conformance.lab import programs, topology
from glassgate.conformance.lab.network import INWARDS_PORT, OUTWARDS_PORT, Lab
from glassgate.conformance.lab.signals import undisturbed
from glassgate.conformance.lab.tunnel import PORT, TunnelOptions, gateway_command
from glassgate.conformance.packets import TYPE_IPV4, Ethernet

READY_SECONDS = 20
DRAIN_SECONDS = 0.3
PING_INTERVAL = 0.01
TRIES = 3
EXTERNAL_ENDS = (
    (topology.GATEWAY, topology.EXTERNAL_INTERFACE),
    (topology.ROUTER, "inside"),
    (topology.ROUTER, "outside"),
    (topology.SERVER, "outside"),
)
INTERNAL_END = (topology.GATEWAY, topology.INTERNAL_INTERFACE)
SEGMENT_SOURCE = "203.0.113.11"
"""Nobody's address beyond: the host inside has no way back to it, so segments from there are not answered by resets."""
DISCARD = "import socket,time; s=socket.socket(2,2); s.bind(('',9)); time.sleep(600)"
"""Whoever has a port open sends no ICMP errors; nobody reads, so it costs nothing."""


class Bench:
    """One lab with its gateway."""

    def __init__(
        self, subject: Subject, *, offloads: bool = True, processors: tuple[set[int], set[int]] | None = None
    ) -> None:
        self.lab = Lab.create(subject.kind, owned=True, own_stack=subject.own_stack)
        self.subject = subject
        self._offloads = offloads
        self._processors = processors
        """The gateway's and the testers', if each is to have its own while the far end is ours."""
        self._far: subprocess.Popen[str] | None = None

    def build(self) -> None:
        """Make the network, cards as they are meant to be, and somebody at the ports that are aimed at."""
        self.lab.build()
        for host, interface in (INTERNAL_END, *(EXTERNAL_ENDS if self._offloads else ())):
            switches = [f"{name} on".split() for name in topology.OFFLOADS]
            words = ["ethtool", "-K", interface, *(word for pair in switches for word in pair)]
            programs.demand(self.lab.command(host, words))
        for host in (topology.FAR, topology.HOST5):
            self.lab.spawn(f"discard {host}", host, [sys.executable, "-c", DISCARD])
        programs.demand(self.lab.command(topology.HOST5, ["ip", "route", "add", "blackhole", f"{SEGMENT_SOURCE}/32"]))

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
            self._wait(lambda: self._pings(1) != ())
            for direction in (UPSTREAM, DOWNSTREAM):
                self._transfer(direction, "--bytes", "100K")  # both ends know the path's MTU from here on
        else:
            self._start_far()
            frame = self.upstream_frame()
            self._wait(lambda: self._reaches_sink(frame))
        # Host and gateway know each other's hardware address from here on: a burst would overflow the queue for it.
        self._wait(lambda: self._pings(1, topology.HOST5, topology.INTERNAL_ADDRESS) != ())
        if self._far is not None:
            self._place(self._far.pid, isolation.FAR_END)
            for pid in self._living(topology.GATEWAY):
                self._place(pid, isolation.DEVICE)

    def _place(self, pid: int, priority: int) -> None:
        """Give a process its processor, if each is to have its own."""
        if self._processors is not None:
            device, testers = self._processors
            isolation.place(pid, priority, device if pid in self._living(topology.GATEWAY) else testers)

    def _wait(self, is_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not is_up():
            if time.monotonic() > deadline:
                words = self.lab.last_words(topology.GATEWAY)
                raise BenchError(f"{self.subject.name}: the tunnel did not come up: {words}")
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
        self._answer()
        command = gateway_command(self.subject.kind, configuration, own_stack=self.subject.own_stack)
        self.lab.spawn(topology.GATEWAY, topology.GATEWAY, command)

    def _end_far(self) -> None:
        if self._far is None:
            return
        with self._far:
            self._far.terminate()
        self._far = None

    def _ask(self, words: str) -> dict[str, int]:
        self._tell(words)
        return self._answer()

    def _tell(self, words: str) -> None:
        assert self._far is not None
        _stream(self._far.stdin).write(words + "\n")
        _stream(self._far.stdin).flush()

    def _answer(self) -> dict[str, int]:
        assert self._far is not None
        return self._read(self._far)

    def _read(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        """The next line of JSON that a program says."""
        out = _stream(child.stdout)
        readable, _, _ = select.select([out], [], [], LONGEST_SECONDS + READY_SECONDS)
        line = out.readline() if readable else ""
        if not line:
            raise BenchError(f"{self.subject.name}: no answer: {' '.join(map(str, child.args))[-60:]}")  # type: ignore[arg-type]
        answer: dict[str, Any] = json.loads(line)
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

    @contextmanager
    def _sending(
        self, host: str, frame: bytes, rate: float, seconds: float, interface: str = topology.UPLINK
    ) -> Iterator[subprocess.Popen[str]]:
        program = [sys.executable, "-m", "glassgate.conformance.bench.sender"]
        command = [*program, interface, frame.hex(), f"{rate:g}", f"{seconds:g}"]
        with subprocess.Popen(
            self.lab.command(host, command), stdout=subprocess.PIPE, text=True, env=programs.environment(), cwd="/"
        ) as sending:
            if self._far is not None:
                self._place(sending.pid, isolation.SENDER)
            yield sending

    def _sent(self, sending: subprocess.Popen[str], seconds: float) -> Sent:
        output, _ = sending.communicate(timeout=seconds + READY_SECONDS)
        if sending.returncode:
            raise BenchError(f"{self.subject.name}: the sender failed")
        return Sent(**json.loads(output))

    def _send(self, host: str, frame: bytes, rate: float, seconds: float, interface: str = topology.UPLINK) -> Sent:
        with self._sending(host, frame, rate, seconds, interface) as sending:
            return self._sent(sending, seconds)

    def _pings(self, count: int, host: str = topology.HOST6, address: str = topology.FAR_ADDRESS) -> tuple[float, ...]:
        """Round trips, in milliseconds, from the other host to the far host; what was lost is not among them."""
        command = ["ping", "-n", "-i", f"{PING_INTERVAL:g}", "-c", str(count), "-W", "1", address]
        done = self.lab.run(host, command, seconds=count * PING_INTERVAL + READY_SECONDS)
        return read_times(done.stdout)

    def _transfer(self, direction: str, *amount: str) -> dict[str, Any]:
        """A TCP transfer by iperf3; its JSON. Its server opens its port anew after each, and resets who is early."""
        port, way = (OUTWARDS_PORT, []) if direction == UPSTREAM else (INWARDS_PORT, ["--reverse"])
        command = ["iperf3", "--client", topology.FAR_ADDRESS, "--port", str(port), "--connect-timeout", "5000"]
        answer: dict[str, Any] = {}
        for _ in range(TRIES):
            done = self.lab.run(topology.HOST5, [*command, "--json", *amount, *way], seconds=READY_SECONDS + 60)
            try:
                answer = json.loads(done.stdout)
            except ValueError:
                answer = {"error": done.stderr.strip() or f"it said {done.stdout[:100]!r}"}
            if "error" not in answer:
                return answer
            time.sleep(DRAIN_SECONDS)
        raise BenchError(f"{self.subject.name}: iperf3 {direction}: {answer['error']}")

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def cpu_seconds(self, role: str = topology.GATEWAY) -> float:
        """User and system time of the process of a role."""
        (pid,) = self._living(role)
        return cpu_seconds(Path(f"/proc/{pid}"))

    def _living(self, role: str) -> list[int]:
        return [one.pid for one in self.lab.state.processes if one.role == role and one.is_alive]

    def received(self, host: str) -> int:
        """How many frames have come to a host."""
        path = f"/sys/class/net/{topology.UPLINK}/statistics/rx_packets"
        return int(programs.demand(self.lab.command(host, ["cat", path])))

    # ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def measure(self, case: Case, plan: Plan) -> LabSample:
        """One turn."""
        if case.far_end == SERVER:
            is_bulk = case.load == BULK
            return self.transfer(case, plan.seconds) if is_bulk else self.at_equal_load(case, plan.rate, plan.seconds)
        if case.direction == UPSTREAM:
            return self.into_sink(case, plan.seconds)
        return self.out_of_source(case, plan.burst)

    def at_equal_load(self, case: Case, rate: float, seconds: float) -> LabSample:
        """The stock server, a given rate, and pings beside it."""
        is_up = case.direction == UPSTREAM
        from_host, to_host = (topology.HOST5, topology.FAR) if is_up else (topology.FAR, topology.HOST5)
        frame = self.upstream_frame() if is_up else self.downstream_frame()
        before, cpu, server = self.received(to_host), self.cpu_seconds(), self.cpu_seconds(topology.SERVER)
        with self._sending(from_host, frame, rate, seconds) as sending:
            pings = self._pings(int(seconds / PING_INTERVAL))
            sent = self._sent(sending, seconds)
        time.sleep(DRAIN_SECONDS)
        cpu, server = self.cpu_seconds() - cpu, self.cpu_seconds(topology.SERVER) - server
        delivered = self.received(to_host) - before - (len(pings) if is_up else 0)
        return self._sample(case, sent.sent, delivered, OCTETS, sent.seconds, cpu, server, pings)

    def transfer(self, case: Case, seconds: float) -> LabSample:
        """One TCP connection through the stock server, as fast as it goes."""
        cpu, server = self.cpu_seconds(), self.cpu_seconds(topology.SERVER)
        answer = self._transfer(case.direction, "--time", str(max(1, round(seconds))))
        cpu, server = self.cpu_seconds() - cpu, self.cpu_seconds(topology.SERVER) - server
        received = answer["end"]["sum_received"]
        segments = received["bytes"] // STAMPED_SEGMENT
        return self._sample(case, segments, segments, STAMPED_SEGMENT, received["seconds"], cpu, server)

    def into_sink(self, case: Case, seconds: float) -> LabSample:
        """Upstream at saturation. The frames enter at the switch's port to the gateway: a bridge would cost more."""
        self._ask("count")
        cpu = self.cpu_seconds()
        sent = self._send(topology.SWITCH, self.upstream_frame(), 0, seconds, topology.GATEWAY)
        delivered = self._ask("count")["records"]
        return self._sample(case, sent.sent, delivered, OCTETS, sent.seconds, self.cpu_seconds() - cpu)

    def out_of_source(self, case: Case, count: int) -> LabSample:
        """Downstream: a burst of so many records, until the last has come. Of packets alike, or of one TCP flow."""
        is_flow = case.load == BULK
        if is_flow:
            self._ask(f"flow {count} {SEGMENT_SOURCE} {topology.HOST5_ADDRESS} {SEGMENT}")
        else:
            self._ask(f"flood {count} {self.downstream_frame()[traffic.FRAME_HEADER :].hex()}")
        with self._watching(count, SEGMENT if is_flow else 0) as watching:
            cpu = self.cpu_seconds()
            self._tell("go")
            burst = Burst(**self._read(watching))
            cpu = self.cpu_seconds() - cpu
        sent = self._answer()["sent"]
        size = SEGMENT if is_flow else OCTETS
        return self._sample(case, sent, burst.delivered, size, burst.end - burst.begin, cpu)

    @contextmanager
    def _watching(self, count: int, segment: int) -> Iterator[subprocess.Popen[str]]:
        """Somebody who watches what comes to the host inside."""
        program = [sys.executable, "-m", "glassgate.conformance.bench.watcher"]
        overhead = traffic.FRAME_HEADER + OCTETS - SEGMENT
        command = [*program, topology.UPLINK, str(count), str(overhead), str(segment)]
        with subprocess.Popen(
            self.lab.command(topology.HOST5, command), stdout=subprocess.PIPE, text=True,
            env=programs.environment(), cwd="/",
        ) as watching:  # fmt: skip
            self._read(watching)
            self._place(watching.pid, isolation.WATCHER)
            yield watching

    def _sample(
        self,
        case: Case,
        offered: int,
        delivered: int,
        size: int,
        seconds: float,
        cpu: float,
        server: float | None = None,
        pings: tuple[float, ...] = (),
    ) -> LabSample:
        return LabSample(self.subject.name, case, offered, delivered, size, seconds, cpu, server, pings)


def cpu_seconds(process: Path) -> float:
    """User and system time of a process, all its threads: the first number of each schedstat, in nanoseconds."""
    counted = process.glob("task/*/schedstat")
    return sum(int(one.read_text(encoding="ascii").split()[0]) for one in counted) / 1e9


def read_times(output: str) -> tuple[float, ...]:
    """The round trips that iputils' ping tells, in milliseconds."""
    return tuple(float(value) for value in re.findall(r"time=([\d.]+) ms", output))


def _stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _frame(host: str, to_mac: str, source: str, destination: str) -> bytes:
    (uplink,) = topology.ends(host)
    packet = traffic.datagram(source, destination, OCTETS)
    return Ethernet(source=uplink.mac, destination=to_mac, type=TYPE_IPV4, payload=packet).build().data
