"""The far end and a gateway, in one process: every kind of handshake, a ping each way, new keys from either side."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Literal

import pytest

from glassgate.conformance import packets
from glassgate.conformance.far_end import DataChannel, Opened
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import Introduction, client_configuration, introduce
from glassgate.conformance.server.session import PING, Crossed, Dropped, Ended, Inner, Installed, Output, Send
from glassgate.conformance.server.settings import Control, Settings
from glassgate.conformance.simulation import Moment, NegotiatedFar, Network, read_ipv4
from glassgate.conformance.subjects import discovery
from glassgate.contract import Cipher, GatewayConfig, Note, Port, SeededEntropy, Transmit
from glassgate.contract.gateway import NoteKind

BEYOND = "192.0.2.7"
CONTROLS = [Control.TLS_CRYPT, Control.TLS_AUTH, Control.PLAIN]
Proto = Literal["tcp", "udp"]
Tls = Literal["1.2", "1.3"]


class Story:
    """A gateway of the named kind, a host inside, a far end that is set as asked."""

    def __init__(
        self,
        gateway: str = "reference",
        control: Control = Control.TLS_CRYPT,
        proto: Proto = "tcp",
        kind: str = "os",
        **changes: object,
    ) -> None:
        settings, introduction = introduce(SeededEntropy(b"keys"), control, proto)
        self.settings: Settings = replace(settings, ping=0, **changes)  # type: ignore[arg-type]
        ovpn = client_configuration(self.settings, introduction, "1.2.3.4", 1194)
        config = GatewayConfig.from_json(
            {"external": {"kind": kind}, "tunnel": {"ovpn": ovpn, "proto": proto}, "entropy": "00"}
        )
        self.outputs: list[Output] = []
        self.moments: list[Moment] = []
        self.far = NegotiatedFar(Endpoint(self.settings, SeededEntropy(b"far end")), self.outputs.append)
        made = discovery.find(gateway)(config, SeededEntropy(config.entropy))
        self.network = Network(made, config, self.moments.append, self.far)
        self.network.start()
        self.network.run(until=3.0)

    def of(self, kind: type[Output]) -> list[Output]:
        return [output for output in self.outputs if isinstance(output, kind)]

    def established(self) -> list[int]:
        return [output.session.key_id for output in self.outputs if isinstance(output, Installed)]

    def problems(self) -> list[str]:
        return [output.problem for output in self.outputs if isinstance(output, Dropped)] + [
            output.reason for output in self.outputs if isinstance(output, Ended)
        ]

    def drops(self) -> list[str]:
        notes = [effect for moment in self.moments for effect in moment.effects if isinstance(effect, Note)]
        return [note.rule.slug for note in notes if note.kind is NoteKind.DROPPED]

    def rules(self) -> list[str]:
        return [effect.rule.slug for moment in self.moments for effect in moment.effects if isinstance(effect, Note)]

    def ping_out(self, sequence: int = 1) -> None:
        """The host pings an address beyond, and has its answer."""
        network, host = self.network, self.network.host
        before = len(host.received)
        network.inject(host.ping(BEYOND, 1, sequence, b"from inside"))
        network.run(until=network.now + 0.1)
        (answer,) = host.received[before:]
        assert (answer.source, answer.payload) == (
            BEYOND,
            packets.echo_reply(1, sequence, b"from inside").build(BEYOND, host.address).data,
        )

    def ping_in(self) -> None:
        """An address beyond pings the host, and the far end opens the answer."""
        network, host = self.network, self.network.host
        request = packets.IPv4(source=BEYOND, destination=host.address, payload=packets.echo_request(2, 9, b"beyond"))
        network.arrive_from_tunnel(network.now, request.build().data, "the far end")
        network.run(until=network.now + 0.1)
        answer = read_ipv4(self.far.opened[-1])
        assert answer is not None
        assert (answer.source, answer.payload) == (
            host.address,
            packets.echo_reply(2, 9, b"beyond").build(host.address, BEYOND).data,
        )


def assert_works(story: Story) -> None:
    assert story.established() == [0]
    story.ping_out()
    story.ping_in()
    assert story.problems() == []
    assert story.drops() == []


# ── every kind ────────────────────────────────────────────────────────────────────────────────────────────────────────

KINDS = list(itertools.product(CONTROLS, Cipher, [True, False], ["1.2", "1.3"]))


@pytest.mark.parametrize(
    ("control", "cipher", "exports_keys", "tls"),
    KINDS,
    ids=[f"{control}-{cipher}-{'ekm' if ekm else 'prf'}-{tls}" for control, cipher, ekm, tls in KINDS],
)
def test_a_ping_crosses_both_ways(control: Control, cipher: Cipher, exports_keys: bool, tls: Tls) -> None:
    story = Story(control=control, ciphers=(cipher,), exports_keys=exports_keys, tls=tls)
    assert_works(story)
    (installed,) = story.of(Installed)
    assert isinstance(installed, Installed)
    assert installed.session.cipher is cipher
    assert any(isinstance(output, Crossed) and f"TLS is up (TLSv{tls}" in output.meaning for output in story.outputs)


@pytest.mark.parametrize("gateway", ["reference", "optimized"])
@pytest.mark.parametrize("control", Control)
def test_over_udp_too(gateway: str, control: Control) -> None:
    assert_works(Story(gateway, control, "udp"))


@pytest.mark.parametrize("gateway", discovery.names())
@pytest.mark.parametrize("kind", ["os", "stack"])
def test_with_each_gateway_and_each_transport(gateway: str, kind: str) -> None:
    if f"external.{kind}" not in discovery.find(gateway).capabilities:
        kind = "os"
    assert_works(Story(gateway, kind=kind))


@pytest.mark.parametrize("auth", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("direction", [0, 1, None])
def test_with_each_digest_and_direction_of_tls_auth(auth: str, direction: int | None) -> None:
    assert_works(Story(control=Control.TLS_AUTH, auth=auth, key_direction=direction))


def test_with_data_packets_of_the_first_version() -> None:
    story = Story(peer_id=None)
    assert_works(story)
    (installed,) = story.of(Installed)
    assert isinstance(installed, Installed)
    assert installed.session.peer_id is None


def test_with_a_user_and_a_push_of_several_parts() -> None:
    routes = tuple(f"route 10.{index}.0.0 255.255.0.0" for index in range(80))
    assert_works(Story(user=("somebody", "open sesame"), push=routes))


# ── new keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("gateway", ["reference", "optimized"])
@pytest.mark.parametrize("control", [Control.PLAIN, Control.TLS_AUTH, Control.TLS_CRYPT, Control.TLS_CRYPT_V2])
@pytest.mark.parametrize("renews_wrapping", [True, False])
def test_the_far_end_asks_for_new_keys_and_nothing_is_lost(
    gateway: str, control: Control, renews_wrapping: bool
) -> None:
    story = Story(gateway, control, renews_wrapping=renews_wrapping)
    for round_ in range(9):  # past key id 7, after which 1 comes again
        story.ping_out(round_)
        story.network.arrive_in_stream(story.network.now, story.far.renegotiate(story.network.now), "the far end")
        story.ping_out(round_ + 100)
        story.network.run(until=story.network.now + 1.0)
        story.ping_in()
    assert story.established() == [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert story.problems() == []
    assert story.drops() == []


def test_a_new_key_is_used_once_the_client_surely_has_it() -> None:
    settings, introduction = introduce(SeededEntropy(b"keys"))
    endpoint = Endpoint(replace(settings, ping=0), SeededEntropy(b"far end"))
    first_octets: list[int] = []

    def watch(output: Output) -> None:
        if isinstance(output, Installed) and output.session.key_id == 1:  # the client has not heard of it yet
            (sent,) = endpoint.send(b"inner", 0.0)
            assert isinstance(sent, Send)
            first_octets.append(sent.packet[2])

    config = GatewayConfig.from_json(
        {
            "external": {"kind": "os"},
            "tunnel": {"ovpn": client_configuration(settings, introduction, "1.2.3.4", 1194)},
        }
    )
    far = NegotiatedFar(endpoint, watch)
    network = Network(discovery.find("reference")(config, SeededEntropy(b"")), config, lambda moment: None, far)
    network.start()
    network.run(until=3.0)
    assert first_octets == []
    network.arrive_in_stream(3.0, far.renegotiate(3.0), "the far end")
    network.run(until=4.0)
    (sent,) = endpoint.send(b"inner", 4.0)
    assert isinstance(sent, Send)
    assert (first_octets, sent.packet[2]) == ([0x48], 0x49)  # P_DATA_V2 under key 0, then under key 1


@pytest.mark.parametrize("gateway", ["reference", "optimized"])
def test_a_small_mtu_does_not_shorten_control_packets(gateway: str) -> None:
    """OpenVPN's buffers hold 1600 octets and more, whatever the MTU (init.c frame_finalize_options)."""
    story = Story(gateway, mtu=576)
    story.network.arrive_in_stream(story.network.now, story.far.renegotiate(story.network.now), "the far end")
    story.network.run(until=story.network.now + 1.0)
    assert story.established() == [0, 1]
    story.ping_out()
    assert story.problems() == []


