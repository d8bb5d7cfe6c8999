"""The network of the lab as data, and the commands that build it.

Why the details are as they are:

- The gateway's kernel has no address on ``internal``: the gateway program answers ARP there, by AF_PACKET. The kernel
  sees the same frames, so it is told to stay silent: ``arp_ignore=8`` answers no ARP, and strict ``rp_filter`` drops
  every packet from inside, because no route leads back there (without it Linux would answer for 192.168.1.5).
- Segmentation offload is off on every veth: a host would hand its neighbour TCP segments of up to 64 KB that no
  MTU allows, and a program that reads frames would see them so. Checksum offload is off: a veth carries
  "checksum to be filled in by hardware", and there is no hardware. So what a capture shows is what a wire would carry.
- IPv6 is off: it is out of the gateway's scope, and router solicitations would only clutter captures.
- The bridge does no spanning tree (a port would learn for 30 s first) and no multicast snooping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INTERNAL_NETWORK = "10.38.2.0/24"
INTERNAL_ADDRESS = "10.38.2.1"
INTERNAL_MAC = "00:f0:0d:f0:0d:00"
HOST5_ADDRESS = "10.38.2.5"
HOST6_ADDRESS = "10.38.2.6"
NOBODY_INSIDE = "10.38.2.77"
EXTERNAL_ADDRESS = "192.168.1.5"
ROUTER_ADDRESS = "192.168.1.1"
SERVER_ADDRESS = "1.2.3.4"
TUNNEL_SERVER_ADDRESS = "10.8.0.1"
TUNNEL_CLIENT_ADDRESS = "10.8.0.2"
FAR_ADDRESS = "203.0.113.10"

EXTERNAL_MAC = "02:00:c0:a8:01:05"
ROUTER_INSIDE_MAC = "02:00:c0:a8:01:01"
ROUTER_OUTSIDE_MAC = "02:00:01:02:03:01"
SERVER_MAC = "02:00:01:02:03:04"

INTERNAL_INTERFACE = "internal"
EXTERNAL_INTERFACE = "external"
UPLINK = "eth0"
"""The one interface of a host."""

HOST5, HOST6, SWITCH, GATEWAY, ROUTER, SERVER, FAR = (
    "host5",
    "host6",
    "switch",
    "gateway",
    "router",
    "server",
    "far",
)
HOSTS = (HOST5, HOST6, SWITCH, GATEWAY, ROUTER, SERVER, FAR)
"""Every host of the lab: each is one network namespace."""
ROUTERS = (ROUTER, SERVER)
"""Hosts whose kernel forwards. The gateway's does only where the gateway is the stock client."""

OFFLOADS = ("tx", "tso", "gso", "gro")


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable: an interface of a host."""

    host: str
    interface: str
    mac: str
    address: str | None = None


CABLES: tuple[tuple[End, End], ...] = (
    (End(HOST5, UPLINK, "02:00:0a:26:02:05", f"{HOST5_ADDRESS}/24"), End(SWITCH, "host5", "02:00:00:00:00:05")),
    (End(HOST6, UPLINK, "02:00:0a:26:02:06", f"{HOST6_ADDRESS}/24"), End(SWITCH, "host6", "02:00:00:00:00:06")),
    (End(GATEWAY, INTERNAL_INTERFACE, INTERNAL_MAC), End(SWITCH, "gateway", "02:00:00:00:00:01")),
    (
        End(GATEWAY, EXTERNAL_INTERFACE, EXTERNAL_MAC, f"{EXTERNAL_ADDRESS}/24"),
        End(ROUTER, "inside", ROUTER_INSIDE_MAC, f"{ROUTER_ADDRESS}/24"),
    ),
    (
        End(ROUTER, "outside", ROUTER_OUTSIDE_MAC, "1.2.3.1/24"),
        End(SERVER, "outside", SERVER_MAC, f"{SERVER_ADDRESS}/24"),
    ),
    (
        End(SERVER, "inside", "02:00:cb:00:71:01", "203.0.113.1/24"),
        End(FAR, UPLINK, "02:00:cb:00:71:0a", f"{FAR_ADDRESS}/24"),
    ),
)

DEFAULT_ROUTES: Mapping[str, str] = {
    HOST5: INTERNAL_ADDRESS,
    HOST6: INTERNAL_ADDRESS,
    GATEWAY: ROUTER_ADDRESS,
    SERVER: "1.2.3.1",
    FAR: "203.0.113.1",
}


def cable_commands(prefix: str) -> str:
    """A batch for ``ip``: all cables, each made with its ends already in their namespaces."""
    return "".join(
        f"link add {left.interface} netns {prefix}-{left.host} address {left.mac}"
        f" type veth peer name {right.interface} netns {prefix}-{right.host} address {right.mac}\n"
        for left, right in CABLES
    )


def address_commands(host: str, *, own_stack: bool) -> str:
    """A batch for ``ip`` in the namespace of a host: its interfaces up, its addresses, its default route.

    ``own_stack`` says that the gateway program has a stack of its own outside, too: its kernel then has no address.
    """
    lines = ["link set lo up"]
    has_addresses = not (host == GATEWAY and own_stack)
    if host == SWITCH:
        lines += ["link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set bridge up"]
    for end in ends(host):
        if end.address is not None and has_addresses:
            lines.append(f"address add {end.address} dev {end.interface}")
        if host == SWITCH:
            lines.append(f"link set {end.interface} master bridge")
        lines.append(f"link set {end.interface} up")
    if host in DEFAULT_ROUTES and has_addresses:
        lines.append(f"route add default via {DEFAULT_ROUTES[host]}")
    return "\n".join(lines) + "\n"


def settings(host: str, *, kernel_gateway: bool) -> dict[str, str]:
    """The kernel's settings for a host, by their path under /proc/sys/net.

    ``kernel_gateway`` says that the gateway is the kernel with a stock client, not a program on AF_PACKET.
    """
    forwards = host in ROUTERS or (host == GATEWAY and kernel_gateway)
    values = {
        "ipv6/conf/all/disable_ipv6": "1",
        "ipv6/conf/default/disable_ipv6": "1",
        "ipv4/ip_forward": "1" if forwards else "0",
        # A router names itself in every traceroute: Linux allows itself one error a second to each destination.
        "ipv4/icmp_ratelimit": "0",
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/default/rp_filter": "0",
    }
    if host == GATEWAY and not kernel_gateway:
        values |= {
            f"ipv4/conf/{INTERNAL_INTERFACE}/arp_ignore": "8",
            f"ipv4/conf/{INTERNAL_INTERFACE}/rp_filter": "1",
        }
    return values


def ends(host: str) -> list[End]:
    """The interfaces of a host, in the order of the cables."""
    return [end for cable in CABLES for end in cable if end.host == host]
