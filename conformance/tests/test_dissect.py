"""The dissector: field names and values by hand and by dpkt, problems named, and nothing raised on rubbish."""

from __future__ import annotations

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.conformance import dissect, packets
from glassgate.conformance.demo import configuration
from glassgate.conformance.dissect import Dissector, Layer, openvpn
from glassgate.conformance.far_end import FarEnd
from glassgate.contract import Port

HOST, GATEWAY = "02:00:0a:26:02:05", "00:f0:0d:f0:0d:00"
DATAGRAM = packets.IPv4(source="10.38.2.5", destination="192.0.2.7", payload=packets.udp(5000, 7, b"hello"))
CONFIG = configuration("os")


def framed(packet: packets.IPv4) -> bytes:
    frame = packets.Ethernet(source=HOST, destination=GATEWAY, type=packets.TYPE_IPV4, payload=packet.build())
    return frame.build().data


def values(layer: Layer | None) -> dict[str, str]:
    assert layer is not None
    return {field.name: field.value for field in layer.fields}


# ── Ethernet and ARP ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_arp_request_is_read_in_the_standards_words() -> None:
    request = bytes.fromhex(
        "ffffffffffff" "02000a260205" "0806"  # to, from, type
        "0001" "0800" "06" "04" "0001"  # Ethernet, IPv4, lengths, request
        "02000a260205" "0a260205" "000000000000" "0a260201"
    )  # fmt: skip
    layer = dissect.frame("internal", request)
    assert values(layer.find("ARP")) == {
        "hardware type": "1",
        "protocol type": "0x0800",
        "hardware address length": "6",
        "protocol address length": "4",
        "operation": "1",
        "sender hardware address": "02:00:0a:26:02:05",
        "sender protocol address": "10.38.2.5",
        "target hardware address": "00:00:00:00:00:00",
        "target protocol address": "10.38.2.1",
    }
    assert layer.summary == "who has 10.38.2.1? tell 10.38.2.5"
    assert layer.problems() == []


@pytest.mark.parametrize(
    ("operation", "sender", "target", "words"),
    [
        (2, "10.38.2.1", "10.38.2.5", "10.38.2.1 is at 00:f0:0d:f0:0d:00"),
        (1, "10.38.2.1", "10.38.2.1", "announcement: 10.38.2.1 is at 00:f0:0d:f0:0d:00"),
        (1, "0.0.0.0", "10.38.2.1", "probe: is 10.38.2.1 taken?"),
        (9, "10.38.2.1", "10.38.2.5", "operation 9"),
    ],
)
def test_each_use_of_arp_has_its_words(operation: int, sender: str, target: str, words: str) -> None:
    packet = packets.Arp(operation=operation, sender_hardware=GATEWAY, sender_protocol=sender, target_protocol=target)
    frame = packets.Ethernet(source=GATEWAY, destination=HOST, type=packets.TYPE_ARP, payload=packet.build())
    assert dissect.frame("internal", frame.build().data).summary == words


def test_padding_is_told_apart_from_the_packet() -> None:
    frame = framed(DATAGRAM)
    layer = dissect.frame("internal", frame + bytes(60 - len(frame)))
    padding = layer.find("padding")
    assert padding is not None
    assert (padding.start, padding.end) == (len(frame), 60)


# ── IPv4 and what it carries, by dpkt ─────────────────────────────────────────────────────────────────────────────────


