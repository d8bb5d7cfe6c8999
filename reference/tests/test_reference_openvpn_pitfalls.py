"""Where a client of OpenVPN goes wrong, most likely first (PROTOCOL.md section 23), and who watches each place.

The table names tests by file and function; those that belong to no other file are here.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from glassgate.contract import Cipher
from glassgate.reference.openvpn.client import Configured, InstallKey, SendPacket, UseKey
from glassgate.reference.openvpn.key_derivation import cut_key_block
from glassgate.reference.openvpn.packets import Opcode, parse_body, parse_header
from glassgate.reference.openvpn.wrapping import Plain, StaticKey, TlsCrypt

TESTS = Path(__file__).parent
PUSH = "PUSH_REPLY,topology subnet,ifconfig 10.88.0.2 255.255.255.0,peer-id 3,cipher AES-256-GCM"
FLAGS = "protocol-flags cc-exit tls-ekm dyn-tls-crypt"

MakeWorld = Any

PITFALLS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "over TCP one bad or repeated record costs the connection: ids follow the stream, nothing is sent twice",
        (
            "tunnel::test_packets_are_sealed_under_rising_ids",
            "tunnel::test_a_refused_record_ends_a_stream_and_is_dropped_from_datagrams",
            "client::test_a_replay_costs_the_connection_over_tcp_and_nothing_over_udp",
            "driver::test_while_the_flow_is_full_only_what_would_be_sealed_is_dropped",
        ),
    ),
    2: (
        "everything is acknowledged over TCP, too: resets and empty packets",
        (
            "pitfalls::test_an_empty_control_packet_is_acknowledged_over_tcp",
            "client::test_a_reset_sent_twice_is_acknowledged_twice",
            "client::test_without_loss_no_time_is_needed",
        ),
    ),
    3: (
        "a client uses opposite halves of the key for tls-crypt and for data",
        (
            "pitfalls::test_a_client_sends_control_and_data_by_opposite_halves_of_a_key",
            "wrapping::test_a_client_never_accepts_its_own_packets",
        ),
    ),
    4: (
        "what is sent again is wrapped afresh: identical octets are a replay",
        (
            "client::test_a_server_that_does_not_answer_is_asked_after_2_4_8_and_16_seconds",
            "stock::test_lost_control_packets_are_sent_again_over_udp",
        ),
    ),
    5: (
        "the tag stands before the ciphertext; the implicit IV is of the HMAC's slot",
        (
            "data_channel::test_seal_gives_the_known_answers",
            "keys::test_a_key_block_is_cut_by_the_ciphers_key_length",
        ),
    ),
    6: (
        "what is authenticated differs between P_DATA_V1 and V2; the pushed peer-id decides which is sent",
        (
            "data_channel::test_open_takes_the_known_answers",
            "data_channel::test_one_flipped_bit_anywhere_that_is_authentic_is_refused",
            "stock::test_without_peer_id_data_packets_are_of_version_1",
        ),
    ),
    7: (
        "the first keys cannot be made before the push; data that come earlier are dropped",
        (
            "pitfalls::test_there_is_no_key_before_the_push",
            "tunnel::test_a_record_under_another_key_is_ignored",
        ),
    ),
    8: (
        "a push in parts is acted on when all are there",
        (
            "client::test_a_push_in_parts_is_obeyed_when_it_is_whole",
            "push::test_parts_are_kept_until_the_last",
            "stock::test_many_pushed_options_arrive_in_several_parts",
        ),
    ),
    9: (
        "after a renewal the server goes on sending under the old key",
        (
            "client::test_a_key_is_renewed_in_time_and_the_old_one_lives_on",
            "tunnel::test_two_keys_live_at_once_until_one_is_dropped",
            "stock::test_the_server_renegotiates_and_no_ping_is_lost",
        ),
    ),
    10: (
        "later keys have a wrapping of their own, where none is configured, too; the first key's stays as it was",
        (
            "pitfalls::test_each_key_has_the_wrapping_of_its_own_time",
            "stock::test_the_client_renegotiates_through_all_eight_key_ids",
        ),
    ),
    11: (
        "key method 2 is one TLS record of at most 2048 octets; nothing shares it",
        (
            "pitfalls::test_the_key_exchange_has_a_record_to_itself",
            "keys::test_a_message_over_2048_octets_is_refused_before_it_is_sent",
        ),
    ),
    12: (
        "message ids begin at 0 for each key; P_ACK_V1 has none",
        (
            "pitfalls::test_message_ids_begin_again_with_each_key",
            "packets::test_an_acknowledgement_has_no_message_id",
        ),
    ),
    13: (
        "acknowledgements come again for what was acknowledged long ago",
        ("reliability::test_acknowledgements_of_nothing_in_flight_are_ignored",),
    ),
    14: (
        "framings of compression differ, and pings are framed, too: none is accepted",
        (
            "push::test_what_cannot_be_obeyed_refuses_the_session_by_name",
            "stock::test_pushed_compression_is_refused_by_name",
        ),
    ),
    15: (
        "the digest of 'auth' is not negotiated; tls-auth uses it",
        (
            "wrapping::test_a_reset_is_wrapped_as_the_stock_server_accepted_it",
            "wrapping::test_tls_auth_directions_are_mirror_images",
        ),
    ),
    16: (
        "keying material is exported; TLS goes on being read after the handshake",
        (
            "client::test_keys_by_the_exporter_are_those_that_the_server_has",
            "client::test_two_strings_in_one_record_are_heard_and_an_open_one_is_not",
        ),
    ),
    17: (
        "over UDP message 1 carries the wrapped client key if the server asks, each time; otherwise never",
        (
            "client::test_message_1_carries_the_wrapped_client_key_if_the_server_asks",
            "client::test_message_1_carries_it_again_when_it_was_lost",
            "client::test_message_1_does_not_carry_it_unasked",
            "stock::test_a_server_that_demands_the_cookie_gets_the_client_key_twice",
        ),
    ),
    18: (
        "the server's session id is that of its first authentic reset",
        ("client::test_before_its_reset_a_server_says_nothing_that_counts",),
    ),
    19: (
        "inner sources that the server has no route for are dropped without a word",
        ("gateway_stock::test_a_host_pings_through_a_negotiated_tunnel",),
    ),
    20: (
        "AUTH_FAILED is a control string like any other, and over UDP nothing follows it",
        (
            "client::test_a_server_that_ends_the_session_is_obeyed",
            "stock::test_a_wrong_password_ends_it_for_good",
        ),
    ),
    21: (
        "control packets count for ping-restart; who only receives must ping",
        (
            "client::test_silence_of_the_server",
            "client::test_receiving_alone_does_not_replace_a_ping",
        ),
    ),
    22: (
        "a push after a renewal brings a token, and does not configure the tunnel again",
        ("client::test_a_token_takes_the_passwords_place_from_then_on",),
    ),
}
"""By number: what goes wrong, and who watches."""


def test_the_table_is_whole() -> None:
    assert list(PITFALLS) == list(range(1, 23))
    assert all(tests for _, tests in PITFALLS.values())


@pytest.mark.parametrize("named", sorted({test for _, tests in PITFALLS.values() for test in tests}))
def test_each_test_that_the_table_names_is_there(named: str) -> None:
    file, _, function = named.partition("::")
    (path,) = (path for name in (f"openvpn_{file}", file) if (path := TESTS / f"test_reference_{name}.py").exists())
    defined = [node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    assert defined.count(function) == 1


# ── those that belong nowhere else ───────────────────────────────────────────────────────────────────────────────────


def up(make_world: MakeWorld, *lines: str) -> Any:
    world = make_world(*lines)
    world.start()
    assert world.of(UseKey)
    return world


def test_an_empty_control_packet_is_acknowledged_over_tcp(make_world: MakeWorld) -> None:
    world = up(make_world)
    messages = world.server.keys[0].messages
    messages.send(Opcode.P_CONTROL_V1, b"")
    assert not messages.everything_acknowledged
    world.pass_on()
    assert messages.everything_acknowledged


def test_a_client_sends_control_and_data_by_opposite_halves_of_a_key() -> None:
    octets = bytes(range(256))
    control = TlsCrypt(StaticKey(octets)), TlsCrypt(StaticKey(octets[:128] + bytes(128)))
    reset = bytes.fromhex("380102030405060708"), bytes(5)
    assert control[0].wrap(*reset, 1.0) != control[1].wrap(*reset, 1.0), "control leaves by the second half"
    assert cut_key_block(octets, Cipher.AES_256_GCM).send_key == octets[:32], "data leave by the first"


def test_there_is_no_key_before_the_push(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = []
    world.start()
    world.wait(20)
    assert (world.of(Configured), world.of(InstallKey)) == ([], [])
    world.say(f"{PUSH},{FLAGS}")
    assert [type(output) for _, output in world.outputs if not isinstance(output, SendPacket)][-3:] == [
        Configured,
        InstallKey,
        UseKey,
    ]


def test_each_key_has_the_wrapping_of_its_own_time(make_world: MakeWorld) -> None:
    world = up(make_world, "reneg-sec 100")
    assert world.server.dynamic_wrapping is not None
    world.wait(101)
    world.outputs.clear()
    world.server.say("INFO,under the first key", key_id=0)
    world.server.say("INFO,under the second", key_id=1)
    world.pass_on()
    packets = {output.packet[0] & 7: output.packet for output in world.of(SendPacket)}
    assert parse_body(Opcode.P_ACK_V1, Plain().parse(packets[0]).content).acknowledgements
    assert len(packets[1]) == len(packets[0]) + TlsCrypt(StaticKey(bytes(256))).overhead


def test_the_key_exchange_has_a_record_to_itself(make_world: MakeWorld) -> None:
    world = make_world()
    world.server.greets = []
    world.start()
    world.wait(2)
    message, asked = world.server.keys[0].heard
    assert message[:5] == bytes.fromhex("0000000002")
    assert message.endswith(b"\n\0"), "the peer info is its end"
    assert asked == b"PUSH_REQUEST\0"


def test_message_ids_begin_again_with_each_key(make_world: MakeWorld) -> None:
    world = make_world("reneg-sec 100")
    world.server.greets = [f"{PUSH},protocol-flags tls-ekm"]  # without dyn-tls-crypt all is in clear
    world.start()
    world.wait(101)
    ids: dict[int, list[int]] = {0: [], 1: []}
    for output in world.of(SendPacket):
        header = parse_header(output.packet)
        body = parse_body(header.opcode, Plain().parse(output.packet).content)
        if body.message_id is not None:
            ids[header.key_id].append(body.message_id)
    assert ids[0] == list(range(len(ids[0])))
    assert ids[1] == list(range(len(ids[1])))
    assert len(ids[1]) > 1
    (soft_reset,) = [output.packet for output in world.of(SendPacket) if output.packet[0] == 3 << 3 | 1]
    assert parse_body(Opcode.P_CONTROL_SOFT_RESET_V1, Plain().parse(soft_reset).content).message_id == 0
