"""A live gateway that somebody else runs: the judge is told where its two sides are.

    [gateway]
    name = "mine"
    internal = "eth1"                        the interface of this machine on the gateway's internal network
    internal-namespace = "hosts"             its namespace, if it is not here
    tunnel = "tun0"                          the tun interface of the tunnel's peer
    tunnel-namespace = "server"
    fresh = ["./restart"]                    run before each vector; its standard input is the vector's configuration
    fresh-seconds = 30
    obeys = ["internal.mtu", "limits"]       what of that configuration the command brings about

The addresses are those of the vectors. Neither interface should have an address: a kernel that answers is no judge.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from glassgate.conformance import profile
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.namespaces import PacketSocket
from glassgate.conformance.model import Vector
from glassgate.conformance.profile import Profile, ProfileError
from glassgate.contract import GatewayConfig

FRESH_SECONDS = 30.0
SESSION_ADDRESS, SESSION_MTU = IPv4Interface("10.8.0.2/24"), 1500
"""What a vector's tunnel has unless it says otherwise (the contract's defaults)."""
OF_NO_CONCERN = ("external", "entropy", "notes", "tunnel.remote", "tunnel.port", "tunnel.proto", *(
    f"tunnel.session.{name}" for name in ("cipher", "peer_id", "key_id", "send", "receive")
))  # fmt: skip
"""What a vector's configuration says of keys and of the outside: on the wire that is the gateway's own affair."""
_TEXTS = ("name", "internal", "internal-namespace", "tunnel", "tunnel-namespace")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The ``[gateway]`` table of a file."""

    name: str
    internal: str
    tunnel: str
    internal_namespace: str | None = None
    tunnel_namespace: str | None = None
    fresh: tuple[str, ...] = ()
    fresh_seconds: float = FRESH_SECONDS
    obeys: tuple[str, ...] = ()
    folder: Path = Path()
    """Where the command is run: where the file is."""


def load(path: Path) -> tuple[Surroundings, Profile]:
    """Read a file: a profile with a ``[gateway]`` table.

    Raises:
        ProfileError: it cannot be read, or holds what such a file does not.
    """
    tables = profile.read_toml(path)
    profile.refuse_unknown(path, "", tables, profile.TABLES | {"gateway"})
    if "gateway" not in tables:
        raise ProfileError(f"{path}: gateway: is missing: which interfaces lead to the gateway?")
    members = profile.table(path, "gateway", tables)
    profile.refuse_unknown(path, "gateway.", members, {*_TEXTS, "fresh", "fresh-seconds", "obeys"})
    for name in _TEXTS:
        value = members.get(name)
        if (value is None and "-" not in name) or not (value is None or (isinstance(value, str) and value)):
            raise ProfileError(f"{path}: gateway.{name}: {value!r} is not a name")
    texts = {name.replace("-", "_"): str(members[name]) for name in _TEXTS if name in members}
    surroundings = Surroundings(
        **texts,
        fresh=_words(path, members, "fresh"),
        fresh_seconds=_seconds(path, members),
        obeys=_words(path, members, "obeys"),
        folder=path.absolute().parent,
    )
    return surroundings, profile.of_tables(path, tables)


def _words(path: Path, members: Mapping[str, object], name: str) -> tuple[str, ...]:
    words = members.get(name, [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ProfileError(f"{path}: gateway.{name}: {words!r} is not a list of words")
    return tuple(words)


def _seconds(path: Path, members: Mapping[str, object]) -> float:
    seconds = members.get("fresh-seconds", FRESH_SECONDS)
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < float("inf"):
        raise ProfileError(f"{path}: gateway.fresh-seconds: {seconds!r} is not a number over 0")
    return float(seconds)


class ForeignGateway:
    """Two interfaces, and a command that makes the gateway forget."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        usual_session = {"tunnel.session.address": str(SESSION_ADDRESS), "tunnel.session.mtu": SESSION_MTU}
        self._usual = _flat(GatewayConfig().to_json()) | usual_session
        self.internal = PacketSocket(surroundings.internal_namespace, surroundings.internal)
        """The internal network."""
        try:
            self.tunnel = PacketSocket(surroundings.tunnel_namespace, surroundings.tunnel)
            """The peer's tun interface."""
        except LabError:
            self.internal.close()
            raise

    @property
    def version(self) -> str:
        """Nobody has told."""
        return ""

    @property
    def helpers(self) -> Collection[socket.socket]:
        """The gateway has its services itself."""
        return ()

    def serve(self, ready: socket.socket) -> None:
        """There is nothing to serve."""

    def why_not(self, vector: Vector, config: GatewayConfig) -> str:
        """Which member of the vector's configuration the gateway is not brought to; empty if there is none."""
        usual, obeys = self._usual, self._surroundings.obeys
        for member, value in _flat(config.to_json()).items():
            differs = member in usual and usual[member] != value
            if differs and not any(member == one or member.startswith(f"{one}.") for one in obeys):
                return f"sets {member}, which the gateway's 'fresh' does not obey"
        return ""

    def fresh(self, config: GatewayConfig) -> None:
        """Run the command, if there is one.

        Raises:
            LabError: it failed, or did not end in time.
        """
        if self._surroundings.fresh:
            self._run_fresh(json.dumps(config.to_json()))
        for side in (self.internal, self.tunnel):
            while side.receive() is not None:
                pass  # what is older than this gateway

    def _run_fresh(self, configuration: str) -> None:
        surroundings = self._surroundings
        command = " ".join(surroundings.fresh)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:  # a daemon may keep it open
            try:
                done = subprocess.run(
                    surroundings.fresh, input=configuration, text=True, stdout=said, stderr=said,
                    timeout=surroundings.fresh_seconds, cwd=surroundings.folder, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise LabError(f"{command}: no end after {surroundings.fresh_seconds:g} s") from None
            except OSError as error:
                raise LabError(f"{command}: {error.strerror}") from None
            if done.returncode != 0:
                said.seek(0)
                words = said.read().strip().splitlines() or ["no message"]
                raise LabError(f"{command}: status {done.returncode}: {words[-1]}")

    def close(self) -> list[str]:
        """Let go of the interfaces."""
        self.internal.close()
        self.tunnel.close()
        return []


def require_root() -> None:
    """Go on only as root.

    Raises:
        LabError: this user cannot open packet sockets.
    """
    if os.geteuid() != 0:
        raise LabError("root is needed to send and receive frames: try sudo")


def _flat(members: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The members by their path, without those of no concern."""
    made: dict[str, Any] = {}
    for name, value in members.items():
        path = f"{prefix}{name}"
        if path in OF_NO_CONCERN:
            continue
        if isinstance(value, Mapping):
            made |= _flat(value, f"{path}.")
        else:
            made[path] = value
    return made
