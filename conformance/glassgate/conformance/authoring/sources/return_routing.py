"""Return routing: from the tunnel to a host, by way of ARP: known, unknown, silent, gone and too many."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, GATEWAY, HOST, NEIGHBOUR, STRANGER, TUNNEL, Station
from glassgate.conformance.authoring.story import (
    Category,
    Story,
    answers,
    arp_arrives,
    arp_reply_to,
    asks_for,
    error_to,
    far_end_sends,
    fence,
    fence_for_host,
    fence_from_tunnel,
    gratuitous_from,
    host_sends,
    into_tunnel,
    introduces,
    reply_from,
    request_from,
    time_passes,
    to_host,
)
from glassgate.conformance.model import ExpectedPacket, FlagNote, Result
from glassgate.conformance.packets import IPv4, echo_request, icmp, icmp_error, raw, udp
from glassgate.contract import rules

category = Category(
    "return-routing",
    "Out of the tunnel to a host inside: ARP hit, miss and queue, retry, giving up, expiry, refresh and limits.",
    notes={
        "ARP_REPLY_BEFORE_QUEUE": FlagNote(
            bug="order of effects",
            what="a host that is waited for asks for the gateway; the reply leaves before the packets that waited",
            effect="none on the wire that matters: RFC 826 does not order the two",
        ),
        "ARP_REFRESH_BEFORE_PACKET": FlagNote(
            bug="order of effects",
            what="the unicast request that refreshes an old entry leaves before the packet that used the entry",
            effect="none: RFC 1122 2.3.2.1 does not order the two",
        ),
        "ARP_ANNOUNCEMENT_DOES_NOT_RESOLVE": FlagNote(
            bug="strict merge",
            what="an announcement does not release what waits for its sender: only a packet addressed to us resolves",
            effect="the packets wait for the reply or for the next request",
        ),
        "QUOTES_WITH_TTL_DECREMENTED": FlagNote(
            bug="none",
            what="host unreachable quotes the packet as it would have left: its time to live is one less",
            effect="none: RFC 1812 4.3.2.3 lets a router quote what forwarding had already changed",
        ),
    },
)


def to_station(station: Station = HOST, number: int = 0, **fields: Any) -> IPv4:
    """The packet of that number out of the tunnel to a station."""
    payload = udp(53, 5000, b"packet %d" % number)
    return IPv4(source=FAR, destination=station.address, payload=payload, identification=0x5000 + number).but(**fields)


def arrived(packet: IPv4, station: Station = HOST) -> ExpectedPacket:
    """The packet as the station gets it, one hop further."""
    return to_host(packet.but(time_to_live=packet.time_to_live - 1), station)


def unreachable(packet: IPv4) -> ExpectedPacket:
    """Host unreachable into the tunnel, from the tunnel address."""
    return into_tunnel(error_to(packet.source, icmp_error(3, 1, packet), source=TUNNEL))


def told_unreachable(step: Story, *packets: IPv4) -> Story:
    """The sources of packets are told, by a quotation of what came, or of what would have left (RFC 1812 4.3.2.3)."""
    leaving = [packet.but(time_to_live=packet.time_to_live - 1) for packet in packets]
    step = step.expect(*(unreachable(packet) for packet in packets))
    return step.or_else("QUOTES_WITH_TTL_DECREMENTED", *(unreachable(packet) for packet in leaving))


ASK = asks_for(HOST.address)

# ── hit and miss ──────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "ret-known",
    "A packet for a known host leaves at once, without another question",
    rules.S31_KNOWN,
    rules.S29_TO_HOST,
    source='seed "Receiving a packet via OpenVPN"; RFC 826 Packet Generation',
    steps=[
        introduces(HOST),
        far_end_sends(one := to_station(HOST, 1)).expect(arrived(one)),
        far_end_sends(two := to_station(HOST, 2)).expect(arrived(two)),
    ],
)

category.vector(
    "ret-unknown",
    "For an unknown host one request is broadcast; on the reply the packet leaves",
    rules.S31_ASK,
    rules.S31_RELEASE,
    rules.S29_TO_HOST,
    source='seed "Receiving a packet via OpenVPN"; RFC 826 Packet Generation',
    steps=[
        far_end_sends(packet := to_station()).expect(ASK),
        answers(HOST, arrived(packet)),
        fence_for_host(),
    ],
)

category.vector(
    "ret-several-wait",
    "Further packets wait without another question, and leave in the order in which they came",
    rules.S31_WAIT,
    rules.S31_RELEASE,
    source="RFC 1122 2.3.2.1, 2.3.2.2",
    steps=[
        far_end_sends(one := to_station(HOST, 1)).expect(ASK),
        far_end_sends(two := to_station(HOST, 2)).silence(),
        far_end_sends(three := to_station(HOST, 3)).silence(),
        answers(HOST, arrived(one), arrived(two), arrived(three)),
        fence_for_host(),
    ],
)

category.vector(
    "ret-two-neighbours-wait",
    "Two unknown hosts are asked for separately; the one that answers gets its packets, the other waits on",
    rules.S31_ASK,
    rules.S31_RELEASE,
    source="RFC 826; RFC 1122 2.3.2.2",
    steps=[
        far_end_sends(five := to_station(HOST, 1)).expect(ASK),
        far_end_sends(six := to_station(NEIGHBOUR, 2)).expect(asks_for(NEIGHBOUR.address)),
        answers(NEIGHBOUR, arrived(six, NEIGHBOUR)),
        answers(HOST, arrived(five)),
    ],
)

category.vector(
    "ret-silent-neighbour-delays-nobody",
    "While one host does not answer, packets for a known one pass",
    rules.S31_WAIT,
    rules.S31_KNOWN,
    source="RFC 1122 2.3.2.2",
    steps=[
        introduces(HOST),
        far_end_sends(to_station(STRANGER, 1)).expect(asks_for(STRANGER.address)),
        far_end_sends(packet := to_station(HOST, 2)).expect(arrived(packet)),
        far_end_sends(to_station(STRANGER, 3)).silence(),
        fence_for_host(),
    ],
)

category.vector(
    "ret-resolved-by-request",
    "The host asks for the gateway while packets wait for it: that too says where it is",
    rules.S31_RELEASE,
    rules.S8_LEARN,
    rules.S7_REPLY,
    source="RFC 826 Packet Reception",
    result=Result.ACCEPTABLE,
    steps=[
        far_end_sends(packet := to_station()).expect(ASK),
        arp_arrives(request_from(HOST))
        .expect(arrived(packet), arp_reply_to(HOST))
        .or_else("ARP_REPLY_BEFORE_QUEUE", arp_reply_to(HOST), arrived(packet)),
        fence_for_host(),
    ],
)

category.vector(
    "ret-resolved-by-announcement",
    "The host announces itself while packets wait for it",
    rules.S31_RELEASE,
    rules.S8_UPDATE,
    source="RFC 826 Packet Reception; RFC 5227 3",
    result=Result.ACCEPTABLE,
    steps=[
        far_end_sends(packet := to_station()).expect(ASK),
        arp_arrives(gratuitous_from(HOST)).expect(arrived(packet)).or_else("ARP_ANNOUNCEMENT_DOES_NOT_RESOLVE"),
        answers(HOST, arrived(packet)).when("ARP_ANNOUNCEMENT_DOES_NOT_RESOLVE"),
        fence_for_host(),
    ],
)

category.vector(
    "ret-packets-of-several-sources-wait",
    "Packets of different far hosts, and the gateway's own answer, wait in one queue",
    rules.S31_WAIT,
    rules.S31_RELEASE,
    source="RFC 1122 2.3.2.2",
    steps=[
        far_end_sends(one := to_station(HOST, 1)).expect(ASK),
        far_end_sends(two := to_station(HOST, 2, source="203.0.113.5")).silence(),
        host_sends(expired := IPv4(source=HOST.address, destination=FAR, payload=udp(1, 2), time_to_live=1)).silence(),
        answers(HOST, arrived(one), arrived(two), to_host(error_to(HOST.address, icmp_error(11, 0, expired)))),
        fence_for_host(),
    ],
)

category.vector(
    "ret-internal-packet-teaches-nothing",
    "That a host sends IPv4 packets does not say where it is: the gateway asks all the same",
    rules.S31_ASK,
    rules.S8_LEARN,
    source="RFC 826 Packet Generation",
    steps=[
        fence(HOST),
        far_end_sends(packet := to_station()).expect(ASK),
        answers(HOST, arrived(packet)),
    ],
)

# ── no answer ─────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "ret-retry",
    "An unanswered request is repeated after one second; a late reply still releases the packet",
    rules.S31_RETRY,
    rules.S31_RELEASE,
    source="RFC 1122 2.3.2.1",
    steps=[
        far_end_sends(packet := to_station()).at(4.0).expect(ASK),
        time_passes(4.9).silence(),
        time_passes(5.0).expect(ASK),
        time_passes(5.9).silence(),
        answers(HOST, arrived(packet)).at(5.95),
        time_passes(7.0).silence(),
    ],
)

category.vector(
    "ret-reply-after-third-request",
    "A reply in the last second before giving up releases the packet",
    rules.S31_RETRY,
    rules.S31_RELEASE,
    source="RFC 1122 2.3.2.1",
    steps=[
        far_end_sends(packet := to_station()).at(4.0).expect(ASK),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        answers(HOST, arrived(packet)).at(6.9),
        time_passes(8.0).silence(),
    ],
)

category.vector(
    "ret-give-up",
    "After three requests and one more second the far host is told: host unreachable, quoting the packet as received",
    rules.S31_GIVE_UP,
    rules.S31_RETRY,
    rules.S20_SOURCE,
    rules.S20_QUOTE,
    source="RFC 1812 5.2.7.1; RFC 1122 2.3.2.2",
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(packet := to_station(time_to_live=9)).at(4.0).expect(ASK),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        time_passes(6.9).silence(),
        told_unreachable(time_passes(7.0), packet),
        time_passes(20.0).silence(),
        fence_from_tunnel(),
    ],
)

category.vector(
    "ret-give-up-one-error-a-source",
    "Each far host that waits is told once, about its first packet, in the order of their first packets",
    rules.S31_GIVE_UP,
    source="RFC 1812 5.2.7.1",
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(one := to_station(HOST, 1)).at(4.0).expect(ASK),
        far_end_sends(to_station(HOST, 2)).at(4.1).silence(),
        far_end_sends(three := to_station(HOST, 3, source="203.0.113.5")).at(4.2).silence(),
        far_end_sends(to_station(HOST, 4)).at(4.3).silence(),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        told_unreachable(time_passes(7.0), one, three),
        fence_from_tunnel(),
    ],
)

category.invalid(
    "ret-give-up-silent-about-errors",
    "Nobody is told about an ICMP error or a later fragment that waited in vain",
    rules.S31_GIVE_UP,
    rules.S20_NOT_ABOUT_ERROR,
    rules.S20_NOT_ABOUT_LATER_FRAGMENT,
    source="RFC 1812 4.3.2.7",
    steps=[
        far_end_sends(to_station(HOST, payload=icmp(3, 3, data=bytes(28)))).at(4.0).expect(ASK),
        far_end_sends(to_station(HOST, source="203.0.113.5", payload=raw(17, bytes(8)), fragment_offset=5))
        .at(4.1)
        .silence(),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        time_passes(7.0).silence(),
        fence_from_tunnel(),
    ],
)

category.invalid(
    "ret-give-up-own-answer",
    "The gateway's own answer that waited in vain is dropped, and nobody is told",
    rules.S31_GIVE_UP,
    source="RFC 1122 3.2.2; RFC 1812 4.3.2.7",
    steps=[
        host_sends(IPv4(source=HOST.address, destination=GATEWAY.address, payload=echo_request())).at(4.0).expect(ASK),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        time_passes(7.0).silence(),
        fence_from_tunnel(),
    ],
)

category.vector(
    "ret-give-up-own-answer-and-another",
    "Of what waited in vain the gateway's own answer tells nobody, and the packet behind it its source",
    rules.S31_GIVE_UP,
    source="RFC 1812 5.2.7.1; RFC 1122 2.3.2.2",
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        host_sends(IPv4(source=HOST.address, destination=GATEWAY.address, payload=echo_request())).at(4.0).expect(ASK),
        far_end_sends(behind := to_station(time_to_live=9)).at(4.5).silence(),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        told_unreachable(time_passes(7.0), behind),
        fence_from_tunnel(),
    ],
)

category.vector(
    "ret-negative",
    "For a second after giving up there is no request: the next packet is answered with host unreachable at once",
    rules.S31_NEGATIVE,
    rules.S31_GIVE_UP,
    source="RFC 1122 2.3.2.1",
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(one := to_station(HOST, 1)).at(4.0).expect(ASK),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        told_unreachable(time_passes(7.0), one),
        told_unreachable(far_end_sends(two := to_station(HOST, 2)).at(7.5), two),
        told_unreachable(far_end_sends(three := to_station(HOST, 3)).at(7.9), three),
        far_end_sends(four := to_station(HOST, 4)).at(8.1).expect(ASK),
        answers(HOST, arrived(four)),
        fence_for_host(),
    ],
)

category.vector(
    "ret-negative-ends-with-arp",
    "A host that speaks up within that second is known again",
    rules.S31_NEGATIVE,
    rules.S8_LEARN,
    source="RFC 1122 2.3.2.1; RFC 826",
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(one := to_station(HOST, 1)).at(4.0).expect(ASK),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        told_unreachable(time_passes(7.0), one),
        introduces(HOST).at(7.3),
        fence_for_host().at(7.4),
    ],
)

category.vector(
    "ret-events-do-what-was-due",
    "Without a tick between, a packet that comes late finds the repeated request done first",
    rules.S31_RETRY,
    rules.S31_WAIT,
    source="RFC 1122 2.3.2.1",
    steps=[
        far_end_sends(one := to_station(HOST, 1)).at(4.0).expect(ASK),
        far_end_sends(two := to_station(HOST, 2)).at(5.2).expect(ASK),
        answers(HOST, arrived(one), arrived(two)).at(5.3),
    ],
)

# ── wrong answers ─────────────────────────────────────────────────────────────────────────────────────────────────────

for name, title, wrong, to in (
    (
        "broadcast-hardware",
        "A reply with the broadcast hardware address",
        reply_from(HOST).but(sender_hardware="ff:ff:ff:ff:ff:ff"),
        GATEWAY.mac,
    ),
    (
        "multicast-hardware",
        "A reply with a multicast hardware address",
        reply_from(HOST).but(sender_hardware="01:00:5e:00:00:05"),
        GATEWAY.mac,
    ),
    ("other-host", "A reply of another host", reply_from(NEIGHBOUR), GATEWAY.mac),
    ("wrong-protocol-type", "A reply for another protocol", reply_from(HOST).but(protocol_type=0x86DD), GATEWAY.mac),
    ("other-station", "A reply in a frame to another station", reply_from(HOST), NEIGHBOUR.mac),
):
    category.invalid(
        f"ret-wrong-answer-{name}",
        f"{title} releases nothing; the right reply does",
        rules.S8_GROUP_HARDWARE if "cast" in name else rules.S31_WAIT,
        rules.S31_RELEASE,
        source="RFC 1812 3.3.2; RFC 826",
        steps=[
            far_end_sends(packet := to_station()).expect(ASK),
            arp_arrives(wrong, to=to, by="02:00:00:00:00:77").silence(),
            answers(HOST, arrived(packet)),
            fence_for_host(),
        ],
    )

category.invalid(
    "ret-spoofed-then-true",
    "Two replies to one request: the later one counts, as RFC 826's merge has it",
    rules.S8_LEARN,
    source="RFC 826 Packet Reception",
    steps=[
        far_end_sends(packet := to_station(HOST, 1)).expect(ASK),
        answers(imposter := Station(HOST.address, "02:00:00:00:0b:ad"), arrived(packet, imposter)),
        answers(HOST),
        far_end_sends(second := to_station(HOST, 2)).expect(arrived(second)),
    ],
)

# ── age ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "ret-entry-lives-19-minutes",
    "An entry that is 1139 s old is used without a question",
    rules.S31_KNOWN,
    rules.S31_REFRESH,
    source="RFC 1122 2.3.2.1",
    steps=[introduces(HOST).at(3.0), far_end_sends(packet := to_station()).at(1142.0).expect(arrived(packet))],
)

category.vector(
    "ret-entry-expires",
    "An entry that nobody confirmed for 20 minutes is forgotten: the next packet is a miss",
    rules.S31_EXPIRE,
    rules.S31_ASK,
    source="RFC 1122 2.3.2.1",
    steps=[
        introduces(HOST).at(3.0),
        time_passes(1202.9).silence(),
        far_end_sends(packet := to_station()).at(1203.1).expect(ASK),
        answers(HOST, arrived(packet)),
    ],
)

category.vector(
    "ret-entry-confirmed-by-arp",
    "Any valid ARP packet of its host confirms an entry: the 20 minutes begin anew",
    rules.S31_EXPIRE,
    rules.S8_UPDATE,
    source="RFC 1122 2.3.2.1; RFC 826",
    steps=[
        introduces(HOST).at(3.0),
        arp_arrives(request_from(HOST, NEIGHBOUR.address)).at(1000.0).silence(),
        far_end_sends(one := to_station(HOST, 1)).at(1300.0).expect(arrived(one)),
    ],
)

category.vector(
    "ret-use-is-no-confirmation",
    "That packets are sent to a host confirms nothing: in use or not, the entry ends after 20 minutes",
    rules.S31_EXPIRE,
    source="RFC 1122 2.3.2.1",
    steps=[
        introduces(HOST).at(3.0),
        far_end_sends(one := to_station(HOST, 1)).at(1000.0).expect(arrived(one)),
        far_end_sends(two := to_station(HOST, 2)).at(1203.5).expect(ASK),
        answers(HOST, arrived(two)),
    ],
)


def used_late(packet: IPv4, time: float) -> Story:
    """An old entry is used: the packet leaves, and a unicast request asks whether the host is still there."""
    ask = asks_for(HOST.address, of=HOST.mac)
    step = far_end_sends(packet).at(time)
    return step.expect(arrived(packet), ask).or_else("ARP_REFRESH_BEFORE_PACKET", ask, arrived(packet))


category.vector(
    "ret-refresh",
    "An entry of 1150 s that is used is probed by unicast; the reply renews it for 20 minutes",
    rules.S31_REFRESH,
    rules.S31_KNOWN,
    source="RFC 1122 2.3.2.1",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST).at(3.0),
        used_late(to_station(HOST, 1), 1153.0),
        answers(HOST).at(1153.1),
        far_end_sends(two := to_station(HOST, 2)).at(1154.2).expect(arrived(two)),
        far_end_sends(three := to_station(HOST, 3)).at(1210.0).expect(arrived(three)),
    ],
)

category.vector(
    "ret-refresh-from-1140-seconds",
    "An entry of exactly 1140 s is old enough to be probed",
    rules.S31_REFRESH,
    source="RFC 1122 2.3.2.1",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST).at(3.0),
        far_end_sends(one := to_station(HOST, 1)).at(1142.75).expect(arrived(one)),
        used_late(to_station(HOST, 2), 1143.0),
    ],
)

category.vector(
    "ret-refresh-in-the-last-second",
    "An entry lives for twenty minutes, its last second included: it is used, and probed",
    rules.S31_REFRESH,
    rules.S31_KNOWN,
    source="RFC 1122 2.3.2.1",
    result=Result.ACCEPTABLE,
    steps=[introduces(HOST).at(3.0), used_late(to_station(HOST, 1), 1202.5)],
)

category.vector(
    "ret-refresh-by-new-hardware",
    "The answer to a probe gives another hardware address: the next packet goes there",
    rules.S31_REFRESH,
    rules.S8_LEARN,
    source="RFC 1122 2.3.2.1; RFC 826",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST).at(3.0),
        used_late(to_station(HOST, 1), 1160.0),
        answers(moved := Station(HOST.address, "02:00:00:00:be:ef")).at(1160.1),
        far_end_sends(two := to_station(HOST, 2)).at(1250.0).expect(arrived(two, moved)),
    ],
)

category.vector(
    "ret-refresh-again-after-renewal",
    "An entry that was probed and confirmed is probed again when it is old again",
    rules.S31_REFRESH,
    source="RFC 1122 2.3.2.1",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST).at(3.0),
        used_late(to_station(HOST, 1), 1150.0),
        used_late(to_station(HOST, 2), 1151.0),
        used_late(to_station(HOST, 3), 1152.0),
        answers(HOST).at(1152.5),
        used_late(to_station(HOST, 4), 2300.0),
    ],
)

category.vector(
    "ret-refresh-at-most-one-a-second",
    "While it is not confirmed, an entry in use is probed once a second and three times in all",
    rules.S31_REFRESH,
    rules.S31_EXPIRE,
    source="RFC 1122 2.3.2.1",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST).at(3.0),
        used_late(to_station(HOST, 1), 1150.0),
        far_end_sends(two := to_station(HOST, 2)).at(1150.5).expect(arrived(two)),
        used_late(to_station(HOST, 3), 1151.5),
        used_late(to_station(HOST, 4), 1153.0),
        far_end_sends(five := to_station(HOST, 5)).at(1155.0).expect(arrived(five)),
        far_end_sends(six := to_station(HOST, 6)).at(1203.5).expect(ASK),
        answers(HOST, arrived(six)),
    ],
)

# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "ret-queue-full",
    "With room for two packets the third pushes out the first",
    rules.S31_QUEUE_FULL,
    rules.S31_RELEASE,
    source="RFC 1122 2.3.2.2",
    config={"limits": {"arp_queue": 2}},
    steps=[
        far_end_sends(to_station(HOST, 1)).expect(ASK),
        far_end_sends(two := to_station(HOST, 2)).silence(),
        far_end_sends(three := to_station(HOST, 3)).silence(),
        answers(HOST, arrived(two), arrived(three)),
        fence_for_host(),
    ],
)

category.vector(
    "ret-queue-of-32",
    "Thirty-two packets wait, the thirty-third pushes out the first",
    rules.S31_QUEUE_FULL,
    source="RFC 1122 2.3.2.2",
    steps=[
        far_end_sends(to_station(HOST, 0)).at(4.0).expect(ASK),
        *(far_end_sends(to_station(HOST, number)).at(4.1).silence() for number in range(1, 33)),
        answers(HOST, *(arrived(to_station(HOST, number)) for number in range(1, 33))).at(4.2),
    ],
)

category.vector(
    "ret-table-full",
    "With room for two neighbours the one used least recently gives way to a third",
    rules.S31_TABLE_FULL,
    source="RFC 1122 2.3.2.1",
    config={"limits": {"arp_neighbours": 2}},
    steps=[
        introduces(HOST),
        introduces(NEIGHBOUR),
        far_end_sends(one := to_station(HOST, 1)).expect(arrived(one)),
        introduces(STRANGER),
        far_end_sends(two := to_station(HOST, 2)).expect(arrived(two)),
        far_end_sends(three := to_station(STRANGER, 3)).expect(arrived(three, STRANGER)),
        far_end_sends(to_station(NEIGHBOUR, 4)).expect(asks_for(NEIGHBOUR.address)),
    ],
)

category.vector(
    "ret-table-full-known-host-again",
    "A host that is in the full table already needs no new place: nobody gives way to it",
    rules.S31_TABLE_FULL,
    rules.S8_LEARN,
    source="RFC 1122 2.3.2.1; RFC 826",
    config={"limits": {"arp_neighbours": 2}},
    steps=[
        introduces(HOST),
        introduces(NEIGHBOUR),
        introduces(NEIGHBOUR),
        introduces(HOST),
        far_end_sends(one := to_station(HOST, 1)).expect(arrived(one)),
        far_end_sends(two := to_station(NEIGHBOUR, 2)).expect(arrived(two, NEIGHBOUR)),
    ],
)

category.vector(
    "ret-table-full-of-waiting",
    "A neighbour that is waited for gives way too, with its packets: its late reply releases nothing",
    rules.S31_TABLE_FULL,
    rules.S31_ASK,
    source="RFC 1122 2.3.2.1",
    config={"limits": {"arp_neighbours": 1}},
    steps=[
        far_end_sends(to_station(HOST, 1)).at(4.0).expect(ASK),
        far_end_sends(two := to_station(NEIGHBOUR, 2)).at(4.1).expect(asks_for(NEIGHBOUR.address)),
        answers(NEIGHBOUR, arrived(two, NEIGHBOUR)).at(4.2),
        answers(HOST).at(4.3),
        time_passes(10.0).silence(),
        fence_for_host(),
    ],
)

category.vector(
    "ret-table-full-expired",
    "In a full table an entry that has expired makes room, though it was used after one that has not",
    rules.S31_EXPIRE,
    rules.S31_TABLE_FULL,
    source="RFC 1122 2.3.2.1 (1)",
    config={"limits": {"arp_neighbours": 2}},
    steps=[
        introduces(HOST).at(4.0),
        introduces(NEIGHBOUR).at(100.0),
        far_end_sends(one := to_station(HOST, 1)).at(200.0).expect(arrived(one)),
        introduces(STRANGER).at(1204.0),
        far_end_sends(two := to_station(NEIGHBOUR, 2)).at(1204.1).expect(arrived(two, NEIGHBOUR)),
        far_end_sends(three := to_station(STRANGER, 3)).at(1204.2).expect(arrived(three, STRANGER)),
    ],
)

category.vector(
    "ret-retries-in-order-of-time",
    "Two neighbours are due by one late tick: who was asked first is asked again first",
    rules.S31_RETRY,
    source="RFC 1122 2.3.2.1",
    steps=[
        far_end_sends(six := to_station(NEIGHBOUR, 1)).at(4.0).expect(asks_for(NEIGHBOUR.address)),
        far_end_sends(five := to_station(HOST, 2)).at(4.2).expect(ASK),
        time_passes(5.5).expect(asks_for(NEIGHBOUR.address), ASK),
        answers(HOST, arrived(five)),
        answers(NEIGHBOUR, arrived(six, NEIGHBOUR)),
    ],
)

category.vector(
    "ret-give-up-two-neighbours",
    "A far host that waits for two neighbours in vain is told about each",
    rules.S31_GIVE_UP,
    source="RFC 1812 5.2.7.1",
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(six := to_station(NEIGHBOUR, 1)).at(4.0).expect(asks_for(NEIGHBOUR.address)),
        far_end_sends(five := to_station(HOST, 2)).at(4.0).expect(ASK),
        time_passes(5.0).expect(asks_for(NEIGHBOUR.address), ASK),
        time_passes(6.0).expect(asks_for(NEIGHBOUR.address), ASK),
        told_unreachable(time_passes(7.0), six, five),
        fence_from_tunnel(),
    ],
)

category.vector(
    "ret-give-up-fragments",
    "A packet that was cut for the internal MTU and waited in vain draws one error, about the packet as received",
    rules.S31_GIVE_UP,
    rules.S32_INTERNAL_MTU,
    rules.S20_QUOTE,
    source="RFC 1812 5.2.7.1, 4.3.2.3",
    config={"internal": {"mtu": 576}},
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(big := to_station(payload=udp(53, 5000, bytes(1000)))).at(4.0).expect(ASK),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        told_unreachable(time_passes(7.0), big),
        fence_from_tunnel(),
    ],
)

category.vector(
    "ret-negative-fragments",
    "During the negative second a packet that must be cut draws one error, not one a fragment",
    rules.S31_NEGATIVE,
    rules.S32_INTERNAL_MTU,
    source="RFC 1812 5.2.7.1; RFC 1122 2.3.2.1",
    config={"internal": {"mtu": 576}},
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(one := to_station(HOST, 1)).at(4.0).expect(ASK),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        told_unreachable(time_passes(7.0), one),
        told_unreachable(far_end_sends(big := to_station(payload=udp(53, 5000, bytes(1000)))).at(7.5), big),
        fence_from_tunnel(),
    ],
)

category.vector(
    "ret-give-up-rate",
    "Errors about silent neighbours come out of the same bucket as all others",
    rules.S20_RATE,
    rules.S31_GIVE_UP,
    source="RFC 1812 4.3.2.8",
    config={"limits": {"icmp_burst": 1, "icmp_rate": 1}},
    result=Result.ACCEPTABLE,
    rev=2,
    steps=[
        far_end_sends(one := to_station(HOST, 1)).at(4.0).expect(ASK),
        far_end_sends(to_station(HOST, 2, source="203.0.113.5")).at(4.1).silence(),
        time_passes(5.0).expect(ASK),
        time_passes(6.0).expect(ASK),
        told_unreachable(time_passes(7.0), one),
        fence_from_tunnel(),
    ],
)