def test_the_gateway_asks_for_new_keys() -> None:
    settings, introduction = introduce(SeededEntropy(b"keys"))
    settings = replace(settings, ping=0)
    ovpn = client_configuration(settings, introduction, "1.2.3.4", 1194) + "reneg-sec 20\n"
    config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"ovpn": ovpn}})
    outputs: list[Output] = []
    far = NegotiatedFar(Endpoint(settings, SeededEntropy(b"far end")), outputs.append)
    network = Network(discovery.find("reference")(config, SeededEntropy(b"")), config, lambda moment: None, far)
    network.start()
    network.run(until=70.0)
    assert [output.session.key_id for output in outputs if isinstance(output, Installed)] == [0, 1, 2, 3]
    assert not [output for output in outputs if isinstance(output, Dropped | Ended)]


# ── what is told ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_handshake_is_told_a_line_for_each_packet() -> None:
    lines = [output.words for output in Story().outputs if isinstance(output, Crossed)]
    assert lines[0] == "P_CONTROL_HARD_RESET_CLIENT_V2, key id 0, message 0: the client begins a session"
    assert lines[1] == "P_CONTROL_HARD_RESET_SERVER_V2, key id 0, message 0, acknowledges 0"
    text = "\n".join(lines)
    for meaning in ("ClientHello", "ServerHello", "TLS is up (TLSv1.3", "key exchange message of the client"):
        assert text.count(meaning) == 1
    assert (
        "PUSH_REPLY,route-gateway 10.8.0.1,topology subnet,ifconfig 10.8.0.2 255.255.255.0,peer-id 0,cipher AES-256"
        in text
    )


