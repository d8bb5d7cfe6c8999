"""Lab: the network brought up, programs run on its hosts, and all of it taken down again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from glassgate.conformance.lab import programs, state, topology
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.services import HTTP_PORT
from glassgate.conformance.lab.state import LabState, ProcessRecord
from glassgate.conformance.lab.tunnel import (
    CHECK_USER,
    CLIENTS,
    GatewayKind,
    Secrets,
    TunnelOptions,
    check_user_script,
    client_configuration,
    client_directory_entry,
    gateway_command,
    server_configuration,
)

READY_SECONDS = 15
"""How long a program of the lab may take until it serves."""
OUTWARDS_PORT, INWARDS_PORT = 5201, 5202
"""One iperf3 server for each direction: between two tests iperf3 opens its port anew and resets who came too early."""
GRACE_SECONDS = 3
"""How long a program may take to end after SIGTERM, before SIGKILL."""
SERVICES = (sys.executable, "-m", "glassgate.conformance.lab.services", "serve")
SERVER_READY = "Initialization Sequence Completed"


class Lab:
    """One lab of this machine. Made by ``create`` or found by its state; ``down`` works at any moment."""

    def __init__(self, lab_state: LabState, *, own_stack: bool = False) -> None:
        self.state = lab_state
        self.own_stack = own_stack
        """Whether the gateway program has its own stack outside, rather than the kernel's TCP or UDP."""
        self.options = TunnelOptions()
        """The tunnel that was started last."""
        self.gateway_started = 0.0
        """When the gateway was started, by the monotonic clock."""
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def create(cls, kind: GatewayKind, *, owned: bool, own_stack: bool = False) -> Lab:
        """Begin a lab; nothing but its directory exists yet. An owned one goes down with the calling process.

        Raises:
            LabError: that gateway has no stack of its own, or the runtime directory cannot be used.
        """
        if own_stack and "external.stack" not in kind.capabilities:
            raise LabError(f"the {kind} gateway has no stack of its own outside (external.stack)")
        owner = ProcessRecord.of("lab run", os.getpid()) if owned else None
        return cls(state.create(kind.value, owner), own_stack=own_stack)

    # ── up ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def build(self) -> None:
        """Build the network and start everything on it but the two ends of the tunnel.

        Raises:
            LabError: a command failed or a program of the lab did not come up.
        """
        self._make_network(self.kind)
        self._start_services()

    def capture(
        self, role: str, host: str, interface: str, path: Path, expression: str = "", packets: int | None = None
    ) -> None:
        """Record what passes an interface into a file, so many packets; returns when the recording has begun."""
        self.spawn(role, host, capture_command(interface, path, expression, packets))
        deadline = time.monotonic() + READY_SECONDS
        while "listening on" not in self.log(role):
            self._demand_progress(role, deadline)
            time.sleep(0.05)

    def start_tunnel(self, options: TunnelOptions, spoil: Callable[[Secrets], Secrets] | None = None) -> None:
        """Start a server and the gateway, with fresh keys; the tunnel is still on its way when this returns.

        ``spoil`` makes of the keys those that the gateway is given, where they are not to be the right ones.

        Raises:
            LabError: the server did not come up.
        """
        self.begin_tunnel(options)
        self._write_files(options, spoil)
        self.start_server()
        self.start_gateway(self.directory / "client.ovpn")

    def begin_tunnel(self, options: TunnelOptions) -> None:
        """Forget what the last tunnel's two ends have said."""
        self.options = options
        for role in (topology.GATEWAY, topology.SERVER):
            self._log_path(role).unlink(missing_ok=True)

    def start_gateway(self, configuration: Path) -> None:
        """Start the gateway with a configuration file."""
        self.gateway_started = time.monotonic()
        command = gateway_command(self.kind, configuration, own_stack=self.own_stack)
        self.spawn(topology.GATEWAY, topology.GATEWAY, command)

    def stop_tunnel(self) -> None:
        """End the gateway, then the server: others can be started."""
        self.stop(topology.GATEWAY)
        self.stop(topology.SERVER)

    def _make_network(self, kind: GatewayKind) -> None:
        namespaces = "".join(f"netns add {self.state.namespace(host)}\n" for host in topology.HOSTS)
        programs.demand(["ip", "-batch", "-"], given=namespaces)
        programs.demand(["ip", "-batch", "-"], given=topology.cable_commands(self.state.name))
        for host in topology.HOSTS:
            self._configure(host, kind)

    def _configure(self, host: str, kind: GatewayKind) -> None:
        settings = topology.settings(host, kernel_gateway=kind.is_kernel)
        writes = [f"echo {value} > /proc/sys/net/{path}" for path, value in settings.items()]
        offloads = " ".join(f"{name} off" for name in topology.OFFLOADS)
        writes += [f"ethtool -K {end.interface} {offloads} > /dev/null" for end in topology.ends(host)]
        programs.demand(self.command(host, ["sh", "-ec", "\n".join(writes)]))
        namespace = self.state.namespace(host)
        programs.demand(
            ["ip", "-n", namespace, "-batch", "-"], given=topology.address_commands(host, own_stack=self.own_stack)
        )
        if host == topology.GATEWAY and kind.is_kernel:
            address = f"{topology.INTERNAL_ADDRESS}/24"
            programs.demand(["ip", "-n", namespace, "address", "add", address, "dev", topology.INTERNAL_INTERFACE])

    def _write_files(self, options: TunnelOptions, spoil: Callable[[Secrets], Secrets] | None) -> None:
        keys = Secrets.fresh(options.control, self.directory)
        given = keys if spoil is None else spoil(keys)
        (self.directory / CLIENTS).mkdir(exist_ok=True)
        name, entry = client_directory_entry()
        (self.directory / CLIENTS / name).write_text(entry, encoding="utf-8")
        script = self.directory / CHECK_USER
        script.write_text(check_user_script(), encoding="utf-8")
        script.chmod(0o700)
        server = server_configuration(
            options, replace(keys, server=given.server, revoked=given.revoked), self.directory
        )
        (self.directory / "server.conf").write_text(server, encoding="utf-8")
        (self.directory / "client.ovpn").write_text(client_configuration(options, given), encoding="utf-8")

    def _start_services(self) -> None:
        self.spawn("far services", topology.FAR, SERVICES)
        for port in (OUTWARDS_PORT, INWARDS_PORT):
            self.spawn(f"iperf3 {port}", topology.FAR, ["iperf3", "--server", "--port", str(port)])
        # The same services inside: what lies beyond the tunnel must reach a host, too.
        self.spawn("host services", topology.HOST5, SERVICES)
        if self.kind.is_kernel:
            self.spawn("gateway services", topology.GATEWAY, SERVICES)  # a gateway of this project has an echo service
        for role, host in (("far services", topology.FAR), ("host services", topology.HOST5)):
            self._wait_for_listener(role, host, HTTP_PORT)

    def start_server(self) -> None:
        """Start the server with the files that are there.

        Raises:
            LabError: it did not come up.
        """
        self.serve(["openvpn", "--config", str(self.directory / "server.conf")], SERVER_READY)

    def serve(self, command: Sequence[str], ready: str) -> None:
        """Start a program in the server's place; it serves when it says that it is ready.

        Raises:
            LabError: it did not come up.
        """
        before = self.log(topology.SERVER).count(ready)
        self.spawn(topology.SERVER, topology.SERVER, command)
        deadline = time.monotonic() + READY_SECONDS
        while self.log(topology.SERVER).count(ready) == before:
            self._demand_progress(topology.SERVER, deadline)
            time.sleep(0.05)

    def _wait_for_listener(self, role: str, host: str, port: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        listening = f":{port:04X} 00000000:0000 0A"  # proc(5), net/tcp: local port, no remote, state LISTEN
        while listening not in programs.demand(self.command(host, ["cat", "/proc/net/tcp"])):
            self._demand_progress(role, deadline)
            time.sleep(0.05)

    def _demand_progress(self, role: str, deadline: float) -> None:
        if not self.is_running(role):
            raise LabError(f"{role} ended at once: {self.last_words(role)}")
        if time.monotonic() > deadline:
            raise LabError(f"{role} did not come up within {READY_SECONDS} s: {self.last_words(role)}")

    # ── in between ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def kind(self) -> GatewayKind:
        """Which gateway this lab is for."""
        return GatewayKind(self.state.gateway)

    @property
    def directory(self) -> Path:
        """The lab's own directory."""
        return self.state.directory

    def command(self, host: str, arguments: Sequence[str]) -> list[str]:
        """A command line that runs on a host. ``ip netns exec`` becomes the program, so their process id is one."""
        return ["ip", "netns", "exec", self.state.namespace(host), *arguments]

    def run(self, host: str, arguments: Sequence[str], *, seconds: float) -> subprocess.CompletedProcess[str]:
        """Run a program on a host to its end, within a time."""
        return programs.run(self.command(host, arguments), seconds=seconds)

    def spawn(self, role: str, host: str, arguments: Sequence[str]) -> None:
        """Start a program that stays, its output in the log of its role. It does not hear the terminal's Ctrl-C."""
        with self._log_path(role).open("ab") as log:
            child = subprocess.Popen(
                self.command(host, arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=programs.environment(), cwd="/",
            )  # fmt: skip
        self._children[role] = child
        self.state = self.state.with_process(ProcessRecord.of(role, child.pid))
        self.state.save()

    def is_running(self, role: str) -> bool:
        """Whether the program of that role runs."""
        return any(process.is_alive for process in self.state.processes if process.role == role)

    def has_ended(self, role: str) -> bool:
        """Whether the program of that role was started and runs no more."""
        return not self.is_running(role) and any(process.role == role for process in self.state.processes)

    def log(self, role: str) -> str:
        """Everything that the program of that role has said."""
        try:
            return self._log_path(role).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def last_words(self, role: str) -> str:
        """The last line of a log."""
        lines = self.log(role).strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _log_path(self, role: str) -> Path:
        return self.directory / f"{role.replace(' ', '-')}.log"

    # ── down ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, role: str) -> None:
        """End the program of a role, politely first, and wait until it is gone."""
        self._end([process for process in self.state.processes if process.role == role])

    def send_signal(self, role: str, number: signal.Signals) -> None:
        """Send a signal to the program of a role; it may have ended before."""
        with contextlib.suppress(ProcessLookupError):
            self._children[role].send_signal(number)

    def exit_status(self, role: str) -> int | None:
        """The exit status of the program of a role; None while it runs."""
        return self._children[role].poll()

    def terminate(self, role: str) -> int | None:
        """Have one of our children end by SIGTERM; its exit status, or None if it had to be killed."""
        child = self._children[role]
        child.terminate()
        try:
            return child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return None

    def down(self) -> list[str]:
        """Take down whatever there is of this lab. Works on a half-built one, and again on one that is gone.

        Returns what could not be done, one line each; empty if nothing of the lab remains.
        """
        for process in reversed(self.state.processes):  # the gateway before its server: it says goodbye
            self._end([process])
        problems = []
        for namespace in existing_namespaces(self.state.name):
            self._end([ProcessRecord.of(name, pid) for pid, name in inhabitants(namespace)])
            removed = programs.run(["ip", "netns", "delete", namespace], seconds=10)
            if removed.returncode != 0:
                problems.append(f"{namespace}: {removed.stderr.strip()}")
        if not problems:
            shutil.rmtree(self.directory, ignore_errors=True)
        return problems

    def _end(self, processes: Sequence[ProcessRecord]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            living = [process for process in processes if process.is_alive]
            for process in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            deadline = time.monotonic() + GRACE_SECONDS
            while any(process.is_alive for process in living) and time.monotonic() < deadline:
                time.sleep(0.02)
        for child in self._children.values():
            child.poll()  # reaps it, if it is ours


def capture_command(interface: str, path: Path, expression: str = "", packets: int | None = None) -> list[str]:
    """tcpdump into a file, each packet written at once; as root, because the directory is the user's choice."""
    bound = [] if packets is None else ["-c", str(packets)]
    return ["tcpdump", "-i", interface, "-n", "-U", "-s", "0", "-Z", "root", *bound, "-w", str(path), expression]


def existing_namespaces(name: str) -> list[str]:
    """The namespaces that carry a lab's prefix."""
    listed = programs.demand(["ip", "netns", "list"]).splitlines()
    return [line.split()[0] for line in listed if line.startswith(f"{name}-")]


def inhabitants(namespace: str) -> list[tuple[int, str]]:
    """The processes in a namespace of the lab (ours, a user's shell), but for ourselves: id and name."""
    listed = programs.run(["ip", "netns", "pids", namespace], seconds=10).stdout.split()
    return [(pid, state.process_name(pid)) for pid in map(int, listed) if pid != os.getpid()]


def addresses(namespace: str) -> list[str]:
    """The interfaces of a namespace with their IPv4 addresses, loopback aside."""
    shown = programs.run(["ip", "-n", namespace, "-brief", "-4", "address", "show", "up"], seconds=10).stdout
    fields = [line.split() for line in shown.splitlines()]
    return [f"{words[0].split('@')[0]} {' '.join(words[2:])}" for words in fields if words and words[0] != "lo"]


def take_down_abandoned() -> list[LabState]:
    """Take down the labs whose ``lab run`` was killed before it could do so itself; return them."""
    abandoned = [lab for lab in state.labs() if lab.owner is not None and not lab.owner.is_alive]
    return [lab for lab in abandoned if not Lab(lab).down()]
