"""The configuration files of the tunnel, and the gateways' command lines."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from glassgate.conformance.lab import matrix
from glassgate.conformance.lab.errors import CheckFailed
from glassgate.conformance.lab.tunnel import (
    Control,
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
    return Secrets.fresh(Control.TLS_CRYPT, Path("/nowhere"))


def blocks(text: str) -> dict[str, str]:
    return {name: body.strip() for name, body in re.findall(r"^<([a-z0-9-]+)>\n(.*?)^</\1>\n", text, re.DOTALL | re.M)}


def test_the_client_file_needs_no_other_file(keys: Secrets) -> None:
    inside = blocks(client_configuration(TunnelOptions(), keys))

    assert set(inside) == {"ca", "cert", "key", "tls-crypt"}
    assert inside["cert"] == keys.client.certificate.strip()
    assert inside["key"] == keys.client.key.strip()


def test_both_ends_share_the_authority_and_the_wrapping_key_and_no_private_key(keys: Secrets) -> None:
    client = blocks(client_configuration(TunnelOptions(), keys))
    server = blocks(server_configuration(TunnelOptions(), keys, Path("/lab")))

    assert client["ca"] == server["ca"]
    assert client["tls-crypt"] == server["tls-crypt"]
    assert client["key"] != server["key"]


def test_both_ends_agree_on_cipher_and_mtu(keys: Secrets) -> None:
    options = TunnelOptions(cipher="AES-128-GCM", mtu=1300)

    for text in (client_configuration(options, keys), server_configuration(options, keys, Path("/lab"))):
        assert "\ndata-ciphers AES-128-GCM\n" in text
        assert "\ntun-mtu 1300\n" in text


def test_the_internal_network_lies_behind_the_client(keys: Secrets) -> None:
    name, entry = client_directory_entry()
    server = server_configuration(TunnelOptions(), keys, Path("/lab"))

    assert "\nroute 10.38.2.0 255.255.255.0\n" in server  # the server's kernel: into the tunnel
    assert "iroute 10.38.2.0 255.255.255.0\n" in entry  # the server program: to this client
    assert f"CN={name}" in _subject(keys)


def _subject(keys: Secrets) -> str:
    from cryptography import x509

    return x509.load_pem_x509_certificate(keys.client.certificate.encode()).subject.rfc4514_string()


@pytest.mark.parametrize(
    ("control", "names"),
    [
        (Control.PLAIN, {"ca", "cert", "key"}),
        (Control.TLS_AUTH, {"ca", "cert", "key", "tls-auth"}),
        (Control.TLS_CRYPT_V2, {"ca", "cert", "key", "tls-crypt-v2"}),
    ],
)
def test_the_control_channel_is_wrapped_as_told(keys: Secrets, control: Control, names: set[str]) -> None:
    options = TunnelOptions(control=control)
    client, server = client_configuration(options, keys), server_configuration(options, keys, Path("/lab"))

    assert set(blocks(client)) == set(blocks(server)) == names
    assert ("key-direction 1\n" in client) == ("key-direction 0\n" in server) == (control is Control.TLS_AUTH)


def test_transport_and_tls_are_as_told(keys: Secrets) -> None:
    options = TunnelOptions(transport="udp", tls="1.2")
    client, server = client_configuration(options, keys), server_configuration(options, keys, Path("/lab"))

    for text in (client, server):
        assert "\nproto udp\n" in text
        assert "\ntls-version-max 1.2\n" in text


SERVER_LOG = """\
192.168.1.5:56718 Control Channel: TLSv1.3, cipher TLSv1.3 TLS_AES_256_GCM_SHA384, peer certificate: 256 bits
lab-client/192.168.1.5:56718 SENT CONTROL [lab-client]: 'PUSH_REPLY,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm'
"""


def test_what_was_agreed_on_is_read_from_the_servers_log() -> None:
    agreed = matrix.agreement(SERVER_LOG).demand(TunnelOptions())

    assert str(agreed) == "TLS 1.3, AES-256-GCM, keys by tls-ekm"


@pytest.mark.parametrize(
    "options", [TunnelOptions(tls="1.2"), TunnelOptions(cipher="AES-128-GCM"), TunnelOptions(keys="prf")]
)
def test_another_agreement_than_the_one_to_be_tried_is_a_failure(options: TunnelOptions) -> None:
    with pytest.raises(CheckFailed, match=r"they agreed on TLS 1\.3, AES-256-GCM"):
        matrix.agreement(SERVER_LOG).demand(options)


@pytest.mark.parametrize("log", ["", SERVER_LOG.splitlines()[0]])
def test_a_server_that_does_not_tell_is_a_failure(log: str) -> None:
    with pytest.raises(CheckFailed, match="unknown"):
        matrix.agreement(log).demand(TunnelOptions())


def test_the_matrix_holds_every_product_once() -> None:
    assert len({options.title for options in matrix.TUNNELS}) == 2 * 4 * 3 * 2
    assert {options.keys for options in matrix.TUNNELS} == {"tls-ekm"}
    assert len({check.title for check in matrix.CHECKS}) == 2 * 4 * 3 * 2 + 2 * 2


def test_keys_by_the_prf_are_the_clients_to_ask_for(keys: Secrets) -> None:
    assert "\nsetenv GLASSGATE_KEY_DERIVATION prf\n" in client_configuration(TunnelOptions(keys="prf"), keys)
    assert "GLASSGATE" not in client_configuration(TunnelOptions(), keys)


@pytest.mark.parametrize("kind", [GatewayKind.REFERENCE, GatewayKind.OPTIMIZED])
def test_a_gateway_of_this_project_is_a_module(kind: GatewayKind) -> None:
    command = gateway_command(kind, Path("/lab/client.ovpn"), own_stack=False)

    assert command == [
        *(sys.executable, "-m", f"glassgate.{kind.value}", "/lab/client.ovpn"),
        *("--internal", "internal", "--external", "os"),
    ]


def test_a_gateway_with_its_own_stack_gets_the_interface() -> None:
    command = gateway_command(GatewayKind.REFERENCE, Path("/lab/client.ovpn"), own_stack=True)

    assert command[-4:] == ["--internal", "internal", "--external", "external"]


def test_the_baseline_is_the_stock_client() -> None:
    command = gateway_command(GatewayKind.OPENVPN, Path("/lab/client.ovpn"), own_stack=False)

    assert command[:3] == ["openvpn", "--config", "/lab/client.ovpn"]
