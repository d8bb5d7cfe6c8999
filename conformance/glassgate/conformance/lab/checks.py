"""What ``lab run`` looks at: one function a line of the table. Each returns what it measured or raises CheckFailed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from glassgate.conformance.lab import probes, programs
from glassgate.conformance.lab.errors import CheckFailed, LabError
from glassgate.conformance.lab.network import INWARDS_PORT, OUTWARDS_PORT, Lab
from glassgate.conformance.lab.topology import (
    EXTERNAL_ADDRESS,
    FAR,
    FAR_ADDRESS,
    GATEWAY,
    HOST5,
    HOST5_ADDRESS,
    HOST6,
    HOST6_ADDRESS,
    INTERNAL_ADDRESS,
    INTERNAL_MAC,
    ROUTER,
    ROUTER_ADDRESS,
    SERVER,
    SERVER_ADDRESS,
    TUNNEL_SERVER_ADDRESS,
    UPLINK,
)
from glassgate.conformance.lab.tunnel import PORT, SERVER_DEVICE, TunnelOptions

TUNNEL_SECONDS = 30
ORDINARY_TTL = 64
BIG = (4000, 20000)
WATCH = "watch"
UDP_SIZES = (0, 1, 512, 1372, 1472, 4000)
"""Payloads: the last that fits the tunnel, the last that fits Ethernet, and one of several fragments."""
TCP_ECHO_OCTETS = 100_000
DOWNLOAD_SEED, UPLOAD_SEED, TOGETHER_SEED = 1, 2, 3


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    DIFFERS = "differs"
    """The baseline, known not to follow the seed here, does not."""
    UNSUPPORTED = "unsupported"
    """The gateway does not claim to do this (its capabilities say so; it is never guessed)."""
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Run:
    """What the checks of one run share."""

    lab: Lab
    file_octets: int
    iperf3_seconds: int
    captures: Path | None = None
    """Where both sides of the gateway are recorded, if they are."""

    @property
    def unexpected(self) -> Path:
        """The capture of what has no business on the external network."""
        return self.lab.directory / "unexpected.pcap"


@dataclass(frozen=True, slots=True)
class Check:
    """A line of the table."""

    title: str
    measure: Callable[[Run], str]
    kernel_differs: str | None = None
    """Why the kernel with a stock client does not pass, where that is known."""
    requires: tuple[str, ...] = ()
    """The capabilities (protocol 1) that a gateway of this project must declare for this check to mean anything."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found."""

    title: str
    verdict: Verdict
    measured: str
    seconds: float


def prepare(run: Run) -> None:
    """What has to be there before the gateway starts: a watch for what must never appear on the external network."""
    run.lab.capture(WATCH, ROUTER, "inside", run.unexpected, unexpected_outside(run.lab.options))


def unexpected_outside(options: TunnelOptions) -> str:
    """A capture filter: everything but the tunnel, and ARP between gateway and router (S2, S25)."""
    tunnel = f"{options.transport} port {PORT} and host {EXTERNAL_ADDRESS} and host {SERVER_ADDRESS}"
    arp = f"arp host {EXTERNAL_ADDRESS} and arp host {ROUTER_ADDRESS}"
    announcement = f"arp src host {EXTERNAL_ADDRESS} and arp dst host {EXTERNAL_ADDRESS}"
    return f"not ({tunnel}) and not ({arp}) and not ({announcement})"


def execute(run: Run, check: Check) -> Result:
    """Run one check, whatever it finds."""
    kind = run.lab.kind
    if undeclared := set(check.requires) - kind.capabilities:
        return Result(check.title, Verdict.UNSUPPORTED, f"the gateway does not declare {', '.join(undeclared)}", 0.0)
    start = time.monotonic()
    try:
        verdict, measured = Verdict.PASSED, check.measure(run)
    except CheckFailed as failure:
        verdict, measured = Verdict.FAILED, _with_end_of_gateway(failure, run.lab)
        if check.kernel_differs and kind.is_kernel:
            verdict, measured = Verdict.DIFFERS, f"{failure} ({check.kernel_differs})"
    except LabError as failure:
        verdict, measured = Verdict.FAILED, _with_end_of_gateway(failure, run.lab)
    return Result(check.title, verdict, measured, time.monotonic() - start)


def _with_end_of_gateway(failure: Exception, lab: Lab) -> str:
    """Why a check failed; a gateway that has died on the way is the first thing to know."""
    words = lab.last_words(GATEWAY)
    if not lab.has_ended(GATEWAY) or words in str(failure):
        return str(failure)
    return f"{failure}; the gateway has ended: {words}"


