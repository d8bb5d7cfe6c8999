"""An Ethernet interface of Linux: how do frames come in without a call each, and whole?

Below: the kernel. Above: ``driver.py``. Standards: packet(7); Linux networking/packet_mmap; linux/virtio_net.h.

    ring of slots, mapped into memory       │ slot │ slot │ slot │ …      the kernel fills, we empty
    a slot      │ tpacket2_hdr: status, length, offset │ … │ virtio_net_hdr (10) │ Ethernet frame …

Same task as the reference's ``packet_socket.py``. Departures:

1. **Frames are read where the kernel wrote them** (TPACKET_V2): no call and no copy for each. The mapping may be
   written, so the time to live falls right there. A slot is told of at once; TPACKET_V3 holds frames back until a
   block is full or a millisecond is over, and a ping took 1.4 ms for that. Without a ring (``has_ring`` false, or an
   old kernel) frames are received one by one into one buffer. Guard: ``test_optimized_packet_socket.py``, both ways.
2. **The kernel drops what the gateway would**: frames to other stations and frames with a VLAN tag do not pass a filter
   of ten instructions (S5). Nothing of them is noted. Guard: the same file.
3. **What a sender left to its hardware is done here** (``offload.py``). Guard: the same file.
4. **Frames that leave together leave with one call** (``many.py``), consecutive segments of a TCP flow as one frame
   (``coalescing.py``). Guard: ``test_optimized_many.py``, ``test_optimized_coalescing.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import socket
from collections.abc import Iterator
from struct import Struct, calcsize, pack

from glassgate.optimized.coalescing import FEWEST, Coalescer, runs
from glassgate.optimized.many import Many
from glassgate.optimized.offload import (
    NEEDS_CHECKSUM,
    VIRTIO,
    VOUCHED,
    complete_checksum,
    is_segmented,
    is_tcp,
    segment,
)

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_RX_RING = 5
PACKET_COPY_THRESH = 7
PACKET_VERSION = 10
PACKET_VNET_HDR = 15
SO_RCVBUFFORCE = 33
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
TPACKET_V2 = 1
SO_ATTACH_FILTER = 26

RING = 8 << 20
"""Octets of the ring."""
BLOCK_SIZE = 1 << 16
SMALLEST_SLOT = 2048
SLOT_OVERHEAD = 96
"""Octets before the IPv4 packet: tpacket2_hdr, sockaddr_ll, virtio header, Ethernet header, and their alignment."""
SLOT = Struct("=I4xIH")
"""Status · captured length · offset of the Ethernet header."""
STATUS = Struct("=I")
OWNED_BY_KERNEL = 0
OWNED_BY_USER = 1
COPIED = 2
"""The frame is larger than a slot: all of it is in the socket's queue."""

LARGEST_FRAME = 65536 + 64
ARENA = 1 << 20
MOST_FRAMES = 64
"""Frames of one batch: their records leave before the next is taken, so that a full ring is no full flow."""

RECEIVE_BUFFER = 4 << 20
SEND_BUFFER = 1 << 20
"""Octets that may wait for the interface: frames of 64 KiB are few."""

FEW = 4
"""Fewer frames than this leave one by one: what a common call takes to prepare is not won back."""

Batch = tuple[memoryview, list[tuple[int, int]]]


def station_filter(mac: bytes) -> bytes:
    """A classic BPF program: pass untagged frames to ``mac`` or to a group (sock_filter: code, jt, jf, k)."""
    program = (
        (0x20, 0, 0, 0xFFFFF000 + 48),  # A = whether there is a VLAN tag
        (0x15, 0, 7, 0),  # there is: drop
        (0x30, 0, 0, 0),  # A = first octet of the destination
        (0x45, 4, 0, 1),  # the group bit: pass
        (0x20, 0, 0, 0),  # A = first four octets
        (0x15, 0, 3, int.from_bytes(mac[:4], "big")),
        (0x28, 0, 0, 4),  # A = last two octets
        (0x15, 0, 1, int.from_bytes(mac[4:], "big")),
        (0x06, 0, 0, 0x40000),  # pass
        (0x06, 0, 0, 0),  # drop
    )
    return b"".join(pack("=HBBI", *instruction) for instruction in program)


