"""The tunnel's TCP connection of our own: where do its octets come from, and where do they go?

Below: ``tcp_connection.py``. Above: ``external.py``. Standards: as there; REQUIREMENTS S3, S4.

    SealingKey.seal ─▶ flow region: │ sent, not acknowledged │ not sent │ free … │ reserved for control │
    segments        ─▶ StreamBuffer: │ a cut record │ expected next │ gap │ text beyond it …            │ ─▶ downstream

Same contract as the reference's flow over its own stack. Departures:

1. **The flow region is the send buffer.** Records are sealed into it, segments are cut from it, and an acknowledgement
   moves its start: an inner packet is copied once between its encryption and its frame. Guard:
   ``test_optimized_external.py``.
2. **The stream buffer is the receive buffer.** Text is copied from its frame to where records are opened, ahead of its
   turn if need be. Guard: the same file.
"""

from __future__ import annotations

from typing import Protocol

from glassgate.contract import Rule
from glassgate.optimized.buffers import Outgoing
from glassgate.optimized.framing import StreamBuffer
from glassgate.optimized.tcp_connection import Connection

WINDOW = 1 << 20
SHIFT = 5
"""The window is told in units of 32 octets: a mebioctet fits in 16 bits (RFC 7323 2)."""


class Owner(Protocol):
    """What a flow's connection needs of the stack around it (``external.py``)."""

    def emit(
        self, connection: FlowConnection, flags: int, sequence: int, text: memoryview, now: float, because: Rule
    ) -> bool:
        """Write a segment. False if there is no room now."""

    def most_text(self, connection: FlowConnection, now: float) -> int:
        """How much text may be written at once, a multiple of a segment's."""

    def deliver(self, now: float) -> None:
        """Octets of the stream are there, in order."""

    def ended_by_peer(self, connection: FlowConnection, now: float) -> None:
        """The server sends no more."""

    def changed(self, connection: FlowConnection, rule: Rule, now: float) -> None:
        """The connection's state changed."""


class FlowConnection(Connection):
    """One connection to the server. It uses the shared buffers while it is the flow, and a copy of its own after."""

    __slots__ = ("_left", "_outgoing", "_owner", "_stream", "port")

    def __init__(self, owner: Owner, outgoing: Outgoing, stream: StreamBuffer, port: int, segment_size: int) -> None:
        super().__init__(segment_size, SHIFT, WINDOW)
        self._owner = owner
        self._outgoing = outgoing
        self._stream = stream
        self.port = port
        self._left: bytes | None = None

    def detach(self) -> None:
        """The flow is over for the tunnel, but what was sealed still reaches the server, which closed its side only."""
        outgoing = self._outgoing
        self._left = bytes(outgoing.flow[outgoing.flow_start : outgoing.flow_end])

    @property
    def is_flow(self) -> bool:
        """Whether this connection still carries the tunnel."""
        return self._left is None

    def pending(self) -> int:
        """Octets that wait to be acknowledged, sent or not."""
        if self._left is not None:
            return len(self._left)
        return self._outgoing.flow_end - self._outgoing.flow_start

    def release(self, count: int) -> None:
        """The server has the first of them."""
        if self._left is not None:
            self._left = self._left[count:]
        elif count:
            self._outgoing.acknowledge(count)

    def window(self) -> int:
        """Always all of it: the tunnel reads at once."""
        return WINDOW

    def place(self, packet: memoryview, start: int, end: int, ahead: int) -> None:
        """Into the buffer that records are opened from."""
        if self._left is None:
            self._stream.place(packet, start, end, ahead)

    def deliver(self, count: int, now: float) -> None:
        """The tunnel reads before the acknowledgement leaves."""
        if self._left is None:
            self._stream.received(count)
            self._owner.deliver(now)

    def delivered_all(self, now: float) -> None:
        """The server has closed its side."""
        self._owner.ended_by_peer(self, now)

    def most_text(self, now: float) -> int:
        """Many segments at once, where the kernel is to cut them."""
        return self._owner.most_text(self, now)

    def emit(self, flags: int, sequence: int, at: int, length: int, now: float, because: Rule) -> bool:
        """Cut a segment from the send buffer."""
        if self._left is not None:
            text = memoryview(self._left)[at : at + length]
        else:
            start = self._outgoing.flow_start + at
            text = self._outgoing.flow[start : start + length]
        return self._owner.emit(self, flags, sequence, text, now, because)

    def changed(self, rule: Rule, now: float) -> None:
        """Tell the stack."""
        self._owner.changed(self, rule, now)
