"""Local delivery: what is addressed to the gateway itself, from inside and out of the tunnel."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, GATEWAY, HOST, NEIGHBOUR, STRANGER, TUNNEL, Station
from glassgate.conformance.authoring.story import (
    Category,
    answers,
    asks_for,
    error_to,
    far_end_sends,
    fence,
    fence_from_tunnel,
    fence_local,
    frame_arrives,
    frame_with,
    from_gateway,
    host_sends,
    into_tunnel,
    introduces,
    to_host,
)
from glassgate.conformance.model import ExpectedPacket
from glassgate.conformance.packets import (
    ACK,
    ANY,
    FIN,
    NO_OPERATION,
    PSH,
    ROUTER_ALERT,
    RST,
    SYN,
    URG,
    IPv4,
    Payload,
    bound,
    echo_reply,
    echo_request,
    icmp,
    icmp_error,
    loose_source_route,
    option,
    parameter_problem,
    raw,
    strict_source_route,
    tcp,
    udp,
)
from glassgate.contract import rules

category = Category(
    "local-delivery",
    "Packets for the gateway itself: echo, UDP, TCP and all that must be met with an error or with silence.",
)


def to_gateway(payload: Payload, **fields: Any) -> IPv4:
    """A packet from the host to the gateway."""
    return IPv4(source=HOST.address, destination=GATEWAY.address, payload=payload, **fields)


def to_gateway_through_tunnel(payload: Payload, destination: str = GATEWAY.address, **fields: Any) -> IPv4:
    """A packet from far away to the gateway."""
    return IPv4(source=FAR, destination=destination, payload=payload, **fields)


# ── ICMP echo ─────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "local-echo",
    "An echo request to the internal address is answered with the same identifier, sequence number and data",
    rules.L1_ECHO,
    rules.S10_FOR_ME,
    rules.S13_REPLY,
    rules.S1_OWN_SOURCE,
    rules.S5_FOR_US,
    source='RFC 792 Echo; RFC 1122 3.2.2.6; seed "Receiving a packet on the internal network"',
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(0x0007, 1, b"glassgate!"))).expect(
            to_host(from_gateway(HOST.address, echo_reply(0x0007, 1, b"glassgate!")))
        ),
    ],
)

category.vector(
    "local-echo-no-data",
    "An echo request of the shortest kind, 8 octets, is answered in kind",
    rules.L1_ECHO,
    source="RFC 792 Echo; RFC 1122 3.2.2.6",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(9, 2, b""))).expect(
            to_host(from_gateway(HOST.address, echo_reply(9, 2, b"")))
        ),
    ],
)

category.vector(
    "local-echo-odd-length",
    "Data of odd length are returned whole, and the checksum counts a zero octet after them",
    rules.L1_ECHO,
    source="RFC 792 Echo; RFC 1071 1",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(1, 3, b"odd"))).expect(
            to_host(from_gateway(HOST.address, echo_reply(1, 3, b"odd")))
        ),
    ],
)

category.vector(
    "local-echo-of-full-mtu",
    "An echo request of exactly 1500 octets is answered by one packet of 1500",
    rules.L1_ECHO,
    rules.S22_FITS,
    source="RFC 1122 3.2.2.6",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(1, 4, b"\xa7" * 1472))).expect(
            to_host(from_gateway(HOST.address, echo_reply(1, 4, b"\xa7" * 1472)))
        ),
    ],
)

category.vector(
    "local-echo-reply-checksum-zero",
    "Where the reply's checksum is 0x0000 it is sent as 0x0000: ICMP has no exception such as UDP's",
    rules.L1_ECHO,
    source="RFC 792 Echo; RFC 1071 1",
    steps=[
        introduces(HOST),
        # 0000 + 0000 + 0000 + ffff: the reply's sum is ffff, its complement 0000
        host_sends(to_gateway(echo_request(0, 0, b"\xff\xff"))).expect(
            to_host(from_gateway(HOST.address, echo_reply(0, 0, b"\xff\xff", given=0x0000)))
        ),
    ],
)

category.vector(
    "local-echo-reply-sum-is-all-carry",
    "An echo reply whose words add up to 0x10000 has the checksum 0xfffe: the carry comes back",
    rules.L1_ECHO,
    source="RFC 1071 1; RFC 792 Echo",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(0xFFFF, 1, b""))).expect(
            to_host(from_gateway(HOST.address, echo_reply(0xFFFF, 1, b"", given=0xFFFE)))
        ),
    ],
)

category.vector(
    "local-echo-request-checksum-zero",
    "A request whose checksum is rightly 0x0000 is answered; a checksum adjusted by the difference would be wrong here",
    rules.L1_ECHO,
    rules.L1_CHECKSUM,
    source="RFC 792 Echo; RFC 1624 3",
    steps=[
        introduces(HOST),
        # 0800 + f7ff: the request's sum is ffff, its complement 0000; the reply's is f7ff, its complement 0800
        host_sends(to_gateway(echo_request(0xF7FF, 0, b"", given=0x0000))).expect(
            to_host(from_gateway(HOST.address, echo_reply(0xF7FF, 0, b"", given=0x0800)))
        ),
    ],
)

category.vector(
    "local-echo-type-of-service",
    "The reply has the request's type of service",
    rules.L1_ECHO,
    source="RFC 1812 4.3.3.6; RFC 1349 5.1",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(), type_of_service=0xB8)).expect(
            to_host(from_gateway(HOST.address, echo_reply(), type_of_service=0xB8))
        ),
    ],
)

category.vector(
    "local-echo-dont-fragment",
    "A request with DF is answered like any other; the gateway's own packets may be fragmented on their way",
    rules.L1_ECHO,
    source="RFC 1122 3.2.2.6; RFC 792 Echo",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(), dont_fragment=True)).expect(
            to_host(from_gateway(HOST.address, echo_reply()))
        ),
    ],
)

for time_to_live in (0, 1):
    category.vector(
        f"local-echo-ttl-{time_to_live}",
        f"A time to live of {time_to_live} is enough for a packet that goes no further; the reply starts with 64",
        rules.S11_TTL_IGNORED,
        rules.L1_ECHO,
        source="RFC 1812 5.3.1; RFC 1122 3.2.1.7",
        steps=[
            introduces(HOST),
            host_sends(to_gateway(echo_request(), time_to_live=time_to_live)).expect(
                to_host(from_gateway(HOST.address, echo_reply()))
            ),
        ],
    )

category.vector(
    "local-echo-padded-frame",
    "The padding of a short frame is no part of the echo",
    rules.L1_ECHO,
    rules.S9_PADDING,
    rules.S5_PADDING,
    source="RFC 894",
    steps=[
        introduces(HOST),
        frame_arrives(frame_with(to_gateway(echo_request(5, 6, b"abc")), pad_to=60, pad_with=0x5A)).expect(
            to_host(from_gateway(HOST.address, echo_reply(5, 6, b"abc")))
        ),
    ],
)

category.vector(
    "local-echo-two-hosts",
    "Two hosts ask at once; each gets its own answer at its own hardware address",
    rules.L1_ECHO,
    rules.S31_KNOWN,
    source="RFC 1122 3.2.2.6; RFC 826",
    steps=[
        introduces(HOST),
        introduces(NEIGHBOUR),
        host_sends(to_gateway(echo_request(1, 1, b"five"))).expect(
            to_host(from_gateway(HOST.address, echo_reply(1, 1, b"five")))
        ),
        host_sends(to_gateway(echo_request(1, 1, b"six")).but(source=NEIGHBOUR.address), NEIGHBOUR).expect(
            to_host(from_gateway(NEIGHBOUR.address, echo_reply(1, 1, b"six")), NEIGHBOUR)
        ),
    ],
)

category.vector(
    "local-echo-from-unknown-host",
    "An IPv4 packet teaches no hardware address: the gateway asks by ARP, then the reply leaves",
    rules.L1_ECHO,
    rules.S31_ASK,
    rules.S31_RELEASE,
    source="RFC 826 Packet Generation; RFC 1122 2.3.2.2",
    steps=[
        host_sends(to_gateway(echo_request(3, 3)).but(source=STRANGER.address), STRANGER).expect(
            asks_for(STRANGER.address)
        ),
        answers(STRANGER, to_host(from_gateway(STRANGER.address, echo_reply(3, 3)), STRANGER)),
    ],
)

category.invalid(
    "local-echo-bad-checksum",
    "An echo request whose ICMP checksum is off by one is met with silence",
    rules.L1_CHECKSUM,
    source="RFC 792",
    steps=[
        introduces(HOST),
        # 0800 + 0007 + 0001 = 0808, complement f7f7
        host_sends(to_gateway(echo_request(7, 1, b"", given=0xF7F8))).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-echo-checksum-not-computed",
    "An ICMP checksum of 0 does not mean that there is none",
    rules.L1_CHECKSUM,
    source="RFC 792",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request(7, 1, b"", given=0))).silence(),
        fence_local(),
    ],
)

for length in (0, 4, 7):
    category.invalid(
        f"local-icmp-{length}-octets",
        f"{length} octets are no ICMP message",
        rules.L1_TRUNCATED,
        source="RFC 792",
        steps=[
            introduces(HOST),
            # 08 00 f7 ff: a checksum that would be right for what there is
            host_sends(to_gateway(raw(1, bytes.fromhex("0800f7ff000000")[:length]))).silence(),
            fence_local(),
        ],
    )

category.invalid(
    "local-echo-switched-off",
    "A gateway without the echo service is silent",
    rules.L1_DISABLED,
    source="RFC 1812 4.3.3.6",
    config={"services": {"icmp_echo": False}},
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request())).silence(),
        fence(),
    ],
)

category.invalid(
    "local-echo-in-broadcast-frame",
    "An echo request to the gateway in a broadcast frame is met with silence",
    rules.S6_IP_IN_GROUP_FRAME,
    source="RFC 1122 3.3.6; RFC 1812 5.3.4",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request()), to="ff:ff:ff:ff:ff:ff").silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-echo-in-multicast-frame",
    "An echo request to the gateway in a multicast frame is met with silence",
    rules.S6_IP_IN_GROUP_FRAME,
    source="RFC 1122 3.3.6; RFC 1812 5.3.4",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(echo_request()), to="01:00:5e:00:00:01").silence(),
        fence_local(),
    ],
)

for name, group, rule in (
    ("directed-broadcast", "10.38.2.255", rules.S14_BROADCAST),
    ("network-address", "10.38.2.0", rules.S14_BROADCAST),
    ("limited-broadcast", "255.255.255.255", rules.S14_BROADCAST),
    ("all-hosts", "224.0.0.1", rules.S14_MULTICAST),
):
    category.invalid(
        f"local-echo-to-{name}",
        f"An echo request to {group} is not answered: nobody becomes a smurf amplifier",
        rule,
        source="RFC 1122 3.2.2.6; RFC 1812 4.3.3.6; RFC 2644",
        steps=[
            introduces(HOST),
            host_sends(to_gateway(echo_request()).but(destination=group)).silence(),
            fence_local(),
        ],
    )

for name, kind, message in (
    ("echo-reply", "An echo reply that nobody asked for", echo_reply()),
    ("unreachable", "An ICMP error about a packet that was never sent", icmp_error(3, 1, to_gateway(udp(9, 9)))),
    ("redirect", "A redirect: the gateway has no use for one", icmp(5, 1, bytes([10, 38, 2, 6]), bytes(28))),
    ("router-solicitation", "A router solicitation", icmp(10, 0)),
    ("timestamp-request", "A timestamp request: that optional service is not offered", icmp(13, 0, data=bytes(16))),
    ("address-mask-request", "An address mask request", icmp(17, 0, data=bytes(8))),
    ("source-quench", "A source quench (deprecated by RFC 6633)", icmp(4, 0, data=bytes(28))),
    ("unknown-type", "An ICMP message of an unassigned type", icmp(77, 0)),
):
    category.invalid(
        f"local-icmp-{name}",
        f"{kind} is met with silence",
        rules.L4_ICMP_NO_ANSWER,
        source="RFC 1122 3.2.2; RFC 1812 4.3.1",
        steps=[introduces(HOST), host_sends(to_gateway(message)).silence(), fence_local()],
    )

# ── UDP ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "local-udp-echo",
    "The echo service returns the data, ports exchanged",
    rules.L2_ECHO,
    rules.S13_REPLY,
    source="RFC 862; RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"hello"))).expect(
            to_host(from_gateway(HOST.address, udp(7, 5000, b"hello")))
        ),
    ],
)

category.vector(
    "local-udp-echo-empty",
    "A datagram without data is echoed without data",
    rules.L2_ECHO,
    source="RFC 862; RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7))).expect(to_host(from_gateway(HOST.address, udp(7, 5000)))),
    ],
)

category.vector(
    "local-udp-echo-type-of-service",
    "The echo service answers with type of service 0: only ICMP reflects it",
    rules.L2_ECHO,
    source="RFC 862; RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"tos"), type_of_service=0x10)).expect(
            to_host(from_gateway(HOST.address, udp(7, 5000, b"tos")))
        ),
    ],
)

category.vector(
    "local-udp-no-checksum",
    "A checksum of 0 means none: the datagram is accepted, and the answer has one",
    rules.L2_NO_CHECKSUM,
    source="RFC 768; RFC 1122 4.1.3.4",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"none", given=0))).expect(
            to_host(from_gateway(HOST.address, udp(7, 5000, b"none")))
        ),
    ],
)

category.vector(
    "local-udp-checksum-all-ones",
    "A checksum that computes to 0 travels as 0xffff, both ways",
    rules.L2_ECHO,
    rules.L2_CHECKSUM,
    source="RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        # pseudo header 0a26 0205 0a26 0201 0011 000a, header 1388 0007 000a: 2c06 with the carries; data d3f9 make ffff
        host_sends(to_gateway(udp(5000, 7, bytes.fromhex("d3f9"), given=0xFFFF))).expect(
            to_host(from_gateway(HOST.address, udp(7, 5000, bytes.fromhex("d3f9"), given=0xFFFF)))
        ),
    ],
)

category.vector(
    "local-udp-excess",
    "What IP delivered beyond the UDP length is ignored and not echoed",
    rules.L2_EXCESS,
    source="RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"data", excess=b"more"))).expect(
            to_host(from_gateway(HOST.address, udp(7, 5000, b"data")))
        ),
    ],
)

category.vector(
    "local-udp-with-router-alert",
    "A datagram behind an option of four octets is found where the header length says",
    rules.L2_ECHO,
    rules.S10_FOR_ME,
    source="RFC 791 3.1; RFC 2113",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"opt"), options=ROUTER_ALERT)).expect(
            to_host(from_gateway(HOST.address, udp(7, 5000, b"opt")))
        ),
    ],
)

category.invalid(
    "local-udp-bad-checksum",
    "A datagram with a wrong checksum is met with silence, not with an echo",
    rules.L2_CHECKSUM,
    source="RFC 1122 4.1.3.4",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"hello", given=0x1111))).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-checksum-of-other-addresses",
    "The checksum covers the addresses: one that is right for another sender is wrong",
    rules.L2_CHECKSUM,
    source="RFC 768; RFC 1122 4.1.3.4",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(
            to_gateway(
                raw(17, IPv4(source="10.38.2.9", destination=GATEWAY.address, payload=udp(5000, 7, b"x")).data().data)
            )
        ).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port-bad-checksum",
    "A wrong checksum is silent for a closed port too: who knows what port was meant",
    rules.L2_CHECKSUM,
    source="RFC 1122 4.1.3.4",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 9999, b"hello", given=0x1111))).silence(),
        fence_local(),
    ],
)

for length in (0, 7):
    category.invalid(
        f"local-udp-{length}-octets",
        f"{length} octets are no UDP datagram",
        rules.L2_TRUNCATED,
        source="RFC 768",
        steps=[
            introduces(HOST),
            host_sends(to_gateway(raw(17, bytes.fromhex("13880007000800")[:length]))).silence(),
            fence_local(),
        ],
    )

category.invalid(
    "local-udp-length-7",
    "A UDP length of 7 does not cover the header",
    rules.L2_LENGTH,
    source="RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"data", length=7, given=0))).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-length-0",
    "A UDP length of 0 is no jumbogram here",
    rules.L2_LENGTH,
    source="RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"data", length=0, given=0))).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-length-beyond-packet",
    "A UDP length of 13 where IP delivered 12: nothing is echoed, least of all what stands behind the packet",
    rules.L2_LENGTH,
    source="RFC 768",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 7, b"data", length=13, given=0))).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port",
    "A datagram to a port without service is answered with port unreachable from the address that was asked",
    rules.L2_CLOSED_PORT,
    rules.S20_SOURCE,
    rules.S20_QUOTE,
    rules.S20_HEADER,
    source="RFC 1122 4.1.3.1; RFC 792 Destination Unreachable; RFC 1812 4.3.2",
    steps=[
        introduces(HOST),
        host_sends(closed := to_gateway(udp(5000, 9999, b"anyone?"), identification=0x4321)).expect(
            to_host(error_to(HOST.address, icmp_error(3, 3, closed)))
        ),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port-quote-576",
    "The error about a long datagram is 576 octets and no more",
    rules.S20_QUOTE,
    rules.L2_CLOSED_PORT,
    source="RFC 1812 4.3.2.3",
    steps=[
        introduces(HOST),
        host_sends(closed := to_gateway(udp(5000, 9999, bytes(range(256)) * 5))).expect(
            to_host(error_to(HOST.address, icmp_error(3, 3, closed)))
        ),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port-quotes-no-padding",
    "The error quotes the packet, not what pads its frame",
    rules.S20_QUOTE,
    rules.S9_PADDING,
    source="RFC 1812 4.3.2.3; RFC 894",
    steps=[
        introduces(HOST),
        frame_arrives(frame_with(closed := to_gateway(udp(5000, 9999)), pad_to=60, pad_with=0x77)).expect(
            to_host(error_to(HOST.address, icmp_error(3, 3, closed)))
        ),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port-quotes-options",
    "The error quotes the header with its options, and has none itself",
    rules.S20_QUOTE,
    rules.L2_CLOSED_PORT,
    source="RFC 1812 4.3.2.3; RFC 792",
    steps=[
        introduces(HOST),
        host_sends(closed := to_gateway(udp(5000, 9999, b"q"), options=ROUTER_ALERT + NO_OPERATION * 4)).expect(
            to_host(error_to(HOST.address, icmp_error(3, 3, closed)))
        ),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port-ttl-0",
    "The quoted header has the time to live that arrived, 0",
    rules.S20_QUOTE,
    rules.S11_TTL_IGNORED,
    source="RFC 1812 4.3.2.3, 5.3.1",
    steps=[
        introduces(HOST),
        host_sends(closed := to_gateway(udp(5000, 9999, b"q"), time_to_live=0, type_of_service=0x1C)).expect(
            to_host(error_to(HOST.address, icmp_error(3, 3, closed)))
        ),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port-to-broadcast",
    "A datagram to the directed broadcast draws no port unreachable",
    rules.S14_BROADCAST,
    rules.S20_NOT_ABOUT_GROUP,
    source="RFC 1122 3.2.2; RFC 1812 4.3.2.7",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 9999)).but(destination="10.38.2.255")).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-udp-closed-port-in-broadcast-frame",
    "A datagram to the gateway in a broadcast frame draws no port unreachable",
    rules.S6_IP_IN_GROUP_FRAME,
    rules.S20_NOT_ABOUT_GROUP,
    source="RFC 1122 3.2.2; RFC 1812 4.3.2.7",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(udp(5000, 9999)), to="ff:ff:ff:ff:ff:ff").silence(),
        fence_local(),
    ],
)

for port, service in ((7, "echo"), (19, "chargen")):
    category.invalid(
        f"local-udp-echo-from-{service}",
        f"The echo service does not answer source port {port}: two services would talk for ever",
        rules.L2_ECHO_LOOP,
        source="RFC 862; RFC 864; CERT CA-1996-01",
        requires=["udp_echo"],
        steps=[introduces(HOST), host_sends(to_gateway(udp(port, 7, b"loop"))).silence(), fence_local()],
    )

category.invalid(
    "local-udp-from-port-0",
    "A datagram from port 0 wants no answer: none is sent",
    rules.L2_PORT_ZERO,
    source="RFC 768",
    requires=["udp_echo"],
    steps=[introduces(HOST), host_sends(to_gateway(udp(0, 7, b"zero"))).silence(), fence_local()],
)

category.invalid(
    "local-udp-to-port-0",
    "A datagram to port 0 is met with silence",
    rules.L2_PORT_ZERO,
    source="RFC 768",
    steps=[introduces(HOST), host_sends(to_gateway(udp(5000, 0, b"zero"))).silence(), fence_local()],
)

# ── how many errors ───────────────────────────────────────────────────────────────────────────────────────────────────

_closed = [to_gateway(udp(5000, 9000 + number), identification=number) for number in range(5)]


def _told(packet: IPv4) -> ExpectedPacket:
    return to_host(error_to(HOST.address, icmp_error(3, 3, packet)))


category.invalid(
    "local-error-rate",
    "With two errors at once and one a second, the third is withheld, and a second later there is one again",
    rules.S20_RATE,
    source="RFC 1812 4.3.2.8",
    config={"limits": {"icmp_burst": 2, "icmp_rate": 1}},
    steps=[
        introduces(HOST),
        host_sends(_closed[0]).at(4.0).expect(_told(_closed[0])),
        host_sends(_closed[1]).at(4.0).expect(_told(_closed[1])),
        host_sends(_closed[2]).at(4.0).silence(),
        host_sends(_closed[3]).at(5.25).expect(_told(_closed[3])),
        host_sends(_closed[4]).at(5.5).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-error-rate-burst-is-bounded",
    "However long nothing went wrong, no more than the burst leaves at once",
    rules.S20_RATE,
    source="RFC 1812 4.3.2.8",
    config={"limits": {"icmp_burst": 2, "icmp_rate": 20}},
    steps=[
        introduces(HOST).at(600.0),
        host_sends(_closed[0]).at(601.0).expect(_told(_closed[0])),
        host_sends(_closed[1]).at(601.0).expect(_told(_closed[1])),
        host_sends(_closed[2]).at(601.0).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-error-rate-default",
    "Unless configured otherwise fifty errors leave at once and the fifty-first does not",
    rules.S20_RATE,
    source="RFC 1812 4.3.2.8",
    steps=[
        introduces(HOST),
        *(
            host_sends(closed := to_gateway(udp(5000, 9000), identification=number)).at(4.0).expect(_told(closed))
            for number in range(50)
        ),
        host_sends(to_gateway(udp(5000, 9000), identification=50)).at(4.0).silence(),
        host_sends(later := to_gateway(udp(5000, 9000), identification=51)).at(4.0625).expect(_told(later)),
        fence_local(),
    ],
)

category.vector(
    "local-echo-is-not-rate-limited",
    "Echo replies are no errors: they leave when all errors are spent",
    rules.S20_RATE,
    rules.L1_ECHO,
    source="RFC 1812 4.3.2.8",
    config={"limits": {"icmp_burst": 1, "icmp_rate": 1}},
    steps=[
        introduces(HOST),
        host_sends(_closed[0]).at(4.0).expect(_told(_closed[0])),
        host_sends(_closed[1]).at(4.0).silence(),
        fence_local().at(4.0),
        fence_local().at(4.0),
    ],
)

# ── another protocol ──────────────────────────────────────────────────────────────────────────────────────────────────

for protocol, name in ((47, "gre"), (0, "0"), (255, "255")):
    category.invalid(
        f"local-protocol-{name}",
        f"Protocol {protocol} to the gateway is answered with protocol unreachable from the address that was asked",
        rules.L4_PROTOCOL,
        rules.S20_SOURCE,
        source="RFC 1122 3.2.2.1; RFC 1812 5.2.7.1",
        steps=[
            introduces(HOST),
            host_sends(unknown := to_gateway(raw(protocol, b"\x00\x00\x08\x00payload"))).expect(
                to_host(error_to(HOST.address, icmp_error(3, 2, unknown)))
            ),
            fence_local(),
        ],
    )

# ── TCP without service ───────────────────────────────────────────────────────────────────────────────────────────────


def reset(
    sequence: int, acknowledgment: int | None = None, port: int = 80, to_port: int = 5000, to: str = HOST.address
) -> IPv4:
    """The gateway's reset: its window means nothing, so it is free; an acknowledgement only where the standard says."""
    flags = RST if acknowledgment is None else RST | ACK
    segment = tcp(port, to_port, flags, sequence=sequence, acknowledgment=acknowledgment or 0, window=ANY)
    return from_gateway(to, segment, dont_fragment=True)


