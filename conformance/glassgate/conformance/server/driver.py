"""The far end on a socket: one client at a time, over TCP or UDP, until it is told to stop.

A client that connects while another is there takes its place: it is the same one, come again, before its old connection
was known to be dead.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.session import Crossed, Dropped, Ended, Inner, Installed, Output, Send
from glassgate.conformance.server.tun import Tun

READ_OCTETS = 65536
MOST_WAITING = 1 << 20  # octets that the client does not take; what is over is dropped, as a full queue drops
MOST_AT_ONCE = 64  # datagrams, before the clock and others get their turn
LONGEST_WAIT = 60.0


class Behind(Protocol):
    """What inner packets are for."""

    def receive(self, packet: bytes) -> list[bytes]:
        """Take an inner packet; returns those that answer it."""


class Driver:
    """Listens, and moves octets between the client, the endpoint and what lies behind it."""

    def __init__(
        self, endpoint: Endpoint, listen: tuple[str, int], behind: Behind, tell: Callable[[str], None]
    ) -> None:
        """Bind the address.

        Raises:
            OSError: it cannot be bound.
        """
        self._endpoint = endpoint
        self._behind = behind
        self._tell = tell
        self._is_stream = endpoint.settings.proto == "tcp"
        self._listener = _bound(listen, self._is_stream)
        self._connection: socket.socket | None = None
        self._peer: tuple[str, int] | None = None
        self._waiting = bytearray()
        self._is_stopped = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(
            self._listener, selectors.EVENT_READ, self._accept if self._is_stream else self._datagram
        )
        if isinstance(behind, Tun):
            self._selector.register(behind, selectors.EVENT_READ, lambda: self._from_tun(behind))

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port that was chosen, if 0 was asked for."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def watch(self, awake: socket.socket) -> None:
        """Wake up when octets come there; what they are does not matter."""
        self._selector.register(awake, selectors.EVENT_READ, lambda: awake.recv(READ_OCTETS))

    def stop(self) -> None:
        """End ``run`` soon."""
        self._is_stopped = True

    def run(self) -> None:
        """Serve until ``stop``; then say that this end restarts, and close everything."""
        try:
            while not self._is_stopped:
                for key, _ in self._selector.select(self._patience()):
                    key.data()
                self._do(self._endpoint.tick(time.monotonic()))
            self._do(self._endpoint.say("RESTART", time.monotonic()))
        finally:
            self._disconnect()
            self._selector.close()
            self._listener.close()

    def _patience(self) -> float:
        deadline = self._endpoint.deadline
        return LONGEST_WAIT if deadline is None else min(max(deadline - time.monotonic(), 0.0), LONGEST_WAIT)

    # ── what came ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _accept(self) -> None:
        try:
            connection, peer = self._listener.accept()
        except OSError:
            return  # gone again before it was looked at
        self._disconnect()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._peer = connection, peer
        self._selector.register(connection, selectors.EVENT_READ, self._stream)
        self._endpoint.connected()
        self._tell(f"a connection from {peer[0]}:{peer[1]}")

    def _stream(self) -> None:
        if self._waiting:
            self._flush()
        if self._connection is None:
            return
        try:
            octets = self._connection.recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(error.strerror or "the connection is broken")
            return
        if not octets:
            self._gone("the client closed the connection")
            return
        self._do(self._endpoint.receive(octets, time.monotonic()))

    def _datagram(self) -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                octets, peer = self._listener.recvfrom(READ_OCTETS)
            except OSError:
                return  # there is no more, or it is an ICMP error about something sent earlier
            outputs = self._endpoint.receive(octets, time.monotonic())
            if not all(isinstance(output, Dropped) for output in outputs):
                self._peer = peer
            self._do(outputs)

    def _from_tun(self, tun: Tun) -> None:
        for packet in tun.read():
            if len(self._waiting) < MOST_WAITING:
                self._do(self._endpoint.send(packet, time.monotonic()))

    # ── what is to be done ────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            match output:
                case Send(packet):
                    self._transmit(packet)
                case Inner(packet):
                    for reply in self._behind.receive(packet):
                        if len(self._waiting) < MOST_WAITING:
                            self._do(self._endpoint.send(reply, time.monotonic()))
                case Ended(reason):
                    self._tell(f"the session is over: {reason}")
                    self._disconnect()
                case Installed(session):
                    self._tell(f"key {session.key_id} is there: {session.cipher}, the client has {session.address}")
                case Dropped(problem):
                    self._tell(f"dropped: {problem}")
                case Crossed():
                    self._tell(f"{'→' if output.is_sent else '←'} {output.words}")

    def _transmit(self, packet: bytes) -> None:
        if self._connection is not None:
            self._waiting += packet
            self._flush()
        elif not self._is_stream and self._peer is not None:
            with contextlib.suppress(OSError):
                self._listener.sendto(packet, self._peer)

    def _flush(self) -> None:
        if self._connection is None:
            return
        try:
            while self._waiting:
                del self._waiting[: self._connection.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._gone(error.strerror or "the connection is broken")
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)
        self._selector.modify(self._connection, events, self._stream)

    def _gone(self, reason: str) -> None:
        self._tell(reason)
        self._disconnect()

    def _disconnect(self) -> None:
        self._endpoint.connected()
        self._waiting.clear()
        if self._connection is not None:
            self._selector.unregister(self._connection)
            self._connection.close()
        self._connection = self._peer = None


@contextlib.contextmanager
def stopped_by_signals(driver: Driver) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM end the driver's ``run``."""

    def stop(number: int, frame: object) -> None:
        driver.stop()

    awake, wakes = socket.socketpair()
    for end in (awake, wakes):
        end.setblocking(False)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    old = signal.set_wakeup_fd(wakes.fileno())
    driver.watch(awake)
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        awake.close()
        wakes.close()


def _bound(listen: tuple[str, int], is_stream: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM)
    try:
        if is_stream:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(listen)
        if is_stream:
            bound.listen()
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
