"""The data channel over UDP: a datagram is a record, and a bad one is dropped, not fatal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from glassgate.conformance.authoring.places import CONFIG, FAR, FAR_END_SEALS, GATEWAY_SEALS, HOST
from glassgate.conformance.authoring.story import (
    Category,
    Story,
    flow_brings,
    host_sends,
    introduces,
    on_flow,
    to_host,
)
from glassgate.conformance.packets import PING, IPv4, udp
from glassgate.contract import rules

category = Category(
    "data-channel-udp",
    "Records over UDP: no length in front, and what is bad is dropped without a word.",
    config={**CONFIG, "tunnel": {**CONFIG["tunnel"], "proto": "udp"}},
)

OUT = IPv4(source=HOST.address, destination=FAR, payload=udp(5000, 53, b"question"), identification=0x0001)
BACK = IPv4(source=FAR, destination=HOST.address, payload=udp(53, 5000, b"answer"), identification=0x0002)
DELIVERED = to_host(BACK.but(time_to_live=63))
_BACK = BACK.build().data


def record(packet_id: int, payload: bytes = _BACK, **spoilt: Any) -> bytes:
    """A record of the far end."""
    return FAR_END_SEALS.record(packet_id, payload, **spoilt)


def good(packet_id: int) -> Story:
    """A good record still gets in."""
    return flow_brings(record(packet_id)).expect(DELIVERED)


category.vector(
    "udp-seal",
    "Each record is one datagram, without a length",
    rules.S24_SEAL,
    source="PROTOCOL 1, 10.1",
    steps=[
        host_sends(OUT).expect(on_flow(GATEWAY_SEALS.record(1, OUT.but(time_to_live=63).build().data))),
        host_sends(OUT).expect(on_flow(GATEWAY_SEALS.record(2, OUT.but(time_to_live=63).build().data))),
    ],
)

category.invalid(
    "udp-replay-of-those-before",
    "A replay is found whether it is of the record before or of the one before that",
    rules.S26_REPLAY,
    source="OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3",
    steps=[
        introduces(HOST),
        good(1),
        good(2),
        good(3),
        flow_brings(record(2)).silence(),
        flow_brings(record(1)).silence(),
        good(4),
    ],
)

category.vector(
    "udp-reordered",
    "Datagrams that overtake one another are delivered as they come, within the window",
    rules.S26_GAP,
    rules.S26_OPEN,
    source="OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3",
    steps=[introduces(HOST), good(1), good(5), good(3), good(2), good(4), good(6)],
)

category.vector(
    "udp-window",
    "63 behind the highest is accepted, 64 behind is dropped, and all goes on",
    rules.S26_GAP,
    rules.S26_REPLAY,
    source="OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3",
    steps=[introduces(HOST), good(200), good(137), flow_brings(record(136)).silence(), good(201)],
)

for name, title, bad, rule in (
    ("replay", "A datagram that comes twice", record(1), rules.S26_REPLAY),
    ("packet-id-0", "Packet id 0", record(0), rules.S26_REPLAY),
    ("corrupt", "A spoilt tag", record(2, tag_flip=1), rules.S26_AUTHENTICATION),
    ("too-short", "A record of 23 octets", record(2)[:23], rules.S26_TOO_SHORT),
    ("one-octet", "A record of one octet", b"\x48", rules.S26_TOO_SHORT),
    ("empty", "A record without payload", record(2, b""), rules.S26_EMPTY),
    (
        "unknown-key",
        "A record under an unknown key id",
        replace(FAR_END_SEALS, key_id=4).record(2, _BACK),
        rules.S26_UNKNOWN_KEY,
    ),
    ("opcode-0", "Opcode 0", bytes(60), rules.S26_OPCODE),
    ("opcode-31", "Opcode 31", b"\xf8" + bytes(60), rules.S26_OPCODE),
    ("ping", "A ping", record(2, PING), rules.S27_PING),
    (
        "with-length",
        "A record with a length in front, as over TCP, has the opcode 0",
        len(record(2)).to_bytes(2, "big") + record(2),
        rules.S26_OPCODE,
    ),
):
    category.invalid(
        f"udp-{name}",
        f"{title} is dropped: over UDP the session goes on",
        rule,
        source="OpenVPN forward.c process_incoming_link_part1; PROTOCOL 16.1",
        steps=[introduces(HOST), good(1), flow_brings(bad).silence(), good(3)],
    )

category.invalid(
    "udp-forgery-moves-no-window",
    "A forged record with a high packet id does not move the window: replay is checked after the tag",
    rules.S26_AUTHENTICATION,
    rules.S26_REPLAY,
    source="PROTOCOL 10.3, 16.2",
    steps=[introduces(HOST), good(1), flow_brings(record(100000, tag_flip=1)).silence(), good(2)],
)

category.invalid(
    "udp-empty-datagram",
    "A datagram without octets is ignored",
    rules.S26_TOO_SHORT,
    source="PROTOCOL 1",
    steps=[introduces(HOST), flow_brings(b"").silence(), good(1)],
)