@given(
    tos=st.integers(0, 255),
    identification=st.integers(0, 0xFFFF),
    time_to_live=st.integers(0, 255),
    data=st.binary(max_size=200),
    ports=st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    dont_fragment=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_udp_datagram_is_read_as_dpkt_reads_it(
    tos: int, identification: int, time_to_live: int, data: bytes, ports: tuple[int, int], dont_fragment: bool
) -> None:
    packet = DATAGRAM.but(
        payload=packets.udp(*ports, data),
        type_of_service=tos,
        identification=identification,
        time_to_live=time_to_live,
        dont_fragment=dont_fragment,
    )
    frame = framed(packet)
    layer, ip = dissect.frame("internal", frame), dpkt.ethernet.Ethernet(frame).data
    header = values(layer.find("IPv4"))
    assert int(header["type of service"], 16) == ip.tos
    assert int(header["identification"], 16) == ip.id
    assert int(header["time to live"]) == ip.ttl
    assert int(header["total length"]) == ip.len
    assert int(header["header checksum"], 16) == ip.sum
    assert int(header["flags"], 2) == (ip.rf << 2 | ip.df << 1 | ip.mf)
    udp = values(layer.find("UDP"))
    assert (int(udp["source port"]), int(udp["destination port"])) == (ip.udp.sport, ip.udp.dport)
    assert int(udp["checksum"], 16) == ip.udp.sum
    assert layer.problems() == []


@given(
    flags=st.integers(0, 255),
    numbers=st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
    window=st.integers(0, 0xFFFF),
    data=st.binary(max_size=50),
)
@settings(max_examples=40, deadline=None)
def test_a_tcp_segment_is_read_as_dpkt_reads_it(flags: int, numbers: tuple[int, int], window: int, data: bytes) -> None:
    segment = packets.tcp(
        5000,
        80,
        flags,
        sequence=numbers[0],
        acknowledgment=numbers[1],
        window=window,
        options=packets.maximum_segment_size(1460),
        data=data,
    )
    frame = framed(DATAGRAM.but(payload=segment))
    layer, tcp = dissect.frame("internal", frame), dpkt.ethernet.Ethernet(frame).data.tcp
    header = values(layer.find("TCP"))
    assert (int(header["sequence number"]), int(header["acknowledgment number"])) == (tcp.seq, tcp.ack)
    assert (int(header["window"]), int(header["checksum"], 16)) == (tcp.win, tcp.sum)
    assert int(header["control bits"], 16) == tcp.flags
    assert values(layer.find("option"))["maximum segment size"] == "1460"
    assert layer.problems() == []


def test_every_octet_of_a_frame_is_covered_by_a_field() -> None:
    options = packets.record_route(room=3) + packets.END_OF_OPTIONS
    frame = framed(DATAGRAM.but(options=options)) + bytes(9)
    layer = dissect.frame("internal", frame)
    assert [offset for offset in range(len(frame)) if layer.at(offset) is None] == []


def test_the_field_at_an_octet_is_the_narrowest() -> None:
    field = dissect.frame("internal", framed(DATAGRAM)).at(22)
    assert field is not None
    assert (field.name, field.value) == ("time to live", "64")


# ── problems ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"header_checksum": 0x1234}, "IPv4 · header checksum: wrong: 0x"),
        ({"version": 5}, "IPv4 · version: is not 4"),
        ({"header_length": 4}, "IPv4 · header length: under 5, the smallest"),
        ({"total_length": 19}, "IPv4 · total length: is under the header length"),
        ({"total_length": 99}, "IPv4 · total length: is over the 33 octets that are there"),
        ({"payload": packets.udp(1, 2, b"x", given=1)}, "UDP · checksum: wrong: 0x"),
        ({"payload": packets.udp(1, 2, b"x", length=7)}, "UDP · length: is under 8, the header"),
        ({"payload": packets.udp(1, 2, b"x", length=10)}, "UDP · length: is over the 9 octets that IP delivered"),
        ({"payload": packets.echo_request(given=1)}, "ICMP · checksum: wrong: 0x"),
        ({"payload": packets.tcp(1, 2, 2, given=1)}, "TCP · checksum: wrong: 0x"),
        ({"payload": packets.tcp(1, 2, 2, data_offset=4)}, "TCP · data offset: under 5, the smallest"),
        ({"payload": packets.tcp(1, 2, 2, data_offset=15)}, "TCP · data offset: beyond the segment"),
        ({"options": packets.option(7, b"\4\0\0", length=9)[:4]}, "option · option length: is beyond the header"),
        ({"options": packets.option(7, b"", length=1) + b"\0\0"}, "option · option length: is under 2"),
    ],
)
def test_what_cannot_be_right_is_named(changes: dict[str, object], problem: str) -> None:
    problems = dissect.frame("internal", framed(DATAGRAM.but(**changes))).problems()
    assert any(found.startswith(problem) for found in problems), problems


@pytest.mark.parametrize("length", range(len(framed(DATAGRAM))))
def test_a_truncated_frame_ends_with_the_field_that_was_cut(length: int) -> None:
    layer = dissect.frame("internal", framed(DATAGRAM)[:length])
    wanted = {0, 6, 12, 14, 34}  # at these ends a header is whole, or nothing of it is there
    assert bool(layer.problems()) or length in wanted
    assert layer.end == length


def test_a_checksum_of_zero_means_none_in_udp_only() -> None:
    layer = dissect.frame("internal", framed(DATAGRAM.but(payload=packets.udp(1, 2, b"x", given=0))))
    udp = layer.find("UDP")
    assert udp is not None
    assert udp.fields[-1].meaning == "none was computed"
    assert layer.problems() == []


def test_zero_and_all_ones_are_the_same_checksum() -> None:
    header = DATAGRAM.build().data[:20]
    identification = (int.from_bytes(header[4:6], "big") + int.from_bytes(header[10:12], "big")) % 0xFFFF
    all_zero = framed(DATAGRAM.but(identification=identification, header_checksum=0x0000))
    all_ones = framed(DATAGRAM.but(identification=identification, header_checksum=0xFFFF))
    assert dissect.frame("internal", all_zero).problems() == []
    assert dissect.frame("internal", all_ones).problems() == []


# ── fragments and quotes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_first_fragment_has_a_transport_header_and_its_checksum_is_not_judged() -> None:
    whole = DATAGRAM.but(payload=packets.udp(5000, 7, bytes(3000)))
    first = dissect.frame("internal", framed(whole.piece(0, 1480, more=True)))
    second = dissect.frame("internal", framed(whole.piece(1480, 2960, more=True)))
    assert first.problems() == second.problems() == []
    assert values(first.find("UDP"))["length"] == "3008"
    assert second.find("UDP") is None
    assert second.summary == "10.38.2.5 → 192.0.2.7, UDP fragment, octets 1480 on, 1500 octets"


@pytest.mark.parametrize(
    "payload", [packets.echo_request(data=bytes(100)), packets.tcp(1, 2, packets.ACK, data=bytes(100))]
)
def test_a_checksum_over_octets_that_are_elsewhere_is_not_judged(payload: packets.Payload) -> None:
    first = DATAGRAM.but(payload=payload).piece(0, 80, more=True)
    assert dissect.frame("internal", framed(first)).problems() == []


def test_an_icmp_error_has_the_packet_that_it_quotes_below_it() -> None:
    error = packets.IPv4(
        source="10.38.2.1", destination="10.38.2.5", payload=packets.fragmentation_needed(DATAGRAM, 576)
    )
    layer = dissect.frame("internal", framed(error))
    quoted = layer.find("quoted packet")
    assert quoted is not None
    assert values(quoted.find("IPv4"))["destination address"] == "192.0.2.7"
    assert values(layer.find("ICMP"))["next-hop MTU"] == "576"
    assert layer.problems() == []


def test_a_nest_of_errors_is_not_followed_down() -> None:
    packet = DATAGRAM
    for _ in range(20):
        packet = packets.IPv4(source="10.38.2.1", destination="10.38.2.5", payload=packets.icmp_error(11, 0, packet))
    layer = dissect.frame("internal", framed(packet))
    assert len(layer.find_all("ICMP")) == 2


# ── what else IPv4 carries ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (packets.icmp(11, 0), {"type": "11", "code": "0", "unused": "0"}),
        (packets.icmp(12, 0, bytes([20, 0, 0, 0])), {"pointer": "20"}),
        (packets.icmp(5, 1, bytes([10, 38, 2, 9])), {"gateway internet address": "10.38.2.9"}),
        (packets.icmp(13, 0, bytes.fromhex("00070001"), bytes(12)), {"identifier": "7", "sequence number": "1"}),
        (packets.icmp(200, 0), {"data": "00000000"}),
    ],
)
def test_each_icmp_message_has_its_fields(payload: packets.Payload, fields: dict[str, str]) -> None:
    layer = dissect.frame("internal", framed(DATAGRAM.but(payload=payload)))
    assert values(layer.find("ICMP")).items() >= fields.items()
    assert layer.problems() == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (packets.ROUTER_ALERT, ["router alert"]),
        (packets.NO_OPERATION * 4, ["no operation"] * 4),
        (packets.loose_source_route("192.0.2.1") + bytes(1), ["loose source route", "end of option list"]),
        (packets.timestamp(), ["internet timestamp"]),
        (packets.option(7, bytes([4, 1, 2])) + packets.NO_OPERATION * 3, ["record route", *["no operation"] * 3]),
    ],
)  # fmt: skip
def test_options_have_their_names(options: bytes, names: list[str]) -> None:
    layer = dissect.frame("internal", framed(DATAGRAM.but(options=options)))
    assert [option.summary for option in layer.find_all("option")] == names
    assert layer.problems() == []


def test_tcp_options_have_their_names_and_values() -> None:
    options = bytes.fromhex("020405b4 01 030307 01 01 080a0000000100000002 0402 00")
    segment = packets.tcp(1, 2, packets.SYN, options=options + bytes(-len(options) % 4))
    layer = dissect.frame("internal", framed(DATAGRAM.but(payload=segment)))
    assert [option.summary for option in layer.find_all("option") if option.summary != "no operation"] == [
        "maximum segment size 1460",
        "window scale 7",
        "timestamps",
        "SACK permitted",
        "end of option list",
    ]
    assert layer.problems() == []


@pytest.mark.parametrize(("options", "problem"), [("02010000", "is under 2"), ("02090000", "is beyond the header")])
def test_a_tcp_option_that_cannot_be_read_says_so(options: str, problem: str) -> None:
    segment = packets.tcp(1, 2, packets.SYN, options=bytes.fromhex(options))
    layer = dissect.frame("internal", framed(DATAGRAM.but(payload=segment)))
    assert layer.problems() == [f"option · length: {problem}"]


def test_ipv6_and_other_protocols_are_named_and_not_looked_into() -> None:
    assert dissect.frame("tunnel", b"\x60" + bytes(39)).summary == "IPv6, which is not looked into"
    layer = dissect.frame("internal", framed(DATAGRAM.but(payload=packets.raw(47, b"abcd"))))
    assert layer.summary == "10.38.2.5 → 192.0.2.7, GRE, 24 octets"
    assert values(layer.find("data"))["data"] == b"abcd".hex()


# ── the tunnel ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_record_is_opened_with_the_sessions_key() -> None:
    session = CONFIG.tunnel.session
    assert session is not None
    stream = FarEnd(session).send(DATAGRAM.build().data)
    layer = Dissector.for_config(CONFIG).frame(Port.FLOW, stream)
    assert values(layer.find("OpenVPN")) | {"ciphertext": "", "authentication tag": ""} == {
        "opcode": "9",
        "key id": "0",
        "peer id": "0",
        "packet id": "1",
        "authentication tag": "",
        "ciphertext": "",
    }
    opened = layer.find("opened")
    assert opened is not None
    assert opened.octets == DATAGRAM.build().data


def test_a_record_that_no_key_opens_says_so() -> None:
    session = CONFIG.tunnel.session
    assert session is not None
    stream = bytearray(FarEnd(session).send(DATAGRAM.build().data))
    stream[-1] ^= 1
    layer = Dissector.for_config(CONFIG).frame(Port.FLOW, stream)
    assert layer.problems() == ["OpenVPN · ciphertext: no key of this session opens it"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 30, 1000])
