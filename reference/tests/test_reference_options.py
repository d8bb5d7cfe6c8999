"""IPv4 options: how far they can be read, and which a fragment repeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.reference import options
from glassgate.reference.options import Option, Unreadable

RECORD_ROUTE = bytes.fromhex("07 07 04 00000000")
ROUTER_ALERT = bytes.fromhex("94 04 0000")
LOOSE_SOURCE_ROUTE = bytes.fromhex("83 07 04 08080808")


def test_options_are_read_one_behind_the_other() -> None:
    read = list(options.parse(b"\x01" + RECORD_ROUTE + ROUTER_ALERT))
    assert read == [Option(0, b"\x01"), Option(1, RECORD_ROUTE), Option(8, ROUTER_ALERT)]


def test_an_option_may_have_no_data_and_may_end_with_the_header() -> None:
    assert list(options.parse(bytes.fromhex("8202 8802"))) == [Option(0, b"\x82\x02"), Option(2, b"\x88\x02")]


def test_nothing_is_read_beyond_the_end_of_options() -> None:
    assert list(options.parse(ROUTER_ALERT + b"\x00\x83\x01\x00")) == [Option(0, ROUTER_ALERT)]
    assert options.has_end(ROUTER_ALERT + b"\x00\x83\x01\x00")
    assert not options.has_end(ROUTER_ALERT)


@pytest.mark.parametrize(
    ("octets", "offset"),
    [
        ("07", 0),  # no length octet
        ("07 00 0000", 0),  # a length of 0
        ("07 01 0000", 0),  # a length of 1
        ("07 05 0400", 0),  # longer than what is left
        ("01 01 01 94", 3),
        ("94040000 82ff0000", 4),
    ],
)
def test_an_unreadable_option_is_the_last(octets: str, offset: int) -> None:
    assert list(options.parse(bytes.fromhex(octets)))[-1] == Unreadable(offset)


def test_source_routes_are_told_by_their_type() -> None:
    (loose,) = options.parse(LOOSE_SOURCE_ROUTE)
    (strict,) = options.parse(b"\x89" + LOOSE_SOURCE_ROUTE[1:])
    (record,) = options.parse(RECORD_ROUTE)
    assert [isinstance(one, Option) and one.is_source_route for one in (loose, strict, record)] == [True, True, False]


def test_a_later_fragment_repeats_what_has_the_copied_bit_padded_with_zeros() -> None:
    octets = b"\x01" + RECORD_ROUTE + bytes.fromhex("82 03 aa") + ROUTER_ALERT + b"\x00"
    assert options.copied(octets) == bytes.fromhex("8203aa 94040000 00")


def test_without_such_an_option_nothing_is_repeated() -> None:
    assert options.copied(b"\x01" + RECORD_ROUTE) == b""


@given(st.binary(max_size=40))
def test_any_octets_are_read_in_order_without_a_gap(octets: bytes) -> None:
    position = 0
    for option in options.parse(octets):
        assert option.offset == position
        position += len(option.octets) if isinstance(option, Option) else len(octets)


KINDS = st.integers(2, 255)  # 0 ends the options, and 1 is one octet
CHOSEN = st.lists(
    st.just(b"\x01")
    | st.tuples(KINDS, st.binary(max_size=12)).map(lambda one: bytes([one[0], len(one[1]) + 2]) + one[1]),
    max_size=8,
)


@given(CHOSEN)
def test_parse_undoes_build(chosen: list[bytes]) -> None:
    built = options.build([Option(0, octets) for octets in chosen])
    assert len(built) % 4 == 0
    assert built.rstrip(b"\0") == b"".join(chosen).rstrip(b"\0")
    assert [option.octets for option in options.parse(built) if isinstance(option, Option)] == chosen


@given(st.binary(max_size=40))
def test_what_is_repeated_is_a_readable_multiple_of_four(octets: bytes) -> None:
    repeated = options.copied(octets)
    assert len(repeated) % 4 == 0
    assert all(isinstance(option, Option) and option.is_copied for option in options.parse(repeated))
