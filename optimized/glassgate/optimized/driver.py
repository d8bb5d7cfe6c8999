"""The optimized gateway on Linux: who calls it, with what, and when?

Below: the kernel's packet socket inside, its TCP or UDP outside, its clock. Above: ``__main__.py``.
Standards: socket(7), tcp(7), packet(7); OpenVPN sig.c for the signals.

    internal interface ─ PacketSocket.batches ─▶ receive_frames ─▶ flow region ─ one send ─▶ Transport ─ the server
    internal interface ◀─ PacketSocket.send ─ frames region ◀─ receive_stream ◀─ one large recv ◀─ Transport
    external interface ─ PacketSocket.batches ─▶ receive_outside ─▶ frames of both sides      with a stack of our own

Same task as the reference's ``driver.py``. Departures:

1. **One wake-up serves all that has arrived**: every frame of the ring in one pass, then one send for all records
   that they became. 64 frames a wake-up: 64 records in one call of 90 kB, where a call each costs 5 µs.
   Guard: ``test_optimized_driver.py``.
2. **The stream is received straight into the buffer that records are opened from**, 256 KiB at a time. Guard: the same.
3. **A short queue under pressure**: records wait for the kernel up to ``LARGEST_BACKLOG``; beyond, packets are dropped
   before they take an id (S3), while ARP, pings and the way back go on. Guard: ``test_optimized_gateway.py``.
"""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from glassgate.contract import CloseFlow, Effect, Note, NoteKind, OpenFlow, rules
from glassgate.optimized.buffers import OutsideFrames
from glassgate.optimized.gateway import BatchGateway
from glassgate.optimized.packet_socket import PacketSocket
from glassgate.optimized.tunnel import Flow

LARGEST_BACKLOG = 256 * 1024
"""Octets of records that may wait for the kernel's socket."""
LARGEST_DATAGRAM = 65536
DATAGRAMS_A_TURN = 256
LONGEST_WAIT = 60.0
FAREWELL = 1.5
"""How long what is left of the flow may take to leave at the end, in seconds."""

log = logging.getLogger("glassgate.optimized")


@dataclass(slots=True)
class Counters:
    """What passed since the start."""

    frames_out: int = 0
    outer_frames_out: int = 0
    octets_out: int = 0
    octets_in: int = 0
    wake_ups: int = 0
    flows: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    """Fates of packets by rule; only counted while every packet is logged."""

    def lines(self, frames: PacketSocket, gateway: BatchGateway) -> Iterator[str]:
        """One line for each thing that is counted."""
        yield f"frames: {frames.frames_received} in, {self.frames_out} out, {frames.frames_lost} not taken"
        yield f"flow: {self.octets_in} octets in, {self.octets_out} out, {self.flows} connections"
        if gateway.external is not None:
            refused = gateway.external.frames.refused
            yield f"outside: {self.outer_frames_out} frames out, {refused} without room"
        yield f"wake-ups: {self.wake_ups}; frames without room: {gateway.outgoing.refused_frames}"
        for slug, count in self.rules.most_common():
            yield f"{slug}: {count}"


class Transport:
    """The flow as the kernel provides it: one TCP connection or one connected UDP socket at a time."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._socket: socket.socket | None = None
        self._is_connecting = False
        self._wants_to_write = False
        self.deadline = float("inf")
        """When an attempt to connect is given up."""

    def open(self, host: str, port: int, is_stream: bool, deadline: float) -> bool:
        """Begin to connect. False if that failed at once."""
        self.close(is_reset=False)
        kind = socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM
        try:
            address = socket.getaddrinfo(host, port, socket.AF_INET, kind)[0][4]
            made = socket.socket(socket.AF_INET, kind)
            made.setblocking(False)
            if is_stream:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.connect_ex(address)
        except OSError as error:
            log.warning("%s port %d: %s", host, port, error)
            return False
        self._socket = made
        self._is_connecting = True
        self._wants_to_write = True
        self.deadline = deadline
        self._epoll.register(made, select.EPOLLIN | select.EPOLLOUT)
        return True

    def close(self, *, is_reset: bool) -> None:
        """Close the socket, by a reset where the gateway has given the flow up (S3_RESET_LOST_FLOW)."""
        if self._socket is None:
            return
        self._epoll.unregister(self._socket)
        if is_reset and self._socket.type == socket.SOCK_STREAM:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        self._socket = None
        self._is_connecting = False
        self.deadline = float("inf")

    def fileno(self) -> int:
        """The socket's number, -1 if there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def finish_connecting(self) -> str | None:
        """The socket became writable: None if it is connected, or what went wrong."""
        assert self._socket is not None
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._is_connecting = False
        self.deadline = float("inf")
        return None if error == 0 else OSError(error, "").strerror or f"error {error}"

    @property
    def is_connecting(self) -> bool:
        """Whether the connection is not there yet."""
        return self._is_connecting

    def receive_into(self, room: memoryview) -> int | None:
        """Receive what there is. None if there is nothing, 0 if the peer has closed.

        Raises:
            OSError: the connection is broken.
        """
        assert self._socket is not None
        try:
            return self._socket.recv_into(room)
        except BlockingIOError:
            return None

    def send(self, octets: memoryview) -> int:
        """Send as much as the kernel takes now.

        Raises:
            OSError: the connection is broken.
        """
        assert self._socket is not None
        try:
            return self._socket.send(octets)
        except BlockingIOError:
            return 0

    def wait_to_write(self, wanted: bool) -> None:
        """Whether to be told when the kernel takes more."""
        if wanted != self._wants_to_write and self._socket is not None:
            self._wants_to_write = wanted
            self._epoll.modify(self._socket, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))


