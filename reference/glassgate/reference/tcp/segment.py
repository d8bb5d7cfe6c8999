"""What does a TCP segment say?

Below: IPv4 (``ipv4.py``) delivers its payload, whole. Above: ``service.py`` and ``external.py`` parse and build;
``connection.py`` reasons about ``Segment`` values only.

RFC 9293 3.1, 3.2; options: maximum segment size (RFC 9293 3.7.1) and window scale (RFC 7323 2.2).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          source port          |       destination port        |
    +-------------------------------+-------------------------------+
    |                        sequence number                        |
    +---------------------------------------------------------------+
    |                     acknowledgment number                     |
    +-------+-------+-+-+-+-+-+-+-+-+-------------------------------+
    | data  |reser- |C|E|U|A|P|R|S|F|                               |
    | offset| ved   |W|C|R|C|S|S|Y|I|            window             |
    |       |       |R|E|G|K|H|T|N|N|                               |
    +-------+-------+-+-+-+-+-+-+-+-+-------------------------------+
    |           checksum            |        urgent pointer         |
    +-------------------------------+-------------------------------+
    |                 options, padded to 32 bits                    |
    +---------------------------------------------------------------+
    |                             text                              |

Not handled here: timestamps and selective acknowledgements, which are neither offered nor read; the reserved bits, CWR
and ECE, which are ignored.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from glassgate.contract import rules
from glassgate.reference import checksum
from glassgate.reference.notes import Malformed
from glassgate.reference.tcp.sequence import SequenceNumber

PROTOCOL = 6
HEADER_LENGTH = 20
FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
CONTROL_BITS = FIN | SYN | RST | PSH | ACK | URG

END_OF_OPTIONS, NO_OPERATION, MAXIMUM_SEGMENT_SIZE, WINDOW_SCALE = 0, 1, 2, 3
LARGEST_SHIFT = 14
"""A larger shift count in a window scale option means this one (RFC 7323 2.3)."""

_HEADER = struct.Struct("!HHIIBBHHH")
_ZERO = SequenceNumber(0)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; ``control`` holds the six control bits, ``window`` is as sent, not yet scaled."""

    source_port: int
    destination_port: int
    sequence_number: SequenceNumber
    acknowledgment_number: SequenceNumber = _ZERO
    control: int = 0
    window: int = 0
    text: bytes = b""
    urgent_pointer: int = 0
    maximum_segment_size: int | None = None
    window_scale: int | None = None

    @property
    def length(self) -> int:
        """SEG.LEN: the sequence numbers that this segment takes, SYN and FIN counted (RFC 9293 3.3.1)."""
        return len(self.text) + (self.control & SYN != 0) + (self.control & FIN != 0)

    @property
    def text_start(self) -> SequenceNumber:
        """The sequence number of the first octet of the text: a SYN comes before it."""
        return self.sequence_number + (self.control & SYN != 0)

    @property
    def control_names(self) -> str:
        """The control bits in words, such as ``SYN,ACK``."""
        names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
        return ",".join(name for bit, name in enumerate(names) if self.control >> bit & 1)


def parse(octets: bytes, source: IPv4Address, destination: IPv4Address) -> Segment:
    """Read a segment, given the addresses that its checksum covers.

    Raises:
        Malformed: it is truncated, or its checksum is bad.
    """
    if len(octets) < HEADER_LENGTH:
        raise Malformed(rules.L3_TRUNCATED, length=len(octets))
    header = _HEADER.unpack_from(octets)
    source_port, destination_port, sequence, acknowledgment, offset, control, window, found, urgent = header
    header_length = (offset >> 4) * 4
    if not HEADER_LENGTH <= header_length <= len(octets):
        raise Malformed(rules.L3_TRUNCATED, length=len(octets), data_offset=offset >> 4)
    if not checksum.is_good(checksum.pseudo_header(source, destination, PROTOCOL, len(octets)) + octets):
        raise Malformed(rules.L3_CHECKSUM, checksum=found)
    maximum_segment_size, window_scale = parse_options(octets[HEADER_LENGTH:header_length])
    return Segment(
        source_port,
        destination_port,
        SequenceNumber(sequence),
        SequenceNumber(acknowledgment),
        control & CONTROL_BITS,
        window,
        bytes(octets[header_length:]),
        urgent,
        maximum_segment_size,
        window_scale,
    )


def parse_options(options: bytes) -> tuple[int | None, int | None]:
    """Maximum segment size and shift count, None where absent. An illegal length ends the reading (MUST-7)."""
    maximum_segment_size = window_scale = None
    at = 0
    while at < len(options) and options[at] != END_OF_OPTIONS:
        if options[at] == NO_OPERATION:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            break
        if options[at] == MAXIMUM_SEGMENT_SIZE and length == 4:
            maximum_segment_size = int.from_bytes(options[at + 2 : at + 4], "big")
        elif options[at] == WINDOW_SCALE and length == 3:
            window_scale = min(options[at + 2], LARGEST_SHIFT)
        at += length
    return maximum_segment_size, window_scale


def build(segment: Segment, source: IPv4Address, destination: IPv4Address) -> bytes:
    """The segment's octets, with the checksum that these addresses ask for."""
    options = build_options(segment)
    header_length = HEADER_LENGTH + len(options)
    header = _HEADER.pack(
        segment.source_port,
        segment.destination_port,
        segment.sequence_number,
        segment.acknowledgment_number,
        header_length // 4 << 4,
        segment.control,
        segment.window,
        0,
        segment.urgent_pointer,
    )
    octets = header + options + segment.text
    computed = checksum.compute(checksum.pseudo_header(source, destination, PROTOCOL, len(octets)) + octets)
    return octets[:16] + computed.to_bytes(2, "big") + octets[18:]


def build_options(segment: Segment) -> bytes:
    """Maximum segment size, then window scale behind a no-operation that fills its 32 bits."""
    options = b""
    if segment.maximum_segment_size is not None:
        options += bytes((MAXIMUM_SEGMENT_SIZE, 4)) + segment.maximum_segment_size.to_bytes(2, "big")
    if segment.window_scale is not None:
        options += bytes((NO_OPERATION, WINDOW_SCALE, 3, segment.window_scale))
    return options
