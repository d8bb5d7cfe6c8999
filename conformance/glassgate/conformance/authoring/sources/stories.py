"""Stories: what ordinary programs do, with everything in it at once and in its order."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, FAR_END, FAR_END_SEALS, GATEWAY_SEALS, HOST, NEIGHBOUR, TUNNEL
from glassgate.conformance.authoring.story import (
    Category,
    answers,
    asks_for,
    error_to,
    far_end_sends,
    flow_brings,
    host_sends,
    into_tunnel,
    introduces,
    on_flow,
    time_passes,
    to_host,
)
from glassgate.conformance.packets import (
    ACK,
    PING,
    SYN,
    IPv4,
    Payload,
    echo_reply,
    echo_request,
    fragmentation_needed,
    framed,
    icmp_error,
    maximum_segment_size,
    raw,
    tcp,
    udp,
)
from glassgate.contract import rules

category = Category(
    "stories", "Whole stories: ping, a large datagram, path MTU discovery, traceroute, a stream in pieces."
)


def out(payload: Payload, **fields: Any) -> IPv4:
    """A packet from the host to the far host."""
    return IPv4(source=HOST.address, destination=FAR, payload=payload, **fields)


def back(payload: Payload, **fields: Any) -> IPv4:
    """A packet from the far host to the host, seven hops old."""
    return IPv4(source=FAR, destination=HOST.address, payload=payload, time_to_live=57, **fields)


def onward(packet: IPv4) -> IPv4:
    """The packet one hop further."""
    return packet.but(time_to_live=packet.time_to_live - 1)


category.vector(
    "story-first-ping",
    "A host that has just been switched on pings an address beyond the tunnel",
    rules.S7_REPLY,
    rules.S8_LEARN,
    rules.S14_FORWARD,
    rules.S29_TO_HOST,
    source='seed "Receiving a packet on the internal network", "Receiving a packet via OpenVPN"',
    steps=[
        introduces(HOST),
        host_sends(one := out(echo_request(0x1001, 1))).expect(into_tunnel(onward(one))),
        far_end_sends(first := back(echo_reply(0x1001, 1))).expect(to_host(onward(first))),
        host_sends(two := out(echo_request(0x1001, 2))).at(4.2).expect(into_tunnel(onward(two))),
        far_end_sends(second := back(echo_reply(0x1001, 2))).expect(to_host(onward(second))),
    ],
)

_PING_4000 = out(echo_request(0x1002, 1, bytes(range(250)) * 16), identification=0x0FA0)  # 4008 octets of ICMP
_PONG_4000 = back(echo_reply(0x1002, 1, bytes(range(250)) * 16), identification=0x0FA1)
_CUTS = ((0, 1480, True), (1480, 2960, True), (2960, 4008, False))

category.vector(
    "story-ping-of-4000-octets",
    "A ping of 4000 octets passes in three fragments, and its answer in three: none is held or renumbered",
    rules.S12_TRANSIT,
    rules.S18_UNCHANGED,
    source="RFC 791 3.2; RFC 1812 5.2.6",
    steps=[
        introduces(HOST),
        *(
            host_sends(piece := _PING_4000.piece(start, end, more=more)).expect(into_tunnel(onward(piece)))
            for start, end, more in _CUTS
        ),
        *(
            far_end_sends(piece := _PONG_4000.piece(start, end, more=more)).expect(to_host(onward(piece)))
            for start, end, more in _CUTS
        ),
    ],
)

category.vector(
    "story-path-mtu-discovery",
    "A sender that sets DF finds the tunnel's MTU of 1400 in one round: refused with 1400, then 1400 octets pass",
    rules.S22_DF,
    rules.S22_FITS,
    source="RFC 1191 3, 4",
    config={"tunnel": {"session": {"mtu": 1400}}},
    steps=[
        introduces(HOST),
        host_sends(big := out(raw(253, bytes(1480)), dont_fragment=True)).expect(
            to_host(error_to(HOST.address, fragmentation_needed(big, 1400)))
        ),
        host_sends(fits := out(raw(253, bytes(1380)), dont_fragment=True)).expect(into_tunnel(onward(fits))),
        host_sends(rest := out(raw(253, bytes(100)), dont_fragment=True)).expect(into_tunnel(onward(rest))),
    ],
)

_PROBES = [out(udp(40000, 33434 + hop, bytes(24)), time_to_live=hop, identification=hop) for hop in (1, 2, 3)]
_BY_SERVER = IPv4(
    source=FAR_END, destination=HOST.address, payload=icmp_error(11, 0, onward(_PROBES[1])), time_to_live=64
)
_BY_TARGET = back(icmp_error(3, 3, _PROBES[2].but(time_to_live=1)))

category.vector(
    "story-traceroute",
    "Traceroute sees the gateway as the first hop, the server as the second, and its target",
    rules.S17_EXPIRED,
    rules.S17_DECREMENT,
    rules.S20_SOURCE,
    rules.S29_TO_HOST,
    source="RFC 1812 5.3.1, 4.3.2.4; RFC 792 Time Exceeded",
    steps=[
        introduces(HOST),
        host_sends(_PROBES[0]).expect(to_host(error_to(HOST.address, icmp_error(11, 0, _PROBES[0])))),
        host_sends(_PROBES[1]).expect(into_tunnel(onward(_PROBES[1]))),
        far_end_sends(_BY_SERVER).expect(to_host(onward(_BY_SERVER))),
        host_sends(_PROBES[2]).expect(into_tunnel(onward(_PROBES[2]))),
        far_end_sends(_BY_TARGET).expect(to_host(onward(_BY_TARGET))),
    ],
)

category.vector(
    "story-traceroute-from-far-away",
    "Traceroute from beyond the tunnel sees the tunnel address, then the host",
    rules.S17_EXPIRED,
    rules.S20_SOURCE,
    rules.S29_TO_HOST,
    source="RFC 1812 5.3.1, 4.3.2.4",
    steps=[
        introduces(HOST),
        far_end_sends(probe := back(udp(40000, 33434, bytes(24))).but(time_to_live=1)).expect(
            into_tunnel(error_to(FAR, icmp_error(11, 0, probe), source=TUNNEL))
        ),
        far_end_sends(next_ := back(udp(40000, 33435, bytes(24))).but(time_to_live=2)).expect(to_host(onward(next_))),
        host_sends(told := out(icmp_error(3, 3, onward(next_)))).expect(into_tunnel(onward(told))),
    ],
)

_SYN = out(tcp(50000, 443, SYN, sequence=7, options=maximum_segment_size(1460)), dont_fragment=True)
_SYN_ACK = back(
    tcp(443, 50000, SYN | ACK, sequence=99, acknowledgment=8, options=maximum_segment_size(1400)), dont_fragment=True
)
_ACK = out(tcp(50000, 443, ACK, sequence=8, acknowledgment=100), dont_fragment=True)

category.vector(
    "story-a-connection-passes",
    "A TCP handshake through the tunnel: segments and their options pass as they are",
    rules.S18_UNCHANGED,
    rules.S14_FORWARD,
    rules.S29_TO_HOST,
    source="RFC 1812 5.3.13; RFC 9293 3.5",
    steps=[
        introduces(HOST),
        host_sends(_SYN).expect(into_tunnel(onward(_SYN))),
        far_end_sends(_SYN_ACK).expect(to_host(onward(_SYN_ACK))),
        host_sends(_ACK).expect(into_tunnel(onward(_ACK))),
    ],
)

_TO_HOST = back(udp(53, 5000, b"one"), identification=1)
_TO_NEIGHBOUR = back(udp(53, 5000, b"two"), identification=2).but(destination=NEIGHBOUR.address)
_STREAM = framed(
    FAR_END_SEALS.record(1, _TO_HOST.build().data),
    FAR_END_SEALS.record(2, PING),
    b"\x28" + bytes(13),
    FAR_END_SEALS.record(3, _TO_NEIGHBOUR.build().data),
    FAR_END_SEALS.record(4, _TO_NEIGHBOUR.build().data),
)

category.vector(
    "story-stream-in-pieces",
    "Data, a ping and an acknowledgement in a stream cut anywhere, for one host that is known and one that is not",
    rules.S3_INCOMPLETE,
    rules.S27_PING,
    rules.S27_CONTROL,
    rules.S31_ASK,
    rules.S31_WAIT,
    rules.S31_RELEASE,
    source='OpenVPN socket.c stream_buf_added; PROTOCOL 1, 12.1; seed "Receiving a packet via OpenVPN"',
    steps=[
        introduces(HOST),
        flow_brings(_STREAM[:1]).at(4.0).silence(),
        flow_brings(_STREAM[1:90]).at(4.1).expect(to_host(onward(_TO_HOST))),
        host_sends(question := out(udp(5000, 53, b"question")))
        .at(4.2)
        .expect(on_flow(framed(GATEWAY_SEALS.record(1, onward(question).build().data)))),
        flow_brings(_STREAM[90:]).at(4.3).expect(asks_for(NEIGHBOUR.address)),
        time_passes(5.0).silence(),
        time_passes(5.3).expect(asks_for(NEIGHBOUR.address)),
        answers(NEIGHBOUR, *[to_host(onward(_TO_NEIGHBOUR), NEIGHBOUR)] * 2).at(5.4),
        time_passes(20.0).silence(),
    ],
)

category.vector(
    "story-half-a-day-of-silence",
    "After ten quiet hours everything begins again with one ARP request, and the tunnel's ids go on",
    rules.S31_EXPIRE,
    rules.S31_ASK,
    rules.S24_SEAL,
    source="RFC 1122 2.3.2.1; PROTOCOL 10.3",
    steps=[
        introduces(HOST),
        host_sends(morning := out(udp(5000, 53, b"morning"))).expect(
            on_flow(framed(GATEWAY_SEALS.record(1, onward(morning).build().data)))
        ),
        time_passes(36000.0).silence(),
        host_sends(evening := out(udp(5000, 53, b"evening"))).expect(
            on_flow(framed(GATEWAY_SEALS.record(2, onward(evening).build().data)))
        ),
        far_end_sends(late := back(udp(53, 5000, b"late"))).expect(asks_for(HOST.address)),
        answers(HOST, to_host(onward(late))),
    ],
)
