"""What goes wrong on real networks, while files pass both ways: none may lose, repeat or change an octet.

A ping goes along: it may be lost while the tunnel is down, and must never be answered twice.

And what is wrong from the start: keys and names that must not bring a tunnel up, and must be told in a clear line.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from glassgate.conformance.lab import checks, probes, programs, resets
from glassgate.conformance.lab.checks import Check, Run
from glassgate.conformance.lab.errors import CheckFailed
from glassgate.conformance.lab.matrix import TRANSPORTS
from glassgate.conformance.lab.network import Lab
from glassgate.conformance.lab.pki import Authority, static_key
from glassgate.conformance.lab.topology import EXTERNAL_ADDRESS, FAR_ADDRESS, GATEWAY, HOST5, ROUTER, SERVER
from glassgate.conformance.lab.topology import SERVER_ADDRESS as SERVER_OUTSIDE
from glassgate.conformance.lab.tunnel import Secrets, TunnelOptions

RENEGOTIATION = 5
SILENCE = 20
STRIKE_AFTER = 3
RESTART_AFTER = 2
TRAFFIC_SECONDS = 14
TRAFFIC_RATE = 250_000
"""Octets a second, each way: slow enough to be in the middle of things for all of TRAFFIC_SECONDS."""
RECOVERY_SECONDS = 90
STOCK_STATUS = "so the stock client ends when its password is refused"
TELLING = re.compile(r"WARNING|ERROR|TLS Error|reset|AUTH_FAILED|reason=")
"""How a line of the log looks that tells a reason: of a gateway of this project, or of the stock client."""
REFUSED = r"closed the connection: .* it may refuse this client's certificate|TLS: .*alert"
EXPIRED_SINCE = timedelta(days=2)
REFUSAL_SECONDS = 6
"""How long a gateway that cannot connect is watched."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a tunnel under traffic."""

    title: str
    strike: Callable[[Lab], None]
    options: TunnelOptions = TunnelOptions()
    renegotiations: int = 0
    """How many must have taken place: otherwise the fault was none."""
    reconnections: int = 0
    """How many connections after the first must have been made."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong with what the gateway was given."""

    title: str
    spoil: Callable[[Secrets], Secrets]
    told: str
    """What a gateway of this project must say, as a regular expression; the stock client has words of its own."""
    options: TunnelOptions = TunnelOptions()
    is_final: bool = False
    """Whether a gateway of this project ends with status 1, rather than try again with back-off."""


# ── faults ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _suffer(fault: Fault, run: Run) -> str:
    lab = run.lab
    try:
        lab.start_tunnel(fault.options)
        checks.tunnel_comes_up(run)
        transfers = probes.SlowTransfers(lab, HOST5, FAR_ADDRESS, TRAFFIC_SECONDS * TRAFFIC_RATE, TRAFFIC_RATE)
        pings = probes.SteadyPing(lab, HOST5, FAR_ADDRESS)
        transfers.start()
        pings.start()
        time.sleep(STRIKE_AFTER)
        fault.strike(lab)
        measured = f"{transfers.finish(TRAFFIC_SECONDS + RECOVERY_SECONDS)}; {pings.finish()}"
        happened = History.read(lab.log(SERVER))
    except CheckFailed as failure:
        raise CheckFailed(f"{failure}; gateway: {lab.last_words(GATEWAY)}") from None
    finally:
        lab.stop_tunnel()
    if happened.reconnections < fault.reconnections or happened.renegotiations < fault.renegotiations:
        raise CheckFailed(f"{measured}; but {happened}: the fault did not happen")
    return f"{measured}; {happened}"


@dataclass(frozen=True, slots=True)
class History:
    """What the server says has happened to the tunnel since it was first up."""

    reconnections: int
    renegotiations: int

    @classmethod
    def read(cls, server_log: str) -> History:
        """Count in the server's log: one handshake for each connection, the others renegotiate."""
        connections = server_log.count("Peer Connection Initiated")
        handshakes = server_log.count("Control Channel: TLSv")
        return cls(max(0, connections - 1), max(0, handshakes - connections))

    def __str__(self) -> str:
        return f"reconnected {self.reconnections}×, renegotiated {self.renegotiations}×"


def _nothing(lab: Lab) -> None:
    """Time alone does it."""


def _kill_server(lab: Lab) -> None:
    lab.send_signal(SERVER, signal.SIGKILL)
    lab.stop(SERVER)
    time.sleep(RESTART_AFTER)
    lab.start_server()


def _restart_server(lab: Lab) -> None:
    lab.send_signal(SERVER, signal.SIGUSR1)


def _restart_gateway(lab: Lab) -> None:
    lab.send_signal(GATEWAY, signal.SIGUSR1)


