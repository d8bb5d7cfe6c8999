"""How a layer says no, and how it says what it did: the words that every layer above shares.

Unreadable raises, unwanted returns. ``parse`` raises ``Malformed`` when octets cannot be what they claim to be; it is
caught once, at the gateway's door. A packet that can be read and is not wanted comes back as a note: ``dropped(…)``.

Each function here makes a note of one kind. ``detail`` takes the values that decided, by the standard's field names;
addresses become text, octets hexadecimal, for a note holds nothing but JSON scalars.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from glassgate.contract.addresses import MacAddress
from glassgate.contract.gateway import Note, NoteKind
from glassgate.contract.rules import Rule

Value = int | float | str | bool | bytes | MacAddress | IPv4Address | IPv4Interface | None


class Malformed(Exception):
    """Octets that are not what they should be: the rule that says so, and the values that failed."""

    def __init__(self, rule: Rule, **detail: Value) -> None:
        super().__init__(f"{rule.slug}: {rule.sentence}")
        self.rule = rule
        self.detail = detail

    def note(self) -> Note:
        """The note on the fate of what held these octets."""
        return dropped(self.rule, **self.detail)


def dropped(rule: Rule, **detail: Value) -> Note:
    """It goes no further."""
    return Note(NoteKind.DROPPED, rule, _scalars(detail))


def delivered(rule: Rule, **detail: Value) -> Note:
    """It was for the gateway itself, and has arrived."""
    return Note(NoteKind.DELIVERED, rule, _scalars(detail))


def forwarded(rule: Rule, **detail: Value) -> Note:
    """It goes on to somewhere else."""
    return Note(NoteKind.FORWARDED, rule, _scalars(detail))


def changed(rule: Rule, **detail: Value) -> Note:
    """The gateway's own state changed, or something in it was waited for."""
    return Note(NoteKind.STATE, rule, _scalars(detail))


def waits(rule: Rule, **detail: Value) -> Note:
    """It goes on later. That is no fate yet, but the gateway's door tells here, too, by which rules it got so far."""
    return Note(NoteKind.STATE, rule, {**_scalars(detail), "path": ""})


def lost(rule: Rule, **detail: Value) -> Note:
    """One that waited goes no further, while another is in hand: so the path is not the other's."""
    return Note(NoteKind.DROPPED, rule, {**_scalars(detail), "path": rule.slug})


def concludes(note: Note) -> bool:
    """Whether a note says what became of the packet in hand: its fate, or that it waits."""
    return note.detail.get("path", "" if note.kind is not NoteKind.STATE else None) == ""


def _scalars(detail: dict[str, Value]) -> dict[str, object]:
    return {name: _scalar(value) for name, value in detail.items()}


_WRITTEN_OUT = (MacAddress, IPv4Address, IPv4Interface)


def _scalar(value: Value) -> object:
    if isinstance(value, _WRITTEN_OUT):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return value
