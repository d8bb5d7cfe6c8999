"""Text before its turn: kept in order, first copy of an octet stays, bounded in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glassgate.reference.tcp.reassembly import LARGEST_NUMBER_OF_PIECES, Reassembly
from glassgate.reference.tcp.sequence import SequenceNumber

EXPECTED = SequenceNumber(2**32 - 10)  # so that the numbers wrap


def held(*pieces: tuple[int, bytes]) -> Reassembly:
    reassembly = Reassembly()
    for offset, text in pieces:
        reassembly.hold(EXPECTED, EXPECTED + offset, text)
    return reassembly


def test_text_beyond_a_gap_is_not_taken() -> None:
    assert held((1, b"b")).take(EXPECTED) == b""


def test_text_without_a_gap_is_taken_once() -> None:
    reassembly = held((3, b"def"), (0, b"abc"), (7, b"h"))

    assert reassembly.take(EXPECTED) == b"abcdef"
    assert reassembly.take(EXPECTED + 6) == b""
    assert reassembly.pieces == [b"h"]


def test_what_comes_before_the_expected_octet_is_cut_off() -> None:
    assert held((-2, b"yzabc")).take(EXPECTED) == b"abc"


def test_the_first_copy_of_an_octet_stays() -> None:
    assert held((2, b"cd"), (0, b"ABCDEF")).take(EXPECTED) == b"ABcdEF"


def test_a_piece_inside_another_changes_nothing() -> None:
    assert held((0, b"abcdef"), (2, b"XX")).take(EXPECTED) == b"abcdef"


def test_a_piece_may_fill_several_gaps() -> None:
    assert held((1, b"b"), (3, b"d"), (5, b"f"), (0, b"ABCDEFG")).take(EXPECTED) == b"AbCdEfG"


def test_text_that_touches_what_is_held_becomes_one_piece_with_it() -> None:
    reassembly = held((2, b"cd"), (8, b"ij"), (4, b"ef"), (7, b"h"), (1, b"bCDEFG"))

    assert (reassembly.starts, reassembly.pieces) == ([EXPECTED + 1], [bytearray(b"bcdefGhij")])


def test_one_gap_is_one_piece_however_many_segments_lie_beyond_it() -> None:
    """A window of a mebioctet has room for more than 700 segments, and one that is lost must not cost the others."""
    reassembly = held(*((1 + 1460 * at, bytes(1460)) for at in range(717)))

    assert [len(piece) for piece in reassembly.pieces] == [717 * 1460]


def test_pieces_are_bounded_and_text_in_its_turn_still_passes() -> None:
    reassembly = held(*((2 * at, b"x") for at in range(1, 2 * LARGEST_NUMBER_OF_PIECES)))
    assert len(reassembly) == LARGEST_NUMBER_OF_PIECES

    reassembly.hold(EXPECTED, EXPECTED, b"ab")

    assert reassembly.take(EXPECTED) == b"abx"


def test_nothing_is_kept_beyond_a_fin() -> None:
    reassembly = held((5, b"late"))
    reassembly.learn_fin(EXPECTED + 2)

    reassembly.hold(EXPECTED, EXPECTED, b"abcd")

    assert reassembly.take(EXPECTED) == b"ab"
    assert len(reassembly) == 0


def test_a_fin_cuts_the_piece_that_it_falls_into() -> None:
    reassembly = held((0, b"abcd"), (6, b"gh"))

    reassembly.learn_fin(EXPECTED + 2)

    assert reassembly.take(EXPECTED) == b"ab"
    assert len(reassembly) == 0


def test_the_first_fin_counts() -> None:
    reassembly = held()
    reassembly.learn_fin(EXPECTED + 2)
    reassembly.learn_fin(EXPECTED + 9)

    assert reassembly.fin == EXPECTED + 2


@given(st.data())
def test_any_order_overlap_and_doubling_gives_the_text_back(data: st.DataObject) -> None:
    text = bytes(range(60))
    cuts = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)
    pieces = data.draw(st.lists(cuts, max_size=30))
    reassembly = held(*((start, text[start:end]) for start, end in pieces))

    covered = 0
    while any(start <= covered < end for start, end in pieces):
        covered += 1
    assert reassembly.take(EXPECTED) == text[:covered]


@given(st.lists(st.tuples(st.integers(-20, 100), st.binary(max_size=20))))
def test_pieces_never_touch_another(pieces: list[tuple[int, bytes]]) -> None:
    reassembly = held(*pieces)

    ends = [start + len(piece) for start, piece in zip(reassembly.starts, reassembly.pieces, strict=True)]
    assert all(end < start for end, start in zip(ends, reassembly.starts[1:], strict=False))
    assert all(reassembly.pieces)
