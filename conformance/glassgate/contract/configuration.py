"""The configuration of a gateway: immutable values, read from protocol 1's JSON and checked member by member.

Every member has a default: the addresses of the example network. ``{"tunnel": {"session": {…keys…}}}`` is enough.
An error names the member by its path and shows the value: ``internal.mtu: 67 is under 68 (RFC 791 3.2)``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Literal

from glassgate.contract.addresses import MacAddress

SMALLEST_MTU = 68  # RFC 791 3.2: every internet module forwards 68 octets unfragmented
LARGEST_MTU = 65535


class ConfigError(ValueError):
    """A configuration that cannot be used. Says which member, and what it held."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(f"{member}: {problem}" if member else problem)
        self.member = member
        self.problem = problem


class Cipher(StrEnum):
    """The data channel's ciphers, by OpenVPN's names."""

    AES_256_GCM = "AES-256-GCM"
    AES_128_GCM = "AES-128-GCM"
    CHACHA20_POLY1305 = "CHACHA20-POLY1305"

    @property
    def key_octets(self) -> int:
        """Length of the key, in octets."""
        return 16 if self is Cipher.AES_128_GCM else 32


@dataclass(frozen=True, slots=True)
class Internal:
    """The internal Ethernet network, and the gateway's place in it."""

    mac: MacAddress = MacAddress.parse("00:f0:0d:f0:0d:00")
    """The gateway's Ethernet address inside (S5)."""
    address: IPv4Interface = IPv4Interface("10.38.2.1/24")
    """The gateway's address inside, and the length of the network's prefix (S1)."""
    mtu: int = 1500
    """The largest IP packet, in octets."""
    sources: tuple[IPv4Network, ...] = ()
    """Further prefixes that may send from inside (S16)."""


@dataclass(frozen=True, slots=True)
class ExternalStack:
    """The gateway has its own Ethernet, ARP, IPv4 and transport on the external network."""

    mac: MacAddress = MacAddress.parse("02:00:c0:a8:01:05")
    """The gateway's Ethernet address outside."""
    address: IPv4Interface = IPv4Interface("192.168.1.5/24")
    """The gateway's address outside, and the length of the network's prefix (S1)."""
    gateway: IPv4Address = IPv4Address("192.168.1.1")
    """The router through which the tunnel's server is reached (S2)."""
    mtu: int = 1500
    """The largest outer IP packet, in octets."""
    kind: Literal["stack"] = "stack"
    """Says that the gateway runs its own stack outside."""


@dataclass(frozen=True, slots=True)
class ExternalOs:
    """The operating system provides the tunnel's transport; the gateway sees its octets at the port ``flow``."""

    kind: Literal["os"] = "os"
    """Says that the operating system has the transport."""


@dataclass(frozen=True, slots=True)
class SendKey:
    """The key that this gateway seals with. ``implicit_iv`` is the nonce's last eight octets."""

    key: bytes = field(repr=False)
    """The cipher's key: 32 octets, 16 for AES-128-GCM."""
    implicit_iv: bytes = field(repr=False)
    """Eight octets that follow the packet id in the nonce."""
    next_packet_id: int = 1
    """The packet id of the first record that is sealed (S24)."""


@dataclass(frozen=True, slots=True)
class ReceiveKey:
    """The key that this gateway opens with."""

    key: bytes = field(repr=False)
    """The cipher's key: 32 octets, 16 for AES-128-GCM."""
    implicit_iv: bytes = field(repr=False)
    """Eight octets that follow the packet id in the nonce."""


@dataclass(frozen=True, slots=True)
class Session:
    """A tunnel session with known keys: nothing is negotiated. It ends with its flow (S4).

    ``peer_id`` None means packets of type P_DATA_V1. ``mtu`` is the largest inner IP packet.
    """

    send: SendKey
    """The key for what goes into the tunnel."""
    receive: ReceiveKey
    """The key for what comes out of it."""
    cipher: Cipher = Cipher.AES_256_GCM
    """The data channel's cipher, for both directions."""
    peer_id: int | None = 0
    """The number that the server gave this client; null makes packets of type P_DATA_V1, which have none."""
    key_id: int = 0
    """The number of the key in each record's first octet, 0 to 7."""
    address: IPv4Interface = IPv4Interface("10.8.0.2/24")
    """The gateway's address inside the tunnel (S20, S28)."""
    mtu: int = 1500
    """The largest inner IP packet, in octets (S23)."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Where the tunnel's server is, and how the session comes about: exactly one of ``session`` and ``ovpn``."""

    remote: IPv4Address = IPv4Address("1.2.3.4")
    """The server's address."""
    port: int = 1194
    """The server's port."""
    proto: Literal["tcp", "udp"] = "tcp"
    """The transport that carries the tunnel."""
    session: Session | None = None
    """Known keys; nothing is negotiated."""
    ovpn: str | None = field(default=None, repr=False)
    """The text of an OpenVPN configuration file, all its files inline. Its ``remote`` and ``proto`` count."""


