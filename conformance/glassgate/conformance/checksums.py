"""Checksums and lengths of the octets that really came, for the judge. Shares no code with what writes vectors.

An Internet checksum (RFC 1071) is right if the sum over everything it covers, itself included, is all ones.
``expected`` finds what a field should hold; it tells in words where there is no such field.
"""

from __future__ import annotations

from typing import Literal

ETHERNET_HEADER = 14
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}
_OFFSETS = {"icmp": 2, "tcp": 16, "udp": 6}


class NoSuchField(ValueError):
    """The octets hold no such field there."""


def internet_checksum(octets: bytes) -> int:
    """The one's complement of the one's complement sum over 16-bit words (RFC 1071).

    Sixteen-bit words are digits to the base 2^16, so their sum modulo 0xffff is the number itself modulo 0xffff.

    >>> hex(internet_checksum(bytes.fromhex("0001f203f4f5f6f7")))     # RFC 1071 3
    '0x220d'
    """
    if len(octets) % 2:
        octets += b"\0"
    number = int.from_bytes(octets, "big")
    total = number % 0xFFFF
    if total == 0 and number:
        total = 0xFFFF  # a sum of words that are not all zero never is zero
    return total ^ 0xFFFF


def expected_checksum(octets: bytes, ip_start: int, at: int, of: Literal["ip", "icmp", "udp", "tcp"]) -> int:
    """What the checksum at ``at`` should hold, with ``ip_start`` the place of the outermost IPv4 header.

    Raises:
        NoSuchField: ``at`` is not the place of such a checksum.
    """
    if of == "ip":
        start = at - 10
        header = octets[start:] if start >= ip_start else b""
        header = header[: 4 * (header[0] & 0xF)] if header else b""
        if len(header) < 20 or header[0] >> 4 != 4:
            raise NoSuchField(f"octet {at} is not the place of an IPv4 header checksum")
        return internet_checksum(header[:10] + b"\0\0" + header[12:])
    header, payload_start, payload = _payload(octets, ip_start)
    place = _OFFSETS[of]
    if header[9] != _PROTOCOLS[of] or at != payload_start + place or len(payload) < place + 2:
        raise NoSuchField(f"octet {at} is not the place of a {of.upper()} checksum")
    if of == "udp":
        payload = payload[: max(8, int.from_bytes(payload[4:6], "big"))]
    covered = payload[:place] + b"\0\0" + payload[place + 2 :]
    if of == "icmp":
        return internet_checksum(covered)
    pseudo_header = header[12:20] + bytes([0, header[9]]) + len(payload).to_bytes(2, "big")
    value = internet_checksum(pseudo_header + covered)
    return value or 0xFFFF if of == "udp" else value  # RFC 768: zero would say that there is no checksum


def expected_length(octets: bytes, ip_start: int, at: int) -> int:
    """What the length at ``at`` should hold: IPv4's total length, or UDP's length.

    Raises:
        NoSuchField: ``at`` is the place of neither.
    """
    if at == ip_start + 2:
        return len(octets) - ip_start
    header, payload_start, payload = _payload(octets, ip_start)
    if header[9] == _PROTOCOLS["udp"] and at == payload_start + 4:
        return len(payload)
    raise NoSuchField(f"octet {at} is the place of neither an IPv4 nor a UDP length")


def _payload(octets: bytes, ip_start: int) -> tuple[bytes, int, bytes]:
    """The IPv4 header, where its payload starts, and the payload."""
    if len(octets) < ip_start + 20 or octets[ip_start] >> 4 != 4 or octets[ip_start] & 0xF < 5:
        raise NoSuchField("there is no IPv4 header")
    payload_start = ip_start + 4 * (octets[ip_start] & 0xF)
    end = ip_start + int.from_bytes(octets[ip_start + 2 : ip_start + 4], "big")
    return octets[ip_start:payload_start], payload_start, octets[payload_start : max(end, payload_start)]
