"""ARP: what is answered, what is learned, and how packets wait for a neighbour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import BROADCAST, Limits, MacAddress, Note, Port, Rule, Transmit, rules
from glassgate.reference import arp, ethernet
from glassgate.reference.addresses import Attached
from glassgate.reference.arp import ArpPacket, Neighbours, Step, Unreachable, Waiting
from glassgate.reference.notes import Malformed

GATEWAY_MAC = MacAddress.parse("00:f0:0d:f0:0d:00")
GATEWAY = IPv4Address("10.38.2.1")
HOST_MAC = MacAddress.parse("02:00:0a:26:02:05")
HOST = IPv4Address("10.38.2.5")
OTHER_MAC = MacAddress.parse("02:00:0a:26:02:06")
OTHER = IPv4Address("10.38.2.6")
NONE = MacAddress(bytes(6))

OCTETS = bytes.fromhex(
    "0001"  # hardware type: Ethernet
    "0800"  # protocol type: IPv4
    "06"  # hardware length
    "04"  # protocol length
    "0001"  # operation: request
    "02000a260205"  # sender hardware
    "0a260205"  # sender protocol
    "000000000000"  # target hardware
    "0a260201"  # target protocol
)
REQUEST = ArpPacket(arp.REQUEST, HOST_MAC, HOST, NONE, GATEWAY)
REPLY = ArpPacket(arp.REPLY, HOST_MAC, HOST, GATEWAY_MAC, GATEWAY)
ANNOUNCEMENT = ArpPacket(arp.REQUEST, GATEWAY_MAC, GATEWAY, NONE, GATEWAY)

MACS = st.binary(min_size=6, max_size=6).map(MacAddress)
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
PACKETS = st.builds(ArpPacket, st.integers(0, 0xFFFF), MACS, ADDRESSES, MACS, ADDRESSES)


def neighbours(limits: Limits | None = None, further: tuple[IPv4Network, ...] = ()) -> Neighbours:
    network = Attached(IPv4Interface("10.38.2.1/24"), further)
    return Neighbours(Port.INTERNAL, GATEWAY_MAC, network, limits or Limits())


def knowing(packet: ArpPacket = REPLY, limits: Limits | None = None) -> Neighbours:
    """A table that has learned one neighbour at 0 s."""
    table = neighbours(limits)
    list(table.receive(arp.build(packet), 0.0))
    return table


def arp_packets(steps: Iterable[Step]) -> list[tuple[str, ArpPacket]]:
    """The ARP packets that left, each with the hardware address of its frame."""
    frames = [ethernet.parse(step.data) for step in steps if isinstance(step, Transmit)]
    return [(str(frame.destination), arp.parse(frame.payload)) for frame in frames if frame.type == ethernet.TYPE_ARP]


def ip_packets(steps: Iterable[Step]) -> list[tuple[str, bytes]]:
    """The IPv4 packets that left, each with the hardware address of its frame."""
    frames = [ethernet.parse(step.data) for step in steps if isinstance(step, Transmit)]
    return [(str(frame.destination), frame.payload) for frame in frames if frame.type == ethernet.TYPE_IPV4]


def noted(steps: Iterable[Step]) -> list[str]:
    return [str(step.rule) for step in steps if isinstance(step, Note)]


def receive(table: Neighbours, packet: ArpPacket, now: float = 1.0) -> list[Step]:
    return list(table.receive(arp.build(packet), now))


def send(table: Neighbours, octets: bytes, now: float, neighbour: IPv4Address = HOST) -> list[Step]:
    return list(table.send(neighbour, Waiting(octets, None), rules.L1_ECHO, now))


# ── parse and build ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_parse_reads_the_fields_in_order() -> None:
    assert arp.parse(OCTETS) == REQUEST


def test_what_follows_is_padding() -> None:
    assert arp.parse(OCTETS + bytes(18)) == REQUEST


@given(PACKETS)
def test_parse_undoes_build(packet: ArpPacket) -> None:
    assert arp.parse(arp.build(packet)) == packet


@given(PACKETS)
def test_dpkt_reads_what_is_built(packet: ArpPacket) -> None:
    read = dpkt.arp.ARP(arp.build(packet))
    assert (read.hrd, read.pro, read.hln, read.pln) == (1, 0x0800, 6, 4)
    assert (read.op, read.sha, read.tha) == (packet.operation, packet.sender_hardware, packet.target_hardware)
    assert (read.spa, read.tpa) == (packet.sender_protocol.packed, packet.target_protocol.packed)


@pytest.mark.parametrize("length", range(28))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(Malformed) as raised:
        arp.parse(OCTETS[:length])
    assert raised.value.rule is rules.S7_TRUNCATED


@pytest.mark.parametrize(
    ("at", "value", "rule"),
    [
        (1, 6, rules.S7_HARDWARE_TYPE),
        (2, 0x86, rules.S7_PROTOCOL_TYPE),
        (4, 8, rules.S7_ADDRESS_LENGTH),
        (5, 16, rules.S7_ADDRESS_LENGTH),
    ],
)
def test_other_kinds_of_addresses_are_refused(at: int, value: int, rule: Rule) -> None:
    octets = bytearray(OCTETS)
    octets[at] = value
    with pytest.raises(Malformed) as raised:
        arp.parse(bytes(octets))
    assert raised.value.rule is rule


# ── announcing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_our_address_is_announced_at_start_and_two_seconds_later() -> None:
    table = neighbours()
    assert arp_packets(table.start(10.0)) == [("ff:ff:ff:ff:ff:ff", ANNOUNCEMENT)]
    assert table.deadline == 12.0
    assert list(table.tick(11.9)) == []
    assert arp_packets(table.tick(12.0)) == [("ff:ff:ff:ff:ff:ff", ANNOUNCEMENT)]
    assert table.deadline is None


# ── receive: what is refused ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("packet", "rule"),
    [
        (replace(REQUEST, operation=0), rules.S7_OPERATION),
        (replace(REQUEST, operation=3), rules.S7_OPERATION),
        (replace(REQUEST, sender_hardware=BROADCAST), rules.S8_GROUP_HARDWARE),
        (replace(REPLY, sender_hardware=MacAddress.parse("01:00:5e:00:00:01")), rules.S8_GROUP_HARDWARE),
        (replace(REQUEST, sender_protocol=IPv4Address("10.38.3.5")), rules.S8_FOREIGN_SENDER),
        (replace(REQUEST, sender_protocol=IPv4Address("10.38.2.0")), rules.S8_FOREIGN_SENDER),
        (replace(REQUEST, sender_protocol=IPv4Address("10.38.2.255")), rules.S8_FOREIGN_SENDER),
        (replace(REPLY, sender_protocol=IPv4Address("0.0.0.0")), rules.S8_FOREIGN_SENDER),
        (replace(REQUEST, sender_hardware=GATEWAY_MAC), rules.S8_NO_STATION),
        (replace(REQUEST, sender_protocol=GATEWAY, sender_hardware=GATEWAY_MAC), rules.S8_NO_STATION),
        (replace(REPLY, sender_hardware=NONE), rules.S8_NO_STATION),
        (replace(REQUEST, target_protocol=OTHER), rules.S7_NOT_FOR_US),
        (replace(REPLY, target_protocol=OTHER), rules.S8_NOT_LEARNED),
    ],
)
def test_what_is_refused_is_neither_answered_nor_learned(packet: ArpPacket, rule: Rule) -> None:
    table = neighbours()
    steps = receive(table, packet)
    assert noted(steps) == [rule.slug]
    assert arp_packets(steps) == []
    assert table.deadline is None  # an entry would have one


def test_a_conflict_is_defended_at_most_once_in_ten_seconds() -> None:
    table = neighbours()
    claim = replace(REQUEST, sender_protocol=GATEWAY)
    assert arp_packets(receive(table, claim, 100.0)) == [("ff:ff:ff:ff:ff:ff", ANNOUNCEMENT)]
    assert arp_packets(receive(table, claim, 109.9)) == []
    steps = receive(table, claim, 110.0)
    assert arp_packets(steps) == [("ff:ff:ff:ff:ff:ff", ANNOUNCEMENT)]
    assert noted(steps) == ["s7-conflict"]


# ── receive: what is learned and answered ────────────────────────────────────────────────────────────────────────────


def test_a_request_for_us_is_learned_and_answered_to_its_sender() -> None:
    table = neighbours()
    steps = receive(table, REQUEST)
    assert noted(steps) == ["s8-learn"]
    assert arp_packets(steps) == [(str(HOST_MAC), ArpPacket(arp.REPLY, GATEWAY_MAC, GATEWAY, HOST_MAC, HOST))]
    assert ip_packets(send(table, b"packet", 2.0)) == [(str(HOST_MAC), b"packet")]


def test_a_probe_is_answered_and_not_learned() -> None:
    table = neighbours()
    nobody = IPv4Address("0.0.0.0")
    steps = receive(table, replace(REQUEST, sender_protocol=nobody))
    assert arp_packets(steps) == [(str(HOST_MAC), ArpPacket(arp.REPLY, GATEWAY_MAC, GATEWAY, HOST_MAC, nobody))]
    assert table.deadline is None


def test_replies_to_requests_and_to_probes_have_their_rules() -> None:
    for sender, rule in ((HOST, rules.S7_REPLY), (IPv4Address("0.0.0.0"), rules.S7_PROBE)):
        steps = receive(neighbours(), replace(REQUEST, sender_protocol=sender))
        assert [step.because for step in steps if isinstance(step, Transmit)] == [rule]


def test_a_probe_for_another_address_is_met_with_silence() -> None:
    probe = replace(REQUEST, sender_protocol=IPv4Address("0.0.0.0"), target_protocol=OTHER)
    steps = receive(neighbours(), probe)
    assert noted(steps) == ["s7-not-for-us"]
    assert arp_packets(steps) == []


def test_a_packet_not_for_us_updates_an_entry_that_exists() -> None:
    table = knowing()
    announcement = ArpPacket(arp.REQUEST, OTHER_MAC, HOST, NONE, HOST)
    assert noted(receive(table, announcement)) == ["s8-update", "s7-not-for-us"]
    assert ip_packets(send(table, b"packet", 2.0)) == [(str(OTHER_MAC), b"packet")]


def test_a_sender_in_a_further_prefix_is_a_neighbour() -> None:
    table = neighbours(further=(IPv4Network("10.39.0.0/16"),))
    steps = receive(table, replace(REQUEST, sender_protocol=IPv4Address("10.39.0.0")))
    assert noted(steps) == ["s8-learn"]
    assert len(arp_packets(steps)) == 1


# ── send: known, unknown, waiting ────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_for_an_unknown_neighbour_asks_once_and_waits_for_the_reply() -> None:
    table = neighbours()
    first = send(table, b"one", 1.0)
    assert arp_packets(first) == [
        ("ff:ff:ff:ff:ff:ff", ArpPacket(arp.REQUEST, GATEWAY_MAC, GATEWAY, NONE, HOST)),
    ]
    second = send(table, b"two", 1.1)
    assert (arp_packets(second), noted(second)) == ([], ["s31-wait"])
    released = receive(table, REPLY, 1.2)
    assert ip_packets(released) == [(str(HOST_MAC), b"one"), (str(HOST_MAC), b"two")]
    known = send(table, b"three", 1.3)
    assert known[0] is rules.S31_KNOWN
    assert ip_packets(known) == [(str(HOST_MAC), b"three")]


def test_a_request_from_the_neighbour_releases_what_waits_before_it_is_answered() -> None:
    table = neighbours()
    send(table, b"one", 1.0)
    frames = [step for step in receive(table, REQUEST, 1.1) if isinstance(step, Transmit)]
    assert [ethernet.parse(frame.data).type for frame in frames] == [ethernet.TYPE_IPV4, ethernet.TYPE_ARP]


def test_the_oldest_gives_way_when_too_many_wait() -> None:
    table = neighbours(Limits(arp_queue=2))
    send(table, b"one", 1.0)
    send(table, b"two", 1.0)
    assert noted(send(table, b"three", 1.0)) == ["s31-queue-full", "s31-wait"]
    assert ip_packets(receive(table, REPLY)) == [(str(HOST_MAC), b"two"), (str(HOST_MAC), b"three")]


def test_the_entry_used_least_recently_gives_way_when_the_table_is_full() -> None:
    table = neighbours(Limits(arp_neighbours=2))
    receive(table, REPLY)
    receive(table, replace(REPLY, sender_protocol=OTHER, sender_hardware=OTHER_MAC))
    send(table, b"use", 2.0, HOST)
    third = IPv4Address("10.38.2.7")
    assert noted(send(table, b"new", 3.0, third)) == ["s31-table-full", "s31-ask"]
    assert ip_packets(send(table, b"still", 3.0, HOST)) == [(str(HOST_MAC), b"still")]
    assert noted(send(table, b"gone", 3.0, OTHER)) == ["s31-table-full", "s31-ask"]


def test_a_learned_entry_makes_room_too_and_takes_waiting_packets_along() -> None:
    table = neighbours(Limits(arp_neighbours=1))
    send(table, b"one", 1.0, OTHER)
    steps = receive(table, REQUEST, 1.1)
    assert noted(steps) == ["s31-table-full", "s8-learn"]
    assert [step.detail.get("packets_lost") for step in steps if isinstance(step, Note)] == [1, None]


def test_a_neighbour_that_is_given_up_is_not_used_by_what_is_refused_and_gives_way_first() -> None:
    table = neighbours(Limits(arp_neighbours=2))
    send(table, b"one", 1.0, OTHER)
    for now in (2.0, 3.0, 4.0):
        list(table.tick(now))
    receive(table, REPLY, 4.1)
    assert [step.because.slug for step in send(table, b"two", 4.2, OTHER) if isinstance(step, Unreachable)] == [
        "s31-negative"
    ]
    send(table, b"new", 4.3, IPv4Address("10.38.2.7"))
    assert ip_packets(send(table, b"still", 4.4, HOST)) == [(str(HOST_MAC), b"still")]


# ── tick: asking again, giving up, expiring ──────────────────────────────────────────────────────────────────────────


def test_three_requests_a_second_apart_and_then_the_neighbour_is_given_up() -> None:
    table = neighbours()
    send(table, b"one", 1.0)
    send(table, b"two", 1.5)
    asked = ("ff:ff:ff:ff:ff:ff", ArpPacket(arp.REQUEST, GATEWAY_MAC, GATEWAY, NONE, HOST))
    assert table.deadline == 2.0
    assert list(table.tick(1.9)) == []
    assert arp_packets(table.tick(2.0)) == [asked]
    assert arp_packets(table.tick(3.0)) == [asked]
    steps = list(table.tick(4.0))
    assert noted(steps) == ["s31-give-up"]
    given_up = [step for step in steps if isinstance(step, Unreachable)]
    assert [(step.waiting.octets, step.because.slug) for step in given_up] == [
        (b"one", "s31-give-up"),
        (b"two", "s31-give-up"),
    ]


def test_for_a_second_after_that_nobody_asks() -> None:
    table = neighbours()
    send(table, b"one", 1.0)
    for now in (2.0, 3.0, 4.0):
        list(table.tick(now))
    (refused,) = send(table, b"two", 4.9)
    assert isinstance(refused, Unreachable)
    assert refused.because is rules.S31_NEGATIVE
    assert list(table.tick(5.0)) == []
    assert noted(send(table, b"three", 5.0)) == ["s31-ask"]


def test_a_missing_neighbour_that_speaks_is_known_again() -> None:
    table = neighbours()
    send(table, b"one", 1.0)
    for now in (2.0, 3.0, 4.0):
        list(table.tick(now))
    receive(table, ArpPacket(arp.REQUEST, HOST_MAC, HOST, NONE, HOST), 4.5)
    assert ip_packets(send(table, b"two", 4.6)) == [(str(HOST_MAC), b"two")]


def test_a_late_tick_asks_once_and_leaves_a_second_for_the_answer() -> None:
    table = neighbours()
    send(table, b"one", 1.0)
    assert len(arp_packets(table.tick(9.0))) == 1
    assert table.deadline == 10.0


def test_neighbours_are_served_in_the_order_of_their_times() -> None:
    table = neighbours()
    send(table, b"one", 1.0, HOST)
    send(table, b"two", 1.5, OTHER)
    send(table, b"again", 1.6, HOST)  # used last, due first
    asked = [packet.target_protocol for _, packet in arp_packets(table.tick(2.5))]
    assert asked == [HOST, OTHER]


def test_an_entry_in_use_is_probed_by_unicast_before_it_expires() -> None:
    table = knowing()
    assert arp_packets(send(table, b"young", 1139.9)) == []
    probe = (str(HOST_MAC), ArpPacket(arp.REQUEST, GATEWAY_MAC, GATEWAY, NONE, HOST))
    assert arp_packets(send(table, b"old", 1140.0)) == [probe]
    assert arp_packets(send(table, b"soon", 1140.9)) == []
    assert arp_packets(send(table, b"second", 1141.0)) == [probe]
    assert arp_packets(send(table, b"third", 1142.0)) == [probe]
    assert arp_packets(send(table, b"no more", 1143.0)) == []


def test_an_entry_that_answers_its_probe_lives_on() -> None:
    table = knowing()
    send(table, b"old", 1140.0)
    receive(table, REPLY, 1140.1)
    assert table.deadline == 2340.1
    assert arp_packets(send(table, b"young", 1200.0)) == []


def test_an_entry_is_forgotten_after_twenty_minutes() -> None:
    table = knowing()
    assert table.deadline == 1200.0
    assert noted(table.tick(1200.0)) == ["s31-expire"]
    assert noted(send(table, b"miss", 1200.0)) == ["s31-ask"]


# ── what is due, whatever happened ───────────────────────────────────────────────────────────────────────────────────

LASTS = {"s8-learn": 1200.0, "s8-update": 1200.0, "s31-give-up": 1.0, "s31-ask": 1.0, "s31-retry": 1.0}
"""S31: how long the state lasts that a neighbour enters by each of these."""
HOSTS = [IPv4Address(f"10.38.2.{number}") for number in range(10, 15)]
EVENTS = st.tuples(
    st.sampled_from(["send", "speak", "tick"]), st.sampled_from(HOSTS), st.sampled_from([0.0, 0.4, 1.0, 1.0, 700.0])
)


def follow(due: dict[str, float], steps: Iterable[Step], now: float) -> None:
    """Keep ``due``: when the state of each neighbour ends, by what the table tells of it."""
    for step in steps:
        if isinstance(step, Note) and str(step.rule) in ("s31-table-full", "s31-expire"):
            del due[str(step.detail["neighbour"])]
        elif isinstance(step, Note) and str(step.rule) in LASTS:
            due[str(step.detail["neighbour"])] = now + LASTS[str(step.rule)]
        elif isinstance(step, Transmit) and step.because is rules.S31_RETRY:
            ((_, request),) = arp_packets([step])
            due[str(request.target_protocol)] = now + LASTS["s31-retry"]


@given(st.lists(EVENTS, max_size=40))
def test_the_deadline_is_that_of_the_neighbour_whose_state_ends_first(
    events: list[tuple[str, IPv4Address, float]],
) -> None:
    table, now, due = neighbours(Limits(arp_neighbours=3)), 0.0, dict[str, float]()
    for kind, host, later in events:
        now += later
        follow(due, table.tick(now), now)
        due = {name: time for name, time in due.items() if time > now}  # a negative entry ends without a word
        if kind == "send":
            follow(due, send(table, b"packet", now, host), now)
        elif kind == "speak":
            follow(due, receive(table, replace(REPLY, sender_protocol=host), now), now)
        assert table.deadline == min(due.values(), default=None)
        assert set(table.table) == set(due)
