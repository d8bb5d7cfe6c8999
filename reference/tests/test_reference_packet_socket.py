"""Frames as a wire would carry them: checksums completed, large segments cut, tags put back. dpkt checks them."""

from __future__ import annotations

import subprocess
import sys

import dpkt
import pytest

from glassgate.reference.packet_socket import (
    AUXDATA,
    GSO_TCPV4,
    GSO_UDP_L4,
    NEEDS_CHECKSUM,
    OFFLOADS,
    PACKET_AUXDATA,
    SOL_PACKET,
    TP_STATUS_VLAN_VALID,
    Offloads,
    Undone,
    _vlan_tag,
    finish,
)

NOTHING = Undone(0, 0, 0, 0, 0, 0)
PAYLOAD = bytes(range(256)) * 255


def ip_frame(transport: dpkt.Packet, protocol: int, *, options: bytes = b"") -> bytes:
    packet = dpkt.ip.IP(
        src=b"\x0a\x26\x02\x05",
        dst=b"\x08\x08\x08\x08",
        p=protocol,
        id=0xFFFF,
        df=1,
        ttl=64,
        data=transport,
        opts=options,
    )
    packet.hl = 5 + len(options) // 4
    return bytes(dpkt.ethernet.Ethernet(dst=b"\x00\xf0\x0d\xf0\x0d\x00", src=b"\x02" * 6, data=packet))


def partial(frame: bytes, offset: int, start: int = 34) -> bytes:
    """The frame as a sender leaves it to hardware: the field holds the pseudo-header's sum, not complemented."""
    total = sum(int.from_bytes(frame[place : place + 2], "big") for place in range(26, 34, 2))
    total += frame[23] + len(frame) - start
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[: start + offset] + total.to_bytes(2, "big") + frame[start + offset + 2 :]


def transport_of(frame: bytes) -> dpkt.Packet:
    return dpkt.ethernet.Ethernet(frame).data.data


def rebuilt(frame: bytes) -> bytes:
    """The same frame with every checksum computed by dpkt."""
    parsed = dpkt.ethernet.Ethernet(frame)
    parsed.data.sum = 0
    parsed.data.data.sum = 0
    return bytes(parsed)


def tcp(payload: bytes, flags: int = dpkt.tcp.TH_ACK, options: bytes = b"") -> dpkt.tcp.TCP:
    return dpkt.tcp.TCP(
        sport=40000, dport=80, seq=0xFFFFFFF0, ack=7, off=5 + len(options) // 4, flags=flags, opts=options, data=payload
    )


def test_a_frame_with_nothing_undone_stays_as_it_is() -> None:
    frame = ip_frame(tcp(b"hello"), 6)
    assert list(finish(NOTHING, frame)) == [frame]


@pytest.mark.parametrize("payload", [b"", b"x", b"odd", b"even"])
def test_a_blank_tcp_checksum_is_completed(payload: bytes) -> None:
    frame = ip_frame(tcp(payload), 6)
    undone = Undone(NEEDS_CHECKSUM, 0, 0, 0, 34, 16)
    assert list(finish(undone, partial(frame, 16))) == [frame]
    assert rebuilt(frame) == frame


def test_a_blank_udp_checksum_is_completed_and_never_zero() -> None:
    undone = Undone(NEEDS_CHECKSUM, 0, 0, 0, 34, 6)
    for number in range(0x300):
        frame = ip_frame(dpkt.udp.UDP(sport=5, dport=6, ulen=10, data=number.to_bytes(2, "big")), 17)
        assert list(finish(undone, partial(frame, 6))) == [frame]
    blank = ip_frame(dpkt.udp.UDP(sport=0, dport=0, ulen=10, data=b"\0\0"), 17)
    summed = partial(blank, 6)
    zero_sum = summed[:42] + (0xFFFF - int.from_bytes(summed[40:42], "big") - 10).to_bytes(2, "big")
    (finished,) = finish(undone, zero_sum)
    assert finished[40:42] == b"\xff\xff"


