"""The two configuration files of the tunnel, and the command line of each gateway.

The tunnel's MTU is under the internal network's, so that packets of ordinary size meet the gateway's fragmentation and
its ICMP 3/4. ``mssfix 0`` at both ends leaves TCP to find that MTU by itself: a clamped segment size would hide a
gateway that sends no such error. ``tcp-nodelay`` is pushed: without it a packet would wait 40 ms behind an
unacknowledged one (RFC 1122 4.2.3.4), and the figures would tell of that and of nothing else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from glassgate.conformance.lab.pki import CLIENT_NAME, Authority, Credential, static_key
from glassgate.conformance.lab.topology import (
    INTERNAL_INTERFACE,
    SERVER_ADDRESS,
    TUNNEL_CLIENT_ADDRESS,
)

PORT = 1194
TUNNEL_MTU = 1400
SERVER_DEVICE = "tun0"


class GatewayKind(StrEnum):
    """Which gateway stands between the networks."""

    REFERENCE = "reference"
    OPTIMIZED = "optimized"
    OPENVPN = "openvpn"
    """The stock client, with the kernel forwarding: the baseline."""

    @property
    def is_kernel(self) -> bool:
        """Whether the kernel does the forwarding, rather than a program on AF_PACKET."""
        return self is GatewayKind.OPENVPN


@dataclass(frozen=True, slots=True)
class TunnelOptions:
    """What may differ from lab to lab."""

    cipher: str = "AES-256-GCM"
    mtu: int = TUNNEL_MTU


@dataclass(frozen=True, slots=True)
class Secrets:
    """Everything that the two ends share or prove themselves with."""

    authority: str
    server: Credential
    client: Credential
    tls_crypt: str

    @classmethod
    def fresh(cls) -> Secrets:
        """New keys for one lab."""
        authority = Authority()
        return cls(authority.certificate, authority.server(), authority.client(), static_key())


def server_configuration(options: TunnelOptions, keys: Secrets, client_directory: Path) -> str:
    """The stock server's file: the internal network lies behind the one client (``route`` and ``iroute``)."""
    return f"""\
local {SERVER_ADDRESS}
port {PORT}
proto tcp-server
dev {SERVER_DEVICE}
dev-type tun
disable-dco
topology subnet
server 10.8.0.0 255.255.255.0
client-config-dir {client_directory}
ccd-exclusive
route 10.38.2.0 255.255.255.0
data-ciphers {options.cipher}
tun-mtu {options.mtu}
mssfix 0
tcp-nodelay
keepalive 10 60
remote-cert-tls client
dh none
verb 3
{_inline(keys, keys.server)}"""


def client_directory_entry() -> tuple[str, str]:
    """The server's file for the one client: its name and its text."""
    return CLIENT_NAME, f"ifconfig-push {TUNNEL_CLIENT_ADDRESS} 255.255.255.0\niroute 10.38.2.0 255.255.255.0\n"


def client_configuration(options: TunnelOptions, keys: Secrets) -> str:
    """The ``.ovpn`` file that any of the gateways is given, all its files inline."""
    return f"""\
client
dev tun
proto tcp
remote {SERVER_ADDRESS} {PORT}
nobind
remote-cert-tls server
data-ciphers {options.cipher}
tun-mtu {options.mtu}
mssfix 0
verb 3
{_inline(keys, keys.client)}"""


def gateway_command(kind: GatewayKind, configuration: Path) -> list[str]:
    """How the gateway is started, inside its namespace."""
    if kind is GatewayKind.OPENVPN:
        # The gateway sends into the tunnel whatever is not its own network (S14); a kernel needs routes for that.
        return ["openvpn", "--config", str(configuration), "--disable-dco", "--redirect-gateway", "def1"]
    interfaces = ["--internal", INTERNAL_INTERFACE, "--external", "os"]
    return [sys.executable, "-m", f"glassgate.{kind}", str(configuration), *interfaces]


def _inline(keys: Secrets, own: Credential) -> str:
    blocks = {"ca": keys.authority, "cert": own.certificate, "key": own.key, "tls-crypt": keys.tls_crypt}
    return "".join(f"<{name}>\n{text.strip()}\n</{name}>\n" for name, text in blocks.items())
