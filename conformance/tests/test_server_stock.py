"""The far end and the stock client: two namespaces of this test's own, pings, and ten megabytes that must be equal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glassgate.conformance.lab import programs
from glassgate.conformance.lab.errors import LabError

pytestmark = pytest.mark.root

GLASSGATE = [sys.executable, "-c", "import sys; from glassgate.conformance.cli import main; main(sys.argv[1:])"]
FAR, CLIENT = "10.99.7.1", "10.99.7.2"
FAR_INNER, BEYOND = "10.8.0.1", "192.0.2.7"
MEGABYTES = 10
SEND = """
import socket, sys
text = bytes(range(251)) * (int(sys.argv[2]) * 1000000 // 251 + 1)
listener = socket.create_server((sys.argv[1], 9000))
listener.settimeout(20)
connection, _ = listener.accept()
connection.sendall(text[: int(sys.argv[2]) * 1000000])
connection.shutdown(socket.SHUT_WR)
connection.settimeout(30)
connection.recv(1)
"""
RECEIVE = """
import hashlib, socket, sys
connection = socket.create_connection((sys.argv[1], 9000), 20)
digest, count = hashlib.sha256(), 0
while octets := connection.recv(65536):
    digest.update(octets)
    count += len(octets)
print(count, digest.hexdigest())
"""


class Pair:
    """Two namespaces joined by a veth pair; each exists as long as this."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.far, self.client = (f"ggfe{os.getpid()}-{side}" for side in ("far", "client"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        for name in (self.far, self.client):
            programs.demand(["ip", "netns", "add", name])
            programs.demand(["ip", "-n", name, "link", "set", "lo", "up"])
        programs.demand(
            ["ip", "-n", self.far, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", self.client]
        )
        for name, address in ((self.far, FAR), (self.client, CLIENT)):
            programs.demand(["ip", "-n", name, "address", "add", f"{address}/24", "dev", "wire"])
            programs.demand(["ip", "-n", name, "link", "set", "wire", "up"])

    def down(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in (self.far, self.client):
            programs.run(["ip", "netns", "delete", name], seconds=10)

    def start(self, namespace: str, arguments: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("wb") as file:
            process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=programs.environment(),
            )
        self._processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.directory / name).read_text("utf-8", "replace")

    def in_client(self, *arguments: str, seconds: float = 60) -> str:
        return programs.demand(["ip", "netns", "exec", self.client, *arguments], seconds=seconds)

    def connect(self, *options: str, client: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start the far end and the stock client, and wait for the tunnel."""
        ovpn = self.directory / "client.ovpn"
        far = self.start(
            self.far, [*GLASSGATE, "far-end", "--listen", f"{FAR}:1194", "--client", str(ovpn), "-v", *options], "far"
        )
        wait_until(lambda: "listening" in self.log("far"), lambda: self.log("far"))
        arguments = ["openvpn", "--config", str(ovpn), "--disable-dco", "--dev", "tun0", *client]
        self.start(self.client, arguments, "client")
        wait_until(lambda: "Initialization Sequence Completed" in self.log("client"), self.logs)
        return far

    def logs(self) -> str:
        return f"{self.log('far')}\n{self.log('client')}"


def wait_until(holds: Callable[[], bool], tell: Callable[[], str], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.05)


@pytest.fixture
def pair(needs_root_lab: Path, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    try:
        made.up()
        yield made
    finally:
        with contextlib.suppress(LabError):
            made.down()


def pings(pair: Pair, destination: str, *options: str) -> None:
    told = pair.in_client("ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", *options, destination)
    assert " 3 received" in told, told


@pytest.mark.parametrize(
    ("proto", "control", "cipher", "tls"),
    [
        ("tcp", "tls-crypt", "AES-256-GCM", "1.3"),
        ("udp", "tls-crypt-v2", "CHACHA20-POLY1305", "1.3"),
        ("tcp", "tls-auth", "AES-128-GCM", "1.2"),
        ("udp", "plain", "AES-256-GCM", "1.2"),
    ],
)
def test_ping_and_ten_megabytes_pass_both_ways(pair: Pair, proto: str, control: str, cipher: str, tls: str) -> None:
    far = pair.connect(
        "--proto", proto, "--control", control, "--cipher", cipher, "--tls", tls, "--tun", "tun0", "--renegotiate", "4"
    )
    pings(pair, FAR_INNER)
    pings(pair, FAR_INNER, "-s", "4000")
    expected = hashlib.sha256((bytes(range(251)) * 40000)[: MEGABYTES * 1_000_000]).hexdigest()
    for sender, receiver, address in ((pair.far, pair.client, FAR_INNER), (pair.client, pair.far, "10.8.0.2")):
        pair.start(sender, [sys.executable, "-c", SEND, address, str(MEGABYTES)], "sender")
        wait_until(lambda sender=sender: listens(sender), pair.logs)  # type: ignore[misc]
        told = programs.demand(["ip", "netns", "exec", receiver, sys.executable, "-c", RECEIVE, address], seconds=60)
        assert told.split() == [str(MEGABYTES * 1_000_000), expected]
    wait_until(lambda: "key 1 is there" in pair.log("far"), pair.logs)
    pings(pair, FAR_INNER)
    assert f"key 0 is there: {cipher}" in pair.log("far")
    if proto == "tcp":
        assert "dropped" not in pair.log("far")
    far.terminate()
    assert far.wait(10) == 0


def listens(namespace: str) -> bool:
    return ":9000" in programs.run(["ip", "netns", "exec", namespace, "ss", "-ltn"], seconds=5).stdout


@pytest.mark.parametrize("options", [[], ["--prf"], ["--user", "somebody:open sesame"], ["--proto", "udp", "--prf"]])
def test_every_address_beyond_answers(pair: Pair, options: list[str]) -> None:
    pair.connect(*options, client=("--route", BEYOND, "255.255.255.255"))
    pings(pair, BEYOND)
    pings(pair, BEYOND, "-s", "4000")
    assert "WARNING: 'link-mtu'" not in pair.log("client")


def test_the_client_asks_for_new_keys(pair: Pair) -> None:
    pair.connect(client=("--route", BEYOND, "255.255.255.255", "--reneg-sec", "3"))
    told = pair.in_client("ping", "-n", "-c", "45", "-i", "0.2", "-W", "2", BEYOND)
    assert " 0% packet loss" in told, told
    assert "key 2 is there" in pair.log("far")


def test_a_client_that_leaves_and_one_that_comes(pair: Pair) -> None:
    pair.connect("--proto", "udp", client=("--route", BEYOND, "255.255.255.255", "--explicit-exit-notify", "1"))
    first = pair._processes[-1]
    pings(pair, BEYOND)
    first.terminate()
    assert first.wait(10) == 0
    wait_until(lambda: "the session is over: the client leaves" in pair.log("far"), pair.logs)
    arguments = ["openvpn", "--config", str(pair.directory / "client.ovpn"), "--disable-dco", "--dev", "tun0"]
    pair.start(pair.client, [*arguments, "--route", BEYOND, "255.255.255.255"], "client")
    wait_until(lambda: "Initialization Sequence Completed" in pair.log("client"), pair.logs)
    pings(pair, BEYOND)
