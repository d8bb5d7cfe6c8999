"""ARP: whom the gateway answers, what it learns, and what it never believes."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, GATEWAY, HOST, NEIGHBOUR, STRANGER, TUNNEL, Station
from glassgate.conformance.authoring.story import (
    Category,
    announces,
    arp_arrives,
    arp_reply_to,
    asks_for,
    far_end_sends,
    fence,
    fence_for_host,
    frame_arrives,
    gratuitous_from,
    introduces,
    reply_from,
    request_from,
    start,
    time_passes,
    to_host,
)
from glassgate.conformance.packets import TYPE_ARP, Ethernet, IPv4, udp
from glassgate.contract import rules

category = Category("arp", "ARP on the internal network: answers, probes, conflicts, learning and disbelief.")


def to_station(station: Station, **fields: Any) -> IPv4:
    """A packet out of the tunnel to a station: it shows what the gateway believes of it."""
    return IPv4(source=FAR, destination=station.address, payload=udp(53, 5000, b"probe"), **fields)


def arrives_at(station: Station, mac: str | None = None) -> Any:
    """A packet for the station leaves at once to the hardware address that it should have."""
    packet = to_station(station)
    frame_to = Station(station.address, mac or station.mac)
    return far_end_sends(packet).expect(to_host(packet.but(time_to_live=63), frame_to))


def is_unknown(station: Station) -> Any:
    """A packet for the station makes the gateway ask: it has learned nothing."""
    return far_end_sends(to_station(station)).expect(asks_for(station.address))


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "arp-announces-itself-twice",
    "At the start the gateway announces its address, again two seconds later, and then no more",
    rules.S7_ANNOUNCE,
    source="RFC 5227 2.3",
    steps=[time_passes(4.0).silence(), time_passes(60.0).silence()],
)

category.vector(
    "arp-second-announcement-in-its-time",
    "The second announcement leaves two seconds after the first, whatever happens before",
    rules.S7_ANNOUNCE,
    source="RFC 5227 2.3",
    begins=start()[:1],
    steps=[
        introduces(HOST).at(0.5),
        time_passes(1.9).silence(),
        time_passes(2.0).expect(announces()),
        time_passes(4.0).silence(),
    ],
)

category.vector(
    "arp-second-announcement-before-a-late-event",
    "If no tick comes in time, the next event finds the second announcement done first",
    rules.S7_ANNOUNCE,
    rules.S7_REPLY,
    source="RFC 5227 2.3",
    begins=start()[:1],
    steps=[arp_arrives(request_from(HOST)).at(7.0).expect(announces(), arp_reply_to(HOST)), fence_for_host()],
)

_ELSEWHERE = Station("172.20.0.254", "02:00:ac:14:00:fe")

category.vector(
    "arp-announces-configured-address",
    "Address and hardware address are those of the configuration",
    rules.S7_ANNOUNCE,
    rules.S7_REPLY,
    source="RFC 5227 2.3; RFC 826",
    config={"internal": {"address": f"{_ELSEWHERE.address}/16", "mac": _ELSEWHERE.mac}},
    steps=[
        arp_arrives(request_from(caller := Station("172.20.99.1", "02:00:ac:14:63:01"), _ELSEWHERE.address)).expect(
            arp_reply_to(caller, gateway=_ELSEWHERE)
        ),
    ],
)

category.vector(
    "arp-request",
    "A broadcast request for the gateway is answered by a unicast reply",
    rules.S7_REPLY,
    source="RFC 826 Packet Reception",
    steps=[arp_arrives(request_from(HOST)).expect(arp_reply_to(HOST))],
)

category.vector(
    "arp-request-unicast",
    "A request to the gateway's hardware address is answered too",
    rules.S7_REPLY,
    rules.S5_FOR_US,
    source="RFC 826 Packet Reception; RFC 1122 2.3.2.1",
    steps=[arp_arrives(request_from(HOST), to=GATEWAY.mac).expect(arp_reply_to(HOST))],
)

category.vector(
    "arp-request-in-multicast-frame",
    "A request in a multicast frame is read like one in a broadcast frame",
    rules.S7_REPLY,
    source="RFC 826 Packet Reception; RFC 5494",
    steps=[arp_arrives(request_from(HOST), to="01:00:5e:00:00:01").expect(arp_reply_to(HOST))],
)

category.vector(
    "arp-request-padded",
    "The 18 octets that pad a request to 60 are ignored, whatever they are",
    rules.S7_REPLY,
    rules.S5_PADDING,
    source="RFC 826; RFC 894",
    steps=[
        frame_arrives(
            Ethernet(
                source=HOST.mac,
                destination="ff:ff:ff:ff:ff:ff",
                type=TYPE_ARP,
                payload=request_from(HOST).build(),
                pad_to=60,
                pad_with=0xEE,
            )
        ).expect(arp_reply_to(HOST)),
    ],
)

category.vector(
    "arp-request-target-hardware-ignored",
    "What a request gives as target hardware address does not matter",
    rules.S7_REPLY,
    source="RFC 826 Packet Reception",
    steps=[arp_arrives(request_from(HOST).but(target_hardware="ff:ff:ff:ff:ff:ff")).expect(arp_reply_to(HOST))],
)

category.vector(
    "arp-request-through-proxy",
    "The reply goes to the hardware address that the ARP packet gives, not to the frame's",
    rules.S7_REPLY,
    source="RFC 826 Packet Reception",
    steps=[arp_arrives(request_from(HOST), by="02:00:00:00:00:99").expect(arp_reply_to(HOST)), arrives_at(HOST)],
)

category.vector(
    "arp-two-requests",
    "Every request is answered, also the second of the same host",
    rules.S7_REPLY,
    source="RFC 826 Packet Reception",
    steps=[introduces(HOST), introduces(HOST)],
)

for name, wanted in (
    ("neighbour", NEIGHBOUR.address),
    ("unused-address", "10.38.2.99"),
    ("external-address", "192.168.1.5"),
    ("tunnel-address", TUNNEL),
    ("far-host", FAR),
    ("broadcast-address", "10.38.2.255"),
    ("network-address", "10.38.2.0"),
):
    category.invalid(
        f"arp-request-for-{name}",
        f"A request for {wanted} is met with silence: the gateway is no proxy",
        rules.S7_NOT_FOR_US,
        source="RFC 826 Packet Reception",
        steps=[arp_arrives(request_from(HOST, wanted)).silence(), introduces(HOST)],
    )

category.invalid(
    "arp-request-to-other-station",
    "A request for the gateway in a frame to another station has no effect",
    rules.S5_OTHER_STATION,
    source='seed "Receiving a packet on the internal network"',
    steps=[arp_arrives(request_from(HOST), to=NEIGHBOUR.mac).silence(), is_unknown(HOST)],
)

# ── probes and conflicts ──────────────────────────────────────────────────────────────────────────────────────────────

_PROBE = request_from(HOST).but(sender_protocol="0.0.0.0")

category.vector(
    "arp-probe",
    "A probe for the gateway's address is answered: the address is taken",
    rules.S7_PROBE,
    source="RFC 5227 2.1.1, 2.4",
    steps=[arp_arrives(_PROBE).expect(arp_reply_to(HOST, target="0.0.0.0"))],
)

category.vector(
    "arp-probe-teaches-nothing",
    "A probe has no sender address, so nothing is learned from it",
    rules.S7_PROBE,
    source="RFC 5227 2.1.1",
    steps=[arp_arrives(_PROBE).expect(arp_reply_to(HOST, target="0.0.0.0")), is_unknown(HOST)],
)

category.vector(
    "arp-probe-takes-no-place",
    "In a table with one place a probe does not push out the host that is known",
    rules.S7_PROBE,
    rules.S31_TABLE_FULL,
    source="RFC 5227 2.1.1",
    config={"limits": {"arp_neighbours": 1}},
    steps=[
        introduces(HOST),
        arp_arrives(request_from(NEIGHBOUR).but(sender_protocol="0.0.0.0")).expect(
            arp_reply_to(NEIGHBOUR, target="0.0.0.0")
        ),
        arrives_at(HOST),
    ],
)

category.invalid(
    "arp-probe-for-other-address",
    "A probe for another address is met with silence",
    rules.S7_NOT_FOR_US,
    source="RFC 5227 2.1.1",
    steps=[arp_arrives(_PROBE.but(target_protocol="10.38.2.50")).silence(), introduces(HOST)],
)

_THIEF = Station(GATEWAY.address, "02:00:00:00:0b:ad")

for name, title, claim, to in (
    (
        "announcement",
        "An announcement of the gateway's address by another station",
        gratuitous_from(_THIEF),
        "ff:ff:ff:ff:ff:ff",
    ),
    ("reply", "A reply to the gateway that claims the gateway's address", reply_from(_THIEF), GATEWAY.mac),
    (
        "request-for-host",
        "A request for a host that claims the gateway's address",
        request_from(_THIEF, HOST.address),
        "ff:ff:ff:ff:ff:ff",
    ),
):
    category.invalid(
        f"arp-conflict-{name}",
        f"{title} is answered by one announcement and not learned",
        rules.S7_CONFLICT,
        rules.S7_DEFEND,
        source="RFC 5227 2.4",
        steps=[
            introduces(HOST),
            arp_arrives(claim, to=to).at(20.0).expect(announces()),
            fence(),
        ],
    )

category.invalid(
    "arp-conflict-one-defence-in-10-seconds",
    "Within 10 s a second conflict is not answered; after that it is",
    rules.S7_DEFEND,
    rules.S7_CONFLICT,
    source="RFC 5227 2.4 (c)",
    steps=[
        introduces(HOST),
        arp_arrives(gratuitous_from(_THIEF)).at(20.0).expect(announces()),
        arp_arrives(gratuitous_from(_THIEF)).at(20.5).silence(),
        arp_arrives(gratuitous_from(_THIEF)).at(29.5).silence(),
        arp_arrives(gratuitous_from(_THIEF)).at(30.5).expect(announces()),
        fence(),
    ],
)

category.invalid(
    "arp-conflict-soon-after-the-start",
    "The ten seconds are counted from the last defence, early in the gateway's life, too",
    rules.S7_DEFEND,
    rules.S7_CONFLICT,
    source="RFC 5227 2.4 (c)",
    steps=[
        introduces(HOST),
        arp_arrives(gratuitous_from(_THIEF)).at(4.0).expect(announces()),
        arp_arrives(gratuitous_from(_THIEF)).at(13.5).silence(),
        arp_arrives(gratuitous_from(_THIEF)).at(14.5).expect(announces()),
        fence(),
    ],
)

category.invalid(
    "arp-conflict-then-requests",
    "After a conflict the gateway keeps its address: requests are answered as before",
    rules.S7_CONFLICT,
    rules.S7_REPLY,
    source="RFC 5227 2.4 (c)",
    steps=[
        arp_arrives(gratuitous_from(_THIEF)).at(20.0).expect(announces()),
        introduces(HOST),
    ],
)

# ── what is no ARP for IPv4 over Ethernet ─────────────────────────────────────────────────────────────────────────────

for name, title, bad, rule in (
    ("hardware-type-6", "Hardware type 6 (IEEE 802)", request_from(HOST).but(hardware_type=6), rules.S7_HARDWARE_TYPE),
    ("hardware-type-0", "Hardware type 0", request_from(HOST).but(hardware_type=0), rules.S7_HARDWARE_TYPE),
    ("protocol-type-ipv6", "Protocol type IPv6", request_from(HOST).but(protocol_type=0x86DD), rules.S7_PROTOCOL_TYPE),
    ("protocol-type-pup", "Protocol type PUP", request_from(HOST).but(protocol_type=0x0200), rules.S7_PROTOCOL_TYPE),
    ("protocol-type-arp", "Protocol type ARP", request_from(HOST).but(protocol_type=0x0806), rules.S7_PROTOCOL_TYPE),
    (
        "hardware-length-8",
        "A hardware address length of 8",
        request_from(HOST).but(hardware_length=8),
        rules.S7_ADDRESS_LENGTH,
    ),
    (
        "protocol-length-16",
        "A protocol address length of 16",
        request_from(HOST).but(protocol_length=16),
        rules.S7_ADDRESS_LENGTH,
    ),
    (
        "protocol-length-0",
        "A protocol address length of 0",
        request_from(HOST).but(protocol_length=0),
        rules.S7_ADDRESS_LENGTH,
    ),
    ("operation-0", "Operation 0", request_from(HOST).but(operation=0), rules.S7_OPERATION),
    ("operation-3", "Operation 3, reverse request", request_from(HOST).but(operation=3), rules.S7_OPERATION),
    ("operation-8", "Operation 8, inverse request", request_from(HOST).but(operation=8), rules.S7_OPERATION),
    (
        "operation-256",
        "Operation 0x0100, a request with its octets swapped",
        request_from(HOST).but(operation=0x0100),
        rules.S7_OPERATION,
    ),
):
    category.invalid(
        f"arp-{name}",
        f"{title} is dropped: no answer, and nothing is learned",
        rule,
        source="RFC 826 Packet Reception",
        steps=[arp_arrives(bad).silence(), is_unknown(HOST)],
    )

for octets in (0, 8, 27):
    category.invalid(
        f"arp-of-{octets}-octets",
        f"{octets} octets are no ARP packet",
        rules.S7_TRUNCATED,
        source="RFC 826 Packet format",
        steps=[
            frame_arrives(
                Ethernet(
                    source=HOST.mac,
                    destination="ff:ff:ff:ff:ff:ff",
                    type=TYPE_ARP,
                    payload=request_from(HOST).build().data[:octets],
                )
            ).silence(),
            is_unknown(HOST),
        ],
    )

# ── learning ──────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "arp-learns-from-request",
    "A request for the gateway teaches where its sender is: no question of our own is needed",
    rules.S8_LEARN,
    rules.S31_KNOWN,
    source="RFC 826 Packet Reception",
    steps=[introduces(HOST), arrives_at(HOST)],
)

category.vector(
    "arp-learns-from-unasked-reply",
    "A reply to the gateway teaches too, though it did not ask",
    rules.S8_LEARN,
    source="RFC 826 Packet Reception",
    steps=[arp_arrives(reply_from(HOST), to=GATEWAY.mac).silence(), arrives_at(HOST)],
)

category.vector(
    "arp-learns-from-broadcast-reply",
    "A reply with the gateway as target teaches in a broadcast frame too",
    rules.S8_LEARN,
    source="RFC 826 Packet Reception",
    steps=[arp_arrives(reply_from(HOST)).silence(), arrives_at(HOST)],
)

category.vector(
    "arp-learns-again",
    "A host with a new network card asks: the next packet goes to the new hardware address",
    rules.S8_LEARN,
    source="RFC 826 Packet Reception",
    steps=[
        introduces(HOST),
        introduces(changed := Station(HOST.address, "02:00:00:00:be:ef")),
        arrives_at(HOST, changed.mac),
    ],
)

category.vector(
    "arp-updates-from-announcement",
    "A known host announces a new hardware address",
    rules.S8_UPDATE,
    source="RFC 826 Packet Reception; RFC 5227 3",
    steps=[
        introduces(HOST),
        arp_arrives(gratuitous_from(Station(HOST.address, "02:00:00:00:be:ef"))).silence(),
        arrives_at(HOST, "02:00:00:00:be:ef"),
    ],
)

category.vector(
    "arp-updates-from-announcement-as-reply",
    "A known host announces a new hardware address in the form of a reply",
    rules.S8_UPDATE,
    source="RFC 826 Packet Reception; RFC 5227 3",
    steps=[
        introduces(HOST),
        arp_arrives(reply_from(changed := Station(HOST.address, "02:00:00:00:be:ef"), changed)).silence(),
        arrives_at(HOST, changed.mac),
    ],
)

category.vector(
    "arp-updates-from-question-to-another",
    "A known host asks for another one: the gateway hears it and updates",
    rules.S8_UPDATE,
    source="RFC 826 Packet Reception",
    steps=[
        introduces(HOST),
        arp_arrives(request_from(Station(HOST.address, "02:00:00:00:be:ef"), NEIGHBOUR.address)).silence(),
        arrives_at(HOST, "02:00:00:00:be:ef"),
    ],
)

category.vector(
    "arp-update-leaves-others-alone",
    "An update of one host changes nothing for another",
    rules.S8_UPDATE,
    source="RFC 826 Packet Reception",
    steps=[
        introduces(HOST),
        introduces(NEIGHBOUR),
        arp_arrives(gratuitous_from(Station(NEIGHBOUR.address, "02:00:00:00:be:ef"))).silence(),
        arrives_at(HOST),
        arrives_at(NEIGHBOUR, "02:00:00:00:be:ef"),
    ],
)

for name, title, heard in (
    ("announcement", "An announcement of an unknown host", gratuitous_from(STRANGER)),
    ("question-to-another", "A question of an unknown host to another", request_from(STRANGER, HOST.address)),
    ("reply-to-another", "A reply of an unknown host to another", reply_from(STRANGER, HOST)),
):
    category.vector(
        f"arp-does-not-learn-from-{name}",
        f"{title} creates no entry",
        rules.S8_NOT_LEARNED,
        source="RFC 826 Packet Reception",
        steps=[arp_arrives(heard).silence(), is_unknown(STRANGER)],
    )

# ── disbelief ─────────────────────────────────────────────────────────────────────────────────────────────────────────

for name, mac in (("broadcast", "ff:ff:ff:ff:ff:ff"), ("multicast", "01:00:5e:00:00:05")):
    category.invalid(
        f"arp-request-from-{name}-hardware",
        f"A request whose sender's hardware address is {name} is neither answered nor believed",
        rules.S8_GROUP_HARDWARE,
        source="RFC 1812 3.3.2",
        steps=[
            arp_arrives(request_from(HOST).but(sender_hardware=mac), by=HOST.mac).silence(),
            is_unknown(HOST),
        ],
    )
    category.invalid(
        f"arp-reply-with-{name}-hardware",
        f"A reply that gives a {name} hardware address changes nothing",
        rules.S8_GROUP_HARDWARE,
        source="RFC 1812 3.3.2",
        steps=[
            introduces(HOST),
            arp_arrives(reply_from(HOST).but(sender_hardware=mac), to=GATEWAY.mac, by=HOST.mac).silence(),
            arrives_at(HOST),
        ],
    )

for name, sender in (
    ("next-subnet", "10.38.3.5"),
    ("far-network", FAR),
    ("broadcast-address", "10.38.2.255"),
    ("network-address", "10.38.2.0"),
    ("limited-broadcast", "255.255.255.255"),
    ("multicast", "224.0.0.9"),
    ("loopback", "127.0.0.1"),
    ("tunnel-address", TUNNEL),
):
    category.invalid(
        f"arp-request-from-{name}",
        f"A request from {sender}, no host of the internal network, is neither answered nor learned",
        rules.S8_FOREIGN_SENDER,
        source="RFC 1812 3.3.2",
        steps=[arp_arrives(request_from(HOST).but(sender_protocol=sender)).silence(), introduces(HOST)],
    )

category.invalid(
    "arp-reply-from-foreign-network",
    "A reply from a foreign network is not learned",
    rules.S8_FOREIGN_SENDER,
    source="RFC 1812 3.3.2",
    steps=[
        introduces(HOST),
        arp_arrives(reply_from(Station(FAR, "02:00:00:00:0b:ad")), to=GATEWAY.mac).silence(),
        fence_for_host(),
    ],
)

category.invalid(
    "arp-reply-from-nobody",
    "A reply whose sender address is 0.0.0.0 is no probe, for a probe is a request, and no host's: nothing is answered",
    rules.S8_FOREIGN_SENDER,
    source="RFC 5227 2.1.1; RFC 826 Packet Reception",
    steps=[
        introduces(HOST),
        arp_arrives(reply_from(NEIGHBOUR).but(sender_protocol="0.0.0.0"), to=GATEWAY.mac).silence(),
        is_unknown(NEIGHBOUR),
        fence_for_host(),
    ],
)

for name, mac in (("own", GATEWAY.mac), ("zero", "00:00:00:00:00:00")):
    category.invalid(
        f"arp-request-from-{name}-hardware",
        f"A request whose sender's hardware address is {mac} comes from no other station: no answer, nothing learned",
        rules.S8_NO_STATION,
        source="IEEE 802.3 3.2.3; RFC 826 Packet Reception",
        steps=[arp_arrives(request_from(HOST).but(sender_hardware=mac), by=HOST.mac).silence(), is_unknown(HOST)],
    )
    category.invalid(
        f"arp-reply-with-{name}-hardware",
        f"A reply that says that a known host is at {mac} changes nothing",
        rules.S8_NO_STATION,
        source="IEEE 802.3 3.2.3; RFC 826 Packet Reception",
        steps=[
            introduces(HOST),
            arp_arrives(reply_from(HOST).but(sender_hardware=mac), to=GATEWAY.mac, by=HOST.mac).silence(),
            arrives_at(HOST),
        ],
    )

category.invalid(
    "arp-frame-from-gateway",
    "A request in a frame from the gateway's own hardware address is an echo of somebody's making",
    rules.S5_SOURCE_OWN,
    source="IEEE 802.3 3.2.3",
    steps=[arp_arrives(request_from(HOST), by=GATEWAY.mac).silence(), is_unknown(HOST)],
)

# ── further prefixes inside ───────────────────────────────────────────────────────────────────────────────────────────

_BRANCH = Station("10.39.7.7", "02:00:0a:27:07:07")

category.vector(
    "arp-configured-prefix",
    "A host of a configured further prefix is on the link: answered, learned and delivered to",
    rules.S16_CONFIGURED,
    rules.S7_REPLY,
    rules.S8_LEARN,
    source="RFC 826; RFC 1812 5.3.8",
    config={"internal": {"sources": ["10.39.0.0/16"]}},
    steps=[introduces(_BRANCH), arrives_at(_BRANCH)],
)

category.vector(
    "arp-configured-prefix-asked-for",
    "A host of a configured further prefix that is unknown is asked for on the internal network",
    rules.S16_CONFIGURED,
    rules.S31_ASK,
    source="RFC 826; RFC 1812 5.3.8",
    config={"internal": {"sources": ["10.39.0.0/16"]}},
    steps=[
        far_end_sends(packet := to_station(_BRANCH)).expect(asks_for(_BRANCH.address)),
        arp_arrives(reply_from(_BRANCH), to=GATEWAY.mac).expect(to_host(packet.but(time_to_live=63), _BRANCH)),
    ],
)

_PAIR = Station("10.38.2.0", GATEWAY.mac)
_OTHER_END = Station("10.38.2.1", "02:00:0a:26:02:01")

category.vector(
    "arp-prefix-of-31",
    "In a prefix of 31 bits 10.38.2.0 is a host: it announces itself, is asked for and answers",
    rules.S1_NO_BROADCAST_IN_31,
    rules.S7_REPLY,
    source="RFC 3021 2.1",
    config={"internal": {"address": "10.38.2.0/31"}},
    steps=[
        arp_arrives(request_from(_OTHER_END, _PAIR.address)).expect(arp_reply_to(_OTHER_END, gateway=_PAIR)),
        arrives_at(_OTHER_END),
    ],
)

category.vector(
    "arp-prefix-of-31-upper-end",
    "In a prefix of 31 bits 10.38.2.1 may be the gateway and 10.38.2.0 the host",
    rules.S1_NO_BROADCAST_IN_31,
    rules.S29_TO_HOST,
    source="RFC 3021 2.1",
    config={"internal": {"address": "10.38.2.1/31"}},
    steps=[introduces(lower := Station("10.38.2.0", "02:00:0a:26:02:00")), arrives_at(lower)],
)
