"""One connection against another over a link that loses, doubles and reorders; across the wrap; hostile segments."""

from __future__ import annotations

import heapq
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import rules
from glassgate.optimized.tcp import Segment, write_segment
from glassgate.optimized.tcp_connection import (
    MOST_SPANS,
    Connection,
    State,
    distance,
    initial_sequence_number,
    read_options,
)

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
A, B = 0x0A260205, 0x0A260201


class End(Connection):
    """A connection whose segments gather in a list, and whose octets lie in plain buffers."""

    __slots__ = ("address", "buffer", "has_room", "last", "news", "outgoing", "peer", "received", "sent", "sent_from")

    def __init__(self, address, peer, size=100, shift=0):
        super().__init__(size, shift, 5000)
        self.address, self.peer = address, peer
        self.sent = b""
        self.sent_from = 0
        self.received = bytearray()
        self.buffer = bytearray(200_000)
        self.outgoing = []
        self.news = []
        self.last = False
        self.has_room = True

    def pending(self):
        return len(self.sent) - self.sent_from

    def release(self, count):
        self.sent_from += count

    def window(self):
        return 5000

    def place(self, packet, start, end, ahead):
        self.buffer[ahead : ahead + end - start] = packet[start:end]

    def deliver(self, count, now):
        self.received += self.buffer[:count]
        del self.buffer[:count]

    def delivered_all(self, now):
        self.last = True

    def changed(self, rule, now):
        self.news.append(rule.slug)

    def emit(self, flags, sequence, at, length, now, because):
        if not self.has_room:
            return False
        text = self.sent[self.sent_from + at : self.sent_from + at + length]
        assert len(text) == length
        acknowledgment = self.receive_next & 0xFFFFFFFF if flags & ACK else 0
        fields = (1, 2, sequence & 0xFFFFFFFF, acknowledgment, 5 << 4, flags, self.window_field)
        packet = bytearray(40) + text
        packet[0] = 0x45
        struct.pack_into(">II", packet, 12, self.address, self.peer)
        write_segment(memoryview(packet), 20, len(packet), fields, self.address, self.peer)
        self.outgoing.append(bytes(packet))
        return True

    def take(self, packet, now):
        segment = Segment()
        assert segment.read(memoryview(packet), 0, len(packet)) is None
        rule = self.receive(segment, memoryview(packet), now)
        if self.state is not State.CLOSED:
            self.output(now)
        return rule


def flags_of(packet):
    return packet[33]


def segment(flags, sequence, acknowledgment, text=b"", window=5000):
    """A segment from B to A."""
    packet = bytearray(40) + text
    packet[0] = 0x45
    struct.pack_into(">II", packet, 12, B, A)
    fields = (2, 1, sequence & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF, 5 << 4, flags, window)
    write_segment(memoryview(packet), 20, len(packet), fields, B, A)
    return bytes(packet)


def established(initial=1000, theirs=5000, **fields):
    end = End(A, B, **fields)
    end.open(initial, 0.0)
    end.take(segment(SYN | ACK, theirs, initial + 1), 0.0)
    assert end.state is State.ESTABLISHED
    end.segment_size = 100
    end._congestion_window = 400
    end.outgoing.clear()
    return end


def said(end):
    """Flags, and distance of sequence and acknowledgment number from the first ones after the handshake."""
    told = []
    for packet in end.outgoing:
        sequence, acknowledgment = struct.unpack_from(">II", packet, 24)
        told.append((flags_of(packet), distance(sequence, 1001), distance(acknowledgment, 5001), packet[40:]))
    end.outgoing.clear()
    return told


# ── a link ──


@pytest.mark.parametrize("seed", range(12))
def test_every_octet_arrives_in_order_over_a_bad_link(seed):
    """Both ways at once, near the end of the sequence space; one in ten segments is lost, doubled or late."""
    dice = random.Random(seed)
    one, other = End(A, B), End(B, A)
    one.sent, other.sent = dice.randbytes(20_000), dice.randbytes(7_000)
    one.open(0xFFFFFF00, 0.0)
    link = []
    now, number = 0.0, 0
    closed = False
    first = Segment()
    packet = one.outgoing.pop()
    first.read(memoryview(packet), 0, len(packet))
    other.accept(first, memoryview(packet), 0xFFFFF000, 0.0)
    while one.state is not State.CLOSED or other.state is not State.CLOSED:
        for end, peer in ((one, other), (other, one)):
            for packet in end.outgoing:
                for _ in range(dice.choice((0, 2)) if dice.random() < 0.1 else 1):
                    late = dice.random() * 0.5 if dice.random() < 0.1 else 0.0
                    number += 1
                    heapq.heappush(link, (now + 0.05 + late, number, peer, packet))
            end.outgoing.clear()
        due = min(one.due, other.due, link[0][0] if link else float("inf"))
        assert due < 3000, (one.state, other.state)
        now = due
        if link and link[0][0] <= now:
            _, _, end, packet = heapq.heappop(link)
            if end.state is not State.CLOSED:
                end.take(packet, now)
        for end in (one, other):
            if end.due <= now:
                end.tick(now)
        if not closed and one.state is State.ESTABLISHED and not one.pending():
            closed = True
            one.close(now)
        if other.last and other.state is State.CLOSE_WAIT and not other.pending():
            other.close(now)
    assert other.received == one.sent
    assert one.received == other.sent


