"""What the server pushes: parts put together, each option obeyed, reported or refused (PROTOCOL.md 9)."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import Cipher
from glassgate.reference.openvpn.push import (
    MOST_OPTIONS,
    NOT_NEEDED,
    OBEYED,
    REFUSED,
    Pushed,
    PushRefused,
    PushReply,
    read_options,
)


def read(*options: str) -> Pushed:
    return read_options(list(options))


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_message_without_continuation_is_whole() -> None:
    assert PushReply().add("PUSH_REPLY,topology subnet,ping 10") == ["topology subnet", "ping 10"]
    assert PushReply().add("PUSH_REPLY") == []


def test_parts_are_kept_until_the_last() -> None:
    reply = PushReply()
    assert reply.add("PUSH_REPLY,route 10.0.0.0,push-continuation 2") is None
    assert reply.add("PUSH_REPLY,route 10.1.0.0,push-continuation 2") is None
    assert reply.add("PUSH_REPLY,peer-id 0,push-continuation 1") == ["route 10.0.0.0", "route 10.1.0.0", "peer-id 0"]
    assert reply.add("PUSH_REPLY,auth-token x") == ["auth-token x"]


def test_a_list_without_end_is_refused() -> None:
    reply = PushReply()
    part = "PUSH_REPLY" + ",a" * 100 + ",push-continuation 2"
    for _ in range(MOST_OPTIONS // 100):
        assert reply.add(part) is None
    with pytest.raises(PushRefused, match="more than"):
        reply.add(part)


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_option_has_one_treatment() -> None:
    tables = [OBEYED.keys(), NOT_NEEDED.keys(), REFUSED.keys()]
    assert len(set().union(*tables)) == sum(map(len, tables))


def test_the_reply_of_a_default_server() -> None:
    # PROTOCOL.md 9: order for a default 2.6.14 server with topology subnet
    pushed = read(
        "route-gateway 10.88.0.1", "topology subnet", "ping 10", "ping-restart 60", "socket-flags TCP_NODELAY",
        "ifconfig 10.88.0.2 255.255.255.0", "peer-id 0", "auth-token SESS_ID", "cipher AES-256-GCM",
        "protocol-flags cc-exit tls-ekm dyn-tls-crypt", "tun-mtu 1500",
    )  # fmt: skip
    assert pushed.address == IPv4Interface("10.88.0.2/24")
    assert (pushed.ping, pushed.ping_restart, pushed.ping_exit) == (10.0, 60.0, 0.0)
    assert (pushed.peer_id, pushed.cipher, pushed.mtu) == (0, Cipher.AES_256_GCM, 1500)
    assert pushed.tls_key_export
    assert pushed.dynamic_tls_crypt
    assert pushed.exit_notify
    assert pushed.auth_token == "SESS_ID"
    assert [report.split(":")[0] for report in pushed.reports] == [
        "route-gateway 10.88.0.1",
        "socket-flags TCP_NODELAY",
    ]
    assert "SESS_ID" not in repr(pushed)


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (["ifconfig 10.88.0.6 10.88.0.5"], "10.88.0.6/30"),  # net30 is what holds if nothing is pushed
        (["topology net30", "ifconfig 10.88.0.6 10.88.0.5"], "10.88.0.6/30"),
        (["topology p2p", "ifconfig 10.88.0.4 10.88.0.1"], "10.88.0.4/32"),
        (["ifconfig 10.88.0.2 255.255.0.0", "topology subnet"], "10.88.0.2/16"),
    ],
)
def test_the_address_depends_on_the_topology(options: list[str], address: str) -> None:
    assert read(*options).address == IPv4Interface(address)


def test_what_the_profile_says_holds_if_nothing_is_pushed() -> None:
    pushed = read_options([], "subnet", ("10.9.0.2", "255.255.255.0"))
    assert pushed.address == IPv4Interface("10.9.0.2/24")
    assert read().address is None


@pytest.mark.parametrize(
    "option",
    [
        "ifconfig 10.88.0.2",
        "ifconfig 10.88.0.2 nonsense",
        "topology ring",
        "cipher BF-CBC",
        "peer-id 16777216",
        "peer-id -1",
        "peer-id",
        "tun-mtu 67",
        "tun-mtu 65536",
        "ping soon",
        "auth-token",
        "auth-token-user ***",
        "key-derivation magic",
        "protocol-flags aead-epoch",
        "comp-lzo no",
        "compress",
        "fragment 1300",
    ],
)
def test_what_cannot_be_obeyed_refuses_the_session_by_name(option: str) -> None:
    with pytest.raises(PushRefused) as refused:
        read(option)
    assert option.split()[0] in str(refused.value)


def test_unknown_options_and_flags_are_reported() -> None:
    pushed = read("frobnicate 1", "protocol-flags tls-ekm sparkle", 'echo "open', "")
    assert pushed.tls_key_export
    assert pushed.reports == [
        "frobnicate 1: unknown",
        "protocol-flags sparkle: unknown",
        'echo: no closing "',
        ": empty",
    ]


def test_ping_exit_takes_ping_restarts_place_and_the_other_way_round() -> None:
    pushed = read("ping-restart 60", "ping-exit 30")
    assert (pushed.ping_restart, pushed.ping_exit) == (0.0, 30.0)
    pushed = read("ping-exit 30", "ping-restart 60")
    assert (pushed.ping_restart, pushed.ping_exit) == (60.0, 0.0)


def test_how_often_the_end_is_to_be_told_may_be_left_out() -> None:
    # options.c add_option "explicit-exit-notify": 1 if no number is given
    assert read("explicit-exit-notify").explicit_exit_notify == 1
    assert read("explicit-exit-notify 3").explicit_exit_notify == 3


def test_old_spelling_of_the_exporter() -> None:
    assert read("key-derivation tls-ekm").tls_key_export


def test_a_filter_takes_options_away() -> None:
    pushed = read_options(["ping 5", "ping-restart 9"], ignore=lambda option: option.startswith("ping-"))
    assert (pushed.ping, pushed.ping_restart) == (5.0, None)
    assert "pull-filter" in pushed.reports[0]


@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_options_are_read_or_refused(options: list[str]) -> None:
    with contextlib.suppress(PushRefused):
        assert isinstance(read(*options), Pushed)


@given(st.sampled_from(sorted(OBEYED)), st.text(max_size=20))
def test_any_value_of_a_known_option_is_read_or_refused(name: str, value: str) -> None:
    with contextlib.suppress(PushRefused):
        assert isinstance(read(f"{name} {value}"), Pushed)


def test_secrets_are_not_told() -> None:
    ignore_all = read_options(["auth-token s3cret", "echo s3cret"], ignore=lambda option: True)
    read_all = read("echo s3cret", "setenv-safe NAME s3cret")
    assert ignore_all.reports == ["auth-token …: ignored by 'pull-filter'", "echo …: ignored by 'pull-filter'"]
    assert "s3cret" not in str(read_all.reports)
    with pytest.raises(PushRefused) as refused:
        read("auth-token-user s3cret!")
    assert "s3cret" not in str(refused.value)