def test_a_checksum_field_beyond_the_frame_is_left_alone() -> None:
    frame = ip_frame(tcp(b""), 6)
    assert list(finish(Undone(NEEDS_CHECKSUM, 0, 0, 0, 60, 16), frame)) == [frame]


@pytest.mark.parametrize("flags", [dpkt.tcp.TH_ACK, dpkt.tcp.TH_ACK | dpkt.tcp.TH_PUSH | dpkt.tcp.TH_FIN | 0x80])
def test_a_large_tcp_segment_is_cut_as_its_sender_meant(flags: int) -> None:
    options = b"\x01\x01\x08\x0a" + bytes(8)  # timestamps
    frame = ip_frame(tcp(PAYLOAD[:60000], flags, options), 6)
    undone = Undone(NEEDS_CHECKSUM, GSO_TCPV4 | 0x80, 66, 1448, 34, 16)
    pieces = list(finish(undone, frame))
    assert len(pieces) == 42
    assert b"".join(transport_of(piece).data for piece in pieces) == PAYLOAD[:60000]
    for number, piece in enumerate(pieces):
        packet = dpkt.ethernet.Ethernet(piece).data
        assert rebuilt(piece) == piece, "both checksums are right"
        assert packet.len == len(piece) - 14 <= 1500
        assert packet.id == (0xFFFF + number) & 0xFFFF
        assert packet.data.seq == (0xFFFFFFF0 + 1448 * number) & 0xFFFFFFFF
        assert packet.data.opts == options
        assert bool(packet.data.flags & 0x80) is bool(flags & 0x80 and number == 0), "CWR is told once"
        is_last = number == len(pieces) - 1
        assert packet.data.flags & 0x09 == (flags & 0x09 if is_last else 0), "FIN and PSH belong to the last"


def test_what_was_merged_on_arrival_is_cut_although_its_checksum_is_done() -> None:
    frame = ip_frame(tcp(PAYLOAD[:3000]), 6)
    pieces = list(finish(Undone(0, GSO_TCPV4, 54, 1460, 0, 0), frame))
    assert [len(transport_of(piece).data) for piece in pieces] == [1460, 1460, 80]


def test_ip_options_count_when_a_segment_is_cut() -> None:
    frame = ip_frame(tcp(PAYLOAD[:3000]), 6, options=b"\x01\x01\x01\x00")
    pieces = list(finish(Undone(NEEDS_CHECKSUM, GSO_TCPV4, 58, 1000, 38, 16), frame))
    assert [len(piece) for piece in pieces] == [14 + 24 + 20 + 1000] * 3
    assert all(rebuilt(piece) == piece for piece in pieces)


def test_a_large_udp_datagram_for_segmentation_is_cut_into_datagrams() -> None:
    frame = ip_frame(dpkt.udp.UDP(sport=5, dport=6, ulen=8 + 2500, data=PAYLOAD[:2500]), 17)
    pieces = list(finish(Undone(NEEDS_CHECKSUM, GSO_UDP_L4, 42, 1000, 34, 6), frame))
    assert [transport_of(piece).ulen for piece in pieces] == [1008, 1008, 508]
    assert all(rebuilt(piece) == piece for piece in pieces)


@pytest.mark.parametrize(
    "frame", [b"", bytes(14), bytes(12) + b"\x86\xdd" + bytes(60), bytes(12) + b"\x08\x00" + b"\x4f" * 30]
)
def test_what_cannot_be_cut_is_given_as_it_is(frame: bytes) -> None:
    assert list(finish(Undone(NEEDS_CHECKSUM, GSO_TCPV4, 54, 1448, 34, 16), frame)) == [frame]


