"""What does one connection make of a segment, of its user's wishes, of the passing of time?

Below: ``receiving.py`` and ``sending.py``, the connection's halves; ``states.py``. Above: ``service.py`` (connections
to the gateway) and ``external.py`` (the tunnel's own connection), which parse, build and address the segments.

RFC 9293 3.10: a segment runs through the numbered checks of 3.10.7.3 or 3.10.7.4, in their order, each a method named
after its number; a check that ends the matter returns False. RFC 5961 refines the second, fourth and fifth.

The calls change the connection and send nothing; ``flush`` then says what came of them: changes of state, segments that
leave, and last the fate of the segment that came. So an answer, an acknowledgement and a window that opened while the
user read all leave in one segment.

Choices where the standards leave room:

* Every segment with text is acknowledged when it comes. The server does not switch off Nagle's algorithm unless asked;
  a delayed acknowledgement would hold back its small records for as long as the delay (RFC 9293 3.8.6.3 is a SHOULD).
* A retransmission is given up after so many that R2 has passed in any case (``DATA_RETRANSMISSIONS``), with a reset.
* Urgent text stays in line.

Not handled here: keep-alive, delayed acknowledgements, security and compartment (the third check), fast open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from glassgate.contract import Note, Rule, rules
from glassgate.reference.notes import changed, delivered, dropped
from glassgate.reference.tcp.receiving import Receiving, shift_for
from glassgate.reference.tcp.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from glassgate.reference.tcp.sending import Piece, Sending, Wait
from glassgate.reference.tcp.sequence import SequenceNumber
from glassgate.reference.tcp.states import RECEIVING, SENDING, TELLS_OF_ABORT, TRANSITIONS, Event, State

HEADERS_LENGTH = 40
"""IPv4 and TCP without options: what a maximum segment size leaves out (RFC 6691 2)."""
DEFAULT_SEGMENT_SIZE = 536
"""The text of a segment for those who did not say (RFC 9293 3.7.1, MUST-15)."""
SMALLEST_SEGMENT_SIZE = 28
"""No announcement makes segments smaller: every link carries 68 octets (RFC 791 3.2)."""
SYN_RETRANSMISSIONS = 7
"""After these the SYN has waited 1+2+4+8+16+32+60+60 = 183 s (RFC 9293 3.8.3: at least 3 minutes)."""
DATA_RETRANSMISSIONS = 6
"""After these, text has waited 1+2+4+8+16+32+60 = 123 s or more (RFC 9293 3.8.3: at least 100 s)."""
MAXIMUM_SEGMENT_LIFETIME = 120.0
"""Seconds, MSL (RFC 9293 3.4.1)."""
CHALLENGES, CHALLENGE_SECONDS = 10, 5.0
"""So many challenge acknowledgements a connection in so many seconds (RFC 5961 7). A limit for all connections
together would let a stranger count those of others (CVE-2016-5696)."""


class Endpoint(NamedTuple):
    """One end of a connection."""

    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a connection is told when it begins."""

    mtu: int
    """Of the interface that its segments leave by, in octets of IPv4 packet."""
    receive_capacity: int
    """Octets that may wait for the user."""
    send_capacity: int
    """Octets that may wait for the other side's acknowledgement."""
    text_because: Rule
    """Why text is sent at all: the rule of the service or the tunnel."""
    is_nagle: bool = True
    """Whether small segments wait for acknowledgements (RFC 9293 3.7.4)."""
    has_notes: bool = True
    """Whether anybody listens to the notes."""


@dataclass(frozen=True, slots=True)
class SendSegment:
    """A segment that leaves, from the connection's local to its remote end."""

    segment: Segment
    because: Rule


Output = SendSegment | Note


