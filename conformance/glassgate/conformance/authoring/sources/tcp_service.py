"""The echo service over TCP: one connection seen from its other end, a segment a step.

The host's initial sequence number is 1000; the gateway's is bound at first sight under the name ``isn``.
"""

from __future__ import annotations

from typing import Any

from glassgate.conformance.authoring.places import FAR, GATEWAY, HOST, NEIGHBOUR
from glassgate.conformance.authoring.story import (
    Category,
    Story,
    far_end_sends,
    fence_local,
    from_gateway,
    host_sends,
    into_tunnel,
    introduces,
    time_passes,
    to_host,
)
from glassgate.conformance.model import Checksum, ExpectedPacket, FlagNote, Result
from glassgate.conformance.packets import (
    ACK,
    ANY,
    FIN,
    PSH,
    RST,
    SYN,
    URG,
    IPv4,
    Octets,
    Payload,
    Value,
    bound,
    maximum_segment_size,
    tcp,
    within,
)
from glassgate.contract import rules

category = Category(
    "tcp-service",
    "The echo service over TCP: opening, text, order, resets and challenges, closing, limits.",
    notes={
        "TCP_ACKS_FIRST": FlagNote(
            bug="none",
            what="what arrived is acknowledged by a segment of its own before the answer leaves",
            effect="one more segment; RFC 9293 3.8.6.3 allows either",
        ),
        "TCP_PROBE_PUSHES": FlagNote(
            bug="none",
            what="the octet that probes a closed window has PSH set",
            effect="none",
        ),
        "TCP_RESENT_BEYOND_WINDOW": FlagNote(
            bug="none",
            what="text under way is sent again whole although the window has closed over it",
            effect="none: it probes the window as well; RFC 9293 3.8.6 allows it (MAY-7)",
        ),
        "TCP_ANSWERS_AGAIN": FlagNote(
            bug="none",
            what="a SYN that comes again in SYN-RECEIVED is answered by SYN and ACK again, not by an acknowledgement",
            effect="none: both tell the peer what is expected",
        ),
        "TCP_RESENT_IN_PART": FlagNote(
            bug="none",
            what="after 3/4 only the first, smaller segment is sent again at once",
            effect="the rest follows with the acknowledgements",
        ),
        "TCP_RESENT_LATER": FlagNote(
            bug="none",
            what="3/4 lowers the segment size; what is in flight waits for its retransmission time",
            effect="a second of delay; RFC 1191 6.4 finds either sufficient",
        ),
        "TCP_PATH_MTU_OF_ALL": FlagNote(
            bug="none",
            what="3/4 about anything lowers the MTU of the path for all; what TCP sends again is cut to it",
            effect="whoever can forge an error about UDP makes segments smaller; RFC 1191 6.2 has it so",
        ),
        "TCP_MORE_PATIENT": FlagNote(
            bug="none",
            what="text that nobody acknowledges is sent again after two minutes, too",
            effect="the connection is kept for longer; RFC 9293 3.8.3 demands 100 seconds at least",
        ),
        "TCP_ENDS_SILENTLY": FlagNote(
            bug="none",
            what="a connection that is given up is forgotten without a reset",
            effect="the peer learns of it when it next sends; RFC 9293 3.10.8 demands no more",
        ),
        "TCP_MORE_CHALLENGES": FlagNote(
            bug="none",
            what="more than ten challenge acknowledgements are sent in five seconds",
            effect="none for the peer; RFC 5961 7 leaves the figures open",
        ),
        "TCP_WINDOW_LARGER": FlagNote(
            bug="none",
            what="the buffers of the connection are so large that the window has nothing to tell",
            effect="none",
        ),
        "TCP_OTHER_CLOCK": FlagNote(
            bug="none",
            what="the clock of the initial sequence numbers has other ticks than 4 microseconds",
            effect="none; RFC 9293 3.4.1 demands a clock, and such ticks in its example",
        ),
    },
)

MSS = maximum_segment_size(1460)


def host_segment(flags: int, sequence: int, acknowledged: int | None = None, data: bytes = b"", **fields: Any) -> IPv4:
    """A segment of the host; ``acknowledged`` counts from the gateway's initial sequence number."""
    acknowledgment: Value = 0 if acknowledged is None else bound("isn", acknowledged)
    given: dict[str, Any] = {"port": 5000, "source": HOST.address} | fields
    port, source = given.pop("port"), given.pop("source")
    segment = tcp(port, 7, flags, sequence=sequence, acknowledgment=acknowledgment, data=data, **given)
    return IPv4(source=source, destination=GATEWAY.address, payload=segment)


def gateway_segment(
    flags: int,
    sent: int,
    acknowledgment: int,
    data: bytes = b"",
    port: int = 5000,
    to: str = HOST.address,
    **fields: Any,
) -> IPv4:
    """A segment of the gateway; ``sent`` counts from its initial sequence number, and its window is its own affair."""
    given: dict[str, Any] = {"sequence": bound("isn", sent), "window": ANY} | fields
    return from_gateway(to, tcp(7, port, flags, acknowledgment=acknowledgment, data=data, **given), dont_fragment=True)


def answers(flags: int, sent: int, acknowledgment: int, data: bytes = b"", **fields: Any) -> ExpectedPacket:
    """The gateway's segment to the host."""
    return to_host(gateway_segment(flags, sent, acknowledgment, data, **fields))


