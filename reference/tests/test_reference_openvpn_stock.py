"""The client against the stock program: every way a server can be met. Each test starts a real server."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glassgate.contract import Cipher
from glassgate.reference.openvpn.client import Configured, DropKey, Failed, InstallKey, Report, UseKey

pytestmark = pytest.mark.root

CIPHERS = list(Cipher)
WRAPS = ["plain", "tls-auth", "tls-auth-no-direction", "tls-crypt", "tls-crypt-v2"]


def wrap_lines(kind: str, static_key: str, directory: Path) -> tuple[list[str], list[str]]:
    """Lines for the server and for the client."""
    file = directory / "static.key"
    file.write_text(static_key)
    if kind == "tls-auth":
        return [f"tls-auth {file} 0"], [f"<tls-auth>\n{static_key}</tls-auth>", "key-direction 1"]
    if kind == "tls-auth-no-direction":
        return [f"tls-auth {file}", "auth SHA256"], [f"<tls-auth>\n{static_key}</tls-auth>", "auth SHA256"]
    if kind == "tls-crypt":
        return [f"tls-crypt {file}"], [f"<tls-crypt>\n{static_key}</tls-crypt>"]
    if kind.startswith("tls-crypt-v2"):
        server, client = directory / "v2-server.key", directory / "v2-client.key"
        run = ["/usr/sbin/openvpn", "--genkey"]
        subprocess.run([*run, "tls-crypt-v2-server", str(server)], check=True, capture_output=True)
        command = ["/usr/sbin/openvpn", "--tls-crypt-v2", str(server), "--genkey", "tls-crypt-v2-client", str(client)]
        subprocess.run(command, check=True, capture_output=True)
        cookie = " force-cookie" if kind.endswith("cookie") else ""
        return [f"tls-crypt-v2 {server}{cookie}"], [f"<tls-crypt-v2>\n{client.read_text()}</tls-crypt-v2>"]
    return [], []


def is_up(peer: Any) -> Callable[[], bool]:
    return lambda: peer.key_in_use is not None or peer.failed is not None


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("wrap", WRAPS)
def test_each_wrapping_connects_and_carries_a_ping(
    wrap: str,
    proto: str,
    tls: str,
    start_server: Any,
    make_profile: Any,
    make_peer: Any,
    static_key: str,
    tmp_path: Path,
) -> None:
    for_server, for_client = wrap_lines(wrap, static_key, tmp_path)
    server = start_server(*for_server, f"tls-version-max {tls}", proto=proto)
    cipher = CIPHERS[WRAPS.index(wrap) % 3]
    peer = make_peer(server, make_profile(*for_client, f"data-ciphers {cipher}", proto=proto))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert peer.failed is None, peer.failed
    (installed,) = peer.of(InstallKey)
    assert (installed.key_id, installed.cipher, installed.peer_id) == (0, cipher, 0)
    (configured,) = peer.of(Configured)
    assert (str(configured.address), configured.mtu) == ("10.88.0.2/24", 1500)
    assert any(str(output.detail.get("tls", "")).startswith(f"TLSv{tls}") for output in peer.of(Report))
    assert peer.pong()


def test_a_server_that_demands_the_cookie_gets_the_client_key_twice(
    start_server: Any, make_profile: Any, make_peer: Any, static_key: str, tmp_path: Path
) -> None:
    for_server, for_client = wrap_lines("tls-crypt-v2-cookie", static_key, tmp_path)
    server = start_server(*for_server, proto="udp")
    peer = make_peer(server, make_profile(*for_client, proto="udp"))
    opcodes: list[int] = []
    peer.lose = lambda packet: bool(opcodes.append(packet[0] >> 3))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert opcodes[:2] == [10, 11]
    assert peer.pong()


def test_without_tls_ekm_the_keys_come_from_the_prf(start_server: Any, make_profile: Any, make_peer: Any) -> None:
    server = start_server()
    peer = make_peer(server, make_profile("setenv GLASSGATE_KEY_DERIVATION prf"))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert "tls-ekm" not in server.log.split("PUSH_REPLY", 1)[1].split("\n", 1)[0]
    assert peer.pong()


def test_without_peer_id_data_packets_are_of_version_1(
    start_server: Any, make_profile: Any, make_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glassgate.reference.openvpn.key_exchange.IV_PROTO", 926 & ~(1 << 1))
    peer = make_peer(start_server(), make_profile())
    peer.start()
    assert peer.run(10, is_up(peer))
    assert peer.of(InstallKey)[0].peer_id is None
    assert peer.pong()


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("wrap", ["plain", "tls-auth", "tls-crypt", "tls-crypt-v2"])
def test_the_server_renegotiates_and_no_ping_is_lost(
    wrap: str, proto: str, start_server: Any, make_profile: Any, make_peer: Any, static_key: str, tmp_path: Path
) -> None:
    for_server, for_client = wrap_lines(wrap, static_key, tmp_path)
    server = start_server(*for_server, "reneg-sec 3 3", proto=proto)
    peer = make_peer(server, make_profile(*for_client, "reneg-sec 0", proto=proto))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    ends = time.monotonic() + 7.5
    while time.monotonic() < ends:
        assert peer.pong(3), (peer.failed, server.log)
        peer.run(0.2)
    assert [output.key_id for output in peer.of(UseKey)][:3] == [0, 1, 2]
    assert "dyn-tls-crypt" in server.log


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_the_client_renegotiates_through_all_eight_key_ids(
    proto: str, start_server: Any, make_profile: Any, make_peer: Any, static_key: str, tmp_path: Path
) -> None:
    for_server, for_client = wrap_lines("tls-crypt", static_key, tmp_path)
    server = start_server(*for_server, "reneg-sec 0", proto=proto)
    peer = make_peer(server, make_profile(*for_client, "reneg-sec 1", proto=proto))
    peer.start()
    ends = time.monotonic() + 14
    assert peer.run(10, is_up(peer)), server.log
    while len(peer.of(UseKey)) < 9 and time.monotonic() < ends:
        assert peer.pong(3), (peer.failed, server.log)
    assert [output.key_id for output in peer.of(UseKey)][:9] == [0, 1, 2, 3, 4, 5, 6, 7, 1]
    assert [output.key_id for output in peer.of(DropKey)][:6] == [0, 1, 2, 3, 4, 5]
    assert len(peer.keys) <= 2


def test_both_sides_renegotiate_at_once(start_server: Any, make_profile: Any, make_peer: Any) -> None:
    server = start_server("reneg-sec 2 2", proto="tcp")
    peer = make_peer(server, make_profile("reneg-sec 2"))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    ends = time.monotonic() + 7
    while time.monotonic() < ends:
        assert peer.pong(3), (peer.failed, server.log)
        peer.run(0.1)
    assert len(peer.of(UseKey)) >= 3


def test_lost_control_packets_are_sent_again_over_udp(
    start_server: Any, make_profile: Any, make_peer: Any, static_key: str, tmp_path: Path
) -> None:
    for_server, for_client = wrap_lines("tls-crypt-v2-cookie", static_key, tmp_path)
    server = start_server(*for_server, proto="udp")
    peer = make_peer(server, make_profile(*for_client, "tls-timeout 1", proto="udp"))
    sent: list[bytes] = []
    fate = random.Random(1)

    def two_of_five_are_lost(packet: bytes) -> bool:
        sent.append(packet)
        return fate.random() < 0.4

    peer.lose = two_of_five_are_lost
    peer.start()
    assert peer.run(30, is_up(peer)), server.log
    assert peer.failed is None
    assert len(set(sent)) == len(sent), "a packet was sent twice with the same replay id"
    assert peer.pong()


PASSWORDS = """#!/bin/sh
[ "$(sed -n 1p "$1")" = alice ] && [ "$(sed -n 2p "$1")" = secret ]
"""


def password_server(start_server: Any, tmp_path: Path, *options: str, proto: str = "tcp") -> Any:
    script = tmp_path / "check.sh"
    script.write_text(PASSWORDS)
    script.chmod(0o755)
    check = f"auth-user-pass-verify {script} via-file"
    return start_server("script-security 2", check, "verify-client-cert none", *options, proto=proto)


def test_user_name_and_password_then_a_token_at_renegotiation(
    start_server: Any, make_profile: Any, make_peer: Any, tmp_path: Path
) -> None:
    server = password_server(start_server, tmp_path, "auth-gen-token 60")
    lines = ["<auth-user-pass>\nalice\nsecret\n</auth-user-pass>", "reneg-sec 2"]
    peer = make_peer(server, make_profile(*lines, identity=None))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert peer.run(8, lambda: len(peer.of(UseKey)) >= 3), (peer.failed, server.log)
    assert peer.pong()
    assert "SESS_ID_AT" not in "".join(str(output) for output in peer.outputs if not hasattr(output, "packet"))


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_wrong_password_ends_it_for_good(
    proto: str, start_server: Any, make_profile: Any, make_peer: Any, tmp_path: Path
) -> None:
    server = password_server(start_server, tmp_path, proto=proto)
    wrong = "<auth-user-pass>\nalice\nwrong\n</auth-user-pass>"
    peer = make_peer(server, make_profile(wrong, proto=proto, identity=None))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert peer.failed is not None
    assert (peer.failed.reason, peer.failed.retry) == ("the server refuses: AUTH_FAILED", False)
    assert "wrong" not in str(peer.of(Failed) + peer.of(Report))


def test_many_pushed_options_arrive_in_several_parts(start_server: Any, make_profile: Any, make_peer: Any) -> None:
    routes = [f'push "route 172.16.{number}.0 255.255.255.0"' for number in range(60)]
    server = start_server(*routes)
    peer = make_peer(server, make_profile())
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert sum("ignored" in output.detail for output in peer.of(Report)) >= 60
    assert server.log.count("SENT CONTROL [client]: 'PUSH_REPLY") >= 2
    assert peer.pong()


@pytest.mark.parametrize("option", ["comp-lzo no", "compress stub-v2", "compress lz4"])
def test_pushed_compression_is_refused_by_name(
    option: str, start_server: Any, make_profile: Any, make_peer: Any
) -> None:
    server = start_server(f'push "{option}"')
    peer = make_peer(server, make_profile())
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert peer.failed is not None
    assert not peer.failed.retry
    assert f"'{option}'" in peer.failed.reason


def test_net30_gives_a_prefix_of_thirty_bits(start_server: Any, make_profile: Any, make_peer: Any) -> None:
    server = start_server("topology net30")
    peer = make_peer(server, make_profile())
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    assert str(peer.of(Configured)[0].address) == "10.88.0.6/30"
    assert peer.pong()


def test_a_pushed_mtu_holds(start_server: Any, make_profile: Any, make_peer: Any) -> None:
    server = start_server("tun-mtu 1400")
    peer = make_peer(server, make_profile("mssfix"))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    (configured,) = peer.of(Configured)
    assert (configured.mtu, configured.mssfix) == (1400, 1386)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_silent_client_pings_and_a_silent_server_is_given_up(
    proto: str, start_server: Any, make_profile: Any, make_peer: Any
) -> None:
    server = start_server("keepalive 1 4", proto=proto)
    peer = make_peer(server, make_profile(proto=proto))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    peer.run(10)
    assert peer.failed is None, "pings keep both sides alive"
    assert not peer.link.closed, server.log
    peer.take = lambda packet: None  # from here on nothing arrives
    assert peer.run(6, lambda: peer.failed is not None)
    assert (str(peer.failed.because), peer.failed.retry) == ("s26-ping-restart", True)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_leaving_is_told_and_acknowledged(proto: str, start_server: Any, make_profile: Any, make_peer: Any) -> None:
    server = start_server(proto=proto)
    peer = make_peer(server, make_profile(proto=proto))
    peer.start()
    assert peer.run(10, is_up(peer)), server.log
    peer.do(peer.client.stop(time.monotonic()))
    assert peer.failed is None, "the acknowledgement is waited for"
    assert peer.run(3, lambda: peer.failed is not None)
    assert str(peer.failed.because) == "s4-leave"
    assert "EXIT" in server.log or "exit" in server.log


def test_a_client_starts_again_after_its_server_did(
    start_server: Any, make_profile: Any, make_peer: Any, static_key: str, tmp_path: Path
) -> None:
    for_server, for_client = wrap_lines("tls-crypt", static_key, tmp_path)
    first = start_server(*for_server)
    peer = make_peer(first, make_profile(*for_client))
    peer.start()
    assert peer.run(10, is_up(peer)), first.log
    first.stop()
    peer.server = start_server(*for_server)
    peer.outputs.clear()
    peer.start()
    assert peer.run(10, is_up(peer)), peer.server.log
    assert [output.key_id for output in peer.of(UseKey)] == [0]
    assert peer.pong()


# ── who the server is ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (['verify-x509-name "another" name'], "its name is 'server', not 'another'"),
        (['verify-x509-name "servers" name-prefix'], "its name-prefix is 'server', not 'servers'"),
        (['verify-x509-name "CN=server"'], "its subject is 'C=DE, O=Glass, Gate, CN=server'"),
        ([f"peer-fingerprint {':'.join(['00'] * 32)}"], "peer-fingerprint"),
    ],
)
def test_a_server_of_another_name_is_refused(
    lines: list[str], reason: str, start_server: Any, make_profile: Any, make_peer: Any
) -> None:
    peer = make_peer(start_server(), make_profile(*lines))
    peer.start()
    assert peer.run(10, is_up(peer))
    assert peer.failed is not None
    assert reason in peer.failed.reason
    assert peer.failed.retry


@pytest.mark.parametrize(
    "line",
    [
        'verify-x509-name "server" name',
        'verify-x509-name "ser" name-prefix',
        'verify-x509-name "C=DE, O=Glass, Gate, CN=server" subject',
    ],
)
def test_a_server_of_the_right_name_is_accepted(
    line: str, start_server: Any, make_profile: Any, make_peer: Any
) -> None:
    peer = make_peer(start_server(), make_profile(line))
    peer.start()
    assert peer.run(10, is_up(peer))
    assert peer.failed is None


def test_an_expired_certificate_is_refused(
    start_server: Any, make_profile: Any, make_peer: Any, authority: Any
) -> None:
    import datetime

    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    server = start_server(identity=authority.issue("server", server=True, ends=yesterday))
    peer = make_peer(server, make_profile())
    peer.start()
    assert peer.run(10, is_up(peer))
    assert peer.failed is not None
    assert peer.failed.reason.endswith("is refused: it has expired")


def test_a_certificate_that_is_no_servers_is_refused(
    start_server: Any, make_profile: Any, make_peer: Any, authority: Any
) -> None:
    server = start_server(identity=authority.issue("server", purpose=False))
    peer = make_peer(server, make_profile())
    peer.start()
    assert peer.run(10, is_up(peer))
    assert peer.failed is not None
    assert "remote-cert-tls server" in peer.failed.reason


def test_a_revoked_server_is_refused_and_another_is_not(
    start_server: Any, make_profile: Any, make_peer: Any, authority: Any, server_identity: Any
) -> None:
    for revoked, reason in ((server_identity, "it is revoked"), (authority.issue("other"), None)):
        peer = make_peer(start_server(), make_profile(f"<crl-verify>\n{authority.revoke(revoked)}</crl-verify>"))
        peer.start()
        assert peer.run(10, is_up(peer))
        assert peer.failed.reason.endswith(reason) if reason else peer.failed is None, peer.failed


def test_a_server_of_another_authority_is_refused(
    start_server: Any, make_profile: Any, make_peer: Any, authority: Any
) -> None:
    stranger = type(authority).make("Another CA")
    server = start_server(identity=stranger.issue("server", server=True))
    peer = make_peer(server, make_profile())
    peer.start()
    assert peer.run(10, is_up(peer))
    assert peer.failed is not None
    assert "('ca')" in peer.failed.reason


def test_a_wrong_static_key_gets_no_answer(
    start_server: Any, make_profile: Any, make_peer: Any, static_key: str, tmp_path: Path
) -> None:
    for_server, _ = wrap_lines("tls-crypt", static_key, tmp_path)
    server = start_server(*for_server, proto="udp")
    wrong = static_key.replace("00010203", "ff010203").replace("80818283", "ff818283")
    peer = make_peer(server, make_profile(f"<tls-crypt>\n{wrong}</tls-crypt>", "hand-window 3", proto="udp"))
    peer.start()
    assert peer.run(6, lambda: peer.failed is not None)
    assert "the server does not answer" in peer.failed.reason
    assert "tls-crypt unwrapping failed" in server.log