# ── one end, and what it is told ──


def test_text_is_cut_by_segment_size_and_both_windows():
    end = established()
    end.sent = bytes(1000)
    end.output(1.0)
    assert [(flags, sequence, len(text)) for flags, sequence, _, text in said(end)] == [
        (ACK, 0, 100), (ACK, 100, 100), (ACK, 200, 100), (ACK, 300, 100)
    ]  # fmt: skip
    end.take(segment(ACK, 5001, 1101, window=150), 1.1)
    assert said(end) == []
    end.take(segment(ACK, 5001, 1401, window=150), 1.2)
    assert [(sequence, len(text)) for _, sequence, _, text in said(end)] == [(400, 100)]


def test_three_duplicates_and_a_partial_acknowledgement_repair_two_losses():
    end = established()
    end.sent = bytes(range(256)) * 2
    end._congestion_window = 1000
    end.output(1.0)
    assert len(said(end)) == 6
    for _ in range(3):
        end.take(segment(ACK, 5001, 1001), 1.1)
    assert said(end) == [(ACK, 0, 0, end.sent[:100])]
    end.take(segment(ACK, 5001, 1201), 1.2)
    assert said(end) == [(ACK, 200, 0, end.sent[200:300])]
    end.take(segment(ACK, 5001, 1513), 1.3)
    assert not end._is_recovering
    assert end.due == float("inf")


def test_a_partial_acknowledgement_gives_a_segment_back_only_for_a_segment():
    """RFC 6582 3.2 step 3: the window shrinks by what was acknowledged, and grows by one segment if it was as much."""
    end = established()
    end.sent = bytes(512)
    end._congestion_window = 1000
    end.output(1.0)
    for _ in range(3):
        end.take(segment(ACK, 5001, 1001), 1.1)
    assert end._congestion_window == 256 + 300
    end.take(segment(ACK, 5001, 1051), 1.2)
    assert end._congestion_window == 556 - 50
    end.take(segment(ACK, 5001, 1201), 1.3)
    assert end._congestion_window == 506 - 150 + 100


def test_after_idling_for_longer_than_the_timeout_the_window_is_the_initial_one():
    """RFC 5681 4.1."""
    for idle, count in ((1.0, 10), (1.01, 4)):
        end = established()
        end._congestion_window = 1000
        end.sent = bytes(1000)
        end.output(idle)
        assert len(said(end)) == count


def test_a_timeout_sends_one_segment_and_slow_start_the_rest():
    end = established()
    end.sent = bytes(400)
    end.output(10.0)
    said(end)
    assert end.due == 11.0
    end.tick(11.0)
    assert [sequence for _, sequence, _, _ in said(end)] == [0]
    assert end.due == 13.0
    end.take(segment(ACK, 5001, 1101), 11.1)
    assert [sequence for _, sequence, _, _ in said(end)] == [100, 200]


def test_what_is_never_answered_is_given_up():
    end = established()
    end.sent = b"x"
    end.output(0.0)
    while end.state is not State.CLOSED:
        end.tick(end.due)
    assert end.news[-1] == "l3-give-up"
    assert [flags for flags, _, _, _ in said(end)] == [PSH | ACK] * 7 + [RST]


def test_a_closed_window_is_probed_for_ever_while_it_is_answered():
    end = established()
    end.take(segment(ACK, 5001, 1001, window=0), 1.0)
    end.sent = b"text"
    end.output(1.0)
    assert said(end) == []
    for _ in range(20):
        now = end.due
        end.tick(now)
        assert [text for _, _, _, text in said(end)] == [b"t"]
        end.take(segment(ACK, 5001, 1001, window=0), now + 0.1)
    assert now > 600
    end.take(segment(ACK, 5001, 1001, window=100), now + 0.2)
    assert [text for _, _, _, text in said(end)] == [b"text"]


