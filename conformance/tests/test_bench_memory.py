"""The question of memory: the mixture is valid, a leak is noticed, the process of its own answers in time."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from glassgate.conformance import cli
from glassgate.conformance.bench import doors, memory, traffic
from glassgate.conformance.bench.figures import BenchError
from glassgate.conformance.subjects.discovery import find
from glassgate.contract import Gateway, GatewayConfig, Implementation, Port, Transmit
from glassgate.contract.entropy import Entropy

WAYS = [("reference", doors.CONTRACT), ("optimized", doors.CONTRACT), ("optimized", doors.BATCHES)]


@pytest.mark.parametrize(("name", "interface"), WAYS)
def test_memory_is_asked_about_early_and_late(name: str, interface: str):
    told: list[int] = []
    asked = memory.memory(find(name), interface, 5000, 60, told.append)
    assert (asked.subject, asked.interface) == (name, interface)
    assert (asked.before.packets, asked.after.packets) == (2000, 5000)
    assert min(asked.before.resident, asked.after.resident) > 0
    assert told == [0, 4000]


def test_when_time_is_over_the_figure_tells_how_many_passed():
    asked = memory.memory(find("optimized"), doors.BATCHES, 10**9, 0)
    assert (asked.wanted, asked.after.packets) == (10**9, 3000)


def test_who_keeps_a_piece_of_memory_for_each_packet_is_found_out():
    kept: list[object] = []
    plain = find("optimized")

    def leaking(config: GatewayConfig, entropy: Entropy) -> Gateway:
        gateway = plain(config, entropy)
        receive = gateway.receive

        class Leaking:
            deadline = None
            start, tick, flow = gateway.start, gateway.tick, gateway.flow

            def receive(self, port: Port, data: bytes, now: float) -> object:
                kept.append(bytearray(40))
                return receive(port, data, now)

        return Leaking()

    leaky = Implementation("leaky", "1", plain.capabilities, leaking)
    asked = memory.memory(leaky, doors.CONTRACT, 10_000, 60)
    if sys.implementation.name == "cpython":
        assert asked.before.traced > 1000 * 40
        assert asked.after.blocks - asked.before.blocks > 7000
    else:
        assert (asked.before.traced, asked.before.blocks) == (None, None)
    assert len(kept) > 10_000


@pytest.mark.parametrize("name", ["reference", "optimized"])
def test_each_packet_of_the_mixture_does_what_it_is_there_for(name: str):
    gateway_of = find(name)
    seen: list[int] = []

    class Counting:
        def __init__(self, gateway: Gateway) -> None:
            self.start, self.tick, self.flow = gateway.start, gateway.tick, gateway.flow
            self._receive = gateway.receive

        def receive(self, port: Port, data: bytes, now: float) -> object:
            effects = self._receive(port, data, now)
            seen.append(sum(isinstance(effect, Transmit) for effect in effects))
            return effects

    counting = Implementation("x", "1", gateway_of.capabilities, lambda *given: Counting(gateway_of(*given)))
    door = doors.one_by_one(counting, traffic.configuration(), doors.CONTRACT)
    seen.clear()
    mixed = memory.mixture()
    for turn in range(150):  # more than there are identifications
        for port, piece, now in itertools.islice(mixed, 8):
            door(port, piece, now)
        # Forwarded, cut in two, echoed, refused; half a ping, its other half and the answer in two; ARP; delivered.
        assert seen[-8:] == [1, 2, 1, 0, 0, 2, 1, 1], turn


def test_a_process_of_its_own_answers_and_tells_how_far_it_is():
    told: list[int] = []
    asked = memory.ask("optimized", doors.BATCHES, 5000, 60, told.append)
    assert (asked.subject, asked.interface, asked.after.packets) == ("optimized", "batch", 5000)
    assert told == [0, 4000]


def test_a_process_that_ends_without_an_answer_is_an_error(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(BenchError, match="memory: nobody contract ended with status 1 and no answer"):
        memory.ask("nobody", doors.CONTRACT, 5000, 60, lambda passed: None)
    assert "nobody" in capfd.readouterr().err


def test_the_program_needs_all_its_arguments():
    program = [sys.executable, "-m", "glassgate.conformance.bench.memory", "optimized"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: memory GATEWAY INTERFACE PACKETS SECONDS" in done.stderr


def test_a_figure_whose_time_was_over_says_so(capsys: pytest.CaptureFixture[str]):
    quick = ["--gateway", "reference", "--only", "memory", "--packets", "900000", "--timeout", "1"]
    assert cli.run(["bench", "scale", *quick]) == 0
    assert "(time was over)" in capsys.readouterr().out
