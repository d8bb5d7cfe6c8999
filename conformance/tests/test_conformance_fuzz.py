"""The fuzzer: its stories are sound, its oracles bite, its findings shrink, and its command says so."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgate.conformance import packets
from glassgate.conformance.cli import run
from glassgate.conformance.fuzz import corpus, grammar, mutation
from glassgate.conformance.fuzz.campaign import Pairing, Plan, run_slice
from glassgate.conformance.fuzz.oracles import Judge, Output, Turn
from glassgate.conformance.fuzz.player import play
from glassgate.conformance.fuzz.shrinking import shrink
from glassgate.conformance.fuzz.stories import Operation, Story
from glassgate.conformance.model import PacketInput, TickInput, VectorPort
from glassgate.conformance.packets import Ethernet, IPv4
from glassgate.conformance.subjects import discovery
from glassgate.contract import (
    Effect,
    Entropy,
    FlowEvent,
    Gateway,
    GatewayConfig,
    Implementation,
    Note,
    NoteKind,
    Port,
    Transmit,
    rules,
)

REFERENCE = discovery.find("reference")
HOST, OUT = "10.38.2.5", "192.0.2.7"


# ── gateways with one fault each: the reference, and something done to its effects ──


class Faulty:
    """A gateway whose effects go through ``spoil`` on their way out."""

    def __init__(
        self, inner: Gateway, spoil: Callable[[list[Effect], bytes | bytearray | memoryview], list[Effect]]
    ) -> None:
        self._inner, self._spoil = inner, spoil

    def start(self, now: float) -> list[Effect]:
        return self._spoil(self._inner.start(now), b"")

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        return self._spoil(self._inner.receive(port, data, now), data)

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        return self._spoil(self._inner.flow(event, now), b"")

    def tick(self, now: float) -> list[Effect]:
        return self._spoil(self._inner.tick(now), b"")

    @property
    def deadline(self) -> float | None:
        return self._inner.deadline


def faulty(spoil: Callable[[list[Effect], bytes | bytearray | memoryview], list[Effect]]) -> Implementation:
    def factory(config: GatewayConfig, entropy: Entropy) -> Gateway:
        return Faulty(REFERENCE.factory(config, entropy), spoil)

    return replace(REFERENCE, name="faulty", factory=factory)


def raises_on_a_dropped_packet(effects: list[Effect], data: bytes | bytearray | memoryview) -> list[Effect]:
    if any(isinstance(effect, Note) and effect.kind is NoteKind.DROPPED for effect in effects):
        raise IndexError("dropped")
    return effects


def loses_icmp_errors(effects: list[Effect], data: bytes | bytearray | memoryview) -> list[Effect]:
    def is_error(effect: Effect) -> bool:
        return isinstance(effect, Transmit) and effect.port is Port.INTERNAL and effect.data[14 + 1 : 14 + 2] == b"\xc0"

    return [effect for effect in effects if not is_error(effect)]


def spoils_header_checksums(effects: list[Effect], data: bytes | bytearray | memoryview) -> list[Effect]:
    def spoiled(effect: Effect) -> Effect:
        if isinstance(effect, Transmit) and effect.port is Port.INTERNAL and effect.data[12:14] == b"\x08\x00":
            return replace(effect, data=effect.data[:24] + b"\0\0" + effect.data[26:])
        return effect

    return [spoiled(effect) for effect in effects]


def cites_another_rule(effects: list[Effect], data: bytes | bytearray | memoryview) -> list[Effect]:
    def recited(effect: Effect) -> Effect:
        if isinstance(effect, Note) and effect.kind is NoteKind.DROPPED:
            return replace(effect, rule=rules.S15_GROUP)
        return effect

    return [recited(effect) for effect in effects]


def first_finding(implementation: Implementation, stories: int = 400) -> tuple[Pairing, Story, Any]:
    pairing = Pairing(REFERENCE, implementation, compare_rules=True)
    for seed in range(stories):
        story = grammar.story(random.Random(seed), pairing.services())
        finding, _, _ = pairing.judge(story)
        if finding is not None:
            return pairing, story, finding
    raise AssertionError(f"{stories} stories did not find the fault")


# ── stories ──


def test_a_seed_always_makes_the_same_story() -> None:
    assert grammar.story(random.Random(7)) == grammar.story(random.Random(7))
    assert grammar.story(random.Random(7)) != grammar.story(random.Random(8))


def test_every_story_has_a_configuration_that_a_gateway_takes() -> None:
    for seed in range(300):
        story = grammar.story(random.Random(seed))
        assert story.gateway_config.tunnel.session is not None
        assert 1 <= len(story.operations) <= 200


@given(seed=st.integers(0, 2**32))
def test_a_story_survives_its_file(seed: int) -> None:
    story = grammar.story(random.Random(seed))

    assert Story.from_json(json.loads(json.dumps(story.to_json()))) == story


@settings(deadline=None)  # a story may be long, and the machine busy
@given(seed=st.integers(0, 2**32))
def test_a_mutated_story_still_plays(seed: int) -> None:
    dice = random.Random(seed)
    story, other = grammar.story(dice), grammar.story(dice)

    mutated = mutation.mutate(dice, story, other)

    finding, _, _ = Pairing(REFERENCE, REFERENCE, compare_rules=True).judge(mutated)
    assert finding is None


# ── oracles ──


def test_a_gateway_never_parts_from_itself() -> None:
    pairing = Pairing(REFERENCE, REFERENCE, compare_rules=True)
    for seed in range(150):
        finding, _, _ = pairing.judge(grammar.story(random.Random(seed), pairing.services()))
        assert finding is None, (seed, finding)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (raises_on_a_dropped_packet, "exception"),
        (loses_icmp_errors, "effects"),
        (spoils_header_checksums, "invariant"),
        (cites_another_rule, "rules"),
    ],
)
def test_a_fault_is_found_named_and_shrunk_to_a_few_operations(
    spoil: Callable[[list[Effect], bytes | bytearray | memoryview], list[Effect]], kind: str
) -> None:
    pairing, story, finding = first_finding(faulty(spoil))

    divergence = pairing.shrunk(story, finding, seed=0)

    assert finding.kind == divergence.finding.kind == kind
    assert len(divergence.story.operations) <= 4
    assert divergence.left != divergence.right


def test_a_gateway_that_keeps_a_view_of_its_input_is_found() -> None:
    kept: list[bytes | bytearray | memoryview] = []

    def echoes_the_frame_before(effects: list[Effect], data: bytes | bytearray | memoryview) -> list[Effect]:
        came, kept[:] = list(kept), [data]
        views: list[Effect] = [Transmit(Port.INTERNAL, bytes(view), rules.S5_FOR_US) for view in came if len(view)]
        return effects + views

    _, _, finding = first_finding(faulty(echoes_the_frame_before))

    assert finding.kind == "invariant"


CONFIG = grammar.story(random.Random(1)).gateway_config
PACKET = IPv4(source=OUT, destination=HOST, payload=packets.echo_request())


def internal(packet: IPv4) -> Output:
    frame = Ethernet(source="00:f0:0d:f0:0d:00", destination="02:00:00:00:00:05", type=0x0800, payload=packet.build())
    return Output("internal", frame.build().data)


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (Output("external", b"\0" * 60), "octets at port 'external'"),
        (Output("unreadable", b"\0"), "octets at port 'unreadable'"),
        (Output("internal", b"\0" * 13), "a frame without header"),
        (Output("internal", bytes(6) + bytes.fromhex("00f00df00d00") + b"\x08\x00"), "a frame to nobody"),
        (Output("internal", b"\x02" * 12 + b"\x08\x00"), "a frame from a foreign hardware address"),
        (internal(PACKET.but(version=6)), "a packet without a sound IPv4 header"),
        (internal(PACKET.but(header_checksum=1)), "a bad header checksum"),
        (internal(PACKET.but(time_to_live=0)), "a time to live of 0"),
        (internal(PACKET.but(total_length=30)), "a total length that is not what is sent"),
        (internal(PACKET.but(payload=packets.raw(99, bytes(65000)))), "a packet over the MTU"),
        (internal(PACKET.but(source="10.38.2.1", payload=packets.echo_reply(given=1))), "a bad ICMP checksum"),
        (internal(PACKET.but(source="10.38.2.1", payload=packets.udp(7, 9, b"x", given=1))), "a bad UDP checksum"),
        (internal(PACKET.but(source="10.38.2.1", payload=packets.tcp(7, 9, 4, given=1))), "a bad TCP checksum"),
        (
            internal(
                PACKET.but(
                    source="10.38.2.1",
                    payload=packets.icmp_error(3, 1, PACKET.but(payload=packets.icmp_error(3, 1, PACKET))),
                )
            ),
            "an ICMP error about an ICMP error",
        ),
        (
            internal(PACKET.but(source="10.38.2.1", payload=packets.icmp_error(3, 1, PACKET.but(fragment_offset=1)))),
            "an ICMP error about a later fragment",
        ),
        (internal(PACKET), ""),
    ],
)
def test_each_invariant_is_named_when_it_breaks(output: Output, problem: str) -> None:
    config = replace(CONFIG, internal=replace(CONFIG.internal, mtu=1500))

    assert Judge(config).broken_invariant(TickInput(), Turn((output,))) == problem


def test_a_time_to_live_that_does_not_fall_by_one_is_seen() -> None:
    came = PacketInput(VectorPort.TUNNEL, PACKET.build().data)
    judge = Judge(replace(CONFIG, internal=replace(CONFIG.internal, mtu=1500)))

    assert judge.broken_invariant(came, Turn((internal(PACKET.but(time_to_live=63)),))) == ""
    assert judge.broken_invariant(came, Turn((internal(PACKET),))) == "a time to live that did not fall by one"


def test_only_the_identification_of_own_packets_is_free() -> None:
    judge = Judge(CONFIG)
    own = PACKET.but(source="10.38.2.1")

    def normal(packet: IPv4) -> tuple[Output, ...]:
        return judge.normal((internal(packet),))

    assert normal(own) == normal(own.but(identification=9))
    assert normal(own) != normal(own.but(time_to_live=63))
    assert normal(PACKET) != normal(PACKET.but(identification=9))


def test_fragments_of_one_datagram_keep_one_identification() -> None:
    judge = Judge(CONFIG)
    first = PACKET.but(source="10.38.2.1", more_fragments=True)

    def normal(*identifications: int) -> tuple[Output, ...]:
        return judge.normal([internal(first.but(identification=one)) for one in identifications])

    assert normal(5, 5) == normal(8, 8)
    assert normal(5, 5) != normal(5, 6)


def own_segment(sequence: int, base: int, window: int = 1000) -> Output:
    segment = packets.tcp(7, 5000, packets.ACK, sequence=sequence, acknowledgment=3, window=window)
    return replace(internal(PACKET.but(source="10.38.2.1", payload=segment)), base=base)


def test_of_the_gateways_tcp_the_initial_number_and_the_window_are_free() -> None:
    judge = Judge(CONFIG)

    def normal(output: Output) -> bytes:
        return judge.normal((output,))[0].data

    assert normal(own_segment(1005, 1000)) == normal(own_segment(3, 2**32 - 2, window=7))
    assert normal(own_segment(1005, 1000)) != normal(own_segment(1006, 1000))


def test_a_host_acknowledges_what_each_gateway_chose() -> None:
    """The handshake completes, and text comes back, whatever the initial sequence number is."""
    arp = packets.Arp(operation=1, sender_hardware="02:00:00:00:00:05", sender_protocol=HOST,
                      target_protocol="10.38.2.1").build()  # fmt: skip
    asks = Ethernet(source="02:00:00:00:00:05", destination="ff:ff:ff:ff:ff:ff", type=0x0806, payload=arp)
    scenes = grammar.Scenes(random.Random(1), grammar.configuration(random.Random(1)))

    def says(flags: int, sequence: int, acknowledged: int | None, data: bytes = b"") -> Operation:
        number: packets.Value = 0 if acknowledged is None else packets.bound("isn", acknowledged)
        segment = packets.tcp(5000, 7, flags, sequence=sequence, acknowledgment=number, data=data)
        packet = IPv4(source=HOST, destination="10.38.2.1", payload=segment)
        return Operation(1, scenes._segment_input(packet, HOST))

    story = Story(
        {**grammar.configuration(random.Random(1)), "services": {"tcp_echo": [7]}},
        (
            Operation(1, PacketInput(VectorPort.INTERNAL, asks.build().data)),
            says(packets.SYN, 1000, None),
            says(packets.ACK, 1001, 1),
            says(packets.PSH | packets.ACK, 1001, 1, b"echo"),
        ),
    )
    turns = [play(REFERENCE, replace_entropy(story, seed)) for seed in ("00", "01")]
    assert [turn[-1].outputs[-1].data[-4:] for turn in turns] == [b"echo", b"echo"]
    assert turns[0][2].outputs[0].data != turns[1][2].outputs[0].data
    judge = Judge(story.gateway_config)
    assert judge.normal(turns[0][-1].outputs) == judge.normal(turns[1][-1].outputs)


def replace_entropy(story: Story, seed: str) -> Story:
    return Story({**story.config, "entropy": seed}, story.operations)


def test_a_syn_and_ack_that_was_lost_waiting_for_arp_leaves_no_number_to_compare_by() -> None:
    """The gateway's first segment to be seen is not its first: what it counts from is taken from there."""
    config = {**grammar.configuration(random.Random(1)), "services": {"tcp_echo": [7]}, "limits": {"arp_queue": 1}}
    scenes = grammar.Scenes(random.Random(1), config)

    def says(flags: int, sequence: int, data: bytes = b"") -> Operation:
        segment = packets.tcp(5000, 7, flags, sequence=sequence, acknowledgment=0, data=data)
        return Operation(0, scenes._segment_input(IPv4(source=HOST, destination="10.38.2.1", payload=segment), HOST))

    arp = packets.Arp(operation=1, sender_hardware="02:00:00:00:00:05", sender_protocol=HOST,
                      target_protocol="10.38.2.1").build()  # fmt: skip
    asks = Ethernet(source="02:00:00:00:00:05", destination="ff:ff:ff:ff:ff:ff", type=0x0806, payload=arp)
    late = PacketInput(VectorPort.INTERNAL, asks.build().data)
    story = Story(config, (says(packets.SYN, 1000), says(packets.ACK, 900, b"old"), Operation(0, late)))
    judge = Judge(story.gateway_config)
    seen = [judge.normal(play(REFERENCE, replace_entropy(story, seed))[-1].outputs) for seed in ("00", "01")]

    assert [output.port for output in seen[0]] == ["internal", "internal"]
    assert seen[0] == seen[1]