def test_a_segment_smaller_than_half_the_largest_window_waits():
    end = established()
    end.sent = bytes(1000)
    end.take(segment(ACK, 5001, 1001, window=60), 1.0)
    assert said(end) == []
    assert end.due == 1.5
    end.tick(end.due)
    assert [len(text) for _, _, _, text in said(end)] == [60]
    assert end.due == 2.5


def test_a_window_that_closes_over_text_in_flight_is_probed_a_timeout_later():
    end = established()
    end.sent = bytes(200)
    end.output(1.0)
    said(end)
    end.take(segment(ACK, 5001, 1001, window=0), 1.5)
    assert end.due == 2.5  # since it closed (RFC 9293 3.8.6.1), not since the text left
    end.tick(2.5)
    assert [(sequence, len(text)) for _, sequence, _, text in said(end)] == [(0, 1)]
    assert (end._timeout, end._congestion_window) == (1.0, 400)  # nothing was lost
    assert end.due == 4.5
    end.take(segment(ACK, 5001, 1201, b"", 5000), 2.6)
    assert (said(end), end.due) == ([], float("inf"))


def test_a_window_that_opens_by_little_while_it_is_probed_is_used_half_a_second_later():
    end = established()
    end.take(segment(ACK, 5001, 1001, window=0), 1.0)
    end.sent = bytes(1000)
    end.output(1.0)
    assert end.due == 2.0
    end.take(segment(ACK, 5001, 1001, window=10), 1.25)
    assert end.due == 1.75
    end.take(segment(ACK, 5001, 1001, window=0), 1.5)
    assert end.due == 2.5


def test_a_fin_that_a_closed_window_does_not_take_keeps_its_connection_while_that_is_told():
    end = established()
    end.take(segment(ACK, 5001, 1001, window=0), 1.0)
    end.close(1.0)
    for _ in range(10):
        assert said(end) == [(FIN | ACK, 0, 0, b"")]
        now = end.due
        end.tick(now)
        end.take(segment(ACK, 5001, 1001, window=0), now + 0.1)
    assert end.state is State.FIN_WAIT_1


def test_a_fin_waits_while_the_window_has_shrunk_below_what_is_in_flight():
    end = established()
    end.sent = bytes(100)
    end.output(1.0)
    said(end)
    end.take(segment(ACK, 5001, 1001, window=50), 1.1)
    end.close(1.1)
    assert said(end) == []


def test_a_fast_retransmission_repeats_what_was_sent_and_nothing_beyond_the_window():
    end = established()
    end.sent = bytes(80)
    end.output(1.0)
    end.take(segment(ACK, 5001, 1001, window=40), 1.1)
    end.sent = bytes(200)
    said(end)
    for _ in range(3):
        end.take(segment(ACK, 5001, 1001, window=40), 1.1)
    assert [(sequence, len(text)) for _, sequence, _, text in said(end)] == [(0, 40)]


def test_duplicates_of_what_was_sent_again_after_a_timeout_are_no_new_loss():
    """RFC 6582 3.2 step 2: the acknowledgement must cover more than what had been sent at the last loss."""
    end = established()
    end.sent = bytes(1000)
    end.output(1.0)
    end.tick(2.0)
    end.take(segment(ACK, 5001, 1401), 2.1)  # just what had been sent
    said(end)
    for _ in range(3):
        end.take(segment(ACK, 5001, 1401), 2.2)
    assert 400 not in [sequence for _, sequence, _, _ in said(end)]


def test_half_a_window_is_what_the_largest_one_is_measured_by():
    """RFC 9293 3.8.6.2.2: half of the whole buffer, not of what is left of it."""
    end = established(size=4000)
    end._promised = end.receive_next + 5000 - 2499
    assert not end._can_open()
    end._promised -= 1
    assert end._can_open()


def test_strangers_out_of_the_window_are_told_ten_times_in_five_seconds_unless_they_bring_text():
    end = established()
    for at in range(12):
        assert end.take(segment(ACK, 1, 1001), 1.0 + at / 10) is rules.L3_SEQUENCE
    assert len(said(end)) == 10
    end.take(segment(ACK, 1, 1001, b"old"), 2.2)
    assert said(end) == [(ACK, 0, 0, b"")]


def test_text_beyond_a_fin_is_forgotten_when_the_fin_is_known():
    end = established()
    end.take(segment(ACK, 5003, 1001, b"x"), 1.0)
    end.take(segment(FIN | ACK, 5002, 1001), 1.1)
    assert end.take(segment(ACK, 5003, 1001, b"beyond"), 1.2) is rules.L3_TEXT
    end.take(segment(ACK, 5001, 1001, b"a"), 1.3)
    assert (end.received, end.last) == (b"a", True)


