"""Forwarding: from inside into the tunnel, and all the reasons not to."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, GATEWAY, HOST, NEIGHBOUR, SERVER, STRANGER, TUNNEL, Station
from glassgate.conformance.authoring.story import (
    OPTION_ENTERED,
    Category,
    error_to,
    far_end_sends,
    fence,
    fence_for_host,
    fence_from_tunnel,
    fence_local,
    flow_closes,
    frame_arrives,
    frame_with,
    host_sends,
    into_tunnel,
    introduces,
    start,
    to_host,
)
from glassgate.conformance.model import FlagNote, Result
from glassgate.conformance.packets import (
    ACK,
    END_OF_OPTIONS,
    NO_OPERATION,
    ROUTER_ALERT,
    SYN,
    IPv4,
    Octets,
    Payload,
    checksum,
    echo_request,
    icmp,
    icmp_error,
    loose_source_route,
    maximum_segment_size,
    option,
    parameter_problem,
    raw,
    record_route,
    strict_source_route,
    tcp,
    timestamp,
    timestamp_entered,
    udp,
)
from glassgate.contract import rules

category = Category(
    "forwarding",
    "From inside into the tunnel: what is forwarded, what survives of it, and every reason to refuse.",
    notes={
        "UNKNOWN_ICMP_IS_AN_ERROR": FlagNote(
            bug="none",
            what="an ICMP message of unknown type is taken for an error, so no error is sent about it (Linux does so)",
            effect="the sender of such a message is not told; no loop of errors is possible either way",
        ),
        "OPTION_ENTERED": OPTION_ENTERED,
    },
)


def to_far(payload: Payload, **fields: Any) -> IPv4:
    """A packet from the host to the far host."""
    return IPv4(source=HOST.address, destination=FAR, payload=payload, **fields)


def passed(packet: IPv4, **changes: Any) -> IPv4:
    """The packet one hop further: a time to live of 64 has become 63."""
    return packet.but(time_to_live=packet.time_to_live - 1, **changes)


DATAGRAM = to_far(udp(5000, 53, b"where to?"))

# ── what is for out there ─────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "fwd-udp",
    "A datagram for far away enters the tunnel whole, with one hop less to live",
    rules.S14_FORWARD,
    rules.S17_DECREMENT,
    rules.S24_SEAL,
    rules.S23_INNER_MTU,
    source='seed "Receiving a packet on the internal network"; RFC 1812 5.3.1',
    steps=[host_sends(DATAGRAM).expect(into_tunnel(passed(DATAGRAM)))],
)

for name, destination in (
    ("well-known-resolver", "8.8.8.8"),
    ("tunnel-server", SERVER),
    ("lowest-host", "1.0.0.0"),
    ("highest-class-c", "223.255.255.255"),
    ("private-10", "10.38.3.5"),
    ("below-own-network", "10.38.1.255"),
    ("private-192-168", "192.168.1.1"),
    ("before-link-local", "169.253.255.255"),
    ("after-link-local", "169.255.0.0"),
    ("before-loopback", "126.255.255.255"),
    ("after-loopback", "128.0.0.0"),
    ("ends-in-255", "203.0.113.255"),
):
    category.vector(
        f"fwd-to-{name}",
        f"{destination} is somewhere else: the packet enters the tunnel",
        rules.S14_FORWARD,
        source='seed "Receiving a packet on the internal network"; RFC 1812 5.2.3',
        steps=[
            host_sends(packet := DATAGRAM.but(destination=destination)).expect(into_tunnel(passed(packet))),
        ],
    )

category.vector(
    "fwd-to-tunnel-address",
    "From inside the tunnel address is somewhere else, although it is the gateway's",
    rules.S10_OTHER_OWN_ADDRESS,
    rules.S14_FORWARD,
    source='seed "Receiving a packet on the internal network"',
    steps=[host_sends(packet := DATAGRAM.but(destination=TUNNEL)).expect(into_tunnel(passed(packet)))],
)

category.vector(
    "fwd-to-external-network",
    "From inside the address that the gateway's machine has outside is somewhere else",
    rules.S14_FORWARD,
    source='seed "Receiving a packet on the internal network"',
    steps=[host_sends(packet := DATAGRAM.but(destination="192.168.1.5")).expect(into_tunnel(passed(packet)))],
)

for protocol in (0, 1, 2, 6, 41, 47, 50, 89, 132, 253, 255):
    category.vector(
        f"fwd-protocol-{protocol}",
        f"Protocol {protocol} is forwarded like any other; nobody looks inside",
        rules.S19_ANY_PROTOCOL,
        source="RFC 1812 5.2.1",
        steps=[
            host_sends(packet := to_far(raw(protocol, b"\xde\xad\xbe\xef"))).expect(into_tunnel(passed(packet))),
        ],
    )

# ── destinations that are not ─────────────────────────────────────────────────────────────────────────────────────────

for name, destination, rule, why in (
    ("own-network-host", "10.38.2.77", rules.S14_OWN_NETWORK, 'seed "Receiving a packet on the internal network"'),
    ("neighbour", NEIGHBOUR.address, rules.S14_OWN_NETWORK, 'seed "Receiving a packet on the internal network"'),
    ("itself", HOST.address, rules.S14_OWN_NETWORK, 'seed "Receiving a packet on the internal network"'),
    ("network-address", "10.38.2.0", rules.S14_BROADCAST, "RFC 1812 4.2.3.1, 5.3.5"),
    ("directed-broadcast", "10.38.2.255", rules.S14_BROADCAST, "RFC 2644; RFC 1812 5.3.5"),
    ("limited-broadcast", "255.255.255.255", rules.S14_BROADCAST, "RFC 1812 5.3.5"),
    ("all-hosts", "224.0.0.1", rules.S14_MULTICAST, 'seed "Receiving a packet on the internal network"'),
    ("mdns", "224.0.0.251", rules.S14_MULTICAST, 'seed "Receiving a packet on the internal network"'),
    ("ssdp", "239.255.255.250", rules.S14_MULTICAST, 'seed "Receiving a packet on the internal network"'),
    ("this-network", "0.0.0.0", rules.S14_THIS_NETWORK, "RFC 1812 5.3.7, 4.2.2.11"),
    ("this-network-end", "0.255.255.255", rules.S14_THIS_NETWORK, "RFC 1812 5.3.7, 4.2.2.11"),
    ("loopback", "127.0.0.1", rules.S14_LOOPBACK, "RFC 1812 5.3.7, 4.2.2.11"),
    ("loopback-end", "127.255.255.255", rules.S14_LOOPBACK, "RFC 1812 5.3.7, 4.2.2.11"),
    ("link-local", "169.254.0.0", rules.S14_LINK_LOCAL, "RFC 3927 7"),
    ("link-local-metadata", "169.254.169.254", rules.S14_LINK_LOCAL, "RFC 3927 7"),
    ("reserved", "240.0.0.1", rules.S14_RESERVED, "RFC 1812 5.3.7, 4.2.2.11"),
    ("reserved-end", "255.255.255.254", rules.S14_RESERVED, "RFC 1812 5.3.7, 4.2.2.11"),
):
    category.invalid(
        f"fwd-not-to-{name}",
        f"A packet to {destination} is dropped: not forwarded, no redirect, no error",
        rule,
        source=why,
        steps=[
            introduces(HOST),
            host_sends(DATAGRAM.but(destination=destination)).silence(),
            fence(),
        ],
    )

category.invalid(
    "fwd-own-network-no-redirect-for-known-neighbour",
    "Both hosts are known, and still the gateway neither relays between them nor sends a redirect",
    rules.S14_OWN_NETWORK,
    source='seed "Receiving a packet on the internal network"',
    steps=[
        introduces(HOST),
        introduces(NEIGHBOUR),
        host_sends(DATAGRAM.but(destination=NEIGHBOUR.address)).silence(),
        fence(),
    ],
)

category.invalid(
    "fwd-multicast-ttl-1-no-error",
    "A multicast packet with a time to live of 1 draws no time exceeded",
    rules.S14_MULTICAST,
    rules.S20_NOT_ABOUT_GROUP,
    source="RFC 1812 4.3.2.7; RFC 1122 3.2.2",
    steps=[
        introduces(HOST),
        host_sends(DATAGRAM.but(destination="224.0.0.251", time_to_live=1)).silence(),
        fence(),
    ],
)

# ── frames that are not ───────────────────────────────────────────────────────────────────────────────────────────────

for name, to, why in (
    ("broadcast", "ff:ff:ff:ff:ff:ff", "a broadcast frame"),
    ("multicast", "01:00:5e:7f:ff:fa", "a multicast frame"),
):
    category.invalid(
        f"fwd-not-from-{name}-frame",
        f"A packet for far away in {why} is not forwarded: what the LAN shouts stays in the LAN",
        rules.S6_IP_IN_GROUP_FRAME,
        source="RFC 1812 5.3.4; RFC 1122 3.3.6",
        steps=[introduces(HOST), host_sends(DATAGRAM, to=to).silence(), fence()],
    )

category.invalid(
    "fwd-broadcast-frame-ttl-1-no-error",
    "A packet in a broadcast frame draws no time exceeded",
    rules.S6_IP_IN_GROUP_FRAME,
    rules.S20_NOT_ABOUT_GROUP,
    source="RFC 1812 4.3.2.7",
    steps=[introduces(HOST), host_sends(DATAGRAM.but(time_to_live=1), to="ff:ff:ff:ff:ff:ff").silence(), fence()],
)

category.invalid(
    "fwd-not-from-other-stations-frame",
    "A frame to another station has no effect, promiscuous or not",
    rules.S5_OTHER_STATION,
    source='seed "Receiving a packet on the internal network"',
    steps=[introduces(HOST), host_sends(DATAGRAM, to=NEIGHBOUR.mac).silence(), fence()],
)

category.invalid(
    "fwd-frame-one-bit-from-ours",
    "A hardware address that differs from the gateway's in its last bit is another station's",
    rules.S5_OTHER_STATION,
    source='seed "Receiving a packet on the internal network"',
    steps=[introduces(HOST), host_sends(DATAGRAM, to="00:f0:0d:f0:0d:01").silence(), fence()],
)

category.invalid(
    "fwd-frame-below-ours",
    "Another station's hardware address is another station's, be it below the gateway's or above",
    rules.S5_OTHER_STATION,
    source='seed "Receiving a packet on the internal network"',
    steps=[introduces(HOST), host_sends(DATAGRAM, to="00:f0:0d:f0:0c:ff").silence(), fence()],
)

category.invalid(
    "fwd-frame-from-group-address",
    "A frame that claims to come from a multicast address is dropped",
    rules.S5_SOURCE_GROUP,
    source="RFC 894; IEEE 802.3 3.2.3",
    steps=[
        introduces(HOST),
        frame_arrives(frame_with(DATAGRAM).but(source="01:00:5e:00:00:05")).silence(),
        fence(),
    ],
)

category.invalid(
    "fwd-frame-from-broadcast-address",
    "A frame that claims to come from the broadcast address is dropped",
    rules.S5_SOURCE_GROUP,
    source="RFC 894; IEEE 802.3 3.2.3",
    steps=[
        introduces(HOST),
        frame_arrives(frame_with(DATAGRAM).but(source="ff:ff:ff:ff:ff:ff")).silence(),
        fence(),
    ],
)

category.invalid(
    "fwd-frame-from-ourselves",
    "A frame from the gateway's own hardware address is an echo or a forgery",
    rules.S5_SOURCE_OWN,
    source="IEEE 802.3 3.2.3",
    steps=[introduces(HOST), frame_arrives(frame_with(DATAGRAM).but(source=GATEWAY.mac)).silence(), fence()],
)

for octets in (0, 1, 6, 13):
    category.invalid(
        f"fwd-frame-of-{octets}-octets",
        f"{octets} octets are no Ethernet frame",
        rules.S5_RUNT,
        source="RFC 894",
        steps=[
            introduces(HOST),
            frame_arrives(bytes.fromhex("00f00df00d0002000a2602050800")[:octets]).silence(),
            fence(),
        ],
    )

for name, type_, rule, why in (
    ("802-3-length", 0x0025, rules.S5_LENGTH_FIELD, "RFC 1122 2.3.3"),
    ("802-3-highest-length", 0x05FF, rules.S5_LENGTH_FIELD, "RFC 1122 2.3.3"),
    ("lowest-type", 0x0600, rules.S5_UNKNOWN_TYPE, "RFC 894"),
    ("ipv6", 0x86DD, rules.S5_UNKNOWN_TYPE, "RFC 894; RFC 2464 3"),
    ("experimental", 0x88B5, rules.S5_UNKNOWN_TYPE, "RFC 894"),
    ("802-1q", 0x8100, rules.S5_VLAN, "IEEE 802.1Q 9.6"),
):
    category.invalid(
        f"fwd-frame-type-{name}",
        f"A frame of type 0x{type_:04x} is dropped, whatever it holds",
        rule,
        source=why,
        steps=[introduces(HOST), frame_arrives(frame_with(DATAGRAM).but(type=type_)).silence(), fence()],
    )

category.invalid(
    "fwd-frame-802-1q-with-ipv4",
    "A tagged frame with a good packet behind its tag is dropped: the internal network is untagged",
    rules.S5_VLAN,
    source="IEEE 802.1Q 9.6",
    steps=[
        introduces(HOST),
        frame_arrives(
            frame_with(bytes.fromhex("00010800") + DATAGRAM.build().data).but(type=0x8100),
        ).silence(),
        fence(),
    ],
)

# ── padding and truncation ────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "fwd-padded-frame",
    "The padding of a short frame does not enter the tunnel",
    rules.S9_PADDING,
    rules.S5_PADDING,
    source="RFC 894",
    steps=[
        frame_arrives(frame_with(packet := to_far(udp(5000, 53, b"x")), pad_to=60, pad_with=0x55)).expect(
            into_tunnel(passed(packet))
        ),
    ],
)

category.vector(
    "fwd-one-octet-of-padding",
    "One octet behind the packet is cut off, even where the rest would look whole",
    rules.S9_PADDING,
    source="RFC 894",
    steps=[
        host_sends(DATAGRAM.build().data + b"\0").expect(into_tunnel(passed(DATAGRAM))),
    ],
)

category.vector(
    "fwd-much-padding",
    "Four hundred octets behind the packet are cut off, whatever they say",
    rules.S9_PADDING,
    source="RFC 894",
    steps=[
        host_sends(DATAGRAM.build().data + DATAGRAM.build().data * 10 + b"..").expect(into_tunnel(passed(DATAGRAM))),
    ],
)

category.vector(
    "fwd-header-only",
    "A packet of 20 octets, a header and nothing else, is a packet",
    rules.S14_FORWARD,
    source="RFC 791 3.1; RFC 1812 5.2.2",
    steps=[host_sends(packet := to_far(raw(253, b""))).expect(into_tunnel(passed(packet)))],
)

for octets in (0, 1, 19):
    category.invalid(
        f"fwd-truncated-to-{octets}",
        f"{octets} octets are no IPv4 header",
        rules.S9_TRUNCATED,
        source="RFC 1812 5.2.2",
        steps=[introduces(HOST), host_sends(DATAGRAM.build().data[:octets]).silence(), fence()],
    )

for name, title, packet, rule in (
    ("version-6", "A version of 6 under the type of IPv4", DATAGRAM.but(version=6), rules.S9_VERSION),
    ("version-0", "A version of 0", DATAGRAM.but(version=0), rules.S9_VERSION),
    ("version-5", "A version of 5", DATAGRAM.but(version=5), rules.S9_VERSION),
    ("header-length-4", "A header length of 4 words", DATAGRAM.but(header_length=4), rules.S9_HEADER_LENGTH),
    ("header-length-0", "A header length of 0 words", DATAGRAM.but(header_length=0), rules.S9_HEADER_LENGTH),
    ("total-length-19", "A total length of 19", DATAGRAM.but(total_length=19), rules.S9_TOTAL_LENGTH_SHORT),
    ("total-length-0", "A total length of 0", DATAGRAM.but(total_length=0), rules.S9_TOTAL_LENGTH_SHORT),
    (
        "total-length-under-options",
        "A total length of 20 where the header has 24 octets",
        DATAGRAM.but(options=ROUTER_ALERT, total_length=20),
        rules.S9_TOTAL_LENGTH_SHORT,
    ),
    (
        "header-length-over-total-length",
        "A header length of 15 words in a packet of 37 octets",
        DATAGRAM.but(header_length=15),
        rules.S9_TOTAL_LENGTH_SHORT,
    ),
    (
        "total-length-one-more",
        "A total length of one octet more than arrived",
        DATAGRAM.but(total_length=38),
        rules.S9_TOTAL_LENGTH_LONG,
    ),
    ("total-length-65535", "A total length of 65535", DATAGRAM.but(total_length=65535), rules.S9_TOTAL_LENGTH_LONG),
    ("checksum-zero", "A header checksum of 0", DATAGRAM.but(header_checksum=0), rules.S9_CHECKSUM),
    ("checksum-wrong", "A header checksum that is not right", DATAGRAM.but(header_checksum=0x1234), rules.S9_CHECKSUM),
):
    category.invalid(
        f"fwd-{name}",
        f"{title}: dropped silently",
        rule,
        source="RFC 1812 5.2.2; RFC 1122 3.2.1",
        steps=[introduces(HOST), host_sends(packet).silence(), fence()],
    )

_SHORT_HEADER = DATAGRAM.but(header_length=4, header_checksum=0).build().data[:16]

category.invalid(
    "fwd-header-length-4-with-its-own-checksum",
    "A header length of 4 words whose checksum is right over those 16 octets is dropped all the same",
    rules.S9_HEADER_LENGTH,
    source="RFC 1812 5.2.2",
    steps=[
        introduces(HOST),
        host_sends(DATAGRAM.but(header_length=4, header_checksum=checksum(_SHORT_HEADER))).silence(),
        fence(),
    ],
)

category.invalid(
    "fwd-checksum-before-ttl",
    "A packet with a wrong checksum and a time to live of 1 draws no error: nothing in it can be believed",
    rules.S9_CHECKSUM,
    source="RFC 1812 5.2.2",
    steps=[introduces(HOST), host_sends(DATAGRAM.but(header_checksum=0x1234, time_to_live=1)).silence(), fence()],
)

category.invalid(
    "fwd-checksum-of-options",
    "The header checksum covers the options: one over the first 20 octets alone is wrong",
    rules.S9_CHECKSUM,
    source="RFC 791 3.1; RFC 1812 5.2.2",
    steps=[
        introduces(HOST),
        # over the 20 octets alone the same header needs what one without options but with these lengths has
        host_sends(
            DATAGRAM.but(
                options=ROUTER_ALERT,
                header_checksum=int.from_bytes(
                    DATAGRAM.but(header_length=6, total_length=41).build().data[10:12], "big"
                ),
            )
        ).silence(),
        fence(),
    ],
)

# ── sources ───────────────────────────────────────────────────────────────────────────────────────────────────────────

for name, source, rule, why in (
    ("foreign", "198.51.100.9", rules.S16_FOREIGN, "RFC 2827; RFC 1812 5.3.8"),
    ("next-subnet", "10.38.3.5", rules.S16_FOREIGN, "RFC 2827; RFC 1812 5.3.8"),
    ("external-network", "192.168.1.77", rules.S16_FOREIGN, "RFC 2827; RFC 1812 5.3.8"),
    ("unspecified", "0.0.0.0", rules.S16_MARTIAN, "RFC 1812 5.3.7"),
    ("loopback", "127.0.0.1", rules.S16_MARTIAN, "RFC 1812 5.3.7"),
    ("link-local", "169.254.7.7", rules.S16_MARTIAN, "RFC 3927 7"),
    ("multicast", "239.1.2.3", rules.S16_MARTIAN, "RFC 1812 5.3.7"),
    ("reserved", "240.0.0.1", rules.S16_MARTIAN, "RFC 1812 5.3.7"),
    ("limited-broadcast", "255.255.255.255", rules.S16_MARTIAN, "RFC 1812 5.3.7"),
    ("gateway", GATEWAY.address, rules.S16_OWN, "RFC 1812 5.3.7"),
    ("tunnel-address", TUNNEL, rules.S16_OWN, "RFC 1812 5.3.7"),
    ("directed-broadcast", "10.38.2.255", rules.S16_NETWORK, "RFC 1812 5.3.7, 4.2.3.1"),
    ("network-address", "10.38.2.0", rules.S16_NETWORK, "RFC 1812 5.3.7, 4.2.3.1"),
):
    category.invalid(
        f"fwd-not-from-{name}",
        f"From inside {source} is no source: dropped silently",
        rule,
        source=why,
        steps=[introduces(HOST), host_sends(DATAGRAM.but(source=source)).silence(), fence()],
    )

category.invalid(
    "fwd-foreign-source-ttl-1-no-error",
    "A forged source is told nothing, not even time exceeded: it would be sent to somebody who never asked",
    rules.S16_FOREIGN,
    rules.S20_NOT_TO_SOURCE,
    source="RFC 2827; RFC 1812 4.3.2.7",
    steps=[introduces(HOST), host_sends(DATAGRAM.but(source="198.51.100.9", time_to_live=1)).silence(), fence()],
)

for name, source in (("first-host", "10.38.2.2"), ("last-host", "10.38.2.254")):
    category.vector(
        f"fwd-from-{name}",
        f"{source} is a host of the internal network, though nobody knows it yet: its packet is forwarded at once",
        rules.S14_FORWARD,
        rules.S16_FOREIGN,
        source='seed "Receiving a packet on the internal network"; RFC 1812 5.3.8',
        steps=[host_sends(packet := DATAGRAM.but(source=source)).expect(into_tunnel(passed(packet)))],
    )

_BRANCH = Station("10.39.7.7", "02:00:0a:27:07:07")

category.vector(
    "fwd-from-configured-prefix",
    "A further internal prefix may send, and the next one may not",
    rules.S16_CONFIGURED,
    rules.S16_FOREIGN,
    source="RFC 1812 5.3.8; RFC 2827",
    config={"internal": {"sources": ["10.39.0.0/16"]}},
    steps=[
        host_sends(packet := DATAGRAM.but(source=_BRANCH.address), _BRANCH).expect(into_tunnel(passed(packet))),
        host_sends(DATAGRAM.but(source="10.40.0.1"), _BRANCH).silence(),
        fence(_BRANCH),
    ],
)

category.invalid(
    "fwd-not-to-configured-prefix",
    "A further internal prefix is on the link: from inside a packet to it is not forwarded",
    rules.S16_CONFIGURED,
    rules.S14_OWN_NETWORK,
    source='seed "Receiving a packet on the internal network"; RFC 1812 5.3.8',
    config={"internal": {"sources": ["10.39.0.0/16"]}},
    steps=[introduces(HOST), host_sends(DATAGRAM.but(destination=_BRANCH.address)).silence(), fence()],
)

category.invalid(
    "fwd-back-not-from-configured-prefix",
    "Out of the tunnel a source in a further internal prefix is as false as one in the internal network",
    rules.S29_SOURCE_INSIDE,
    rules.S16_CONFIGURED,
    source="RFC 1812 5.3.8; RFC 2827",
    config={"internal": {"sources": ["10.39.0.0/16"]}},
    steps=[
        introduces(HOST),
        far_end_sends(
            IPv4(source=_BRANCH.address, destination=HOST.address, payload=udp(53, 5000), identification=0xBAC4)
        ).silence(),
        fence_for_host(),
    ],
)

category.vector(
    "fwd-configured-prefix-has-no-broadcast",
    "10.39.255.255 of a further prefix is an address like any other, as source from inside",
    rules.S16_CONFIGURED,
    source="RFC 1812 5.3.8",
    config={"internal": {"sources": ["10.39.0.0/16"]}},
    steps=[
        host_sends(packet := DATAGRAM.but(source="10.39.255.255"), _BRANCH).expect(into_tunnel(passed(packet))),
    ],
)

# ── time to live ──────────────────────────────────────────────────────────────────────────────────────────────────────

for time_to_live, name in ((1, "one"), (0, "zero")):
    category.invalid(
        f"fwd-ttl-{time_to_live}",
        f"A time to live of {name} is used up: dropped, and the source is told from the internal address",
        rules.S17_EXPIRED,
        rules.S20_SOURCE,
        rules.S20_QUOTE,
        rules.S20_HEADER,
        source="RFC 1812 5.3.1, 4.3.2; RFC 792 Time Exceeded",
        steps=[
            introduces(HOST),
            host_sends(expired := DATAGRAM.but(time_to_live=time_to_live)).expect(
                to_host(error_to(HOST.address, icmp_error(11, 0, expired)))
            ),
            fence(),
        ],
    )

category.vector(
    "fwd-ttl-2",
    "A time to live of 2 is enough: it leaves with 1",
    rules.S17_DECREMENT,
    source="RFC 1812 5.3.1",
    steps=[host_sends(DATAGRAM.but(time_to_live=2)).expect(into_tunnel(DATAGRAM.but(time_to_live=1)))],
)

category.vector(
    "fwd-ttl-255",
    "A time to live of 255 leaves with 254",
    rules.S17_DECREMENT,
    source="RFC 1812 5.3.1",
    steps=[host_sends(DATAGRAM.but(time_to_live=255)).expect(into_tunnel(DATAGRAM.but(time_to_live=254)))],
)


def _with_checksum(packet: IPv4, wanted: int) -> IPv4:
    """The packet whose identification is such that its header checksum is ``wanted``."""
    bare = int.from_bytes(packet.but(identification=0).build().data[10:12], "big")
    total = bare - wanted if bare >= wanted else bare + 0xFFFF - wanted
    return packet.but(identification=total)


category.vector(
    "fwd-checksum-carries",
    "A header checksum of 0xfeff becomes 0xffff by adding 0x0100, which is no valid sum of a header: it must be 0x0000",
    rules.S17_DECREMENT,
    source="RFC 1624 3; RFC 1812 5.3.1",
    steps=[
        host_sends(packet := _with_checksum(DATAGRAM, 0xFEFF)).expect(
            into_tunnel(passed(packet, header_checksum=0x0000))
        ),
    ],
)

category.vector(
    "fwd-checksum-just-below",
    "A header checksum of 0xfefe becomes 0xfffe: the complements add up to 0x10000, and their carry is all there is",
    rules.S17_DECREMENT,
    source="RFC 1624 3; RFC 1071 1",
    steps=[
        host_sends(packet := _with_checksum(DATAGRAM, 0xFEFE)).expect(
            into_tunnel(passed(packet, header_checksum=0xFFFE))
        ),
    ],
)

category.vector(
    "fwd-checksum-wraps",
    "A header checksum of 0xff12 becomes 0x0013: the carry goes round",
    rules.S17_DECREMENT,
    source="RFC 1624 3; RFC 1071 1",
    steps=[
        host_sends(packet := _with_checksum(DATAGRAM, 0xFF12)).expect(
            into_tunnel(passed(packet, header_checksum=0x0013))
        ),
    ],
)

category.vector(
    "fwd-checksum-zero-is-right",
    "A header checksum that is rightly 0x0000 is accepted and becomes 0x0100",
    rules.S17_DECREMENT,
    rules.S9_CHECKSUM,
    source="RFC 1624 3; RFC 1071 1",
    steps=[
        host_sends(packet := _with_checksum(DATAGRAM, 0x0000)).expect(
            into_tunnel(passed(packet, header_checksum=0x0100))
        ),
    ],
)

for name, title, packet in (
    ("echo-request", "An expired echo request is a query: it draws an error", to_far(echo_request(), time_to_live=1)),
    ("echo-reply", "An expired echo reply is no error: it draws one", to_far(icmp(0, 0), time_to_live=1)),
    ("dont-fragment", "DF makes no difference", to_far(udp(1, 2, b"df"), time_to_live=1, dont_fragment=True)),
    (
        "first-fragment",
        "A first fragment draws an error",
        to_far(raw(17, bytes(64)), time_to_live=1, more_fragments=True),
    ),
    (
        "options",
        "The quote has the options that arrived",
        to_far(udp(1, 2, b"o"), time_to_live=1, options=ROUTER_ALERT),
    ),
    ("long", "A long packet is quoted as far as 576 octets allow", to_far(udp(1, 2, bytes(1400)), time_to_live=1)),
    ("quote-548", "A packet of 548 octets is quoted whole: 576 in all", to_far(udp(1, 2, bytes(520)), time_to_live=1)),
    ("quote-549", "Of a packet of 549 octets the last is not quoted", to_far(udp(1, 2, bytes(521)), time_to_live=1)),
    (
        "type-of-service",
        "The error has precedence 6, whatever the packet had",
        to_far(udp(1, 2), time_to_live=1, type_of_service=0x03),
    ),
):
    category.invalid(
        f"fwd-ttl-1-{name}",
        title,
        rules.S17_EXPIRED,
        rules.S20_QUOTE,
        source="RFC 1812 5.3.1, 4.3.2.3, 4.3.2.5",
        steps=[
            introduces(HOST),
            host_sends(packet).expect(to_host(error_to(HOST.address, icmp_error(11, 0, packet)))),
            fence(),
        ],
    )

for type_, name in (
    (3, "unreachable"),
    (4, "source-quench"),
    (5, "redirect"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
):
    category.invalid(
        f"fwd-ttl-1-icmp-{name}",
        f"An expired ICMP message of type {type_} is an error: it draws none",
        rules.S17_EXPIRED,
        rules.S20_NOT_ABOUT_ERROR,
        source="RFC 1812 4.3.2.7; RFC 1122 3.2.2",
        steps=[
            introduces(HOST),
            host_sends(to_far(icmp(type_, 0, data=bytes(28)), time_to_live=1)).silence(),
            fence(),
        ],
    )

for name, title, payload in (
    ("udp", "A datagram from port 773 begins with the octet 3", udp(0x0305, 53, b"no error")),
    ("protocol-0", "A packet of protocol 0 whose payload begins with the octet 3", raw(0, b"\x03" + bytes(27))),
):
    category.invalid(
        f"fwd-ttl-1-looks-like-an-error-{name}",
        f"{title}, and is no ICMP error for that: when it expires its sender is told",
        rules.S17_EXPIRED,
        rules.S20_NOT_ABOUT_ERROR,
        source="RFC 1812 5.3.1, 4.3.2.7",
        steps=[
            introduces(HOST),
            host_sends(packet := to_far(payload, time_to_live=1)).expect(
                to_host(error_to(HOST.address, icmp_error(11, 0, packet)))
            ),
            fence(),
        ],
    )

_EXPIRED = DATAGRAM.but(time_to_live=1)
_TOLD = to_host(error_to(HOST.address, icmp_error(11, 0, _EXPIRED)))

category.invalid(
    "fwd-error-in-the-first-second",
    "The allowance of errors is full from the start: half a second after it the first one leaves, and no second",
    rules.S20_RATE,
    rules.S17_EXPIRED,
    source="RFC 1812 4.3.2.8",
    config={"limits": {"icmp_burst": 1, "icmp_rate": 1}},
    begins=start()[:1],
    steps=[
        introduces(HOST).at(0.4),
        host_sends(_EXPIRED).at(0.5).expect(_TOLD),
        host_sends(_EXPIRED).at(0.6).silence(),
        fence().at(0.7),
    ],
)

category.invalid(
    "fwd-errors-at-exactly-their-rate",
    "At twenty errors a second one may leave every twentieth of a second, though no binary fraction is one",
    rules.S20_RATE,
    rules.S17_EXPIRED,
    source="RFC 1812 4.3.2.8",
    config={"limits": {"icmp_burst": 1, "icmp_rate": 20}},
    steps=[
        introduces(HOST),
        *(host_sends(_EXPIRED).at(5.0 + number / 20).expect(_TOLD) for number in range(5)),
        host_sends(_EXPIRED).at(5.24).silence(),
        fence(),
    ],
)

category.vector(
    "fwd-ttl-1-unknown-icmp-type",
    "An expired ICMP message of unknown type is not known to be an error",
    rules.S17_EXPIRED,
    rules.S20_NOT_ABOUT_ERROR,
    source="RFC 1812 4.3.2.7; RFC 1122 3.2.2",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        host_sends(unknown := to_far(icmp(77, 0), time_to_live=1))
        .expect(to_host(error_to(HOST.address, icmp_error(11, 0, unknown))))
        .or_else("UNKNOWN_ICMP_IS_AN_ERROR"),
        fence(),
    ],
)

category.invalid(
    "fwd-ttl-1-later-fragment",
    "A fragment other than the first draws no error",
    rules.S17_EXPIRED,
    rules.S20_NOT_ABOUT_LATER_FRAGMENT,
    source="RFC 1812 4.3.2.7; RFC 1122 3.2.2",
    steps=[
        introduces(HOST),
        host_sends(to_far(raw(17, bytes(64)), time_to_live=1, fragment_offset=8)).silence(),
        fence(),
    ],
)

category.invalid(
    "fwd-ttl-1-first-fragment-of-icmp-error",
    "A first fragment of an ICMP error is an ICMP error",
    rules.S20_NOT_ABOUT_ERROR,
    source="RFC 1812 4.3.2.7",
    steps=[
        introduces(HOST),
        host_sends(
            to_far(raw(1, bytes.fromhex("0301000000000000") + bytes(24)), time_to_live=1, more_fragments=True)
        ).silence(),
        fence(),
    ],
)

# ── what survives ─────────────────────────────────────────────────────────────────────────────────────────────────────

for name, title, packet in (
    ("type-of-service", "Type of service and ECN survive", DATAGRAM.but(type_of_service=0xBB)),
    ("ecn-ce", "A congestion mark survives", DATAGRAM.but(type_of_service=0x03)),
    ("identification", "The identification survives", DATAGRAM.but(identification=0xFFFF)),
    ("identification-zero", "An identification of 0 survives, DF clear", DATAGRAM.but(identification=0)),
    ("dont-fragment", "DF survives", DATAGRAM.but(dont_fragment=True)),
    ("reserved-bit", "The reserved bit survives: RFC 1812 lets nobody clear it", DATAGRAM.but(reserved_bit=True)),
    ("udp-without-checksum", "A UDP checksum of 0 stays 0", to_far(udp(1, 2, b"none", given=0))),
    (
        "udp-with-bad-checksum",
        "A wrong transport checksum is the receiver's affair",
        to_far(udp(1, 2, b"x", given=0x0BAD)),
    ),
    (
        "tcp-mss",
        "The MSS of a passing SYN survives where nothing is configured",
        to_far(tcp(1, 2, SYN, sequence=5, options=maximum_segment_size(1460))),
    ),
    ("tcp-data", "A segment passes as it is", to_far(tcp(1, 2, ACK, sequence=5, acknowledgment=6, data=b"text"))),
    ("port-zero", "Ports are not looked at", to_far(udp(0, 0, b"zero"))),
):
    category.vector(
        f"fwd-keeps-{name}",
        title,
        rules.S18_UNCHANGED,
        source="RFC 1812 5.3.13, 4.2.2.3; RFC 6864 4.3; RFC 3168 5",
        steps=[host_sends(packet).expect(into_tunnel(passed(packet)))],
    )

for name, title, packet in (
    ("first", "A first fragment passes alone", DATAGRAM.but(payload=raw(17, bytes(40)), more_fragments=True)),
    ("middle", "A middle fragment passes alone", to_far(raw(17, bytes(40)), more_fragments=True, fragment_offset=5)),
    ("last", "A last fragment passes alone, and may be short", to_far(raw(17, bytes(3)), fragment_offset=10)),
    ("with-df", "A fragment with DF passes as it is", to_far(raw(17, bytes(8)), fragment_offset=1, dont_fragment=True)),
    (
        "highest",
        "A fragment that ends at octet 65515, a datagram of 65535 in all",
        to_far(raw(17, bytes(3)), fragment_offset=8189),
    ),
):
    category.vector(
        f"fwd-fragment-{name}",
        title,
        rules.S12_TRANSIT,
        rules.S18_UNCHANGED,
        source="RFC 1812 5.2.6, 4.2.2.8",
        steps=[introduces(HOST), host_sends(packet).expect(into_tunnel(passed(packet)))],
    )

category.vector(
    "fwd-fragments-out-of-order",
    "Fragments that arrive out of order leave out of order: nobody waits for anybody",
    rules.S12_TRANSIT,
    source="RFC 1812 5.2.6",
    steps=[
        host_sends(late := to_far(raw(17, bytes(16)), fragment_offset=2)).expect(into_tunnel(passed(late))),
        host_sends(early := to_far(raw(17, bytes(16)), more_fragments=True)).expect(into_tunnel(passed(early))),
    ],
)

category.vector(
    "fwd-same-packet-twice",
    "A packet that comes twice leaves twice: a router keeps no account",
    rules.S14_FORWARD,
    source="RFC 1812 5.2.1",
    steps=[
        host_sends(DATAGRAM).expect(into_tunnel(passed(DATAGRAM))),
        host_sends(DATAGRAM).expect(into_tunnel(passed(DATAGRAM))),
    ],
)

category.invalid(
    "fwd-fragment-beyond-65535",
    "A fragment that would end beyond octet 65535 is dropped in transit too (ping of death)",
    rules.S12_TOO_LONG,
    source="RFC 791 3.1; CERT CA-1996-26",
    steps=[
        introduces(HOST),
        host_sends(to_far(raw(17, bytes(24)), fragment_offset=8191)).silence(),
        fence(),
    ],
)

# ── options ───────────────────────────────────────────────────────────────────────────────────────────────────────────

for name, title, options in (
    ("router-alert", "Router alert passes as it is", ROUTER_ALERT),
    ("no-operations", "Forty octets of no-operation pass", NO_OPERATION * 40),
    ("unknown", "An unknown option of good form passes", option(0x5E, b"\x01\x02")),
    ("unknown-empty", "An option of two octets, type and length, is of good form", option(0x5E) + NO_OPERATION * 2),
    ("empty-at-end", "Such an option may be the last: its length is the last octet", NO_OPERATION * 2 + option(0x5E)),
    ("security", "The basic security option passes", option(130, b"\xab\x00" + bytes(7)) + END_OF_OPTIONS),
    ("end-at-once", "An end of options at once leaves the rest as it is", END_OF_OPTIONS + b"\x83\x03\x04"),
    (
        "malformed-behind-end",
        "What follows the end of options is not read, malformed or not",
        NO_OPERATION + END_OF_OPTIONS + b"\x07\x00",
    ),
    ("source-route-behind-end", "Nor is a source route there", END_OF_OPTIONS + loose_source_route("10.38.2.6")),
):
    category.vector(
        f"fwd-option-{name}",
        title,
        rules.S18_OPTIONS_KEPT,
        *([rules.S18_END_OF_OPTIONS] if "end" in name else []),
        source="RFC 1812 5.3.13; RFC 791 3.1; RFC 7126",
        steps=[host_sends(packet := DATAGRAM.but(options=options)).expect(into_tunnel(passed(packet)))],
    )

for name, title, options, entered in (
    (
        "record-route",
        "Record route passes without an entry of ours",
        record_route("10.38.2.9", room=2) + NO_OPERATION,
        record_route("10.38.2.9", TUNNEL, room=2) + NO_OPERATION,
    ),
    ("timestamp", "Timestamp passes without an entry of ours", timestamp(2), timestamp_entered(2)),
    (
        "several",
        "Several options keep their order",
        NO_OPERATION + ROUTER_ALERT + record_route(room=1) + timestamp(1),
        Octets(NO_OPERATION + ROUTER_ALERT + record_route(TUNNEL, room=1)) + timestamp_entered(1),
    ),
):
    category.vector(
        f"fwd-option-{name}",
        title,
        rules.S18_OPTIONS_KEPT,
        source="RFC 1812 5.3.13.5, 5.3.13.6; RFC 791 3.1; RFC 7126 4.5, 4.7",
        result=Result.ACCEPTABLE,
        steps=[
            host_sends(packet := DATAGRAM.but(options=options))
            .expect(into_tunnel(passed(packet)))
            .or_else("OPTION_ENTERED", into_tunnel(passed(packet, options=entered)))
        ],
    )

for name, options in (
    ("loose", loose_source_route(GATEWAY.address, "192.0.2.1") + NO_OPERATION),
    ("strict", strict_source_route("192.0.2.1") + NO_OPERATION),
    ("used-up", loose_source_route("192.0.2.1", pointer=8) + NO_OPERATION),
    ("behind-no-operations", NO_OPERATION * 5 + strict_source_route("192.0.2.1")),
    ("behind-router-alert", ROUTER_ALERT + loose_source_route("192.0.2.1") + NO_OPERATION),
):
    category.invalid(
        f"fwd-source-route-{name}",
        f"A source route ({name}) is dropped silently",
        rules.S18_SOURCE_ROUTE,
        source="RFC 7126 4.3, 4.4",
        steps=[introduces(HOST), host_sends(DATAGRAM.but(options=options)).silence(), fence()],
    )

category.invalid(
    "fwd-source-route-ttl-1",
    "A source route is dropped before the time to live is looked at",
    rules.S18_SOURCE_ROUTE,
    source="RFC 7126 4.3, 4.4",
    steps=[
        introduces(HOST),
        host_sends(DATAGRAM.but(options=loose_source_route("192.0.2.1") + NO_OPERATION, time_to_live=1)).silence(),
        fence(),
    ],
)

for name, title, options, pointer in (
    ("length-0", "An option length of 0", b"\x07\x00\x04\x00", 20),
    ("length-1", "An option length of 1", b"\x07\x01\x04\x00", 20),
    ("over-end", "An option that runs over the header by one octet", b"\x07\x05\x04\x00", 20),
    ("length-255", "An option length of 255", NO_OPERATION * 3 + b"\x5e\xff\x01\x01" + NO_OPERATION, 23),
    ("no-length", "An option that has its type in the header's last octet", NO_OPERATION * 3 + b"\x44", 23),
    ("second", "A good option, then one that is not", ROUTER_ALERT + b"\x01\x5e\x01\x00", 25),
    ("copied", "A copied option of no length", b"\x94\x00\x00\x00", 20),
):
    category.invalid(
        f"fwd-option-malformed-{name}",
        f"{title} is answered with parameter problem at octet {pointer}",
        rules.S18_MALFORMED_OPTION,
        rules.S20_QUOTE,
        source="RFC 1812 5.3.13, 4.3.3.5; RFC 792 Parameter Problem",
        steps=[
            introduces(HOST),
            host_sends(bad := DATAGRAM.but(options=options)).expect(
                to_host(error_to(HOST.address, parameter_problem(bad, pointer)))
            ),
            fence(),
        ],
    )

category.invalid(
    "fwd-option-malformed-in-icmp-error",
    "A malformed option in an ICMP error draws no error",
    rules.S18_MALFORMED_OPTION,
    rules.S20_NOT_ABOUT_ERROR,
    source="RFC 1812 4.3.2.7",
    steps=[
        introduces(HOST),
        host_sends(to_far(icmp(3, 1, data=bytes(28)), options=b"\x07\x00\x04\x00")).silence(),
        fence(),
    ],
)

category.invalid(
    "fwd-option-malformed-ttl-1",
    "A malformed option is answered before the time to live is looked at",
    rules.S18_MALFORMED_OPTION,
    source="RFC 1812 5.3.13, 5.3.1",
    steps=[
        introduces(HOST),
        host_sends(bad := DATAGRAM.but(options=b"\x07\x00\x04\x00", time_to_live=1)).expect(
            to_host(error_to(HOST.address, parameter_problem(bad, 20)))
        ),
        fence(),
    ],
)

# ── the tunnel is down ────────────────────────────────────────────────────────────────────────────────────────────────

category.invalid(
    "fwd-tunnel-down",
    "While the tunnel is down a packet for it is answered with network unreachable; the gateway still serves the LAN",
    rules.S4_TUNNEL_DOWN,
    rules.S4_FLOW_LOST,
    source="RFC 1812 5.2.7.1; RFC 792 Destination Unreachable",
    steps=[
        introduces(HOST),
        flow_closes().silence(),
        host_sends(DATAGRAM).expect(to_host(error_to(HOST.address, icmp_error(3, 0, DATAGRAM)))),
        fence_local(),
    ],
)

category.invalid(
    "fwd-tunnel-down-ttl-1",
    "An expired time to live is answered first, tunnel or not",
    rules.S17_EXPIRED,
    rules.S4_TUNNEL_DOWN,
    source="RFC 1812 5.3.1, 5.2.7.1",
    steps=[
        introduces(HOST),
        flow_closes().silence(),
        host_sends(expired := DATAGRAM.but(time_to_live=1)).expect(
            to_host(error_to(HOST.address, icmp_error(11, 0, expired)))
        ),
        fence_local(),
    ],
)

category.invalid(
    "fwd-tunnel-down-df-too-big",
    "While the tunnel is down its MTU is not looked at: network unreachable, not fragmentation needed",
    rules.S4_TUNNEL_DOWN,
    source="RFC 1812 5.2.7.1",
    config={"tunnel": {"session": {"mtu": 576}}},
    steps=[
        introduces(HOST),
        flow_closes().silence(),
        host_sends(big := to_far(udp(1, 2, bytes(1000)), dont_fragment=True)).expect(
            to_host(error_to(HOST.address, icmp_error(3, 0, big)))
        ),
        fence_local(),
    ],
)

category.invalid(
    "fwd-tunnel-down-own-network",
    "A packet to the own network is dropped silently, tunnel or not",
    rules.S14_OWN_NETWORK,
    source='seed "Receiving a packet on the internal network"',
    steps=[
        introduces(HOST),
        flow_closes().silence(),
        host_sends(DATAGRAM.but(destination=NEIGHBOUR.address)).silence(),
        fence_local(),
    ],
)

# ── out of the tunnel to a host, and not ──────────────────────────────────────────────────────────────────────────────

BACK = IPv4(source=FAR, destination=HOST.address, payload=udp(53, 5000, b"here"), identification=0xBAC4)

category.vector(
    "fwd-back-udp",
    "A packet out of the tunnel to a known host leaves at once from the gateway's hardware address, source unchanged",
    rules.S29_TO_HOST,
    rules.S31_KNOWN,
    rules.S26_OPEN,
    rules.S17_DECREMENT,
    source='seed "Receiving a packet via OpenVPN"; RFC 1812 5.3.1',
    steps=[introduces(HOST), far_end_sends(BACK).expect(to_host(passed(BACK)))],
)

for protocol in (0, 2, 41, 47, 50, 132, 255):
    category.vector(
        f"fwd-back-protocol-{protocol}",
        f"Protocol {protocol} is forwarded to the host too",
        rules.S19_ANY_PROTOCOL,
        rules.S29_TO_HOST,
        source='RFC 1812 5.2.1; seed "Receiving a packet via OpenVPN"',
        steps=[
            introduces(HOST),
            far_end_sends(packet := BACK.but(payload=raw(protocol, b"\xca\xfe"))).expect(to_host(passed(packet))),
        ],
    )

for name, title, packet in (
    ("type-of-service", "Type of service survives towards the host", BACK.but(type_of_service=0xB9)),
    ("dont-fragment", "DF survives towards the host", BACK.but(dont_fragment=True)),
    ("identification", "The identification survives towards the host", BACK.but(identification=0x0001)),
    ("reserved-bit", "The reserved bit survives towards the host", BACK.but(reserved_bit=True)),
    (
        "fragment",
        "A fragment passes alone towards the host",
        BACK.but(payload=raw(17, bytes(8)), fragment_offset=3, more_fragments=True),
    ),
    (
        "bad-udp-checksum",
        "A wrong transport checksum passes towards the host",
        BACK.but(payload=udp(1, 2, b"x", given=3)),
    ),
    (
        "udp-without-checksum",
        "A UDP checksum of 0 stays 0 towards the host",
        BACK.but(payload=udp(1, 2, b"none", given=0)),
    ),
):
    category.vector(
        f"fwd-back-keeps-{name}",
        title,
        rules.S18_UNCHANGED,
        rules.S29_TO_HOST,
        source="RFC 1812 5.3.13; RFC 6864 4.3",
        steps=[introduces(HOST), far_end_sends(packet).expect(to_host(passed(packet)))],
    )

category.vector(
    "fwd-back-keeps-options",
    "Options survive towards the host",
    rules.S18_OPTIONS_KEPT,
    rules.S29_TO_HOST,
    source="RFC 1812 5.3.13.5; RFC 791 3.1; RFC 7126 4.5",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        far_end_sends(packet := BACK.but(options=record_route(room=2) + NO_OPERATION))
        .expect(to_host(passed(packet)))
        .or_else(
            "OPTION_ENTERED",
            to_host(passed(packet, options=record_route(GATEWAY.address, room=2) + NO_OPERATION)),
        ),
    ],
)

category.vector(
    "fwd-back-from-server-and-tunnel-network",
    "The far end's tunnel address is a source like any other, and so is the server's outer address",
    rules.S29_TO_HOST,
    source='seed "Receiving a packet via OpenVPN"',
    steps=[
        introduces(HOST),
        far_end_sends(one := BACK.but(source="10.8.0.1")).expect(to_host(passed(one))),
        far_end_sends(two := BACK.but(source=SERVER)).expect(to_host(passed(two))),
    ],
)

category.vector(
    "fwd-back-trailing-octets",
    "Octets after the total length of an inner packet are cut off",
    rules.S9_PADDING,
    rules.S29_TO_HOST,
    source="RFC 791 3.1",
    steps=[introduces(HOST), far_end_sends(BACK.build().data + b"trailing").expect(to_host(passed(BACK)))],
)

for name, title, packet in (
    (
        "1",
        "A time to live of 1 out of the tunnel is answered into the tunnel from the tunnel address",
        BACK.but(time_to_live=1),
    ),
    ("0", "So is one of 0", BACK.but(time_to_live=0)),
    (
        "1-unknown-host",
        "So is one for a host that is not known; nobody is asked by ARP",
        BACK.but(time_to_live=1, destination=STRANGER.address),
    ),
    (
        "1-options",
        "The error has no options, and quotes those that arrived",
        BACK.but(time_to_live=1, options=ROUTER_ALERT),
    ),
    (
        "1-long",
        "The error into the tunnel quotes no more than 576 octets allow",
        BACK.but(time_to_live=1, payload=udp(1, 2, bytes(1000))),
    ),
):
    category.invalid(
        f"fwd-back-ttl-{name}",
        title,
        rules.S17_EXPIRED,
        rules.S20_SOURCE,
        rules.S1_OWN_SOURCE,
        source="RFC 1812 5.3.1, 4.3.2.4",
        steps=[
            introduces(HOST),
            far_end_sends(packet).expect(into_tunnel(error_to(FAR, icmp_error(11, 0, packet), source=TUNNEL))),
            fence_for_host(),
        ],
    )

for name, title, packet in (
    (
        "icmp-error",
        "An expired ICMP error out of the tunnel draws none",
        BACK.but(payload=icmp(11, 0, data=bytes(28)), time_to_live=1),
    ),
    (
        "later-fragment",
        "An expired later fragment out of the tunnel draws no error",
        BACK.but(payload=raw(17, bytes(8)), fragment_offset=4, time_to_live=1),
    ),
):
    category.invalid(
        f"fwd-back-ttl-1-{name}",
        title,
        rules.S17_EXPIRED,
        rules.S20_NOT_ABOUT_ERROR if "icmp" in name else rules.S20_NOT_ABOUT_LATER_FRAGMENT,
        source="RFC 1812 4.3.2.7",
        steps=[introduces(HOST), far_end_sends(packet).silence(), fence_for_host()],
    )

for name, address in (("broadcast", "10.8.0.255"), ("network", "10.8.0.0")):
    category.invalid(
        f"fwd-back-ttl-1-from-tunnel-{name}",
        f"An expired packet from the tunnel network's own {name} address draws no error: that is no one host",
        rules.S17_EXPIRED,
        rules.S20_NOT_TO_SOURCE,
        source="RFC 1812 4.3.2.7; RFC 1122 3.2.2",
        steps=[
            introduces(HOST),
            far_end_sends(BACK.but(source=address, time_to_live=1)).silence(),
            fence_for_host(),
        ],
    )
    category.invalid(
        f"fwd-ttl-1-to-tunnel-{name}",
        f"An expired packet to the tunnel network's own {name} address draws no error: it is for no one host",
        rules.S17_EXPIRED,
        rules.S20_NOT_ABOUT_GROUP,
        source="RFC 1812 4.3.2.7; RFC 1122 3.2.2",
        steps=[
            introduces(HOST),
            host_sends(DATAGRAM.but(destination=address, time_to_live=1)).silence(),
            fence(),
        ],
    )

category.vector(
    "fwd-back-ttl-2",
    "A time to live of 2 out of the tunnel is enough",
    rules.S17_DECREMENT,
    rules.S29_TO_HOST,
    source="RFC 1812 5.3.1",
    steps=[
        introduces(HOST),
        far_end_sends(BACK.but(time_to_live=2)).expect(to_host(BACK.but(time_to_live=1))),
    ],
)

for name, destination, rule in (
    ("far-host", "203.0.113.9", rules.S30_ELSEWHERE),
    ("next-subnet", "10.38.3.5", rules.S30_ELSEWHERE),
    ("server", SERVER, rules.S30_ELSEWHERE),
    ("far-end", "10.8.0.1", rules.S30_ELSEWHERE),
    ("loopback", "127.0.0.1", rules.S30_ELSEWHERE),
    ("directed-broadcast", "10.38.2.255", rules.S29_BROADCAST),
    ("network-address", "10.38.2.0", rules.S29_BROADCAST),
    ("limited-broadcast", "255.255.255.255", rules.S15_GROUP),
    ("all-hosts", "224.0.0.1", rules.S15_GROUP),
    ("ssdp", "239.255.255.250", rules.S15_GROUP),
):
    category.invalid(
        f"fwd-back-not-to-{name}",
        f"A packet out of the tunnel to {destination} is dropped: neither delivered nor sent back nor answered",
        rule,
        source='seed "Receiving a packet via OpenVPN"; RFC 2644; RFC 1812 5.3.5',
        steps=[introduces(HOST), far_end_sends(BACK.but(destination=destination)).silence(), fence_for_host()],
    )

category.invalid(
    "fwd-back-elsewhere-ttl-1",
    "A packet out of the tunnel to somewhere else draws no time exceeded: nothing is emitted",
    rules.S30_ELSEWHERE,
    source='seed "Receiving a packet via OpenVPN"',
    steps=[
        introduces(HOST),
        far_end_sends(BACK.but(destination="203.0.113.9", time_to_live=1)).silence(),
        fence_for_host(),
    ],
)

category.invalid(
    "fwd-back-echo-to-broadcast",
    "An echo request out of the tunnel to the directed broadcast is not answered",
    rules.S29_BROADCAST,
    source="RFC 2644; RFC 1122 3.2.2.6",
    steps=[
        introduces(HOST),
        far_end_sends(BACK.but(destination="10.38.2.255", payload=echo_request())).silence(),
        fence_from_tunnel(),
    ],
)

for name, source, rule in (
    ("internal-host", NEIGHBOUR.address, rules.S29_SOURCE_INSIDE),
    ("the-host-itself", HOST.address, rules.S29_SOURCE_INSIDE),
    ("gateway", GATEWAY.address, rules.S16_OWN),
    ("tunnel-address", TUNNEL, rules.S16_OWN),
    ("unspecified", "0.0.0.0", rules.S16_MARTIAN),
    ("this-network", "0.1.2.3", rules.S16_MARTIAN),
    ("loopback", "127.0.0.1", rules.S16_MARTIAN),
    ("link-local", "169.254.1.1", rules.S16_MARTIAN),
    ("multicast", "224.0.0.1", rules.S16_MARTIAN),
    ("reserved", "250.0.0.1", rules.S16_MARTIAN),
    ("limited-broadcast", "255.255.255.255", rules.S16_MARTIAN),
):
    category.invalid(
        f"fwd-back-not-from-{name}",
        f"A packet out of the tunnel that claims to come from {source} is dropped",
        rule,
        source="RFC 1812 5.3.7, 5.3.8; RFC 2827",
        steps=[introduces(HOST), far_end_sends(BACK.but(source=source)).silence(), fence_for_host()],
    )

for name, title, inner, rule in (
    (
        "ipv6",
        "An IPv6 packet out of the tunnel",
        bytes.fromhex("6000000000083a40") + bytes(32) + bytes(8),
        rules.S27_IPV6,
    ),
    ("version-5", "A version of 5 out of the tunnel", BACK.but(version=5).build().data, rules.S9_VERSION),
    ("truncated", "Nineteen octets out of the tunnel", BACK.build().data[:19], rules.S9_TRUNCATED),
    ("one-octet", "One octet out of the tunnel", b"\x45", rules.S9_TRUNCATED),
    (
        "header-length",
        "A header length of 4 out of the tunnel",
        BACK.but(header_length=4).build().data,
        rules.S9_HEADER_LENGTH,
    ),
    (
        "total-length-short",
        "A total length of 19 out of the tunnel",
        BACK.but(total_length=19).build().data,
        rules.S9_TOTAL_LENGTH_SHORT,
    ),
    (
        "total-length-long",
        "A total length of 500 out of the tunnel",
        BACK.but(total_length=500).build().data,
        rules.S9_TOTAL_LENGTH_LONG,
    ),
    (
        "checksum",
        "A wrong header checksum out of the tunnel",
        BACK.but(header_checksum=1).build().data,
        rules.S9_CHECKSUM,
    ),
):
    category.invalid(
        f"fwd-back-invalid-{name}",
        f"{title} is dropped silently, and the tunnel stays up",
        rule,
        source='RFC 1812 5.2.2; seed "Receiving a packet via OpenVPN"',
        steps=[introduces(HOST), far_end_sends(inner).silence(), fence_for_host()],
    )

category.invalid(
    "fwd-back-source-route",
    "A source route out of the tunnel is dropped silently",
    rules.S18_SOURCE_ROUTE,
    source="RFC 7126 4.3, 4.4",
    steps=[
        introduces(HOST),
        far_end_sends(BACK.but(options=strict_source_route("10.38.2.6") + NO_OPERATION)).silence(),
        fence_for_host(),
    ],
)

category.invalid(
    "fwd-back-option-malformed",
    "A malformed option out of the tunnel is answered into the tunnel from the tunnel address",
    rules.S18_MALFORMED_OPTION,
    rules.S20_SOURCE,
    source="RFC 1812 5.3.13, 4.3.2.4",
    steps=[
        introduces(HOST),
        far_end_sends(bad := BACK.but(options=b"\x01\x01\x07\x03")).expect(
            into_tunnel(error_to(FAR, parameter_problem(bad, 22), source=TUNNEL))
        ),
        fence_for_host(),
    ],
)

category.invalid(
    "fwd-back-fragment-beyond-65535",
    "A fragment out of the tunnel that would end beyond octet 65535 is dropped",
    rules.S12_TOO_LONG,
    source="RFC 791 3.1; CERT CA-1996-26",
    steps=[
        introduces(HOST),
        far_end_sends(BACK.but(payload=raw(17, bytes(48)), fragment_offset=8190)).silence(),
        fence_for_host(),
    ],
)

# ── prefixes without a broadcast address ──────────────────────────────────────────────────────────────────────────────

_PAIR = Station("10.38.2.0", "00:f0:0d:f0:0d:00")
_OTHER_END = Station("10.38.2.1", "02:00:0a:26:02:01")

category.vector(
    "fwd-prefix-of-31",
    "In a prefix of 31 bits both addresses are hosts: 10.38.2.0 the gateway, 10.38.2.1 the host, 10.38.2.2 elsewhere",
    rules.S1_NO_BROADCAST_IN_31,
    rules.S14_FORWARD,
    source="RFC 3021 2.1",
    config={"internal": {"address": "10.38.2.0/31"}},
    steps=[
        frame_arrives(frame_with(out := DATAGRAM.but(source="10.38.2.1", destination="10.38.2.2"), _OTHER_END)).expect(
            into_tunnel(passed(out))
        ),
    ],
)

for name, source in (("network", "10.38.2.0"), ("broadcast", "10.38.2.3")):
    category.invalid(
        f"fwd-prefix-of-30-{name}",
        f"A prefix of 30 bits is the smallest with a broadcast address: {source} is the {name} address",
        rules.S16_NETWORK,
        rules.S1_NO_BROADCAST_IN_31,
        source="RFC 1812 5.3.7; RFC 3021 2.1",
        config={"internal": {"address": "10.38.2.1/30"}},
        steps=[
            host_sends(DATAGRAM.but(source=source)).silence(),
            host_sends(out := DATAGRAM.but(source="10.38.2.2")).expect(into_tunnel(passed(out))),
        ],
    )
