"""The far host's services, on loopback."""

from __future__ import annotations

import hashlib
import http.client
import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from glassgate.conformance.lab import services


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socketserver.BaseServer]]:
    """Servers put into this list are shut down after the test."""
    servers: list[socketserver.BaseServer] = []
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def start(servers: list[socketserver.BaseServer], server: socketserver.BaseServer) -> int:
    servers.append(server)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return int(server.server_address[1])


@pytest.fixture
def files(serve: list[socketserver.BaseServer]) -> http.client.HTTPConnection:
    port = start(serve, ThreadingHTTPServer(("127.0.0.1", 0), services.Files))
    return http.client.HTTPConnection("127.0.0.1", port, timeout=5)


def test_a_file_has_the_size_asked_for_and_is_made_of_unlike_pieces() -> None:
    pieces = list(services.file_pieces(3 * services.PIECE + 5, 1))

    assert sum(map(len, pieces)) == 3 * services.PIECE + 5
    assert len(set(pieces)) == len(pieces)


def test_the_hash_is_that_of_the_file() -> None:
    octets = b"".join(services.file_pieces(200_000, 9))

    assert services.file_hash(200_000, 9) == hashlib.sha256(octets).hexdigest()
    assert services.file_hash(200_000, 8) != services.file_hash(200_000, 9)


def test_a_file_is_fetched(files: http.client.HTTPConnection) -> None:
    files.request("GET", "/100000/3")

    assert hashlib.sha256(files.getresponse().read()).hexdigest() == services.file_hash(100_000, 3)


@pytest.mark.parametrize("path", ["/", "/100000", "/99999999999/1", "/1073741825/1", "/-1/1", "/1/1/1"])
def test_no_other_path_has_a_file(files: http.client.HTTPConnection, path: str) -> None:
    files.request("GET", path)

    assert files.getresponse().status == http.client.NOT_FOUND


def test_what_arrives_is_told(files: http.client.HTTPConnection) -> None:
    body = b"".join(services.file_pieces(100_000, 4))
    files.request("PUT", "/file", body)

    answer = json.loads(files.getresponse().read())

    assert answer == {"octets": 100_000, "sha256": services.file_hash(100_000, 4)}


def test_udp_echo_returns_every_size(serve: list[socketserver.BaseServer], monkeypatch: pytest.MonkeyPatch) -> None:
    server = socketserver.UDPServer(("127.0.0.1", 0), services.UdpEcho)
    server.max_packet_size = 65535
    monkeypatch.setattr(services, "ECHO_PORT", start(serve, server))

    result = services.udp_echo("127.0.0.1", [0, 1, 4000])

    assert result["returned"] == [0, 1, 4000]


def test_udp_echo_tells_what_did_not_come_back(
    serve: list[socketserver.BaseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    class LosesBig(services.UdpEcho):
        def handle(self) -> None:
            if len(self.request[0]) < 1000:
                super().handle()

    monkeypatch.setattr(services, "ECHO_PORT", start(serve, socketserver.UDPServer(("127.0.0.1", 0), LosesBig)))
    monkeypatch.setattr(services, "ANSWER_SECONDS", 0.3)

    assert services.udp_echo("127.0.0.1", [10, 2000])["returned"] == [10]


def test_tcp_echo_compares_octets(serve: list[socketserver.BaseServer], monkeypatch: pytest.MonkeyPatch) -> None:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), services.TcpEcho)
    monkeypatch.setattr(services, "ECHO_PORT", start(serve, server))

    assert services.tcp_echo("127.0.0.1", 500_000)["equal"]


def test_tcp_echo_sees_a_changed_octet(serve: list[socketserver.BaseServer], monkeypatch: pytest.MonkeyPatch) -> None:
    class Changes(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while octets := self.request.recv(65536):
                self.request.sendall(octets[:-1] + bytes([octets[-1] ^ 1]))

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Changes)
    monkeypatch.setattr(services, "ECHO_PORT", start(serve, server))

    assert not services.tcp_echo("127.0.0.1", 1000)["equal"]


@pytest.mark.parametrize("arguments", [[], ["udp-echo"], ["udp-echo", "127.0.0.1"], ["other"]])
def test_another_command_line_is_told_what_there_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert services.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")
