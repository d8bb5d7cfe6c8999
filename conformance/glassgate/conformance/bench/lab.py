"""The same offered traffic through a stock OpenVPN client and through each gateway, in the namespaces of the lab.

All labs stand side by side, and have their turns in rounds. Two far ends, which push ``socket-flags TCP_NODELAY``:

``server``: the stock server. The load is the same for all, one that every gateway carries, and pings go along. Then
            one TCP connection each way, as fast as it goes: who limits it can be seen by who was busy.
``sink``:   ``far.py``, which counts records and opens none. Upstream frames come faster than any gateway takes them;
            downstream a burst of records was sealed beforehand: packets alike, or the segments of one TCP flow. There
            the gateway alone limits what passes.

``samples.py`` has the figures, ``laboratory.py`` says what is counted and how the cards are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from glassgate.conformance.bench import isolation
from glassgate.conformance.bench.laboratory import Bench
from glassgate.conformance.bench.samples import Case, LabSample, Plan, Subject


@contextmanager
def benches(subjects: Sequence[Subject], *, offloads: bool = True, isolated: bool = False) -> Iterator[list[Bench]]:
    """A lab for each gateway, all of them taken down whatever happens."""
    with ExitStack() as stack:
        processors = isolation.processors() if isolated else None
        made = []
        for subject in subjects:
            one = Bench(subject, offloads=offloads, processors=processors)
            stack.callback(one.down)
            one.build()
            made.append(one)
        yield made


def measured(made: Sequence[Bench], plan: Plan, cases: Sequence[Case]) -> Iterator[LabSample]:
    """All samples, each as soon as it is there."""
    for far_end in dict.fromkeys(case.far_end for case in cases):
        for one in made:
            one.begin(far_end)
        for turn in range(plan.rounds):
            for place in range(len(made)):
                for case in cases:
                    if case.far_end == far_end:
                        yield made[(turn + place) % len(made)].measure(case, plan)
