"""What an address is to the gateway, against ``ipaddress``."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import Internal, rules
from glassgate.optimized.addresses import Addresses

SPECIAL = [IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")]
INSIDE = IPv4Network("10.38.2.0/24")
SOURCES = (IPv4Network("10.39.0.0/16"), IPv4Network("172.16.4.0/22"))
EDGES = [
    int(edge) + step
    for network in (*SPECIAL, INSIDE, *SOURCES)
    for edge in (network.network_address, network.broadcast_address)
    for step in (-1, 0, 1)
]
any_address = st.integers(0, 0xFFFFFFFF) | st.sampled_from([edge for edge in EDGES if 0 <= edge <= 0xFFFFFFFF])


def number(text: str) -> int:
    return int(IPv4Address(text))


@pytest.fixture(scope="module")
def addresses() -> Addresses:
    made = Addresses(Internal(sources=SOURCES))
    made.set_tunnel(IPv4Interface("10.8.0.2/24"))
    return made


@given(any_address)
def test_an_ordinary_destination_has_nothing_special_about_it(addresses, value):
    if addresses.ordinary[value >> 16]:
        address = IPv4Address(value)
        assert not any(address in network for network in (*SPECIAL, INSIDE, *SOURCES))
        assert addresses.destination_inside_refused(value) is None
        assert value == addresses.tunnel or addresses.source_tunnel_refused(value) is None


@given(any_address)
def test_martians_are_the_prefixes_of_the_standard(addresses, value):
    assert (addresses.martian(value) is not None) == any(IPv4Address(value) in network for network in SPECIAL)


@given(any_address)
def test_a_source_from_inside_is_a_host_of_a_known_prefix(addresses, value):
    address = IPv4Address(value)
    hosts = address in INSIDE and value not in map(number, ("10.38.2.0", "10.38.2.255", "10.38.2.1"))
    allowed = hosts or any(address in network for network in SOURCES)
    assert (addresses.source_inside_refused(value) is None) == allowed
    assert addresses.is_neighbour(value) == allowed


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("127.0.0.1", rules.S16_MARTIAN),
        ("255.255.255.255", rules.S16_MARTIAN),
        ("10.38.2.1", rules.S16_OWN),
        ("10.8.0.2", rules.S16_OWN),
        ("10.38.2.0", rules.S16_NETWORK),
        ("10.38.2.255", rules.S16_NETWORK),
        ("8.8.8.8", rules.S16_FOREIGN),
        ("10.38.3.1", rules.S16_FOREIGN),
        ("10.38.2.5", None),
        ("10.39.255.255", None),
    ],
)
def test_a_source_from_inside_is_refused_by_name(addresses, text, rule):
    assert addresses.source_inside_refused(number(text)) is rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("255.255.255.255", rules.S14_BROADCAST),
        ("10.38.2.255", rules.S14_BROADCAST),
        ("10.38.2.0", rules.S14_BROADCAST),
        ("10.38.2.77", rules.S14_OWN_NETWORK),
        ("10.39.1.1", rules.S14_OWN_NETWORK),
        ("224.0.0.251", rules.S14_MULTICAST),
        ("239.255.255.255", rules.S14_MULTICAST),
        ("0.1.2.3", rules.S14_THIS_NETWORK),
        ("127.0.0.1", rules.S14_LOOPBACK),
        ("169.254.1.1", rules.S14_LINK_LOCAL),
        ("240.0.0.1", rules.S14_RESERVED),
        ("8.8.8.8", None),
        ("1.2.3.4", None),
        ("10.8.0.2", None),
        ("10.38.3.0", None),
    ],
)
def test_a_destination_from_inside_is_refused_by_name(addresses, text, rule):
    assert addresses.destination_inside_refused(number(text)) is rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("224.0.0.1", rules.S15_GROUP),
        ("255.255.255.255", rules.S15_GROUP),
        ("10.38.2.0", rules.S29_BROADCAST),
        ("10.38.2.255", rules.S29_BROADCAST),
        ("8.8.8.8", rules.S30_ELSEWHERE),
        ("127.0.0.1", rules.S30_ELSEWHERE),
        ("10.38.2.254", None),
        ("172.16.7.255", None),
    ],
)
def test_a_destination_out_of_the_tunnel_is_refused_by_name(addresses, text, rule):
    assert addresses.destination_tunnel_refused(number(text)) is rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("10.0.0.0", None),
        ("169.254.3.3", rules.S16_MARTIAN),
        ("10.8.0.2", rules.S16_OWN),
        ("10.38.2.255", rules.S16_NETWORK),
        ("10.38.2.9", rules.S29_SOURCE_INSIDE),
        ("10.39.0.1", rules.S29_SOURCE_INSIDE),
    ],
)
def test_a_source_out_of_the_tunnel_is_refused_by_name(addresses, text, rule):
    assert addresses.source_tunnel_refused(number(text)) is rule


@pytest.mark.parametrize("prefix", ["10.38.2.0/31", "10.38.2.1/31", "10.38.2.1/32"])
def test_both_ends_of_a_31_bit_prefix_are_hosts(prefix):
    made = Addresses(Internal(address=IPv4Interface(prefix)))
    network = IPv4Interface(prefix).network
    assert (made.first_host, made.last_host) == (int(network[0]), int(network[-1]))
    for address in network:
        assert not made.is_network_or_broadcast(int(address))
        assert made.is_own(int(address)) or made.is_neighbour(int(address))
