"""Reassembly: fragments for the gateway itself, in every order and with every malice."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, GATEWAY, HOST, NEIGHBOUR, TUNNEL
from glassgate.conformance.authoring.story import (
    Category,
    error_to,
    far_end_sends,
    fence_from_tunnel,
    fence_local,
    from_gateway,
    host_sends,
    into_tunnel,
    introduces,
    time_passes,
    to_host,
)
from glassgate.conformance.model import FlagNote, Result
from glassgate.conformance.packets import (
    NO_OPERATION,
    IPv4,
    Payload,
    echo_reply,
    echo_request,
    icmp_error,
    parameter_problem,
    raw,
    udp,
)
from glassgate.contract import rules

category = Category(
    "reassembly",
    "Fragments for the gateway itself: orders, overlaps, gaps, duplicates, timeouts and limits.",
    notes={
        "CONTRADICTING_DUPLICATE_DISCARDS": FlagNote(
            bug="strict duplicates",
            what="a duplicate that claims another end counts as two ends and discards the datagram, not as a duplicate",
            effect="who can inject such a fragment can suppress the datagram, as with any overlap",
        ),
    },
)

DATA = b"abcdefgh" + b"ijklmnop" + b"qrstuvwx" + b"yz"  # 34 octets of ICMP with the header: blocks at 0, 8, 16, 24, 32


def to_gateway(payload: Payload, **fields: Any) -> IPv4:
    """A packet from the host to the gateway."""
    return IPv4(source=HOST.address, destination=GATEWAY.address, payload=payload, identification=0xA55A).but(**fields)


ASKED = to_gateway(echo_request(0x1D, 1, DATA))
ANSWER = to_host(from_gateway(HOST.address, echo_reply(0x1D, 1, DATA)))

FIRST = ASKED.piece(0, 16, more=True)
MIDDLE = ASKED.piece(16, 24, more=True)
LAST = ASKED.piece(24, 34, more=False)

# ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────────────

for name, order in (
    ("123", (FIRST, MIDDLE, LAST)),
    ("132", (FIRST, LAST, MIDDLE)),
    ("213", (MIDDLE, FIRST, LAST)),
    ("231", (MIDDLE, LAST, FIRST)),
    ("312", (LAST, FIRST, MIDDLE)),
    ("321", (LAST, MIDDLE, FIRST)),
):
    category.vector(
        f"reasm-order-{name}",
        f"Three fragments in the order {name}: the third to arrive completes the datagram",
        rules.S12_HOLD,
        rules.S12_COMPLETE,
        source="RFC 791 3.2; RFC 1122 3.3.2",
        steps=[
            introduces(HOST),
            host_sends(order[0]).silence(),
            host_sends(order[1]).silence(),
            host_sends(order[2]).expect(ANSWER),
        ],
    )

category.vector(
    "reasm-smallest-fragments",
    "Five fragments of 8 octets or less",
    rules.S12_COMPLETE,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        *(host_sends(ASKED.piece(start, start + 8, more=True)).silence() for start in (24, 0, 16, 8)),
        host_sends(ASKED.piece(32, 34, more=False)).expect(ANSWER),
    ],
)

_long = to_gateway(echo_request(0x40, 1, bytes(index % 256 for index in range(312))))

category.vector(
    "reasm-forty-fragments",
    "Forty fragments of 8 octets, the even ones first, the odd ones backwards",
    rules.S12_COMPLETE,
    source="RFC 791 3.2; RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        *(
            host_sends(_long.piece(8 * place, 8 * place + 8, more=place < 39)).silence()
            for place in [*range(0, 40, 2), *range(39, 1, -2)]
        ),
        host_sends(_long.piece(8, 16, more=True)).expect(
            to_host(from_gateway(HOST.address, echo_reply(0x40, 1, bytes(index % 256 for index in range(312)))))
        ),
    ],
)

category.vector(
    "reasm-header-split",
    "The UDP header is whole only after reassembly; one fragment has 8 octets of it and no data",
    rules.S12_COMPLETE,
    rules.L2_ECHO,
    source="RFC 791 3.2; RFC 1122 3.3.2",
    requires=["udp_echo"],
    steps=[
        introduces(HOST),
        host_sends((asked := to_gateway(udp(5000, 7, b"0123456789"))).piece(8, 18, more=False)).silence(),
        host_sends(asked.piece(0, 8, more=True)).expect(
            to_host(from_gateway(HOST.address, udp(7, 5000, b"0123456789")))
        ),
    ],
)

category.vector(
    "reasm-type-of-service-of-first",
    "The answer reflects the first fragment's type of service",
    rules.S12_COMPLETE,
    rules.L1_ECHO,
    source="RFC 791 3.2; RFC 3168 5.3",
    steps=[
        introduces(HOST),
        host_sends(LAST.but(type_of_service=0x20)).silence(),
        host_sends(ASKED.piece(0, 24, more=True).but(type_of_service=0x20)).expect(
            to_host(from_gateway(HOST.address, echo_reply(0x1D, 1, DATA), type_of_service=0x20))
        ),
    ],
)

category.vector(
    "reasm-time-to-live",
    "Fragments for the gateway with a time to live of 0 and 1 are put together",
    rules.S12_COMPLETE,
    rules.S11_TTL_IGNORED,
    source="RFC 1122 3.2.1.7",
    steps=[
        introduces(HOST),
        host_sends(FIRST.but(time_to_live=0)).silence(),
        host_sends(MIDDLE.but(time_to_live=1)).silence(),
        host_sends(LAST.but(time_to_live=200)).expect(ANSWER),
    ],
)

category.vector(
    "reasm-dont-fragment",
    "Fragments with DF are fragments",
    rules.S12_COMPLETE,
    source="RFC 791 3.2; RFC 6864 4.2",
    steps=[
        introduces(HOST),
        host_sends(ASKED.piece(0, 24, more=True, dont_fragment=True)).silence(),
        host_sends(LAST.but(dont_fragment=True)).expect(ANSWER),
    ],
)

category.vector(
    "reasm-whole-between-fragments",
    "A whole datagram with the same identification is delivered at once and disturbs nothing",
    rules.S12_COMPLETE,
    rules.S12_HOLD,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        host_sends(FIRST).silence(),
        host_sends(to_gateway(echo_request(9, 9, b"whole"))).expect(
            to_host(from_gateway(HOST.address, echo_reply(9, 9, b"whole")))
        ),
        host_sends(LAST).silence(),
        host_sends(MIDDLE).expect(ANSWER),
    ],
)

# ── what belongs together ─────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "reasm-key-identification",
    "Two datagrams interleaved are told apart by identification",
    rules.S12_COMPLETE,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        host_sends(FIRST).silence(),
        host_sends(
            (other := to_gateway(echo_request(0x1E, 2, DATA[::-1]), identification=0xA55B)).piece(0, 24, more=True)
        ).silence(),
        host_sends(MIDDLE).silence(),
        host_sends(other.piece(24, 34, more=False)).expect(
            to_host(from_gateway(HOST.address, echo_reply(0x1E, 2, DATA[::-1])))
        ),
        host_sends(LAST).expect(ANSWER),
    ],
)

category.vector(
    "reasm-key-source",
    "Two hosts with the same identification are told apart",
    rules.S12_COMPLETE,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        introduces(NEIGHBOUR),
        host_sends(ASKED.piece(0, 24, more=True)).silence(),
        host_sends(LAST.but(source=NEIGHBOUR.address), NEIGHBOUR).silence(),
        host_sends(ASKED.piece(0, 24, more=True).but(source=NEIGHBOUR.address), NEIGHBOUR).expect(
            to_host(from_gateway(NEIGHBOUR.address, echo_reply(0x1D, 1, DATA)), NEIGHBOUR)
        ),
        host_sends(LAST).expect(ANSWER),
    ],
)

category.vector(
    "reasm-key-protocol",
    "A fragment of another protocol with the same identification is another datagram's",
    rules.S12_COMPLETE,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        host_sends(ASKED.piece(0, 24, more=True)).silence(),
        host_sends(LAST.but(payload=raw(17, b"0123456789"))).silence(),
        host_sends(LAST).expect(ANSWER),
    ],
)

category.vector(
    "reasm-key-destination",
    "Through the tunnel the internal and the tunnel address are two destinations",
    rules.S12_COMPLETE,
    rules.S28_TUNNEL_ADDRESS,
    source="RFC 791 3.2",
    steps=[
        far_end_sends(ASKED.piece(0, 24, more=True).but(source=FAR)).silence(),
        far_end_sends(LAST.but(source=FAR, destination=TUNNEL)).silence(),
        far_end_sends(LAST.but(source=FAR)).expect(into_tunnel(from_gateway(FAR, echo_reply(0x1D, 1, DATA)))),
    ],
)

category.vector(
    "reasm-out-of-the-tunnel",
    "Fragments out of the tunnel are put together and answered through the tunnel",
    rules.S12_COMPLETE,
    rules.S28_FOR_ME,
    source='RFC 791 3.2; seed "Receiving a packet via OpenVPN"',
    steps=[
        far_end_sends(LAST.but(source=FAR)).silence(),
        far_end_sends(ASKED.piece(0, 24, more=True).but(source=FAR)).expect(
            into_tunnel(from_gateway(FAR, echo_reply(0x1D, 1, DATA)))
        ),
    ],
)

category.vector(
    "reasm-identification-again",
    "After its datagram is complete, an identification may come again",
    rules.S12_COMPLETE,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        host_sends(ASKED.piece(0, 24, more=True)).silence(),
        host_sends(LAST).expect(ANSWER),
        host_sends(LAST).silence(),
        host_sends(ASKED.piece(0, 24, more=True)).expect(ANSWER),
    ],
)

# ── duplicates ────────────────────────────────────────────────────────────────────────────────────────────────────────

for name, title, again in (
    ("first", "The first fragment comes twice", FIRST),
    ("inner", "A piece of what is held comes again, equal", ASKED.piece(8, 16, more=True)),
):
    category.vector(
        f"reasm-duplicate-{name}",
        f"{title}: ignored, and the datagram completes",
        rules.S12_DUPLICATE,
        rules.S12_COMPLETE,
        source="RFC 791 3.2; RFC 5722 4",
        steps=[
            introduces(HOST),
            host_sends(FIRST).silence(),
            host_sends(again).silence(),
            host_sends(MIDDLE).silence(),
            host_sends(LAST).expect(ANSWER),
        ],
    )

category.vector(
    "reasm-duplicate-last",
    "The last fragment comes twice: one end, not two",
    rules.S12_DUPLICATE,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        host_sends(LAST).silence(),
        host_sends(LAST).silence(),
        host_sends(FIRST).silence(),
        host_sends(MIDDLE).expect(ANSWER),
    ],
)

category.vector(
    "reasm-duplicate-across-two",
    "A fragment whose octets are all held, in two pieces, is ignored",
    rules.S12_DUPLICATE,
    source="RFC 791 3.2",
    steps=[
        introduces(HOST),
        host_sends(FIRST).silence(),
        host_sends(MIDDLE).silence(),
        host_sends(ASKED.piece(8, 24, more=True)).silence(),
        host_sends(LAST).expect(ANSWER),
    ],
)

category.vector(
    "reasm-duplicate-with-another-end",
    "Octets that are held already and equal come again, said to be the last though the end is known to be elsewhere",
    rules.S12_DUPLICATE,
    rules.S12_TWO_ENDS,
    source="RFC 791 3.2; RFC 5722 4 (done there for IPv6)",
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        host_sends(LAST).silence(),
        host_sends(ASKED.piece(24, 32, more=False)).silence(),
        host_sends(FIRST).silence(),
        host_sends(MIDDLE).expect(ANSWER).or_else("CONTRADICTING_DUPLICATE_DISCARDS"),
        fence_local(),
    ],
)

# ── overlaps ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_forged = ASKED.but(payload=raw(1, b"\xff" * 34))


def _discarded(name: str, title: str, rule: Any, *told: IPv4, why: str = "RFC 5722 4 (done there for IPv6)") -> None:
    """After these fragments the datagram is discarded: the real ones complete nothing any more."""
    category.invalid(
        f"reasm-{name}",
        title,
        rule,
        rules.S12_DISCARDED,
        source=why,
        steps=[
            introduces(HOST),
            *(host_sends(fragment).silence() for fragment in told),
            *(host_sends(fragment).silence() for fragment in (FIRST, MIDDLE, LAST)),
            fence_local(),
        ],
    )


_discarded(
    "duplicate-different",
    "A second fragment at the same place with other octets discards the datagram",
    rules.S12_OVERLAP,
    FIRST,
    _forged.piece(0, 16, more=True),
)
_discarded(
    "duplicate-different-by-one-bit",
    "One bit of difference is a difference",
    rules.S12_OVERLAP,
    MIDDLE,
    MIDDLE.but(payload=raw(1, b"ijklmnoq")),
)
_discarded(
    "overlap-end",
    "A fragment that begins inside another and ends behind it discards the datagram, though the octets agree",
    rules.S12_OVERLAP,
    FIRST,
    ASKED.piece(8, 24, more=True),
)
_discarded(
    "overlap-beginning",
    "A fragment that begins before another and ends inside it discards the datagram",
    rules.S12_OVERLAP,
    ASKED.piece(8, 24, more=True),
    FIRST,
)
_discarded(
    "overlap-around",
    "A fragment that surrounds another discards the datagram",
    rules.S12_OVERLAP,
    MIDDLE,
    ASKED.piece(8, 32, more=True),
)
_discarded(
    "overlap-bridge",
    "A fragment that fills a gap and overlaps both sides by a block discards the datagram",
    rules.S12_OVERLAP,
    FIRST,
    LAST,
    ASKED.piece(8, 32, more=True),
)
_discarded(
    "teardrop",
    "The last fragment ends inside the first, before octets that are held already (teardrop)",
    rules.S12_BEYOND_END,
    ASKED.piece(0, 24, more=True),
    ASKED.but(payload=raw(1, b"\xff" * 4)).piece(0, 4, more=False).but(fragment_offset=2),
    why="RFC 1858; CERT CA-1997-28",
)
_discarded(
    "two-ends-apart",
    "Two last fragments that do not overlap and end at different octets discard the datagram",
    rules.S12_TWO_ENDS,
    ASKED.piece(16, 24, more=False),
    ASKED.piece(24, 34, more=False),
)
_discarded(
    "two-ends-the-smaller-later",
    "A second last fragment that ends before the first one does gives the datagram two ends, and discards it",
    rules.S12_TWO_ENDS,
    LAST,
    ASKED.piece(16, 24, more=False),
)
_discarded(
    "beyond-end",
    "A fragment behind the end that is known discards the datagram",
    rules.S12_BEYOND_END,
    ASKED.piece(16, 24, more=False),
    ASKED.piece(24, 32, more=True),
)
_discarded(
    "end-before-held",
    "A last fragment that ends before what is held already discards the datagram",
    rules.S12_BEYOND_END,
    ASKED.piece(24, 32, more=True),
    ASKED.piece(16, 20, more=False),
)

category.invalid(
    "reasm-discarded-until-timeout",
    "What comes of a discarded datagram is dropped for 60 s after its first fragment; then it may come again",
    rules.S12_DISCARDED,
    rules.S12_TIMEOUT_SILENT,
    source="RFC 5722 4 (done there for IPv6); RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(FIRST).at(4.0).silence(),
        host_sends(ASKED.piece(8, 24, more=True)).at(5.0).silence(),
        host_sends(ASKED.piece(0, 24, more=True)).at(63.0).silence(),
        host_sends(LAST).at(63.9).silence(),
        host_sends(ASKED.piece(0, 24, more=True)).at(64.5).silence(),
        host_sends(LAST).at(64.6).expect(ANSWER),
    ],
)

# ── fragments that are none ───────────────────────────────────────────────────────────────────────────────────────────

for name, title, bad, rule in (
    (
        "empty",
        "A fragment without data is dropped and leaves no trace",
        ASKED.but(payload=raw(1, b""), more_fragments=True, fragment_offset=2),
        rules.S12_EMPTY,
    ),
    (
        "empty-last",
        "An empty last fragment sets no end",
        ASKED.but(payload=raw(1, b""), fragment_offset=3),
        rules.S12_EMPTY,
    ),
    (
        "empty-first",
        "An empty first fragment is dropped",
        ASKED.but(payload=raw(1, b""), more_fragments=True),
        rules.S12_EMPTY,
    ),
    (
        "not-multiple-of-8",
        "A fragment with MF of 15 octets is dropped",
        ASKED.piece(0, 15, more=True),
        rules.S12_NOT_MULTIPLE_OF_8,
    ),
    (
        "one-octet-with-mf",
        "A fragment with MF of one octet is dropped",
        ASKED.piece(16, 17, more=True),
        rules.S12_NOT_MULTIPLE_OF_8,
    ),
    (
        "beyond-65535",
        "A fragment that would end beyond octet 65535 is dropped (ping of death)",
        ASKED.but(payload=raw(1, bytes(16)), fragment_offset=8190),
        rules.S12_TOO_LONG,
    ),
    (
        "one-beyond-65535",
        "A fragment that would make a datagram of 65536 octets with its header is dropped",
        ASKED.but(payload=raw(1, bytes(4)), fragment_offset=8189),
        rules.S12_TOO_LONG,
    ),
):
    category.invalid(
        f"reasm-{name}",
        f"{title}: the datagram completes without it",
        rule,
        source="RFC 791 3.1; RFC 815",
        steps=[
            introduces(HOST),
            host_sends(bad).silence(),
            host_sends(FIRST).silence(),
            host_sends(bad).silence(),
            host_sends(MIDDLE).silence(),
            host_sends(LAST).expect(ANSWER),
            fence_local(),
        ],
    )

# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_expired = to_host(error_to(HOST.address, icmp_error(11, 1, FIRST)))

category.invalid(
    "reasm-timeout",
    "60 s after its first fragment an incomplete datagram draws time exceeded, code 1, that quotes the first fragment",
    rules.S12_TIMEOUT,
    rules.S20_QUOTE,
    source="RFC 1122 3.3.2; RFC 792 Time Exceeded",
    steps=[
        introduces(HOST),
        host_sends(FIRST).at(4.0).silence(),
        time_passes(63.9).silence(),
        time_passes(64.0).expect(_expired),
        time_passes(200.0).silence(),
        fence_local(),
    ],
)

category.invalid(
    "reasm-timeout-without-first",
    "Without the first fragment the timeout is silent",
    rules.S12_TIMEOUT_SILENT,
    source="RFC 1122 3.3.2; RFC 792 Time Exceeded",
    steps=[
        introduces(HOST),
        host_sends(LAST).at(4.0).silence(),
        host_sends(MIDDLE).at(5.0).silence(),
        time_passes(70.0).silence(),
        fence_local(),
    ],
)

category.invalid(
    "reasm-timeout-not-renewed",
    "The time runs from the first arrival, whatever comes later; the quote is the first fragment though it came second",
    rules.S12_TIMEOUT,
    source="RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(LAST).at(4.0).silence(),
        host_sends(FIRST).at(50.0).silence(),
        time_passes(63.9).silence(),
        time_passes(64.0).expect(_expired),
        fence_local(),
    ],
)

category.invalid(
    "reasm-timeout-then-rest",
    "What comes after the timeout completes nothing",
    rules.S12_TIMEOUT,
    source="RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(ASKED.piece(0, 24, more=True)).at(4.0).silence(),
        time_passes(64.0).expect(to_host(error_to(HOST.address, icmp_error(11, 1, ASKED.piece(0, 24, more=True))))),
        host_sends(LAST).at(64.1).silence(),
        fence_local(),
    ],
)

category.invalid(
    "reasm-timeout-before-late-arrival",
    "A fragment after the timeout finds it done, though no tick came between: first the error, then a new hold",
    rules.S12_TIMEOUT,
    source="RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(ASKED.piece(0, 24, more=True)).at(4.0).silence(),
        host_sends(LAST)
        .at(64.5)
        .expect(to_host(error_to(HOST.address, icmp_error(11, 1, ASKED.piece(0, 24, more=True))))),
        fence_local(),
    ],
)

category.vector(
    "reasm-just-in-time",
    "A datagram that completes after 59.9 s is delivered, and nothing expires afterwards",
    rules.S12_COMPLETE,
    rules.S12_TIMEOUT,
    source="RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(ASKED.piece(0, 24, more=True)).at(4.0).silence(),
        host_sends(LAST).at(63.9).expect(ANSWER),
        time_passes(70.0).silence(),
    ],
)

category.invalid(
    "reasm-two-timeouts-in-order",
    "Two datagrams whose time is over by one late tick: the errors leave in the order of their ends",
    rules.S12_TIMEOUT,
    source="RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(late := FIRST.but(identification=2)).at(4.0).silence(),
        host_sends(later := FIRST.but(identification=1)).at(5.0).silence(),
        time_passes(80.0).expect(
            to_host(error_to(HOST.address, icmp_error(11, 1, late))),
            to_host(error_to(HOST.address, icmp_error(11, 1, later))),
        ),
        fence_local(),
    ],
)

category.invalid(
    "reasm-timeout-rate",
    "Errors about timeouts come out of the same bucket as all others",
    rules.S20_RATE,
    rules.S12_TIMEOUT,
    source="RFC 1812 4.3.2.8",
    config={"limits": {"icmp_burst": 1, "icmp_rate": 1}},
    steps=[
        introduces(HOST),
        host_sends(FIRST.but(identification=1)).at(4.0).silence(),
        host_sends(FIRST.but(identification=2)).at(4.1).silence(),
        time_passes(65.0).expect(to_host(error_to(HOST.address, icmp_error(11, 1, FIRST.but(identification=1))))),
        fence_local(),
    ],
)

category.invalid(
    "reasm-timeout-out-of-the-tunnel",
    "The error about fragments out of the tunnel goes back into it, from the tunnel address",
    rules.S12_TIMEOUT,
    rules.S20_SOURCE,
    source="RFC 1122 3.3.2; RFC 1812 4.3.2.4",
    steps=[
        far_end_sends(first := FIRST.but(source=FAR)).at(4.0).silence(),
        time_passes(64.0).expect(into_tunnel(error_to(FAR, icmp_error(11, 1, first), source=TUNNEL))),
        fence_from_tunnel(),
    ],
)

# ── errors about what was put together ────────────────────────────────────────────────────────────────────────────────

category.invalid(
    "reasm-closed-port",
    "Port unreachable about a datagram in fragments quotes its first fragment as received",
    rules.L2_CLOSED_PORT,
    rules.S20_QUOTE,
    rules.S12_COMPLETE,
    source="RFC 1122 3.2.2, 4.1.3.1",
    steps=[
        introduces(HOST),
        host_sends((closed := to_gateway(udp(5000, 9999, DATA))).piece(24, 34, more=False)).silence(),
        host_sends(closed.piece(0, 24, more=True)).expect(
            to_host(error_to(HOST.address, icmp_error(3, 3, closed.piece(0, 24, more=True))))
        ),
        fence_local(),
    ],
)

category.invalid(
    "reasm-protocol",
    "Protocol unreachable about a datagram in fragments quotes its first fragment, whichever came last",
    rules.L4_PROTOCOL,
    rules.S20_QUOTE,
    source="RFC 1122 3.2.2",
    steps=[
        introduces(HOST),
        host_sends((unknown := to_gateway(raw(99, DATA))).piece(0, 16, more=True)).silence(),
        host_sends(unknown.piece(16, 26, more=False)).expect(
            to_host(error_to(HOST.address, icmp_error(3, 2, unknown.piece(0, 16, more=True))))
        ),
        fence_local(),
    ],
)

category.invalid(
    "reasm-bad-checksum",
    "A datagram whose checksum is wrong once it is whole is met with silence",
    rules.L1_CHECKSUM,
    rules.S12_COMPLETE,
    source="RFC 1122 3.2.2",
    steps=[
        introduces(HOST),
        host_sends(FIRST).silence(),
        host_sends(MIDDLE.but(payload=raw(1, b"IJKLMNOP"))).silence(),
        host_sends(LAST).silence(),
        fence_local(),
    ],
)

category.invalid(
    "reasm-malformed-option-in-first",
    "A malformed option in a first fragment is answered; in a later one it is not",
    rules.S18_MALFORMED_OPTION,
    rules.S20_NOT_ABOUT_LATER_FRAGMENT,
    source="RFC 1812 4.3.2.7; RFC 1122 3.2.2.5",
    steps=[
        introduces(HOST),
        host_sends(bad := FIRST.but(options=b"\x07\x00\x04\x00")).expect(
            to_host(error_to(HOST.address, parameter_problem(bad, 20)))
        ),
        host_sends(MIDDLE.but(options=b"\x07\x00\x04\x00")).silence(),
        fence_local(),
    ],
)

# ── what is refused whole is over; what is not is told when its time is ───────────────────────────────────────────────

category.vector(
    "reasm-duplicate-behind-gap",
    "A duplicate of a fragment behind a gap is a duplicate: when the gap is filled the datagram is whole",
    rules.S12_DUPLICATE,
    rules.S12_COMPLETE,
    source="RFC 791 3.2; RFC 5722 4",
    steps=[
        introduces(HOST),
        host_sends(FIRST).silence(),
        host_sends(LAST).silence(),
        host_sends(LAST).silence(),
        host_sends(MIDDLE).expect(ANSWER),
    ],
)

for name, octet in (("smaller", 0x00), ("greater", 0xFF)):
    category.invalid(
        f"reasm-same-place-{name}-octets",
        f"Another fragment for the same place, with {name} octets, is an overlap and no duplicate",
        rules.S12_OVERLAP,
        source="RFC 5722 4; RFC 1858 4",
        steps=[
            introduces(HOST),
            host_sends(FIRST).silence(),
            host_sends(MIDDLE).silence(),
            host_sends(MIDDLE.but(payload=raw(1, bytes([octet]) * 8))).silence(),
            host_sends(LAST).silence(),
            fence_local(),
        ],
    )

category.invalid(
    "reasm-end-before-what-is-held",
    "A last fragment that ends before what is held already discards the datagram: its time ends in silence",
    rules.S12_BEYOND_END,
    source="RFC 791 3.2; RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(FIRST).at(4.0).silence(),
        host_sends(ASKED.piece(24, 32, more=True)).silence(),
        host_sends(ASKED.piece(16, 20, more=False)).silence(),
        time_passes(70.0).silence(),
        fence_local(),
    ],
)

_FAR_PIECE = to_gateway(raw(1, bytes(8)), fragment_offset=65504 // 8, more_fragments=True)
_LONG_FIRST = FIRST.but(options=NO_OPERATION * 40)

for name, pair in (("first", (_LONG_FIRST, _FAR_PIECE)), ("last", (_FAR_PIECE, _LONG_FIRST))):
    category.invalid(
        f"reasm-too-long-by-options-that-come-{name}",
        f"With its first header's 60 octets, that come {name}, the datagram is over 65535: refused whole, and silently",
        rules.S12_TOO_LONG,
        source="RFC 791 3.1, 3.2; RFC 1122 3.3.2",
        steps=[
            introduces(HOST),
            host_sends(pair[0]).at(4.0).silence(),
            host_sends(pair[1]).silence(),
            time_passes(70.0).silence(),
            fence_local(),
        ],
    )

_FITTING_FIRST = FIRST.but(options=NO_OPERATION * 4)

category.vector(
    "reasm-just-65535",
    "With its first header's 24 octets the datagram is exactly 65535: it is held, and its time ends in an error",
    rules.S12_HOLD,
    rules.S12_TIMEOUT,
    source="RFC 791 3.1, 3.2; RFC 1122 3.3.2",
    steps=[
        introduces(HOST),
        host_sends(_FITTING_FIRST).at(4.0).silence(),
        host_sends(to_gateway(raw(1, bytes(7)), fragment_offset=65504 // 8)).silence(),
        time_passes(70.0).expect(to_host(error_to(HOST.address, icmp_error(11, 1, _FITTING_FIRST)))),
    ],
)

# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of(identification: int) -> IPv4:
    return ASKED.but(identification=identification)


category.invalid(
    "reasm-context-limit",
    "With room for two datagrams the oldest gives way to the third; the others complete",
    rules.S12_CONTEXT_LIMIT,
    source="RFC 1122 3.3.2; RFC 791 3.2",
    config={"limits": {"reassembly_contexts": 2}},
    steps=[
        introduces(HOST),
        host_sends(_of(1).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(0, 24, more=True)).silence(),
        host_sends(_of(3).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(24, 34, more=False)).expect(ANSWER),
        host_sends(_of(3).piece(24, 34, more=False)).expect(ANSWER),
        host_sends(_of(1).piece(24, 34, more=False)).silence(),
        fence_local(),
    ],
)

category.invalid(
    "reasm-octet-limit",
    "With room for 70 octets a third datagram of 24 pushes out the oldest; the others complete",
    rules.S12_OCTET_LIMIT,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 70}},
    steps=[
        introduces(HOST),
        host_sends(_of(1).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(0, 24, more=True)).silence(),
        host_sends(_of(3).piece(0, 24, more=True)).silence(),
        host_sends(_of(1).piece(24, 34, more=False)).silence(),
        host_sends(_of(2).piece(24, 34, more=False)).expect(ANSWER),
        host_sends(_of(3).piece(24, 34, more=False)).expect(ANSWER),
        fence_local(),
    ],
)

category.vector(
    "reasm-octet-limit-reached",
    "Exactly as many octets as there is room for push nothing out: 24 and 24, then 10",
    rules.S12_OCTET_LIMIT,
    rules.S12_COMPLETE,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 58}},
    steps=[
        introduces(HOST),
        host_sends(_of(1).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(24, 34, more=False)).expect(ANSWER),
        host_sends(_of(1).piece(24, 34, more=False)).expect(ANSWER),
    ],
)

_DISCARDED = (
    introduces(HOST),
    host_sends(_of(9).piece(0, 24, more=True)).at(4.0).silence(),
    host_sends(_of(9).piece(16, 32, more=True)).silence(),
    time_passes(70.0).silence(),
)
"""A datagram that was refused whole, and whose time is over."""

category.vector(
    "reasm-octet-limit-reached-after-discard",
    "A discarded datagram that is forgotten leaves the room as it was: 58 octets fit",
    rules.S12_OCTET_LIMIT,
    rules.S12_COMPLETE,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 58}},
    steps=[
        *_DISCARDED,
        host_sends(_of(1).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(24, 34, more=False)).expect(ANSWER),
        host_sends(_of(1).piece(24, 34, more=False)).expect(ANSWER),
    ],
)

category.invalid(
    "reasm-octet-limit-exceeded-by-one-after-discard",
    "A discarded datagram that is forgotten leaves the room as it was: where 57 octets fit, 58 push the oldest out",
    rules.S12_OCTET_LIMIT,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 57}},
    steps=[
        *_DISCARDED,
        host_sends(_of(1).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(24, 34, more=False)).expect(ANSWER),
        host_sends(_of(1).piece(24, 34, more=False)).silence(),
        fence_local(),
    ],
)

category.invalid(
    "reasm-octet-limit-pushes-out-without-an-error",
    "What was pushed out is over: when its time would be, only the two that were held are told of",
    rules.S12_OCTET_LIMIT,
    rules.S12_TIMEOUT,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 57}},
    steps=[
        introduces(HOST),
        host_sends(_of(1).piece(0, 24, more=True)).at(4.0).silence(),
        host_sends(two := _of(2).piece(0, 24, more=True)).silence(),
        host_sends(three := _of(3).piece(0, 16, more=True)).silence(),
        time_passes(70.0).expect(
            to_host(error_to(HOST.address, icmp_error(11, 1, two))),
            to_host(error_to(HOST.address, icmp_error(11, 1, three))),
        ),
        fence_local(),
    ],
)

category.vector(
    "reasm-octet-limit-is-one-fragment",
    "A fragment as large as all the room there is is held",
    rules.S12_OCTET_LIMIT,
    rules.S12_TIMEOUT,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 24}},
    steps=[
        introduces(HOST),
        host_sends(one := _of(1).piece(0, 24, more=True)).at(4.0).silence(),
        time_passes(70.0).expect(to_host(error_to(HOST.address, icmp_error(11, 1, one)))),
    ],
)

category.invalid(
    "reasm-fragment-limit-of-two",
    "Where a datagram may have two fragments, a third discards it, though it would complete it",
    rules.S12_FRAGMENT_LIMIT,
    source="RFC 1122 3.3.2; CVE-2018-5391",
    config={"limits": {"reassembly_fragments": 2}},
    steps=[
        introduces(HOST),
        host_sends(FIRST).silence(),
        host_sends(MIDDLE).silence(),
        host_sends(LAST).silence(),
        fence_local(),
    ],
)

category.invalid(
    "reasm-octet-limit-freed-by-discard",
    "A discarded datagram holds no octets: others find room where it was",
    rules.S12_OCTET_LIMIT,
    rules.S12_OVERLAP,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 58}},
    steps=[
        introduces(HOST),
        host_sends(_of(1).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).piece(16, 32, more=True)).silence(),
        host_sends(_of(3).piece(0, 24, more=True)).silence(),
        host_sends(_of(1).piece(24, 34, more=False)).expect(ANSWER),
        host_sends(_of(3).piece(24, 34, more=False)).expect(ANSWER),
        fence_local(),
    ],
)

category.invalid(
    "reasm-octet-limit-under-one-fragment",
    "A fragment larger than all the room there is is dropped and pushes nobody out",
    rules.S12_OCTET_LIMIT,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_octets": 40}},
    steps=[
        introduces(HOST),
        host_sends(_of(1).piece(0, 24, more=True)).silence(),
        host_sends(_of(2).but(payload=raw(1, bytes(48)), more_fragments=True)).silence(),
        host_sends(_of(1).piece(24, 34, more=False)).expect(ANSWER),
        fence_local(),
    ],
)

category.vector(
    "reasm-context-limit-same-datagram",
    "A further fragment of a datagram that is held needs no new place: nobody gives way",
    rules.S12_CONTEXT_LIMIT,
    rules.S12_COMPLETE,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_contexts": 2}},
    steps=[
        introduces(HOST),
        host_sends(_of(1).piece(0, 16, more=True)).silence(),
        host_sends(_of(2).piece(0, 16, more=True)).silence(),
        host_sends(_of(2).piece(16, 24, more=True)).silence(),
        host_sends(_of(1).piece(16, 34, more=False)).expect(ANSWER),
        host_sends(_of(2).piece(24, 34, more=False)).expect(ANSWER),
    ],
)

category.invalid(
    "reasm-fragment-limit",
    "A datagram in more fragments than the limit is discarded (FragmentSmack)",
    rules.S12_FRAGMENT_LIMIT,
    rules.S12_DISCARDED,
    source="RFC 1122 3.3.2; CVE-2018-5391",
    config={"limits": {"reassembly_fragments": 3}},
    steps=[
        introduces(HOST),
        *(host_sends(ASKED.piece(start, start + 8, more=True)).silence() for start in (0, 8, 16, 24)),
        host_sends(ASKED.piece(32, 34, more=False)).silence(),
        fence_local(),
    ],
)

category.vector(
    "reasm-fragment-limit-reached",
    "A datagram in exactly as many fragments as the limit completes",
    rules.S12_FRAGMENT_LIMIT,
    rules.S12_COMPLETE,
    source="RFC 1122 3.3.2",
    config={"limits": {"reassembly_fragments": 3}},
    steps=[
        introduces(HOST),
        host_sends(FIRST).silence(),
        host_sends(MIDDLE).silence(),
        host_sends(LAST).expect(ANSWER),
    ],
)