@dataclass(frozen=True, slots=True)
class Services:
    """The gateway's own services at its internal address."""

    icmp_echo: bool = True
    """Whether pings are answered (L1)."""
    udp_echo: tuple[int, ...] = (7,)
    """The ports at which datagrams are returned to their sender (L2)."""
    tcp_echo: tuple[int, ...] = (7,)
    """The ports at which connections are accepted and every octet is returned (L3)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the gateway's state and its errors."""

    arp_neighbours: int = 256
    """Entries of the ARP table, waiting ones included (S31)."""
    arp_queue: int = 32
    """Packets that wait for one neighbour (S31)."""
    reassembly_contexts: int = 1024
    """Datagrams in reassembly (S12)."""
    reassembly_octets: int = 4 * 1024 * 1024
    """Octets held in reassembly, all datagrams together (S12)."""
    reassembly_fragments: int = 256
    """Fragments of one datagram (S12)."""
    icmp_burst: int = 50
    """ICMP errors that may leave at once (S20)."""
    icmp_rate: int = 20
    """ICMP errors a second after that (S20)."""
    tcp_half_open: int = 128
    """Connections to local services that have not finished their handshake (L3)."""
    tcp_connections: int = 1024
    """Connections to local services, all states (L3)."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything that a gateway is told before it starts."""

    internal: Internal = field(default_factory=Internal)
    """The internal network."""
    external: ExternalStack | ExternalOs = field(default_factory=ExternalStack)
    """The external network: the gateway's own stack, or the operating system's."""
    tunnel: Tunnel = field(default_factory=Tunnel)
    """The tunnel's server and session."""
    services: Services = field(default_factory=Services)
    """What the gateway itself answers."""
    limits: Limits = field(default_factory=Limits)
    """What bounds the gateway's state."""
    entropy: bytes = b""
    """Seed of the random octets, where the driver does not bring better ones (protocol 1)."""
    notes: bool = True
    """Whether the gateway explains itself; effects without their notes are the same."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The capabilities of protocol 1 that this configuration cannot do without."""
        needs = [f"external.{self.external.kind}"]
        session = self.tunnel.session
        if session is not None:
            needs += ["session", f"cipher.{session.cipher.lower()}"]
        else:
            needs.append("ovpn")
        if self.tunnel.proto == "udp":
            needs.append("transport.udp")
        return tuple(needs)

    @classmethod
    def from_json(cls, value: object) -> GatewayConfig:
        """Read the ``config`` member of protocol 1.

        Raises:
            ConfigError: a member is unknown, missing, of the wrong type or out of range, or members disagree.
        """
        members = _Members("", value)
        internal = _read_internal(members.take("internal", {}))
        external = _read_external(members.take("external", {}))
        tunnel = _read_tunnel(members.take("tunnel", {}))
        services = _read_services(members.take("services", {}))
        limits = _read_limits(members.take("limits", {}))
        entropy = members.hex("entropy", b"")
        notes = members.boolean("notes", True)
        members.done()
        config = cls(internal, external, tunnel, services, limits, entropy, notes)
        _check_agreement(config)
        return config

    def to_json(self) -> dict[str, Any]:
        """The same configuration as protocol 1's JSON, every member present."""
        external: dict[str, Any] = {"kind": self.external.kind}
        if isinstance(self.external, ExternalStack):
            external |= {
                "mac": str(self.external.mac),
                "address": str(self.external.address),
                "gateway": str(self.external.gateway),
                "mtu": self.external.mtu,
            }
        tunnel: dict[str, Any] = {
            "remote": str(self.tunnel.remote),
            "port": self.tunnel.port,
            "proto": self.tunnel.proto,
        }
        session = self.tunnel.session
        if session is not None:
            tunnel["session"] = {
                "cipher": session.cipher.value,
                "peer_id": session.peer_id,
                "key_id": session.key_id,
                "address": str(session.address),
                "mtu": session.mtu,
                "send": {
                    "key": session.send.key.hex(),
                    "implicit_iv": session.send.implicit_iv.hex(),
                    "next_packet_id": session.send.next_packet_id,
                },
                "receive": {"key": session.receive.key.hex(), "implicit_iv": session.receive.implicit_iv.hex()},
            }
        if self.tunnel.ovpn is not None:
            tunnel["ovpn"] = self.tunnel.ovpn
        return {
            "internal": {
                "mac": str(self.internal.mac),
                "address": str(self.internal.address),
                "mtu": self.internal.mtu,
                "sources": [str(prefix) for prefix in self.internal.sources],
            },
            "external": external,
            "tunnel": tunnel,
            "services": {
                "icmp_echo": self.services.icmp_echo,
                "udp_echo": list(self.services.udp_echo),
                "tcp_echo": list(self.services.tcp_echo),
            },
            "limits": {name: getattr(self.limits, name) for name in Limits.__slots__},
            "entropy": self.entropy.hex(),
            "notes": self.notes,
        }


