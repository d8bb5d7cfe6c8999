"""Any octets of any port, decoded into named fields: for people who look, and for reports that compare.

``frame(port, data)`` tells what stands in one frame, packet or piece of the stream. A ``Dissector`` does the same and
remembers: where the records begin in each TCP stream, the session's keys, what the addresses are called.
It shares no code with any gateway, and it never raises on account of what the octets hold.

tree.py      Field, Layer and the cursor that reads them
internet.py  Ethernet, ARP, IPv4 with options, ICMP with the packet that it quotes, UDP, TCP
openvpn.py   the records in the stream, control packets, data packets and, with the keys, what they carry
"""

from __future__ import annotations

from collections.abc import Mapping

from glassgate.conformance.dissect import internet, openvpn
from glassgate.conformance.dissect.tree import Field, Layer, abridged, counted
from glassgate.contract import GatewayConfig, Port, Session

__all__ = ["Dissector", "Field", "Layer", "abridged", "counted", "frame"]


class Dissector:
    """Decodes what passes the ports of one gateway, in order of time.

    ``names`` tells what an address, written as usual, is called: ``{"10.38.2.5": "the host"}``.
    ``wrapping`` is how control packets are wrapped (``plain``, ``tls-auth``, ``tls-crypt``); None if unknown.
    """

    def __init__(
        self,
        *,
        session: Session | None = None,
        names: Mapping[str, str] | None = None,
        server_port: int = 1194,
        wrapping: str | None = None,
        over_udp: bool = False,
    ) -> None:
        self._tunnel = openvpn.Tunnel(session, wrapping, over_udp)
        self._context = internet.Context(dict(names or {}), server_port, self._tunnel)
        self._tunnel.inner = self._context.plain()

    @classmethod
    def for_config(cls, config: GatewayConfig, names: Mapping[str, str] | None = None) -> Dissector:
        """A dissector that knows what the gateway's configuration tells."""
        known = {
            str(config.internal.mac): "the gateway, inside",
            str(config.internal.address.ip): "the gateway, inside",
            str(config.tunnel.remote): "the tunnel's server",
        }
        if config.external.kind == "stack":
            known |= {
                str(config.external.mac): "the gateway, outside",
                str(config.external.address.ip): "the gateway, outside",
                str(config.external.gateway): "the router",
            }
        if config.tunnel.session is not None:
            known[str(config.tunnel.session.address.ip)] = "the gateway, in the tunnel"
        return cls(
            session=config.tunnel.session,
            names=known | dict(names or {}),
            server_port=config.tunnel.port,
            wrapping=openvpn.wrapping_of(config.tunnel.ovpn),
            over_udp=config.tunnel.proto == "udp",
        )

    def learn(self, session: Session) -> None:
        """Open data packets with the keys of this session too: a handshake made them."""
        self._tunnel.learn(session)

    def frame(self, port: Port | str, data: bytes | bytearray | memoryview, *, outbound: bool = False) -> Layer:
        """Decode one frame, or one piece of the stream (port ``flow``), or an inner packet (port ``tunnel``).

        ``outbound`` says that the gateway sent it; it matters at ``flow`` only, where the two directions are
        two streams.
        """
        octets = bytes(data)
        if port == Port.FLOW:
            layers = self._tunnel.piece(octets, "out" if outbound else "in")
        elif port == "tunnel":
            layers = internet.packet(self._context.plain(), octets, 0, len(octets))
        else:
            layers = internet.ethernet(self._context, octets)
        return Layer(str(port), octets, 0, len(octets), tuple(layers), internet.told(layers))


def frame(port: Port | str, data: bytes | bytearray | memoryview) -> Layer:
    """Decode one frame, piece of the stream or inner packet by itself, with no keys and no memory of others.

    >>> layer = frame("internal", bytes.fromhex("ffffffffffff 02000a260205 0806 0001080006040001"
    ...                                         "02000a260205 0a260205 000000000000 0a260201"))
    >>> [part.name for part in layer.layers], layer.summary
    (['Ethernet', 'ARP'], 'who has 10.38.2.1? tell 10.38.2.5')
    """
    return Dissector().frame(port, data)
