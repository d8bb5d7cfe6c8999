"""The Linux kernel as the gateway: a stock OpenVPN client has the tunnel, and the kernel forwards into it.

::

    judge ── internal  GATEWAY  tun0 ══ openvpn ── 192.168.1.5  1.2.3.4 ── openvpn ══ tun0  judge
             00:f0:0d:f0:0d:00          CLIENT                  SERVER

Every vector gets a gateway that has seen nothing: a fresh namespace with a fresh internal interface, into which the
client's ``tun0`` is moved; the tunnel stays up. (Moving an interface leaves the program that holds it undisturbed.)
The client's own namespace holds nothing but its socket.

Both OpenVPN programs run point to point: a server for many would look into the inner packets, and drop what it has no
route for. Their own MTU is larger than any vector's; that of the interface counts.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Mapping, Sequence

from glassgate.conformance.lab import programs
from glassgate.conformance.lab.echo import EchoServices
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.namespaces import PacketSocket, without_offloads, write_settings
from glassgate.conformance.lab.network import READY_SECONDS, SERVER_READY, Lab
from glassgate.conformance.lab.pki import Authority, Credential
from glassgate.conformance.lab.topology import (
    EXTERNAL_ADDRESS,
    EXTERNAL_INTERFACE,
    INTERNAL_INTERFACE,
    ROUTER_ADDRESS,
    SERVER_ADDRESS,
)
from glassgate.conformance.lab.tunnel import PORT, GatewayKind
from glassgate.conformance.model import Vector
from glassgate.contract import GatewayConfig, Limits

JUDGE, SERVER, CLIENT = "judge", "server", "client"
DEVICE = "tun0"
LARGEST_TUNNEL_MTU = 9000
MILLISECONDS = 1000
IF_KNOWN = {"ipv4/tcp_rto_min_us": "1000000"}
"""Settings of newer kernels: the retransmission timeout is at least 1 s (RFC 6298 2.4), not 200 ms."""
DEFAULT_LIMITS = Limits()
LIMITS: Mapping[str, str] = {
    "arp_neighbours": "Linux has one ARP table for all namespaces, and its size cannot be set in one of them",
    "arp_queue": "Linux counts the memory that waits for a neighbour, not the packets",
    "reassembly_contexts": "Linux bounds the memory of reassembly, not the datagrams",
    "reassembly_octets": "Linux counts the memory that fragments take, not their octets",
    "reassembly_fragments": "Linux has no bound on the fragments of one datagram",
    "tcp_connections": "the number of connections is a service's own affair on Linux, not the kernel's",
    "icmp_burst": "Linux takes up to three tokens of its bucket at random, so nobody can tell which error is withheld",
    "icmp_rate": "Linux takes up to three tokens of its bucket at random, so nobody can tell which error is withheld",
}
"""Limits that have no setting of the same meaning, and why."""


def settings(config: GatewayConfig) -> dict[str, str]:
    """The kernel's settings that make it the router of the vectors, as far as settings go."""
    every = {
        "rp_filter": "0",
        "send_redirects": "0",
        "accept_redirects": "0",
        "accept_source_route": "0",
        "drop_unicast_in_l2_multicast": "1",  # S6
        "arp_ignore": "1",  # S7: else Linux answers for its other addresses, too
        "arp_notify": "1",  # an announcement when the interface comes up
    }
    inside_ = {
        "conf": {"rp_filter": "1"},
        "neigh": {
            "locktime": "-1",  # an update a moment after the last one counts, too
            "retrans_time_ms": str(MILLISECONDS),
            "delay_first_probe_time": "600",  # no vector knows that Linux asks again 5 s after it used an entry
        },
    }
    made = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1", "ipv4/ip_forward": "1"}
    made |= {f"ipv4/conf/{scope}/{name}": value for scope in ("all", "default") for name, value in every.items()}
    made |= {
        f"ipv4/{kind}/{INTERNAL_INTERFACE}/{name}": value
        for kind, values in inside_.items()
        for name, value in values.items()
    }
    return made | {
        "ipv4/conf/tun0/rp_filter": "1",
        "ipv4/icmp_echo_ignore_all": "0" if config.services.icmp_echo else "1",
        "ipv4/icmp_ratelimit": "0",
        "ipv4/icmp_msgs_per_sec": "10000",
        "ipv4/icmp_msgs_burst": "10000",
        "ipv4/ipfrag_time": "60",
        "ipv4/ipfrag_max_dist": "0",
        "ipv4/tcp_timestamps": "0",
        "ipv4/tcp_sack": "0",
        "ipv4/tcp_window_scaling": "0",
        "ipv4/tcp_ecn": "0",
        "ipv4/tcp_syncookies": "0",
        "ipv4/tcp_invalid_ratelimit": "0",  # else one challenge in half a second, whatever RFC 5961 7 has counted
    }


