"""ARP: answers, learning, resolving with its queue and timers, the table's bound."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

HOST = "10.38.2.5"


@pytest.fixture
def hardware(make):
    return make.hardware(HOST)


def announcement(make):
    return make.arp(1, make.MAC, "10.38.2.1", "10.38.2.1")


def request(make, target, destination=None):
    return make.arp(1, make.MAC, "10.38.2.1", target, destination=destination or make.BROADCAST)


# receive


def test_our_address_is_announced_twice(make):
    world = make.World(is_started=False)
    world.effects = world.gateway.start(1.0)
    assert world.frames == [announcement(make)]
    assert world.gateway.deadline == 3.0
    world.effects = world.gateway.tick(2.99)
    assert world.is_silent
    world.effects = world.gateway.tick(3.0)
    assert world.frames == [announcement(make)]
    assert world.gateway.deadline is None


def test_a_request_for_us_is_answered_and_learned(make, hardware):
    world = make.World().frame(make.arp(1, hardware, HOST, "10.38.2.1"))
    assert world.frames == [make.arp(2, make.MAC, "10.38.2.1", HOST, hardware, hardware)]
    assert world.states == ["s7-reply"]
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2))
    assert world.packets == [make.udp("8.8.8.8", HOST, 1, 2, ttl=63)]


def test_a_probe_is_answered_and_not_learned(make, hardware):
    world = make.World().frame(make.arp(1, hardware, "0.0.0.0", "10.38.2.1"))
    assert world.frames == [make.arp(2, make.MAC, "10.38.2.1", "0.0.0.0", hardware, hardware)]
    assert world.states == ["s7-probe"]


@pytest.mark.parametrize(
    ("operation", "sender", "target", "rule"),
    [
        (1, HOST, "10.38.2.6", "s7-not-for-us"),
        (1, "0.0.0.0", "10.38.2.6", "s7-not-for-us"),
        (2, HOST, "10.38.2.6", "s8-not-learned"),
        (2, "0.0.0.0", "10.38.2.1", "s8-foreign-sender"),
        (1, "8.8.8.8", "10.38.2.1", "s8-foreign-sender"),
        (1, "10.38.2.0", "10.38.2.1", "s8-foreign-sender"),
        (1, "10.38.2.255", "10.38.2.1", "s8-foreign-sender"),
    ],
)
def test_what_is_not_for_us_or_from_no_host_is_refused(make, hardware, operation, sender, target, rule):
    world = make.World().frame(make.arp(operation, hardware, sender, target))
    assert world.fates == [rule]
    assert world.is_silent
    # nothing was learned
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2))
    assert world.frames == [request(make, HOST)]


@pytest.mark.parametrize(
    ("at", "value", "rule"),
    [
        (1, 6, "s7-hardware-type"),
        (2, 0x86, "s7-protocol-type"),
        (4, 8, "s7-address-length"),
        (5, 16, "s7-address-length"),
        (7, 3, "s7-operation"),
        (7, 0, "s7-operation"),
        (8, 0x03, "s8-group-hardware"),
    ],
)
def test_a_wrong_field_is_refused_by_name(make, hardware, at, value, rule):
    frame = bytearray(make.arp(1, hardware, HOST, "10.38.2.1"))
    frame[14 + at] = value
    world = make.World().frame(bytes(frame))
    assert world.fates == [rule]
    assert world.is_silent


@pytest.mark.parametrize("claimed", ["00f00df00d00", "000000000000"])
def test_a_sender_that_is_no_other_station_is_refused(make, claimed, hardware):
    frame = bytearray(make.arp(1, hardware, HOST, "10.38.2.1"))
    frame[22:28] = bytes.fromhex(claimed)
    assert make.World().frame(bytes(frame)).fates == ["s8-no-station"]


@pytest.mark.parametrize("length", range(28))
def test_a_truncated_packet_is_dropped(make, hardware, length):
    world = make.World().frame(make.arp(1, hardware, HOST, "10.38.2.1")[: 14 + length])
    assert world.fates == ["s7-truncated"]


def test_a_conflict_is_defended_once_in_ten_seconds(make, hardware):
    world = make.World()
    claim = make.arp(1, hardware, "10.38.2.1", "10.38.2.1")
    assert world.frame(claim).frames == [announcement(make)]
    assert world.fates == ["s7-conflict"]
    assert world.frame(claim, after=9.9).frames == []
    assert world.frame(claim, after=0.2).frames == [announcement(make)]


def test_a_packet_for_others_updates_an_entry_and_makes_none(make, hardware):
    world = make.World(learned=[HOST])
    moved = bytes.fromhex("0200000000ee")
    world.frame(make.arp(2, moved, HOST, "10.38.2.9"))
    assert world.states == ["s8-update"]
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2))
    assert world.frames[0][:6] == moved


# send and tick


def test_packets_for_an_unknown_host_wait_and_leave_in_order(make, hardware):
    world = make.World()
    packets = [make.udp("8.8.8.8", HOST, 1, 2, bytes([number])) for number in range(3)]
    assert world.tunnel(packets[0]).frames == [request(make, HOST)]
    for packet in packets[1:]:
        assert world.tunnel(packet).frames == []
    world.frame(make.arp(2, hardware, HOST, "10.38.2.1", make.MAC, make.MAC))
    expected = [make.udp("8.8.8.8", HOST, 1, 2, bytes([number]), ttl=63) for number in range(3)]
    assert world.frames == [make.ethernet(packet, make.MAC, hardware) for packet in expected]


def test_a_silent_host_is_asked_three_times_and_given_up(make):
    world = make.World()
    received = make.udp("8.8.8.8", HOST, 1, 2, b"first")
    world.tunnel(received)
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2, b"second"))
    world.tunnel(make.udp("9.9.9.9", HOST, 1, 2, b"third"))
    assert world.gateway.deadline == world.now + 1
    for _ in range(2):
        assert world.tick(after=1.0).frames == [request(make, HOST)]
    errors = world.tick(after=1.0).sealed
    assert world.frames == []
    assert [packet[12:20] for packet in errors] == [
        make.address("10.8.0.2") + make.address(source) for source in ("8.8.8.8", "9.9.9.9")
    ]
    assert errors[0][20:22] == b"\x03\x01"
    assert errors[0][28:] == received
    assert world.fates == ["s31-give-up"] * 3
    # the negative second
    world.tunnel(received, after=0.5)
    assert world.frames == []
    assert world.sealed[0][20:22] == b"\x03\x01"
    assert world.fates == ["s31-negative"]
    world.tunnel(received, after=0.6)
    assert world.frames == [request(make, HOST)]


def test_a_late_driver_still_gives_each_request_its_second(make):
    world = make.World()
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2))
    assert world.tick(after=10.0).frames == [request(make, HOST)]
    assert world.tick(after=0.9).is_silent
    assert world.tick(after=0.1).frames == [request(make, HOST)]


def test_the_queue_is_bounded_and_the_oldest_is_dropped(make, hardware):
    world = make.World(limits={"arp_queue": 2})
    for number in range(4):
        world.tunnel(make.udp("8.8.8.8", HOST, 1, 2, bytes([number])))
    assert world.states == ["s31-queue-full", "s31-wait"]
    assert world.fates == ["s31-queue-full"]
    world.frame(make.arp(2, hardware, HOST, "10.38.2.1"))
    assert world.fates == ["s29-to-host"] * 2
    assert [packet[-1] for packet in world.packets] == [2, 3]


def test_an_entry_in_use_is_refreshed_before_it_expires(make, hardware):
    world = make.World(learned=[HOST])
    packet = make.udp("8.8.8.8", HOST, 1, 2)
    unicast = request(make, HOST, hardware)
    world.tunnel(packet, after=1139.0)
    assert len(world.frames) == 1
    world.tunnel(packet, after=1.0)
    assert world.frames[1:] == [unicast]
    world.tunnel(packet, after=0.5)
    assert world.frames[1:] == []
    for _ in range(2):
        world.tunnel(packet, after=1.0)
        assert world.frames[1:] == [unicast]
    world.tunnel(packet, after=5.0)
    assert world.frames[1:] == []
    # not confirmed for 20 minutes: forgotten, and asked for anew
    world.tunnel(packet, after=60.0)
    assert world.frames == [request(make, HOST)]


def test_any_packet_of_the_host_confirms_its_entry(make, hardware):
    world = make.World(learned=[HOST])
    world.frame(make.arp(1, hardware, HOST, "10.38.2.77"), after=1190.0)
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2), after=100.0)
    assert len(world.packets) == len(world.frames) == 1


@given(st.lists(st.tuples(st.sampled_from(["learn", "use"]), st.integers(2, 9)), max_size=40))
def test_the_least_recently_used_gives_way(make, operations):
    """Against a plain list in the order of use."""
    world = make.World(limits={"arp_neighbours": 3})
    order: list[int] = []
    for operation, number in operations:
        host = f"10.38.2.{number}"
        if operation == "use" and number not in order:
            continue
        if operation == "learn":
            world.learn(host)
            if number not in order:
                order = [*order[-2:], number]
        else:
            world.tunnel(make.udp("8.8.8.8", host, 1, 2))
            order = [*(other for other in order if other != number), number]
            assert len(world.packets) == 1
        table = world.gateway.batch._arp._neighbours
        assert [struct.pack(">I", address)[3] for address in table] == order
