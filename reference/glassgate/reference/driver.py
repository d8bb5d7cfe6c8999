"""The reference gateway on Linux: real interfaces, real time, real randomness around a gateway that has none of them.

What it does: carries frames and octets between the operating system and the gateway, and calls it when its deadline
comes. What it never does: look into what it carries, but for one question, and that is whether a frame would be sealed.
While the flow's buffer is full such frames are dropped here, before they take a packet id (S3).

    internal interface ── PacketSocket ──┐            ┌── Flow ── the kernel's TCP or UDP
    external interface ── PacketSocket ──┼─ gateway ──┤     (or, in its stead, the external interface)
                        clock, signals ──┘            └── notes: the log, and counters by rule

One loop, one thread: wait for a descriptor or the deadline, do what there is, send what the gateway gave. Everything is
bounded: the frames of one turn, the flow's buffer, the patience with a connection or a farewell.

Standards: socket(7), tcp(7), packet(7); OpenVPN sig.c for the signals.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glassgate.contract import (
    CloseFlow,
    Effect,
    FlowEvent,
    GatewayConfig,
    Note,
    NoteKind,
    OpenFlow,
    Port,
    Transmit,
    rules,
)
from glassgate.reference.gateway import ReferenceGateway
from glassgate.reference.openvpn.profile import Profile, Remote
from glassgate.reference.packet_socket import PacketSocket

FRAMES_A_TURN = 64
"""How many frames are taken before the flow and the clock get their turn."""
LARGEST_READ = 65536
LARGEST_BACKLOG = 128 * 1024
"""Octets that wait for the flow; beyond it nothing more is sealed. Some more fit: one turn, and control packets."""
UNSENT = 64 * 1024
"""Octets that wait in the kernel beyond what TCP has in flight. A long queue would only make what is in it late."""
TCP_NOTSENT_LOWAT = 25
DATAGRAMS_WAITING = 256
LONGEST_WAIT = 60.0
FAREWELL = 1.5
"""How long an exit notification is waited for, in seconds."""

NOT_TAKEN = "interface full or frame too long"
"""A counter of what no rule decides."""

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

log = logging.getLogger("glassgate.reference")


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """Seconds since 1970 by the clock on the wall as it stood at the start; it never goes back."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """The time now."""
        return time.monotonic() + self._offset


# ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Flow:
    """The tunnel's transport by the kernel: connecting, then connected. Never blocks."""

    remote: Remote
    socket: socket.socket
    gives_up: float
    """When to wait no longer for the connection."""
    connected: bool = False
    stream: bytearray = field(default_factory=bytearray)
    """What waits to be sent, over TCP."""
    datagrams: list[bytes] = field(default_factory=list)
    """What waits to be sent, over UDP."""

    @classmethod
    def open(cls, remote: Remote, gives_up: float) -> Flow:
        """Begin to connect.

        Raises:
            OSError: the name is unknown, or nothing leads there.
        """
        kind = socket.SOCK_STREAM if remote.proto == "tcp" else socket.SOCK_DGRAM
        address = socket.getaddrinfo(remote.host, remote.port, socket.AF_INET, kind)[0][4]
        made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        try:
            if remote.proto == "tcp":
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT)
            with contextlib.suppress(BlockingIOError):
                made.connect(address)
        except OSError:
            made.close()
            raise
        return cls(remote, made, gives_up)

    @property
    def is_stream(self) -> bool:
        """Whether the transport is TCP."""
        return self.remote.proto == "tcp"

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should be sealed."""
        return len(self.stream) >= LARGEST_BACKLOG or len(self.datagrams) >= DATAGRAMS_WAITING

    @property
    def has_backlog(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self.stream or self.datagrams)

    def finish_connecting(self) -> None:
        """The connection was made.

        Raises:
            OSError: or it was not.
        """
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self.connected = True

    def add(self, octets: bytes) -> None:
        """Something to send: a piece of the stream, or a datagram."""
        if self.is_stream:
            self.stream += octets
        else:
            self.datagrams.append(octets)

    def flush(self) -> None:
        """Send what the kernel takes.

        Raises:
            OSError: the connection is lost.
        """
        try:
            if self.stream:
                del self.stream[: self.socket.send(self.stream)]
            while self.datagrams:
                with contextlib.suppress(ConnectionRefusedError):  # transient: the server may come yet (16.2)
                    self.socket.send(self.datagrams[0])
                del self.datagrams[0]
        except BlockingIOError:
            pass

    def receive(self) -> bytes | None:
        """What arrived; None if nothing did.

        Raises:
            OSError: the connection is lost.
        """
        try:
            octets = self.socket.recv(LARGEST_READ)
        except BlockingIOError:
            return None
        except ConnectionRefusedError:
            if self.is_stream:
                raise
            return None
        if not octets and self.is_stream:
            raise ConnectionResetError(0, "closed by the server")
        return octets or None

    def reset(self) -> None:
        """Give the connection up; the peer is told by a reset (S3)."""
        with contextlib.suppress(OSError):
            self.flush()
        if self.is_stream:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close the connection in order."""
        with contextlib.suppress(OSError):
            self.flush()
        self.socket.close()


# ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Driver:
    """A gateway, and the sockets and the clock around it."""

    def __init__(
        self,
        config: GatewayConfig,
        profile: Profile,
        ports: Mapping[Port, PacketSocket],
        status_file: Path | None = None,
    ) -> None:
        self._clock = Clock()
        self._config = config
        self._profile = profile
        self._gateway = ReferenceGateway(config, os.urandom)
        self._ports = ports
        """The interfaces: internal, and external where the gateway has its own stack there."""
        self._status_file = status_file
        """Where SIGUSR2 writes how things stand."""
        self._flow: Flow | None = None
        self._selector = selectors.DefaultSelector()
        for port, interface in ports.items():
            self._selector.register(interface, selectors.EVENT_READ, port)
        self._waits_for: int = 0
        """What the flow's socket is registered for."""
        self._leave_by: float | None = None
        self._failure: str | None = None
        """Why it ended for good; empty if it was to end."""
        self.counters: Counter[str] = Counter()
        """What became of packets, by rule."""

    def run(self) -> int:
        """Run until a signal or the server ends it. Gives the exit status: 0 if it was to end, 1 if it failed."""
        with _signals() as wake_up:
            self._selector.register(wake_up, selectors.EVENT_READ)
            try:
                self._obey(self._gateway.start(self._clock()))
                self._flush()
                while self._failure is None:
                    self._turn(wake_up)
            finally:
                self._close()
        if self._failure:
            log.error("%s", self._failure)
            return 1
        return 0

    def leave(self) -> None:
        """Tell the server, then end (SIGTERM, SIGINT). A second time: end at once."""
        has_own_stack = Port.EXTERNAL in self._ports
        is_connected = self._flow is not None and self._flow.connected
        if self._leave_by is not None or not (has_own_stack or is_connected):
            self._failure = ""
            return
        log.info("leaving")
        now = self._clock()
        self._leave_by = now + FAREWELL
        self._obey(self._gateway.stop(now))

    def restart(self) -> None:
        """Give the connection up and make another (SIGUSR1)."""
        log.warning("connection: restarted by a signal")
        self._obey(self._gateway.restart(self._clock()))

    @property
    def status(self) -> dict[str, object]:
        """How things stand, in JSON's values."""
        remote = self._profile.remotes[self._gateway.remote]
        server = {"host": remote.host, "port": remote.port, "proto": remote.proto}
        return {**self._gateway.status, "server": server, "counters": dict(sorted(self.counters.items()))}

    def tell(self) -> None:
        """Write how things stand into the log, and into the status file if there is one (SIGUSR2)."""
        if self._status_file is not None:
            self._write_status(self._status_file)
        flow = self._flow
        if Port.EXTERNAL in self._ports:
            log.warning("flow: by the gateway's own stack over %s", self._ports[Port.EXTERNAL].interface)
        elif flow is None:
            log.warning("flow: none")
        else:
            state = "connected" if flow.connected else "connecting"
            log.warning("flow: %s to %s:%d, %s", flow.remote.proto, flow.remote.host, flow.remote.port, state)
        for slug, count in sorted(self.counters.items()):
            log.warning("%8d %s", count, slug if slug == NOT_TAKEN else f"{slug}: {rules.find(slug).sentence}")

    def _write_status(self, path: Path) -> None:
        """The file is replaced at once, so that who reads it finds a whole one."""
        new = path.with_name(f".{path.name}.new")
        try:
            new.write_text(json.dumps(self.status, indent=2) + "\n", encoding="utf-8")
            new.replace(path)
        except OSError as error:
            log.error("%s: %s", path, error.strerror)

    def _turn(self, wake_up: socket.socket) -> None:
        """Wait for something, and do it."""
        for key, events in self._selector.select(self._patience()):
            if key.data is not None:
                self._frames(key.data)
            elif key.fileobj is wake_up:
                self._hear_signals(wake_up)
            elif self._flow is not None and key.fileobj is self._flow.socket:
                self._flow_is_ready(self._flow, events)
        self._time()
        self._flush()

    def _hear_signals(self, wake_up: socket.socket) -> None:
        """Do what each signal asks for, here and not in the middle of something else."""
        with contextlib.suppress(BlockingIOError):
            for number in wake_up.recv(64):
                SIGNALS[signal.Signals(number)](self)

    def _patience(self) -> float:
        """How long there is nothing to do but wait."""
        now = self._clock()
        times = [self._gateway.deadline, self._leave_by]
        if self._flow is not None and not self._flow.connected:
            times.append(self._flow.gives_up)
        due = min((moment for moment in times if moment is not None), default=now + LONGEST_WAIT)
        return min(max(0.0, due - now), LONGEST_WAIT)

    def _time(self) -> None:
        """Do what is due."""
        now = self._clock()
        deadline = self._gateway.deadline
        if deadline is not None and deadline <= now:
            self._obey(self._gateway.tick(now))
        if self._leave_by is not None and self._leave_by <= now:
            self._failure = self._failure or ""
        if self._flow is not None and not self._flow.connected and self._flow.gives_up <= now:
            self._lost(f"no connection after {self._profile.connect_timeout:g} s")

    # ── interfaces ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _frames(self, port: Port) -> None:
        """Take the frames that arrived, as many as one turn has."""
        interface = self._ports[port]
        for _ in range(FRAMES_A_TURN):
            try:
                frames = interface.receive()
            except OSError as error:
                log.error("%s: %s", interface.interface, error.strerror)
                time.sleep(0.1)  # the interface is down: it says so again and again
                return
            if frames is None:
                return
            for frame in frames:
                if port is Port.INTERNAL and self._is_full and self._would_be_sealed(frame):
                    self.counters[rules.S3_DROP_BEFORE_ID.slug] += 1
                else:
                    self._obey(self._gateway.receive(port, frame, self._clock()))

    @property
    def _is_full(self) -> bool:
        return self._flow is not None and self._flow.is_full

    def _would_be_sealed(self, frame: bytes) -> bool:
        """Whether a frame holds IPv4 that is not for the gateway itself."""
        return frame[12:14] == b"\x08\x00" and frame[30:34] != self._config.internal.address.ip.packed

    # ── outside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _open_flow(self) -> None:
        """Connect to the server whose turn it is."""
        remote = self._profile.remotes[self._gateway.remote]
        log.info("connecting to %s:%d (%s)", remote.host, remote.port, remote.proto)
        try:
            self._flow = Flow.open(remote, self._clock() + self._profile.connect_timeout)
        except OSError as error:
            self._lost(error.strerror or str(error))

    def _flow_is_ready(self, flow: Flow, events: int) -> None:
        """The connection was made or refused, octets arrived, or there is room again."""
        try:
            if not flow.connected:
                flow.finish_connecting()
                self._obey(self._gateway.flow(FlowEvent.OPENED, self._clock()))
                return
            if events & selectors.EVENT_WRITE:
                flow.flush()
            octets = flow.receive() if events & selectors.EVENT_READ else None
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if octets is not None:
            self._obey(self._gateway.receive(Port.FLOW, octets, self._clock()))

    def _lost(self, reason: str) -> None:
        """The connection ended, or did not come about."""
        log.warning("connection: %s", reason)
        self._end_flow()
        self._obey(self._gateway.flow(FlowEvent.CLOSED, self._clock()))

    def _end_flow(self) -> None:
        """Reset the connection."""
        if self._flow is not None:
            self._watch_flow(0)
            self._flow.reset()
            self._flow = None

    def _flush(self) -> None:
        """Send what waits for the flow, and watch its socket for what it still needs."""
        flow = self._flow
        if flow is None:
            return
        if flow.connected and flow.has_backlog:
            try:
                flow.flush()
            except OSError as error:
                self._lost(error.strerror or str(error))
                return
        wants_room = flow.has_backlog or not flow.connected
        self._watch_flow(selectors.EVENT_READ * flow.connected | selectors.EVENT_WRITE * wants_room)

    def _watch_flow(self, events: int) -> None:
        """Have the loop woken up by the flow's socket for these events."""
        assert self._flow is not None
        if events == self._waits_for:
            return
        if self._waits_for == 0:
            self._selector.register(self._flow.socket, events)
        elif events == 0:
            self._selector.unregister(self._flow.socket)
        else:
            self._selector.modify(self._flow.socket, events)
        self._waits_for = events

    def _close(self) -> None:
        """Leave nothing open."""
        if self._flow is not None:
            self._watch_flow(0)
            self._flow.close()
        self._selector.close()
        for interface in self._ports.values():
            interface.close()

    # ── what the gateway wants ───────────────────────────────────────────────────────────────────────────────────────

    def _obey(self, effects: Iterable[Effect]) -> None:
        """Do what the gateway wants, in its order."""
        for effect in effects:
            match effect:
                case Transmit(Port.FLOW, data):
                    if self._flow is not None:
                        self._flow.add(data)
                case Transmit(port, data):
                    if not self._ports[port].send(data):
                        self.counters[NOT_TAKEN] += 1
                case OpenFlow():
                    self._open_flow()
                case CloseFlow():
                    self._end_flow()
                case note:
                    self._note(note)

    def _note(self, note: Note) -> None:
        """Log a change of state, count what became of packets, and see when it is over."""
        if note.kind is not NoteKind.STATE:
            self.counters[note.rule.slug] += 1
            log.debug("%s by %s %s", note.kind, note.rule, _told(note))
            return
        log.log(_level(note), "%s %s", note.rule, _told(note))
        if note.detail.get("will_retry") is False:
            was_to_end = note.rule is rules.S4_LEAVE
            self._failure = "" if was_to_end else str(note.detail.get("reason", note.rule.sentence))


def _level(note: Note) -> int:
    """How loud a change of state is told."""
    if note.rule in TROUBLE:
        return logging.WARNING
    return logging.INFO if note.rule.requirement in TUNNEL_LIFE else logging.DEBUG


def _told(note: Note) -> str:
    return " ".join(f"{name}={value}" for name, value in note.detail.items() if value != "")


SIGNALS: dict[signal.Signals, Callable[[Driver], None]] = {
    signal.SIGTERM: Driver.leave,
    signal.SIGINT: Driver.leave,
    signal.SIGUSR1: Driver.restart,
    signal.SIGUSR2: Driver.tell,
}


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that becomes readable with the number of each signal (signal(3), set_wakeup_fd)."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    old_descriptor = signal.set_wakeup_fd(writing.fileno())
    old = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(old_descriptor)
        for number, handler in old.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
