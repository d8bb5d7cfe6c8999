"""Fragmentation: packets over the MTU of the tunnel or of the internal network, with DF and without.

Every cut is written as a pair of octets of the packet's data, worked out by hand from RFC 791 3.2: with MTU m and
header length h a fragment carries (m - h) ÷ 8 · 8 octets.
"""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, GATEWAY, HOST, STRANGER, TUNNEL
from glassgate.conformance.authoring.story import (
    OPTION_ENTERED,
    Category,
    answers,
    asks_for,
    error_to,
    far_end_sends,
    fence,
    fence_for_host,
    frame_arrives,
    frame_with,
    from_gateway,
    host_sends,
    into_tunnel,
    introduces,
    to_host,
)
from glassgate.conformance.model import Result
from glassgate.conformance.packets import (
    END_OF_OPTIONS,
    NO_OPERATION,
    ROUTER_ALERT,
    IPv4,
    Octets,
    Payload,
    bound,
    echo_request,
    fragmentation_needed,
    icmp,
    icmp_error,
    option,
    raw,
    record_route,
    timestamp,
    timestamp_entered,
    udp,
)
from glassgate.contract import rules

category = Category(
    "fragmentation",
    "Packets over an MTU: cut on the 8-octet grid, or refused with the MTU where DF forbids cutting; both directions.",
    notes={"OPTION_ENTERED": OPTION_ENTERED},
)

PATTERN = bytes(range(251)) * 40
"""Data in which no two places look alike."""


def to_far(payload: Payload, **fields: Any) -> IPv4:
    """A packet from the host to the far host."""
    return IPv4(source=HOST.address, destination=FAR, payload=payload, **fields)


def of_octets(total: int, options: bytes = b"", **fields: Any) -> IPv4:
    """A packet from inside of ``total`` octets, header and options included, of an experimental protocol."""
    return to_far(raw(253, PATTERN[: total - 20 - len(options)]), options=options, **fields)


def back(total: int, options: bytes = b"", **fields: Any) -> IPv4:
    """A packet out of the tunnel to the host of ``total`` octets."""
    payload = raw(253, PATTERN[: total - 20 - len(options)])
    return IPv4(source=FAR, destination=HOST.address, payload=payload, options=options, **fields)


def tunnel_mtu(octets: int) -> dict[str, Any]:
    """A configuration with this inner MTU."""
    return {"tunnel": {"session": {"mtu": octets}}}


def internal_mtu(octets: int) -> dict[str, Any]:
    """A configuration with this MTU inside."""
    return {"internal": {"mtu": octets}}


def tunnelled(*fragments: IPv4) -> list[Any]:
    """Fragments that the far end gets, each with one hop less to live."""
    return [into_tunnel(one.but(time_to_live=one.time_to_live - 1)) for one in fragments]


def delivered(*fragments: IPv4) -> list[Any]:
    """Fragments that the host gets, each with one hop less to live."""
    return [to_host(one.but(time_to_live=one.time_to_live - 1)) for one in fragments]


# ── into the tunnel, without DF ───────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "frag-1500-into-1477",
    "1500 octets into an MTU of 1477: 1456 and 24 octets of data, totals 1476 and 44, the second at offset 182",
    rules.S21_FRAGMENT,
    rules.S17_DECREMENT,
    source="RFC 791 3.2; RFC 1812 4.2.2.7",
    config=tunnel_mtu(1477),
    steps=[
        host_sends(whole := of_octets(1500)).expect(
            *tunnelled(whole.piece(0, 1456, more=True), whole.piece(1456, 1480, more=False))
        ),
    ],
)

category.vector(
    "frag-exactly-mtu",
    "A packet of exactly the MTU passes whole",
    rules.S22_FITS,
    source="RFC 791 3.2; RFC 1191 4",
    config=tunnel_mtu(1477),
    steps=[host_sends(whole := of_octets(1477)).expect(*tunnelled(whole))],
)

category.vector(
    "frag-one-octet-over",
    "One octet over the MTU: the grid leaves two octets for the second fragment",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(1477),
    steps=[
        host_sends(whole := of_octets(1478)).expect(
            *tunnelled(whole.piece(0, 1456, more=True), whole.piece(1456, 1458, more=False))
        ),
    ],
)

category.vector(
    "frag-mtu-on-grid",
    "An MTU of 1476 is 20 and 182 · 8: the first fragment fills it to the last octet",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(1476),
    steps=[
        host_sends(whole := of_octets(1500)).expect(
            *tunnelled(whole.piece(0, 1456, more=True), whole.piece(1456, 1480, more=False))
        ),
    ],
)

category.vector(
    "frag-mtu-just-under-grid",
    "An MTU of 1475 has room for 181 blocks: 1448 octets, not 1455",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(1475),
    steps=[
        host_sends(whole := of_octets(1500)).expect(
            *tunnelled(whole.piece(0, 1448, more=True), whole.piece(1448, 1480, more=False))
        ),
    ],
)

category.vector(
    "frag-4000-into-1500",
    "A packet of 4000 octets, where the internal network allows it, leaves in three fragments in order",
    rules.S21_FRAGMENT,
    rules.S23_INNER_MTU,
    source="RFC 791 3.2",
    config=internal_mtu(9000),
    steps=[
        host_sends(whole := of_octets(4000)).expect(
            *tunnelled(
                whole.piece(0, 1480, more=True), whole.piece(1480, 2960, more=True), whole.piece(2960, 3980, more=False)
            )
        ),
    ],
)

category.vector(
    "frag-last-fragment-full",
    "2960 octets of data make two full fragments, and no empty third",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=internal_mtu(9000),
    steps=[
        host_sends(whole := of_octets(2980)).expect(
            *tunnelled(whole.piece(0, 1480, more=True), whole.piece(1480, 2960, more=False))
        ),
    ],
)

category.vector(
    "frag-smallest-mtu",
    "The smallest MTU, 68, carries 48 octets a fragment",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(68),
    steps=[
        host_sends(whole := of_octets(200)).expect(
            *tunnelled(
                whole.piece(0, 48, more=True),
                whole.piece(48, 96, more=True),
                whole.piece(96, 144, more=True),
                whole.piece(144, 180, more=False),
            )
        ),
    ],
)

category.vector(
    "frag-smallest-mtu-fits",
    "68 octets pass whole through the smallest MTU",
    rules.S22_FITS,
    source="RFC 791 3.2",
    config=tunnel_mtu(68),
    steps=[host_sends(whole := of_octets(68)).expect(*tunnelled(whole))],
)

category.vector(
    "frag-69-into-68",
    "69 octets into 68: 48 octets and one",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(68),
    steps=[
        host_sends(whole := of_octets(69)).expect(
            *tunnelled(whole.piece(0, 48, more=True), whole.piece(48, 49, more=False))
        ),
    ],
)

category.vector(
    "frag-keeps-everything-else",
    "Type of service, identification, the reserved bit and the protocol stand in every fragment",
    rules.S21_FRAGMENT,
    rules.S18_UNCHANGED,
    source="RFC 791 3.2; RFC 1812 4.2.2.7; RFC 3168 5.3",
    config=tunnel_mtu(576),
    steps=[
        host_sends(
            whole := of_octets(1000, type_of_service=0xBA, identification=0xF00D, reserved_bit=True, time_to_live=2)
        ).expect(*tunnelled(whole.piece(0, 552, more=True), whole.piece(552, 980, more=False))),
    ],
)

category.vector(
    "frag-identification-zero",
    "An identification of 0 stays 0 in all fragments: it is the sender's to choose",
    rules.S21_FRAGMENT,
    rules.S18_UNCHANGED,
    source="RFC 791 3.2; RFC 6864 4.3",
    config=tunnel_mtu(576),
    steps=[
        host_sends(whole := of_octets(600, identification=0)).expect(
            *tunnelled(whole.piece(0, 552, more=True), whole.piece(552, 580, more=False))
        ),
    ],
)

category.vector(
    "frag-padding-is-not-too-big",
    "A frame longer than the MTU allows, with a packet in it that fits: it passes whole",
    rules.S9_PADDING,
    rules.S22_FITS,
    source="RFC 894",
    config=tunnel_mtu(100),
    steps=[
        frame_arrives(frame_with(whole := of_octets(100), pad_to=200)).expect(*tunnelled(whole)),
    ],
)

category.vector(
    "frag-two-packets",
    "Two packets, two identifications: the fragments of the first are all out before those of the second",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(576),
    steps=[
        host_sends(one := of_octets(600, identification=1)).expect(
            *tunnelled(one.piece(0, 552, more=True), one.piece(552, 580, more=False))
        ),
        host_sends(two := of_octets(601, identification=2)).expect(
            *tunnelled(two.piece(0, 552, more=True), two.piece(552, 581, more=False))
        ),
    ],
)

category.vector(
    "frag-echo-request-unchanged",
    "An ICMP message is cut like anything else: its checksum stays what it was",
    rules.S21_FRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(576),
    steps=[
        host_sends(whole := to_far(echo_request(1, 1, PATTERN[:600]))).expect(
            *tunnelled(whole.piece(0, 552, more=True), whole.piece(552, 608, more=False))
        ),
    ],
)

# ── fragments of fragments ────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "frag-again-first",
    "A first fragment is cut again: every piece has MF",
    rules.S21_REFRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(576),
    steps=[
        host_sends(part := of_octets(1020, more_fragments=True)).expect(
            *tunnelled(part.piece(0, 552, more=True), part.piece(552, 1000, more=True))
        ),
    ],
)

category.vector(
    "frag-again-middle",
    "A middle fragment is cut again: the pieces count on from its own offset, 185, and all have MF",
    rules.S21_REFRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(576),
    steps=[
        # offsets 185 and 185 + 69
        host_sends(part := of_octets(1020, more_fragments=True, fragment_offset=185)).expect(
            *tunnelled(part.piece(0, 552, more=True), part.piece(552, 1000, more=True))
        ),
    ],
)

category.vector(
    "frag-again-last",
    "A last fragment is cut again: only its last piece is the last",
    rules.S21_REFRAGMENT,
    source="RFC 791 3.2",
    config=tunnel_mtu(576),
    steps=[
        host_sends(part := of_octets(1015, fragment_offset=370)).expect(
            *tunnelled(part.piece(0, 552, more=True), part.piece(552, 995, more=False))
        ),
    ],
)

category.vector(
    "frag-again-highest-offset",
    "Offsets up to 8189 are right: a last fragment that ends at octet 65515 of the data, cut again",
    rules.S21_REFRAGMENT,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(576),
    steps=[
        # 8115 · 8 = 64920 and 595 octets end at 65515
        host_sends(part := of_octets(615, fragment_offset=8115)).expect(
            *tunnelled(part.piece(0, 552, more=True), part.piece(552, 595, more=False))
        ),
    ],
)

# ── options ───────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "frag-options-not-copied",
    "Record route stands in the first fragment alone; the second has a bare header and starts where the first ended",
    rules.S21_OPTIONS,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(576),
    result=Result.ACCEPTABLE,
    steps=[
        # header 36: (576 - 36) ÷ 8 · 8 = 536
        host_sends(whole := of_octets(1000, record_route(room=3) + NO_OPERATION))
        .expect(
            *tunnelled(first := whole.piece(0, 536, more=True), rest := whole.piece(536, 964, more=False, options=b""))
        )
        .or_else(
            "OPTION_ENTERED",
            *tunnelled(first.but(options=record_route(TUNNEL, room=3) + NO_OPERATION), rest),
        ),
    ],
)

category.vector(
    "frag-options-copied",
    "Router alert stands in every fragment, and its four octets count in each",
    rules.S21_OPTIONS,
    source="RFC 791 3.1, 3.2; RFC 2113 2.1",
    config=tunnel_mtu(576),
    steps=[
        # header 24: (576 - 24) ÷ 8 · 8 = 552
        host_sends(whole := of_octets(1500, ROUTER_ALERT)).expect(
            *tunnelled(
                whole.piece(0, 552, more=True), whole.piece(552, 1104, more=True), whole.piece(1104, 1476, more=False)
            )
        ),
    ],
)

category.vector(
    "frag-options-mixed",
    "Of a no-operation, record route and router alert only the last is copied",
    rules.S21_OPTIONS,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(1477),
    result=Result.ACCEPTABLE,
    steps=[
        # first header 40: (1477 - 40) ÷ 8 · 8 = 1432; the second has 24 and what is left of 1460
        host_sends(whole := of_octets(1500, NO_OPERATION + record_route(room=3) + ROUTER_ALERT))
        .expect(
            *tunnelled(
                first := whole.piece(0, 1432, more=True),
                rest := whole.piece(1432, 1460, more=False, options=ROUTER_ALERT),
            )
        )
        .or_else(
            "OPTION_ENTERED",
            *tunnelled(first.but(options=NO_OPERATION + record_route(TUNNEL, room=3) + ROUTER_ALERT), rest),
        ),
    ],
)

category.vector(
    "frag-options-padded-with-zero",
    "A copied option of three octets is padded with end of options, whatever padded it before",
    rules.S21_OPTIONS,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(576),
    steps=[
        # 0xde has the copied bit
        host_sends(whole := of_octets(1000, option(0xDE, b"\x55") + NO_OPERATION)).expect(
            *tunnelled(
                whole.piece(0, 552, more=True),
                whole.piece(552, 976, more=False, options=option(0xDE, b"\x55") + END_OF_OPTIONS),
            )
        ),
    ],
)

category.vector(
    "frag-options-two-copied",
    "Two copied options keep their order and move together; the one between them stays behind",
    rules.S21_OPTIONS,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(576),
    result=Result.ACCEPTABLE,
    steps=[
        # first header 20 + 4 + 12 + 8 = 44: (576 - 44) ÷ 8 · 8 = 528; the second 20 + 12 = 32
        host_sends(whole := of_octets(800, ROUTER_ALERT + timestamp(2) + (last := option(0xDE, b"abcdef"))))
        .expect(
            *tunnelled(
                whole.piece(0, 528, more=True),
                rest := whole.piece(528, 756, more=False, options=ROUTER_ALERT + last),
            )
        )
        .or_else(
            "OPTION_ENTERED",
            *tunnelled(
                whole.piece(0, 528, more=True, options=Octets(ROUTER_ALERT) + timestamp_entered(2) + last),
                rest,
            ),
        ),
    ],
)

category.vector(
    "frag-options-behind-end",
    "What stands behind the end of options is no option and is not copied",
    rules.S21_OPTIONS,
    rules.S18_END_OF_OPTIONS,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(576),
    steps=[
        # first header 32: (576 - 32) ÷ 8 · 8 = 544
        host_sends(whole := of_octets(1000, ROUTER_ALERT + END_OF_OPTIONS * 4 + ROUTER_ALERT)).expect(
            *tunnelled(whole.piece(0, 544, more=True), whole.piece(544, 968, more=False, options=ROUTER_ALERT))
        ),
    ],
)

category.vector(
    "frag-options-40-octets-smallest-mtu",
    "Forty octets that are not copied leave 8 octets for the first fragment in 68; the others carry 48",
    rules.S21_OPTIONS,
    rules.S21_FRAGMENT,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(68),
    result=Result.ACCEPTABLE,
    steps=[
        host_sends(whole := of_octets(160, record_route(room=9) + END_OF_OPTIONS))
        .expect(
            *tunnelled(
                first := whole.piece(0, 8, more=True),
                *(
                    later := (
                        whole.piece(8, 56, more=True, options=b""),
                        whole.piece(56, 100, more=False, options=b""),
                    )
                ),
            )
        )
        .or_else(
            "OPTION_ENTERED",
            *tunnelled(first.but(options=record_route(TUNNEL, room=9) + END_OF_OPTIONS), *later),
        ),
    ],
)

category.vector(
    "frag-options-40-octets-copied-smallest-mtu",
    "Forty octets that are copied leave 8 octets for every fragment in 68",
    rules.S21_OPTIONS,
    rules.S21_FRAGMENT,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(68),
    steps=[
        host_sends(whole := of_octets(80, option(0xDE, bytes(38)))).expect(
            *tunnelled(whole.piece(0, 8, more=True), whole.piece(8, 16, more=True), whole.piece(16, 20, more=False))
        ),
    ],
)

category.vector(
    "frag-options-count-towards-mtu",
    "Options count: 577 octets with a header of 24 do not fit into 576",
    rules.S21_OPTIONS,
    source="RFC 791 3.2",
    config=tunnel_mtu(576),
    steps=[
        host_sends(fits := of_octets(576, ROUTER_ALERT)).expect(*tunnelled(fits)),
        host_sends(whole := of_octets(577, ROUTER_ALERT)).expect(
            *tunnelled(whole.piece(0, 552, more=True), whole.piece(552, 553, more=False))
        ),
    ],
)

category.vector(
    "frag-again-options",
    "A later fragment with a copied option is cut again: every piece has it",
    rules.S21_REFRAGMENT,
    rules.S21_OPTIONS,
    source="RFC 791 3.1, 3.2",
    config=tunnel_mtu(576),
    steps=[
        host_sends(part := of_octets(800, ROUTER_ALERT, fragment_offset=100)).expect(
            *tunnelled(part.piece(0, 552, more=True), part.piece(552, 776, more=False))
        ),
    ],
)

# ── into the tunnel, with DF ──────────────────────────────────────────────────────────────────────────────────────────

for name, title, mtu, packet in (
    ("1500-into-1477", "1500 octets with DF into an MTU of 1477", 1477, of_octets(1500, dont_fragment=True)),
    ("one-octet-over", "One octet over the MTU with DF", 1477, of_octets(1478, dont_fragment=True)),
    ("smallest-mtu", "69 octets with DF into the smallest MTU", 68, of_octets(69, dont_fragment=True)),
    (
        "echo-request",
        "An echo request with DF: path MTU discovery by ping works",
        576,
        to_far(echo_request(1, 1, PATTERN[:1000]), dont_fragment=True),
    ),
    ("options", "Options count with DF too", 576, of_octets(577, ROUTER_ALERT, dont_fragment=True)),
    ("first-fragment", "A first fragment with DF", 576, of_octets(1020, dont_fragment=True, more_fragments=True)),
):
    category.invalid(
        f"frag-df-{name}",
        f"{title}: dropped, and the source is told the MTU of {mtu}",
        rules.S22_DF,
        rules.S20_SOURCE,
        rules.S20_QUOTE,
        source="RFC 1191 4; RFC 1812 4.2.3.3, 5.2.7.1",
        config=tunnel_mtu(mtu),
        steps=[
            introduces(HOST),
            host_sends(packet).expect(to_host(error_to(HOST.address, fragmentation_needed(packet, mtu)))),
            fence(),
        ],
    )

for name, title, packet in (
    ("exactly-mtu", "A packet of exactly the MTU passes whole, DF and all", of_octets(576, dont_fragment=True)),
    (
        "exactly-mtu-with-options",
        "Options and data together make exactly the MTU: it passes",
        of_octets(576, ROUTER_ALERT, dont_fragment=True),
    ),
):
    category.vector(
        f"frag-df-{name}",
        title,
        rules.S22_FITS,
        source="RFC 1191 4",
        config=tunnel_mtu(576),
        steps=[host_sends(packet).expect(*tunnelled(packet))],
    )

category.invalid(
    "frag-df-later-fragment",
    "A later fragment with DF that does not fit is dropped without an error",
    rules.S22_DF,
    rules.S20_NOT_ABOUT_LATER_FRAGMENT,
    source="RFC 1812 4.3.2.7",
    config=tunnel_mtu(576),
    steps=[
        introduces(HOST),
        host_sends(of_octets(1020, dont_fragment=True, fragment_offset=8)).silence(),
        fence(),
    ],
)

category.invalid(
    "frag-df-icmp-error",
    "An ICMP error with DF that does not fit is dropped without an error",
    rules.S22_DF,
    rules.S20_NOT_ABOUT_ERROR,
    source="RFC 1812 4.3.2.7",
    config=tunnel_mtu(576),
    steps=[
        introduces(HOST),
        host_sends(to_far(icmp(3, 1, data=PATTERN[:1000]), dont_fragment=True)).silence(),
        fence(),
    ],
)

category.invalid(
    "frag-df-ttl-1",
    "A packet too big and expired is answered with time exceeded, not with the MTU",
    rules.S17_EXPIRED,
    rules.S22_DF,
    source="RFC 1812 5.3.1, 5.2.7.1",
    config=tunnel_mtu(576),
    steps=[
        introduces(HOST),
        host_sends(big := of_octets(1020, dont_fragment=True, time_to_live=1)).expect(
            to_host(error_to(HOST.address, icmp_error(11, 0, big)))
        ),
        fence(),
    ],
)