# ── reading, one function for each object of the JSON ────────────────────────────────────────────────────────────────


def _read_internal(value: tuple[str, object]) -> Internal:
    members = _Members(*value)
    default = Internal()
    internal = Internal(
        mac=members.mac("mac", default.mac),
        address=members.interface("address", default.address),
        mtu=members.integer("mtu", default.mtu, SMALLEST_MTU, LARGEST_MTU),
        sources=members.prefixes("sources", default.sources),
    )
    members.done()
    return internal


def _read_external(value: tuple[str, object]) -> ExternalStack | ExternalOs:
    members = _Members(*value)
    kind = members.choice("kind", "stack", ("stack", "os"))
    if kind == "os":
        members.done()
        return ExternalOs()
    default = ExternalStack()
    external = ExternalStack(
        mac=members.mac("mac", default.mac),
        address=members.interface("address", default.address),
        gateway=members.address("gateway", default.gateway),
        mtu=members.integer("mtu", default.mtu, SMALLEST_MTU, LARGEST_MTU),
    )
    members.done()
    return external


def _read_tunnel(value: tuple[str, object]) -> Tunnel:
    members = _Members(*value)
    default = Tunnel()
    remote = members.address("remote", default.remote)
    port = members.integer("port", default.port, 1, 65535)
    proto = members.choice("proto", default.proto, ("tcp", "udp"))
    session = _read_session(members.take("session", {})) if members.has("session") else None
    ovpn = members.text("ovpn") if members.has("ovpn") else None
    members.done()
    if (session is None) == (ovpn is None):
        raise ConfigError(
            value[0], "needs exactly one of 'session' (fixed keys) and 'ovpn' (a configuration file's text)"
        )
    return Tunnel(remote, port, "udp" if proto == "udp" else "tcp", session, ovpn)


def _read_session(value: tuple[str, object]) -> Session:
    members = _Members(*value)
    cipher = Cipher(members.choice("cipher", Cipher.AES_256_GCM, tuple(Cipher)))
    peer_id = members.take("peer_id", 0)[1]
    session = Session(
        send=_read_send_key(members.take("send"), cipher),
        receive=_read_receive_key(members.take("receive"), cipher),
        cipher=cipher,
        peer_id=None if peer_id is None else members.integer("peer_id", 0, 0, 0xFFFFFF),
        key_id=members.integer("key_id", 0, 0, 7),
        address=members.interface("address", IPv4Interface("10.8.0.2/24")),
        mtu=members.integer("mtu", 1500, SMALLEST_MTU, LARGEST_MTU),
    )
    members.done()
    return session


def _read_send_key(value: tuple[str, object], cipher: Cipher) -> SendKey:
    members = _Members(*value)
    key = SendKey(
        key=members.hex("key", octets=cipher.key_octets),
        implicit_iv=members.hex("implicit_iv", octets=8),
        next_packet_id=members.integer("next_packet_id", 1, 1, 0xFFFFFFFF),
    )
    members.done()
    return key


def _read_receive_key(value: tuple[str, object], cipher: Cipher) -> ReceiveKey:
    members = _Members(*value)
    key = ReceiveKey(
        key=members.hex("key", octets=cipher.key_octets),
        implicit_iv=members.hex("implicit_iv", octets=8),
    )
    members.done()
    return key


def _read_services(value: tuple[str, object]) -> Services:
    members = _Members(*value)
    default = Services()
    services = Services(
        icmp_echo=members.boolean("icmp_echo", default.icmp_echo),
        udp_echo=members.ports("udp_echo", default.udp_echo),
        tcp_echo=members.ports("tcp_echo", default.tcp_echo),
    )
    members.done()
    return services


def _read_limits(value: tuple[str, object]) -> Limits:
    members = _Members(*value)
    default = Limits()
    limits = Limits(**{name: members.integer(name, getattr(default, name), 1, 2**31 - 1) for name in Limits.__slots__})
    members.done()
    return limits


