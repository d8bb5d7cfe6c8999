"""A gateway and the far end over datagrams that get lost and overtake each other: the handshake ends all the same."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import replace

import pytest

from glassgate.conformance import packets
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import client_configuration, introduce
from glassgate.conformance.server.session import Ended, Inner, Installed, Output, Send
from glassgate.conformance.server.settings import Control
from glassgate.conformance.simulation import Beyond, Host
from glassgate.conformance.subjects import discovery
from glassgate.contract import CloseFlow, Effect, FlowEvent, GatewayConfig, OpenFlow, Port, SeededEntropy, Transmit

BEYOND = "192.0.2.7"
LOST = 0.25
PATIENCE = 55.0  # seconds: before either side's hand window is over
MOST_EVENTS = 20_000


class Link:
    """A gateway, a far end, and between them a network that loses one datagram in four and delays each as it likes."""

    def __init__(self, seed: int, control: Control, renegotiates_after: float = 0.0) -> None:
        settings, introduction = introduce(SeededEntropy(b"keys"), control, "udp")
        settings = replace(settings, renegotiates_after=renegotiates_after)
        ovpn = client_configuration(settings, introduction, "1.2.3.4", 1194)
        tunnel = {"ovpn": ovpn, "proto": "udp"}
        config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": tunnel})
        self.now = 0.0
        self.host = Host("the host", "02:00:0a:26:02:05", "10.38.2.5", "10.38.2.1")
        self.keys: list[int] = []
        self.over: list[str] = []
        self._chance = random.Random(seed)
        self._gateway = discovery.find("reference")(config, SeededEntropy(bytes([seed])))
        self._far = Endpoint(settings, SeededEntropy(b"far end"))
        self._beyond = Beyond()
        self._numbers = itertools.count()
        self._on_the_way: list[tuple[float, int, bool, bytes]] = []
        self._gateway_did(self._gateway.start(0.0))

    def run(self, until: float) -> None:
        """Let time pass."""
        for _ in range(MOST_EVENTS):
            due = [time for time in (self._gateway.deadline, self._far.deadline) if time is not None]
            arrival = self._on_the_way[0][0] if self._on_the_way else until
            self.now = max(self.now, min([*due, arrival, until]))
            if self.now >= until:
                return
            if self._on_the_way and arrival <= self.now:
                _, _, is_for_gateway, octets = heapq.heappop(self._on_the_way)
                if is_for_gateway:
                    self._gateway_did(self._gateway.receive(Port.FLOW, octets, self.now))
                else:
                    self._far_did(self._far.receive(octets, self.now))
                continue
            self._gateway_did(self._gateway.tick(self.now))
            self._far_did(self._far.tick(self.now))
            following = self._far.deadline
            assert following is None or following > self.now, "a driver would never rest"
        pytest.fail("they never rest")

    def ping(self, sequence: int) -> None:
        """Let the host ping."""
        self._inject(self.host.ping(BEYOND, 1, sequence, b"through thick and thin"))

    def _inject(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._gateway_did(self._gateway.receive(Port.INTERNAL, frame, self.now))

    def _send(self, octets: bytes, *, is_for_gateway: bool) -> None:
        if self._chance.random() >= LOST:
            at = self.now + self._chance.uniform(0.001, 0.3)
            heapq.heappush(self._on_the_way, (at, next(self._numbers), is_for_gateway, octets))

    def _gateway_did(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case OpenFlow():
                    self._gateway_did(self._gateway.flow(FlowEvent.OPENED, self.now))
                case CloseFlow():
                    self.over.append(f"the gateway closed: {effect.because}")
                case Transmit(Port.FLOW, octets):
                    self._send(octets, is_for_gateway=False)
                case Transmit(Port.INTERNAL, frame):
                    self._inject(self.host.receive(frame))

    def _far_did(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Send(octets):
                    self._send(octets, is_for_gateway=True)
                case Inner(packet):
                    for reply in self._beyond.receive(packet):
                        self._far_did(self._far.send(reply, self.now))
                case Installed(session):
                    self.keys.append(session.key_id)
                case Ended(reason):
                    self.over.append(reason)


def pings_come_back(link: Link, seconds: float) -> bool:
    """Ping every half second until an answer comes."""
    before, ends = len(link.host.received), link.now + seconds
    for sequence in itertools.count():
        link.ping(sequence)
        link.run(link.now + 0.5)
        if any(read.source == BEYOND for read in link.host.received[before:]):
            return True
        if link.now >= ends:
            return False
    return False


@pytest.mark.parametrize("control", Control)
@pytest.mark.parametrize("seed", range(4))
def test_a_handshake_ends_over_a_bad_link_and_pings_pass(seed: int, control: Control) -> None:
    link = Link(seed, control)
    assert pings_come_back(link, PATIENCE), link.over
    assert link.over == []
    assert link.keys == [0]
    (answer,) = [read for read in link.host.received if read.source == BEYOND][:1]
    assert answer.payload[8:] == b"through thick and thin"
    assert not packets.checksum(answer.payload)


@pytest.mark.parametrize("control", [Control.PLAIN, Control.TLS_CRYPT])
@pytest.mark.parametrize("seed", range(2))
def test_new_keys_are_made_over_a_bad_link(seed: int, control: Control) -> None:
    link = Link(seed, control, renegotiates_after=60.0)
    for _ in range(4):
        assert pings_come_back(link, PATIENCE), link.over
        link.run(link.now + 45.0)
    assert link.over == []
    assert link.keys[:2] == [0, 1]
