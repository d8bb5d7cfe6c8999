"""One connection, call by call: the numbered checks of RFC 9293 3.10.7 in their order, the user's calls, the timers.

Ours is 192.168.1.5:49152, our first octet has sequence number 1001; theirs is 1.2.3.4:1194, and their first is 5001.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from glassgate.contract import Note, NoteKind, Rule, rules
from glassgate.reference.tcp.connection import (
    CHALLENGE_SECONDS,
    CHALLENGES,
    CHECKS,
    SYN_SENT_CHECKS,
    Connection,
    Endpoint,
    Options,
    SendSegment,
)
from glassgate.reference.tcp.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from glassgate.reference.tcp.sequence import SequenceNumber
from glassgate.reference.tcp.states import TRANSITIONS, State

LOCAL = Endpoint(IPv4Address("192.168.1.5"), 49152)
REMOTE = Endpoint(IPv4Address("1.2.3.4"), 1194)
ISS, IRS = SequenceNumber(1000), SequenceNumber(5000)
OURS, THEIRS = ISS + 1, IRS + 1
NOW = 100.0
OPTIONS = Options(mtu=1500, receive_capacity=10_000, send_capacity=100_000, text_because=rules.L3_ECHO, is_nagle=False)
SEGMENT = Segment(REMOTE.port, LOCAL.port, THEIRS, OURS, ACK, window=50_000)
SYN_ACK = replace(SEGMENT, sequence_number=IRS, control=SYN | ACK, maximum_segment_size=1460)


def connection(options: Options = OPTIONS) -> Connection:
    return Connection(LOCAL, REMOTE, ISS, options)


def syn_sent(options: Options = OPTIONS) -> Connection:
    made = connection(options)
    made.open(NOW)
    made.flush(NOW)
    return made


def established(options: Options = OPTIONS, syn_ack: Segment = SYN_ACK) -> Connection:
    made = syn_sent(options)
    made.receive(syn_ack, NOW)
    made.flush(NOW)
    assert made.state is State.ESTABLISHED
    return made


def half_open(options: Options = OPTIONS) -> Connection:
    made = connection(options)
    made.listen(replace(SYN_ACK, control=SYN, acknowledgment_number=SequenceNumber(0)), NOW)
    made.flush(NOW)
    return made


def close_wait() -> Connection:
    made = established()
    take(made, replace(SEGMENT, control=FIN | ACK))
    return made


def fin_wait_1() -> Connection:
    made = established()
    made.close()
    made.flush(NOW)
    return made


def fin_wait_2() -> Connection:
    made = fin_wait_1()
    take(made, replace(SEGMENT, acknowledgment_number=OURS + 1))
    return made


def closing() -> Connection:
    made = fin_wait_1()
    take(made, replace(SEGMENT, control=FIN | ACK))
    return made


def last_ack() -> Connection:
    made = close_wait()
    made.close()
    made.flush(NOW)
    return made


def time_wait() -> Connection:
    made = fin_wait_2()
    take(made, replace(SEGMENT, control=FIN | ACK, acknowledgment_number=OURS + 1))
    return made


IN_STATE = {
    State.SYN_SENT: syn_sent,
    State.SYN_RECEIVED: half_open,
    State.ESTABLISHED: established,
    State.FIN_WAIT_1: fin_wait_1,
    State.FIN_WAIT_2: fin_wait_2,
    State.CLOSE_WAIT: close_wait,
    State.CLOSING: closing,
    State.LAST_ACK: last_ack,
    State.TIME_WAIT: time_wait,
}
SYNCHRONIZED = [state for state in IN_STATE if state not in (State.SYN_SENT, State.SYN_RECEIVED)]


def take(end: Connection, segment: Segment, now: float = NOW) -> tuple[list[Segment], Rule]:
    """The segments that answer, and the rule of the one note on this segment's fate."""
    end.receive(segment, now)
    outputs = end.flush(now)
    [fate] = [output for output in outputs if isinstance(output, Note) and output.kind is not NoteKind.STATE]
    return segments(outputs), fate.rule


def segments(outputs: list[SendSegment | Note]) -> list[Segment]:
    return [output.segment for output in outputs if isinstance(output, SendSegment)]


def state_of(end: Connection) -> State:
    """The state as it is now: a checker that saw it compared once would think that it stays."""
    return end.state


def pass_until_due(end: Connection) -> tuple[float, list[Segment]]:
    """Let time pass to the next deadline; when that is, and what leaves."""
    due = end.deadline
    assert due is not None
    end.tick(due)
    return due, segments(end.flush(due))


def acknowledgment(sequence: SequenceNumber = OURS, expected: SequenceNumber = THEIRS, window: int = 10_000) -> Segment:
    return Segment(LOCAL.port, REMOTE.port, sequence, expected, ACK, window)


# ── the builders, and the table ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", IN_STATE)
def test_each_state_can_be_reached(state: State) -> None:
    assert IN_STATE[state]().state is state


def test_every_state_of_the_table_leads_to_closed() -> None:
    reached = {State.CLOSED}
    for _ in State:
        reached |= {before for (before, _), after in TRANSITIONS.items() if after in reached}

    assert reached == set(State)


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK, State.TIME_WAIT])
def test_a_second_close_is_refused_and_changes_nothing(state: State) -> None:
    end = IN_STATE[state]()

    end.close()

    [note] = end.flush(NOW)
    assert isinstance(note, Note)
    assert note.rule is rules.L3_UNLISTED
    assert end.state is state


def test_the_checks_stand_in_the_order_of_the_standard() -> None:
    assert [check.__name__.split("_")[1] for check in CHECKS] == [
        "first",
        "second",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
    ]
    assert [check.__name__.split("_")[3] for check in SYN_SENT_CHECKS] == ["first", "second", "fourth", "fifth"]


# ── OPEN, and SYN-SENT (3.10.7.3) ────────────────────────────────────────────────────────────────────────────────────


def test_an_active_open_sends_a_syn_with_segment_size_and_window_scale() -> None:
    end = connection(replace(OPTIONS, receive_capacity=1 << 20))

    end.open(NOW)

    assert segments(end.flush(NOW)) == [
        Segment(
            LOCAL.port,
            REMOTE.port,
            ISS,
            control=SYN,
            window=65535,
            maximum_segment_size=1460,
            window_scale=5,  # 65535 << 4 is less than 2**20
        )
    ]
    assert end.state is State.SYN_SENT


