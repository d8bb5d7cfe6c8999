"""All that the laboratory can show, in parts: each with a network of its own, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glassgate.conformance.lab import checks, dissection, far_end, faults, matrix
from glassgate.conformance.lab.checks import Check, Result, Run, Verdict
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.tunnel import GatewayKind, TunnelOptions

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """What is measured in one network."""

    title: str
    gateway: GatewayKind
    external: str
    """``os``, or ``stack`` for the gateway's own."""
    measure: Callable[[Lab], Iterator[Result]]
    captures: Path | None = None
    """Where both sides of the gateway are recorded."""
    packets: int | None = None
    """How many of each side; None: all."""


def run(kind: GatewayKind, external: str, octets: int, seconds: int, captures: Path | None) -> Part:
    """Real hosts and programs through one tunnel."""

    def measure(made: Lab) -> Iterator[Result]:
        task = Run(made, octets, seconds)
        checks.prepare(task)
        made.start_tunnel(TunnelOptions())
        return checks.results(task)

    return Part(_through(kind, external), kind, external, measure, captures)


def dissected_run(kind: GatewayKind, external: str, octets: int, seconds: int, captures: Path) -> Part:
    """The same, and what tshark makes of it."""
    part = run(kind, external, octets, seconds, captures)

    def measure(made: Lab) -> Iterator[Result]:
        is_worth_while = True
        for result in part.measure(made):
            yield result
            is_worth_while = is_worth_while and result.verdict is not Verdict.NOT_RUN
        if is_worth_while:
            yield checks.execute(Run(made, octets, seconds, captures), dissection.CHECK)
        else:
            yield Result(dissection.CHECK.title, Verdict.NOT_RUN, "no tunnel", 0.0)

    return Part(part.title, kind, external, measure, captures, dissection.PACKETS)


def each(kind: GatewayKind, external: str, title: str, listed: tuple[Check, ...], octets: int = MEGABYTE) -> Part:
    """Checks of which each makes and ends a tunnel of its own."""
    return Part(title, kind, external, lambda made: (checks.execute(Run(made, octets, 1), check) for check in listed))


def parts(kind: GatewayKind, octets: int, seconds: int, captures: Path) -> list[Part]:
    """Everything, through one gateway."""
    externals = ["os", "stack"] if "external.stack" in kind.capabilities else ["os"]
    runs = [dissected_run(kind, external, octets, seconds, captures / external) for external in externals]
    return [
        *runs,
        each(kind, "os", f"every kind of tunnel: {kind}", matrix.CHECKS),
        *(each(kind, external, f"faults: {_through(kind, external)}", faults.CHECKS) for external in externals),
        each(
            GatewayKind.OPENVPN,
            "os",
            "the far end, met by a stock client",
            far_end.CHECKS,
            min(octets, far_end.FILE_OCTETS),
        ),
    ]


def _through(kind: GatewayKind, external: str) -> str:
    return f"{kind}, own stack" if external == "stack" else f"{kind}"
