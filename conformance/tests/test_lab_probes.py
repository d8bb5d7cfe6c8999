"""What the lab reads out of other programs' words. The samples are what those programs printed (Debian 12 and 13)."""

from __future__ import annotations

import pytest

from glassgate.conformance.lab import probes
from glassgate.conformance.lab.errors import CheckFailed
from glassgate.conformance.lab.probes import Transfer
from glassgate.conformance.lab.services import file_hash

ANSWERED = """\
PING 203.0.113.10 (203.0.113.10) 56(84) bytes of data.
64 bytes from 203.0.113.10: icmp_seq=1 ttl=62 time=0.391 ms
64 bytes from 203.0.113.10: icmp_seq=2 ttl=62 time=0.411 ms

--- 203.0.113.10 ping statistics ---
2 packets transmitted, 2 received, 0% packet loss, time 202ms
rtt min/avg/max/mdev = 0.391/0.401/0.411/0.010 ms
"""
TOO_BIG = """\
PING 203.0.113.10 (203.0.113.10) 1472(1500) bytes of data.
From 10.38.2.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)
ping: local error: message too long, mtu=1400

--- 203.0.113.10 ping statistics ---
2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 202ms

"""
REDIRECTED = """\
PING 10.38.2.6 (10.38.2.6) 56(84) bytes of data.
From 10.38.2.1: icmp_seq=1 Redirect Host(New nexthop: 10.38.2.6)
64 bytes from 10.38.2.6: icmp_seq=1 ttl=64 time=0.360 ms

--- 10.38.2.6 ping statistics ---
1 packets transmitted, 1 received, 0% packet loss, time 0ms
rtt min/avg/max/mdev = 0.360/0.360/0.360/0.000 ms
"""
TWICE = """\
64 bytes from 10.38.2.1: icmp_seq=1 ttl=64 time=0.1 ms
64 bytes from 10.38.2.1: icmp_seq=1 ttl=64 time=0.2 ms (DUP!)

--- 10.38.2.1 ping statistics ---
1 packets transmitted, 1 received, +1 duplicates, 0% packet loss, time 0ms
rtt min/avg/max/mdev = 0.100/0.150/0.200/0.050 ms
"""
SILENT = """\
--- 203.0.113.10 ping statistics ---
3 packets transmitted, 0 received, 100% packet loss, time 2031ms

"""
TRACED = """\
traceroute to 203.0.113.10 (203.0.113.10), 6 hops max, 60 byte packets
 1  10.38.2.1  0.045 ms
 2  *
 3  203.0.113.10  0.501 ms
"""


def test_ping_answers_are_counted_with_their_time_and_ttl() -> None:
    answer = probes.read_ping(ANSWERED).demand()

    assert answer.summary == "2/2 answered, 0.401 ms, TTL 62"
    assert answer.errors == ()


def test_an_error_is_read_with_its_sender() -> None:
    answer = probes.read_ping(TOO_BIG)

    assert answer.errors == (("10.38.2.1", "Frag needed and DF set (mtu = 1400)"),)
    with pytest.raises(CheckFailed, match=r"0/2 answered; 10\.38\.2\.1: Frag needed"):
        answer.demand()


def test_a_redirect_is_an_error_beside_the_answer() -> None:
    answer = probes.read_ping(REDIRECTED)

    assert answer.is_complete
    assert answer.errors == (("10.38.2.1", "Redirect Host(New nexthop: 10.38.2.6)"),)


def test_an_answer_that_comes_twice_is_not_complete() -> None:
    with pytest.raises(CheckFailed, match="1/1 answered, 1 twice"):
        probes.read_ping(TWICE).demand()


@pytest.mark.parametrize("output", [SILENT, "", "ping: connect: Network is unreachable\n"])
def test_silence_is_a_failure(output: str) -> None:
    with pytest.raises(CheckFailed, match=r"0/[03] answered"):
        probes.read_ping(output).demand()


def test_a_hop_that_says_nothing_stays_in_the_trace() -> None:
    assert probes.read_traceroute(TRACED) == ["10.38.2.1", "*", "203.0.113.10"]


def test_iperf3_tells_the_receivers_rate() -> None:
    measured = probes.read_iperf3(
        '{"end":{"sum_sent":{"bits_per_second":9e6,"retransmits":3},"sum_received":{"bits_per_second":8.5e6}}}'
    )

    assert (measured.megabits_a_second, measured.retransmits) == (8.5, 3)


@pytest.mark.parametrize("output", ["", '{"error":"unable to connect to server"}', "iperf3: error"])
def test_iperf3_without_a_measurement_is_a_failure(output: str) -> None:
    with pytest.raises(CheckFailed, match="iperf3"):
        probes.read_iperf3(output)


def test_a_transfer_is_told_by_size_rate_and_hash() -> None:
    assert Transfer(1_000_000, 2.0, "ab" * 32).summary == "1000000 octets in 2.00 s, 4.0 Mbit/s, SHA-256 abababab…"


@pytest.mark.parametrize(
    "transfer",
    [Transfer(1000, 1.0, "ab" * 32), Transfer(999, 1.0, file_hash(1000, 1)), Transfer(1000, 1.0, file_hash(1000, 2))],
    ids=["other octets", "other size", "the other host's file"],
)
def test_a_transfer_that_is_not_the_file_is_a_failure(transfer: Transfer) -> None:
    with pytest.raises(CheckFailed, match="sent 1000 octets"):
        transfer.demand(1000, 1)