def test_a_syn_and_acknowledgment_establishes() -> None:
    end = syn_sent()

    answers, rule = take(end, SYN_ACK)

    assert answers == [acknowledgment()]
    assert rule is rules.L3_ESTABLISHED
    assert state_of(end) is State.ESTABLISHED


def test_text_and_fin_may_come_with_the_syn() -> None:
    end = syn_sent()

    answers, _ = take(end, replace(SYN_ACK, control=SYN | FIN | ACK, text=b"early"))

    assert end.read(100) == b"early"
    assert answers == [acknowledgment(expected=THEIRS + 6, window=9_994)]  # the edge stays
    assert state_of(end) is State.CLOSE_WAIT


def test_text_written_before_the_handshake_leaves_with_its_last_acknowledgment() -> None:
    end = syn_sent()
    end.write(b"hello")

    answers, _ = take(end, SYN_ACK)

    assert answers == [replace(acknowledgment(), control=PSH | ACK, text=b"hello")]


@pytest.mark.parametrize("wrong", [ISS, ISS + 2, ISS + -1])
def test_in_syn_sent_an_acknowledgment_of_something_else_is_reset(wrong: SequenceNumber) -> None:
    end = syn_sent()

    answers, rule = take(end, replace(SYN_ACK, acknowledgment_number=wrong))

    assert answers == [Segment(LOCAL.port, REMOTE.port, wrong, control=RST)]
    assert rule is rules.L3_SYN_SENT
    assert end.state is State.SYN_SENT


def test_in_syn_sent_a_reset_with_a_wrong_acknowledgment_is_dropped() -> None:
    end = syn_sent()

    assert take(end, replace(SYN_ACK, control=RST | ACK, acknowledgment_number=ISS)) == ([], rules.L3_SYN_SENT)
    assert end.state is State.SYN_SENT


def test_in_syn_sent_a_reset_without_acknowledgment_is_dropped() -> None:
    end = syn_sent()

    assert take(end, replace(SYN_ACK, control=RST)) == ([], rules.L3_SYN_SENT)
    assert end.state is State.SYN_SENT


def test_in_syn_sent_a_reset_that_acknowledges_the_syn_refuses_the_connection() -> None:
    end = syn_sent()

    assert take(end, replace(SYN_ACK, control=RST | ACK)) == ([], rules.L3_RESET)
    assert end.state is State.CLOSED
    assert end.closed_because is rules.L3_RESET
    assert end.deadline is None


def test_in_syn_sent_a_segment_with_neither_syn_nor_reset_is_dropped() -> None:
    end = syn_sent()

    assert take(end, replace(SYN_ACK, control=ACK)) == ([], rules.L3_SYN_SENT)
    assert end.state is State.SYN_SENT


def test_a_syn_that_crosses_ours_opens_simultaneously() -> None:
    end = syn_sent()

    answers, _ = take(end, replace(SYN_ACK, control=SYN, text=b"early"))
    assert state_of(end) is State.SYN_RECEIVED
    assert answers == [Segment(LOCAL.port, REMOTE.port, ISS, THEIRS, SYN | ACK, 10_000, maximum_segment_size=1460)]

    answers, _ = take(end, SEGMENT)
    assert state_of(end) is State.ESTABLISHED
    assert end.read(100) == b"early"
    assert answers == [acknowledgment(expected=THEIRS + 5, window=9995)]


# ── SYN-RECEIVED ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_passive_open_answers_with_syn_and_acknowledgment() -> None:
    end = connection()

    end.listen(replace(SYN_ACK, control=SYN), NOW)

    assert segments(end.flush(NOW)) == [
        Segment(LOCAL.port, REMOTE.port, ISS, THEIRS, SYN | ACK, 10_000, maximum_segment_size=1460)
    ]


def test_window_scale_is_answered_only_to_those_who_offered_it() -> None:
    end = connection(replace(OPTIONS, receive_capacity=1 << 20))

    end.listen(replace(SYN_ACK, control=SYN, window_scale=7), NOW)

    [answer] = segments(end.flush(NOW))
    assert answer.window_scale == 5
    assert answer.window == 65535  # the window of a SYN is never scaled


def test_the_last_acknowledgment_of_the_handshake_establishes_and_its_text_counts() -> None:
    end = half_open()

    answers, rule = take(end, replace(SEGMENT, text=b"hello"))

    assert state_of(end) is State.ESTABLISHED
    assert end.read(100) == b"hello"
    assert answers == [acknowledgment(expected=THEIRS + 5, window=9995)]
    assert rule is rules.L3_TEXT


def test_in_syn_received_a_wrong_acknowledgment_is_reset() -> None:
    end = half_open()

    answers, rule = take(end, replace(SEGMENT, acknowledgment_number=ISS + 2))

    assert answers == [Segment(LOCAL.port, REMOTE.port, ISS + 2, control=RST)]
    assert rule is rules.L3_UNACCEPTABLE_ACK
    assert state_of(end) is State.SYN_RECEIVED


def test_in_syn_received_a_syn_in_the_window_returns_to_listen() -> None:
    end = half_open()

    assert take(end, replace(SEGMENT, control=SYN)) == ([], rules.L3_RETURN_TO_LISTEN)
    assert end.state is State.CLOSED


def test_in_syn_received_of_an_active_open_a_syn_is_challenged() -> None:
    end = syn_sent()
    take(end, replace(SYN_ACK, control=SYN))

    assert take(end, replace(SEGMENT, control=SYN)) == ([acknowledgment()], rules.L3_CHALLENGE_SYN)
    assert state_of(end) is State.SYN_RECEIVED


def test_a_close_before_the_handshake_is_complete_waits_for_it() -> None:
    end = half_open()

    end.close()
    assert segments(end.flush(NOW)) == []
    assert end.write(b"too late") == 0
    answers, _ = take(end, SEGMENT)

    assert answers == [replace(acknowledgment(), control=FIN | ACK)]
    assert end.state is State.FIN_WAIT_1


# ── first: the sequence number ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("offset", [-5, -1, 10_000, 2**31 - 1])
def test_first_a_segment_outside_the_window_is_acknowledged_and_dropped(offset: int) -> None:
    end = established()

    answers, rule = take(end, replace(SEGMENT, sequence_number=THEIRS + offset, text=b"x"))

    assert answers == [acknowledgment()]
    assert rule is rules.L3_SEQUENCE
    assert end.readable == 0