def test_a_tag_that_the_kernel_took_out_is_known() -> None:
    octets = AUXDATA.pack(TP_STATUS_VLAN_VALID, 60, 60, 0, 14, 0x2005, 0x8100)
    assert _vlan_tag([(SOL_PACKET, PACKET_AUXDATA, octets)]) == bytes.fromhex("81002005")
    octets = AUXDATA.pack(0, 60, 60, 0, 14, 0, 0)
    assert _vlan_tag([(SOL_PACKET, PACKET_AUXDATA, octets), (1, 2, b"")]) == b""


def test_an_interface_that_takes_no_command_keeps_its_offloads() -> None:
    offloads = Offloads("none9")
    assert offloads.switch_off() == list(OFFLOADS)
    offloads.restore()


# ── a real interface ─────────────────────────────────────────────────────────────────────────────────────────────────

IN_A_NAMESPACE = r"""
import select, socket, subprocess, sys, time
from glassgate.reference.packet_socket import Offloads, PacketSocket, mtu_of
run = lambda command: subprocess.run(command.split(), check=True)
run("ip link add near type veth peer name wire")
run("ip address add 10.38.2.5/24 dev near")
run("ip link set near up")
run("ip link set wire up")
run("ip neighbour add 10.38.2.1 lladdr 00:f0:0d:f0:0d:00 dev near")
assert mtu_of("wire") == 1500
port = PacketSocket("wire")
seen = []

def arrives():  # until an IPv4 frame has been read; nothing that should come takes ten seconds
    ends = time.monotonic() + 10
    while not seen:
        assert time.monotonic() < ends
        select.select([port], [], [], 0.05)
        while (got := port.receive()) is not None:
            seen.extend(frame for frame in got if frame[12:14] == b"\x08\x00")

# A checksum that the kernel leaves blank for hardware that does not exist
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.sendto(b"checksum", ("10.38.2.1", 9))
arrives()
(frame,) = seen
assert frame[:6].hex(":") == "00:f0:0d:f0:0d:00"
pseudo = frame[26:34] + b"\0\x11" + frame[38:40]
octets = pseudo + frame[34:]
total = sum(int.from_bytes(octets[i:i + 2], "big") for i in range(0, len(octets), 2))
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
assert total == 0xFFFF, hex(total)

# What we send arrives, and does not come back to us
seen.clear()
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("10.38.2.5", 7777))
receiver.settimeout(10)
mac = bytes.fromhex(subprocess.run(["ip", "-o", "link", "show", "near"], capture_output=True, text=True)
                    .stdout.split("link/ether ")[1].split()[0].replace(":", ""))
udp = bytes.fromhex("0007 1e61 000d 0000".replace(" ", "")) + b"hello"
header = bytearray(bytes.fromhex("4500 0000 0001 0000 4011 0000 0a260201 0a260205".replace(" ", "")))
header[2:4] = (20 + len(udp)).to_bytes(2, "big")
total = sum(int.from_bytes(header[i:i + 2], "big") for i in range(0, 20, 2))
header[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
assert port.send(mac + bytes.fromhex("00f00df00d00 0800".replace(" ", "")) + bytes(header) + udp)
assert receiver.recv(100) == b"hello"
sender.sendto(b"fence", ("10.38.2.1", 9))
arrives()
assert [frame[42:] for frame in seen] == [b"fence"]
assert not port.send(bytes(5000)), "too long for the interface"
features = subprocess.run(["ethtool", "-k", "wire"], capture_output=True, text=True).stdout
assert "tx-checksumming: off" in features and "generic-segmentation-offload: off" in features
port.close()
features = subprocess.run(["ethtool", "-k", "wire"], capture_output=True, text=True).stdout
assert "tx-checksumming: on" in features and "generic-segmentation-offload: on" in features
print("well")
"""


@pytest.mark.root
def test_a_real_interface_gives_frames_as_on_a_wire_and_is_left_as_it_was() -> None:
    import os

    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "--", sys.executable, "-c", IN_A_NAMESPACE]
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert done.stdout == "well\n", done.stderr
