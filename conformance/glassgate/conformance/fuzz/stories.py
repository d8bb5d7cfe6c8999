"""A story: a configuration and operations in the form of vector steps, each some time after the one before.

Times are multiples of 1/1024 s, which floating point adds without rounding: two gateways that compute the same moment
in different ways must find the same one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from glassgate.conformance.model import (
    Bind,
    Checksum,
    Fill,
    FlowInput,
    Input,
    PacketInput,
    StartInput,
    TickInput,
    VectorPort,
    input_to_json,
)
from glassgate.contract import FlowEvent, GatewayConfig

TICKS_PER_SECOND = 1024


@dataclass(frozen=True, slots=True)
class Operation:
    """``wait`` (in 1/1024 s) after the operation before, ``input`` happens."""

    wait: int
    input: Input


@dataclass(frozen=True, slots=True)
class Story:
    """What is played on both gateways. ``config`` is protocol 1's JSON; the start is implied."""

    config: Mapping[str, Any]
    operations: tuple[Operation, ...]

    def timed(self) -> Iterator[tuple[float, Input]]:
        """Each operation with its time in seconds, the start at 0 first."""
        yield 0.0, StartInput()
        now = 0
        for operation in self.operations:
            now += operation.wait
            yield now / TICKS_PER_SECOND, operation.input

    def with_operations(self, operations: tuple[Operation, ...]) -> Story:
        """The same configuration with other operations."""
        return replace(self, operations=operations)

    @property
    def gateway_config(self) -> GatewayConfig:
        """The configuration, checked."""
        return GatewayConfig.from_json(self.config)

    def to_json(self) -> dict[str, Any]:
        """A form that files can hold; ``from_json`` reads it back."""
        steps = [input_to_json(input_) | {"at": at} for at, input_ in self.timed()]
        return {"config": self.config, "steps": steps}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Story:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: this is no story.
        """
        try:
            operations = []
            before = 0
            for step in value["steps"]:
                at = round(step["at"] * TICKS_PER_SECOND)
                if "start" not in step:
                    operations.append(Operation(at - before, _input_from_json(step)))
                before = at
            return cls(value["config"], tuple(operations))
        except (KeyError, TypeError, AttributeError) as error:
            told = f"{error} is missing" if isinstance(error, KeyError) else "a value is of the wrong type"
            raise ValueError(f"this is no story: {told}") from None

    def draft(self, identifier: str, title: str) -> str:
        """A draft vector as JSON text: the steps, and outcomes left for a person to write from the standard."""
        steps = [{"at": at, "input": input_to_json(input_), "outcomes": []} for at, input_ in self.timed()]
        draft = {
            "id": identifier,
            "rev": 1,
            "title": title,
            "rules": [],
            "requires": [],
            "flags": [],
            "result": "",
            "source": "",
            "config": self.config,
            "steps": steps,
        }
        return json.dumps(draft, indent=1)


def _input_from_json(step: Mapping[str, Any]) -> Input:
    if "tick" in step:
        return TickInput()
    if "flow" in step:
        return FlowInput(FlowEvent(step["flow"]))
    fill = tuple(_fill_from_json(one) for one in step.get("fill", ()))
    return PacketInput(VectorPort(step["port"]), bytes.fromhex(step["hex"]), fill)


def _fill_from_json(value: Mapping[str, Any]) -> Fill:
    start, end = value["at"]
    if value["kind"] == "bind":
        return Bind(start, end, value["name"], value.get("plus", 0))
    return Checksum(start, end, value["of"])
