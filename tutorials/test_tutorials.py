"""The lessons are run: what they tell the reader to type is typed, and what they say is shown must be shown.

How a lesson is written:

- A block ``console``: lines that begin with ``$ `` are run by the shell, in a folder of the lesson's own; what stands
  below each is its output, both streams in the order of writing. ``> `` continues a command.
- A block ``python``: a session with ``>>>``, run as a doctest; all such blocks of a lesson share their names.
- A block ``{code-block} LANGUAGE`` with ``:caption: NAME``: a file that the reader saves under that name.
- A block ``{literalinclude} ../../tutorials/NAME``: a file that lies beside the lesson; the reader has a copy.
- In outputs a line ``…`` stands for any lines, or none; a ``…`` within a line stands for any text. Spaces at the end of
  lines do not count. A command is expected to succeed unless its output ends in a line ``[exit status N]``.
- Every other block is for the reader alone.

A lesson names vectors by their ids, which never change, and not by patterns: the suite grows.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LESSONS = sorted(HERE.glob("*.md"))
BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 120


@dataclass(frozen=True)
class Command:
    """A command of a lesson, and what it must print."""

    line: int
    text: str
    output: list[str]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_does_what_it_says(lesson: Path, tmp_path: Path) -> None:
    text = lesson.read_text("utf-8")
    names: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        info, body = block["info"].strip(), block["body"]
        if info == "console":
            for command in commands(body, line):
                assert_shown(command, lesson, tmp_path)
        elif info == "python" and ">>>" in body:
            assert_session(body, names, lesson, line)
        elif info.startswith("{code-block}"):
            save(body, tmp_path)
        elif info.startswith("{literalinclude}"):
            shutil.copy(HERE / Path(info.split()[1]).name, tmp_path)


def test_there_are_lessons() -> None:
    assert HERE / "follow-a-packet.md" in LESSONS


@pytest.mark.parametrize(
    ("expected", "actual", "matches"),
    [
        (["a", "…", "d"], ["a", "b", "c", "d"], True),
        (["a", "…", "d"], ["a", "d"], True),
        (["a", "…", "d"], ["a", "d", "e"], False),
        (["…", "b …, c"], ["x", "b 12, c"], True),
        (["b …, c"], ["b 12 c"], False),
        (["a"], ["a", ""], True),
        (["a"], ["b"], False),
    ],
)
def test_outputs_are_compared_line_by_line(expected: list[str], actual: list[str], matches: bool) -> None:
    assert (mismatch(expected, actual) is None) is matches


def commands(body: str, line: int) -> Iterator[Command]:
    """The commands of a console block."""
    text, output, start = "", list[str](), line
    for number, shown in enumerate(body.splitlines(), line + 1):
        if shown.startswith("$ "):
            if text:
                yield Command(start, text, output)
            text, output, start = shown[2:], [], number
        elif shown.startswith("> ") and not output:
            text += "\n" + shown[2:]
        else:
            output.append(shown)
    if text:
        yield Command(start, text, output)


def assert_shown(command: Command, lesson: Path, folder: Path) -> None:
    """Run a command as the reader would; it must show what the lesson says."""
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "COLUMNS": "80", "PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": ""}
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        check=False,
    )
    actual = done.stdout.decode("utf-8").splitlines()
    if done.returncode:
        actual.append(f"[exit status {done.returncode}]")
    problem = mismatch(command.output, actual)
    if problem is not None:
        shown = "\n".join(actual)
        pytest.fail(f"{lesson.name}:{command.line}: {problem}\n$ {command.text}\n{shown}", pytrace=False)


def mismatch(expected: list[str], actual: list[str]) -> str | None:
    """The first expected line that the output does not have, in words; None if all is as expected."""
    while actual and not actual[-1].strip():
        actual = actual[:-1]
    while expected and not expected[-1].strip():
        expected = expected[:-1]
    place, may_skip = 0, False
    for wanted in expected:
        if wanted.strip() == "…":
            may_skip = True
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.rstrip().split("…")))
        found = next((at for at in range(place, len(actual)) if pattern.fullmatch(actual[at].rstrip())), None)
        if found is None or (found > place and not may_skip):
            return f"the output lacks, or has elsewhere, this line: {wanted!r}"
        place, may_skip = found + 1, False
    if place < len(actual) and not may_skip:
        return f"the output has a line too many: {actual[place]!r}"
    return None


def assert_session(body: str, names: dict[str, object], lesson: Path, line: int) -> None:
    """Run a Python session as a doctest, in the names that earlier sessions of the lesson left."""
    test = doctest.DocTestParser().get_doctest(body, names, lesson.name, str(lesson), line)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []
    runner.run(test, out=told.append, clear_globs=False)
    names.update(test.globs)
    if runner.failures:
        pytest.fail("".join(told), pytrace=False)


def save(body: str, folder: Path) -> None:
    """Save the file that the reader is told to save."""
    head, _, content = body.partition("\n\n")
    caption = re.search(r"^:caption: (\S+)$", head, re.MULTILINE)
    if caption:
        (folder / caption[1]).write_text(content, "utf-8")