def test_records_are_found_however_the_stream_is_cut(size: int) -> None:
    session = CONFIG.tunnel.session
    assert session is not None
    far_end, dissector = FarEnd(session), Dissector.for_config(CONFIG)
    stream = b"".join(far_end.send(DATAGRAM.but(identification=number).build().data) for number in (1, 2, 3))
    layers = [dissector.frame(Port.FLOW, stream[at : at + size]) for at in range(0, len(stream), size)]
    opened = [found.octets for layer in layers for found in layer.find_all("opened")]
    assert opened == [DATAGRAM.but(identification=number).build().data for number in (1, 2, 3)]


def test_two_directions_of_the_flow_are_two_streams() -> None:
    dissector = Dissector.for_config(CONFIG)
    dissector.frame(Port.FLOW, b"\x00", outbound=True)
    layer = dissector.frame(Port.FLOW, packets.framed(b"\x28" + bytes(9)))
    assert layer.summary == "P_ACK_V1, key id 0"


def test_records_are_followed_through_tcp_segments_and_a_repeated_one_is_known() -> None:
    session = CONFIG.tunnel.session
    assert session is not None
    record = FarEnd(session).send(DATAGRAM.build().data)
    dissector = Dissector.for_config(CONFIG)

    def frame(control: int, sequence: int, data: bytes) -> Layer:
        segment = packets.tcp(1194, 49152, control, sequence=sequence, data=data)
        packet = packets.IPv4(source="1.2.3.4", destination="192.168.1.5", payload=segment)
        return dissector.frame(Port.EXTERNAL, framed(packet))

    frame(packets.SYN, 0xFFFFFFFE, b"")
    assert frame(packets.ACK, 0xFFFFFFFF, record[:10]).find("opened") is None
    assert frame(packets.ACK, 0xFFFFFFFF, record[:10]).find("text sent before") is not None
    rest = frame(packets.ACK, 9, record[10:])
    assert [found.octets for found in rest.find_all("opened")] == [DATAGRAM.build().data]


@pytest.mark.parametrize(
    ("record", "summary"),
    [
        (bytes.fromhex("38 0102030405060708 00 00000000"), "P_CONTROL_HARD_RESET_CLIENT_V2, key id 0, message id 0"),
        (bytes.fromhex("28 0102030405060708 01 00000003 1112131415161718"), "P_ACK_V1, key id 0"),
        (bytes.fromhex("f8 00"), "opcode 31"),
    ],
)  # fmt: skip
def test_control_packets_are_read_as_far_as_they_are_in_clear(record: bytes, summary: str) -> None:
    assert Dissector(wrapping="plain").frame(Port.FLOW, packets.framed(record)).summary == summary


def test_the_ping_of_openvpn_has_its_name() -> None:
    session = CONFIG.tunnel.session
    assert session is not None
    layer = Dissector.for_config(CONFIG).frame(Port.FLOW, FarEnd(session).send(packets.PING))
    assert layer.find("ping") is not None


@pytest.mark.parametrize(
    ("text", "wrapping", "fields"),
    [
        ("client\n", "plain", ["opcode", "key id", "session id", "acknowledgement count", "message id"]),
        (
            "client\n<tls-crypt>\n",
            "tls-crypt",
            ["opcode", "key id", "session id", "replay id", "time", "tls-crypt tag", "encrypted message"],
        ),
        ("tls-auth ta.key 1\n", "tls-auth", ["opcode", "key id", "session id", "HMAC, replay id, time, message"]),
        (None, None, ["opcode", "key id", "session id", "message"]),
    ],
)
def test_the_wrapping_is_that_of_the_configuration_file(
    text: str | None, wrapping: str | None, fields: list[str]
) -> None:
    assert openvpn.wrapping_of(text) == wrapping
    record = bytes.fromhex("38 0102030405060708") + (bytes(5) if wrapping == "plain" else bytes(45))
    found = Dissector(wrapping=wrapping).frame(Port.FLOW, packets.framed(record)).find("OpenVPN")
    assert found is not None
    assert [field.name for field in found.fields] == fields


