"""The command line as a user meets it: what is printed, and the exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import Any
from xml.etree import ElementTree

import pytest

from glassgate.conformance import capture, cli, model
from glassgate.contract import Effect, Entropy, FlowEvent, GatewayConfig, Implementation, Port, Transmit, rules

KEY = {"key": "00" * 32, "implicit_iv": "00" * 8}
MIRROR = f"{Path(__file__).stem}:mirror"


class Mirror:
    """Gives each frame back."""

    def __init__(self, config: GatewayConfig, entropy: Entropy) -> None:
        return

    def start(self, now: float) -> list[Effect]:
        return []

    def receive(self, port: Port, data: bytes | bytearray | memoryview, now: float) -> list[Effect]:
        return [Transmit(port, bytes(data), rules.S7_REPLY)]

    def flow(self, event: FlowEvent, now: float) -> list[Effect]:
        return []

    def tick(self, now: float) -> list[Effect]:
        return []

    @property
    def deadline(self) -> float | None:
        return None


mirror = Implementation("mirror", "1.2", frozenset({"external.os", "session", "cipher.aes-256-gcm"}), Mirror)
nothing = "no gateway"

ARP = "ffffffffffff 02000a260205 0806 0001 0800 06 04 0001 02000a260205 0a260205 000000000000 0a260201".replace(" ", "")


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two vectors: a mirror passes one of them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def made(identity: str, expected: str, rule: str) -> dict[str, Any]:
        frame = {"port": "internal", "hex": ARP}
        steps = [
            {"at": 0.0, "input": {"start": True}, "outcomes": [{"expect": []}]},
            {"at": 1.0, "input": frame, "outcomes": [{"expect": [{"port": "internal", "hex": expected}]}]},
        ]
        return {
            "id": identity,
            "rev": 1,
            "title": f"The {identity} one",
            "rules": [rule],
            "requires": [],
            "result": "valid",
            "source": "this test",
            "steps": steps,
        }

    file = {
        "schema": "1.0",
        "category": "mirrors",
        "summary": "Frames come back.",
        "config": {"external": {"kind": "os"}, "tunnel": {"session": {"send": KEY, "receive": KEY}}},
        "vectors": [made("right", ARP, "s7-reply"), made("wrong", ARP[:-2] + "09", "s7-probe")],
    }
    path = tmp_path / "mirrors.json"
    path.write_text(json.dumps(file))
    return path


@pytest.fixture
def strange_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that cannot be imported, where Python looks for modules."""
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "divides.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def glassgate(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line; gives exit status, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = cli.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return status, out, err

    return run


Run = Callable[..., tuple[int, str, str]]


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_run_ends_with_zero(glassgate: Run, vectors: Path) -> None:
    status, out, err = glassgate("check", MIRROR, "--vectors", vectors, "--id", "right")
    assert (status, err) == (0, "")
    assert "mirror: good: 1 of 1 vectors run" in out


def test_a_failure_ends_with_one_and_is_told_in_full(glassgate: Run, vectors: Path) -> None:
    status, out, _ = glassgate("check", MIRROR, "--vectors", vectors)
    assert status == 1
    for words in (
        "FAIL wrong  The wrong one",
        "steps[1]: internal packet, octet 41: is 01, not 09",
        f"rule s7-probe (MUST): {rules.S7_PROBE.sentence[:40]}",
        "expected because of: this test",
        "ARP · target protocol address  10.38.2.9  10.38.2.1",
        "   0020  00 00 00 00 00 00 0a 26 02 09",
        "   0020  00 00 00 00 00 00 0a 26 02 01",
        "                                    ^^",
        "mirror: NOT GOOD (1 fail): 2 of 2 vectors run",
    ):
        assert words in out, words


def test_files_for_machines_hold_the_same(glassgate: Run, vectors: Path, tmp_path: Path) -> None:
    junit, report, captures = tmp_path / "junit.xml", tmp_path / "report.json", tmp_path / "captures"
    badge, page = tmp_path / "badge.json.txt", tmp_path / "page.html"
    files = ("--junit", junit, "--json", report, "--pcapng", captures, "--badge", badge, "--html", page)
    status, _, _ = glassgate("check", MIRROR, "--vectors", tmp_path, *files)
    assert status == 1
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("mirror.mirrors", "2", "1")
    failure = suite.findall("testcase")[1][0]
    assert failure.tag == "failure"
    assert "10.38.2.9" in (failure.text or "")
    value = json.loads(report.read_text())
    (run,) = value["runs"]
    assert (value["format"], run["good"], run["counts"]["pass"], run["counts"]["fail"]) == (
        "glassgate-report",
        False,
        1,
        1,
    )
    assert run["results"][1]["steps"][1]["pairs"][0]["differences"] == [{"at": [41, 42], "problem": "is 01, not 09"}]
    assert (json.loads(badge.read_text())["message"], json.loads(badge.read_text())["color"]) == ("1 of 2", "red")
    assert 'id="log-0-wrong"' in page.read_text()
    (pcapng,) = captures.iterdir()
    assert pcapng.name == "wrong.pcapng"
    assert [packet.data.hex() for packet in capture.read(pcapng.read_bytes())] == [ARP, ARP, ARP[:-2] + "09"]


