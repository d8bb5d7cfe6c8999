"""``python -m glassgate.optimized CONFIG.ovpn --internal IFACE --external os``: the optimized gateway on Linux.

Same options, words and exit statuses as the reference's ``__main__.py``, and one option more, ``--ring``. All input is
checked here, before anything is opened that would have to be closed again.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from glassgate.contract import ConfigError, ExternalStack, GatewayConfig, Internal
from glassgate.contract.configuration import LARGEST_MTU
from glassgate.optimized.driver import Driver
from glassgate.optimized.gateway import BatchGateway
from glassgate.optimized.packet_socket import PacketSocket
from glassgate.reference.openvpn.profile import Credentials, Profile, ProfileError, asks_for_credentials, inlined

UNUSABLE = 2
"""Exit status for input that cannot be used."""
INTERNAL, EXTERNAL = "internal", "external"

log = logging.getLogger("glassgate.optimized")


class Unusable(click.ClickException):
    """One line that says what cannot be used, and why."""

    exit_code = UNUSABLE

    def show(self, file: IO[Any] | None = None) -> None:
        """Tell it as every command of this project does."""
        click.echo(f"glassgate: {self.format_message()}", file, err=file is None)


class OneLine(click.Command):
    """Tells what is wrong with its arguments in one line, without the usage before it."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the arguments."""
        try:
            return super().make_context(*arguments, **more)
        except click.UsageError as error:
            raise Unusable(error.format_message()) from None


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--internal", required=True, metavar="IFACE", help="The interface of the internal network.")
@click.option(
    "--external",
    default="os",
    metavar="os|IFACE",
    show_default=True,
    help="'os': the kernel's TCP or UDP reaches the server; IFACE: the gateway's own stack does, over that interface.",
)
@click.option("--internal-address", default="10.38.2.1/24", show_default=True, help="The gateway's address inside.")
@click.option("--internal-mac", default="00:f0:0d:f0:0d:00", show_default=True, help="Its Ethernet address there.")
@click.option("--external-address", default="192.168.1.5/24", show_default=True, help="Its address outside (IFACE).")
@click.option("--external-mac", default="02:00:c0:a8:01:05", show_default=True, help="Its Ethernet address there.")
@click.option("--external-gateway", default="192.168.1.1", show_default=True, help="The router there.")
@click.option("--source", "sources", multiple=True, metavar="PREFIX", help="A further prefix that sends from inside.")
@click.option("--credentials", type=click.Path(path_type=Path), help="File with user name and password, a line each.")
@click.option("--status", type=click.Path(path_type=Path), help="Where SIGUSR2 writes how things stand, as JSON.")
@click.option("--ring/--no-ring", default=True, show_default=True, help="Receive through a ring in shared memory.")
@click.option("-v", "--verbose", is_flag=True, help="Log the fate of every packet.")
@click.option("-q", "--quiet", is_flag=True, help="Log only what goes wrong.")
def main(
    config: Path,
    credentials: Path | None,
    status: Path | None,
    ring: bool,
    verbose: bool,
    quiet: bool,
    **options: str | tuple[str, ...],
) -> None:
    """Run the optimized gateway with the OpenVPN configuration file CONFIG.

    SIGTERM and SIGINT tell the server and end it; SIGUSR1 makes a new connection; SIGUSR2 writes the counters into the
    log, and how things stand into the file of --status. The log goes to standard error. The exit status is 0 if it was
    to end, 1 if the server ended it for good, 2 if the input cannot be used.
    """
    if verbose and quiet:
        raise Unusable("--verbose and --quiet: only one of them can be had")
    if status is not None and not status.absolute().parent.is_dir():
        raise Unusable(f"--status {status}: its folder does not exist")
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    has_own_stack = options[EXTERNAL] != "os"
    try:
        profile, text = read_profile(config, credentials, _look_up if has_own_stack else str)
        gateway_config = GatewayConfig.from_json(_settings(options, text, verbose))
        gateway = BatchGateway(gateway_config, os.urandom)
    except (ProfileError, ConfigError) as error:
        raise Unusable(str(error)) from None
    for report in profile.reports:
        log.info("%s", report)
    for warning in profile.warnings(datetime.now(UTC)):
        log.warning("%s", warning)
    inside = _open(INTERNAL, options, gateway_config.internal, ring)
    outside = None
    if isinstance(gateway_config.external, ExternalStack):
        outside = _open(EXTERNAL, options, gateway_config.external, ring)
    sys.exit(Driver(gateway, inside, outside, status).run())


def _settings(options: Mapping[str, str | tuple[str, ...]], text: str, verbose: bool) -> object:
    """The gateway's configuration as protocol 1 writes it; each interface's MTU is the kernel's."""
    external: dict[str, object] = {"kind": "os"}
    if options[EXTERNAL] != "os":
        external = {
            "kind": "stack",
            "address": options["external_address"],
            "mac": options["external_mac"],
            "gateway": options["external_gateway"],
            "mtu": _mtu(EXTERNAL, str(options[EXTERNAL])),
        }
    internal = {
        "address": options["internal_address"],
        "mac": options["internal_mac"],
        "mtu": _mtu(INTERNAL, str(options[INTERNAL])),
        "sources": list(options["sources"]),
    }
    return {"internal": internal, "external": external, "tunnel": {"ovpn": text}, "notes": verbose}


def read_profile(path: Path, credentials: Path | None, resolve: Callable[[str], str]) -> tuple[Profile, str]:
    """The profile in a file, and its text with all that it refers to inside; ``resolve`` looks servers' names up.

    Raises:
        ProfileError: it cannot be used.
    """
    text = _read_text(path)

    def read(name: str) -> bytes:
        return (path.parent / name).read_bytes()

    given = _credentials(credentials)
    if given is None and asks_for_credentials(text, str(path), read) and sys.stdin.isatty():
        given = Credentials(click.prompt("User name"), click.prompt("Password", hide_input=True))
    profile = Profile.parse(text, str(path), read, given)
    return profile, inlined(text, str(path), read, given, resolve)


def _credentials(path: Path | None) -> Credentials | None:
    if path is None:
        return None
    lines = _read_text(path).splitlines()
    if len(lines) < 2 or not lines[0]:
        raise ProfileError(f"{path}: needs two lines: user name and password")
    return Credentials(lines[0], lines[1])


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}") from None


def _look_up(host: str) -> str:
    """A server's IPv4 address, once and for all."""
    return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])


def _mtu(side: str, interface: str) -> int:
    """The interface's MTU: what the gateway cuts to there (S32)."""
    path = Path("/sys/class/net") / interface / "mtu"
    if "/" in interface or not path.exists():
        raise Unusable(f"--{side} {interface}: No such device")
    return min(int(path.read_text(encoding="ascii")), LARGEST_MTU)  # the loopback has more than IP can say


def _open(
    side: str, options: Mapping[str, str | tuple[str, ...]], settings: Internal | ExternalStack, has_ring: bool
) -> PacketSocket:
    interface = str(options[side])
    try:
        return PacketSocket(interface, bytes(settings.mac), settings.mtu, has_ring=has_ring, is_end=side == "external")
    except PermissionError:
        raise Unusable(f"--{side} {interface}: root is needed to read Ethernet frames (or CAP_NET_RAW)") from None
    except OSError as error:
        raise Unusable(f"--{side} {interface}: {error.strerror}") from None


if __name__ == "__main__":
    main()
