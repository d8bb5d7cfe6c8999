"""Stream framing: records come out whole, however the stream is cut; a length that cannot be loses the stream."""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, FAR_END_SEALS, GATEWAY_SEALS, HOST
from glassgate.conformance.authoring.story import (
    CLOSES,
    OPENS,
    Category,
    fence,
    fence_local,
    flow_brings,
    flow_closes,
    flow_opens,
    host_sends,
    introduces,
    on_flow,
    time_passes,
    to_host,
)
from glassgate.conformance.packets import IPv4, framed, raw, udp
from glassgate.contract import rules

category = Category("framing", "Records in the stream: whole, split, joined, empty, oversized.")

BACK = IPv4(source=FAR, destination=HOST.address, payload=udp(53, 5000, b"framed"), identification=0x0F0F)
DELIVERED = to_host(BACK.but(time_to_live=63))
_FRAMING = "OpenVPN socket.c stream_buf_added; PROTOCOL 1"


def stream(*packet_ids: int, packet: IPv4 = BACK) -> bytes:
    """The stream that carries the packet once under each of these packet ids."""
    return framed(*(FAR_END_SEALS.record(packet_id, packet.build().data) for packet_id in packet_ids))


ONE = stream(1)

# ── cut anywhere ──────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "frame-whole",
    "A record in one piece",
    rules.S3_RECORD,
    source=_FRAMING,
    steps=[introduces(HOST), flow_brings(ONE).expect(DELIVERED)],
)

for name, title, at in (
    ("after-first-octet", "between the two octets of its length", 1),
    ("after-length", "behind its length", 2),
    ("in-header", "in its header", 4),
    ("in-tag", "in its tag", 17),
    ("before-last-octet", "before its last octet", -1),
):
    category.vector(
        f"frame-cut-{name}",
        f"A record cut {title}: it waits for its rest",
        rules.S3_RECORD,
        rules.S3_INCOMPLETE,
        source=_FRAMING,
        steps=[introduces(HOST), flow_brings(ONE[:at]).silence(), flow_brings(ONE[at:]).expect(DELIVERED)],
    )

category.vector(
    "frame-octet-by-octet",
    "A record that comes an octet at a time is delivered with its last",
    rules.S3_INCOMPLETE,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        *(flow_brings(ONE[at : at + 1]).silence() for at in range(len(ONE) - 1)),
        flow_brings(ONE[-1:]).expect(DELIVERED),
    ],
)

category.vector(
    "frame-length-1",
    "A record of one octet is a record: a control packet, which means nothing under fixed keys, and the stream goes on",
    rules.S3_RECORD,
    rules.S27_CONTROL,
    source="OpenVPN socket.c stream_buf_added; PROTOCOL 1, 2",
    steps=[introduces(HOST), flow_brings(b"\x00\x01\x28").silence(), flow_brings(ONE).expect(DELIVERED)],
)

category.vector(
    "frame-two-in-one",
    "Two records in one piece are two packets, in order",
    rules.S3_RECORD,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(stream(1) + stream(2, packet=BACK.but(identification=2))).expect(
            DELIVERED, to_host(BACK.but(identification=2, time_to_live=63))
        ),
    ],
)

category.vector(
    "frame-five-in-one",
    "Five records in one piece",
    rules.S3_RECORD,
    source=_FRAMING,
    steps=[introduces(HOST), flow_brings(stream(1, 2, 3, 4, 5)).expect(*[DELIVERED] * 5)],
)

category.vector(
    "frame-one-and-a-half",
    "A record and a half, then the other half and a whole one",
    rules.S3_RECORD,
    rules.S3_INCOMPLETE,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(ONE + stream(2)[:30]).expect(DELIVERED),
        flow_brings(stream(2)[30:] + stream(3)).expect(DELIVERED, DELIVERED),
    ],
)

category.vector(
    "frame-length-of-next-cut",
    "A record with the first octet of the next length",
    rules.S3_INCOMPLETE,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(ONE + stream(2)[:1]).expect(DELIVERED),
        flow_brings(stream(2)[1:]).expect(DELIVERED),
    ],
)

category.vector(
    "frame-rest-after-minutes",
    "The rest of a record may take five minutes; nothing expires here",
    rules.S3_INCOMPLETE,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(ONE[:20]).at(4.0).silence(),
        time_passes(200.0).silence(),
        flow_brings(ONE[20:]).at(304.0).expect(DELIVERED),
    ],
)

category.vector(
    "frame-incomplete-stops-nobody",
    "While a record is incomplete the other direction and local delivery go on",
    rules.S3_INCOMPLETE,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(ONE[:20]).silence(),
        fence(),
        fence_local(),
        flow_brings(ONE[20:]).expect(DELIVERED),
    ],
)

