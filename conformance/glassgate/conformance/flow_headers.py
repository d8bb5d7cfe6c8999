"""Headers for octets that have none: the tunnel's stream, dressed for a capture file.

Where the operating system has the transport, the gateway sees octets and no segments. Wireshark wants segments. So the
stream is cut into TCP segments with the addresses of the configuration and sequence numbers that fit; a file made
with these says so in the description of its interface.
"""

from __future__ import annotations

from glassgate.conformance import packets
from glassgate.contract import ExternalStack, GatewayConfig

OUR_PORT = 49152
MOST_TEXT = 65_495  # what fits into one IPv4 packet behind two headers of 20 octets


class FlowHeaders:
    """Both directions of one connection."""

    def __init__(self, config: GatewayConfig) -> None:
        self._is_udp = config.tunnel.proto == "udp"
        here = (str(ExternalStack().address.ip), OUR_PORT)
        there = (str(config.tunnel.remote), config.tunnel.port)
        self._ends = {True: (here, there), False: (there, here)}
        self._next = {True: 1, False: 1}
        self._identification = 0

    def wrap(self, octets: bytes, *, outbound: bool) -> list[bytes]:
        """IPv4 packets that carry the octets; one, unless there are more than fit."""
        if self._is_udp:
            return [self._packet(octets, outbound)]
        return [self._packet(octets[start : start + MOST_TEXT], outbound) for start in range(0, len(octets), MOST_TEXT)]

    def _packet(self, octets: bytes, outbound: bool) -> bytes:
        (source, source_port), (destination, destination_port) = self._ends[outbound]
        if self._is_udp:
            payload = packets.udp(source_port, destination_port, octets)
        else:
            payload = packets.tcp(
                source_port,
                destination_port,
                packets.ACK | packets.PSH,
                sequence=self._next[outbound],
                acknowledgment=self._next[not outbound],
                data=octets,
            )
            self._next[outbound] = (self._next[outbound] + len(octets)) % 2**32
        self._identification = (self._identification + 1) % 2**16
        packet = packets.IPv4(
            source=source, destination=destination, identification=self._identification, payload=payload
        )
        return packet.build().data