class Driver:
    """One thread that waits, and calls the gateway with all that has arrived."""

    def __init__(self, gateway: BatchGateway, frames: PacketSocket, outside: PacketSocket | None = None) -> None:
        self._gateway = gateway
        self._frames = frames
        self._outside = outside
        self._epoll = select.epoll()
        self._transport = Transport(self._epoll)
        self._datagram = bytearray(LARGEST_DATAGRAM)
        self._signals: list[int] = []
        self._wake_in, self._wake_out = socket.socketpair()
        self.counters = Counters()
        gateway.outgoing.telling = True
        if gateway.external is None:
            gateway.outgoing.flow_limit = LARGEST_BACKLOG

    def run(self) -> int:
        """Work until a signal or the server ends it. Returns the exit status."""
        with self._signal_handlers():
            self.begin()
            try:
                while True:
                    self.turn()
                    if self._gateway.tunnel.has_ended:
                        log.error("the server ended the session for good")
                        return 1
                    if self._is_to_end():
                        self._say_farewell()
                        return 0
            finally:
                self.end()

    def begin(self) -> None:
        """Start the gateway, and with it the first connection."""
        self._epoll.register(self._frames, select.EPOLLIN)
        self._epoll.register(self._wake_out, select.EPOLLIN)
        if self._outside is not None:
            self._epoll.register(self._outside, select.EPOLLIN)
        self._gateway.start(time.monotonic())
        self._flush()

    def end(self) -> None:
        """Close all that is open."""
        self._transport.close(is_reset=False)
        self._frames.close()
        if self._outside is not None:
            self._outside.close()
        self._epoll.close()
        self._wake_in.close()
        self._wake_out.close()

    def turn(self) -> None:
        """Wait for something to happen, or for the time that something is due, and do all there is to do."""
        gateway, transport = self._gateway, self._transport
        now = time.monotonic()
        due = min(gateway.deadline, transport.deadline, now + LONGEST_WAIT)
        events = self._epoll.poll(max(due - now, 0.0))
        now = time.monotonic()
        self.counters.wake_ups += 1
        for number, event in events:
            if number == self._frames.fileno():
                for buffer, bounds in self._frames.batches():
                    gateway.receive_frames(buffer, bounds, now)
                    self._flush()
            elif number == transport.fileno():
                self._serve_transport(event, now)
            elif self._outside is not None and number == self._outside.fileno():
                self._serve_outside(self._outside, now)
            elif number == self._wake_out.fileno():
                self._wake_out.recv(64)
        if now >= transport.deadline:
            self._lose("the connection attempt timed out", now)
        if now >= gateway.deadline:
            gateway.tick(now)
        self._flush()

    def _serve_outside(self, outside: PacketSocket, now: float) -> None:
        """What has arrived outside, a batch at a time."""
        gateway = self._gateway
        for buffer, bounds in outside.batches():
            if not bounds:
                continue
            is_full = gateway.receive_outside(buffer, bounds, now)
            self._flush()
            while is_full:
                is_full = gateway.go_on(now)
                self._flush()

    # ── the transport ─────────────────────────────────────────────────────────────────────────────────────────────

    def _serve_transport(self, event: int, now: float) -> None:
        if self._transport.is_connecting:
            problem = self._transport.finish_connecting()
            if problem is not None:
                self._lose(problem, now)
                return
            self.counters.flows += 1
            self._gateway.flow_opened(now)
        if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            try:
                self._receive(now)
            except OSError as error:
                self._lose(str(error.strerror), now)

    def _receive(self, now: float) -> None:
        gateway, transport = self._gateway, self._transport
        if not gateway.tunnel.is_stream:
            return self._receive_datagrams(now)
        count = transport.receive_into(gateway.room())
        if count == 0:
            return self._lose("the server closed the connection", now)
        if count is None:
            return None
        self.counters.octets_in += count
        is_full = gateway.receive_stream(count, now)
        while is_full:
            self._send_frames()
            is_full = gateway.receive_stream(0, now)
        return None

    def _receive_datagrams(self, now: float) -> None:
        view = memoryview(self._datagram)
        for _ in range(DATAGRAMS_A_TURN):
            if self._transport.fileno() < 0:
                return
            count = self._transport.receive_into(view)
            if count is None:
                return
            self.counters.octets_in += count
            self._gateway.receive_datagram(view[:count], now)

    def _lose(self, reason: str, now: float) -> None:
        log.warning("flow lost: %s", reason)
        self._transport.close(is_reset=False)
        self._gateway.flow_closed(now)

    # ── what the gateway gave ─────────────────────────────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        """Send frames and records, fulfil wishes, log notes."""
        outgoing = self._gateway.outgoing
        if outgoing.frame_bounds:
            self._send_frames()
        if self._gateway.external is not None:
            self._send_outside(self._gateway.external.frames)
        elif outgoing.flow_end:
            self._send_records()
        if outgoing.effects:
            for effect in outgoing.take_effects():
                self._perform(effect)

    def _send_outside(self, frames: OutsideFrames) -> None:
        if frames.bounds and self._outside is not None:
            self.counters.outer_frames_out += len(frames.bounds)
            self._outside.send(frames.view, frames.bounds)
            frames.sent()

    def _send_frames(self) -> None:
        outgoing = self._gateway.outgoing
        self.counters.frames_out += len(outgoing.frame_bounds)
        self._frames.send(outgoing.frames, outgoing.frame_bounds)
        outgoing.frames_sent()

    def _send_records(self) -> None:
        outgoing = self._gateway.outgoing
        if self._transport.fileno() < 0 or self._transport.is_connecting:
            return
        try:
            if self._gateway.tunnel.is_stream:
                sent = self._transport.send(outgoing.flow[: outgoing.flow_end])
                outgoing.flow_sent(sent)
                self._transport.wait_to_write(outgoing.flow_end > 0)
            else:
                sent = sum(self._transport.send(outgoing.flow[start:end]) for start, end in outgoing.record_bounds)
                outgoing.drop_flow()  # what the kernel did not take is lost, as datagrams may be
                self._transport.wait_to_write(False)
            self.counters.octets_out += sent
        except OSError as error:
            if self._gateway.tunnel.is_stream:
                self._lose(str(error.strerror), time.monotonic())
            else:
                outgoing.drop_flow()

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Note):
            self._log(effect)
        elif isinstance(effect, OpenFlow):
            self._open()
        elif isinstance(effect, CloseFlow):
            self._transport.close(is_reset=True)

    def _open(self) -> None:
        tunnel = self._gateway.tunnel
        assert tunnel.profile is not None
        remote = tunnel.profile.remotes[tunnel.remote % len(tunnel.profile.remotes)]
        log.info("connecting to %s port %d over %s", remote.host, remote.port, remote.proto)
        now = time.monotonic()
        deadline = now + tunnel.profile.connect_timeout
        if not self._transport.open(remote.host, remote.port, tunnel.is_stream, deadline):
            self._gateway.flow_closed(now)

    def _log(self, note: Note) -> None:
        detail = " ".join(f"{name}={value}" for name, value in note.detail.items())
        if note.kind is NoteKind.STATE:
            is_trouble = note.rule is rules.S2_HANDSHAKE_FAILED or "retry_after" in note.detail
            log.log(logging.WARNING if is_trouble else logging.INFO, "%s %s", note.rule.slug, detail)
        else:
            self.counters.rules[note.rule.slug] += 1
            log.debug("%s %s %s", note.kind, note.rule.slug, detail)

    # ── signals and the end ───────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        before = [signal.signal(number, lambda number, _: self._signals.append(number)) for number in numbers]
        woken = signal.set_wakeup_fd(self._wake_in.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _is_to_end(self) -> bool:
        while self._signals:
            number = self._signals.pop(0)
            if number in (signal.SIGTERM, signal.SIGINT):
                return True
            if number == signal.SIGUSR1 and self._gateway.tunnel.flow is not Flow.CLOSED:
                log.warning("flow lost: SIGUSR1")
                self._transport.close(is_reset=False)
                self._gateway.give_up_flow(time.monotonic())
            elif number == signal.SIGUSR2:
                for line in self.counters.lines(self._frames, self._gateway):
                    log.warning("%s", line)
        return False

    def _say_farewell(self) -> None:
        """Tell the server, and give what is left a moment to leave (S4_LEAVE)."""
        self._gateway.stop(time.monotonic())
        end = time.monotonic() + FAREWELL
        self._flush()
        while self._outside is not None and not self._gateway.has_left and time.monotonic() < end:
            select.select([self._outside], [], [], 0.05)
            self._serve_outside(self._outside, time.monotonic())
            self._flush()
        while self._gateway.outgoing.flow_end and self._transport.fileno() >= 0 and time.monotonic() < end:
            self._flush()
            time.sleep(0.01)
        log.info("ended")