category.vector(
    "frame-dropped-packet-between",
    "Of three records in one piece the middle packet goes nowhere: its neighbours are not disturbed",
    rules.S3_RECORD,
    rules.S30_ELSEWHERE,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(
            ONE + stream(2, packet=BACK.but(destination="203.0.113.1")) + stream(3, packet=BACK.but(identification=3))
        ).expect(DELIVERED, to_host(BACK.but(identification=3, time_to_live=63))),
    ],
)

category.vector(
    "frame-outgoing",
    "Each packet from inside leaves as its length and its record: 2 + 24 octets more than the packet",
    rules.S3_RECORD,
    rules.S24_SEAL,
    source="OpenVPN socket.c link_socket_write_tcp; PROTOCOL 1, 10.1",
    steps=[
        host_sends(small := IPv4(source=HOST.address, destination=FAR, payload=raw(253, b""))).expect(
            on_flow(b"\x00\x2c" + GATEWAY_SEALS.record(1, small.but(time_to_live=63).build().data))
        ),
        host_sends(full := small.but(payload=raw(253, bytes(1480)))).expect(
            on_flow(b"\x05\xf4" + GATEWAY_SEALS.record(2, full.but(time_to_live=63).build().data))
        ),
    ],
)

# ── lengths at the limit ──────────────────────────────────────────────────────────────────────────────────────────────

_LARGEST = IPv4(source=FAR, destination=HOST.address, payload=raw(253, b"\x5c" * 1724), identification=0x1768)

category.vector(
    "frame-largest",
    "A record of 1768 octets, the MTU and 268, is accepted: 1744 of packet, which leaves inside in two fragments",
    rules.S3_RECORD,
    rules.S32_INTERNAL_MTU,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(stream(1, packet=_LARGEST)).expect(
            to_host(_LARGEST.piece(0, 1480, more=True, time_to_live=63)),
            to_host(_LARGEST.piece(1480, 1724, more=False, time_to_live=63)),
        ),
    ],
)

category.vector(
    "frame-largest-for-small-mtu",
    "With an MTU of 576 the limit is 844",
    rules.S3_RECORD,
    source=_FRAMING,
    config={"tunnel": {"session": {"mtu": 576}}},
    steps=[
        introduces(HOST),
        flow_brings(stream(1, packet=(most := BACK.but(payload=raw(253, bytes(800)))))).expect(
            to_host(most.but(time_to_live=63))
        ),
    ],
)


def _lost(name: str, title: str, bad: bytes, config: dict[str, Any] | None = None) -> None:
    category.invalid(
        f"frame-{name}",
        f"{title}: the stream is lost, reset and opened again a second later",
        rules.S3_BAD_LENGTH,
        rules.S3_RESET_LOST_FLOW,
        source=_FRAMING,
        config=config,
        steps=[
            introduces(HOST),
            flow_brings(bad).at(10.0).expect(CLOSES),
            time_passes(11.0).expect(OPENS),
            fence_local(),
        ],
    )


_lost("length-0", "A record length of 0", b"\x00\x00")
_lost("length-0-and-more", "A record length of 0 before a good record", b"\x00\x00" + ONE)
_lost("length-1769", "A record length of 1769, as soon as it is read", b"\x06\xe9")
_lost("length-65535", "A record length of 65535", b"\xff\xff\x48")
_lost("length-of-text", "A web server's greeting where a length should be", b"HTTP/1.1 400 Bad Request\r\n")
_lost(
    "length-845-for-small-mtu",
    "A record length of 845 with an MTU of 576",
    b"\x03\x4d",
    {"tunnel": {"session": {"mtu": 576}}},
)

category.invalid(
    "frame-bad-length-after-good",
    "A good record, then a length of 0: the packet is delivered, and the stream is lost",
    rules.S3_BAD_LENGTH,
    source=_FRAMING,
    steps=[introduces(HOST), flow_brings(ONE + b"\x00\x00" + stream(2)).expect(DELIVERED, CLOSES), fence_local()],
)

category.invalid(
    "frame-bad-length-cut",
    "A length of 0 in two pieces is known with its second octet",
    rules.S3_BAD_LENGTH,
    rules.S3_INCOMPLETE,
    source=_FRAMING,
    steps=[introduces(HOST), flow_brings(b"\x00").silence(), flow_brings(b"\x00").expect(CLOSES), fence_local()],
)

category.invalid(
    "frame-rest-ends-with-flow",
    "What waits for its rest ends with its connection: the next stream begins with a length",
    rules.S3_INCOMPLETE,
    rules.S4_FLOW_LOST,
    rules.S3_BAD_LENGTH,
    source=_FRAMING,
    steps=[
        introduces(HOST),
        flow_brings(ONE[:20]).at(9.0).silence(),
        flow_closes().at(10.0).silence(),
        time_passes(11.0).expect(OPENS),
        flow_opens().at(11.1).silence(),
        flow_brings(b"\x00\x00").at(11.2).expect(CLOSES),
        fence_local(),
    ],
)
