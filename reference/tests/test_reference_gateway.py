"""The gateway: the way of a packet from layer to layer, both ways, with the rules that it passes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.contract import (
    Cipher,
    CloseFlow,
    ConfigError,
    Effect,
    FlowEvent,
    GatewayConfig,
    MacAddress,
    Note,
    NoteKind,
    OpenFlow,
    Port,
    SeededEntropy,
    Transmit,
    Unsupported,
)
from glassgate.reference import arp, ethernet, fragments, icmp, implementation, ipv4, udp
from glassgate.reference.arp import ArpPacket
from glassgate.reference.ethernet import Frame
from glassgate.reference.gateway import ReferenceGateway
from glassgate.reference.ipv4 import Packet
from glassgate.reference.openvpn import framing
from glassgate.reference.openvpn.data_channel import ReceivingKey, SendingKey

GATEWAY_MAC = MacAddress.parse("00:f0:0d:f0:0d:00")
HOST_MAC = MacAddress.parse("02:00:0a:26:02:05")
GATEWAY, HOST, FAR = IPv4Address("10.38.2.1"), IPv4Address("10.38.2.5"), IPv4Address("8.8.8.8")
TUNNEL = IPv4Address("10.8.0.2")
OURS, THEIRS, IV = bytes(range(32)), bytes(range(32, 64)), bytes(8)
SESSION = {
    "send": {"key": OURS.hex(), "implicit_iv": IV.hex()},
    "receive": {"key": THEIRS.hex(), "implicit_iv": IV.hex()},
}
CONFIG: dict[str, Any] = {"external": {"kind": "os"}, "tunnel": {"session": SESSION}}
ECHO = icmp.build(icmp.Message(icmp.ECHO_REQUEST, 0, bytes.fromhex("00010002"), b"hello"))


class Bench:
    """A gateway, a host that it knows, and the far end of its tunnel."""

    def __init__(self, knows_host: bool = True, **config: Any) -> None:
        self.gateway = ReferenceGateway(GatewayConfig.from_json(CONFIG | config), SeededEntropy(b""))
        self._sealer = SendingKey(0, Cipher.AES_256_GCM, 0, THEIRS, IV)
        self._opener = ReceivingKey(Cipher.AES_256_GCM, OURS, IV)
        self.now = 0.0
        self.gateway.start(0.0)
        self.at(3.0)
        if knows_host:
            self.host_answers()

    def at(self, now: float) -> list[Effect]:
        """Let time pass."""
        self.now = now
        return self.gateway.tick(now)

    def arp(self, packet: ArpPacket) -> list[Effect]:
        return self.frame(Frame(GATEWAY_MAC, HOST_MAC, ethernet.TYPE_ARP, arp.build(packet)))

    def host_answers(self) -> list[Effect]:
        """The host says which hardware address it has."""
        return self.arp(ArpPacket(arp.REPLY, HOST_MAC, HOST, GATEWAY_MAC, GATEWAY))

    def frame(self, frame: Frame) -> list[Effect]:
        return self.gateway.receive(Port.INTERNAL, ethernet.build(frame), self.now)

    def inside(self, packet: Packet) -> list[Effect]:
        """A packet from the host."""
        return self.frame(Frame(GATEWAY_MAC, HOST_MAC, ethernet.TYPE_IPV4, ipv4.build(packet)))

    def tunnel(self, *packets: Packet | bytes) -> list[Effect]:
        """Packets out of the tunnel."""
        octets = [packet if isinstance(packet, bytes) else ipv4.build(packet) for packet in packets]
        stream = b"".join(framing.build(self._sealer.seal(one)) for one in octets)
        return self.gateway.receive(Port.FLOW, stream, self.now)

    def sent_inside(self, effects: Iterable[Effect]) -> list[Packet]:
        """The IPv4 packets that left to the host, each found good by dpkt."""
        frames = [dpkt.ethernet.Ethernet(data) for data in _at(effects, Port.INTERNAL)]
        assert all(frame.src == GATEWAY_MAC and frame.type in (0x0800, 0x0806) for frame in frames)
        assert all(frame.data.pack_hdr() == bytes(frame.data) for frame in frames if frame.type == 0x0806)
        return [_checked(data[14:]) for data in _at(effects, Port.INTERNAL) if data[12:14] == b"\x08\x00"]

    def sent_into_tunnel(self, effects: Iterable[Effect]) -> list[Packet]:
        """The packets that the far end finds in the flow."""
        reader = framing.RecordReader(1500)
        packets = []
        for data in _at(effects, Port.FLOW):
            reader.feed(data)
            record = reader.next_record()
            assert record is not None
            packets.append(_checked(self._opener.open(record).plaintext))
        return packets


def _at(effects: Iterable[Effect], port: Port) -> list[bytes]:
    return [effect.data for effect in effects if isinstance(effect, Transmit) and effect.port is port]


def _checked(octets: bytes) -> Packet:
    """Read a packet that left, if dpkt reads the same of it and finds its checksums good."""
    packet, read = ipv4.parse(octets), dpkt.ip.IP(octets)
    assert (read.v, read.hl * 4, read.tos, read.len) == (4, packet.header_length, packet.type_of_service, len(octets))
    assert (read.id, read.ttl, read.p) == (packet.identification, packet.time_to_live, packet.protocol)
    assert (bool(read.rf), bool(read.df)) == (packet.reserved_flag, packet.dont_fragment)
    assert (bool(read.mf), read.offset * 8) == (packet.more_fragments, packet.fragment_offset)
    assert (read.src, read.dst, read.opts) == (packet.source.packed, packet.destination.packed, packet.options)
    assert dpkt.in_cksum(octets[: packet.header_length]) == 0
    if packet.is_fragment or packet.source not in (GATEWAY, TUNNEL):
        return packet  # what is inside is the host's own business
    assert isinstance(read.data, {1: dpkt.icmp.ICMP, 6: dpkt.tcp.TCP, 17: dpkt.udp.UDP}[packet.protocol])
    assert read.data.pack_hdr() == packet.payload[: len(read.data.pack_hdr())]
    if packet.protocol == 1:
        assert dpkt.in_cksum(packet.payload) == 0
    if packet.protocol in (6, 17):
        length = len(packet.payload).to_bytes(2, "big")
        pseudo_header = packet.source.packed + packet.destination.packed + bytes([0, packet.protocol]) + length
        assert dpkt.in_cksum(pseudo_header + packet.payload) == 0
    return packet


def fate(effects: Iterable[Effect]) -> str:
    """The kind and the rule of the only note on a packet's fate."""
    (note,) = fates(effects)
    return note


