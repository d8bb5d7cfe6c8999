"""The frame filter: every refusal by name, and what passes."""

from __future__ import annotations

import pytest


def test_a_frame_to_us_enters(make):
    world = make.World().inside(make.udp("10.38.2.5", "8.8.8.8", 1, 2))
    assert world.fates == ["s14-forward"]


@pytest.mark.parametrize("length", range(14))
def test_a_runt_is_dropped(make, length):
    frame = make.ethernet(b"", make.hardware("10.38.2.5"))[:length]
    world = make.World().frame(frame)
    assert world.fates == ["s5-runt"]
    assert world.is_silent


@pytest.mark.parametrize(
    ("destination", "source", "ether_type", "rule"),
    [
        ("020000000099", "020000000005", 0x0800, "s5-other-station"),
        ("00f00df00d00", "030000000005", 0x0800, "s5-source-group"),
        ("00f00df00d00", "ffffffffffff", 0x0806, "s5-source-group"),
        ("00f00df00d00", "00f00df00d00", 0x0800, "s5-source-own"),
        ("ffffffffffff", "00f00df00d00", 0x0806, "s5-source-own"),
        ("00f00df00d00", "020000000005", 0x0000, "s5-length-field"),
        ("00f00df00d00", "020000000005", 0x05FF, "s5-length-field"),
        ("00f00df00d00", "020000000005", 0x8100, "s5-vlan"),
        ("00f00df00d00", "020000000005", 0x0600, "s5-unknown-type"),
        ("00f00df00d00", "020000000005", 0x86DD, "s5-unknown-type"),
        ("ffffffffffff", "020000000005", 0x86DD, "s5-unknown-type"),
        ("ffffffffffff", "020000000005", 0x0800, "s6-ip-in-group-frame"),
        ("01005e0000fb", "020000000005", 0x0800, "s6-ip-in-group-frame"),
    ],
)
@pytest.mark.parametrize("payload", [b"", "ipv4"])
def test_a_frame_is_refused_by_name(make, destination, source, ether_type, rule, payload):
    payload = payload and make.udp("10.38.2.5", "8.8.8.8", 1, 2)
    frame = make.ethernet(payload, bytes.fromhex(source), bytes.fromhex(destination), ether_type)
    world = make.World().frame(frame)
    assert world.fates == [rule]
    assert world.is_silent


def test_padding_after_the_packet_is_ignored(make):
    packet = make.ipv4("10.38.2.5", "8.8.8.8", b"x", ttl=9)
    world = make.World().frame(make.ethernet(packet + b"\xa5" * 25, make.hardware("10.38.2.5")))
    assert world.sealed == [make.ipv4("10.38.2.5", "8.8.8.8", b"x", ttl=8)]