@pytest.mark.parametrize("offset", [0, 9_999])
def test_first_a_segment_that_begins_in_the_window_is_acceptable(offset: int) -> None:
    _, rule = take(established(), replace(SEGMENT, sequence_number=THEIRS + offset, text=b"xy"))

    assert rule is not rules.L3_SEQUENCE


def test_first_a_segment_that_ends_in_the_window_is_acceptable_and_its_old_octets_are_not_taken_twice() -> None:
    end = established()
    take(end, replace(SEGMENT, text=b"abc"))

    take(end, replace(SEGMENT, text=b"abcdef"))

    assert end.read(100) == b"abcdef"


def test_first_a_reset_outside_the_window_is_dropped_silently() -> None:
    end = established()

    assert take(end, replace(SEGMENT, sequence_number=THEIRS + -1, control=RST)) == ([], rules.L3_SEQUENCE)
    assert state_of(end) is State.ESTABLISHED


def test_first_a_closed_window_takes_acknowledgments_and_refuses_text() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)
    for start in range(0, 10_000, 1000):
        take(end, replace(SEGMENT, sequence_number=THEIRS + start, text=bytes(1000)))

    full = replace(SEGMENT, sequence_number=THEIRS + 10_000, acknowledgment_number=OURS + 5, text=b"x")
    answers, rule = take(end, full)

    assert answers == [acknowledgment(OURS + 5, THEIRS + 10_000, window=0)]
    assert rule is rules.L3_SEQUENCE
    assert end.readable == 10_000
    assert end.deadline is None  # our text is acknowledged all the same


def test_first_a_closed_window_takes_a_reset() -> None:
    end = established(replace(OPTIONS, receive_capacity=5))
    take(end, replace(SEGMENT, text=b"12345"))

    _, rule = take(end, replace(SEGMENT, sequence_number=THEIRS + 5, control=RST))

    assert rule is rules.L3_RESET


def test_first_a_closed_window_refuses_what_is_not_next() -> None:
    end = established(replace(OPTIONS, receive_capacity=5))
    take(end, replace(SEGMENT, text=b"12345"))

    _, rule = take(end, replace(SEGMENT, sequence_number=THEIRS + 4, control=ACK))

    assert rule is rules.L3_SEQUENCE


# ── second: the reset ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [State.SYN_RECEIVED, *SYNCHRONIZED])
def test_second_a_reset_at_the_expected_number_ends_the_connection(state: State) -> None:
    end = IN_STATE[state]()

    answers, rule = take(end, replace(SEGMENT, sequence_number=end.receiving.nxt, control=RST))

    assert (answers, rule) == ([], rules.L3_RESET)
    assert end.state is State.CLOSED
    assert end.deadline is None


@pytest.mark.parametrize("state", [State.SYN_RECEIVED, *SYNCHRONIZED])
def test_second_a_reset_elsewhere_in_the_window_is_challenged(state: State) -> None:
    end = IN_STATE[state]()

    answers, rule = take(end, replace(SEGMENT, sequence_number=end.receiving.nxt + 1, control=RST))

    assert [answer.control for answer in answers] == [ACK]
    assert answers[0].acknowledgment_number == end.receiving.nxt
    assert rule is rules.L3_CHALLENGE_RESET
    assert end.state is state


# ── fourth: the SYN ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_fourth_a_syn_in_a_synchronized_state_is_challenged(state: State) -> None:
    end = IN_STATE[state]()

    answers, rule = take(end, replace(SEGMENT, sequence_number=end.receiving.nxt, control=SYN))

    assert [answer.control for answer in answers] == [ACK]
    assert rule is rules.L3_CHALLENGE_SYN
    assert end.state is state


def test_challenges_are_limited_and_the_limit_passes() -> None:
    end = established()
    syn = replace(SEGMENT, control=SYN)

    answered = sum(len(take(end, syn)[0]) for _ in range(CHALLENGES + 5))

    assert answered == CHALLENGES
    assert len(take(end, syn, NOW + CHALLENGE_SECONDS)[0]) == 1


def test_the_limit_of_challenges_slides() -> None:
    end = established()
    syn = replace(SEGMENT, control=SYN)
    for number in range(CHALLENGES):
        take(end, syn, NOW + min(number, 1))

    at_the_end_of_the_first = NOW + CHALLENGE_SECONDS

    assert [len(take(end, syn, at_the_end_of_the_first)[0]) for _ in range(3)] == [1, 0, 0]


def test_a_challenge_that_the_limit_holds_back_is_told() -> None:
    end = established()
    syn = replace(SEGMENT, control=SYN)
    for _ in range(CHALLENGES):
        take(end, syn)

    end.receive(syn, NOW)

    assert (rules.L3_CHALLENGE_LIMIT, None, None) in notes_of(end.flush(NOW))


def test_segments_without_text_outside_the_window_are_answered_within_the_same_limit() -> None:
    end = established()
    old = replace(SEGMENT, sequence_number=THEIRS + -1)

    assert sum(len(take(end, old)[0]) for _ in range(2 * CHALLENGES)) == CHALLENGES


# ── fifth: the acknowledgment ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [State.SYN_RECEIVED, *SYNCHRONIZED])
def test_fifth_a_segment_without_acknowledgment_is_dropped(state: State) -> None:
    end = IN_STATE[state]()

    answers, rule = take(end, replace(SEGMENT, sequence_number=end.receiving.nxt, control=0, text=b"x"))

    assert (answers, rule) == ([], rules.L3_NO_ACK)


@pytest.mark.parametrize("offset", [1, -50_001])
def test_fifth_an_acknowledgment_of_what_was_never_sent_or_long_ago_is_answered_and_dropped(offset: int) -> None:
    end = established()

    answers, rule = take(end, replace(SEGMENT, acknowledgment_number=OURS + offset, text=b"injected"))

    assert answers == [acknowledgment()]
    assert rule is rules.L3_UNACCEPTABLE_ACK
    assert end.readable == 0


