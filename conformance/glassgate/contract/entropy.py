"""Randomness is an argument. A gateway gets an ``Entropy`` and draws from nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

Entropy = Callable[[int], bytes]
"""Given a number of octets, returns that many random ones. ``os.urandom`` is one."""


class SeededEntropy:
    """The repeatable octets of protocol 1: SHA-256(seed ‖ 64-bit big-endian counter), block after block.

    >>> SeededEntropy(b"")(4) == hashlib.sha256(bytes(8)).digest()[:4]
    True
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counter = 0
        self._left = b""

    def __call__(self, count: int) -> bytes:
        """The next ``count`` octets."""
        while len(self._left) < count:
            self._left += hashlib.sha256(self._seed + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken
