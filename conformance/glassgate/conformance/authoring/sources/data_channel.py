"""The data channel: what a record is, what is believed of one, and what ends the connection.

Here the octets of the stream are written exactly: ``record(n)`` is what the far end sealed under packet id n, and
``sealed(n)`` what the gateway must put on the flow.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from glassgate.conformance.authoring.places import (
    FAR,
    FAR_END_SEALS,
    GATEWAY_SEALS,
    HOST,
    NEIGHBOUR,
    of_cipher,
    session,
)
from glassgate.conformance.authoring.story import (
    CLOSES,
    OPENS,
    Category,
    Story,
    error_to,
    fence,
    fence_for_host,
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
from glassgate.conformance.model import ExpectedPacket, FlagNote, Result
from glassgate.conformance.packets import PING, IPv4, Seal, framed, icmp_error, udp
from glassgate.contract import Cipher, rules

category = Category(
    "data-channel",
    "Records of the data channel: ciphers, labels, ids, replay, corruption, pings, and the end of a connection.",
    notes={
        "IDS_USED_UP_ANSWERED": FlagNote(
            bug="none",
            what="a packet for a tunnel whose key has no packet id left is answered with network unreachable",
            effect="the source learns that the tunnel is down; the packet is dropped either way",
        ),
        "IDS_USED_UP_IN_PART": FlagNote(
            bug="none",
            what="of a packet's fragments those leave for which there are packet ids",
            effect="the receiver waits in vain for the rest; the packet is lost either way",
        ),
        "IDS_USED_UP_CLOSES": FlagNote(
            bug="none",
            what="a session whose key has no packet id left is over: the flow is given up",
            effect="the tunnel comes back with fresh keys where they are negotiated; nothing is sealed in either case",
        ),
    },
)

OUT = IPv4(source=HOST.address, destination=FAR, payload=udp(5000, 53, b"question"), identification=0x0001)
BACK = IPv4(source=FAR, destination=HOST.address, payload=udp(53, 5000, b"answer"), identification=0x0002)
PASSED = OUT.but(time_to_live=63)


def sealed(packet_id: int, packet: IPv4 = PASSED, seal: Seal = GATEWAY_SEALS) -> ExpectedPacket:
    """The record that the gateway must emit, with its length in front."""
    return on_flow(framed(seal.record(packet_id, packet.build().data)))


def record(packet_id: int, packet: IPv4 | bytes = BACK, seal: Seal = FAR_END_SEALS, **spoilt: Any) -> bytes:
    """A record of the far end."""
    data = packet if isinstance(packet, bytes) else packet.build().data
    return seal.record(packet_id, data, **spoilt)


def arrives(*records: bytes) -> Story:
    """Records arrive whole, each behind its length."""
    return flow_brings(framed(*records))


def delivered(packet: IPv4 = BACK) -> ExpectedPacket:
    """The host gets the packet, one hop further."""
    return to_host(packet.but(time_to_live=packet.time_to_live - 1))


def tunnel(**members: Any) -> dict[str, Any]:
    """A configuration with other members of the session."""
    return {"tunnel": {"session": members}}


# ── what the gateway seals ────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "data-seal",
    "A packet from inside is one record: opcode 9, peer id, packet id 1, tag before ciphertext; the next has id 2",
    rules.S24_SEAL,
    rules.S3_RECORD,
    source="OpenVPN crypto.c openvpn_encrypt_aead; PROTOCOL 1, 10.1, 10.3",
    steps=[host_sends(OUT).expect(sealed(1)), host_sends(OUT).expect(sealed(2)), host_sends(OUT).expect(sealed(3))],
)

for cipher in Cipher:
    slug = cipher.value.lower()
    category.vector(
        f"data-cipher-{slug}",
        f"{cipher.value}, both ways",
        rules.S24_SEAL,
        rules.S26_OPEN,
        source="OpenVPN crypto.c; PROTOCOL 10.1, 20.4",
        config={"tunnel": {"session": session(cipher)}},
        steps=[
            introduces(HOST),
            host_sends(OUT).expect(sealed(1, seal=of_cipher(GATEWAY_SEALS, cipher))),
            arrives(record(1, seal=of_cipher(FAR_END_SEALS, cipher))).expect(delivered()),
        ],
    )

category.vector(
    "data-key-id-and-peer-id",
    "Key id and peer id of the session label every record, and are part of the additional data",
    rules.S24_SEAL,
    source="OpenVPN ssl.c tls_prepend_opcode_v2; PROTOCOL 2, 10",
    config=tunnel(key_id=3, peer_id=0xABCDEF),
    steps=[
        introduces(HOST),
        host_sends(OUT).expect(sealed(1, seal=replace(GATEWAY_SEALS, key_id=3, peer_id=0xABCDEF))),
        arrives(record(1, seal=replace(FAR_END_SEALS, key_id=3, peer_id=0xABCDEF))).expect(delivered()),
    ],
)

category.vector(
    "data-key-id-7",
    "The highest key id, and the peer id that means none",
    rules.S24_SEAL,
    rules.S26_OPEN,
    source="PROTOCOL 2, 10",
    config=tunnel(key_id=7, peer_id=0xFFFFFF),
    steps=[
        introduces(HOST),
        host_sends(OUT).expect(sealed(1, seal=replace(GATEWAY_SEALS, key_id=7, peer_id=0xFFFFFF))),
        arrives(record(1, seal=replace(FAR_END_SEALS, key_id=7, peer_id=0xFFFFFF))).expect(delivered()),
    ],
)

category.vector(
    "data-next-packet-id",
    "A session that begins with packet id 0x00ffffff goes on with 0x01000000",
    rules.S24_SEAL,
    source="PROTOCOL 10.3",
    config=tunnel(send={"next_packet_id": 0x00FFFFFF}),
    steps=[host_sends(OUT).expect(sealed(0x00FFFFFF)), host_sends(OUT).expect(sealed(0x01000000))],
)

category.vector(
    "data-fragments-in-id-order",
    "The fragments of a packet are records in order, with ids that follow one another",
    rules.S24_SEAL,
    rules.S21_FRAGMENT,
    source="RFC 791 3.2; PROTOCOL 10.3",
    config=tunnel(mtu=576),
    steps=[
        host_sends(big := OUT.but(payload=udp(5000, 53, bytes(range(200)) * 3))).expect(
            sealed(1, big.piece(0, 552, more=True, time_to_live=63)),
            sealed(2, big.piece(552, 608, more=False, time_to_live=63)),
        ),
        host_sends(OUT).expect(sealed(3)),
    ],
)

category.vector(
    "data-dropped-packets-take-no-id",
    "What is refused takes no packet id: the far end sees 1 and 2",
    rules.S3_DROP_BEFORE_ID,
    rules.S24_SEAL,
    source="PROTOCOL 10.3; OpenVPN packet_id.c packet_id_write",
    steps=[
        introduces(HOST),
        host_sends(OUT).expect(sealed(1)),
        host_sends(expired := OUT.but(time_to_live=1)).expect(
            to_host(error_to(HOST.address, icmp_error(11, 0, expired)))
        ),
        host_sends(OUT.but(destination=NEIGHBOUR.address)).silence(),
        host_sends(OUT.but(header_checksum=1)).silence(),
        host_sends(OUT).expect(sealed(2)),
    ],
)

category.vector(
    "data-last-packet-id",
    "The last packet id is used, and after it nothing is sealed under this key",
    rules.S24_IDS_USED_UP,
    source="PROTOCOL 10.3; OpenVPN packet_id.c packet_id_write",
    config=tunnel(send={"next_packet_id": 0xFFFFFFFF}),
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        host_sends(OUT).expect(sealed(0xFFFFFFFF)),
        host_sends(OUT)
        .silence()
        .or_else("IDS_USED_UP_ANSWERED", to_host(error_to(HOST.address, icmp_error(3, 0, OUT))))
        .or_else("IDS_USED_UP_CLOSES", CLOSES),
        fence_local(),
    ],
)

category.vector(
    "data-last-packet-id-for-two-fragments",
    "With one packet id left a packet that needs two records is dropped whole",
    rules.S24_IDS_USED_UP,
    rules.S3_DROP_BEFORE_ID,
    source="PROTOCOL 10.3; OpenVPN packet_id.c packet_id_write",
    config=tunnel(mtu=576, send={"next_packet_id": 0xFFFFFFFF}),
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        host_sends(big := OUT.but(payload=udp(5000, 53, bytes(600))))
        .silence()
        .or_else("IDS_USED_UP_IN_PART", sealed(0xFFFFFFFF, big.piece(0, 552, more=True, time_to_live=63)))
        .or_else("IDS_USED_UP_ANSWERED", to_host(error_to(HOST.address, icmp_error(3, 0, big))))
        .or_else("IDS_USED_UP_CLOSES", CLOSES),
        fence_local(),
    ],
)

# ── what is opened ────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "data-open",
    "A good record is opened, and its packet goes its way",
    rules.S26_OPEN,
    rules.S29_TO_HOST,
    source="OpenVPN crypto.c openvpn_decrypt_aead; PROTOCOL 10.1",
    steps=[introduces(HOST), arrives(record(1)).expect(delivered()), arrives(record(2)).expect(delivered())],
)

category.vector(
    "data-gap",
    "A higher packet id is accepted with any gap, up to the last one",
    rules.S26_GAP,
    source="OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3",
    steps=[
        introduces(HOST),
        arrives(record(1)).expect(delivered()),
        arrives(record(2000)).expect(delivered()),
        arrives(record(0x80000000)).expect(delivered()),
        arrives(record(0xFFFFFFFF)).expect(delivered()),
    ],
)

category.vector(
    "data-first-id-is-not-1",
    "The first record seen may have any id but 0",
    rules.S26_GAP,
    source="PROTOCOL 10.3",
    steps=[introduces(HOST), arrives(record(0x1234)).expect(delivered()), arrives(record(0x1235)).expect(delivered())],
)

category.vector(
    "data-late-within-window",
    "Ids that were left out may come late, 63 behind the highest and no further, each once",
    rules.S26_GAP,
    rules.S26_REPLAY,
    source="OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3",
    steps=[
        introduces(HOST),
        arrives(record(100)).expect(delivered()),
        arrives(record(99)).expect(delivered()),
        arrives(record(37)).expect(delivered()),
        arrives(record(38)).expect(delivered()),
        arrives(record(101)).expect(delivered()),
    ],
)

category.vector(
    "data-window-slides",
    "When the highest id rises by more than the window, all that lies in the new window may still come",
    rules.S26_GAP,
    rules.S26_REPLAY,
    source="PROTOCOL 10.3",
    steps=[
        introduces(HOST),
        arrives(record(10)).expect(delivered()),
        arrives(record(500)).expect(delivered()),
        arrives(record(437)).expect(delivered()),
        arrives(record(564)).expect(delivered()),
        arrives(record(501)).expect(delivered()),
    ],
)

category.vector(
    "data-other-peer-id",
    "The peer id in a record is not looked at, if the tag is right for it",
    rules.S26_OPEN,
    source="PROTOCOL 10",
    steps=[introduces(HOST), arrives(record(1, peer_id=77)).expect(delivered())],
)

category.vector(
    "data-v1-in-v2-session",
    "A record of type P_DATA_V1 is accepted where the session has a peer id: the far end may use either",
    rules.S26_OPEN,
    source="PROTOCOL 10",
    steps=[
        introduces(HOST),
        arrives(record(1, seal=replace(FAR_END_SEALS, peer_id=None))).expect(delivered()),
        arrives(record(2)).expect(delivered()),
    ],
)

category.invalid(
    "data-unknown-key-id",
    "A record under a key id that is not known is ignored, good or bad, and the tunnel stays up",
    rules.S26_UNKNOWN_KEY,
    source="OpenVPN ssl.c tls_pre_decrypt; PROTOCOL 16.1",
    steps=[
        introduces(HOST),
        arrives(record(1, seal=replace(FAR_END_SEALS, key_id=1))).silence(),
        arrives(record(1, seal=replace(FAR_END_SEALS, key_id=7))).silence(),
        arrives(b"\x4d" + bytes(40)).silence(),
        arrives(record(1)).expect(delivered()),
    ],
)

for opcode, name in (
    (3, "soft-reset"),
    (4, "control"),
    (5, "ack"),
    (7, "hard-reset-client-v2"),
    (8, "hard-reset-server-v2"),
    (10, "hard-reset-client-v3"),
    (11, "wkc"),
):
    category.invalid(
        f"data-between-control-{name}",
        f"A control packet of opcode {opcode} between two data records neither passes nor delays them",
        rules.S27_CONTROL,
        source="OpenVPN ssl.c tls_pre_decrypt; PROTOCOL 2",
        steps=[
            introduces(HOST),
            arrives(record(1), bytes([opcode << 3]) + bytes(40), record(2)).expect(delivered(), delivered()),
            arrives(bytes([opcode << 3]) + bytes(13)).silence(),
            arrives(record(3)).expect(delivered()),
        ],
    )

category.invalid(
    "data-ping",
    "A ping is taken by the gateway: nothing leaves inside, and its packet id counts",
    rules.S27_PING,
    source="OpenVPN ping.h is_ping_msg; PROTOCOL 12.1",
    steps=[
        introduces(HOST),
        arrives(record(1, PING)).silence(),
        arrives(record(2), record(3, PING), record(4)).expect(delivered(), delivered()),
    ],
)

category.invalid(
    "data-ping-and-more",
    "Sixteen octets of ping and one more are no ping but a packet of version 2, which is dropped",
    rules.S9_VERSION,
    rules.S27_PING,
    source="OpenVPN ping.h is_ping_msg; PROTOCOL 12.1",
    steps=[introduces(HOST), arrives(record(1, PING + b"\0" * 8)).silence(), arrives(record(2)).expect(delivered())],
)

category.invalid(
    "data-occ-request",
    "An options-consistency request is taken by the gateway and goes no further",
    rules.S27_OCC,
    source="OpenVPN occ.c process_received_occ_msg; PROTOCOL 12.2",
    steps=[
        introduces(HOST),
        arrives(record(1, bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c00"))).silence(),
        arrives(record(2)).expect(delivered()),
    ],
)

# ── what ends the connection ──────────────────────────────────────────────────────────────────────────────────────────


def _fatal(name: str, title: str, rule: Any, bad: bytes, *before: bytes, why: str) -> None:
    """After this record the gateway gives the flow up and a second later wants another; it serves the LAN meanwhile."""
    category.invalid(
        f"data-{name}",
        f"{title}: over TCP the connection is given up and opened again",
        rule,
        source=why,
        steps=[
            introduces(HOST),
            *(arrives(good).expect(delivered()) for good in before),
            arrives(bad).at(10.0).expect(CLOSES),
            fence_local(),
            time_passes(10.9).silence(),
            time_passes(11.0).expect(OPENS),
            fence_local(),
        ],
    )


_AEAD = "OpenVPN crypto.c openvpn_decrypt_aead; PROTOCOL 10.1, 16.1"
_PART1 = "OpenVPN forward.c process_incoming_link_part1; PROTOCOL 10.3, 16.1"
_TEST = "OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3"


def _flipped(data: bytes, at: int, bit: int = 1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= bit
    return bytes(changed)


for name, title, bad in (
    ("corrupt-tag-first-octet", "A bit of the tag's first octet is wrong", _flipped(record(1), 8, 0x80)),
    ("corrupt-tag-last-octet", "A bit of the tag's last octet is wrong", record(1, tag_flip=1)),
    ("corrupt-ciphertext-first-octet", "A bit of the first octet of ciphertext is wrong", _flipped(record(1), 24)),
    ("corrupt-ciphertext-last-octet", "A bit of the last octet of ciphertext is wrong", _flipped(record(1), -1, 0x80)),
    ("corrupt-packet-id", "The packet id was changed on the way", _flipped(record(1), 7)),
    ("corrupt-peer-id", "The peer id was changed on the way: it is additional data", _flipped(record(1), 3)),
    ("corrupt-opcode", "A record of type 9 relabelled as type 6", bytes([6 << 3]) + record(1)[1:]),
    ("cut-by-one-octet", "A record that lost its last octet", record(1)[:-1]),
    ("one-octet-too-many", "A record with an octet behind it", record(1) + b"\0"),
    (
        "tag-behind",
        "A record with its tag where libraries put it, behind the ciphertext",
        record(1)[:8] + record(1)[24:] + record(1)[8:24],
    ),
    ("tag-all-zero", "A record whose tag is zero", record(1)[:8] + bytes(16) + record(1)[24:]),
    ("reflected", "A record sealed with the gateway's own sending key", record(1, seal=GATEWAY_SEALS)),
    (
        "other-cipher",
        "A record of AES-128-GCM in a session of AES-256-GCM",
        record(1, seal=of_cipher(FAR_END_SEALS, Cipher.AES_128_GCM)),
    ),
    (
        "other-implicit-iv",
        "A record with another implicit IV",
        record(1, seal=replace(FAR_END_SEALS, implicit_iv=bytes(8))),
    ),
):
    _fatal(name, title, rules.S26_AUTHENTICATION, bad, why=_PART1)

for octets in (1, 3, 4, 7, 8, 23):
    _fatal(
        f"record-of-{octets}-octets",
        f"A data record of {octets} octets has no room for header, packet id and tag",
        rules.S26_TOO_SHORT,
        record(1)[:octets],
        why=_AEAD,
    )

_fatal("empty", "A record without payload, its tag right", rules.S26_EMPTY, record(1, b""), why=_AEAD)

_fatal("replay", "The same record twice", rules.S26_REPLAY, record(1), record(1), why=_TEST)
_fatal(
    "replay-of-other-payload",
    "Another packet under an id that was used",
    rules.S26_REPLAY,
    record(5, BACK.but(identification=9)),
    record(5),
    why=_TEST,
)
_fatal(
    "replay-in-window",
    "An id in the window that was seen",
    rules.S26_REPLAY,
    record(38),
    record(38),
    record(100),
    why=_TEST,
)
_fatal(
    "replay-late-one-twice",
    "An id that came late comes again",
    rules.S26_REPLAY,
    record(99),
    record(100),
    record(99),
    why=_TEST,
)
_fatal(
    "replay-64-behind", "An id 64 behind the highest, never seen", rules.S26_REPLAY, record(36), record(100), why=_TEST
)
_fatal("packet-id-0", "Packet id 0", rules.S26_REPLAY, record(0), why=_TEST)
_fatal(
    "packet-id-wraps",
    "Id 1 after the last one: ids do not wrap",
    rules.S26_REPLAY,
    record(1),
    record(0xFFFFFFFF),
    why=_TEST,
)

for opcode in (0, 1, 2, 12, 31):
    _fatal(
        f"opcode-{opcode}",
        f"Opcode {opcode} is out of range",
        rules.S26_OPCODE,
        bytes([opcode << 3]) + bytes(40),
        why="OpenVPN ssl.c tls_pre_decrypt; PROTOCOL 2",
    )

category.invalid(
    "data-rest-after-fatal-record",
    "What stands in the stream behind a fatal record is not looked at",
    rules.S26_AUTHENTICATION,
    rules.S3_RESET_LOST_FLOW,
    source=_PART1,
    steps=[
        introduces(HOST),
        arrives(record(1), record(2, tag_flip=1), record(3)).expect(delivered(), CLOSES),
        fence_local(),
    ],
)

category.invalid(
    "data-after-fatal-tunnel-down",
    "After a fatal record the session's keys are gone: packets for the tunnel are answered, records are ignored",
    rules.S4_KEYS_END,
    rules.S4_TUNNEL_DOWN,
    rules.S26_UNKNOWN_KEY,
    source="PROTOCOL 16.1; RFC 1812 5.2.7.1",
    steps=[
        introduces(HOST),
        arrives(record(1, tag_flip=1)).at(10.0).expect(CLOSES),
        host_sends(OUT).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        time_passes(11.0).expect(OPENS),
        flow_opens().silence(),
        host_sends(OUT).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        arrives(record(2)).silence(),
        fence_local(),
    ],
)

# ── the flow is lost ──────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "data-flow-lost",
    "The transport closes under the tunnel: a second later it is opened again; given keys have ended with it",
    rules.S4_FLOW_LOST,
    rules.S4_KEYS_END,
    rules.S2_RETRY,
    rules.S2_OPEN_FLOW,
    rules.S2_FLOW_OPENED,
    source='seed "Tunnel setup"; OpenVPN options.c connect-retry; PROTOCOL 10.3',
    steps=[
        introduces(HOST),
        arrives(record(1)).expect(delivered()),
        flow_closes().at(10.0).silence(),
        time_passes(10.9).silence(),
        time_passes(11.0).expect(OPENS),
        flow_opens().at(11.5).silence(),
        arrives(record(2)).silence(),
        host_sends(OUT).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        time_passes(100.0).silence(),
        fence_local(),
    ],
)

category.vector(
    "data-flow-back-off",
    "Each attempt that fails is followed by one after twice the time: 1, 2, 4 … and never more than 60 s",
    rules.S2_RETRY,
    rules.S4_FLOW_LOST,
    source="OpenVPN options.c connect-retry",
    steps=[
        introduces(HOST),
        flow_closes().at(10.0).silence(),
        time_passes(11.0).expect(OPENS),
        flow_closes().at(20.0).silence(),
        time_passes(21.9).silence(),
        time_passes(22.0).expect(OPENS),
        flow_closes().at(30.0).silence(),
        time_passes(34.0).expect(OPENS),
        flow_closes().at(40.0).silence(),
        time_passes(48.0).expect(OPENS),
        flow_closes().at(50.0).silence(),
        time_passes(66.0).expect(OPENS),
        flow_closes().at(70.0).silence(),
        time_passes(102.0).expect(OPENS),
        flow_closes().at(110.0).silence(),
        time_passes(169.9).silence(),
        time_passes(170.0).expect(OPENS),
        flow_closes().at(180.0).silence(),
        time_passes(239.9).silence(),
        time_passes(240.0).expect(OPENS),
        fence_local(),
    ],
)

category.invalid(
    "data-tunnel-down-answers-are-limited",
    "Errors about packets for a tunnel that is down come out of the same bucket as all others",
    rules.S20_RATE,
    rules.S4_TUNNEL_DOWN,
    source="RFC 1812 4.3.2.8, 5.2.7.1",
    config={"limits": {"icmp_burst": 1, "icmp_rate": 1}},
    steps=[
        introduces(HOST),
        flow_closes().at(10.0).silence(),
        host_sends(OUT).at(10.1).expect(to_host(error_to(HOST.address, icmp_error(3, 0, OUT)))),
        host_sends(OUT).at(10.2).silence(),
        fence_local().at(10.3),
    ],
)

category.vector(
    "data-established-from-the-start",
    "With given keys the tunnel is up from the start, both ways, without handshake or open",
    rules.S2_ESTABLISHED,
    rules.S26_OPEN,
    source='seed "Tunnel setup"',
    steps=[introduces(HOST), fence(), fence_for_host()],
)