def _silence_router(lab: Lab) -> None:
    """The router drops the tunnel's packets both ways, and says nothing to anybody."""
    holes = [f"route {{}} blackhole {address}/32\n" for address in (SERVER_OUTSIDE, EXTERNAL_ADDRESS)]
    batch = ["ip", "-n", lab.state.namespace(ROUTER), "-batch", "-"]
    programs.demand(batch, given="".join(hole.format("add") for hole in holes))
    time.sleep(SILENCE)
    programs.demand(batch, given="".join(hole.format("delete") for hole in holes))


FAULTS: tuple[Fault, ...] = (
    *(
        Fault(f"{who} renegotiates every {RENEGOTIATION} s, {options.transport}", _nothing, options, renegotiations=2)
        for transport in TRANSPORTS
        for who, options in (
            ("server", TunnelOptions(transport, server_renegotiates=RENEGOTIATION)),
            ("gateway", TunnelOptions(transport, client_renegotiates=RENEGOTIATION)),
        )
    ),
    Fault("server killed and started again", _kill_server, reconnections=1),
    Fault("server closes the connection", _restart_server, reconnections=1),
    Fault("connection reset, forged on the way", resets.forge_resets, reconnections=1),
    Fault("gateway told to restart (SIGUSR1)", _restart_gateway, reconnections=1),
    Fault(f"router silent for {SILENCE} s", _silence_router),
)
"""Each is suffered under traffic both ways."""


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _be_refused(mistake: Mistake, run: Run) -> str:
    lab = run.lab
    try:
        lab.start_tunnel(mistake.options, mistake.spoil)
        deadline = time.monotonic() + REFUSAL_SECONDS
        while lab.exit_status(GATEWAY) is None and time.monotonic() < deadline:
            if probes.ping(lab, HOST5, FAR_ADDRESS, count=1).received:
                raise CheckFailed("the tunnel came up all the same")
        status = lab.exit_status(GATEWAY)
        said, words = lab.log(GATEWAY), reason(lab.log(GATEWAY))
    finally:
        lab.stop_tunnel()
    if "Traceback" in said:
        raise CheckFailed(f"a traceback; {words}")
    if not lab.kind.is_kernel:
        words = _demand_told(mistake, status, said)
    elif status == 0:
        raise CheckFailed(f"status 0, as if all were well: {words}")
    return f"{_waits(said) if status is None else f'status {status}'}: {words}"


def _demand_told(mistake: Mistake, status: int | None, log: str) -> str:
    """The line of a log that tells what is wrong; it must be there, and the right end with it."""
    lines = [line for line in log.splitlines() if re.search(mistake.told, line)]
    expected = 1 if mistake.is_final else None
    if not lines or status != expected:
        ending = "goes on" if status is None else f"status {status}"
        raise CheckFailed(f"{ending}, and it says: {reason(log)}")
    return lines[0]


def _waits(log: str) -> str:
    """How long the gateway waited before each further attempt."""
    waits = re.findall(r"retry_(?:in_seconds|after)=(\d+)", log)
    return f"tries again after {', '.join(waits)} s" if waits else "tries again"


def reason(log: str) -> str:
    """The last line of a gateway's log that says what is wrong; the last of all if none does."""
    lines = log.strip().splitlines() or ["it said nothing"]
    telling = [line for line in lines if TELLING.search(line)]
    return (telling or lines)[-1]


def _expired(keys: Secrets) -> Secrets:
    return replace(keys, client=keys.issuer.client(lifetime=-EXPIRED_SINCE))


def _foreign(keys: Secrets) -> Secrets:
    return replace(keys, client=Authority().client())


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        "gateway trusts another authority",
        lambda keys: replace(keys, authority=Authority().certificate),
        r"certificate of 'CN=Glassgate lab' is refused: .* not in the profile",
    ),
    Mistake("certificate of another authority", _foreign, REFUSED),
    Mistake("expired certificate", _expired, r"this client's certificate has expired on "),
    Mistake(
        "server's certificate has expired",
        lambda keys: replace(keys, server=keys.issuer.server(lifetime=-EXPIRED_SINCE)),
        r"certificate of 'CN=lab-server' is refused: it has expired",
    ),
    Mistake(
        "revoked certificate",
        lambda keys: replace(keys, revoked=keys.issuer.revocation_list(keys.client)),
        REFUSED,
    ),
    Mistake(
        "wrong tls-crypt key",
        lambda keys: replace(keys, client_wrapping=static_key()),
        r"closed the connection: it never answered: wrong tls-crypt or tls-auth key",
    ),
    Mistake(
        "wrong password",
        lambda keys: replace(keys, user=("lab", "sesame")),
        r"the server refuses: AUTH_FAILED",
        TunnelOptions(password=True),
        is_final=True,
    ),
)
"""Each must keep the tunnel down, and be told."""

CHECKS: tuple[Check, ...] = (
    *(Check(fault.title, partial(_suffer, fault)) for fault in FAULTS),
    *(Check(mistake.title, partial(_be_refused, mistake), STOCK_STATUS) for mistake in MISTAKES),
)
"""Each with a tunnel of its own."""
