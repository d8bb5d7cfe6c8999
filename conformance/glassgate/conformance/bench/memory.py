"""Does a gateway forget? What its process holds after a thousand packets, and after ten million.

    python -m glassgate.conformance.bench.memory GATEWAY INTERFACE PACKETS SECONDS

prints a line of JSON each: ``{"passed": …}`` now and then, and at last the ``MemoryFigure``. Each gateway is asked in a
process of its own (``ask``), which holds nothing but the gateway and its traffic. If the seconds are over before the
packets are, the figure tells how many passed. Three answers, each of which a leak would change:

traced     what Python's allocations of 1000 more packets leave behind (tracemalloc; tracing all would take six times as
           long)
blocks     how many pieces of memory Python holds, to the last one (``sys.getallocatedblocks``)
resident   what the process occupies, whoever allocated it
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glassgate.conformance.bench import doors, traffic
from glassgate.conformance.bench.figures import BenchError
from glassgate.conformance.subjects.discovery import find
from glassgate.contract import Implementation, Port

BEFORE = 1000
"""Packets before the first reading, and packets that are traced."""
PIECE = 20_000
"""Packets between two looks at the clock."""
PAIRS = 64
"""Datagrams in fragments that are made beforehand: each is whole before its identification comes again."""
TURN_SECONDS = 0.01
"""Time that passes with each round of the mixture."""

Tell = Callable[[int], object]
"""Is told how many packets have passed."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a gateway's process holds after some packets."""

    packets: int
    traced: int | None
    """Octets that 1000 more packets left allocated; None on PyPy, which has no tracemalloc."""
    blocks: int | None
    """Pieces of memory that Python holds; None on PyPy, which does not count them."""
    resident: int
    """Octets of the machine's memory."""


@dataclass(frozen=True, slots=True)
class MemoryFigure:
    """Before and after many packets."""

    subject: str
    interface: str
    wanted: int
    """Packets that were asked for; fewer passed if time was over."""
    before: Memory
    after: Memory

    @classmethod
    def of(cls, read: dict[str, Any]) -> MemoryFigure:
        """From JSON."""
        words = read["subject"], read["interface"], read["wanted"]
        return cls(*words, Memory(**read["before"]), Memory(**read["after"]))


def interfaces(implementation: Implementation) -> tuple[str, ...]:
    """By which interfaces a gateway can be asked."""
    return (doors.CONTRACT, doors.BATCHES) if doors.has_batches(implementation) else (doors.CONTRACT,)


def ask(name: str, interface: str, packets: int, seconds: float, tell: Tell) -> MemoryFigure:
    """Ask in a process of its own.

    Raises:
        BenchError: the process ended without an answer.
    """
    program = [sys.executable, "-m", "glassgate.conformance.bench.memory"]
    command = [*program, name, interface, str(packets), f"{seconds:g}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                answer = json.loads(line)
                if "passed" not in answer:
                    return MemoryFigure.of(answer)
                tell(answer["passed"])
        finally:
            child.terminate()
    raise BenchError(f"memory: {name} {interface} ended with status {child.returncode} and no answer")


def memory(
    implementation: Implementation, interface: str, packets: int, seconds: float, tell: Tell = lambda passed: None
) -> MemoryFigure:
    """Mixed traffic through one gateway: what this process holds after 1000 packets, and after all of them."""
    door = doors.one_by_one(implementation, traffic.configuration(), interface)
    mixed = mixture()
    deadline = time.monotonic() + seconds
    _reading(door, iter(()), 0)  # what a reading needs itself is there before one counts
    tell(0)
    _pass(door, mixed, BEFORE)
    before = _reading(door, mixed, BEFORE)
    passed = 2 * BEFORE
    while passed < packets - BEFORE and time.monotonic() < deadline:
        piece = min(PIECE, packets - BEFORE - passed)
        _pass(door, mixed, piece)
        passed += piece
        tell(passed)
    after = _reading(door, mixed, passed)
    return MemoryFigure(implementation.name, interface, packets, before, after)


def _reading(door: doors.Door, mixed: Iterator[doors.Arrival], passed: int) -> Memory:
    gc.collect()
    resident, blocks = resident_size(), _blocks()
    return Memory(passed + BEFORE, _traced_over(door, mixed), blocks, resident)


def _blocks() -> int | None:
    count: Callable[[], int] | None = getattr(sys, "getallocatedblocks", None)
    return None if count is None else count()


def _traced_over(door: doors.Door, mixed: Iterator[doors.Arrival]) -> int | None:
    """What 1000 more packets leave allocated."""
    try:
        tracemalloc = importlib.import_module("tracemalloc")
    except ImportError:
        _pass(door, mixed, BEFORE)
        return None
    tracemalloc.start()
    _pass(door, mixed, BEFORE)
    gc.collect()
    traced: int = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return traced


def _pass(door: doors.Door, mixed: Iterator[doors.Arrival], packets: int) -> None:
    for port, piece, now in itertools.islice(mixed, packets):
        door(port, piece, now)


def mixture() -> Iterator[doors.Arrival]:
    """Upstream, downstream, to be cut, a local ping, one in fragments, one that is refused: for ever."""
    channel = traffic.far_channel()
    up = traffic.frame(traffic.datagram(traffic.HOST, traffic.BEYOND, 1400))
    large = traffic.frame(traffic.datagram(traffic.HOST, traffic.BEYOND, 1500))
    local = traffic.frame(traffic.ping(traffic.HOST, traffic.GATEWAY, 100))
    refused = traffic.frame(traffic.datagram(traffic.HOST, "10.38.2.255", 100))
    down = traffic.datagram(traffic.BEYOND, traffic.HOST, 1400)
    renewed = traffic.introduction()
    pairs = [
        [traffic.frame(piece) for piece in traffic.pieces(traffic.HOST, traffic.GATEWAY, 2000, number, 1480)]
        for number in range(PAIRS)
    ]
    for number in itertools.count():
        now = traffic.READY + number * TURN_SECONDS
        for piece in (up, large, local, refused, *pairs[number % PAIRS], renewed):
            yield Port.INTERNAL, piece, now
        yield Port.FLOW, traffic.framed(channel, down), now


def resident_size() -> int:
    """What this process occupies of the machine's memory, in octets (proc(5): statm)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if len(arguments) != 4:
        sys.stderr.write("usage: memory GATEWAY INTERFACE PACKETS SECONDS\n")
        return 2
    name, interface, packets, seconds = arguments
    _say(asdict(memory(find(name), interface, int(packets), float(seconds), lambda passed: _say({"passed": passed}))))
    return 0


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
