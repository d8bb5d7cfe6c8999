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
3. **What a sender left to its hardware is done here**, where the virtio header says so and only then: a checksum is
   completed in place, a segment of up to 64 KiB is cut into frames that a wire would carry. Guard: the same file.

4. **Frames that leave together leave with one call** (``many.py``). Guard: ``test_optimized_many.py``.

Not handled: large segments of other kinds than TCP and UDP over IPv4; these pass as they are.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
from collections.abc import Iterator
from struct import Struct, calcsize, pack

from glassgate.optimized.checksum import internet_checksum
from glassgate.optimized.ethernet import HEADER_LENGTH as FRAME_HEADER
from glassgate.optimized.ipv4 import AT_PROTOCOL, AT_TOTAL_LENGTH, PROTOCOL_TCP, WORD, header_length, write_checksum
from glassgate.optimized.many import Many

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_RX_RING = 5
PACKET_COPY_THRESH = 7
PACKET_VERSION = 10
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
TPACKET_V2 = 1
SO_ATTACH_FILTER = 26

VIRTIO = Struct("=BBHHHH")
"""flags · kind of segmentation · header length · segment size · where the checksum begins · its place from there."""
NEEDS_CHECKSUM = 1
SEGMENTED_TCP4 = 1
SEGMENTED_UDP = 5
WITH_ECN = 0x80

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

    def __init__(self, interface: str, mac: bytes, mtu: int, *, has_ring: bool = True) -> None:
        self._receiving = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sending = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._many = Many.of()
        self._arena = bytearray(ARENA)
        self._arena_view = memoryview(self._arena)
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
        program = ctypes.create_string_buffer(station_filter(mac))
        count = len(station_filter(mac)) // calcsize("=HBBI")
        receiving.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pack("HL", count, ctypes.addressof(program)))
        if mtu:
            self._make_ring(mtu)
        receiving.bind((interface, ETH_P_ALL))
        # The gateway has an Ethernet address of its own: the interface must not filter by its own.
        receiving.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, pack("iHH8s", index, PACKET_MR_PROMISC, 0, b""))
        receiving.setblocking(False)
        self._sending.bind((interface, 0))
        self._sending.setblocking(False)

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
            if status & COPIED or kind & ~WITH_ECN in (SEGMENTED_TCP4, SEGMENTED_UDP):
                yield ring, bounds
                self._release(ring, first, len(bounds))
                first, bounds = slot, []
                yield self._large(ring, start, start + length, segment_size, bool(status & COPIED))
                self._release(ring, (slot or slots) - 1, 1)
                continue
            if flags & NEEDS_CHECKSUM:
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
        yield view, bounds

    # ── what a sender left undone ─────────────────────────────────────────────────────────────────────────────────

    def _finish(self, at: int, count: int) -> list[tuple[int, int]]:
        """The frames of what was received at ``at`` into the arena, virtio header and all."""
        view = self._arena_view
        start, end = at + VIRTIO.size, at + count
        flags, kind, _, size, begins, into = VIRTIO.unpack_from(view, at)
        if kind & ~WITH_ECN in (SEGMENTED_TCP4, SEGMENTED_UDP):
            return self._cut(start, end, size)
        if flags & NEEDS_CHECKSUM:
            complete_checksum(view, start, end, begins, into)
        return [(start, end)]

    def _cut(self, start: int, end: int, size: int) -> list[tuple[int, int]]:
        """Cut the large segment that lies in the arena into frames behind it."""
        return list(segment(self._arena_view, start, end, size, end + (-end & 7)))

    # ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, frames: memoryview, bounds: list[tuple[int, int]]) -> None:
        """Send frames. What the interface does not take is lost, as on any Ethernet."""
        if self._many is not None and len(bounds) >= FEW:
            self.frames_lost += self._many.send(self._sending, frames, bounds)
            return
        send = self._sending.send
        for start, end in bounds:
            try:
                send(frames[start:end])
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


def complete_checksum(frame: memoryview, start: int, end: int, at: int, into: int) -> None:
    """Sum from ``at`` to the end, where the pseudo header's sum stands in the field already, and write the result."""
    field = start + at + into
    if field + 2 <= end:
        checksum = internet_checksum(frame[start + at : end])
        WORD.pack_into(frame, field, checksum or 0xFFFF)


def segment(view: memoryview, start: int, end: int, size: int, to: int) -> Iterator[tuple[int, int]]:
    """Cut a TCP or UDP segment into frames of ``size`` octets of payload, written from ``to`` on."""
    packet = start + FRAME_HEADER
    transport = packet + header_length(view, packet)
    is_tcp = view[packet + AT_PROTOCOL] == PROTOCOL_TCP
    payload = transport + ((view[transport + 12] >> 4) * 4 if is_tcp else 8)
    headers = bytes(view[start:payload])
    identification = WORD.unpack_from(view, packet + 4)[0]
    sequence = int.from_bytes(view[transport + 4 : transport + 8], "big")
    flags = view[transport + 13] if is_tcp else 0
    for number, at in enumerate(range(payload, end, max(size, 1))):
        stop = min(at + size, end)
        length = stop - at
        frame_end = to + len(headers) + length
        if frame_end > len(view):
            return
        view[to : to + len(headers)] = headers
        view[to + len(headers) : frame_end] = view[at:stop]
        ip = to + FRAME_HEADER
        upper = to + transport - start
        WORD.pack_into(view, ip + AT_TOTAL_LENGTH, frame_end - ip)
        WORD.pack_into(view, ip + 4, (identification + number) & 0xFFFF)
        write_checksum(view, ip, transport - packet)
        if is_tcp:
            view[upper + 4 : upper + 8] = ((sequence + at - payload) & 0xFFFFFFFF).to_bytes(4, "big")
            view[upper + 13] = _segment_flags(flags, number == 0, stop == end)
        else:
            WORD.pack_into(view, upper + 4, frame_end - upper)
        _write_transport_checksum(view, ip, upper, frame_end, upper + (16 if is_tcp else 6))
        yield to, frame_end
        to = frame_end + (-frame_end & 7)


def _segment_flags(flags: int, is_first: bool, is_last: bool) -> int:
    """CWR (0x80) goes with the first segment, FIN and PSH with the last."""
    if not is_first:
        flags &= ~0x80
    if not is_last:
        flags &= ~0x09
    return flags


def _write_transport_checksum(view: memoryview, ip: int, upper: int, end: int, field: int) -> None:
    WORD.pack_into(view, field, 0)
    pseudo = int.from_bytes(view[ip + 12 : ip + 20], "big") + view[ip + AT_PROTOCOL] + end - upper
    value = int.from_bytes(view[upper:end], "big") << (8 * ((end - upper) & 1))
    WORD.pack_into(view, field, (0xFFFF - (value + pseudo) % 0xFFFF) % 0xFFFF or 0xFFFF)
