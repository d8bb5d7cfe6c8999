"""Sequence numbers: they wrap, so only distances compare; and where a connection begins cannot be guessed."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.reference.tcp.sequence import SequenceNumber, initial_sequence_number

NUMBERS = st.integers(0, 2**32 - 1).map(SequenceNumber)
NEAR = st.integers(-(2**31) + 1, 2**31 - 1)
LOCAL = (IPv4Address("10.38.2.1"), 7)
REMOTE = (IPv4Address("10.38.2.5"), 40000)


@given(NUMBERS, NEAR)
def test_adding_and_taking_away_are_inverse(number: SequenceNumber, octets: int) -> None:
    assert (number + octets) - number == octets


@given(NUMBERS, NEAR)
def test_order_is_the_sign_of_the_distance(number: SequenceNumber, octets: int) -> None:
    other = number + octets

    assert (other > number, other >= number) == (octets > 0, octets >= 0)
    assert (other < number, other <= number) == (octets < 0, octets <= 0)
    assert (other == number) == (octets == 0)


@given(NUMBERS, st.integers(0, 2**30), NEAR)
def test_a_window_holds_its_octets_and_no_others(first: SequenceNumber, octets: int, offset: int) -> None:
    assert (first + offset).is_within(first, octets) == (0 <= offset < octets)


def test_sums_stay_sequence_numbers() -> None:
    assert isinstance(SequenceNumber(1) + 1, SequenceNumber)
    assert SequenceNumber(0) + -1 == 2**32 - 1
    assert max(SequenceNumber(2**32 - 1), SequenceNumber(3)) == 3


def test_the_initial_number_grows_by_250000_a_second() -> None:
    early = initial_sequence_number(b"secret", LOCAL, REMOTE, 10.0)
    late = initial_sequence_number(b"secret", LOCAL, REMOTE, 12.0)

    assert late - early == 500_000


@pytest.mark.parametrize(
    ("secret", "local", "remote"),
    [
        (b"another", LOCAL, REMOTE),
        (b"secret", (LOCAL[0], 8), REMOTE),
        (b"secret", (IPv4Address("10.8.0.2"), 7), REMOTE),
        (b"secret", LOCAL, (REMOTE[0], 40001)),
        (b"secret", LOCAL, (IPv4Address("10.38.2.6"), 40000)),
    ],
)
def test_the_initial_number_depends_on_the_secret_and_all_four_of_the_connection(
    secret: bytes, local: tuple[IPv4Address, int], remote: tuple[IPv4Address, int]
) -> None:
    assert initial_sequence_number(secret, local, remote, 0.0) != initial_sequence_number(b"secret", LOCAL, REMOTE, 0.0)
