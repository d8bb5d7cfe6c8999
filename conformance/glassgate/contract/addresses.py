"""Ethernet addresses. (IPv4 addresses and prefixes are those of the standard library's ``ipaddress``.)"""

from __future__ import annotations

import re

_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.IGNORECASE)


class MacAddress(bytes):
    """The six octets of an IEEE 802 address; ``str()`` gives the usual colon notation.

    >>> str(MacAddress.parse("00-F0-0D-F0-0D-00"))
    '00:f0:0d:f0:0d:00'
    """

    __slots__ = ()

    def __new__(cls, octets: bytes) -> MacAddress:
        """Make an address of exactly six octets.

        Raises:
            ValueError: there are not six octets.
        """
        if len(octets) != 6:
            raise ValueError(f"an Ethernet address has 6 octets, not {len(octets)}")
        return super().__new__(cls, octets)

    @classmethod
    def parse(cls, text: str) -> MacAddress:
        """Read colon or hyphen notation.

        Raises:
            ValueError: the text is not an Ethernet address.
        """
        if not _MAC.fullmatch(text):
            raise ValueError(f"{text!r} is not an Ethernet address such as 00:f0:0d:f0:0d:00")
        return cls(bytes.fromhex(text.replace(":", "").replace("-", "")))

    @property
    def is_group(self) -> bool:
        """Whether this is a broadcast or multicast address (IEEE 802: the lowest bit of the first octet)."""
        return bool(self[0] & 1)

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"MacAddress({str(self)!r})"


BROADCAST = MacAddress(b"\xff" * 6)
