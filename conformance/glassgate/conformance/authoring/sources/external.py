"""The external stack: ARP for the router, one TCP connection to the server, and silence for everybody else.

    GATEWAY 192.168.1.5 ── router 192.168.1.1 ── … ── server 1.2.3.4:1194

The gateway's port and initial sequence number are bound at first sight as ``port`` and ``iss``;
the server begins at 5000. What a SYN offers beside its MSS is the gateway's choice: every story has three beginnings.
"""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import (
    CONFIG,
    FAR,
    FAR_END_SEALS,
    GATEWAY_SEALS,
    HOST,
    SERVER,
    Station,
)
from glassgate.conformance.authoring.story import (
    Category,
    Story,
    announces,
    error_to,
    fence_local,
    from_gateway,
    host_sends,
    introduces,
    leaves,
    time_passes,
    to_host,
)
from glassgate.conformance.model import (
    AnyOctets,
    Bind,
    Checksum,
    ExpectedPacket,
    FlagNote,
    PacketInput,
    Range,
    Result,
    StartInput,
    VectorPort,
)
from glassgate.conformance.packets import (
    ACK,
    ANY,
    BROADCAST_MAC,
    FIN,
    ICMP,
    PSH,
    REPLY,
    REQUEST,
    RST,
    SYN,
    TYPE_ARP,
    TYPE_IPV4,
    Arp,
    Ethernet,
    IPv4,
    Octets,
    Payload,
    bound,
    echo_request,
    framed,
    icmp,
    icmp_error,
    maximum_segment_size,
    tcp,
    udp,
)
from glassgate.contract import rules

OUTSIDE = Station("192.168.1.5", "02:00:c0:a8:01:05")
ROUTER = Station("192.168.1.1", "02:00:c0:a8:01:01")
NEAR = Station("192.168.1.77", "02:00:c0:a8:01:77")
"""Another station of the external network."""

category = Category(
    "external",
    "The external stack: the router by ARP, the connection to the server, its loss, and silence for strangers.",
    config={
        **CONFIG,
        "external": {
            "kind": "stack",
            "mac": OUTSIDE.mac,
            "address": f"{OUTSIDE.address}/24",
            "gateway": ROUTER.address,
            "mtu": 1500,
        },
        "entropy": "00",
    },
    notes={
        "SYN_WITHOUT_WINDOW_SCALE": FlagNote(
            bug="none",
            what="the SYN offers an MSS and nothing else",
            effect="the receive window stays under 64 KiB",
        ),
        "SYN_WITH_TIMESTAMPS": FlagNote(
            bug="none",
            what="the SYN offers selective acknowledgements and timestamps besides (RFC 2018, RFC 7323)",
            effect="none where the server offers neither",
        ),
        "ABORT_ACKNOWLEDGES": FlagNote(
            bug="none",
            what="the reset that ends the connection has the ACK bit and acknowledges what came",
            effect="none: its receiver looks at the sequence number",
        ),
        "ROUTER_ASKED_AT_ONCE": FlagNote(
            bug="none",
            what="the router is asked for at the start, before anything must go to it",
            effect="one request more; the first datagram does not wait",
        ),
        "FLOW_ACK_BEFORE_FIN": FlagNote(
            bug="none",
            what="the server's FIN is acknowledged by a segment of its own before the gateway's FIN",
            effect="one more segment",
        ),
        "FLOW_ACK_BEFORE_RESET": FlagNote(
            bug="none",
            what="the segment with the fatal record is acknowledged before the connection is reset",
            effect="one more segment",
        ),
        "FLOW_ACK_FIRST": FlagNote(
            bug="order of effects",
            what="a segment of the tunnel is acknowledged before what it carried is delivered",
            effect="none: the two leave at different ports",
        ),
        "FLOW_RESENT_IN_PART": FlagNote(
            bug="none",
            what="after 3/4 only the first, smaller segment is sent again at once",
            effect="the rest follows with the acknowledgements",
        ),
        "FLOW_RESENT_LATER": FlagNote(
            bug="none",
            what="3/4 lowers the segment size; what is in flight waits for its retransmission time",
            effect="a second of delay; RFC 1191 6.4 would send again at once",
        ),
        "FLOW_ACK_DELAYED": FlagNote(
            bug="none",
            what="a segment of the tunnel is not acknowledged at once (RFC 9293 3.8.6.3 allows half a second)",
            effect="fewer segments",
        ),
    },
)

