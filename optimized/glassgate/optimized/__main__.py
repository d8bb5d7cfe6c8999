"""``python -m glassgate.optimized CONFIG``: the optimized gateway on real interfaces. All input is checked here."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from glassgate.contract import ConfigError, ExternalStack, GatewayConfig, Internal
from glassgate.contract.configuration import LARGEST_MTU
from glassgate.optimized.driver import Driver
from glassgate.optimized.gateway import BatchGateway
from glassgate.optimized.packet_socket import PacketSocket
from glassgate.reference.openvpn.profile import Profile, ProfileError, inlined

log = logging.getLogger("glassgate.optimized")


class OneLine(click.Command):
    """Tells what is wrong with its arguments in one line, without the usage before it."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the arguments."""
        try:
            return super().make_context(*arguments, **more)
        except click.UsageError as error:
            sys.exit(_refuse(error.format_message()))


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--internal", metavar="IFACE", required=True, help="The interface of the internal network.")
@click.option(
    "--external", metavar="os|IFACE", default="os", show_default=True,
    help="'os': the kernel's TCP or UDP reaches the server; IFACE: the gateway's own stack does, over that interface.",
)  # fmt: skip
@click.option("--internal-address", default="10.38.2.1/24", show_default=True, help="The gateway's address inside.")
@click.option("--internal-mac", default="00:f0:0d:f0:0d:00", show_default=True, help="Its Ethernet address there.")
@click.option("--external-address", default="192.168.1.5/24", show_default=True, help="Its address outside (IFACE).")
@click.option("--external-mac", default="02:00:c0:a8:01:05", show_default=True, help="Its Ethernet address there.")
@click.option("--external-gateway", default="192.168.1.1", show_default=True, help="The router there.")
@click.option("--source", "sources", metavar="PREFIX", multiple=True, help="A further prefix that sends from inside.")
@click.option("--credentials", type=click.Path(path_type=Path), help="File with user name and password, a line each.")
@click.option("--ring/--no-ring", default=True, show_default=True, help="Receive through a ring in shared memory.")
@click.option("-v", "--verbose", is_flag=True, help="Log the fate of every packet (slow).")
@click.option("-q", "--quiet", is_flag=True, help="Log only what goes wrong.")
def main(
    config: Path,
    internal: str,
    external: str,
    internal_address: str,
    internal_mac: str,
    external_address: str,
    external_mac: str,
    external_gateway: str,
    sources: tuple[str, ...],
    credentials: Path | None,
    ring: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run the optimized gateway with the OpenVPN configuration file CONFIG.

    SIGTERM and SIGINT tell the server and end it; SIGUSR1 makes a new connection; SIGUSR2 writes the counters into the
    log. The log goes to standard error. The exit status is 0 if it was to end, 1 if the server ended it for good,
    2 if the input cannot be used.
    """
    if verbose and quiet:
        sys.exit(_refuse("--verbose and --quiet: only one of them can be had"))
    _set_up_log(verbose, quiet)
    try:
        outside = _outside(external, external_address, external_mac, external_gateway)
        inside = {
            "address": internal_address, "mac": internal_mac, "mtu": _mtu("--internal", internal),
            "sources": list(sources),
        }  # fmt: skip
        checked = _configuration(config, inside, outside, credentials, verbose)
        gateway = BatchGateway(checked, os.urandom)
    except (ConfigError, ProfileError) as error:
        sys.exit(_refuse(str(error)))
    except OSError as error:
        sys.exit(_refuse(f"{error.filename}: {error.strerror}"))
    frames = _packet_socket("--internal", internal, checked.internal, ring)
    outer = None
    if isinstance(checked.external, ExternalStack):
        outer = _packet_socket("--external", external, checked.external, ring)
    sys.exit(Driver(gateway, frames, outer).run())


def _packet_socket(option: str, interface: str, side: Internal | ExternalStack, ring: bool) -> PacketSocket:
    try:
        return PacketSocket(interface, bytes(side.mac), side.mtu, has_ring=ring)
    except OSError as error:
        sys.exit(_refuse(f"{option} {interface}: {error.strerror}"))


def _set_up_log(verbose: bool, quiet: bool) -> None:
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", stream=sys.stderr)


def _configuration(
    config: Path, inside: dict[str, object], outside: dict[str, object], credentials: Path | None, verbose: bool
) -> GatewayConfig:
    members: dict[str, object] = {
        "internal": inside,
        "external": outside,
        "tunnel": {"ovpn": _profile_text(config, credentials)},
        "notes": verbose,
    }
    return GatewayConfig.from_json(members)


def _refuse(message: str) -> int:
    click.echo(f"glassgate: {message}", err=True)
    return 2


def _outside(external: str, address: str, mac: str, gateway: str) -> dict[str, object]:
    if external == "os":
        return {"kind": "os"}
    mtu = _mtu("--external", external)
    return {"kind": "stack", "address": address, "mac": mac, "gateway": gateway, "mtu": mtu}


def _mtu(option: str, interface: str) -> int:
    """The interface's MTU: what the gateway cuts to there (S32)."""
    path = Path("/sys/class/net") / interface / "mtu"
    if "/" in interface or not path.exists():
        raise ConfigError(f"{option} {interface}", "there is no such interface")
    return min(int(path.read_text()), LARGEST_MTU)  # the loopback has one octet more than IP can say


def _profile_text(path: Path, credentials: Path | None) -> str:
    """The configuration file with all its files inline, checked under its own name."""
    text = path.read_text(encoding="utf-8", errors="replace")
    directory = path.parent

    def read(name: str) -> bytes:
        return (directory / name).read_bytes()

    if credentials is not None:
        lines = credentials.read_text(encoding="utf-8").splitlines()
        if len(lines) < 2:
            raise ConfigError(f"--credentials {credentials}", "needs two lines: user name and password")
        text += f"\n<auth-user-pass>\n{lines[0]}\n{lines[1]}\n</auth-user-pass>\n"
    for warning in Profile.parse(text, str(path), read).warnings(datetime.now(UTC)):
        log.warning("%s", warning)
    return inlined(text, str(path), read)


if __name__ == "__main__":
    main()
