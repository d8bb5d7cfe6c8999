"""The configuration files of the tunnel, and the gateways' command lines."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from glassgate.conformance.lab.tunnel import (
    GatewayKind,
    Secrets,
    TunnelOptions,
    client_configuration,
    client_directory_entry,
    gateway_command,
    server_configuration,
)


@pytest.fixture(scope="module")
def keys() -> Secrets:
    return Secrets.fresh()


def blocks(text: str) -> dict[str, str]:
    return {name: body.strip() for name, body in re.findall(r"^<([a-z-]+)>\n(.*?)^</\1>\n", text, re.DOTALL | re.M)}


def test_the_client_file_needs_no_other_file(keys: Secrets) -> None:
    inside = blocks(client_configuration(TunnelOptions(), keys))

    assert set(inside) == {"ca", "cert", "key", "tls-crypt"}
    assert inside["cert"] == keys.client.certificate.strip()
    assert inside["key"] == keys.client.key.strip()


def test_both_ends_share_the_authority_and_the_wrapping_key_and_no_private_key(keys: Secrets) -> None:
    client = blocks(client_configuration(TunnelOptions(), keys))
    server = blocks(server_configuration(TunnelOptions(), keys, Path("/clients")))

    assert client["ca"] == server["ca"]
    assert client["tls-crypt"] == server["tls-crypt"]
    assert client["key"] != server["key"]


def test_both_ends_agree_on_cipher_and_mtu(keys: Secrets) -> None:
    options = TunnelOptions(cipher="AES-128-GCM", mtu=1300)

    for text in (client_configuration(options, keys), server_configuration(options, keys, Path("/clients"))):
        assert "\ndata-ciphers AES-128-GCM\n" in text
        assert "\ntun-mtu 1300\n" in text


def test_the_internal_network_lies_behind_the_client(keys: Secrets) -> None:
    name, entry = client_directory_entry()
    server = server_configuration(TunnelOptions(), keys, Path("/clients"))

    assert "\nroute 10.38.2.0 255.255.255.0\n" in server  # the server's kernel: into the tunnel
    assert "iroute 10.38.2.0 255.255.255.0\n" in entry  # the server program: to this client
    assert f"CN={name}" in _subject(keys)


def _subject(keys: Secrets) -> str:
    from cryptography import x509

    return x509.load_pem_x509_certificate(keys.client.certificate.encode()).subject.rfc4514_string()


@pytest.mark.parametrize("kind", [GatewayKind.REFERENCE, GatewayKind.OPTIMIZED])
def test_a_gateway_of_this_project_is_a_module(kind: GatewayKind) -> None:
    command = gateway_command(kind, Path("/lab/client.ovpn"))

    assert command == [
        *(sys.executable, "-m", f"glassgate.{kind.value}", "/lab/client.ovpn"),
        *("--internal", "internal", "--external", "os"),
    ]


def test_the_baseline_is_the_stock_client() -> None:
    command = gateway_command(GatewayKind.OPENVPN, Path("/lab/client.ovpn"))

    assert command[:3] == ["openvpn", "--config", "/lab/client.ovpn"]