def _reset(sent: int) -> ExpectedPacket:
    """The gateway resets, with a sequence number that its receiver believes (RFC 5961 3.2)."""
    segment = tcp(7, 5000, RST, sequence=bound("isn", sent), window=ANY)
    return to_host(from_gateway(HOST.address, segment, dont_fragment=True))


SYN_ACK = answers(SYN | ACK, 0, 1001, options=MSS)


def opens(options: bytes = MSS) -> list[Story]:
    """The host is known, and its connection is established."""
    return [
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=options)).expect(SYN_ACK),
        host_sends(host_segment(ACK, 1001, 1)).silence(),
    ]


def echoes(step: Story, sent: int, acknowledgment: int, data: bytes) -> Story:
    """The gateway acknowledges and returns the data, in one segment or in two."""
    whole = answers(PSH | ACK, sent, acknowledgment, data)
    return step.expect(whole).or_else("TCP_ACKS_FIRST", answers(ACK, sent, acknowledgment), whole)


def _four_segments() -> list[ExpectedPacket]:
    """Four hundred octets in segments of a hundred; the last has no more behind it, and says so."""
    return [
        answers(ACK, 1, 1401, b"a" * 100),
        answers(ACK, 101, 1401, b"b" * 100),
        answers(ACK, 201, 1401, b"c" * 100),
        answers(PSH | ACK, 301, 1401, b"d" * 100),
    ]


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "tcp-handshake",
    "A SYN to the echo service is answered by SYN and ACK with the MSS of the internal network, 1460",
    rules.L3_PASSIVE_OPEN,
    rules.L3_ESTABLISHED,
    rules.L3_MSS,
    source="RFC 9293 3.10.7.2, 3.7.1; RFC 6691 2",
    requires=["tcp_echo"],
    steps=[*opens(), fence_local()],
)

category.vector(
    "tcp-opened-again",
    "The same connection, opened again a second later, begins 250000 numbers further: a tick is 4 microseconds",
    rules.L3_INITIAL_SEQUENCE,
    rules.L3_PASSIVE_OPEN,
    source="RFC 6528 3; RFC 9293 3.4.1",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).at(4.0).expect(SYN_ACK),
        host_sends(host_segment(RST, 1001)).at(4.5).silence(),
        host_sends(host_segment(SYN, 2000, options=MSS))
        .at(5.0)
        .expect(answers(SYN | ACK, 250_000, 2001, options=MSS))
        .or_else("TCP_OTHER_CLOCK", answers(SYN | ACK, 0, 2001, options=MSS, sequence=ANY)),
        fence_local(),
    ],
)

category.vector(
    "tcp-handshake-without-options",
    "A SYN without MSS is answered with one all the same",
    rules.L3_PASSIVE_OPEN,
    rules.L3_MSS,
    source="RFC 9293 3.7.1",
    requires=["tcp_echo"],
    steps=[*opens(b"")],
)

category.vector(
    "tcp-handshake-unknown-option",
    "An unknown option is passed over by its length, and the MSS behind it is found",
    rules.L3_PASSIVE_OPEN,
    rules.L3_MSS,
    source="RFC 9293 3.1 (MUST-6), 3.7.1",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(b"\x01\xfd\x06glas" + b"\x01" + maximum_segment_size(100)),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"a" * 100 + b"b" * 100))
        .expect(answers(ACK, 1, 1201, b"a" * 100), answers(PSH | ACK, 101, 1201, b"b" * 100))
        .or_else(
            "TCP_ACKS_FIRST",
            answers(ACK, 1, 1201),
            answers(ACK, 1, 1201, b"a" * 100),
            answers(PSH | ACK, 101, 1201, b"b" * 100),
        ),
    ],
)

category.vector(
    "tcp-handshake-mss-behind-end",
    "What follows the end of options is not read: the MSS there does not count, 536 does",
    rules.L3_PASSIVE_OPEN,
    rules.L3_MSS,
    source="RFC 9293 3.1, 3.7.1",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(b"\x00\x00\x00\x00" + maximum_segment_size(100)),
        echoes(host_sends(host_segment(PSH | ACK, 1001, 1, b"c" * 300)), 1, 1301, b"c" * 300),
    ],
)

category.vector(
    "tcp-mss-of-small-network",
    "On an internal network with an MTU of 576 the MSS offered is 536",
    rules.L3_MSS,
    source="RFC 9293 3.7.1; RFC 6691 2",
    requires=["tcp_echo"],
    config={"internal": {"mtu": 576}},
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).expect(
            answers(SYN | ACK, 0, 1001, options=maximum_segment_size(536))
        ),
    ],
)

category.vector(
    "tcp-handshake-through-tunnel",
    "Out of the tunnel the same service; its MSS is that of the tunnel's MTU, 1400 less 40",
    rules.L3_PASSIVE_OPEN,
    rules.L3_MSS,
    rules.S28_FOR_ME,
    source="RFC 9293 3.10.7.2, 3.7.1",
    requires=["tcp_echo"],
    config={"tunnel": {"session": {"mtu": 1400}}},
    steps=[
        far_end_sends(host_segment(SYN, 1000, options=MSS, source=FAR)).expect(
            into_tunnel(gateway_segment(SYN | ACK, 0, 1001, to=FAR, options=maximum_segment_size(1360)))
        ),
        far_end_sends(host_segment(ACK, 1001, 1, source=FAR)).silence(),
    ],
)

