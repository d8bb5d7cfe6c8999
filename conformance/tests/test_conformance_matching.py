"""The verdict on a step: every kind of free octets, padding, order, frames too many or missing, the flow both ways."""

from __future__ import annotations

from collections.abc import Sequence

import dpkt
import pytest

from glassgate.conformance.checksums import NoSuchField
from glassgate.conformance.far_end import DataChannel, FarEnd, StreamFraming
from glassgate.conformance.matching import Actual, ActualAction, ActualPacket, comparable, differences, filled, judge
from glassgate.conformance.model import (
    AnyOctets,
    Bind,
    Checksum,
    Expected,
    ExpectedAction,
    ExpectedPacket,
    Free,
    Length,
    Outcome,
    PacketInput,
    Range,
    Step,
    TickInput,
    VectorPort,
)
from glassgate.contract import Cipher, ReceiveKey, SendKey, Session

INTERNAL, FLOW, TUNNEL = VectorPort.INTERNAL, VectorPort.FLOW, VectorPort.TUNNEL
SESSION = Session(SendKey(bytes(32), bytes(8)), ReceiveKey(bytes([1]) * 32, bytes(8)))
ICMP = bytes(
    dpkt.ip.IP(
        src=bytes([10, 38, 2, 1]),
        dst=bytes([10, 38, 2, 5]),
        id=0x1234,
        p=1,
        len=32,
        data=bytes(dpkt.icmp.ICMP(type=0, data=dpkt.icmp.ICMP.Echo(id=1, seq=2, data=b"data"))),
    )
)


def step(*outcomes: Sequence[Expected]) -> Step:
    """A step whose first outcome is preferred; the others have the flags B, C …"""
    flags = [None, "B", "C"]
    return Step(
        3.0, TickInput(), tuple(Outcome(tuple(each), flag) for each, flag in zip(outcomes, flags, strict=False))
    )


def wanted(data: bytes, *free: Free, port: VectorPort = INTERNAL, padding: bool = False) -> ExpectedPacket:
    return ExpectedPacket(port, data, free, padding)


def came(data: bytes, port: VectorPort = INTERNAL) -> ActualPacket:
    return ActualPacket(port, data)


def problems(expected: Expected, actual: Actual, captured: dict[str, int] | None = None) -> list[str]:
    return [found.problem for found in differences(expected, actual, {} if captured is None else captured)]


def spoilt(octets: bytes, *places: int) -> bytes:
    made = bytearray(octets)
    for place in places:
        made[place] ^= 0xFF
    return bytes(made)


# ── one packet ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_octets_agree_and_each_run_of_different_ones_is_told() -> None:
    assert problems(wanted(b"abcdef"), came(b"abcdef")) == []
    found = differences(wanted(b"abcdef"), came(b"aXYdeZ"), {})
    assert [(one.start, one.end) for one in found] == [(1, 3), (5, 6)]
    assert found[0].problem == "is 5859, not 6263"


def test_the_port_counts() -> None:
    assert problems(wanted(b"a"), came(b"a", TUNNEL)) == ["left at tunnel, not at internal"]


def test_what_the_far_end_could_not_open_agrees_with_nothing() -> None:
    assert problems(wanted(b"a", port=FLOW), ActualPacket(FLOW, b"a", "the tag is wrong")) == ["the tag is wrong"]


def test_free_octets_may_be_anything_and_the_rest_may_not() -> None:
    assert problems(wanted(b"abcd", AnyOctets(1, 3)), came(b"aXYd")) == []
    assert problems(wanted(b"abcd", AnyOctets(1, 3)), came(b"aXYZ")) == ["is 5a, not 64"]


def test_a_number_is_captured_at_first_sight_and_must_agree_later() -> None:
    captured: dict[str, int] = {}
    assert problems(wanted(b"a\0\0", Bind(1, 3, "id")), came(b"a\x12\x34"), captured) == []
    assert captured == {"id": 0x1234}
    assert problems(wanted(b"a\0\0", Bind(1, 3, "id", 2)), came(b"a\x12\x36"), captured) == []
    (problem,) = problems(wanted(b"a\0\0", Bind(1, 3, "id")), came(b"a\x12\x35"), captured)
    assert problem == "is 4661, not 4660 (id+0 as seen before)"


def test_a_bound_number_wraps_like_its_field() -> None:
    captured: dict[str, int] = {}
    assert problems(wanted(b"\0\0", Bind(0, 2, "n", 1)), came(b"\0\0"), captured) == []
    assert captured == {"n": 0xFFFF}
    assert problems(wanted(b"\0\0", Bind(0, 2, "n", 3)), came(b"\0\2"), captured) == []


@pytest.mark.parametrize(("value", "good"), [(4, False), (5, True), (9, True), (10, False)])
def test_a_range_includes_both_ends(value: int, good: bool) -> None:
    assert (problems(wanted(b"\0", Range(0, 1, 5, 9)), came(bytes([value]))) == []) is good


