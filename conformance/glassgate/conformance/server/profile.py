"""Keys, certificates and the client's configuration file for a far end: made afresh, and all inline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from glassgate.conformance.lab.pki import Authority, Credential
from glassgate.conformance.server.key_files import make_static_key, make_v2_keys
from glassgate.conformance.server.settings import Control, Settings
from glassgate.conformance.server.tls import Identity
from glassgate.contract import Entropy


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a client needs to know of a far end."""

    authority: str
    client: Credential = field(repr=False)
    key: str = field(default="", repr=False)
    """The text of the client's key file, unless the control channel is plain."""


def introduce(
    entropy: Entropy,
    control: Control = Control.TLS_CRYPT,
    proto: Literal["tcp", "udp"] = "tcp",
) -> tuple[Settings, Introduction]:
    """A far end with an authority of its own, and what a client needs; certificates hold for a day.

    What else it is set to, ``dataclasses.replace`` changes. (Certificates are random whatever ``entropy`` says.)
    """
    authority = Authority("Glassgate far end")
    server = authority.server("far-end")
    server_key, client_key = _keys(entropy, control)
    identity = Identity(authority.certificate, server.certificate, server.key)
    settings = replace(Settings(identity), proto=proto, control=control, key=server_key)
    return settings, Introduction(authority.certificate, authority.client("client"), client_key)


def _keys(entropy: Entropy, control: Control) -> tuple[str, str]:
    """The text of the server's key file and of the client's."""
    match control:
        case Control.PLAIN:
            return "", ""
        case Control.TLS_AUTH | Control.TLS_CRYPT:
            key = make_static_key(entropy)
            return key, key
        case Control.TLS_CRYPT_V2:
            return make_v2_keys(entropy)


def client_configuration(settings: Settings, introduction: Introduction, remote: str, port: int) -> str:
    """The ``.ovpn`` file: any OpenVPN client connects with it."""
    lines = [
        "client",
        "dev tun",
        f"proto {settings.proto}",
        f"remote {remote} {port}",
        "nobind",
        "remote-cert-tls server",
        f"data-ciphers {':'.join(settings.ciphers)}",
        f"tun-mtu {settings.mtu}",
    ]
    if settings.control is Control.TLS_AUTH:
        lines.append(f"auth {settings.auth.upper()}")
        if settings.key_direction is not None:
            lines.append(f"key-direction {1 - settings.key_direction}")
    blocks = [
        ("ca", introduction.authority),
        ("cert", introduction.client.certificate),
        ("key", introduction.client.key),
    ]
    if settings.user is not None:
        blocks.append(("auth-user-pass", "\n".join(settings.user)))
    if settings.control is not Control.PLAIN:
        blocks.append((settings.control, introduction.key))
    return "\n".join(lines) + "\n" + "".join(f"<{name}>\n{text.strip()}\n</{name}>\n" for name, text in blocks)