category.vector(
    "tcp-syn-at-end-of-sequence-space",
    "A SYN at ffffffff is acknowledged by 0, and the text that begins there is taken",
    rules.L3_PASSIVE_OPEN,
    rules.L3_TEXT,
    source="RFC 9293 3.4",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 0xFFFFFFFF, options=MSS)).expect(answers(SYN | ACK, 0, 0, options=MSS)),
        host_sends(host_segment(ACK, 0, 1)).silence(),
        echoes(host_sends(host_segment(PSH | ACK, 0, 1, b"zero")), 1, 4, b"zero"),
    ],
)

category.vector(
    "tcp-syn-ack-again",
    "A SYN and ACK that is not acknowledged is sent again after one second, then after two more",
    rules.L3_RETRANSMIT,
    source="RFC 6298 2.1, 5",
    requires=["tcp_echo"],
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).at(4.0).expect(SYN_ACK),
        time_passes(4.9).silence(),
        time_passes(5.0).expect(SYN_ACK),
        time_passes(6.9).silence(),
        time_passes(7.0).expect(SYN_ACK),
        host_sends(host_segment(ACK, 1001, 1)).at(7.5).silence(),
        time_passes(30.0).silence(),
    ],
)

category.vector(
    "tcp-syn-again",
    "A SYN that comes again lies before the window: it is answered with what is expected",
    rules.L3_SEQUENCE,
    source="RFC 9293 3.10.7.4 first",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).expect(SYN_ACK),
        host_sends(host_segment(SYN, 1000, options=MSS))
        .expect(answers(ACK, 1, 1001))
        .or_else("TCP_ANSWERS_AGAIN", SYN_ACK),
        host_sends(host_segment(ACK, 1001, 1)).silence(),
    ],
)

category.invalid(
    "tcp-handshake-wrong-acknowledgement",
    "In SYN-RECEIVED an acknowledgement of what was not sent draws a reset at that number; the right one still opens",
    rules.L3_UNACCEPTABLE_ACK,
    source="RFC 9293 3.10.7.4 fifth",
    requires=["tcp_echo"],
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).expect(SYN_ACK),
        host_sends(host_segment(ACK, 1001, 77)).expect(
            to_host(
                from_gateway(HOST.address, tcp(7, 5000, RST, sequence=bound("isn", 77), window=ANY), dont_fragment=True)
            )
        ),
        host_sends(host_segment(ACK, 1001, 1)).silence(),
        fence_local(),
    ],
)

category.invalid(
    "tcp-handshake-reset",
    "A reset in SYN-RECEIVED returns to LISTEN without a word: the acknowledgement that comes late is reset",
    rules.L3_RESET,
    rules.L3_LISTEN_ACK,
    source="RFC 9293 3.10.7.4 second, 3.10.7.2",
    requires=["tcp_echo"],
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).expect(SYN_ACK),
        host_sends(host_segment(RST, 1001)).silence(),
        host_sends(host_segment(ACK, 1001, 1)).expect(_reset(1)),
        fence_local(),
    ],
)

for name, title, segment, rule in (
    ("rst", "A reset to a service without connection is ignored", host_segment(RST, 1000), rules.L3_LISTEN_RESET),
    ("fin", "A FIN without connection is dropped", host_segment(FIN, 1000), rules.L3_LISTEN_NOTHING),
    (
        "no-flags",
        "Text without flags and connection is dropped",
        host_segment(0, 1000, data=b"text"),
        rules.L3_LISTEN_NOTHING,
    ),
    (
        "bad-checksum",
        "A SYN with a wrong checksum opens nothing",
        host_segment(SYN, 1000, given=0x7777),
        rules.L3_CHECKSUM,
    ),
):
    category.invalid(
        f"tcp-listen-{name}",
        title,
        rule,
        source="RFC 9293 3.10.7.2",
        requires=["tcp_echo"],
        steps=[introduces(HOST), host_sends(segment).silence(), fence_local()],
    )

category.invalid(
    "tcp-handshake-syn-in-window",
    "A SYN in the window of a half-open connection returns it to LISTEN: the acknowledgement that comes late is reset",
    rules.L3_RETURN_TO_LISTEN,
    rules.L3_LISTEN_ACK,
    source="RFC 9293 3.10.7.4 fourth",
    requires=["tcp_echo"],
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).expect(SYN_ACK),
        host_sends(host_segment(SYN, 1001, options=MSS)).silence(),
        host_sends(host_segment(ACK, 1001, 1)).expect(_reset(1)),
        fence_local(),
    ],
)

category.invalid(
    "tcp-listen-ack",
    "An acknowledgement to a service without connection is reset at the number acknowledged",
    rules.L3_LISTEN_ACK,
    source="RFC 9293 3.10.7.2 second",
    requires=["tcp_echo"],
    steps=[
        introduces(HOST),
        host_sends(
            IPv4(
                source=HOST.address,
                destination=GATEWAY.address,
                payload=tcp(5000, 7, ACK, sequence=1, acknowledgment=0xCAFE),
            )
        ).expect(
            to_host(from_gateway(HOST.address, tcp(7, 5000, RST, sequence=0xCAFE, window=ANY), dont_fragment=True))
        ),
        fence_local(),
    ],
)

# ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "tcp-echo",
    "Text comes back as it was sent, and is acknowledged",
    rules.L3_ECHO,
    rules.L3_TEXT,
    rules.L3_ACCEPTABLE_ACK,
    source="RFC 862; RFC 9293 3.10.7.4 seventh",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        echoes(host_sends(host_segment(PSH | ACK, 1001, 1, b"hello")), 1, 1006, b"hello"),
        host_sends(host_segment(ACK, 1006, 6)).silence(),
        echoes(host_sends(host_segment(PSH | ACK, 1006, 6, b"again")), 6, 1011, b"again"),
    ],
)

category.vector(
    "tcp-text-beyond-gap",
    "Text beyond a gap is acknowledged with what is expected; when the gap is filled all of it comes back in order",
    rules.L3_OUT_OF_ORDER,
    rules.L3_TEXT,
    source="RFC 9293 3.10.7.4 seventh; RFC 5681 4.2",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        host_sends(host_segment(PSH | ACK, 1006, 1, b"world")).expect(answers(ACK, 1, 1001)),
        echoes(host_sends(host_segment(ACK, 1001, 1, b"hello")), 1, 1011, b"helloworld"),
    ],
)

category.invalid(
    "tcp-text-twice",
    "Text that was taken already is acknowledged and not returned again",
    rules.L3_SEQUENCE,
    source="RFC 9293 3.10.7.4 first",
    requires=["tcp_echo"],
    steps=[
        *opens(),
        host_sends(host_segment(PSH | ACK, 900, 1, b"old text")).expect(answers(ACK, 1, 1001)),
        fence_local(),
    ],
)

category.vector(
    "tcp-text-partly-old",
    "Of text that is partly old only the new part is taken",
    rules.L3_SEQUENCE,
    rules.L3_TEXT,
    source="RFC 9293 3.10.7.4 seventh",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[*opens(), echoes(host_sends(host_segment(PSH | ACK, 999, 1, b"..hello")), 1, 1006, b"hello")],
)

category.invalid(
    "tcp-text-bad-checksum",
    "A segment with a wrong checksum within a connection is dropped silently; its right copy is taken",
    rules.L3_CHECKSUM,
    source="RFC 9293 3.1",
    requires=["tcp_echo"],
    steps=[
        *opens(),
        host_sends(
            IPv4(
                source=HOST.address,
                destination=GATEWAY.address,
                payload=tcp(5000, 7, PSH | ACK, sequence=1001, acknowledgment=5, data=b"bad", given=0x0001),
            )
        ).silence(),
        fence_local(),
    ],
)

category.vector(
    "tcp-peer-mss",
    "A peer that offers an MSS of 100 gets no larger segment",
    rules.L3_MSS,
    rules.L3_ECHO,
    source="RFC 9293 3.7.1",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(maximum_segment_size(100)),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"a" * 100 + b"b" * 100))
        .expect(answers(ACK, 1, 1201, b"a" * 100), answers(PSH | ACK, 101, 1201, b"b" * 100))
        .or_else(
            "TCP_ACKS_FIRST",
            answers(ACK, 1, 1201),
            answers(ACK, 1, 1201, b"a" * 100),
            answers(PSH | ACK, 101, 1201, b"b" * 100),
        ),
    ],
)

category.vector(
    "tcp-default-mss",
    "A peer that offers no MSS gets 536 octets a segment",
    rules.L3_MSS,
    source="RFC 9293 3.7.1",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(b""),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"a" * 536 + b"b" * 536))
        .expect(answers(ACK, 1, 2073, b"a" * 536), answers(PSH | ACK, 537, 2073, b"b" * 536))
        .or_else(
            "TCP_ACKS_FIRST",
            answers(ACK, 1, 2073),
            answers(ACK, 1, 2073, b"a" * 536),
            answers(PSH | ACK, 537, 2073, b"b" * 536),
        ),
    ],
)

category.vector(
    "tcp-text-again",
    "What the host does not acknowledge is sent again after a second, and again after two",
    rules.L3_RETRANSMIT,
    source="RFC 6298 2, 5",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        echoes(host_sends(host_segment(PSH | ACK, 1001, 1, b"hello")).at(10.0), 1, 1006, b"hello"),
        time_passes(10.9).silence(),
        time_passes(11.0).expect(answers(PSH | ACK, 1, 1006, b"hello")),
        time_passes(12.9).silence(),
        time_passes(13.0).expect(answers(PSH | ACK, 1, 1006, b"hello")),
        host_sends(host_segment(ACK, 1006, 6)).at(13.1).silence(),
        time_passes(60.0).silence(),
    ],
)

category.vector(
    "tcp-given-up",
    "Text that nobody acknowledges is sent again after ever longer times; after two minutes the connection is reset",
    rules.L3_GIVE_UP,
    rules.L3_RETRANSMIT,
    source="RFC 9293 3.8.3; RFC 6298 5",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        echoes(host_sends(host_segment(PSH | ACK, 1001, 1, b"hello")).at(10.0), 1, 1006, b"hello"),
        *(
            time_passes(10.0 + waited).expect(answers(PSH | ACK, 1, 1006, b"hello"))
            for waited in (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
        ),
        time_passes(132.9).silence(),
        time_passes(133.0)
        .expect(_reset(6))
        .or_else("TCP_MORE_PATIENT", answers(PSH | ACK, 1, 1006, b"hello"))
        .or_else("TCP_ENDS_SILENTLY"),
        host_sends(host_segment(ACK, 1006, 1)).when("TCP_ENDS_SILENTLY").expect(_reset(1)),
        fence_local(),
    ],
)

