"""``glassgate lab``: run, matrix, faults, far-end, all; up, shell, status, down.

Exit status 0: all is well, 1: a check failed, 2: there was nothing to work with.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TextIO

import click
from rich.live import Live
from rich.table import Table
from rich.text import Text

from glassgate.conformance.lab import (
    checks,
    far_end,
    faults,
    matrix,
    network,
    programs,
    report,
    state,
    topology,
    whole,
)
from glassgate.conformance.lab.checks import Check, Result, Run, Verdict
from glassgate.conformance.lab.errors import EXIT_FAILED, EXIT_UNUSABLE, CheckFailed, Interrupted, LabError
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.signals import interruptible, undisturbed
from glassgate.conformance.lab.state import LabState
from glassgate.conformance.lab.tunnel import GatewayKind, TunnelOptions
from glassgate.conformance.lab.whole import MEGABYTE, Part

P = ParamSpec("P")
UP_SECONDS = 90
SHOWN_LOGS = (topology.GATEWAY, topology.SERVER)
GATEWAY_OPTION = click.option(
    "--gateway", default=GatewayKind.REFERENCE.value, show_default=True,
    type=click.Choice([kind.value for kind in GatewayKind]),
    help="Which gateway; openvpn is the stock client with the kernel forwarding: the baseline.",
)  # fmt: skip
EXTERNAL_OPTION = click.option(
    "--external", default="os", show_default=True, type=click.Choice(["os", "stack"]),
    help="The gateway's transport outside: the operating system's, or its own stack.",
)  # fmt: skip
ONLY_OPTION = click.option("--only", default="", metavar="TEXT", help="Only those whose title holds TEXT.")
TIMEOUT_OPTION = click.option(
    "--timeout", default=600, show_default=True, type=click.IntRange(1, 7200), help="Seconds for all of it.",
)  # fmt: skip
SIZE_OPTION = click.option(
    "--size", default=4, show_default=True, type=click.IntRange(1, 1000), help="Size of the files, in MB.",
)  # fmt: skip
SECONDS_OPTION = click.option(
    "--seconds", default=3, show_default=True, type=click.IntRange(1, 60), help="Time of each iperf3 run.",
)  # fmt: skip
JSON_OPTION = click.option(
    "--json", "json_file", type=click.File("w", lazy=False), help="Write the results there, too.",
)  # fmt: skip
PCAP_OPTION = click.option(
    "--pcap", "captures", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Capture both interfaces of the gateway into DIR/internal.pcap and DIR/external.pcap.",
)  # fmt: skip


def _with_clear_errors(command: Callable[P, int]) -> Callable[P, int]:
    """What the lab cannot do is one line and exit status 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            programs.require()
            return command(*args, **kwargs)
        except LabError as error:
            raise click.ClickException(f"lab: {error}") from error

    return wrapped


@click.group()
def lab() -> None:
    """Real hosts, a stock OpenVPN server and a gateway between them, in network namespaces (root)."""


# ── run ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@lab.command(short_help="Send real traffic through a gateway, and measure.")
@GATEWAY_OPTION
@EXTERNAL_OPTION
@PCAP_OPTION
@SIZE_OPTION
@SECONDS_OPTION
@TIMEOUT_OPTION
@JSON_OPTION
@_with_clear_errors
def run(
    gateway: str, external: str, captures: Path | None, size: int, seconds: int, timeout: int, json_file: TextIO | None
) -> int:
    """Build the lab, run the checks through a gateway, print what was measured, take it down."""
    part = whole.run(GatewayKind(gateway), external, size * MEGABYTE, seconds, captures)
    return _work(gateway, [part], timeout, json_file)


def _command_of(name: str, listed: Sequence[Check], told: str, short: str, octets: int = MEGABYTE) -> None:
    """A command of that name, which makes a tunnel for each check of a list."""

    @lab.command(name=name, help=told, short_help=short)
    @GATEWAY_OPTION
    @EXTERNAL_OPTION
    @ONLY_OPTION
    @PCAP_OPTION
    @TIMEOUT_OPTION
    @JSON_OPTION
    @_with_clear_errors
    def command(
        gateway: str, external: str, only: str, captures: Path | None, timeout: int, json_file: TextIO | None
    ) -> int:
        return _work(gateway, [_each(gateway, external, listed, only, captures, octets)], timeout, json_file)