class Refusal:
    """A far end that cannot take its client."""

    def __init__(self, settings: Settings, introduction: Introduction, told: Settings) -> None:
        ovpn = client_configuration(told, introduction, "1.2.3.4", 1194)
        config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"ovpn": ovpn}})
        self.outputs: list[Output] = []
        self.details = ""
        self.endpoint = Endpoint(settings, SeededEntropy(b"far end"))
        far = NegotiatedFar(self.endpoint, self.outputs.append)
        gateway = discovery.find("reference")(config, SeededEntropy(b""))
        network = Network(gateway, config, self._watch, far)
        network.start()
        network.run(until=0.5)

    def _watch(self, moment: Moment) -> None:
        self.details += "".join(str(effect.detail) for effect in moment.effects if isinstance(effect, Note))


def test_no_cipher_in_common_is_told_and_ends_it() -> None:
    settings, introduction = introduce(SeededEntropy(b"keys"))
    ours, theirs = replace(settings, ciphers=(Cipher.AES_256_GCM,)), replace(settings, ciphers=(Cipher.AES_128_GCM,))
    refusal = Refusal(ours, introduction, theirs)
    assert "no shared cipher" in refusal.details
    assert refusal.endpoint.tick(5.0) == []
    assert refusal.endpoint.tick(5.6) == [Ended("there is no cipher that both have")]


def test_a_wrong_password_is_told_and_ends_it() -> None:
    settings, introduction = introduce(SeededEntropy(b"keys"))
    ours = replace(settings, user=("somebody", "open sesame"))
    refusal = Refusal(ours, introduction, replace(settings, user=("somebody", "guess")))
    assert "AUTH_FAILED" in refusal.details
    assert refusal.endpoint.tick(5.6) == [Ended("the user's name or password is wrong")]
    assert "guess" not in str(refusal.outputs)
    assert not [output for output in refusal.outputs if isinstance(output, Installed)]


def test_a_client_of_another_authority_is_not_taken() -> None:
    settings, introduction = introduce(SeededEntropy(b"keys"))
    _, other = introduce(SeededEntropy(b"keys"))
    refusal = Refusal(settings, replace(introduction, client=other.client), settings)
    ended = refusal.outputs[-1]
    assert isinstance(ended, Ended)
    assert ended.reason.startswith("TLS: certificate verify failed")


# ── what the clock brings to an established session ───────────────────────────────────────────────────────────────────