category.vector(
    "tcp-probes-given-up",
    "A peer that never answers the probes of its closed window is given up like any other",
    rules.L3_GIVE_UP,
    rules.L3_PROBE,
    source="RFC 9293 3.8.6.1, 3.8.3",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"hello", window=0)).at(10.0).expect(answers(ACK, 1, 1006)),
        *(
            time_passes(10.0 + waited)
            .expect(answers(ACK, 1, 1006, b"h"))
            .or_else("TCP_PROBE_PUSHES", answers(PSH | ACK, 1, 1006, b"h"))
            for waited in (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
        ),
        time_passes(132.9).silence(),
        time_passes(133.0)
        .expect(_reset(1))
        .or_else("TCP_MORE_PATIENT", answers(ACK, 1, 1006, b"h"))
        .or_else("TCP_PROBE_PUSHES", answers(PSH | ACK, 1, 1006, b"h"))
        .or_else("TCP_ENDS_SILENTLY"),
        host_sends(host_segment(ACK, 1006, 1)).when("TCP_ENDS_SILENTLY").expect(_reset(1)),
        fence_local(),
    ],
)

category.vector(
    "tcp-part-acknowledged",
    "Of two segments the first is acknowledged: only the second is sent again, a second after that",
    rules.L3_RETRANSMIT,
    rules.L3_ACCEPTABLE_ACK,
    source="RFC 6298 5.1, 5.3",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(maximum_segment_size(100)),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"a" * 100 + b"b" * 100))
        .at(10.0)
        .expect(answers(ACK, 1, 1201, b"a" * 100), answers(PSH | ACK, 101, 1201, b"b" * 100))
        .or_else(
            "TCP_ACKS_FIRST",
            answers(ACK, 1, 1201),
            answers(ACK, 1, 1201, b"a" * 100),
            answers(PSH | ACK, 101, 1201, b"b" * 100),
        ),
        host_sends(host_segment(ACK, 1201, 101)).at(10.5).silence(),
        time_passes(11.4).silence(),
        time_passes(11.5).expect(answers(PSH | ACK, 101, 1201, b"b" * 100)),
        host_sends(host_segment(ACK, 1201, 201)).at(11.6).silence(),
        time_passes(60.0).silence(),
    ],
)

category.vector(
    "tcp-urgent-text",
    "Urgent text stays in line: it comes back like any other, and the answer is not urgent",
    rules.L3_URGENT,
    rules.L3_ECHO,
    source="RFC 9293 3.10.7.4 sixth, 3.8.5; RFC 6093 3",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        echoes(host_sends(host_segment(URG | PSH | ACK, 1001, 1, b"hello", urgent_pointer=3)), 1, 1006, b"hello"),
    ],
)

category.vector(
    "tcp-three-duplicates",
    "Three acknowledgements of the same have the missing segment sent again at once; two do not",
    rules.L3_FAST_RETRANSMIT,
    source="RFC 5681 3.2",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(maximum_segment_size(100)),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"a" * 100 + b"b" * 100 + b"c" * 100 + b"d" * 100))
        .expect(*(four := _four_segments()))
        .or_else("TCP_ACKS_FIRST", answers(ACK, 1, 1401), *four),
        host_sends(host_segment(ACK, 1401, 1)).silence(),
        host_sends(host_segment(ACK, 1401, 1)).silence(),
        host_sends(host_segment(ACK, 1401, 1)).expect(four[0]),
        host_sends(host_segment(ACK, 1401, 401)).silence(),
    ],
)

category.vector(
    "tcp-window-closed",
    "Into a closed window nothing is sent but a probe of one octet, after a second; when it opens the rest follows",
    rules.L3_PROBE,
    rules.L3_TEXT,
    source="RFC 9293 3.8.6.1",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"hello", window=0)).at(10.0).expect(answers(ACK, 1, 1006)),
        time_passes(10.9).silence(),
        time_passes(11.0)
        .expect(answers(ACK, 1, 1006, b"h"))
        .or_else("TCP_PROBE_PUSHES", answers(PSH | ACK, 1, 1006, b"h")),
        host_sends(host_segment(ACK, 1006, 2, window=1000)).at(11.1).expect(answers(PSH | ACK, 2, 1006, b"ello")),
        host_sends(host_segment(ACK, 1006, 6, window=1000)).at(11.2).silence(),
        time_passes(60.0).silence(),
    ],
)

_FULL = 1460
_SENT = 24
"""So many full segments fill what the service may hold of answers, and more than one waits unread behind them."""