MSS = maximum_segment_size(1460)
OUT = IPv4(source=HOST.address, destination=FAR, payload=udp(5000, 53, b"question"), identification=0x0001)
BACK = IPv4(source=FAR, destination=HOST.address, payload=udp(53, 5000, b"answer"), identification=0x0002)
DELIVERED = to_host(BACK.but(time_to_live=63))
RECORD_OUT = framed(GATEWAY_SEALS.record(1, OUT.but(time_to_live=63).build().data))
RECORD_BACK = framed(FAR_END_SEALS.record(1, BACK.build().data))

# ── what happens outside ──────────────────────────────────────────────────────────────────────────────────────────────


def emits(packet: IPv4, to: Station = ROUTER) -> ExpectedPacket:
    """A packet of the gateway's in a frame to the router."""
    frame = Ethernet(source=OUTSIDE.mac, destination=to.mac, type=TYPE_IPV4, payload=packet.build())
    return leaves(VectorPort.EXTERNAL, frame.build())


def emits_arp(packet: Arp, to: str) -> ExpectedPacket:
    """An ARP packet of the gateway's outside."""
    frame = Ethernet(source=OUTSIDE.mac, destination=to, type=TYPE_ARP, payload=packet.build())
    return leaves(VectorPort.EXTERNAL, frame.build())


def comes(payload: IPv4 | Arp, by: Station = ROUTER, to: str = OUTSIDE.mac) -> Story:
    """A frame arrives outside."""
    type_ = TYPE_ARP if isinstance(payload, Arp) else TYPE_IPV4
    frame: Octets = Ethernet(source=by.mac, destination=to, type=type_, payload=payload.build()).build()
    fill = tuple(one for one in frame.free if isinstance(one, Bind | Checksum))
    return Story(PacketInput(VectorPort.EXTERNAL, frame.data, fill))


def _asking(wanted: str) -> Arp:
    return Arp(operation=REQUEST, sender_hardware=OUTSIDE.mac, sender_protocol=OUTSIDE.address, target_protocol=wanted)


ANNOUNCES = emits_arp(_asking(OUTSIDE.address), BROADCAST_MAC)
ASKS_FOR_ROUTER = emits_arp(_asking(ROUTER.address), BROADCAST_MAC)
ROUTER_ANSWERS = comes(
    Arp(
        operation=REPLY,
        sender_hardware=ROUTER.mac,
        sender_protocol=ROUTER.address,
        target_hardware=OUTSIDE.mac,
        target_protocol=OUTSIDE.address,
    )
)


def segment(flags: int, sent: int, acknowledgment: int, data: bytes = b"", **fields: Any) -> ExpectedPacket:
    """The gateway's segment; ``sent`` counts from its initial sequence number."""
    given: dict[str, Any] = {"window": ANY} | fields
    payload = tcp(
        bound("port"), 1194, flags, sequence=bound("iss", sent), acknowledgment=acknowledgment, data=data, **given
    )
    return emits(from_gateway(SERVER, payload, source=OUTSIDE.address, dont_fragment=True))


def server_sends(flags: int, sequence: int, acknowledged: int | None, data: bytes = b"", **fields: Any) -> Story:
    """The server's segment; ``acknowledged`` counts from the gateway's initial sequence number."""
    acknowledgment = 0 if acknowledged is None else bound("iss", acknowledged)
    payload = tcp(1194, bound("port"), flags, sequence=sequence, acknowledgment=acknowledgment, data=data, **fields)
    return comes(IPv4(source=SERVER, destination=OUTSIDE.address, payload=payload, time_to_live=55))


