"""Memory that is allocated once. The question: where do the octets lie that leave next?

A packet is a buffer, a start and an end. Who is called may write in place, and keeps nothing after returning.

    region   octets that leave, one packet after the other:   start ──sent later──▶ end ──free──▶ capacity

There are two outgoing regions: ``flow`` (tunnel records, back to back, so that one write sends them all) and ``frames``
(Ethernet frames for the internal network, with their bounds). The reference returns new octet strings instead.
With a stack of our own outside, ``flow`` is the connection's send buffer, and ``OutsideFrames`` a third region.

Departures:

1. **Nothing is allocated for a packet.** Both regions are made at the start, and emptied when the driver has sent them.
   No copy on the ordinary packet's way but the cipher's own. 0.06 µs for each copy of 1400 octets that is not made.
   Guard: ``test_optimized_gateway.py`` (tracemalloc over many packets).
2. **The contract's effects are made from the regions only where somebody wants them** (``recording``): one test of a
   boolean for each packet, about 0.02 µs. Guard: every test and vector of the suite runs through it.
3. **Pressure is answered before a packet id is taken**: a full region refuses, it never grows (S3). Guard:
   ``test_optimized_gateway.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from glassgate.contract import CloseFlow, Effect, Note, NoteKind, OpenFlow, Port, Rule, Transmit

Buffer = bytes | bytearray | memoryview

REGION = 2 * 1024 * 1024
"""Capacity of an outgoing region, in octets."""
ROOM_FOR_ONE = 2 * 0x10000
"""Capacity where each packet becomes an effect at once: one of any size with its headers and tag. A gateway is then
made in a tenth of the time, and a suite makes two for each vector."""
COMFORT = REGION // 2
"""Up to this fill a batch goes on. What lies beyond holds the largest thing that one packet can set free:
65535 octets cut for an MTU of 68 with 60-octet headers, 8190 pieces of 94 octets, are 770 kB."""
LARGEST_PACKET = 65535
VIRTIO_LENGTH = 10
NOTHING_LEFT = bytes(VIRTIO_LENGTH)
"""The virtio header of a frame that leaves as it is."""
SEND_BUFFER = 256 * 1024
"""What our own TCP outside holds until it is acknowledged, in octets."""
RESERVED_FOR_CONTROL = 16 * 1024
"""The part of it that data packets leave to the control channel (S3)."""
HEADROOM = 64
"""Octets in front of a packet in a work buffer: room for an Ethernet header, and alignment to spare."""


class WorkBuffer:
    """Room for one packet of any size, with headroom, made once and used over and over."""

    __slots__ = ("octets", "view")

    def __init__(self, capacity: int = HEADROOM + LARGEST_PACKET + 16) -> None:
        self.octets = bytearray(capacity)
        self.view = memoryview(self.octets)


class Transport(Protocol):
    """What carries the flow if the operating system does not (``external.py``)."""

    def open(self, because: Rule, now: float) -> None:
        """Connect."""

    def abort(self, because: Rule, now: float) -> None:
        """Give the connection up: reset it."""

    def output(self, now: float) -> None:
        """Send what there is to send."""


class Sink(Protocol):
    """Where frames and notes go: ``Outgoing`` inside, ``OutsideFrames`` outside."""

    @property
    def noting(self) -> bool:
        """Whether somebody listens to notes."""

    def send_frame(self, header: Buffer, buffer: memoryview, start: int, end: int, because: Rule) -> None:
        """Append a frame: a 14-octet header, and the payload ``buffer[start:end]``."""

    def note(self, kind: NoteKind, rule: Rule, detail: Mapping[str, object]) -> None:
        """Say what was decided."""


class Outgoing:
    """The two outgoing regions, and the effects that are no octets: wishes about the flow, and notes."""

    __slots__ = (
        "capacity",
        "control_limit",
        "effects",
        "flow",
        "flow_end",
        "flow_limit",
        "flow_octets",
        "flow_start",
        "frame_bounds",
        "frames",
        "frames_end",
        "frames_octets",
        "noting",
        "record_bounds",
        "recording",
        "refused_frames",
        "telling",
        "transport",
    )

    def __init__(self, *, recording: bool, noting: bool, holds_flow: bool = False) -> None:
        self.recording = recording
        """Whether transmissions become effects at once (the contract), or stay in the regions (the driver)."""
        self.noting = noting
        """Whether somebody listens to notes. Without, no note is built."""
        self.telling = noting
        """Whether the tunnel's rare changes of state are told: a driver's log wants them, and no others."""
        self.capacity = ROOM_FOR_ONE if recording else REGION
        """Of each region, in octets."""
        self.transport: Transport | None = None
        """Our own transport; None if wishes about the flow go to the operating system."""
        flow_capacity = max(self.capacity, 2 * SEND_BUFFER) if holds_flow else self.capacity
        self.flow_limit = flow_capacity
        """Up to this fill records are sealed. A driver that wants short queues sets it lower."""
        self.control_limit = flow_capacity
        """Up to this fill control packets are taken."""
        self.flow_octets = bytearray(flow_capacity)
        self.flow = memoryview(self.flow_octets)
        self.flow_start = 0
        """Where what is not acknowledged yet begins, with a transport of our own."""
        self.flow_end = 0
        self.record_bounds: list[tuple[int, int]] = []
        """Start and end of each record, kept only where the transport has datagrams."""
        self.frames_octets = bytearray(self.capacity)
        self.frames = memoryview(self.frames_octets)
        self.frames_end = 0
        self.frame_bounds: list[tuple[int, int]] = []
        """Start and end of each frame in ``frames``."""
        self.effects: list[Effect] = []
        self.refused_frames = 0
        """Frames for which there was no room: the driver did not send fast enough."""

    # ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────

    def send_frame(self, header: Buffer, buffer: memoryview, start: int, end: int, because: Rule) -> None:
        """Append a frame: a 14-octet header, and the payload ``buffer[start:end]``."""
        at = self.frames_end
        payload = at + len(header)
        stop = payload + end - start
        if stop > self.capacity:
            self.refused_frames += 1
            return
        self.frames[at:payload] = header
        self.frames[payload:stop] = buffer[start:end]
        self.commit_frame(stop, because)

    def commit_frame(self, stop: int, because: Rule) -> None:
        """Take the frame that was written at ``frames_end`` up to ``stop``."""
        at = self.frames_end
        if self.recording:
            self.effects.append(Transmit(Port.INTERNAL, bytes(self.frames[at:stop]), because))
        else:
            self.frame_bounds.append((at, stop))
            self.frames_end = stop

    def frames_sent(self) -> None:
        """The driver has sent (or given up) all frames."""
        self.frame_bounds.clear()
        self.frames_end = 0

    # ── records ───────────────────────────────────────────────────────────────────────────────────────────────────

    def record_record(self, start: int, because: Rule) -> None:
        """Make an effect of the record at ``start`` up to ``flow_end``, and free its room (``recording`` only)."""
        if self.transport is not None:
            return
        self.effects.append(Transmit(Port.FLOW, bytes(self.flow[start : self.flow_end]), because))
        self.flow_end = start
        self.record_bounds.clear()

    def append_record(self, packet: bytes, is_stream: bool, because: Rule) -> None:
        """Append a control packet, whole, as one record. A full region loses it: the reliability layer repeats it."""
        at = self.flow_end
        record = len(packet).to_bytes(2, "big") + packet if is_stream else packet
        stop = at + len(record)
        if stop > self.control_limit:
            return
        self.flow_octets[at:stop] = record
        self.flow_end = stop
        if not is_stream:
            self.record_bounds.append((at, stop))
        if self.recording:
            self.record_record(at, because)

    def flow_sent(self, count: int) -> None:
        """The driver has sent ``count`` octets from the start of the flow region: what is left moves down."""
        left = self.flow_end - count
        if left:
            self.flow_octets[0:left] = self.flow_octets[count : self.flow_end]
        self.flow_end = left

    def drop_flow(self) -> None:
        """The flow is gone: what was not sent never will be (S4)."""
        self.flow_end = self.flow_start = 0
        self.record_bounds.clear()
        if self.transport is not None:
            self.set_flow_limits()

    def acknowledge(self, count: int) -> None:
        """The peer of our own transport has the first ``count`` octets. What is left moves down now and then."""
        self.flow_start += count
        if self.flow_start + 2 * SEND_BUFFER > len(self.flow_octets) + SEND_BUFFER // 2:
            left = self.flow_end - self.flow_start
            self.flow_octets[0:left] = self.flow_octets[self.flow_start : self.flow_end]
            self.flow_start, self.flow_end = 0, left
        self.set_flow_limits()

    def set_flow_limits(self) -> None:
        """The send buffer is full: packets are dropped before they take an id, control packets a little later (S3)."""
        self.control_limit = min(self.flow_start + SEND_BUFFER, len(self.flow_octets))
        self.flow_limit = self.control_limit - RESERVED_FOR_CONTROL

    # ── what is no octets ─────────────────────────────────────────────────────────────────────────────────────────

    def open_flow(self, because: Rule, now: float) -> None:
        """Wish for a new transport."""
        if self.transport is not None:
            self.transport.open(because, now)
        else:
            self.effects.append(OpenFlow(because))

    def close_flow(self, because: Rule, now: float) -> None:
        """Wish for the transport's end."""
        if self.transport is not None:
            self.transport.abort(because, now)
        else:
            self.effects.append(CloseFlow(because))

    def note(self, kind: NoteKind, rule: Rule, detail: Mapping[str, object]) -> None:
        """Say what was decided. Call it only where ``noting``: the detail should not even be built otherwise."""
        self.effects.append(Note(kind, rule, detail))

    def note_at(self, index: int, kind: NoteKind, rule: Rule, detail: Mapping[str, object]) -> None:
        """Say what was decided before the effects from ``index`` on followed from it."""
        self.effects.insert(index, Note(kind, rule, detail))

    def take_effects(self) -> list[Effect]:
        """Hand over the effects gathered so far."""
        effects = self.effects
        self.effects = []
        return effects


