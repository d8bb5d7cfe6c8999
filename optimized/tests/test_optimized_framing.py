"""Records in a stream that is cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

HOST = "10.38.2.5"


def three(make, world):
    packets = [make.udp("8.8.8.8", HOST, 1, 2, bytes(size)) for size in (0, 700, 1400)]
    stream = b"".join(world.record(packet) for packet in packets)
    return stream, [make.udp("8.8.8.8", HOST, 1, 2, bytes(size), ttl=63) for size in (0, 700, 1400)]


def test_whole(make):
    world = make.World(learned=[HOST])
    stream, expected = three(make, world)
    assert world.flow(stream).packets == expected


def test_octet_by_octet(make):
    world = make.World(learned=[HOST])
    stream, expected = three(make, world)
    received = []
    for at in range(len(stream)):
        received += world.flow(stream[at : at + 1]).packets
    assert received == expected


@given(st.lists(st.integers(0, 2300), max_size=8))
def test_at_any_cuts(make, cuts):
    world = make.World(learned=[HOST])
    stream, expected = three(make, world)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    received = []
    for start, end in itertools.pairwise(edges):
        received += world.flow(stream[start:end]).packets
    assert received == expected


def test_more_than_the_buffer_holds_passes_through_it(make):
    world = make.World(learned=[HOST])
    packet = make.udp("8.8.8.8", HOST, 1, 2, bytes(1400))
    stream = b"".join(world.record(packet) for _ in range(600))
    assert len(world.flow(stream).packets) == 600


@pytest.mark.parametrize(("length", "is_right"), [(0, False), (1, True), (1768, True), (1769, False), (65535, False)])
def test_a_length_is_judged_as_soon_as_it_is_read(make, length, is_right):
    world = make.World().flow(length.to_bytes(2, "big"))
    assert world.fates == ([] if is_right else ["s3-bad-length"])
    assert world.words == ([] if is_right else ["CloseFlow"])


def test_the_limit_follows_the_tunnels_mtu(make):
    world = make.World(session={"mtu": 1000})
    assert world.flow((1268).to_bytes(2, "big")).words == []
    assert make.World(session={"mtu": 1000}).flow((1269).to_bytes(2, "big")).words == ["CloseFlow"]


def test_what_follows_a_fatal_record_is_never_read(make):
    world = make.World(learned=[HOST])
    good = world.record(make.udp("8.8.8.8", HOST, 1, 2))
    world.flow(good + b"\x00\x00" + world.record(make.udp("8.8.8.8", HOST, 1, 2)))
    assert len(world.packets) == 1
    assert world.words == ["CloseFlow"]