def test_questions_after_a_story_tell_the_state_that_it_left() -> None:
    """Whom it knows, what it answers, what it gives up: all of it comes out without looking inside."""
    story = grammar.story(random.Random(5), {"tcp_echo": [7]})
    asked = grammar.interrogated(random.Random(5), story)

    assert asked.operations[: len(story.operations)] == story.operations
    told = play(REFERENCE, asked)[len(story.operations) + 1 :]
    assert {"s31-ask", "s17-expired", "s31-give-up"} <= {rule for turn in told for rule in turn.reasons}


# ── the corpus ──


@pytest.mark.parametrize("number", range(len(corpus.packaged())))
def test_each_story_of_the_corpus_is_told_alike_by_both_gateways(number: int) -> None:
    pairing = Pairing(REFERENCE, discovery.find("optimized"), compare_rules=True)

    finding, _, _ = pairing.judge(corpus.packaged()[number])

    assert finding is None


def test_the_corpus_is_small_and_reaches_most_rules_of_the_data_plane() -> None:
    stories = corpus.packaged()
    rules_reached = {rule for story in stories for pair in corpus.reached(REFERENCE, story) for rule in pair}

    assert sum(len(corpus.line(story)) for story in stories) <= 300_000
    assert len(rules_reached) >= 130


def test_pruning_keeps_what_was_reached_and_leaves_out_what_adds_nothing() -> None:
    stories = [grammar.story(random.Random(seed), {"udp_echo": [7], "tcp_echo": [7]}) for seed in range(60)]

    kept = corpus.prune(REFERENCE, [*stories, *stories], largest=10**9)

    def covered(told: list[Story]) -> set[corpus.Pair]:
        return set().union(*(corpus.reached(REFERENCE, story) for story in told))

    assert covered(kept) == covered(stories)
    assert len(kept) == len({corpus.line(story) for story in kept}) < len(stories)


