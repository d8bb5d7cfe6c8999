"""``glassgate serve``: any gateway behind protocol 1, one JSON object a line each way.

    hello    who are you
    start    begin afresh with a configuration
    receive  octets at a port        flow  news of the transport        tick  time passes
    run      several of these        stop  the end

A line that is wrong is answered by ``{"error": "…"}`` that names the member, and changes nothing; the program goes on.
It never sees an expectation, so it cannot please. Standard output carries answers only; standard error is a log.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import click

from glassgate.conformance import strict_json
from glassgate.conformance.subjects import discovery
from glassgate.conformance.subjects.in_process import called_safely
from glassgate.conformance.subjects.subject import SubjectFault
from glassgate.contract import (
    CloseFlow,
    ConfigError,
    Effect,
    FlowEvent,
    Gateway,
    GatewayConfig,
    Implementation,
    Note,
    OpenFlow,
    Port,
    SeededEntropy,
    Transmit,
    Unsupported,
)

PROTOCOL = 1
LONGEST_LINE = 16 * 1024 * 1024
_HEX = re.compile(r"([0-9a-fA-F]{2})*")

Answer = dict[str, Any]


class LineError(ValueError):
    """A line that is wrong: member and problem."""


class Service:
    """The state behind the protocol: an implementation, and the gateway that was started last."""

    def __init__(self, implementation: Implementation) -> None:
        self._implementation = implementation
        self._gateway: Gateway | None = None
        self._config = GatewayConfig()
        self._now = 0.0

    def answer(self, line: bytes) -> Answer:
        """The answer to one line, whatever it holds."""
        try:
            return self._dispatch(_parsed(line))
        except (LineError, ConfigError) as error:
            return {"error": " ".join(str(error).split())}
        except Unsupported as error:
            return {"unsupported": error.capability}
        except SubjectFault as fault:
            self._gateway = None
            return {"error": fault.message}

    def _dispatch(self, request: Mapping[str, Any]) -> Answer:
        op = _op(request, ("hello", "start", "receive", "flow", "tick", "run", "stop"))
        if op == "hello":
            return self._hello(request)
        if op == "run":
            return self._run(request)
        if op == "stop":
            _only(request)
            self._gateway = None
            return {"stopped": True}
        return self._step(op, request)

    def _hello(self, request: Mapping[str, Any]) -> Answer:
        _only(request, "protocol")
        protocol = request["protocol"]
        if isinstance(protocol, bool) or protocol != PROTOCOL:
            raise LineError(f"protocol: {protocol!r:.40} is not spoken here, only {PROTOCOL}")
        ours = self._implementation
        ports = [Port.INTERNAL]
        if "external.stack" in ours.capabilities:
            ports.append(Port.EXTERNAL)
        if "external.os" in ours.capabilities:
            ports.append(Port.FLOW)
        return {
            "name": ours.name,
            "version": ours.version,
            "language": ours.language,
            "capabilities": sorted(ours.capabilities),
            "ports": [port.value for port in ports],
        }

    def _run(self, request: Mapping[str, Any]) -> Answer:
        """Take steps until one is wrong; then the error tells which, and no step after it is taken."""
        _only(request, "steps")
        steps = request["steps"]
        if not isinstance(steps, list):
            raise LineError(f"steps: {steps!r:.40} is not a list")
        results = []
        for index, step in enumerate(steps):
            try:
                if not isinstance(step, dict):
                    raise LineError(f"{step!r:.40} is not an object")
                results.append(self._step(_op(step, ("start", "receive", "flow", "tick")), step))
            except (LineError, ConfigError) as error:
                raise LineError(f"steps[{index}]: {error}") from None
            except SubjectFault as fault:
                raise SubjectFault(fault.fault, f"steps[{index}]: {fault.message}") from None
        return {"results": results}

    def _step(self, op: str, request: Mapping[str, Any]) -> Answer:
        if op == "start":
            return self._start(request)
        if op == "receive":
            _only(request, "port", "hex", "now")
            port, octets = self._port(request["port"]), _octets(request["hex"])
            gateway, now = self._running(request)
            return self._told(gateway, called_safely(lambda: gateway.receive(port, octets, now)))
        if op == "flow":
            _only(request, "event", "now")
            event = _event(request["event"])
            self._port("flow")
            gateway, now = self._running(request)
            return self._told(gateway, called_safely(lambda: gateway.flow(event, now)))
        _only(request, "now")
        gateway, now = self._running(request)
        return self._told(gateway, called_safely(lambda: gateway.tick(now)))

    def _start(self, request: Mapping[str, Any]) -> Answer:
        """Begin afresh. Whatever happens, what was started before is over."""
        self._gateway = None
        _only(request, "config", "now")
        now = _seconds(request["now"])
        config = GatewayConfig.from_json(request["config"])
        gateway = called_safely(lambda: self._implementation(config, SeededEntropy(config.entropy)))
        answer = self._told(gateway, called_safely(lambda: gateway.start(now)))
        self._gateway, self._config, self._now = gateway, config, now
        return answer

    def _running(self, request: Mapping[str, Any]) -> tuple[Gateway, float]:
        """The gateway and the time of this step, which is from now on the time that none may be before."""
        now = _seconds(request["now"])
        if self._gateway is None:
            raise LineError(f"{request['op']}: nothing is started")
        if now < self._now:
            raise LineError(f"now: {now:g} is before {self._now:g}: time does not go back")
        self._now = now
        return self._gateway, now

    def _port(self, value: object) -> Port:
        if value not in tuple(Port):
            raise LineError(f"port: {value!r:.40} is not one of {', '.join(Port)}")
        port = Port(str(value))
        if self._gateway is not None:
            lacking = Port.EXTERNAL if self._config.external.kind == "os" else Port.FLOW
            if port is lacking:
                raise LineError(f"port: the configuration has no port {str(port)!r} (external.kind decides)")
        return port

    def _told(self, gateway: Gateway, effects: list[Effect]) -> Answer:
        deadline = called_safely(lambda: gateway.deadline)
        return {"out": [_effect(effect) for effect in effects], "deadline": deadline}


# ── reading, member by member ────────────────────────────────────────────────────────────────────────────────────────


def _parsed(line: bytes) -> Mapping[str, Any]:
    try:
        request = strict_json.parse(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LineError(f"the line is not UTF-8: octet {error.start}") from None
    except ValueError as error:
        raise LineError(f"the line {error}") from None
    if not isinstance(request, dict):
        raise LineError(f"the line is not a JSON object but {request!r:.40}")
    return request


def _op(request: Mapping[str, Any], known: tuple[str, ...]) -> str:
    if "op" not in request:
        raise LineError("op: is missing")
    op = request["op"]
    if not isinstance(op, str) or op not in known:
        raise LineError(f"op: {op!r:.40} is not one of {', '.join(known)}")
    return op


def _only(request: Mapping[str, Any], *members: str) -> None:
    """Demand just these members beside ``op``."""
    for name in request:
        if name != "op" and name not in members:
            raise LineError(f"{name:.40}: unknown member; known here: {', '.join(('op', *members))}")
    for name in members:
        if name not in request:
            raise LineError(f"{name}: is missing")


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15 or math.isnan(value):
        raise LineError(f"now: {value!r:.40} is not a time in seconds")
    return float(value)


def _octets(value: object) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise LineError(f"hex: {value!r:.40} is not hexadecimal octets")
    return bytes.fromhex(value)


def _event(value: object) -> FlowEvent:
    if value not in tuple(FlowEvent):
        raise LineError(f"event: {value!r:.40} is not one of {', '.join(FlowEvent)}")
    return FlowEvent(str(value))


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _effect(effect: Effect) -> Answer:
    match effect:
        case Transmit():
            return {"do": "transmit", "port": effect.port.value, "hex": bytes(effect.data).hex()}
        case OpenFlow():
            return {"do": "open"}
        case CloseFlow():
            return {"do": "close"}
        case Note():
            return {"do": "note", "kind": effect.kind.value, "rule": effect.rule.slug, "detail": dict(effect.detail)}


def loop(service: Service, given: BinaryIO, answers: BinaryIO) -> None:
    """Answer lines until there are no more."""
    while line := given.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := given.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            answer: Answer = {"error": f"the line is longer than {LONGEST_LINE} octets"}
        else:
            answer = service.answer(line)
        answers.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        answers.flush()


@click.command()
@click.argument("name")
def serve(name: str) -> None:
    """Put the gateway NAME (or module:factory) behind protocol 1 on standard input and output."""
    try:
        implementation = discovery.find(name)
    except discovery.SubjectError as error:
        raise click.UsageError(str(error)) from None
    loop(Service(implementation), sys.stdin.buffer, sys.stdout.buffer)