for name, title, segment, answer in (
    (
        "syn",
        "A SYN to a closed port: reset with sequence number 0 that acknowledges the SYN",
        tcp(5000, 80, SYN, sequence=1000),
        reset(0, 1001),
    ),
    (
        "syn-with-options",
        "Options are no sequence space: a SYN with an MSS counts one",
        tcp(5000, 80, SYN, sequence=1000, options=bytes.fromhex("020405b4")),
        reset(0, 1001),
    ),
    (
        "syn-with-data",
        "SYN and 10 octets of data: eleven are acknowledged",
        tcp(5000, 80, SYN, sequence=1000, data=b"0123456789"),
        reset(0, 1011),
    ),
    (
        "syn-fin-data",
        "SYN, three octets and FIN: five are acknowledged",
        tcp(5000, 80, SYN | FIN, sequence=1000, data=b"abc"),
        reset(0, 1005),
    ),
    (
        "fin",
        "A FIN without acknowledgement counts one",
        tcp(5000, 80, FIN, sequence=77),
        reset(0, 78),
    ),
    (
        "no-flags",
        "A segment without any flag counts its data alone",
        tcp(5000, 80, 0, sequence=500, data=b"null"),
        reset(0, 504),
    ),
    (
        "christmas",
        "FIN, PSH and URG: the FIN counts",
        tcp(5000, 80, FIN | PSH | URG, sequence=500),
        reset(0, 501),
    ),
    (
        "sequence-wraps",
        "Sequence numbers are counted modulo 2³²: SYN at ffffffff is acknowledged by 0",
        tcp(5000, 80, SYN, sequence=0xFFFFFFFF),
        reset(0, 0),
    ),
    (
        "ack",
        "An acknowledgement to a closed port: a bare reset whose sequence number is what was acknowledged",
        tcp(5000, 80, ACK, sequence=1000, acknowledgment=2000),
        reset(2000),
    ),
    (
        "syn-ack",
        "SYN and ACK: a bare reset at the number acknowledged",
        tcp(5000, 80, SYN | ACK, sequence=1000, acknowledgment=0x80000000),
        reset(0x80000000),
    ),
    (
        "data-with-ack",
        "Data with an acknowledgement: a bare reset, whatever the data",
        tcp(5000, 80, ACK | PSH, sequence=1000, acknowledgment=2000, data=b"GET /"),
        reset(2000),
    ),
    (
        "fin-ack",
        "FIN and ACK: a bare reset",
        tcp(5000, 80, FIN | ACK, sequence=1000, acknowledgment=3000),
        reset(3000),
    ),
):
    category.invalid(
        f"local-tcp-closed-{name}",
        title,
        rules.L3_CLOSED_PORT,
        source="RFC 9293 3.10.7.1",
        steps=[introduces(HOST), host_sends(to_gateway(segment)).expect(to_host(answer)), fence_local()],
    )