def results(run: Run) -> Iterator[Result]:
    """Run all checks in order; without a tunnel the others are not worth their time-outs."""
    for number, check in enumerate(CHECKS):
        result = execute(run, check)
        yield result
        if number == 0 and result.verdict is Verdict.FAILED:
            yield from (Result(later.title, Verdict.NOT_RUN, "no tunnel", 0.0) for later in CHECKS[1:])
            return


# ── the checks, in the order of the table ─────────────────────────────────────────────────────────────────────────────


def tunnel_comes_up(run: Run) -> str:
    """The first answer from beyond the tunnel."""
    start = time.monotonic()
    while time.monotonic() - start < TUNNEL_SECONDS:
        if not run.lab.is_running(GATEWAY):
            raise CheckFailed(f"the gateway ended: {run.lab.last_words(GATEWAY)}")
        if run.lab.run(HOST5, ["ping", "-n", "-c", "1", "-W", "0.2", FAR_ADDRESS], seconds=5).returncode == 0:
            return f"{time.monotonic() - run.lab.gateway_started:.1f} s from the gateway's start to the first answer"
        time.sleep(0.02)
    raise CheckFailed(f"nothing from beyond the tunnel within {TUNNEL_SECONDS} s")


def gateway_answers_arp(run: Run) -> str:
    """The host knows the gateway by its Ethernet address (S7)."""
    mac = probes.neighbour(run.lab, HOST5, INTERNAL_ADDRESS)
    if mac != INTERNAL_MAC:
        raise CheckFailed(f"{INTERNAL_ADDRESS} is at {mac}, not {INTERNAL_MAC}")
    return f"{INTERNAL_ADDRESS} is at {mac}"


def gateway_answers_ping(run: Run) -> str:
    """Local delivery (S10): the answer is the gateway's own, and nothing of it appears in the tunnel."""
    with _watch_tunnel(run, "gateway", f"dst host {INTERNAL_ADDRESS}") as tunnelled:
        answer = probes.ping(run.lab, HOST5, INTERNAL_ADDRESS).demand()
    if tunnelled or set(answer.times_to_live) != {ORDINARY_TTL}:
        raise CheckFailed(f"{answer.summary} (expected {ORDINARY_TTL}); {len(tunnelled)} in the tunnel")
    return f"{answer.summary}, none in the tunnel"


@contextlib.contextmanager
def _watch_tunnel(run: Run, name: str, expression: str) -> Iterator[list[str]]:
    """Watch what comes out of the tunnel at the server; the list is filled at the end."""
    role, path = f"{WATCH} {name}", run.lab.directory / f"{name}.pcap"
    run.lab.capture(role, SERVER, SERVER_DEVICE, path, expression)
    seen: list[str] = []
    try:
        yield seen
    finally:
        run.lab.stop(role)
    seen += _read_capture(path)


def _read_capture(path: Path) -> list[str]:
    return programs.demand(["tcpdump", "-n", "-r", str(path)]).splitlines()


def gateway_ignores_ttl_for_itself(run: Run) -> str:
    """Local delivery does not look at the time to live (S11)."""
    return probes.ping(run.lab, HOST5, INTERNAL_ADDRESS, "-t", "1", count=2).demand().summary


def far_host_answers_ping(run: Run) -> str:
    """Forwarding both ways (S14, S29): two routers, so two off the time to live (S17)."""
    return _beyond(probes.ping(run.lab, HOST5, FAR_ADDRESS))


def host_answers_ping_from_beyond(run: Run) -> str:
    """The same, asked from the far side: to a host that the gateway may have to ask ARP for (S31)."""
    return _beyond(probes.ping(run.lab, FAR, HOST6_ADDRESS))


def _beyond(answer: probes.Ping) -> str:
    answer.demand()
    if set(answer.times_to_live) != {ORDINARY_TTL - 2}:
        raise CheckFailed(f"{answer.summary}: expected {ORDINARY_TTL - 2}, after the server and the gateway")
    return answer.summary


def far_host_pings_gateway(run: Run) -> str:
    """What comes out of the tunnel for the gateway itself is answered through the tunnel (S28)."""
    return probes.ping(run.lab, FAR, INTERNAL_ADDRESS, count=3).demand().summary


def big_ping(source: str, destination: str, octets: int) -> Callable[[Run], str]:
    """A ping of several fragments.

    Outwards they come in Ethernet's size and are cut again for the tunnel (S21); inwards they pass the gateway one by
    one (S12); to the gateway itself they are reassembled, and its answer is fragmented.
    """

    def measure(run: Run) -> str:
        return probes.ping(run.lab, source, destination, "-M", "dont", size=octets, count=3).demand().summary

    return measure


