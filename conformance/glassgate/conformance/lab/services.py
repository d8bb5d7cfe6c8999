"""What runs on the far host (and on an internal one), and the clients that use it. Standard library only.

python -m glassgate.conformance.lab.services serve
    TCP 80: GET /OCTETS/SEED sends a file; PUT takes one and tells its SHA-256. TCP 7 and UDP 7: echo (RFC 862).
python -m glassgate.conformance.lab.services udp-echo ADDRESS SIZE…
python -m glassgate.conformance.lab.services tcp-echo ADDRESS OCTETS
    Send, compare what comes back octet for octet, and print one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HTTP_PORT = 80
ECHO_PORT = 7
PIECE = 65536
LARGEST_FILE = 1 << 30
ANSWER_SECONDS = 5.0
TRIES = 3
"""UDP promises nothing: a datagram is sent again, a few times, before it counts as lost."""


def file_pieces(octets: int, seed: int) -> Iterator[bytes]:
    """A file of a size, the same for the same seed: both ends can make it, so its hash need not travel beside it."""
    piece = random.Random(seed).randbytes(PIECE)
    for start in range(0, octets, PIECE):
        mark = start.to_bytes(8, "big")  # no two pieces are alike: one lost or swapped changes the hash
        yield (mark + piece[8:])[: octets - start]


def file_hash(octets: int, seed: int) -> str:
    """The SHA-256 of that file, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in file_pieces(octets, seed):
        digest.update(piece)
    return digest.hexdigest()


class Files(BaseHTTPRequestHandler):
    """HTTP: files out by GET, files in by PUT."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Send the file that the path describes."""
        found = re.fullmatch(r"/(\d{1,10})/(\d{1,9})", self.path)
        if not found or int(found[1]) > LARGEST_FILE:
            self.send_error(HTTPStatus.NOT_FOUND, "GET /OCTETS/SEED")
            return
        octets, seed = int(found[1]), int(found[2])
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(octets))
        self.end_headers()
        for piece in file_pieces(octets, seed):
            self.wfile.write(piece)

    def do_PUT(self) -> None:
        """Take a file and tell what arrived."""
        octets = int(self.headers.get("Content-Length") or 0)
        digest, rest = hashlib.sha256(), octets
        while rest and (piece := self.rfile.read(min(rest, PIECE))):
            digest.update(piece)
            rest -= len(piece)
        answer = json.dumps({"octets": octets - rest, "sha256": digest.hexdigest()}).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class TcpEcho(socketserver.BaseRequestHandler):
    """Returns each octet, until the other side has no more."""

    request: socket.socket

    def handle(self) -> None:
        """Serve one connection."""
        self.request.settimeout(60)
        while octets := self.request.recv(PIECE):
            self.request.sendall(octets)


class UdpEcho(socketserver.BaseRequestHandler):
    """Returns each datagram to its sender."""

    request: tuple[bytes, socket.socket]

    def handle(self) -> None:
        """Serve one datagram."""
        data, server = self.request
        server.sendto(data, self.client_address)


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _UdpServer(socketserver.UDPServer):
    max_packet_size = 65535


def serve() -> None:
    """Serve until ended."""
    everywhere = ""
    servers: tuple[socketserver.BaseServer, ...] = (
        _UdpServer((everywhere, ECHO_PORT), UdpEcho),
        _TcpServer((everywhere, ECHO_PORT), TcpEcho),
        ThreadingHTTPServer((everywhere, HTTP_PORT), Files),
    )
    for server in servers[:-1]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[-1].serve_forever()


def udp_echo(address: str, sizes: list[int]) -> dict[str, Any]:
    """Send one datagram of each size and wait for its like; tell how many came back and how long they took."""
    returned: list[int] = []
    times: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(ANSWER_SECONDS / TRIES)
        sender.connect((address, ECHO_PORT))
        for size in sizes:
            seconds = _exchange(sender, random.Random(size).randbytes(size))
            if seconds is not None:
                returned.append(size)
                times.append(seconds)
    return {"sent": sizes, "returned": returned, "slowest_ms": round(max(times, default=0.0) * 1000, 2)}


def _exchange(sender: socket.socket, data: bytes) -> float | None:
    for _ in range(TRIES):
        start = time.monotonic()
        try:
            sender.send(data)
            while sender.recv(65535) != data:
                pass  # a late answer to an earlier one
            return time.monotonic() - start
        except (TimeoutError, ConnectionRefusedError):
            continue
        except OSError:  # EMSGSIZE: the path's MTU was just learned; the next try is fragmented
            continue
    return None


def tcp_echo(address: str, octets: int) -> dict[str, Any]:
    """Send octets and compare what comes back."""
    data = random.Random(octets).randbytes(octets)
    start = time.monotonic()
    with socket.create_connection((address, ECHO_PORT), timeout=ANSWER_SECONDS) as connection:
        writer = threading.Thread(target=_send_all, args=(connection, data), daemon=True)
        writer.start()
        back = bytearray()
        while piece := connection.recv(PIECE):
            back += piece
        writer.join(ANSWER_SECONDS)
    return {"sent": octets, "equal": bytes(back) == data, "seconds": round(time.monotonic() - start, 3)}


def _send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def main(arguments: list[str]) -> int:
    """The command line."""
    match arguments:
        case ["serve"]:
            serve()
            return 0
        case ["udp-echo", address, *sizes] if sizes:
            result = udp_echo(address, [int(size) for size in sizes])
        case ["tcp-echo", address, octets]:
            result = tcp_echo(address, int(octets))
        case _:
            sys.stderr.write("usage: services serve | udp-echo ADDRESS SIZE… | tcp-echo ADDRESS OCTETS\n")
            return 2
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
