"""A gateway of this project, run by its own driver, as the live gateway.

::

    judge ── internal  GATEWAY  192.168.1.5 ── 1.2.3.4  SERVER: a socket of the judge's own far end
             00:f0:0d:f0:0d:00

Every vector gets a program that has just been started. The tunnel's far end is the suite's own: it passes on whatever
the gateway sends, where a stock server would look into the packets first.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace

from glassgate.conformance.lab import programs, topology
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.namespaces import PacketSocket, inside, write_settings
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.tunnel import PORT, GatewayKind
from glassgate.conformance.model import Vector
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import client_configuration, introduce
from glassgate.conformance.server.session import Dropped, Ended, Inner, Output, Send
from glassgate.conformance.server.settings import Control
from glassgate.contract import GatewayConfig, Limits, Services

JUDGE, GATEWAY, SERVER = "judge", "gateway", "server"
OUTLET = "judge"
CONNECT_SECONDS = 15.0
READ_OCTETS = 65536


class FarEndPort:
    """The judge's far end, as a place where inner packets come and go: what a peer's tun interface is elsewhere."""

    def __init__(self, namespace: str) -> None:
        with inside(namespace):
            self._listener = socket.create_server((topology.SERVER_ADDRESS, PORT))
        self._listener.setblocking(False)
        self._connection: socket.socket | None = None
        self._endpoint: Endpoint | None = None
        self._inner: deque[bytes] = deque()

    def expect(self, endpoint: Endpoint) -> None:
        """Forget the client before, and wait for the next one."""
        self._disconnect()
        endpoint.connected()
        self._endpoint = endpoint
        self._inner.clear()
        with contextlib.suppress(BlockingIOError):
            while True:  # who connected meanwhile is the one before
                self._listener.accept()[0].close()

    def connect(self, seconds: float) -> None:
        """Let the client connect, and negotiate until the tunnel stands.

        Raises:
            LabError: it did not in this time.
        """
        assert self._endpoint is not None
        deadline = time.monotonic() + seconds
        while not self._endpoint.server.is_established:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._connection or self._listener], [], [], left)[0]:
                raise LabError(f"no tunnel within {seconds:g} s")
            if self._connection is None:
                self._connection, _ = self._listener.accept()
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection.setblocking(False)
            else:
                self._read()

    def fileno(self) -> int:
        """For a selector."""
        return (self._connection or self._listener).fileno()

    def send(self, octets: bytes) -> None:
        """Send an inner packet.

        Raises:
            LabError: there is no tunnel.
        """
        assert self._endpoint is not None
        self._do(self._endpoint.send(octets, time.monotonic()))

    def receive(self) -> bytes | None:
        """The next inner packet; None if there is none.

        Raises:
            LabError: the tunnel is gone.
        """
        if not self._inner:
            self._read()
        return self._inner.popleft() if self._inner else None

    def age(self) -> float:
        """Nobody stamps what comes out of the tunnel."""
        return 0.0

    def close(self) -> None:
        """End the connection, and listen no more."""
        self._disconnect()
        self._listener.close()

    def _read(self) -> None:
        if self._connection is None or self._endpoint is None:
            return
        try:
            octets = self._connection.recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError as error:
            raise LabError(f"the tunnel is gone: {error.strerror}") from None
        if not octets:
            raise LabError("the gateway closed the tunnel")
        now = time.monotonic()
        self._do([*self._endpoint.receive(octets, now), *self._endpoint.tick(now)])

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self._transmit(output.packet)
            elif isinstance(output, Inner):
                self._inner.append(output.packet)
            elif isinstance(output, Ended):
                raise LabError(f"the tunnel is over: {output.reason}")
            elif isinstance(output, Dropped):
                raise LabError(f"the far end: {output.problem}")

    def _transmit(self, octets: bytes) -> None:
        if self._connection is None:
            raise LabError("there is no tunnel")
        try:
            while octets:
                select.select([], [self._connection], [], CONNECT_SECONDS)
                octets = octets[self._connection.send(octets) :]
        except OSError as error:
            raise LabError(f"the tunnel is gone: {error.strerror}") from None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ProgramGateway:
    """A lab of its own: the gateway's program started anew for each vector."""

    def __init__(self, kind: GatewayKind) -> None:
        self._lab = Lab.create(kind, owned=True)
        self._kind = kind
        self._settings, self._introduction = introduce(secrets.token_bytes, Control.PLAIN)
        self._starter: subprocess.Popen[str] | None = None
        self._program: int | None = None
        self._internal: PacketSocket | None = None
        self._tunnel: FarEndPort | None = None
        self._mtu = 0

    @property
    def version(self) -> str:
        """Which driver."""
        return f"python -m glassgate.{self._kind}"

    @property
    def internal(self) -> PacketSocket:
        """The internal network, as its hosts have it."""
        assert self._internal is not None, "nothing is built yet"
        return self._internal

    @property
    def tunnel(self) -> FarEndPort:
        """The judge's far end."""
        assert self._tunnel is not None, "nothing is built yet"
        return self._tunnel

    @property
    def helpers(self) -> Collection[socket.socket]:
        """The gateway has its services itself."""
        return ()

    def serve(self, ready: socket.socket) -> None:
        """There is nothing to serve."""

    def build(self) -> None:
        """The network, and what starts the program.

        Raises:
            LabError: a command failed.
        """
        judge, gateway, server = (self._lab.state.namespace(host) for host in (JUDGE, GATEWAY, SERVER))
        inner, outer = topology.INTERNAL_INTERFACE, topology.EXTERNAL_INTERFACE
        programs.demand(["ip", "-batch", "-"], given=(
            f"netns add {judge}\nnetns add {gateway}\nnetns add {server}\n"
            f"link add {inner} netns {gateway} address {topology.INTERNAL_MAC} type veth"
            f" peer name {OUTLET} netns {judge} mtu 65535\n"
            f"link add {outer} netns {gateway} type veth peer name outside netns {server}\n"
        ))  # fmt: skip
        offloads = [word for name in topology.OFFLOADS for word in (name, "off")]
        programs.demand(["ip", "netns", "exec", gateway, "ethtool", "-K", inner, *offloads])
        for namespace in (judge, server):
            write_settings(namespace, {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"})
        write_settings(gateway, topology.settings(topology.GATEWAY, kernel_gateway=False))
        self._ip(SERVER, f"addr add {topology.SERVER_ADDRESS}/32 dev outside\nlink set outside up\n"
                         f"addr add {topology.ROUTER_ADDRESS}/24 dev outside\n")  # fmt: skip
        self._ip(GATEWAY, f"link set lo up\naddr add {topology.EXTERNAL_ADDRESS}/24 dev {outer}\n"
                          f"link set {outer} up\nlink set {inner} up\n"
                          f"route add default via {topology.ROUTER_ADDRESS}\n")  # fmt: skip
        self._ip(JUDGE, f"link set {OUTLET} up\n")
        self._internal = PacketSocket(judge, OUTLET)
        self._tunnel = FarEndPort(server)
        self._starter = subprocess.Popen(
            self._lab.command(GATEWAY, [sys.executable, "-m", "glassgate.conformance.lab.forkserver",
                                        f"glassgate.{self._kind}"]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=programs.environment(), cwd="/",
        )  # fmt: skip

    def why_not(self, vector: Vector, config: GatewayConfig) -> str:
        """Why the driver cannot be brought to a vector's configuration; empty if it can."""
        if config.limits != Limits():
            return "sets limits, for which the driver has no option"
        if config.services != Services():
            return "sets services, for which the driver has no option"
        return ""

    def fresh(self, config: GatewayConfig) -> None:
        """Start the program anew, and bring the tunnel up.

        Raises:
            LabError: it did not come up.
        """
        session = config.tunnel.session
        assert session is not None, "only vectors with a session come here"
        self._end_program()
        self._set_mtu(config.internal.mtu)
        settings = replace(self._settings, mtu=session.mtu, address=session.address, ping=0, ciphers=(session.cipher,))
        path = self._lab.directory / "client.ovpn"
        text = client_configuration(settings, self._introduction, topology.SERVER_ADDRESS, PORT)
        path.write_text(text, encoding="utf-8")
        self.tunnel.expect(Endpoint(settings, secrets.token_bytes, int(time.time())))
        while self.internal.receive() is not None:
            pass  # what the program before still said
        self._start_program(config, str(path))
        try:
            self.tunnel.connect(CONNECT_SECONDS)
        except LabError as error:
            raise LabError(f"{error}: {self._lab.last_words(GATEWAY)}") from None

    def close(self) -> list[str]:
        """Take everything down; what could not be done, a line each."""
        with contextlib.suppress(LabError):
            self._end_program()
        if self._starter is not None:
            self._starter.communicate()  # its input ends, and so does it
        if self._tunnel is not None:
            self._tunnel.close()
        return self._lab.down()

    def _ip(self, host: str, batch: str) -> None:
        programs.demand(["ip", "-n", self._lab.state.namespace(host), "-batch", "-"], given=batch)

    def _set_mtu(self, mtu: int) -> None:
        if mtu != self._mtu:
            self._ip(GATEWAY, f"link set {topology.INTERNAL_INTERFACE} mtu {mtu}\n")
            self._mtu = mtu

    def _start_program(self, config: GatewayConfig, path: str) -> None:
        assert self._starter is not None
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        inside_ = config.internal
        options: Mapping[str, str] = {
            "--internal": topology.INTERNAL_INTERFACE,
            "--external": "os",
            "--internal-address": str(inside_.address),
            "--internal-mac": str(inside_.mac),
        }
        arguments = [path, *(word for option in options.items() for word in option)]
        arguments += [word for prefix in inside_.sources for word in ("--source", str(prefix))]
        log = str(self._lab.directory / f"{GATEWAY}.log")
        self._starter.stdin.write(json.dumps([log, *arguments]) + "\n")
        self._starter.stdin.flush()
        answer = self._starter.stdout.readline()
        if not answer:
            raise LabError(f"{self.version} cannot be started")
        self._program = int(answer)

    def _end_program(self) -> None:
        if self._program is None:
            return
        program, self._program = self._program, None
        with contextlib.suppress(ProcessLookupError):
            watched = os.pidfd_open(program)
            try:
                os.kill(program, signal.SIGKILL)
                select.select([watched], [], [], CONNECT_SECONDS)
            finally:
                os.close(watched)