for name, title, segment, rule, why in (
    (
        "closed-rst",
        "A reset to a closed port is not answered",
        tcp(5000, 80, RST, sequence=1000),
        rules.L3_NO_RESET_TO_RESET,
        "RFC 9293 3.10.7.1",
    ),
    (
        "closed-rst-ack",
        "Nor is a reset that acknowledges something",
        tcp(5000, 80, RST | ACK, sequence=1000, acknowledgment=5),
        rules.L3_NO_RESET_TO_RESET,
        "RFC 9293 3.10.7.1",
    ),
    (
        "closed-syn-rst",
        "Nor is one that is a SYN as well",
        tcp(5000, 80, SYN | RST, sequence=1000),
        rules.L3_NO_RESET_TO_RESET,
        "RFC 9293 3.10.7.1",
    ),
    (
        "bad-checksum",
        "A segment with a wrong checksum is met with silence",
        tcp(5000, 80, SYN, sequence=1000, given=0x1234),
        rules.L3_CHECKSUM,
        "RFC 9293 3.1; RFC 1122 4.2.2.7",
    ),
    (
        "checksum-not-computed",
        "A TCP checksum of 0 does not mean that there is none",
        tcp(5000, 80, SYN, sequence=1000, given=0),
        rules.L3_CHECKSUM,
        "RFC 9293 3.1",
    ),
    (
        "19-octets",
        "19 octets are no TCP segment",
        raw(6, bytes.fromhex("13880050000003e80000000050020000000000")),
        rules.L3_TRUNCATED,
        "RFC 9293 3.1",
    ),
    (
        "no-octets",
        "A packet without a segment is met with silence",
        raw(6, b""),
        rules.L3_TRUNCATED,
        "RFC 9293 3.1",
    ),
    (
        "data-offset-4",
        "A data offset of 4 words does not cover the header",
        tcp(5000, 80, SYN, sequence=1000, data_offset=4),
        rules.L3_TRUNCATED,
        "RFC 9293 3.1",
    ),
    (
        "data-offset-beyond-end",
        "A data offset of 6 words in a segment of 20 octets points behind it",
        tcp(5000, 80, SYN, sequence=1000, data_offset=6),
        rules.L3_TRUNCATED,
        "RFC 9293 3.1",
    ),
    (
        "to-port-0",
        "A SYN to port 0 is met with silence",
        tcp(5000, 0, SYN, sequence=1000),
        rules.L3_PORT_ZERO,
        "RFC 9293 3.1",
    ),
    (
        "from-port-0",
        "A SYN from port 0 could not be answered to anybody: silence",
        tcp(0, 80, SYN, sequence=1000),
        rules.L3_PORT_ZERO,
        "RFC 9293 3.1",
    ),
):
    category.invalid(
        f"local-tcp-{name}",
        title,
        rule,
        source=why,
        steps=[introduces(HOST), host_sends(to_gateway(segment)).silence(), fence_local()],
    )

