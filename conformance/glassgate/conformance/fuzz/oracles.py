"""What must hold of a story's two tellings, in order: no exception, invariants, equal effects.

Invariants hold of any gateway, whatever came in: no packet over its port's MTU, checksums good, time to live falls,
nothing out at a port that the configuration lacks, no ICMP error about an ICMP error, records that the far end opens.

Equal effects are equal after normalisation, which frees exactly what the vectors leave free: the identification of what
the gateway originates itself, the initial sequence numbers and the windows of its TCP (and the checksums over them,
which the invariants have verified before).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from glassgate.conformance.checksums import internet_checksum as checksum
from glassgate.conformance.model import PacketInput, VectorPort
from glassgate.contract import GatewayConfig

_ERRORS = (3, 4, 5, 11, 12)


@dataclass(frozen=True, slots=True)
class Output:
    """What came out: a frame, an inner packet, or a word (``open``, ``close``, ``unreadable``) with octets or none."""

    port: str
    data: bytes = b""
    base: int = 0
    """Of a TCP segment: the number that its sequence number counts from, the gateway's own choice."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one operation brought: outputs, the rules that were noted, and the exception if there was one."""

    outputs: tuple[Output, ...]
    rules: tuple[str, ...] = ()
    error: str = ""
    reasons: tuple[str, ...] = ()
    """The rule of each effect, in order; gateways need not agree in these, they guide the campaign."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first operation at which something does not hold: its index in the story, and what."""

    kind: str
    at: int
    problem: str

    @property
    def signature(self) -> str:
        """Findings of one signature are taken to be one bug."""
        return f"{self.kind}: {self.problem}"


class Judge:
    """Knows a configuration, and so what may come out."""

    def __init__(self, config: GatewayConfig) -> None:
        self._mtu = {"internal": config.internal.mtu, "tunnel": 0}
        own = {config.internal.address.ip}
        if config.tunnel.session is not None:
            self._mtu["tunnel"] = config.tunnel.session.mtu
            own.add(config.tunnel.session.address.ip)
        self._own = frozenset(address.packed for address in own)
        self._mac = bytes(config.internal.mac)

    def finding(
        self, inputs: Sequence[object], left: Sequence[Turn], right: Sequence[Turn], *, compare_rules: bool
    ) -> Finding | None:
        """The first finding of a story, or None."""
        for at, (input_, ours, theirs) in enumerate(zip(inputs, left, right, strict=True)):
            for side, turn in (("left", ours), ("right", theirs)):
                if turn.error:
                    return Finding("exception", at, f"{side}: {turn.error}")
                broken = self.broken_invariant(input_, turn)
                if broken:
                    return Finding("invariant", at, f"{side}: {broken}")
            if self.normal(ours.outputs) != self.normal(theirs.outputs):
                return Finding("effects", at, _difference(ours, theirs))
            if compare_rules and sorted(ours.rules) != sorted(theirs.rules):
                return Finding("rules", at, f"left {_said(ours)}, right {_said(theirs)}")
        return None

    # ── invariants ──

    def broken_invariant(self, input_: object, turn: Turn) -> str:
        """The first invariant that an operation's outputs break, in words; empty if none."""
        for output in turn.outputs:
            problem = self._broken(output) or self._time_to_live(input_, output)
            if problem:
                return problem
        return ""

    def _broken(self, output: Output) -> str:
        if output.port in ("open", "close"):
            return ""
        if output.port == "tunnel":
            return self._broken_packet(output.data, self._mtu["tunnel"])
        if output.port != "internal":
            return f"octets at port {output.port!r}"
        frame = output.data
        if len(frame) < 14:
            return "a frame without header"
        if frame[6:12] != self._mac:
            return "a frame from a foreign hardware address"
        if frame[:6] == bytes(6) or frame[:6] == self._mac:
            return "a frame to nobody"
        kind = frame[12:14]
        if kind == b"\x08\x06":
            return "" if len(frame) == 42 else "an ARP frame of another length than 42"
        if kind != b"\x08\x00":
            return "a frame of an unknown type"
        return self._broken_packet(frame[14:], self._mtu["internal"])

    def _broken_packet(self, packet: bytes, mtu: int) -> str:
        if len(packet) < 20 or packet[0] >> 4 != 4 or (packet[0] & 15) < 5:
            return "a packet without a sound IPv4 header"
        if len(packet) > mtu:
            return "a packet over the MTU"
        header = (packet[0] & 15) * 4
        if struct.unpack_from("!H", packet, 2)[0] != len(packet) or header > len(packet):
            return "a total length that is not what is sent"
        if checksum(packet[:header]) != 0:
            return "a bad header checksum"
        if packet[8] == 0:
            return "a time to live of 0"
        if packet[12:16] in self._own:
            return self._broken_own(packet, header)
        return ""

    def _broken_own(self, packet: bytes, header: int) -> str:
        """What the gateway originates must be right further up as well."""
        if struct.unpack_from("!H", packet, 6)[0] & 0x3FFF:
            return ""  # a fragment: its transport checksum covers the others too
        if packet[9] == 1 and checksum(packet[header:]) != 0:
            return "a bad ICMP checksum"
        if packet[9] == 17 and not _transport_sum_is_good(packet, header):
            return "a bad UDP checksum"
        if packet[9] == 6 and not _transport_sum_is_good(packet, header):
            return "a bad TCP checksum"
        if packet[9] == 1 and packet[header] in _ERRORS:
            return self._broken_error(packet, packet[header + 8 :])
        return ""

    def _broken_error(self, packet: bytes, quoted: bytes) -> str:
        if len(packet) > 576:
            return "an ICMP error over 576 octets"
        destination = IPv4Address(packet[16:20])
        if destination.is_multicast or destination == IPv4Address("255.255.255.255"):
            return "an ICMP error to a group"
        inner = (quoted[0] & 15) * 4
        if struct.unpack_from("!H", quoted, 6)[0] & 0x1FFF:
            return "an ICMP error about a later fragment"
        if quoted[9] == 1 and len(quoted) > inner and quoted[inner] in _ERRORS:
            return "an ICMP error about an ICMP error"
        return ""

    def _time_to_live(self, input_: object, output: Output) -> str:
        """A packet that is passed on in the same moment has one less; any less or more is wrong."""
        came = _packet_of(input_)
        left = output.data if output.port == "tunnel" else output.data[14:] if output.port == "internal" else b""
        if len(came) < 20 or len(left) < 20 or left[12:16] in self._own:
            return ""
        same = came[12:20] == left[12:20] and came[4:6] == left[4:6] and came[9] == left[9]
        if same and left[8] != came[8] - 1 and output.data[12:14] != b"\x08\x06":
            return "a time to live that did not fall by one"
        return ""

    # ── normalisation ──

    def normal(self, outputs: Sequence[Output]) -> tuple[Output, ...]:
        """Outputs in which everything that the vectors leave free has been made equal."""
        identifications: dict[bytes, int] = {}
        return tuple(self._normal(output, identifications) for output in outputs)

    def _normal(self, output: Output, identifications: dict[bytes, int]) -> Output:
        start = 14 if output.port == "internal" else 0
        packet = output.data[start:]
        is_ip = output.port == "tunnel" or output.data[12:14] == b"\x08\x00"
        if not is_ip or len(packet) < 20 or packet[12:16] not in self._own:
            return output
        fragment = struct.unpack_from("!H", packet, 6)[0] & 0x3FFF
        number = identifications.setdefault(packet[4:6], len(identifications)) if fragment else 0
        freed = packet[:4] + number.to_bytes(2, "big") + packet[6:10] + b"\0\0" + packet[12:]
        if packet[9] == 6 and not fragment and len(packet) >= 40 and packet[0] == 0x45:
            sequence = (struct.unpack_from("!I", packet, 24)[0] - output.base) % 2**32
            freed = freed[:24] + sequence.to_bytes(4, "big") + freed[28:34] + bytes(4) + freed[38:]
        return Output(output.port, output.data[:start] + freed)