def test_more_than_eight_acknowledgements_are_not_read() -> None:
    record = bytes.fromhex("28 0102030405060708 09") + bytes(44)
    layer = Dissector(wrapping="plain").frame(Port.FLOW, packets.framed(record))
    assert layer.problems() == ["OpenVPN · acknowledgement count: is over 8"]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (bytes.fromhex("48000000 00000001") + bytes(16), "OpenVPN · ciphertext: is empty"),
        (bytes.fromhex("48000000 00000000") + bytes(17), "OpenVPN · packet id: is 0, which is never sent"),
        (bytes.fromhex("48000000 000001"), "OpenVPN · packet id: cut off: 3 of 4 octets"),
        (b"", "record · length: is 0"),
    ],
)
def test_problems_of_records_are_named(record: bytes, problem: str) -> None:
    assert problem in Dissector().frame(Port.FLOW, packets.framed(record)).problems()


def test_over_udp_a_datagram_is_a_packet() -> None:
    dissector = Dissector(over_udp=True, wrapping="plain")
    record = bytes.fromhex("38 0102030405060708 00 00000000")
    assert dissector.frame(Port.FLOW, record).summary.startswith("P_CONTROL_HARD_RESET_CLIENT_V2")
    packet = packets.IPv4(source="192.168.1.5", destination="1.2.3.4", payload=packets.udp(50000, 1194, record))
    assert dissector.frame(Port.EXTERNAL, framed(packet)).find("OpenVPN") is not None
    assert dissector.frame(Port.FLOW, b"").summary == "no octets"


def test_after_a_gap_in_the_stream_a_record_is_looked_for_at_the_next_segment() -> None:
    session = CONFIG.tunnel.session
    assert session is not None
    record = FarEnd(session).send(DATAGRAM.build().data)
    dissector = Dissector.for_config(CONFIG)
    opened = []
    for sequence, data in ((100, record[:10]), (5000, record)):
        segment = packets.tcp(1194, 49152, packets.ACK, sequence=sequence, data=data)
        packet = packets.IPv4(source="1.2.3.4", destination="192.168.1.5", payload=segment)
        opened += dissector.frame(Port.EXTERNAL, framed(packet)).find_all("opened")
    assert [layer.octets for layer in opened] == [DATAGRAM.build().data]


# ── rubbish ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_PREFIXES = [b"", framed(DATAGRAM)[:14], framed(DATAGRAM)[:34], framed(DATAGRAM)[:12] + b"\x08\x06"]


@given(
    prefix=st.sampled_from(_PREFIXES),
    tail=st.binary(max_size=120),
    change=st.tuples(st.integers(0, 60), st.integers(0, 255)),
    port=st.sampled_from(["internal", "external", "flow", "tunnel"]),
)
@settings(max_examples=400, deadline=None)
def test_no_octets_make_it_raise_and_all_ranges_lie_inside(
    prefix: bytes, tail: bytes, change: tuple[int, int], port: str
) -> None:
    octets = bytearray(prefix + tail)
    if change[0] < len(octets):
        octets[change[0]] = change[1]
    layer = Dissector.for_config(CONFIG).frame(port, octets)
    for _, holder, field in layer.walk():
        assert 0 <= field.start <= field.end <= len(holder.octets)


def test_memory_of_streams_is_bounded() -> None:
    dissector = Dissector()
    for port in range(2000, 2200):
        segment = packets.tcp(1194, port, packets.ACK, sequence=1, data=b"\xff\xff" + bytes(10))
        packet = packets.IPv4(source="1.2.3.4", destination="192.168.1.5", payload=segment)
        dissector.frame(Port.EXTERNAL, framed(packet))
    assert len(dissector._tunnel._streams) <= 64