category.invalid(
    "local-tcp-syn-to-broadcast",
    "A SYN to the directed broadcast is not answered by a reset",
    rules.S14_BROADCAST,
    source="RFC 9293 3.9.2.3; RFC 1122 4.2.3.10",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(tcp(5000, 80, SYN, sequence=1)).but(destination="10.38.2.255")).silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-tcp-syn-in-broadcast-frame",
    "A SYN to the gateway in a broadcast frame is not answered by a reset",
    rules.S6_IP_IN_GROUP_FRAME,
    source="RFC 1122 4.2.3.10, 3.3.6",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(tcp(5000, 80, SYN, sequence=1)), to="ff:ff:ff:ff:ff:ff").silence(),
        fence_local(),
    ],
)

category.invalid(
    "local-land",
    "A SYN from the gateway's own address to itself (LAND) is dropped",
    rules.S16_OWN,
    source="RFC 1812 5.3.7; CERT CA-1997-28",
    steps=[
        introduces(HOST),
        host_sends(to_gateway(tcp(7, 7, SYN, sequence=1)).but(source=GATEWAY.address)).silence(),
        fence_local(),
    ],
)

# ── options on the way to the gateway ─────────────────────────────────────────────────────────────────────────────────

for name, route in (
    ("loose", loose_source_route("10.38.2.6") + NO_OPERATION),
    ("strict", strict_source_route("10.38.2.6") + NO_OPERATION),
    ("used-up", loose_source_route("10.38.2.6", pointer=8) + NO_OPERATION),
):
    category.invalid(
        f"local-source-route-{name}",
        f"A packet to the gateway with a source route ({name}) is dropped silently",
        rules.S18_SOURCE_ROUTE,
        source="RFC 7126 4.3, 4.4",
        steps=[introduces(HOST), host_sends(to_gateway(echo_request(), options=route)).silence(), fence_local()],
    )

