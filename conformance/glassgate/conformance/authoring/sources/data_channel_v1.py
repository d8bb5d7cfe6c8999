"""The data channel without a peer id: records of type P_DATA_V1, whose additional data is the packet id alone."""

from __future__ import annotations

from dataclasses import replace

from glassgate.conformance.authoring.places import CONFIG, FAR, FAR_END_SEALS, GATEWAY_SEALS, HOST, of_cipher, session
from glassgate.conformance.authoring.story import (
    CLOSES,
    Category,
    fence_local,
    flow_brings,
    host_sends,
    introduces,
    on_flow,
    to_host,
)
from glassgate.conformance.packets import IPv4, framed, udp
from glassgate.contract import Cipher, rules

category = Category(
    "data-channel-v1",
    "Records of type P_DATA_V1: one octet of header, which is not part of the additional data.",
    config={**CONFIG, "tunnel": {**CONFIG["tunnel"], "session": session(peer_id=None)}},
)

OUT = IPv4(source=HOST.address, destination=FAR, payload=udp(5000, 53, b"question"), identification=0x0001)
BACK = IPv4(source=FAR, destination=HOST.address, payload=udp(53, 5000, b"answer"), identification=0x0002)
DELIVERED = to_host(BACK.but(time_to_live=63))
SEALS = replace(GATEWAY_SEALS, peer_id=None)
OPENS = replace(FAR_END_SEALS, peer_id=None)

_OUT = OUT.but(time_to_live=63).build().data
_BACK = BACK.build().data

for cipher in Cipher:
    category.vector(
        f"data-v1-{cipher.value.lower()}",
        f"P_DATA_V1 under {cipher.value}, both ways",
        rules.S24_SEAL,
        rules.S26_OPEN,
        source="OpenVPN crypto.c; PROTOCOL 10, 10.1, 20.4",
        config={"tunnel": {"session": {name: session(cipher)[name] for name in ("cipher", "send", "receive")}}},
        steps=[
            introduces(HOST),
            host_sends(OUT).expect(on_flow(framed(of_cipher(SEALS, cipher).record(1, _OUT)))),
            flow_brings(framed(of_cipher(OPENS, cipher).record(1, _BACK))).expect(DELIVERED),
        ],
    )

category.vector(
    "data-v1-key-id",
    "The key id stands in the one octet of header",
    rules.S24_SEAL,
    source="PROTOCOL 2, 10",
    config={"tunnel": {"session": {"key_id": 5}}},
    steps=[
        introduces(HOST),
        host_sends(OUT).expect(on_flow(framed(replace(SEALS, key_id=5).record(1, _OUT)))),
        flow_brings(framed(replace(OPENS, key_id=5).record(1, _BACK))).expect(DELIVERED),
    ],
)

category.vector(
    "data-v2-in-v1-session",
    "A record of type P_DATA_V2 is accepted where the session has no peer id",
    rules.S26_OPEN,
    source="PROTOCOL 10",
    steps=[introduces(HOST), flow_brings(framed(FAR_END_SEALS.record(1, _BACK))).expect(DELIVERED)],
)

for name, title, bad, rule in (
    ("corrupt", "A spoilt tag", OPENS.record(1, _BACK, tag_flip=4), rules.S26_AUTHENTICATION),
    (
        "relabelled",
        "A record of type 9 relabelled as type 6, its peer id left out",
        b"\x30" + FAR_END_SEALS.record(1, _BACK)[4:],
        rules.S26_AUTHENTICATION,
    ),
    (
        "20-octets",
        "20 octets have no room for header, packet id and tag",
        OPENS.record(1, _BACK)[:20],
        rules.S26_TOO_SHORT,
    ),
    ("empty", "A record of 21 octets has no payload", OPENS.record(1, b""), rules.S26_EMPTY),
    ("packet-id-0", "Packet id 0", OPENS.record(0, _BACK), rules.S26_REPLAY),
):
    category.invalid(
        f"data-v1-{name}",
        f"{title}: the connection is given up",
        rule,
        source="OpenVPN crypto.c openvpn_decrypt_aead; PROTOCOL 10.1, 16.1",
        steps=[introduces(HOST), flow_brings(framed(bad)).expect(CLOSES), fence_local()],
    )