MSS_AND_SCALE = Octets(MSS + b"\x01\x03\x03") + Octets(b"\0", (Range(0, 1, 0, 14),))
LINUX_OPTIONS = (
    Octets(MSS + b"\x04\x02\x08\x0a")
    + Octets(bytes(4), (AnyOctets(0, 4),))
    + (bytes(4) + b"\x01\x03\x03")
    + Octets(b"\0", (Range(0, 1, 0, 14),))
)


def connects(step: Story, number: str = "") -> Story:
    """The gateway sends its SYN to the router; ``number`` tells a second attempt's port and sequence numbers apart."""

    def syn(options: Octets | bytes) -> ExpectedPacket:
        payload = tcp(bound("port" + number), 1194, SYN, sequence=bound("iss" + number), window=ANY, options=options)
        return emits(from_gateway(SERVER, payload, source=OUTSIDE.address, dont_fragment=True))

    return (
        step.expect(syn(MSS_AND_SCALE))
        .or_else("SYN_WITHOUT_WINDOW_SCALE", syn(MSS))
        .or_else("SYN_WITH_TIMESTAMPS", syn(LINUX_OPTIONS))
    )


STARTS = Story(StartInput(), time=0.0).expect(announces(), ANNOUNCES, ASKS_FOR_ROUTER)
CONNECTS = [
    STARTS,
    connects(ROUTER_ANSWERS.at(0.5)),
    server_sends(SYN | ACK, 5000, 1, options=MSS).at(0.6).expect(segment(ACK, 1, 5001)),
    time_passes(2.0).expect(announces(), ANNOUNCES),
    introduces(HOST).at(3.0),
]
"""The whole of the set-up: router, connection, and the host is known."""


def fence_outside() -> Story:
    """An ordinary packet from inside still leaves as a record in the connection."""
    return host_sends(OUT).expect(segment(PSH | ACK, 1, 5001, RECORD_OUT))


# ── set-up ────────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "ext-setup",
    "Both addresses are announced, the router is asked for by ARP, the SYN goes to it, and the tunnel is up",
    rules.S2_OPEN_FLOW,
    rules.S2_ROUTER_BY_ARP,
    rules.S2_SYN_TO_ROUTER,
    rules.S2_ESTABLISHED,
    rules.S25_OUTER_ADDRESSES,
    rules.L3_SYN_SENT,
    source='seed "Tunnel setup"; RFC 1122 3.3.1.1; RFC 9293 3.10.1, 3.10.7.3',
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[fence_outside()],
)

category.vector(
    "ext-nothing-before-connection",
    "Before the connection is up a packet for the tunnel is answered with network unreachable",
    rules.S2_OPEN_FLOW,
    rules.S4_TUNNEL_DOWN,
    source='seed "Tunnel setup"; RFC 1812 5.2.7.1',
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        introduces(HOST).at(0.1),
        host_sends(OUT).at(0.2).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        connects(ROUTER_ANSWERS.at(0.3)),
        host_sends(OUT).at(0.4).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        server_sends(SYN | ACK, 5000, 1, options=MSS).at(0.5).expect(segment(ACK, 1, 5001)),
        fence_outside().at(0.6),
    ],
)

category.vector(
    "ext-router-asked-again",
    "A router that does not answer is asked again after one second and after two",
    rules.S2_ROUTER_BY_ARP,
    rules.S31_RETRY,
    source="RFC 1122 2.3.2.1",
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        time_passes(0.9).silence(),
        time_passes(1.0).expect(ASKS_FOR_ROUTER),
        connects(ROUTER_ANSWERS.at(1.5)),
    ],
)

category.vector(
    "ext-router-silent",
    "A router that stays silent ends the attempt after three seconds; another begins a second later",
    rules.S2_ROUTER_SILENT,
    rules.S2_RETRY,
    source="RFC 1122 2.3.2.1; OpenVPN options.c connect-retry",
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        time_passes(1.0).expect(ASKS_FOR_ROUTER),
        time_passes(1.9).silence(),
        time_passes(2.0).expect(announces(), ANNOUNCES, ASKS_FOR_ROUTER),
        time_passes(3.0).silence(),
        time_passes(3.9).silence(),
        time_passes(4.0).expect(ASKS_FOR_ROUTER),
        connects(ROUTER_ANSWERS.at(4.5)),
    ],
)