def _transport_sum_is_good(packet: bytes, header: int) -> bool:
    segment = packet[header:]
    if packet[9] == 17 and segment[6:8] == b"\0\0":
        return True
    pseudo = packet[12:20] + struct.pack("!BBH", 0, packet[9], len(segment))
    return checksum(pseudo + segment) == 0


def _packet_of(input_: object) -> bytes:
    match input_:
        case PacketInput(VectorPort.TUNNEL, data):
            return data
        case PacketInput(VectorPort.INTERNAL, data) if data[12:14] == b"\x08\x00":
            return data[14:]
    return b""


def _said(turn: Turn) -> str:
    return ", ".join(turn.rules) or "nothing"


def _difference(left: Turn, right: Turn) -> str:
    """Which effects differ, by kind and not by octet, so that one bug has one signature."""
    return f"left {_kinds(left)}, right {_kinds(right)}"


def _kinds(turn: Turn) -> str:
    names = list(_named(turn.outputs))
    return (" + ".join(names) or "silence") + f" ({_said(turn)})"


def _named(outputs: Sequence[Output]) -> Iterator[str]:
    for output in outputs:
        if output.port == "internal" and output.data[12:14] == b"\x08\x06":
            yield "internal ARP"
        else:
            packet = output.data[14:] if output.port == "internal" else output.data
            if len(packet) >= 21 and packet[9] == 1 and output.port in ("internal", "tunnel"):
                at = (packet[0] & 15) * 4
                yield f"{output.port} ICMP " + "/".join(map(str, packet[at : at + 2]))
            elif len(packet) >= 40 and packet[9] == 6 and output.port in ("internal", "tunnel"):
                yield f"{output.port} TCP {_flag_names(packet[33])}"
            else:
                yield output.port


def _flag_names(flags: int) -> str:
    """FIN, SYN and so on, as RFC 9293 3.1 has them."""
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
    return "+".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "none"
