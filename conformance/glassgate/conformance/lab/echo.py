"""The echo services of a kernel, served without a thread by whoever waits for its sockets (RFC 862)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection

from glassgate.conformance.lab.namespaces import inside

LARGEST_READ = 65535
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0  # ip(7): datagrams may be fragmented
ANSWERING_PORTS = (7, 19)
"""Echo and character generator: answering them would never end (L2)."""


class EchoServices:
    """Echo over UDP and TCP at some addresses of a namespace."""

    def __init__(
        self, namespace: str, addresses: Collection[str], udp: Collection[int], tcp: Collection[int], backlog: int
    ) -> None:
        self._connections: set[socket.socket] = set()
        self._listeners: list[socket.socket] = []
        wanted = [(socket.SOCK_DGRAM, port) for port in udp] + [(socket.SOCK_STREAM, port) for port in tcp]
        with inside(namespace):
            self._listeners += [_listener(kind, address, port) for kind, port in wanted for address in addresses]
        for one in self._listeners:
            if one.type is socket.SOCK_STREAM:
                one.listen(backlog)

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        return [*self._listeners, *self._connections]

    def serve(self, ready: socket.socket) -> None:
        """Do what a socket that is ready has to do."""
        try:
            if ready in self._connections:
                self._echo(ready)
            elif ready.type is socket.SOCK_STREAM:
                accepted, _ = ready.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # urgent text is text (RFC 6093)
                self._connections.add(accepted)
            else:
                octets, sender = ready.recvfrom(LARGEST_READ)
                if sender[1] not in ANSWERING_PORTS:
                    ready.sendto(octets, sender)
        except OSError:  # the peer has reset it, or a packet cannot be sent: the others go on
            self._forget(ready)

    def close(self) -> None:
        """End all services."""
        for one in self.sockets:
            one.close()
        self._listeners.clear()
        self._connections.clear()

    def _echo(self, connection: socket.socket) -> None:
        """Send back all that came; if that was the end, the close goes with it."""
        octets, has_ended = _read(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        if octets:
            connection.send(octets)
        if has_ended:
            self._forget(connection)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    def _forget(self, connection: socket.socket) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            connection.close()


def _read(connection: socket.socket) -> tuple[bytes, bool]:
    """All octets that are there (one read ends at urgent text), and whether the peer has closed."""
    gathered = b""
    with contextlib.suppress(BlockingIOError):
        while octets := connection.recv(LARGEST_READ):
            gathered += octets
        return gathered, True
    return gathered, False


def _listener(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind is socket.SOCK_DGRAM:
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    made.bind((address, port))
    made.setblocking(False)
    return made
