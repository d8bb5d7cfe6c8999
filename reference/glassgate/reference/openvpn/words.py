"""A line of options cut into words, for configuration files and pushed options alike.

White space separates words. In double quotes it does not, and a backslash takes the next character as it is; outside
quotes too. In single quotes a backslash is a backslash. A ``#`` or ``;`` where a word could begin starts a comment.

Standards: OpenVPN options.c parse_line; PROTOCOL.md section 9.
"""

from __future__ import annotations

import re

_WORD = re.compile(
    r"""
    (?P<double> " (?: \\. | [^"\\] )* " )
  | (?P<single> ' [^']* ' )
  | (?P<bare>   (?: \\. | [^\s"'\\] ) (?: \\. | [^\s\\] )* )
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)
_ESCAPABLE = re.compile(r'[\\"\s]')


class WordsError(ValueError):
    """A line whose quotes or backslashes do not come out even."""


def words(line: str) -> list[str]:
    r"""The words of one line.

    >>> words(r'ca "my keys/ca.crt"  ; the authority')
    ['ca', 'my keys/ca.crt']

    Raises:
        WordsError: a quote is not closed, or a backslash stands before a character that needs none.
    """
    found = []
    place = _skip_space(line, 0)
    while place < len(line) and line[place] not in "#;":
        match = _WORD.match(line, place)
        if match is None:
            quote = line[place]
            raise WordsError(f"no closing {quote}" if quote in "\"'" else "a backslash at the end of the line")
        found.append(_read(match))
        place = _skip_space(line, match.end())
    return found


def _skip_space(line: str, place: int) -> int:
    match = _SPACE.match(line, place)
    assert match is not None
    return match.end()


def _read(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"][1:-1]
    text = match["bare"] if match["double"] is None else match["double"][1:-1]
    for escaped in _BACKSLASH.findall(text):
        if not _ESCAPABLE.match(escaped):
            raise WordsError(f"backslash before {escaped!r}: write two for one, as in C:\\\\keys")
    return _BACKSLASH.sub(r"\1", text)
