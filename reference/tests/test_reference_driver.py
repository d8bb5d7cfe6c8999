"""The driver: bad input in one line, and a loop around a gateway whose interface and server are the test's."""

from __future__ import annotations

import json
import logging
import os
import runpy
import select
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from glassgate.contract import GatewayConfig, Port, Transmit, rules
from glassgate.reference import __main__ as program
from glassgate.reference.__main__ import main
from glassgate.reference.driver import LARGEST_BACKLOG, Driver, Flow
from glassgate.reference.openvpn.key_exchange import Credentials
from glassgate.reference.openvpn.profile import Profile, Remote

# ── input ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def profile_text(authority: Any, client_identity: Any) -> Callable[..., str]:
    def text(*lines: str) -> str:
        blocks = {"ca": authority.identity.pem, "cert": client_identity.pem, "key": client_identity.key_pem}
        parts = ["client", "dev tun", "remote-cert-tls server", *lines]
        return "\n".join([*parts, *(f"<{name}>\n{pem}</{name}>" for name, pem in blocks.items())]) + "\n"

    return text


@pytest.mark.parametrize(
    ("lines", "arguments", "expected"),
    [
        (["remote 127.0.0.1 1 tcp", "fragment 1300"], [], "a.ovpn:5: fragment '1300': OpenVPN's own fragmentation"),
        (["remote 127.0.0.1 1 tcp", "tls-crypt ta.key"], [], "a.ovpn:5: tls-crypt 'ta.key': No such file or directory"),
        (["remote 127.0.0.1 1 tcp"], ["--internal-mac", "xyz"], "internal.mac: 'xyz' is not an Ethernet address"),
        (["remote 127.0.0.1 1 tcp"], ["--internal-address", "10.0.0.1"], "internal.address: '10.0.0.1' is not an IPv4"),
        (["remote 127.0.0.1 1 tcp"], ["--source", "10.0.0.1/8"], "internal.sources[0]: '10.0.0.1/8' is not an IPv4"),
        (["remote 127.0.0.1 1 tcp"], ["--internal", "none9"], "--internal none9: No such device"),
        (["remote 127.0.0.1 1 tcp"], ["--external", "none9"], "--external none9: No such device"),
        (["remote 127.0.0.1 1 tcp"], ["--credentials", "none"], "none: No such file or directory"),
        (["remote 127.0.0.1 1 tcp"], ["--nothing"], "No such option '--nothing'"),
        (["remote 127.0.0.1 1 tcp"], ["-q", "-v"], "--verbose and --quiet: only one of them can be had"),
        (["remote 127.0.0.1 1 tcp"], ["--status", "/none/x"], "--status /none/x: its folder does not exist"),
        (["remote 127.0.0.1 1 tcp", "auth-user-pass"], [], "a.ovpn:5: auth-user-pass: names no file"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(
    lines: list[str], arguments: list[str], expected: str, profile_text: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "a.ovpn").write_text(profile_text(*lines))
    given = [str(tmp_path / "a.ovpn"), "--internal", "lo", *arguments]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2
    message = result.output.replace(f"{tmp_path}/", "")
    assert message.startswith(f"glassgate: {expected}")
    assert message.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.ovpn", tmp_path):
        result = CliRunner().invoke(main, [str(path), "--internal", "lo"])
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert str(path) in result.output


@pytest.mark.parametrize("content", [b"\0\xff\xfe\x01" * 100, b"\x7fELF", "\N{RIGHT-TO-LEFT OVERRIDE}x".encode()])
def test_a_file_that_is_no_configuration(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.ovpn").write_bytes(content)
    result = CliRunner().invoke(main, [str(tmp_path / "a.ovpn"), "--internal", "lo"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert result.output.rstrip("\n").isprintable()


def test_a_name_is_looked_up_where_our_own_stack_has_no_resolver(profile_text: Any, tmp_path: Path) -> None:
    (tmp_path / "a.ovpn").write_text(profile_text("remote no.such.name.invalid 1 tcp"))
    result = CliRunner().invoke(main, [str(tmp_path / "a.ovpn"), "--internal", "lo", "--external", "lo"])
    assert result.exit_code == 2
    assert "a.ovpn:4: remote 'no.such.name.invalid' '1' 'tcp': " in result.output


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a driver would have been started with; no interface is opened."""
    seen: dict[str, Any] = {}

    class Recorded:
        def __init__(self, config: GatewayConfig, profile: Profile, ports: Any, status: Path | None) -> None:
            seen.update(config=config, profile=profile, ports=ports, status=status)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(program, "Driver", Recorded)
    monkeypatch.setattr(program, "PacketSocket", lambda interface: interface)
    return seen


def test_good_input_becomes_a_configuration(
    profile_text: Any, tmp_path: Path, started: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "glassgate.reference")
    (tmp_path / "a.ovpn").write_text(profile_text("remote 127.0.0.1 1 tcp", "auth-user-pass", "up script.sh"))
    (tmp_path / "who").write_text("alice\nhunter2\n")
    arguments = [str(tmp_path / "a.ovpn"), "--internal", "lo", "--credentials", str(tmp_path / "who")]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.output) == (0, "")
    assert started["ports"] == {Port.INTERNAL: "lo"}
    assert started["config"].external.kind == "os"
    assert started["profile"].credentials == Credentials("alice", "hunter2")
    assert "a.ovpn:6: up: ignored: scripts are not run" in caplog.text


def test_the_own_stack_has_an_interface_and_names_are_looked_up(
    profile_text: Any, tmp_path: Path, started: dict[str, Any]
) -> None:
    (tmp_path / "a.ovpn").write_text(profile_text("remote localhost 1 tcp"))
    arguments = [str(tmp_path / "a.ovpn"), "--internal", "lo", "--external", "lo"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert started["ports"] == {Port.INTERNAL: "lo", Port.EXTERNAL: "lo"}
    assert 'remote "127.0.0.1" "1" "tcp"' in started["config"].tunnel.ovpn


def test_a_certificate_that_has_expired_is_warned_of(
    profile_text: Any,
    tmp_path: Path,
    started: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    authority: Any,
    client_identity: Any,
) -> None:
    old = authority.issue("client", ends=datetime.now(UTC) - timedelta(hours=1))
    text = profile_text("remote 127.0.0.1 1 tcp").replace(client_identity.pem, old.pem)
    (tmp_path / "a.ovpn").write_text(text.replace(client_identity.key_pem, old.key_pem))
    assert CliRunner().invoke(main, [str(tmp_path / "a.ovpn"), "--internal", "lo"]).exit_code == 0
    assert "this client's certificate has expired" in caplog.text


def test_a_person_is_asked_where_there_is_one(
    profile_text: Any, tmp_path: Path, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ovpn").write_text(profile_text("remote 127.0.0.1 1 tcp", "auth-user-pass"))
    answers = iter(["alice", "hunter2"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(program.click, "prompt", lambda text, hide_input=False: next(answers))
    profile, text = program.read_profile(tmp_path / "a.ovpn", None, str)
    assert profile.credentials == Credentials("alice", "hunter2")
    assert "<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>" in text


def test_credentials_are_two_lines(profile_text: Any, tmp_path: Path) -> None:
    (tmp_path / "a.ovpn").write_text(profile_text("remote 127.0.0.1 1 tcp"))
    (tmp_path / "who").write_text("alice\n")
    arguments = [str(tmp_path / "a.ovpn"), "--internal", "lo", "--credentials", str(tmp_path / "who")]
    result = CliRunner().invoke(main, arguments)
    said = f"glassgate: {tmp_path}/who: needs two lines: user name and password\n"
    assert (result.exit_code, result.output) == (2, said)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(1, "Operation not permitted"), "root is needed to read Ethernet frames (or CAP_NET_RAW)"),
        (OSError(100, "Network is down"), "Network is down"),
    ],
)
def test_an_interface_that_cannot_be_opened(
    error: OSError, expected: str, profile_text: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(interface: str) -> None:
        raise error

    (tmp_path / "a.ovpn").write_text(profile_text("remote 127.0.0.1 1 tcp"))
    monkeypatch.setattr(program, "PacketSocket", refuse)
    result = CliRunner().invoke(main, [str(tmp_path / "a.ovpn"), "--internal", "lo"])
    assert (result.exit_code, result.output) == (2, f"glassgate: --internal lo: {expected}\n")


def test_the_package_is_a_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["glassgate.reference", "--help"])
    monkeypatch.delitem(sys.modules, "glassgate.reference.__main__")  # it is imported by this file already
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("glassgate.reference", run_name="__main__")
    assert ended.value.code == 0
    assert "--internal IFACE" in capsys.readouterr().out


# ── a server on loopback, and an interface of the test's own ─────────────────────────────────────────────────────────

HOST = bytes.fromhex("020000000005")
GATEWAY = bytes.fromhex("00f00df00d00")
ARP_REQUEST = b"\xff" * 6 + HOST + bytes.fromhex(
    "0806" "0001" "0800" "06" "04" "0001" "020000000005" "0a260205" "000000000000" "0a260201"
)  # fmt: skip


class Interface:
    """In the place of a PacketSocket: one end of a pair of sockets."""

    interface = "test"

    def __init__(self) -> None:
        self.end, self.wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.setblocking(False)
        self.wire.settimeout(5)

    def fileno(self) -> int:
        return self.end.fileno()

    def receive(self) -> list[bytes] | None:
        try:
            return [self.end.recv(70000)]
        except BlockingIOError:
            return None

    def send(self, frame: bytes) -> bool:
        try:
            self.end.send(frame)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.end.close()


class Server(threading.Thread):
    """A ``FakeServer`` behind a listening socket."""

    def __init__(self, fake: Any) -> None:
        super().__init__(daemon=True)
        self.fake = fake
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.data: list[bytes] = []
        self.on_data: Callable[[], None] = lambda: None
        self.link: socket.socket | None = None

    def run(self) -> None:
        while True:
            try:
                self.link, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.fake.restart()
            self.serve(self.link)

    def serve(self, link: socket.socket) -> None:
        stream = b""
        while True:
            try:
                octets = link.recv(65536)
            except OSError:
                return
            if not octets:
                return
            stream += octets
            while len(stream) >= 2 and len(stream) >= (end := 2 + int.from_bytes(stream[:2], "big")):
                packet, stream = stream[2:end], stream[end:]
                if packet[0] >> 3 == 9:
                    self.data.append(packet)
                    self.on_data()
                    continue
                for reply in self.fake.take(packet, time.monotonic()):
                    link.sendall(len(reply).to_bytes(2, "big") + reply)


@pytest.fixture
def server(make_world: Any) -> Iterator[Server]:
    server = Server(make_world().server)
    server.start()
    yield server
    server.listener.close()
    if server.link is not None:
        server.link.close()


@pytest.fixture
def make_driver(profile_text: Callable[..., str]) -> Callable[..., tuple[Driver, Interface]]:
    def make(*lines: str) -> tuple[Driver, Interface]:
        text = profile_text(*lines)
        config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"ovpn": text}})
        interface = Interface()
        return Driver(config, Profile.parse(text), {Port.INTERNAL: interface}), interface  # type: ignore[dict-item]

    return make


def after(event: Callable[[], bool], act: Callable[[], None], seconds: float = 8.0) -> threading.Thread:
    """Do something in another thread once something else has happened; a signal ends the driver in any case."""

    def wait() -> None:
        ends = time.monotonic() + seconds
        while not event() and time.monotonic() < ends:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def is_up(driver: Any) -> Callable[[], bool]:
    return lambda: driver.status["tunnel"]["is_up"]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_tunnel_comes_up_frames_pass_and_sigterm_ends_it_politely(
    server: Server, make_driver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "glassgate.reference")
    driver, interface = make_driver(f"remote 127.0.0.1 {server.port} tcp")
    seen: list[bytes] = []

    def host() -> None:
        announcement = interface.wire.recv(2000)
        interface.wire.send(ARP_REQUEST)
        seen.extend((announcement, interface.wire.recv(2000)))
        while not server.data:
            interface.wire.send(ping_frame("8.8.8.8"))
            time.sleep(0.05)
        terminate()

    threading.Thread(target=host, daemon=True).start()
    guard = after(lambda: bool(server.data), lambda: None)
    assert driver.run() == 0
    guard.join()
    assert [frame[12:14] for frame in seen] == [b"\x08\x06", b"\x08\x06"]
    assert seen[1][:12] == HOST + GATEWAY
    assert server.data[0][0] >> 3 == 9
    assert server.fake.strings() == ["EXIT"]
    assert "s2-established" in caplog.text
    assert caplog.records[-1].getMessage().startswith("s4-leave"), "the server's acknowledgement was waited for"


def ping_frame(destination: str) -> bytes:
    header = bytearray(bytes.fromhex("4500001c00010000400100000a260205") + socket.inet_aton(destination))
    total = sum(int.from_bytes(header[place : place + 2], "big") for place in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    return GATEWAY + HOST + b"\x08\x00" + bytes(header) + bytes.fromhex("0800f7ff00000000")


def test_a_server_that_refuses_ends_it_with_status_1(
    server: Server, make_driver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.fake.greets = ["AUTH_FAILED,no such user"]
    driver, _ = make_driver(f"remote 127.0.0.1 {server.port} tcp")
    assert driver.run() == 1
    assert caplog.records[-1].getMessage() == "the server refuses: AUTH_FAILED: no such user"
    assert caplog.records[-1].levelno == logging.ERROR


def test_a_server_that_is_not_there_gives_way_to_the_next(
    server: Server, make_driver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    driver, _ = make_driver(f"remote 127.0.0.1 {port} tcp", f"remote 127.0.0.1 {server.port} tcp")
    after(lambda: server.fake.dynamic_wrapping is not None, terminate)
    start = time.monotonic()
    assert driver.run() == 0
    assert server.connections == 1
    assert time.monotonic() - start >= 1.0, "the first retry comes after a second"
    assert "Connection refused" in caplog.text


def test_attempts_may_be_limited(make_driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    driver, _ = make_driver(f"remote 127.0.0.1 {port} tcp", "connect-retry 1 1", "connect-retry-max 2")
    assert driver.run() == 1
    assert caplog.records[-1].getMessage() == "2 attempts in a row have failed (connect-retry-max)"


def test_sigusr1_makes_a_new_connection_and_sigusr2_tells(
    server: Server, make_driver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver, _ = make_driver(f"remote 127.0.0.1 {server.port} tcp")
    after(is_up(driver), lambda: os.kill(os.getpid(), signal.SIGUSR1))

    def tell_and_end() -> None:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(0.2)
        terminate()

    after(lambda: server.connections == 2 and server.fake.dynamic_wrapping is not None, tell_and_end)
    caplog.set_level(logging.WARNING, "glassgate.reference")
    assert driver.run() == 0
    assert server.connections == 2
    assert "connection: restarted by a signal" in caplog.text
    assert f"flow: tcp to 127.0.0.1:{server.port}, connected" in caplog.text
    assert "s27-control: Control packets" in caplog.text


def test_sigusr2_writes_how_things_stand_into_a_file(server: Server, make_driver: Any, tmp_path: Path) -> None:
    driver, interface = make_driver(f"remote 127.0.0.1 {server.port} tcp")
    driver._status_file = tmp_path / "status.json"
    interface.wire.send(ARP_REQUEST)
    after(is_up(driver), lambda: os.kill(os.getpid(), signal.SIGUSR2))
    after(lambda: (tmp_path / "status.json").exists(), terminate)
    assert driver.run() == 0
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["server"] == {"host": "127.0.0.1", "port": server.port, "proto": "tcp"}
    assert status["tunnel"] == {
        "flow": "connected", "is_up": True, "address": "10.88.0.2/24", "mtu": 1500, "mssfix": None, "remote": 0,
        "keys": [0], "key_in_use": 0,
    }  # fmt: skip
    assert status["neighbours"] == {"10.38.2.5": "02:00:00:00:00:05"}
    assert set(status["counters"]) == {"s27-control"}
    driver._write_status(tmp_path / "none" / "status.json")  # one line in the log, and no end


def test_a_connection_that_the_server_closes_is_made_again(server: Server, make_driver: Any) -> None:
    driver, _ = make_driver(f"remote 127.0.0.1 {server.port} tcp")

    def close() -> None:
        assert server.link is not None
        server.link.shutdown(socket.SHUT_RDWR)

    after(lambda: server.fake.dynamic_wrapping is not None, close)
    after(lambda: server.connections == 2 and server.fake.dynamic_wrapping is not None, terminate)
    assert driver.run() == 0
    assert server.connections == 2


def test_a_server_that_closes_too_soon_is_told_about_however_quiet_the_log(
    server: Server, make_driver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "glassgate.reference")  # --quiet
    server.fake.take = lambda packet, now: []  # deaf
    driver, _ = make_driver(f"remote 127.0.0.1 {server.port} tcp")

    def close() -> None:
        assert server.link is not None
        server.link.shutdown(socket.SHUT_RDWR)

    after(lambda: server.link is not None, close)
    after(lambda: "s2-handshake-failed" in caplog.text, terminate)
    assert driver.run() == 0
    (told,) = [record for record in caplog.records if "s2-handshake-failed" in record.getMessage()]
    assert told.levelno == logging.WARNING
    assert "the server closed the connection: it never answered: wrong tls-crypt or tls-auth key" in told.getMessage()


def test_leaving_without_a_connection_is_immediate(make_driver: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    driver, _ = make_driver(f"remote 127.0.0.1 {port} tcp")
    start = time.monotonic()
    after(lambda: time.monotonic() > start + 0.3, terminate)
    assert driver.run() == 0
    assert time.monotonic() - start < 1.0


# ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def connected(proto: str) -> tuple[Flow, socket.socket]:
    if proto == "udp":
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.bind(("127.0.0.1", 0))
        return Flow.open(Remote("127.0.0.1", far.getsockname()[1], "udp"), 9.0), far
    listener = socket.create_server(("127.0.0.1", 0))
    flow = Flow.open(Remote("127.0.0.1", listener.getsockname()[1], "tcp"), 9.0)
    far, _ = listener.accept()
    listener.close()
    flow.finish_connecting()
    return flow, far


def test_a_stream_that_nobody_reads_fills_up_and_empties_in_order() -> None:
    flow, far = connected("tcp")
    sent = 0
    while not flow.is_full:
        flow.add(sent.to_bytes(4, "big") * 250)
        sent += 1
        flow.flush()
    assert LARGEST_BACKLOG <= len(flow.stream) < LARGEST_BACKLOG + 1000
    received = b""
    while len(received) < sent * 1000:
        flow.flush()
        received += far.recv(1 << 20)
    assert not flow.has_backlog
    assert received == b"".join(number.to_bytes(4, "big") * 250 for number in range(sent))
    flow.reset()
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    far.close()


def test_datagrams_stay_whole_and_a_refusal_is_no_loss() -> None:
    flow, far = connected("udp")
    flow.connected = True
    for octets in (b"one", b"two"):
        flow.add(octets)
    flow.flush()
    assert [far.recv(100), far.recv(100)] == [b"one", b"two"]
    port = flow.socket.getsockname()[1]
    far.sendto(b"three", ("127.0.0.1", port))
    far.sendto(b"", ("127.0.0.1", port))
    assert flow.receive() == b"three"
    assert flow.receive() is None
    far.close()
    for waits_for_its_error in (True, False, True):
        for _ in range(2):  # the refusal of the first comes back with the second
            flow.add(b"into nothing")
            flow.flush()
            time.sleep(0.02)
        if waits_for_its_error:
            assert flow.receive() is None
    flow.close()


def test_an_error_that_a_datagram_left_behind_is_heard_once() -> None:
    flow, far = connected("udp")
    far.close()
    flow.add(b"into nothing")
    flow.flush()
    select.select([flow.socket], [], [], 5)
    assert flow.receive() is None
    flow.reset()
    assert flow.socket.fileno() == -1


def test_a_stream_that_was_refused_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    flow = Flow.open(Remote("127.0.0.1", port, "tcp"), 9.0)
    select.select([flow.socket], [], [], 5)
    with pytest.raises(ConnectionRefusedError):
        flow.receive()
    flow.close()


def test_an_address_that_nothing_leads_to_is_told_at_once() -> None:
    with pytest.raises(OSError, match=r"Permission denied|unreachable"):
        Flow.open(Remote("255.255.255.255", 9, "udp"), 9.0)


def test_a_stream_that_ended_is_lost() -> None:
    flow, far = connected("tcp")
    assert flow.receive() is None
    far.close()
    with pytest.raises(OSError, match="closed by the server"):
        flow.receive()
    flow.close()
    with pytest.raises(OSError, match=r"not known|failure"):
        Flow.open(Remote("no.such.name.invalid", 1, "tcp"), 9.0)


def test_while_the_flow_is_full_only_what_would_be_sealed_is_dropped(make_driver: Any) -> None:
    driver, interface = make_driver("remote 127.0.0.1 1 tcp")
    flow, far = connected("tcp")
    flow.stream += bytes(LARGEST_BACKLOG)
    driver._flow = flow
    for frame in (ping_frame("8.8.8.8"), ARP_REQUEST, ping_frame("10.38.2.1")):
        interface.wire.send(frame)
    driver._frames(Port.INTERNAL)
    assert driver.counters["s3-drop-before-id"] == 1
    assert driver.counters["l1-echo"] == 1
    interface.wire.recv(2000)
    assert interface.wire.recv(2000)[12:14] == b"\x08\x00"
    flow.close()
    far.close()


# ── one turn of the loop ─────────────────────────────────────────────────────────────────────────────────────────────


class Lost:
    """An octet stream that is over whatever is asked of it."""

    connected = has_backlog = is_stream = True
    is_full = False

    def __init__(self, flow: Flow) -> None:
        self.remote, self.socket, self.gives_up = flow.remote, flow.socket, flow.gives_up

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    def reset(self) -> None:
        self.socket.close()


def test_a_connection_that_breaks_while_something_is_sent_is_lost(
    make_driver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver, _ = make_driver("remote 127.0.0.1 1 tcp")
    flow, far = connected("tcp")
    driver._flow = Lost(flow)
    driver._flush()
    assert driver._flow is None
    assert "connection: Broken pipe" in caplog.text
    far.close()


def test_a_server_without_address_is_tried_again_later(make_driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver, _ = make_driver("remote no.such.name.invalid 1 tcp")
    after(lambda: "connection: " in caplog.text, terminate)
    assert driver.run() == 0
    assert driver._gateway.deadline is not None


def test_room_and_silence_are_no_news(make_driver: Any) -> None:
    driver, _ = make_driver("remote 127.0.0.1 1 tcp")
    flow, far = connected("tcp")
    flow.add(b"\0\1x")
    driver._flow = flow
    driver._flow_is_ready(flow, selectors.EVENT_READ | selectors.EVENT_WRITE)
    assert far.recv(10) == b"\0\1x"
    assert driver._flow is flow
    driver._close()
    assert far.recv(10) == b"", "closed in order"
    far.close()


def test_what_happened_to_a_flow_that_is_gone_is_passed_over(make_driver: Any) -> None:
    driver, _ = make_driver("remote 127.0.0.1 1 tcp")
    stale, wake_up = socket.socketpair()
    driver._selector.register(stale, selectors.EVENT_WRITE)
    driver._turn(wake_up)
    driver._end_flow()
    driver._obey([Transmit(Port.FLOW, b"for nobody", rules.S24_SEAL)])
    assert driver._flow is None
    for end in (stale, wake_up):
        end.close()


def test_a_connection_and_a_farewell_have_their_time(make_driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver, _ = make_driver("remote 127.0.0.1 1 tcp", "server-poll-timeout 7")
    driver._flow, far = connected("tcp")
    driver._flow.connected = False
    driver._time()
    assert driver._flow is None
    assert "connection: no connection after 7 s" in caplog.text
    driver._leave_by = 1.0
    driver._time()
    assert driver._failure == ""
    far.close()


def test_one_turn_takes_so_many_frames(make_driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glassgate.reference.driver.FRAMES_A_TURN", 2)
    driver, interface = make_driver("remote 127.0.0.1 1 tcp")
    for _ in range(3):
        interface.wire.send(ARP_REQUEST)
    driver._frames(Port.INTERNAL)
    assert len(interface.receive()) == 1, "one is left for the next turn"


def test_an_interface_that_is_down_is_told(make_driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver, interface = make_driver("remote 127.0.0.1 1 tcp")

    def fail() -> None:
        raise OSError(100, "Network is down")

    interface.receive = fail
    driver._frames(Port.INTERNAL)
    assert "test: Network is down" in caplog.text


def test_a_frame_that_cannot_leave_is_counted(make_driver: Any) -> None:
    driver, interface = make_driver("remote 127.0.0.1 1 tcp")
    interface.end.close()
    driver._obey([Transmit(Port.INTERNAL, b"frame", rules.S7_REPLY)])
    assert driver.counters["interface full or frame too long"] == 1


def test_how_the_flow_stands_is_told_whatever_it_is(make_driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver, interface = make_driver("remote 127.0.0.1 1 tcp")
    driver.tell()
    driver._ports = {Port.INTERNAL: interface, Port.EXTERNAL: interface}
    driver.tell()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["flow: none", "flow: by the gateway's own stack over test"]


def test_what_no_interface_takes_is_told_among_the_counters(make_driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver, interface = make_driver("remote 127.0.0.1 1 tcp")
    interface.end.close()
    driver._obey([Transmit(Port.INTERNAL, b"frame", rules.S7_REPLY)])
    driver.tell()
    assert caplog.messages[-1] == "       1 interface full or frame too long"


def test_a_note_without_further_rules_names_no_path(make_driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "glassgate.reference")
    driver, _ = make_driver("remote 127.0.0.1 1 tcp")
    driver._obey(driver._gateway.receive(Port.INTERNAL, ARP_REQUEST[:20], 1.0))
    assert "dropped by s7-truncated" in caplog.text
    assert "path" not in caplog.text
