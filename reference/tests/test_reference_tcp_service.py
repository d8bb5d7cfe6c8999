"""The gateway's own TCP services: closed ports, LISTEN, the echo of RFC 862, SYN floods, bounds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.contract import Limits, Note, NoteKind, Rule, SeededEntropy, rules
from glassgate.reference.notes import Malformed
from glassgate.reference.tcp import segment as wire
from glassgate.reference.tcp.connection import Endpoint
from glassgate.reference.tcp.segment import ACK, FIN, PSH, RST, SYN, Segment
from glassgate.reference.tcp.sequence import SequenceNumber
from glassgate.reference.tcp.service import ECHO_BUFFER, Outgoing, TcpService

GATEWAY = IPv4Address("10.38.2.1")
HOST = IPv4Address("10.38.2.5")
MTU = 1500
ISN = SequenceNumber(7000)
SYN_SEGMENT = Segment(40000, 7, ISN, control=SYN, window=30_000, maximum_segment_size=1460)
NOW = 50.0


def service(limits: Limits = Limits(), has_notes: bool = True) -> TcpService:  # noqa: B008 - a frozen value
    return TcpService((7,), limits, SeededEntropy(b"test"), has_notes)


def send(to: TcpService, segment: Segment, now: float = NOW, source: IPv4Address = HOST) -> tuple[list[Segment], Rule]:
    """What answers, and the rule of the one note on the segment's fate."""
    outputs = to.receive(wire.build(segment, source, GATEWAY), source, GATEWAY, MTU, now)
    fates = [output for output in outputs if isinstance(output, Note) and output.kind is not NoteKind.STATE]
    [fate] = fates
    return answers(outputs, source), fate.rule


def answers(outputs: list[Outgoing | Note], to: IPv4Address = HOST) -> list[Segment]:
    outgoing = [output for output in outputs if isinstance(output, Outgoing)]
    assert all((one.source, one.destination) == (GATEWAY, to) for one in outgoing)
    return [wire.parse(one.octets, one.source, one.destination) for one in outgoing]


def connect(to: TcpService, port: int = 40000, source: IPv4Address = HOST) -> Segment:
    """Complete the handshake; the host's next segment, without text."""
    [answer], rule = send(to, replace(SYN_SEGMENT, source_port=port), source=source)
    assert rule is rules.L3_PASSIVE_OPEN
    segment = Segment(port, 7, ISN + 1, answer.sequence_number + 1, ACK, 30_000)
    assert send(to, segment, source=source) == ([], rules.L3_ESTABLISHED)
    return segment


# ── closed ports (3.10.7.1) ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("control", "text", "counted"), [(SYN, b"", 1), (0, b"abc", 3), (FIN, b"abc", 4), (SYN | FIN, b"", 2)]
)
def test_a_closed_port_resets_with_sequence_0_and_acknowledges_all_that_came(
    control: int, text: bytes, counted: int
) -> None:
    segment = Segment(40000, 8, ISN, control=control, text=text)

    answer, rule = send(service(), segment)

    assert answer == [Segment(8, 40000, SequenceNumber(0), ISN + counted, RST | ACK)]
    assert rule is rules.L3_CLOSED_PORT


def test_a_closed_port_resets_an_acknowledgment_at_its_own_number() -> None:
    segment = Segment(40000, 8, ISN, SequenceNumber(99), SYN | ACK)

    assert send(service(), segment) == ([Segment(8, 40000, SequenceNumber(99), control=RST)], rules.L3_CLOSED_PORT)


@pytest.mark.parametrize("control", [RST, RST | ACK])
def test_a_closed_port_does_not_answer_a_reset(control: int) -> None:
    assert send(service(), Segment(40000, 8, ISN, control=control)) == ([], rules.L3_NO_RESET_TO_RESET)


@pytest.mark.parametrize(("source_port", "destination_port"), [(0, 7), (40000, 0), (0, 0)])
def test_nothing_from_or_to_port_0_is_answered(source_port: int, destination_port: int) -> None:
    segment = Segment(source_port, destination_port, ISN, control=SYN)

    assert send(service(), segment) == ([], rules.L3_PORT_ZERO)


def test_what_cannot_be_read_raises_for_the_door_to_catch() -> None:
    with pytest.raises(Malformed):
        service().receive(bytes(19), HOST, GATEWAY, MTU, NOW)


# ── LISTEN (3.10.7.2) ────────────────────────────────────────────────────────────────────────────────────────────────


def test_listen_first_ignores_a_reset() -> None:
    assert send(service(), replace(SYN_SEGMENT, control=RST | ACK)) == ([], rules.L3_LISTEN_RESET)