category.vector(
    "ext-router-group-hardware",
    "A router's answer with the broadcast address is not believed",
    rules.S8_GROUP_HARDWARE,
    rules.S2_ROUTER_BY_ARP,
    source="RFC 1812 3.3.2",
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        comes(
            Arp(
                operation=REPLY,
                sender_hardware=BROADCAST_MAC,
                sender_protocol=ROUTER.address,
                target_hardware=OUTSIDE.mac,
                target_protocol=OUTSIDE.address,
            )
        )
        .at(0.4)
        .silence(),
        connects(ROUTER_ANSWERS.at(0.5)),
    ],
)

category.vector(
    "ext-syn-again",
    "A SYN that is not answered is sent again after 1, 2 and 4 seconds",
    rules.L3_RETRANSMIT,
    rules.S2_OPEN_FLOW,
    source="RFC 6298 2.1, 5",
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        connects(ROUTER_ANSWERS.at(0.5)),
        time_passes(1.4).silence(),
        connects(time_passes(1.5)),
        time_passes(2.0).expect(announces(), ANNOUNCES),
        time_passes(3.4).silence(),
        connects(time_passes(3.5)),
        connects(time_passes(7.5)),
        server_sends(SYN | ACK, 5000, 1, options=MSS).at(8.0).expect(segment(ACK, 1, 5001)),
        time_passes(60.0).silence(),
    ],
)

category.vector(
    "ext-syn-unanswered",
    "A SYN that nobody answers is given up after three minutes; the next attempt begins a second later",
    rules.S2_UNANSWERED,
    rules.S2_RETRY,
    rules.L3_GIVE_UP,
    rules.L3_RETRANSMIT,
    source="RFC 9293 3.8.3; RFC 6298 5; OpenVPN options.c connect-retry",
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        connects(ROUTER_ANSWERS.at(0.5)),
        connects(time_passes(1.5)),
        time_passes(2.0).expect(announces(), ANNOUNCES),
        *(connects(time_passes(0.5 + waited)) for waited in (3.0, 7.0, 15.0, 31.0, 63.0, 123.0)),
        time_passes(183.4).silence(),
        time_passes(183.5).silence(),
        time_passes(184.4).silence(),
        connects(time_passes(184.5), "2"),
    ],
)

category.vector(
    "ext-syn-refused",
    "A reset in answer to the SYN ends the attempt; the next one begins a second later, the router being known",
    rules.S2_REFUSED,
    rules.S2_RETRY,
    rules.L3_SYN_SENT,
    source="RFC 9293 3.10.7.3; OpenVPN options.c connect-retry",
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        connects(ROUTER_ANSWERS.at(0.5)),
        server_sends(RST | ACK, 0, 1).at(0.6).silence(),
        time_passes(1.5).silence(),
        connects(time_passes(1.6), "2"),
    ],
)

for name, title, answer in (
    ("reset-without-ack", "A reset without acknowledgement proves nothing", server_sends(RST, 0, None)),
    (
        "reset-wrong-ack",
        "A reset that acknowledges something else is no answer to our SYN",
        server_sends(RST | ACK, 0, 77),
    ),
    ("bad-checksum", "A SYN and ACK with a wrong checksum is dropped", None),
    ("from-another-port", "A SYN and ACK from another port is a stranger's", None),
    ("from-another-address", "A SYN and ACK from another address is a stranger's", None),
):
    wrong = {
        "bad-checksum": tcp(1194, 40000, SYN | ACK, sequence=5000, acknowledgment=1, given=0x0BAD),
        "from-another-port": tcp(1195, bound("port"), SYN | ACK, sequence=5000, acknowledgment=bound("iss", 1)),
        "from-another-address": tcp(1194, bound("port"), SYN | ACK, sequence=5000, acknowledgment=bound("iss", 1)),
    }
    if answer is None:
        origin = "1.2.3.5" if name == "from-another-address" else SERVER
        answer = comes(IPv4(source=origin, destination=OUTSIDE.address, payload=wrong[name]))
    category.vector(
        f"ext-syn-sent-{name}",
        f"{title}: silence, and the right answer still connects",
        rules.L3_SYN_SENT if "reset" in name else rules.L3_CHECKSUM if "checksum" in name else rules.S25_SILENCE,
        source='RFC 9293 3.10.7.3; seed "Tunnel setup"',
        result=Result.ACCEPTABLE,
        begins=[STARTS],
        steps=[
            connects(ROUTER_ANSWERS.at(0.5)),
            answer.at(0.6).silence(),
            server_sends(SYN | ACK, 5000, 1, options=MSS).at(0.7).expect(segment(ACK, 1, 5001)),
        ],
    )