@pytest.mark.parametrize(
    ("option", "place"),
    [("--json", "/dev/full"), ("--junit", "/dev/full"), ("--html", "/dev/full"), ("--pcapng", "/proc/nothing")],
)
def test_a_report_that_cannot_be_written_is_told_in_one_line(
    glassgate: Run, vectors: Path, option: str, place: str
) -> None:
    status, out, err = glassgate("check", MIRROR, "--vectors", vectors, option, place)
    assert status == 2
    assert "mirror: NOT GOOD" in out
    assert err.startswith(f"glassgate: {place}: cannot be written: ")
    assert err.count("\n") == 1


def test_a_run_that_is_not_good_without_a_bad_vector_fails_in_junit_too(
    glassgate: Run, vectors: Path, tmp_path: Path
) -> None:
    profile, junit = tmp_path / "profile.toml", tmp_path / "junit.xml"
    profile.write_text("[subject]\ncapabilities = []\n")
    status, out, _ = glassgate("check", MIRROR, "--vectors", vectors, "--profile", profile, "--junit", junit)
    assert status == 1
    assert "NOT GOOD (nothing ran" in out
    assert ElementTree.parse(junit).getroot()[0].get("failures") == "1"


def test_a_profile_makes_the_failure_expected(glassgate: Run, vectors: Path, tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text('[expected-failures]\nwrong = "a mirror answers no probe"\n')
    status, out, _ = glassgate("check", MIRROR, "--vectors", vectors, "--profile", profile)
    assert status == 0
    assert "expected-failure: wrong: a mirror answers no probe" in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "profile.toml: is not TOML"),
        ("x = 1", "profile.toml: x: unknown member; known here: expected-failures, subject"),
        ("subject = 1", "profile.toml: subject: 1 is not a table"),
        ("[subject]\nname = 'x'", "subject.name: unknown member"),
        ("[subject]\ncapabilities = 'x'", "subject.capabilities: 'x' is not a list of names"),
        ("[subject]\ncapabilities = ['fly']", "subject.capabilities: 'fly' is unknown"),
        ("[expected-failures]\nx = ''", "expected-failures.x: '' is not a reason in words"),
        ("[expected-failures]\n'zz*' = 'why'", "expected-failures.zz*: no vector has such an id"),
        ("[unsupported]\n'zz*' = 'why'", "unsupported.zz*: no vector has such an id"),
        ("[subject]\nalternatives = ['Nope']", "subject.alternatives: 'Nope' is no vector's flag"),
    ],
)
def test_a_wrong_profile_is_refused(glassgate: Run, vectors: Path, tmp_path: Path, text: str, words: str) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text(text)
    status, _, err = glassgate("check", MIRROR, "--vectors", vectors, "--profile", profile)
    assert status == 2
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a gateway (optimized, reference or all), or give --exec 'COMMAND'"),
        (["nobody"], "no gateway is called 'nobody'; known: optimized, reference (or give module:factory)"),
        (["no.such:thing"], "no.such:thing: cannot be imported"),
        (["json:thing"], "json:thing: module 'json' has no 'thing'"),
        ([f"{Path(__file__).stem}:nothing"], "is neither an Implementation nor a factory"),
        ([":"], ":: module '' has no ''"),
        (["json:loads"], "json:loads: is neither an Implementation nor a factory (config, entropy) -> Gateway"),
        (["leaves:gateway"], "leaves:gateway: cannot be imported: the module raised SystemExit: 0 (leaves.py, line 1)"),
        (["divides:gateway"], "divides:gateway: cannot be imported: the module raised ZeroDivisionError"),
        (["--exec", "/does/not/exist"], "--exec '/does/not/exist': died: /does/not/exist: cannot be run"),
        (["--exec", "true"], "--exec 'true': died: the program ended with status 0"),
        ([MIRROR, "--through-stack"], "--through-stack: mirror does not declare external.stack"),
        ([MIRROR, "--id", "zz*"], "no vector matches id 'zz*'; the categories are mirrors"),
        ([MIRROR, "--rule", "zz*"], "no vector matches rule 'zz*'; `glassgate rules` lists the rules"),
        ([MIRROR, "--failures", "-1"], "-1 is not in the range"),
        ([MIRROR, "--timeout", "0"], "--timeout: 0.0 is not over 0 seconds"),
        ([MIRROR, "--timeout", "soon"], "'soon' is not a valid float"),
        ([MIRROR, "--junit", "/does/not/exist.xml"], "/does/not/exist.xml: its folder does not exist"),
        ([MIRROR, "--json", "/"], "is a directory"),
        ([MIRROR, "--profile", "/does/not/exist"], "/does/not/exist: cannot be read"),
        ([MIRROR, "--colour", "red"], "No such option"),
    ],
)
@pytest.mark.usefixtures("strange_modules")
def test_what_cannot_be_done_is_told_in_one_line(
    glassgate: Run, vectors: Path, arguments: list[str], words: str
) -> None:
    status, out, err = glassgate("check", "--vectors", vectors, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("glassgate: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("text", "words"),
    [("{}", "schema: is missing"), ("x", "is not JSON"), ('{"schema":"9.0"}', "version 9.0 cannot be read")],
)
def test_a_wrong_vector_file_is_named(glassgate: Run, vectors: Path, text: str, words: str) -> None:
    vectors.write_text(text)
    status, _, err = glassgate("check", MIRROR, "--vectors", vectors)
    assert status == 2
    assert err.startswith("glassgate: mirrors.json: ")
    assert words in err


def test_an_empty_folder_of_vectors_is_never_green(glassgate: Run, vectors: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = glassgate("check", MIRROR, "--vectors", tmp_path / "empty")
    assert (status, err) == (2, f"glassgate: {tmp_path / 'empty'}: holds no vector file (*.json)\n")


# ── the other commands ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_help_lists_every_command_and_each_has_help(glassgate: Run) -> None:
    status, out, _ = glassgate("--help")
    assert status == 0
    for name in cli.COMMANDS:
        assert name in out
        assert glassgate(name, "--help")[0] == 0


@pytest.mark.parametrize("module", ["reference", "optimized", "conformance.filling"])
def test_every_program_complains_in_one_line_that_begins_with_the_projects_name(module: str) -> None:
    done = run([sys.executable, "-m", f"glassgate.{module}", "--colour"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("glassgate: ")
    assert done.stderr.count("\n") == 1


def test_an_unknown_command_lists_the_known_ones(glassgate: Run) -> None:
    status, _, err = glassgate("chekc")
    assert status == 2
    assert f"unknown command 'chekc'; known: {', '.join(cli.COMMANDS)}" in err


def test_serve_refuses_an_unknown_name(glassgate: Run) -> None:
    status, _, err = glassgate("serve", "nobody")
    assert status == 2
    assert "no gateway is called 'nobody'; known: optimized, reference" in err


def test_version_tells_the_gateways(glassgate: Run) -> None:
    status, out, _ = glassgate("version")
    assert status == 0
    assert "gateway reference" in out
    assert "gateway optimized" in out


def test_rules_lists_every_rule(glassgate: Run) -> None:
    status, out, _ = glassgate("rules", "--quick")
    assert status == 0
    for slug in rules.RULES:
        assert f"\n{slug} " in out


def test_vectors_are_listed_and_one_is_shown(glassgate: Run) -> None:
    first = model.load_packaged()[0].vectors[0]
    status, out, _ = glassgate("vectors", "list", "--id", first.id)
    assert status == 0
    assert out.splitlines()[-1] == "1 vectors in 1 categories"
    status, out, _ = glassgate("vectors", "show", first.id)
    assert status == 0
    assert first.title in out
    assert "step 0 at 0 s: start" in out
    status, out, _ = glassgate("vectors", "show", first.id, "--json")
    assert json.loads(out)["id"] == first.id


def test_a_vector_that_is_not_there_is_told_with_near_ones(glassgate: Run) -> None:
    first = model.load_packaged()[0].vectors[0]
    status, _, err = glassgate("vectors", "show", first.id + "x")
    assert status == 2
    assert first.id in err


def test_vectors_are_exported_with_their_schema_and_as_captures(glassgate: Run, tmp_path: Path) -> None:
    assert glassgate("vectors", "export", tmp_path / "json")[0] == 0
    names = {path.name for path in (tmp_path / "json").iterdir()}
    assert names == {"vectors-1.schema.json", *(source.name for source in model.packaged())}
    first = model.load_packaged()[0].vectors[0]
    status, out, _ = glassgate("vectors", "export", "--pcapng", tmp_path / "pcapng", "--id", first.id)
    assert (status, out) == (0, f"1 files written to {tmp_path / 'pcapng'}\n")
    packets = list(capture.read((tmp_path / "pcapng" / f"{first.id}.pcapng").read_bytes()))
    assert len(packets) >= len(first.steps[0].outcomes[0].expect)


def test_a_folder_that_cannot_be_written_is_named(glassgate: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = glassgate("vectors", "export", tmp_path / "file" / "below")
    assert status == 2
    assert "cannot be written" in err
