"""Configuration files: words, directives, what is obeyed, what is ignored, what is refused, and how that is said."""

from __future__ import annotations

import base64
import contextlib
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import Cipher
from glassgate.reference.openvpn import directives
from glassgate.reference.openvpn.key_exchange import Credentials
from glassgate.reference.openvpn.profile import (
    OBEYED,
    Mssfix,
    Profile,
    ProfileError,
    Remote,
    asks_for_credentials,
    inlined,
)
from glassgate.reference.openvpn.tls import NameCheck
from glassgate.reference.openvpn.words import WordsError, words
from glassgate.reference.openvpn.wrapping import WrapPlain, WrapTlsAuth, WrapTlsCrypt, WrapTlsCryptV2

# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("remote example.net 1194", ["remote", "example.net", "1194"]),
        ("  \t dev   tun ", ["dev", "tun"]),
        ("# a comment", []),
        ("; another", []),
        ("", []),
        ("dev tun # why", ["dev", "tun"]),
        ("dev tun#no comment", ["dev", "tun#no", "comment"]),
        ('ca "my keys/ca.crt"', ["ca", "my keys/ca.crt"]),
        ("ca 'my keys/ca.crt'", ["ca", "my keys/ca.crt"]),
        (r'cd "C:\\keys\\a b"', ["cd", "C:\\keys\\a b"]),
        (r"cd C:\\my\ keys", ["cd", "C:\\my keys"]),
        (r"setenv X 'C:\keys'", ["setenv", "X", "C:\\keys"]),
        (r'setenv X "say \"so\""', ["setenv", "X", 'say "so"']),
        ('push ""', ["push", ""]),
        ("it's it", ["it's", "it"]),
    ],
)
def test_a_line_is_cut_as_the_stock_program_cuts_it(line: str, expected: list[str]) -> None:
    assert words(line) == expected


@pytest.mark.parametrize("line", ['ca "open', "ca 'open", r"ca C:\keys", "ca end\\"])
def test_odd_quotes_and_backslashes_are_refused(line: str) -> None:
    with pytest.raises(WordsError):
        words(line)


@given(st.text(max_size=80))
def test_any_line_is_cut_or_refused(line: str) -> None:
    with contextlib.suppress(WordsError):
        assert sum(map(len, words(line))) <= len(line)


# ── directives ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def parse(authority: Any, client_identity: Any) -> Any:
    def parse(*lines: str, name: str = "a.ovpn", **others: Any) -> Profile:
        identity = [
            f"<ca>\n{authority.identity.pem}</ca>",
            f"<cert>\n{client_identity.pem}</cert>",
            f"<key>\n{client_identity.key_pem}</key>",
        ]
        text = "\n".join(["client", "dev tun", *lines, "remote 1.2.3.4", "remote-cert-tls server", *identity])
        return Profile.parse(text, name, **others)

    return parse


def test_every_directive_has_one_treatment() -> None:
    tables = [OBEYED.keys(), directives.IGNORED.keys(), directives.REFUSED.keys()]
    assert len(set().union(*tables)) == sum(map(len, tables))


def test_a_minimal_file(parse: Any) -> None:
    profile = parse()
    assert profile.remotes == (Remote("1.2.3.4", 1194, "udp"),)
    assert profile.wrap == WrapPlain()
    assert profile.tls.remote_cert_tls
    assert profile.reports == ()
    assert profile.data_ciphers == (Cipher.AES_256_GCM, Cipher.AES_128_GCM, Cipher.CHACHA20_POLY1305)


def test_remotes_keep_their_order_and_take_what_they_do_not_say(parse: Any) -> None:
    block = "<connection>\nremote d.example 4\nproto tcp\n</connection>"
    profile = parse("remote a.example", "remote b.example 2", block, "remote c.example 3 udp", "proto tcp", "port 9")
    assert profile.remotes == (
        Remote("a.example", 9, "tcp"),
        Remote("b.example", 2, "tcp"),
        Remote("d.example", 4, "tcp"),
        Remote("c.example", 3, "udp"),
        Remote("1.2.3.4", 9, "tcp"),
    )