category.vector(
    "tcp-window-opens",
    "A service that cannot answer stops reading; when it reads again, and can tell so with nothing else, it does",
    rules.L3_WINDOW_UPDATE,
    rules.L3_TEXT,
    source="RFC 9293 3.8.6.2.2",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        echoes(
            host_sends(host_segment(PSH | ACK, 1001, 1, bytes(_FULL), window=_FULL)).at(10.0),
            1,
            1001 + _FULL,
            bytes(_FULL),
        ),
        *(
            host_sends(host_segment(ACK, 1001 + _FULL * number, 1, bytes(_FULL), window=_FULL))
            .at(10.0 + number / 100)
            .expect(answers(ACK, 1 + _FULL, 1001 + _FULL * (number + 1)))
            for number in range(1, _SENT)
        ),
        host_sends(host_segment(ACK, 1001 + _FULL * _SENT, 1 + _FULL, window=0))
        .at(10.5)
        .expect(answers(ACK, 1 + _FULL, 1001 + _FULL * _SENT, window=within(_FULL, 0xFFFF)))
        .or_else("TCP_WINDOW_LARGER"),
        fence_local(),
    ],
)

category.vector(
    "tcp-window-of-the-peer",
    "No more is sent than the peer's window holds",
    rules.L3_ACCEPTABLE_ACK,
    rules.L3_ECHO,
    source="RFC 9293 3.8.6, 3.10.7.4 fifth",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(maximum_segment_size(100)),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"a" * 100 + b"b" * 100, window=100))
        .expect(answers(ACK, 1, 1201, b"a" * 100))
        .or_else("TCP_ACKS_FIRST", answers(ACK, 1, 1201), answers(ACK, 1, 1201, b"a" * 100)),
        host_sends(host_segment(ACK, 1201, 101, window=100)).expect(answers(PSH | ACK, 101, 1201, b"b" * 100)),
    ],
)


def _error_about(protocol: int, code: int, mtu: int) -> Story:
    """The host sends destination unreachable about the gateway's text, quoting what it sent as ``protocol``."""
    quoted = IPv4(
        source=GATEWAY.address,
        destination=HOST.address,
        payload=Payload(
            protocol,
            tcp(7, 5000, PSH | ACK, sequence=bound("isn", 1), acknowledgment=2001, data=bytes(1000)).build,
        ),
        dont_fragment=True,
    ).build()
    quote = Octets(quoted.data[:28], tuple(one for one in quoted.free if one.end <= 28))
    message = Octets(bytes([3, code, 0, 0, 0, 0]) + mtu.to_bytes(2, "big")) + quote
    summed = Octets(message.data, (Checksum(2, 4, "icmp"), *message.free))
    return host_sends(IPv4(source=HOST.address, destination=GATEWAY.address, payload=Payload(1, lambda *_: summed)))


_AGAIN = (answers(ACK, 1, 2001, bytes(536)), answers(PSH | ACK, 537, 2001, bytes(464)))

category.vector(
    "tcp-too-big",
    "Fragmentation needed about text of the service has it sent again in segments that fit 576 octets",
    rules.L4_FLOW_ERROR,
    source="RFC 1191 6; RFC 1122 4.2.3.9; RFC 5927 4.1, 7",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        echoes(host_sends(host_segment(PSH | ACK, 1001, 1, bytes(1000))).at(10.0), 1, 2001, bytes(1000)),
        _error_about(6, 4, 576)
        .at(10.1)
        .expect(*_AGAIN)
        .or_else("TCP_RESENT_IN_PART", _AGAIN[0])
        .or_else("TCP_RESENT_LATER"),
    ],
)


def _in_its_time(code: int) -> Story:
    """The text is sent again as it was; but what fragmentation needed says of another protocol may count for all."""
    step = time_passes(11.0).expect(answers(PSH | ACK, 1, 2001, bytes(1000)))
    return step.or_else("TCP_PATH_MTU_OF_ALL", _AGAIN[0]) if code == 4 else step


for name, title, protocol, code in (
    ("about-udp", "Fragmentation needed that quotes UDP with the same ports", 17, 4),
    ("about-icmp", "Fragmentation needed that quotes ICMP with the same octets", 1, 4),
    ("host-unreachable", "Host unreachable about text of the service", 6, 1),
):
    category.vector(
        f"tcp-error-{name}",
        f"{title} has nothing sent at once: the text is sent again in its time",
        rules.L4_ICMP_NO_ANSWER,
        rules.L4_FLOW_ERROR,
        source="RFC 5927 4.1, 5.2; RFC 1122 4.2.3.9; RFC 1191 6.2",
        requires=["tcp_echo"],
        result=Result.ACCEPTABLE,
        rev=2,
        steps=[
            *opens(),
            echoes(host_sends(host_segment(PSH | ACK, 1001, 1, bytes(1000))).at(10.0), 1, 2001, bytes(1000)),
            _error_about(protocol, code, 576).at(10.1).silence(),
            _in_its_time(code),
            fence_local(),
        ],
    )

# ── what is not believed ──────────────────────────────────────────────────────────────────────────────────────────────