_command_of(
    "matrix", matrix.CHECKS,
    "Bring up every kind of tunnel in turn: transports, control channels, ciphers, versions of TLS.",
    "Bring up every kind of tunnel in turn.",
)  # fmt: skip
_command_of(
    "faults", faults.CHECKS,
    "Break things under traffic, and give the gateway wrong keys: nothing may be lost, nothing let in.",
    "Break things under traffic, and give wrong keys.",
)  # fmt: skip
_command_of(
    "far-end", far_end.CHECKS,
    "Put `glassgate far-end` in the stock server's place; with --gateway openvpn a stock client connects to it.",
    "Put `glassgate far-end` in the server's place.",
    far_end.FILE_OCTETS,
)  # fmt: skip


@lab.command(name="all", short_help="All of these, part by part: what `make lab` does.")
@GATEWAY_OPTION
@SIZE_OPTION
@SECONDS_OPTION
@click.option("--timeout", default=3600, show_default=True, type=click.IntRange(1, 7200), help="Seconds for all of it.")
@JSON_OPTION
@_with_clear_errors
def all_command(gateway: str, size: int, seconds: int, timeout: int, json_file: TextIO | None) -> int:
    """Everything, part by part: run (own stack, too; read by tshark), matrix, faults, and the far end."""
    programs.require({**programs.PACKAGES, **programs.DISSECTORS})
    with tempfile.TemporaryDirectory(prefix="glassgate-lab-") as captures:
        parts = whole.parts(GatewayKind(gateway), size * MEGABYTE, seconds, Path(captures))
        return _work(gateway, parts, timeout, json_file)


def _each(
    gateway: str, external: str, listed: Sequence[Check], only: str, captures: Path | None, octets: int = MEGABYTE
) -> Part:
    """Those checks whose title holds a text: each makes and ends its own tunnel."""
    chosen = tuple(check for check in listed if only in check.title)
    if not chosen:
        raise LabError(f"no title holds {only!r}; the first is {listed[0].title!r}")
    return replace(whole.each(GatewayKind(gateway), external, gateway, chosen, octets), captures=captures)


def _work(gateway: str, parts: Sequence[Part], timeout: int, json_file: TextIO | None) -> int:
    """For each part build a lab, measure in it, take it down whatever happens; the exit status."""
    for part in parts:
        _make_directory(part.captures)
    for abandoned in network.take_down_abandoned():
        click.echo(f"took down {abandoned.name}, left by a run that was killed", err=True)
    found: dict[str, list[Result]] = {}
    start = time.monotonic()
    is_complete = False
    try:
        with interruptible(timeout):
            for part in parts:
                with _lab(part.gateway, part.external, stays=False) as made:
                    _measure_all(made, part, found.setdefault(part.title, []))
        is_complete = True
    except Interrupted as interrupted:
        return _interrupted(interrupted)
    finally:
        if json_file is not None:
            json.dump(report.to_json(found, gateway, is_complete=is_complete), json_file, indent=1)
    _tell(found, time.monotonic() - start)
    return 0 if report.has_passed(report.together(found)) else EXIT_FAILED


def _tell(found: Mapping[str, Sequence[Result]], seconds: float) -> None:
    """The last line; where there are several parts, what failed is repeated before it."""
    if len(found) > 1:
        for title, results in found.items():
            for result in results:
                if result.verdict is Verdict.FAILED:
                    click.echo(f"failed: {title}: {result.title}: {result.measured}")
    click.echo(report.summary(report.together(found), seconds))


def _interrupted(interrupted: Interrupted) -> int:
    click.echo(f"glassgate: lab: {interrupted.reason}; the lab is taken down", err=True)
    return interrupted.exit_status


def _measure_all(made: Lab, part: Part, results: list[Result]) -> None:
    """Everything between up and down: the table grows as the checks end; logs follow if something failed."""
    out = report.console()
    with out.status("building the network"):
        made.build()
        _capture(made, part.captures, part.packets)
        running = part.measure(made)
    with Live(report.table(results, part.title), console=out, auto_refresh=False) as live:
        for result in running:
            results.append(result)
            live.update(report.table(results, part.title), refresh=True)
    if not out.is_terminal:
        out.print()  # where it does not go to a terminal, the table ends without a line feed
    if any(result.verdict is Verdict.FAILED for result in results):
        report.show_logs(out, made, SHOWN_LOGS)


def _make_directory(directory: Path | None) -> None:
    """Before anything is built: a directory that cannot be made should cost nobody's time."""
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{directory} cannot be made: {error.strerror}") from None


def _capture(made: Lab, directory: Path | None, packets: int | None = None) -> None:
    if directory is None:
        return
    for interface in (topology.INTERNAL_INTERFACE, topology.EXTERNAL_INTERFACE):
        path = directory.absolute() / f"{interface}.pcap"
        made.capture(f"capture {interface}", topology.GATEWAY, interface, path, packets=packets)


