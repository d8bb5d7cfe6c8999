"""Device under test on one processor, testers on the others, before all other work of the machine (RFC 2544, 6).

Real-time priority keeps what is measured from waiting for other programs. The far end goes before who offers traffic:
a machine of its own would be ready for each segment, too. To wake it is work of the kernel in the gateway's name, and
a gateway that sends often pays for it often.

Only programs of this project and the gateways get that priority: they wait when there is nothing to do. One that does
not is ended by the system after ten seconds.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from glassgate.conformance.bench.figures import BenchError

DEVICE, WATCHER, FAR_END, SENDER = 20, 20, 10, 5
"""Real-time priorities (sched(7)): more goes first."""
LONGEST_RUN = 10_000_000
"""Microseconds that a program may go before all others without ever waiting (RLIMIT_RTTIME, getrlimit(2))."""
RTTIME = 15
"""RLIMIT_RTTIME: Python's ``resource`` has no name for it."""


def processors() -> tuple[set[int], set[int]]:
    """The device's one and the testers'.

    Raises:
        BenchError: there is only one, or this Python cannot choose (PyPy).
    """
    if not hasattr(os, "sched_getaffinity"):
        raise BenchError("--isolated: this Python cannot choose processors; CPython can")
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        raise BenchError("--isolated needs two processors: one for the gateway, one for its testers")
    return {first}, set(rest)


def place(pid: int, priority: int, on: set[int]) -> None:
    """Put all threads of a process there.

    Raises:
        BenchError: the system does not allow it.
    """
    try:
        resource.prlimit(pid, RTTIME, (LONGEST_RUN, LONGEST_RUN))
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), on)
            os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        raise BenchError(f"--isolated: no real-time priority here: {error.strerror}") from None