category.invalid(
    "local-malformed-option",
    "An option that runs over the header's end is answered with parameter problem that points to its type octet",
    rules.S18_MALFORMED_OPTION,
    rules.S20_SOURCE,
    source="RFC 1122 3.2.2.5; RFC 792 Parameter Problem",
    steps=[
        introduces(HOST),
        host_sends(bad := to_gateway(echo_request(), options=option(7, b"\x04\x00", length=39))).expect(
            to_host(error_to(HOST.address, parameter_problem(bad, 20)))
        ),
        fence_local(),
    ],
)

# ── fragments of our own and to us ────────────────────────────────────────────────────────────────────────────────────

_asked = to_gateway(echo_request(0x0F0F, 1, bytes(range(250)) * 8), identification=0x7777)  # 2008 octets of ICMP
_answer = from_gateway(HOST.address, echo_reply(0x0F0F, 1, bytes(range(250)) * 8), identification=bound("id"))

category.vector(
    "local-echo-2000-octets",
    "An echo request in two fragments is put together; the answer leaves in two fragments under one identification",
    rules.S12_COMPLETE,
    rules.L1_ECHO,
    rules.S21_FRAGMENT,
    source="RFC 791 3.2; RFC 1122 3.3.2, 3.3.3",
    steps=[
        introduces(HOST),
        host_sends(_asked.piece(0, 1480, more=True)).silence(),
        host_sends(_asked.piece(1480, 2008, more=False)).expect(
            to_host(_answer.piece(0, 1480, more=True)),
            to_host(_answer.piece(1480, 2008, more=False)),
        ),
    ],
)