class Established:
    """A tunnel over UDP whose client says nothing more, so that the far end's own clock can be looked at."""

    def __init__(self, **changes: object) -> None:
        settings, introduction = introduce(SeededEntropy(b"keys"), Control.PLAIN, "udp")
        settings = replace(settings, **changes)  # type: ignore[arg-type]
        ovpn = client_configuration(settings, introduction, "1.2.3.4", 1194)
        tunnel = {"ovpn": ovpn, "proto": "udp"}
        config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": tunnel})
        self.outputs: list[Output] = []
        self.endpoint = Endpoint(settings, SeededEntropy(b"far end"))
        far = NegotiatedFar(self.endpoint, self.outputs.append)
        gateway = discovery.find("reference")(config, SeededEntropy(b""))
        network = Network(gateway, config, lambda moment: None, far)
        network.start()
        network.run(until=1.0)
        (installed,) = [output for output in self.outputs if isinstance(output, Installed)]
        session = installed.session
        key = session.receive
        self.channel = DataChannel(session.cipher, key.key, key.implicit_iv, session.key_id, session.peer_id)

    def passes(self, until: float) -> list[tuple[float, Output]]:
        """What the far end does by itself, and when."""
        told: list[tuple[float, Output]] = []
        while (due := self.endpoint.deadline) is not None and due <= until:
            told += [(round(due, 1), output) for output in self.endpoint.tick(due)]
            following = self.endpoint.deadline
            assert following is None or following > due, "a driver would never rest"
        return told


def test_a_ping_is_sent_when_nothing_else_was_and_silence_ends_it() -> None:
    established = Established(ping=10, ping_restart=30)
    told = established.passes(until=100.0)
    pings = [at for at, output in told if isinstance(output, Send)]
    assert pings == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    for number, (_, output) in enumerate(told[:-1], 1):
        assert isinstance(output, Send)
        assert established.channel.open(output.packet) == Opened(PING, number)
    assert told[-1] == (60.0, Ended("nothing came for 60 s"))


def test_without_pings_nothing_is_due() -> None:
    assert Established(ping=0).endpoint.deadline is None


def test_new_keys_that_do_not_come_end_it() -> None:
    told = Established(ping=0, renegotiates_after=20.0).passes(until=200.0)
    (asked, *again), (ended,) = (
        [(at, output) for at, output in told if isinstance(output, kind)] for kind in (Crossed, Ended)
    )
    assert asked[1].words == "P_CONTROL_SOFT_RESET_V1, key id 1, message 0"  # type: ignore[union-attr]
    assert [round(at - asked[0]) for at, _ in again] == [2, 6, 14, 30]
    assert round(ended[0] - asked[0]) == 60
    assert ended[1] == Ended("no keys within 60 s")


def test_a_client_that_says_exit_leaves() -> None:
    settings, introduction = introduce(SeededEntropy(b"keys"), Control.TLS_CRYPT, "udp")
    ovpn = client_configuration(settings, introduction, "1.2.3.4", 1194) + "explicit-exit-notify 1\n"
    config = GatewayConfig.from_json({"external": {"kind": "os"}, "tunnel": {"ovpn": ovpn, "proto": "udp"}})
    endpoint, outputs = Endpoint(settings, SeededEntropy(b"far end")), list[Output]()
    gateway: Any = discovery.find("reference")(config, SeededEntropy(b""))
    network = Network(gateway, config, lambda moment: None, NegotiatedFar(endpoint, outputs.append))
    network.start()
    network.run(until=1.0)
    for effect in gateway.stop(1.0):  # a driver's farewell; no part of what every gateway has
        if isinstance(effect, Transmit) and effect.port is Port.FLOW:
            outputs += endpoint.receive(effect.data, 1.0)
    assert outputs[-1] == Ended("the client leaves")
    assert any(isinstance(output, Crossed) and output.meaning.endswith("EXIT") for output in outputs)


@pytest.mark.parametrize("text", ["PING", "exit"])
def test_pings_and_farewells_are_not_packets(text: str) -> None:
    established = Established(ping=0)
    (installed,) = [output for output in established.outputs if isinstance(output, Installed)]
    key = installed.session.send
    client = DataChannel(installed.session.cipher, key.key, key.implicit_iv, 0, installed.session.peer_id)
    payload = PING if text == "PING" else bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c06")
    expected = [] if text == "PING" else [Ended("the client leaves")]
    assert established.endpoint.receive(client.seal(payload), 2.0) == expected


def test_a_data_packet_counts_once_and_only_if_it_is_whole() -> None:
    established = Established(ping=0)
    (installed,) = [output for output in established.outputs if isinstance(output, Installed)]
    key = installed.session.send
    client = DataChannel(installed.session.cipher, key.key, key.implicit_iv, 0, installed.session.peer_id)
    record = client.seal(b"inner")
    assert established.endpoint.receive(record[:-1], 2.0) == [
        Dropped("the tag is wrong: it does not decrypt with the session's key")
    ]
    assert established.endpoint.receive(record, 2.0) == [Inner(b"inner")]
    assert established.endpoint.receive(record, 2.0) == [Dropped("the packet id 1 came before")]