def test_fifth_an_old_acknowledgment_is_ignored_and_the_text_behind_it_taken() -> None:
    end = established()

    _, rule = take(end, replace(SEGMENT, acknowledgment_number=OURS + -50_000, text=b"fine"))

    assert rule is rules.L3_TEXT
    assert end.read(10) == b"fine"


def test_fifth_an_acceptable_acknowledgment_frees_the_send_buffer() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)

    assert take(end, replace(SEGMENT, acknowledgment_number=OURS + 3)) == ([], rules.L3_ACCEPTABLE_ACK)
    assert bytes(end.sending.outgoing) == b"lo"
    assert end.room == 100_000 - 2


def test_fifth_the_window_comes_from_the_newest_segment_only() -> None:
    end = established()
    take(end, replace(SEGMENT, sequence_number=THEIRS + 1, window=100, text=b"b"))

    take(end, replace(SEGMENT, window=9, text=b"a"))

    assert end.sending.wnd == 100


def test_fifth_the_first_window_counts_wherever_their_numbers_begin() -> None:
    far = SequenceNumber(3_000_000_000)
    end = established(syn_ack=replace(SYN_ACK, sequence_number=far))
    passive = connection()
    passive.listen(replace(SYN_ACK, sequence_number=far, control=SYN), NOW)
    passive.receive(replace(SEGMENT, sequence_number=far + 1), NOW)

    assert (end.sending.wnd, passive.sending.wnd) == (50_000, 50_000)


def test_fifth_the_window_is_scaled_outside_of_syns() -> None:
    end = established(replace(OPTIONS, receive_capacity=1 << 20), replace(SYN_ACK, window_scale=7, window=1000))
    assert end.sending.wnd == 1000

    take(end, replace(SEGMENT, window=1000))

    assert end.sending.wnd == 128_000


@pytest.mark.parametrize(
    ("state", "following"),
    [
        (State.FIN_WAIT_1, State.FIN_WAIT_2),
        (State.CLOSING, State.TIME_WAIT),
        (State.LAST_ACK, State.CLOSED),
    ],
)
def test_fifth_an_acknowledgment_of_our_fin_moves_on(state: State, following: State) -> None:
    end = IN_STATE[state]()

    segment = replace(SEGMENT, sequence_number=end.receiving.nxt, acknowledgment_number=OURS + 1)
    assert take(end, segment) == ([], rules.L3_ACCEPTABLE_ACK)

    assert end.state is following


# ── sixth: urgent ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sixth_urgent_text_stays_in_line_and_is_told() -> None:
    end = established()

    end.receive(replace(SEGMENT, control=URG | ACK, urgent_pointer=1, text=b"!"), NOW)

    assert rules.L3_URGENT in [output.rule for output in end.flush(NOW) if isinstance(output, Note)]
    assert end.read(10) == b"!"


@pytest.mark.parametrize(("state", "control"), [(State.CLOSE_WAIT, URG | ACK), (State.ESTABLISHED, ACK)])
def test_sixth_nothing_is_told_without_urgent_text_or_after_the_fin(state: State, control: int) -> None:
    end = IN_STATE[state]()

    end.receive(replace(SEGMENT, sequence_number=end.receiving.nxt, control=control, urgent_pointer=1), NOW)

    assert rules.L3_URGENT not in [output.rule for output in end.flush(NOW) if isinstance(output, Note)]


# ── seventh: text ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_seventh_text_in_order_is_taken_and_acknowledged() -> None:
    end = established()

    answers, rule = take(end, replace(SEGMENT, text=b"hello"))

    assert answers == [acknowledgment(expected=THEIRS + 5, window=9_995)]
    assert rule is rules.L3_TEXT
    assert end.read(100) == b"hello"


def test_seventh_text_beyond_a_gap_is_kept_and_the_acknowledgment_repeats() -> None:
    end = established()

    answers, rule = take(end, replace(SEGMENT, sequence_number=THEIRS + 3, text=b"def"))
    assert answers == [acknowledgment()]
    assert rule is rules.L3_OUT_OF_ORDER
    assert end.readable == 0

    answers, rule = take(end, replace(SEGMENT, text=b"abc"))
    assert answers == [acknowledgment(expected=THEIRS + 6, window=9_994)]
    assert rule is rules.L3_TEXT
    assert end.read(100) == b"abcdef"


def test_seventh_text_beyond_the_window_is_cut_off() -> None:
    end = established(replace(OPTIONS, receive_capacity=5))

    answers, _ = take(end, replace(SEGMENT, text=b"12345678"))

    assert answers == [acknowledgment(expected=THEIRS + 5, window=0)]
    assert end.read(100) == b"12345"


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT])
def test_seventh_text_after_the_fin_is_ignored(state: State) -> None:
    end = IN_STATE[state]()

    segment = replace(SEGMENT, sequence_number=THEIRS + 1, text=b"more")
    answers, rule = take(end, segment)

    assert (answers, rule) == ([], rules.L3_ACCEPTABLE_ACK)
    assert end.readable == 0


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.FIN_WAIT_2])
def test_seventh_text_still_comes_in_after_our_close(state: State) -> None:
    end = IN_STATE[state]()

    take(end, replace(SEGMENT, text=b"more"))

    assert end.read(100) == b"more"


def test_reading_opens_the_window_and_tells_so_once_it_is_worth_it() -> None:
    end = established()
    for start in range(0, 10_000, 1000):
        take(end, replace(SEGMENT, sequence_number=THEIRS + start, text=bytes(1000)))

    end.read(1459)
    assert end.flush(NOW) == []
    end.read(1)

    [update] = end.flush(NOW)
    assert isinstance(update, SendSegment)
    assert update.because is rules.L3_WINDOW_UPDATE
    assert update.segment == acknowledgment(expected=THEIRS + 10_000, window=1460)


def test_without_scaling_the_window_is_what_its_field_holds() -> None:
    end = established(replace(OPTIONS, receive_capacity=1 << 20))  # the other side offered no scaling

    answers, _ = take(end, replace(SEGMENT, text=bytes(1460)))
    assert answers[0].window == 65535 - 1460
    end.read(1460)
    answers, _ = take(end, replace(SEGMENT, sequence_number=THEIRS + 1460, text=b"x"))
    assert answers[0].window == 65534


def test_with_scaling_the_window_is_told_in_units() -> None:
    end = established(replace(OPTIONS, receive_capacity=1 << 20), replace(SYN_ACK, window_scale=0))

    answers, _ = take(end, replace(SEGMENT, text=bytes(64)))

    assert answers[0].window == (1 << 20) - 64 >> 5


