"""IPv4 validity, options, the decremented time to live and headers of our own."""

from __future__ import annotations

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.optimized import ipv4


@pytest.mark.parametrize("length", range(20))
def test_fewer_than_20_octets_are_no_header(make, length):
    assert make.World().inside(make.ipv4("10.38.2.5", "8.8.8.8")[:length]).fates == ["s9-truncated"]


@pytest.mark.parametrize(
    ("at", "value", "rule"),
    [
        (0, 0x35, "s9-version"),
        (0, 0x65, "s9-version"),
        (0, 0x44, "s9-header-length"),
        (0, 0x46, "s9-total-length-short"),  # the total length of 20 no longer covers the header
        (3, 19, "s9-total-length-short"),
        (3, 21, "s9-total-length-long"),
        (2, 1, "s9-total-length-long"),
        (10, 0, "s9-checksum"),
        (8, 63, "s9-checksum"),
    ],
)
def test_a_corrupted_field_is_refused_by_name(make, at, value, rule):
    packet = bytearray(make.ipv4("10.38.2.5", "8.8.8.8"))
    packet[at] = value
    world = make.World().inside(bytes(packet))
    assert world.fates == [rule]
    assert world.is_silent


@given(st.data())
def test_any_single_corrupted_header_octet_is_refused(make, data):
    packet = bytearray(make.ipv4("10.38.2.5", "8.8.8.8", b"payload"))
    at = data.draw(st.integers(0, 19))
    packet[at] ^= data.draw(st.integers(1, 255))
    view = memoryview(b"\xa5" * 3 + packet)
    assert ipv4.refusal(view, 3, len(view)) is not None


@given(st.integers(0, 0xFFFF), st.integers(2, 255), st.integers(0, 255))
def test_the_time_to_live_falls_and_the_checksum_stays_right(make, identification, ttl, protocol):
    before = make.ipv4("10.38.2.5", "8.8.8.8", identification=identification, ttl=ttl, protocol=protocol)
    packet = bytearray(b"\xa5" * 2 + before + b"\xa5" * 2)
    ipv4.decrement_time_to_live(memoryview(packet), 2)
    after = make.ipv4("10.38.2.5", "8.8.8.8", identification=identification, ttl=ttl - 1, protocol=protocol)
    assert packet == b"\xa5" * 2 + after + b"\xa5" * 2


def test_every_checksum_stays_right(make):
    """All 65536 of them, the corner at 0xFFFF of RFC 1624 included: the identification makes up for the rest."""
    seen = set()
    for identification in range(0x10000):
        octets = make.ipv4("10.38.2.5", "8.8.8.8", identification=identification, ttl=2)
        packet = bytearray(octets)
        seen.add(octets[10:12])
        ipv4.decrement_time_to_live(memoryview(packet), 0)
        assert make.checksum(bytes(packet)) == 0, identification
        assert packet[10:12] != b"\xff\xff"
    assert len(seen) == 0xFFFF


OPTIONS = {
    "no operation": (b"\x01\x01\x01\x01", None),
    "end, then rubbish": (b"\x00\x83\xff\xff", None),
    "record route": (b"\x07\x07\x04\0\0\0\0\0", None),
    "timestamp": (b"\x44\x08\x05\0\0\0\0\0", None),
    "router alert": (b"\x94\x04\0\0", None),
    "loose source route": (b"\x83\x07\x04\x08\x08\x08\x08\0", ("s18-source-route", 20)),
    "strict source route, used up": (b"\x01\x89\x03\x04", ("s18-source-route", 21)),
    "source route without length": (b"\x01\x01\x01\x83", ("s18-source-route", 23)),
    "length 0": (b"\x01\x07\x00\x00", ("s18-malformed-option", 21)),
    "length 1": (b"\x07\x01\x00\x00", ("s18-malformed-option", 20)),
    "length beyond the header": (b"\x07\x05\x04\x00", ("s18-malformed-option", 20)),
    "no room for a length": (b"\x01\x01\x01\x44", ("s18-malformed-option", 23)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_read_up_to_their_end(make, name):
    options, expected = OPTIONS[name]
    packet = memoryview(b"\xa5" + make.ipv4("10.38.2.5", "8.8.8.8", options=options) + b"\x83\x83\x83")
    found = ipv4.options_refusal(packet, 1)
    assert (found and (found[0].slug, found[1])) == expected


@given(st.binary(max_size=40))
def test_any_options_are_read_without_a_fault(make, options):
    options += bytes(-len(options) % 4)
    packet = make.ipv4("10.38.2.5", "8.8.8.8", options=options)
    found = ipv4.options_refusal(memoryview(packet), 0)
    assert found is None or 20 <= found[1] < 20 + len(options)


@given(
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 0x4000]),
    st.integers(0, 255),
    st.sampled_from([1, 6, 17]),
    st.integers(1, 0xFFFFFFFF),
    st.integers(1, 0xFFFFFFFF),
    st.integers(0, 1480),
)
def test_a_header_of_ours_reads_back(identification, fragment, service, protocol, source, destination, length):
    packet = bytearray(b"\xa5" * (20 + length))
    view = memoryview(packet)
    ipv4.write_header(view, 0, len(packet), identification, fragment, service, protocol, source, destination)
    assert ipv4.refusal(view, 0, len(packet)) is None
    read = dpkt.ip.IP(bytes(packet))
    assert (read.v, read.hl, read.tos, read.len, read.id, read.ttl, read.p) == (
        4,
        5,
        service,
        len(packet),
        identification,
        64,
        protocol,
    )
    assert int.from_bytes(read.src, "big") == source
    assert int.from_bytes(read.dst, "big") == destination
    assert read.df == bool(fragment)
    assert packet[20:] == b"\xa5" * length