# ── both ways ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def arrives(data: bytes, *delivered: ExpectedPacket, at: int = 5001) -> Story:
    """Octets of the tunnel arrive in one segment: acknowledged and delivered, in either order."""
    acknowledges = segment(ACK, 1, at + len(data))
    return (
        server_sends(PSH | ACK, at, 1, data)
        .expect(*delivered, acknowledges)
        .or_else("FLOW_ACK_FIRST", acknowledges, *delivered)
        .or_else("FLOW_ACK_DELAYED", *delivered)
    )


category.vector(
    "ext-record-out-and-in",
    "A record leaves in TCP to the router's hardware address, and one that arrives is delivered inside",
    rules.S25_OUTER_ADDRESSES,
    rules.S24_SEAL,
    rules.S26_OPEN,
    rules.S29_TO_HOST,
    source='seed "Receiving a packet on the internal network", "Receiving a packet via OpenVPN"',
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[arrives(RECORD_BACK, DELIVERED)],
)

for name, destination in (("own-external-address", OUTSIDE.address), ("router", ROUTER.address)):
    category.vector(
        f"ext-inside-to-{name}",
        f"From inside {destination} is somewhere else: the packet enters the tunnel, not the external network",
        rules.S10_OTHER_OWN_ADDRESS if destination == OUTSIDE.address else rules.S14_FORWARD,
        rules.S25_OUTER_ADDRESSES,
        source='seed "Receiving a packet on the internal network"',
        result=Result.ACCEPTABLE,
        begins=CONNECTS,
        steps=[
            host_sends(packet := OUT.but(destination=destination)).expect(
                segment(PSH | ACK, 1, 5001, framed(GATEWAY_SEALS.record(1, packet.but(time_to_live=63).build().data)))
            ),
        ],
    )

category.vector(
    "ext-record-again-until-acknowledged",
    "A record that is not acknowledged is sent again, the same octets",
    rules.L3_RETRANSMIT,
    rules.S3_RECORD,
    source="RFC 6298 2, 5",
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[
        fence_outside().at(10.0),
        time_passes(10.9).silence(),
        time_passes(11.0).expect(segment(PSH | ACK, 1, 5001, RECORD_OUT)),
        server_sends(ACK, 5001, 1 + len(RECORD_OUT)).at(11.1).silence(),
        time_passes(60.0).silence(),
    ],
)

_DATAGRAM_OUT = from_gateway(
    SERVER,
    udp(bound("port"), 1194, GATEWAY_SEALS.record(1, OUT.but(time_to_live=63).build().data)),
    source=OUTSIDE.address,
)
_DATAGRAM_OUT_2 = _DATAGRAM_OUT.but(
    payload=udp(bound("port"), 1194, GATEWAY_SEALS.record(2, OUT.but(time_to_live=63).build().data))
)
_DATAGRAM_BACK = IPv4(
    source=SERVER,
    destination=OUTSIDE.address,
    payload=udp(1194, bound("port"), FAR_END_SEALS.record(1, BACK.build().data)),
    time_to_live=55,
)