def fates(effects: Iterable[Effect]) -> list[str]:
    return [
        f"{effect.kind} {effect.rule}"
        for effect in effects
        if isinstance(effect, Note) and effect.kind is not NoteKind.STATE
    ]


def states(effects: Iterable[Effect]) -> list[str]:
    return [str(effect.rule) for effect in effects if isinstance(effect, Note) and effect.kind is NoteKind.STATE]


def path(effects: Iterable[Effect]) -> list[str]:
    """The rules that the first packet passed."""
    notes = [effect for effect in effects if isinstance(effect, Note) and effect.kind is not NoteKind.STATE]
    return str(notes[0].detail["path"]).split()


def error_of(packet: Packet) -> tuple[int, int, bytes, bytes]:
    """Type, code, second word and quote of an ICMP error that left."""
    assert (packet.protocol, packet.type_of_service, packet.time_to_live) == (1, 0xC0, 64)
    message = icmp.parse(packet.payload)
    return message.type, message.code, message.rest, message.data


def ping(source: IPv4Address = HOST, destination: IPv4Address = GATEWAY, **fields: Any) -> Packet:
    return replace(Packet(source, destination, ipv4.PROTOCOL_ICMP, ECHO), **fields)


def datagram(source: IPv4Address = HOST, destination: IPv4Address = FAR, size: int = 100, **fields: Any) -> Packet:
    payload = udp.build(udp.Datagram(4000, 4001, bytes(size)), source, destination)
    return replace(Packet(source, destination, ipv4.PROTOCOL_UDP, payload, identification=0x1234), **fields)