BROKEN_CLIENT_KEY = (
    "-----BEGIN OpenVPN tls-crypt-v2 client key-----", "abc", "-----END OpenVPN tls-crypt-v2 client key-----"
)  # fmt: skip
BROKEN_LIST = ("-----BEGIN X509 CRL-----", "abcd", "-----END X509 CRL-----")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["frobnicate 1"], "a.ovpn:3: frobnicate '1': unknown directive"),
        (["proto sctp"], "a.ovpn:3: proto 'sctp': 'sctp' is not one of udp, udp4, tcp, tcp4, tcp-client, tcp4-client"),
        (["proto udp6"], "a.ovpn:3: proto 'udp6': IPv6 transport is not supported"),
        (["", "remote x 70000"], "a.ovpn:4: remote 'x' '70000': '70000' is not a whole number from 1 to 65535"),
        (["proto tcp-server"], "a.ovpn:3: proto 'tcp-server': this is a client"),
        (["mode server"], "a.ovpn:3: mode 'server': this is a client"),
        (["remote"], "a.ovpn:3: remote: a value is missing"),
        (["dev tap0"], "a.ovpn:3: dev 'tap0': only tun is supported"),
        (["dev-type tap"], "a.ovpn:3: dev-type 'tap': only tun is supported"),
        (["ifconfig 10.8.0.2 peer"], "a.ovpn:3: ifconfig '10.8.0.2' 'peer': 'peer' is not an IPv4 address"),
        (
            ["crl-verify revoked dir"],
            "a.ovpn:3: crl-verify 'revoked' 'dir': a directory of revocations is not supported",
        ),
        (["topology ring"], "a.ovpn:3: topology 'ring': 'ring' is not one of subnet, net30, p2p"),
        (["peer-fingerprint ab:cd"], "a.ovpn:3: peer-fingerprint: 'ab:cd' is not a SHA-256 in hexadecimal"),
        (["peer-fingerprint xyz"], "a.ovpn:3: peer-fingerprint: 'xyz' is not a SHA-256 in hexadecimal"),
        (["hand-window soon"], "a.ovpn:3: hand-window 'soon': 'soon' is not a whole number from 0 to 2147483647"),
        (["data-ciphers BF-CBC"], "a.ovpn:3: data-ciphers 'BF-CBC': none of these is supported"),
        (["auth WHIRLPOOL"], "a.ovpn:3: auth 'WHIRLPOOL': 'WHIRLPOOL' is not one of SHA1"),
        (["key-direction 2"], "a.ovpn:3: key-direction '2': '2' is not one of 0, 1"),
        (["remote-cert-tls client"], "a.ovpn:3: remote-cert-tls 'client': the peer of a client is a server"),
        (["comp-lzo no"], "a.ovpn:3: comp-lzo 'no': compression is not supported"),
        (["compress"], "a.ovpn:3: compress: compression is not supported"),
        (["secret static.key"], "a.ovpn:3: secret 'static.key': static-key mode is not supported"),
        (["fragment 1300"], "a.ovpn:3: fragment '1300': OpenVPN's own fragmentation"),
        (["http-proxy proxy 3128"], "a.ovpn:3: http-proxy 'proxy' '3128': proxies are not supported"),
        (["tls-verify check"], "a.ovpn:3: tls-verify 'check': scripts are not run, and ignoring it would weaken"),
        (["ns-cert-type server"], "a.ovpn:3: ns-cert-type 'server': OpenVPN has given it up"),
        (["server 10.8.0.0 255.255.255.0"], "a.ovpn:3: server '10.8.0.0' '255.255.255.0': this is a client"),
        (['ca "open'], 'a.ovpn:3: ca "open: no closing "'),
        (["<tls-crypt>", "abc"], "a.ovpn:3: <tls-crypt>: no closing </tls-crypt>"),
        (["<tls-crypt>", "abc", "</tls-crypt>"], "a.ovpn:3: tls-crypt: holds no OpenVPN static key of 2048 bits"),
        (["<tls-crypt-v2>", "abc", "</tls-crypt-v2>"], "a.ovpn:3: tls-crypt-v2: holds no tls-crypt-v2 client key"),
        (
            ["<tls-crypt-v2>", *BROKEN_CLIENT_KEY, "</tls-crypt-v2>"],
            "a.ovpn:3: tls-crypt-v2: holds no tls-crypt-v2 client key",
        ),
        (["<extra-certs>", "abc", "</extra-certs>"], "a.ovpn:3: extra-certs: holds no readable PEM certificate"),
        (["<crl-verify>", *BROKEN_LIST, "</crl-verify>"], "a.ovpn:3: crl-verify: holds no readable PEM certificate re"),
        (["auth none", "<tls-auth>", "abc", "</tls-auth>"], "a.ovpn:4: tls-auth: needs a digest, and 'auth' is 'none'"),
        (["<pkcs12>", "abc", "</pkcs12>"], "a.ovpn:3: pkcs12: cannot be read: no PKCS #12, or not the password"),
        (
            ["<auth-user-pass>", "alice", "x" * 1496, "</auth-user-pass>"],
            "a.ovpn:3: auth-user-pass: user name and password are longer than 1500 octets together",
        ),
        (["auth-user-pass"], "a.ovpn:3: auth-user-pass: names no file, and there is nobody to ask"),
        (["tls-auth ta.key 1"], "a.ovpn:3: tls-auth 'ta.key' '1': files cannot be opened here"),
        (["<connection>", "proto tcp", "</connection>"], "a.ovpn:3: connection: needs exactly one 'remote', has 0"),
        (["<connection>", "remote x", "ping 3", "</connection>"], "a.ovpn:5: ping '3': not supported in <connection>"),
        (["setenv opt fragment 1"], "a.ovpn:3: fragment '1': OpenVPN's own fragmentation"),
        (["dev " + "x" * 256], "a.ovpn:3: dev: a value is longer than 255 characters"),
        (["x " * 17], "a.ovpn:3: x" + " 'x'" * 16 + ": more than 15 values"),
    ],
)
def test_an_error_names_file_line_and_value(lines: list[str], expected: str, parse: Any) -> None:
    with pytest.raises(ProfileError) as error:
        parse(*lines)
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        ("client", "a.ovpn: client: is missing"),
        ("remote 1", "a.ovpn: remote: is missing"),
        ("dev", "a.ovpn: dev: is missing"),
        ("<ca>", "a.ovpn: ca: is missing"),
        ("<key>", "a.ovpn: key: is missing"),
        ("<cert>", "a.ovpn: cert: is missing"),
    ],
)
def test_what_is_missing_is_named(removed: str, expected: str, authority: Any, client_identity: Any) -> None:
    parts = [
        "client",
        "dev tun",
        "remote 1.2.3.4",
        f"<ca>\n{authority.identity.pem}</ca>",
        f"<cert>\n{client_identity.pem}</cert>",
        f"<key>\n{client_identity.key_pem}</key>",
    ]
    with pytest.raises(ProfileError) as error:
        Profile.parse("\n".join(part for part in parts if not part.startswith(removed)), "a.ovpn")
    assert str(error.value).startswith(expected)


