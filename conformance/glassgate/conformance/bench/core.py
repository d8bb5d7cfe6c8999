"""The cost of a packet in this process: each gateway by each of its interfaces, and the bare cipher as the limit.

The bare cipher is ``AESGCM`` of cryptography on the same payloads: ``encrypt_into`` and ``decrypt_into`` where it has
them, into one buffer, and nothing else: no gateway that seals each packet can be faster. For an echo inside there is no
cipher, and no limit is shown.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from glassgate.conformance.bench import doors, traffic
from glassgate.conformance.bench.figures import Contender, Figure, Work, take_turns
from glassgate.contract import Implementation, Port

SIZES = (64, 512, 1400)
CIPHER = "bare cipher"
TAG = 16


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of traffic: what goes in for so many packets, how many octets must come out, and what the cipher does."""

    name: str
    port: Port
    pieces: Callable[[int], list[bytes]]
    octets_out: float
    """Octets that come out for each packet that goes in."""
    sealed: tuple[int, ...] = ()
    """Lengths of the payloads that the cipher sees for one packet."""

    def octets(self, packets: int) -> int:
        """What must come out for that many."""
        return round(self.octets_out * packets)


def upstream(octets: int) -> Case:
    """From a host into the tunnel."""
    one = traffic.frame(traffic.datagram(traffic.HOST, traffic.BEYOND, octets))
    out = octets + traffic.RECORD_OVERHEAD
    return Case(f"upstream {octets}", Port.INTERNAL, lambda packets: [one] * packets, out, (octets,))


def downstream(octets: int) -> Case:
    """Out of the tunnel to a host. Each record has a packet id of its own, so they are made beforehand, once."""
    one = traffic.datagram(traffic.BEYOND, traffic.HOST, octets)
    made = functools.cache(lambda packets: traffic.records([one] * packets))
    out = octets + traffic.FRAME_HEADER
    return Case(f"downstream {octets}", Port.FLOW, made, out, (octets,))


def cut() -> Case:
    """A packet of 1500 octets that leaves by the tunnel as two fragments of 1396 and 124 octets."""
    first = traffic.IP_HEADER + (traffic.TUNNEL_MTU - traffic.IP_HEADER) // 8 * 8
    sealed = (first, 1500 - first + traffic.IP_HEADER)
    one = traffic.frame(traffic.datagram(traffic.HOST, traffic.BEYOND, 1500))
    out = sum(sealed) + 2 * traffic.RECORD_OVERHEAD
    return Case("upstream 1500 cut", Port.INTERNAL, lambda packets: [one] * packets, out, sealed)


def echo(octets: int) -> Case:
    """A ping to the gateway."""
    one = traffic.frame(traffic.ping(traffic.HOST, traffic.GATEWAY, octets))
    return Case(f"local echo {octets}", Port.INTERNAL, lambda packets: [one] * packets, len(one))


def reassembled() -> Case:
    """Fragments of pings of 2000 octets to the gateway, whose answers are cut again: two frames in, two out."""

    def pieces(packets: int) -> list[bytes]:
        pairs = (traffic.pieces(traffic.HOST, traffic.GATEWAY, 2000, number, 1480) for number in range(packets // 2))
        return [traffic.frame(piece) for pair in pairs for piece in pair]

    out = (2000 + traffic.IP_HEADER + 2 * traffic.FRAME_HEADER) / 2
    return Case("reassembled echo", Port.INTERNAL, functools.cache(pieces), out)


def cases() -> list[Case]:
    """All that is measured."""
    ways = [way(octets) for way in (upstream, downstream) for octets in SIZES]
    return [*ways, cut(), echo(64), echo(1400), reassembled()]


def contenders(case: Case, implementations: Sequence[Implementation]) -> list[Contender]:
    """Everybody who is measured in a case: the bare cipher, then the gateways by each interface."""
    found = []
    if case.sealed:
        octets = sum(case.sealed) + (TAG * len(case.sealed) if case.port is Port.INTERNAL else 0)
        limit = functools.partial(bare_cipher, case)
        found.append(Contender(case.name, CIPHER, "", limit, lambda packets: octets * packets))
    config = traffic.configuration()
    for implementation in implementations:
        ways = [(doors.CONTRACT, doors.contract_work)]
        if doors.has_batches(implementation):
            ways.append((doors.BATCHES, doors.batch_work))
        for interface, make in ways:

            def prepare(
                packets: int, make: Callable[..., Work] = make, subject: Implementation = implementation
            ) -> Work:
                return make(subject, config, [traffic.introduction()], case.port, case.pieces(packets))

            found.append(Contender(case.name, implementation.name, interface, prepare, case.octets))
    return found


def bare_cipher(case: Case, packets: int) -> Work:
    """The cipher alone on the payloads of that many packets."""
    return _sealing(case.sealed, packets) if case.port is Port.INTERNAL else _opening(case.sealed, packets)


def _sealing(lengths: Sequence[int], packets: int) -> Work:
    aead = AESGCM(traffic.KEY)
    nonce, header = b"\0\0\0\1" + traffic.IMPLICIT_IV, struct.pack(">II", 9 << 27, 1)
    payloads = [bytes(length) for length in lengths]
    targets = [memoryview(bytearray(length + TAG)) for length in lengths]
    pairs = list(zip(payloads, targets, strict=True))
    into = getattr(aead, "encrypt_into", None)

    def work() -> int:
        octets = 0
        for _ in range(packets):
            for payload, target in pairs:
                if into is not None:
                    octets += into(nonce, payload, header, target)
                else:
                    octets += len(aead.encrypt(nonce, payload, header))
        return octets

    return work


def _opening(lengths: Sequence[int], packets: int) -> Work:
    aead = AESGCM(traffic.BACK_KEY)
    nonce, header = b"\0\0\0\1" + traffic.BACK_IMPLICIT_IV, struct.pack(">II", 9 << 27, 1)
    sealed = [aead.encrypt(nonce, bytes(length), header) for length in lengths]
    targets = [memoryview(bytearray(length)) for length in lengths]
    pairs = list(zip(sealed, targets, strict=True))
    into = getattr(aead, "decrypt_into", None)

    def work() -> int:
        octets = 0
        for _ in range(packets):
            for one, target in pairs:
                octets += (
                    into(nonce, one, header, target) if into is not None else len(aead.decrypt(nonce, one, header))
                )
        return octets

    return work


def measured(
    implementations: Sequence[Implementation], chosen: Sequence[Case], rounds: int, seconds: float
) -> Iterator[list[Figure]]:
    """The figures, case by case."""
    for case in chosen:
        yield list(take_turns(contenders(case, implementations), rounds, seconds))