def test_listen_second_resets_an_acknowledgment() -> None:
    segment = replace(SYN_SEGMENT, control=SYN | ACK, acknowledgment_number=SequenceNumber(99))

    assert send(service(), segment) == ([Segment(7, 40000, SequenceNumber(99), control=RST)], rules.L3_LISTEN_ACK)


def test_listen_third_answers_a_syn_with_the_segment_size_of_the_interface() -> None:
    [answer], _ = send(service(), SYN_SEGMENT)

    assert answer.control == SYN | ACK
    assert answer.acknowledgment_number == ISN + 1
    assert answer.maximum_segment_size == MTU - 40
    assert answer.window == ECHO_BUFFER


def test_listen_fourth_drops_what_is_neither() -> None:
    assert send(service(), replace(SYN_SEGMENT, control=FIN)) == ([], rules.L3_LISTEN_NOTHING)


def test_a_reset_of_a_half_open_connection_frees_its_place() -> None:
    tcp = service()
    send(tcp, SYN_SEGMENT)

    send(tcp, replace(SYN_SEGMENT, sequence_number=ISN + 1, control=RST))

    assert len(tcp) == 0


# ── echo ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_text_comes_back_in_one_segment_with_its_acknowledgment() -> None:
    tcp = service()
    host = connect(tcp)

    [answer], rule = send(tcp, replace(host, control=PSH | ACK, text=b"hello"))

    assert rule is rules.L3_TEXT
    assert (answer.text, answer.control) == (b"hello", PSH | ACK)
    assert answer.acknowledgment_number == ISN + 6

    assert tcp.deadline == NOW + 1
    send(tcp, replace(host, sequence_number=ISN + 6, acknowledgment_number=answer.sequence_number + 5))
    assert tcp.deadline is None


def test_the_echo_closes_when_the_host_has_and_everything_is_back() -> None:
    tcp = service()
    host = connect(tcp)

    [answer], _ = send(tcp, replace(host, control=FIN | ACK, text=b"bye"))
    assert (answer.text, answer.control) == (b"bye", FIN | PSH | ACK)
    assert answer.acknowledgment_number == ISN + 5
    last = replace(host, sequence_number=ISN + 5, acknowledgment_number=answer.sequence_number + 4)
    assert send(tcp, last) == ([], rules.L3_ACCEPTABLE_ACK)

    assert len(tcp) == 0
    assert tcp.deadline is None


def test_an_echo_that_is_not_read_stops_taking_text_and_goes_on_later() -> None:
    tcp = service()
    host = connect(tcp)
    sent, received, number = bytes(range(256)) * 400, b"", 0
    position, window = 0, 0
    while position < len(sent):
        chunk = sent[position : position + 1460]
        out, _ = send(tcp, replace(host, sequence_number=ISN + 1 + position, window=window, text=chunk))
        taken = out[-1].acknowledgment_number - (ISN + 1) - position
        if taken == 0:
            break
        position += taken
    assert 2 * ECHO_BUFFER - 1460 < position <= 2 * ECHO_BUFFER  # one buffer unread, one unsent

    host = replace(host, sequence_number=ISN + 1 + position)
    window = 60_000
    while len(received) < position:
        number = len(received)
        out, _ = send(tcp, replace(host, acknowledgment_number=host.acknowledgment_number + number, window=window))
        for answer in out:
            assert answer.sequence_number - host.acknowledgment_number <= len(received)
            received += answer.text[len(received) - (answer.sequence_number - host.acknowledgment_number) :]
        if not out:
            break
    assert received == sent[:position]
    assert out[-1].window > 0


def test_connections_of_two_hosts_and_two_ports_are_apart() -> None:
    tcp = service()
    other = IPv4Address("10.38.2.6")
    ends = [(40000, HOST), (40001, HOST), (40000, other)]
    hosts = [connect(tcp, port, source) for port, source in ends]

    for (port, source), host in zip(ends, hosts, strict=True):
        [answer], _ = send(tcp, replace(host, text=str(port).encode()), source=source)
        assert answer.text == str(port).encode()
    assert len(tcp) == 3


def test_initial_numbers_differ_between_connections() -> None:
    tcp = service()

    numbers = {send(tcp, replace(SYN_SEGMENT, source_port=port))[0][0].sequence_number for port in range(1, 30)}

    assert len(numbers) == 29


def test_the_same_seed_gives_the_same_answers() -> None:
    assert send(service(), SYN_SEGMENT) == send(service(), SYN_SEGMENT)


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_a_flood_the_oldest_half_open_connection_gives_way_and_open_ones_stay() -> None:
    tcp = service(Limits(tcp_half_open=4))
    host = connect(tcp)
    for port in range(1, 20):
        send(tcp, replace(SYN_SEGMENT, source_port=port))
    assert len(tcp) == 1 + 4

    [answer], _ = send(tcp, replace(host, text=b"still here"))
    assert answer.text == b"still here"
    connect(tcp, 50000)  # and a new one gets in


