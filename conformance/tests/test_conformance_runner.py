"""The runner: tiny gateways that are wrong in one way each, and the status that each must get."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from glassgate.conformance import runner
from glassgate.conformance.far_end import DataChannel, StreamFraming
from glassgate.conformance.matching import ActualPacket, Judgement
from glassgate.conformance.model import Vector, VectorFile, VectorPort, read
from glassgate.conformance.profile import Profile
from glassgate.conformance.runner import Run, SelectionError, Status
from glassgate.conformance.subjects.in_process import ODD_VIEWS, PLAIN, InProcess
from glassgate.conformance.subjects.subject import Fault, Reply, SaysUnsupported
from glassgate.contract import (
    Cipher,
    CloseFlow,
    ConfigError,
    Effect,
    Entropy,
    FlowEvent,
    Gateway,
    GatewayConfig,
    Implementation,
    Note,
    NoteKind,
    OpenFlow,
    Port,
    Transmit,
    Unsupported,
    rules,
)

KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
FRAME = bytes(range(14)) + b"payload"
BECAUSE = rules.S7_REPLY
DECLARED = frozenset({"external.os", "session", "cipher.aes-256-gcm"})


class Mirror:
    """A gateway that is no gateway: it gives a greeting at the start and each frame back, with a note."""

    def __init__(self, config: GatewayConfig, entropy: Entropy) -> None:
        self.config = config

    def start(self, now: float) -> list[Effect]:
        return [Transmit(Port.INTERNAL, b"greeting", BECAUSE)]

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        return [Transmit(port, bytes(data), BECAUSE), Note(NoteKind.DELIVERED, BECAUSE, {"octets": len(data)})]

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        return [OpenFlow(BECAUSE)] if event is FlowEvent.CLOSED else []

    def tick(self, now: float) -> list[Effect]:
        return []

    deadline: float | None = None


def subject(factory: Callable[[GatewayConfig, Entropy], Gateway] = Mirror, limit: float = 5.0) -> InProcess:
    return InProcess(Implementation("mirror", "1", DECLARED, factory), limit)


def packet(data: bytes, port: str = "internal") -> dict[str, Any]:
    return {"port": port, "hex": data.hex()}


def a_step(at: float, given: dict[str, Any], *expect: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"at": at, "input": given, "outcomes": [{"flag": None, "expect": list(expect)}], **more}


START = a_step(0.0, {"start": True}, packet(b"greeting"))
ECHO = a_step(1.0, packet(FRAME), packet(FRAME))


def a_vector(*steps: dict[str, Any], **members: Any) -> Vector:
    """The vector of these steps after the start."""
    value: dict[str, Any] = {
        "id": "a-vector",
        "rev": 1,
        "title": "A vector",
        "rules": ["s7-reply"],
        "requires": [],
        "result": "valid",
        "source": "this test",
        "steps": [START, *steps],
    }
    return read(
        {
            "schema": "1.0",
            "category": "mirrors",
            "summary": "Frames come back.",
            "config": {"external": {"kind": "os"}, "tunnel": {"session": {"send": KEY, "receive": KEY}}},
            "notes": {"Odd": {"bug": "b", "what": "w", "effect": "e"}},
            "vectors": [value | members],
        }
    ).vectors[0]


def status_of(
    vector: Vector, factory: Callable[[GatewayConfig, Entropy], Gateway] = Mirror, limit: float = 5.0
) -> runner.VectorResult:
    return runner.run_vector(subject(factory, limit), vector, DECLARED)


# ── each status ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pass() -> None:
    result = status_of(a_vector(ECHO))
    assert result.status is Status.PASS
    assert [record.index for record in result.steps] == [0, 1]
    assert result.steps[1].notes[0].rule == "s7-reply"
    assert result.steps[1].notes[0].detail == {"octets": len(FRAME)}


def test_pass_alternative_carries_the_flag() -> None:
    either = ECHO | {"outcomes": [{"flag": None, "expect": []}, {"flag": "Odd", "expect": [packet(FRAME)]}]}
    result = status_of(a_vector(either, result="acceptable"))
    assert result.status is Status.PASS_ALTERNATIVE
    assert result.flags == ("Odd",)


@pytest.mark.parametrize(("flag_taken", "status"), [(True, Status.FAIL), (False, Status.PASS)])
def test_a_step_with_a_condition_is_taken_only_after_that_outcome(flag_taken: bool, status: Status) -> None:
    outcomes = [{"flag": None, "expect": [packet(FRAME)]}, {"flag": "Odd", "expect": []}]
    if flag_taken:
        outcomes = [{"flag": None, "expect": []}, {"flag": "Odd", "expect": [packet(FRAME)]}]
    never = a_step(2.0, packet(FRAME), packet(b"never this"), when="Odd")
    assert status_of(a_vector(ECHO | {"outcomes": outcomes}, never, result="acceptable")).status is status


def test_fail_tells_step_port_octets_and_values() -> None:
    wrong = a_step(1.0, packet(FRAME), packet(FRAME[:-1] + b"X"))
    result = status_of(a_vector(wrong))
    assert result.status is Status.FAIL
    assert result.message == "steps[1]: internal packet, octet 20: is 64, not 58"
    assert result.failing_pass == PLAIN


def test_error_tells_what_the_gateway_raised_and_where() -> None:
    class Raises(Mirror):
        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            raise IndexError("off the end")

    result = status_of(a_vector(ECHO), Raises)
    assert (result.status, result.fault) == (Status.ERROR, Fault.ERROR)
    assert (
        "steps[1]: error: the gateway raised IndexError: off the end (test_conformance_runner.py, line"
        in result.message
    )


def test_error_when_making_the_gateway_raises() -> None:
    def broken(config: GatewayConfig, entropy: Entropy) -> Gateway:
        raise KeyError("nothing")

    result = status_of(a_vector(ECHO), broken)
    assert result.status is Status.ERROR
    assert "KeyError" in result.message


def test_a_factory_that_makes_no_gateway_is_rubbish() -> None:
    result = status_of(a_vector(ECHO), cast("Any", lambda config, entropy: [config]))
    assert (result.status, result.fault) == (Status.ERROR, Fault.RUBBISH)
    words = "the factory returned list, which is no Gateway: no start, receive, flow, tick, deadline"
    assert words in result.message


def test_a_gateway_that_leaves_the_program_does_not_take_the_judge_along() -> None:
    class Leaves(Mirror):
        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            raise SystemExit(0)

    result = status_of(a_vector(ECHO), Leaves)
    assert result.status is Status.ERROR
    assert "the gateway raised SystemExit: 0" in result.message


def test_timeout_when_a_call_does_not_return_even_if_it_catches_everything() -> None:
    class Hangs(Mirror):
        def tick(self, now: float) -> list[Effect]:
            while True:
                try:
                    time.sleep(0.02)
                except Exception:  # noqa: BLE001 - that such a gateway is stopped is what this test shows
                    continue

    result = status_of(a_vector(a_step(1.0, {"tick": True})), Hangs, 0.1)
    assert (result.status, result.fault) == (Status.TIMEOUT, Fault.HUNG)
    assert result.message == "steps[1]: hung: no answer within 0.1 s"


def test_unsupported_is_what_the_subject_does_not_declare() -> None:
    result = status_of(a_vector(ECHO, requires=["udp_echo", "ovpn"]))
    assert result.status is Status.UNSUPPORTED
    assert result.message == "needs udp_echo, ovpn"
    by_configuration = a_vector(ECHO, config={"tunnel": {"proto": "udp"}})
    assert status_of(by_configuration).message == "needs transport.udp"


def test_saying_unsupported_of_what_was_declared_is_an_error() -> None:
    def shy(config: GatewayConfig, entropy: Entropy) -> Gateway:
        raise Unsupported("session")

    result = status_of(a_vector(ECHO), shy)
    assert result.status is Status.ERROR
    assert "says that session is unsupported, and declares it" in result.message


def test_expected_failure_and_unexpected_pass_come_from_the_profile() -> None:
    wrong = replace(a_vector(a_step(1.0, packet(FRAME))), id="wrong")
    profile = Profile(expected_failures={"wro*": "it is a mirror", "a-vector": "out of date"})
    run = runner.run(subject(), [wrong, a_vector(ECHO)], profile)
    assert [result.status for result in run.results] == [Status.EXPECTED_FAILURE, Status.UNEXPECTED_PASS]
    assert run.results[0].message == "it is a mirror"
    assert "out of date" in run.results[1].message
    assert not run.is_good


def test_an_expected_failure_does_not_excuse_an_error() -> None:
    class Raises(Mirror):
        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            raise IndexError

    run = runner.run(subject(Raises), [a_vector(ECHO)], Profile(expected_failures={"*": "reason"}))
    assert run.results[0].status is Status.ERROR


def test_an_alternative_that_the_profile_omits_fails() -> None:
    either = ECHO | {"outcomes": [{"flag": None, "expect": []}, {"flag": "Odd", "expect": [packet(FRAME)]}]}
    vector = a_vector(either, result="acceptable")
    assert runner.run(subject(), [vector], Profile(alternatives=frozenset({"Odd"}))).is_good
    run = runner.run(subject(), [vector], Profile(alternatives=frozenset()))
    assert run.results[0].status is Status.FAIL
    assert "took the outcome Odd" in run.results[0].message


def test_a_refused_configuration_is_an_outcome_where_it_is_expected_and_an_error_where_not() -> None:
    refuse = {"outcomes": [{"flag": None, "expect": [{"do": "refuse", "member": "internal.mtu"}]}]}
    wrong = a_vector(config={"internal": {"mtu": 67}}, steps=[START | refuse])
    assert status_of(wrong).status is Status.PASS
    other = {"outcomes": [{"flag": None, "expect": [{"do": "refuse", "member": "internal.mac"}]}]}
    assert status_of(a_vector(config={"internal": {"mtu": 67}}, steps=[START | other])).status is Status.FAIL

    def choosy(config: GatewayConfig, entropy: Entropy) -> Gateway:
        raise ConfigError("internal.mtu", "not with me")

    result = status_of(a_vector(ECHO), choosy)
    assert result.status is Status.FAIL
    assert "a refusal (internal.mtu: not with me)" in result.message or "did not come" in result.message


def test_numbers_are_bound_from_one_step_to_the_next_and_filled_into_inputs() -> None:
    def bound(plus: int) -> list[dict[str, Any]]:
        return [{"at": [0, 2], "kind": "bind", "name": "n", "plus": plus}]

    first = a_step(1.0, packet(b"\x12\x34"), packet(b"\0\0") | {"free": bound(0)})
    filled = a_step(2.0, packet(b"\0\0") | {"fill": bound(1)}, packet(b"\x12\x35"))
    other = a_step(3.0, packet(b"\x12\x37"), packet(b"\0\0") | {"free": bound(2)})
    assert status_of(a_vector(first, filled)).status is Status.PASS
    result = status_of(a_vector(first, filled, other))
    assert result.status is Status.FAIL
    assert "is 4663, not 4662 (n+2 as seen before)" in result.message


def test_an_input_that_cannot_be_filled_in_is_an_error() -> None:
    fill = [{"at": [0, 2], "kind": "bind", "name": "never", "plus": 0}]
    result = status_of(a_vector(a_step(1.0, packet(b"\0\0") | {"fill": fill})))
    assert result.status is Status.ERROR
    assert "cannot be filled in: no octets were bound to 'never'" in result.message


# ── rough handling ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_gateway_that_keeps_its_input_is_caught() -> None:
    class Keeps(Mirror):
        kept: bytes | bytearray | memoryview = b""

        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            self.kept = data
            return []

        def tick(self, now: float) -> list[Effect]:
            return [Transmit(Port.INTERNAL, bytes(self.kept), BECAUSE)]

    result = status_of(a_vector(a_step(1.0, packet(FRAME)), a_step(2.0, {"tick": True}, packet(FRAME))), Keeps)
    assert result.status is Status.FAIL
    assert result.message.endswith(f"is {'a5' * 16}… (21 octets), not {FRAME[:16].hex()}… (21 octets)")


def test_a_gateway_that_writes_into_its_input_is_caught_in_the_second_pass() -> None:
    class Writes(Mirror):
        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            made = bytes(data)
            data[0] = 0  # type: ignore[index]
            return [Transmit(port, made, BECAUSE)]

    result = status_of(a_vector(ECHO), Writes)
    assert result.status is Status.ERROR
    assert result.failing_pass == ODD_VIEWS
    assert "TypeError" in result.message


def test_outputs_are_copied_before_the_gateway_can_change_them() -> None:
    class Reuses(Mirror):
        buffer = bytearray(FRAME)

        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            self.buffer[:] = data
            return [Transmit(port, self.buffer, BECAUSE)]  # type: ignore[arg-type]

    other = FRAME[::-1]
    result = status_of(a_vector(ECHO, a_step(2.0, packet(other), packet(other))), Reuses)
    assert result.status is Status.PASS
    assert result.steps[1].effects == (ActualPacket(VectorPort.INTERNAL, FRAME),)


def test_a_gateway_whose_effects_differ_from_run_to_run_is_caught() -> None:
    counter = iter(range(100))

    class Draws(Mirror):
        def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
            return [Transmit(port, bytes([next(counter)]), BECAUSE)]

    free = packet(b"\0") | {"free": [{"at": [0, 1], "kind": "any"}]}
    result = status_of(a_vector(a_step(1.0, packet(FRAME), free)), Draws)
    assert result.status is Status.FAIL
    assert "other effects than in the first pass" in result.message


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        ((), "returned tuple, not a list"),
        ([b"octets"], "b'octets', which is no effect"),
        ([Transmit("wan", b"", BECAUSE)], "which is no effect"),  # type: ignore[arg-type]
        ([Note(NoteKind.STATE, BECAUSE, {"octets": b""})], "note is no JSON"),
        ([Note("lost", BECAUSE)], "note is no JSON"),  # type: ignore[arg-type]
        ([Note(NoteKind.STATE, "s7-reply")], "has 's7-reply' for a rule"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_effect_is_rubbish(effects: Any, words: str) -> None:
    class Babbles(Mirror):
        def tick(self, now: float) -> list[Effect]:
            made: list[Effect] = effects
            return made

    result = status_of(a_vector(a_step(1.0, {"tick": True})), Babbles)
    assert (result.status, result.fault) == (Status.ERROR, Fault.RUBBISH)
    assert words in result.message


# ── the tunnel ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_far_end_seals_what_goes_in_and_opens_what_comes_out() -> None:
    # Both directions have the same key here, so what the far end seals, the mirror sends back, and it opens.
    result = status_of(a_vector(a_step(1.0, packet(b"inner", "tunnel"), packet(b"inner", "tunnel"))))
    assert result.status is Status.PASS
    assert len(result.steps[1].given) == 2 + 24 + len(b"inner")


def test_records_that_are_given_raw_take_packet_ids_of_the_far_end() -> None:
    sealed = StreamFraming.framed(DataChannel(Cipher.AES_256_GCM, bytes(32), bytes(8), 0, 0, 1).seal(b"raw"))
    raw = a_step(1.0, packet(sealed, "flow"), packet(sealed, "flow"))
    then = a_step(2.0, packet(b"inner", "tunnel"), packet(b"inner", "tunnel"))
    assert status_of(a_vector(raw, then)).status is Status.PASS


def test_when_the_flow_is_lost_the_stream_begins_again() -> None:
    begun = a_step(1.0, packet(b"\0\x40begun", "flow"), packet(b"\0\x40begun", "flow"))
    lost = a_step(2.0, {"flow": "closed"}, {"do": "open"})
    sealed = StreamFraming.framed(DataChannel(Cipher.AES_256_GCM, bytes(32), bytes(8), 0, 0, 1).seal(b"raw"))
    raw = a_step(3.0, packet(sealed, "flow"), packet(b"raw", "tunnel"))
    then = a_step(4.0, packet(b"inner", "tunnel"), packet(b"inner", "tunnel"))
    assert status_of(a_vector(begun, lost, raw, then)).status is Status.PASS


def test_news_of_the_flow_is_given_and_its_wishes_are_judged() -> None:
    closed = a_step(1.0, {"flow": "closed"}, {"do": "open"})
    assert status_of(a_vector(closed, a_step(2.0, {"flow": "opened"}))).status is Status.PASS

    class Closes(Mirror):
        deadline: float | None = 1.0

        def tick(self, now: float) -> list[Effect]:
            self.deadline = 2.0
            return [CloseFlow(BECAUSE)]

    assert status_of(a_vector(a_step(1.0, {"tick": True}, {"do": "close"})), Closes).status is Status.PASS
    assert status_of(a_vector(a_step(1.0, {"tick": True}, {"do": "open"})), Closes).status is Status.FAIL


# ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (1.0, None, ""),
        (0.5, 1.5, ""),
        (None, None, "steps[1]: time brings effects at 1 s, but the deadline was None: no driver would have asked"),
        (1.1, None, "steps[1]: time brings effects at 1 s, but the deadline was 1.1"),
        (1.0, 1.0, "steps[1]: after the tick at 1 s the deadline is 1: a driver would never rest"),
    ],
)
def test_a_driver_that_ticks_at_each_deadline_must_get_there(
    before: float | None, after: float | None, words: str
) -> None:
    class Alarm(Mirror):
        deadline: float | None = before

        def tick(self, now: float) -> list[Effect]:
            self.deadline = after
            return [Transmit(Port.INTERNAL, b"alarm", BECAUSE)]

    result = status_of(a_vector(a_step(1.0, {"tick": True}, packet(b"alarm"))), Alarm)
    assert result.status is (Status.FAIL if words else Status.PASS)
    assert words in result.message


# ── a run ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_run_has_two_living_canaries() -> None:
    seen: list[Status] = []
    run = runner.run(subject(), [a_vector(ECHO)], progress=lambda result: seen.append(result.status))
    assert run.is_good
    assert [canary.is_alive for canary in run.canaries] == [True, True]
    assert seen == [Status.PASS]
    assert run.ran == 1


def test_a_run_in_which_nothing_ran_is_not_good() -> None:
    run = runner.run(subject(), [a_vector(ECHO, requires=["ovpn"])])
    assert not run.is_good
    assert run.verdict.startswith("nothing ran")


class Everything(InProcess):
    """A subject that claims each capability of which it is asked."""

    @property
    def capabilities(self) -> frozenset[str]:
        class All(frozenset[str]):
            def __contains__(self, item: object) -> bool:
                return True

        return All()


def test_a_subject_that_claims_everything_voids_the_run() -> None:
    run = runner.run(Everything(Implementation("liar", "1", DECLARED, Mirror)), [a_vector(ECHO)])
    assert run.verdict == "void: the canary with an unheard-of capability came back pass"


def test_a_judge_that_passes_everything_voids_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(step: Any, actuals: Any, bindings: Mapping[str, int], **_: Any) -> Judgement:
        return Judgement(step.outcomes[0], (), bindings)

    monkeypatch.setattr(runner, "judge", lenient)
    run = runner.run(subject(), [a_vector(ECHO)])
    assert run.verdict == "void: the canary with a wrong expectation came back pass"


def test_a_subject_that_ends_again_and_again_is_given_up() -> None:
    class Hangs(Mirror):
        def start(self, now: float) -> list[Effect]:
            time.sleep(5)
            return []

    vectors = [replace(a_vector(ECHO), id=f"v-{number}") for number in range(5)]
    run: Run = runner.run(subject(Hangs, 0.05), vectors)
    assert [result.status for result in run.results] == [Status.TIMEOUT] * 3 + [Status.ERROR] * 2
    assert "not run: the subject died, hung or printed rubbish 3 times" in run.results[4].message
    assert "3 timeout" in run.verdict


def test_only_endings_in_a_row_count() -> None:
    calls = iter(range(100))

    class OftenHangs(Mirror):
        def tick(self, now: float) -> list[Effect]:
            if next(calls) % 4 < 2:  # a vector that hangs ticks once, and one that passes twice, once for each pass
                time.sleep(5)
            return []

    ticking = a_vector(a_step(1.0, {"tick": True}))
    run = runner.run(subject(OftenHangs, 0.05), [replace(ticking, id=f"v-{number}") for number in range(6)])
    assert [result.status for result in run.results] == [Status.TIMEOUT, Status.TIMEOUT, Status.PASS] * 2


def test_a_canary_that_could_not_be_run_is_told_though_all_vectors_pass() -> None:
    starts = iter(range(100))

    class FailsAtFirst(Mirror):
        def start(self, now: float) -> list[Effect]:
            if next(starts) == 0:
                raise OSError("not yet")
            return super().start(now)

    run = runner.run(subject(FailsAtFirst), [a_vector(ECHO)])
    assert run.results[0].status is Status.PASS
    assert run.verdict == "the canary with a wrong expectation came back error"


def test_a_profile_can_take_capabilities_away() -> None:
    run = runner.run(subject(), [a_vector(ECHO)], Profile(capabilities=frozenset({"external.os"})))
    assert run.results[0].status is Status.UNSUPPORTED


# ── selection ────────────────────────────────────────────────────────────────────────────────────────────────────────


def files() -> list[VectorFile]:
    vectors = (replace(a_vector(ECHO), id="one"), replace(a_vector(ECHO), id="two", rules=("s17-expired",)))
    return [VectorFile("mirrors", "…", {}, vectors)]


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ({}, ["one", "two"]),
        ({"ids": ["o*"]}, ["one"]),
        ({"ids": ["one", "two"]}, ["one", "two"]),
        ({"categories": ["mirrors"]}, ["one", "two"]),
        ({"rules": ["s17-*"]}, ["two"]),
        ({"rules": ["s17-*"], "ids": ["t*"]}, ["two"]),
    ],
)
def test_vectors_are_selected_by_id_category_and_rule(chosen: dict[str, list[str]], ids: list[str]) -> None:
    assert [vector.id for vector in runner.select(files(), **chosen)] == ids


def test_an_empty_selection_is_an_error_that_names_what_was_asked_for() -> None:
    with pytest.raises(SelectionError, match=r"no vector matches id 'x\*'; the categories are mirrors"):
        runner.select(files(), ids=["x*"])
    with pytest.raises(SelectionError, match=r"id 'x\*' and rule 's1-y'; `glassgate rules` lists the rules"):
        runner.select(files(), ids=["x*"], rules=["s1-y"])
    with pytest.raises(SelectionError, match="there are no vectors at all"):
        runner.select([])


def test_subjects_of_another_kind_can_be_run_too() -> None:
    class Foreign:
        name, version, language = "foreign", "1", "words"
        capabilities, passes = DECLARED, ("only",)

        def start(self, config: Mapping[str, Any], now: float, run: str) -> Reply:
            raise SaysUnsupported("external.os")

        def receive(self, port: Port, data: bytes, now: float) -> Reply:
            return Reply()

        def flow(self, event: FlowEvent, now: float) -> Reply:
            return Reply()

        def tick(self, now: float) -> Reply:
            return Reply()

        def close(self) -> None:
            return

    result = runner.run_vector(Foreign(), a_vector(ECHO), DECLARED)
    assert result.status is Status.ERROR
