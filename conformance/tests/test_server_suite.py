"""The suite over tunnels that a handshake made: the same vectors, the same octets beyond the gateway's own keys."""

from __future__ import annotations

import pytest

from glassgate.conformance import cli, model, runner
from glassgate.conformance.report import as_text
from glassgate.conformance.subjects import discovery
from glassgate.conformance.subjects.in_process import InProcess
from glassgate.conformance.subjects.through_handshake import ThroughHandshake, leads_to

VECTORS = runner.select(model.load_packaged())
REACHED = tuple(vector for vector in VECTORS if leads_to(vector))
SECONDS = 30.0
WITH_OVPN = [name for name in discovery.names() if {"ovpn", "external.os"} <= discovery.find(name).capabilities]


def test_a_handshake_leads_to_nearly_all_vectors() -> None:
    assert len(VECTORS) - len(REACHED) < 20


@pytest.mark.parametrize("name", WITH_OVPN)
def test_a_gateway_passes_after_a_handshake(name: str) -> None:
    run = runner.run(ThroughHandshake(InProcess(discovery.find(name), SECONDS)), REACHED)
    bad = [as_text(result) for result in run.results if not result.status.is_good]
    assert run.is_good, "\n".join([run.verdict, *bad[:3]])


def test_both_gateways_can() -> None:
    assert {"reference", "optimized"} <= set(WITH_OVPN)


def test_a_gateway_that_gets_a_record_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not open with the handshake's keys does not open with the vector's either."""
    whole = ThroughHandshake._take

    def spoilt(self: ThroughHandshake, given: tuple[object, ...], *others: object) -> None:
        tunnel = self._tunnel
        if tunnel is not None and tunnel.made is not None:
            given = tuple(
                type(actual)(actual.port, actual.data[:-1] + bytes([actual.data[-1] ^ 1]))
                if getattr(actual, "port", None) is model.VectorPort.FLOW
                else actual
                for actual in given
            )
        whole(self, given, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(ThroughHandshake, "_take", spoilt)
    forwarded = tuple(vector for vector in REACHED if vector.id == "frag-smallest-mtu")
    (result,) = runner.run(ThroughHandshake(InProcess(discovery.find("reference"), SECONDS)), forwarded).results
    assert result.status is runner.Status.FAIL


def test_the_command_says_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", "reference", "--handshake", "--id", "data-next-packet-id", "--id", "arp-announces*"]) == 0
    told = capsys.readouterr()
    assert "reference after a handshake: good" in told.out
    assert "no handshake leads there" in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reference", "--handshake", "--through-stack"], "--handshake is for gateways by NAME or --exec"),
        (["reference", "--handshake", "--id", "data-flow-lost"], "no handshake leads to any of the vectors"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["check", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
