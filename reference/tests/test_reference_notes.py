"""The words of refusal: what a note may hold."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from glassgate.contract import MacAddress, NoteKind, rules
from glassgate.reference.notes import Malformed, changed, delivered, dropped, forwarded


def test_each_kind_has_its_function() -> None:
    made = [make(rules.S10_FOR_ME).kind for make in (dropped, delivered, forwarded, changed)]
    assert made == [NoteKind.DROPPED, NoteKind.DELIVERED, NoteKind.FORWARDED, NoteKind.STATE]


def test_values_become_json_scalars() -> None:
    note = dropped(
        rules.S16_FOREIGN,
        source=IPv4Address("10.38.2.5"),
        interface=IPv4Interface("10.38.2.1/24"),
        hardware=MacAddress.parse("02:00:00:00:00:05"),
        octets=b"\x01\x02",
        length=3,
        is_defended=True,
        end=None,
    )
    assert note.detail == {
        "source": "10.38.2.5",
        "interface": "10.38.2.1/24",
        "hardware": "02:00:00:00:00:05",
        "octets": "0102",
        "length": 3,
        "is_defended": True,
        "end": None,
    }


def test_malformed_is_a_note_on_a_drop() -> None:
    malformed = Malformed(rules.S9_VERSION, version=7)
    assert malformed.note() == dropped(rules.S9_VERSION, version=7)
    assert str(malformed) == "s9-version: A version other than 4 is dropped."
