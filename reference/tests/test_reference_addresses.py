"""Whose address is it? The special blocks, and the networks that the gateway is attached to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from glassgate.reference.addresses import Attached, martian

INSIDE = Attached(IPv4Interface("10.38.2.1/24"), (IPv4Network("10.39.0.0/16"),))


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("0.0.0.0", "this network"),
        ("0.255.255.255", "this network"),
        ("1.0.0.0", None),
        ("126.255.255.255", None),
        ("127.0.0.1", "loopback"),
        ("128.0.0.0", None),
        ("169.253.255.255", None),
        ("169.254.0.0", "link-local"),
        ("169.255.0.0", None),
        ("223.255.255.255", None),
        ("224.0.0.0", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.0", "reserved"),
        ("255.255.255.255", "reserved"),
    ],
)
def test_the_special_blocks_begin_and_end_where_the_standards_say(address: str, block: str | None) -> None:
    assert martian(IPv4Address(address)) == block


@pytest.mark.parametrize(
    ("address", "contains", "is_edge", "is_host"),
    [
        ("10.38.2.0", True, True, False),
        ("10.38.2.1", True, False, False),
        ("10.38.2.5", True, False, True),
        ("10.38.2.255", True, True, False),
        ("10.38.3.0", False, False, False),
        ("10.39.0.0", True, False, True),
        ("10.39.255.255", True, False, True),
        ("8.8.8.8", False, False, False),
    ],
)
def test_a_network_knows_its_hosts_and_its_edges(address: str, contains: bool, is_edge: bool, is_host: bool) -> None:
    value = IPv4Address(address)
    assert (INSIDE.contains(value), INSIDE.is_edge(value), INSIDE.is_host(value)) == (contains, is_edge, is_host)


def test_a_prefix_of_30_bits_is_the_longest_with_a_broadcast_address() -> None:
    four = Attached(IPv4Interface("10.38.2.1/30"))
    assert four.is_edge(IPv4Address("10.38.2.0"))
    assert four.is_edge(IPv4Address("10.38.2.3"))
    assert four.is_host(IPv4Address("10.38.2.2"))


def test_a_prefix_of_31_bits_has_two_hosts_and_no_broadcast_address() -> None:
    pair = Attached(IPv4Interface("10.38.2.0/31"))
    assert pair.is_host(IPv4Address("10.38.2.1"))
    assert not pair.is_edge(IPv4Address("10.38.2.0"))
    assert not pair.contains(IPv4Address("10.38.2.2"))


def test_a_further_prefix_around_the_network_leaves_the_network_its_edges() -> None:
    wide = Attached(IPv4Interface("10.38.2.1/24"), (IPv4Network("10.38.0.0/16"),))
    assert wide.is_edge(IPv4Address("10.38.2.255"))
    assert not wide.is_further(IPv4Address("10.38.2.5"))
    assert wide.is_further(IPv4Address("10.38.3.255"))
