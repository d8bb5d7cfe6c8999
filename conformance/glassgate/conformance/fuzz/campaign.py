"""The campaign: slices of time, each a seeded loop that can run anywhere, gathered in one place.

A slice makes stories, plays each on both gateways and keeps those that reached something new. New means a pair (the
rule followed before, this rule): what a gateway decides depends on what it decided before. A slice is a function of its
arguments alone apart from the clock that ends it, so slices run in this process, in others, or on other machines.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from glassgate.conformance.fuzz import grammar, mutation
from glassgate.conformance.fuzz.oracles import Finding, Judge, Turn
from glassgate.conformance.fuzz.player import play
from glassgate.conformance.fuzz.shrinking import shrink
from glassgate.conformance.fuzz.stories import Story
from glassgate.conformance.subjects import discovery
from glassgate.contract import ConfigError, Implementation

SLICE_SECONDS = 2.0
CORPUS_SAMPLE = 40
"""How many stories of the corpus a slice is given to mutate."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Divergence:
    """A finding with its shrunk story and what each gateway did at the operation where they part."""

    finding: Finding
    story: Story
    left: Turn
    right: Turn
    seed: int


@dataclass(slots=True)
class Tally:
    """What slices have brought so far."""

    executions: int = 0
    operations: int = 0
    rules: set[str] = field(default_factory=set)
    pairs: set[Pair] = field(default_factory=set)
    corpus: list[Story] = field(default_factory=list)
    divergences: dict[str, Divergence] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Take in what another slice brought."""
        self.executions += other.executions
        self.operations += other.operations
        self.rules |= other.rules
        self.pairs |= other.pairs
        self.corpus += other.corpus
        for signature, divergence in other.divergences.items():
            self.divergences.setdefault(signature, divergence)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign compares and from where it starts."""

    left: str
    right: str
    seed: int
    compare_rules: bool = True
    starters: tuple[Story, ...] = ()
    """Stories to mutate from the beginning: the suite's vectors, an older corpus."""
    with_tcp: bool = True
    """Whether there are conversations with the TCP echo service. The standards leave a gateway of somebody else freedom
    there that ours do not use: when to cut a segment, what to wait for."""

    def pairing(self) -> Pairing:
        """The two implementations."""
        return Pairing(discovery.find(self.left), discovery.find(self.right), self.compare_rules, self.with_tcp)


class Pairing:
    """Two implementations and how a story is judged on them."""

    def __init__(self, left: Implementation, right: Implementation, compare_rules: bool, with_tcp: bool = True) -> None:
        self.left = left
        self.right = right
        self._with_tcp = with_tcp
        self._compare_rules = compare_rules and all("notes" in one.capabilities for one in (left, right))

    def services(self) -> dict[str, Any]:
        """The services that both gateways have, and that are wanted."""
        both = self.left.capabilities & self.right.capabilities
        wanted = both if self._with_tcp else both - {"tcp_echo"}
        return {name: [7] if name in wanted else [] for name in ("udp_echo", "tcp_echo")}

    def judge(self, story: Story) -> tuple[Finding | None, list[Turn], list[Turn]]:
        """Play a story on both; the first finding, and the two tellings."""
        config = story.gateway_config
        inputs = [input_ for _, input_ in story.timed()]
        ours, theirs = play(self.left, story), play(self.right, story)
        return Judge(config).finding(inputs, ours, theirs, compare_rules=self._compare_rules), ours, theirs

    def shrunk(self, story: Story, finding: Finding, seed: int) -> Divergence:
        """The smallest story with a finding of the same kind, and what happens there."""

        def fails(attempt: Story) -> bool:
            found, _, _ = self.judge(attempt)
            return found is not None and found.kind == finding.kind and found.problem == finding.problem

        small = shrink(story, fails)
        found, ours, theirs = self.judge(small)
        assert found is not None
        return Divergence(found, small, ours[found.at], theirs[found.at], seed)