def test_who_gave_way_is_told_by_a_note() -> None:
    tcp = service(Limits(tcp_half_open=1))
    send(tcp, SYN_SEGMENT)

    other = wire.build(replace(SYN_SEGMENT, source_port=40001), HOST, GATEWAY)
    outputs = tcp.receive(other, HOST, GATEWAY, MTU, NOW)

    [note] = [output for output in outputs if isinstance(output, Note) and output.rule is rules.L3_HALF_OPEN_LIMIT]
    assert "10.38.2.5:40000" in str(note.detail["connection"])


def test_when_the_table_is_full_a_half_open_connection_gives_way_before_a_syn_is_dropped() -> None:
    tcp = service(Limits(tcp_connections=2))
    connect(tcp, 1)
    send(tcp, replace(SYN_SEGMENT, source_port=2))
    connect(tcp, 3)

    assert send(tcp, replace(SYN_SEGMENT, source_port=4)) == ([], rules.L3_CONNECTION_LIMIT)
    assert len(tcp) == 2


def test_half_open_connections_end_by_themselves() -> None:
    tcp = service()
    send(tcp, SYN_SEGMENT)

    times = []
    while tcp.deadline is not None:
        times.append(tcp.deadline - NOW)
        tcp.tick(tcp.deadline)

    assert times == [1, 3, 7, 15, 31, 63, 123, 183]
    assert len(tcp) == 0


def test_what_is_due_first_is_done_first() -> None:
    tcp = service()
    for port, now in ((40001, NOW + 0.5), (40000, NOW)):
        send(tcp, replace(SYN_SEGMENT, source_port=port), now)

    assert [answer.destination_port for answer in answers(tcp.tick(NOW + 9))] == [40000, 40001]


def test_without_listeners_there_are_no_notes() -> None:
    tcp = service(Limits(tcp_half_open=1), has_notes=False)
    for segment in (SYN_SEGMENT, replace(SYN_SEGMENT, source_port=2), replace(SYN_SEGMENT, control=FIN, source_port=3)):
        outputs = tcp.receive(wire.build(segment, HOST, GATEWAY), HOST, GATEWAY, MTU, NOW)
        assert not [output for output in outputs if isinstance(output, Note)]


# ── ICMP errors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_too_big_is_believed_of_what_is_in_flight_and_sent_again_smaller() -> None:
    tcp = service()
    host = connect(tcp)
    send(tcp, replace(host, text=bytes(1460)))
    ends = Endpoint(GATEWAY, 7), Endpoint(HOST, 40000)
    in_flight = host.acknowledgment_number

    assert not tcp.packet_too_big(*ends, in_flight + 1460, 600, NOW)
    assert not tcp.packet_too_big(ends[0], Endpoint(HOST, 1), in_flight, 600, NOW)
    assert tcp.packet_too_big(*ends, in_flight, 600, NOW)

    assert tcp.deadline == NOW
    assert [len(answer.text) for answer in answers(tcp.tick(NOW))] == [560, 560, 340]


# ── hostile segments ─────────────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = st.builds(
    Segment,
    source_port=st.sampled_from([40000, 40001]),
    destination_port=st.just(7),
    sequence_number=st.integers(-5, 40_000).map(lambda offset: ISN + offset),
    acknowledgment_number=st.integers(-3, 40_000).map(SequenceNumber),
    control=st.integers(0, 63),
    window=st.integers(0, 65535),
    text=st.binary(max_size=30),
    urgent_pointer=st.integers(0, 3),
    maximum_segment_size=st.none() | st.integers(0, 65535),
    window_scale=st.none() | st.integers(0, 14),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(HOSTILE, st.floats(0, 70), st.booleans()), max_size=40))
def test_no_sequence_of_segments_raises_or_outgrows_its_bounds(story: list[tuple[Segment, float, bool]]) -> None:
    tcp = service()
    now, base = NOW, SequenceNumber(0)
    for segment, seconds, is_acknowledging in story:
        now += seconds
        tcp.tick(now)
        if is_acknowledging:
            segment = replace(segment, acknowledgment_number=base + int(segment.acknowledgment_number))
        for answer in answers(tcp.receive(wire.build(segment, HOST, GATEWAY), HOST, GATEWAY, MTU, now)):
            base = answer.sequence_number if answer.control & SYN else base
        assert tcp.deadline is None or tcp.deadline > now
        for connection in tcp._connections.values():
            assert connection.readable <= ECHO_BUFFER
            assert len(connection.sending.outgoing) <= ECHO_BUFFER
            assert sum(map(len, connection.receiving.reassembly.pieces)) <= ECHO_BUFFER
