"""The virtio header: what did a sender leave to be done, and what do we leave?

Below: ``checksum.py``, ``ipv4.py``. Above: ``packet_socket.py``, ``coalescing.py``, ``external.py``.
Standards: linux/virtio_net.h; Linux networking/segmentation-offloads, networking/checksum-offloads.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------+---------------+-------------------------------+
    |     flags     |  segmentation |     length of the headers     |
    +---------------+---------------+-------------------------------+
    |   text of each segment        |   where the checksum begins   |
    +-------------------------------+-------------------------------+
    |   where it stands from there  |   Ethernet frame …                          in the byte order of this machine

The reference has the interface's offloads switched off for as long as it is used. Departure:

1. **What a sender on this machine left undone is done here**, where the header says so and only then: a checksum is
   completed in place, a segment of up to 64 KiB is cut into frames that a wire would carry. Guard:
   ``test_optimized_offload.py``, against frames of which nothing was left undone.

Not handled: large segments of other kinds than TCP and UDP over IPv4; these pass as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from glassgate.optimized.checksum import internet_checksum
from glassgate.optimized.ethernet import HEADER_LENGTH as FRAME_HEADER
from glassgate.optimized.ipv4 import (
    AT_PROTOCOL,
    AT_SOURCE,
    AT_TOTAL_LENGTH,
    PROTOCOL_TCP,
    WORD,
    header_length,
    write_checksum,
)
from glassgate.optimized.tcp import ADDRESSES, AT_CHECKSUM

VIRTIO = Struct("=BBHHHH")
"""flags · kind of segmentation · header length · segment size · where the checksum begins · its place from there."""
NEEDS_CHECKSUM = 1
VOUCHED = 3
"""Either flag says that the kernel answers for the checksum: the sender is this machine and has not yet written it, or
whoever received the frame (a network card, the kernel's own coalescing) has verified it."""
SEGMENTED_TCP4 = 1
SEGMENTED_UDP = 5
WITH_ECN = 0x80


def is_segmented(kind: int) -> bool:
    """Whether this is to be cut, and we know how."""
    return kind & ~WITH_ECN in (SEGMENTED_TCP4, SEGMENTED_UDP)


def is_tcp(kind: int) -> bool:
    """Whether this is a large segment of TCP."""
    return kind & ~WITH_ECN == SEGMENTED_TCP4


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


def leave_to_kernel(view: memoryview, at: int, headers: int, size: int, end: int) -> None:
    """Write the header at ``at``, before the frame of a TCP segment: its checksum is left, and its cut if it is long.

    ``headers`` is the length of all headers, ``size`` the most text of one segment.
    """
    packet = at + VIRTIO.size + FRAME_HEADER
    segment = packet + header_length(view, packet)
    source, destination = ADDRESSES.unpack_from(view, packet + AT_SOURCE)
    pseudo = source + destination + PROTOCOL_TCP + end - segment
    WORD.pack_into(view, segment + AT_CHECKSUM, pseudo % 0xFFFF)  # whoever completes it expects this in its place
    is_long = end - at - VIRTIO.size - headers > size
    kind, size = (SEGMENTED_TCP4, size) if is_long else (0, 0)
    begins = segment - at - VIRTIO.size
    VIRTIO.pack_into(view, at, NEEDS_CHECKSUM, kind, headers, size, begins, AT_CHECKSUM)