def test_who_the_client_is_must_be_told_somehow(authority: Any) -> None:
    text = f"client\ndev tun\nremote 1.2.3.4\n<ca>\n{authority.identity.pem}</ca>\n"
    with pytest.raises(ProfileError, match=r"a\.ovpn: cert: is missing, and so is 'auth-user-pass'"):
        Profile.parse(text, "a.ovpn")
    assert Profile.parse(f"{text}setenv CLIENT_CERT 0\n", "a.ovpn").tls.certificate is None


def test_the_environment_is_for_scripts_except_what_the_server_is_told(parse: Any) -> None:
    profile = parse("push-peer-info", "setenv UV_ROOM 7", "setenv IV_GUI_VER glass", "setenv COLOUR blue")
    assert profile.peer_info == (("UV_ROOM", "7"), ("IV_GUI_VER", "glass"))
    assert [report.split(": ")[-1] for report in profile.reports] == ["scripts are not run"]


def test_what_says_only_what_is_so_anyway(parse: Any) -> None:
    profile = parse(
        "mode p2p", "dev-type tun", "topology net30", "ifconfig 10.8.0.2 10.8.0.1", "auth none", "connect-retry 7"
    )
    assert (profile.ifconfig, profile.connect_retry) == (("10.8.0.2", "10.8.0.1"), 7.0)
    assert profile.connect_retry_longest == parse().connect_retry_longest


