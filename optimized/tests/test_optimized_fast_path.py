"""With the fast path and without it, anything has the same effects: it saves time and decides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HOSTS = ["10.38.2.5", "10.38.2.6", "10.39.0.9"]
ADDRESSES = [
    *HOSTS,
    "10.38.2.1",
    "10.38.2.0",
    "10.38.2.255",
    "10.8.0.2",
    "10.8.0.1",
    "8.8.8.8",
    "1.2.3.4",
    "127.0.0.1",
    "224.0.0.5",
    "255.255.255.255",
    "169.254.0.1",
    "0.0.0.0",
    "240.1.1.1",
]


@st.composite
def packets(draw, make, sources, destinations):
    """A packet that is nearly ordinary: most fields as they should be, one or two of them odd."""
    fields = {}
    odd = draw(
        st.sets(
            st.sampled_from(["ttl", "fragment", "options", "protocol", "size", "octet", "padding", "length"]),
            max_size=2,
        )
    )
    if "ttl" in odd:
        fields["ttl"] = draw(st.integers(0, 3))
    if "fragment" in odd:
        fields["fragment"] = draw(st.sampled_from([0x4000, 0x2000, 0x2001, 0x1FFF, 0x1F00, 0x8000, 0x1F4A]))
    if "options" in odd:
        fields["options"] = draw(st.sampled_from([b"\x01\x01\x01\x00", b"\x83\x03\x04\x00", b"\x07\x00\x00\x00"]))
    if "protocol" in odd:
        fields["protocol"] = draw(st.sampled_from([1, 6, 17]))
    size = draw(st.sampled_from([0, 1, 8, 556, 557, 1261, 1400, 1480, 1481])) if "size" in odd else 8
    if "length" in odd:  # claims more or less than there is, under a good checksum
        fields["total_length"] = draw(st.sampled_from([0, 19, 20, 27, 29, 20 + size + 1, 20 + size + 20]))
    source = draw(st.sampled_from(sources))
    destination = draw(st.sampled_from(destinations))
    if draw(st.integers(0, 4)) == 0:
        flags, options = draw(st.sampled_from([2, 18, 16])), draw(st.sampled_from([b"", b"\x02\x04\x05\xb4"]))
        segment = make.tcp(source, destination, (1, 2), flags, bytes(size), options)[20:][: draw(st.integers(0, 99))]
        return make.ipv4(source, destination, segment, **fields | {"protocol": 6}), source
    packet = bytearray(make.ipv4(source, destination, bytes(size), **fields))
    if "octet" in odd:
        packet[draw(st.integers(0, 19))] ^= draw(st.integers(1, 255))
    if "padding" in odd:
        packet += b"\xa5" * draw(st.integers(1, 30))
    return bytes(packet), source


def pair(make, mssfix, **config):
    """Two gateways that know the same: one with its fast path, one without."""
    config.setdefault("internal", {"sources": ["10.39.0.0/16"], "mtu": 1280})
    worlds = [make.World(learned=HOSTS, **config) for _ in range(2)]
    worlds[1].gateway.batch.forwarding.has_fast_path = False
    for world in worlds:
        world.gateway.batch.tunnel.mssfix = mssfix
    return worlds


def told(world):
    return world.effects, [(note.kind, note.rule.slug, dict(note.detail)) for note in world.notes]


@settings(max_examples=200)
@given(st.data())
def test_from_inside(make, data):
    fast, plain = pair(
        make, data.draw(st.sampled_from([None, 1360])), session={"mtu": data.draw(st.sampled_from([576, 1500]))}
    )
    for _ in range(3):
        packet, source = data.draw(packets(make, HOSTS * 6 + ADDRESSES, [*ADDRESSES, *["8.8.8.8", "9.9.9.9"] * 9]))
        hardware = make.hardware(source)
        destination = data.draw(st.sampled_from([make.MAC] * 5 + [make.BROADCAST, b"\x02" * 6]))
        source_hardware = data.draw(st.sampled_from([hardware] * 5 + [make.MAC, b"\x03" + hardware[1:]]))
        ether_type = data.draw(st.sampled_from([0x0800] * 6 + [0x0806, 0x86DD]))
        frame = make.ethernet(packet, source_hardware, destination, ether_type)
        assert told(fast.frame(frame)) == told(plain.frame(frame))


@settings(max_examples=200)
@given(st.data())
def test_out_of_the_tunnel(make, data):
    fast, plain = pair(make, data.draw(st.sampled_from([None, 1360])))
    for _ in range(3):
        packet, _ = data.draw(
            packets(make, [*ADDRESSES, *["8.8.8.8", "9.9.9.9"] * 9], HOSTS * 6 + ADDRESSES + ["10.38.2.77"])
        )
        after = data.draw(st.sampled_from([0.0, 0.0, 1.0, 1139.0, 1140.0]))
        assert told(fast.tunnel(packet, after)) == told(plain.tunnel(packet, after))


@pytest.mark.parametrize("mssfix", [None, 1360])
def test_the_ordinary_packet_does_take_the_fast_path(make, monkeypatch, mssfix):
    """Else the two properties would say nothing."""
    world = make.World(learned=HOSTS)
    world.gateway.batch.tunnel.mssfix = mssfix

    def never(*arguments):
        raise AssertionError("the ladder was taken")

    monkeypatch.setattr(type(world.gateway.batch.forwarding), "from_inside", never)
    monkeypatch.setattr(type(world.gateway.batch.forwarding), "from_tunnel", never)
    assert world.inside(make.udp("10.38.2.5", "8.8.8.8", 1, 2, bytes(1400))).fates == ["s14-forward"]
    assert world.tunnel(make.udp("8.8.8.8", "10.38.2.5", 1, 2, bytes(1400))).fates == ["s29-to-host"]
    assert world.inside(make.tcp("10.38.2.5", "8.8.8.8", (1, 2), 16, bytes(1400))).fates == ["s14-forward"]
    assert world.tunnel(make.tcp("8.8.8.8", "10.38.2.5", (1, 2), 16, bytes(1400))).fates == ["s29-to-host"]