def run_slice(plan: Plan, seed: int, seconds: float, corpus: Sequence[Story], known: frozenset[Pair]) -> Tally:
    """Fuzz for ``seconds``; ``known`` pairs are not new. The tally's corpus holds the stories that reached new ones."""
    pairing = plan.pairing()
    dice = random.Random(seed)
    tally = Tally()
    seen = set(known)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        story = _next_story(dice, pairing, plan.starters, [*corpus, *tally.corpus])
        finding, ours, _ = pairing.judge(story)
        tally.executions += 1
        tally.operations += len(story.operations)
        reasons = [rule for turn in ours for rule in turn.reasons]
        pairs = set(pairwise(reasons))
        tally.rules |= set(reasons)
        if not pairs <= seen:
            seen |= pairs
            tally.corpus.append(story)
        if finding is not None and finding.signature not in tally.divergences:
            divergence = pairing.shrunk(story, finding, seed)
            tally.divergences[finding.signature] = divergence
    tally.pairs = seen - known
    return tally


def _next_story(dice: random.Random, pairing: Pairing, starters: Sequence[Story], corpus: Sequence[Story]) -> Story:
    """Half grammar, half mutation: of what was found on the way rather than of what was there at the start."""
    pool = corpus if corpus and (not starters or dice.random() < 0.6) else starters
    if not pool or dice.random() < 0.5:
        story = grammar.story(dice, pairing.services())
        return grammar.interrogated(dice, story) if dice.random() < 0.2 else story
    return mutation.mutate(dice, dice.choice(pool), dice.choice(pool))


def playable(plan: Plan, stories: Sequence[Story]) -> tuple[Story, ...]:
    """Those stories whose configuration both gateways can take, with the services that both have."""
    pairing = plan.pairing()
    capabilities = pairing.left.capabilities & pairing.right.capabilities
    taken = []
    for story in stories:
        config = story.config
        if not pairing.services()["tcp_echo"]:
            config = {**config, "services": {**config.get("services", {}), "tcp_echo": []}}
        try:
            checked = Story(config, story.operations).gateway_config
        except ConfigError:
            continue  # a vector about a configuration that is refused
        if checked.tunnel.session is not None and set(checked.needs) <= capabilities and checked.external.kind == "os":
            taken.append(Story(config, story.operations))
    return tuple(taken)


def run(plan: Plan, seconds: float, jobs: int, report: Callable[[Tally, float], None]) -> Tally:
    """Fuzz for ``seconds`` in ``jobs`` processes. ``report`` is called after each slice with what there is so far."""
    total = Tally()
    started = time.monotonic()
    seeds = _seeds(plan.seed)
    try:
        if jobs == 1:
            while (left := seconds - (time.monotonic() - started)) > 0:
                total.add(run_slice(plan, next(seeds), min(SLICE_SECONDS, left), *_share(plan.seed, total)))
                report(total, time.monotonic() - started)
        else:
            _run_in_processes(plan, seconds, jobs, seeds, total, report)
    except KeyboardInterrupt:
        report(total, time.monotonic() - started)
    return total


def _run_in_processes(
    plan: Plan, seconds: float, jobs: int, seeds: Iterator[int], total: Tally, report: Callable[[Tally, float], None]
) -> None:
    started = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        running: set[Future[Tally]] = set()
        while running or time.monotonic() - started < seconds:
            while len(running) < jobs and (left := seconds - (time.monotonic() - started)) > 0:
                share = _share(plan.seed, total)
                running.add(pool.submit(run_slice, plan, next(seeds), min(SLICE_SECONDS, left), *share))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
            report(total, time.monotonic() - started)


def _share(seed: int, total: Tally) -> tuple[list[Story], frozenset[Pair]]:
    """What a slice is told of what others found: a sample of the corpus, and all pairs that are not new any more."""
    dice = random.Random(seed + total.executions)
    sample = dice.sample(total.corpus, min(CORPUS_SAMPLE, len(total.corpus)))
    return sample, frozenset(total.pairs)


def _seeds(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1
