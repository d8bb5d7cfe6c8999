"""The far end of this project in the stock server's place: a stock client connects to it, and traffic passes.

``glassgate far-end`` runs on the server's host, with an interface of its own there: hosts, routes and services are
those of every other check.
"""

from __future__ import annotations

import sys
from functools import partial

from glassgate.conformance.lab import checks, probes
from glassgate.conformance.lab.checks import Check, Run
from glassgate.conformance.lab.errors import CheckFailed
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.topology import (
    FAR_ADDRESS,
    GATEWAY,
    HOST5,
    INTERNAL_NETWORK,
    SERVER,
    SERVER_ADDRESS,
    TUNNEL_CLIENT_ADDRESS,
)
from glassgate.conformance.lab.tunnel import PORT, SERVER_DEVICE, Control, TunnelOptions

READY = "listening at"
PROGRAM = "import sys; from glassgate.conformance.cli import main; main(sys.argv[1:])"
FILE_OCTETS = 10_000_000
SEEDS = 21, 22
VARIETY: tuple[TunnelOptions, ...] = (
    TunnelOptions("tcp", Control.TLS_CRYPT, "AES-256-GCM", "1.3"),
    TunnelOptions("udp", Control.TLS_CRYPT_V2, "CHACHA20-POLY1305", "1.3"),
    TunnelOptions("tcp", Control.TLS_AUTH, "AES-128-GCM", "1.2"),
    TunnelOptions("udp", Control.PLAIN, "AES-256-GCM", "1.2"),
)
"""Each option once at least; the tests of the far end go through all products."""


def command(options: TunnelOptions, client: str) -> list[str]:
    """The far end's command line; it writes the client's configuration into a file."""
    # The server's kernel knows the way to the far host; what lies behind the client is told by --route.
    return [
        sys.executable, "-c", PROGRAM, "far-end", "--listen", f"{SERVER_ADDRESS}:{PORT}", "--proto", options.transport,
        "--control", options.control, "--cipher", options.cipher, "--tls", options.tls, "--mtu", str(options.mtu),
        "--address", f"{TUNNEL_CLIENT_ADDRESS}/24", "--tun", SERVER_DEVICE, "--route", INTERNAL_NETWORK,
        "--client", client,
    ]  # fmt: skip


def _start(lab: Lab, options: TunnelOptions) -> None:
    lab.begin_tunnel(options)
    configuration = lab.directory / "client.ovpn"
    lab.serve(command(options, str(configuration)), READY)
    lab.start_gateway(configuration)


def _meet(options: TunnelOptions, run: Run) -> str:
    """Up, a ping, a file each way, down."""
    lab = run.lab
    try:
        _start(lab, options)
        up = checks.tunnel_comes_up(run)
        answer = probes.ping(lab, HOST5, FAR_ADDRESS).demand()
        inwards = probes.download_all(lab, [HOST5], FAR_ADDRESS, run.file_octets, SEEDS[0])[0]
        inwards.demand(run.file_octets, SEEDS[0])
        outwards = probes.upload(lab, HOST5, FAR_ADDRESS, run.file_octets, SEEDS[1])
        outwards.demand(run.file_octets, SEEDS[1])
    except CheckFailed as failure:
        words = lab.last_words(GATEWAY), lab.last_words(SERVER)
        raise CheckFailed(f"{failure}; gateway: {words[0]}; far end: {words[1]}") from None
    finally:
        lab.stop_tunnel()
    rates = [f"{transfer.octets * 8 / 1e6 / transfer.seconds:.1f}" for transfer in (inwards, outwards)]
    return (
        f"up in {up.split()[0]} s, {answer.summary}; {run.file_octets} octets in at {rates[0]}, "
        f"out at {rates[1]} Mbit/s, both hashes equal"
    )


CHECKS: tuple[Check, ...] = tuple(Check(options.title, partial(_meet, options)) for options in VARIETY)
"""Each with a tunnel of its own."""
