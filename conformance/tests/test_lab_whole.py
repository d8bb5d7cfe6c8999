"""Everything the lab can show: its parts, and what tshark says read into words."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from glassgate.conformance.lab import dissection, far_end, whole
from glassgate.conformance.lab.tunnel import GatewayKind, TunnelOptions

SOUND = "1\teth:ethertype:ip:icmp:ip:tcp\t1,1\t\t2\t\n2\teth:ethertype:ip:tcp:openvpn\t1\t1\t\t\n"


def test_what_tshark_recognized_is_counted() -> None:
    found = dissection.read(SOUND)

    assert found.complaints == {}
    assert (found.packets, found.protocols["ip"], found.protocols["tcp"], found.protocols["openvpn"]) == (2, 2, 2, 1)


def test_what_is_malformed_is_told() -> None:
    found = dissection.read(SOUND + "3\teth:ethertype:ip:udp:_ws.malformed\t1\t\t\t1\n")

    assert found.complaints == {3: "malformed"}


def test_a_wrong_checksum_is_told_wherever_in_the_packet_it_is() -> None:
    found = dissection.read(SOUND + "3\teth:ethertype:ip:icmp:ip:udp\t1,0\t\t\t2\n4\teth:ethertype:ip:tcp\t1\t\t0\t\n")

    assert found.complaints == {3: "wrong checksum of ip", 4: "wrong checksum of tcp"}


def test_a_quotation_in_an_icmp_error_has_no_checksum_of_its_own() -> None:
    assert dissection.read("1\teth:ethertype:ip:icmp:ip:tcp\t1,1\t1\t0\t\n").complaints == {}
    assert dissection.read("1\teth:ethertype:ip:icmp:ip:tcp\t1,1\t0\t\t\n").complaints == {1: "wrong checksum of icmp"}


def test_no_packets_are_no_complaint() -> None:
    assert dissection.read("") == dissection.Dissection(Counter(), {}, 0)


def test_all_of_it_in_order() -> None:
    parts = whole.parts(GatewayKind.REFERENCE, 100_000_000, 10, Path("/captures"))

    assert [part.title for part in parts] == [
        "reference",
        "reference, own stack",
        "every kind of tunnel: reference",
        "faults: reference",
        "faults: reference, own stack",
        "the far end, met by a stock client",
    ]
    assert [part.captures for part in parts[:3]] == [Path("/captures/os"), Path("/captures/stack"), None]
    assert parts[-1].gateway is GatewayKind.OPENVPN


def test_a_gateway_without_a_stack_of_its_own_is_not_asked_for_one() -> None:
    titles = [part.title for part in whole.parts(GatewayKind.OPENVPN, 1, 1, Path("/captures"))]

    assert titles[:2] == ["openvpn", "every kind of tunnel: openvpn"]
    assert len(set(titles)) == len(titles)


def test_the_far_end_is_told_what_a_stock_server_is_told() -> None:
    command = far_end.command(TunnelOptions("udp", tls="1.2"), "/lab/client.ovpn")

    told = dict(itertools.pairwise(command))
    assert command[3] == "far-end"
    assert (told["--listen"], told["--proto"], told["--tls"]) == ("1.2.3.4:1194", "udp", "1.2")
    assert (told["--mtu"], told["--route"], told["--address"]) == ("1400", "10.38.2.0/24", "10.8.0.2/24")