def test_what_is_harmless_is_reported_by_line(parse: Any) -> None:
    profile = parse("nobind", "up /etc/openvpn/update-resolv-conf", "redirect-gateway def1")
    assert profile.reports == (
        "a.ovpn:3: nobind: ignored: the transport leaves from an ephemeral port",
        "a.ovpn:4: up: ignored: scripts are not run",
        "a.ovpn:5: redirect-gateway: ignored: all that is not internal goes through the tunnel anyway",
    )


def test_a_file_may_say_what_may_be_ignored(parse: Any) -> None:
    profile = parse("ignore-unknown-option frobnicate", "frobnicate 1", "setenv opt twiddle 2")
    assert [report.split(": ")[1] for report in profile.reports] == ["frobnicate", "twiddle"]


def test_an_unverified_server_is_warned_of(authority: Any, client_identity: Any) -> None:
    blocks = {"ca": authority.identity.pem, "cert": client_identity.pem, "key": client_identity.key_pem}
    text = "client\ndev tun\nremote 1.2.3.4\n" + "".join(f"<{name}>\n{pem}</{name}>\n" for name, pem in blocks.items())
    assert "any certificate of 'ca' is taken" in Profile.parse(text).reports[0]


def test_windows_line_ends_a_byte_order_mark_and_dashes(parse: Any) -> None:
    assert parse("--ping 5\r", "\tping-restart 20\r").ping == 5.0
    with pytest.raises(ProfileError, match="client: is missing"):
        Profile.parse("\ufeffdev tun\r\n")


def test_timers_and_sizes(parse: Any) -> None:
    profile = parse(
        "keepalive 10 60", "reneg-sec 600", "hand-window 30", "tran-window 900", "tls-timeout 3", "inactive 900 5000",
        "tun-mtu 1400", "mssfix 1300", "explicit-exit-notify 2", "connect-retry 2 30", "connect-timeout 9",
        "session-timeout 7200", "reneg-bytes 1000", "reneg-pkts 50", "max-packet-size 1200", "connect-retry-max 4",
    )  # fmt: skip
    assert (profile.ping, profile.ping_restart) == (10.0, 60.0)
    assert (profile.renegotiate_seconds, profile.hand_window, profile.tran_window) == (600.0, 30.0, 900.0)
    assert (profile.inactive, profile.inactive_octets, profile.session_timeout) == (900.0, 5000, 7200.0)
    assert (profile.mtu, profile.mssfix) == (1400, Mssfix(1300, "tunnel"))
    assert (profile.connect_retry, profile.connect_retry_longest, profile.connect_timeout) == (2.0, 30.0, 9.0)
    assert (profile.renegotiate_octets, profile.renegotiate_packets, profile.attempts) == (1000, 50, 4)
    assert (profile.explicit_exit_notify, profile.tls_timeout, profile.largest_control_packet) == (2, 3.0, 1200)


def test_of_the_two_ping_timers_the_later_holds(parse: Any) -> None:
    # options.c: ping-exit and ping-restart set one timeout and what is done at it
    profile = parse("ping-restart 60", "ping-exit 30")
    assert (profile.ping_restart, profile.ping_exit) == (0.0, 30.0)
    profile = parse("ping-exit 30", "ping-restart 60")
    assert (profile.ping_restart, profile.ping_exit) == (60.0, 0.0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mssfix", Mssfix(1492, "mtu")),
        ("mssfix 0", None),
        ("mssfix 1400 mtu", Mssfix(1400, "mtu")),
        ("mssfix 1400 fixed", Mssfix(1400, "fixed")),
    ],
)
def test_mssfix_and_what_it_counts(line: str, expected: Mssfix | None, parse: Any) -> None:
    assert parse(line).mssfix == expected


def test_ciphers_are_offered_as_far_as_they_are_supported(parse: Any) -> None:
    profile = parse("data-ciphers AES-256-CBC:chacha20-poly1305:?AES-192-GCM:AES-128-GCM", "cipher AES-256-CBC")
    assert profile.data_ciphers == (Cipher.CHACHA20_POLY1305, Cipher.AES_128_GCM)
    assert profile.fallback_cipher is None
    assert len(profile.reports) == 3


