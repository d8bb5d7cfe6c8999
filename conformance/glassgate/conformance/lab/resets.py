"""Forged TCP resets: what a middlebox, or an enemy on the way, does to the tunnel's connection.

The router sees each segment that the gateway sends, and so knows the numbers that a reset must have to be believed
(RFC 9293 3.10.7.4: exactly the next one expected; another only brings a challenge).
"""

from __future__ import annotations

import selectors
import struct
import time
from dataclasses import dataclass

from glassgate.conformance import packets
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.namespaces import PacketSocket
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.topology import (
    EXTERNAL_ADDRESS,
    EXTERNAL_MAC,
    ROUTER,
    ROUTER_INSIDE_MAC,
    ROUTER_OUTSIDE_MAC,
    SERVER_ADDRESS,
    SERVER_MAC,
)
from glassgate.conformance.lab.tunnel import PORT

SEQUENCE_NUMBERS = 2**32
FORGED = 20
"""How many segments are followed by a reset each way: data are on their way, and not every guess is right."""
WATCHED_SECONDS = 5.0
_ETHERNET_OCTETS = 14
_TTL = 63


@dataclass(frozen=True, slots=True)
class Seen:
    """What a segment from the gateway to the server tells."""

    port: int
    next_from_gateway: int
    next_from_server: int


def forge_resets(lab: Lab) -> None:
    """Follow the gateway's next segments with resets in both directions, each in the other end's name.

    Raises:
        LabError: nothing of the tunnel's connection came by.
    """
    namespace = lab.state.namespace(ROUTER)
    inside, outside = PacketSocket(namespace, "inside"), PacketSocket(namespace, "outside")
    forged = 0
    try:
        with selectors.DefaultSelector() as waiting:
            waiting.register(inside.socket, selectors.EVENT_READ)
            ends = time.monotonic() + WATCHED_SECONDS
            while forged < FORGED and waiting.select(max(0.0, ends - time.monotonic())):
                seen = read(inside.receive() or b"")
                if seen is not None:
                    inside.send(reset_to_gateway(seen))
                    outside.send(reset_to_server(seen))
                    forged += 1
    finally:
        inside.close()
        outside.close()
    if not forged:
        raise LabError(f"no segment of the tunnel passed the router within {WATCHED_SECONDS:g} s")


def read(frame: bytes) -> Seen | None:
    """The numbers of a segment from the gateway to the server; None if the frame holds something else."""
    packet = frame[_ETHERNET_OCTETS:]
    if frame[12:14] != b"\x08\x00" or len(packet) < 40 or packet[9] != packets.TCP:
        return None
    if packet[12:20] != packets.address(EXTERNAL_ADDRESS) + packets.address(SERVER_ADDRESS):
        return None
    header = 4 * (packet[0] & 0xF)
    segment = packet[header : int.from_bytes(packet[2:4], "big")]
    if len(segment) < 20:
        return None
    source, destination, sequence, acknowledgment, offset, flags = struct.unpack_from("!HHIIBB", segment)
    if destination != PORT or not flags & packets.ACK or flags & (packets.SYN | packets.FIN | packets.RST):
        return None
    text = len(segment) - 4 * (offset >> 4)
    return Seen(source, (sequence + text) % SEQUENCE_NUMBERS, acknowledgment)


def reset_to_gateway(seen: Seen) -> bytes:
    """The frame of a reset in the server's name."""
    segment = packets.tcp(PORT, seen.port, packets.RST, sequence=seen.next_from_server, window=0)
    packet = packets.IPv4(
        source=SERVER_ADDRESS, destination=EXTERNAL_ADDRESS, payload=segment, identification=0, time_to_live=_TTL
    )
    return _frame(ROUTER_INSIDE_MAC, EXTERNAL_MAC, packet)


def reset_to_server(seen: Seen) -> bytes:
    """The frame of a reset in the gateway's name."""
    segment = packets.tcp(seen.port, PORT, packets.RST, sequence=seen.next_from_gateway, window=0)
    packet = packets.IPv4(
        source=EXTERNAL_ADDRESS, destination=SERVER_ADDRESS, payload=segment, identification=0, time_to_live=_TTL
    )
    return _frame(ROUTER_OUTSIDE_MAC, SERVER_MAC, packet)


def _frame(source: str, destination: str, packet: packets.IPv4) -> bytes:
    frame = packets.Ethernet(source=source, destination=destination, type=packets.TYPE_IPV4, payload=packet.build())
    return frame.build().data
