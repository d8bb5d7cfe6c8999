"""ICMP: echo is answered; an error tells a sender what became of its packet, if it may be told.

Below: ``ipv4.py``, ``output.py``. Above: ``local.py``, ``forwarding.py``.
Standards: RFC 792; RFC 1122 3.2.2; RFC 1812 4.3; RFC 1191 4.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------+---------------+-------------------------------+
    |      type     |      code     |            checksum           |
    +---------------+---------------+-------------------------------+
    |   echo: identifier, sequence · 3/4: 0, next-hop MTU · 12/0: pointer, 0 · else 0
    +---------------------------------------------------------------+
    |   echo: data · errors: the header received and what follows it, together at most 548 octets

Same contract as the reference's ``icmp.py``. Departures:

1. **A request becomes its reply in place**: addresses, type and checksum change, the data stay where they are. The
   checksum follows by difference (RFC 1624), 0.04 µs where summing 1400 octets again takes 2.8. The corner: where the
   whole reply would be zero, the sum has no word to carry and its checksum is 0xFFFF, not 0. Guard:
   ``test_optimized_icmp.py``, against the sum of all octets, that corner included.
2. **The token bucket is two numbers**, filled when it is asked. Guard: the same file.
"""

from __future__ import annotations

from struct import Struct
from typing import Protocol

from glassgate.contract import Limits, NoteKind, Rule, rules
from glassgate.optimized.addresses import Addresses
from glassgate.optimized.buffers import HEADROOM, Outgoing
from glassgate.optimized.checksum import internet_checksum, is_intact
from glassgate.optimized.ipv4 import (
    AT_DESTINATION,
    AT_FRAGMENT,
    AT_PROTOCOL,
    AT_SOURCE,
    FRAGMENT_OFFSET,
    PROTOCOL_ICMP,
    SMALLEST_HEADER,
    WORD,
    describe,
    header_length,
)
from glassgate.optimized.output import Output, Side

HEADER = Struct(">BBHI")
HEADER_LENGTH = 8
ADDRESS = Struct(">I")
WORD_PAIR = Struct(">HH")

ECHO_REPLY = 0
DESTINATION_UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
ERRORS = frozenset((DESTINATION_UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))

NETWORK_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
TTL_EXCEEDED = 0
REASSEMBLY_TIME_EXCEEDED = 1

LARGEST_ERROR = 576
LARGEST_QUOTE = LARGEST_ERROR - SMALLEST_HEADER - HEADER_LENGTH
PRECEDENCE_INTERNETWORK_CONTROL = 0xC0
_ROUNDING = 1e-9  # a bucket that refills in floating point reaches one token a hair late


class Listener(Protocol):
    """Who sends packets that must not be fragmented (``tcp_service.py``)."""

    def too_big(self, packet: memoryview, message: int, end: int, now: float) -> bool:
        """Take fragmentation needed, the ICMP message at ``message``; whether it was about something in flight."""