def test_pruning_takes_no_more_room_than_there_is() -> None:
    stories = [grammar.story(random.Random(seed)) for seed in range(30)]

    kept = corpus.prune(REFERENCE, stories, largest=20_000)

    assert 0 < sum(len(corpus.line(story)) for story in kept) <= 20_000


def test_a_corpus_survives_its_file(tmp_path: Path) -> None:
    stories = [grammar.story(random.Random(seed)) for seed in range(5)]

    corpus.write(tmp_path / "corpus.json", stories)

    assert corpus.read(tmp_path / "corpus.json") == stories
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.json"]


# ── shrinking ──


def test_shrinking_keeps_what_matters_and_its_moment() -> None:
    tick = Operation(1024, TickInput())
    packet = Operation(512, PacketInput(VectorPort.INTERNAL, bytes(range(1, 101))))
    story = Story({}, (tick, tick, packet, tick))

    def fails(attempt: Story) -> bool:
        """The packet's octet 10 is 11, and it comes at least two seconds in."""
        return any(
            at >= 2 and isinstance(input_, PacketInput) and input_.data[10:11] == b"\x0b"
            for at, input_ in attempt.timed()
        )

    small = shrink(story, fails)

    assert [type(operation.input) for operation in small.operations] == [PacketInput]
    assert len(small.operations[0].input.data) == 11  # type: ignore[union-attr]
    assert small.operations[0].wait == 2560


