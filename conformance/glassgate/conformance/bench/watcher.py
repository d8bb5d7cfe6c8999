"""The program that watches a burst arrive: how much has come to an interface, and when.

    python -m glassgate.conformance.bench.watcher INTERFACE COUNT OVERHEAD SEGMENT

It says ``{"ready": true}``, then watches until COUNT packets have come or no more come, and says
``{"begin": …, "end": …, "delivered": …}``, in seconds of the monotonic clock. Packets are frames if SEGMENT is 0; else
so many octets of what frames carry beside OVERHEAD, however many were left together in one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

PERIOD = 0.002
FIRST_SECONDS, QUIET_SECONDS, LONGEST_SECONDS = 10.0, 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Received:
    """What has come to an interface."""

    frames: int
    octets: int

    def __sub__(self, before: Received) -> Received:
        return Received(self.frames - before.frames, self.octets - before.octets)

    def packets(self, overhead: int, segment: int) -> int:
        """How many packets that is."""
        return round((self.octets - self.frames * overhead) / segment) if segment else self.frames


@dataclass(frozen=True, slots=True)
class Burst:
    """When the first came, when the last, and how many."""

    begin: float
    end: float
    delivered: int


def received(interface: str) -> Received:
    """What has come to an interface so far (netdevice statistics in sysfs)."""
    statistics = Path("/sys/class/net") / interface / "statistics"
    return Received(*(int((statistics / name).read_text(encoding="ascii")) for name in ("rx_packets", "rx_bytes")))


def watch(come: Callable[[], int], count: int, clock: Callable[[], float], wait: Callable[[float], None]) -> Burst:
    """Watch until so many have come, or for a while none has."""
    start = begin = end = clock()
    delivered = 0
    while True:
        found, now = come(), clock()
        if delivered == 0:
            begin = now
        if found != delivered:
            delivered, end = found, now
        is_quiet = now - end > (QUIET_SECONDS if delivered else FIRST_SECONDS)
        if delivered >= count or is_quiet or now - start > LONGEST_SECONDS:
            return Burst(begin, max(end, begin + PERIOD), delivered)
        wait(PERIOD)


def main(arguments: list[str]) -> int:
    """The command line."""
    if len(arguments) != 4:
        sys.stderr.write("usage: watcher INTERFACE COUNT OVERHEAD SEGMENT\n")
        return 2
    interface, *numbers = arguments
    count, overhead, segment = map(int, numbers)
    before = received(interface)
    _say({"ready": True})
    burst = watch(lambda: (received(interface) - before).packets(overhead, segment), count, time.monotonic, time.sleep)
    _say(asdict(burst))
    return 0


def _say(answer: dict[str, float | bool]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
