"""Ping, curl, traceroute, iperf3: questions that a check asks of a host, and values for the answers."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from glassgate.conformance.lab import programs
from glassgate.conformance.lab.errors import CheckFailed
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.services import file_hash, file_pieces

ICMP_AND_IP_OCTETS = 28
"""What ping's ``-s`` does not count: a header of 8 octets and one of 20."""
ANSWER_SECONDS = 2
SLOWEST_RATE = 50_000
"""Octets a second that a transfer must reach: what bounds its time."""


@dataclass(frozen=True, slots=True)
class Ping:
    """What ping said."""

    sent: int
    received: int
    duplicates: int
    times_to_live: tuple[int, ...]
    round_trip_ms: float | None
    errors: tuple[tuple[str, str], ...]
    """Who sent an ICMP error, and ping's words for it."""

    @property
    def is_complete(self) -> bool:
        """Whether every request was answered, each once."""
        return self.sent == self.received > 0 and not self.duplicates

    @property
    def summary(self) -> str:
        """The answers in a few words."""
        words = f"{self.received}/{self.sent} answered"
        if self.duplicates:
            words += f", {self.duplicates} twice"
        if self.round_trip_ms is not None:
            words += f", {self.round_trip_ms:g} ms"
        if self.times_to_live:
            words += f", TTL {'/'.join(map(str, sorted(set(self.times_to_live))))}"
        return words

    def demand(self) -> Ping:
        """Go on only if every request was answered.

        Raises:
            CheckFailed: one was not.
        """
        if not self.is_complete:
            errors = "".join(f"; {sender}: {words}" for sender, words in self.errors[:2])
            raise CheckFailed(f"{self.summary}{errors}")
        return self


def read_ping(output: str) -> Ping:
    """Read the output of iputils' ping."""
    counts = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    duplicates = re.search(r"\+(\d+) duplicates", output)
    times = re.search(r"= [\d.]+/([\d.]+)/", output)
    return Ping(
        sent=int(counts[1]) if counts else 0,
        received=int(counts[2]) if counts else 0,
        duplicates=int(duplicates[1]) if duplicates else 0,
        times_to_live=tuple(int(value) for value in re.findall(r"\bttl=(\d+)", output)),
        round_trip_ms=float(times[1]) if times else None,
        errors=tuple(re.findall(r"^From (\S+?):? icmp_seq=\d+ (.+)$", output, re.MULTILINE)),
    )


