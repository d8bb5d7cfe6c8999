"""What the runner needs of a subject, whether it is a gateway in this process or a program that speaks protocol 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from glassgate.conformance.matching import Actual
from glassgate.conformance.model import Vector
from glassgate.contract import FlowEvent, GatewayConfig, Port


@dataclass(frozen=True, slots=True)
class Said:
    """A note of the gateway: what it decided, by which rule, on what values. For people; it is not judged."""

    kind: str
    rule: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one call: effects in order, notes in order, and when the gateway wants a tick."""

    effects: tuple[Actual, ...] = ()
    notes: tuple[Said, ...] = ()
    deadline: float | None = None


class Fault(StrEnum):
    """What went wrong with the subject itself, apart from any verdict."""

    ERROR = "error"
    """It answered with an error, or a gateway in this process raised an exception."""
    RUBBISH = "rubbish"
    """What it printed is no answer of protocol 1."""
    DIED = "died"
    """It ended."""
    LATE = "late"
    """It answered after the time that an answer may take."""
    HUNG = "hung"
    """It did not answer."""

    @property
    def is_timeout(self) -> bool:
        """Whether time was what it lacked."""
        return self in (Fault.LATE, Fault.HUNG)

    @property
    def ends_subject(self) -> bool:
        """Whether there is nothing left to talk to."""
        return self in (Fault.DIED, Fault.HUNG, Fault.RUBBISH)


class SubjectFault(Exception):
    """The subject failed as a program; the vector could not be judged."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


class Refused(Exception):
    """The subject says that the configuration is an error."""


class SaysUnsupported(Exception):
    """The subject says that it lacks a capability."""

    def __init__(self, capability: str) -> None:
        super().__init__(capability)
        self.capability = capability


class Subject(Protocol):
    """A gateway under judgement. ``passes`` names the ways in which each vector is run, at least one."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def version(self) -> str:
        """Its version, as it says."""

    @property
    def language(self) -> str:
        """The language that it is written in, as it says."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What it declares."""

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of the passes; the first one is the plain one."""

    def start(self, config: Mapping[str, Any], now: float, run: str) -> Reply:
        """Begin afresh, for the pass called ``run``.

        Raises:
            Refused: the configuration is an error.
            SaysUnsupported: a capability is lacking.
            SubjectFault: the subject failed.
        """

    def receive(self, port: Port, data: bytes, now: float) -> Reply:
        """Give octets at a port.

        Raises:
            SubjectFault: the subject failed.
        """

    def flow(self, event: FlowEvent, now: float) -> Reply:
        """Tell what became of the transport.

        Raises:
            SubjectFault: the subject failed.
        """

    def tick(self, now: float) -> Reply:
        """Let time pass.

        Raises:
            SubjectFault: the subject failed.
        """

    def close(self) -> None:
        """Let go of everything."""


@runtime_checkable
class LiveSubject(Subject, Protocol):
    """A subject in real time, between real networks. Its start is preparation, and order counts at each port only."""

    @property
    def was_late(self) -> bool:
        """Whether the judge itself was late in the vector before, so that a verdict about time means little."""

    def why_not(self, vector: Vector, config: GatewayConfig | None) -> str:
        """Why this vector makes no sense here; empty if it does."""

    def prepare(self, config: Mapping[str, Any]) -> None:
        """Be started as with ``start``, and be done with what is announced then; time begins with the next step.

        Raises:
            SubjectFault: the subject failed.
        """

    def awaits(self, most: int) -> None:
        """Learn how many effects the next step allows: with so many, there is nothing more to wait for."""

    def far_end_sends(self, packet: bytes, now: float) -> Reply:
        """Have the real far end send an inner packet.

        Raises:
            SubjectFault: the subject failed.
        """
