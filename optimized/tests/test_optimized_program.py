"""The command line: the reference's options and words, and bad input in one line."""

from __future__ import annotations

import logging
import runpy
import sys
from datetime import timedelta

import pytest
from click.testing import CliRunner

from glassgate.conformance.lab.pki import Authority
from glassgate.optimized import __main__ as program
from glassgate.optimized.__main__ import main
from glassgate.reference import __main__ as other
from glassgate.reference.openvpn.profile import Credentials


@pytest.fixture(scope="module")
def authority():
    return Authority("Glassgate tests")


@pytest.fixture(scope="module")
def identity(authority):
    return authority.client("client")


@pytest.fixture
def profile_text(authority, identity):
    def text(*lines, who=identity):
        blocks = {"ca": authority.certificate, "cert": who.certificate, "key": who.key}
        parts = ["client", "dev tun", "remote-cert-tls server", *lines]
        return "\n".join([*parts, *(f"<{name}>\n{pem}</{name}>" for name, pem in blocks.items())]) + "\n"

    return text


@pytest.fixture
def run(profile_text, tmp_path):
    """Run the program with a profile of these lines, and tell its exit status and its output."""

    def invoke(lines, *arguments):
        (tmp_path / "a.ovpn").write_text(profile_text(*lines))
        done = CliRunner().invoke(main, [str(tmp_path / "a.ovpn"), "--internal", "lo", *arguments])
        return done.exit_code, done.output.replace(f"{tmp_path}/", "")

    return invoke


SERVER = ["remote 127.0.0.1 1 tcp"]


def described(command):
    return {one.name: (one.opts, one.default, one.metavar, getattr(one, "help", "")) for one in command.params}


def test_the_options_are_the_reference_s_and_one_more():
    ours, theirs = described(main), described(other.main)
    assert ours.pop("ring")[0] == ["--ring"]
    assert ours == theirs
    assert main.help == other.main.help.replace("reference", "optimized")


