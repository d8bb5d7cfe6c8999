"""The whole gateway against the stock program: a host's ping crosses a tunnel that was negotiated, and comes back."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from glassgate.contract import (
    CloseFlow,
    Effect,
    FlowEvent,
    GatewayConfig,
    MacAddress,
    Note,
    OpenFlow,
    Port,
    Transmit,
)
from glassgate.reference import arp, ethernet, icmp, implementation, ipv4
from glassgate.reference.arp import ArpPacket
from glassgate.reference.ethernet import Frame
from glassgate.reference.icmp import Message
from glassgate.reference.ipv4 import Packet

pytestmark = pytest.mark.root

GATEWAY_MAC = MacAddress.parse("00:f0:0d:f0:0d:00")
HOST_MAC = MacAddress.parse("02:00:0a:26:02:05")
HOST, GATEWAY, SERVER = IPv4Address("10.38.2.5"), IPv4Address("10.38.2.1"), IPv4Address("10.88.0.1")


class Driver:
    """What a driver does, without interfaces: a socket for the flow, a list for the host."""

    def __init__(self, server: Any, config: dict[str, Any]) -> None:
        self._server = server
        self._gateway = implementation(GatewayConfig.from_json(config), os.urandom)
        self._socket: socket.socket | None = None
        self.frames: list[Frame] = []
        self.rules: list[str] = []

    def start(self) -> None:
        self.do(self._gateway.start(time.monotonic()))

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Transmit(Port.INTERNAL, data):
                    self.frames.append(ethernet.parse(data))
                case Transmit(_, data):
                    assert self._socket is not None
                    self._socket.sendall(data)
                case OpenFlow():
                    self._socket = self._server.connect().socket
                    self.do(self._gateway.flow(FlowEvent.OPENED, time.monotonic()))
                case CloseFlow():
                    raise AssertionError(f"closed because of {effect.because}")
                case Note():
                    self.rules.append(effect.rule.slug)

    def frame(self, type_: int, payload: bytes) -> None:
        frame = ethernet.build(Frame(GATEWAY_MAC, HOST_MAC, type_, payload))
        self.do(self._gateway.receive(Port.INTERNAL, frame, time.monotonic()))

    def run(self, until: Callable[[], bool], seconds: float = 15.0) -> None:
        ends = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < ends, f"nothing came in {seconds} s: {self.rules}"
            assert self._socket is not None
            self._socket.settimeout(0.05)
            try:
                octets = self._socket.recv(65536)
            except TimeoutError:
                self.do(self._gateway.tick(time.monotonic()))
            else:
                assert octets, "the server closed the flow"
                self.do(self._gateway.receive(Port.FLOW, octets, time.monotonic()))


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_host_pings_through_a_negotiated_tunnel(
    proto: str, start_server: Any, authority: Any, client_identity: Any, tmp_path: Path
) -> None:
    (tmp_path / "DEFAULT").write_text("iroute 10.38.2.0 255.255.255.0\n")
    server = start_server(f"client-config-dir {tmp_path}", "route 10.38.2.0 255.255.255.0", proto=proto)
    profile = "\n".join(
        [
            "client",
            "dev tun",
            f"remote 127.0.0.1 1194 {proto}",
            "remote-cert-tls server",
            f"<ca>\n{authority.identity.pem}</ca>",
            f"<cert>\n{client_identity.pem}</cert>",
            f"<key>\n{client_identity.key_pem}</key>",
            "",
        ]
    )
    driver = Driver(server, {"external": {"kind": "os"}, "tunnel": {"ovpn": profile, "proto": proto}})
    driver.start()
    driver.run(lambda: "s2-established" in driver.rules)

    request = ArpPacket(arp.REQUEST, HOST_MAC, HOST, arp.NO_HARDWARE, GATEWAY)
    driver.frame(ethernet.TYPE_ARP, arp.build(request))
    driver.frames.clear()
    for sequence, size in enumerate((56, 1400, 4000)):
        echo = Message(icmp.ECHO_REQUEST, 0, bytes([0, 9, 0, sequence]), bytes(size))
        packet = Packet(HOST, SERVER, ipv4.PROTOCOL_ICMP, icmp.build(echo), identification=sequence)
        driver.frame(ethernet.TYPE_IPV4, ipv4.build(packet))
    driver.run(lambda: len(driver.frames) >= 5)  # the last reply comes in three fragments

    replies = [ipv4.parse(frame.payload) for frame in driver.frames]
    assert {(reply.source, reply.destination) for reply in replies} == {(SERVER, HOST)}
    whole = [icmp.parse(reply.payload) for reply in replies if not reply.is_fragment]
    assert [(reply.type, reply.rest[3], len(reply.data)) for reply in whole] == [(0, 0, 56), (0, 1, 1400)]
    pieces = [reply for reply in replies if reply.is_fragment]
    last = icmp.parse(b"".join(piece.payload for piece in pieces))
    assert (last.type, last.rest[3], len(last.data)) == (0, 2, 4000)