# ── the doors ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_at_start_the_address_is_announced_and_the_tunnel_is_up() -> None:
    gateway = ReferenceGateway(GatewayConfig.from_json(CONFIG), SeededEntropy(b""))
    effects = gateway.start(0.0)
    assert states(effects) == ["s2-flow-opened", "s2-established"]
    (announcement,) = _at(effects, Port.INTERNAL)
    assert announcement == bytes.fromhex(
        "ffffffffffff 00f00df00d00 0806"  # broadcast, from us, ARP
        "0001 0800 06 04 0001"  # a request
        "00f00df00d00 0a260201 000000000000 0a260201"  # our address, twice
    )
    assert gateway.deadline == 2.0
    assert _at(gateway.tick(2.0), Port.INTERNAL) == [announcement]
    assert gateway.deadline is None


def test_an_event_does_first_what_was_due() -> None:
    late = Bench(knows_host=False)
    late.gateway = ReferenceGateway(GatewayConfig.from_json(CONFIG), SeededEntropy(b""))
    late.gateway.start(0.0)
    late.now = 5.0
    first, *_ = _at(late.inside(ping()), Port.INTERNAL)
    assert ethernet.parse(first).type == ethernet.TYPE_ARP
    assert arp.parse(ethernet.parse(first).payload).target_protocol == GATEWAY


def test_the_input_belongs_to_the_caller() -> None:
    bench = Bench()
    octets = bytearray(ethernet.build(Frame(GATEWAY_MAC, HOST_MAC, ethernet.TYPE_IPV4, ipv4.build(ping()))))
    effects = bench.gateway.receive(Port.INTERNAL, memoryview(octets), bench.now)
    octets[:] = bytes(len(octets))
    assert fate(effects) == "delivered l1-echo"


def test_without_notes_the_effects_are_the_same_and_nothing_is_said() -> None:
    talking, silent = Bench(), Bench(notes=False)
    for packet in (ping(), datagram(), datagram(time_to_live=1)):
        said, done = talking.inside(packet), silent.inside(packet)
        assert [effect for effect in said if not isinstance(effect, Note)] == done


def test_notes_hold_nothing_but_json() -> None:
    bench = Bench()
    for effect in [*bench.inside(ping()), *bench.inside(datagram(time_to_live=1)), *bench.at(1300.0)]:
        if isinstance(effect, Note):
            assert json.loads(json.dumps(dict(effect.detail))) == dict(effect.detail)


def test_a_31_bit_prefix_is_said_to_have_no_broadcast_address() -> None:
    for address, is_said in (("10.38.2.0/31", True), ("10.38.2.1/30", False)):
        config = CONFIG | {"internal": {"address": address}}
        effects = ReferenceGateway(GatewayConfig.from_json(config), SeededEntropy(b"")).start(0.0)
        assert ("s1-no-broadcast-in-31" in states(effects)) == is_said


def test_the_implementation_makes_gateways_and_says_what_it_cannot() -> None:
    gateway = implementation(GatewayConfig.from_json(CONFIG), SeededEntropy(b""))
    assert isinstance(gateway, ReferenceGateway)
    lesser = replace(implementation, capabilities=frozenset({"session"}))
    with pytest.raises(Unsupported):
        lesser(GatewayConfig.from_json(CONFIG), SeededEntropy(b""))


def test_an_openvpn_file_that_cannot_be_used_is_a_configuration_error_with_its_line() -> None:
    config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"ovpn": "client\nremote\n"}})
    with pytest.raises(ConfigError) as raised:
        ReferenceGateway(config, SeededEntropy(b""))
    assert raised.value.member == "tunnel.ovpn"
    assert ":2:" in str(raised.value) or "line 2" in str(raised.value)


# ── from inside ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_echo_request_is_answered_from_the_address_that_was_asked() -> None:
    bench = Bench()
    effects = bench.inside(ping(time_to_live=1, type_of_service=0x28))
    (reply,) = bench.sent_inside(effects)
    assert (reply.source, reply.destination, reply.time_to_live, reply.type_of_service) == (GATEWAY, HOST, 64, 0x28)
    assert icmp.parse(reply.payload) == icmp.Message(icmp.ECHO_REPLY, 0, bytes.fromhex("00010002"), b"hello")
    assert path(effects) == [
        "s5-for-us",
        "s10-for-me",
        "s11-ttl-ignored",
        "s1-own-source",
        "s13-reply",
        "s31-known",
    ]