category.vector(
    "ext-udp-both-ways",
    "Over UDP each record is a datagram to the server, by way of the router",
    rules.S25_OUTER_ADDRESSES,
    rules.S24_SEAL,
    rules.S26_OPEN,
    source='seed "Receiving a packet on the internal network"; RFC 768; RFC 1122 3.3.1.1, 2.3.2.2',
    config={"tunnel": {"proto": "udp"}},
    result=Result.ACCEPTABLE,
    begins=[
        Story(StartInput(), time=0.0)
        .expect(announces(), ANNOUNCES)
        .or_else("ROUTER_ASKED_AT_ONCE", announces(), ANNOUNCES, ASKS_FOR_ROUTER),
        ROUTER_ANSWERS.at(0.5).silence(),
        time_passes(2.0).expect(announces(), ANNOUNCES),
        introduces(HOST),
    ],
    steps=[
        host_sends(OUT).expect(emits(_DATAGRAM_OUT)),
        host_sends(OUT).expect(emits(_DATAGRAM_OUT_2)),
        comes(_DATAGRAM_BACK).expect(DELIVERED),
    ],
)

# ── strangers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_outside(payload: Any, source: str = NEAR.address) -> IPv4:
    """A stranger's packet to the external address."""
    return IPv4(source=source, destination=OUTSIDE.address, payload=payload)


category.vector(
    "ext-arp-answered",
    "ARP for the external address is answered outside",
    rules.S25_ARP_REPLY,
    source="RFC 826 Packet Reception",
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[
        comes(
            Arp(
                operation=REQUEST,
                sender_hardware=NEAR.mac,
                sender_protocol=NEAR.address,
                target_protocol=OUTSIDE.address,
            ),
            NEAR,
            BROADCAST_MAC,
        ).expect(
            emits_arp(
                Arp(
                    operation=REPLY,
                    sender_hardware=OUTSIDE.mac,
                    sender_protocol=OUTSIDE.address,
                    target_hardware=NEAR.mac,
                    target_protocol=NEAR.address,
                ),
                NEAR.mac,
            )
        ),
    ],
)

for name, wanted in (("internal-address", "10.38.2.1"), ("host", HOST.address), ("router", ROUTER.address)):
    category.vector(
        f"ext-arp-for-{name}",
        f"ARP outside for {wanted} is met with silence: nothing of the inside shows",
        rules.S7_NOT_FOR_US,
        source="RFC 826 Packet Reception",
        result=Result.ACCEPTABLE,
        begins=CONNECTS,
        steps=[
            comes(
                Arp(
                    operation=REQUEST,
                    sender_hardware=NEAR.mac,
                    sender_protocol=NEAR.address,
                    target_protocol=wanted,
                ),
                NEAR,
                BROADCAST_MAC,
            ).silence(),
            fence_outside(),
        ],
    )

for name, title, packet in (
    ("echo", "An echo request to the external address", to_outside(echo_request())),
    ("udp", "A datagram to the external address", to_outside(udp(9, 7, b"x"))),
    ("syn", "A SYN to the external address", to_outside(tcp(9, 7, SYN, sequence=1))),
    (
        "segment-of-server",
        "A segment of the server to another port",
        to_outside(tcp(1194, 9, ACK, sequence=1, acknowledgment=2), SERVER),
    ),
    ("protocol", "A protocol that nobody speaks", to_outside(icmp(77, 0))),
    (
        "internal-address",
        "A packet outside to the internal address",
        to_outside(echo_request()).but(destination="10.38.2.1"),
    ),
    ("host", "A packet outside to the host", to_outside(udp(9, 9)).but(destination=HOST.address)),
):
    category.vector(
        f"ext-silent-to-{name}",
        f"{title} is met with silence, on both sides",
        rules.S25_SILENCE,
        source='seed "Tunnel setup"',
        result=Result.ACCEPTABLE,
        begins=CONNECTS,
        steps=[comes(packet, NEAR).silence(), fence_outside()],
    )