class KernelGateway:
    """A lab of its own: two OpenVPN programs that stay, and a gateway that is made anew."""

    def __init__(self) -> None:
        self._lab = Lab.create(GatewayKind.OPENVPN, owned=True)
        self._number = 0
        self._holder = self.namespace(CLIENT)
        """The namespace in which the client's tun interface is now."""
        self._internal: PacketSocket | None = None
        self._tunnel: PacketSocket | None = None
        self._echo: EchoServices | None = None
        """The echo services of the gateway that is there now: the kernel brings none."""

    @property
    def version(self) -> str:
        """The kernel's release."""
        return programs.demand(["uname", "-r"]).strip()

    def namespace(self, host: str) -> str:
        """The name of a host's namespace."""
        return self._lab.state.namespace(host)

    def build(self) -> None:
        """The outside and the tunnel.

        Raises:
            LabError: a command failed, or the tunnel did not come up.
        """
        names = "".join(f"netns add {self.namespace(host)}\n" for host in (JUDGE, SERVER, CLIENT))
        programs.demand(["ip", "-batch", "-"], given=names + self._cable())
        self._ip(SERVER, f"link set lo up\naddr add {SERVER_ADDRESS}/32 dev outside\n"
                         f"addr add {ROUTER_ADDRESS}/24 dev outside\nlink set outside up\n")  # fmt: skip
        self._ip(CLIENT, f"link set lo up\naddr add {EXTERNAL_ADDRESS}/24 dev {EXTERNAL_INTERFACE}\n"
                         f"link set {EXTERNAL_INTERFACE} up\nroute add default via {ROUTER_ADDRESS}\n")  # fmt: skip
        self._start_tunnel()
        # The server's kernel has no address in the tunnel and forwards nothing: only the judge hears what comes out.
        self._ip(SERVER, f"link set {DEVICE} mtu {LARGEST_TUNNEL_MTU} up\n")
        self._tunnel = PacketSocket(self.namespace(SERVER), DEVICE)

    def fresh(self, config: GatewayConfig) -> None:
        """Put a new gateway in the place of the one before.

        Raises:
            LabError: a command failed.
        """
        self._forget()
        self._number += 1
        name, before = self.namespace(f"gateway{self._number}"), self._holder
        outlet, judge = f"judge{self._number}", self.namespace(JUDGE)
        programs.demand(["ip", "-batch", "-"], given=(
            f"netns add {name}\n"
            f"link add {INTERNAL_INTERFACE} netns {name} address {config.internal.mac} mtu {config.internal.mtu}"
            f" type veth peer name {outlet} netns {judge} mtu 65535\n"
        ))  # fmt: skip
        programs.demand(["ip", "-n", before, "link", "set", DEVICE, "netns", name])
        self._holder = name
        without_offloads(name, INTERNAL_INTERFACE)
        write_settings(name, settings(config), IF_KNOWN)
        programs.demand(["ip", "-n", judge, "link", "set", outlet, "up"])
        self._internal = PacketSocket(judge, outlet)
        programs.demand(["ip", "-n", name, "-batch", "-"], given=_addresses(config))
        self._echo = self._services(name, config)
        if before != self.namespace(CLIENT):
            programs.demand(["ip", "netns", "delete", before])

    @property
    def internal(self) -> PacketSocket:
        """The internal network, as its hosts have it."""
        assert self._internal is not None, "there is no gateway yet"
        return self._internal

    @property
    def tunnel(self) -> PacketSocket:
        """The server's tun interface."""
        assert self._tunnel is not None, "nothing is built yet"
        return self._tunnel

    @property
    def helpers(self) -> Collection[socket.socket]:
        """The sockets of the echo services."""
        return self._echo.sockets if self._echo is not None else ()

    def serve(self, ready: socket.socket) -> None:
        """Let an echo service answer."""
        if self._echo is not None:
            self._echo.serve(ready)

    def why_not(self, vector: Vector, config: GatewayConfig) -> str:
        """Why the kernel cannot be brought to a vector's configuration; empty if it can."""
        session = config.tunnel.session
        if session is not None and session.mtu > LARGEST_TUNNEL_MTU:
            return f"has a tunnel whose MTU is over {LARGEST_TUNNEL_MTU}"
        for name, reason in LIMITS.items():
            if getattr(config.limits, name) != getattr(DEFAULT_LIMITS, name):
                return f"sets limits.{name}; {reason}"
        return ""

    def close(self) -> list[str]:
        """Take everything down; what could not be done, a line each."""
        self._forget()
        if self._tunnel is not None:
            self._tunnel.close()
        return self._lab.down()

    def _forget(self) -> None:
        if self._echo is not None:
            self._echo.close()
            self._echo = None
        if self._internal is not None:
            self._internal.close()
            self._internal = None

    def _cable(self) -> str:
        server, client = (self.namespace(host) for host in (SERVER, CLIENT))
        return f"link add {EXTERNAL_INTERFACE} netns {client} type veth peer name outside netns {server}\n"

    def _ip(self, host: str, batch: str) -> None:
        programs.demand(["ip", "-n", self.namespace(host), "-batch", "-"], given=batch)

    def _services(self, namespace: str, config: GatewayConfig) -> EchoServices:
        session = config.tunnel.session
        addresses = [str(config.internal.address.ip), *([str(session.address.ip)] if session is not None else [])]
        services = config.services
        return EchoServices(namespace, addresses, services.udp_echo, services.tcp_echo, config.limits.tcp_half_open)

    def _start_tunnel(self) -> None:
        authority = Authority()
        for role, text in (
            (SERVER, f"local {SERVER_ADDRESS}\nport {PORT}\nproto tcp-server\ntls-server\ndh none\n"
                     + _common(authority, authority.server())),
            (CLIENT, f"remote {SERVER_ADDRESS} {PORT}\nnobind\nproto tcp-client\ntls-client\nremote-cert-tls server\n"
                     "allow-recursive-routing\n"  # S14: 1.2.3.4 goes into the tunnel, too
                     + _common(authority, authority.client())),
        ):  # fmt: skip
            path = self._lab.directory / f"{role}.conf"
            path.write_text(text, encoding="utf-8")
            self._lab.spawn(role, role, ["openvpn", "--config", str(path)])
        deadline = time.monotonic() + READY_SECONDS
        for role in (SERVER, CLIENT):
            while SERVER_READY not in self._lab.log(role):
                if not self._lab.is_running(role) or time.monotonic() > deadline:
                    raise LabError(f"the tunnel did not come up: {role}: {self._lab.last_words(role)}")
                time.sleep(0.02)


