"""``glassgate check --wire`` for real: the kernel, our own program, anybody's gateway; and that nothing remains."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glassgate.conformance import model
from glassgate.conformance.lab import kernel, network, state
from glassgate.conformance.lab.kernel import KernelGateway
from glassgate.conformance.lab.network import Lab
from glassgate.contract import GatewayConfig

pytestmark = pytest.mark.root

CHECK = [sys.executable, "-c", "import sys; from glassgate.conformance.cli import main; main(sys.argv[1:])", "check"]
SECONDS = 120


@pytest.fixture
def directory(needs_root_lab: Path) -> Iterator[Path]:
    """The runtime directory of this test's labs, all of which are down afterwards."""
    yield needs_root_lab
    for left in list(state.labs()):
        Lab(left).down()


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CHECK, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)


def statuses(path: Path) -> dict[str, str]:
    (run,) = json.loads(path.read_text("utf-8"))["runs"]
    return {result["id"]: result["status"] for result in run["results"]}


def test_linux_forwards_answers_arp_and_echo_as_the_vectors_say(directory: Path, tmp_path: Path) -> None:
    done = check("--wire", "linux", "--id", "fwd-ttl-*", "--id", "arp-conflict-*", "--id", "local-echo*",
                 "--json", str(tmp_path / "run.json"))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = statuses(tmp_path / "run.json")
    assert found["fwd-ttl-2"] == found["local-echo"] == "pass"
    assert found["fwd-ttl-1-type-of-service"] == "expected-failure"
    assert list(state.labs()) == []


def test_without_its_profile_linux_fails_where_it_deviates(directory: Path, tmp_path: Path) -> None:
    (empty := tmp_path / "empty.toml").write_text("")
    done = check("--wire", "linux", "--profile", str(empty), "--id", "fwd-not-to-link-local")
    assert done.returncode == 1
    assert "tunnel packet: was not expected" in done.stdout


@pytest.mark.parametrize("gateway", ["reference", "optimized"])
def test_our_own_program_on_the_wire_passes_what_it_passes_in_process(directory: Path, gateway: str) -> None:
    done = check("--wire", gateway, "--id", "fwd-ttl-[12]*", "--id", "arp-*announcement*", "--id", "frag-df-*",
                 "--id", "ret-retry", "--id", "tcp-echo", "--id", "reasm-overlap-end")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(state.labs()) == []


def test_anybodys_gateway_is_judged_by_a_file_that_says_where_it_is(directory: Path, tmp_path: Path) -> None:
    gateway = KernelGateway()
    try:
        gateway.build()
        gateway.fresh(GatewayConfig.from_json(next(f.config for f in model.load_packaged() if f.category == "arp")))
        (described := tmp_path / "mine.toml").write_text(f"""
[gateway]
name = "mine"
internal = "judge1"
internal-namespace = "{gateway.namespace(kernel.JUDGE)}"
tunnel = "tun0"
tunnel-namespace = "{gateway.namespace(kernel.SERVER)}"
fresh = ["ip", "-n", "{gateway.namespace("gateway1")}", "neighbour", "flush", "dev", "internal"]
""")
        done = check("--wire", str(described), "--id", "fwd-ttl-*", "--id", "frag-mtu-*",
                     "--json", str(tmp_path / "run.json"))  # fmt: skip
        found = statuses(tmp_path / "run.json")
    finally:
        gateway.close()
    assert found["fwd-ttl-2"] == "pass", done.stdout + done.stderr
    assert found["fwd-ttl-1-type-of-service"] == "fail"
    assert any(status == "unsupported" for name, status in found.items() if name.startswith("frag-"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_run_the_next_one_finds_nothing_of_it(directory: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*CHECK, "--wire", "linux", "--category", "forwarding"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not any("gateway3" in name for one in state.labs() for name in network.existing_namespaces(one.name)):
        assert time.monotonic() < deadline, "it took too long"
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    network.take_down_abandoned()
    assert list(state.labs()) == []


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [("windows", "neither linux, reference, optimized nor a file"), ("nowhere.toml", "cannot be read")],
)
def test_what_cannot_be_judged_is_one_clear_line(directory: Path, wire: str, complaint: str) -> None:
    done = check("--wire", wire)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