# ── sources that get no answer ────────────────────────────────────────────────────────────────────────────────────────

for name, source, rule in (
    ("far-network", "198.51.100.9", rules.S16_FOREIGN),
    ("loopback", "127.0.0.1", rules.S16_MARTIAN),
    ("multicast", "224.0.0.5", rules.S16_MARTIAN),
    ("unspecified", "0.0.0.0", rules.S16_MARTIAN),
    ("limited-broadcast", "255.255.255.255", rules.S16_MARTIAN),
    ("broadcast", "10.38.2.255", rules.S16_NETWORK),
    ("network", "10.38.2.0", rules.S16_NETWORK),
):
    category.invalid(
        f"local-echo-source-{name}",
        f"An echo request that claims to come from {source} is met with silence",
        rule,
        source="RFC 1812 5.3.7, 5.3.8; RFC 1122 3.2.1.3",
        steps=[introduces(HOST), host_sends(to_gateway(echo_request()).but(source=source)).silence(), fence_local()],
    )

_branch = Station("10.39.7.7", "02:00:0a:27:07:07")

category.vector(
    "local-echo-configured-prefix",
    "A host of a further internal prefix is answered like one of the internal network",
    rules.S16_CONFIGURED,
    rules.L1_ECHO,
    rules.S13_REPLY,
    source="RFC 1812 5.3.8; RFC 1122 3.2.2.6",
    config={"internal": {"sources": ["10.39.0.0/16"]}},
    steps=[
        introduces(_branch),
        host_sends(to_gateway(echo_request(7, 7)).but(source=_branch.address), _branch).expect(
            to_host(from_gateway(_branch.address, echo_reply(7, 7)), _branch)
        ),
    ],
)