@pytest.mark.parametrize(("state", "resets"), [("SYN_RECEIVED", 1), ("CLOSE_WAIT", 1), ("CLOSING", 0), ("LAST_ACK", 0)])
def test_an_abort_tells_whom_it_concerns(state, resets):
    """RFC 9293 3.10.5."""
    end = established()
    end.state = State[state]
    end.abort(1.0)
    assert len(said(end)) == resets


def test_no_room_now_is_no_loss():
    end = established()
    end.sent = bytes(150)
    end.has_room = False
    end.output(1.0)
    end.has_room = True
    end.output(1.1)
    assert [(sequence, len(text)) for _, sequence, _, text in said(end)] == [(0, 100), (100, 50)]


def test_a_smaller_segment_size_sends_what_is_in_flight_anew():
    end = established()
    end.sent = bytes(200)
    end.output(1.0)
    said(end)
    assert end.is_in_flight(1001)
    assert end.is_in_flight(1200)
    assert not end.is_in_flight(1201)
    assert not end.is_in_flight(1000)
    end.lower_segment_size(40, 1.1)
    assert [(sequence, len(text)) for _, sequence, _, text in said(end)] == [
        (0, 40), (40, 40), (80, 40), (120, 40), (160, 40)
    ]  # fmt: skip
    end.lower_segment_size(1, 1.1)
    assert end.segment_size == 28


def test_an_active_close_goes_through_time_wait():
    end = established()
    end.sent = b"bye"
    end.close(1.0)
    assert said(end) == [(FIN | PSH | ACK, 0, 0, b"bye")]
    end.take(segment(ACK, 5001, 1005), 1.1)
    assert end.state is State.FIN_WAIT_2
    end.take(segment(FIN | ACK, 5001, 1005), 1.2)
    assert (end.state, end.due) == (State.TIME_WAIT, 241.2)
    assert said(end) == [(ACK, 4, 1, b"")]
    end.take(segment(FIN | ACK, 5001, 1005), 2.0)
    assert (said(end), end.due) == ([(ACK, 4, 1, b"")], 242.0)
    end.tick(242.0)
    assert end.news[-1] == "l3-time-wait"


def test_both_close_at_once():
    end = established()
    end.close(1.0)
    end.take(segment(FIN | ACK, 5001, 1001), 1.1)
    assert end.state is State.CLOSING
    end.take(segment(ACK, 5002, 1002), 1.2)
    assert end.state is State.TIME_WAIT


def test_an_abort_resets_at_the_next_number():
    end = established()
    end.sent = b"text"
    end.output(1.0)
    said(end)
    end.abort(1.1)
    assert said(end) == [(RST, 4, -5001, b"")]
    assert end.due == float("inf")


def test_a_fin_beyond_a_gap_waits_for_its_turn():
    end = established()
    assert end.take(segment(FIN | ACK, 5006, 1001, b"world"), 1.0) is rules.L3_OUT_OF_ORDER
    assert end.state is State.ESTABLISHED
    assert end.take(segment(ACK, 5001, 1001, b"hello"), 1.1) is rules.L3_FIN
    assert end.received == b"helloworld"
    assert (end.state, end.last) == (State.CLOSE_WAIT, True)
    assert [acknowledged for _, _, acknowledged, _ in said(end)] == [0, 11]


# ── strangers ──


def test_challenges_are_ten_in_five_seconds():
    end = established()
    for at in range(12):
        assert end.take(segment(RST, 5002, 0), 1.0 + at / 10) is rules.L3_CHALLENGE_RESET
    assert len(said(end)) == 10
    assert end.news[-1] == "l3-challenge-limit"
    end.take(segment(SYN, 5002, 0), 6.0)
    assert len(said(end)) == 1


@pytest.mark.parametrize("acknowledgment", [1002, 1001 - 5001, 1001 + 0x7FFFFFFF])
def test_an_acknowledgement_of_what_cannot_be_is_answered_and_changes_nothing(acknowledgment):
    end = established()
    assert end.take(segment(ACK, 5001, acknowledgment, b"text"), 1.0) is rules.L3_UNACCEPTABLE_ACK
    assert said(end) == [(ACK, 0, 0, b"")]
    assert end.received == b""