def _common(authority: Authority, own: Credential) -> str:
    blocks = {"ca": authority.certificate, "cert": own.certificate, "key": own.key}
    inline = "".join(f"<{name}>\n{text.strip()}\n</{name}>\n" for name, text in blocks.items())
    return (
        f"dev {DEVICE}\ndev-type tun\ndisable-dco\npersist-tun\ndata-ciphers AES-256-GCM\n"
        f"tun-mtu {LARGEST_TUNNEL_MTU}\nmssfix 0\nsocket-flags TCP_NODELAY\n"
        f"reneg-sec 0\nreneg-bytes 0\nverb 3\n{inline}"
    )


def _addresses(config: GatewayConfig) -> str:
    session = config.tunnel.session
    assert session is not None, "only vectors with a session come here"
    lines: Sequence[str] = (
        "link set lo up",
        f"address add {config.internal.address} dev {INTERNAL_INTERFACE}",
        f"link set {DEVICE} mtu {session.mtu} up",
        f"address add {session.address} dev {DEVICE}",
        f"route add default dev {DEVICE}",
        f"link set {INTERNAL_INTERFACE} up",
        *(f"route add {prefix} dev {INTERNAL_INTERFACE}" for prefix in config.internal.sources),
    )
    return "\n".join(lines) + "\n"