for name, title, segment, rule, why in (
    (
        "reset-in-window",
        "A reset in the window, but not at its edge, draws a challenge acknowledgement",
        host_segment(RST, 1002),
        rules.L3_CHALLENGE_RESET,
        "RFC 5961 3.2",
    ),
    (
        "syn-in-window",
        "A SYN in the window draws a challenge acknowledgement",
        host_segment(SYN, 1001),
        rules.L3_CHALLENGE_SYN,
        "RFC 5961 4.2",
    ),
    (
        "beyond-window",
        "Text far beyond any window is acknowledged with what is expected",
        host_segment(PSH | ACK, 1001 + 0x40000000, 1, b"far"),
        rules.L3_SEQUENCE,
        "RFC 9293 3.10.7.4 first",
    ),
    (
        "ack-of-unsent",
        "An acknowledgement of what was never sent is answered with what was",
        host_segment(ACK, 1001, 5000),
        rules.L3_UNACCEPTABLE_ACK,
        "RFC 9293 3.10.7.4 fifth",
    ),
):
    category.invalid(
        f"tcp-{name}",
        f"{title}; the connection stays",
        rule,
        source=why,
        requires=["tcp_echo"],
        steps=[*opens(), host_sends(segment).expect(answers(ACK, 1, 1001)), fence_local()],
    )

category.vector(
    "tcp-challenge-limit",
    "Ten SYNs in five seconds are challenged, the eleventh is not; five seconds after the first there is room again",
    rules.L3_CHALLENGE_LIMIT,
    rules.L3_CHALLENGE_SYN,
    source="RFC 5961 7",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        *(
            host_sends(host_segment(SYN, 1001)).at(10.0 + number / 10).expect(answers(ACK, 1, 1001))
            for number in range(10)
        ),
        host_sends(host_segment(SYN, 1001)).at(14.9).silence().or_else("TCP_MORE_CHALLENGES", answers(ACK, 1, 1001)),
        host_sends(host_segment(SYN, 1001)).at(15.0).expect(answers(ACK, 1, 1001)),
        fence_local(),
    ],
)

for name, title, segment, rule, why in (
    (
        "reset-outside-window",
        "A reset outside the window is dropped without a word",
        host_segment(RST, 900),
        rules.L3_SEQUENCE,
        "RFC 9293 3.10.7.4 first; RFC 5961 3.2",
    ),
    (
        "text-without-ack",
        "Text without acknowledgement is dropped",
        host_segment(PSH, 1001, data=b"text"),
        rules.L3_NO_ACK,
        "RFC 9293 3.10.7.4 fifth",
    ),
):
    category.invalid(
        f"tcp-{name}",
        f"{title}; the connection stays",
        rule,
        source=why,
        requires=["tcp_echo"],
        steps=[
            *opens(),
            host_sends(segment).silence(),
            # text far away shows that the connection is there: without one the answer would be a reset
            host_sends(host_segment(PSH | ACK, 900, 1, b"old")).expect(answers(ACK, 1, 1001)),
            fence_local(),
        ],
    )

category.vector(
    "tcp-reset",
    "A reset at exactly the number that is expected ends the connection without a word",
    rules.L3_RESET,
    rules.L3_LISTEN_ACK,
    source="RFC 9293 3.10.7.4 second; RFC 5961 3.2",
    requires=["tcp_echo"],
    steps=[
        *opens(),
        host_sends(host_segment(RST, 1001)).silence(),
        host_sends(host_segment(PSH | ACK, 1001, 1, b"anyone?")).expect(_reset(1)),
    ],
)

# ── closing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

category.vector(
    "tcp-close",
    "The host closes: its FIN is acknowledged, the service closes too, and then nothing is left of the connection",
    rules.L3_FIN,
    rules.L3_CLOSE,
    source="RFC 9293 3.10.7.4 eighth, 3.10.4, 3.6",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        host_sends(host_segment(FIN | ACK, 1001, 1))
        .expect(answers(FIN | ACK, 1, 1002))
        .or_else("TCP_ACKS_FIRST", answers(ACK, 1, 1002), answers(FIN | ACK, 1, 1002)),
        host_sends(host_segment(ACK, 1002, 2)).silence(),
        host_sends(host_segment(ACK, 1002, 2)).expect(_reset(2)),
    ],
)

category.vector(
    "tcp-close-with-text",
    "Text and FIN in one segment: the text comes back before the service closes",
    rules.L3_FIN,
    rules.L3_ECHO,
    rules.L3_CLOSE,
    source="RFC 9293 3.10.7.4 eighth, 3.10.4",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        host_sends(host_segment(PSH | FIN | ACK, 1001, 1, b"bye"))
        .expect(answers(PSH | FIN | ACK, 1, 1005, b"bye"))
        .or_else("TCP_ACKS_FIRST", answers(ACK, 1, 1005), answers(PSH | FIN | ACK, 1, 1005, b"bye")),
        host_sends(host_segment(ACK, 1005, 5)).silence(),
    ],
)

# ── many ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


category.invalid(
    "tcp-half-open-limit",
    "With room for one half-open connection a second SYN has the first give way",
    rules.L3_HALF_OPEN_LIMIT,
    rules.L3_LISTEN_ACK,
    source="RFC 4987 3",
    requires=["tcp_echo"],
    config={"limits": {"tcp_half_open": 1}},
    steps=[
        introduces(HOST),
        host_sends(host_segment(SYN, 1000, options=MSS)).expect(SYN_ACK),
        host_sends(host_segment(SYN, 2000, options=MSS, port=5001)).expect(
            answers(SYN | ACK, 0, 2001, options=MSS, port=5001, sequence=bound("other", 0))
        ),
        host_sends(host_segment(ACK, 1001, 1)).expect(_reset(1)),
        fence_local(),
    ],
)