class Connection:
    """A connection from its first SYN to its end; what RFC 9293 3.3.1 calls a transmission control block."""

    def __init__(self, local: Endpoint, remote: Endpoint, iss: SequenceNumber, options: Options) -> None:
        size = options.mtu - HEADERS_LENGTH
        self.local = local
        self.remote = remote
        self.name = f"{local.address}:{local.port} {remote.address}:{remote.port}"
        """Both ends, as notes show them."""
        self.state = State.CLOSED
        self.is_passive = False
        self.closed_because: Rule | None = None
        self.receiving = Receiving(options.receive_capacity, size, shift_for(options.receive_capacity))
        self.sending = Sending(iss, options.send_capacity, size, options.is_nagle, options.text_because)
        self._has_notes = options.has_notes
        self._has_close_waiting = False
        self._time_wait_until: float | None = None
        self._challenges: deque[float] = deque(maxlen=CHALLENGES)
        self._acknowledge_because: Rule | None = None
        self._fate: Note | None = None
        self._notes: list[Note] = []
        self._segments: list[SendSegment] = []

    # ── the user's calls (RFC 9293 3.10.1 to 3.10.5) ──────────────────────────────────────────────────────────────────

    def open(self, now: float) -> None:
        """Open actively: send a SYN (3.10.1)."""
        if self._advance(Event.OPEN, rules.S2_OPEN_FLOW):
            self._send_syn(rules.S2_SYN_TO_ROUTER, now)

    def listen(self, syn: Segment, now: float) -> None:
        """Open passively, with the SYN that came to a service (3.10.7.2, third)."""
        self.is_passive = True
        self._advance(Event.LISTEN, rules.L3_PASSIVE_OPEN)
        self._advance(Event.SYN, rules.L3_PASSIVE_OPEN)
        self._learn_syn(syn)
        self._take(rules.L3_PASSIVE_OPEN, syn)
        self._send_syn(rules.L3_PASSIVE_OPEN, now)

    def write(self, text: bytes) -> int:
        """Queue text to be sent (3.10.2); returns how many octets there was room for."""
        taken = text[: self.sending.room] if self.sending.fin is None and not self._has_close_waiting else b""
        self.sending.outgoing += taken
        return len(taken)

    def read(self, limit: int) -> bytes:
        """Take up to ``limit`` octets that have come, in order (3.10.3)."""
        return self.receiving.read(limit)

    @property
    def readable(self) -> int:
        """How many octets wait to be read."""
        return len(self.receiving.incoming)

    @property
    def room(self) -> int:
        """How many octets ``write`` takes now."""
        return self.sending.room

    @property
    def is_remote_closed(self) -> bool:
        """Whether the other side will send no more."""
        return self.state in (State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT, State.CLOSED)

    def close(self) -> None:
        """No more text will be written: a FIN follows what waits (3.10.4). Text still comes in."""
        if not self._advance(Event.CLOSE, rules.L3_CLOSE):
            return
        if self.state is State.SYN_RECEIVED:
            self._has_close_waiting = True
        else:
            self.sending.close()

    def abort(self, because: Rule = rules.L3_ABORT) -> None:
        """Drop everything, and tell the other side by a reset (3.10.5)."""
        is_told = self.state in TELLS_OF_ABORT
        if self._advance(Event.ABORT, because) and is_told:  # l3-abort, whatever it was done for
            self._send_reset(self.sending.sequence_of_acknowledgment, because)

    # ── segments (RFC 9293 3.10.7.3, 3.10.7.4) ────────────────────────────────────────────────────────────────────────

    def receive(self, segment: Segment, now: float) -> None:
        """Take a segment of this connection."""
        checks = SYN_SENT_CHECKS if self.state is State.SYN_SENT else CHECKS
        for check in checks:
            if not check(self, segment, now):
                break

    # In SYN-SENT (3.10.7.3).

    def _syn_sent_first_acknowledgment(self, segment: Segment, now: float) -> bool:
        """First: an acknowledgement must be of our SYN; anything else comes from an older connection."""
        if not segment.control & ACK or segment.acknowledgment_number == self.sending.highest:
            return True
        if not segment.control & RST:
            self._send_reset(segment.acknowledgment_number, rules.L3_SYN_SENT)
        return self._drop(rules.L3_SYN_SENT, segment)

    def _syn_sent_second_reset(self, segment: Segment, now: float) -> bool:
        """Second: a reset counts only with an acknowledgement of our SYN (RFC 5961 3.2)."""
        if not segment.control & RST:
            return True
        if not segment.control & ACK:
            return self._drop(rules.L3_SYN_SENT, segment)
        return self._end(rules.L3_RESET, segment)

    def _syn_sent_fourth_syn(self, segment: Segment, now: float) -> bool:
        """Fourth: a SYN with our acknowledgement opens; one without crosses ours (simultaneous open)."""
        if not segment.control & SYN:
            return True
        if not segment.control & ACK:
            self._advance(Event.SYN, rules.L3_SYN_SENT)
            self._learn_syn(segment)
            self._take(rules.L3_SYN_SENT, segment)
            self._send_syn(rules.L3_SYN_SENT, now)
            return False
        self._learn_syn(segment)
        self._establish(Event.SYN_AND_ACKNOWLEDGMENT, segment, now)
        # Sixth and on: text and FIN that came with the SYN were held, and have their turn.
        self._seventh_text(segment, now)
        self._eighth_fin(segment, now)
        return False

    def _syn_sent_fifth_nothing(self, segment: Segment, now: float) -> bool:
        """Fifth: neither SYN nor RST."""
        return self._drop(rules.L3_SYN_SENT, segment)

    # In all other states (3.10.7.4).

    def _first_sequence_number(self, segment: Segment, now: float) -> bool:
        """First: is some of the segment in the receive window? If not, tell what is expected."""
        if self.receiving.is_acceptable(segment):
            return True
        if segment.control & RST:
            return self._drop(rules.L3_SEQUENCE, segment)
        if segment.control & FIN:
            self._watch_time_wait(now)  # the other side has not seen our last acknowledgement
        if segment.text or segment.control & FIN:
            self._acknowledge_because = rules.L3_SEQUENCE
        else:
            self._challenge(rules.L3_SEQUENCE, now)  # two sides out of step would answer each other for ever
        return self._drop(rules.L3_SEQUENCE, segment)

    def _second_reset(self, segment: Segment, now: float) -> bool:
        """Second: a reset must hit the expected sequence number exactly (RFC 5961 3.2)."""
        if not segment.control & RST:
            return True
        if segment.sequence_number == self.receiving.nxt:
            return self._end(rules.L3_RESET, segment)
        self._challenge(rules.L3_CHALLENGE_RESET, now)
        return self._drop(rules.L3_CHALLENGE_RESET, segment)

    # Third, security and compartment: not implemented (RFC 9293 A.1).

    def _fourth_syn(self, segment: Segment, now: float) -> bool:
        """Fourth: a SYN in the window. Ask whether it is true; who has lost the connection answers with a reset."""
        if not segment.control & SYN:
            return True
        if self.state is State.SYN_RECEIVED and self.is_passive:
            self._advance(Event.SYN, rules.L3_RETURN_TO_LISTEN)
            return self._drop(rules.L3_RETURN_TO_LISTEN, segment)
        self._challenge(rules.L3_CHALLENGE_SYN, now)
        return self._drop(rules.L3_CHALLENGE_SYN, segment)

    def _fifth_acknowledgment(self, segment: Segment, now: float) -> bool:
        """Fifth: what does it acknowledge? Nothing passes without (RFC 5961 5.2: nor with an absurd one)."""
        sending, acknowledgment = self.sending, segment.acknowledgment_number
        if not segment.control & ACK:
            return self._drop(rules.L3_NO_ACK, segment)
        if self.state is State.SYN_RECEIVED:
            if acknowledgment != sending.highest:
                self._send_reset(acknowledgment, rules.L3_UNACCEPTABLE_ACK)
                return self._drop(rules.L3_UNACCEPTABLE_ACK, segment)
            self._establish(Event.SYN_ACKNOWLEDGED, segment, now)
            return True
        if not sending.una + -sending.largest_window <= acknowledgment <= sending.highest:
            self._challenge(rules.L3_UNACCEPTABLE_ACK, now)
            return self._drop(rules.L3_UNACCEPTABLE_ACK, segment)
        self._take(rules.L3_ACCEPTABLE_ACK, segment)
        self._take_acknowledgment(segment, now)
        if sending.is_fin_acknowledged:
            self._fin_acknowledged(now)
        return self.state is not State.CLOSED

    def _take_acknowledgment(self, segment: Segment, now: float) -> None:
        """Move SND.UNA, count duplicates, take the window."""
        sending, acknowledgment = self.sending, segment.acknowledgment_number
        window = segment.window << sending.shift
        if acknowledgment > sending.una:
            sending.acknowledge(acknowledgment, now)
        elif (
            acknowledgment == sending.una < sending.highest
            and segment.length == 0
            and window == sending.wnd > 0  # what answers a probe tells of no loss
        ):
            sending.duplicate()
        if acknowledgment >= sending.una:
            sending.update_window(segment.sequence_number, acknowledgment, window)

    def _fin_acknowledged(self, now: float) -> None:
        """FIN-WAIT-1, CLOSING and LAST-ACK wait for this; in FIN-WAIT-2 and TIME-WAIT it is old news."""
        if self.state in (State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK):
            self._advance(Event.FIN_ACKNOWLEDGED, rules.L3_ACCEPTABLE_ACK)
            self._watch_time_wait(now)

    def _sixth_urgent(self, segment: Segment, now: float) -> bool:
        """Sixth: urgent text stays in line; the pointer only tells the user that it is there."""
        if segment.control & URG and self.state in RECEIVING:
            self._tell(rules.L3_URGENT, urgent_pointer=segment.urgent_pointer)
        return True

    def _seventh_text(self, segment: Segment, now: float) -> bool:
        """Seventh: take the text that is in the window, in order or for later, and acknowledge it."""
        has_sequence = bool(segment.text) or segment.control & FIN != 0
        if has_sequence and self.receiving.wnd == 0:
            self._acknowledge_because = rules.L3_SEQUENCE
            return self._drop(rules.L3_SEQUENCE, segment)
        if self.state not in RECEIVING:
            return True
        octets = self.receiving.take(segment)
        rule = rules.L3_TEXT if octets or not self.receiving.reassembly else rules.L3_OUT_OF_ORDER
        if has_sequence or octets:
            self._acknowledge_because = rule
        if segment.text:
            self._take(rule, segment)
        return True

    def _eighth_fin(self, segment: Segment, now: float) -> bool:
        """Eighth: when all text has come, so has the FIN."""
        if self.state in RECEIVING and self.receiving.is_fin_next:
            self.receiving.take_fin()
            self._take(rules.L3_FIN, segment)
            self._acknowledge_because = rules.L3_FIN
            self._advance(Event.FIN, rules.L3_FIN)
            self._watch_time_wait(now)
        return True

    # ── ICMP errors (RFC 1122 4.2.3.9, RFC 5927) ──────────────────────────────────────────────────────────────────────

    def is_in_flight(self, sequence: SequenceNumber) -> bool:
        """Whether an error that quotes this sequence number can be about a segment of ours (RFC 5927 4.1)."""
        return self.state is not State.CLOSED and self.sending.una <= sequence < self.sending.highest

    def packet_too_big(self, mtu: int) -> None:
        """The path takes packets of ``mtu`` octets: cut smaller (RFC 1191 6.4). Never below what all links carry."""
        self.sending.lower_segment_size(max(mtu - HEADERS_LENGTH, SMALLEST_SEGMENT_SIZE))

    def unreachable(self) -> None:
        """The other side has no TCP or no such port: ends an attempt, and no connection (RFC 5927 5.2)."""
        if self.state is State.SYN_SENT:
            self._advance(Event.UNREACHABLE, rules.L4_FLOW_ERROR)

    def held_back_until(self, now: float) -> None:
        """What was sent last has left only now, for it waited for ARP: its time begins here."""
        self.sending.departed(now)

    # ── time (RFC 9293 3.10.8) ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due."""
        timers = (self.sending.due, self._time_wait_until)
        return min((timer for timer in timers if timer is not None), default=None)

    def tick(self, now: float) -> None:
        """Do what is due by ``now``."""
        if self._time_wait_until is not None and self._time_wait_until <= now:
            self._advance(Event.TIME_OUT, rules.L3_TIME_WAIT)
        if self.sending.due is None or self.sending.due > now:
            return
        match self.sending.wait:
            case Wait.ACKNOWLEDGMENT:
                self._retransmission_time_out(now)
            case Wait.OPEN_WINDOW:
                self._probe_time_out(now)
            case Wait.BETTER_WINDOW:
                self._send_piece(self.sending.override(now))

    def _retransmission_time_out(self, now: float) -> None:
        is_handshake = self.state in (State.SYN_SENT, State.SYN_RECEIVED)
        if self.sending.unanswered >= (SYN_RETRANSMISSIONS if is_handshake else DATA_RETRANSMISSIONS):
            self._give_up()
        elif is_handshake:
            self.sending.syn_timed_out()
            self._send_syn(rules.L3_RETRANSMIT, now)
        else:
            self.sending.time_out()

    def _probe_time_out(self, now: float) -> None:
        if self.sending.unanswered >= DATA_RETRANSMISSIONS:
            self._give_up()
        else:
            self._send_piece(self.sending.probe(now))

    def _give_up(self) -> None:
        """R2 has passed (RFC 9293 3.8.3)."""
        is_told = self.state in TELLS_OF_ABORT
        sequence = self.sending.sequence_of_acknowledgment
        self._advance(Event.GIVE_UP, rules.L3_GIVE_UP)
        if is_told:
            self._send_reset(sequence, rules.L3_GIVE_UP)

    def _watch_time_wait(self, now: float) -> None:
        """In TIME-WAIT, wait two segment lifetimes from now."""
        if self.state is State.TIME_WAIT:
            self._time_wait_until = now + 2 * MAXIMUM_SEGMENT_LIFETIME

    # ── states ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self, event: Event, because: Rule) -> bool:
        """Go where the table says; an event that it does not list changes nothing."""
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            self._tell(rules.L3_UNLISTED, state=self.state.value, event=event.value)
            return False
        if following is not self.state:
            self._tell(because, state=following.value, was=self.state.value, event=event.value)
        self.state = following
        if following is State.CLOSED:
            self.closed_because = because
            self.sending.forget()
            self._time_wait_until = self._acknowledge_because = None
        return True

    def _learn_syn(self, syn: Segment) -> None:
        """Take sequence number, window and options of the other side's SYN; in a SYN the window is not scaled."""
        self.receiving.begin(syn)
        self.receiving.agree_on_shift(syn.window_scale)
        sending = self.sending
        sending.shift = syn.window_scale or 0
        sending.wl1, sending.wl2 = syn.sequence_number, syn.acknowledgment_number
        theirs = DEFAULT_SEGMENT_SIZE if syn.maximum_segment_size is None else syn.maximum_segment_size
        sending.lower_segment_size(max(theirs, SMALLEST_SEGMENT_SIZE))

    def _establish(self, event: Event, segment: Segment, now: float) -> None:
        self._advance(event, rules.L3_ESTABLISHED)
        self.sending.syn_acknowledged(now)
        window = segment.window if segment.control & SYN else segment.window << self.sending.shift
        # RFC 9293 3.10.7.4 fifth: what completes the handshake sets the window, however old its text.
        self.sending.wl1, self.sending.wl2 = segment.sequence_number, segment.acknowledgment_number
        self.sending.update_window(segment.sequence_number, segment.acknowledgment_number, window)
        self._take(rules.L3_ESTABLISHED, segment)
        if segment.control & SYN:
            self._acknowledge_because = rules.L3_ESTABLISHED
        if self._has_close_waiting:
            self.close()

    def _end(self, rule: Rule, segment: Segment) -> bool:
        self._take(rule, segment)
        self._advance(Event.RESET, rule)
        return False

    # ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, rule: Rule, segment: Segment) -> None:
        """This is what becomes of the segment, unless a later check knows better."""
        if self._has_notes:
            self._fate = delivered(rule, **self._detail(segment))

    def _drop(self, rule: Rule, segment: Segment) -> bool:
        """The segment goes no further; False, for a check to return."""
        if self._has_notes:
            self._fate = dropped(rule, **self._detail(segment))
        return False

    def _tell(self, rule: Rule, **detail: int | str) -> None:
        if self._has_notes:
            self._notes.append(changed(rule, connection=self.name, **detail))

    def _detail(self, segment: Segment) -> dict[str, int | str]:
        return {
            "connection": self.name,
            "state": self.state.value,
            "control": segment.control_names,
            "sequence_number": int(segment.sequence_number),
            "acknowledgment_number": int(segment.acknowledgment_number),
            "window": segment.window,
            "length": len(segment.text),
            "expected": int(self.receiving.nxt),
        }

    def _challenge(self, because: Rule, now: float) -> None:
        """Tell what is expected, unless that was told too often of late (RFC 5961 7)."""
        if len(self._challenges) == CHALLENGES and now - self._challenges[0] < CHALLENGE_SECONDS:
            self._tell(rules.L3_CHALLENGE_LIMIT)
            return
        self._challenges.append(now)
        self._acknowledge_because = because

    def _send_syn(self, because: Rule, now: float) -> None:
        """A SYN, with ACK where the other side's SYN has come (SYN-RECEIVED)."""
        is_answer = self.state is State.SYN_RECEIVED
        segment = Segment(
            self.local.port,
            self.remote.port,
            sequence_number=self.sending.iss,
            acknowledgment_number=self.receiving.nxt if is_answer else SequenceNumber(0),
            control=SYN | ACK if is_answer else SYN,
            window=self.receiving.window_of_syn,
            maximum_segment_size=self.receiving.segment_size,
            window_scale=self.receiving.shift if self.receiving.is_scaling else None,
        )
        if self.sending.highest == self.sending.iss:
            self._tell(rules.L3_INITIAL_SEQUENCE, initial_sequence_number=int(self.sending.iss))
            self._tell(rules.L3_MSS, maximum_segment_size=self.receiving.segment_size)
        self.sending.syn_sent(now)
        self._segments.append(SendSegment(segment, because))

    def _send_piece(self, piece: Piece) -> None:
        """Text, FIN or both; whatever is to be acknowledged is acknowledged with it."""
        control = ACK | (PSH if piece.text and piece.is_last else 0) | (FIN if piece.has_fin else 0)
        self._send(piece.sequence_number, control, piece.because, piece.text)

    def _send(self, sequence: SequenceNumber, control: int, because: Rule, text: bytes = b"") -> None:
        """A segment of a synchronized connection."""
        ports = self.local.port, self.remote.port
        segment = Segment(*ports, sequence, self.receiving.nxt, control, self.receiving.announce(), text)
        self._acknowledge_because = None
        self._segments.append(SendSegment(segment, because))

    def _send_reset(self, sequence: SequenceNumber, because: Rule) -> None:
        """<SEQ=…><CTL=RST>."""
        segment = Segment(self.local.port, self.remote.port, sequence, control=RST)
        self._segments.append(SendSegment(segment, because))

    def flush(self, now: float) -> list[Output]:
        """What has happened since the last time, and what leaves now."""
        if self.state in SENDING:
            for piece in self.sending.pieces(now):
                self._send_piece(piece)
        if self._acknowledge_because is not None:
            self._send(self.sending.sequence_of_acknowledgment, ACK, self._acknowledge_because)
        elif self.state in RECEIVING and self.receiving.is_update_due:
            self._send(self.sending.sequence_of_acknowledgment, ACK, rules.L3_WINDOW_UPDATE)
        outputs: list[Output] = [*self._notes, *self._segments]
        if self._fate is not None:
            outputs.append(self._fate)
        self._fate, self._notes, self._segments = None, [], []
        return outputs


Check = Callable[[Connection, Segment, float], bool]

SYN_SENT_CHECKS: tuple[Check, ...] = (
    Connection._syn_sent_first_acknowledgment,
    Connection._syn_sent_second_reset,
    Connection._syn_sent_fourth_syn,
    Connection._syn_sent_fifth_nothing,
)
"""RFC 9293 3.10.7.3."""

CHECKS: tuple[Check, ...] = (
    Connection._first_sequence_number,
    Connection._second_reset,
    Connection._fourth_syn,
    Connection._fifth_acknowledgment,
    Connection._sixth_urgent,
    Connection._seventh_text,
    Connection._eighth_fin,
)
"""RFC 9293 3.10.7.4."""
