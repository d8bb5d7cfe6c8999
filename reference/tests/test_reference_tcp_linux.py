"""Our TCP against the Linux kernel's, frame by frame over a TAP device in a network namespace of its own.

The kernel is the host on the wire; the gateway reads and writes its frames. A stock OpenVPN server is met in the same
way: the gateway is the seed's system, with its own Ethernet, ARP, IPv4 and TCP on both sides. The namespace belongs to
one thread (``unshare``) and is gone when the thread and its sockets are.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from glassgate.contract import ExternalStack, GatewayConfig, Limits, Note, Port, Rule, SeededEntropy, rules
from glassgate.contract.gateway import Transmit
from glassgate.reference.external import External
from glassgate.reference.flows import FlowClosed, FlowOctets, FlowOpened, Server
from glassgate.reference.gateway import ReferenceGateway

pytestmark = pytest.mark.root

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SECONDS = 40
SESSION = {side: {"key": bytes(32).hex(), "implicit_iv": bytes(8).hex()} for side in ("send", "receive")}


class Namespace:
    """What runs inside: a TAP device whose other end is the kernel."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare: needs root")
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tap, TUNSETIFF, struct.pack("16sH", b"wire", IFF_TAP | IFF_NO_PI))
        for command in ("link set lo up", "link set wire up"):
            self.ip(command)

    def ip(self, command: str) -> None:
        subprocess.run(["ip", *command.split()], check=True)


def in_namespace(story: Callable[[Namespace], None]) -> None:
    """Run a story in a thread with a network namespace of its own; its failure is the test's."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            namespace = Namespace()
            try:
                story(namespace)
            finally:
                os.close(namespace.tap)
        except BaseException as failure:  # noqa: BLE001 - raised again in the test's own thread
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(2 * SECONDS)
    assert not thread.is_alive(), "the story did not end in time"
    if failures:
        raise failures[0]


@dataclass
class Wire:
    """Carries frames between the TAP device and us, losing some of them both ways."""

    namespace: Namespace
    receive: Callable[[bytes, float], Iterable[object]]
    tick: Callable[[float], Iterable[object]]
    deadline: Callable[[], float | None]
    loss: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(1))
    port: Port | None = None
    """Where the frames belong; None if there is but one port."""
    news: list[object] = field(default_factory=list)
    rules: set[Rule] = field(default_factory=set)
    """Of the notes."""

    def put(self, steps: Iterable[object]) -> None:
        for step in steps:
            if isinstance(step, Transmit):
                if self.port in (None, step.port) and self.random.random() >= self.loss:
                    os.write(self.namespace.tap, step.data)
            elif isinstance(step, Note):
                self.rules.add(step.rule)
            elif isinstance(step, FlowOpened | FlowClosed | FlowOctets):
                self.news.append(step)

    def run(self, until: Callable[[], bool]) -> None:
        """Pump frames and time until something holds."""
        end = time.monotonic() + SECONDS
        while not until():
            now = time.monotonic()
            assert now < end, "nothing came of it in time"
            deadline = self.deadline()
            wait = 0.05 if deadline is None else min(max(deadline - now, 0), 0.05)
            if select.select([self.namespace.tap], [], [], wait)[0]:
                frame = os.read(self.namespace.tap, 65536)
                if self.random.random() >= self.loss:
                    self.put(self.receive(frame, time.monotonic()))
            self.put(self.tick(time.monotonic()))


def gateway_inside(namespace: Namespace, loss: float = 0.0) -> Wire:
    """The whole gateway, whose internal network is the TAP device; the kernel is 10.38.2.5."""
    namespace.ip("address add 10.38.2.5/24 dev wire")
    config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"session": SESSION}})
    gateway = ReferenceGateway(config, SeededEntropy(b"kernel"))
    wire = Wire(
        namespace,
        lambda frame, now: gateway.receive(Port.INTERNAL, frame, now),
        gateway.tick,
        lambda: gateway.deadline,
        loss,
    )
    wire.put(gateway.start(time.monotonic()))
    return wire


class Client(threading.Thread):
    """A program of the kernel's host: sends octets to the echo service and reads them back."""

    def __init__(self, octets: bytes, server: str = "10.38.2.1") -> None:
        super().__init__(daemon=True)
        self._octets = octets
        self._server = server
        self._socket = socket.socket()
        self._socket.settimeout(SECONDS)
        self.got = b""
        self.error: OSError | None = None

    def run(self) -> None:
        try:
            self._socket.connect((self._server, 7))
            sender = threading.Thread(target=self._send, daemon=True)
            sender.start()
            with self._socket:
                while octets := self._socket.recv(65536):
                    self.got += octets
        except OSError as error:
            self.error = error

    def _send(self) -> None:
        self._socket.sendall(self._octets)
        self._socket.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(("octets", "loss"), [(3_000_000, 0.0), (300_000, 0.02)], ids=["clean", "lossy"])
