"""``glassgate follow``: what a gateway does with frames that the user brings, explained as in the demo.

Frames come as hexadecimal octets, as a pcap or pcapng file, or on standard input in either form. The gateway starts in
an empty network whose transport works; then each frame arrives at its time. What cannot be used is answered by one
line that names the place and the value.
"""

from __future__ import annotations

import os.path
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from glassgate.conformance import capture, strict_json
from glassgate.conformance.demo import configuration
from glassgate.conformance.dissect import Dissector
from glassgate.conformance.explain import DETAIL_HELP, DETAILS, Detail, Explainer
from glassgate.conformance.simulation import Moment, Network
from glassgate.conformance.subjects import discovery
from glassgate.conformance.terminal import paragraph
from glassgate.contract import Gateway, GatewayConfig, Port, SeededEntropy, Unsupported

FIRST_ARRIVAL = 3.0  # the gateway's start, with its announcements at 0 and 2 s, is over by then
BETWEEN = 0.1
PORTS = ("internal", "external", "flow", "tunnel")
LONGEST_WAIT = 86_400.0
_HEX = re.compile(r"[0-9a-fA-F\s:]+")


@dataclass(frozen=True, slots=True)
class Brought:
    """A frame that the user brought; ``seconds`` after the first one."""

    data: bytes
    seconds: float


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="HEX|FILE|-…")
@click.option(
    "--port", type=click.Choice(PORTS), default="internal", show_default=True, help="Where the frames arrive."
)
@click.option("--config", "config_path", type=click.Path(path_type=Path), metavar="FILE.json", help="Configuration.")
@click.option("--gateway", default="reference", show_default=True, metavar="NAME", help="Whose decisions to explain.")
@click.option(
    "--wait", default=0.0, show_default=True, metavar="SECONDS", help="Go on for so long after the last frame."
)
@click.option("--detail", type=click.Choice(DETAILS), default="changes", show_default=True, help=DETAIL_HELP)
def follow(
    sources: tuple[str, ...], port: str, config_path: Path | None, gateway: str, wait: float, detail: str
) -> None:
    """Explain what a gateway does with frames: hexadecimal octets, a pcap or pcapng file, or - for standard input.

    The port tunnel takes inner IP packets, which the far end seals. Without --config the network is the demo's; a
    configuration without keys gets the demo's keys.
    """
    if not 0 <= wait <= LONGEST_WAIT:
        raise click.UsageError(f"--wait: {wait} is not from 0 to {LONGEST_WAIT:g} seconds")
    config = configuration("os") if config_path is None else load_config(config_path)
    brought = [frame for source in sources for frame in read_source(source, port)]
    if not brought:
        names = ", ".join("standard input" if source == "-" else source for source in sources)
        raise click.UsageError(f"{names}: holds no frame for the port {port}")
    check_port(port, config)
    try:
        subject = discovery.find(gateway)(config, SeededEntropy(config.entropy))
    except (discovery.SubjectError, Unsupported) as error:
        raise click.UsageError(f"--gateway {gateway}: {error}") from None
    tell(subject, config, port, brought, wait, Console(highlight=False), Detail(detail))


# ── telling ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def tell(
    gateway: Gateway,
    config: GatewayConfig,
    port: str,
    brought: Iterable[Brought],
    wait: float,
    console: Console,
    detail: Detail = Detail.CHANGES,
) -> None:
    """Start the gateway unseen, let the frames arrive, and explain what happens from the first on."""
    explainer = Explainer(console, Dissector.for_config(config), detail)
    before: list[Moment] = []

    def watch(moment: Moment) -> None:
        if moment.at < FIRST_ARRIVAL:
            before.append(moment)
        elif moment.effects or moment.door != "tick":
            explainer.moment(replace(moment, number=moment.number - len(before)))

    network = Network(gateway, config, watch, is_silent=True)
    network.start()
    network.run(until=FIRST_ARRIVAL)
    at = FIRST_ARRIVAL
    for frame in brought:
        at = max(at, FIRST_ARRIVAL + frame.seconds)
        if port == "tunnel":
            network.arrive_from_tunnel(at, frame.data, "the far end")
        else:
            network.arrive(at, Port(port), frame.data, "you")
        network.run(until=at)
    network.run(until=at + wait)
    _epilogue(console, gateway, at + wait)


def _epilogue(console: Console, gateway: Gateway, now: float) -> None:
    console.print()
    due = gateway.deadline
    words = "Nothing is pending."
    if due is not None:
        words = f"The gateway's next deadline is in {round(due - now, 3):g} s; --wait SECONDS goes on."
    paragraph(console, Text(words, style="dim"))


# ── what the user brings ──────────────────────────────────────────────────────────────────────────────────────────────


