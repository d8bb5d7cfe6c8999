"""What the lab made, on disk, so that anybody can take it down at any time, even after its maker was killed.

A lab has a directory of its own under a runtime directory that only root can enter. The directory is made before the
first namespace, and its name is the prefix of all of them: whatever carries the prefix belongs to this lab, and nothing
else is ever touched. Processes are kept with the time they started at, so that a process id that the system gave to
somebody else since is not mistaken for ours.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from glassgate.conformance.lab.errors import LabError

RUNTIME_DIRECTORY = Path("/run/glassgate-lab")
RUNTIME_VARIABLE = "GLASSGATE_LAB_DIRECTORY"
NAME = re.compile(r"gg[0-9a-f]{6}")
STATE_FILE = "state.json"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process that the lab started: which, and since when (clock ticks since boot: proc(5), stat, field 22)."""

    role: str
    pid: int
    started: int

    @classmethod
    def of(cls, role: str, pid: int) -> ProcessRecord:
        """Record a process that runs now."""
        return cls(role, pid, _start_time_of_any(pid) or 0)

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return start_time(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class LabState:
    """One lab: its name, which gateway it holds, who is responsible for it, and its processes in order of start."""

    name: str
    gateway: str
    owner: ProcessRecord | None
    """The ``lab run`` that will take it down; None for ``lab up``."""
    processes: tuple[ProcessRecord, ...] = field(default=())

    @property
    def is_in_use(self) -> bool:
        """Whether a living ``lab run`` still works with it."""
        return self.owner is not None and self.owner.is_alive

    @property
    def directory(self) -> Path:
        """Where its configuration files and logs are."""
        return runtime_directory() / self.name

    def namespace(self, host: str) -> str:
        """The name of a host's namespace."""
        return f"{self.name}-{host}"

    def with_process(self, process: ProcessRecord) -> LabState:
        """The same lab with one process more."""
        return replace(self, processes=(*self.processes, process))

    def save(self) -> None:
        """Write the state file, whole or not at all."""
        fresh = self.directory / f"{STATE_FILE}.new"
        fresh.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        fresh.replace(self.directory / STATE_FILE)


def create(gateway: str, owner: ProcessRecord | None) -> LabState:
    """Begin a lab: choose a name that nobody uses, and make its directory and state file.

    Raises:
        LabError: the runtime directory cannot be used.
    """
    parent = runtime_directory()
    _make_private(parent)
    while True:
        state = LabState(f"gg{secrets.token_hex(3)}", gateway, owner)
        try:
            state.directory.mkdir(mode=0o700)
        except FileExistsError:
            continue
        state.save()
        return state


def labs() -> Iterator[LabState]:
    """Every lab of this machine, in order of name."""
    try:
        directories = sorted(runtime_directory().iterdir())
    except (FileNotFoundError, PermissionError):
        return
    for directory in directories:
        if NAME.fullmatch(directory.name):
            yield _load(directory)


def find(name: str) -> LabState:
    """The lab of that name.

    Raises:
        LabError: there is none.
    """
    known = {state.name: state for state in labs()}
    if name not in known:
        there = ", ".join(known) or "none"
        raise LabError(f"no lab {name!r} (there: {there})")
    return known[name]


def runtime_directory() -> Path:
    """Where all labs have their directories."""
    return Path(os.environ.get(RUNTIME_VARIABLE) or RUNTIME_DIRECTORY)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone or only waits to be reaped."""
    fields = _status_fields(pid)
    return None if not fields or fields[0] in "ZX" else int(fields[19])


def process_name(pid: int) -> str:
    """What a process calls itself; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _start_time_of_any(pid: int) -> int | None:
    fields = _status_fields(pid)
    return int(fields[19]) if fields else None


def _status_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the state); none if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()  # the name in parentheses may hold anything


def _make_private(directory: Path) -> None:
    """Keys lie here, and names that root will act upon: nobody else may read or plant anything."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{directory} cannot be made: {error.strerror}") from None
    status = directory.lstat()  # a link has all bits set, and so is refused, too
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise LabError(
            f"{directory} is not a directory that only this user can write: remove it, or set {RUNTIME_VARIABLE}"
        )


def _load(directory: Path) -> LabState:
    """Read a state file. One that cannot be read still names a lab: its name is all that taking it down needs."""
    try:
        members: dict[str, Any] = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
        owner = members["owner"]
        return LabState(
            directory.name,
            members["gateway"],
            None if owner is None else ProcessRecord(**owner),
            tuple(ProcessRecord(**process) for process in members["processes"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return LabState(directory.name, "unknown", None)
