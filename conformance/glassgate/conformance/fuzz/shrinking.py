"""Making a finding small: fewer operations, then fewer and plainer octets, then shorter waits.

Each attempt is played anew on both gateways; it is kept if the same kind of thing still goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from glassgate.conformance.fuzz.stories import Operation, Story
from glassgate.conformance.model import PacketInput

StillFails = Callable[[Story], bool]


def shrink(story: Story, fails: StillFails, attempts: int = 2000) -> Story:
    """The smallest story that was found within ``attempts`` plays and for which ``fails`` holds."""
    budget = _Budget(fails, attempts)
    story = _fewer_operations(story, budget)
    story = _shorter_payloads(story, budget)
    story = _plainer_octets(story, budget)
    story = _fewer_operations(story, budget)
    return _shorter_waits(story, budget)


class _Budget:
    """Counts plays; when none is left, every further attempt counts as not failing."""

    def __init__(self, fails: StillFails, attempts: int) -> None:
        self._fails = fails
        self._left = attempts

    def fails(self, story: Story) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        return self._fails(story)


def _fewer_operations(story: Story, budget: _Budget) -> Story:
    """Delta debugging: leave out runs of operations, halves first, then smaller runs.

    The wait of what is left out is added to what follows, so that the rest happens when it happened.
    """
    size = max(1, len(story.operations) // 2)
    while True:
        start = 0
        while start < len(story.operations):
            attempt = story.with_operations(_without(story.operations, start, start + size))
            if budget.fails(attempt):
                story = attempt
            else:
                start += size
        if size == 1:
            return story
        size //= 2


def _without(operations: Sequence[Operation], start: int, end: int) -> tuple[Operation, ...]:
    lost = sum(operation.wait for operation in operations[start:end])
    rest = list(operations[end:])
    if rest:
        rest[0] = replace(rest[0], wait=rest[0].wait + lost)
    return (*operations[:start], *rest)


def _each_packet(story: Story) -> Iterator[tuple[int, Operation, PacketInput]]:
    for index, operation in enumerate(story.operations):
        if isinstance(operation.input, PacketInput):
            yield index, operation, operation.input


def _with_data(story: Story, index: int, packet: PacketInput, data: bytes) -> Story:
    operation = replace(story.operations[index], input=replace(packet, data=data))
    return story.with_operations((*story.operations[:index], operation, *story.operations[index + 1 :]))


def _shorter_payloads(story: Story, budget: _Budget) -> Story:
    for index, _, packet in _each_packet(story):
        data = packet.data
        cut = len(data) // 2
        while cut:
            if len(data) > cut and budget.fails(_with_data(story, index, packet, data[:-cut])):
                data = data[:-cut]
            else:
                cut //= 2
        story = _with_data(story, index, packet, data)
    return story


def _plainer_octets(story: Story, budget: _Budget) -> Story:
    """Set runs of octets to zero, long runs first."""
    for index, _, packet in _each_packet(story):
        data = packet.data
        run = len(data) // 2
        while run >= 4:
            for start in range(0, len(data), run):
                end = min(len(data), start + run)
                plain = data[:start] + bytes(end - start) + data[end:]
                if plain != data and budget.fails(_with_data(story, index, packet, plain)):
                    data = plain
            run //= 2
        story = _with_data(story, index, packet, data)
    return story


def _shorter_waits(story: Story, budget: _Budget) -> Story:
    for index, operation in enumerate(story.operations):
        for wait in (0, 1024, operation.wait // 2):
            if wait >= operation.wait:
                continue
            shorter = replace(operation, wait=wait)
            attempt = story.with_operations((*story.operations[:index], shorter, *story.operations[index + 1 :]))
            if budget.fails(attempt):
                story = attempt
                break
    return story
