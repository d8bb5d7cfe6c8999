"""What the control plane asks of whoever has the flow and the data channel: one value for each wish.

Below: nothing. Above: ``client.py``, which says these, and the tunnel, which obeys them in their order.
Standards: PROTOCOL.md sections 10, 12, 15.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from glassgate.contract.configuration import Cipher
from glassgate.contract.rules import Rule


@dataclass(frozen=True, slots=True)
class SendPacket:
    """Send one control packet, whole, before any data that is sealed later."""

    packet: bytes
    because: Rule


@dataclass(frozen=True, slots=True)
class SendPing:
    """Seal and send the 16 octets of a ping under the key in use; report it with ``data_sent`` as any data."""


@dataclass(frozen=True, slots=True)
class SendExit:
    """Seal and send an exit notification of the data channel (PROTOCOL 12.2, operation 6)."""


@dataclass(frozen=True, slots=True)
class InstallKey:
    """A new data key: receive with it from now on, beside the others. Packet ids start at 1."""

    key_id: int
    cipher: Cipher
    peer_id: int | None
    """24 bits for P_DATA_V2; None for P_DATA_V1."""
    send_key: bytes = field(repr=False)
    send_implicit_iv: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    receive_implicit_iv: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UseKey:
    """Send with this installed key from now on."""

    key_id: int


@dataclass(frozen=True, slots=True)
class DropKey:
    """Forget this key: its records are under an unknown key id from now on."""

    key_id: int


@dataclass(frozen=True, slots=True)
class Configured:
    """What the server pushed for the tunnel. Once a session, before the first ``UseKey``."""

    address: IPv4Interface
    mtu: int
    """The largest inner IP packet, in octets."""
    mssfix: int | None
    """The largest TCP maximum segment size that may pass in a SYN over IPv4, in octets; None: leave it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The session is over: close the flow, forget all keys. The client says nothing more until ``start``."""

    because: Rule
    reason: str
    """One line for a person."""
    retry: bool
    """Whether to connect again (with back-off), or to end for good."""
    next_remote: bool = False
    """Whether the next attempt goes to the profile's next remote."""
    delay: float = 0.0
    """The server asks to wait at least so many seconds before the next attempt."""


@dataclass(frozen=True, slots=True)
class Report:
    """Something worth a state note. ``detail`` holds JSON scalars and never a secret."""

    because: Rule
    detail: dict[str, object]


ClientOutput = SendPacket | SendPing | SendExit | InstallKey | UseKey | DropKey | Configured | Failed | Report