# ── out of the tunnel ─────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "local-tunnel-echo",
    "An echo request out of the tunnel to the internal address is answered through the tunnel",
    rules.S28_FOR_ME,
    rules.L1_ECHO,
    rules.S1_OWN_SOURCE,
    source='seed "Receiving a packet via OpenVPN"; RFC 792 Echo',
    steps=[
        far_end_sends(to_gateway_through_tunnel(echo_request(0x0BEE, 5, b"through"))).expect(
            into_tunnel(from_gateway(FAR, echo_reply(0x0BEE, 5, b"through")))
        ),
    ],
)

category.vector(
    "local-tunnel-echo-to-tunnel-address",
    "An echo request to the tunnel address is answered from the tunnel address",
    rules.S28_TUNNEL_ADDRESS,
    rules.L1_ECHO,
    source="RFC 1812 5.2.3; RFC 1122 3.2.2.6",
    steps=[
        far_end_sends(to_gateway_through_tunnel(echo_request(1, 1), TUNNEL)).expect(
            into_tunnel(from_gateway(FAR, echo_reply(1, 1), source=TUNNEL))
        ),
    ],
)

category.vector(
    "local-tunnel-echo-ttl-1",
    "Out of the tunnel too, local delivery does not look at the time to live",
    rules.S11_TTL_IGNORED,
    rules.S28_FOR_ME,
    source="RFC 1812 5.3.1",
    steps=[
        far_end_sends(to_gateway_through_tunnel(echo_request(1, 1), time_to_live=1)).expect(
            into_tunnel(from_gateway(FAR, echo_reply(1, 1)))
        ),
    ],
)

