"""The reliability layer: once, in order, whatever the transport does (PROTOCOL.md 4)."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.reference.openvpn.packets import Opcode
from glassgate.reference.openvpn.reliability import MOST_PIGGYBACKED, Reliability

CONTROL = Opcode.P_CONTROL_V1


def filled(count: int) -> Reliability:
    layer = Reliability(2.0)
    for number in range(count):
        layer.send(CONTROL, bytes((number,)))
    return layer


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_six_messages_are_in_flight_at_most() -> None:
    layer = filled(8)
    assert [message.message_id for message in layer.due(0.0)] == [0, 1, 2, 3, 4, 5]
    layer.acknowledged((1, 2))
    assert layer.due(0.0) == [], "the window is a span of ids: message 0 holds it"
    layer.acknowledged((0,))
    assert [message.message_id for message in layer.due(0.0)] == [6, 7]


def test_a_message_is_repeated_after_2_4_and_8_seconds() -> None:
    layer = filled(1)
    sent = []
    for tenth in range(200):
        sent += [tenth / 10 for _ in layer.due(tenth / 10)]
    assert sent == [0.0, 2.0, 6.0, 14.0]
    assert layer.deadline == 30.0


def test_three_later_acknowledgements_bring_a_message_back_at_once() -> None:
    layer = filled(4)
    assert len(layer.due(0.0)) == 4
    layer.acknowledged((1, 2))
    assert layer.due(0.1) == []
    layer.acknowledged((3,))
    assert layer.deadline is not None
    assert layer.deadline <= 0.1
    assert [message.message_id for message in layer.due(0.1)] == [0]


def test_acknowledgements_of_nothing_in_flight_are_ignored() -> None:
    layer = filled(1)
    layer.due(0.0)
    layer.acknowledged((7, 7, 7, 0xFFFFFFFF))
    assert not layer.everything_acknowledged
    layer.acknowledged((0, 0))
    assert layer.everything_acknowledged
    assert layer.deadline is None


def test_the_first_message_is_acknowledged_only_after_it_was_sent() -> None:
    layer = filled(1)
    assert not layer.first_is_acknowledged
    layer.due(0.0)
    assert not layer.first_is_acknowledged
    layer.acknowledged((0,))
    assert layer.first_is_acknowledged


# ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_messages_are_read_in_order() -> None:
    layer = Reliability(2.0)
    for number in (2, 0, 1):
        assert layer.receive(number, CONTROL, bytes((number,)))
    assert layer.read() == [(CONTROL, b"\0"), (CONTROL, b"\1"), (CONTROL, b"\2")]
    assert layer.read() == []


def test_a_gap_is_waited_for() -> None:
    layer = Reliability(2.0)
    layer.receive(1, CONTROL, b"b")
    assert layer.read() == []
    layer.receive(0, CONTROL, b"a")
    assert [payload for _, payload in layer.read()] == [b"a", b"b"]


def test_what_is_repeated_is_acknowledged_again_and_not_read_again() -> None:
    layer = Reliability(2.0)
    layer.receive(0, CONTROL, b"a")
    layer.read()
    assert layer.acknowledgements(8) == (0,)
    assert not layer.owes_acknowledgement
    layer.receive(0, CONTROL, b"other")
    assert layer.owes_acknowledgement
    assert layer.acknowledgements(8) == (0,)
    assert layer.read() == []


def test_what_comes_twice_is_acknowledged_once() -> None:
    layer = Reliability(2.0)
    for _ in range(2):
        assert layer.receive(0, CONTROL, b"a")
    assert layer.acknowledgements(1) == (0,)
    assert not layer.owes_acknowledgement


def test_twelve_messages_are_held_and_the_thirteenth_is_not_acknowledged() -> None:
    layer = Reliability(2.0)
    assert layer.receive(11, CONTROL, b"")
    assert not layer.receive(12, CONTROL, b"")
    assert not layer.receive(0xFFFFFFFF, CONTROL, b"")
    assert layer.acknowledgements(8) == (11,)


def test_recent_acknowledgements_are_repeated_newest_first() -> None:
    layer = Reliability(2.0)
    for number in range(3):
        layer.receive(number, CONTROL, b"")
        layer.acknowledgements(MOST_PIGGYBACKED)
    layer.receive(3, CONTROL, b"")
    assert layer.acknowledgements(MOST_PIGGYBACKED) == (3, 2, 1, 0)  # PROTOCOL.md 19
    layer.receive(4, CONTROL, b"")
    assert layer.acknowledgements(MOST_PIGGYBACKED) == (4, 3, 2, 1)
    layer.receive(5, CONTROL, b"")
    assert layer.acknowledgements(8) == (5, 4, 3, 2, 1, 0)


# ── both ends ────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.binary(max_size=5), min_size=1, max_size=30))
def test_a_lossy_link_that_shuffles_delivers_all_in_order(seed: int, payloads: list[bytes]) -> None:
    chance = random.Random(seed)
    one, other = Reliability(2.0), Reliability(2.0)
    for payload in payloads:
        one.send(CONTROL, payload)
    arrived: list[bytes] = []
    now = 0.0
    while not one.everything_acknowledged:
        messages = one.due(now)
        chance.shuffle(messages)
        for message in messages * 2:
            if chance.random() < 0.6:
                other.receive(message.message_id, message.opcode, message.payload)
        arrived += [payload for _, payload in other.read()]
        while other.owes_acknowledgement:
            acknowledged = other.acknowledgements(8)
            if chance.random() < 0.6:
                one.acknowledged(acknowledged)
        now += 1.0
        assert now < 1e6
    assert arrived == payloads
