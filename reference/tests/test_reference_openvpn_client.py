"""The client against a server in the same process, with a clock that the test moves: every state and every timer."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest

from glassgate.contract import Cipher, rules
from glassgate.reference.openvpn.client import (
    Configured,
    DropKey,
    Failed,
    InstallKey,
    Report,
    SendExit,
    SendPacket,
    SendPing,
    UseKey,
    largest_segment,
)
from glassgate.reference.openvpn.key_derivation import Randoms, prf_key_block
from glassgate.reference.openvpn.negotiation import TRANSITIONS, Event, State
from glassgate.reference.openvpn.packets import Opcode
from glassgate.reference.openvpn.profile import Mssfix
from glassgate.reference.openvpn.wrapping import StaticKey

KEY = StaticKey(bytes(range(256)))
PUSH = "PUSH_REPLY,topology subnet,ifconfig 10.88.0.2 255.255.255.0,peer-id 3,cipher AES-256-GCM"
FLAGS = "protocol-flags cc-exit tls-ekm dyn-tls-crypt"

MakeWorld = Any


def up(make_world: MakeWorld, *lines: str, push: str = "", **others: Any) -> Any:
    """A world whose tunnel is up."""
    world = make_world(*lines, **others)
    if push:
        world.server.greets = [f"{PUSH},{FLAGS},{push}"]
    world.start()
    assert world.failed is None, world.failed
    assert world.of(UseKey), "the tunnel did not come up"
    return world


# ── the way up ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "tls-crypt"])
def test_without_loss_no_time_is_needed(key: StaticKey | None, make_world: MakeWorld) -> None:
    world = up(make_world, key=key)
    kinds = [type(output) for output in (*world.of(Configured), *world.of(InstallKey), *world.of(UseKey))]
    assert kinds == [Configured, InstallKey, UseKey]
    assert set(world.times(SendPacket)) == {0.0}
    assert world.server.keys[0].messages.everything_acknowledged, "over TCP, too (PROTOCOL.md 23.2)"
    world.wait(30)
    assert world.of(SendPing) == []
    assert len(world.server.keys[0].heard) == 1, "nothing but the key exchange was said"


def test_keys_by_the_exporter_are_those_that_the_server_has(make_world: MakeWorld) -> None:
    world = up(make_world)
    (key,), block = world.of(InstallKey), world.server.key_block()
    assert (key.key_id, key.cipher, key.peer_id) == (0, Cipher.AES_256_GCM, 3)
    assert (key.send_key, key.send_implicit_iv) == (block[:32], block[64:72])
    assert (key.receive_key, key.receive_implicit_iv) == (block[128:160], block[192:200])


def test_keys_by_the_prf_are_those_that_the_server_has(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = [PUSH]
    world.start()
    said = world.server.keys[0].heard[0]
    client = Randoms(said[53:85], said[85:117])  # after 4 + 1 + 48 octets
    server = Randoms(b"\xb1" * 32, b"\xb2" * 32)
    block = prf_key_block(said[5:53], client, server, world.server.client_session_id, world.server.session_id)
    (key,) = world.of(InstallKey)
    assert (key.send_key, key.receive_key) == (block[:32], block[128:160])


def test_the_same_entropy_gives_the_same_reset(make_world: MakeWorld) -> None:
    first, second = make_world(), make_world()
    assert first.client.start(0.0) == second.client.start(0.0)


def test_a_server_that_does_not_answer_is_asked_after_2_4_8_and_16_seconds(make_world: MakeWorld) -> None:
    world = make_world(key=KEY)
    world.server.is_deaf = True
    world.start()
    world.wait(100)
    assert world.times(SendPacket) == [0.0, 2.0, 6.0, 14.0, 30.0]
    assert len({output.packet for output in world.of(SendPacket)}) == 5, "each repetition has a replay id of its own"
    assert world.times(Failed) == [60.0]
    assert world.failed.retry
    assert world.failed.next_remote
    assert "does not answer" in world.failed.reason
    assert world.client.deadline is None


WRAPPED = bytes(400) + (402).to_bytes(2, "big")


def v2_world(make_world: MakeWorld, *, proto: str = "udp", asks: bool = True) -> tuple[Any, list[Opcode]]:
    """A client with a tls-crypt-v2 key, a server that may ask for it again, and the opcodes that the client sends."""
    label = "OpenVPN tls-crypt-v2 client key"
    body = base64.encodebytes(KEY.octets + WRAPPED).decode()
    pem = f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"
    world = make_world(f"<tls-crypt-v2>\n{pem}</tls-crypt-v2>", "reneg-sec 100", proto=proto)
    world.server.static_key = KEY
    world.server.early_negotiation = bytes.fromhex("000100020001") if asks else b""
    world.server.restart()
    take, opcodes = world.server.take, []

    def strip(packet: bytes, now: float) -> list[bytes]:
        opcodes.append(Opcode(packet[0] >> 3))
        carries = opcodes[-1] in (Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, Opcode.P_CONTROL_WKC_V1)
        assert packet.endswith(WRAPPED) is carries
        assert len(packet) <= 1222, "max-packet-size 1250 counts IP and UDP headers"
        replies: list[bytes] = take(packet.removesuffix(WRAPPED) if carries else packet, now)
        return replies

    world.server.take = strip
    return world, opcodes


def test_message_1_carries_the_wrapped_client_key_if_the_server_asks(make_world: MakeWorld) -> None:
    world, opcodes = v2_world(make_world)
    world.start()
    assert world.of(UseKey)
    assert opcodes[:2] == [Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, Opcode.P_CONTROL_WKC_V1]
    assert set(opcodes[2:]) == {Opcode.P_CONTROL_V1, Opcode.P_ACK_V1}
    world.wait(100)
    assert [used.key_id for used in world.of(UseKey)] == [0, 1], "later keys have a wrapping of their own"


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_message_1_does_not_carry_it_unasked(proto: str, make_world: MakeWorld) -> None:
    world, opcodes = v2_world(make_world, proto=proto, asks=False)
    world.start()
    assert world.of(UseKey)
    assert opcodes[0] is Opcode.P_CONTROL_HARD_RESET_CLIENT_V3
    assert Opcode.P_CONTROL_WKC_V1 not in opcodes


def test_message_1_carries_it_again_when_it_was_lost(make_world: MakeWorld) -> None:
    world, opcodes = v2_world(make_world)
    lost: list[bytes] = []

    def first_of_each_is_lost(packet: bytes) -> bool:
        is_first = packet[0] not in (packet[0] for packet in lost)
        lost.append(packet)
        return is_first

    world.lose = first_of_each_is_lost
    world.start()
    world.wait(10)
    assert world.of(UseKey)
    assert opcodes[:2] == [Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, Opcode.P_CONTROL_WKC_V1]


def test_a_push_is_asked_for_after_one_second_and_then_every_five(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = []
    world.start()
    world.wait(12)
    assert world.server.strings() == ["PUSH_REQUEST"] * 3
    world.say(f"{PUSH},{FLAGS}")
    assert world.of(UseKey)
    world.wait(100)
    assert world.server.strings() == ["PUSH_REQUEST"] * 3


def test_a_push_that_never_comes_is_waited_for_in_vain(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = []
    world.start()
    world.wait(100)
    assert world.times(Failed) == [60.0]
    assert world.failed.retry


def test_authentication_may_be_pending_for_longer(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = ["AUTH_PENDING,timeout 90"]
    world.start()
    world.wait(85)
    assert world.failed is None
    world.wait(10)
    assert world.times(Failed) == [90.0]


def test_what_else_a_pending_authentication_says_is_passed_over(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = ["AUTH_PENDING,colour blue,timeout soon,timeout 90"]
    world.start()
    world.wait(100)
    assert world.times(Failed) == [90.0]


def test_a_pending_authentication_has_a_bound_of_our_own(make_world: MakeWorld) -> None:
    world = make_world("reneg-sec 200")
    world.server.greets = ["AUTH_PENDING,timeout 999999"]
    world.start()
    world.wait(200)
    assert world.times(Failed) == [100.0]


def test_a_push_in_parts_is_obeyed_when_it_is_whole(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = ["PUSH_REPLY,route 10.0.0.0,push-continuation 2", f"{PUSH},{FLAGS},push-continuation 1"]
    world.start()
    assert len(world.of(Configured)) == 1
    assert any("route 10.0.0.0" in str(report.detail) for report in world.of(Report))


def test_a_server_without_cipher_falls_back_to_what_its_options_say(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = [PUSH.replace(",cipher AES-256-GCM", "")]
    options = b"V4,cipher CHACHA20-POLY1305\0"
    world.server.key_message = bytes(4) + b"\2" + bytes(64) + len(options).to_bytes(2, "big") + options
    world.start()
    assert world.of(InstallKey)[0].cipher is Cipher.CHACHA20_POLY1305


def test_a_server_that_names_no_cipher_at_all_gets_the_profiles_own(make_world: MakeWorld) -> None:
    world = make_world("data-ciphers-fallback AES-128-GCM")
    world.server.greets = [PUSH.replace(",cipher AES-256-GCM", "")]
    world.start()
    assert world.of(InstallKey)[0].cipher is Cipher.AES_128_GCM


@pytest.mark.parametrize(
    ("push", "reason"),
    [
        (PUSH.replace(",cipher AES-256-GCM", ""), "data-ciphers-fallback"),
        (PUSH.replace("AES-256-GCM", "AES-128-GCM"), "which was not offered"),
        ("PUSH_REPLY,cipher AES-256-GCM", "no tunnel address"),
        (f"{PUSH},compress lz4", "'compress lz4'"),
    ],
)
def test_a_push_that_cannot_be_obeyed_ends_it_for_good(push: str, reason: str, make_world: MakeWorld) -> None:
    world = make_world("data-ciphers AES-256-GCM:CHACHA20-POLY1305")
    world.server.greets = [push]
    world.start()
    assert not world.failed.retry
    assert world.failed.because is rules.S2_PUSHED
    assert reason in world.failed.reason
    assert not world.of(UseKey)


def test_a_profile_that_rejects_an_option(make_world: MakeWorld) -> None:
    world = make_world('pull-filter reject "route 6."')
    world.server.greets = [f"{PUSH},route 6.0.0.0"]
    world.start()
    assert "pull-filter reject" in world.failed.reason


@pytest.mark.parametrize("message", [b"", b"\0\0\0\0\1" + bytes(70), bytes(4) + b"\2" + bytes(64) + b"\0\7V4\0"])
def test_a_bad_key_exchange_ends_the_attempt(message: bytes, make_world: MakeWorld) -> None:
    world = make_world()
    world.server.key_message = message or b"\0"
    world.start()
    assert world.failed.because is rules.S2_HANDSHAKE_FAILED
    assert world.failed.retry


def test_broken_tls_ends_the_attempt_and_tells_the_server_by_an_alert(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.lose = True
    original = world.server.take

    def garble(packet: bytes, now: float) -> list[bytes]:
        return [
            packet[:-40] + b"\xff" * 40 if packet[0] >> 3 == Opcode.P_CONTROL_V1 and len(packet) > 200 else packet
            for packet in original(packet, now)
        ]

    world.server.take = garble
    world.start()
    assert world.failed.reason.startswith("TLS: ")
    assert isinstance(world.outputs[-2][1], SendPacket), "the alert"


def test_how_far_it_came_tells_where_to_look(make_world: MakeWorld) -> None:
    world = make_world()
    world.lose = lambda packet: True
    world.start()
    assert "wrong tls-crypt or tls-auth key" in str(world.client.look_at)
    world.lose = lambda packet: packet[0] >> 3 == Opcode.P_CONTROL_V1
    world.wait(5.0)
    assert "during the TLS handshake" in str(world.client.look_at)
    world.server.greets = []
    world.lose = lambda packet: False
    world.wait(20.0)
    assert "after the TLS handshake" in str(world.client.look_at)
    world.say(PUSH)
    assert world.client.look_at is None


@pytest.mark.parametrize(("days", "reason"), [(20, "it has expired"), (-2, "it is not valid yet")])
def test_certificates_are_held_against_a_time_that_may_be_given(days: int, reason: str, make_world: MakeWorld) -> None:
    from dataclasses import replace
    from datetime import UTC, datetime, timedelta

    from glassgate.reference.openvpn.client import Client

    world = make_world()
    profile = world.client._profile
    at = datetime.now(UTC) + timedelta(days=days)
    world.client = Client(replace(profile, tls=replace(profile.tls, verify_at=at)), world.client._entropy)
    world.start()
    assert reason in world.failed.reason


# ── what the server says ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AUTH_FAILED", ("the server refuses: AUTH_FAILED", False, False, 10.0)),
        ("AUTH_FAILED,go away", ("the server refuses: AUTH_FAILED: go away", False, False, 10.0)),
        ("AUTH_FAILED,TEMP:busy", ("the server refuses: AUTH_FAILED: TEMP:busy", True, False, 0.0)),
        (
            "AUTH_FAILED,TEMP[backoff 42,advance remote]:busy",
            ("the server refuses: AUTH_FAILED: TEMP[backoff 42,advance remote]:busy", True, True, 42.0),
        ),
        ("AUTH_FAILED,TEMP[advance no", ("the server refuses: AUTH_FAILED: TEMP[advance no", True, False, 0.0)),
        ("RESTART", ("the server asks for a restart", True, False, 0.0)),
        ("RESTART,[P]soon", ("the server asks for a restart: [P]soon", True, False, 0.0)),
        ("RESTART,[N]", ("the server asks for a restart: [N]", True, True, 0.0)),
        ("HALT,closed", ("the server says HALT: closed", False, False, 0.0)),
        ("EXIT", ("the server leaves", True, False, 0.0)),
    ],
)
def test_a_server_that_ends_the_session_is_obeyed(text: str, expected: tuple[Any, ...], make_world: MakeWorld) -> None:
    world = up(make_world)
    world.say(text)
    failed = world.failed
    assert (failed.reason, failed.retry, failed.next_remote, failed.delay) == expected
    assert failed.because is rules.S4_PEER_ENDS
    assert world.client.deadline is None
    assert world.client.receive(b"\x20" + bytes(20), world.now) == [], "it says nothing more"


def test_a_challenge_is_refused_in_words(make_world: MakeWorld) -> None:
    world = up(make_world)
    world.say("AUTH_FAILED,CRV1:R:state:dXNlcg==:Which colour?")
    assert "dynamic challenge" in world.failed.reason


def test_auth_retry_comes_back_without_a_person(make_world: MakeWorld) -> None:
    world = up(make_world, "auth-retry nointeract")
    world.say("AUTH_FAILED")
    assert (world.failed.retry, world.failed.delay) == (True, 10.0)


@pytest.mark.parametrize(
    "text", ["INFO,hello", "INFO_PRE,WEB_AUTH::https://x", "SOMETHING ELSE", "PUSH_UPDATE,route 1"]
)
def test_other_strings_are_reported_and_the_session_lives(text: str, make_world: MakeWorld) -> None:
    world = up(make_world)
    world.say(text)
    assert world.failed is None
    assert any(text in report.detail.values() for report in world.of(Report))


def test_two_strings_in_one_record_are_heard_and_an_open_one_is_not(make_world: MakeWorld) -> None:
    world = up(make_world)
    world.server.keys[0].tls.send(b"INFO,one\0INFO,two\0INFO,thr")
    world.say("INFO,four")
    heard = [value for report in world.of(Report) for value in report.detail.values()]
    assert [text for text in heard if str(text).startswith("INFO")] == ["INFO,one", "INFO,two", "INFO,four"]


def test_what_is_not_printable_reaches_no_log(make_world: MakeWorld) -> None:
    world = up(make_world)
    world.say("HALT,red \x1b[31m alert\r\n")
    assert world.failed.reason == "the server says HALT: red ?[31m alert"


# ── credentials ──────────────────────────────────────────────────────────────────────────────────────────────────────

CREDENTIALS = "<auth-user-pass>\nalice\nsecret\n</auth-user-pass>"


def test_a_token_takes_the_passwords_place_from_then_on(make_world: MakeWorld) -> None:
    world = up(make_world, CREDENTIALS, push="auth-token TOKEN1")
    assert b"\0\x06alice\0\0\x07secret\0" in world.server.keys[0].heard[0]
    world.server.greets_again = ["PUSH_REPLY,auth-token TOKEN2"]
    world.wait(3600)
    assert b"\0\x06alice\0\0\x07TOKEN1\0" in world.server.keys[1].heard[0]
    world.wait(3600)
    assert len(world.of(UseKey)) == 3
    assert len(world.of(Configured)) == 1, "a later reply brings a token and nothing else"
    world.say("RESTART")
    world.server.restart(b"\x22" * 8)
    world.server.greets = [f"{PUSH},{FLAGS},auth-token-user Ym9i,auth-token TOKEN3"]
    world.start()
    assert b"\0\x06alice\0\0\x07TOKEN2\0" in world.server.keys[0].heard[0]
    world.say("AUTH_FAILED,SESSION:expired")
    assert world.of(Failed)[-1].retry
    world.server.restart()
    world.start()
    assert b"\0\x06alice\0\0\x07secret\0" in world.server.keys[0].heard[0], "the token is forgotten"
    assert "TOKEN" not in str([output for output in world.outputs if not isinstance(output[1], SendPacket)])


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ping_leaves_when_nothing_else_did(make_world: MakeWorld) -> None:
    world = up(make_world, push="ping 10")
    world.wait(25)
    assert world.times(SendPing) == [10.0, 20.0]
    world.client.data_sent(world.now, 100)
    world.wait(9)
    assert len(world.of(SendPing)) == 2
    world.wait(1)
    assert world.times(SendPing) == [10.0, 20.0, 35.0]


def test_receiving_alone_does_not_replace_a_ping(make_world: MakeWorld) -> None:
    world = up(make_world, push="ping 10")
    world.wait(9)
    world.client.data_received(world.now, 100)
    world.wait(1)
    assert world.times(SendPing) == [10.0]


@pytest.mark.parametrize(
    ("option", "because", "retry"),
    [("ping-restart 30", rules.S26_PING_RESTART, True), ("ping-exit 30", rules.S4_IDLE, False)],
)
def test_silence_of_the_server(option: str, because: object, retry: bool, make_world: MakeWorld) -> None:
    world = up(make_world, push=option)
    world.wait(20)
    world.client.data_received(world.now)
    world.wait(20)
    world.say("INFO,control packets count, too")
    world.wait(29)
    assert world.failed is None
    world.wait(1)
    assert (world.failed.because, world.failed.retry) == (because, retry)


def test_garbage_does_not_feed_the_ping_timer(make_world: MakeWorld) -> None:
    world = up(make_world, push="ping-restart 30", proto="udp", key=KEY)
    world.wait(29)
    genuine = bytes.fromhex("20") + world.server.session_id + bytes(60)
    (report,) = world.give(genuine)
    assert report.because is rules.S26_CONTROL_REFUSED
    world.wait(1)
    assert world.failed.because is rules.S26_PING_RESTART


def test_too_little_traffic_ends_it(make_world: MakeWorld) -> None:
    world = up(make_world, push="inactive 60 1000")
    for _ in range(3):
        world.wait(50)
        world.client.data_sent(world.now, 600)
        world.client.data_received(world.now, 600)
    world.wait(50)
    world.client.data_sent(world.now, 999)
    world.client.data_sent(world.now, 0)
    world.wait(10)
    assert (world.failed.because, world.failed.retry) == (rules.S4_IDLE, False)


def test_a_session_has_its_time(make_world: MakeWorld) -> None:
    world = up(make_world, push="session-timeout 500")
    world.wait(600)
    assert world.times(Failed) == [500.0]
    assert not world.failed.retry


# ── renegotiation ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "tls-crypt"])
def test_a_key_is_renewed_in_time_and_the_old_one_lives_on(key: StaticKey | None, make_world: MakeWorld) -> None:
    world = up(make_world, "reneg-sec 100", "tran-window 50", key=key)
    world.wait(101)
    assert [installed.key_id for installed in world.of(InstallKey)] == [0, 1]
    assert [used.key_id for used in world.of(UseKey)] == [0, 1]
    assert world.of(DropKey) == []
    world.wait(50)
    assert [(when, output) for when, output in world.outputs if isinstance(output, DropKey)] == [(1150.0, DropKey(0))]
    assert world.of(InstallKey)[1].send_key == world.server.key_block(1)[:32]
    assert world.of(InstallKey)[1].send_key != world.of(InstallKey)[0].send_key


def test_the_server_may_renew_a_key(make_world: MakeWorld) -> None:
    world = up(make_world, key=KEY)
    world.server.renegotiate(1, world.now)
    world.pass_on()
    assert [used.key_id for used in world.of(UseKey)] == [0, 1]


def test_both_may_renew_at_once(make_world: MakeWorld) -> None:
    world = up(make_world, "reneg-sec 100")
    world.server.renegotiate(1, world.now + 100)
    waiting = world.server.due(world.now + 100)
    world.wait(100)
    for packet in waiting:
        world.do(world.client.receive(packet, world.now))
    assert [used.key_id for used in world.of(UseKey)] == [0, 1]
    assert world.failed is None


def test_key_ids_run_from_0_to_7_and_then_from_1(make_world: MakeWorld) -> None:
    world = up(make_world, "reneg-sec 10")
    for _ in range(9):
        world.wait(10)
        world.server.keys.pop(world.of(UseKey)[-2].key_id, None)
    assert [used.key_id for used in world.of(UseKey)] == [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert len(world.of(InstallKey)) - len(world.of(DropKey)) == 2


@pytest.mark.parametrize("line", ["reneg-bytes 1000", "reneg-pkts 10"])
def test_a_key_is_renewed_after_so_much_traffic(line: str, make_world: MakeWorld) -> None:
    world = up(make_world, line)
    for _ in range(5):
        world.client.data_sent(world.now, 100)
        world.client.data_received(world.now, 100)
    world.wait(0)
    assert [used.key_id for used in world.of(UseKey)] == [0, 1]
    world.wait(100)
    assert len(world.of(UseKey)) == 2


def test_the_data_plane_may_ask_for_a_new_key(make_world: MakeWorld) -> None:
    world = up(make_world)
    world.do(world.client.renegotiate(world.now))
    assert [used.key_id for used in world.of(UseKey)] == [0, 1]
    world.server.is_deaf = True
    world.do(world.client.renegotiate(world.now))
    assert world.client.renegotiate(world.now) == [], "one at a time"


def test_without_a_limit_a_key_lasts(make_world: MakeWorld) -> None:
    world = up(make_world, "reneg-sec 0")
    world.wait(10_000)
    assert [used.key_id for used in world.of(UseKey)] == [0]


def test_a_renewal_that_fails_ends_the_session(make_world: MakeWorld) -> None:
    world = up(make_world, "reneg-sec 100")
    world.server.is_deaf = True
    world.wait(200)
    assert world.times(Failed) == [160.0]
    assert world.failed.retry


def test_a_soft_reset_before_the_first_key_is_refused(make_world: MakeWorld) -> None:
    world = make_world(proto="udp")
    world.server.greets = []
    world.start()
    world.server.renegotiate(1, world.now)
    (packet,) = world.server.due(world.now)
    (report,) = world.give(packet)
    assert report.because is rules.S26_CONTROL_REFUSED
    assert "before the last key was done" in str(report.detail)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def control(world: Any, first: int, session_id: bytes, rest: bytes) -> bytes:
    return bytes((first,)) + session_id + rest


BAD_PACKETS = {
    "too short": lambda world: b"\x20\1\2",
    "no opcode": lambda world: control(world, 0x08, world.server.session_id, bytes(5)),
    "opcode of a client": lambda world: control(world, 0x38, world.server.session_id, bytes(5)),
    "another session": lambda world: control(world, 0x20, b"\x33" * 8, bytes(5)),
    "another server": lambda world: control(world, 0x40, b"\x33" * 8, bytes(5)),
    "key id out of step": lambda world: control(world, 0x1A, world.server.session_id, bytes(5)),
    "no soft reset": lambda world: control(world, 0x21, world.server.session_id, bytes(5)),
    "ends early": lambda world: control(world, 0x20, world.server.session_id, bytes(4)),
    "nine acknowledgements": lambda world: control(world, 0x28, world.server.session_id, b"\x09" + bytes(44)),
    "another's acknowledgement": lambda world: control(
        world, 0x28, world.server.session_id, b"\x01" + bytes(4) + b"\x44" * 8
    ),
}


@pytest.mark.parametrize("name", BAD_PACKETS)
def test_a_bad_packet_costs_the_connection_over_tcp_and_nothing_over_udp(name: str, make_world: MakeWorld) -> None:
    # PROTOCOL.md 16.1, 16.2
    for proto in ("tcp", "udp"):
        world = up(make_world, push="ping-restart 30", proto=proto)
        world.wait(20)
        before = world.client.deadline
        (output,) = world.give(BAD_PACKETS[name](world))
        if proto == "tcp":
            assert isinstance(output, Failed)
            assert output.retry
        else:
            assert isinstance(output, Report)
            assert world.client.deadline == before, "it moved no timer"
            world.say("INFO,still here")
            assert world.failed is None


def test_a_replay_costs_the_connection_over_tcp_and_nothing_over_udp(make_world: MakeWorld) -> None:
    for proto, kind in (("tcp", Failed), ("udp", Report)):
        world = up(make_world, proto=proto, key=KEY)
        world.server.say("INFO,once")
        (packet,) = world.server.due(world.now)
        world.do(world.client.receive(packet, world.now))
        (output,) = world.give(packet)
        assert isinstance(output, kind)
        assert "replay" in str(output)


def test_before_its_reset_a_server_says_nothing_that_counts(make_world: MakeWorld) -> None:
    world = make_world(proto="udp")
    world.server.is_deaf = True
    world.start()
    (report,) = world.give(b"\x20" + b"\x11" * 8 + bytes(5))
    assert "has not begun" in str(report.detail)


def test_an_early_negotiation_that_ends_early_is_refused(make_world: MakeWorld) -> None:
    world = make_world(key=KEY)
    world.server.early_negotiation = b"\0\1\0\3x"
    world.start()
    assert (world.failed.because, world.failed.retry) == (rules.S26_CONTROL_REFUSED, True)
    assert "an early negotiation entry that ends early" in world.failed.reason


def test_a_reset_sent_twice_is_acknowledged_twice(make_world: MakeWorld) -> None:
    world = make_world(proto="udp")
    world.start()
    reset = b"\x40" + world.server.session_id + bytes(5)
    assert [type(output) for output in world.give(reset)] == [SendPacket]
    assert world.failed is None


def test_a_message_beyond_the_window_is_reported_and_not_kept(make_world: MakeWorld) -> None:
    world = up(make_world)
    outputs = world.give(b"\x20" + world.server.session_id + b"\0" + b"\x7f\0\0\0" + b"x")
    assert outputs[0].detail == {"reason": "beyond the receive window", "message_id": 0x7F000000}
    world.say("INFO,still here")
    assert world.failed is None


def test_hostile_packets_neither_raise_nor_end_a_udp_session(make_world: MakeWorld) -> None:
    world = up(make_world, proto="udp", key=KEY)
    chance = random.Random(7)
    for _ in range(2000):
        tail = chance.randbytes(chance.randrange(80))
        begins = (b"", world.server.session_id) if chance.random() < 0.5 else (world.server.session_id,)
        packet = bytes((chance.randrange(256),)) + b"".join(begins) + tail
        assert all(isinstance(output, Report) for output in world.client.receive(packet, world.now))
    world.say("INFO,still here")
    assert world.failed is None


def test_every_octet_of_a_genuine_packet_may_be_wrong(make_world: MakeWorld) -> None:
    world = up(make_world, proto="udp")
    world.server.say("INFO,hello")
    (packet,) = world.server.due(world.now)
    for place in range(len(packet)):
        for wrong in (packet[place] ^ 1, packet[place] ^ 0xFF):
            for output in world.client.receive(packet[:place] + bytes((wrong,)) + packet[place + 1 :], world.now):
                assert isinstance(output, SendPacket | Report | Failed)
            if world.client.deadline is None:  # broken TLS ends a session without static key (PROTOCOL.md 16.1)
                world = up(make_world, proto="udp")


def test_a_largest_segment_may_be_fixed() -> None:
    assert largest_segment(Mssfix(1300, "fixed"), "udp", True) == 1260, "less the headers of IPv4 and TCP"


# ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_exit_is_told_and_its_acknowledgement_awaited(make_world: MakeWorld) -> None:
    world = up(make_world)
    world.do(world.client.stop(world.now))
    assert world.server.strings() == ["EXIT"]
    world.wait(0)
    assert (world.failed.because, world.failed.retry) == (rules.S4_LEAVE, False)


def test_during_a_renewal_an_exit_is_told_under_the_key_that_is_done(make_world: MakeWorld) -> None:
    world = up(make_world, "reneg-sec 100")
    world.lose = lambda packet: packet[0] & 7 == 1
    world.wait(101)
    world.do(world.client.stop(world.now))
    assert world.server.strings(0) == ["EXIT"]


def test_an_exit_that_is_not_acknowledged_is_awaited_for_a_second(make_world: MakeWorld) -> None:
    world = up(make_world)
    world.server.is_deaf = True
    world.do(world.client.stop(world.now))
    assert world.failed is None
    world.wait(5)
    assert world.times(Failed) == [1.0]


def test_without_cc_exit_the_data_channel_tells_it_over_udp_only(make_world: MakeWorld) -> None:
    for proto, kinds in (("udp", [SendExit, Failed]), ("tcp", [Failed])):
        world = make_world("explicit-exit-notify 1", proto=proto)
        world.server.greets = [f"{PUSH},protocol-flags tls-ekm"]
        world.start()
        assert [type(output) for output in world.client.stop(world.now)] == kinds


def test_leaving_before_the_tunnel_is_up(make_world: MakeWorld) -> None:
    world = make_world()
    assert world.client.stop(0.0) == []
    assert world.client.tick(0.0) == []
    world.client.data_received(0.0)  # what a transport brings too early counts for nothing
    world.client.data_sent(0.0)
    world.server.is_deaf = True
    world.start()
    assert [type(output) for output in world.client.stop(world.now)] == [Failed]


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_state_but_the_last_leads_to_the_next() -> None:
    states = list(State)
    assert [before for before, _ in TRANSITIONS] == states[:-1]
    assert list(TRANSITIONS.values()) == states[1:]
    assert [event for _, event in TRANSITIONS] == list(Event)
