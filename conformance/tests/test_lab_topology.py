"""The network of the lab as data."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from glassgate.conformance.lab import topology
from glassgate.contract import ExternalStack, Internal, Tunnel


def test_the_lab_has_the_addresses_that_a_gateway_assumes() -> None:
    internal, external = Internal(), ExternalStack()

    assert str(internal.mac) == topology.INTERNAL_MAC
    assert str(internal.address.ip) == topology.INTERNAL_ADDRESS
    assert str(external.address.ip) == topology.EXTERNAL_ADDRESS
    assert str(external.gateway) == topology.ROUTER_ADDRESS
    assert str(Tunnel().remote) == topology.SERVER_ADDRESS


def test_each_cable_joins_two_hosts_of_the_lab() -> None:
    for left, right in topology.CABLES:
        assert left.host != right.host
        assert {left.host, right.host} <= set(topology.HOSTS)


def test_no_two_interfaces_share_a_name_on_a_host_or_an_ethernet_address_anywhere() -> None:
    ends = [end for cable in topology.CABLES for end in cable]

    assert len({(end.host, end.interface) for end in ends}) == len(ends)
    assert len({end.mac for end in ends}) == len(ends)
    assert all(len(end.interface) <= 15 for end in ends)  # IFNAMSIZ, with its final zero


def test_every_host_is_on_a_cable() -> None:
    assert all(topology.ends(host) for host in topology.HOSTS)


@pytest.mark.parametrize("host", topology.DEFAULT_ROUTES)
def test_a_default_route_leads_to_a_neighbour(host: str) -> None:
    router = topology.DEFAULT_ROUTES[host]
    networks = [IPv4Interface(end.address).network for end in topology.ends(host) if end.address]

    assert any(IPv4Interface(router).ip in network for network in networks)


def test_interfaces_are_born_inside_the_namespaces_of_the_lab() -> None:
    lines = topology.cable_commands("gg012345").splitlines()

    assert len(lines) == len(topology.CABLES)
    assert all(line.count(" netns gg012345-") == 2 for line in lines)


def test_the_gateways_kernel_has_no_address_inside() -> None:
    commands = topology.address_commands(topology.GATEWAY, own_stack=False)

    assert "address add 192.168.1.5/24 dev external" in commands
    assert "route add default via 192.168.1.1" in commands
    assert commands.count("address add") == 1
    assert "link set internal up" in commands


def test_with_its_own_stack_the_gateways_kernel_has_no_address_at_all() -> None:
    commands = topology.address_commands(topology.GATEWAY, own_stack=True)

    assert "address add" not in commands
    assert "route add" not in commands
    assert "link set external up" in commands


def test_the_gateways_kernel_stays_out_of_the_way_of_a_gateway_program() -> None:
    settings = topology.settings(topology.GATEWAY, kernel_gateway=False)

    assert settings["ipv4/ip_forward"] == "0"
    assert settings["ipv4/conf/internal/arp_ignore"] == "8"  # kernel, ip-sysctl: do not reply for all local addresses
    assert settings["ipv4/conf/internal/rp_filter"] == "1"  # RFC 3704 2.2: strict


def test_the_kernel_forwards_where_it_is_the_gateway() -> None:
    settings = topology.settings(topology.GATEWAY, kernel_gateway=True)

    assert settings["ipv4/ip_forward"] == "1"
    assert "ipv4/conf/internal/arp_ignore" not in settings


@pytest.mark.parametrize("host", topology.HOSTS)
def test_only_routers_forward(host: str) -> None:
    forwards = topology.settings(host, kernel_gateway=False)["ipv4/ip_forward"] == "1"

    assert forwards == (host in ("router", "server"))