def test_a_cipher_for_a_server_that_names_none(parse: Any) -> None:
    assert parse("data-ciphers-fallback AES-128-GCM").fallback_cipher is Cipher.AES_128_GCM
    profile = parse("data-ciphers-fallback BF-CBC")
    assert profile.fallback_cipher is None
    assert "not supported: the server must agree to one of 'data-ciphers'" in profile.reports[0]


def test_names_and_versions_of_tls(parse: Any) -> None:
    tls = parse(
        "verify-x509-name server name", "tls-version-min 1.2", "tls-version-max 1.3", "tls-cert-profile preferred",
        "tls-cipher TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384:TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256",
        "tls-ciphersuites TLS_AES_256_GCM_SHA384",
    ).tls  # fmt: skip
    assert (tls.name, tls.name_check) == ("server", NameCheck.NAME)
    assert (tls.least_version, tls.largest_version, tls.security_level) == ("1.2", "1.3", 2)
    assert tls.cipher_list == "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305"
    assert tls.ciphersuites == "TLS_AES_256_GCM_SHA384"


def test_a_cipher_that_iana_does_not_name_is_left_to_openssl(parse: Any) -> None:
    # ssl_openssl.c convert_tls_list_to_openssl: what it cannot translate is passed on as it is
    assert parse("tls-cipher ECDHE-RSA-AES256-GCM-SHA384:HIGH").tls.cipher_list == "ECDHE-RSA-AES256-GCM-SHA384:HIGH"


def test_fingerprints_stand_for_an_authority(client_identity: Any) -> None:
    text = f"client\ndev tun\nremote a\n<cert>\n{client_identity.pem}</cert>\n<key>\n{client_identity.key_pem}</key>\n"
    profile = Profile.parse(text + f"<peer-fingerprint>\n{':'.join(['ab'] * 32)}\n{'cd' * 32}\n</peer-fingerprint>\n")
    assert profile.tls.fingerprints == (b"\xab" * 32, b"\xcd" * 32)


def test_pull_filters_decide_in_order(parse: Any) -> None:
    profile = parse('pull-filter accept "route 10."', "pull-filter ignore route", 'pull-filter reject "echo "')
    assert not profile.ignores("route 10.0.0.0")
    assert profile.ignores("route 192.168.0.0")
    assert not profile.ignores("topology subnet")
    with pytest.raises(ProfileError, match="pull-filter reject"):
        profile.ignores("echo hello")


# ── keys and files ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_static_keys(parse: Any, static_key: str) -> None:
    wrap = parse("auth SHA512", "key-direction 1", f"<tls-auth>\n# a comment\n{static_key}</tls-auth>").wrap
    assert isinstance(wrap, WrapTlsAuth)
    assert (wrap.key.octets, wrap.digest, wrap.direction) == (bytes(range(256)), "sha512", 1)
    wrap = parse(f"<tls-crypt>\n{static_key}</tls-crypt>").wrap
    assert isinstance(wrap, WrapTlsCrypt)
    with pytest.raises(ProfileError, match="cannot be together with 'tls-auth'"):
        parse(f"<tls-crypt>\n{static_key}</tls-crypt>", f"<tls-auth>\n{static_key}</tls-auth>")


def test_a_client_key_of_tls_crypt_v2(parse: Any) -> None:
    wrapped = bytes(288) + (290).to_bytes(2, "big")
    label = "OpenVPN tls-crypt-v2 client key"
    pem = f"-----BEGIN {label}-----\n{base64.encodebytes(bytes(range(256)) + wrapped).decode()}-----END {label}-----\n"
    wrap = parse(f"<tls-crypt-v2>\n{pem}</tls-crypt-v2>").wrap
    assert wrap == WrapTlsCryptV2(wrap.key, wrapped)
    assert wrap.key.octets == bytes(range(256))