def test_the_window_that_is_told_never_shrinks() -> None:
    end = established()
    edges = []
    for start in range(0, 9_000, 700):
        answers, _ = take(end, replace(SEGMENT, sequence_number=THEIRS + start, text=bytes(700)))
        edges += [answer.acknowledgment_number + answer.window for answer in answers]
        end.read(start % 500)

    assert edges == sorted(edges)


# ── eighth: the FIN ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "following"),
    [
        (State.SYN_RECEIVED, State.CLOSE_WAIT),
        (State.ESTABLISHED, State.CLOSE_WAIT),
        (State.FIN_WAIT_1, State.CLOSING),
        (State.FIN_WAIT_2, State.TIME_WAIT),
    ],
)
def test_eighth_a_fin_in_its_turn_is_acknowledged(state: State, following: State) -> None:
    end = IN_STATE[state]()

    answers, rule = take(end, replace(SEGMENT, control=FIN | ACK, text=b"bye"))

    assert answers[-1].acknowledgment_number == THEIRS + 4
    assert rule is rules.L3_FIN
    assert end.state is following
    assert end.read(100) == b"bye"
    assert end.is_remote_closed


def test_eighth_a_fin_that_acknowledges_ours_goes_straight_to_time_wait() -> None:
    end = fin_wait_1()

    take(end, replace(SEGMENT, control=FIN | ACK, acknowledgment_number=OURS + 1))

    assert end.state is State.TIME_WAIT


def test_eighth_a_fin_beyond_a_gap_waits_for_its_turn() -> None:
    end = established()

    answers, rule = take(end, replace(SEGMENT, sequence_number=THEIRS + 3, control=FIN | ACK))
    assert (answers, rule) == ([acknowledgment()], rules.L3_ACCEPTABLE_ACK)
    assert state_of(end) is State.ESTABLISHED

    answers, _ = take(end, replace(SEGMENT, text=b"abc"))
    assert answers == [acknowledgment(expected=THEIRS + 4, window=9_996)]
    assert state_of(end) is State.CLOSE_WAIT


def test_eighth_a_fin_just_beyond_the_window_is_not_believed() -> None:
    end = established(replace(OPTIONS, receive_capacity=3))

    take(end, replace(SEGMENT, control=FIN | ACK, text=b"abc"))

    assert state_of(end) is State.ESTABLISHED
    end.read(3)
    end.flush(NOW)
    take(end, replace(SEGMENT, sequence_number=THEIRS + 3, control=FIN | ACK))
    assert state_of(end) is State.CLOSE_WAIT


def test_a_repeated_fin_restarts_time_wait_and_is_acknowledged() -> None:
    end = time_wait()
    assert end.deadline == NOW + 240

    fin = replace(SEGMENT, control=FIN | ACK, acknowledgment_number=OURS + 1)
    answers, _ = take(end, fin, NOW + 100)

    assert answers == [acknowledgment(OURS + 1, THEIRS + 1, window=9_999)]
    assert end.deadline == NOW + 340


def test_time_wait_ends_after_two_segment_lifetimes() -> None:
    end = time_wait()

    assert pass_until_due(end) == (NOW + 240, [])
    assert end.state is State.CLOSED
    assert end.closed_because is rules.L3_TIME_WAIT


# ── SEND ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_text_leaves_in_full_segments_and_the_last_is_pushed() -> None:
    end = established()

    end.write(bytes(3000))

    sent = segments(end.flush(NOW))
    assert [(segment.sequence_number - OURS, len(segment.text)) for segment in sent] == [
        (0, 1460),
        (1460, 1460),
        (2920, 80),
    ]
    assert [segment.control for segment in sent] == [ACK, ACK, PSH | ACK]


def test_no_more_is_taken_than_there_is_room_for() -> None:
    end = established(replace(OPTIONS, send_capacity=10))

    assert end.write(b"0123456789abc") == 10
    assert end.room == 0
    assert end.write(b"x") == 0


@pytest.mark.parametrize(("announced", "size"), [(None, 536), (1460, 1460), (9000, 1460), (100, 100), (1, 28), (0, 28)])
def test_segments_are_as_large_as_both_sides_allow(announced: int | None, size: int) -> None:
    end = established(syn_ack=replace(SYN_ACK, maximum_segment_size=announced))

    end.write(bytes(5000))

    assert len(segments(end.flush(NOW))[0].text) == size


def test_no_more_is_under_way_than_the_window_allows() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=2000))

    end.write(bytes(5000))

    assert sum(len(segment.text) for segment in segments(end.flush(NOW))) == 1460  # 540 more would be silly
    answers, _ = take(end, replace(SEGMENT, acknowledgment_number=OURS + 1460, window=2000))
    assert [len(segment.text) for segment in answers] == [1460]


def test_half_of_the_largest_window_is_worth_sending() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=1000))

    end.write(bytes(5000))

    assert [len(segment.text) for segment in segments(end.flush(NOW))] == [1000]


def test_nagle_holds_a_small_segment_while_another_is_under_way() -> None:
    end = established(replace(OPTIONS, is_nagle=True))
    end.write(b"a")
    assert len(segments(end.flush(NOW))) == 1

    end.write(b"b")
    end.write(b"c")
    assert segments(end.flush(NOW)) == []

    answers, _ = take(end, replace(SEGMENT, acknowledgment_number=OURS + 1))
    assert [answer.text for answer in answers] == [b"bc"]


def test_nagle_does_not_hold_the_last_text_before_a_fin() -> None:
    end = established(replace(OPTIONS, is_nagle=True))
    end.write(b"a")
    end.flush(NOW)

    end.write(b"b")
    end.close()

    assert [(answer.text, answer.control) for answer in segments(end.flush(NOW))] == [(b"b", PSH | FIN | ACK)]


def test_without_nagle_each_text_leaves_at_once() -> None:
    end = established()
    end.write(b"a")
    end.flush(NOW)

    end.write(b"b")

    assert [answer.text for answer in segments(end.flush(NOW))] == [b"b"]


