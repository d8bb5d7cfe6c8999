"""A gateway with its own external stack, met through it: so the vectors of the tunnel reach it without ``external.os``.

The configuration gets ``external.kind`` ``stack``; what a vector gives at ``flow`` arrives in TCP segments from the
server, and what the gateway sends to the server is what the vector sees at ``flow``. The rest is as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from glassgate.conformance.matching import Actual, ActualAction, ActualPacket
from glassgate.conformance.model import VectorPort
from glassgate.conformance.outside import News, Octets, Outside
from glassgate.conformance.subjects.subject import Fault, Reply, Said, Subject, SubjectFault
from glassgate.contract import ConfigError, ExternalStack, FlowEvent, GatewayConfig, Port

MOST_FRAMES = 10_000
"""More than this in one step is a conversation without an end."""


class ThroughStack:
    """Wraps a subject that has ``external.stack``."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._outside: Outside | None = None

    @property
    def name(self) -> str:
        """The subject's name, and the way."""
        return f"{self._subject.name} through its own stack"

    @property
    def version(self) -> str:
        """The subject's version."""
        return self._subject.version

    @property
    def language(self) -> str:
        """The subject's language."""
        return self._subject.language

    @property
    def capabilities(self) -> frozenset[str]:
        """What the subject declares, its stack standing for the operating system's. (No datagrams on this way.)"""
        declared = self._subject.capabilities
        if "external.stack" not in declared:
            return declared - {"external.os"}
        return declared - {"external.stack", "transport.udp"} | {"external.os"}

    @property
    def passes(self) -> tuple[str, ...]:
        """The subject's passes."""
        return self._subject.passes

    def start(self, config: Mapping[str, Any], now: float, run: str) -> Reply:
        """Begin afresh, and let the connection come up where keys are given.

        Raises:
            Refused: the configuration is an error.
            SaysUnsupported: a capability is lacking.
            SubjectFault: the subject failed.
        """
        changed = {**config, "external": {"kind": "stack"}}
        self._outside = _made_outside(changed)
        return self._translated(self._subject.start(changed, now, run), [], now)

    def receive(self, port: Port, data: bytes, now: float) -> Reply:
        """Give octets at a port; those of the flow come in segments.

        Raises:
            SubjectFault: the subject failed.
        """
        if port is Port.FLOW and self._outside is not None:
            return self._translated(Reply(), self._outside.send(data), now)
        return self._translated(self._subject.receive(port, data, now), [], now)

    def flow(self, event: FlowEvent, now: float) -> Reply:
        """Let the server accept or reset the connection.

        Raises:
            SubjectFault: the subject failed.
        """
        outside = self._outside
        if outside is None:
            return Reply()
        frames = outside.open() if event is FlowEvent.OPENED else outside.close()
        return self._translated(Reply(), frames, now)

    def tick(self, now: float) -> Reply:
        """Let time pass.

        Raises:
            SubjectFault: the subject failed.
        """
        return self._translated(self._subject.tick(now), [], now)

    def close(self) -> None:
        """Let go of the subject."""
        self._subject.close()

    def _translated(self, reply: Reply, frames: list[bytes], now: float) -> Reply:
        """What a reply means to the vector, after frames have gone to and fro until nobody has more to say."""
        effects: list[Actual] = []
        notes: list[Said] = [*reply.notes]
        answers = deque(frames)
        deadline = reply.deadline
        self._take(reply.effects, effects, answers)
        for _ in range(MOST_FRAMES):
            if not answers:
                return Reply(tuple(effects), tuple(notes), deadline)
            further = self._subject.receive(Port.EXTERNAL, answers.popleft(), now)
            notes += further.notes
            deadline = further.deadline
            self._take(further.effects, effects, answers)
        raise SubjectFault(Fault.ERROR, f"the conversation on the external network has no end ({MOST_FRAMES} frames)")

    def _take(self, given: tuple[Actual, ...], effects: list[Actual], answers: deque[bytes]) -> None:
        for actual in given:
            if self._outside is None or not isinstance(actual, ActualPacket) or actual.port is not VectorPort.EXTERNAL:
                effects.append(actual)
                continue
            events, frames = self._outside.receive(actual.data)
            answers.extend(frames)
            for event in events:
                if isinstance(event, Octets):
                    effects.append(ActualPacket(VectorPort.FLOW, event.data))
                elif isinstance(event, News):
                    effects.append(ActualAction("open" if event is News.WANTED else "close"))
                else:
                    effects.append(ActualPacket(VectorPort.EXTERNAL, event.frame, event.problem))


def _made_outside(config: Mapping[str, Any]) -> Outside | None:
    """Router and server for a configuration; None where it will be refused anyway."""
    try:
        checked = GatewayConfig.from_json(config)
    except ConfigError:
        return None
    assert isinstance(checked.external, ExternalStack)
    has_keys = checked.tunnel.session is not None
    return Outside(checked.external, checked.tunnel.remote, checked.tunnel.port, accepts=has_keys)