def test_paths_are_relative_to_the_file(tmp_path: Path, authority: Any, client_identity: Any, static_key: str) -> None:
    (tmp_path / "keys").mkdir()
    files = {"ca.crt": authority.identity.pem, "me.crt": client_identity.pem, "me.key": client_identity.key_pem}
    for name, text in (files | {"my ta.key": static_key, "pass": "alice\nsecret\n"}).items():
        (tmp_path / "keys" / name).write_text(text)
    text = (
        "client\ndev tun\nremote a 1\nremote-cert-tls server\nca keys/ca.crt\ncert keys/me.crt\nkey keys/me.key\n"
        'tls-auth "keys/my ta.key" 1\nauth-user-pass keys/pass\nverify-x509-name "C=DE, CN=a b"\n'
    )

    def read(path: str) -> bytes:
        return (tmp_path / path).read_bytes()

    profile = Profile.parse(text, "a.ovpn", read)
    assert profile.credentials == Credentials("alice", "secret")
    assert profile.tls.certificate == client_identity.certificate
    again = Profile.parse(inlined(text, "a.ovpn", read), "a.ovpn")
    assert (again.wrap, again.credentials, again.remotes) == (profile.wrap, profile.credentials, profile.remotes)
    assert (again.tls.authorities, again.tls.certificate) == (profile.tls.authorities, profile.tls.certificate)
    assert (again.tls.name, again.key_direction) == (profile.tls.name, profile.key_direction)
    with pytest.raises(ProfileError, match=r"a\.ovpn:5: ca 'keys/none': No such file"):
        Profile.parse(text.replace("keys/ca.crt", "keys/none"), "a.ovpn", read)


def test_files_may_include_others(tmp_path: Path, parse: Any) -> None:
    (tmp_path / "more").write_text("ping 7\n\nfrobnicate\n")
    (tmp_path / "loop").write_text("config loop\n")

    def read(path: str) -> bytes:
        return (tmp_path / path).read_bytes()

    with pytest.raises(ProfileError, match="more:3: frobnicate: unknown"):
        parse("config more", read=read)
    with pytest.raises(ProfileError, match="include each other"):
        parse("config loop", read=read)


def test_credentials_may_come_from_a_person(parse: Any) -> None:
    assert parse("auth-user-pass", credentials=Credentials("a", "b")).credentials == Credentials("a", "b")
    assert asks_for_credentials("auth-user-pass\n", "a", lambda path: b"")
    assert not asks_for_credentials("auth-user-pass file\n", "a", lambda path: b"")
    assert "<auth-user-pass>\na\nb\n" in inlined("auth-user-pass", "a", lambda path: b"", Credentials("a", "b"))


def test_a_key_that_belongs_to_another_certificate(authority: Any, client_identity: Any, parse: Any) -> None:
    other = authority.issue("other")
    text = f"client\ndev tun\nremote a\n<ca>\n{authority.identity.pem}</ca>\n<cert>\n{client_identity.pem}</cert>\n"
    with pytest.raises(ProfileError, match="is not the key of the certificate"):
        Profile.parse(text + f"<key>\n{other.key_pem}</key>\n")


def test_encrypted_keys_and_bundles(tmp_path: Path, authority: Any, client_identity: Any) -> None:
    encryption = serialization.BestAvailableEncryption(b"open sesame")
    key = client_identity.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ).decode()
    base = f"client\ndev tun\nremote a\nremote-cert-tls server\n<ca>\n{authority.identity.pem}</ca>\n"
    own = f"<cert>\n{client_identity.pem}</cert>\n<key>\n{key}</key>\n"
    with pytest.raises(ProfileError, match="askpass"):
        Profile.parse(base + own)
    with pytest.raises(ProfileError, match="askpass: needs a file: there is nobody to ask"):
        Profile.parse(base + own + "askpass\n")
    with pytest.raises(ProfileError, match="cannot be decrypted"):
        Profile.parse(base + own + "<askpass>\nwrong\n</askpass>\n")
    assert Profile.parse(base + own + "<askpass>\nopen sesame\n</askpass>\n").tls.private_key is not None
    bundle = pkcs12.serialize_key_and_certificates(
        b"me", client_identity.key, client_identity.certificate, [authority.identity.certificate], encryption
    )
    (tmp_path / "me.p12").write_bytes(bundle)
    text = "client\ndev tun\nremote a\nremote-cert-tls server\npkcs12 me.p12\n<askpass>\nopen sesame\n</askpass>\n"

    def read(path: str) -> bytes:
        return (tmp_path / path).read_bytes()

    for profile in (Profile.parse(text, "a", read), Profile.parse(inlined(text, "a", read), "a")):
        assert profile.tls.certificate == client_identity.certificate
        assert profile.tls.authorities == (authority.identity.certificate,)