def test_padding_is_cut_off_and_said() -> None:
    bench = Bench()
    effects = bench.frame(Frame(GATEWAY_MAC, HOST_MAC, ethernet.TYPE_IPV4, ipv4.build(ping()) + bytes(13)))
    assert "s9-padding" in path(effects)
    request = arp.build(ArpPacket(arp.REQUEST, HOST_MAC, HOST, MacAddress(bytes(6)), IPv4Address("10.38.2.9")))
    effects = bench.frame(Frame(GATEWAY_MAC, HOST_MAC, ethernet.TYPE_ARP, request + bytes(18)))
    assert path(effects) == ["s5-padding"]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"short", "dropped s5-runt"),
        (ethernet.build(Frame(HOST_MAC, HOST_MAC, 0x0800, b"")), "dropped s5-other-station"),
        (ethernet.build(Frame(GATEWAY_MAC, HOST_MAC, 0x0800, b"")), "dropped s9-truncated"),
        (ethernet.build(Frame(GATEWAY_MAC, HOST_MAC, 0x0806, b"")), "dropped s7-truncated"),
    ],
)
def test_what_cannot_be_read_ends_at_the_door(frame: bytes, expected: str) -> None:
    bench = Bench()
    effects = bench.gateway.receive(Port.INTERNAL, frame, bench.now)
    assert fate(effects) == expected
    assert len(effects) == 1


def test_a_packet_for_out_there_goes_into_the_tunnel_unchanged_but_for_its_time_to_live() -> None:
    bench = Bench()
    packet = datagram(type_of_service=0x2F, dont_fragment=True, reserved_flag=True, options=bytes.fromhex("94040000"))
    effects = bench.inside(packet)
    (sent,) = bench.sent_into_tunnel(effects)
    assert replace(sent, header_checksum=None) == replace(packet, time_to_live=63)
    assert fate(effects) == "forwarded s14-forward"
    assert path(effects) == [
        "s5-for-us",
        "s14-forward",
        "s17-decrement",
        "s18-unchanged",
        "s19-any-protocol",
        "s18-options-kept",
        "s22-fits",
        "s23-inner-mtu",
        "s24-seal",
    ]


def test_a_packet_too_big_for_the_tunnel_leaves_in_fragments() -> None:
    bench = Bench()
    effects = bench.inside(datagram(size=3980))
    sent = bench.sent_into_tunnel(effects)
    assert [(piece.fragment_offset, piece.total_length) for piece in sent] == [(0, 1500), (1480, 1500), (2960, 1048)]
    assert fates(effects) == ["forwarded s14-forward"]


def test_with_df_it_comes_back_as_an_error_that_names_the_mtu() -> None:
    bench = Bench(tunnel={"session": SESSION | {"mtu": 1400}})
    packet = datagram(size=1400, dont_fragment=True)
    effects = bench.inside(packet)
    (error,) = bench.sent_inside(effects)
    assert error.source == GATEWAY
    assert error_of(error) == (3, 4, bytes.fromhex("00000578"), ipv4.build(packet)[:548])
    assert fate(effects) == "dropped s22-df"
    assert {"s20-source", "s20-quote", "s20-header"} <= set(path(effects))


def test_a_further_prefix_is_a_neighbour_both_ways() -> None:
    bench = Bench(internal={"sources": ["10.39.0.0/16"]})
    other = IPv4Address("10.39.7.7")
    assert "s16-configured" in path(bench.inside(datagram(source=other)))
    assert states(bench.tunnel(datagram(FAR, other))) == ["s26-open", "s31-ask"]


def test_what_has_its_own_route_or_a_bad_option_is_not_forwarded() -> None:
    bench = Bench()
    effects = bench.inside(datagram(options=bytes.fromhex("83070408080808 00")))
    assert (fate(effects), len(effects)) == ("dropped s18-source-route", 1)
    (error,) = bench.sent_inside(bench.inside(ping(options=bytes.fromhex("01 44 01 00"))))
    assert error_of(error)[:3] == (12, 0, bytes.fromhex("15000000"))


def test_without_ids_for_all_of_a_packet_nothing_of_it_is_sealed() -> None:
    session = SESSION | {"send": {"key": OURS.hex(), "implicit_iv": IV.hex(), "next_packet_id": 0xFFFFFFFF}}
    bench = Bench(tunnel={"session": session})
    assert fate(bench.inside(datagram(size=3000))) == "dropped s24-ids-used-up"
    assert fate(bench.inside(datagram())) == "forwarded s14-forward"
    assert fate(bench.inside(datagram())) == "dropped s24-ids-used-up"


