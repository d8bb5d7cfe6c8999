"""UDP: the echo service in place, and what gets an error or no answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

HOST = "10.38.2.5"
US = "10.38.2.1"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@pytest.fixture
def world(make):
    return make.World(learned=[HOST])


@given(st.integers(1, 0xFFFF).filter(lambda port: port not in (7, 19)), st.binary(max_size=60), st.booleans())
def test_a_datagram_becomes_its_echo(make, port, data, has_checksum):
    world = make.World(learned=[HOST])
    packet = make.udp(HOST, US, port, 7, data, tos=0x20)
    if not has_checksum:
        packet = packet[:26] + b"\0\0" + packet[28:]
    world.inside(packet)
    (reply,) = world.packets
    identification = int.from_bytes(reply[4:6], "big")
    assert reply == make.udp(US, HOST, 7, port, data, identification=identification)


def test_a_checksum_that_computes_to_0_is_sent_as_ffff(make, world):
    for word in range(0x10000):
        data = word.to_bytes(2, "big")
        packet = make.udp(HOST, US, 4000, 7, data)
        if packet[26:28] == b"\xff\xff":
            break
    for checksum in (b"\xff\xff", b"\0\0"):
        world.inside(packet[:26] + checksum + packet[28:])
        assert world.packets[0][26:28] == b"\xff\xff"


def test_octets_beyond_the_udp_length_are_ignored(make, world):
    packet = make.udp(HOST, US, 4000, 7, b"data")
    world.inside(make.ipv4(HOST, US, packet[20:] + b"\xa5" * 9, protocol=17))
    assert world.packets[0][28:] == b"data"


@pytest.mark.parametrize(
    ("datagram", "rule"),
    [
        ("0fa0000700080000"[:14], "l2-truncated"),
        ("0fa0000700070000", "l2-length"),
        ("0fa0000700090000", "l2-length"),
        ("0fa0000700081234", "l2-checksum"),
        ("0000000700080000", "l2-port-zero"),
        ("0fa0000000080000", "l2-port-zero"),
        ("0007000700080000", "l2-echo-loop"),
        ("0013000700080000", "l2-echo-loop"),
    ],
)
def test_a_datagram_that_gets_no_answer(make, world, datagram, rule):
    world.inside(make.ipv4(HOST, US, bytes.fromhex(datagram), protocol=17))
    assert world.fates == [rule]
    assert world.is_silent


def test_a_closed_port_is_unreachable(make, world):
    packet = make.udp(HOST, US, 4000, 9, b"data")
    world.inside(packet)
    assert world.packets[0][20:22] == b"\x03\x03"
    assert world.packets[0][28:] == packet