class Icmp:
    """The gateway's ICMP: its errors, within their rate, and its echo service."""

    __slots__ = (
        "_addresses",
        "_burst",
        "_filled_at",
        "_has_echo",
        "_outgoing",
        "_output",
        "_rate",
        "_tokens",
        "listener",
    )

    def __init__(
        self, limits: Limits, addresses: Addresses, outgoing: Outgoing, output: Output, has_echo: bool
    ) -> None:
        self._addresses = addresses
        self._outgoing = outgoing
        self._output = output
        self._has_echo = has_echo
        self._burst = float(limits.icmp_burst)
        self._rate = float(limits.icmp_rate)
        self._tokens = self._burst
        self._filled_at = 0.0
        self.listener: Listener | None = None
        """Who may have sent what was too big."""

    # ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────

    def error(
        self,
        side: Side,
        packet: memoryview,
        start: int,
        end: int,
        error_type: int,
        code: int,
        now: float,
        because: Rule,
        *,
        word: int = 0,
        source: int | None = None,
    ) -> Rule | None:
        """Send an error about ``packet[start:end]`` as received, back to where it came from. Or say why not (S20)."""
        refused = self._error_refused(packet, start, end, now)
        if refused is not None:
            return refused
        if source is None:
            # s20-source
            source = self._addresses.internal if side is Side.INSIDE else self._addresses.tunnel
        if source is None:
            return rules.S1_OWN_SOURCE
        work = self._output.work
        message = HEADROOM + SMALLEST_HEADER
        quote = message + HEADER_LENGTH
        stop = quote + min(end - start, LARGEST_QUOTE)
        work.view[quote:stop] = packet[start : start + stop - quote]  # s20-quote
        HEADER.pack_into(work.octets, message, error_type, code, 0, word)
        WORD.pack_into(work.octets, message + 2, internet_checksum(work.view[message:stop]))
        self._output.send(
            side,
            work.view,
            HEADROOM,
            stop,
            protocol=PROTOCOL_ICMP,
            source=source,
            destination=ADDRESS.unpack_from(packet, start + AT_SOURCE)[0],
            now=now,
            because=because,
            type_of_service=PRECEDENCE_INTERNETWORK_CONTROL,  # s20-header
        )
        return None

    def _error_refused(self, packet: memoryview, start: int, end: int, now: float) -> Rule | None:
        """Why no error may be sent about this packet (RFC 1812 4.3.2.7), or not now (4.3.2.8)."""
        # Of groups and of sources that are no one host, S14 to S16 and S29 left only those of the tunnel's network.
        if WORD.unpack_from(packet, start + AT_FRAGMENT)[0] & FRAGMENT_OFFSET:
            return rules.S20_NOT_ABOUT_LATER_FRAGMENT
        if packet[start + AT_PROTOCOL] == PROTOCOL_ICMP:
            message = start + header_length(packet, start)
            if message < end and packet[message] in ERRORS:
                return rules.S20_NOT_ABOUT_ERROR
        if self._addresses.is_tunnel_edge(ADDRESS.unpack_from(packet, start + AT_DESTINATION)[0]):
            return rules.S20_NOT_ABOUT_GROUP
        if self._addresses.is_tunnel_edge(ADDRESS.unpack_from(packet, start + AT_SOURCE)[0]):
            return rules.S20_NOT_TO_SOURCE
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1.0 - _ROUNDING:
            return rules.S20_RATE
        self._tokens -= 1.0
        return None

    # ── receive ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, side: Side, packet: memoryview, start: int, end: int, now: float) -> None:
        """Take an ICMP message to us; an echo request is turned into its reply in place (L1)."""
        # READ
        message = start + header_length(packet, start)
        # REFUSE
        if end - message < HEADER_LENGTH:
            return self._drop(rules.L1_TRUNCATED, packet, start, end)
        if not is_intact(packet[message:end]):
            return self._drop(rules.L1_CHECKSUM, packet, start, end)
        if packet[message] == DESTINATION_UNREACHABLE and packet[message + 1] == FRAGMENTATION_NEEDED:
            return self._too_big(packet, start, end, now)
        if packet[message] != ECHO_REQUEST:
            return self._drop(rules.L4_ICMP_NO_ANSWER, packet, start, end)
        if not self._has_echo:
            return self._drop(rules.L1_DISABLED, packet, start, end)
        # ANSWER
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DELIVERED, rules.L1_ECHO, describe(packet, start, end))
        type_and_code, checksum = WORD_PAIR.unpack_from(packet, message)
        checksum = (checksum + type_and_code) % 0xFFFF
        WORD_PAIR.pack_into(packet, message, ECHO_REPLY << 8, checksum)
        if checksum == 0:  # the sum is 0xFFFF, or there is nothing but zeros to sum
            WORD.pack_into(packet, message + 2, internet_checksum(packet[message:end]))
        source, destination = (ADDRESS.unpack_from(packet, start + at)[0] for at in (AT_SOURCE, AT_DESTINATION))
        return self._output.send(
            side,
            packet,
            message - SMALLEST_HEADER,
            end,
            protocol=PROTOCOL_ICMP,
            source=destination,
            destination=source,
            now=now,
            because=rules.L1_ECHO,
            type_of_service=packet[start + 1],
        )

    def _too_big(self, packet: memoryview, start: int, end: int, now: float) -> None:
        """Of all errors only this one matters, if it is about a segment that our own TCP has in flight (L4)."""
        index = len(self._outgoing.effects)
        if self.listener is None or not self.listener.too_big(packet, start + header_length(packet, start), end, now):
            return self._drop(rules.L4_ICMP_NO_ANSWER, packet, start, end)
        if self._outgoing.noting:
            self._outgoing.note_at(index, NoteKind.DELIVERED, rules.L4_FLOW_ERROR, describe(packet, start, end))
        return None

    def _drop(self, rule: Rule, packet: memoryview, start: int, end: int) -> None:
        if self._outgoing.noting:
            self._outgoing.note(NoteKind.DROPPED, rule, describe(packet, start, end))