def test_a_checksum_is_computed_over_what_came() -> None:
    expected = wanted(ICMP, AnyOctets(4, 6), Checksum(10, 12, "ip"), port=TUNNEL)
    other_id = ICMP[:4] + b"\x43\x21" + ICMP[6:]
    repaired = bytes(dpkt.ip.IP(other_id[:10] + b"\0\0" + other_id[12:]))
    assert problems(expected, came(ICMP, TUNNEL)) == []
    assert problems(expected, came(repaired, TUNNEL)) == []
    (problem,) = problems(expected, came(other_id, TUNNEL))
    assert "as computed over what came" in problem


def test_a_checksum_in_a_padded_frame_leaves_the_padding_out() -> None:
    frame = bytes(12) + b"\x08\0" + ICMP
    expected = wanted(frame, Checksum(14 + 22, 14 + 22 + 2, "icmp"), Length(16, 18), padding=True)
    assert problems(expected, came(frame + bytes(60 - len(frame)))) == []
    assert problems(expected, came(spoilt(frame, 36))) != []


def test_a_length_is_counted() -> None:
    assert problems(wanted(ICMP, Length(2, 4), port=TUNNEL), came(ICMP, TUNNEL)) == []
    wrong = wanted(ICMP, Length(2, 4), port=TUNNEL)
    assert problems(wrong, came(spoilt(ICMP, 3), TUNNEL)) == ["is 0x00df, not 0x0020 as computed over what came"]


def test_a_field_that_is_not_there_is_told() -> None:
    (problem,) = problems(wanted(ICMP, Checksum(26, 28, "udp"), port=TUNNEL), came(ICMP, TUNNEL))
    assert problem == "octet 26 is not the place of a UDP checksum"


@pytest.mark.parametrize(
    ("actual", "padding", "words"),
    [
        (b"a" * 42, False, None),
        (b"a" * 42 + bytes(18), True, None),
        (b"a" * 42 + bytes(5), True, None),
        (b"a" * 42 + bytes(18), False, "has 60 octets, not 42"),
        (b"a" * 42 + bytes(19), True, "has 61 octets, not 42"),
        (b"a" * 42 + b"x" + bytes(17), True, "the padding is not zero"),
        (b"a" * 41, True, "has 41 octets, not 42"),
    ],
)
def test_padding_is_zero_up_to_sixty_octets_where_it_is_allowed(
    actual: bytes, padding: bool, words: str | None
) -> None:
    assert problems(wanted(b"a" * 42, padding=padding), came(actual)) == ([words] if words else [])


def test_actions_are_compared_and_a_refusal_must_name_the_member() -> None:
    assert problems(ExpectedAction("open"), ActualAction("open")) == []
    assert problems(ExpectedAction("open"), ActualAction("close")) == ["'close' instead of 'open'"]
    assert problems(ExpectedAction("open"), came(b"a")) == ["1 octets at internal instead of 'open'"]
    assert problems(wanted(b"a"), ActualAction("open")) == ["'open' instead of a packet at internal"]
    refusal = ActualAction("refuse", "internal.mtu: 67 is under 68")
    assert problems(ExpectedAction("refuse", "internal.mtu"), refusal) == []
    assert "does not name internal.mac" in problems(ExpectedAction("refuse", "internal.mac"), refusal)[0]


# ── the whole list ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_order_counts() -> None:
    judged = judge(step([wanted(b"a"), wanted(b"b")]), [came(b"b"), came(b"a")], {})
    assert judged.outcome is None


def test_a_frame_too_many_fails_and_is_told_as_that() -> None:
    judged = judge(step([wanted(b"a"), wanted(b"c")]), [came(b"a"), came(b"b"), came(b"c")], {})
    assert judged.outcome is None
    assert [pair.is_right for pair in judged.pairs] == [True, False, True]
    assert judged.pairs[1].expected is None
    assert judged.pairs[1].differences[0].problem == "was not expected"


def test_a_missing_frame_fails_and_is_told_as_that() -> None:
    judged = judge(step([wanted(b"a"), wanted(b"b"), wanted(b"c")]), [came(b"b"), came(b"c")], {})
    assert [pair.is_right for pair in judged.pairs] == [False, True, True]
    assert judged.pairs[0].actual is None


def test_silence_is_an_outcome() -> None:
    assert judge(step([]), [], {}).outcome is not None
    assert judge(step([]), [came(b"a")], {}).outcome is None


def test_the_preferred_outcome_comes_before_the_others_and_binds_alone() -> None:
    either = step([wanted(b"\1\0", Bind(1, 2, "n"))], [wanted(b"\2\0", Bind(1, 2, "m"))])
    first, second = judge(either, [came(b"\1\7")], {}), judge(either, [came(b"\2\7")], {})
    assert (first.outcome and first.outcome.flag, first.bindings) == (None, {"n": 7})
    assert (second.outcome and second.outcome.flag, second.bindings) == ("B", {"m": 7})


def test_a_step_that_fails_binds_nothing() -> None:
    judged = judge(step([wanted(b"\1\0", Bind(1, 2, "n")), wanted(b"x")]), [came(b"\1\7"), came(b"y")], {})
    assert judged.outcome is None
    assert judged.bindings == {}


# ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def records(*packets: bytes, first_id: int = 1) -> list[ActualPacket]:
    channel = DataChannel(Cipher.AES_256_GCM, bytes(32), bytes(8), 0, 0, first_id)
    return [came(StreamFraming.framed(channel.seal(packet)), FLOW) for packet in packets]


def test_the_far_end_opens_records_into_inner_packets_in_their_place() -> None:
    actual = [came(b"frame"), *records(b"one", b"two"), came(b"frame")]
    judged = step([wanted(b"one", port=TUNNEL)])
    assert comparable(actual, judged, FarEnd(SESSION)) == [
        came(b"frame"),
        came(b"one", TUNNEL),
        came(b"two", TUNNEL),
        came(b"frame"),
    ]


def test_records_may_be_cut_anywhere_within_a_step() -> None:
    (whole,) = records(b"one")
    pieces = [came(whole.data[:1], FLOW), came(whole.data[1:9], FLOW), came(whole.data[9:], FLOW)]
    assert comparable(pieces, step([]), FarEnd(SESSION)) == [came(b"one", TUNNEL)]


def test_a_record_that_is_not_whole_at_the_end_of_the_step_is_told() -> None:
    (whole,) = records(b"one")
    (rest,) = comparable([came(whole.data[:-1], FLOW)], step([]), FarEnd(SESSION))
    assert isinstance(rest, ActualPacket)
    assert rest.problem == "the stream ends inside a record"


def test_a_flow_that_the_gateway_resets_takes_the_beginning_of_a_record_with_it() -> None:
    first, second = records(b"one", b"two")
    actual: list[Actual] = [came(first.data[:-1], FLOW), ActualAction("close"), second]
    far_end = FarEnd(SESSION)
    closed, opened = comparable(actual, step([]), far_end)
    assert closed == ActualAction("close")
    assert isinstance(opened, ActualPacket)
    assert opened.problem == "the packet id is 2, not 1: ids rise by one"


def test_a_step_that_expects_the_flow_sees_its_octets_joined_and_the_far_end_stays_in_step() -> None:
    far_end = FarEnd(SESSION)
    first, second, third = records(b"one", b"two", b"three")
    raw = step([wanted(first.data, port=FLOW), wanted(second.data[:4], port=FLOW), wanted(second.data[4:], port=FLOW)])
    actual = comparable([first, second], raw, far_end)
    assert actual == [came(first.data + second.data, FLOW)]
    assert judge(raw, actual, {}).outcome is not None
    assert comparable([third], step([]), far_end) == [came(b"three", TUNNEL)]


def test_without_keys_octets_at_the_flow_agree_with_nothing() -> None:
    (actual,) = comparable([came(b"x", FLOW)], step([]), None)
    assert isinstance(actual, ActualPacket)
    assert "no keys" in actual.problem


def test_free_octets_move_with_the_pieces_of_the_flow_that_are_joined() -> None:
    raw = step([wanted(b"ab", port=FLOW), wanted(b"\0\0c", Bind(0, 2, "n"), port=FLOW)])
    judged = judge(raw, [came(b"ab\1\2c", FLOW)], {})
    assert judged.bindings == {"n": 0x0102}


def test_datagrams_are_not_joined() -> None:
    raw = step([wanted(b"a", port=FLOW), wanted(b"b", port=FLOW)])
    actual = comparable([came(b"a", FLOW), came(b"b", FLOW)], raw, FarEnd(SESSION, "udp"), is_stream=False)
    assert judge(raw, actual, {}, is_stream=False).outcome is not None
    assert judge(raw, [came(b"ab", FLOW)], {}, is_stream=False).outcome is None


# ── filling inputs ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_input_is_filled_with_bound_numbers_and_then_checksums() -> None:
    given = PacketInput(TUNNEL, ICMP, (Checksum(10, 12, "ip"), Bind(4, 6, "id", 1)))
    octets = filled(given, {"id": 0xFFFF})
    assert octets[4:6] == b"\0\0"
    assert octets[10:12] == bytes(dpkt.ip.IP(octets[:10] + b"\0\0" + octets[12:]))[10:12]


def test_checksums_that_cover_others_are_filled_in_last() -> None:
    quoting = bytes([3, 3, 0, 0]) + bytes(4) + ICMP
    error = ICMP[:2] + (20 + len(quoting)).to_bytes(2, "big") + ICMP[4:20] + quoting
    inner, outer = Checksum(28 + 10, 28 + 12, "ip"), Checksum(22, 24, "icmp")
    for fill in ((inner, outer), (outer, inner)):
        octets = filled(PacketInput(TUNNEL, error, (Bind(32, 34, "id"), *fill)), {"id": 0x4321})
        assert dpkt.in_cksum(octets[28:48]) == 0
        assert dpkt.in_cksum(octets[20:]) == 0


def test_a_number_that_was_never_captured_cannot_be_filled_in() -> None:
    with pytest.raises(NoSuchField, match="no octets were bound to 'id' before"):
        filled(PacketInput(TUNNEL, ICMP, (Bind(4, 6, "id"),)), {})