@contextlib.contextmanager
def _lab(kind: GatewayKind, external: str, *, stays: bool) -> Iterator[Lab]:
    """A lab that is taken down whatever happens within; one that is to stay stays if nothing was raised."""
    made: Lab | None = None
    is_well = False
    try:
        made = Lab.create(kind, owned=not stays, own_stack=external == "stack")
        yield made
        is_well = True
    except (LabError, CheckFailed):
        if made is not None:
            report.show_logs(report.console(), made, [role for role in SHOWN_LOGS if made.log(role)])
        raise
    finally:
        if made is not None and not (stays and is_well):
            _take_down(made)


def _take_down(made: Lab) -> bool:
    with undisturbed():
        problems = made.down()
    for problem in problems:
        click.echo(f"glassgate: lab: {problem}", err=True)
    return not problems


# ── up, shell, status, down ───────────────────────────────────────────────────────────────────────────────────────────


@lab.command(short_help="Build the lab and leave it, for `lab shell`.")
@GATEWAY_OPTION
@EXTERNAL_OPTION
@PCAP_OPTION
@_with_clear_errors
def up(gateway: str, external: str, captures: Path | None) -> int:
    """Build the lab and leave it: for `lab shell`, until `lab down`."""
    _make_directory(captures)
    try:
        with interruptible(UP_SECONDS), _lab(GatewayKind(gateway), external, stays=True) as made:
            made.build()
            _capture(made, captures)
            made.start_tunnel(TunnelOptions())
            measured = checks.tunnel_comes_up(Run(made, MEGABYTE, 1))
    except CheckFailed as failure:
        click.echo(f"glassgate: lab: {failure}; the lab is taken down", err=True)
        return EXIT_FAILED
    except Interrupted as interrupted:
        return _interrupted(interrupted)
    click.echo(f"{made.state.name} is up with the {gateway} gateway; {measured}")
    click.echo(f"glassgate lab shell {topology.HOST5}, then perhaps: ping {topology.FAR_ADDRESS}")
    click.echo(f"files and logs: {made.directory}")
    return 0


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("host", type=click.Choice(topology.HOSTS))
@click.option("--lab", "name", metavar="NAME", help="Which lab, if there are several.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_with_clear_errors
def shell(host: str, name: str | None, command: tuple[str, ...]) -> int:
    """Open a shell on a host of the lab, or run COMMAND there."""
    found = state.find(name) if name is not None else _the_only_lab()
    arguments = list(command) or [os.environ.get("SHELL") or "/bin/sh"]
    click.echo(f"{found.name}: {host}" if not command else "", nl=not command, err=True)
    full = Lab(found).command(host, arguments)
    os.execvpe(full[0], full, {**os.environ, "PATH": programs.environment()["PATH"], "GLASSGATE_LAB_HOST": host})


def _the_only_lab() -> LabState:
    there = [found for found in state.labs() if not found.is_in_use]
    match there:
        case [found]:
            return found
        case []:
            raise LabError("no lab is up: glassgate lab up")
        case _:
            raise LabError(f"several labs are up: say --lab with one of {', '.join(found.name for found in there)}")


@lab.command(short_help="Show labs, hosts and processes.")
@_with_clear_errors
def status() -> int:
    """Show the labs of this machine, their hosts and their processes."""
    found = list(state.labs())
    if not found:
        click.echo("no lab is up")
    out = report.console()
    for one in found:
        out.print(_status_of(one))
    return 0


def _status_of(one: LabState) -> Table:
    use = f", in use by process {one.owner.pid}" if one.is_in_use and one.owner is not None else ""
    grid = Table(title=f"{one.name}: {one.gateway} gateway{use}", title_justify="left")
    for heading in ("host", "addresses", "programs"):
        grid.add_column(heading)
    present = network.existing_namespaces(one.name)
    for host in topology.HOSTS:
        namespace = one.namespace(host)
        is_there = namespace in present
        addresses = network.addresses(namespace) if is_there else ["no namespace"]
        living = [f"{name} {pid}" for pid, name in network.inhabitants(namespace)] if is_there else []
        grid.add_row(host, Text("\n".join(addresses)), Text("\n".join(living)))
    return grid


@lab.command(short_help="Take labs down.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_with_clear_errors
def down(names: tuple[str, ...]) -> int:
    """Take labs down: those named, or all but the ones that a running `lab run` works with."""
    chosen = [state.find(name) for name in names] or [found for found in state.labs() if not found.is_in_use]
    if not chosen:
        click.echo("no lab is up")
    well = True
    for one in chosen:
        done = _take_down(Lab(one))
        well = well and done
        if done:
            click.echo(f"{one.name} is down")
    return 0 if well else EXIT_UNUSABLE
