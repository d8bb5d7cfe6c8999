"""The programs that the lab runs, the Debian packages that hold them, and one bounded way to run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from glassgate.conformance.lab.errors import LabError

PACKAGES: Mapping[str, str] = {
    "ip": "iproute2",
    "ethtool": "ethtool",
    "openvpn": "openvpn",
    "ping": "iputils-ping",
    "curl": "curl",
    "iperf3": "iperf3",
    "traceroute": "traceroute",
    "tcpdump": "tcpdump",
}
"""Each program and its Debian package."""

DISSECTORS: Mapping[str, str] = {"tshark": "tshark"}
"""The same for what reads captures: only ``lab all`` needs it."""

TUN_DEVICE = Path("/dev/net/tun")
SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where administrators' programs live: not on everybody's PATH."""


def environment() -> dict[str, str]:
    """The environment of every program of the lab: English messages, which the probes read, and a full PATH."""
    path = os.environ.get("PATH", os.defpath)
    return {**os.environ, "LC_ALL": "C", "PATH": f"{path}:{SYSTEM_DIRECTORIES}"}


def missing(packages: Mapping[str, str] = PACKAGES) -> list[str]:
    """What the lab needs and does not find here, one line each; empty if all is there."""
    problems = []
    if os.geteuid() != 0:
        problems.append("root is needed to make network namespaces: try sudo")
    search = environment()["PATH"]
    problems += [
        f"{program} is missing: apt-get install {package}"
        for program, package in packages.items()
        if shutil.which(program, path=search) is None
    ]
    if not TUN_DEVICE.exists():
        problems.append(f"{TUN_DEVICE} is missing: the OpenVPN server needs it (a container gets it by --device)")
    return problems


def require(packages: Mapping[str, str] = PACKAGES) -> None:
    """Go on only where the lab can work.

    Raises:
        LabError: something is missing; the message names all of it.
    """
    if problems := missing(packages):
        raise LabError("; ".join(problems))


def run(arguments: Sequence[str], *, seconds: float, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, at most so many seconds; what its status means is the caller's business.

    Raises:
        LabError: it did not end in time (it is killed), or it is not there.
    """
    try:
        return subprocess.run(
            arguments, input=given, stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=seconds, env=environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LabError(f"no end after {seconds:g} s: {' '.join(arguments)}") from None
    except FileNotFoundError:
        raise LabError(f"{arguments[0]} is missing") from None


def run_together(commands: Sequence[Sequence[str]], *, seconds: float) -> list[subprocess.CompletedProcess[str]]:
    """Run several programs at the same time, as ``run`` does one.

    Raises:
        LabError: one did not end in time (all are killed).
    """
    children = [
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env=environment(),
        )
        for command in commands
    ]  # fmt: skip
    deadline = time.monotonic() + seconds
    try:
        outputs = [child.communicate(timeout=max(0.0, deadline - time.monotonic())) for child in children]
    except subprocess.TimeoutExpired as late:
        raise LabError(f"no end after {seconds:g} s: {late.cmd}") from None
    finally:
        for child in children:
            child.kill()
            child.wait()
    return [
        subprocess.CompletedProcess(child.args, child.returncode, *output)
        for child, output in zip(children, outputs, strict=True)
    ]


def demand(arguments: Sequence[str], *, seconds: float = 10, given: str | None = None) -> str:
    """Run a program that must succeed, and return its output.

    Raises:
        LabError: it failed; the message holds its command line and its own last words.
    """
    done = run(arguments, seconds=seconds, given=given)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise LabError(f"{' '.join(arguments)}: status {done.returncode}: {words[-1]}")
    return done.stdout