class OutsideFrames:
    """Frames for the external network, each with a virtio header before it. Notes go where all notes go."""

    __slots__ = ("_outgoing", "bounds", "capacity", "end", "octets", "refused", "view")

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self.capacity = outgoing.capacity
        self.octets = bytearray(self.capacity)
        self.view = memoryview(self.octets)
        self.end = VIRTIO_LENGTH
        """Where the next frame begins."""
        self.bounds: list[tuple[int, int]] = []
        """Start of each virtio header, and end of its frame."""
        self.refused = 0
        """Frames for which there was no room."""

    @property
    def noting(self) -> bool:
        """Whether somebody listens to notes."""
        return self._outgoing.noting

    def note(self, kind: NoteKind, rule: Rule, detail: Mapping[str, object]) -> None:
        """Say what was decided."""
        self._outgoing.note(kind, rule, detail)

    def send_frame(self, header: Buffer, buffer: memoryview, start: int, end: int, because: Rule) -> None:
        """Append a frame: a 14-octet header, and the payload ``buffer[start:end]``."""
        payload = self.end + len(header)
        stop = payload + end - start
        if stop > self.capacity:
            self.refused += 1
            return
        self.view[payload:stop] = buffer[start:end]  # first, for it may lie right there already
        self.view[self.end : payload] = header
        self.commit_frame(stop, because)

    def commit_frame(self, stop: int, because: Rule) -> None:
        """Take the frame that was written at ``end`` up to ``stop``: of it, nothing is left to the kernel."""
        if self._outgoing.recording:
            self._outgoing.effects.append(Transmit(Port.EXTERNAL, bytes(self.view[self.end : stop]), because))
        else:
            start = self.end - VIRTIO_LENGTH
            self.view[start : self.end] = NOTHING_LEFT
            self._take(start, stop)

    def commit_unfinished(self, stop: int) -> None:
        """Take the frame that was written at ``end``, and its virtio header (``offload.py``)."""
        self._take(self.end - VIRTIO_LENGTH, stop)

    def _take(self, start: int, stop: int) -> None:
        self.bounds.append((start, stop))
        self.end = stop + VIRTIO_LENGTH

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel is below that finishes what is left to it; in effects there is nothing left."""
        return not self._outgoing.recording

    def sent(self) -> None:
        """The driver has sent (or given up) all frames."""
        self.bounds.clear()
        self.end = VIRTIO_LENGTH
