"""A run that ends in time and cleans up: signals become an exception, and wait while the clean-up is at work."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from glassgate.conformance.lab.errors import Interrupted

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def interruptible(seconds: float) -> Iterator[None]:
    """Within it, Ctrl-C, Ctrl-\\, SIGTERM, SIGHUP and the passing of so many seconds raise Interrupted."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        reason = f"no end within {seconds:g} s" if number == signal.SIGALRM else signal.Signals(number).name
        raise Interrupted(number, reason)

    before = {number: signal.signal(number, interrupt) for number in (*ENDING, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Within it those signals wait, for us and for what we start: an impatient second Ctrl-C does no harm.

    Blocking them is for what we start, which inherits it. For us it is not enough: a signal to the process is taken by
    any thread that does not block it (a progress display has one), and Python then runs the handler here. So the
    handlers only remember, and the first signal comes again at the end.
    """
    waiting: list[int] = []
    held = (*ENDING, signal.SIGALRM)
    before = {number: signal.signal(number, lambda number, _frame: waiting.append(number)) for number in held}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in waiting[:1]:
            signal.raise_signal(first)
