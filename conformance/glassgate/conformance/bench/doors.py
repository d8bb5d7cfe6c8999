"""One way to drive a gateway for each of its interfaces.

``contract``: packet by packet, as ``glassgate.contract.Gateway`` has it: every gateway. ``batch``: 64 frames or records
at a time over buffers that are used again, as a driver does it: gateways whose ``Implementation.batches`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

from glassgate.conformance.bench.figures import Work
from glassgate.conformance.bench.traffic import READY, START, introduction
from glassgate.contract import GatewayConfig, Implementation, Port, SeededEntropy, Transmit

BATCH = 64
ALIGNMENT = 16
LARGEST_FRAME = 2048
CONTRACT, BATCHES = "contract", "batch"

Arrival = tuple[Port, bytes, float]
"""A frame or a piece of the stream, where it arrives and when."""
Door = Callable[[Port, bytes, float], None]
"""Takes what arrives; what comes out is taken away and forgotten."""


class OutgoingRegions(Protocol):
    """Where a gateway with batches leaves what is to be sent."""

    flow_end: int
    frames_end: int

    def flow_sent(self, count: int) -> None:
        """That many octets of the stream were sent."""

    def frames_sent(self) -> None:
        """All frames were sent."""


class BatchGateway(Protocol):
    """What is asked of a gateway with batches."""

    @property
    def outgoing(self) -> OutgoingRegions:
        """What is to be sent."""

    def start(self, now: float) -> None:
        """Begin."""

    def tick(self, now: float) -> None:
        """Do all that is due."""

    def receive_frames(self, buffer: memoryview, bounds: Iterable[tuple[int, int]], now: float) -> None:
        """Take frames; they may be written over."""

    def room(self) -> memoryview:
        """Where the stream is received to."""

    def receive_stream(self, count: int, now: float) -> bool:
        """That many octets lie in the room."""


def has_batches(implementation: Implementation) -> bool:
    """Whether the gateway has the second interface."""
    return implementation.batches is not None


def contract_work(
    implementation: Implementation,
    config: GatewayConfig,
    introductions: Sequence[bytes],
    port: Port,
    pieces: Sequence[bytes],
) -> Work:
    """A gateway that is ready, and the work to hand it each piece."""
    gateway = implementation(config, SeededEntropy(b"bench"))
    gateway.start(START)
    gateway.tick(READY)
    for frame in introductions:
        gateway.receive(Port.INTERNAL, frame, READY)
    receive = gateway.receive

    def work() -> int:
        octets = 0
        for piece in pieces:
            for effect in receive(port, piece, READY):
                if isinstance(effect, Transmit):
                    octets += len(effect.data)
        return octets

    return work


def batch_work(
    implementation: Implementation,
    config: GatewayConfig,
    introductions: Sequence[bytes],
    port: Port,
    pieces: Sequence[bytes],
) -> Work:
    """The same in batches of 64."""
    assert implementation.batches is not None
    gateway = cast(BatchGateway, implementation.batches(config, SeededEntropy(b"bench")))
    gateway.start(START)
    gateway.tick(READY)
    for buffer, bounds in _batches(introductions):
        gateway.receive_frames(buffer, bounds, READY)
    gateway.outgoing.frames_sent()
    return _frames_work(gateway, pieces) if port is Port.INTERNAL else _stream_work(gateway, pieces)


def _batches(frames: Sequence[bytes]) -> list[tuple[memoryview, list[tuple[int, int]]]]:
    """Frames side by side in one buffer, as in a ring, with the bounds of each batch."""
    bounds = []
    at = 0
    for frame in frames:
        bounds.append((at, at + len(frame)))
        at += len(frame) + -len(frame) % ALIGNMENT
    buffer = bytearray(at)
    for (start, end), frame in zip(bounds, frames, strict=True):
        buffer[start:end] = frame
    view = memoryview(buffer)
    return [(view, bounds[first : first + BATCH]) for first in range(0, len(bounds), BATCH)]


def _frames_work(gateway: BatchGateway, frames: Sequence[bytes]) -> Work:
    batches = _batches(frames)
    outgoing = gateway.outgoing

    def work() -> int:
        octets = 0
        for buffer, bounds in batches:
            gateway.receive_frames(buffer, bounds, READY)
            octets += outgoing.flow_end + outgoing.frames_end
            outgoing.flow_sent(outgoing.flow_end)
            outgoing.frames_sent()
        return octets

    return work


def _stream_work(gateway: BatchGateway, records: Sequence[bytes]) -> Work:
    streams = [b"".join(records[first : first + BATCH]) for first in range(0, len(records), BATCH)]
    outgoing = gateway.outgoing

    def work() -> int:
        octets = 0
        for stream in streams:
            room = gateway.room()
            room[: len(stream)] = stream  # what recv_into would do
            gateway.receive_stream(len(stream), READY)
            octets += outgoing.flow_end + outgoing.frames_end
            outgoing.flow_sent(outgoing.flow_end)
            outgoing.frames_sent()
        return octets

    return work


# ── one after the other, for ever ─────────────────────────────────────────────────────────────────────────────────────


def one_by_one(implementation: Implementation, config: GatewayConfig, interface: str) -> Door:
    """A gateway that is ready and knows the host inside, behind one of its interfaces."""
    door = _batch_door(implementation, config) if interface == BATCHES else _contract_door(implementation, config)
    door(Port.INTERNAL, introduction(), READY)
    return door


def _contract_door(implementation: Implementation, config: GatewayConfig) -> Door:
    gateway = implementation(config, SeededEntropy(b"bench"))
    gateway.start(START)

    def door(port: Port, piece: bytes, now: float) -> None:
        gateway.receive(port, piece, now)

    return door


def _batch_door(implementation: Implementation, config: GatewayConfig) -> Door:
    assert implementation.batches is not None
    gateway = cast(BatchGateway, implementation.batches(config, SeededEntropy(b"bench")))
    gateway.start(START)
    outgoing = gateway.outgoing
    buffer = memoryview(bytearray(LARGEST_FRAME))

    def door(port: Port, piece: bytes, now: float) -> None:
        length = len(piece)
        if port is Port.INTERNAL:
            buffer[:length] = piece
            gateway.receive_frames(buffer, [(0, length)], now)
        else:
            gateway.room()[:length] = piece
            gateway.receive_stream(length, now)
        outgoing.flow_sent(outgoing.flow_end)
        outgoing.frames_sent()

    return door
