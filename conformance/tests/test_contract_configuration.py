"""The configuration: defaults of the example network, each member's errors by name, members that disagree."""

from __future__ import annotations

import copy
import json
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from glassgate.contract import (
    Cipher,
    ConfigError,
    ExternalOs,
    ExternalStack,
    GatewayConfig,
    MacAddress,
    Services,
)

SEND = {"key": "11" * 32, "implicit_iv": "22" * 8, "next_packet_id": 5}
RECEIVE = {"key": "33" * 32, "implicit_iv": "44" * 8}
SMALL: dict[str, Any] = {"tunnel": {"session": {"send": SEND, "receive": RECEIVE}}}
FULL: dict[str, Any] = {
    "internal": {"mac": "00:f0:0d:f0:0d:00", "address": "10.38.2.1/24", "mtu": 1500, "sources": ["10.39.0.0/16"]},
    "external": {
        "kind": "stack",
        "mac": "02:00:c0:a8:01:05",
        "address": "192.168.1.5/24",
        "gateway": "192.168.1.1",
        "mtu": 1500,
    },
    "tunnel": {
        "remote": "1.2.3.4",
        "port": 1194,
        "proto": "udp",
        "session": {
            "cipher": "AES-128-GCM",
            "peer_id": None,
            "key_id": 7,
            "address": "10.8.0.2/24",
            "mtu": 1400,
            "send": {"key": "11" * 16, "implicit_iv": "22" * 8, "next_packet_id": 5},
            "receive": {"key": "33" * 16, "implicit_iv": "44" * 8},
        },
    },
    "services": {"icmp_echo": False, "udp_echo": [7, 4000], "tcp_echo": []},
    "limits": {"arp_queue": 4},
    "entropy": "0a0b",
    "notes": False,
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The full configuration with one member set; the path is written with dots."""
    made = copy.deepcopy(FULL)
    *folders, last = path.split(".")
    place = made
    for name in folders:
        place = place.setdefault(name, {})
    place[last] = value
    return made


def test_fixed_keys_are_all_that_must_be_given() -> None:
    config = GatewayConfig.from_json(SMALL)
    assert config.internal.mac == MacAddress.parse("00-f0-0d-f0-0d-00")
    assert config.internal.address == IPv4Interface("10.38.2.1/24")
    assert isinstance(config.external, ExternalStack)
    assert config.external.address == IPv4Interface("192.168.1.5/24")
    assert config.external.gateway == IPv4Address("192.168.1.1")
    assert (config.tunnel.remote, config.tunnel.port, config.tunnel.proto) == (IPv4Address("1.2.3.4"), 1194, "tcp")
    assert config.tunnel.session is not None
    assert config.tunnel.session.cipher is Cipher.AES_256_GCM
    assert config.tunnel.session.peer_id == 0
    assert config.tunnel.session.send.next_packet_id == 5
    assert config.services == Services(icmp_echo=True, udp_echo=(7,), tcp_echo=(7,))
    assert config.notes is True


def test_every_member_is_read() -> None:
    config = GatewayConfig.from_json(FULL)
    session = config.tunnel.session
    assert config.internal.sources == (IPv4Network("10.39.0.0/16"),)
    assert session is not None
    assert (session.cipher, session.peer_id, session.key_id, session.mtu) == (Cipher.AES_128_GCM, None, 7, 1400)
    assert session.receive.key == bytes([0x33]) * 16
    assert config.services == Services(icmp_echo=False, udp_echo=(7, 4000), tcp_echo=())
    assert (config.limits.arp_queue, config.limits.icmp_burst) == (4, 50)
    assert config.entropy == b"\x0a\x0b"
    assert config.notes is False


@pytest.mark.parametrize("value", [SMALL, FULL, {"external": {"kind": "os"}, "tunnel": {"ovpn": "client\n"}}])
def test_what_is_written_reads_as_the_same(value: dict[str, Any]) -> None:
    config = GatewayConfig.from_json(value)
    assert GatewayConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_keys_do_not_stand_in_what_is_printed() -> None:
    printed = repr(GatewayConfig.from_json(FULL)) + repr(GatewayConfig.from_json({"tunnel": {"ovpn": "secret"}}))
    assert "1111" not in printed
    assert "\\x11" not in printed
    assert "secret" not in printed


@pytest.mark.parametrize(
    ("value", "needs"),
    [
        (SMALL, ("external.stack", "session", "cipher.aes-256-gcm")),
        (FULL, ("external.stack", "session", "cipher.aes-128-gcm", "transport.udp")),
        ({"external": {"kind": "os"}, "tunnel": {"ovpn": "x"}}, ("external.os", "ovpn")),
    ],
)
def test_a_configuration_tells_which_capabilities_it_needs(value: dict[str, Any], needs: tuple[str, ...]) -> None:
    assert GatewayConfig.from_json(value).needs == needs


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("colour", "red", "colour: unknown member; known here: entropy, external, internal"),
        ("internal", [], "internal: [] is not an object"),
        ("internal.colour", 1, "internal.colour: unknown member"),
        ("internal.mac", "00:f0:0d:f0:0d", "internal.mac: '00:f0:0d:f0:0d' is not an Ethernet address"),
        ("internal.mac", 5, "internal.mac: 5 is not a string"),
        ("internal.mac", "01:00:5e:00:00:01", "internal.mac: 01:00:5e:00:00:01 is a group address"),
        ("internal.address", "10.38.2.1", "internal.address: '10.38.2.1' is not an IPv4 address with prefix length"),
        ("internal.address", "10.38.2.256/24", "internal.address: '10.38.2.256/24' is not an IPv4 address"),
        ("internal.address", "10.38.2.0/24", "internal.address: 10.38.2.0/24 is the network or broadcast address"),
        ("internal.address", "10.38.2.255/24", "internal.address: 10.38.2.255/24 is the network or broadcast"),
        ("internal.mtu", 67, "internal.mtu: 67 is under 68"),
        ("internal.mtu", 65536, "internal.mtu: 65536 is over 65535"),
        ("internal.mtu", "1500", "internal.mtu: '1500' is not an integer"),
        ("internal.mtu", True, "internal.mtu: true is not an integer"),
        ("internal.mtu", 1500.0, "internal.mtu: 1500.0 is not an integer"),
        ("internal.sources", "10.39.0.0/16", "internal.sources: '10.39.0.0/16' is not a list of prefixes"),
        ("internal.sources", [5], "internal.sources[0]: 5 is not an IPv4 prefix"),
        ("internal.sources", [None], "internal.sources[0]: null is not an IPv4 prefix"),
        ("internal.sources", {"a": "b" * 999}, 'internal.sources: {"a": "' + "b" * 52 + "… is not a list of prefixes"),
        ("internal.sources", ["10.39.0.1/16"], "internal.sources[0]: '10.39.0.1/16' is not an IPv4 prefix"),
        ("external.kind", "bridge", "external.kind: 'bridge' is not one of stack, os"),
        ("external.mac", "ff:ff:ff:ff:ff:ff", "external.mac: ff:ff:ff:ff:ff:ff is a group address"),
        ("external.gateway", "192.168.2.1", "external.gateway: 192.168.2.1 is not in 192.168.1.0/24"),
        ("external.gateway", "192.168.1.5", "external.gateway: 192.168.1.5 is the gateway's own external address"),
        ("external.gateway", "router", "external.gateway: 'router' is not an IPv4 address"),
        ("external.mtu", 0, "external.mtu: 0 is under 68"),
        ("external.address", "10.38.0.1/16", "external.address: 10.38.0.1/16 overlaps the internal network"),
        ("external", {"kind": "os", "mtu": 1500}, "external.mtu: unknown member; known here: kind"),
        ("tunnel", {}, "tunnel: needs exactly one of 'session' (fixed keys) and 'ovpn'"),
        ("tunnel.ovpn", "client", "tunnel: needs exactly one of 'session' (fixed keys) and 'ovpn'"),
        ("tunnel.remote", "example.org", "tunnel.remote: 'example.org' is not an IPv4 address"),
        ("tunnel.port", 0, "tunnel.port: 0 is under 1"),
        ("tunnel.port", 65536, "tunnel.port: 65536 is over 65535"),
        ("tunnel.proto", "sctp", "tunnel.proto: 'sctp' is not one of tcp, udp"),
        ("tunnel.session", 1, "tunnel.session: 1 is not an object"),
        ("tunnel.session.cipher", "AES-256-CBC", "tunnel.session.cipher: 'AES-256-CBC' is not one of AES-256-GCM"),
        ("tunnel.session.peer_id", 1 << 24, "tunnel.session.peer_id: 16777216 is over 16777215"),
        ("tunnel.session.peer_id", "0", "tunnel.session.peer_id: '0' is not an integer"),
        ("tunnel.session.key_id", 8, "tunnel.session.key_id: 8 is over 7"),
        ("tunnel.session.mtu", 67, "tunnel.session.mtu: 67 is under 68"),
        ("tunnel.session.address", "10.38.2.9/30", "tunnel.session.address: 10.38.2.9/30 overlaps the internal"),
        ("tunnel.session.send", {}, "tunnel.session.send.key: is missing"),
        ("tunnel.session.send.key", "11" * 32, "tunnel.session.send.key: has 32 octets, needs 16"),
        ("tunnel.session.send.key", "xy", "tunnel.session.send.key: 'xy' is not hexadecimal octets"),
        ("tunnel.session.send.implicit_iv", "22", "tunnel.session.send.implicit_iv: has 1 octets, needs 8"),
        ("tunnel.session.send.next_packet_id", 0, "tunnel.session.send.next_packet_id: 0 is under 1"),
        ("tunnel.session.send.next_packet_id", 1 << 32, "next_packet_id: 4294967296 is over 4294967295"),
        ("tunnel.session.receive", {"key": "33" * 16}, "tunnel.session.receive.implicit_iv: is missing"),
        ("tunnel.session.receive.next_packet_id", 1, "tunnel.session.receive.next_packet_id: unknown member"),
        ("services.icmp_echo", 1, "services.icmp_echo: 1 is not true or false"),
        ("services.udp_echo", 7, "services.udp_echo: 7 is not a list of ports"),
        ("services.udp_echo", [0], "services.udp_echo[0]: 0 is not a port number from 1 to 65535"),
        ("services.tcp_echo", [7, "7"], "services.tcp_echo[1]: '7' is not a port number"),
        ("services.tcp_echo", [True], "services.tcp_echo[0]: true is not a port number"),
        ("limits.arp_queue", 0, "limits.arp_queue: 0 is under 1"),
        ("limits.colour", 1, "limits.colour: unknown member"),
        ("entropy", "0", "entropy: '0' is not hexadecimal octets"),
        ("entropy", None, "entropy: null is not a string"),
        ("notes", "yes", "notes: 'yes' is not true or false"),
    ],
)
def test_an_error_names_the_member_and_shows_the_value(path: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GatewayConfig.from_json(changed(path, value))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(caught.value.member)


@pytest.mark.parametrize("value", [None, [], "config", 1])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^config: .* is not an object$"):
        GatewayConfig.from_json(value)


@pytest.mark.parametrize("address", ["10.38.2.0/31", "10.38.2.1/31", "10.38.2.1/32"])
def test_the_ends_of_a_prefix_of_31_or_32_bits_are_hosts(address: str) -> None:
    assert GatewayConfig.from_json(changed("internal.address", address)).internal.address == IPv4Interface(address)


def test_where_the_system_has_the_transport_no_external_prefix_can_overlap() -> None:
    config = GatewayConfig.from_json(changed("external", {"kind": "os"}))
    assert isinstance(config.external, ExternalOs)


def test_ciphers_know_the_length_of_their_keys() -> None:
    assert {cipher: cipher.key_octets for cipher in Cipher} == {
        Cipher.AES_256_GCM: 32,
        Cipher.AES_128_GCM: 16,
        Cipher.CHACHA20_POLY1305: 32,
    }
