"""Fragments: cut on the grid of 8 octets, joined in any order, and refused where they do not fit together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.contract import Limits, Note
from glassgate.reference import fragments, ipv4
from glassgate.reference.fragments import Key, Reassembly, TimedOut, Whole
from glassgate.reference.ipv4 import Packet

PACKET = Packet(IPv4Address("10.38.2.5"), IPv4Address("10.38.2.1"), 17, bytes(range(256)) * 6, identification=0x1234)
RECORD_ROUTE = bytes.fromhex("07 07 04 00000000")  # not copied
ROUTER_ALERT = bytes.fromhex("94 04 0000")  # copied


def sizes(packet: Packet, mtu: int) -> list[tuple[int, int, bool]]:
    """Offset, total length and MF of each fragment."""
    return [
        (piece.fragment_offset, piece.total_length, piece.more_fragments) for piece in fragments.fragment(packet, mtu)
    ]


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_fits_exactly_is_left_whole() -> None:
    assert list(fragments.fragment(PACKET, PACKET.total_length)) == [PACKET]


def test_an_mtu_of_1477_cuts_1500_octets_into_1476_and_44() -> None:
    packet = replace(PACKET, payload=bytes(1480))
    assert sizes(packet, 1477) == [(0, 1476, True), (1456, 44, False)]
    assert ipv4.build([*fragments.fragment(packet, 1477)][1])[6:8] == bytes.fromhex("00b6")  # 182 units of 8


def test_the_smallest_mtu_carries_48_octets_a_fragment() -> None:
    assert sizes(replace(PACKET, payload=bytes(100)), 68) == [(0, 68, True), (48, 68, True), (96, 24, False)]


def test_a_last_fragment_may_fill_the_mtu() -> None:
    assert sizes(replace(PACKET, payload=bytes(96)), 68) == [(0, 68, True), (48, 68, False)]


def test_a_fragment_keeps_its_place_and_its_last_piece_its_flag() -> None:
    middle = replace(PACKET, payload=bytes(1000), fragment_offset=2000, more_fragments=True)
    assert sizes(middle, 576) == [(2000, 572, True), (2552, 468, True)]


def test_the_first_fragment_has_all_options_and_the_others_the_copied_ones() -> None:
    packet = replace(PACKET, payload=bytes(100), options=RECORD_ROUTE + ROUTER_ALERT + b"\x01")
    pieces = list(fragments.fragment(packet, 68))
    assert [piece.options for piece in pieces] == [packet.options, ROUTER_ALERT, ROUTER_ALERT]
    assert [len(piece.payload) for piece in pieces] == [32, 40, 28]


@given(
    payload=st.binary(max_size=4000),
    mtu=st.integers(68, 1500),
    offset=st.integers(0, 1000).map(lambda units: units * 8),
    more=st.booleans(),
    options=st.sampled_from([b"", RECORD_ROUTE + b"\0", ROUTER_ALERT, ROUTER_ALERT + RECORD_ROUTE + b"\1"]),
)
def test_fragments_fit_lie_on_the_grid_and_are_the_packet(
    payload: bytes, mtu: int, offset: int, more: bool, options: bytes
) -> None:
    packet = replace(PACKET, payload=payload, fragment_offset=offset, more_fragments=more, options=options)
    pieces = list(fragments.fragment(packet, mtu))
    assert b"".join(piece.payload for piece in pieces) == payload
    assert all(piece.total_length <= mtu for piece in pieces)
    assert [piece.fragment_offset for piece in pieces[1:]] == [piece.fragment_end for piece in pieces[:-1]]
    assert all(len(piece.payload) % 8 == 0 and piece.more_fragments for piece in pieces[:-1])
    assert pieces[-1].more_fragments == more
    assert {piece.identification for piece in pieces} == {packet.identification}
    for piece in pieces:
        octets = ipv4.build(piece)
        read = dpkt.ip.IP(octets)
        assert (read.id, read.len, read.hl * 4) == (0x1234, len(octets), 20 + len(piece.options))
        assert (read.offset * 8, bool(read.mf)) == (piece.fragment_offset, piece.more_fragments)
        assert (read.opts, octets[read.hl * 4 :]) == (piece.options, piece.payload)
        assert dpkt.in_cksum(octets[: read.hl * 4]) == 0


@pytest.mark.parametrize(("offset", "length", "is_too_long"), [(65512, 3, False), (65512, 4, True), (65528, 8, True)])
def test_a_datagram_has_at_most_65535_octets_its_header_included(offset: int, length: int, is_too_long: bool) -> None:
    assert fragments.is_too_long(replace(PACKET, fragment_offset=offset, payload=bytes(length))) == is_too_long


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def piece(start: int, end: int, more: bool = True, *, fill: int = 0x61, identification: int = 1) -> Packet:
    """A fragment with some octets of a datagram."""
    return replace(
        PACKET,
        payload=bytes([fill]) * (end - start),
        fragment_offset=start,
        more_fragments=more,
        identification=identification,
    )


def outcomes(reassembly: Reassembly, pieces: Iterable[Packet], now: float = 0.0) -> list[str | Packet]:
    """For each fragment the rules noted, or the datagram it completed."""
    found: list[str | Packet] = []
    for one in pieces:
        for outcome in reassembly.receive(one, now):
            found.append(str(outcome.rule) if isinstance(outcome, Note) else outcome.packet)
    return found


def last(reassembly: Reassembly, *pieces: Packet) -> str | Packet:
    return outcomes(reassembly, pieces)[-1]


def test_fragments_join_to_the_datagram() -> None:
    pieces = list(fragments.fragment(PACKET, 576))
    results = outcomes(Reassembly(Limits()), pieces)
    assert results == ["s12-hold", "s12-hold", PACKET]


@settings(max_examples=60)
@given(st.data(), st.binary(min_size=1, max_size=3000), st.integers(68, 600))
def test_in_any_order_with_duplicates_the_datagram_comes_once(data: st.DataObject, payload: bytes, mtu: int) -> None:
    packet = replace(PACKET, payload=payload)
    pieces = list(fragments.fragment(packet, mtu))
    if len(pieces) == 1:
        return
    order = data.draw(st.permutations(pieces))
    noise = data.draw(st.lists(st.sampled_from(order), max_size=3))
    reassembly = Reassembly(Limits())
    for one in noise:
        outcomes(reassembly, [one])
    wholes = [outcome for outcome in outcomes(reassembly, order) if isinstance(outcome, Packet)]
    if not set(pieces) <= set(noise):
        assert wholes == [packet]
        assert reassembly.octets == 0


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(1, 4), st.booleans(), st.sampled_from([0x61, 0x62])),
        min_size=1,
        max_size=8,
    )
)
def test_a_datagram_is_delivered_only_if_no_octet_was_ever_in_doubt(
    parts: list[tuple[int, int, bool, int]],
) -> None:
    # The model: what was accepted so far, octet by octet, and where an end was seen.
    reassembly = Reassembly(Limits())
    octets: dict[int, int] = {}
    ends: set[int] = set()
    for start, length, more, fill in parts:
        one = piece(8 * start, 8 * (start + length), more, fill=fill)
        if not one.is_fragment:
            continue
        for outcome in reassembly.receive(one, 0.0):
            if isinstance(outcome, Note) and outcome.rule.slug == "s12-hold":
                octets |= dict.fromkeys(range(one.fragment_offset, one.fragment_end), fill)
                ends |= set() if more else {one.fragment_end}
            elif isinstance(outcome, Whole):
                octets |= dict.fromkeys(range(one.fragment_offset, one.fragment_end), fill)
                ends |= set() if more else {one.fragment_end}
                assert ends == {len(octets)}
                assert outcome.packet.payload == bytes(octets[position] for position in range(len(octets)))
                return


@pytest.mark.parametrize(
    ("fragment", "rule"),
    [
        (piece(0, 0), "s12-empty"),
        (piece(8, 8, False), "s12-empty"),
        (piece(0, 7), "s12-not-multiple-of-8"),
        (piece(65512, 65520), "s12-too-long"),
    ],
)
def test_a_fragment_that_is_wrong_alone_holds_nothing(fragment: Packet, rule: str) -> None:
    reassembly = Reassembly(Limits())
    assert last(reassembly, fragment) == rule
    assert len(reassembly) == 0


@pytest.mark.parametrize(
    ("pieces", "rule"),
    [
        ((piece(0, 16), piece(0, 16)), "s12-duplicate"),
        ((piece(0, 16), piece(8, 24), piece(8, 16)), "s12-discarded"),
        ((piece(0, 8), piece(8, 16), piece(0, 16)), "s12-duplicate"),
        ((piece(0, 16), piece(0, 16, fill=0x62)), "s12-overlap"),
        ((piece(0, 16), piece(8, 24)), "s12-overlap"),
        ((piece(8, 16), piece(0, 24)), "s12-overlap"),
        ((piece(8, 16, False), piece(16, 24, False)), "s12-two-ends"),
        ((piece(8, 24, False), piece(8, 16, False)), "s12-duplicate"),  # it adds no octet, so it is not believed
        ((piece(8, 24, False), piece(0, 16, False)), "s12-two-ends"),
        ((piece(8, 16, False), piece(16, 24)), "s12-beyond-end"),
        ((piece(16, 24), piece(8, 16, False)), "s12-beyond-end"),
    ],
)
def test_fragments_that_do_not_fit_together_have_their_rule(pieces: tuple[Packet, ...], rule: str) -> None:
    assert last(Reassembly(Limits()), *pieces) == rule


def test_after_a_contradiction_nothing_of_the_datagram_is_delivered_until_its_time_is_over() -> None:
    reassembly = Reassembly(Limits())
    assert outcomes(reassembly, [piece(0, 16), piece(8, 24)], now=1.0)[-1] == "s12-overlap"
    assert reassembly.octets == 0
    assert outcomes(reassembly, [piece(0, 16), piece(16, 20, False)], now=2.0) == ["s12-discarded", "s12-discarded"]
    assert reassembly.deadline == 61.0
    assert list(reassembly.tick(61.0)) == []  # silently
    assert outcomes(reassembly, [piece(0, 16), piece(16, 20, False)], now=61.0)[0] == "s12-hold"


def test_datagrams_are_told_apart_by_all_four_parts_of_their_key() -> None:
    first = piece(0, 8)
    others = [
        replace(piece(8, 12, False), identification=2),
        replace(piece(8, 12, False), protocol=1),
        replace(piece(8, 12, False), source=IPv4Address("10.38.2.6")),
        replace(piece(8, 12, False), destination=IPv4Address("10.8.0.2")),
    ]
    assert outcomes(Reassembly(Limits()), [first, *others]) == ["s12-hold"] * 5


def test_a_header_longer_than_the_others_makes_a_datagram_too_long() -> None:
    first = replace(piece(0, 8), options=bytes(40))
    end = replace(piece(65504, 65512, False))
    assert outcomes(Reassembly(Limits()), [end, first]) == ["s12-hold", "s12-too-long"]


# ── time and bounds ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_time_runs_from_the_first_arrival_and_is_not_renewed() -> None:
    reassembly = Reassembly(Limits())
    first = piece(0, 8)
    outcomes(reassembly, [first], now=5.0)
    outcomes(reassembly, [piece(16, 24)], now=64.0)
    assert list(reassembly.tick(64.9)) == []
    key = Key(first.source, first.destination, 17, 1)
    assert list(reassembly.tick(65.0)) == [TimedOut(key, first)]
    assert (reassembly.octets, reassembly.deadline) == (0, None)


def test_without_the_first_fragment_there_is_nothing_to_quote() -> None:
    reassembly = Reassembly(Limits())
    outcomes(reassembly, [piece(8, 16)])
    assert [over.first_fragment for over in reassembly.tick(60.0)] == [None]


def test_the_oldest_datagram_gives_way_when_there_are_too_many() -> None:
    reassembly = Reassembly(Limits(reassembly_contexts=2))
    results = outcomes(reassembly, [piece(0, 8, identification=number) for number in (1, 2, 3)])
    assert results == ["s12-hold", "s12-hold", "s12-context-limit", "s12-hold"]
    assert outcomes(reassembly, [piece(8, 12, False, identification=1)])[-1] == "s12-hold"  # begun anew


def test_the_oldest_datagram_gives_way_when_too_many_octets_are_held() -> None:
    reassembly = Reassembly(Limits(reassembly_octets=32))
    results = outcomes(reassembly, [piece(0, 16, identification=number) for number in (1, 2, 3)])
    assert results == ["s12-hold", "s12-hold", "s12-octet-limit", "s12-hold"]
    assert reassembly.octets == 32


def test_a_fragment_over_the_limit_alone_is_dropped() -> None:
    reassembly = Reassembly(Limits(reassembly_octets=16))
    assert last(reassembly, piece(0, 8, identification=2), piece(0, 24)) == "s12-octet-limit"
    assert reassembly.octets == 8
    assert last(reassembly, piece(0, 16)) == "s12-hold"
    assert reassembly.octets == 16


def test_a_datagram_in_too_many_fragments_is_discarded() -> None:
    reassembly = Reassembly(Limits(reassembly_fragments=2))
    results = outcomes(reassembly, [piece(0, 8), piece(16, 24), piece(32, 40), piece(48, 56)])
    assert results == ["s12-hold", "s12-hold", "s12-fragment-limit", "s12-discarded"]
