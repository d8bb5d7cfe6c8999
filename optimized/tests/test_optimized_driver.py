"""The driver, with a packet socket in memory and a server on loopback."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import struct
import threading
import time
from ipaddress import IPv4Interface

import pytest

from glassgate.contract import Cipher, GatewayConfig, rules
from glassgate.optimized import tunnel as tunnel_module
from glassgate.optimized.driver import Driver
from glassgate.optimized.gateway import BatchGateway
from glassgate.optimized.tunnel import Flow
from glassgate.reference.openvpn.client import Configured, Failed, InstallKey, SendPacket, SendPing, UseKey

HOST, FAR = "10.38.2.5", "8.8.8.8"
PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")


class Remote:
    def __init__(self, port, proto):
        self.host, self.port, self.proto = "127.0.0.1", port, proto


class Profile:
    """What the driver and the tunnel ask of a profile."""

    connect_retry, connect_retry_longest, connect_timeout, attempts = 0.05, 1.0, 5.0, 0

    def __init__(self, port, proto):
        self.remotes = (Remote(port, proto),)


class Client:
    """A control plane that agrees on keys by saying hello."""

    def __init__(self, make):
        self.make = make
        self.sent, self.received = [], []
        self.deadline = None
        self.look_at = None
        self.due = []

    def start(self, now, remote=0):
        self.remote = remote
        return [SendPacket(b"\x38hello", rules.S2_OPEN_FLOW)]

    def receive(self, packet, now):
        make = self.make
        if packet == b"\x40end":
            return [Failed(rules.S4_PEER_ENDS, "told to", retry=False)]
        if packet == b"\x40alert":
            return [SendPacket(b"\x20alert", rules.S4_PEER_ENDS), Failed(rules.S4_PEER_ENDS, "told to", retry=True)]
        if packet == b"\x40bye":
            return [Failed(rules.S4_LEAVE, "this side leaves", retry=False)]
        assert packet == b"\x40welcome"
        key = InstallKey(0, Cipher.AES_256_GCM, 0, make.SEND_KEY, make.SEND_IV, make.RECEIVE_KEY, make.RECEIVE_IV)
        return [key, Configured(IPv4Interface("10.8.0.2/24"), 1400, None), UseKey(0), SendPing()]

    def tick(self, now):
        return []

    def stop(self, now):
        return [SendPacket(b"\x20bye", rules.S4_LEAVE)]

    def data_sent(self, now, octets=0):
        self.sent.append(octets)

    def data_received(self, now, octets=0):
        self.received.append(octets)


class Frames:
    """A packet socket in memory: what a test puts in is readable."""

    def __init__(self):
        self.there, self.here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.here.setblocking(False)
        self.sent = []
        self.frames_received = self.frames_lost = 0
        self.interface, self.errors = "test", []
        self.is_vouched = False

    def fileno(self):
        return self.here.fileno()

    def trouble(self):
        return self.errors.pop() if self.errors else 0

    def put(self, *frames):
        for frame in frames:
            self.there.send(frame)

    def batches(self):
        arena, bounds = bytearray(), []
        while select.select([self.here], [], [], 0)[0]:
            frame = self.here.recv(65536)
            bounds.append((len(arena), len(arena) + len(frame)))
            arena += frame
        yield memoryview(arena), bounds

    def send(self, frames, bounds):
        self.sent += [bytes(frames[start:end]) for start, end in bounds]

    def send_unfinished(self, frames, bounds):
        self.send(frames, [(start + 10, end) for start, end in bounds])

    def close(self):
        self.here.close()
        self.there.close()


class Bench:
    """A driver, its frames and its server, turned by hand."""

    def __init__(self, make, monkeypatch, proto, status_file=None):
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        self.server = socket.socket(socket.AF_INET, kind)
        self.server.bind(("127.0.0.1", 0))
        self.server.settimeout(5)
        if proto == "tcp":
            self.server.listen()
        self.client = Client(make)
        self.is_stream = proto == "tcp"
        monkeypatch.setattr(tunnel_module.control, "Client", lambda profile, entropy: self.client)
        profile = Profile(self.server.getsockname()[1], proto)
        monkeypatch.setattr(tunnel_module, "_profile", lambda text: profile)
        config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"ovpn": "client"}, "notes": False})
        self.gateway = BatchGateway(config, os.urandom)
        self.frames = Frames()
        self.driver = Driver(self.gateway, self.frames, status_file=status_file)
        self.peer = self.server
        self.address = None
        self.inbox = b""

    def turn_until(self, condition, seconds=5.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came"
            self.driver._wake_in.send(b"x")  # no turn waits
            self.driver.turn()

    def records(self, count):
        """The next records that the server gets."""
        self.peer.setblocking(False)
        got = []

        def have():
            try:
                if self.is_stream:
                    self.inbox += self.peer.recv(1 << 20)
                else:
                    octets, self.address = self.peer.recvfrom(65536)
                    self.inbox += len(octets).to_bytes(2, "big") + octets
            except BlockingIOError:
                pass
            while len(self.inbox) >= 2 and len(self.inbox) >= 2 + int.from_bytes(self.inbox[:2], "big"):
                length = int.from_bytes(self.inbox[:2], "big")
                got.append(self.inbox[2 : 2 + length])
                self.inbox = self.inbox[2 + length :]
            return len(got) >= count

        self.turn_until(have)
        return got

    def say(self, *records):
        for record in records:
            if self.is_stream:
                self.peer.sendall(len(record).to_bytes(2, "big") + record)
            else:
                self.peer.sendto(record, self.address)

    def accept(self):
        if self.is_stream:
            self.turn_until(lambda: self.gateway.tunnel.flow is Flow.OPEN)
            self.peer, _ = self.server.accept()
        assert self.records(1) == [b"\x38hello"]

    def establish(self):
        self.accept()
        self.say(b"\x40welcome")
        self.turn_until(lambda: self.gateway.tunnel.sealing is not None)


@pytest.fixture(params=["tcp", "udp"])
def bench(request, make, monkeypatch):
    made = Bench(make, monkeypatch, request.param)
    made.driver.begin()
    yield made
    made.driver.end()
    made.peer.close()
    made.server.close()


@pytest.fixture
def stream(make, monkeypatch):
    made = Bench(make, monkeypatch, "tcp")
    made.driver.begin()
    yield made
    made.driver.end()
    made.peer.close()
    made.server.close()


def test_packets_pass_both_ways(make, bench):
    world = make.World()
    bench.establish()
    bench.records(1)  # the ping that the control plane asked for
    packets = [make.udp(HOST, FAR, 1, 2, bytes([number])) for number in range(50)]
    bench.frames.put(*(make.ethernet(packet, make.hardware(HOST)) for packet in packets))
    for number, record in enumerate(bench.records(50)):
        nonce = record[4:8] + make.SEND_IV
        inner = world._opening.decrypt(nonce, record[24:] + record[8:24], record[:8])
        assert inner == make.udp(HOST, FAR, 1, 2, bytes([number]), ttl=63)
    bench.frames.put(make.arp(1, make.hardware(HOST), HOST, "10.38.2.1"))
    bench.turn_until(lambda: len(bench.frames.sent) >= 2)
    bench.say(*(world.record(make.udp(FAR, HOST, 1, 2, bytes([number])))[2:] for number in range(50)))
    bench.turn_until(lambda: len(bench.frames.sent) >= 52)
    expected = [make.udp(FAR, HOST, 1, 2, bytes([number]), ttl=63) for number in range(50)]
    assert [frame[14:] for frame in bench.frames.sent[2:]] == expected


def test_the_control_plane_is_told_once_a_second(make, bench):
    bench.establish()
    assert bench.client.sent == [0]  # the ping: sent, but no octets of the user's
    packet = make.udp(HOST, FAR, 1, 2, bytes(100))
    bench.frames.put(*[make.ethernet(packet, make.hardware(HOST))] * 20)
    bench.records(1)
    bench.turn_until(lambda: sum(bench.client.sent) == 20 * 128)
    assert bench.client.sent == [0, 20 * 128]


def test_a_lost_connection_is_made_anew(make, stream):
    stream.establish()
    stream.peer.close()
    stream.turn_until(lambda: stream.gateway.tunnel.flow is Flow.CLOSED)
    stream.inbox = b""
    stream.establish()
    assert stream.gateway.tunnel.flow is Flow.OPEN


def test_a_fatal_record_resets_the_connection(make, stream):
    stream.establish()
    stream.records(1)
    stream.peer.sendall(b"\0\0")
    stream.turn_until(lambda: stream.gateway.tunnel.flow is not Flow.OPEN)
    stream.peer.settimeout(5)
    with pytest.raises(ConnectionResetError):
        stream.peer.recv(1)


def test_the_server_may_end_it_for_good(make, stream):
    stream.establish()
    stream.say(b"\x40end")
    stream.turn_until(lambda: stream.gateway.tunnel.has_ended)
    assert stream.gateway.tunnel.deadline == float("inf")
    assert stream.driver.is_over
    assert stream.driver._failure == "told to"


def test_the_last_words_leave_before_the_connection_is_closed(make, bench):
    bench.establish()
    bench.records(1)  # the ping that the control plane asked for
    bench.say(b"\x40alert")
    assert bench.records(1) == [b"\x20alert"]
    assert not bench.driver.is_over
    assert bench.gateway.tunnel.deadline < float("inf")


def test_a_server_that_refuses_is_tried_again(make, monkeypatch):
    made = Bench(make, monkeypatch, "tcp")
    made.server.close()
    made.driver.begin()
    made.turn_until(lambda: made.gateway.tunnel.remote >= 2)
    assert not made.driver.is_over
    made.driver.end()


def test_records_wait_for_a_server_that_does_not_read(make, stream):
    """Beyond the backlog packets are dropped before they take an id, and what was sealed arrives without a gap."""
    stream.establish()
    stream.records(1)
    packet = make.udp(HOST, FAR, 1, 2, bytes(1300))
    buffer = bytearray()
    bounds = []
    for _ in range(64):
        start = len(buffer)
        buffer += make.ethernet(packet, make.hardware(HOST))
        bounds.append((start, len(buffer)))
    for _ in range(400):
        batch = bytearray(buffer)
        stream.gateway.receive_frames(memoryview(batch), bounds, time.monotonic())
        stream.driver._flush()
    last = stream.gateway.tunnel.sealing.packet_id - 1
    assert stream.gateway.outgoing.flow_end > 0
    assert last < 400 * 64
    records = stream.records(last - 1)
    assert [int.from_bytes(record[4:8], "big") for record in records] == list(range(2, last + 1))
    stream.turn_until(lambda: stream.gateway.outgoing.flow_end == 0)


# signals: the driver runs in this thread, and a server in another


class Server(threading.Thread):
    """Answers hello with welcome, and bye with bye; ``actions`` happen once each connection is established."""

    def __init__(self, bench, *actions, is_polite=True):
        super().__init__(daemon=True)
        self.listener, self.actions, self.is_polite = bench.server, list(actions), is_polite
        self.said = []
        self.start()

    def run(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            with link:
                self.serve(link)

    def serve(self, link):
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
                self.said.append(packet)
                if packet == b"\x38hello":
                    link.sendall(b"\0\x08\x40welcome")
                elif packet == b"\x20bye" and self.is_polite:
                    link.sendall(b"\0\x04\x40bye")
                elif packet[0] >> 3 == 9 and self.actions:
                    self.actions.pop(0)(link)


def kill(*numbers):
    def act(link):
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.2)

    return act


@pytest.fixture
def running(make, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO, "glassgate.optimized")
    made = Bench(make, monkeypatch, "tcp", tmp_path / "status.json")
    yield made
    made.server.close()


def test_sigterm_tells_the_server_waits_for_its_answer_and_ends(running, caplog):
    server = Server(running, kill(signal.SIGTERM))
    assert running.driver.run() == 0
    assert server.said[-1] == b"\x20bye"
    assert caplog.messages[-1].startswith("s4-leave")
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_server_that_does_not_answer_is_not_waited_for_long(running):
    server = Server(running, kill(signal.SIGTERM), is_polite=False)
    start = time.monotonic()
    assert running.driver.run() == 0
    assert server.said[-1] == b"\x20bye"
    assert 1.4 < time.monotonic() - start < 5.0


def test_a_second_sigterm_ends_it_at_once(running):
    Server(running, kill(signal.SIGTERM, signal.SIGINT), is_polite=False)
    start = time.monotonic()
    assert running.driver.run() == 0
    assert time.monotonic() - start < 1.4


def test_leaving_without_a_connection_is_immediate(running):
    running.server.close()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    start = time.monotonic()
    assert running.driver.run() == 0
    assert time.monotonic() - start < 1.4


def test_a_server_that_ends_it_gives_status_1_and_the_reason(running, caplog):
    Server(running, lambda link: link.sendall(b"\0\x04\x40end"))
    assert running.driver.run() == 1
    assert caplog.records[-1].getMessage() == "told to"
    assert caplog.records[-1].levelno == logging.ERROR


def test_attempts_may_be_limited(running, monkeypatch, caplog):
    monkeypatch.setattr(Profile, "attempts", 2)
    running.server.close()
    assert running.driver.run() == 1
    assert caplog.messages[-1] == "2 attempts in a row have failed (connect-retry-max)"
    assert "connection: Connection refused" in caplog.messages


def test_a_server_without_address_is_tried_again_later(running, monkeypatch, caplog):
    monkeypatch.setattr(running.gateway.tunnel.profile.remotes[0], "host", "no.such.name.invalid")
    monkeypatch.setattr(Profile, "attempts", 1)
    assert running.driver.run() == 1
    assert any(message.startswith("connection: ") for message in caplog.messages)


def test_sigusr1_makes_a_new_connection_and_sigusr2_tells(running, caplog):
    server = Server(running, kill(signal.SIGUSR1), kill(signal.SIGUSR2, signal.SIGTERM))
    port = running.server.getsockname()[1]
    caplog.set_level(logging.WARNING, "glassgate.optimized")  # --quiet hides neither
    assert running.driver.run() == 0
    assert server.said.count(b"\x38hello") == 2
    assert "connection: restarted by a signal" in caplog.messages
    assert f"flow: tcp to 127.0.0.1:{port}, connected" in caplog.messages
    assert any("s27-control: Control packets" in message for message in caplog.messages)


def test_sigusr2_writes_how_things_stand_into_a_file(make, running, tmp_path, caplog):
    seen = []

    def traffic(link):
        world = make.World()
        running.frames.put(make.arp(1, make.hardware(HOST), HOST, "10.38.2.1"))
        good = make.udp(HOST, FAR, 1, 2)
        running.frames.put(*[make.ethernet(good, make.hardware(HOST))] * 3)
        running.frames.put(make.ethernet(make.udp("10.38.2.1", FAR, 1, 2), make.hardware(HOST)))
        time.sleep(0.2)
        link.sendall(world.record(make.udp(FAR, HOST, 1, 2)))
        time.sleep(0.2)
        kill(signal.SIGUSR2)(link)
        seen.append(json.loads((tmp_path / "status.json").read_text()))
        kill(signal.SIGTERM)(link)

    Server(running, traffic)
    assert running.driver.run() == 0
    (status,) = seen
    assert status["server"] == {"host": "127.0.0.1", "port": running.server.getsockname()[1], "proto": "tcp"}
    assert status["tunnel"] == {
        "flow": "connected", "is_up": True, "address": "10.8.0.2/24", "mtu": 1400, "mssfix": None, "remote": 0,
        "keys": [0], "key_in_use": 0,
    }  # fmt: skip
    assert status["neighbours"] == {HOST: make.hardware(HOST).hex(":")}
    counters = {"s14-forward": 3, "s16-own": 1, "s27-control": 1, "s29-to-host": 1}
    assert {slug: status["counters"].get(slug) for slug in counters} == counters
    running.driver._write_status(tmp_path / "none" / "status.json")  # one line in the log, and no end
    assert caplog.messages[-1].endswith("status.json: No such file or directory")


def test_how_the_flow_stands_is_told_whatever_it_is(make, stream, caplog):
    stream.frames.frames_lost = 2
    stream.driver.tell()
    stream.turn_until(lambda: stream.gateway.tunnel.flow is Flow.OPEN)
    stream.driver._outside = stream.frames
    stream.driver.tell()
    stream.driver._outside = None
    assert [message for message in caplog.messages if message.startswith("flow: ")] == [
        f"flow: tcp to 127.0.0.1:{stream.server.getsockname()[1]}, connecting",
        "flow: by the gateway's own stack over test",
    ]
    assert "       2 interface full or frame too long" in caplog.messages


def test_a_connection_has_its_time(make, stream, caplog):
    stream.driver._transport.deadline = 0.0
    stream.driver._do_what_is_due(time.monotonic())
    assert stream.gateway.tunnel.flow is Flow.CLOSED
    assert "connection: no connection after 5 s" in caplog.messages
    stream.driver.tell()
    assert "flow: none" in caplog.messages


def test_an_interface_that_is_down_is_told_once(make, stream, caplog):
    stream.frames.errors = [100]
    for _ in range(2):
        stream.driver._serve_frames(select.EPOLLIN | select.EPOLLERR, time.monotonic())
    assert caplog.messages == ["test: Network is down"]


def test_a_wake_up_with_one_packet_calls_the_kernel_twice(make, stream, monkeypatch):
    """To wait, and to send; and the control plane is not called at all."""
    stream.establish()
    stream.records(1)
    stream.turn_until(lambda: not stream.driver._transport._wants_to_write)
    calls = []
    epoll, transport = stream.driver._epoll, stream.driver._transport

    class Spy:
        def __init__(self, spied):
            self.spied = spied

        def __getattr__(self, name):
            calls.append(name)
            return getattr(self.spied, name)

    monkeypatch.setattr(stream.driver, "_epoll", Spy(epoll))
    monkeypatch.setattr(transport, "socket", Spy(transport.socket))
    stream.gateway.tunnel._client = None if stream.client is None else Spy(stream.client)
    stream.driver._wake_in.send(b"x")
    stream.driver.turn()  # whatever still waits
    calls.clear()
    stream.frames.put(make.ethernet(make.udp(HOST, FAR, 1, 2), make.hardware(HOST)))
    stream.driver.turn()
    assert calls == ["poll", "send"]
    stream.gateway.tunnel._client = stream.client
    monkeypatch.undo()


# a stack of its own outside


def test_with_its_own_stack_outside_both_interfaces_are_served(make):
    """ARP, SYN, a record out and one in, and a FIN at the end; no socket of the kernel's takes part."""
    world = make.World(is_started=False)
    members = world.config.to_json() | {"external": {"kind": "stack"}, "notes": False}
    gateway = BatchGateway(GatewayConfig.from_json(members), os.urandom)
    inside, outside = Frames(), Frames()
    driver = Driver(gateway, inside, outside)
    mac, router = bytes.fromhex("0200c0a80105"), bytes.fromhex("0200c0a80101")
    driver.begin()
    assert [frame[12:14] for frame in outside.sent] == [b"\x08\x06"] * 2
    outside.put(make.arp(2, router, "192.168.1.1", "192.168.1.5", mac, mac))
    driver.turn()
    port, _, sequence = struct.unpack_from(">HHI", outside.sent[-1], 34)

    def server(flags, text=b"", **fields):
        given = {"sequence": 5001, "acknowledgment": (sequence + 1) & 0xFFFFFFFF} | fields
        packet = make.tcp("1.2.3.4", "192.168.1.5", (1194, port), flags, text, **given)
        outside.put(make.ethernet(packet, router, mac))
        driver.turn()

    server(0x12, sequence=5000)
    inside.put(make.arp(1, make.hardware(HOST), HOST, "10.38.2.1"))
    driver.turn()
    inside.put(make.ethernet(make.udp(HOST, "8.8.8.8", 1, 2, b"out"), make.hardware(HOST)))
    driver.turn()
    assert outside.sent[-1][:12] == router + mac
    assert len(outside.sent[-1]) == 54 + 2 + 24 + 31
    server(0x18, world.record(make.udp("8.8.8.8", HOST, 2, 1, b"in")))
    assert inside.sent[-1][14:] == make.udp("8.8.8.8", HOST, 2, 1, b"in", ttl=63)
    gateway.stop(time.monotonic())
    driver._flush()
    assert outside.sent[-1][47] & 0x01
    assert not gateway.has_left
    assert driver.counters.outer_frames_out == len(outside.sent)
    driver.end()