# ── the command ──

FAULTY_MODULE = """
from dataclasses import replace
from glassgate.conformance.subjects import discovery
reference = discovery.find("reference")
class Deaf:
    def __init__(self, inner):
        self.inner = inner
        self.start, self.tick, self.flow = inner.start, inner.tick, inner.flow
    def receive(self, port, data, now):
        return self.inner.receive(port, data, now) if port != "flow" else self.inner.tick(now)
    deadline = property(lambda self: self.inner.deadline)
deaf = replace(reference, name="deaf", factory=lambda config, entropy: Deaf(reference.factory(config, entropy)))
"""


def test_the_command_prints_a_draft_vector_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deaf_gateway.py").write_text(FAULTY_MODULE)
    monkeypatch.chdir(tmp_path)

    status = run(
        ["fuzz", "reference", "deaf_gateway:deaf", "--seconds", "1", "--out", "found", "--corpus", "corpus.json"]
    )

    out = capsys.readouterr().out
    assert status == 1
    assert ": effects" in out
    draft = json.loads((tmp_path / "found" / "draft-1.json").read_text())
    assert draft["steps"][-1]["outcomes"] == []
    assert [Story.from_json(one) for one in json.loads((tmp_path / "corpus.json").read_text())]


def test_the_command_is_content_with_equals_in_two_processes(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["fuzz", "reference", "reference", "--seconds", "1.5", "--jobs", "2"])

    assert status == 0
    assert "0 findings" in capsys.readouterr().out


