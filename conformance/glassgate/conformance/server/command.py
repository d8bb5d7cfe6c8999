"""``glassgate far-end``: a server for one OpenVPN client, with keys of its own, on a socket."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, Literal

import click
from OpenSSL import SSL

from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.server.driver import Behind, Driver, stopped_by_signals
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.key_files import KeyFileError
from glassgate.conformance.server.profile import client_configuration, introduce
from glassgate.conformance.server.settings import Control, Settings
from glassgate.conformance.server.tls import Identity
from glassgate.conformance.server.tun import NAME_OCTETS, Tun
from glassgate.conformance.simulation import Beyond
from glassgate.contract import Cipher

SMALLEST_MTU, LARGEST_MTU = 68, 1600  # RFC 791 3.2; what an OpenVPN client lets itself be told (options.c)
CONTROLS, CIPHERS = [control.value for control in Control], [cipher.value for cipher in Cipher]
DIGESTS = ("sha1", "sha256", "sha384", "sha512")


def _read_by(read: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Read an option's text, or each of its texts, with a function that raises ValueError."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value is None:
            return None
        texts = value if isinstance(value, tuple) else (value,)
        try:
            found = tuple(map(read, texts))
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None
        return found if isinstance(value, tuple) else found[0]

    return callback


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address with a port, as 127.0.0.1:1194 is")
    return host, int(port)


def _interface(text: str) -> IPv4Interface:
    interface = IPv4Interface(text)
    network = interface.network
    if not network.network_address + 1 < interface.ip < network.broadcast_address:
        raise ValueError(f"{text!r} is not the second or a later host of a network, as 10.8.0.2/24 is")
    return interface


def _user(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not colon or not name or not password:
        raise ValueError("a name and a password are wanted, with a colon between")
    return name, password


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("far-end")
@click.option("--listen", callback=_read_by(_listen), default="127.0.0.1:1194", show_default=True, metavar="HOST:PORT",
              help="Where to listen.")  # fmt: skip
@click.option("--proto", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True, help="Over which.")
@click.option("--control", type=click.Choice(CONTROLS), default="tls-crypt", show_default=True,
              help="How control packets are wrapped.")  # fmt: skip
@click.option("--auth", type=click.Choice(DIGESTS), default="sha1", show_default=True, help="The digest of tls-auth.")
@click.option("--cipher", "ciphers", type=click.Choice(CIPHERS), multiple=True, help="What it takes, best first.")
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), help="Speak this version only.")
@click.option("--prf", is_flag=True, help="Make data keys without the TLS exporter.")
@click.option("--address", callback=_read_by(_interface), metavar="PREFIX", default="10.8.0.2/24", show_default=True,
              help="The client's, in the tunnel.")  # fmt: skip
@click.option("--mtu", type=click.IntRange(SMALLEST_MTU, LARGEST_MTU), default=1500, show_default=True,
              help="The largest inner packet.")  # fmt: skip
@click.option(
    "--user", callback=_read_by(_user), metavar="NAME:PASSWORD", help="What the client needs beside its certificate."
)
@click.option("--push", multiple=True, metavar="OPTION", help="A further option to push; may be repeated.")
@click.option(
    "--renegotiate", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Ask for new keys so often."
)
@click.option("--tun", metavar="NAME", help="Let Linux have the inner packets, at this interface (root).")
@click.option(
    "--route",
    "routes",
    callback=_read_by(IPv4Network),
    metavar="PREFIX",
    multiple=True,
    help="What lies behind the client.",
)
@click.option("--ca", type=_FILE, help="Your own authority, instead of one that lasts as long as this command.")
@click.option("--cert", type=_FILE, help="With --ca and --key: the server's certificate.")
@click.option("--key", type=_FILE, help="With --ca and --cert: the certificate's private key.")
@click.option("--control-key", type=_FILE, help="With --ca: the key file of tls-auth, tls-crypt or tls-crypt-v2.")
@click.option("--client", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-",
              show_default="standard output", metavar="FILE",
              help="Where to write the client's configuration; its private key is in it.")  # fmt: skip
@click.option("--verbose", "-v", is_flag=True, help="A line for each control packet.")
def far_end(
    listen: tuple[str, int],
    proto: Literal["tcp", "udp"],
    control: str,
    auth: str,
    ciphers: tuple[str, ...],
    tls: Literal["1.2", "1.3"] | None,
    prf: bool,
    address: IPv4Interface,
    mtu: int,
    user: tuple[str, str] | None,
    push: tuple[str, ...],
    renegotiate: float,
    tun: str | None,
    routes: tuple[IPv4Network, ...],
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    control_key: Path | None,
    client: Path,
    verbose: bool,
) -> int:
    """Be the server of a tunnel, for one OpenVPN client at a time.

    Keys and certificates are made afresh, and the client's configuration file is printed: connect with it. Every
    address beyond the tunnel answers pings, and datagrams to port 7; or --tun hands the packets to Linux.
    """
    settings, introduction = introduce(secrets.token_bytes, Control(control), proto)
    settings = replace(
        settings, auth=auth, ciphers=tuple(map(Cipher, ciphers)) or settings.ciphers, tls=tls, exports_keys=not prf,
        address=address, mtu=mtu, user=user, push=push, renegotiates_after=renegotiate,
    )  # fmt: skip
    settings, is_own = _with_files(settings, ca, cert, key, control_key)
    try:
        endpoint = Endpoint(settings, secrets.token_bytes, int(time.time()))
    except (ValueError, SSL.Error) as error:
        raise click.UsageError(f"the key files and certificates: {_words(error)}") from None
    behind = _behind(tun, settings, routes)
    driver = Driver(endpoint, listen, behind, _teller(verbose))
    host, port = driver.address
    if is_own:
        _hand_over(client_configuration(settings, introduction, host, port), client)
    with stopped_by_signals(driver):
        _say(f"listening at {host}:{port} over {proto}, control channel {control}")
        driver.run()
    return 0


def _hand_over(configuration: str, path: Path) -> None:
    """A private key is in it, so nobody else may read the file."""
    if str(path) == "-":
        click.echo(configuration, nl=False)
        return
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.chmod(file.fileno(), 0o600)  # where there was one already
        file.write(configuration)


def _with_files(
    settings: Settings, ca: Path | None, cert: Path | None, key: Path | None, control_key: Path | None
) -> tuple[Settings, bool]:
    """The user's own files in place of those that were made, and whether none were given."""
    given = [path for path in (ca, cert, key) if path is not None]
    if not given and control_key is None:
        return settings, True
    if ca is None or cert is None or key is None or (control_key is None) != (settings.control is Control.PLAIN):
        raise click.UsageError("--ca, --cert, --key and, unless --control is plain, --control-key go together")
    authority, certificate, private = (_text(path) for path in (ca, cert, key))
    wrapping = "" if control_key is None else _text(control_key)
    return replace(settings, identity=Identity(authority, certificate, private), key=wrapping), False


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except UnicodeDecodeError:
        raise click.UsageError(f"{path}: holds what is not ASCII") from None


def _behind(tun: str | None, settings: Settings, routes: tuple[IPv4Network, ...]) -> Behind:
    if tun is None:
        return Beyond(settings.mtu)
    if not 0 < len(tun.encode()) < NAME_OCTETS:
        raise click.UsageError(f"--tun: {tun!r} is not a name of 1 to {NAME_OCTETS - 1} octets")
    network = settings.address.network
    try:
        return Tun(tun, IPv4Interface(f"{network.network_address + 1}/{network.prefixlen}"), settings.mtu, routes)
    except (LabError, OSError) as error:
        raise click.UsageError(f"--tun {tun}: {error}") from None


def _words(error: ValueError | SSL.Error) -> str:
    if isinstance(error, KeyFileError):
        return str(error)
    return "they cannot be read, or do not belong together" if isinstance(error, SSL.Error) else str(error)


def _teller(is_verbose: bool) -> Callable[[str], None]:
    return _say if is_verbose else lambda words: None if words.startswith(("→", "←")) else _say(words)


def _say(words: str) -> None:
    print(f"far end: {words}", file=sys.stderr, flush=True)  # noqa: T201 - a command line prints
