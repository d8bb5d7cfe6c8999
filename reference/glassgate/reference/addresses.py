"""Which addresses are whose: the special blocks of IPv4, and the networks that the gateway is attached to.

Standards: RFC 1812 5.3.7 and 4.2.2.11 (what is no host), RFC 3927 7 (link-local), RFC 3021 (31-bit prefixes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

UNSPECIFIED = IPv4Address("0.0.0.0")
LIMITED_BROADCAST = IPv4Address("255.255.255.255")

THIS_NETWORK = IPv4Network("0.0.0.0/8")
LOOPBACK = IPv4Network("127.0.0.0/8")
LINK_LOCAL = IPv4Network("169.254.0.0/16")
MULTICAST = IPv4Network("224.0.0.0/4")
RESERVED = IPv4Network("240.0.0.0/4")

MARTIANS: Mapping[str, IPv4Network] = {
    "this network": THIS_NETWORK,
    "loopback": LOOPBACK,
    "link-local": LINK_LOCAL,
    "multicast": MULTICAST,
    "reserved": RESERVED,
}
"""No packet that crosses a router comes from one of these."""


def martian(address: IPv4Address) -> str | None:
    """The name of the special block that ``address`` lies in, or None.

    >>> martian(IPv4Address("127.0.0.1"))
    'loopback'
    """
    for name, block in MARTIANS.items():
        if address in block:
            return name
    return None


@dataclass(frozen=True, slots=True)
class Attached:
    """A network that the gateway is attached to: its own address there, and who else is a neighbour.

    ``further`` prefixes are on the same link, without a broadcast address of their own.
    """

    interface: IPv4Interface
    further: tuple[IPv4Network, ...] = ()
    own: IPv4Address = field(init=False)
    """The gateway's address on this network: every packet asks, and ``interface.ip`` makes a new one each time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", self.interface.ip)

    def is_further(self, address: IPv4Address) -> bool:
        """Whether ``address`` lies in one of the further prefixes, and not in the network itself."""
        return address not in self.interface.network and any(address in prefix for prefix in self.further)

    def contains(self, address: IPv4Address) -> bool:
        """Whether ``address`` belongs to this link."""
        return address in self.interface.network or self.is_further(address)

    def is_edge(self, address: IPv4Address) -> bool:
        """Whether ``address`` is the network or the broadcast address, which no host has.

        >>> Attached(IPv4Interface("10.38.2.1/24")).is_edge(IPv4Address("10.38.2.255"))
        True
        >>> Attached(IPv4Interface("10.38.2.1/31")).is_edge(IPv4Address("10.38.2.0"))  # RFC 3021 2.1: both are hosts
        False
        """
        network = self.interface.network
        return network.prefixlen <= 30 and address in (network.network_address, network.broadcast_address)

    def is_host(self, address: IPv4Address) -> bool:
        """Whether ``address`` can be that of a neighbour: of this link, no edge, not our own."""
        return self.contains(address) and not self.is_edge(address) and address != self.own