category.invalid(
    "frag-ttl-1",
    "A packet too big and expired is not cut: one time exceeded quotes it as it came",
    rules.S17_EXPIRED,
    source="RFC 1812 5.3.1",
    config=tunnel_mtu(576),
    steps=[
        introduces(HOST),
        host_sends(big := of_octets(1020, time_to_live=1)).expect(
            to_host(error_to(HOST.address, icmp_error(11, 0, big)))
        ),
        fence(),
    ],
)

category.invalid(
    "frag-df-unknown-host",
    "The error for a host that is not known waits for its hardware address like any packet",
    rules.S22_DF,
    rules.S31_ASK,
    rules.S31_RELEASE,
    source="RFC 1191 4; RFC 826",
    config=tunnel_mtu(576),
    steps=[
        host_sends(big := of_octets(1020, dont_fragment=True).but(source=STRANGER.address), STRANGER).expect(
            asks_for(STRANGER.address)
        ),
        answers(STRANGER, to_host(error_to(STRANGER.address, fragmentation_needed(big, 576)), STRANGER)),
        fence(),
    ],
)

category.invalid(
    "frag-df-own-network",
    "A packet too big with DF for the own network is dropped silently: the tunnel's MTU is not its affair",
    rules.S14_OWN_NETWORK,
    source='seed "Receiving a packet on the internal network"',
    config=tunnel_mtu(576),
    steps=[
        introduces(HOST),
        host_sends(of_octets(1020, dont_fragment=True).but(destination="10.38.2.77")).silence(),
        fence(),
    ],
)

# ── out of the tunnel ─────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "frag-back-1500-into-576",
    "1500 octets out of the tunnel onto an internal MTU of 576: 552, 552 and 376 octets of data",
    rules.S32_INTERNAL_MTU,
    rules.S21_FRAGMENT,
    source="RFC 791 3.2; RFC 1812 4.2.2.7",
    config=internal_mtu(576),
    steps=[
        introduces(HOST),
        far_end_sends(whole := back(1500)).expect(
            *delivered(
                whole.piece(0, 552, more=True), whole.piece(552, 1104, more=True), whole.piece(1104, 1480, more=False)
            )
        ),
    ],
)

category.vector(
    "frag-back-exactly-mtu",
    "A packet of exactly the internal MTU passes whole",
    rules.S32_INTERNAL_MTU,
    rules.S22_FITS,
    source="RFC 791 3.2",
    config=internal_mtu(576),
    steps=[introduces(HOST), far_end_sends(whole := back(576, dont_fragment=True)).expect(*delivered(whole))],
)

category.vector(
    "frag-back-over-own-tunnel-mtu",
    "A packet larger than our own tunnel MTU, but within what a record may hold, is received all the same",
    rules.S23_INNER_MTU,
    rules.S29_TO_HOST,
    source="RFC 1122 1.2.2; OpenVPN options.c tun-mtu-max",
    config=tunnel_mtu(576),
    steps=[introduces(HOST), far_end_sends(whole := back(800)).expect(*delivered(whole))],
)

category.vector(
    "frag-back-options",
    "Towards the host too only copied options stand in later fragments",
    rules.S32_INTERNAL_MTU,
    rules.S21_OPTIONS,
    source="RFC 791 3.1, 3.2",
    config=internal_mtu(576),
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        # header 28: (576 - 28) ÷ 8 · 8 = 544
        far_end_sends(whole := back(1000, record_route(room=1) + NO_OPERATION))
        .expect(
            *delivered(first := whole.piece(0, 544, more=True), rest := whole.piece(544, 972, more=False, options=b""))
        )
        .or_else(
            "OPTION_ENTERED",
            *delivered(first.but(options=record_route(GATEWAY.address, room=1) + NO_OPERATION), rest),
        ),
    ],
)

category.vector(
    "frag-back-again",
    "A fragment out of the tunnel is cut again: base offset and MF are kept",
    rules.S32_INTERNAL_MTU,
    rules.S21_REFRAGMENT,
    source="RFC 791 3.2",
    config=internal_mtu(576),
    steps=[
        introduces(HOST),
        far_end_sends(part := back(1020, fragment_offset=185, more_fragments=True)).expect(
            *delivered(part.piece(0, 552, more=True), part.piece(552, 1000, more=True))
        ),
    ],
)

category.vector(
    "frag-back-waits-for-arp",
    "Fragments for a host that is not known wait together and leave in order",
    rules.S32_INTERNAL_MTU,
    rules.S31_ASK,
    rules.S31_RELEASE,
    source="RFC 791 3.2; RFC 1122 2.3.2.2",
    config=internal_mtu(576),
    steps=[
        far_end_sends(whole := back(1000)).expect(asks_for(HOST.address)),
        answers(HOST, *delivered(whole.piece(0, 552, more=True), whole.piece(552, 980, more=False))),
    ],
)

category.invalid(
    "frag-back-df",
    "Too big for the internal network with DF: the far host is told the internal MTU from the tunnel address",
    rules.S32_INTERNAL_MTU,
    rules.S22_DF,
    rules.S20_SOURCE,
    source="RFC 1191 4; RFC 1812 4.2.3.3, 4.3.2.4",
    config=internal_mtu(576),
    steps=[
        introduces(HOST),
        far_end_sends(big := back(577, dont_fragment=True)).expect(
            into_tunnel(error_to(FAR, fragmentation_needed(big, 576), source=TUNNEL))
        ),
        fence_for_host(),
    ],
)

category.invalid(
    "frag-back-df-unknown-host",
    "The MTU is looked at before the neighbour: nobody is asked by ARP",
    rules.S32_INTERNAL_MTU,
    rules.S22_DF,
    source="RFC 1191 4; RFC 1812 5.2.7.1",
    config=internal_mtu(576),
    steps=[
        far_end_sends(big := back(1000, dont_fragment=True)).expect(
            into_tunnel(error_to(FAR, fragmentation_needed(big, 576), source=TUNNEL))
        ),
        fence(),
    ],
)

category.invalid(
    "frag-back-df-later-fragment",
    "A later fragment with DF out of the tunnel that does not fit is dropped without an error",
    rules.S32_INTERNAL_MTU,
    rules.S20_NOT_ABOUT_LATER_FRAGMENT,
    source="RFC 1812 4.3.2.7",
    config=internal_mtu(576),
    steps=[
        introduces(HOST),
        far_end_sends(back(1020, dont_fragment=True, fragment_offset=9)).silence(),
        fence_for_host(),
    ],
)

# ── what the gateway originates ───────────────────────────────────────────────────────────────────────────────────────

_asked = IPv4(source=FAR, destination=GATEWAY.address, payload=udp(6000, 7, PATTERN[:700]), identification=0x2222)
_answer = from_gateway(FAR, udp(7, 6000, PATTERN[:700]), identification=bound("id"))

category.vector(
    "frag-own-answer-into-tunnel",
    "The gateway's own answer over the tunnel's MTU is fragmented under one identification",
    rules.S21_FRAGMENT,
    rules.L2_ECHO,
    source="RFC 791 3.2; RFC 1122 3.3.3",
    config=tunnel_mtu(576),
    requires=["udp_echo"],
    steps=[
        far_end_sends(_asked).expect(
            into_tunnel(_answer.piece(0, 552, more=True)), into_tunnel(_answer.piece(552, 708, more=False))
        ),
    ],
)

category.vector(
    "frag-own-error-over-internal-mtu",
    "The gateway's own error of 308 octets onto an internal MTU of 300 is fragmented, not shortened",
    rules.S21_FRAGMENT,
    rules.S20_QUOTE,
    source="RFC 791 3.2; RFC 1812 4.3.2.3",
    config=internal_mtu(300),
    steps=[
        introduces(HOST),
        host_sends(expired := of_octets(280, time_to_live=1)).expect(
            to_host(
                (error := error_to(HOST.address, icmp_error(11, 0, expired)).but(identification=bound("id"))).piece(
                    0, 280, more=True
                )
            ),
            to_host(error.piece(280, 288, more=False)),
        ),
        fence(),
    ],
)
