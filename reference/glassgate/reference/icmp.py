"""ICMP: the echo service, and the errors that tell a sender what became of its packet.

Below: ipv4.py. Above: forwarding.py and the local services name the error; the gateway sends it. Standards: RFC 792;
RFC 1812 4.3 (a router's errors); RFC 1122 3.2.2; RFC 1191 4 (the MTU in an error).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |      type     |      code     |            checksum           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  echo: identifier, sequence · 3/4: zero, MTU · 12/0: pointer  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  echo: data · errors: the packet's header and first octets    |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

Not handled here: redirects (the gateway sends none), source quench (RFC 6633), timestamps and the other queries.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from glassgate.contract import Limits, Note, Rule, rules
from glassgate.reference import checksum, ipv4
from glassgate.reference.addresses import LIMITED_BROADCAST, MULTICAST, Attached, martian
from glassgate.reference.ipv4 import Packet
from glassgate.reference.notes import Malformed, dropped

HEADER = struct.Struct("!BBH4s")

ECHO_REPLY = 0
DESTINATION_UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
ERROR_TYPES = frozenset({DESTINATION_UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM})

LONGEST_ERROR = 576  # RFC 1812 4.3.2.3, its own IP header included
INTERNETWORK_CONTROL = 0xC0  # precedence 6: RFC 1812 4.3.2.5
ROUNDING = 1e-6  # of a token: a twentieth of a second is no binary fraction, and must be enough for one


@dataclass(frozen=True, slots=True)
class Message:
    """An ICMP message. ``rest`` is the second word of its header, ``data`` what follows it."""

    type: int
    code: int
    rest: bytes = bytes(4)
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Error:
    """What an error message says, before it is about a packet."""

    type: int
    code: int
    rest: bytes = bytes(4)

    def __str__(self) -> str:
        return f"{self.type}/{self.code}"


NETWORK_UNREACHABLE = Error(DESTINATION_UNREACHABLE, 0)
HOST_UNREACHABLE = Error(DESTINATION_UNREACHABLE, 1)
PROTOCOL_UNREACHABLE = Error(DESTINATION_UNREACHABLE, 2)
PORT_UNREACHABLE = Error(DESTINATION_UNREACHABLE, 3)
TIME_TO_LIVE_EXCEEDED = Error(TIME_EXCEEDED, 0)
REASSEMBLY_TIME_EXCEEDED = Error(TIME_EXCEEDED, 1)


def fragmentation_needed(mtu: int) -> Error:
    """3/4 with the MTU that the packet must fit, its IP header included (RFC 1191 4)."""
    return Error(DESTINATION_UNREACHABLE, 4, struct.pack("!HH", 0, mtu))


def parameter_problem(pointer: int) -> Error:
    """12/0 that points to an octet of the packet's header."""
    return Error(PARAMETER_PROBLEM, 0, struct.pack("!B3x", pointer))


def parse(octets: bytes) -> Message:
    """Read a message.

    Raises:
        Malformed: it is under 8 octets, or does not add up.
    """
    if len(octets) < HEADER.size:
        raise Malformed(rules.L1_TRUNCATED, length=len(octets))
    type_, code, received_checksum, rest = HEADER.unpack_from(octets)
    if not checksum.is_good(octets):
        raise Malformed(rules.L1_CHECKSUM, checksum=received_checksum)
    return Message(type_, code, rest, octets[HEADER.size :])


def build(message: Message) -> bytes:
    """Write a message."""
    without = HEADER.pack(message.type, message.code, 0, message.rest) + message.data
    return HEADER.pack(message.type, message.code, checksum.compute(without), message.rest) + message.data


# ── echo ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def receive(octets: bytes, has_echo_service: bool) -> Message | Note:
    """Take a message for the gateway itself: the reply to it, or why there is none (L1, L4)."""
    # READ
    message = parse(octets)

    # REFUSE
    if message.type != ECHO_REQUEST:
        return dropped(rules.L4_ICMP_NO_ANSWER, type=message.type, code=message.code)
    if not has_echo_service:
        return dropped(rules.L1_DISABLED)

    # LEARN: nothing. Each request is answered for itself.

    # ANSWER
    return replace(message, type=ECHO_REPLY)


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_error(packet: Packet) -> bool:
    """Whether ``packet`` begins an ICMP error message."""
    return packet.protocol == ipv4.PROTOCOL_ICMP and packet.payload != b"" and packet.payload[0] in ERROR_TYPES


def refuse_error(about: Packet, networks: tuple[Attached, ...]) -> Rule | None:
    """The rule by which no error may be sent about a packet, whatever became of it (S20), or None.

    A packet in a broadcast or multicast frame never comes this far (S6).
    """
    if about.fragment_offset > 0:
        return rules.S20_NOT_ABOUT_LATER_FRAGMENT
    if is_error(about):
        return rules.S20_NOT_ABOUT_ERROR
    edge = any(network.is_edge(about.destination) for network in networks)
    if edge or about.destination in MULTICAST or about.destination == LIMITED_BROADCAST:
        return rules.S20_NOT_ABOUT_GROUP
    if martian(about.source) or any(network.is_edge(about.source) for network in networks):
        return rules.S20_NOT_TO_SOURCE
    return None


def error_message(error: Error, about: Packet) -> Message:
    """The message that ``error`` makes about ``about``: its header as received, and as much of it as fits (S20)."""
    room = LONGEST_ERROR - ipv4.SHORTEST_HEADER - HEADER.size
    return Message(error.type, error.code, error.rest, ipv4.build(about)[:room])


class TokenBucket:
    """The limit on errors (RFC 1812 4.3.2.8): ``icmp_burst`` at once, and ``icmp_rate`` a second after that."""

    def __init__(self, limits: Limits) -> None:
        self._burst = limits.icmp_burst
        self._rate = limits.icmp_rate
        self._tokens = float(limits.icmp_burst)
        self._filled_at = 0.0

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1 - ROUNDING:
            return False
        self._tokens -= 1
        return True