def path_mtu_is_told(run: Run) -> str:
    """Too big with DF set: the host is told the tunnel's MTU by the gateway (S22); exactly that much passes."""
    mtu = run.lab.options.mtu
    probes.forget_path_mtu(run.lab, HOST6)
    answer = probes.ping(run.lab, HOST6, FAR_ADDRESS, "-M", "do", size=1500 - probes.ICMP_AND_IP_OCTETS, count=2)
    told = (INTERNAL_ADDRESS, f"Frag needed and DF set (mtu = {mtu})")
    learned = probes.path_mtu(run.lab, HOST6, FAR_ADDRESS)
    if told not in answer.errors or learned != mtu:
        raise CheckFailed(f"expected {told[1]} from {told[0]}; saw {answer.errors or 'no error'}, path MTU {learned}")
    fitting = probes.ping(run.lab, HOST6, FAR_ADDRESS, "-M", "do", size=mtu - probes.ICMP_AND_IP_OCTETS, count=2)
    fitting.demand()
    return f"3/4 from {told[0]} with MTU {mtu}; {mtu} octets with DF pass"


def traceroute_names_gateway(run: Run) -> str:
    """Each router of the path says who it is (S17)."""
    hops = probes.traceroute(run.lab, HOST5, FAR_ADDRESS)
    if hops != [INTERNAL_ADDRESS, TUNNEL_SERVER_ADDRESS, FAR_ADDRESS]:
        raise CheckFailed(" → ".join(hops) or "no answer")
    return " → ".join(hops)


def udp_echo(address: str) -> Callable[[Run], str]:
    """UDP of several sizes, each octet compared: beyond the tunnel, or by the gateway itself (L2)."""

    def measure(run: Run) -> str:
        result = probes.echo(run.lab, HOST5, "udp", address, *UDP_SIZES)
        measured = f"{_listed(result['returned'])} octets came back, slowest {result['slowest_ms']} ms"
        if result["returned"] != result["sent"]:
            raise CheckFailed(f"sent {_listed(result['sent'])}; {measured}")
        return measured

    return measure


def _listed(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes)) or "no"


def tcp_echo(address: str) -> Callable[[Run], str]:
    """TCP both ways at once, each octet compared: beyond the tunnel, or by the gateway itself (L3)."""

    def measure(run: Run) -> str:
        result = probes.echo(run.lab, HOST5, "tcp", address, TCP_ECHO_OCTETS)
        if not result["equal"]:
            raise CheckFailed(f"{result['sent']} octets sent, others came back")
        return f"{result['sent']} octets came back equal in {result['seconds']} s"

    return measure


def file_comes_in(run: Run) -> str:
    """A file fetched through the tunnel."""
    transfer = probes.download_all(run.lab, [HOST5], FAR_ADDRESS, run.file_octets, DOWNLOAD_SEED)[0]
    return transfer.demand(run.file_octets, DOWNLOAD_SEED).summary


def file_goes_out(run: Run) -> str:
    """A file sent through the tunnel; TCP finds the path's MTU by the gateway's errors."""
    for end in (HOST5, FAR):  # what the far host has learned would lower the segment size that it offers
        probes.forget_path_mtu(run.lab, end)
    transfer = probes.upload(run.lab, HOST5, FAR_ADDRESS, run.file_octets, UPLOAD_SEED)
    transfer.demand(run.file_octets, UPLOAD_SEED)
    learned = probes.path_mtu(run.lab, HOST5, FAR_ADDRESS)
    if learned != run.lab.options.mtu:
        raise CheckFailed(f"TCP found path MTU {learned}, not {run.lab.options.mtu}; {transfer.summary}")
    return f"{transfer.summary}; TCP found MTU {learned}"


def two_hosts_at_once(run: Run) -> str:
    """Two hosts fetch different files at the same time: neither gets an octet of the other's."""
    transfers = probes.download_all(run.lab, [HOST5, HOST6], FAR_ADDRESS, run.file_octets, TOGETHER_SEED)
    for number, transfer in enumerate(transfers):
        transfer.demand(run.file_octets, TOGETHER_SEED + number)
    rates = [transfer.octets * 8 / 1e6 / transfer.seconds for transfer in transfers]
    return f"{run.file_octets} octets each, {' and '.join(f'{rate:.1f}' for rate in rates)} Mbit/s, both hashes equal"


def throughput_outwards(run: Run) -> str:
    """iperf3, host to far host."""
    return _throughput(probes.iperf3(run.lab, HOST5, FAR_ADDRESS, OUTWARDS_PORT, run.iperf3_seconds))


def throughput_inwards(run: Run) -> str:
    """iperf3, far host to host."""
    return _throughput(probes.iperf3(run.lab, HOST5, FAR_ADDRESS, INWARDS_PORT, run.iperf3_seconds, "--reverse"))


def _throughput(measured: probes.Throughput) -> str:
    if not measured.megabits_a_second:
        raise CheckFailed("nothing arrived")
    return f"{measured.megabits_a_second:.1f} Mbit/s, {measured.retransmits} segments sent again"