_quoted_stranger = IPv4(
    source=OUTSIDE.address, destination=SERVER, payload=tcp(4, 1194, ACK, sequence=1), identification=7
)
for name, title, error in (
    ("other-port", "An ICMP error that quotes another port", icmp_error(3, 1, _quoted_stranger)),
    ("other-protocol", "An ICMP error that quotes UDP", icmp_error(3, 3, _quoted_stranger.but(payload=udp(9, 1194)))),
    ("truncated", "An ICMP error with too little of a quote", icmp(3, 4, bytes([0, 0, 2, 64]), b"\x45" + bytes(19))),
):
    category.vector(
        f"ext-foreign-error-{name}",
        f"{title} is ignored",
        rules.S25_FOREIGN_ERROR,
        source="RFC 5927 4; RFC 1122 4.2.3.9",
        result=Result.ACCEPTABLE,
        begins=CONNECTS,
        steps=[comes(to_outside(error, ROUTER.address)).silence(), fence_outside()],
    )

# ── errors about our own connection ───────────────────────────────────────────────────────────────────────────────────


def error_about(code: int, sent: int, data: bytes, rest: bytes = bytes(4)) -> Story:
    """A router on the way sends destination unreachable about the gateway's segment, quoting its first 8 octets."""
    whole = IPv4(
        source=OUTSIDE.address,
        destination=SERVER,
        payload=tcp(bound("port"), 1194, PSH | ACK, sequence=bound("iss", sent), acknowledgment=5001, data=data),
        dont_fragment=True,
        time_to_live=60,
    ).build()
    quoted = Octets(whole.data[:28], tuple(one for one in whole.free if one.end <= 28))
    message = _with_message_checksum(Octets(bytes([3, code, 0, 0]) + rest) + quoted)
    packet = IPv4(source="203.0.113.254", destination=OUTSIDE.address, payload=Payload(ICMP, lambda *_: message))
    return comes(packet)


def _with_message_checksum(message: Octets) -> Octets:
    """The checksum is filled in once the bound numbers are."""
    return Octets(message.data, (Checksum(2, 4, "icmp"), *message.free))


for code, name in ((0, "network"), (1, "host"), (2, "protocol"), (3, "port")):
    category.vector(
        f"ext-own-error-{name}-unreachable",
        f"Destination unreachable, code {code}, about a segment in flight does not end the connection",
        rules.L4_FLOW_ERROR,
        source="RFC 1122 4.2.3.9; RFC 5927 5.2",
        result=Result.ACCEPTABLE,
        begins=CONNECTS,
        steps=[
            fence_outside(),
            error_about(code, 1, RECORD_OUT).silence(),
            server_sends(ACK, 5001, 1 + len(RECORD_OUT)).silence(),
            host_sends(OUT).expect(
                segment(
                    PSH | ACK,
                    1 + len(RECORD_OUT),
                    5001,
                    framed(GATEWAY_SEALS.record(2, OUT.but(time_to_live=63).build().data)),
                )
            ),
        ],
    )

_BIG = OUT.but(payload=udp(5000, 53, b"\x5a" * 532))
_BIG_RECORD = framed(GATEWAY_SEALS.record(1, _BIG.but(time_to_live=63).build().data))  # 2 + 24 + 560
_BIG_SECOND = framed(GATEWAY_SEALS.record(2, _BIG.but(time_to_live=63).build().data))


def _in_two(record: bytes, sent: int) -> tuple[ExpectedPacket, ExpectedPacket]:
    """The record in segments of 536 octets: an MTU of 576 less two headers of 20."""
    return segment(ACK, sent, 5001, record[:536]), segment(PSH | ACK, sent + 536, 5001, record[536:])


category.vector(
    "ext-own-error-fragmentation-needed",
    "Fragmentation needed about a segment in flight, with an MTU of 576: no segment of more than 536 octets after it",
    rules.L4_FLOW_ERROR,
    source="RFC 1191 6.4; RFC 5927 7.2",
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[
        host_sends(_BIG).expect(segment(PSH | ACK, 1, 5001, _BIG_RECORD)),
        error_about(4, 1, _BIG_RECORD, bytes([0, 0, 576 >> 8, 576 & 0xFF]))
        .expect(*_in_two(_BIG_RECORD, 1))
        .or_else("FLOW_RESENT_IN_PART", _in_two(_BIG_RECORD, 1)[0])
        .or_else("FLOW_RESENT_LATER"),
        server_sends(ACK, 5001, 1 + len(_BIG_RECORD)).silence(),
        host_sends(_BIG).expect(*_in_two(_BIG_SECOND, 1 + len(_BIG_RECORD))),
    ],
)

