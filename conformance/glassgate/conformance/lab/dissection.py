"""What another program makes of the captures: tshark reads every packet, and finds nothing malformed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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
UNDISPUTED = "!_ws.malformed.reassembly && !(tcp.checksum == 0xffff && tcp.checksum_calculated == 0)"
"""All but what tshark alone objects to.

What TCP sent again and cut otherwise is a "reassembly error" to it. And of the two zeros of one's complement it takes
one only, where Linux writes the other: for any receiver either adds up (RFC 1071).
"""
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
    complaints: Mapping[int, str]
    """What is wrong with each packet that is malformed, or has a wrong checksum."""
    packets: int


def read(output: str) -> Dissection:
    """Read tshark's fields: number, protocols, then the state of each checksum in the packet."""
    protocols: Counter[str] = Counter()
    complaints = {}
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
            complaints[int(number)] = "malformed"
        elif wrong:
            complaints[int(number)] = f"wrong checksum of {' and '.join(wrong)}"
    return Dissection(protocols, complaints, len(lines))


def dissect(capture: Path) -> Dissection:
    """Have tshark read a capture.

    Raises:
        LabError: it cannot.
    """
    fields = ["frame.number", "frame.protocols", *(f"{name}.checksum.status" for name in CHECKSUMS)]
    return read(
        _tshark(capture, "-Y", UNDISPUTED, "-T", "fields", *(word for field in fields for word in ("-e", field)))
    )


def _tshark(capture: Path, *arguments: str) -> str:
    """Its output, every checksum looked at (ICMP's always is)."""
    verified = [word for name in ("ip", "tcp", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    return programs.demand(["tshark", "-n", "-r", str(capture), *verified, *arguments], seconds=TSHARK_SECONDS)


def _captures_are_sound(run: Run) -> str:
    assert run.captures is not None
    told = []
    for interface, demanded in DEMANDED.items():
        run.lab.stop(f"capture {interface}")
        capture = run.captures / f"{interface}.pcap"
        found = dissect(capture)
        for number, wrong in found.complaints.items():
            shown = " ".join(_tshark(capture, "-Y", f"frame.number=={number}").split())
            raise CheckFailed(f"{interface}: {len(found.complaints)} complaints, the first: {wrong}: {shown}")
        if missing := [name for name in demanded if not found.protocols[name]]:
            raise CheckFailed(f"{interface}: no {', '.join(missing)} among {found.packets} packets")
        counts = ", ".join(f"{found.protocols[name]} {name}" for name in demanded)
        told.append(f"{interface}: {found.packets} packets ({counts})")
    return f"nothing malformed, no wrong checksum; {'; '.join(told)}"


CHECK = Check("captures, by tshark", _captures_are_sound)
