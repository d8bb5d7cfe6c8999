"""The far end's inner parts: keys, messages in order, what the clock brings, and what nobody should send."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.conformance.far_end import StreamFraming
from glassgate.conformance.server import key_exchange
from glassgate.conformance.server.control import Header, Message, Opcode, Refused, parse_header, parse_message
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.key_exchange import ClientMessage, Randoms
from glassgate.conformance.server.profile import introduce
from glassgate.conformance.server.reliability import RECEIVE_WINDOW, Reliability
from glassgate.conformance.server.session import Crossed, Dropped, Ended, Output, Send, Server
from glassgate.conformance.server.settings import Control, Settings, push_replies
from glassgate.conformance.server.tls import RecordNames
from glassgate.contract import Cipher, SeededEntropy

CLIENT = bytes.fromhex("0102030405060708")
OTHER = bytes.fromhex("1112131415161718")


# ── keys (the values are those of a stock server's log) ───────────────────────────────────────────────────────────────


def test_the_pseudo_random_function_is_that_of_tls_1_0() -> None:
    secret = b"Lorem ipsum dolor sit amet, consectetur adipisici elit, sed eiusmod tempor incidunt ut labore et dolore"
    seed = b"Quis aute iure reprehenderit in voluptate velit esse cillum dolore"
    found = key_exchange.prf(secret + b" magna aliqua.", b"", seed, 32)
    assert found.hex() == "d98c8518c85e946927916acfc2d592fbb1567e4b4b1459e6a904ac2ddab72d67"


def test_the_keys_of_both_directions_come_from_both_randoms_and_session_ids() -> None:
    block = key_exchange.prf_key_block(
        bytes(range(48)),
        Randoms(b"\xa1" * 32, b"\xa2" * 32),
        Randoms(
            bytes.fromhex("a71afba8876b3c51419cb294d07aabb9cdefd6d2825c99fd261e6d92bda95ad8"),
            bytes.fromhex("3cbd5982feaca5c62bc06d608cbec9c1b286615f40be6e8a1d11525f6e15cacb"),
        ),
        CLIENT,
        bytes.fromhex("bc01c8a9c0d9e8ef"),
    )
    digest = hashlib.sha256(block).hexdigest()
    assert digest == "7b01aa3f1ce18011a64c29d562425487e3a4fad6d5afe3529d6d4e2487aa5672"
    send, receive = key_exchange.cut(block, Cipher.AES_256_GCM)
    assert send.key.hex() == "9496a7aaf437f588a589edfa37183bbbc919e9a5812870ca813a7f1e587ce6ae"
    assert send.implicit_iv.hex() == "84dec77195edcdf1"
    assert receive.key.hex() == "36c38cd06834a5c8577b42439e5bcb709271ae4bcae49e662ab5a989322dd650"
    assert receive.implicit_iv.hex() == "389c2ec2c77ad051"
    assert len(key_exchange.cut(block, Cipher.AES_128_GCM)[0].key) == 16


def client_message(*strings: bytes) -> bytes:
    told = b"".join((len(text) + 1).to_bytes(2, "big") + text + b"\0" if text else bytes(2) for text in strings)
    return bytes(4) + b"\x02" + b"p" * 48 + b"1" * 32 + b"2" * 32 + told


def test_the_clients_message_is_read_field_by_field() -> None:
    read = key_exchange.parse(client_message(b"V4,dev-type tun", b"me", b"secret", b"IV_PROTO=990\nIV_NCP=2\n"))
    assert read == ClientMessage(
        b"p" * 48,
        Randoms(b"1" * 32, b"2" * 32),
        "V4,dev-type tun",
        "me",
        "secret",
        {"IV_PROTO": "990", "IV_NCP": "2"},
    )
    assert read.protocol == 990
    assert read.ciphers == ["AES-256-GCM", "AES-128-GCM"]
    assert "secret" not in repr(read)
    assert key_exchange.parse(client_message(b"V4")).peer_info == {}


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "ends too early"),
        (client_message()[:-1], "ends too early"),
        (b"\0\0\0\1" + client_message()[4:], "not with method 2"),
        (client_message()[:4] + b"\x01" + client_message()[5:], "not with method 2"),
        (client_message() + b"\xff\xff", "a string of 65535 octets ends beyond"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused(octets: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        key_exchange.parse(octets)


def test_the_servers_message_has_no_pre_master() -> None:
    built = key_exchange.build(Randoms(b"1" * 32, b"2" * 32), "V4")
    assert built == bytes(4) + b"\x02" + b"1" * 32 + b"2" * 32 + b"\0\x03V4\0" + bytes(6)


# ── what is pushed ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_long_push_comes_in_parts_that_are_not_too_long() -> None:
    options = [f"route 10.{index}.0.0 255.255.0.0" for index in range(90)]
    parts = push_replies(options)
    assert len(parts) > 1
    assert max(map(len, parts)) < 1024
    assert [part.endswith(",push-continuation 2") for part in parts] == [True] * (len(parts) - 1) + [False]
    assert parts[-1].endswith(",push-continuation 1")
    found = [option for part in parts for option in part.split(",")[1:] if not option.startswith("push-")]
    assert found == options
    assert push_replies(["topology subnet"]) == ["PUSH_REPLY,topology subnet"]


@pytest.mark.parametrize(
    ("protocol", "flags"),
    [
        (0, []),
        (2 | 8, ["key-derivation tls-ekm"]),
        (2 | 512, ["protocol-flags dyn-tls-crypt"]),
        (990, ["protocol-flags cc-exit tls-ekm dyn-tls-crypt"]),
        (2 | 128, ["protocol-flags cc-exit"]),
    ],
)
def test_a_client_is_pushed_only_what_it_says_that_it_knows(protocol: int, flags: list[str]) -> None:
    pushed = far_end_settings().pushed(Cipher.AES_128_GCM, protocol, knows_mtu=False)
    assert [option for option in pushed if option.startswith(("protocol-", "key-"))] == flags
    assert ("peer-id 0" in pushed) is bool(protocol & 2)
    assert "cipher AES-128-GCM" in pushed
    assert not [option for option in pushed if option.startswith("tun-mtu")]


# ── messages in order ─────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 2**32), st.integers(0, 40))
@settings(max_examples=40)
def test_messages_arrive_once_and_in_order_over_a_link_that_loses_and_reorders(seed: int, count: int) -> None:
    chance = random.Random(seed)
    sender, receiver = Reliability(), Reliability()
    texts = [bytes([index]) for index in range(count)]
    for text in texts:
        sender.queue(Opcode.P_CONTROL_V1, text)
    arrived: list[bytes] = []
    now = 0.0
    while not sender.is_idle:
        leaving = sender.due(now)
        chance.shuffle(leaving)
        for message in leaving:
            if chance.random() < 0.7:
                arrived += receiver.arrived(message.message_id, message.payload)
        while receiver.owes_acknowledgement:
            acknowledged = receiver.take_acknowledgements(8)
            if chance.random() < 0.7:
                sender.acknowledged(acknowledged)
        deadline = sender.deadline
        now = max(now + 0.001, deadline if deadline is not None else 0.0)
    assert arrived == texts


def test_a_message_leaves_again_after_two_four_and_eight_seconds() -> None:
    sender = Reliability()
    sender.queue(Opcode.P_CONTROL_V1, b"x")
    left = [now for now in range(20) if sender.due(float(now))]
    assert left == [0, 2, 6, 14]


def test_what_came_is_told_again_in_what_room_is_left() -> None:
    receiver = Reliability()
    receiver.arrived(0, b"")
    assert receiver.take_acknowledgements(4) == (0,)
    assert not receiver.owes_acknowledgement
    for message_id in range(1, 7):
        receiver.arrived(message_id, b"")
    assert receiver.take_acknowledgements(4) == (1, 2, 3, 4)
    assert receiver.take_acknowledgements(4) == (5, 6, 1, 2)
    assert receiver.take_acknowledgements(8) == (5, 6, 1, 2, 3, 4, 0)


def test_what_came_before_is_acknowledged_again_and_not_kept() -> None:
    receiver = Reliability()
    assert receiver.arrived(0, b"once") == [b"once"]
    assert receiver.arrived(0, b"again") == []
    assert receiver.take_acknowledgements(8) == (0,)
    assert receiver._held == {}


def test_no_more_than_six_are_on_their_way_and_twelve_are_held() -> None:
    sender, receiver = Reliability(), Reliability()
    for _ in range(9):
        sender.queue(Opcode.P_CONTROL_V1, b"")
    assert [message.message_id for message in sender.due(0.0)] == [0, 1, 2, 3, 4, 5]
    sender.acknowledged((0, 3, 99))
    assert [message.message_id for message in sender.due(0.1)] == [6, 7]
    assert receiver.arrived(RECEIVE_WINDOW, b"beyond") == []
    assert not receiver.owes_acknowledgement
    assert receiver.arrived(RECEIVE_WINDOW - 1, b"held") == []
    assert receiver.take_acknowledgements(8) == (11,)


# ── what the clock brings ─────────────────────────────────────────────────────────────────────────────────────────────


@cache
def far_end_settings() -> Settings:
    return introduce(SeededEntropy(b"keys"), Control.PLAIN)[0]


def far_end(proto: str = "udp") -> Server:
    return Server(replace(far_end_settings(), proto=proto), SeededEntropy(b"far end"))


def packet(message: Message, opcode: Opcode = Opcode.P_CONTROL_V1, session: bytes = CLIENT, key_id: int = 0) -> bytes:
    return Header(opcode, key_id, session).build() + message.build()


def reset(session: bytes = CLIENT) -> bytes:
    return packet(Message(message_id=0), Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, session)


def sent(outputs: list[Output]) -> list[tuple[Header, Message]]:
    packets = [output.packet for output in outputs if isinstance(output, Send)]
    return [(parse_header(one), parse_message(parse_header(one).opcode, one[9:])) for one in packets]


def test_a_reset_is_answered_and_the_answer_comes_again_until_it_is_acknowledged() -> None:
    server = far_end()
    ((header, message),) = sent(server.receive(reset(), 0.0))
    assert header.opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2
    assert message == Message((0,), CLIENT, 0)
    assert server.deadline == 2.0
    assert sent(server.tick(1.9)) == []
    ((again, repeated),) = sent(server.tick(2.0))
    assert (again, repeated) == (header, message)
    server.receive(packet(Message((0,), header.session_id), Opcode.P_ACK_V1), 2.1)
    assert server.deadline == 60.0
    assert server.tick(60.0) == [Ended("no keys within 60 s")]
    assert server.deadline is None


def test_the_same_reset_again_is_acknowledged_again_and_begins_nothing() -> None:
    server = far_end()
    first = sent(server.receive(reset(), 0.0))
    ((header, message),) = sent(server.receive(reset(), 0.5))
    assert header == Header(Opcode.P_ACK_V1, 0, first[0][0].session_id)
    assert message.acknowledged == (0,)


def test_a_reset_of_another_client_begins_another_session() -> None:
    server = far_end()
    first = sent(server.receive(reset(), 0.0))[0][0]
    second = sent(server.receive(reset(OTHER), 0.5))[0][0]
    assert first.session_id != second.session_id
    assert server.receive(packet(Message((0,), first.session_id, 1)), 0.6) == [
        Dropped("P_CONTROL_V1 of a session that is not known")
    ]


def test_what_crossed_is_told_in_a_line() -> None:
    lines = [output.words for output in far_end().receive(reset(), 0.0) if isinstance(output, Crossed)]
    assert lines == [
        "P_CONTROL_HARD_RESET_CLIENT_V2, key id 0, message 0: the client begins a session",
        "P_CONTROL_HARD_RESET_SERVER_V2, key id 0, message 0, acknowledges 0",
    ]


# ── what nobody should send ───────────────────────────────────────────────────────────────────────────────────────────

ODD = {
    "an opcode that is none": (b"\x10" + bytes(20), "opcode 2 is not from 3 to 11"),
    "a session that is not known": (packet(Message(message_id=1), session=OTHER), "of a session that is not known"),
    "another session's acknowledgement": (
        packet(Message((0,), OTHER, 1)),
        "it acknowledges messages of another session",
    ),
    "a key id out of turn": (packet(Message(message_id=0), key_id=3), "P_CONTROL_V1 with key id 3"),
    "a soft reset too early": (
        packet(Message(message_id=0), Opcode.P_CONTROL_SOFT_RESET_V1, key_id=1),
        "a soft reset before the last key was done",
    ),
    "a server's reset": (packet(Message(message_id=1), Opcode.P_CONTROL_HARD_RESET_SERVER_V2), "the reset of a server"),
    "no TLS": (packet(Message(message_id=1, payload=b"GET / HTTP/1.0\r\n\r\n")), "TLS: "),
    "a reset that is not the first": (
        packet(Message(message_id=4), Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, OTHER),
        "a reset with message id 4",
    ),
}


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_ends_a_stream_and_is_dropped_as_a_datagram(kind: str, proto: str) -> None:
    server = far_end(proto)
    server.receive(reset(), 0.0)
    octets, words = ODD[kind]
    (output,) = server.receive(octets, 0.1)
    assert isinstance(output, Ended if proto == "tcp" else Dropped)
    assert words in (output.reason if isinstance(output, Ended) else output.problem)
    assert (server.deadline is None) is (proto == "tcp")


def test_data_under_a_key_that_is_not_known_is_dropped_over_tcp_too() -> None:
    server = far_end("tcp")
    assert server.receive(b"\x48" + bytes(60), 0.0) == [Dropped("data under key id 0, which is not known")]
    assert server.send(b"inner", 0.0) == [Dropped("there is no key to seal it with")]
    assert server.renegotiate(0.0) == []


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([reset(), reset(OTHER)])), max_size=12))
@settings(max_examples=40, deadline=None)
def test_no_octets_raise(packets: list[bytes]) -> None:
    for proto in ("tcp", "udp"):
        server = far_end(proto)
        for number, octets in enumerate(packets):
            for output in server.receive(octets, float(number)) + server.tick(number + 0.5):
                assert isinstance(output, Send | Crossed | Dropped | Ended)


# ── the stream ────────────────────────────────────────────────────────────────────────────────────────────────────────


def stream() -> Endpoint:
    return Endpoint(replace(far_end_settings(), proto="tcp"), SeededEntropy(b"far end"))


def test_a_packet_is_the_same_however_the_stream_is_cut() -> None:
    whole = stream().receive(StreamFraming.framed(reset()), 0.0)
    endpoint = stream()
    pieces = [output for octet in StreamFraming.framed(reset()) for output in endpoint.receive(bytes([octet]), 0.0)]
    assert pieces == whole
    (answer,) = [output.packet for output in whole if isinstance(output, Send)]
    assert answer[:2] == (len(answer) - 2).to_bytes(2, "big")


@pytest.mark.parametrize("octets", ["0000", "06e9", "ffff00"])
def test_a_length_that_cannot_be_ends_the_connection(octets: str) -> None:
    endpoint = stream()
    (output,) = endpoint.receive(bytes.fromhex(octets), 0.0)
    assert isinstance(output, Ended)
    assert output.reason.endswith("lengths are from 1 to 1768")


def test_after_a_new_connection_the_old_stream_is_forgotten() -> None:
    endpoint = stream()
    endpoint.receive(StreamFraming.framed(reset())[:5], 0.0)
    endpoint.connected()
    assert len(endpoint.receive(StreamFraming.framed(reset()), 1.0)) == 3


# ── names for what passes ─────────────────────────────────────────────────────────────────────────────────────────────


def test_records_are_named_by_what_stands_in_clear() -> None:
    hello = b"\x16\x03\x01\x00\x08\x01\x00\x00\x04abcd"
    names = RecordNames()
    assert names.names(hello) == ["ClientHello"]
    assert names.names(b"\x14\x03\x03\x00\x01\x01" + b"\x16\x03\x03\x00\x02ab") == [
        "ChangeCipherSpec",
        "Finished (encrypted)",
    ]
    sealed = b"\x17\x03\x03\x00\x04"
    assert names.names(sealed + b"abcd" + sealed + b"ab") == ["2 encrypted records"]
    assert names.names(b"cd" + sealed + b"abcd") == ["a record goes on", "encrypted record"]
    assert names.names(b"\x17\x03") == []
    assert names.names(b"\x03\x00\x01x") == ["encrypted record"]


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_naming_never_raises_and_leaves_no_record_without_a_name(pieces: list[bytes]) -> None:
    names = RecordNames()
    for piece in pieces:
        assert all(names.names(piece))
