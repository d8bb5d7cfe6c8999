"""The tunnel's ups and downs, and records that are no data for us."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface

import pytest

from glassgate.contract import Cipher, FlowEvent, GatewayConfig, SeededEntropy, rules
from glassgate.optimized import InProcess
from glassgate.optimized import tunnel as tunnel_module
from glassgate.optimized.tunnel import ASK_AGAIN, RENEGOTIATE_AT, Flow
from glassgate.reference.openvpn.client import Configured, DropKey, Failed, InstallKey, Report, SendPing, UseKey

HOST = "10.38.2.5"


def flow(world, event, after=0.0):
    world.now += after
    world.effects = world.gateway.flow(event, world.now)
    return world


def test_with_known_keys_the_tunnel_is_up_at_once(make):
    world = make.World(is_started=False)
    world.effects = world.gateway.start(0.0)
    assert world.words == []
    assert world.states == ["s2-established"]
    assert world.inside(make.udp(HOST, "8.8.8.8", 1, 2)).fates == ["s14-forward"]


def test_while_the_tunnel_is_down_packets_are_answered_and_not_kept(make):
    world = make.World(learned=[HOST])
    flow(world, FlowEvent.CLOSED)
    assert world.states == ["s4-flow-lost", "s4-keys-end"]
    packet = make.udp(HOST, "8.8.8.8", 1, 2, bytes(2000), fragment=0x4000)
    world.inside(packet)
    assert world.packets[0][20:22] == b"\x03\x00"
    assert world.packets[0][28:] == packet[:548]
    world.inside(make.udp(HOST, "8.8.8.8", 1, 2, ttl=1))
    assert world.packets[0][20:22] == b"\x0b\x00"


def test_a_lost_flow_is_opened_again_with_back_off(make):
    world = make.World()
    flow(world, FlowEvent.CLOSED)
    for delay in (1, 2, 4, 8, 16, 32, 60, 60):
        assert world.gateway.deadline == world.now + delay
        assert world.tick(after=delay - 0.1).words == []
        assert world.tick(after=0.1).words == ["OpenFlow"]
        flow(world, FlowEvent.CLOSED)


def test_configured_keys_do_not_survive_their_flow(make):
    world = make.World(learned=[HOST])
    record = world.record(make.udp("8.8.8.8", HOST, 1, 2))
    flow(world, FlowEvent.CLOSED)
    world.tick(after=1.0)
    flow(world, FlowEvent.OPENED)
    assert world.flow(record).fates == ["s26-unknown-key"]
    assert world.inside(make.udp(HOST, "8.8.8.8", 1, 2)).fates == ["s4-tunnel-down"]


def test_what_was_left_of_the_old_stream_is_not_read_in_the_new_one(make):
    world = make.World()
    world.flow(b"\x05\x00half a record")
    flow(world, FlowEvent.CLOSED)
    world.tick(after=1.0)
    flow(world, FlowEvent.OPENED)
    assert world.flow(world.record(make.udp("8.8.8.8", HOST, 1, 2))).fates == ["s26-unknown-key"]


def test_events_of_a_flow_that_is_not_ours_change_nothing(make):
    world = make.World()
    assert flow(world, FlowEvent.OPENED).effects == []
    flow(world, FlowEvent.CLOSED)
    deadline = world.gateway.deadline
    assert flow(world, FlowEvent.CLOSED).effects == []
    assert flow(world, FlowEvent.OPENED).effects == []
    assert world.gateway.deadline == deadline
    assert world.flow(b"late").fates == ["s4-flow-lost"]


FATAL = {
    "s26-opcode": [b"\x00", b"\x10", b"\x60" + bytes(40), b"\xff"],
    "s26-too-short": [b"\x48", b"\x48" + bytes(22), b"\x30" + bytes(19)],
    "s26-empty": [b"\x48" + bytes(23), b"\x30" + bytes(20)],
    "s26-authentication": [b"\x48" + bytes(24), b"\x30" + bytes(60)],
}


@pytest.mark.parametrize(("rule", "record"), [(rule, record) for rule, records in FATAL.items() for record in records])
def test_a_record_that_cannot_be_right_is_fatal_over_tcp(make, rule, record):
    world = make.World().flow(len(record).to_bytes(2, "big") + record)
    assert world.fates == [rule]
    assert world.words == ["CloseFlow"]
    assert world.gateway.batch.tunnel.flow is Flow.CLOSED


@pytest.mark.parametrize(("rule", "record"), [(rule, record) for rule, records in FATAL.items() for record in records])
def test_over_udp_it_is_dropped_and_the_next_one_passes(make, rule, record):
    world = make.World(learned=[HOST], tunnel={"proto": "udp"}).flow(record)
    assert world.fates == [rule]
    assert world.is_silent
    world.flow(world.record(make.udp("8.8.8.8", HOST, 1, 2))[2:])
    assert world.fates == ["s29-to-host"]


def test_over_udp_each_record_is_a_datagram_without_length(make):
    world = make.World(tunnel={"proto": "udp"}, session={"mtu": 576})
    world.inside(make.udp(HOST, "8.8.8.8", 1, 2, bytes(1000)))
    datagrams = [effect.data for effect in world.effects if getattr(effect, "port", None) == "flow"]
    assert [datagram[:8] for datagram in datagrams] == [b"\x48\0\0\0\0\0\0\1", b"\x48\0\0\0\0\0\0\2"]
    assert world.flow(b"").fates == ["s26-too-short"]
    assert world.is_silent


def test_a_replayed_record_is_fatal(make):
    world = make.World(learned=[HOST])
    record = world.record(make.udp("8.8.8.8", HOST, 1, 2))
    assert world.flow(record).fates == ["s29-to-host"]
    assert world.flow(record).fates == ["s26-replay"]
    assert world.words == ["CloseFlow"]


def test_control_and_unknown_keys_neither_pass_nor_delay_data(make):
    world = make.World(learned=[HOST])
    control = b"".join(
        len(record).to_bytes(2, "big") + record
        for record in (b"\x20" + bytes(30), b"\x28" + bytes(20), b"\x4b" + bytes(40))
    )
    world.flow(control + world.record(make.udp("8.8.8.8", HOST, 1, 2)) + control)
    assert world.fates == [
        "s27-control",
        "s27-control",
        "s26-unknown-key",
        "s29-to-host",
        "s27-control",
        "s27-control",
        "s26-unknown-key",
    ]
    assert len(world.packets) == 1


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        (bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748"), "s27-ping"),
        (bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c00"), "s27-occ"),
        (b"\x60" + bytes(39), "s27-ipv6"),
        (b"\x60", "s27-ipv6"),
        (b"\x45", "s9-truncated"),
        (b"\x55" + bytes(30), "s9-version"),
    ],
)
def test_a_payload_that_is_no_packet_goes_no_further(make, payload, rule):
    world = make.World().tunnel(payload)
    assert world.fates == [rule]
    assert world.is_silent


def test_the_peer_id_of_a_record_is_authenticated_and_not_compared(make):
    world = make.World(learned=[HOST], session={"peer_id": 7})
    assert world.tunnel(make.udp("8.8.8.8", HOST, 1, 2)).fates == ["s29-to-host"]


# the control plane


@dataclass
class Remote:
    host: str = "192.0.2.1"
    port: int = 1194
    proto: str = "tcp"


@dataclass
class Profile:
    """What the tunnel asks of a profile."""

    remotes: tuple[Remote, ...] = (Remote(), Remote(proto="udp"))
    connect_retry: float = 1.0
    connect_retry_longest: float = 60.0
    attempts: int = 0


@dataclass
class Client:
    """A control plane that does what a test tells it: ``script`` holds the outputs of the next calls."""

    script: list = field(default_factory=list)
    told: list = field(default_factory=list)
    deadline: float | None = None
    look_at: str | None = None

    def _next(self, *told):
        self.told.append(told)
        return self.script.pop(0) if self.script else []

    def start(self, now, remote=0):
        return self._next("start", remote)

    def receive(self, packet, now):
        return self._next("receive", packet)

    def tick(self, now):
        self.deadline = None
        return self._next("tick")

    def renegotiate(self, now):
        return self._next("renegotiate")

    def data_sent(self, now, octets=0):
        self.told.append(("sent", octets))

    def data_received(self, now, octets=0):
        self.told.append(("received", octets))


def install(make, key_id):
    return InstallKey(key_id, Cipher.AES_256_GCM, 0, make.SEND_KEY, make.SEND_IV, make.RECEIVE_KEY, make.RECEIVE_IV)


@pytest.fixture
def negotiated(make, monkeypatch):
    """A world whose tunnel was negotiated: key 0, tunnel address 10.8.0.9, MTU 1400."""
    client = Client()
    monkeypatch.setattr(tunnel_module.control, "Client", lambda profile, entropy: client)
    monkeypatch.setattr(tunnel_module, "_profile", lambda text: Profile())
    world = make.World(is_started=False)
    config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"ovpn": "client"}})
    world.gateway = InProcess(config, SeededEntropy(b"test"))
    world.effects = world.gateway.start(0.0)
    assert world.words == ["OpenFlow"]
    world.gateway.tick(2.0)
    world.learn(HOST)
    client.script = [[install(make, 0), Configured(IPv4Interface("10.8.0.9/24"), 1400, None), UseKey(0)]]
    flow(world, FlowEvent.OPENED)
    assert world.states == ["s2-flow-opened", "s2-established"]
    client.told.clear()
    return world, client


def test_the_control_plane_hears_of_data_both_ways(make, negotiated):
    world, client = negotiated
    world.inside(make.udp(HOST, "8.8.8.8", 1, 2, bytes(72)))
    world.tunnel(make.udp("8.8.8.8", HOST, 1, 2, bytes(22)))
    world.tunnel(bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748"))  # a ping: a sign of life, and no octets
    assert client.told == []
    world.tick(after=ASK_AGAIN)
    assert client.told == [("received", 50), ("sent", 100), ("tick",)]


def test_after_a_tick_that_sealed_an_error_nothing_is_left_to_be_done(make, negotiated):
    """A host is asked for three times in vain, and a second later the source is told through the tunnel."""
    world, _ = negotiated
    world.tunnel(make.udp("8.8.8.8", "10.38.2.77", 1, 2))
    for _ in range(3):
        world.tick(after=1.0)
    assert [packet[20:22] for packet in world.sealed] == [b"\x03\x01"]
    assert world.gateway.deadline > world.now


def test_control_packets_are_handed_over_and_pings_are_sealed(make, negotiated):
    world, client = negotiated
    client.script = [[SendPing(), Report(rules.S2_PUSHED, {"option": "echo"})]]
    world.flow(b"\x00\x04\x20abc")
    assert client.told == [("receive", b"\x20abc"), ("sent", 0)]
    assert world.sealed == [bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")]
    assert world.states == ["s2-pushed"]


def test_what_was_pushed_is_obeyed(make, negotiated):
    world, _ = negotiated
    world.inside(make.ipv4(HOST, "8.8.8.8", bytes(1381), fragment=0x4000))
    assert world.packets[0][20:28][6:] == (1400).to_bytes(2, "big")
    assert world.tunnel(make.icmp("8.8.8.8", "10.8.0.9", 8, 0, bytes(4))).fates == ["l1-echo"]


def test_a_pushed_network_that_overlaps_the_internal_one_is_refused(make, negotiated):
    world, client = negotiated
    client.script = [[Configured(IPv4Interface("10.38.0.2/16"), 1400, None), UseKey(0)]]
    world.flow(b"\x00\x01\x20")
    assert world.states == ["s1-prefixes-apart"]
    assert world.words == ["CloseFlow"]
    assert world.gateway.deadline is not None
    world.gateway.tick(world.now)
    assert world.inside(make.udp(HOST, "8.8.8.8", 1, 2)).fates == ["s4-tunnel-down"]


def test_two_keys_live_at_once_until_one_is_dropped(make, negotiated):
    world, client = negotiated
    client.script = [[install(make, 1)]]
    world.flow(b"\x00\x01\x20")
    packet = make.udp("8.8.8.8", HOST, 1, 2)
    old = world.record(packet)
    assert world.flow(old).fates == ["s29-to-host"]
    batch = world.gateway.batch
    assert set(batch.tunnel.opening) == {0x30, 0x48, 0x31, 0x49}
    assert batch.tunnel.sealing.key_id == 0
    client.script = [[UseKey(1), DropKey(0)]]
    world.flow(b"\x00\x01\x20")
    assert set(batch.tunnel.opening) == {0x31, 0x49}
    assert batch.tunnel.sealing.key_id == 1
    assert world.flow(world.record(packet)).fates == ["s26-unknown-key"]


def test_a_new_key_is_asked_for_once_long_before_ids_run_out(make, negotiated):
    world, client = negotiated
    world.gateway.batch.tunnel.sealing.packet_id = RENEGOTIATE_AT
    for _ in range(3):
        world.inside(make.udp(HOST, "8.8.8.8", 1, 2))
    assert [told for told in client.told if told[0] == "renegotiate"] == [("renegotiate",)]


def test_its_timers_are_kept_while_the_flow_is_open(negotiated):
    world, client = negotiated
    client.deadline = world.now + 5
    world.flow(b"\x00\x01\x20")  # it has heard something, so it is asked
    assert world.gateway.deadline == client.deadline
    world.tick(after=4.9)
    assert client.told == [("receive", b"\x20")]
    world.tick(after=0.1)
    assert client.told[1:] == [("tick",)]
    flow(world, FlowEvent.CLOSED)
    client.deadline = world.now + 0.1
    world.tick(after=0.5)
    assert client.told[1:] == [("tick",)]


@pytest.mark.parametrize("way", ["inside", "tunnel"])
def test_while_data_moves_it_is_asked_once_a_second(make, negotiated, way):
    """A ping timer that data puts off, and a limit of octets that data brings near: neither is missed."""
    world, _ = negotiated
    asked = []
    packets = {"inside": make.udp(HOST, "8.8.8.8", 1, 2), "tunnel": make.udp("8.8.8.8", HOST, 1, 2)}

    class Counting(Client):
        deadline = property(lambda self: asked.append(world.now) or self.due, lambda self, value: None)
        due = world.now + 10.0

        def tick(self, now):
            return self._next("tick")

    counting = Counting()
    world.gateway.batch.tunnel._client = counting
    world.flow(b"\x00\x01\x20")
    asked.clear()
    for _ in range(25):
        getattr(world, way)(packets[way])
        counting.due = world.now + 10.0
        assert world.gateway.deadline <= counting.due
        world.now += 0.1
    assert 2 <= len(asked) <= 3
    counting.due = 0.0  # a limit is reached
    due = world.gateway.deadline
    assert due <= world.now + 1.0
    counting.told.clear()
    world.tick(after=due - world.now)
    assert counting.told[-1] == ("tick",)


def test_a_failed_session_closes_and_comes_again_as_it_was_told(make, negotiated):
    world, client = negotiated
    client.script = [[Failed(rules.S4_PEER_ENDS, "restart", retry=True, next_remote=True, delay=7.0)]]
    world.flow(b"\x00\x01\x20")
    assert world.words == ["CloseFlow"]
    assert world.gateway.deadline == world.now + 7
    assert world.inside(make.udp(HOST, "8.8.8.8", 1, 2)).fates == ["s4-tunnel-down"]
    assert world.tick(after=7.0).words == ["OpenFlow"]
    assert not world.gateway.batch.tunnel.is_stream  # the profile's next remote speaks UDP
    flow(world, FlowEvent.OPENED)
    assert client.told[-1] == ("start", 1)


def test_a_server_that_closes_before_the_tunnel_is_up_has_a_reason(negotiated):
    world, client = negotiated
    client.look_at = "its log says why"
    flow(world, FlowEvent.CLOSED)
    assert world.states == ["s2-handshake-failed", "s4-flow-lost"]
    assert world.gateway.deadline == world.now + 1.0


def test_a_session_that_ended_for_good_asks_for_nothing(negotiated):
    world, client = negotiated
    client.script = [[Failed(rules.S4_PEER_ENDS, "halt", retry=False)]]
    world.flow(b"\x00\x01\x20")
    assert world.words == ["CloseFlow"]
    assert world.gateway.batch.tunnel.deadline == float("inf")
    assert world.gateway.batch.tunnel.has_ended


def test_a_restart_gives_the_flow_up_and_one_that_is_waited_for_is_opened_at_once(negotiated):
    world, client = negotiated
    batch = world.gateway.batch
    batch.restart(world.now)
    world.effects = batch.outgoing.take_effects()
    assert world.words == ["CloseFlow"]
    assert world.states == ["s3-reset-lost-flow"]
    assert batch.deadline == world.now + 1.0
    batch.restart(world.now)
    assert world.tick(after=0.0).words == ["OpenFlow"]
    flow(world, FlowEvent.OPENED)
    client.script = [[Failed(rules.S4_PEER_ENDS, "halt", retry=False)]]
    world.flow(b"\x00\x01\x20")
    batch.restart(world.now)
    assert batch.tunnel.deadline == float("inf")


def test_a_profile_may_bound_its_attempts(negotiated):
    world, _ = negotiated
    world.gateway.batch.tunnel.profile.attempts = 1
    flow(world, FlowEvent.CLOSED)
    world.tick(after=1.0)
    assert not world.gateway.batch.tunnel.has_ended
    flow(world, FlowEvent.CLOSED)
    assert world.gateway.batch.tunnel.has_ended
