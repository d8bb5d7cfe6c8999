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
4. **A wake-up with one packet calls little**: who is served stands in a table by descriptor, what cannot have changed
   is not looked at again, and the kernel is called twice, to wait and to send. Code that is not called need not be
   fetched: at a small load a cache is cold. 70 000 instructions for 104 000 (by valgrind); 10 µs for 14 if one wake-up
   follows the other, 44 for 56 if a quarter of a millisecond lies between. Guard: ``test_optimized_driver.py``.
5. **Ordinary packets are counted, not noted.** All others are noted always, for the counters by rule. Guard: the same.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glassgate.contract import CloseFlow, Effect, Note, NoteKind, OpenFlow, rules
from glassgate.optimized.buffers import OutsideFrames
from glassgate.optimized.gateway import NEVER, BatchGateway
from glassgate.optimized.packet_socket import PacketSocket
from glassgate.reference.openvpn.profile import Remote

LARGEST_BACKLOG = 256 * 1024
"""Octets of records that may wait for the kernel's socket."""
LARGEST_DATAGRAM = 65536
DATAGRAMS_A_TURN = 256
MOST_EVENTS = 8
"""Of one wake-up; there are four descriptors at most."""
LONGEST_WAIT = 60.0
FAREWELL = 1.5
"""How long an exit notification is waited for, in seconds."""

NOT_TAKEN = "interface full or frame too long"

TUNNEL_LIFE = frozenset(("S1", "S2", "S4", "S24", "S26"))
"""Changes of state that a log shows by default are those of these requirements; the rest comes with every packet."""
TROUBLE = frozenset((
    rules.S1_PREFIXES_APART,
    rules.S2_HANDSHAKE_FAILED,
    rules.S2_REFUSED,
    rules.S2_ROUTER_SILENT,
    rules.S2_UNANSWERED,
    rules.S3_RESET_LOST_FLOW,
    rules.S4_FLOW_LOST,
    rules.S4_IDLE,
    rules.S4_PEER_ENDS,
    rules.S7_CONFLICT,
    rules.S26_PING_RESTART,
))  # fmt: skip
"""These are somebody's trouble: ``--quiet`` does not hide them."""

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
    """Fates of packets by rule, but for the ordinary ones, which the gateway counts."""


