"""ICMP: the echo service in place, and errors: to whom, about what, how often."""

from __future__ import annotations

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

HOST = "10.38.2.5"
US = "10.38.2.1"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@pytest.fixture
def world(make):
    return make.World(learned=[HOST])


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=80), st.integers(0, 255), st.integers(0, 255))
def test_an_echo_request_becomes_its_reply(make, identifier, sequence, data, tos, ttl):
    world = make.World(learned=[HOST])
    rest = struct.pack(">HH", identifier, sequence) + data
    world.inside(make.icmp(HOST, US, 8, 0, rest, tos=tos, ttl=ttl))
    assert world.fates == ["l1-echo"]
    (reply,) = world.packets
    identification = int.from_bytes(reply[4:6], "big")
    assert reply == make.icmp(US, HOST, 0, 0, rest, tos=tos, identification=identification)


def test_the_reply_that_is_all_zero_has_checksum_ffff(make, world):
    """The corner where the difference of checksums says 0, and the sum of nothing but zeros says 0xFFFF."""
    world.inside(make.icmp(HOST, US, 8, 0, bytes(4 + 60)))
    assert world.packets[0][20:] == b"\x00\x00\xff\xff" + bytes(64)


def test_a_reply_whose_sum_is_ffff_has_checksum_0(make, world):
    world.inside(make.icmp(HOST, US, 8, 0, b"\xff\xff" + bytes(2)))
    assert world.packets[0][20:24] == b"\x00\x00\x00\x00"


def test_an_echo_request_with_options_is_answered_without(make, world):
    message = make.icmp(HOST, US, 8, 0, bytes(4) + b"data")[20:]
    world.inside(make.ipv4(HOST, US, message, options=b"\x01\x01\x01\x00", protocol=1))
    assert world.packets[0][0] == 0x45
    assert world.packets[0][28:] == b"data"


def test_a_reply_over_the_mtu_leaves_in_fragments(make, world):
    request = make.icmp(HOST, US, 8, 0, bytes(4) + bytes(range(250)) * 10)
    for offset in range(0, len(request) - 20, 1480):
        more = 0x2000 if offset + 1480 < len(request) - 20 else 0
        piece = request[20 + offset : 20 + offset + 1480]
        world.inside(make.ipv4(HOST, US, piece, fragment=offset // 8 | more, protocol=1))
    assert [len(packet) for packet in world.packets] == [1500, len(request) - 1480]
    assert len({packet[4:6] for packet in world.packets}) == 1
    assert b"".join(packet[20:] for packet in world.packets)[8:] == request[28:]


@pytest.mark.parametrize(
    ("packet", "rule"),
    [
        (lambda make: make.ipv4(HOST, US, b"\x08\x00\xf7\xff\0\0\0", protocol=1), "l1-truncated"),
        (lambda make: make.ipv4(HOST, US, b"\x08\x00\xf7\xfe\0\0\0\0", protocol=1), "l1-checksum"),
        (lambda make: make.icmp(HOST, US, 0, 0, bytes(4)), "l4-icmp-no-answer"),
        (lambda make: make.icmp(HOST, US, 3, 4, bytes(32)), "l4-icmp-no-answer"),
        (lambda make: make.icmp(HOST, US, 13, 0, bytes(16)), "l4-icmp-no-answer"),
        (lambda make: make.icmp(HOST, US, 17, 0, bytes(8)), "l4-icmp-no-answer"),
    ],
)
def test_other_messages_meet_silence(make, world, packet, rule):
    world.inside(packet(make))
    assert world.fates == [rule]
    assert world.is_silent


def test_echo_can_be_switched_off(make):
    world = make.World(services={"icmp_echo": False}).inside(make.icmp(HOST, US, 8, 0, bytes(4)))
    assert world.fates == ["l1-disabled"]
    assert world.is_silent


# errors


def test_an_error_quotes_548_octets_and_has_precedence_6(make, world):
    packet = make.ipv4(HOST, US, bytes(1000), protocol=99, tos=0x28, ttl=3)
    world.inside(packet)
    (error,) = world.packets
    assert len(error) == 576
    read = dpkt.ip.IP(error)
    assert (read.tos, read.ttl, read.p, read.df, read.mf) == (0xC0, 64, 1, 0, 0)
    assert error[20:22] == b"\x03\x02"
    assert error[28:] == packet[:548]
    assert make.checksum(error[:20]) == make.checksum(error[20:]) == 0


@pytest.mark.parametrize("message_type", [3, 4, 5, 11, 12])
def test_no_error_about_an_error(make, world, message_type):
    world.inside(make.icmp(HOST, "8.8.8.8", message_type, 0, bytes(32), ttl=1))
    assert world.is_silent
    assert world.notes[0].detail["unanswered"] == "s20-not-about-error"


@pytest.mark.parametrize("message_type", [0, 8, 13, 17])
def test_queries_do_get_errors(make, world, message_type):
    world.inside(make.icmp(HOST, "8.8.8.8", message_type, 0, bytes(4), ttl=1))
    assert world.packets[0][20:22] == b"\x0b\x00"


def test_no_error_about_a_later_fragment(make, world):
    world.inside(make.udp(HOST, "8.8.8.8", 1, 2, bytes(8), ttl=1, fragment=0x2001))
    assert world.is_silent
    world.inside(make.udp(HOST, "8.8.8.8", 1, 2, bytes(8), ttl=1, fragment=0x2000))
    assert not world.is_silent


def test_errors_are_limited_by_a_token_bucket(make):
    world = make.World(learned=[HOST], limits={"icmp_burst": 3, "icmp_rate": 2})
    packet = make.udp(HOST, "8.8.8.8", 1, 2, ttl=1)
    assert [world.inside(packet).is_silent for _ in range(5)] == [False, False, False, True, True]
    assert [world.inside(packet, after=0.25).is_silent for _ in range(4)] == [True, False, True, False]
    assert [world.inside(packet, after=100.0).is_silent] + [world.inside(packet).is_silent for _ in range(3)] == [
        False,
        False,
        False,
        True,
    ]
