"""Forwarding: the decision on each kind of source and destination, and the order of what is looked at after it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from glassgate.contract import Note
from glassgate.reference import forwarding, icmp, ipv4
from glassgate.reference.addresses import Attached
from glassgate.reference.forwarding import Deliver, Onward, Place, Ready, Refusal
from glassgate.reference.ipv4 import Packet

PLACE = Place(
    Attached(IPv4Interface("10.38.2.1/24"), (IPv4Network("10.39.0.0/16"),)),
    external=IPv4Address("192.168.1.5"),
    tunnel=IPv4Address("10.8.0.2"),
)
SOURCE_ROUTE = bytes.fromhex("83 07 04 08080808 00")


def packet(source: str, destination: str, **fields: object) -> Packet:
    made = Packet(IPv4Address(source), IPv4Address(destination), 17, bytes(100))
    return ipv4.parse(ipv4.build(replace(made, **fields)))  # type: ignore[arg-type]


FROM_INSIDE = packet("10.38.2.5", "8.8.8.8")


def said(decision: Deliver | Onward | Note) -> str:
    """What was decided, and by which rule."""
    if isinstance(decision, Note):
        return f"dropped {decision.rule}"
    return f"{type(decision).__name__.lower()} {decision.because}"


# ── where to ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("destination", "decision"),
    [
        ("10.38.2.1", "deliver s10-for-me"),
        ("8.8.8.8", "onward s14-forward"),
        ("1.2.3.4", "onward s14-forward"),
        ("192.168.1.5", "onward s10-other-own-address"),
        ("10.8.0.2", "onward s10-other-own-address"),
        ("10.38.2.77", "dropped s14-own-network"),
        ("10.39.1.1", "dropped s14-own-network"),
        ("10.38.2.0", "dropped s14-broadcast"),
        ("10.38.2.255", "dropped s14-broadcast"),
        ("255.255.255.255", "dropped s14-broadcast"),
        ("224.0.0.251", "dropped s14-multicast"),
        ("0.0.0.0", "dropped s14-this-network"),
        ("127.0.0.1", "dropped s14-loopback"),
        ("169.254.1.1", "dropped s14-link-local"),
        ("240.0.0.1", "dropped s14-reserved"),
    ],
)
def test_the_destination_of_a_packet_from_inside_decides(destination: str, decision: str) -> None:
    assert said(forwarding.from_inside(packet("10.38.2.5", destination), PLACE)) == decision


@pytest.mark.parametrize(
    ("source", "decision"),
    [
        ("10.38.2.254", "onward s14-forward"),
        ("10.39.0.0", "onward s14-forward"),
        ("10.38.3.5", "dropped s16-foreign"),
        ("8.8.4.4", "dropped s16-foreign"),
        ("10.38.2.1", "dropped s16-own"),
        ("192.168.1.5", "dropped s16-own"),
        ("10.8.0.2", "dropped s16-own"),
        ("10.38.2.0", "dropped s16-network"),
        ("10.38.2.255", "dropped s16-network"),
        ("0.0.0.0", "dropped s16-martian"),
        ("127.0.0.1", "dropped s16-martian"),
        ("169.254.7.7", "dropped s16-martian"),
        ("224.0.0.1", "dropped s16-martian"),
        ("255.255.255.255", "dropped s16-martian"),
    ],
)
def test_the_source_of_a_packet_from_inside_is_looked_at_first(source: str, decision: str) -> None:
    assert said(forwarding.from_inside(packet(source, "8.8.8.8"), PLACE)) == decision
    if decision.startswith("dropped"):
        assert said(forwarding.from_inside(packet(source, "10.38.2.1"), PLACE)) == decision


@pytest.mark.parametrize(
    ("destination", "decision"),
    [
        ("10.38.2.1", "deliver s28-for-me"),
        ("10.8.0.2", "deliver s28-tunnel-address"),
        ("10.38.2.5", "onward s29-to-host"),
        ("10.39.255.255", "onward s29-to-host"),
        ("10.38.2.0", "dropped s29-broadcast"),
        ("10.38.2.255", "dropped s29-broadcast"),
        ("224.0.0.1", "dropped s15-group"),
        ("255.255.255.255", "dropped s15-group"),
        ("8.8.8.8", "dropped s30-elsewhere"),
        ("192.168.1.5", "dropped s30-elsewhere"),
        ("127.0.0.1", "dropped s30-elsewhere"),
    ],
)
def test_the_destination_of_a_packet_from_the_tunnel_decides(destination: str, decision: str) -> None:
    assert said(forwarding.from_tunnel(packet("8.8.8.8", destination), PLACE)) == decision


@pytest.mark.parametrize(
    ("source", "decision"),
    [
        ("10.8.0.1", "onward s29-to-host"),
        ("10.38.2.9", "dropped s29-source-inside"),
        ("10.39.0.1", "dropped s29-source-inside"),
        ("10.38.2.1", "dropped s16-own"),
        ("10.8.0.2", "dropped s16-own"),
        ("10.38.2.255", "dropped s16-network"),
        ("127.0.0.1", "dropped s16-martian"),
    ],
)
def test_the_source_of_a_packet_from_the_tunnel_is_looked_at_first(source: str, decision: str) -> None:
    assert said(forwarding.from_tunnel(packet(source, "10.38.2.5"), PLACE)) == decision


def test_a_gateway_without_external_and_tunnel_address_has_one_address() -> None:
    alone = Place(PLACE.inside)
    assert said(forwarding.from_inside(packet("10.38.2.5", "192.168.1.5"), alone)) == "onward s14-forward"
    assert said(forwarding.from_tunnel(packet("8.8.8.8", "10.8.0.2"), alone)) == "dropped s30-elsewhere"


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ordinary_options_are_no_reason_to_refuse() -> None:
    assert forwarding.refuse_options(FROM_INSIDE) is None
    assert forwarding.refuse_options(replace(FROM_INSIDE, options=bytes.fromhex("94040000"))) is None


def test_a_source_route_is_refused_silently() -> None:
    refused = forwarding.refuse_options(replace(FROM_INSIDE, options=SOURCE_ROUTE))
    assert isinstance(refused, Note)
    assert refused.rule.slug == "s18-source-route"


def test_a_malformed_option_is_pointed_at_in_the_header() -> None:
    refused = forwarding.refuse_options(replace(FROM_INSIDE, options=bytes.fromhex("01 07 01 00")))
    assert isinstance(refused, Refusal)
    assert refused.note.detail == {"pointer": 21}
    assert refused.error == icmp.parameter_problem(21)


def test_whichever_comes_first_decides() -> None:
    refused = forwarding.refuse_options(replace(FROM_INSIDE, options=SOURCE_ROUTE[:7] + b"\x07"))
    assert isinstance(refused, Note)


# ── in which shape ───────────────────────────────────────────────────────────────────────────────────────────────────


def refused_with(outcome: Ready | Refusal | Note) -> str:
    """The rule of a refusal and the error that tells it."""
    if isinstance(outcome, Refusal):
        return f"{outcome.note.rule} {outcome.error}"
    assert isinstance(outcome, Note)
    return str(outcome.rule)


def ready(outcome: Ready | Refusal | Note) -> Ready:
    assert isinstance(outcome, Ready)
    return outcome


def test_what_fits_leaves_with_its_time_to_live_less_one() -> None:
    sent = ready(forwarding.onward(FROM_INSIDE, 1500, True, None))
    assert [piece.time_to_live for piece in sent.pieces] == [63]
    assert [str(rule) for rule in sent.path] == [
        "s17-decrement",
        "s18-unchanged",
        "s19-any-protocol",
        "s22-fits",
    ]


def test_the_size_that_counts_is_the_whole_packet() -> None:
    full = replace(FROM_INSIDE, dont_fragment=True, options=bytes.fromhex("94040000"))  # 124 octets
    assert len(ready(forwarding.onward(full, 124, True, None)).pieces) == 1
    outcome = forwarding.onward(full, 123, True, None)
    assert refused_with(outcome) == "s22-df 3/4"
    assert isinstance(outcome, Refusal)
    assert outcome.error == icmp.fragmentation_needed(123)


@pytest.mark.parametrize("time_to_live", [0, 1])
def test_an_expired_time_to_live_is_looked_at_before_the_way_and_the_size(time_to_live: int) -> None:
    expired = packet("10.38.2.5", "8.8.8.8", time_to_live=time_to_live, dont_fragment=True)
    assert refused_with(forwarding.onward(expired, 68, False, None)) == "s17-expired 11/0"


def test_a_closed_way_is_looked_at_before_the_size() -> None:
    big = packet("10.38.2.5", "8.8.8.8", dont_fragment=True)
    assert refused_with(forwarding.onward(big, 68, False, None)) == "s4-tunnel-down 3/0"


def test_an_impossible_fragment_is_looked_at_first() -> None:
    impossible = packet("10.38.2.5", "8.8.8.8", fragment_offset=65528, time_to_live=1)
    assert refused_with(forwarding.onward(impossible, 68, False, None)) == "s12-too-long"


def test_a_fragment_in_transit_is_cut_again_and_not_joined() -> None:
    sent = ready(
        forwarding.onward(packet("10.38.2.5", "8.8.8.8", more_fragments=True, fragment_offset=800), 76, True, None)
    )
    assert [piece.fragment_offset for piece in sent.pieces] == [800, 856]
    assert {"s12-transit", "s21-refragment"} <= {str(rule) for rule in sent.path}


def test_the_path_says_what_became_of_options() -> None:
    options = replace(packet("10.38.2.5", "8.8.8.8", options=bytes.fromhex("94040000 00000000")))
    kept = {str(rule) for rule in ready(forwarding.onward(options, 1500, True, None)).path}
    cut = {str(rule) for rule in ready(forwarding.onward(options, 84, True, None)).path}
    assert {"s18-options-kept", "s18-end-of-options"} <= kept
    assert {"s21-options", "s21-fragment", "s18-end-of-options"} <= cut


def test_a_syn_is_clamped_where_that_is_asked_for() -> None:
    segment = bytes.fromhex("c000 01bb 00000001 00000000 6002 ffff 0000 0000 020405b4")
    syn = packet("10.38.2.5", "8.8.8.8", protocol=6, payload=segment)
    left = ready(forwarding.onward(syn, 1500, True, None))
    clamped = ready(forwarding.onward(syn, 1500, True, 1386))
    assert left.pieces[0].payload == segment
    assert clamped.pieces[0].payload[20:] == bytes.fromhex("0204056a")
    assert "s23-mssfix" in {str(rule) for rule in clamped.path}
    assert "s23-mssfix" not in {str(rule) for rule in left.path}
