"""Every kind of tunnel that a stock server and client can agree on, each brought up and used for a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

from glassgate.conformance.lab import checks, probes
from glassgate.conformance.lab.checks import Check, Run
from glassgate.conformance.lab.errors import CheckFailed
from glassgate.conformance.lab.topology import FAR_ADDRESS, GATEWAY, HOST5, SERVER
from glassgate.conformance.lab.tunnel import Control, TunnelOptions
from glassgate.contract import Cipher

TRANSPORTS: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")
TLS_VERSIONS: tuple[Literal["1.2", "1.3"], ...] = ("1.2", "1.3")

TUNNELS: tuple[TunnelOptions, ...] = tuple(
    TunnelOptions(transport, control, cipher.value, tls)
    for transport, control, cipher, tls in product(TRANSPORTS, Control, Cipher, TLS_VERSIONS)
)
"""Transports, wrappings of the control channel, ciphers of the data channel, versions of TLS: all of their products.

A stock server has all of these make their keys by the TLS exporter.
"""

BY_PRF: tuple[TunnelOptions, ...] = tuple(
    TunnelOptions(transport, tls=tls, keys="prf") for transport, tls in product(TRANSPORTS, TLS_VERSIONS)
)
"""The same with a client that does not know the exporter: then the server falls back to OpenVPN's own function."""
STOCK_ANNOUNCES = "a stock client cannot be told not to announce tls-ekm"


def _try(options: TunnelOptions, run: Run) -> str:
    """One tunnel: up, a ping, a stream of octets both ways, down."""
    try:
        run.lab.start_tunnel(options)
        up = checks.tunnel_comes_up(run)
        agreed = agreement(run.lab.log(SERVER)).demand(options)
        answer = probes.ping(run.lab, HOST5, FAR_ADDRESS, count=2).demand()
        checks.tcp_echo(FAR_ADDRESS)(run)
    except CheckFailed as failure:
        raise CheckFailed(f"{failure}; gateway: {run.lab.last_words(GATEWAY)}") from None
    finally:
        run.lab.stop_tunnel()
    return f"up in {up.split()[0]} s, {agreed}, ping {answer.round_trip_ms} ms, TCP echo equal"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the server says that it and the gateway agreed on."""

    tls: str
    cipher: str
    keys: str

    def __str__(self) -> str:
        return f"TLS {self.tls}, {self.cipher}, keys by {self.keys}"

    def demand(self, options: TunnelOptions) -> Agreement:
        """Go on only if it is what was to be tried.

        Raises:
            CheckFailed: it is something else.
        """
        if self != Agreement(options.tls, options.cipher, options.keys):
            raise CheckFailed(f"they agreed on {self}")
        return self


def agreement(server_log: str) -> Agreement:
    """Read the server's log: TLS as it came about, the cipher and the making of keys as they were pushed."""
    tls = re.search(r"Control Channel: TLSv([\d.]+)", server_log)
    cipher = re.search(r"PUSH_REPLY,.*\bcipher ([A-Z0-9-]+)", server_log)
    exporter = re.search(r"PUSH_REPLY,.*\btls-ekm\b", server_log)
    return Agreement(tls[1] if tls else "unknown", cipher[1] if cipher else "unknown", "tls-ekm" if exporter else "prf")


def _capabilities(options: TunnelOptions) -> tuple[str, ...]:
    transport = ("transport.udp",) if options.transport == "udp" else ()
    return (*transport, f"cipher.{options.cipher.lower()}")


CHECKS: tuple[Check, ...] = (
    *(Check(options.title, partial(_try, options), requires=_capabilities(options)) for options in TUNNELS),
    *(Check(options.title, partial(_try, options), STOCK_ANNOUNCES, _capabilities(options)) for options in BY_PRF),
)
"""One for each tunnel."""
