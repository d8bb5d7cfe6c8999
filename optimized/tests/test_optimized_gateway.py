"""The doors: batches and single events agree; inputs belong to the caller; nothing grows with packets."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
from itertools import pairwise

import pytest

from glassgate.contract import FlowEvent, Port, SeededEntropy, Transmit
from glassgate.optimized import BatchGateway
from glassgate.optimized.buffers import REGION

HOST = "10.38.2.5"


def traffic(make, world, seed=1, count=60):
    """Packets of all sorts from inside, and records out of the tunnel: (port, octets) in order."""
    dice = random.Random(seed)
    for number in range(count):
        size = dice.choice([0, 30, 700, 1400])
        match number % 6:
            case 0 | 1:
                packet = make.udp(HOST, "8.8.8.8", 1, 2, bytes(size))
                yield Port.INTERNAL, make.ethernet(packet, make.hardware(HOST))
            case 2 | 3:
                yield Port.FLOW, world.record(make.udp("8.8.8.8", HOST, 1, 2, bytes(size)))
            case 4:
                packet = make.icmp(HOST, "10.38.2.1", 8, 0, bytes(4 + size))
                yield Port.INTERNAL, make.ethernet(packet, make.hardware(HOST))
            case _:
                packet = make.udp(HOST, "9.9.9.9", 1, 2, bytes(size), ttl=dice.choice([1, 64]))
                yield Port.INTERNAL, make.ethernet(packet, make.hardware(HOST))


def test_what_is_due_next_is_known_after_every_event(make):
    world = make.World()
    batch = world.gateway.batch
    for step, (port, octets) in enumerate(traffic(make, world)):
        world.gateway.receive(port, octets, 5.0 + step / 10)
        batch_parts = (batch._arp.deadline, batch._local.deadline, batch.tunnel.deadline)
        assert batch.deadline == min(batch_parts)
    assert world.gateway.deadline is not None
    world.gateway.flow(FlowEvent.CLOSED, 20.0)
    assert batch.deadline == min(batch._arp.deadline, batch._local.deadline, batch.tunnel.deadline)


def test_inputs_may_be_read_only_views_at_odd_offsets(make):
    plain, odd = (make.World(learned=[HOST]) for _ in range(2))
    for port, octets in traffic(make, plain):
        expected = plain.gateway.receive(port, octets, 5.0)
        view = memoryview(b"\xa5" * 7 + octets + b"\xa5" * 3)[7:-3]
        assert view.readonly
        assert odd.gateway.receive(port, view, 5.0) == expected


def test_inputs_are_neither_written_nor_kept(make):
    plain, poisoned = (make.World(learned=[HOST]) for _ in range(2))
    told, kept = [], []
    for port, octets in traffic(make, plain):
        told += plain.gateway.receive(port, octets, 5.0)
        buffer = bytearray(octets)
        effects = poisoned.gateway.receive(port, buffer, 5.0)
        assert buffer == octets
        buffer[:] = b"\xa5" * len(buffer)
        kept += effects
    assert kept == told


def test_what_waits_does_not_change_when_buffers_do(make):
    world = make.World()
    buffer = bytearray(world.record(make.udp("8.8.8.8", HOST, 1, 2, b"waiting")))
    world.flow(buffer)
    buffer[:] = b"\xa5" * len(buffer)
    for other in range(20, 30):
        world.tunnel(make.udp("9.9.9.9", f"10.38.2.{other}", 1, 2, bytes(1400)))
        world.inside(make.udp(HOST, "8.8.8.8", 1, 2, bytes(1400)))
    world.frame(make.arp(2, make.hardware(HOST), HOST, "10.38.2.1"))
    assert world.packets == [make.udp("8.8.8.8", HOST, 1, 2, b"waiting", ttl=63)]


@pytest.fixture
def batch(make):
    """A gateway for batches, and a world whose far end seals for it."""
    world = make.World(learned=[HOST], notes=False)
    gateway = BatchGateway(world.config, SeededEntropy(b"test"))
    gateway.start(0.0)
    frame = bytearray(make.arp(1, make.hardware(HOST), HOST, "10.38.2.1"))
    gateway.receive_frames(memoryview(frame), [(0, len(frame))], 3.0)
    gateway.outgoing.frames_sent()
    return gateway, world


def test_one_batch_is_the_same_as_one_event_each(make, batch):
    gateway, world = batch
    events = list(traffic(make, world))
    single: list[Transmit] = []
    for port, octets in events:
        single += world.gateway.receive(port, octets, 5.0)
    frames = [octets for port, octets in events if port is Port.INTERNAL]
    ring = bytearray()
    bounds = []
    for frame in frames:
        ring += b"\xa5" * 3
        bounds.append((len(ring), len(ring) + len(frame)))
        ring += frame
    gateway.receive_frames(memoryview(ring), bounds, 5.0)
    stream = b"".join(octets for port, octets in events if port is Port.FLOW)
    gateway.room()[: len(stream)] = stream
    assert not gateway.receive_stream(len(stream), 5.0)
    outgoing = gateway.outgoing
    flow = b"".join(effect.data for effect in single if effect.port is Port.FLOW)
    assert bytes(outgoing.flow[: outgoing.flow_end]) == flow
    sent = sorted(bytes(outgoing.frames[start:end]) for start, end in outgoing.frame_bounds)
    expected = sorted(effect.data for effect in single if effect.port is Port.INTERNAL)
    without_identification = [frame[:18] + frame[20:24] + frame[26:] for frame in sent]
    assert without_identification == [frame[:18] + frame[20:24] + frame[26:] for frame in expected]


def test_a_part_of_the_flow_region_may_be_sent(make, batch):
    gateway, _ = batch
    frame = bytearray(make.ethernet(make.udp(HOST, "8.8.8.8", 1, 2), make.hardware(HOST)))
    gateway.receive_frames(memoryview(frame), [(0, len(frame))], 4.0)
    outgoing = gateway.outgoing
    before = bytes(outgoing.flow[: outgoing.flow_end])
    outgoing.flow_sent(10)
    assert bytes(outgoing.flow[: outgoing.flow_end]) == before[10:]
    outgoing.flow_sent(len(before) - 10)
    assert outgoing.flow_end == 0


def test_a_flow_that_is_not_drained_drops_before_an_id_is_taken(make, batch):
    gateway, _ = batch
    frame = make.ethernet(make.udp(HOST, "8.8.8.8", 1, 2, bytes(1400)), make.hardware(HOST))
    sealing = gateway.tunnel.sealing
    for _ in range(REGION // 1454 + 20):
        buffer = bytearray(frame)
        gateway.receive_frames(memoryview(buffer), [(0, len(buffer))], 4.0)
    records = gateway.outgoing.flow_end // (1428 + 26)
    assert gateway.outgoing.flow_end <= REGION
    assert sealing.packet_id == records + 1


def test_frames_that_are_not_sent_are_counted(make, batch):
    gateway, _ = batch
    echo = make.ethernet(make.icmp(HOST, "10.38.2.1", 8, 0, bytes(1400)), make.hardware(HOST))
    for _ in range(REGION // 1400 + 100):
        buffer = bytearray(echo)
        gateway.receive_frames(memoryview(buffer), [(0, len(buffer))], 4.0)
    assert gateway.outgoing.refused_frames > 0
    assert gateway.outgoing.frames_end <= REGION


def test_no_memory_grows_with_packets(make, batch):
    gateway, world = batch
    frames = [
        make.ethernet(make.udp(HOST, "8.8.8.8", 1, 2, bytes(1400)), make.hardware(HOST)),
        make.ethernet(make.udp(HOST, "8.8.8.8", 1, 2, bytes(3000)), make.hardware(HOST)),
        make.ethernet(make.icmp(HOST, "10.38.2.1", 8, 0, bytes(1000)), make.hardware(HOST)),
        make.ethernet(make.udp(HOST, "8.8.8.8", 1, 2, ttl=1), make.hardware(HOST)),
    ]
    packet = make.udp("8.8.8.8", HOST, 1, 2, bytes(1000))

    def rounds(count):
        for _ in range(count):
            for frame in frames:
                buffer = bytearray(frame)
                gateway.receive_frames(memoryview(buffer), [(0, len(buffer))], 4.0)
            stream = world.record(packet)
            gateway.room()[: len(stream)] = stream
            gateway.receive_stream(len(stream), 4.0)
            gateway.outgoing.flow_sent(gateway.outgoing.flow_end)
            gateway.outgoing.frames_sent()
            gateway.outgoing.take_effects()

    rounds(50)
    with octets_in_use() as in_use:
        held = [in_use()]
        for _ in range(4):
            rounds(400)
            held.append(in_use())
    # What grows with packets grows each time; a cache that fills or a loop that PyPy compiles does not.
    assert min(after - before for before, after in pairwise(held)) < 4000


@contextlib.contextmanager
def octets_in_use():
    """How many octets Python's objects take: traced on CPython, asked of the collector on PyPy."""
    if sys.implementation.name == "pypy":
        yield lambda: (gc.collect(), gc.collect(), gc.get_stats()._s.total_gc_memory)[-1]
        return
    import tracemalloc  # PyPy has none

    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_the_contract_frees_the_room_of_what_it_hands_over(make):
    """More than a region holds passes through it."""
    world = make.World(notes=False)
    frame = make.ethernet(make.udp(HOST, "8.8.8.8", 1, 2, bytes(1400)), make.hardware(HOST))
    for _ in range(REGION // 1400 + 10):
        assert len(world.gateway.receive(Port.INTERNAL, frame, 4.0)) == 1


def test_a_frame_larger_than_any_interface_carries_is_taken_in_its_stride(make):
    world = make.World(learned=[HOST])
    packet = make.udp(HOST, "8.8.8.8", 1, 2, b"x")
    world.inside(packet + bytes(100_000))
    assert world.sealed == [make.udp(HOST, "8.8.8.8", 1, 2, b"x", ttl=63)]
    assert world.inside(packet).fates == ["s14-forward"]


def test_an_empty_event_still_does_what_is_due(make):
    world = make.World()
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2))
    assert len(world.flow(b"", after=1.0).frames) == 1