def ping(lab: Lab, host: str, address: str, *options: str, count: int = 5, size: int = 56) -> Ping:
    """Ping from a host: ``size`` is the ICMP payload in octets; the time is bounded."""
    longest = count * 0.2 + ANSWER_SECONDS
    command = [
        "ping",
        "-n",
        "-c",
        str(count),
        "-i",
        "0.2",
        "-W",
        str(ANSWER_SECONDS),
        "-s",
        str(size),
        *options,
        address,
    ]
    return read_ping(lab.run(host, command, seconds=longest + 5).stdout)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A file that went through the tunnel."""

    octets: int
    seconds: float
    sha256: str

    @property
    def summary(self) -> str:
        """Size, time, rate and the beginning of the hash."""
        rate = self.octets * 8 / 1e6 / self.seconds if self.seconds else 0.0
        return f"{self.octets} octets in {self.seconds:.2f} s, {rate:.1f} Mbit/s, SHA-256 {self.sha256[:8]}…"

    def demand(self, octets: int, seed: int) -> Transfer:
        """Go on only if it is the file that was sent.

        Raises:
            CheckFailed: size or hash differ.
        """
        expected = file_hash(octets, seed)
        if (self.octets, self.sha256) != (octets, expected):
            raise CheckFailed(f"sent {octets} octets, SHA-256 {expected[:8]}…; arrived: {self.summary}")
        return self


def download_all(lab: Lab, hosts: Sequence[str], address: str, octets: int, seed: int) -> list[Transfer]:
    """Fetch a file to each of the hosts at the same time, the seed rising by one from host to host."""
    with tempfile.TemporaryDirectory(dir=lab.directory) as directory:
        paths = [Path(directory) / host for host in hosts]
        urls = [f"http://{address}/{octets}/{seed + number}" for number in range(len(hosts))]
        commands = [
            lab.command(host, [*_curl(octets * len(hosts)), "--output", str(path), url])
            for host, path, url in zip(hosts, paths, urls, strict=True)
        ]
        done = programs.run_together(commands, seconds=_longest(octets * len(hosts)) + 5)
        return [_downloaded(curl, path) for curl, path in zip(done, paths, strict=True)]


def _downloaded(curl: CompletedProcess[str], path: Path) -> Transfer:
    seconds = float(_words_of_curl(curl))
    octets, digest = _hash_of(path)
    return Transfer(octets, seconds, digest)


def _hash_of(path: Path) -> tuple[int, str]:
    digest, octets = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            octets += len(piece)
    return octets, digest.hexdigest()


def upload(lab: Lab, host: str, address: str, octets: int, seed: int) -> Transfer:
    """Send a file from a host; what arrived is what the far host says."""
    with tempfile.TemporaryDirectory(dir=lab.directory) as directory:
        path, answer = Path(directory) / "file", Path(directory) / "answer"
        with path.open("wb") as file:
            file.writelines(file_pieces(octets, seed))
        arguments = [*_curl(octets), "--output", str(answer), "--upload-file", str(path), f"http://{address}/"]
        curl = lab.run(host, arguments, seconds=_longest(octets) + 5)
        seconds = float(_words_of_curl(curl))
        told = json.loads(answer.read_text(encoding="utf-8"))
    return Transfer(int(told["octets"]), seconds, str(told["sha256"]))


class SlowTransfers:
    """A file each way at once, at a bounded rate, in the background: time for something to happen meanwhile."""

    DOWNLOAD, UPLOAD = "download", "upload"
    SEEDS = (11, 12)

    def __init__(self, lab: Lab, host: str, address: str, octets: int, rate: int) -> None:
        self._lab, self._host, self._octets = lab, host, octets
        self._base = ["curl", "--silent", "--show-error", "--fail", "--limit-rate", str(rate)]
        self._url = f"http://{address}/"
        self._started = 0.0

    def start(self) -> None:
        """Begin both."""
        source = self._lab.directory / "upload.file"
        with source.open("wb") as file:
            file.writelines(file_pieces(self._octets, self.SEEDS[1]))
        self._started = time.monotonic()
        down = ["--output", str(self._lab.directory / "download.file"), f"{self._url}{self._octets}/{self.SEEDS[0]}"]
        up = ["--output", str(self._lab.directory / "answer"), "--upload-file", str(source), self._url]
        self._lab.spawn(self.DOWNLOAD, self._host, [*self._base, *down])
        self._lab.spawn(self.UPLOAD, self._host, [*self._base, *up])

    def finish(self, seconds: float) -> str:
        """Wait for their end, at most so long after their start.

        Raises:
            CheckFailed: one did not end in time, failed, or brought other octets.
        """
        for role in (self.DOWNLOAD, self.UPLOAD):
            while self._lab.exit_status(role) is None:
                if time.monotonic() - self._started > seconds:
                    self._lab.stop(role)
                    raise CheckFailed(f"the {role} did not end within {seconds:g} s")
                time.sleep(0.1)
            if status := self._lab.exit_status(role):
                raise CheckFailed(f"{role}: {self._lab.last_words(role)} (status {status})")
        taken = time.monotonic() - self._started
        hashed = _hash_of(self._lab.directory / "download.file")
        Transfer(hashed[0], taken, hashed[1]).demand(self._octets, self.SEEDS[0])
        told = json.loads((self._lab.directory / "answer").read_text(encoding="utf-8"))
        Transfer(int(told["octets"]), taken, str(told["sha256"])).demand(self._octets, self.SEEDS[1])
        return f"{self._octets} octets each way in {taken:.1f} s, both hashes equal"


class SteadyPing:
    """Five pings a second in the background, until told to end: what is answered, and what twice."""

    ROLE = "ping"

    def __init__(self, lab: Lab, host: str, address: str) -> None:
        self._lab, self._host, self._address = lab, host, address

    def start(self) -> None:
        """Begin."""
        self._lab.spawn(self.ROLE, self._host, ["ping", "-n", "-q", "-i", "0.2", self._address])

    def finish(self) -> str:
        """End it; ping counts at SIGINT.

        Raises:
            CheckFailed: an answer came twice, or none at all.
        """
        self._lab.send_signal(self.ROLE, signal.SIGINT)
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._lab.exit_status(self.ROLE) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self._lab.stop(self.ROLE)
        counted = read_ping(self._lab.log(self.ROLE).rpartition("PING ")[2])
        told = f"{counted.received} of {counted.sent} pings answered"
        if counted.duplicates or not counted.received:
            raise CheckFailed(f"{told}, {counted.duplicates} twice")
        return f"{told}, none twice"


def _curl(octets: int) -> list[str]:
    limits = ["--connect-timeout", "10", "--max-time", str(_longest(octets))]
    return ["curl", "--silent", "--show-error", "--fail", *limits, "--write-out", "%{time_total}"]


def _longest(octets: int) -> int:
    return 15 + octets // SLOWEST_RATE


def _words_of_curl(curl: CompletedProcess[str]) -> str:
    if curl.returncode != 0:
        raise CheckFailed(curl.stderr.strip() or f"curl: status {curl.returncode}")
    return curl.stdout


def echo(lab: Lab, host: str, protocol: str, address: str, *numbers: int) -> dict[str, Any]:
    """Use the echo service from a host: ``udp`` with datagram sizes, ``tcp`` with a number of octets."""
    module = "glassgate.conformance.lab.services"
    command = [sys.executable, "-m", module, f"{protocol}-echo", address, *map(str, numbers)]
    done = lab.run(host, command, seconds=60)
    if done.returncode != 0:
        raise CheckFailed(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def traceroute(lab: Lab, host: str, address: str) -> list[str]:
    """Who answers at each number of hops; ``*`` for nobody."""
    command = ["traceroute", "-n", "-q", "1", "-w", str(ANSWER_SECONDS), "-m", "6", address]
    return read_traceroute(lab.run(host, command, seconds=30).stdout)


def read_traceroute(output: str) -> list[str]:
    """Read the output of traceroute: the first name of each numbered line."""
    return re.findall(r"^ *\d+ +(\S+)", output, re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Throughput:
    """What iperf3 measured at the receiver."""

    megabits_a_second: float
    retransmits: int


def iperf3(lab: Lab, host: str, address: str, port: int, seconds: int, *options: str) -> Throughput:
    """Send TCP as fast as it goes for so many seconds."""
    command = [
        "iperf3",
        "--client",
        address,
        "--port",
        str(port),
        "--time",
        str(seconds),
        "--connect-timeout",
        "5000",
        "--json",
        *options,
    ]
    return read_iperf3(lab.run(host, command, seconds=seconds + 20).stdout)


def read_iperf3(output: str) -> Throughput:
    """Read iperf3's JSON.

    Raises:
        CheckFailed: it could not measure.
    """
    try:
        result = json.loads(output)
    except ValueError:
        raise CheckFailed(f"iperf3 said {output[:100]!r}") from None
    if "error" in result:
        raise CheckFailed(f"iperf3: {result['error']}")
    end = result["end"]
    return Throughput(end["sum_received"]["bits_per_second"] / 1e6, int(end["sum_sent"].get("retransmits", 0)))


def path_mtu(lab: Lab, host: str, address: str) -> int | None:
    """The MTU that a host's kernel has learned for a destination; None if it knows of no smaller one."""
    found = re.search(r"\bmtu (\d+)", lab.run(host, ["ip", "route", "get", address], seconds=5).stdout)
    return int(found[1]) if found else None


def forget_path_mtu(lab: Lab, host: str) -> None:
    """Have a host forget what it learned about paths (Linux would remember for ten minutes)."""
    lab.run(host, ["ip", "route", "flush", "cache"], seconds=5)


def neighbour(lab: Lab, host: str, address: str) -> str | None:
    """The Ethernet address that a host has for a neighbour."""
    found = re.search(r"lladdr (\S+)", lab.run(host, ["ip", "neighbour", "show", address], seconds=5).stdout)
    return found[1] if found else None


def received_octets(lab: Lab, host: str, interface: str) -> int:
    """How much an interface has received."""
    path = f"/sys/class/net/{interface}/statistics/rx_bytes"
    return int(lab.run(host, ["cat", path], seconds=5).stdout)
