"""``python -m glassgate.reference CONFIG.ovpn --internal IFACE --external os``: the reference gateway on Linux."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from glassgate.contract import ConfigError, GatewayConfig
from glassgate.reference.driver import Driver
from glassgate.reference.openvpn.key_exchange import Credentials
from glassgate.reference.openvpn.profile import Profile, ProfileError, asks_for_credentials, inlined
from glassgate.reference.packet_socket import PacketSocket, mtu_of

UNUSABLE = 2
"""Exit status for input that cannot be used."""


class Unusable(click.ClickException):
    """One line that says what cannot be used, and why."""

    exit_code = UNUSABLE


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--internal", required=True, metavar="IFACE", help="The interface of the internal network.")
@click.option(
    "--external",
    default="os",
    metavar="os|IFACE",
    show_default=True,
    help="'os': the kernel's TCP or UDP reaches the server.",
)
@click.option("--internal-address", default="10.38.2.1/24", show_default=True, help="The gateway's address inside.")
@click.option("--internal-mac", default="00:f0:0d:f0:0d:00", show_default=True, help="Its Ethernet address there.")
@click.option("--source", "sources", multiple=True, metavar="PREFIX", help="A further prefix that sends from inside.")
@click.option("--credentials", type=click.Path(path_type=Path), help="File with user name and password, a line each.")
@click.option("-v", "--verbose", is_flag=True, help="Log the fate of every packet.")
@click.option("-q", "--quiet", is_flag=True, help="Log only what goes wrong.")
def main(
    config: Path,
    internal: str,
    external: str,
    internal_address: str,
    internal_mac: str,
    sources: tuple[str, ...],
    credentials: Path | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run the reference gateway with the OpenVPN configuration file CONFIG.

    SIGTERM and SIGINT tell the server and end it; SIGUSR1 makes a new connection; SIGUSR2 writes the counters into the
    log. The log goes to standard error. The exit status is 0 if it was to end, 1 if the server ended it for good, 2 if
    the input cannot be used.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    if external != "os":
        raise Unusable(f"--external {external}: only 'os' is supported so far")
    try:
        profile, text = read_profile(config, credentials)
        settings = {
            "internal": {
                "address": internal_address,
                "mac": internal_mac,
                "mtu": _mtu(internal),
                "sources": list(sources),
            },
            "external": {"kind": "os"},
            "tunnel": {"ovpn": text},
        }
        gateway_config = GatewayConfig.from_json(settings)
    except (ProfileError, ConfigError) as error:
        raise Unusable(str(error)) from None
    for report in profile.reports:
        logging.getLogger("glassgate.reference").info("%s", report)
    sys.exit(Driver(gateway_config, profile, _open(internal)).run())


def read_profile(path: Path, credentials: Path | None) -> tuple[Profile, str]:
    """The profile in a file, and its text with all that it refers to inside.

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
    return profile, inlined(text, str(path), read, given)


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


def _mtu(interface: str) -> int:
    try:
        return mtu_of(interface)
    except OSError as error:
        raise Unusable(f"--internal {interface}: {error.strerror}") from None


def _open(interface: str) -> PacketSocket:
    try:
        return PacketSocket(interface)
    except PermissionError:
        raise Unusable(f"--internal {interface}: root is needed to read Ethernet frames (or CAP_NET_RAW)") from None
    except OSError as error:
        raise Unusable(f"--internal {interface}: {error.strerror}") from None


if __name__ == "__main__":
    main()
