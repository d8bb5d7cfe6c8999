"""Cutting in place, against an independent cut; reassembly, against a map of octets."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.optimized.fragments import cut, measure

COPIED = b"\x94\x04\x00\x00"
SHORT_COPIED = b"\x88\x03\xaa"
NOT_COPIED = b"\x07\x07\x04\x00\x00\x00\x00"


def expected_pieces(make, packet: bytes, mtu: int) -> list[bytes]:
    """RFC 791 3.2 over new objects: headers and payloads put together anew for each piece."""
    header = (packet[0] & 15) * 4
    options, payload = packet[20:header], packet[header:]
    kept = b""
    at = 0
    while at < len(options) and options[at]:
        length = 1 if options[at] == 1 else options[at + 1]
        if options[at] & 0x80:
            kept += options[at : at + length]
        at += length
    kept += bytes(-len(kept) % 4)
    flags = int.from_bytes(packet[6:8], "big")
    pieces, done = [], 0
    while done < len(payload):
        mine = kept if done else options
        room = mtu - 20 - len(mine)
        left = len(payload) - done
        take = left if left <= room and done else min(room // 8 * 8, left)
        more = 0x2000 if done + take < len(payload) else flags & 0x2000
        word = (flags & 0xC000) | more | ((flags & 0x1FFF) + done // 8)
        head = struct.pack(">BBH", 0x45 + len(mine) // 4, packet[1], 20 + len(mine) + take)
        head += packet[4:6] + word.to_bytes(2, "big") + packet[8:10] + b"\0\0" + packet[12:20] + mine
        head = head[:10] + make.checksum(head).to_bytes(2, "big") + head[12:]
        pieces.append(head + payload[done : done + take])
        done += take
    return pieces


@given(
    st.integers(68, 1500),
    st.integers(0, 4000),
    st.sampled_from(
        [
            b"",
            COPIED,
            SHORT_COPIED + b"\x01",
            b"\x01" + NOT_COPIED,
            NOT_COPIED + b"\x01" + COPIED,
            b"\x01" * 3 + b"\x00" + COPIED,
        ]
    ),
    st.sampled_from([0, 0x2000, 0x8000, 0x2000 | 185]),
)
def test_a_packet_is_cut_as_the_standard_says(make, mtu, excess, options, fragment):
    payload = bytes(index * 7 & 0xFF for index in range(mtu + excess))
    packet = make.ipv4("10.38.2.5", "8.8.8.8", payload, options=options, fragment=fragment, tos=0xB8)
    buffer = bytearray(b"\xa5" * 5 + packet + b"\xa5" * 5)
    view = memoryview(buffer)
    measured = measure(view, 5, 5 + len(packet), mtu)
    pieces = [bytes(view[start:end]) for start, end in cut(view, 5, 5 + len(packet), mtu)]
    assert measured == (len(pieces), sum(map(len, pieces)))
    assert pieces == expected_pieces(make, packet, mtu)
    assert all(len(piece) <= mtu for piece in pieces)
    assert buffer[:5] == buffer[-5:] == b"\xa5" * 5


def test_the_example_of_the_requirements(make):
    world = make.World(session={"mtu": 1477})
    world.inside(make.ipv4("10.38.2.5", "8.8.8.8", bytes(1480)))
    first, second = world.sealed
    assert (len(first), len(second)) == (1476, 44)
    assert int.from_bytes(second[6:8], "big") == 182
    assert first[6:8] == b"\x20\x00"


# reassembly


def fragment(make, offset, octets, more, **fields):
    return make.ipv4(
        "10.38.2.5",
        "10.38.2.1",
        octets,
        fragment=offset // 8 | (0x2000 if more else 0),
        protocol=fields.pop("protocol", 17),
        **fields,
    )


@pytest.fixture
def datagram(make):
    """A datagram to the echo service, in pieces of 8 octets."""
    whole = make.udp("10.38.2.5", "10.38.2.1", 4000, 7, bytes(range(100, 128)))[20:]
    return [(at, whole[at : at + 8], at + 8 < len(whole)) for at in range(0, len(whole), 8)]


def test_any_order_makes_the_datagram_whole(make, datagram):
    for order in itertools.permutations(datagram):
        world = make.World(learned=["10.38.2.5"])
        for at, octets, more in order[:-1]:
            assert world.inside(fragment(make, at, octets, more)).is_silent
            assert world.states == ["s12-hold"]
        at, octets, more = order[-1]
        world.inside(fragment(make, at, octets, more))
        assert world.fates == ["l2-echo"]
        assert world.packets[0][28:] == bytes(range(100, 128))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.booleans(), st.booleans()), max_size=8))
def test_overlaps_are_found_as_a_map_of_octets_finds_them(make, arrivals):
    """Each arrival: first unit of 8 octets, units, whether the last fragment, whether its octets differ."""
    world = make.World()
    held: dict[int, int] = {}
    end = None
    is_discarded = False
    for first, units, is_last, differs in arrivals:
        is_last = is_last and first > 0  # offset 0 without MF is no fragment
        octets = b"".join(bytes([unit + 100 * differs]) * 8 for unit in range(first, first + units))
        stop = first + units
        world.inside(fragment(make, first * 8, octets, not is_last, protocol=99))
        touched = [unit for unit in range(first, stop) if unit in held]
        same = all(held[unit] == unit + 100 * differs for unit in touched)
        if is_discarded:
            expected = "s12-discarded"
        elif len(touched) == units and same:
            expected = "s12-duplicate"
        elif is_last and end not in (None, stop):
            expected = "s12-two-ends"
        elif (is_last and max(held, default=-1) >= stop) or (end is not None and stop > end):
            expected = "s12-beyond-end"
        elif touched:
            expected = "s12-overlap"
        else:
            expected = ""
            held.update({unit: unit + 100 * differs for unit in range(first, stop)})
            end = stop if is_last else end
            if end is not None and len(held) == end:
                assert world.fates == ["l4-protocol"]
                held, end = {}, None
                continue
        if expected not in ("", "s12-duplicate", "s12-discarded"):
            is_discarded = True
        assert world.fates == ([expected] if expected else [])
        assert world.states == ([] if expected else ["s12-hold"])


@pytest.mark.parametrize(
    ("offset", "length", "more", "rule"),
    [
        (8, 0, True, "s12-empty"),
        (8, 0, False, "s12-empty"),
        (8, 12, True, "s12-not-multiple-of-8"),
        (65528, 8, False, "s12-too-long"),
        (65504, 16, False, "s12-too-long"),
    ],
)
def test_a_fragment_that_cannot_be_is_refused(make, offset, length, more, rule):
    world = make.World().inside(fragment(make, offset, bytes(length), more))
    assert world.fates == [rule]
    assert world.is_silent


def test_a_fragment_up_to_octet_65535_is_held(make):
    assert make.World().inside(fragment(make, 65504, bytes(11), False)).states == ["s12-hold"]


def test_a_datagram_times_out_60_seconds_after_its_first_arrival(make, datagram):
    world = make.World(learned=["10.38.2.5"])
    first = fragment(make, *datagram[0][:2], True)
    world.inside(first)
    assert world.gateway.deadline == world.now + 60
    world.inside(fragment(make, *datagram[2]), after=30.0)
    assert world.tick(after=29.9).is_silent
    world.tick(after=0.1)
    assert world.packets[0][20:22] == b"\x0b\x01"
    assert world.packets[0][28:] == first
    assert world.fates == ["s12-timeout"]


def test_without_its_first_fragment_a_datagram_times_out_silently(make, datagram):
    world = make.World().inside(fragment(make, *datagram[1]))
    assert world.tick(after=60.0).is_silent
    assert world.fates == ["s12-timeout-silent"]


def test_an_error_about_a_reassembled_datagram_quotes_its_first_fragment(make):
    world = make.World(learned=["10.38.2.5"])
    first = fragment(make, 0, bytes(16), True, protocol=99, ttl=7)
    world.inside(fragment(make, 16, bytes(5), False, protocol=99, ttl=3)).inside(first)
    assert world.packets[0][20:22] == b"\x03\x02"
    assert world.packets[0][28:] == first


def test_the_oldest_datagram_gives_way(make):
    world = make.World(limits={"reassembly_contexts": 2})
    for identification in (1, 2, 3):
        world.inside(fragment(make, 8, bytes(8), True, identification=identification))
    assert world.states == ["s12-context-limit", "s12-hold"]
    assert len(world.gateway.batch._local._reassembly._datagrams) == 2


def test_octets_are_bounded_over_all_datagrams(make):
    world = make.World(limits={"reassembly_octets": 100})
    for identification in range(1, 40):
        world.inside(fragment(make, 8, bytes(48), True, identification=identification))
        assert world.gateway.batch._local._reassembly._octets <= 100
    assert world.states == ["s12-octet-limit", "s12-hold"]
    world.inside(fragment(make, 8, bytes(104), True))
    assert world.fates == ["s12-octet-limit"]


def test_fragments_of_one_datagram_are_bounded(make):
    world = make.World(limits={"reassembly_fragments": 3})
    for unit in range(1, 5):
        world.inside(fragment(make, unit * 16, bytes(8), True))
    assert world.fates == ["s12-fragment-limit"]
    assert world.inside(fragment(make, 0, bytes(8), True)).fates == ["s12-discarded"]
    assert world.gateway.batch._local._reassembly._octets == 0


def test_a_discarded_datagram_stays_discarded_while_others_give_way(make):
    """It holds no octets that it could give."""
    world = make.World(limits={"reassembly_octets": 100, "reassembly_fragments": 1})
    for offset in (8, 24):
        world.inside(fragment(make, offset, bytes(8), True, identification=1))
    assert world.fates == ["s12-fragment-limit"]
    for identification in (2, 3):
        world.inside(fragment(make, 8, bytes(96), True, identification=identification))
    assert world.states == ["s12-octet-limit", "s12-hold"]
    assert world.inside(fragment(make, 40, bytes(8), True, identification=1)).fates == ["s12-discarded"]


def test_a_datagram_that_its_first_header_makes_too_long_is_dropped(make):
    """Each fragment fits by its own header; the first one's options do not fit before all of the data."""
    world = make.World(limits={"reassembly_fragments": 1000})
    world.inside(fragment(make, 0, bytes(8), True, options=b"\x01" * 40))
    for offset in range(8, 65496, 1480):
        more = offset + 1480 < 65496
        world.inside(fragment(make, offset, bytes(min(1480, 65500 - offset)), more))
    assert world.fates == ["s12-too-long"]