category.vector(
    "ext-own-error-not-in-flight",
    "Fragmentation needed about a sequence number that is not in flight is not believed: segments stay as they were",
    rules.S25_FOREIGN_ERROR,
    rules.L4_FLOW_ERROR,
    source="RFC 5927 4.1",
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[
        error_about(4, 0x10000000, _BIG_RECORD, bytes([0, 0, 576 >> 8, 576 & 0xFF])).silence(),
        host_sends(_BIG).expect(segment(PSH | ACK, 1, 5001, _BIG_RECORD)),
    ],
)

# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "ext-reset-by-server",
    "The server resets: the tunnel is down, and a second later a new connection begins",
    rules.S4_FLOW_LOST,
    rules.S2_RETRY,
    rules.L3_RESET,
    source="RFC 9293 3.10.7.4 second; OpenVPN options.c connect-retry",
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[
        server_sends(RST, 5001, None).at(10.0).silence(),
        host_sends(OUT).at(10.1).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        time_passes(10.9).silence(),
        connects(time_passes(11.0), "2"),
        fence_local(),
    ],
)

category.vector(
    "ext-closed-by-server",
    "The server closes: so does the gateway, the tunnel is down, and a second later a new connection begins",
    rules.S4_FLOW_LOST,
    rules.S2_RETRY,
    rules.L3_FIN,
    rules.L3_CLOSE,
    source="RFC 9293 3.6, 3.10.7.4 eighth; OpenVPN options.c connect-retry",
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[
        server_sends(FIN | ACK, 5001, 1)
        .at(10.0)
        .expect(segment(FIN | ACK, 1, 5002))
        .or_else("FLOW_ACK_BEFORE_FIN", segment(ACK, 1, 5002), segment(FIN | ACK, 1, 5002)),
        server_sends(ACK, 5002, 2).at(10.1).silence(),
        host_sends(OUT).at(10.2).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        time_passes(10.9).silence(),
        connects(time_passes(11.0), "2"),
        fence_local(),
    ],
)

category.vector(
    "ext-fatal-record",
    "A record that fails authentication: the connection is reset, not left open, and a new one begins a second later",
    rules.S26_AUTHENTICATION,
    rules.S3_RESET_LOST_FLOW,
    rules.L3_ABORT,
    source="OpenVPN forward.c process_incoming_link_part1; RFC 9293 3.10.5",
    result=Result.ACCEPTABLE,
    begins=CONNECTS,
    steps=[
        server_sends(PSH | ACK, 5001, 1, bad := framed(FAR_END_SEALS.record(1, BACK.build().data, tag_flip=1)))
        .at(10.0)
        .expect(segment(RST, 1, 0))
        .or_else("ABORT_ACKNOWLEDGES", segment(RST | ACK, 1, 5001 + len(bad)))
        .or_else("FLOW_ACK_BEFORE_RESET", segment(ACK, 1, 5001 + len(bad)), segment(RST, 1, 0)),
        connects(time_passes(11.0), "2"),
        fence_local(),
    ],
)

category.vector(
    "ext-syn-answered-wrongly",
    "A SYN and ACK that acknowledges what was not sent is answered by a reset at that number; the right one opens",
    rules.L3_SYN_SENT,
    rules.S2_ESTABLISHED,
    source="RFC 9293 3.10.7.3 first",
    result=Result.ACCEPTABLE,
    begins=[STARTS],
    steps=[
        connects(ROUTER_ANSWERS.at(0.5)),
        server_sends(SYN | ACK, 7000, 77, options=MSS).at(0.6).expect(segment(RST, 77, 0)),
        server_sends(SYN | ACK, 5000, 1, options=MSS).at(0.7).expect(segment(ACK, 1, 5001)),
        time_passes(2.0).expect(announces(), ANNOUNCES),
        introduces(HOST).at(3.0),
        fence_outside(),
    ],
)
