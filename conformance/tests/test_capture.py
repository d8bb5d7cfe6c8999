"""Capture files: what is written is read back, by this reader, by dpkt and by tshark; damage is named in one line."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import subprocess
from pathlib import Path

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.conformance import capture

FRAME = bytes.fromhex("ffffffffffff02000a2602050806000108000604000102000a2602050a2602050000000000000a260201")


def written(*packets: tuple[float, bytes]) -> bytes:
    stream = io.BytesIO()
    writer = capture.Writer(stream)
    interface = writer.interface("internal", "frames of the internal network")
    for seconds, data in packets:
        writer.packet(interface, seconds, data, "why: it was asked", direction="in")
    return stream.getvalue()


def pcap(order: str, magic: int, seconds: int, fraction: int, link_type: int = 1) -> bytes:
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    return header + struct.pack(f"{order}IIII", seconds, fraction, len(FRAME), len(FRAME)) + FRAME


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(0, 10**9).map(lambda count: count / 1000), st.binary(max_size=80)), max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_back(packets: list[tuple[float, bytes]]) -> None:
    found = list(capture.read(written(*packets)))
    assert [(round(packet.seconds, 3), packet.data) for packet in found] == [(at, data) for at, data in packets]
    assert all((packet.interface, packet.direction) == ("internal", "in") for packet in found)


def test_dpkt_reads_what_is_written() -> None:
    reader = dpkt.pcapng.Reader(io.BytesIO(written((1.5, FRAME), (2.25, FRAME[:14]))))
    assert [(time, bytes(data)) for time, data in reader] == [(1.5, FRAME), (2.25, FRAME[:14])]


def test_tshark_shows_packets_and_comments(tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no tshark in the path")
    path = tmp_path / "written.pcapng"
    path.write_bytes(written((1.5, FRAME)))
    fields = ["frame.interface_name", "frame.comment", "frame.time_relative", "arp.dst.proto_ipv4"]
    command = ["tshark", "-r", str(path), "-T", "fields", *(word for field in fields for word in ("-e", field))]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown == "internal\twhy: it was asked\t0.000000000\t10.38.2.1\n"


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "fraction"), [(0xA1B2C3D4, 500_000), (0xA1B23C4D, 500_000_000)])
def test_pcap_is_read_in_either_order_and_resolution(order: str, magic: int, fraction: int) -> None:
    (packet,) = capture.read(pcap(order, magic, 7, fraction))
    assert (packet.seconds, packet.link_type, packet.data) == (7.5, capture.ETHERNET, FRAME)


def test_dpkts_pcapng_is_read() -> None:
    stream = io.BytesIO()
    writer = dpkt.pcapng.Writer(stream)
    writer.writepkt(FRAME, ts=3.5)
    (packet,) = capture.read(stream.getvalue())
    assert (packet.seconds, packet.data) == (3.5, FRAME)


def test_big_endian_pcapng_with_a_simple_packet_is_read() -> None:
    section = struct.pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack(">IIHHII", 1, 20, 101, 0, 20, 20)  # raw IP, at most 20 octets of each
    data = b"E" + bytes(39)
    simple = struct.pack(">III", 3, 36, len(data)) + data[:20] + struct.pack(">I", 36)
    (packet,) = capture.read(section + interface + simple)
    assert (packet.link_type, packet.data, packet.missing) == (capture.RAW_IP, data[:20], 20)


def test_octets_that_were_not_captured_are_counted() -> None:
    whole = pcap("<", 0xA1B2C3D4, 0, 0)
    (packet,) = capture.read(whole[:32] + struct.pack("<II", 42, 1514) + FRAME)  # as tcpdump -s 42 has it
    assert (packet.data, packet.missing) == (FRAME, 1472)
    place = GOOD.index(FRAME) - 4  # the enhanced packet block's original length
    first, second = capture.read(GOOD[:place] + struct.pack("<I", 1514) + GOOD[place + 4 :])
    assert (first.data, first.missing, second.missing) == (FRAME, 1472, 0)


GOOD = written((1.0, FRAME), (2.0, FRAME))


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "begins with nothing, which is neither pcap nor pcapng"),
        (b"GIF89a", "begins with 47494638, which is neither"),
        (pcap("<", 0xA1B2C3D4, 0, 0)[:20], "a pcap file header has 24 octets; 20 are there"),
        (pcap("<", 0xA1B2C3D4, 0, 0)[:30], "packet 1: its header is cut off"),
        (pcap("<", 0xA1B2C3D4, 0, 0)[:-1], "packet 1: 41 of 42 octets are there"),
        (pcap("<", 0xA1B2C3D4, 0, 0, link_type=105), "link type 105 cannot be read"),
        (pcap("<", 0xA1B2C3D4, 0, 0)[:32] + struct.pack("<II", 2**31, 2**31), "its length of 2147483648 is over"),
        (GOOD[:-3], "a block length of"),
        (GOOD[:8] + b"\0\0\0\0" + GOOD[12:], "a section header without its byte-order mark"),
        (GOOD[:-4] + b"\1\0\0\0", "the two lengths of a block differ"),
        (GOOD + bytes(5), "the last block is cut off"),
        (GOOD[: struct.unpack_from("<I", GOOD, 4)[0]] + GOOD[-112:], "interface 0 was not declared"),
    ],
)
def test_damage_is_told_in_one_line(octets: bytes, words: str) -> None:
    with pytest.raises(capture.CaptureError) as caught:
        list(capture.read(octets))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
@settings(max_examples=300, deadline=None)
def test_damage_of_any_kind_raises_nothing_else(place: int, value: int, end: int) -> None:
    octets = bytearray(GOOD)
    octets[place] = value
    read = []
    with contextlib.suppress(capture.CaptureError):
        read.extend(capture.read(bytes(octets[:end])))
    assert sum(len(packet.data) for packet in read) <= end
