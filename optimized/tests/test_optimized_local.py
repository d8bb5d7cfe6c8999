"""Local delivery through the tunnel, to unknown hosts, of other protocols."""

from __future__ import annotations

import struct

import pytest

HOST = "10.38.2.5"
US = "10.38.2.1"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@pytest.fixture
def world(make):
    return make.World(learned=[HOST])


@pytest.mark.parametrize("asked", [US, "10.8.0.2"])
def test_answers_to_the_tunnel_return_through_it(make, world, asked):
    world.tunnel(make.icmp("8.8.8.8", asked, 8, 0, bytes(4) + b"data", ttl=0))
    assert world.frames == []
    (reply,) = world.sealed
    assert reply[12:20] == make.address(asked) + make.address("8.8.8.8")
    assert reply[20:] == make.icmp(asked, "8.8.8.8", 0, 0, bytes(4) + b"data")[20:]


def test_errors_into_the_tunnel_come_from_the_tunnel_address(make, world):
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2, ttl=1))
    (error,) = world.sealed
    assert error[12:20] == make.address("10.8.0.2") + make.address("8.8.8.8")


@pytest.mark.parametrize("protocol", [17, 99])
def test_port_and_protocol_unreachable_come_from_the_address_asked(make, world, protocol):
    world.tunnel(make.ipv4("8.8.8.8", US, struct.pack(">HHHH", 1, 9, 8, 0), protocol=protocol))
    (error,) = world.sealed
    assert error[12:16] == make.address(US)


def test_an_answer_for_an_unknown_host_waits_for_arp(make):
    world = make.World().inside(make.icmp(HOST, US, 8, 0, bytes(4)))
    assert world.packets == []
    assert len(world.frames) == 1
    world.frame(make.arp(2, make.hardware(HOST), HOST, US))
    assert world.packets[0][20:22] == b"\0\0"
    # and our own packets draw no error to ourselves when their host stays silent
    other = make.World().inside(make.icmp(HOST, US, 8, 0, bytes(4)))
    for _ in range(3):
        other.tick(after=1.0)
    assert other.is_silent