# ── from the tunnel ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_for_a_host_leaves_inside_with_its_source_unchanged() -> None:
    bench = Bench()
    effects = bench.tunnel(datagram(FAR, HOST))
    (sent,) = bench.sent_inside(effects)
    assert replace(sent, header_checksum=None) == datagram(FAR, HOST, time_to_live=63)
    assert path(effects)[:3] == ["s3-record", "s26-open", "s29-to-host"]


def test_a_packet_over_the_internal_mtu_is_cut_or_comes_back() -> None:
    bench = Bench(internal={"mtu": 1000})
    sent = bench.sent_inside(bench.tunnel(datagram(FAR, HOST, size=1200)))
    assert [piece.total_length for piece in sent] == [996, 252]
    (error,) = bench.sent_into_tunnel(bench.tunnel(datagram(FAR, HOST, size=1200, dont_fragment=True)))
    assert (error.source, error.destination) == (TUNNEL, FAR)
    assert error_of(error)[:3] == (3, 4, bytes.fromhex("000003e8"))


@pytest.mark.parametrize("asked", [GATEWAY, TUNNEL])
def test_the_gateway_answers_through_the_tunnel_what_asks_through_the_tunnel(asked: IPv4Address) -> None:
    bench = Bench()
    (reply,) = bench.sent_into_tunnel(bench.tunnel(ping(FAR, asked)))
    assert (reply.source, reply.destination) == (asked, FAR)


def test_each_inner_packet_has_its_own_fate() -> None:
    bench = Bench()
    effects = bench.tunnel(b"\x60" + bytes(39), b"\x45", datagram(FAR, FAR), datagram(FAR, HOST))
    assert fates(effects) == [
        "dropped s27-ipv6",
        "dropped s9-truncated",
        "dropped s30-elsewhere",
        "forwarded s29-to-host",
    ]


def test_octets_after_the_total_length_do_not_reach_the_host() -> None:
    bench = Bench()
    (sent,) = bench.sent_inside(bench.tunnel(ipv4.build(datagram(FAR, HOST)) + b"extra"))
    assert sent.total_length == 128


# ── neighbours that do not answer ────────────────────────────────────────────────────────────────────────────────────


def test_each_source_that_waits_in_vain_is_told_once_about_its_first_packet() -> None:
    bench = Bench(knows_host=False, internal={"mtu": 600})
    other = IPv4Address("9.9.9.9")
    first = datagram(FAR, HOST, size=1200)  # waits in three fragments
    bench.tunnel(first, datagram(other, HOST), datagram(FAR, HOST))
    bench.at(4.0)
    bench.at(5.0)
    effects = bench.at(6.0)
    errors = bench.sent_into_tunnel(effects)
    assert [(error.destination, *error_of(error)[:2]) for error in errors] == [(FAR, 3, 1), (other, 3, 1)]
    assert error_of(errors[0])[3] == ipv4.build(first)[:548]
    assert fates(effects) == ["dropped s31-give-up"] * 3
    assert states(effects) == ["s31-give-up"]


def test_a_packet_that_waits_has_its_fate_when_it_leaves() -> None:
    bench = Bench(knows_host=False, internal={"mtu": 600})
    effects = bench.tunnel(datagram(FAR, HOST, size=1200))  # in three fragments
    _, asked, *_, waits = [effect for effect in effects if isinstance(effect, Note)]
    assert [note.rule.slug for note in (asked, waits)] == ["s31-ask", "s31-wait"]
    assert "path" not in asked.detail
    assert str(waits.detail["path"]).startswith("s3-record s26-open s29-to-host s17-decrement")
    assert fates(bench.host_answers()) == ["forwarded s29-to-host"]


def test_a_packet_that_gives_way_to_others_that_wait_is_dropped_by_that_rule() -> None:
    bench = Bench(knows_host=False, limits={"arp_queue": 2})
    for _ in range(2):
        assert fates(bench.tunnel(datagram(FAR, HOST))) == []
    effects = bench.tunnel(datagram(FAR, HOST))
    assert fates(effects) == ["dropped s31-queue-full"]
    assert path(effects) == ["s31-queue-full"]
    assert fates(bench.host_answers()) == ["forwarded s29-to-host"] * 2


