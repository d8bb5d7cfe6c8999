"""The far end as a fast sink, and as a fast source: no server stands in the way of what is measured.

    python -m glassgate.conformance.bench.far ADDRESS PORT OVPN-FILE

It writes the client's configuration to OVPN-FILE, serves one client after the other over TCP, and answers commands on
standard input, a line of JSON each:

    count                → {"records": …, "octets": …}     data records that came since the last question
    flood COUNT HEX      → {"sealed": …}                   that inner packet, sealed COUNT times
    flow COUNT FROM TO OCTETS → {"sealed": …}              the same with segments of one TCP flow that carry OCTETS
    go                   → {"sent": …}                     what was sealed, in one go

Data records are counted by their framing and not opened; the handshake and all control is ``server.Endpoint``'s.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from glassgate.conformance.bench import traffic
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import client_configuration, introduce
from glassgate.conformance.server.session import Ended, Output, Send
from glassgate.contract import Cipher

P_DATA_V1, P_DATA_V2 = 6, 9
READ = 1 << 20
LONGEST_WAIT = 0.5
PUSHED = ("socket-flags TCP_NODELAY",)
"""What ``tcp-nodelay`` in a server's configuration is: no packet waits for an acknowledgement of the one before."""


class Sink:
    """One connection after the other: control is answered, data is counted."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.connection: socket.socket | None = None
        self.records = 0
        self.octets = 0
        self.sealed: list[bytes] = []
        self._buffer = bytearray(READ + 65537)
        self._view = memoryview(self._buffer)
        self._end = 0

    def accept(self, listener: socket.socket) -> socket.socket:
        """Take the next client."""
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.endpoint.connected()
        self.connection, self._end = connection, 0
        return connection

    def receive(self, now: float) -> bool:
        """Take what came; False when the client has gone."""
        assert self.connection is not None
        count = self.connection.recv_into(self._view[self._end : self._end + READ])
        self._end += count
        start = self._take_records(now)
        self._view[: self._end - start] = bytes(self._view[start : self._end])
        self._end -= start
        return count > 0

    def _take_records(self, now: float) -> int:
        """Count data records, hand over all others; returns where a record that is not whole begins."""
        buffer, end, at, records = self._buffer, self._end, 0, 0
        while end - at >= 2:
            stop = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if stop > end:
                break
            if stop > at + 2 and buffer[at + 2] >> 3 in (P_DATA_V1, P_DATA_V2):
                records += 1
                self.octets += stop - at
            else:
                self.perform(self.endpoint.receive(bytes(buffer[at:stop]), now))
            at = stop
        self.records += records
        return at

    def perform(self, outputs: list[Output]) -> None:
        """Send what the endpoint has to say."""
        for output in outputs:
            if isinstance(output, Send) and self.connection is not None:
                self.connection.sendall(output.packet)
            elif isinstance(output, Ended):
                sys.stderr.write(f"{output.reason}\n")

    def count(self) -> dict[str, int]:
        """What came since the last question."""
        counted = {"records": self.records, "octets": self.octets}
        self.records = self.octets = 0
        return counted

    def seal(self, packets: Iterable[bytes], now: float) -> dict[str, int]:
        """Seal packets, to be sent later: sealing takes longer than sending."""
        outputs = [self.endpoint.send(packet, now) for packet in packets]
        self.sealed = [output.packet for each in outputs for output in each if isinstance(output, Send)]
        return {"sealed": len(self.sealed)}

    def send(self) -> dict[str, int]:
        """Send what was sealed as fast as the client takes it."""
        sealed, self.sealed = self.sealed, []
        if self.connection is not None:
            self.connection.sendall(b"".join(sealed))
        return {"sent": len(sealed)}


def serve(address: str, port: int, file: Path) -> None:
    """Serve until standard input ends."""
    settings, introduction = introduce(os.urandom)
    settings = replace(settings, ciphers=(Cipher.AES_256_GCM,), mtu=traffic.TUNNEL_MTU, ping=0, push=PUSHED)
    listener = socket.create_server((address, port))
    file.write_text(client_configuration(settings, introduction, address, port), encoding="utf-8")
    sink = Sink(Endpoint(settings, os.urandom, int(time.time())))
    _say({"ready": True})
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while _turn(selector, sink, listener):
            pass


def _turn(selector: selectors.BaseSelector, sink: Sink, listener: socket.socket) -> bool:
    """Wait for something and do it; False when standard input has ended."""
    events = selector.select(LONGEST_WAIT)
    now = time.monotonic()
    for key, _ in events:
        if key.fileobj is listener:
            if sink.connection is not None:
                selector.unregister(sink.connection)
                sink.connection.close()
            selector.register(sink.accept(listener), selectors.EVENT_READ)
        elif key.fileobj is sink.connection:
            if not sink.receive(now):
                selector.unregister(key.fileobj)
                sink.connection = None
        elif not _obey(sink, now):
            return False
    if sink.connection is not None:
        sink.perform(sink.endpoint.tick(now))
    return True


def _obey(sink: Sink, now: float) -> bool:
    match os.read(sys.stdin.fileno(), 1 << 16).decode("ascii").split():
        case ["count"]:
            _say(sink.count())
        case ["flood", count, packet]:
            _say(sink.seal([bytes.fromhex(packet)] * int(count), now))
        case ["flow", count, source, destination, octets]:
            _say(sink.seal(traffic.segments(source, destination, int(octets), int(count)), now))
        case ["go"]:
            _say(sink.send())
        case _:
            return False
    return True


def _say(answer: dict[str, int] | dict[str, bool]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """The command line."""
    if len(arguments) != 3:
        sys.stderr.write("usage: far ADDRESS PORT OVPN-FILE\n")
        return 2
    address, port, file = arguments
    serve(address, int(port), Path(file))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