class PacketSocket:
    """One interface. ``batches`` gives what has arrived; ``send`` takes a frame."""

    def __init__(self, interface: str, mac: bytes, mtu: int, *, has_ring: bool = True, is_end: bool = False) -> None:
        """Open it. ``is_end``: TCP segments end here, as they come, and go no further."""
        self.interface = interface
        self._receiving = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sending = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._leaving = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        """Sends frames with a virtio header before them."""
        self._coalescer = Coalescer.of()
        self._many = Many.of()
        self._arena = bytearray(ARENA)
        self._arena_view = memoryview(self._arena)
        self._is_end = is_end
        self.is_vouched = False
        """Whether the kernel answers for TCP and UDP checksums of the batch at hand (only where segments end)."""
        self._map: mmap.mmap | None = None
        self._ring: memoryview | None = None
        self._slot = 0
        self._slot_size = SMALLEST_SLOT
        self.frames_received = 0
        self.frames_lost = 0
        """Frames that the interface did not take."""
        try:
            self._open(interface, mac, mtu if has_ring else 0)
        except OSError:
            self.close()
            raise

    def _open(self, interface: str, mac: bytes, mtu: int) -> None:
        index = socket.if_nametoindex(interface)
        receiving = self._receiving
        receiving.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        receiving.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        with contextlib.suppress(OSError):  # what no slot holds waits in a queue, and frames of 64 KiB fill it soon
            receiving.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        program = ctypes.create_string_buffer(station_filter(mac))
        count = len(station_filter(mac)) // calcsize("=HBBI")
        receiving.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pack("HL", count, ctypes.addressof(program)))
        if mtu:
            self._make_ring(mtu)
        receiving.bind((interface, ETH_P_ALL))
        # The gateway has an Ethernet address of its own: the interface must not filter by its own.
        receiving.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, pack("iHH8s", index, PACKET_MR_PROMISC, 0, b""))
        receiving.setblocking(False)
        self._leaving.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._leaving.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        for sending in (self._sending, self._leaving):
            sending.bind((interface, 0))
            sending.setblocking(False)

    def _make_ring(self, mtu: int) -> None:
        """Ask for a ring; where the kernel has none, frames are received one by one."""
        size = self._slot_size
        while size < mtu + SLOT_OVERHEAD:
            size *= 2
        self._slot_size = size
        request = pack("=4I", max(BLOCK_SIZE, size), RING // max(BLOCK_SIZE, size), size, RING // size)
        try:
            self._receiving.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
            self._receiving.setsockopt(SOL_PACKET, PACKET_COPY_THRESH, 1)
            self._receiving.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
            self._map = mmap.mmap(self._receiving.fileno(), RING)
        except OSError:
            return
        self._ring = memoryview(self._map)

    def fileno(self) -> int:
        """For poll: readable when something has arrived."""
        return self._receiving.fileno()

    def trouble(self) -> int:
        """The error number of what is wrong with the interface, 0 if nothing is: it is down, or gone. Told once."""
        return self._receiving.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def batches(self) -> Iterator[Batch]:
        """What has arrived, as buffers with the bounds of frames in them. Each is valid until the next is asked for."""
        return self._from_calls() if self._ring is None else self._from_ring(self._ring)

    # ── the ring ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _from_ring(self, ring: memoryview) -> Iterator[Batch]:
        slot, size, slots = self._slot, self._slot_size, len(ring) // self._slot_size
        first = slot
        bounds: list[tuple[int, int]] = []
        for _ in range(min(MOST_FRAMES, slots)):
            at = slot * size
            status, length, offset = SLOT.unpack_from(ring, at)
            if not status & OWNED_BY_USER:
                break
            slot = (slot + 1) % slots
            start = at + offset
            flags, kind, _, segment_size, begins, into = VIRTIO.unpack_from(ring, start - VIRTIO.size)
            is_vouched = self._is_end and flags & VOUCHED != 0
            is_large = bool(status & COPIED) or (is_segmented(kind) and not (is_vouched and is_tcp(kind)))
            if is_large or is_vouched is not self.is_vouched:
                yield ring, bounds
                self._release(ring, first, len(bounds))
                first, bounds = (slot or slots) - 1, []
                self.is_vouched = is_vouched
            if is_large:
                yield self._large(ring, start, start + length, segment_size, bool(status & COPIED))
                self._release(ring, first, 1)
                first = slot
                continue
            if flags & NEEDS_CHECKSUM and not is_vouched:
                complete_checksum(ring, start, start + length, begins, into)
            bounds.append((start, start + length))
        yield ring, bounds
        self._release(ring, first, len(bounds))

    def _release(self, ring: memoryview, slot: int, count: int) -> None:
        """Give slots back to the kernel, whose turn it is then to write there."""
        size, slots = self._slot_size, len(ring) // self._slot_size
        for _ in range(count):
            STATUS.pack_into(ring, slot * size, OWNED_BY_KERNEL)
            slot = (slot + 1) % slots
        self._slot = slot
        self.frames_received += count

    def _large(self, ring: memoryview, start: int, end: int, size: int, is_copied: bool) -> Batch:
        """A segment to be cut, from its slot; or one that no slot holds, from the queue behind the ring."""
        view = self._arena_view
        if not is_copied:
            view[: end - start] = ring[start:end]
            self.is_vouched = False
            return view, self._cut(0, end - start, size)
        try:
            count = self._receiving.recv_into(view[:LARGEST_FRAME])
        except BlockingIOError:  # there was no room for it in that queue either
            return view, []
        return view, self._finish(0, count)

    # ── without a ring ────────────────────────────────────────────────────────────────────────────────────────────

    def _from_calls(self) -> Iterator[Batch]:
        view = self._arena_view
        bounds: list[tuple[int, int]] = []
        at = 0
        while len(bounds) < MOST_FRAMES and at + LARGEST_FRAME <= ARENA // 2:
            try:
                count = self._receiving.recv_into(view[at : at + LARGEST_FRAME])
            except BlockingIOError:
                break
            self.frames_received += 1
            bounds += self._finish(at, count)
            at = bounds[-1][1] + 7 & ~7 if bounds else 0
            if self._is_end:  # each may have been vouched for, or not
                yield view, bounds
                bounds, at = [], 0
        yield view, bounds

    # ── what a sender left undone ─────────────────────────────────────────────────────────────────────────────────

    def _finish(self, at: int, count: int) -> list[tuple[int, int]]:
        """The frames of what was received at ``at`` into the arena, virtio header and all."""
        view = self._arena_view
        start, end = at + VIRTIO.size, at + count
        flags, kind, _, size, begins, into = VIRTIO.unpack_from(view, at)
        self.is_vouched = self._is_end and flags & VOUCHED != 0 and (is_tcp(kind) or not is_segmented(kind))
        if is_segmented(kind) and not self.is_vouched:
            return self._cut(start, end, size)
        if flags & NEEDS_CHECKSUM and not self.is_vouched:
            complete_checksum(view, start, end, begins, into)
        return [(start, end)]

    def _cut(self, start: int, end: int, size: int) -> list[tuple[int, int]]:
        """Cut the large segment that lies in the arena into frames behind it."""
        return list(segment(self._arena_view, start, end, size, end + (-end & 7)))

    # ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, frames: memoryview, bounds: list[tuple[int, int]]) -> None:
        """Send frames. What the interface does not take is lost, as on any Ethernet."""
        coalescer = self._coalescer
        if coalescer is not None and len(bounds) >= FEWEST and (found := runs(frames, bounds)):
            for joined in coalescer.batches(frames, bounds, found):
                self._send(self._leaving, coalescer.view, joined)
        else:
            self._send(self._sending, frames, bounds)

    def send_unfinished(self, frames: memoryview, bounds: list[tuple[int, int]]) -> None:
        """Send frames that each have a virtio header before them, which says what is left to the kernel."""
        self._send(self._leaving, frames, bounds)

    def _send(self, sending: socket.socket, frames: memoryview, bounds: list[tuple[int, int]]) -> None:
        if self._many is not None and len(bounds) >= FEW:
            self.frames_lost += self._many.send(sending, frames, bounds)
            return
        for start, end in bounds:
            try:
                sending.send(frames[start:end])
            except OSError:
                self.frames_lost += 1

    def close(self) -> None:
        """Give the interface back."""
        if self._ring is not None:
            self._ring.release()
            self._ring = None
        if self._map is not None:
            self._map.close()
        self._receiving.close()
        self._sending.close()
        self._leaving.close()
