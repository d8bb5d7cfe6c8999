"""A run that ends in time, and a clean-up that nothing interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest

from glassgate.conformance.lab.errors import Interrupted
from glassgate.conformance.lab.signals import ENDING, interruptible, undisturbed


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_becomes_an_exception_with_the_shells_status(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as caught, interruptible(60):
        signal_ourselves(number)

    assert caught.value.reason == number.name
    assert caught.value.exit_status == 128 + number


def test_time_that_is_over_becomes_one_too() -> None:
    with pytest.raises(Interrupted, match=r"no end within 0\.05 s") as caught, interruptible(0.05):
        time.sleep(5)

    assert caught.value.exit_status == 1  # not a wish of the user: the run failed


def test_afterwards_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in ENDING]

    with interruptible(60):
        pass

    assert [signal.getsignal(number) for number in ENDING] == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_signal_waits_for_the_end_of_the_clean_up() -> None:
    assert what_was_done_when_a_signal_came() == ["cleaned up"]


def test_it_waits_too_when_another_thread_takes_it() -> None:
    over = threading.Event()
    other = threading.Thread(target=over.wait, args=(60,))
    other.start()
    try:
        assert what_was_done_when_a_signal_came() == ["cleaned up"]
    finally:
        over.set()
        other.join()


def test_of_two_signals_the_first_is_told() -> None:
    with pytest.raises(Interrupted) as caught, interruptible(60), undisturbed():
        signal_and_wait(signal.SIGHUP, signal.SIGTERM)

    assert caught.value.reason == "SIGHUP"


def test_what_is_started_meanwhile_has_them_blocked() -> None:
    with undisturbed():
        started = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True)

    blocked = int(next(line.split()[1] for line in started.stdout.splitlines() if line.startswith("SigBlk:")), 16)
    assert all(blocked >> number - 1 & 1 for number in ENDING)


def what_was_done_when_a_signal_came() -> list[str]:
    done = []

    def clean_up() -> None:
        with undisturbed():
            signal_and_wait(signal.SIGTERM)
            done.append("cleaned up")
        done.append("never")

    with pytest.raises(Interrupted), interruptible(60):
        clean_up()
    return done


def signal_and_wait(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(0.05)


def signal_ourselves(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)
