"""Forged resets: what is read of a segment, and the numbers that make the other end believe."""

from __future__ import annotations

import dpkt
import pytest

from glassgate.conformance.lab import resets
from glassgate.conformance.lab.resets import Seen

GATEWAY, ROUTER_INSIDE = bytes.fromhex("0200c0a80105"), bytes.fromhex("0200c0a80101")
GATEWAY_IP, SERVER_IP = bytes([192, 168, 1, 5]), bytes([1, 2, 3, 4])
SEEN = Seen(port=50_000, next_from_gateway=5, next_from_server=77)


def segment(**fields: object) -> bytes:
    """A frame from the gateway to the server: 10 octets of text that end beyond the largest sequence number."""
    tcp = {"sport": 50_000, "dport": 1194, "seq": 2**32 - 5, "ack": 77, "flags": dpkt.tcp.TH_ACK, "data": b"ten octets"}
    packet = dpkt.ip.IP(src=GATEWAY_IP, dst=SERVER_IP, p=6, data=dpkt.tcp.TCP(**{**tcp, **fields}))
    packet.len = len(packet)
    return bytes(dpkt.ethernet.Ethernet(src=GATEWAY, dst=ROUTER_INSIDE, type=0x0800, data=packet))


def test_the_next_numbers_of_both_ends_are_read() -> None:
    assert resets.read(segment()) == SEEN


def test_padding_is_no_text() -> None:
    assert resets.read(segment(data=b"", seq=5) + bytes(6)) == SEEN


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        segment()[:50],
        segment(dport=80),
        segment(flags=dpkt.tcp.TH_SYN),
        segment(flags=dpkt.tcp.TH_ACK | dpkt.tcp.TH_FIN),
        segment(flags=dpkt.tcp.TH_ACK | dpkt.tcp.TH_RST),
        segment().replace(SERVER_IP, bytes([1, 2, 3, 5])),
        segment().replace(b"\x08\x00\x45", b"\x08\x06\x45"),
    ],
)
def test_nothing_else_is_a_segment_of_the_tunnel(frame: bytes) -> None:
    assert resets.read(frame) is None


@pytest.mark.parametrize(
    ("frame", "source", "ports", "sequence"),
    [
        (resets.reset_to_gateway(SEEN), SERVER_IP, (1194, 50_000), 77),
        (resets.reset_to_server(SEEN), GATEWAY_IP, (50_000, 1194), 5),
    ],
)
def test_a_reset_has_exactly_the_number_that_is_expected_next(
    frame: bytes, source: bytes, ports: tuple[int, int], sequence: int
) -> None:
    packet = dpkt.ethernet.Ethernet(frame).data

    assert packet.src == source
    assert (packet.data.sport, packet.data.dport) == ports
    assert (packet.data.flags, packet.data.seq) == (dpkt.tcp.TH_RST, sequence)
    sums = packet.sum, packet.data.sum
    packet.sum = packet.data.sum = 0
    bytes(packet)  # dpkt computes what is zero
    assert (packet.sum, packet.data.sum) == sums
