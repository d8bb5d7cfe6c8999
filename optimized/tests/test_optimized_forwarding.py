"""Forwarding both ways: the order of the ladder, what survives, fragments, MSS clamping."""

from __future__ import annotations

import pytest

from glassgate.optimized.forwarding import may_be_syn

HOST, FAR = "10.38.2.5", "8.8.8.8"


@pytest.fixture
def world(make):
    return make.World(learned=[HOST])


def test_all_but_the_time_to_live_survives_upstream(make, world):
    fields = {"tos": 0xB9, "identification": 0xBEEF, "fragment": 0x8000 | 0x4000, "protocol": 132}
    world.inside(make.ipv4(HOST, FAR, b"payload", ttl=2, options=b"\x07\x07\x04\0\0\0\0\0", **fields))
    assert world.sealed == [make.ipv4(HOST, FAR, b"payload", ttl=1, options=b"\x07\x07\x04\0\0\0\0\0", **fields)]


def test_all_but_the_time_to_live_survives_downstream(make, world):
    fields = {"tos": 0xB9, "identification": 0xBEEF, "fragment": 0x2000 | 100, "protocol": 47}
    world.tunnel(make.ipv4(FAR, HOST, b"payload", ttl=2, **fields) + b"beyond the total length")
    expected = make.ipv4(FAR, HOST, b"payload", ttl=1, **fields)
    assert world.frames == [make.ethernet(expected, make.MAC, make.hardware(HOST))]


@pytest.mark.parametrize("protocol", [0, 2, 4, 41, 58, 89, 132, 255])
def test_any_protocol_passes_both_ways(make, world, protocol):
    assert world.inside(make.ipv4(HOST, FAR, protocol=protocol)).fates == ["s14-forward"]
    assert world.tunnel(make.ipv4(FAR, HOST, protocol=protocol)).fates == ["s29-to-host"]


@pytest.mark.parametrize(
    ("packet", "rule", "error"),
    [
        # each is wrong in several ways; the first rung that it meets names it
        ({"source": "8.8.8.8", "destination": "224.0.0.1", "ttl": 1}, "s16-foreign", None),
        (
            {"source": HOST, "destination": "10.38.2.77", "options": b"\x83\x03\x04\0", "ttl": 1},
            "s14-own-network",
            None,
        ),
        ({"source": HOST, "destination": FAR, "options": b"\x83\x03\x04\0", "ttl": 1}, "s18-source-route", None),
        ({"source": HOST, "destination": FAR, "options": b"\x07\x00\0\0", "ttl": 1}, "s18-malformed-option", b"\x0c\0"),
        ({"source": HOST, "destination": FAR, "ttl": 1, "fragment": 0x1FFF, "payload": bytes(8)}, "s12-too-long", None),
        (
            {"source": HOST, "destination": FAR, "ttl": 1, "fragment": 0x4000, "payload": bytes(1500)},
            "s17-expired",
            b"\x0b\0",
        ),
        ({"source": HOST, "destination": FAR, "ttl": 0}, "s17-expired", b"\x0b\0"),
        ({"source": HOST, "destination": FAR, "fragment": 0x4000, "payload": bytes(1481)}, "s22-df", b"\x03\x04"),
    ],
)
def test_the_ladder_from_inside(make, world, packet, rule, error):
    octets = make.ipv4(packet.pop("source"), packet.pop("destination"), packet.pop("payload", b""), **packet)
    world.frame(make.ethernet(octets, make.hardware(HOST)))
    assert world.fates == [rule]
    assert world.sealed == []
    assert [answer[20:22] for answer in world.packets] == ([error] if error else [])
    if error:
        assert world.packets[0][28:] == octets[:548]


