"""Stories out of vectors and of other stories: operations left out, doubled, moved; their octets and times changed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from glassgate.conformance.fuzz.stories import TICKS_PER_SECOND, Operation, Story
from glassgate.conformance.model import PacketInput, StartInput, Step

_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def from_steps(config: Mapping[str, Any], steps: Sequence[Step]) -> Story:
    """A vector's steps as a story; its expectations are left behind."""
    operations = []
    before = 0
    for step in steps:
        at = round(step.at * TICKS_PER_SECOND)
        if not isinstance(step.input, StartInput):
            operations.append(Operation(max(0, at - before), step.input))
        before = at
    return Story(config, tuple(operations))


def mutate(dice: random.Random, story: Story, other: Story | None = None) -> Story:
    """A story like ``story`` with one to four changes; operations of ``other`` may be mixed in."""
    operations = list(story.operations)
    for _ in range(dice.randint(1, 4)):
        if not operations:
            break
        index = dice.randrange(len(operations))
        match dice.randrange(8):
            case 0:
                del operations[index]
            case 1:
                operations.insert(index, operations[index])
            case 2:
                operations.insert(dice.randrange(len(operations)), operations.pop(index))
            case 3:
                waits = (0, 1, 512, 1024, 3072, 60 * 1024, 1200 * 1024)
                operations[index] = replace(operations[index], wait=dice.choice(waits))
            case 4 if other is not None and other.config == story.config:
                operations[index:index] = other.operations[: dice.randint(1, 4)]
            case _:
                operations[index] = _mutate_octets(dice, operations[index])
    return story.with_operations(tuple(operations[:64]))


def _mutate_octets(dice: random.Random, operation: Operation) -> Operation:
    packet = operation.input
    if not isinstance(packet, PacketInput) or not packet.data:
        return operation
    data = bytearray(packet.data)
    at = min(dice.randrange(len(data)), dice.randrange(len(data)), dice.randrange(len(data)))  # headers come first
    match dice.randrange(5):
        case 0:
            data[at] ^= 1 << dice.randrange(8)
        case 1:
            data[at] = dice.choice(_INTERESTING)
        case 2:
            del data[at:]
        case 3:
            data += dice.randbytes(dice.randint(1, 32))
        case _:
            data[at : at + 2] = dice.randbytes(2)
    return replace(operation, input=replace(packet, data=bytes(data)))