def test_text_leaves_by_the_rule_of_its_user_and_again_by_that_of_retransmission() -> None:
    def because(outputs: list[SendSegment | Note]) -> list[Rule]:
        return [output.because for output in outputs if isinstance(output, SendSegment)]

    end = established()
    end.write(bytes(1500))

    assert because(end.flush(NOW)) == [rules.L3_ECHO, rules.L3_ECHO]
    end.tick(NOW + 1)
    assert because(end.flush(NOW + 1)) == [rules.L3_RETRANSMIT]
    end.close()
    end.receive(replace(SEGMENT, acknowledgment_number=OURS + 1500), NOW + 1)
    assert because(end.flush(NOW + 1)) == [rules.L3_CLOSE]


# ── CLOSE and ABORT ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_close_sends_a_fin_after_the_last_octet() -> None:
    end = established()
    end.write(b"bye")

    end.close()

    assert segments(end.flush(NOW)) == [replace(acknowledgment(), control=FIN | PSH | ACK, text=b"bye")]
    assert end.state is State.FIN_WAIT_1
    assert end.write(b"more") == 0


def test_a_fin_waits_for_the_text_that_the_window_holds_back() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=1460))
    end.write(bytes(1500))
    end.close()

    [first] = segments(end.flush(NOW))
    assert first.control == ACK
    answers, _ = take(end, replace(SEGMENT, acknowledgment_number=OURS + 1460, window=1460))
    assert [(len(answer.text), answer.control) for answer in answers] == [(40, FIN | PSH | ACK)]


def test_a_close_in_syn_sent_forgets_the_connection() -> None:
    end = syn_sent()

    end.close()

    assert segments(end.flush(NOW)) == []
    assert end.state is State.CLOSED
    assert end.deadline is None


def test_an_abort_forgets_what_waits() -> None:
    end = established()
    end.write(b"unsent")

    end.abort()

    assert end.room == OPTIONS.send_capacity
    assert [segment.text for segment in segments(end.flush(NOW))] == [b""]


@pytest.mark.parametrize("state", IN_STATE)
def test_an_abort_tells_the_other_side_where_it_would_listen(state: State) -> None:
    end = IN_STATE[state]()
    silent = state in (State.SYN_SENT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT)

    end.abort()

    sent = segments(end.flush(NOW))
    assert [segment.control for segment in sent] == ([] if silent else [RST])
    assert all(segment.sequence_number == end.sending.highest for segment in sent)
    assert end.state is State.CLOSED
    assert not end.sending.outgoing
    assert end.deadline is None


def test_an_abort_of_nothing_is_refused() -> None:
    end = connection()

    end.abort()

    assert segments(end.flush(NOW)) == []


def test_a_second_open_is_refused() -> None:
    end = established()

    end.open(NOW)

    assert segments(end.flush(NOW)) == []
    assert state_of(end) is State.ESTABLISHED


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_syn_is_sent_again_after_1_2_4_8_seconds_and_given_up_after_three_minutes() -> None:
    end = syn_sent()

    times = []
    while end.state is State.SYN_SENT:
        due, sent = pass_until_due(end)
        times.append((due - NOW, [segment.control for segment in sent]))

    assert times == [(at, [SYN]) for at in (1, 3, 7, 15, 31, 63, 123)] + [(183, [])]
    assert end.closed_because is rules.L3_GIVE_UP


def test_the_answer_to_a_syn_is_sent_again_too() -> None:
    end = half_open()

    assert [segment.control for segment in pass_until_due(end)[1]] == [SYN | ACK]


def test_after_a_lost_syn_text_starts_with_three_seconds_and_one_segment() -> None:
    end = syn_sent()
    pass_until_due(end)
    take(end, SYN_ACK, NOW + 1.1)

    end.write(bytes(5000))

    assert len(segments(end.flush(NOW + 2))) == 1
    assert end.deadline == NOW + 2 + 3


def test_text_is_sent_again_with_doubled_times_and_given_up_with_a_reset() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)

    times = []
    while end.state is State.ESTABLISHED:
        due, sent = pass_until_due(end)
        times.append((due - NOW, [(segment.control, segment.text) for segment in sent]))

    text = [(PSH | ACK, b"hello")]
    assert times == [(at, text) for at in (1, 3, 7, 15, 31, 63)] + [(123, [(RST, b"")])]
    assert end.closed_because is rules.L3_GIVE_UP


def test_a_fin_is_sent_again_and_given_up_silently_in_last_ack() -> None:
    end = last_ack()
    for _ in range(6):
        assert [segment.control for segment in pass_until_due(end)[1]] == [FIN | ACK]

    assert pass_until_due(end)[1] == []
    assert end.state is State.CLOSED


def test_after_a_time_out_everything_is_sent_again_from_the_first_gap_on_one_segment_at_first() -> None:
    end = established()
    end.write(bytes(4380))
    assert len(segments(end.flush(NOW))) == 3

    due, sent = pass_until_due(end)
    assert [segment.sequence_number - OURS for segment in sent] == [0]
    answers, _ = take(end, replace(SEGMENT, acknowledgment_number=OURS + 1460), due)
    assert [segment.sequence_number - OURS for segment in answers] == [1460, 2920]


def test_an_acknowledgment_of_everything_stops_the_timer() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)

    take(end, replace(SEGMENT, acknowledgment_number=OURS + 5))

    assert end.deadline is None


def test_what_was_sent_again_is_not_measured() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)
    due, _ = pass_until_due(end)

    take(end, replace(SEGMENT, acknowledgment_number=OURS + 5), due + 0.5)

    assert end.sending.timeout.seconds == 2  # the doubled time stays until something can be measured (RFC 6298 5)


def test_a_tick_before_its_time_does_nothing() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)

    end.tick(NOW + 0.99)

    assert end.flush(NOW + 0.99) == []


def test_a_time_out_counts_once_until_what_it_asks_for_has_left() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)

    end.tick(NOW + 1)
    end.tick(NOW + 1)

    assert [segment.text for segment in segments(end.flush(NOW + 1))] == [b"hello"]
    assert end.sending.timeout.seconds == 2  # RFC 6298 5.5: doubled for each expiry


