"""Every gateway that is installed, judged by every vector that comes with the suite."""

from __future__ import annotations

import shlex
import sys

import pytest

from glassgate.conformance import model, runner
from glassgate.conformance.report import as_text
from glassgate.conformance.runner import Run
from glassgate.conformance.subjects import discovery
from glassgate.conformance.subjects.exec_ import Exec
from glassgate.conformance.subjects.in_process import InProcess
from glassgate.conformance.subjects.through_stack import ThroughStack

VECTORS = runner.select(model.load_packaged())
SECONDS = 30.0
"""For each answer: a machine under test is busy with other things too."""


def told(run: Run) -> str:
    """What a person needs to see when a run is not good."""
    bad = [as_text(result) for result in run.results if not result.status.is_good]
    return "\n".join([run.verdict, *bad[:3]])


@pytest.mark.parametrize("name", discovery.names())
def test_a_gateway_passes_in_this_process(name: str) -> None:
    run = runner.run(InProcess(discovery.find(name), SECONDS), VECTORS)
    assert run.is_good, told(run)


@pytest.mark.parametrize("name", discovery.names())
def test_a_gateway_passes_behind_protocol_1(name: str) -> None:
    program = "from glassgate.conformance.cli import main; main()"
    subject = Exec(shlex.join([sys.executable, "-c", program, "serve", name]), SECONDS)
    try:
        run = runner.run(subject, VECTORS[:: 1 + len(VECTORS) // 100])
    finally:
        subject.close()
    assert run.is_good, told(run)


@pytest.mark.parametrize(
    "name", [name for name in discovery.names() if "external.stack" in discovery.find(name).capabilities]
)
def test_a_gateway_with_its_own_stack_passes_through_it(name: str) -> None:
    run = runner.run(ThroughStack(InProcess(discovery.find(name), SECONDS)), VECTORS)
    assert run.is_good, told(run)
