"""``glassgate lab`` for real: stock openvpn, real hosts, every gateway; and that nothing of it remains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glassgate.conformance.lab import checks, network, programs, state
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.tunnel import GatewayKind, TunnelOptions

pytestmark = pytest.mark.root

LAB = [sys.executable, "-c", "import sys; from glassgate.conformance.cli import main; main(sys.argv[1:])", "lab"]
QUICK = ["--size", "1", "--seconds", "1"]
RUN_SECONDS = 240
DISSECTED_PACKETS = 30_000
"""Enough for every check but the last seconds of the throughput, which are all alike."""


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LAB, *arguments], capture_output=True, text=True, timeout=RUN_SECONDS, check=False)


@pytest.fixture
def directory(needs_root_lab: Path) -> Iterator[Path]:
    """The runtime directory of this test's labs, all of which are down afterwards."""
    yield needs_root_lab
    for left in list(state.labs()):
        Lab(left).down()


@pytest.fixture
def running(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A ``lab run`` in the middle of its work: its gateway has been started."""
    process = subprocess.Popen(
        [*LAB, "run", "--gateway", "openvpn", "--seconds", "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: any(record.role == "gateway" for one in state.labs() for record in one.processes))
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(holds: object, seconds: float = 30) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def remains(name: str, records: tuple[state.ProcessRecord, ...]) -> list[str]:
    """What is left of a lab: namespaces, living processes."""
    return network.existing_namespaces(name) + [record.role for record in records if record.is_alive]


@pytest.mark.parametrize(
    ("gateway", "external"), [("openvpn", "os"), ("reference", "os"), ("reference", "stack"), ("optimized", "os")]
)
def test_every_check_passes_with_nothing_malformed_and_nothing_remains(
    directory: Path, needs_tshark: None, tmp_path: Path, gateway: str, external: str
) -> None:
    results, captures = tmp_path / "results.json", tmp_path / "captures"

    kind = ["--gateway", gateway, "--external", external]
    done = lab("run", *kind, *QUICK, "--json", str(results), "--pcap", str(captures))

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(results.read_text())
    assert told["passed"]
    differing = {line["check"] for line in told["checks"] if line["verdict"] == "differs"}
    assert differing - {"external network"} == ({"own network", "ARP for others"} if gateway == "openvpn" else set())
    assert list(directory.iterdir()) == []
    demand_sound_captures(captures / "internal.pcap", captures / "external.pcap")


def demand_sound_captures(inside: Path, outside: Path) -> None:
    assert dissected(inside, "icmp && ip.src == 10.38.2.5 && ip.dst == 203.0.113.10") != []
    assert dissected(outside, "openvpn && ip.src == 192.168.1.5 && ip.dst == 1.2.3.4") != []
    for capture in (inside, outside):
        # A segment that TCP sent again and cut otherwise is a "reassembly error" to tshark, and nothing malformed.
        assert dissected(capture, "(_ws.malformed && !_ws.malformed.reassembly) || ip.checksum.status == 0") == []


def dissected(capture: Path, display_filter: str) -> list[str]:
    """The packets of the first part of a capture that tshark finds by a filter, at most ten."""
    options = ["-c", str(DISSECTED_PACKETS), "-o", "ip.check_checksum:TRUE"]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(capture), *options, "-Y", display_filter],
        capture_output=True, text=True, timeout=RUN_SECONDS, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()[:10]


def test_every_kind_of_tunnel_can_be_tried(directory: Path) -> None:
    done = lab("matrix", "--gateway", "openvpn", "--only", "tls-crypt-v2 AES-128-GCM")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout  # two transports, two versions of TLS


def test_keys_by_the_prf_are_for_who_can_do_without_the_exporter(directory: Path) -> None:
    only = ["--only", "tcp tls-crypt AES-256-GCM TLS 1.3 PRF"]
    ours, stock = lab("matrix", "--gateway", "reference", *only), lab("matrix", "--gateway", "openvpn", *only)

    assert ours.returncode == 0, ours.stdout + ours.stderr
    assert "keys by prf" in ours.stdout
    assert "1 differs" in stock.stdout


def test_a_stock_client_meets_the_far_end_of_this_project(directory: Path) -> None:
    results = directory.parent / "results.json"

    done = lab("far-end", "--gateway", "openvpn", "--only", "udp tls-crypt-v2", "--json", str(results))

    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = json.loads(results.read_text())["checks"]
    assert "10000000 octets in at" in line["measured"]


def test_what_goes_wrong_is_survived_or_told(directory: Path) -> None:
    survived = lab("faults", "--gateway", "reference", "--only", "server closes")
    told = lab("faults", "--gateway", "reference", "--only", "wrong password")

    assert survived.returncode == 0, survived.stdout + survived.stderr
    assert "both hashes equal" in survived.stdout
    assert told.returncode == 0, told.stdout + told.stderr
    assert "AUTH_FAILED" in told.stdout


def test_a_gateway_that_does_not_start_fails_the_run_and_its_log_is_shown(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Lab.create(GatewayKind.REFERENCE, owned=True)
    monkeypatch.setattr(
        network, "gateway_command", lambda kind, path, own_stack: ["sh", "-c", "echo no key >&2; exit 3"]
    )
    made.build()
    made.start_tunnel(TunnelOptions())
    results = list(checks.results(checks.Run(made, 1000, 1)))

    assert results[0].measured == "the gateway ended: no key"
    assert {result.verdict for result in results[1:]} == {checks.Verdict.NOT_RUN}
    assert made.down() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_takes_its_lab_down(running: subprocess.Popen[bytes], number: int) -> None:
    one = next(state.labs())

    running.send_signal(number)
    said = running.communicate(timeout=30)[1].decode()

    assert running.returncode == 128 + number
    assert "the lab is taken down" in said
    assert remains(one.name, one.processes) == []
    assert not one.directory.exists()


def test_a_second_ctrl_c_does_not_disturb_the_clean_up(running: subprocess.Popen[bytes]) -> None:
    one = next(state.labs())

    for _ in range(4):
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
    running.communicate(timeout=30)

    assert remains(one.name, one.processes) == []


def test_down_cleans_up_after_a_run_that_was_killed(running: subprocess.Popen[bytes]) -> None:
    one = next(state.labs())
    running.kill()
    running.communicate()
    assert remains(one.name, one.processes) != []

    done = lab("down")

    assert (done.returncode, done.stdout) == (0, f"{one.name} is down\n")
    assert remains(one.name, one.processes) == []
    assert not one.directory.exists()


def test_the_next_run_cleans_up_after_one_that_was_killed(running: subprocess.Popen[bytes]) -> None:
    one = next(state.labs())
    running.kill()
    running.communicate()

    assert [left.name for left in network.take_down_abandoned()] == [one.name]

    assert remains(one.name, one.processes) == []


def test_down_does_not_touch_a_namespace_or_a_process_of_others(directory: Path) -> None:
    stranger = f"gglabtest-{os.getpid()}"
    programs.demand(["ip", "netns", "add", stranger])
    sleeper = subprocess.Popen(["ip", "netns", "exec", stranger, "sleep", "60"])
    try:
        assert lab("up", "--gateway", "openvpn").returncode == 0
        assert lab("down").returncode == 0

        assert sleeper.poll() is None
        assert stranger in programs.demand(["ip", "netns", "list"])
    finally:
        sleeper.kill()
        sleeper.wait()
        programs.demand(["ip", "netns", "delete", stranger])


def test_up_shell_status_down(directory: Path) -> None:
    up = lab("up", "--gateway", "openvpn")
    assert up.returncode == 0, up.stdout + up.stderr
    one = next(state.labs())

    ping = lab("shell", "host6", "ping", "-c", "1", "203.0.113.10")
    status = lab("status")
    down = lab("down")

    assert ping.returncode == 0, ping.stdout + ping.stderr
    assert one.name in status.stdout
    assert "203.0.113.10/24" in status.stdout
    assert down.returncode == 0
    assert remains(one.name, one.processes) == []


def test_up_that_is_told_to_end_leaves_nothing(directory: Path) -> None:
    process = subprocess.Popen([*LAB, "up", "--gateway", "openvpn"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: list(state.labs()) != [])
    one = next(state.labs())

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGINT
    assert remains(one.name, ()) == []
    assert list(directory.iterdir()) == []


def test_a_shell_that_is_still_open_does_not_keep_a_lab_up(directory: Path) -> None:
    assert lab("up", "--gateway", "openvpn").returncode == 0
    one = next(state.labs())
    shell = subprocess.Popen([*LAB, "shell", "host5", "sleep", "60"], stderr=subprocess.DEVNULL)
    wait_until(lambda: any(name == "sleep" for _, name in network.inhabitants(one.namespace("host5"))))

    assert lab("down").returncode == 0

    assert shell.wait(timeout=10) == -signal.SIGTERM
    assert remains(one.name, one.processes) == []


def test_a_run_that_takes_too_long_is_ended_and_has_failed(directory: Path) -> None:
    done = lab("run", "--gateway", "openvpn", "--seconds", "60", "--timeout", "4")

    assert done.returncode == 1
    assert "no end within 4 s" in done.stderr
    assert list(directory.iterdir()) == []