@pytest.mark.parametrize(
    ("packet", "rule", "error"),
    [
        ({"source": "127.0.0.1", "destination": FAR}, "s16-martian", None),
        ({"source": "10.38.2.9", "destination": FAR}, "s29-source-inside", None),
        ({"source": FAR, "destination": "224.0.0.1", "ttl": 1}, "s15-group", None),
        ({"source": FAR, "destination": "10.38.2.255", "ttl": 1}, "s29-broadcast", None),
        ({"source": FAR, "destination": "9.9.9.9", "ttl": 1}, "s30-elsewhere", None),
        ({"source": FAR, "destination": HOST, "options": b"\x89\x03\x04\0", "ttl": 1}, "s18-source-route", None),
        (
            {"source": FAR, "destination": HOST, "options": b"\x44\x02\x44\xff", "ttl": 1},
            "s18-malformed-option",
            b"\x0c\0",
        ),
        (
            {"source": FAR, "destination": HOST, "ttl": 1, "fragment": 0x1FFE, "payload": bytes(16)},
            "s12-too-long",
            None,
        ),
        (
            {"source": FAR, "destination": HOST, "ttl": 1, "fragment": 0x4000, "payload": bytes(1400)},
            "s17-expired",
            b"\x0b\0",
        ),
        ({"source": FAR, "destination": HOST, "fragment": 0x4000, "payload": bytes(1381)}, "s22-df", b"\x03\x04"),
    ],
)
def test_the_ladder_out_of_the_tunnel(make, packet, rule, error):
    world = make.World(learned=[HOST], internal={"mtu": 1400})
    octets = make.ipv4(packet.pop("source"), packet.pop("destination"), packet.pop("payload", b""), **packet)
    world.tunnel(octets)
    assert world.fates == [rule]
    assert world.frames == []
    answers = world.sealed
    assert [answer[20:22] for answer in answers] == ([error] if error else [])
    if error:
        assert answers[0][28:] == octets[:548]


def test_an_option_error_points_to_the_options_type_octet(make, world):
    world.inside(make.ipv4(HOST, FAR, options=b"\x01\x01\x44\x01"))
    assert world.packets[0][24:28] == b"\x16\0\0\0"


def test_fragmentation_needed_tells_the_whole_mtu(make):
    world = make.World(learned=[HOST], session={"mtu": 1234})
    world.inside(make.ipv4(HOST, FAR, bytes(1215), fragment=0x4000))
    assert world.packets[0][20:28] == b"\x03\x04" + world.packets[0][22:24] + b"\0\0\x04\xd2"
    assert world.inside(make.ipv4(HOST, FAR, bytes(1214), fragment=0x4000)).fates == ["s14-forward"]


def test_a_datagram_over_the_internal_mtu_arrives_in_fragments(make):
    world = make.World(learned=[HOST], internal={"mtu": 576})
    world.tunnel(make.ipv4(FAR, HOST, bytes(range(200)) * 6, ttl=9))
    assert [len(packet) for packet in world.packets] == [572, 572, 116]
    assert b"".join(packet[20:] for packet in world.packets) == bytes(range(200)) * 6
    assert {packet[8] for packet in world.packets} == {8}


@pytest.mark.parametrize(("ids_left", "expected"), [(1, ["s24-ids-used-up"]), (2, ["s14-forward"])])
def test_a_datagram_is_sealed_whole_or_not_at_all(make, ids_left, expected):
    send = {"key": "00" * 32, "implicit_iv": "00" * 8, "next_packet_id": 0x1_0000_0000 - ids_left}
    world = make.World(learned=[HOST], session={"mtu": 576, "send": send})
    world.inside(make.ipv4(HOST, FAR, bytes(600)))
    assert world.fates == expected


def test_further_prefixes_are_on_link(make):
    world = make.World(internal={"sources": ["10.39.0.0/16"]})
    world.inside(make.ipv4("10.39.1.2", FAR))
    assert world.fates == ["s14-forward"]
    world.tunnel(make.ipv4(FAR, "10.39.255.255"))
    assert world.frames[0][-4:] == make.address("10.39.255.255")


def test_with_mssfix_a_syn_is_clamped_both_ways(make, world):
    world.gateway.batch.tunnel.mssfix = 1360
    options = b"\x02\x04\x05\xb4"
    clamped = b"\x02\x04\x05\x50"
    world.inside(make.tcp(HOST, FAR, (4000, 80), 2, b"", options))
    assert world.sealed == [make.tcp(HOST, FAR, (4000, 80), 2, b"", clamped, ttl=63)]
    world.tunnel(make.tcp(FAR, HOST, (80, 4000), 18, b"", options))
    assert world.packets == [make.tcp(FAR, HOST, (80, 4000), 18, b"", clamped, ttl=63)]


def test_what_is_too_short_for_its_flags_to_be_read_may_be_a_syn(make):
    """Nothing is read beyond the packet."""
    packet = make.ipv4(HOST, FAR, protocol=6)
    assert may_be_syn(memoryview(packet), 0, 20, 0x4006)
    assert not may_be_syn(memoryview(packet), 0, 20, 0x4011)
    for flags in range(64):
        segment = memoryview(make.tcp(HOST, FAR, (1, 2), flags))
        assert may_be_syn(segment, 0, 40, 0x4006) == bool(flags & 2)