def test_a_neighbour_that_was_just_given_up_is_answered_for_at_once() -> None:
    bench = Bench(knows_host=False, internal={"mtu": 600})
    bench.tunnel(datagram(FAR, HOST))
    for now in (4.0, 5.0, 6.0):
        bench.at(now)
    effects = bench.tunnel(datagram(FAR, HOST, size=1200))
    assert fates(effects) == ["dropped s31-negative"]
    assert len(bench.sent_into_tunnel(effects)) == 1


def test_our_own_answers_wait_too_and_are_lost_without_an_error() -> None:
    bench = Bench(knows_host=False)
    assert states(bench.inside(ping())) == ["s31-ask"]
    for now in (4.0, 5.0):
        bench.at(now)
    effects = bench.at(6.0)
    assert (fates(effects), _at(effects, Port.FLOW)) == ([], [])


# ── local delivery ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_fragments_for_the_gateway_are_joined_and_the_answer_is_cut() -> None:
    bench = Bench()
    echo = icmp.build(icmp.Message(icmp.ECHO_REQUEST, 0, bytes(4), bytes(3992)))
    pieces = [*fragments.fragment(ping(payload=echo, identification=7), 1500)]
    held = [states(bench.inside(piece)) for piece in pieces[:-1]]
    effects = bench.inside(pieces[-1])
    assert held == [["s12-hold"], ["s12-hold"]]
    assert fate(effects) == "delivered l1-echo"
    assert "s12-complete" in path(effects)
    reply = bench.sent_inside(effects)
    assert [(piece.fragment_offset, piece.total_length) for piece in reply] == [(0, 1500), (1480, 1500), (2960, 1060)]
    assert len({piece.identification for piece in reply}) == 1


def test_a_datagram_that_stays_incomplete_is_reported_once_if_its_first_fragment_is_held() -> None:
    bench = Bench()
    first, second, *_ = fragments.fragment(ping(payload=bytes(4000), identification=7), 1500)
    bench.inside(replace(second, identification=8))
    bench.inside(first)
    effects = bench.at(63.0)
    assert fates(effects) == ["dropped s12-timeout-silent", "dropped s12-timeout"]
    (error,) = bench.sent_inside(effects)
    assert error_of(error)[:2] == (11, 1)
    assert error_of(error)[3] == ipv4.build(first)[:548]


def test_an_error_about_a_joined_datagram_quotes_its_first_fragment() -> None:
    bench = Bench()
    pieces = [*fragments.fragment(datagram(HOST, GATEWAY, size=3000), 1500)]
    effects = [effect for piece in pieces for effect in bench.inside(piece)]
    (error,) = bench.sent_inside(effects)
    assert error_of(error)[:2] == (3, 3)
    assert error_of(error)[3] == ipv4.build(pieces[0])[:548]


def test_the_udp_echo_service_answers_and_a_closed_port_is_unreachable() -> None:
    bench = Bench()
    payload = udp.build(udp.Datagram(4000, 7, b"echo"), HOST, GATEWAY)
    (reply,) = bench.sent_inside(bench.inside(datagram(HOST, GATEWAY, payload=payload, type_of_service=0x28)))
    assert reply.type_of_service == 0
    assert udp.parse(reply.payload, GATEWAY, HOST) == udp.Datagram(7, 4000, b"echo")
    effects = bench.tunnel(datagram(FAR, TUNNEL))
    (error,) = bench.sent_into_tunnel(effects)
    assert (error.source, *error_of(error)[:2]) == (TUNNEL, 3, 3)
    assert fate(effects) == "dropped l2-closed-port"


def test_a_datagram_without_answer_is_only_noted() -> None:
    bench = Bench()
    payload = udp.build(udp.Datagram(7, 7, b"echo"), HOST, GATEWAY)
    effects = bench.inside(datagram(HOST, GATEWAY, payload=payload))
    assert (fate(effects), len(effects)) == ("dropped l2-echo-loop", 1)
    effects = bench.inside(ping(payload=icmp.build(icmp.Message(icmp.ECHO_REPLY, 0))))
    assert (fate(effects), len(effects)) == ("dropped l4-icmp-no-answer", 1)


