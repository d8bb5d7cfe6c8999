"""Ethernet: is this frame for us, and what does it carry?

Below: the wire (a port). Above: ARP and IPv4. Standards: RFC 894; RFC 1122 2.3.3; IEEE 802.3 3.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                      destination (6 octets)                   |
    +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                               |                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
    |                        source (6 octets)                      |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |              type             |  payload, perhaps padding …   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The frame check sequence is the hardware's. Not handled here: padding (whoever reads the payload knows its length,
and short frames leave without it), 802.3 encapsulation, tags.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from glassgate.contract import MacAddress, Note, rules
from glassgate.reference.notes import Malformed, dropped

HEADER_LENGTH = 14
TYPE_IPV4 = 0x0800
TYPE_ARP = 0x0806
TYPE_VLAN = 0x8100  # IEEE 802.1Q: the tag protocol identifier stands where the type would
SMALLEST_TYPE = 0x0600  # below it the field is an 802.3 length


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame without its check sequence."""

    destination: MacAddress
    source: MacAddress
    type: int
    payload: bytes


def parse(octets: bytes) -> Frame:
    """Read a frame.

    Raises:
        Malformed: it is shorter than its header.
    """
    if len(octets) < HEADER_LENGTH:
        raise Malformed(rules.S5_RUNT, length=len(octets))
    destination, source, type_ = struct.unpack_from("!6s6sH", octets)
    return Frame(MacAddress(destination), MacAddress(source), type_, octets[HEADER_LENGTH:])


def build(frame: Frame) -> bytes:
    """Write a frame, without padding: the driver or the hardware pads to the medium's least length."""
    return struct.pack("!6s6sH", frame.destination, frame.source, frame.type) + frame.payload


def receive(octets: bytes, own: MacAddress) -> Frame | Note:
    """Take a frame that arrived where our address is ``own``: the frame whose payload is to be read, or its refusal."""
    # READ
    frame = parse(octets)

    # REFUSE
    if frame.source.is_group:
        return dropped(rules.S5_SOURCE_GROUP, source=frame.source)
    if frame.source == own:
        return dropped(rules.S5_SOURCE_OWN, source=frame.source)
    if frame.destination != own and not frame.destination.is_group:
        return dropped(rules.S5_OTHER_STATION, destination=frame.destination)
    if frame.type < SMALLEST_TYPE:
        return dropped(rules.S5_LENGTH_FIELD, type=frame.type)
    if frame.type == TYPE_VLAN:
        return dropped(rules.S5_VLAN, type=frame.type)
    if frame.type not in (TYPE_ARP, TYPE_IPV4):
        return dropped(rules.S5_UNKNOWN_TYPE, type=frame.type)
    if frame.type == TYPE_IPV4 and frame.destination.is_group:
        return dropped(rules.S6_IP_IN_GROUP_FRAME, destination=frame.destination)

    # LEARN: nothing. Who is where is ARP's to say, never an IPv4 packet's.

    # ANSWER
    return frame