category.vector(
    "local-tunnel-udp-echo",
    "The echo service answers through the tunnel",
    rules.S28_FOR_ME,
    rules.L2_ECHO,
    source='seed "Receiving a packet via OpenVPN"; RFC 862',
    requires=["udp_echo"],
    steps=[
        far_end_sends(to_gateway_through_tunnel(udp(6000, 7, b"far"))).expect(
            into_tunnel(from_gateway(FAR, udp(7, 6000, b"far")))
        ),
    ],
)

category.invalid(
    "local-tunnel-udp-closed-port",
    "Port unreachable into the tunnel comes from the address that was asked",
    rules.L2_CLOSED_PORT,
    rules.S20_SOURCE,
    rules.S28_FOR_ME,
    source="RFC 1122 4.1.3.1, 3.2.2.1",
    steps=[
        far_end_sends(closed := to_gateway_through_tunnel(udp(6000, 9999, b"far"))).expect(
            into_tunnel(error_to(FAR, icmp_error(3, 3, closed)))
        ),
        fence_from_tunnel(),
    ],
)

category.invalid(
    "local-tunnel-udp-closed-port-at-tunnel-address",
    "Port unreachable about a datagram to the tunnel address comes from the tunnel address",
    rules.L2_CLOSED_PORT,
    rules.S20_SOURCE,
    rules.S28_TUNNEL_ADDRESS,
    source="RFC 1122 4.1.3.1, 3.2.2.1",
    steps=[
        far_end_sends(closed := to_gateway_through_tunnel(udp(6000, 9999, b"far"), TUNNEL)).expect(
            into_tunnel(error_to(FAR, icmp_error(3, 3, closed), source=TUNNEL))
        ),
        fence_from_tunnel(),
    ],
)

category.invalid(
    "local-tunnel-protocol",
    "Protocol unreachable into the tunnel comes from the address that was asked",
    rules.L4_PROTOCOL,
    rules.S20_SOURCE,
    source="RFC 1122 3.2.2.1",
    steps=[
        far_end_sends(unknown := to_gateway_through_tunnel(raw(132, b"sctp........"))).expect(
            into_tunnel(error_to(FAR, icmp_error(3, 2, unknown)))
        ),
        fence_from_tunnel(),
    ],
)

category.invalid(
    "local-tunnel-tcp-closed-port",
    "A SYN out of the tunnel to a closed port is reset through the tunnel",
    rules.L3_CLOSED_PORT,
    rules.S28_FOR_ME,
    source="RFC 9293 3.10.7.1",
    steps=[
        far_end_sends(to_gateway_through_tunnel(tcp(6000, 22, SYN, sequence=9))).expect(
            into_tunnel(reset(0, 10, port=22, to_port=6000, to=FAR))
        ),
        fence_from_tunnel(),
    ],
)

category.invalid(
    "local-tunnel-malformed-option",
    "Parameter problem into the tunnel comes from the tunnel address, whatever address was asked",
    rules.S18_MALFORMED_OPTION,
    rules.S20_SOURCE,
    source="RFC 1812 4.3.2.4; RFC 1122 3.2.2.5",
    steps=[
        far_end_sends(bad := to_gateway_through_tunnel(echo_request(), options=b"\x01\x07\x01\x00")).expect(
            into_tunnel(error_to(FAR, parameter_problem(bad, 21), source=TUNNEL))
        ),
        fence_from_tunnel(),
    ],
)

category.invalid(
    "local-tunnel-external-address",
    "The external address is not asked for through the tunnel: silence",
    rules.S30_ELSEWHERE,
    source='seed "Receiving a packet via OpenVPN"',
    steps=[far_end_sends(to_gateway_through_tunnel(echo_request(), "192.168.1.5")).silence(), fence_from_tunnel()],
)