def test_the_kernel_gets_back_from_the_echo_service_all_that_it_sends(octets: int, loss: float) -> None:
    def story(namespace: Namespace) -> None:
        sent = random.Random(octets).randbytes(octets)
        wire = gateway_inside(namespace, loss)
        client = Client(sent)
        client.start()
        wire.run(until=lambda: not client.is_alive())
        assert client.error is None
        assert hashlib.sha256(client.got).digest() == hashlib.sha256(sent).digest()

    in_namespace(story)


def test_the_kernel_is_refused_at_a_closed_port() -> None:
    def story(namespace: Namespace) -> None:
        wire = gateway_inside(namespace)
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("10.38.2.1", 9))
        wire.run(until=lambda: bool(select.select([], [client], [], 0)[1]))
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111  # connection refused
        client.close()

    in_namespace(story)


# ── our own connection to a server of the kernel's ───────────────────────────────────────────────────────────────────


class KernelServer(threading.Thread):
    """Accepts one connection; reads all, sends its own, closes as told."""

    def __init__(self, octets: bytes, abort: bool = False) -> None:
        super().__init__(daemon=True)
        self._octets = octets
        self._abort = abort
        self._listener = socket.create_server(("1.2.3.4", 1194))
        self._listener.settimeout(SECONDS)
        self.expected = 0
        self.got = b""

    def run(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(SECONDS)
        with self._listener, connection:
            sender = threading.Thread(target=connection.sendall, args=(self._octets,), daemon=True)
            sender.start()
            while len(self.got) < self.expected:
                self.got += connection.recv(65536)
            sender.join(SECONDS)
            if self._abort:  # close with a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stack_outside(namespace: Namespace, loss: float = 0.0) -> tuple[External, Wire]:
    """The external stack; the kernel is the router 192.168.1.1 and the server 1.2.3.4 too."""
    for address in ("192.168.1.1/24 dev wire", "1.2.3.4/32 dev lo"):
        namespace.ip(f"address add {address}")
    stack = External(ExternalStack(), Limits(), SeededEntropy(b"kernel"), has_notes=True)
    wire = Wire(namespace, stack.receive, stack.tick, lambda: stack.deadline, loss)
    wire.put(stack.start(time.monotonic()))
    return stack, wire


@pytest.mark.parametrize(
    ("octets", "loss", "abort"),
    [(3_000_000, 0.0, False), (300_000, 0.02, False), (1000, 0.0, True)],
    ids=["clean", "lossy", "reset"],
)
def test_a_flow_to_the_kernel_carries_every_octet_both_ways(octets: int, loss: float, abort: bool) -> None:
    def story(namespace: Namespace) -> None:
        up, down = random.Random(1).randbytes(octets), random.Random(2).randbytes(octets)
        stack, wire = stack_outside(namespace, loss)
        server = KernelServer(down, abort)
        server.expected = octets
        server.start()
        wire.put(stack.open(Server(IPv4Address("1.2.3.4"), 1194, "tcp"), time.monotonic()))
        wire.run(until=lambda: FlowOpened() in wire.news)

        sent = 0

        def step() -> bool:
            nonlocal sent
            while sent < octets and stack.room >= 1500:
                wire.put(stack.send(up[sent : sent + 1400], time.monotonic()))
                sent += 1400
            return FlowClosed() in wire.news

        wire.run(until=step)
        server.join(SECONDS)
        got = b"".join(news.octets for news in wire.news if isinstance(news, FlowOctets))
        assert hashlib.sha256(server.got).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(got).digest() == hashlib.sha256(down).digest()

    in_namespace(story)


def test_a_server_of_the_kernel_that_does_not_listen_refuses() -> None:
    def story(namespace: Namespace) -> None:
        stack, wire = stack_outside(namespace)
        wire.put(stack.open(Server(IPv4Address("1.2.3.4"), 1195, "tcp"), time.monotonic()))
        wire.run(until=lambda: bool(wire.news))
        assert wire.news == [FlowClosed()]

    in_namespace(story)


def test_a_flow_that_we_give_up_is_reset_at_the_kernel() -> None:
    def story(namespace: Namespace) -> None:
        stack, wire = stack_outside(namespace)
        listener = socket.create_server(("1.2.3.4", 1194))
        wire.put(stack.open(Server(IPv4Address("1.2.3.4"), 1194, "tcp"), time.monotonic()))
        wire.run(until=lambda: FlowOpened() in wire.news)
        connection, _ = listener.accept()
        wire.put(stack.abort(rules.L3_ABORT, time.monotonic()))
        wire.run(until=lambda: bool(select.select([connection], [], [], 0)[0]))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        connection.close()
        listener.close()

    in_namespace(story)


# ── a stock OpenVPN server, reached over our own stack ───────────────────────────────────────────────────────────────


def start_stock_server(directory: Path, proto: str, ca: str, certificate: str, key: str) -> subprocess.Popen[bytes]:
    """A stock server at 1.2.3.4 in this thread's namespace; it is up when it says so."""
    for name, text in (("ca", ca), ("crt", certificate), ("key", key)):
        (directory / name).write_text(text)
    lines = (
        "dev tun",
        f"proto {'tcp-server' if proto == 'tcp' else 'udp'}",
        "local 1.2.3.4",
        "server 10.88.0.0 255.255.255.0",
        "topology subnet",
        f"ca {directory}/ca",
        f"cert {directory}/crt",
        f"key {directory}/key",
        "dh none",
    )
    (directory / "conf").write_text("\n".join(lines) + "\n")
    program = shutil.which("openvpn", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert program, "this test needs the program openvpn (Debian: apt-get install openvpn)"
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen([program, str(directory / "conf")], stdout=log, stderr=subprocess.STDOUT)
    end = time.monotonic() + 10
    while b"Initialization Sequence Completed" not in (directory / "log").read_bytes():
        assert server.poll() is None, (directory / "log").read_text()
        assert time.monotonic() < end, (directory / "log").read_text()
        time.sleep(0.05)
    return server


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_stock_server_is_reached_over_our_own_stack_and_its_kernel_reaches_our_echo_through_the_tunnel(
    proto: str, tmp_path: Path, authority: Any, server_identity: Any, client_identity: Any
) -> None:
    ca = authority.identity.pem
    profile = (
        f"client\ndev tun\nremote 1.2.3.4 1194 {proto}\nremote-cert-tls server\n<ca>\n{ca}</ca>\n"
        f"<cert>\n{client_identity.pem}</cert>\n<key>\n{client_identity.key_pem}</key>\n"
    )

    def story(namespace: Namespace) -> None:
        for address in ("192.168.1.1/24 dev wire", "1.2.3.4/32 dev lo"):
            namespace.ip(f"address add {address}")
        server = start_stock_server(tmp_path, proto, ca, server_identity.pem, server_identity.key_pem)
        try:
            gateway = ReferenceGateway(GatewayConfig.from_json({"tunnel": {"ovpn": profile}}), os.urandom)
            wire = Wire(
                namespace,
                lambda frame, now: gateway.receive(Port.EXTERNAL, frame, now),
                gateway.tick,
                lambda: gateway.deadline,
                port=Port.EXTERNAL,
            )
            wire.put(gateway.start(time.monotonic()))
            wire.run(until=lambda: rules.S2_ESTABLISHED in wire.rules)

            sent = random.Random(3).randbytes(200_000)
            client = Client(sent, "10.88.0.2")
            client.start()
            wire.run(until=lambda: not client.is_alive())
            assert client.error is None
            assert client.got == sent

            wire.put(gateway.stop(time.monotonic()))
        finally:
            server.terminate()
            server.wait(10)

    in_namespace(story)