def test_another_protocol_is_unreachable_from_the_address_that_was_asked() -> None:
    bench = Bench()
    (error,) = bench.sent_into_tunnel(bench.tunnel(datagram(FAR, GATEWAY, protocol=47)))
    assert (error.source, *error_of(error)[:2]) == (GATEWAY, 3, 2)


def test_tcp_is_answered_with_df_by_the_side_that_asked() -> None:
    # A SYN to a closed port, its checksum computed by dpkt.
    segment = bytes.fromhex("c000 0050 00000001 00000000 5002 ffff 0000 0000")
    for bench, source in ((Bench(), HOST), (Bench(), FAR)):
        pseudo_header = source.packed + GATEWAY.packed + bytes([0, 6, 0, 20])
        whole = segment[:16] + dpkt.in_cksum(pseudo_header + segment).to_bytes(2, "big") + segment[18:]
        packet = Packet(source, GATEWAY, ipv4.PROTOCOL_TCP, whole)
        if source == HOST:
            (reset,) = bench.sent_inside(bench.inside(packet))
        else:
            (reset,) = bench.sent_into_tunnel(bench.tunnel(packet))
        assert (reset.source, reset.destination, reset.dont_fragment) == (GATEWAY, source, True)
        assert reset.payload[4:14] == bytes.fromhex("00000000 00000002 5014")  # RST and ACK of the SYN


def test_a_connection_to_a_tunnel_address_that_is_gone_sends_nothing_from_it() -> None:
    bench = Bench()
    syn = bytes.fromhex("c000 0007 00000001 00000000 5002 ffff 0000 0000")
    pseudo_header = FAR.packed + TUNNEL.packed + bytes([0, 6, 0, 20])
    whole = syn[:16] + dpkt.in_cksum(pseudo_header + syn).to_bytes(2, "big") + syn[18:]
    (answer,) = bench.sent_into_tunnel(bench.tunnel(Packet(FAR, TUNNEL, ipv4.PROTOCOL_TCP, whole)))
    assert answer.source == TUNNEL
    bench.gateway._tunnel.address = IPv4Interface("10.9.0.2/24")  # a new session has pushed another
    effects = bench.at(5.0)  # the answer is due again
    assert (states(effects)[-1], _at(effects, Port.FLOW)) == ("s1-own-source", [])


# ── errors and their limits ──────────────────────────────────────────────────────────────────────────────────────────


def test_errors_are_limited_and_echo_is_not() -> None:
    bench = Bench(limits={"icmp_burst": 2, "icmp_rate": 1})
    effects = [bench.inside(datagram(time_to_live=1)) for _ in range(3)]
    assert [len(bench.sent_inside(some)) for some in effects] == [1, 1, 0]
    assert states(effects[2]) == ["s20-rate"]
    assert len(bench.sent_inside(bench.inside(ping()))) == 1
    bench.at(4.0)
    assert len(bench.sent_inside(bench.inside(datagram(time_to_live=1)))) == 1


def test_there_is_no_error_about_an_error() -> None:
    bench = Bench()
    about = icmp.build(icmp.Message(icmp.TIME_EXCEEDED, 0, bytes(4), bytes(28)))
    effects = bench.inside(Packet(HOST, FAR, 1, about, time_to_live=1))
    assert (states(effects), fate(effects)) == (["s20-not-about-error"], "dropped s17-expired")
    assert _at(effects, Port.INTERNAL) == []


# ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_while_the_tunnel_is_down_its_packets_are_dropped_and_told() -> None:
    bench = Bench()
    effects = bench.gateway.flow(FlowEvent.CLOSED, bench.now)
    assert states(effects) == ["s4-flow-lost", "s4-keys-end"]
    effects = bench.inside(datagram(size=3000))
    (error,) = bench.sent_inside(effects)
    assert error_of(error)[:2] == (3, 0)
    assert fate(effects) == "dropped s4-tunnel-down"
    assert [type(effect) for effect in bench.at(4.0) if not isinstance(effect, Note)] == [OpenFlow]
    assert states(bench.gateway.flow(FlowEvent.OPENED, 4.5)) == ["s2-flow-opened"]