category.invalid(
    "tcp-established-outlives-flood",
    "Established connections do not give way to SYNs",
    rules.L3_HALF_OPEN_LIMIT,
    rules.L3_SEQUENCE,
    source="RFC 4987 3",
    requires=["tcp_echo"],
    config={"limits": {"tcp_half_open": 1}},
    steps=[
        *opens(),
        *(
            host_sends(host_segment(SYN, 2000, options=MSS, port=port)).expect(
                answers(SYN | ACK, 0, 2001, options=MSS, port=port, sequence=ANY)
            )
            for port in (6001, 6002, 6003)
        ),
        host_sends(host_segment(PSH | ACK, 900, 1, b"old")).expect(answers(ACK, 1, 1001)),
        fence_local(),
    ],
)

category.invalid(
    "tcp-connection-limit",
    "With room for one connection a SYN for another is dropped while it is established",
    rules.L3_CONNECTION_LIMIT,
    source="RFC 9293 3.10.7.2",
    requires=["tcp_echo"],
    config={"limits": {"tcp_connections": 1}},
    steps=[*opens(), host_sends(host_segment(SYN, 2000, options=MSS, port=5001)).silence(), fence_local()],
)

category.vector(
    "tcp-two-hosts",
    "Two hosts with the same port have a connection each",
    rules.L3_PASSIVE_OPEN,
    rules.L3_SEQUENCE,
    source="RFC 9293 3.3.1",
    requires=["tcp_echo"],
    steps=[
        *opens(),
        introduces(NEIGHBOUR),
        host_sends(host_segment(SYN, 7000, options=MSS, source=NEIGHBOUR.address), NEIGHBOUR).expect(
            to_host(
                gateway_segment(SYN | ACK, 0, 7001, to=NEIGHBOUR.address, options=MSS, sequence=bound("other")),
                NEIGHBOUR,
            )
        ),
        host_sends(host_segment(PSH | ACK, 900, 1, b"old")).expect(answers(ACK, 1, 1001)),
    ],
)


def _probes_again(step: Story) -> Story:
    """One octet, or all that was under way."""
    return (
        step.expect(answers(ACK, 1, 1006, b"h"))
        .or_else("TCP_PROBE_PUSHES", answers(PSH | ACK, 1, 1006, b"h"))
        .or_else("TCP_RESENT_BEYOND_WINDOW", answers(PSH | ACK, 1, 1006, b"hello"))
    )


category.vector(
    "tcp-window-closes-over-text",
    "A window that closes over text under way is probed after a second and after two more, not waited for",
    rules.L3_PROBE,
    rules.L3_ACCEPTABLE_ACK,
    source="RFC 9293 3.8.6 (MUST-34, MUST-35), 3.8.6.1 (SHLD-29, SHLD-30)",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        echoes(host_sends(host_segment(PSH | ACK, 1001, 1, b"hello", window=1000)).at(10.0), 1, 1006, b"hello"),
        host_sends(host_segment(ACK, 1006, 1, window=0)).at(10.0).silence(),
        time_passes(10.9).silence(),
        _probes_again(time_passes(11.0)),
        host_sends(host_segment(ACK, 1006, 1, window=0)).at(11.1).silence(),
        time_passes(12.9).silence(),
        _probes_again(time_passes(13.0)),
        host_sends(host_segment(ACK, 1006, 6, window=1000)).at(13.1).silence(),
        time_passes(60.0).silence(),
    ],
)

category.vector(
    "tcp-window-silly",
    "Into a window of ten octets where there were a thousand nothing is sent at once, and ten octets within a second",
    rules.L3_TEXT,
    source="RFC 9293 3.8.6.2.1 (3), (4)",
    requires=["tcp_echo"],
    steps=[
        *opens(),
        host_sends(host_segment(ACK, 1001, 1, window=1000)).at(10.0).silence(),
        host_sends(host_segment(PSH | ACK, 1001, 1, bytes(500), window=10)).at(10.1).expect(answers(ACK, 1, 1501)),
        time_passes(10.15).silence(),
        time_passes(11.1).expect(answers(ACK, 1, 1501, bytes(10))),
        host_sends(host_segment(ACK, 1501, 11, window=1000)).at(11.2).expect(answers(PSH | ACK, 11, 1501, bytes(490))),
    ],
)

category.vector(
    "tcp-strangers-out-of-window",
    "Ten acknowledgements from outside the window are answered in five seconds, the eleventh is not; text still is",
    rules.L3_CHALLENGE_LIMIT,
    rules.L3_SEQUENCE,
    source="RFC 9293 3.10.7.4 first; RFC 5961 7",
    requires=["tcp_echo"],
    result=Result.ACCEPTABLE,
    steps=[
        *opens(),
        *(
            host_sends(host_segment(ACK, 900, 1)).at(10.0 + number / 10).expect(answers(ACK, 1, 1001))
            for number in range(10)
        ),
        host_sends(host_segment(ACK, 900, 1)).at(14.9).silence().or_else("TCP_MORE_CHALLENGES", answers(ACK, 1, 1001)),
        host_sends(host_segment(PSH | ACK, 900, 1, b"old")).at(14.95).expect(answers(ACK, 1, 1001)),
        fence_local(),
    ],
)