def own_network_stays_inside(run: Run) -> str:
    """What a host sends for its own network by way of the gateway goes nowhere: not back inside, not out (S14)."""
    route = [f"{HOST6_ADDRESS}/32", "via", INTERNAL_ADDRESS]
    programs.demand(run.lab.command(HOST5, ["ip", "route", "add", *route]))
    try:
        with _watch_tunnel(run, "own-network", f"src host {HOST5_ADDRESS} and dst host {HOST6_ADDRESS}") as tunnelled:
            answer = probes.ping(run.lab, HOST5, HOST6_ADDRESS, count=1)
    finally:
        run.lab.run(HOST5, ["ip", "route", "delete", *route], seconds=5)
    if answer.received or answer.errors or tunnelled:
        errors = "".join(f"; {sender}: {words}" for sender, words in answer.errors)
        raise CheckFailed(
            f"{HOST6_ADDRESS} by way of the gateway: {answer.summary}{errors}; {len(tunnelled)} in the tunnel"
        )
    return f"{HOST6_ADDRESS} by way of the gateway: no answer, no error, none in the tunnel"


def arp_is_answered_for_one_address(run: Run) -> str:
    """The gateway answers ARP for its internal address, and for no other of its own (S7)."""
    route = [f"{EXTERNAL_ADDRESS}/32", "dev", UPLINK]
    programs.demand(run.lab.command(HOST5, ["ip", "route", "add", *route]))
    try:
        probes.ping(run.lab, HOST5, EXTERNAL_ADDRESS, count=1)
        mac = probes.neighbour(run.lab, HOST5, EXTERNAL_ADDRESS)
    finally:
        run.lab.run(HOST5, ["ip", "route", "delete", *route], seconds=5)
    if mac is not None:
        raise CheckFailed(f"{EXTERNAL_ADDRESS} is at {mac}")
    return f"no answer for {EXTERNAL_ADDRESS}"


def only_the_tunnel_outside(run: Run) -> str:
    """Nothing but the tunnel's TCP connection, and ARP for it, was on the external network all the while (S25)."""
    run.lab.stop(WATCH)
    seen = _read_capture(run.unexpected)
    if seen:
        raise CheckFailed(f"{len(seen)} packets that do not belong there, the first: {seen[0]}")
    octets = probes.received_octets(run.lab, ROUTER, "inside")
    return f"nothing else among {octets} octets that left the gateway"


def gateway_ends_when_told(run: Run) -> str:
    """SIGTERM ends the gateway, soon and of its own will."""
    start = time.monotonic()
    status = run.lab.terminate(GATEWAY)
    if status is None:
        raise CheckFailed("it had to be killed")
    measured = f"status {status} after {time.monotonic() - start:.1f} s"
    if status != 0:
        raise CheckFailed(f"{measured}: {run.lab.last_words(GATEWAY)}")
    return measured


CHECKS: tuple[Check, ...] = (
    Check("tunnel", tunnel_comes_up),
    Check("ARP for the gateway", gateway_answers_arp),
    Check("ping gateway", gateway_answers_ping),
    Check("ping gateway, TTL 1", gateway_ignores_ttl_for_itself),
    Check("ping far host", far_host_answers_ping),
    Check("ping host from beyond", host_answers_ping_from_beyond),
    Check("ping gateway from beyond", far_host_pings_gateway),
    *(
        Check(f"ping {octets} octets, {way}", big_ping(source, destination, octets))
        for octets in BIG
        for way, source, destination in (
            ("outwards", HOST5, FAR_ADDRESS),
            ("inwards", FAR, HOST5_ADDRESS),
            ("gateway", HOST5, INTERNAL_ADDRESS),
        )
    ),
    Check("path MTU", path_mtu_is_told),
    Check("traceroute", traceroute_names_gateway),
    Check("UDP echo beyond", udp_echo(FAR_ADDRESS)),
    Check("TCP echo beyond", tcp_echo(FAR_ADDRESS)),
    Check("UDP echo at the gateway", udp_echo(INTERNAL_ADDRESS), requires=("udp_echo",)),
    Check("TCP echo at the gateway", tcp_echo(INTERNAL_ADDRESS), requires=("tcp_echo",)),
    Check("file in", file_comes_in),
    Check("file out", file_goes_out),
    Check("two hosts at once", two_hosts_at_once),
    Check("iperf3 outwards", throughput_outwards),
    Check("iperf3 inwards", throughput_inwards),
    Check("own network", own_network_stays_inside, "Linux sends it back inside"),
    Check("ARP for others", arp_is_answered_for_one_address, "Linux answers for every address it has"),
    Check("external network", only_the_tunnel_outside, "Linux forwards in clear until the tunnel is up"),
    Check("end on SIGTERM", gateway_ends_when_told),
)
"""Every line of the table, in order."""
