"""What another program makes of the captures: tshark reads every packet, and finds nothing malformed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from glassgate.conformance.lab import programs
from glassgate.conformance.lab.checks import Check, Run
from glassgate.conformance.lab.errors import CheckFailed
from glassgate.conformance.lab.topology import EXTERNAL_INTERFACE, INTERNAL_INTERFACE

PACKETS = 20_000
"""How many packets of each interface are recorded: the transfers at the end are all alike."""
TSHARK_SECONDS = 180
CHECKSUMS = ("ip", "icmp", "tcp", "udp")
BAD = "0"  # tshark's word for a checksum that is wrong
MALFORMED = "_ws.malformed"
DEMANDED = {
    INTERNAL_INTERFACE: ("arp", "icmp", "udp", "tcp", "http"),
    EXTERNAL_INTERFACE: ("arp", "tcp", "openvpn"),
}
"""What tshark must have recognized on each interface, or it was not what was recorded."""


@dataclass(frozen=True, slots=True)
class Dissection:
    """A capture as tshark reads it."""

    protocols: Counter[str]
    """How many packets hold each."""
    complaints: tuple[str, ...]
    """One line for each packet that is malformed, or has a wrong checksum."""
    packets: int


def read(output: str) -> Dissection:
    """Read tshark's fields: number, protocols, then the state of each checksum in the packet."""
    protocols: Counter[str] = Counter()
    complaints = []
    lines = output.splitlines()
    for line in lines:
        number, stack, *states = line.split("\t")
        names = set(stack.split(":"))
        protocols.update(names)
        # tshark judges the quotation in an ICMP error as if it were whole, and its TCP or UDP never is.
        judged = {"ip", "icmp"} if "icmp" in names else set(CHECKSUMS)
        wrong = [
            name for name, state in zip(CHECKSUMS, states, strict=True) if name in judged and BAD in state.split(",")
        ]
        if MALFORMED in names:
            complaints.append(f"packet {number} is malformed ({stack})")
        elif wrong:
            complaints.append(f"packet {number}: the checksum of {' and '.join(wrong)} is wrong")
    return Dissection(protocols, tuple(complaints), len(lines))


def dissect(capture: Path) -> Dissection:
    """Have tshark read a capture.

    Raises:
        LabError: it cannot.
    """
    command = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-e", "frame.number", "-e", "frame.protocols"]
    for name in CHECKSUMS:
        command += ["-e", f"{name}.checksum.status"]
    # What TCP sent again and cut otherwise is a "reassembly error" to tshark, and nothing malformed.
    command += ["-Y", "!_ws.malformed.reassembly"]
    for name in ("ip", "tcp", "udp"):  # ICMP's is always looked at
        command += ["-o", f"{name}.check_checksum:TRUE"]
    return read(programs.demand(command, seconds=TSHARK_SECONDS))


def _captures_are_sound(run: Run) -> str:
    assert run.captures is not None
    told = []
    for interface, demanded in DEMANDED.items():
        run.lab.stop(f"capture {interface}")
        found = dissect(run.captures / f"{interface}.pcap")
        if found.complaints:
            raise CheckFailed(f"{interface}: {len(found.complaints)} complaints, the first: {found.complaints[0]}")
        if missing := [name for name in demanded if not found.protocols[name]]:
            raise CheckFailed(f"{interface}: no {', '.join(missing)} among {found.packets} packets")
        counts = ", ".join(f"{found.protocols[name]} {name}" for name in demanded)
        told.append(f"{interface}: {found.packets} packets ({counts})")
    return f"nothing malformed, no wrong checksum; {'; '.join(told)}"


CHECK = Check("captures, by tshark", _captures_are_sound)
