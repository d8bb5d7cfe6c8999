"""The retransmission time-out of RFC 6298 and the congestion window of RFC 5681, computed by hand."""

from __future__ import annotations

import pytest

from glassgate.reference.tcp.congestion import LARGEST_WINDOW, Congestion, initial_window
from glassgate.reference.tcp.sequence import SequenceNumber
from glassgate.reference.tcp.timers import RetransmissionTimeout

UNA = SequenceNumber(10_000)
SIZE = 1000


# ── the time-out ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_before_any_measurement_it_is_one_second() -> None:
    assert RetransmissionTimeout().seconds == 1


def test_the_first_measurement_gives_three_times_itself() -> None:
    timeout = RetransmissionTimeout()

    timeout.measure(2.0)

    assert timeout.seconds == 2.0 + 4 * 1.0  # SRTT = R, RTTVAR = R/2


def test_further_measurements_are_smoothed() -> None:
    timeout = RetransmissionTimeout()
    timeout.measure(2.0)

    timeout.measure(1.6)

    # RTTVAR = 3/4 * 1 + 1/4 * |2 - 1.6| = 0.85; SRTT = 7/8 * 2 + 1/8 * 1.6 = 1.95
    assert timeout.seconds == pytest.approx(1.95 + 4 * 0.85)


def test_it_is_never_under_a_second_nor_over_a_minute() -> None:
    fast, slow = RetransmissionTimeout(), RetransmissionTimeout()

    fast.measure(0.001)
    slow.measure(50.0)

    assert (fast.seconds, slow.seconds) == (1, 60)


def test_it_doubles_up_to_a_minute_until_something_is_measured() -> None:
    timeout = RetransmissionTimeout()

    doubled = []
    for _ in range(7):
        timeout.back_off()
        doubled.append(timeout.seconds)
    timeout.measure(0.1)

    assert doubled == [2, 4, 8, 16, 32, 60, 60]
    assert timeout.seconds == 1


# ── the congestion window ────────────────────────────────────────────────────────────────────────────────────────────


def started(size: int = SIZE) -> Congestion:
    congestion = Congestion(size, recover=UNA + -1)
    congestion.start(syn_was_lost=False)
    return congestion


@pytest.mark.parametrize(("size", "window"), [(536, 2144), (1095, 4380), (1096, 3288), (2190, 6570), (2191, 4382)])
def test_the_initial_window_is_two_to_four_segments(size: int, window: int) -> None:
    assert initial_window(size) == window


def test_a_lost_syn_leaves_one_segment() -> None:
    congestion = Congestion(SIZE, recover=UNA)

    congestion.start(syn_was_lost=True)

    assert congestion.window == SIZE


def test_slow_start_grows_by_what_is_acknowledged_at_most_a_segment_each_time() -> None:
    congestion = started()

    congestion.acknowledged(2 * SIZE, UNA + 2 * SIZE)
    congestion.acknowledged(10, UNA + 2 * SIZE + 10)

    assert congestion.window == 4 * SIZE + SIZE + 10


def test_avoidance_grows_by_about_a_segment_a_round_trip() -> None:
    congestion = started()
    congestion.slow_start_threshold = congestion.congestion_window

    for number in range(4):
        congestion.acknowledged(SIZE, UNA + number * SIZE)

    assert 4 * SIZE + 900 < congestion.window <= 5 * SIZE


def test_the_window_is_bounded() -> None:
    congestion = started()
    congestion.congestion_window = LARGEST_WINDOW - 1

    congestion.acknowledged(SIZE, UNA)
    congestion.acknowledged(SIZE, UNA)

    assert congestion.window == LARGEST_WINDOW


def test_the_third_duplicate_halves_and_inflates() -> None:
    congestion = started()
    sent = UNA + 10 * SIZE

    assert [congestion.duplicate(UNA, sent) for _ in range(3)] == [False, False, True]
    assert congestion.slow_start_threshold == 5 * SIZE
    assert congestion.window == 8 * SIZE


def test_each_further_duplicate_lets_another_segment_out() -> None:
    congestion = started()
    for _ in range(3):
        congestion.duplicate(UNA, UNA + 10 * SIZE)

    assert not congestion.duplicate(UNA, UNA + 10 * SIZE)
    assert congestion.window == 9 * SIZE


def test_an_acknowledgment_of_everything_ends_recovery_at_the_threshold() -> None:
    congestion = started()
    for _ in range(3):
        congestion.duplicate(UNA, UNA + 10 * SIZE)

    assert not congestion.acknowledged(10 * SIZE, UNA + 10 * SIZE)
    assert congestion.window == 5 * SIZE
    assert not congestion.acknowledged(SIZE, UNA + 11 * SIZE)
    assert congestion.window == 5 * SIZE + SIZE // 5  # congestion avoidance goes on from there


def test_a_partial_acknowledgment_asks_for_the_next_gap_and_deflates() -> None:
    congestion = started()
    for _ in range(3):
        congestion.duplicate(UNA, UNA + 10 * SIZE)

    assert congestion.acknowledged(3 * SIZE, UNA + 3 * SIZE)
    assert congestion.window == 8 * SIZE - 3 * SIZE + SIZE
    assert congestion.acknowledged(10, UNA + 3 * SIZE + 10)
    assert congestion.window == 6 * SIZE - 10


def test_duplicates_of_what_was_sent_again_are_no_new_loss() -> None:
    congestion = started()
    congestion.timed_out(UNA, UNA + 10 * SIZE, is_first=True)

    assert [congestion.duplicate(UNA, UNA + 10 * SIZE) for _ in range(5)] == [False] * 5
    assert congestion.window == 3 * SIZE  # two duplicates let a segment out each, no more


def test_a_time_out_leaves_one_segment_and_halves_once() -> None:
    congestion = started()

    congestion.timed_out(UNA, UNA + 10 * SIZE, is_first=True)
    congestion.timed_out(UNA, UNA + SIZE, is_first=False)

    assert congestion.window == SIZE
    assert congestion.slow_start_threshold == 5 * SIZE


def test_a_time_out_ends_recovery() -> None:
    congestion = started()
    for _ in range(3):
        congestion.duplicate(UNA, UNA + 10 * SIZE)
    congestion.timed_out(UNA, UNA + 10 * SIZE, is_first=True)

    congestion.duplicate(UNA, UNA + 10 * SIZE)

    assert congestion.window == 2 * SIZE  # one segment, and one for the duplicate: no inflation


def test_the_threshold_is_two_segments_at_least() -> None:
    congestion = started()

    congestion.timed_out(UNA, UNA + SIZE, is_first=True)

    assert congestion.slow_start_threshold == 2 * SIZE


def test_after_idling_the_window_begins_anew() -> None:
    congestion = started()
    congestion.congestion_window = 100 * SIZE

    congestion.restart_after_idle()

    assert congestion.window == 4 * SIZE


def test_after_four_gigabytes_without_a_loss_a_loss_is_still_seen() -> None:
    congestion = started()
    una = UNA
    for _ in range(9):
        una = una + 2**29
        congestion.acknowledged(SIZE, una)

    assert [congestion.duplicate(una, una + 10 * SIZE) for _ in range(3)] == [False, False, True]
