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
from typing import Literal

from glassgate.conformance.lab import programs
from glassgate.conformance.lab.pki import CLIENT_NAME, Authority, Credential, static_key
from glassgate.conformance.lab.topology import (
    EXTERNAL_INTERFACE,
    INTERNAL_INTERFACE,
    SERVER_ADDRESS,
    TUNNEL_CLIENT_ADDRESS,
)
from glassgate.conformance.subjects.discovery import find
from glassgate.contract import CAPABILITIES

PORT = 1194
TUNNEL_MTU = 1400
RENEGOTIATION = 3600  # OpenVPN's own default
USER = ("lab", "open sesame")
CLIENTS, CHECK_USER = "clients", "check-user"
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

    @property
    def capabilities(self) -> frozenset[str]:
        """What this gateway declares (protocol 1); the kernel with a stock client can do all but be its own stack."""
        return frozenset(CAPABILITIES) - {"external.stack"} if self.is_kernel else find(self.value).capabilities


class Control(StrEnum):
    """How the control channel is wrapped, by the directive's name."""

    PLAIN = "plain"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"
    TLS_CRYPT_V2 = "tls-crypt-v2"


@dataclass(frozen=True, slots=True)
class TunnelOptions:
    """What may differ from tunnel to tunnel."""

    transport: Literal["tcp", "udp"] = "tcp"
    control: Control = Control.TLS_CRYPT
    cipher: str = "AES-256-GCM"
    tls: Literal["1.2", "1.3"] = "1.3"
    keys: Literal["tls-ekm", "prf"] = "tls-ekm"
    """What data keys are made by: the TLS exporter, or OpenVPN's own pseudo-random function."""
    mtu: int = TUNNEL_MTU
    server_renegotiates: int = RENEGOTIATION
    """After how many seconds the server asks for new keys."""
    client_renegotiates: int = RENEGOTIATION
    """The same for the gateway."""
    password: bool = False
    """Whether the server wants a user's name and password, beside the certificate."""

    @property
    def title(self) -> str:
        """The options that a stock client and server negotiate, in a few words."""
        ending = " PRF" if self.keys == "prf" else ""
        return f"{self.transport} {self.control} {self.cipher} TLS {self.tls}{ending}"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Everything that the two ends share or prove themselves with."""

    issuer: Authority
    authority: str
    """The certificate of whom this end trusts."""
    server: Credential
    client: Credential
    server_wrapping: str
    client_wrapping: str
    """The control channel's keys: the same one for both, but for tls-crypt-v2."""
    revoked: str | None = None
    """A revocation list for the server."""
    user: tuple[str, str] = USER

    @classmethod
    def fresh(cls, control: Control, directory: Path) -> Secrets:
        """New keys for one tunnel; the program that knows tls-crypt-v2 writes its two there."""
        authority = Authority()
        wrapping = _v2_keys(directory) if control is Control.TLS_CRYPT_V2 else (static_key(),) * 2
        return cls(authority, authority.certificate, authority.server(), authority.client(), *wrapping)


def _v2_keys(directory: Path) -> tuple[str, str]:
    server, client = directory / "v2-server.key", directory / "v2-client.key"
    programs.demand(["openvpn", "--genkey", "tls-crypt-v2-server", str(server)])
    programs.demand(["openvpn", "--tls-crypt-v2", str(server), "--genkey", "tls-crypt-v2-client", str(client)])
    return server.read_text(encoding="ascii"), client.read_text(encoding="ascii")


def server_configuration(options: TunnelOptions, keys: Secrets, directory: Path) -> str:
    """The stock server's file: the internal network lies behind the one client (``route`` and ``iroute``).

    ``directory`` is where the server finds ``clients`` and, if it asks for a password, ``check-user``.
    """
    check_user = (
        f"script-security 2\nauth-user-pass-verify {directory / CHECK_USER} via-file" if options.password else ""
    )
    revoked = "" if keys.revoked is None else _block("crl-verify", keys.revoked)
    return f"""\
local {SERVER_ADDRESS}
port {PORT}
proto {"tcp-server" if options.transport == "tcp" else "udp"}
dev {SERVER_DEVICE}
dev-type tun
disable-dco
topology subnet
server 10.8.0.0 255.255.255.0
client-config-dir {directory / CLIENTS}
ccd-exclusive
route 10.38.2.0 255.255.255.0
data-ciphers {options.cipher}
tun-mtu {options.mtu}
mssfix 0
{"tcp-nodelay" if options.transport == "tcp" else "explicit-exit-notify 1"}
keepalive 10 60
remote-cert-tls client
dh none
reneg-sec {options.server_renegotiates}
{_tls(options)}
{check_user}
verb 3
{_inline(keys, keys.server)}{revoked}{_wrapping(options.control, keys.server_wrapping, direction=0)}"""


def check_user_script() -> str:
    """A program for the server: its argument is a file with name and password, a line each."""
    name, password = USER
    return f"""#!/bin/sh\n{{ read -r name; read -r password; }} < "$1"\n[ "$name/$password" = "{name}/{password}" ]\n"""


def client_directory_entry() -> tuple[str, str]:
    """The server's file for the one client: its name and its text."""
    return CLIENT_NAME, f"ifconfig-push {TUNNEL_CLIENT_ADDRESS} 255.255.255.0\niroute 10.38.2.0 255.255.255.0\n"


def client_configuration(options: TunnelOptions, keys: Secrets) -> str:
    """The ``.ovpn`` file that any of the gateways is given, all its files inline."""
    user = _block("auth-user-pass", "\n".join(keys.user)) if options.password else ""
    # OpenVPN has no directive for it, and hands what it does not know by ``setenv`` to scripts.
    derivation = "setenv GLASSGATE_KEY_DERIVATION prf\n" if options.keys == "prf" else ""
    return f"""\
client
dev tun
proto {options.transport}
remote {SERVER_ADDRESS} {PORT}
nobind
remote-cert-tls server
data-ciphers {options.cipher}
tun-mtu {options.mtu}
mssfix 0
reneg-sec {options.client_renegotiates}
{_tls(options)}
verb 3
{derivation}{_inline(keys, keys.client)}{user}{_wrapping(options.control, keys.client_wrapping, direction=1)}"""


def gateway_command(kind: GatewayKind, configuration: Path, *, own_stack: bool) -> list[str]:
    """How the gateway is started, inside its namespace."""
    if kind is GatewayKind.OPENVPN:
        # The gateway sends into the tunnel whatever is not its own network (S14); a kernel needs routes for that.
        return ["openvpn", "--config", str(configuration), "--disable-dco", "--redirect-gateway", "def1"]
    interfaces = ["--internal", INTERNAL_INTERFACE, "--external", EXTERNAL_INTERFACE if own_stack else "os"]
    return [sys.executable, "-m", f"glassgate.{kind}", str(configuration), *interfaces]


def _tls(options: TunnelOptions) -> str:
    return "tls-version-max 1.2" if options.tls == "1.2" else "tls-version-min 1.3"


def _inline(keys: Secrets, own: Credential) -> str:
    return _block("ca", keys.authority) + _block("cert", own.certificate) + _block("key", own.key)


def _wrapping(control: Control, key: str, *, direction: int) -> str:
    match control:
        case Control.PLAIN:
            return ""
        case Control.TLS_AUTH:
            return f"key-direction {direction}\n{_block(control, key)}"
        case Control.TLS_CRYPT | Control.TLS_CRYPT_V2:
            return _block(control, key)


def _block(name: str, text: str) -> str:
    return f"<{name}>\n{text.strip()}\n</{name}>\n"