def test_an_error_that_would_leave_through_a_tunnel_that_is_down_is_lost() -> None:
    bench = Bench(knows_host=False)
    bench.tunnel(datagram(FAR, HOST))
    bench.gateway.flow(FlowEvent.CLOSED, bench.now)
    bench.at(4.0)
    bench.at(5.0)
    effects = bench.at(6.0)
    assert _at(effects, Port.FLOW) == []
    assert states(effects) == ["s31-give-up", "s4-tunnel-down"]


def test_a_record_that_is_refused_resets_the_flow() -> None:
    bench = Bench()
    effects = bench.gateway.receive(Port.FLOW, b"\x00\x00", bench.now)
    assert [type(effect) for effect in effects if not isinstance(effect, Note)] == [CloseFlow]
    assert bench.gateway.stop(bench.now) == []
    assert bench.gateway.remote == 0


# ── whatever comes ───────────────────────────────────────────────────────────────────────────────────────────────────

EVENTS = st.lists(
    st.tuples(
        st.sampled_from([Port.INTERNAL, Port.FLOW]),
        st.binary(max_size=80)
        | st.binary(max_size=60).map(lambda octets: GATEWAY_MAC + HOST_MAC + b"\x08\x00\x45" + octets)
        | st.binary(max_size=40).map(lambda octets: GATEWAY_MAC + HOST_MAC + b"\x08\x06" + octets),
        st.floats(0, 5),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(EVENTS)
def test_no_octets_raise_and_the_same_events_have_the_same_effects(events: list[tuple[Port, bytes, float]]) -> None:
    runs = []
    for _ in range(2):
        gateway = ReferenceGateway(GatewayConfig.from_json(CONFIG), SeededEntropy(b"seed"))
        effects = gateway.start(0.0)
        now = 0.0
        for port, octets, pause in events:
            now += pause
            effects += gateway.receive(port, octets, now)
        runs.append(effects)
    assert runs[0] == runs[1]


INSIDE_WAYS = [(HOST, FAR), (HOST, GATEWAY), (HOST, IPv4Address("10.38.2.255")), (HOST, IPv4Address("10.38.2.77"))]
TUNNEL_WAYS = [
    (FAR, HOST),
    (FAR, GATEWAY),
    (FAR, TUNNEL),
    (FAR, IPv4Address("10.38.2.77")),
    (IPv4Address("10.8.0.255"), HOST),
]
WAYS = st.sampled_from([(True, *way) for way in INSIDE_WAYS] + [(False, *way) for way in TUNNEL_WAYS])
FIELDS = st.fixed_dictionaries(
    {
        "protocol": st.sampled_from([1, 1, 6, 17, 47]),
        "payload": st.sampled_from([ECHO, bytes(64), datagram().payload, bytes(1500), b""]),
        "identification": st.integers(0, 2),
        "dont_fragment": st.booleans(),
        "more_fragments": st.sampled_from([False, False, True]),
        "fragment_offset": st.sampled_from([0, 0, 0, 8, 64, 65528]),
        "time_to_live": st.sampled_from([64, 64, 64, 2, 1, 0]),
        "options": st.sampled_from([b"", b"", bytes.fromhex("94040000"), bytes.fromhex("44010000")]),
    }
)


@settings(max_examples=80)
@given(st.lists(st.tuples(WAYS, FIELDS, st.sampled_from([0.0, 0.0, 0.4, 1.0, 61.0])), min_size=3, max_size=12))
def test_whatever_leaves_fits_its_link_adds_up_and_has_time_to_live(
    events: list[tuple[tuple[bool, IPv4Address, IPv4Address], dict[str, Any], float]],
) -> None:
    bench = Bench(internal={"mtu": 600}, tunnel={"session": SESSION | {"mtu": 1300}})
    for (is_from_inside, source, destination), fields, pause in events:
        packet = Packet(source, destination, **fields)
        effects = bench.at(bench.now + pause)
        effects += bench.inside(packet) if is_from_inside else bench.tunnel(packet)
        inside, tunnel = bench.sent_inside(effects), bench.sent_into_tunnel(effects)
        assert all(sent.total_length <= 600 for sent in inside)
        assert all(sent.total_length <= 1300 for sent in tunnel)
        assert all(sent.time_to_live > 0 and sent.destination in (HOST, FAR) for sent in inside + tunnel)
        assert fates(effects) or states(effects)