def load_config(path: Path) -> GatewayConfig:
    """Read a configuration file; one without ``session`` and ``ovpn`` gets the demo's session.

    Raises:
        click.UsageError: the file cannot be read or used.
    """
    try:
        value = strict_json.parse(path.read_text("utf-8"))
        return GatewayConfig.from_json(_with_session(value))
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: cannot be read: {_reason(error)}") from None
    except ValueError as error:  # no JSON, or no configuration
        raise click.UsageError(f"{path}: {error}") from None


def _with_session(value: Any) -> Any:
    tunnel = value.get("tunnel", {}) if isinstance(value, Mapping) else None
    if not isinstance(tunnel, Mapping) or "session" in tunnel or "ovpn" in tunnel:
        return value
    return {**value, "tunnel": {**tunnel, "session": configuration("os").to_json()["tunnel"]["session"]}}


def check_port(port: str, config: GatewayConfig) -> None:
    """Refuse a port that the configuration lacks.

    Raises:
        click.UsageError: it lacks it.
    """
    if config.tunnel.session is None:
        raise click.UsageError("tunnel.ovpn: follow has no server to negotiate with; give tunnel.session, or neither")
    kind = config.external.kind
    if (port == "external") == (kind == "os") and port in ("external", "flow"):
        raise click.UsageError(f"--port {port}: the configuration's external.kind is {kind!r}, which has no such port")


def read_source(source: str, port: str) -> Iterator[Brought]:
    """The frames of one argument.

    Raises:
        click.UsageError: it is neither a file nor hexadecimal octets, or the file cannot be read.
    """
    if source == "-":
        return _read_octets("standard input", sys.stdin.buffer.read(), port)
    if not source.strip():
        raise click.UsageError(f"{source!r}: is neither a file nor hexadecimal octets")
    if _HEX.fullmatch(source) and not os.path.exists(source):  # Path.exists raises on names that are too long
        return iter([Brought(_octets("", _digits("", source)), 0.0)])
    try:
        return _read_octets(source, Path(source).read_bytes(), port)
    except FileNotFoundError:
        raise click.UsageError(f"{_short(source)}: is neither a file nor hexadecimal octets") from None
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{_short(source)}: cannot be read: {_reason(error)}") from None


def _read_octets(name: str, octets: bytes, port: str) -> Iterator[Brought]:
    if capture.is_capture(octets):
        return _read_capture(name, octets, port)
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError:
        raise click.UsageError(f"{name}: is neither a capture file nor hexadecimal octets") from None
    return _read_lines(name, text)


def _read_lines(name: str, text: str) -> Iterator[Brought]:
    """One frame a line; a line that ends in a backslash goes on in the next. ``#`` begins a comment."""
    digits = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        goes_on = line.endswith("\\")
        digits += _digits(f"{name}: line {number}: ", line.removesuffix("\\"))
        if digits and not goes_on:
            yield Brought(_octets(f"{name}: line {number}: ", digits), 0.0)
            digits = ""
    if digits:
        raise click.UsageError(f"{name}: the last line goes on, and nothing follows")


def _digits(place: str, text: str) -> str:
    digits = re.sub(r"[\s:]", "", text)
    if not re.fullmatch(r"[0-9a-fA-F]*", digits):
        raise click.UsageError(f"{place}{_short(text)} is not hexadecimal octets")
    return digits


def _octets(place: str, digits: str) -> bytes:
    if len(digits) % 2:
        raise click.UsageError(f"{place}{_short(digits)} has an odd number of hexadecimal digits")
    return bytes.fromhex(digits)


def _read_capture(name: str, octets: bytes, port: str) -> Iterator[Brought]:
    """The packets for this port. A file whose interfaces are named as ports tells which; else all are."""
    try:
        packets = list(capture.read(octets))
    except capture.CaptureError as error:
        raise click.UsageError(f"{name}: {error}") from None
    if any(packet.interface in PORTS for packet in packets):
        packets = [packet for packet in packets if packet.interface == port]
    packets = [packet for packet in packets if packet.direction != "out"]
    wanted = capture.RAW_IP if port == "tunnel" else capture.ETHERNET
    for packet in packets:
        if port == "flow" or packet.link_type != wanted:
            has = capture.LINK_TYPES[packet.link_type]
            takes = {"flow": "the stream's octets, in hexadecimal", "tunnel": "raw IP"}.get(port, "Ethernet frames")
            raise click.UsageError(f"{name}: packet {packet.number}: is {has}, and the port {port} takes {takes}")
        if packet.missing:
            whole = len(packet.data) + packet.missing
            raise click.UsageError(
                f"{name}: packet {packet.number}: {len(packet.data)} of its {whole} octets were captured"
            )
        yield Brought(packet.data, packet.seconds - packets[0].seconds)


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