@pytest.mark.parametrize(
    ("lines", "arguments", "expected"),
    [
        ([*SERVER, "fragment 1300"], [], "a.ovpn:5: fragment '1300': OpenVPN's own fragmentation"),
        ([*SERVER, "tls-crypt ta.key"], [], "a.ovpn:5: tls-crypt 'ta.key': No such file or directory"),
        (SERVER, ["--internal-mac", "xyz"], "internal.mac: 'xyz' is not an Ethernet address"),
        (SERVER, ["--internal-address", "10.0.0.1"], "internal.address: '10.0.0.1' is not an IPv4"),
        (SERVER, ["--source", "10.0.0.1/8"], "internal.sources[0]: '10.0.0.1/8' is not an IPv4"),
        (SERVER, ["--internal", "none9"], "--internal none9: No such device"),
        (SERVER, ["--external", "none9"], "--external none9: No such device"),
        (SERVER, ["--external", "../lo"], "--external ../lo: No such device"),
        (SERVER, ["--credentials", "none"], "none: No such file or directory"),
        (SERVER, ["--zzz"], "No such option '--zzz'"),
        (SERVER, ["-q", "-v"], "--verbose and --quiet: only one of them can be had"),
        (SERVER, ["--status", "/none/x"], "--status /none/x: its folder does not exist"),
        ([*SERVER, "auth-user-pass"], [], "a.ovpn:5: auth-user-pass: names no file"),
        (["remote no.such.name.invalid 1 tcp"], ["--external", "lo"], "a.ovpn:4: remote 'no.such.name.invalid' '1' "),
        (["proto sctp"], [], "a.ovpn:4: proto 'sctp'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_status_2_in_the_reference_s_words(
    run, tmp_path, monkeypatch, lines, arguments, expected
):
    status, said = run(lines, *arguments)
    assert status == 2
    assert said.startswith(f"glassgate: {expected}")
    assert said.count("\n") == 1
    theirs = CliRunner().invoke(other.main, [str(tmp_path / "a.ovpn"), "--internal", "lo", *arguments])
    assert theirs.output.replace(f"{tmp_path}/", "") == said


@pytest.mark.parametrize("content", [None, b"\0\xff\xfe\x01" * 100, b"\x7fELF"])
def test_a_file_that_is_not_there_or_is_no_configuration(content, tmp_path):
    path = tmp_path / "a.ovpn"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(main, [str(path), "--internal", "lo"])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert str(path) in done.output
    assert done.output.rstrip("\n").isprintable()


@pytest.fixture
def started(monkeypatch):
    """What a driver would have been started with; no interface is opened."""
    seen = {}

    class Recorded:
        def __init__(self, gateway, frames, outside, status):
            seen.update(gateway=gateway, frames=frames, outside=outside, status=status)

        def run(self):
            return 0

    monkeypatch.setattr(program, "Driver", Recorded)

    def opened(interface, mac, mtu, **more):
        return interface, mac, mtu, more

    monkeypatch.setattr(program, "PacketSocket", opened)
    return seen


def test_good_input_becomes_a_gateway(run, started, tmp_path, caplog):
    caplog.set_level(logging.INFO, "glassgate.optimized")
    (tmp_path / "who").write_text("alice\nhunter2\n")
    lines = [*SERVER, "auth-user-pass", "up script.sh"]
    given = "--credentials", str(tmp_path / "who"), "--status", str(tmp_path / "s.json"), "--no-ring"
    assert run(lines, *given) == (0, "")
    assert started["frames"] == ("lo", bytes.fromhex("00f00df00d00"), 65535, {"has_ring": False, "is_end": False})
    assert started["outside"] is None
    assert started["status"] == tmp_path / "s.json"
    gateway = started["gateway"]
    assert gateway.external is None
    assert gateway.tunnel.profile.credentials == Credentials("alice", "hunter2")
    assert not gateway.forwarding.notes_ordinary
    assert "a.ovpn:6: up: ignored: scripts are not run" in caplog.text
    assert "hunter2" not in caplog.text


def test_verbose_tells_of_every_packet(run, started):
    assert run(SERVER, "-v") == (0, "")
    assert started["gateway"].forwarding.notes_ordinary


def test_the_own_stack_has_an_interface_and_names_are_looked_up(run, started):
    assert run(["remote localhost 1 tcp"], "--external", "lo", "--external-mac", "02:00:00:00:00:09") == (0, "")
    assert started["outside"] == ("lo", bytes.fromhex("020000000009"), 65535, {"has_ring": True, "is_end": True})
    assert started["gateway"].external is not None
    assert started["gateway"].tunnel.current_remote.host == "127.0.0.1"


def test_a_certificate_that_has_expired_is_warned_of(profile_text, authority, started, tmp_path, caplog):
    old = authority.client("client", lifetime=timedelta(hours=-1))
    (tmp_path / "a.ovpn").write_text(profile_text(*SERVER, who=old))
    assert CliRunner().invoke(main, [str(tmp_path / "a.ovpn"), "--internal", "lo"]).exit_code == 0
    assert "this client's certificate has expired" in caplog.text


def test_a_person_is_asked_where_there_is_one(profile_text, tmp_path, monkeypatch):
    (tmp_path / "a.ovpn").write_text(profile_text(*SERVER, "auth-user-pass"))
    answers = iter(["alice", "hunter2"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(program.click, "prompt", lambda text, hide_input=False: next(answers))
    profile, text = program.read_profile(tmp_path / "a.ovpn", None, str)
    assert profile.credentials == Credentials("alice", "hunter2")
    assert "<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>" in text


def test_credentials_are_two_lines(run, tmp_path):
    (tmp_path / "who").write_text("alice\n")
    said = "glassgate: who: needs two lines: user name and password\n"
    assert run(SERVER, "--credentials", str(tmp_path / "who")) == (2, said)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(1, "Operation not permitted"), "root is needed to read Ethernet frames (or CAP_NET_RAW)"),
        (OSError(100, "Network is down"), "Network is down"),
    ],
)
def test_an_interface_that_cannot_be_opened(run, monkeypatch, error, expected):
    def refuse(*arguments, **more):
        raise error

    monkeypatch.setattr(program, "PacketSocket", refuse)
    assert run(SERVER) == (2, f"glassgate: --internal lo: {expected}\n")


def test_the_package_is_a_program(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["glassgate.optimized", "--help"])
    monkeypatch.delitem(sys.modules, "glassgate.optimized.__main__")  # it is imported by this file already
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("glassgate.optimized", run_name="__main__")
    assert ended.value.code == 0
    assert "--internal IFACE" in capsys.readouterr().out
