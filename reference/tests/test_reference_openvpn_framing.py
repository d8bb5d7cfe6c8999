"""Records in a stream: whole, byte by byte, two in one, and lengths that end it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import rules
from glassgate.reference.notes import Malformed
from glassgate.reference.openvpn import framing
from glassgate.reference.openvpn.framing import RecordReader

RECORDS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def taken(reader: RecordReader) -> list[bytes]:
    """Every whole record."""
    records = []
    while (record := reader.next_record()) is not None:
        records.append(record)
    return records


def test_a_record_has_its_length_in_front_of_it() -> None:
    assert framing.build(b"record") == b"\x00\x06record"


def test_two_records_in_one_piece_are_two() -> None:
    reader = RecordReader(1500)
    reader.feed(b"\x00\x03one\x00\x03two")
    assert taken(reader) == [b"one", b"two"]
    assert reader.octets_waiting == 0


def test_a_record_is_taken_when_its_last_octet_is_there() -> None:
    reader = RecordReader(1500)
    for octet in b"\x00\x06recor":
        reader.feed(bytes([octet]))
        assert reader.next_record() is None
    assert reader.octets_waiting == 7
    reader.feed(b"d")
    assert reader.next_record() == b"record"


@given(RECORDS, st.data())
def test_however_the_stream_is_cut_the_records_are_the_same(records: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(framing.build, records))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = RecordReader(1500)
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        found += taken(reader)
    assert found == records


@pytest.mark.parametrize(("length", "is_good"), [(0, False), (1, True), (1768, True), (1769, False), (0xFFFF, False)])
def test_a_length_is_judged_as_soon_as_it_is_read(length: int, is_good: bool) -> None:
    reader = RecordReader(1500)
    reader.feed(length.to_bytes(2, "big"))
    if is_good:
        assert reader.next_record() is None
        return
    with pytest.raises(Malformed) as raised:
        reader.next_record()
    assert raised.value.rule is rules.S3_BAD_LENGTH
    assert raised.value.detail == {"length": length, "longest": 1768}


def test_a_larger_mtu_allows_longer_records() -> None:
    reader = RecordReader(1500)
    reader.allow(9000)
    reader.feed((9268).to_bytes(2, "big") + bytes(9268))
    assert reader.next_record() == bytes(9268)


def test_a_great_many_tiny_records_take_time_in_proportion() -> None:
    reader = RecordReader(1500)
    reader.feed(b"\x00\x01x" * 300_000)  # by copying what is left each time this would move 135 GB
    assert len(taken(reader)) == 300_000