def _check_agreement(config: GatewayConfig) -> None:
    """Refuse members that are sound alone and not together (S1)."""
    inside = config.internal.address
    if inside.network.prefixlen <= 30 and inside.ip in (inside.network[0], inside.network[-1]):
        raise ConfigError("internal.address", f"{inside} is the network or broadcast address of its prefix")
    if config.internal.mac.is_group:
        raise ConfigError("internal.mac", f"{config.internal.mac} is a group address")
    outside = config.external
    if isinstance(outside, ExternalStack):
        if outside.mac.is_group:
            raise ConfigError("external.mac", f"{outside.mac} is a group address")
        if inside.network.overlaps(outside.address.network):
            raise ConfigError(
                "external.address", f"{outside.address} overlaps the internal network {inside.network} (S1)"
            )
        if outside.gateway not in outside.address.network:
            raise ConfigError("external.gateway", f"{outside.gateway} is not in {outside.address.network}")
        if outside.gateway == outside.address.ip:
            raise ConfigError("external.gateway", f"{outside.gateway} is the gateway's own external address")
    session = config.tunnel.session
    if session is not None and session.address.network.overlaps(inside.network):
        raise ConfigError(
            "tunnel.session.address", f"{session.address} overlaps the internal network {inside.network} (S1)"
        )


LONGEST_SHOWN = 60
"""Characters of a value that an error shows."""


class _Members:
    """The members of one JSON object, taken one by one; what is left over is unknown."""

    def __init__(self, path: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise ConfigError(path or "config", f"{_shown(value)} is not an object")
        self._path = path
        self._values: Mapping[str, object] = value
        self._known: set[str] = set()

    def path(self, name: str) -> str:
        """The member's full name."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        return name in self._values

    def take(self, name: str, *default: object) -> tuple[str, object]:
        """The member's path and value; without a default it must be there."""
        self._known.add(name)
        if name in self._values:
            return self.path(name), self._values[name]
        if default:
            return self.path(name), default[0]
        raise ConfigError(self.path(name), "is missing")

    def done(self) -> None:
        """Refuse members that nobody took."""
        for name in self._values:
            if name not in self._known:
                raise ConfigError(self.path(name), f"unknown member; known here: {', '.join(sorted(self._known))}")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        path, value = self.take(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(path, f"{_shown(value)} is not an integer")
        if value < low:
            raise ConfigError(path, f"{value} is under {low}")
        if value > high:
            raise ConfigError(path, f"{value} is over {high}")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        path, value = self.take(name, default)
        if not isinstance(value, bool):
            raise ConfigError(path, f"{_shown(value)} is not true or false")
        return value

    def text(self, name: str, *default: str) -> str:
        path, value = self.take(name, *default)
        if not isinstance(value, str):
            raise ConfigError(path, f"{_shown(value)} is not a string")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        path, value = self.take(name, default)
        if value not in choices:
            raise ConfigError(path, f"{_shown(value)} is not one of {', '.join(choices)}")
        return str(value)

    def hex(self, name: str, *default: bytes, octets: int | None = None) -> bytes:
        text = self.text(name, *(given.hex() for given in default))
        try:
            value = bytes.fromhex(text)
        except ValueError:
            raise ConfigError(self.path(name), f"{_shown(text)} is not hexadecimal octets") from None
        if octets is not None and len(value) != octets:
            raise ConfigError(self.path(name), f"has {len(value)} octets, needs {octets}")
        return value

    def mac(self, name: str, default: MacAddress) -> MacAddress:
        text = self.text(name, str(default))
        try:
            return MacAddress.parse(text)
        except ValueError as error:
            raise ConfigError(self.path(name), str(error)) from None

    def address(self, name: str, default: IPv4Address) -> IPv4Address:
        text = self.text(name, str(default))
        try:
            return IPv4Address(text)
        except ValueError:
            raise ConfigError(self.path(name), f"{_shown(text)} is not an IPv4 address") from None

    def interface(self, name: str, default: IPv4Interface) -> IPv4Interface:
        text = self.text(name, str(default))
        try:
            if "/" not in text:
                raise ValueError
            return IPv4Interface(text)
        except ValueError:
            raise ConfigError(
                self.path(name), f"{_shown(text)} is not an IPv4 address with prefix length such as {default}"
            ) from None

    def prefixes(self, name: str, default: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        path, value = self.take(name, list(map(str, default)))
        if not isinstance(value, list):
            raise ConfigError(path, f"{_shown(value)} is not a list of prefixes")
        prefixes = []
        for index, text in enumerate(value):
            try:
                if not isinstance(text, str):  # IPv4Network would take a number, too
                    raise ValueError
                prefixes.append(IPv4Network(text))
            except ValueError:
                raise ConfigError(
                    f"{path}[{index}]", f"{_shown(text)} is not an IPv4 prefix such as 10.39.0.0/16"
                ) from None
        return tuple(prefixes)

    def ports(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        path, value = self.take(name, list(default))
        if not isinstance(value, list):
            raise ConfigError(path, f"{_shown(value)} is not a list of ports")
        for index, port in enumerate(value):
            if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
                raise ConfigError(f"{path}[{index}]", f"{_shown(port)} is not a port number from 1 to 65535")
        return tuple(value)


def _shown(value: object) -> str:
    """A value as the user wrote it, for an error's one line."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