def test_three_duplicate_acknowledgments_have_the_missing_segment_sent_again_at_once() -> None:
    end = established()
    end.write(bytes(1460 * 3))
    end.flush(NOW)

    assert [take(end, SEGMENT) for _ in range(2)] == [([], rules.L3_ACCEPTABLE_ACK)] * 2
    end.receive(SEGMENT, NOW)
    [sent] = [output for output in end.flush(NOW) if isinstance(output, SendSegment)]

    assert sent.because is rules.L3_FAST_RETRANSMIT
    assert (sent.segment.sequence_number, len(sent.segment.text)) == (OURS, 1460)


def test_the_first_two_duplicates_let_a_new_segment_out_each() -> None:
    end = established()
    end.write(bytes(1460 * 10))
    assert len(segments(end.flush(NOW))) == 3  # the initial window (RFC 5681 3.1)

    assert [[segment.sequence_number - OURS for segment in take(end, SEGMENT)[0]] for _ in range(2)] == [
        [4380],
        [5840],
    ]


@pytest.mark.parametrize(
    "changes", [{"text": b"x"}, {"window": 1}, {"control": FIN | ACK}], ids=["text", "window", "fin"]
)
def test_an_acknowledgment_that_says_something_else_is_no_duplicate(changes: dict[str, object]) -> None:
    end = established()
    end.write(bytes(1460 * 3))
    end.flush(NOW)

    end.receive(replace(SEGMENT, **changes), NOW)  # type: ignore[arg-type]

    assert end.sending.congestion.duplicates == 0


def test_with_nothing_under_way_no_acknowledgment_is_a_duplicate() -> None:
    end = established()

    take(end, SEGMENT)

    assert end.sending.congestion.duplicates == 0


def test_a_partial_acknowledgment_in_recovery_has_the_next_gap_filled() -> None:
    end = established()
    end.write(bytes(1460 * 3))
    end.flush(NOW)
    for _ in range(3):
        take(end, SEGMENT)

    answers, _ = take(end, replace(SEGMENT, acknowledgment_number=OURS + 1460))

    assert [segment.sequence_number - OURS for segment in answers] == [1460]


def test_what_arp_held_back_begins_its_time_when_it_leaves() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)

    end.held_back_until(NOW + 0.9)

    assert end.deadline == NOW + 1.9
    take(end, replace(SEGMENT, acknowledgment_number=OURS + 5), NOW + 1)
    assert end.sending.timeout.smoothed_round_trip == pytest.approx(0.1 / 8)  # the handshake took no time here


def test_what_arp_held_back_needs_no_time_if_nobody_is_to_acknowledge_it() -> None:
    end = established()

    end.held_back_until(NOW + 0.9)

    assert end.deadline is None


@pytest.mark.parametrize(("idle", "segments_sent"), [(1.0, 6), (1.01, 3)])
def test_after_idling_for_longer_than_the_time_out_slow_start_begins_anew(idle: float, segments_sent: int) -> None:
    end = established()
    for number in range(3):
        end.write(bytes(1460))
        end.flush(NOW)
        take(end, replace(SEGMENT, acknowledgment_number=OURS + 1460 * (number + 1)))

    end.write(bytes(1460 * 20))

    assert len(segments(end.flush(NOW + idle))) == segments_sent


# ── closed and silly windows ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_closed_window_is_probed_with_one_octet_ever_more_rarely() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=0))
    end.write(b"hello")
    assert segments(end.flush(NOW)) == []

    times = []
    for _ in range(8):
        due, sent = pass_until_due(end)
        times.append(due - NOW)
        assert [(segment.sequence_number, segment.text) for segment in sent] == [(OURS, b"h")]
        take(end, replace(SEGMENT, window=0), due)  # still closed: the connection lives on

    assert times == [1, 3, 7, 15, 31, 63, 123, 183]
    assert state_of(end) is State.ESTABLISHED


def test_a_window_that_closes_again_is_probed_from_the_beginning() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=0))
    end.write(bytes(2000))
    end.flush(NOW)
    for _ in range(3):
        due, _ = pass_until_due(end)
        take(end, replace(SEGMENT, window=0), due)
    take(end, replace(SEGMENT, window=1460), due)

    take(end, replace(SEGMENT, acknowledgment_number=OURS + 1460, window=0), due)

    assert end.deadline == due + end.sending.timeout.seconds


def test_a_probe_that_nobody_answers_is_given_up() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=0))
    end.write(b"hello")
    end.flush(NOW)

    for _ in range(6):
        pass_until_due(end)
    _, sent = pass_until_due(end)

    assert [segment.control for segment in sent] == [RST]
    assert end.closed_because is rules.L3_GIVE_UP


@pytest.mark.parametrize("accepted", [0, 1])
def test_a_window_that_opens_lets_the_text_out(accepted: int) -> None:
    end = established(syn_ack=replace(SYN_ACK, window=0))
    end.write(b"hello")
    end.flush(NOW)
    pass_until_due(end)

    answers, _ = take(end, replace(SEGMENT, acknowledgment_number=OURS + accepted), NOW + 1)

    assert [(segment.sequence_number, segment.text) for segment in answers] == [(OURS + accepted, b"hello"[accepted:])]


def test_while_a_window_is_probed_acknowledgments_do_not_count_the_probe() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=0))
    end.write(b"hello")
    end.flush(NOW)
    pass_until_due(end)

    answers, _ = take(end, replace(SEGMENT, text=b"x", window=0), NOW + 1)

    assert answers == [acknowledgment(OURS, THEIRS + 1, window=9_999)]


def test_a_silly_window_is_used_after_half_a_second() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=5000))
    take(end, replace(SEGMENT, window=10))
    end.write(bytes(2000))
    assert segments(end.flush(NOW)) == []

    due, sent = pass_until_due(end)

    assert due == NOW + 0.5
    assert [len(segment.text) for segment in sent] == [10]
    assert end.deadline == due + 1  # and it is retransmitted like any text


def test_a_window_that_closes_over_text_under_way_is_probed_after_the_time_out() -> None:
    end = established()
    end.write(bytes(2000))
    end.flush(NOW)
    take(end, replace(SEGMENT, window=0), NOW + 0.5)

    due, sent = pass_until_due(end)

    assert due == NOW + 1.5  # since the window closed (RFC 9293 3.8.6.1, SHLD-29), not since the text left
    assert [(segment.sequence_number, len(segment.text)) for segment in sent] == [(OURS, 1)]
    assert end.sending.timeout.seconds == 1  # nothing was lost