def test_a_key_that_cannot_sign(authority: Any, client_identity: Any) -> None:
    key = x25519.X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    text = f"client\ndev tun\nremote a\n<ca>\n{authority.identity.pem}</ca>\n<cert>\n{client_identity.pem}</cert>\n"
    with pytest.raises(ProfileError, match="key: is a key of a kind that TLS does not sign with"):
        Profile.parse(f"{text}<key>\n{key.decode()}</key>\n")


def test_a_bundle_without_authority_and_one_without_certificate(authority: Any, client_identity: Any) -> None:
    plain = serialization.NoEncryption()
    text = f"client\ndev tun\nremote a\nremote-cert-tls server\n<ca>\n{authority.identity.pem}</ca>\n"

    def with_bundle(certificate: x509.Certificate | None) -> Profile:
        bundle = pkcs12.serialize_key_and_certificates(b"me", client_identity.key, certificate, None, plain)
        return Profile.parse(f"{text}<pkcs12>\n{base64.encodebytes(bundle).decode()}</pkcs12>\n")

    assert with_bundle(client_identity.certificate).tls.authorities == (authority.identity.certificate,)
    with pytest.raises(ProfileError, match="pkcs12: holds no certificate with its key"):
        with_bundle(None)


def no_files(name: str) -> bytes:
    raise FileNotFoundError(name)


def test_a_remote_of_its_own_kind_is_kept_when_all_is_put_into_one_text(parse: Any, authority: Any) -> None:
    block = "<connection>\nremote b.example 4\nproto tcp\n</connection>"
    text = inlined(
        f"client\nremote a.example 3\n{block}\n", "a.ovpn", no_files, resolve=lambda host: host.replace("example", "x")
    )
    assert text.splitlines()[2:] == ["<connection>", 'remote "b.x" "4"', 'proto "tcp"', "</connection>"]


def test_revocation_lists(authority: Any, parse: Any) -> None:
    profile = parse(f"<crl-verify>\n{authority.revoke()}{authority.revoke()}</crl-verify>")
    assert len(profile.tls.revocations) == 2
    assert profile.tls.revocations[0].next_update_utc > datetime.datetime.now(datetime.UTC)
    with pytest.raises(ProfileError, match=r"a\.ovpn:3: crl-verify: holds no readable"):
        parse("<crl-verify>\nnothing\n</crl-verify>")


def test_nothing_secret_is_shown(parse: Any, static_key: str) -> None:
    profile = parse(f"<tls-crypt>\n{static_key}</tls-crypt>", "<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>")
    shown = repr(profile)
    assert "hunter2" not in shown
    assert "PRIVATE" not in shown
    assert repr(bytes(range(8)))[2:-1] not in shown
    with pytest.raises(ProfileError) as error:
        parse("<auth-user-pass>\nonly-this\n</auth-user-pass>")
    assert "only-this" not in str(error.value)


@given(st.lists(st.tuples(st.sampled_from(sorted(OBEYED)), st.text(max_size=12)), max_size=6))
def test_any_file_is_read_or_refused_in_one_line(lines: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{name} {value}" for name, value in lines)
    with pytest.raises(ProfileError):
        Profile.parse(text, "a.ovpn")


@pytest.mark.parametrize(
    ("days", "told"),
    [(0, []), (400, ["has expired on"]), (-400, ["is not valid before"])],
)
def test_a_certificate_that_counts_for_nothing_is_warned_of(days: int, told: list[str], parse: Any) -> None:
    warnings = parse().warnings(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days))
    assert len(warnings) == len(told)
    for warning, words_ in zip(warnings, told, strict=True):
        assert f"ovpn: cert: this client's certificate {words_}" in warning


def test_the_exporter_may_be_kept_quiet_about(parse: Any) -> None:
    assert parse().exports_keys
    assert parse("setenv GLASSGATE_KEY_DERIVATION tls-ekm").exports_keys
    assert not parse("setenv GLASSGATE_KEY_DERIVATION prf").exports_keys
    with pytest.raises(ProfileError, match="'hkdf'"):
        parse("setenv GLASSGATE_KEY_DERIVATION hkdf")
