"""The far end on a socket of the loopback interface, a gateway as its client; and what the command does not take."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from glassgate.conformance import cli, packets
from glassgate.conformance.lab.pki import Authority, static_key
from glassgate.conformance.server.driver import Driver
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import Introduction, client_configuration, introduce
from glassgate.conformance.server.settings import Settings
from glassgate.conformance.simulation import Beyond, Host, read_ipv4
from glassgate.conformance.subjects import discovery
from glassgate.contract import CloseFlow, Effect, FlowEvent, GatewayConfig, OpenFlow, Port, SeededEntropy, Transmit

BEYOND = "192.0.2.7"
GLASSGATE = [sys.executable, "-c", "import sys; from glassgate.conformance.cli import main; main(sys.argv[1:])"]


class Serving:
    """A driver in a thread of its own."""

    def __init__(self, proto: str) -> None:
        settings, self.introduction = introduce(SeededEntropy(b"keys"))
        self.settings: Settings = replace(settings, proto=proto)  # type: ignore[arg-type]
        self.told: list[str] = []
        endpoint = Endpoint(self.settings, SeededEntropy(b"far end"))
        self.driver = Driver(endpoint, ("127.0.0.1", 0), Beyond(), self.told.append)
        awake, self._wakes = socket.socketpair()
        self.driver.watch(awake)
        self._thread = threading.Thread(target=self.driver.run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.driver.stop()
        self._wakes.send(b"x")
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._wakes.close()


class Client:
    """A gateway with the kernel's transport, and a host behind it."""

    def __init__(self, settings: Settings, introduction: Introduction, address: tuple[str, int]) -> None:
        ovpn = client_configuration(settings, introduction, *address)
        tunnel = {"ovpn": ovpn, "proto": settings.proto}
        config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": tunnel})
        self.host = Host("the host", "02:00:0a:26:02:05", "10.38.2.5", "10.38.2.1")
        self.is_closed = False
        self._gateway = discovery.find("reference")(config, os.urandom)
        kind = socket.SOCK_STREAM if settings.proto == "tcp" else socket.SOCK_DGRAM
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.connect(address)
        self.socket.settimeout(0.05)
        self._do(self._gateway.start(time.monotonic()))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case OpenFlow():
                    self._do(self._gateway.flow(FlowEvent.OPENED, time.monotonic()))
                case CloseFlow():
                    self.is_closed = True
                case Transmit(Port.FLOW, data):
                    self.socket.sendall(data)
                case Transmit(Port.INTERNAL, data):
                    self.inject(self.host.receive(data))

    def inject(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._do(self._gateway.receive(Port.INTERNAL, frame, time.monotonic()))

    def run(self, seconds: float = 10.0) -> Iterator[None]:
        """Go on, a step at a time; fails if it takes too long."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            yield
            try:
                octets = self.socket.recv(65536)
            except TimeoutError:
                self._do(self._gateway.tick(time.monotonic()))
                continue
            if not octets:
                return
            self._do(self._gateway.receive(Port.FLOW, octets, time.monotonic()))
        pytest.fail("it takes too long")

    def ping(self, size: int) -> None:
        """Ping until an answer comes: before the tunnel is up, none does."""
        before = len(self.host.received)
        asked = 0.0
        for _ in self.run():
            received = self.host.received[before:]  # perhaps also late answers to a ping of another size
            if answers := [read for read in received if (read.source, len(read.payload)) == (BEYOND, 8 + size)]:
                expected = packets.echo_reply(1, 1, bytes(size)).build(BEYOND, self.host.address).data
                assert answers[0].payload == expected
                return
            if time.monotonic() >= asked + 0.5:
                asked = time.monotonic()
                self.inject(self.host.ping(BEYOND, 1, 1, bytes(size)))


@pytest.fixture(params=["tcp", "udp"])
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    made = Serving(request.param)
    yield made
    made.stop()


def test_a_gateway_connects_and_pings_pass_and_another_takes_its_place(serving: Serving) -> None:
    for _ in range(2):
        client = Client(serving.settings, serving.introduction, serving.driver.address)
        client.ping(56)
        client.ping(4000)
        client.socket.close()
    assert len([words for words in serving.told if words.startswith("key 0 is there: AES-256-GCM")]) == 2


def test_rubbish_ends_a_connection_and_not_the_server() -> None:
    serving = Serving("tcp")
    with socket.create_connection(serving.driver.address, 5) as rubbish:
        rubbish.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert rubbish.recv(10) == b""
    Client(serving.settings, serving.introduction, serving.driver.address).ping(56)
    serving.stop()
    assert "the session is over: a record of 18245 octets: lengths are from 1 to 1768" in serving.told


def test_datagrams_of_rubbish_are_dropped_and_a_session_stays() -> None:
    serving = Serving("udp")
    client = Client(serving.settings, serving.introduction, serving.driver.address)
    client.ping(56)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rubbish:
        for octets in (b"", b"\x38" * 60, b"\x48" * 60, os.urandom(1400)):
            rubbish.sendto(octets, serving.driver.address)
    client.ping(57)
    serving.stop()
    assert "dropped: the tag of tls-crypt is wrong" in serving.told


def test_a_server_that_stops_says_so() -> None:
    serving = Serving("tcp")
    client = Client(serving.settings, serving.introduction, serving.driver.address)
    client.ping(56)
    serving.stop()
    for _ in client.run():
        if client.is_closed:
            return
    pytest.fail("the connection ended without RESTART")


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_prints_the_clients_file_and_ends_when_it_is_told() -> None:
    process = subprocess.Popen(
        [*GLASSGATE, "far-end", "--listen", "127.0.0.1:0", "--control", "tls-auth", "--user", "me:secret"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        words = process.stderr.readline()
        assert words.startswith("far end: listening at 127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        ovpn, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert ovpn.startswith("client\ndev tun\nproto tcp\nremote 127.0.0.1 ")
    for block in ("ca", "cert", "key", "auth-user-pass", "tls-auth"):
        assert f"<{block}>" in ovpn
    assert "key-direction 1\n" in ovpn


@pytest.fixture
def files(tmp_path: Path) -> Path:
    authority = Authority()
    server = authority.server()
    (tmp_path / "ca").write_text(authority.certificate)
    (tmp_path / "cert").write_text(server.certificate)
    (tmp_path / "key").write_text(server.key)
    (tmp_path / "other").write_text(authority.server().key)
    (tmp_path / "static").write_text(static_key())
    (tmp_path / "rubbish").write_text("rubbish")
    (tmp_path / "bytes").write_bytes(b"\xff")
    return tmp_path


OWN = ["--ca", "ca", "--cert", "cert", "--key"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "here"], "'here' is no address with a port"),
        (["--listen", "127.0.0.1:99999"], "'127.0.0.1:99999' is no address with a port"),
        (["--mtu", "67"], "67 is not in the range"),
        (["--cipher", "BF-CBC"], "'BF-CBC' is not one of"),
        (["--address", "10.8.0.1/24"], "'10.8.0.1/24' is not the second or a later host"),
        (["--address", "10.8.0.2"], "'10.8.0.2' is not the second or a later host"),
        (["--user", "nobody"], "a name and a password are wanted"),
        (["--route", "10.0.0.1/8"], "10.0.0.1/8 has host bits set"),
        (["--tun", "sixteen-octets-x"], "'sixteen-octets-x' is not a name of 1 to 15 octets"),
        ([*OWN, "key"], "--control-key go together"),
        ([*OWN, "key", "--control", "plain", "--control-key", "static"], "--control-key go together"),
        ([*OWN, "other", "--control-key", "static"], "do not belong together"),
        ([*OWN, "rubbish", "--control-key", "static"], "the key files and certificates"),
        ([*OWN, "key", "--control-key", "rubbish"], "there is no 'OpenVPN Static key V1' in it"),
        ([*OWN, "key", "--control-key", "bytes"], "bytes: holds what is not ASCII"),
        ([*OWN, "key", "--control-key", "nowhere"], "'nowhere' does not exist"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    arguments: list[str],
    words: str,
    files: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    assert cli.run(["far-end", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


def test_the_clients_file_is_for_nobody_elses_eyes_even_where_one_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Driver, "run", lambda self: None)
    written = tmp_path / "client.ovpn"
    written.write_text("an old one that anybody may read")
    written.chmod(0o644)
    assert cli.run(["far-end", "--listen", "127.0.0.1:0", "--client", str(written)]) == 0
    assert written.stat().st_mode & 0o777 == 0o600
    assert written.read_text().startswith("client\n")


def test_an_address_that_is_taken_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.run(["far-end", "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_answer_that_is_no_packet_is_none() -> None:
    assert Beyond().receive(b"no packet") == []
    assert read_ipv4(b"\x45") is None
