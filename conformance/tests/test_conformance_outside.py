"""The router and the server that the suite plays outside, and subjects that are met through their own stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dpkt
import pytest

from glassgate.conformance.matching import Actual, ActualAction, ActualPacket
from glassgate.conformance.model import VectorPort
from glassgate.conformance.outside import ROUTER, Event, News, Octets, Outside, Strange
from glassgate.conformance.subjects.subject import Reply, SubjectFault
from glassgate.conformance.subjects.through_stack import ThroughStack
from glassgate.contract import ExternalStack, FlowEvent, GatewayConfig, Port

EXTERNAL = ExternalStack()
KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
SYN, ACK, RST, FIN = dpkt.tcp.TH_SYN, dpkt.tcp.TH_ACK, dpkt.tcp.TH_RST, dpkt.tcp.TH_FIN
GATEWAY, SERVER = bytes([192, 168, 1, 5]), bytes([1, 2, 3, 4])


def outside(*, accepts: bool = True) -> Outside:
    tunnel = GatewayConfig().tunnel
    return Outside(EXTERNAL, tunnel.remote, tunnel.port, accepts=accepts)


def frame(flags: int, sequence: int = 1000, text: bytes = b"", port: int = 50000, **changes: Any) -> bytes:
    """A segment of the gateway to the server, checksums by dpkt."""
    tcp = dpkt.tcp.TCP(sport=port, dport=changes.pop("to_port", 1194), seq=sequence, flags=flags, data=text)
    packet = dpkt.ip.IP(src=GATEWAY, dst=changes.pop("to", SERVER), p=6, data=tcp, len=40 + len(text))
    fields = {"src": bytes(EXTERNAL.mac), "dst": bytes(ROUTER), "type": 0x0800, "data": packet} | changes
    return bytes(dpkt.ethernet.Ethernet(**fields))


def segment(octets: bytes) -> Any:
    """The segment in a frame to the gateway, every checksum verified."""
    ethernet = dpkt.ethernet.Ethernet(octets)
    assert (ethernet.dst, ethernet.src) == (bytes(EXTERNAL.mac), bytes(ROUTER))
    packet = ethernet.data
    assert (packet.src, packet.dst) == (SERVER, GATEWAY)
    assert dpkt.in_cksum(octets[14:34]) == 0
    pseudo_header = SERVER + GATEWAY + b"\0\6" + (len(octets) - 34).to_bytes(2, "big")
    assert dpkt.in_cksum(pseudo_header + octets[34:]) == 0
    return packet.data


def opened() -> Outside:
    """Outside with a connection from port 50000 whose next octet has the number 1001."""
    made = outside()
    made.receive(frame(SYN))
    return made


def test_the_router_answers_for_its_address_and_for_no_other() -> None:
    def request(target: bytes, operation: int = 1) -> bytes:
        arp = dpkt.arp.ARP(sha=bytes(EXTERNAL.mac), spa=GATEWAY, tpa=target, op=operation)
        return bytes(dpkt.ethernet.Ethernet(src=bytes(EXTERNAL.mac), dst=b"\xff" * 6, type=0x0806, data=arp))

    events, (answer,) = outside().receive(request(EXTERNAL.gateway.packed))
    reply = dpkt.ethernet.Ethernet(answer).data
    assert events == []
    assert (reply.op, reply.sha, reply.spa) == (2, bytes(ROUTER), EXTERNAL.gateway.packed)
    assert (reply.tha, reply.tpa) == (bytes(EXTERNAL.mac), GATEWAY)
    assert outside().receive(request(SERVER)) == ([], [])
    assert outside().receive(request(GATEWAY)) == ([], [])
    assert outside().receive(request(EXTERNAL.gateway.packed, 2)) == ([], [])


def test_a_syn_is_answered_at_once_or_when_told_to() -> None:
    events, (answer,) = outside().receive(frame(SYN, 1000))
    assert events == []
    assert (segment(answer).flags, segment(answer).ack, segment(answer).sport) == (SYN | ACK, 1001, 1194)
    waiting = outside(accepts=False)
    assert waiting.receive(frame(SYN, 1000)) == ([News.WANTED], [])
    assert waiting.receive(frame(SYN, 1000)) == ([], [])
    (answer,) = waiting.open()
    assert segment(answer).ack == 1001
    assert waiting.open() == []


def test_text_is_taken_in_order_and_acknowledged() -> None:
    server = opened()
    events, (answer,) = server.receive(frame(ACK, 1001, b"abc"))
    assert events == [Octets(b"abc")]
    assert (segment(answer).flags, segment(answer).ack) == (ACK, 1004)
    assert server.receive(frame(ACK, 1004)) == ([], [])
    events, (answer,) = server.receive(frame(ACK, 1001, b"abc"))
    assert (events, segment(answer).ack) == ([], 1004)
    ((strange,), _) = server.receive(frame(ACK, 1009, b"x"))
    assert isinstance(strange, Strange)
    assert strange.problem == "leaves 5 octets of the stream out"


def test_octets_for_the_gateway_come_in_segments() -> None:
    server = opened()
    first, second = map(segment, server.send(bytes(1460) + b"rest"))
    assert (len(first.data), second.data) == (1460, b"rest")
    assert second.seq == first.seq + 1460
    (third,) = map(segment, server.send(b"x"))
    assert third.seq == second.seq + 4
    assert outside().send(b"x") == []


def test_an_end_by_either_side_is_told() -> None:
    assert opened().receive(frame(RST, 1001)) == ([News.RESET], [])
    events, (answer,) = opened().receive(frame(FIN | ACK, 1001, b"last"))
    assert (events, segment(answer).ack) == ([Octets(b"last"), News.RESET], 1006)
    server = opened()
    (answer,) = server.close()
    assert segment(answer).flags & RST
    assert server.close() == []
    assert server.receive(frame(SYN, 1000)) == ([], [])
    assert server.receive(frame(SYN, 2000)) == ([News.WANTED], [])
    assert server.receive(frame(RST, 9)) == ([], [])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (frame(ACK, 1001, dst=b"\2\0\0\0\0\x09"), "goes to 02:00:00:00:00:09, not to the router"),
        (frame(ACK, 1001, src=b"\2\0\0\0\0\x09"), "comes from 02:00:00:00:00:09"),
        (frame(ACK, 1001, to=bytes([8, 8, 8, 8])), "goes from 192.168.1.5 to 8.8.8.8"),
        (frame(ACK, 1001, to_port=80), "is no TCP to the server's port"),
        (frame(ACK, 1001)[:12] + b"\x86\xdd" + frame(ACK, 1001)[14:], "type 0x86dd is nothing that leaves here"),
        (frame(ACK, 1001)[:50], "or it is cut off"),
        (frame(ACK, 1001)[:24] + b"\0\0" + frame(ACK, 1001)[26:], "the IPv4 header is wrong"),
        (frame(ACK, 1001)[:50] + b"\0\0" + frame(ACK, 1001)[52:], "the TCP checksum is wrong"),
        (frame(ACK, 1001, port=50001), "belongs to no connection"),
    ],
)
def test_what_nobody_outside_would_have_is_told(given: bytes, problem: str) -> None:
    ((strange,), answers) = opened().receive(given)
    assert isinstance(strange, Strange)
    assert problem in strange.problem
    assert answers == []


# ── a subject through its stack ──────────────────────────────────────────────────────────────────────────────────────


class Scripted:
    """A subject that plays its part from a script: for each call the effects to return."""

    name, version, language = "scripted", "1", "words"
    capabilities = frozenset({"external.stack", "external.os", "session", "transport.udp", "cipher.aes-256-gcm"})
    passes = ("only",)

    def __init__(self, *replies: tuple[Actual, ...]) -> None:
        self.replies = list(replies)
        self.given: list[Any] = []

    def _next(self, given: Any) -> Reply:
        self.given.append(given)
        return Reply(self.replies.pop(0) if self.replies else ())

    def start(self, config: Mapping[str, Any], now: float, run: str) -> Reply:
        return self._next(config["external"])

    def receive(self, port: Port, data: bytes, now: float) -> Reply:
        return self._next((port, data))

    def flow(self, event: FlowEvent, now: float) -> Reply:
        raise AssertionError("where the gateway has its own stack nobody tells it of the flow")

    def tick(self, now: float) -> Reply:
        return self._next("tick")

    def close(self) -> None:
        self.given.append("close")


CONFIG = {"external": {"kind": "os"}, "tunnel": {"session": {"send": KEY, "receive": KEY}}}


def outer(octets: bytes) -> ActualPacket:
    return ActualPacket(VectorPort.EXTERNAL, octets)


def inner(octets: bytes) -> ActualPacket:
    return ActualPacket(VectorPort.INTERNAL, octets)


def test_the_connection_comes_up_within_the_start_and_is_not_seen() -> None:
    scripted = Scripted((inner(b"hello"), outer(frame(SYN))), (outer(frame(ACK, 1001)), inner(b"up")))
    reply = ThroughStack(scripted).start(CONFIG, 0.0, "only")
    assert reply.effects == (inner(b"hello"), inner(b"up"))
    assert scripted.given[0] == {"kind": "stack"}


def test_the_flow_goes_to_and_fro_in_segments() -> None:
    scripted = Scripted((outer(frame(SYN)),), (), (outer(frame(ACK, 1001, b"out")), inner(b"in")))
    through = ThroughStack(scripted)
    through.start(CONFIG, 0.0, "only")
    reply = through.receive(Port.FLOW, b"record", 1.0)
    assert reply.effects == (ActualPacket(VectorPort.FLOW, b"out"), inner(b"in"))
    port, octets = scripted.given[2]
    assert port is Port.EXTERNAL
    assert segment(octets).data == b"record"


def test_wishes_about_the_flow_are_read_from_segments() -> None:
    scripted = Scripted((outer(frame(SYN)),), (), (), (outer(frame(SYN, 2000)),), (outer(frame(RST, 2001)),))
    through = ThroughStack(scripted)
    through.start(CONFIG, 0.0, "only")
    assert through.flow(FlowEvent.CLOSED, 1.0).effects == ()
    assert through.tick(2.0).effects == (ActualAction("open"),)
    assert through.flow(FlowEvent.OPENED, 3.0).effects == (ActualAction("close"),)


def test_a_strange_frame_stays_with_its_problem() -> None:
    through = ThroughStack(Scripted((outer(frame(ACK)),)))
    (effect,) = through.start(CONFIG, 0.0, "only").effects
    assert isinstance(effect, ActualPacket)
    assert effect.problem == "belongs to no connection"


def test_a_conversation_without_an_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Talks(Scripted):
        def receive(self, port: Port, data: bytes, now: float) -> Reply:
            return Reply((outer(frame(ACK, 1, b"x")),))

    monkeypatch.setattr("glassgate.conformance.subjects.through_stack.MOST_FRAMES", 50)
    through = ThroughStack(Talks((outer(frame(SYN, 5)),)))
    with pytest.raises(SubjectFault, match="has no end"):
        through.start(CONFIG, 0.0, "only")


def test_its_stack_stands_for_that_of_the_system() -> None:
    assert ThroughStack(Scripted()).capabilities == {"external.os", "session", "cipher.aes-256-gcm"}
    without = Scripted()
    without.capabilities = frozenset({"external.os", "session"})
    assert ThroughStack(without).capabilities == {"session"}


def test_events_are_values() -> None:
    events: list[Event] = [Octets(b"a"), Strange(b"b", "c"), News.WANTED]
    assert events == [Octets(b"a"), Strange(b"b", "c"), News.WANTED]
