"""The segment's octets: a header field a line, options, the checksum with its pseudo header."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import rules
from glassgate.reference.notes import Malformed
from glassgate.reference.tcp.segment import ACK, FIN, PSH, RST, SYN, URG, Segment, build, parse, parse_options
from glassgate.reference.tcp.sequence import SequenceNumber

SOURCE, DESTINATION = IPv4Address("192.168.1.5"), IPv4Address("1.2.3.4")
OCTETS = bytes.fromhex(
    "c000"  # source port 49152
    "04aa"  # destination port 1194
    "00000001"  # sequence number
    "00000000"  # acknowledgment number
    "70"  # data offset 7
    "02"  # SYN
    "ffff"  # window
    "0000"  # checksum, to be filled
    "0000"  # urgent pointer
    "020405b4"  # maximum segment size 1460
    "01030305"  # no-operation, window scale 5
)
SYN_SEGMENT = Segment(
    49152,
    1194,
    SequenceNumber(1),
    control=SYN,
    window=65535,
    maximum_segment_size=1460,
    window_scale=5,
)

SEGMENTS = st.builds(
    Segment,
    source_port=st.integers(0, 65535),
    destination_port=st.integers(0, 65535),
    sequence_number=st.integers(0, 2**32 - 1).map(SequenceNumber),
    acknowledgment_number=st.integers(0, 2**32 - 1).map(SequenceNumber),
    control=st.integers(0, 63),
    window=st.integers(0, 65535),
    text=st.binary(max_size=50),
    urgent_pointer=st.integers(0, 65535),
    maximum_segment_size=st.none() | st.integers(0, 65535),
    window_scale=st.none() | st.integers(0, 14),
)


def with_checksum(octets: bytes) -> bytes:
    """The independent calculation: sum words one by one, fold, complement."""
    blank = octets[:16] + bytes(2) + octets[18:]
    pseudo = SOURCE.packed + DESTINATION.packed + struct.pack("!BBH", 0, 6, len(octets))
    padded = pseudo + blank + bytes(len(blank) % 2)
    total = sum(padded[at] << 8 | padded[at + 1] for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return octets[:16] + struct.pack("!H", 0xFFFF - total) + octets[18:]


def test_a_syn_is_read_field_by_field() -> None:
    assert parse(with_checksum(OCTETS), SOURCE, DESTINATION) == SYN_SEGMENT


def test_a_syn_is_written_field_by_field() -> None:
    assert build(SYN_SEGMENT, SOURCE, DESTINATION) == with_checksum(OCTETS)


@given(SEGMENTS)
def test_what_is_built_is_parsed_to_the_same(segment: Segment) -> None:
    assert parse(build(segment, SOURCE, DESTINATION), SOURCE, DESTINATION) == segment


@given(SEGMENTS)
def test_dpkt_reads_what_is_built_and_computes_the_same_checksum(segment: Segment) -> None:
    octets = build(segment, SOURCE, DESTINATION)

    read = dpkt.tcp.TCP(octets)
    assert (read.sport, read.dport, read.seq, read.ack, read.flags, read.win, read.urp) == (
        segment.source_port,
        segment.destination_port,
        segment.sequence_number,
        segment.acknowledgment_number,
        segment.control,
        segment.window,
        segment.urgent_pointer,
    )
    assert read.off * 4 + len(segment.text) == len(octets)
    assert bytes(read.data) == segment.text
    options = dict(dpkt.tcp.parse_opts(read.opts))
    size, scale = options.get(dpkt.tcp.TCP_OPT_MSS), options.get(dpkt.tcp.TCP_OPT_WSCALE)
    assert (None if size is None else int.from_bytes(size, "big")) == segment.maximum_segment_size
    assert (None if scale is None else scale[0]) == segment.window_scale
    assert octets == with_checksum(octets)


@pytest.mark.parametrize("length", range(len(OCTETS)))
def test_every_truncation_is_malformed(length: int) -> None:
    with pytest.raises(Malformed) as caught:
        parse(with_checksum(OCTETS)[:length], SOURCE, DESTINATION)

    assert caught.value.rule is rules.L3_TRUNCATED


@pytest.mark.parametrize("data_offset", [0, 4, 8, 15])
def test_a_data_offset_under_5_or_beyond_the_end_is_malformed(data_offset: int) -> None:
    octets = with_checksum(OCTETS[:12] + bytes([data_offset << 4]) + OCTETS[13:])

    with pytest.raises(Malformed) as caught:
        parse(octets, SOURCE, DESTINATION)

    assert caught.value.rule is rules.L3_TRUNCATED
    assert caught.value.detail["data_offset"] == data_offset


@pytest.mark.parametrize("at", [at for at in range(len(OCTETS)) if at != 12])
def test_every_corrupted_octet_spoils_the_checksum(at: int) -> None:
    octets = bytearray(with_checksum(OCTETS))
    octets[at] ^= 0x40

    with pytest.raises(Malformed) as caught:
        parse(bytes(octets), SOURCE, DESTINATION)

    assert caught.value.rule is rules.L3_CHECKSUM


@pytest.mark.parametrize("astray", [(DESTINATION, DESTINATION), (SOURCE, IPv4Address("1.2.3.5"))])
def test_the_checksum_covers_the_addresses(astray: tuple[IPv4Address, IPv4Address]) -> None:
    with pytest.raises(Malformed):
        parse(with_checksum(OCTETS), *astray)


@pytest.mark.parametrize(
    ("control", "text", "length"),
    [(0, b"", 0), (ACK, b"abc", 3), (SYN, b"", 1), (FIN | ACK, b"ab", 3), (SYN | FIN, b"a", 3), (RST, b"", 0)],
)
def test_syn_and_fin_take_a_sequence_number_each(control: int, text: bytes, length: int) -> None:
    assert replace(SYN_SEGMENT, control=control, text=text).length == length


def test_control_bits_have_names() -> None:
    assert replace(SYN_SEGMENT, control=FIN | SYN | RST | PSH | ACK | URG).control_names == "FIN,SYN,RST,PSH,ACK,URG"
    assert replace(SYN_SEGMENT, control=0).control_names == ""


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ("", (None, None)),
        ("020405b4", (1460, None)),
        ("030302", (None, 2)),
        ("03030f", (None, 14)),  # RFC 7323 2.3: more than 14 means 14
        ("0101020405b4", (1460, None)),
        ("00020405b4", (None, None)),  # nothing is read after the end
        ("0402080a0000000100000002020405b4", (1460, None)),  # unknown ones are stepped over
        ("020405b402040218", (536, None)),  # the last one counts
        ("020305b4030302", (None, None)),  # a wrong length: not that option; and what follows starts elsewhere
        ("0200", (None, None)),  # a length under 2 would never end
        ("02", (None, None)),
        ("020405", (None, None)),
        ("fe10", (None, None)),
    ],
)
def test_options_are_read_and_illegal_ones_end_the_reading(options: str, read: tuple[int | None, int | None]) -> None:
    assert parse_options(bytes.fromhex(options)) == read


@given(st.binary(max_size=40))
def test_no_options_raise_or_hang(options: bytes) -> None:
    maximum_segment_size, window_scale = parse_options(options)
    assert (maximum_segment_size or 0) <= 0xFFFF
    assert (window_scale or 0) <= 14


@given(st.binary(max_size=100))
def test_no_octets_raise_anything_but_malformed(octets: bytes) -> None:
    with suppress(Malformed):
        assert octets.endswith(parse(octets, SOURCE, DESTINATION).text)
