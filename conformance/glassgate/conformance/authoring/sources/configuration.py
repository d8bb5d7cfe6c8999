"""Configurations that must be refused, by the member that is wrong."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.story import Category
from glassgate.contract import rules

category = Category(
    "configuration", "Configurations that no gateway may start with: addresses that cannot be, or overlap."
)


def tunnel_address(interface: str) -> dict[str, Any]:
    """A configuration with this tunnel address."""
    return {"tunnel": {"session": {"address": interface}}}


for name, title, config, member in (
    (
        "tunnel-in-internal",
        "The tunnel's network is part of the internal one",
        tunnel_address("10.38.2.130/25"),
        "tunnel.session.address",
    ),
    (
        "internal-in-tunnel",
        "The internal network is part of the tunnel's",
        tunnel_address("10.1.0.2/8"),
        "tunnel.session.address",
    ),
    ("tunnel-is-internal", "The two networks are the same", tunnel_address("10.38.2.2/24"), "tunnel.session.address"),
):
    category.refused(
        f"config-{name}",
        f"{title}: refused",
        rules.S1_PREFIXES_APART,
        source='seed "Internal network", "External network"; RFC 1812 4.2.2.11',
        config=config,
        member=member,
    )

for name, title, address in (
    ("network", "The gateway's address is the network's own", "10.38.2.0/24"),
    ("broadcast", "The gateway's address is the broadcast address", "10.38.2.255/24"),
    ("broadcast-of-30", "In a prefix of 30 bits the fourth address is the broadcast address", "10.38.2.3/30"),
):
    category.refused(
        f"config-internal-{name}",
        f"{title}: refused",
        rules.S1_OWN_SOURCE,
        source="RFC 1122 3.2.1.3; RFC 3021 2.1",
        config={"internal": {"address": address}},
        member="internal.address",
    )

category.refused(
    "config-internal-mtu-67",
    "An internal MTU of 67: refused, since every internet module forwards 68 octets whole",
    rules.S32_INTERNAL_MTU,
    source="RFC 791 3.2",
    config={"internal": {"mtu": 67}},
    member="internal.mtu",
)

category.refused(
    "config-tunnel-mtu-67",
    "A tunnel MTU of 67: refused",
    rules.S23_INNER_MTU,
    source="RFC 791 3.2",
    config={"tunnel": {"session": {"mtu": 67}}},
    member="tunnel.session.mtu",
)

category.refused(
    "config-internal-group-mac",
    "A group address is no station's: refused",
    rules.S5_SOURCE_GROUP,
    source="IEEE 802.3 3.2.3",
    config={"internal": {"mac": "01:f0:0d:f0:0d:00"}},
    member="internal.mac",
)

category.refused(
    "config-short-key",
    "A key of 31 octets for AES-256-GCM: refused",
    rules.S24_SEAL,
    source="PROTOCOL 10.1",
    config={"tunnel": {"session": {"send": {"key": "00" * 31}}}},
    member="tunnel.session.send.key",
)
