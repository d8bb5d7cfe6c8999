"""What a far end is set to: who it is, how it wraps, what it grants, what it pushes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Interface
from typing import Literal

from glassgate.conformance.server.tls import Identity, TlsVersion
from glassgate.contract import Cipher

CONTROL_STRING_OCTETS = 1024  # push.c PUSH_BUNDLE_SIZE: no control string is longer


class Control(StrEnum):
    """How the control channel is wrapped, by the directive's name."""

    PLAIN = "plain"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"
    TLS_CRYPT_V2 = "tls-crypt-v2"


class Protocol:
    """What a client says that it can, in IV_PROTO (ssl.h)."""

    DATA_V2 = 1 << 1
    REQUEST_PUSH = 1 << 2
    TLS_KEY_EXPORT = 1 << 3
    CC_EXIT_NOTIFY = 1 << 7
    DYN_TLS_CRYPT = 1 << 9


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that may differ from far end to far end."""

    identity: Identity
    proto: Literal["tcp", "udp"] = "tcp"
    control: Control = Control.PLAIN
    key: str = field(default="", repr=False)
    """The text of the server's key file, unless ``control`` is plain."""
    key_direction: int | None = 0
    """Of tls-auth: 0 or 1 for the server, the other for the client; None: both the same half of the key."""
    auth: str = "sha1"
    """The digest of tls-auth."""
    ciphers: tuple[Cipher, ...] = tuple(Cipher)
    """The first one that the client has too is taken."""
    tls: TlsVersion | None = None
    """The one version that is spoken; None: 1.2 and 1.3."""
    exports_keys: bool = True
    """Whether a client that can gets its keys from the TLS exporter."""
    renews_wrapping: bool = True
    """Whether a client that can gets a tls-crypt key of its own for its renegotiations (``dyn-tls-crypt``)."""
    user: tuple[str, str] | None = field(default=None, repr=False)
    """The name and password that a client needs beside its certificate."""
    address: IPv4Interface = IPv4Interface("10.8.0.2/24")
    """The client's address in the tunnel; this end has the network's first."""
    peer_id: int | None = 0
    """None: no number is pushed, and data packets are P_DATA_V1."""
    mtu: int = 1500
    ping: int = 10
    ping_restart: int = 60
    """Seconds, for the client; this end waits twice as long (helper.c). 0: no pings at all."""
    renegotiates_after: float = 0.0
    """Seconds after which this end asks for new keys; 0: never."""
    push: tuple[str, ...] = ()
    """Further options to push."""

    def options_string(self) -> str:
        """What this end says of itself; nobody compares it but for a warning (options.c options_string)."""
        transport = "TCPv4_SERVER" if self.proto == "tcp" else "UDPv4"
        return f"V4,dev-type tun,tun-mtu {self.mtu},proto {transport},key-method 2,tls-server"

    def pushed(self, cipher: Cipher, protocol: int, knows_mtu: bool) -> list[str]:
        """The options for a client, in OpenVPN's order (push.c)."""
        gateway = self.address.network.network_address + 1
        options = [*self.push, f"route-gateway {gateway}", "topology subnet"]
        if self.ping:
            options += [f"ping {self.ping}", f"ping-restart {self.ping_restart}"]
        options.append(f"ifconfig {self.address.ip} {self.address.netmask}")
        if self.uses_peer_id(protocol):
            options.append(f"peer-id {self.peer_id}")
        options.append(f"cipher {cipher}")
        options += self._protocol_flags(protocol)
        return options + ([f"tun-mtu {self.mtu}"] if knows_mtu else [])

    def uses_peer_id(self, protocol: int) -> bool:
        """Whether data packets are P_DATA_V2."""
        return self.peer_id is not None and bool(protocol & Protocol.DATA_V2)

    def uses_exporter(self, protocol: int) -> bool:
        """Whether the keys come from the TLS exporter."""
        return self.exports_keys and bool(protocol & Protocol.TLS_KEY_EXPORT)

    def uses_own_wrapping(self, protocol: int) -> bool:
        """Whether renegotiations are wrapped with a key of this session."""
        return self.renews_wrapping and bool(protocol & Protocol.DYN_TLS_CRYPT)

    def _protocol_flags(self, protocol: int) -> list[str]:
        exporter = ["tls-ekm"] if self.uses_exporter(protocol) else []
        dynamic = ["dyn-tls-crypt"] if self.uses_own_wrapping(protocol) else []
        if protocol & Protocol.CC_EXIT_NOTIFY:
            return [" ".join(["protocol-flags", "cc-exit", *exporter, *dynamic])]
        flags = ["key-derivation tls-ekm"] if exporter else []
        return flags + (["protocol-flags dyn-tls-crypt"] if dynamic else [])


def push_replies(options: list[str]) -> list[str]:
    """The options as control strings: several, if one would be too long (push.c send_push_options)."""
    room = CONTROL_STRING_OCTETS - len("PUSH_REPLY") - len(",push-continuation 2") - 1
    parts: list[str] = [""]
    for option in options:
        if len(parts[-1]) + 1 + len(option) > room:
            parts.append("")
        parts[-1] += f",{option}"
    if len(parts) == 1:
        return [f"PUSH_REPLY{parts[0]}"]
    *first, last = parts
    return [f"PUSH_REPLY{part},push-continuation 2" for part in first] + [f"PUSH_REPLY{last},push-continuation 1"]
