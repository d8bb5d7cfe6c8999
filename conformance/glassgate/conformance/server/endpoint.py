"""The server behind its transport: a stream in which each packet stands behind its length, or datagrams."""

from __future__ import annotations

from dataclasses import replace

from glassgate.conformance.far_end import StreamFraming
from glassgate.conformance.server.session import Ended, Output, Send, Server
from glassgate.conformance.server.settings import Settings
from glassgate.contract import Entropy

OVERHEAD = 168  # what a record may be longer than an inner packet (mtu.c, init.c frame_finalize_options)
SMALLEST_BUFFER = 1600  # an inner packet of so many octets fits, whatever the MTU: so control packets fit too


class Endpoint:
    """Octets of the transport in; outputs whose ``Send`` holds octets of the transport out."""

    def __init__(self, settings: Settings, entropy: Entropy, clock: int = 1) -> None:
        self.settings = settings
        self.server = Server(settings, entropy, clock)
        self._framing = StreamFraming()
        self._longest = longest_record(settings.mtu)

    def connected(self) -> None:
        """A new connection: both streams begin, and no session is known."""
        self.server.disconnected()
        self._framing.clear()

    def receive(self, octets: bytes, now: float) -> list[Output]:
        """Take what came: a piece of the stream, or a datagram. After ``Ended`` the connection is to be closed."""
        if self.settings.proto == "udp":
            return self.server.receive(octets, now) if octets else []
        outputs: list[Output] = []
        for packet in self._framing.push(octets):
            if not 1 <= len(packet) <= self._longest:
                return [*outputs, *self._broken(len(packet))]
            outputs += self._framed(self.server.receive(packet, now))
            if outputs and isinstance(outputs[-1], Ended):
                return outputs
        held = self._framing.held
        if len(held) >= 2 and (length := int.from_bytes(held[:2], "big")) > self._longest:
            return [*outputs, *self._broken(length)]
        return outputs

    def send(self, packet: bytes, now: float) -> list[Output]:
        """Send an inner packet."""
        return self._framed(self.server.send(packet, now))

    def tick(self, now: float) -> list[Output]:
        """Do what is due."""
        return self._framed(self.server.tick(now))

    def renegotiate(self, now: float) -> list[Output]:
        """Ask for new keys."""
        return self._framed(self.server.renegotiate(now))

    def say(self, text: str, now: float) -> list[Output]:
        """Say a control string."""
        return self._framed(self.server.say(text, now))

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        return self.server.deadline

    def _framed(self, outputs: list[Output]) -> list[Output]:
        if self.settings.proto == "udp":
            return outputs
        return [
            replace(output, packet=StreamFraming.framed(output.packet)) if isinstance(output, Send) else output
            for output in outputs
        ]

    def _broken(self, length: int) -> list[Output]:
        self.server.disconnected()
        return [Ended(f"a record of {length} octets: lengths are from 1 to {self._longest}")]


def longest_record(mtu: int) -> int:
    """How many octets a record may have where inner packets may have so many."""
    return max(mtu, SMALLEST_BUFFER) + OVERHEAD