def test_in_syn_sent_only_the_right_answer_counts():
    end = End(A, B)
    end.open(1000, 0.0)
    said(end)
    for packet, answer in (
        (segment(SYN | ACK, 5000, 1000), [(RST, -1, -5001, b"")]),
        (segment(ACK, 5000, 1002), [(RST, 1, -5001, b"")]),
        (segment(RST, 0, 0), []),
        (segment(RST | ACK, 0, 5), []),
        (segment(ACK, 1, 1001), []),
        (segment(0, 0, 0), []),
    ):
        assert end.take(packet, 0.1) is rules.L3_SYN_SENT
        assert (end.state, said(end)) == (State.SYN_SENT, answer)
    end.take(segment(RST | ACK, 0, 1001), 0.2)
    assert end.news == ["s2-refused"]


def test_two_opens_that_cross_are_one_connection():
    """RFC 9293 3.5, figure 8; text that came with the SYN has its turn after the handshake."""
    end = End(A, B)
    end.open(1000, 0.0)
    said(end)
    end.take(segment(SYN, 5000, 0, b"hi"), 0.1)
    assert (end.state, said(end)) == (State.SYN_RECEIVED, [(SYN | ACK, -1, 0, b"")])
    end.take(segment(SYN, 5001, 0), 0.2)  # in the window, and not of a passive open: challenged
    assert (end.state, said(end)) == (State.SYN_RECEIVED, [(ACK, 0, 0, b"")])
    end.take(segment(SYN | ACK, 5000, 1001), 0.3)  # the peer's own answer lies before the window
    assert (end.state, said(end)) == (State.SYN_RECEIVED, [(ACK, 0, 0, b"")])
    end.take(segment(ACK, 5003, 1001), 0.4)
    assert (end.state, end.received) == (State.ESTABLISHED, b"hi")
    assert end._smoothed < 0  # our SYN left twice: nobody can tell which of them was answered


def test_a_lost_syn_makes_the_timeout_three_seconds():
    end = End(A, B)
    end.open(1000, 0.0)
    end.tick(1.0)
    end.take(segment(SYN | ACK, 5000, 1001), 1.5)
    assert (end._timeout, end._congestion_window) == (3.0, 100)


def test_pieces_beyond_gaps_are_bounded():
    end = established()
    for number in range(200):
        end.take(segment(ACK, 5003 + 2 * number, 1001, b"x"), 1.0)
    assert len(end._spans) == MOST_SPANS
    assert len(said(end)) == 200


@given(st.lists(st.tuples(st.integers(0, 31), st.integers(-40, 6000), st.integers(-6000, 300), st.binary(max_size=40)),
                max_size=30))  # fmt: skip
def test_any_segments_are_taken_without_a_fault(segments):
    end = established()
    end.sent = bytes(150)
    end.output(0.5)
    for number, (flags, sequence, acknowledgment, text) in enumerate(segments):
        if end.state is State.CLOSED:
            break
        end.take(segment(flags, 5001 + sequence, 1001 + acknowledgment, text), 1.0 + number)
        if end.due <= 1.0 + number:
            end.tick(1.0 + number)
    assert len(end._spans) <= MOST_SPANS
    assert end.unacknowledged <= end._next <= end._highest <= end.unacknowledged + end.pending() + 1


@given(st.binary(max_size=40))
def test_any_options_are_read_without_a_fault(options):
    size, shift = read_options(memoryview(options), 0, len(options))
    assert (size or 0) <= 0xFFFF
    assert (shift or 0) <= 14


def test_options_of_a_syn():
    def read(options):
        return read_options(memoryview(options), 0, len(options))

    assert read(b"\x02\x04\x05\xb4\x01\x03\x03\x07") == (1460, 7)
    assert read(b"\x08\x0a" + bytes(8) + b"\x01\x03\x03\xff") == (None, 14)
    assert read(b"\x00\x02\x04\x05\xb4") == (None, None)
    assert read(b"\x02\x03\x05\x02\x04\x05\xb4") == (1460, None)
    assert read(b"\x05\x01\x02\x04\x05\xb4") == (None, None)
    assert read(b"\x02\x04\x05") == (None, None)


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31) + 1, 2**31 - 1))
def test_distance_is_signed_and_wraps(start, ahead):
    assert distance((start + ahead) % 2**32, start) == ahead


def test_initial_numbers_depend_on_the_secret_the_addresses_and_the_clock():
    first = initial_sequence_number(b"s" * 16, 1.0, A, 7, B, 5000)
    assert initial_sequence_number(b"s" * 16, 1.0, A, 7, B, 5001) != first
    assert initial_sequence_number(b"t" * 16, 1.0, A, 7, B, 5000) != first
    assert distance(initial_sequence_number(b"s" * 16, 2.0, A, 7, B, 5000), first) == 250_000
