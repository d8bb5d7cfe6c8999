"""A run that ends in time, and a clean-up that nothing interrupts."""

from __future__ import annotations

import os
import signal
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
    done = []

    def clean_up() -> None:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            done.append("cleaned up")
        done.append("never")

    with pytest.raises(Interrupted), interruptible(60):
        clean_up()

    assert done == ["cleaned up"]


def signal_ourselves(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)