def test_a_window_that_opens_by_little_while_it_is_probed_is_used_after_half_a_second() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=1000))
    take(end, replace(SEGMENT, window=0))
    end.write(bytes(2000))
    end.flush(NOW)
    assert end.deadline == NOW + 1
    take(end, replace(SEGMENT, window=10), NOW + 0.2)

    due, sent = pass_until_due(end)

    assert due == NOW + 0.7
    assert [len(segment.text) for segment in sent] == [10]


def test_a_window_that_closes_again_without_having_been_used_is_probed_after_the_whole_time_out() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=1000))
    take(end, replace(SEGMENT, window=10))
    end.write(bytes(2000))
    end.flush(NOW)
    take(end, replace(SEGMENT, window=0), NOW + 0.25)

    assert end.deadline == NOW + 1.25


def test_a_fin_that_a_closed_window_does_not_take_keeps_its_connection_while_that_is_told() -> None:
    end = established(syn_ack=replace(SYN_ACK, window=0))
    end.close()
    assert [segment.control for segment in segments(end.flush(NOW))] == [FIN | ACK]

    for _ in range(10):
        due, sent = pass_until_due(end)
        assert [segment.control for segment in sent] == [FIN | ACK]
        take(end, replace(SEGMENT, window=0), due)

    assert state_of(end) is State.FIN_WAIT_1


def test_a_fin_waits_while_the_window_has_shrunk_below_what_is_under_way() -> None:
    end = established()
    end.write(bytes(1460))
    end.flush(NOW)
    take(end, replace(SEGMENT, window=100))

    end.close()

    assert segments(end.flush(NOW)) == []


def test_a_fast_retransmission_repeats_what_was_sent_and_nothing_beyond_the_window() -> None:
    end = established()
    end.write(bytes(1000))
    end.flush(NOW)
    take(end, replace(SEGMENT, window=400))
    end.write(bytes(1000))
    end.flush(NOW)

    sent = [segment for _ in range(3) for segment in take(end, replace(SEGMENT, window=400))[0]]

    assert [(segment.sequence_number, len(segment.text)) for segment in sent] == [(OURS, 400)]


def test_a_fast_retransmission_waits_for_a_window_that_has_closed_since() -> None:
    end = established()
    end.write(bytes(1460 * 3))
    end.flush(NOW)
    for _ in range(3):
        end.receive(SEGMENT, NOW)

    end.receive(replace(SEGMENT, window=0), NOW)

    assert segments(end.flush(NOW)) == []
    _, [probe] = pass_until_due(end)
    assert (probe.sequence_number, len(probe.text)) == (OURS, 1)


# ── ICMP errors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_sequence_numbers_in_flight_are_believed() -> None:
    end = established()
    end.write(b"hello")
    end.flush(NOW)

    assert [end.is_in_flight(OURS + offset) for offset in (-1, 0, 4, 5)] == [False, True, True, False]


def test_a_smaller_path_has_the_text_cut_anew_and_sent_again() -> None:
    end = established()
    end.write(bytes(1460))
    end.flush(NOW)

    end.packet_too_big(1000)

    assert [len(segment.text) for segment in segments(end.flush(NOW))] == [960, 500]


def test_no_error_makes_segments_larger_or_absurdly_small() -> None:
    end = established()

    end.packet_too_big(9000)
    assert end.sending.segment_size == 1460
    end.packet_too_big(0)
    assert end.sending.segment_size == 28


def test_a_hard_error_ends_an_attempt_and_no_connection() -> None:
    attempt, open_ = syn_sent(), established()

    attempt.unreachable()
    open_.unreachable()

    assert attempt.closed_because is rules.L4_FLOW_ERROR
    assert open_.state is State.ESTABLISHED


# ── notes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def notes_of(outputs: list[SendSegment | Note]) -> list[tuple[Rule, object, object]]:
    """Rule, the state before and the state after, of each change."""
    notes = [output for output in outputs if isinstance(output, Note) and output.kind is NoteKind.STATE]
    return [(note.rule, note.detail.get("was"), note.detail.get("state")) for note in notes]


def test_each_change_of_state_is_told_with_what_led_to_it() -> None:
    end = connection()

    end.open(NOW)
    assert notes_of(end.flush(NOW)) == [
        (rules.S2_OPEN_FLOW, "CLOSED", "SYN-SENT"),
        (rules.L3_INITIAL_SEQUENCE, None, None),
        (rules.L3_MSS, None, None),
    ]
    end.receive(SYN_ACK, NOW)
    assert notes_of(end.flush(NOW)) == [(rules.L3_ESTABLISHED, "SYN-SENT", "ESTABLISHED")]
    end.receive(replace(SEGMENT, text=b"hello"), NOW)
    assert notes_of(end.flush(NOW)) == []
    end.close()
    assert notes_of(end.flush(NOW)) == [(rules.L3_CLOSE, "ESTABLISHED", "FIN-WAIT-1")]


def test_a_close_that_has_to_wait_changes_no_state() -> None:
    end = half_open()

    end.close()

    assert notes_of(end.flush(NOW)) == []


def test_the_fate_of_a_segment_is_told_last_with_the_values_that_decided() -> None:
    end = established()

    end.receive(replace(SEGMENT, sequence_number=THEIRS + -1, text=b"x"), NOW)

    fate = end.flush(NOW)[-1]
    assert isinstance(fate, Note)
    assert fate.detail == {
        "connection": "192.168.1.5:49152 1.2.3.4:1194",
        "state": "ESTABLISHED",
        "control": "ACK",
        "sequence_number": 5000,
        "acknowledgment_number": 1001,
        "window": 50_000,
        "length": 1,
        "expected": 5001,
    }


def test_without_listeners_there_are_no_notes_and_the_same_segments() -> None:
    def segments_of(options: Options) -> list[list[Segment]]:
        end = established(options)
        told: list[list[Segment]] = []
        for segment in (
            replace(SEGMENT, text=b"hello"),
            replace(SEGMENT, control=SYN, sequence_number=THEIRS + 5),
            replace(SEGMENT, sequence_number=THEIRS + 5, control=RST),
        ):
            end.receive(segment, NOW)
            outputs = end.flush(NOW)
            told.append(segments(outputs))
            assert options.has_notes or len(outputs) == len(told[-1])
        return told

    assert segments_of(replace(OPTIONS, has_notes=False)) == segments_of(OPTIONS)