# ── the transport ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Transport:
    """The flow as the kernel provides it: one TCP connection or one connected UDP socket at a time. Never blocks."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._wants_to_write = False
        self._is_stream = True
        self.socket: socket.socket | None = None
        self.remote: Remote | None = None
        self.is_connected = False
        self.deadline = NEVER
        """When an attempt to connect is given up."""

    def open(self, remote: Remote, deadline: float) -> None:
        """Begin to connect.

        Raises:
            OSError: the name is unknown, or nothing leads there.
        """
        self.close()
        kind = socket.SOCK_STREAM if remote.proto == "tcp" else socket.SOCK_DGRAM
        address = socket.getaddrinfo(remote.host, remote.port, socket.AF_INET, kind)[0][4]
        made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        try:
            if remote.proto == "tcp":
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(BlockingIOError):
                made.connect(address)
        except OSError:
            made.close()
            raise
        self.socket, self.remote, self.deadline = made, remote, deadline
        self._is_stream = remote.proto == "tcp"
        self._wants_to_write = True
        self._epoll.register(made, select.EPOLLIN | select.EPOLLOUT)

    def close(self, last_words: Iterator[bytes] | None = None) -> None:
        """Close the socket; with ``last_words``, which are sent if they can be, by a reset (S3_RESET_LOST_FLOW)."""
        made = self.socket
        if made is None:
            return
        self._epoll.unregister(made)
        if last_words is not None:
            with contextlib.suppress(OSError):
                for octets in last_words:
                    made.send(octets)
            if self._is_stream:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.close()
        self.socket, self.is_connected, self.deadline = None, False, NEVER

    def finish_connecting(self) -> None:
        """The socket became writable: it is connected.

        Raises:
            OSError: or it is not.
        """
        assert self.socket is not None
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self.is_connected, self.deadline = True, NEVER

    def receive_into(self, room: memoryview) -> int | None:
        """Receive what there is. None if there is nothing.

        Raises:
            OSError: the connection is broken, or the server has closed it.
        """
        assert self.socket is not None
        try:
            count = self.socket.recv_into(room)
        except BlockingIOError:
            return None
        except ConnectionRefusedError:
            if self._is_stream:
                raise
            return None  # transient: the server may come yet (16.2)
        if count == 0 and self._is_stream:
            raise ConnectionResetError(0, "closed by the server")
        return count

    def wait_to_write(self, wanted: bool) -> None:
        """Whether to be told when the kernel takes more."""
        if wanted != self._wants_to_write and self.socket is not None:
            self._wants_to_write = wanted
            self._epoll.modify(self.socket, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))


# ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Driver:
    """One thread that waits, and calls the gateway with all that has arrived."""

    def __init__(
        self,
        gateway: BatchGateway,
        frames: PacketSocket,
        outside: PacketSocket | None = None,
        status_file: Path | None = None,
    ) -> None:
        self._gateway = gateway
        self._outgoing = gateway.outgoing
        self._frames = frames
        self._outside = outside
        self._status_file = status_file
        """Where SIGUSR2 writes how things stand."""
        self._epoll = select.epoll()
        self._transport = Transport(self._epoll)
        self._servants: dict[int, Callable[[int, float], None]] = {}
        """Who serves what has happened at a descriptor."""
        self._datagram = bytearray(LARGEST_DATAGRAM)
        self._wake_in, self._wake_out = socket.socketpair()
        self._leave_by = NEVER
        self._failure: str | None = None
        """Why it ended for good; empty if it was to end."""
        self.counters = Counters()
        self._outgoing.telling = self._outgoing.noting = True
        if gateway.external is None:
            self._outgoing.flow_limit = LARGEST_BACKLOG

    def run(self) -> int:
        """Run until a signal or the server ends it. Gives the exit status: 0 if it was to end, 1 if it failed."""
        with self._signals():
            try:
                self.begin()
                while self._failure is None or not self.is_over:
                    self.turn()
            finally:
                self.end()
        if self._failure:
            log.error("%s", self._failure)
            return 1
        return 0

    def begin(self) -> None:
        """Start the gateway, and with it the first connection."""
        self._serve(self._frames, self._serve_frames)
        self._serve(self._wake_out, self._serve_signals)
        if self._outside is not None:
            self._serve(self._outside, self._serve_outside)
        self._gateway.start(time.monotonic())
        self._flush()

    def _serve(self, served: PacketSocket | socket.socket, servant: Callable[[int, float], None]) -> None:
        self._epoll.register(served, select.EPOLLIN)
        self._servants[served.fileno()] = servant

    def end(self) -> None:
        """Close all that is open."""
        self._transport.close()
        self._frames.close()
        if self._outside is not None:
            self._outside.close()
        self._epoll.close()
        self._wake_in.close()
        self._wake_out.close()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do: it has failed, or what it had to say at the end has left."""
        if self._failure is None:
            return False
        return bool(self._failure) or self._gateway.has_left or time.monotonic() >= self._leave_by

    def turn(self) -> None:
        """Wait for something to happen, or for the time that something is due, and do all there is to do."""
        gateway, transport = self._gateway, self._transport
        due = gateway.deadline  # compared by hand: a min() costs CPython 500 instructions
        if transport.deadline < due:
            due = transport.deadline
        if self._leave_by < due:
            due = self._leave_by
        wait = due - time.monotonic()
        events = self._epoll.poll(0.0 if wait < 0.0 else wait if wait < LONGEST_WAIT else LONGEST_WAIT, MOST_EVENTS)
        now = time.monotonic()
        self.counters.wake_ups += 1
        for number, event in events:
            servant = self._servants.get(number)
            if servant is not None:
                servant(event, now)
        if now >= due:
            self._do_what_is_due(now)

    def _do_what_is_due(self, now: float) -> None:
        if now >= self._transport.deadline:
            tunnel = self._gateway.tunnel
            assert tunnel.profile is not None
            self._lose(f"no connection after {tunnel.profile.connect_timeout:g} s", now)
        if now >= self._gateway.deadline:
            self._gateway.tick(now)
        self._flush()
        if now >= self._leave_by:
            self._failure = self._failure or ""

    # ── what has arrived ──────────────────────────────────────────────────────────────────────────────────────────────

    def _serve_frames(self, event: int, now: float) -> None:
        if event != select.EPOLLIN:
            self._tell_trouble(self._frames)
        for buffer, bounds in self._frames.batches():
            self._gateway.receive_frames(buffer, bounds, now)
            self._flush()

    def _serve_outside(self, event: int, now: float) -> None:
        """What has arrived outside, a batch at a time."""
        gateway, outside = self._gateway, self._outside
        assert outside is not None
        if event != select.EPOLLIN:
            self._tell_trouble(outside)
        for buffer, bounds in outside.batches():
            if not bounds:
                continue
            is_full = gateway.receive_outside(buffer, bounds, now, is_vouched=outside.is_vouched)
            self._flush()
            while is_full:
                is_full = gateway.go_on(now)
                self._flush()

    def _tell_trouble(self, socket_in_trouble: PacketSocket) -> None:
        """The interface is down or gone: it says so once, when it is asked."""
        trouble = socket_in_trouble.trouble()
        if trouble:
            log.error("%s: %s", socket_in_trouble.interface, os.strerror(trouble))

    def _serve_transport(self, event: int, now: float) -> None:
        try:
            if not self._transport.is_connected:
                self._transport.finish_connecting()
                self.counters.flows += 1
                self._gateway.flow_opened(now)
            if event != select.EPOLLOUT:
                self._receive(now)
        except OSError as error:
            self._lose(error.strerror or str(error), now)
        self._flush()

    def _receive(self, now: float) -> None:
        gateway, transport = self._gateway, self._transport
        if not gateway.tunnel.is_stream:
            return self._receive_datagrams(now)
        count = transport.receive_into(gateway.room())
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
            if not self._transport.is_connected:
                return
            count = self._transport.receive_into(view)
            if count is None:
                return
            self.counters.octets_in += count
            self._gateway.receive_datagram(view[:count], now)

    def _lose(self, reason: str, now: float) -> None:
        """The connection ended, or did not come about."""
        log.warning("connection: %s", reason)
        self._close_transport()
        self._gateway.flow_closed(now)

    # ── what the gateway gave ─────────────────────────────────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        """Send frames and records, fulfil wishes, log notes."""
        outgoing = self._outgoing
        if outgoing.frame_bounds:
            self._send_frames()
        if self._gateway.external is not None:
            self._send_outside(self._gateway.external.frames)
        elif outgoing.flow_end and self._transport.is_connected:
            self._send_records()
        while outgoing.effects:  # what is done of them may bring more
            for effect in outgoing.take_effects():
                self._perform(effect)

    def _send_outside(self, frames: OutsideFrames) -> None:
        if frames.bounds and self._outside is not None:
            self.counters.outer_frames_out += len(frames.bounds)
            self._outside.send_unfinished(frames.view, frames.bounds)
            frames.sent()

    def _send_frames(self) -> None:
        outgoing = self._outgoing
        self.counters.frames_out += len(outgoing.frame_bounds)
        self._frames.send(outgoing.frames, outgoing.frame_bounds)
        outgoing.frames_sent()

    def _send_records(self) -> None:
        """One send for all of them; what the kernel does not take waits, and we are told when it takes more."""
        outgoing, transport = self._outgoing, self._transport
        assert transport.socket is not None
        if outgoing.record_bounds:
            return self._send_datagrams(transport.socket)
        try:
            sent = transport.socket.send(outgoing.flow[: outgoing.flow_end])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return self._lose(error.strerror or str(error), time.monotonic())
        self.counters.octets_out += sent
        outgoing.flow_sent(sent)
        return transport.wait_to_write(outgoing.flow_end > 0)

    def _send_datagrams(self, to: socket.socket) -> None:
        """What the kernel does not take is lost, as datagrams may be."""
        outgoing = self._outgoing
        for start, end in outgoing.record_bounds:
            with contextlib.suppress(OSError):
                self.counters.octets_out += to.send(outgoing.flow[start:end])
        outgoing.drop_flow()
        self._transport.wait_to_write(False)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Note():
                self._note(effect)
            case OpenFlow():
                self._open_flow()
            case CloseFlow():
                self._close_transport(is_reset=True)

    def _open_flow(self) -> None:
        """Connect to the server whose turn it is."""
        tunnel, now = self._gateway.tunnel, time.monotonic()
        assert tunnel.profile is not None
        remote = tunnel.current_remote
        log.info("connecting to %s:%d (%s)", remote.host, remote.port, remote.proto)
        try:
            self._transport.open(remote, now + tunnel.profile.connect_timeout)
        except OSError as error:
            self._lose(error.strerror or str(error), now)
        else:
            assert self._transport.socket is not None
            self._servants[self._transport.socket.fileno()] = self._serve_transport

    def _close_transport(self, *, is_reset: bool = False) -> None:
        transport = self._transport
        if transport.socket is not None:
            del self._servants[transport.socket.fileno()]
            transport.close(iter(self._gateway.tunnel.take_last_words()) if is_reset else None)

    # ── notes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note(self, note: Note) -> None:
        """Log a change of state, count what became of packets, and see when it is over."""
        if note.kind is not NoteKind.STATE:
            self.counters.rules[note.rule.slug] += 1
        level = _level(note)
        if log.isEnabledFor(level):
            by = "" if note.kind is NoteKind.STATE else f"{note.kind} by "
            log.log(level, "%s%s %s", by, note.rule, _told(note))
        if note.detail.get("will_retry") is False:
            was_to_end = note.rule is rules.S4_LEAVE
            self._failure = "" if was_to_end else str(note.detail.get("reason", note.rule.sentence))

    # ── signals ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def leave(self) -> None:
        """Tell the server, then end (SIGTERM, SIGINT; S4_LEAVE). A second time: end at once."""
        is_told = self._outside is not None or self._transport.is_connected
        if self._leave_by != NEVER or not is_told:
            self._failure, self._leave_by = "", 0.0
            return
        log.info("leaving")
        now = time.monotonic()
        self._leave_by = now + FAREWELL
        self._gateway.stop(now)

    def restart(self) -> None:
        """Give the connection up and make another (SIGUSR1)."""
        log.warning("connection: restarted by a signal")
        self._gateway.restart(time.monotonic())

    @property
    def status(self) -> dict[str, object]:
        """How things stand, in JSON's values."""
        remote = self._gateway.tunnel.current_remote
        server = {"host": remote.host, "port": remote.port, "proto": remote.proto}
        return {**self._gateway.status, "server": server, "counters": self._counted()}

    def _counted(self) -> dict[str, int]:
        """What became of packets, by rule, and what no interface took."""
        counted = self.counters.rules + Counter(self._gateway.ordinary)
        lost = self._frames.frames_lost + self._outgoing.refused_frames
        if self._outside is not None and self._gateway.external is not None:
            lost += self._outside.frames_lost + self._gateway.external.frames.refused
        counted[NOT_TAKEN] = lost
        return dict(sorted((+counted).items()))

    def tell(self) -> None:
        """Write how things stand into the log, and into the status file if there is one (SIGUSR2)."""
        if self._status_file is not None:
            self._write_status(self._status_file)
        remote = self._transport.remote
        if self._outside is not None:
            log.warning("flow: by the gateway's own stack over %s", self._outside.interface)
        elif self._transport.socket is None or remote is None:
            log.warning("flow: none")
        else:
            state = "connected" if self._transport.is_connected else "connecting"
            log.warning("flow: %s to %s:%d, %s", remote.proto, remote.host, remote.port, state)
        for slug, count in self._counted().items():
            log.warning("%8d %s", count, f"{slug}: {rules.RULES[slug].sentence}" if slug in rules.RULES else slug)
        counters = self.counters
        log.warning("%d wake-ups; flow: %d octets in, %d out, %d connections", counters.wake_ups, counters.octets_in,
                    counters.octets_out, counters.flows)  # fmt: skip

    def _write_status(self, path: Path) -> None:
        """The file is replaced at once, so that who reads it finds a whole one."""
        new = path.with_name(f".{path.name}.new")
        try:
            new.write_text(json.dumps(self.status, indent=2) + "\n", encoding="utf-8")
            new.replace(path)
        except OSError as error:
            log.error("%s: %s", path, error.strerror)

    def _serve_signals(self, event: int, now: float) -> None:
        """Do what each signal asks for, here and not in the middle of something else."""
        with contextlib.suppress(BlockingIOError):
            for number in self._wake_out.recv(64):
                if number in SIGNALS:
                    SIGNALS[signal.Signals(number)](self)
        self._flush()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """``_wake_out`` becomes readable with the number of each signal (signal(3), set_wakeup_fd)."""
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        old_descriptor = signal.set_wakeup_fd(self._wake_in.fileno(), warn_on_full_buffer=False)
        old = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_descriptor)
            for number, handler in old.items():
                signal.signal(number, handler)


SIGNALS: dict[signal.Signals, Callable[[Driver], None]] = {
    signal.SIGTERM: Driver.leave,
    signal.SIGINT: Driver.leave,
    signal.SIGUSR1: Driver.restart,
    signal.SIGUSR2: Driver.tell,
}


def _level(note: Note) -> int:
    """How loud a change of state is told; what became of a packet is whispered."""
    if note.kind is not NoteKind.STATE:
        return logging.DEBUG
    if note.rule in TROUBLE:
        return logging.WARNING
    return logging.INFO if note.rule.requirement in TUNNEL_LIFE else logging.DEBUG


def _told(note: Note) -> str:
    return " ".join(f"{name}={value}" for name, value in note.detail.items())