def test_a_slice_keeps_stories_that_reach_new_pairs_of_rules() -> None:
    tally = run_slice(Plan("reference", "reference", 1), seed=1, seconds=0.3, corpus=[], known=frozenset())

    assert tally.corpus
    assert tally.pairs
    again = run_slice(Plan("reference", "reference", 1), 1, 0.05, tally.corpus, frozenset(tally.pairs))
    assert not again.pairs & tally.pairs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody", "reference"], "no gateway is called 'nobody'"),
        (["reference", "reference", "--seconds", "0"], "0.0 is not in the range"),
        (["reference", "reference", "--seconds", "nan"], "--seconds: nan is not a finite number"),
        (["reference", "reference", "--corpus", "bad.json"], "bad.json: story 0: this is no story: a value is of the"),
        (["reference", "reference", "--corpus", "empty.json"], "empty.json: is not JSON: line 1, column 1"),
        (["reference", "reference", "--corpus", "."], ".: cannot be read: Is a directory"),
        (["reference", "reference", "--out", "/proc/none"], "--out /proc/none: cannot be made"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('[{"steps": 3}]')
    (tmp_path / "empty.json").touch()

    status = run(["fuzz", *arguments])

    complaint = capsys.readouterr().err.strip()
    assert status == 2
    assert said in complaint
    assert "\n" not in complaint
