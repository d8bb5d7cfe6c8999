"""Vectors and results as captures that Wireshark opens: each packet with a comment that says what it is for.

A vector gives what goes in and what its preferred outcome expects. A result gives what really went in and came out,
and beside it what was expected and did not come. Ports become interfaces; inner packets stand on one called ``tunnel``.
"""

from __future__ import annotations

from typing import BinaryIO, Literal

from glassgate.conformance.capture import ETHERNET, RAW_IP, Writer
from glassgate.conformance.matching import ActualPacket
from glassgate.conformance.model import ExpectedPacket, PacketInput, Step, Vector, VectorPort
from glassgate.conformance.runner import StepRecord, VectorResult
from glassgate.contract.rules import RULES

USER_0 = 147
"""LINKTYPE_USER0: octets of the stream are of no link type that a reader knows."""
_LINK_TYPES = {VectorPort.TUNNEL: RAW_IP, VectorPort.FLOW: USER_0}


class _Capture:
    """A writer whose interfaces are the ports, declared when they are first needed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._writer = Writer(stream)
        self._interfaces: dict[VectorPort, int] = {}

    def packet(self, port: VectorPort, at: float, data: bytes, direction: Literal["in", "out"], *comments: str) -> None:
        if port not in self._interfaces:
            link_type = _LINK_TYPES.get(port, ETHERNET)
            self._interfaces[port] = self._writer.interface(port.value, f"the port {port} of the gateway", link_type)
        self._writer.packet(self._interfaces[port], at, data, *comments, direction=direction)


def write_vector(vector: Vector, stream: BinaryIO) -> None:
    """Write a vector's inputs and the frames of its preferred outcomes as pcapng."""
    capture = _Capture(stream)
    about = _about(vector)
    for index, step in enumerate(vector.steps):
        _write_input(capture, index, step, about)
        about = ""
        for expected in step.outcomes[0].expect:
            if isinstance(expected, ExpectedPacket):
                capture.packet(expected.port, step.at, expected.data, "out", f"step {index}: expected")


def write_result(result: VectorResult, stream: BinaryIO) -> None:
    """Write what went in and came out in one run of a vector, and what was expected instead, as pcapng."""
    capture = _Capture(stream)
    about = f"{_about(result.vector)}\n{result.status}: {result.message}"
    for record in result.steps:
        _write_input(capture, record.index, record.step, about)
        about = ""
        _write_outputs(capture, record)


def _about(vector: Vector) -> str:
    rules = "\n".join(f"{slug}: {RULES[slug].sentence} [{RULES[slug].citation}]" for slug in vector.rules)
    return f"{vector.id}: {vector.title}\n{rules}"


def _write_input(capture: _Capture, index: int, step: Step, about: str) -> None:
    if isinstance(step.input, PacketInput):
        comments = [about] if about else []
        capture.packet(step.input.port, step.at, step.input.data, "in", *comments, f"step {index}: input")


def _write_outputs(capture: _Capture, record: StepRecord) -> None:
    for pair in record.judgement.pairs:
        problems = "; ".join(difference.problem for difference in pair.differences)
        if isinstance(pair.actual, ActualPacket):
            comment = f"step {record.index}: came out{': ' if problems else ', as expected'}{problems}"
            capture.packet(pair.actual.port, record.step.at, pair.actual.data, "out", comment)
        if pair.differences and isinstance(pair.expected, ExpectedPacket):
            comment = f"step {record.index}: was EXPECTED (this frame did not come)"
            capture.packet(pair.expected.port, record.step.at, pair.expected.data, "out", comment)
