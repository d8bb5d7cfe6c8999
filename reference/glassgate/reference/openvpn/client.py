"""The OpenVPN client's control plane: from a connected transport to data keys, and on to their renewal.

What it answers: which control packets leave, which data keys are in force, when the session is over.
Below it is the transport (whole packets, no length prefix); beside it the data channel, which seals and opens with
the keys that this file hands out. Nothing a data packet touches is here: the data plane only reports, with
``data_received`` and ``data_sent``, that something authentic came or something left, for the ping timers.

``now`` and the random octets are arguments. One exception, which cannot be helped: the TLS library draws its own
randomness, so two handshakes are never equal octet for octet.

Standards: PROTOCOL.md sections 3 to 9, 12, 13, 15, 16; OpenVPN ssl.c, reliable.c, push.c, forward.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from glassgate.contract.configuration import Cipher
from glassgate.contract.entropy import Entropy
from glassgate.contract.rules import Rule
from glassgate.reference.openvpn.profile import Profile

# ── what a client asks for ───────────────────────────────────────────────────────────────────────────────────────────


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


class Client:
    """One OpenVPN client. ``start`` begins a session; after ``Failed`` it may be started again, afresh."""

    def __init__(self, profile: Profile, entropy: Entropy) -> None:
        self._profile = profile
        self._entropy = entropy

    def start(self, now: float, remote: int = 0) -> list[ClientOutput]:
        """The transport to ``profile.remotes[remote]`` is connected: begin a fresh session."""
        raise NotImplementedError

    def receive(self, packet: bytes, now: float) -> list[ClientOutput]:
        """Take one whole control packet (opcodes 3, 4, 5, 7, 8, 10 and 11)."""
        raise NotImplementedError

    def tick(self, now: float) -> list[ClientOutput]:
        """Do all that is due by ``now``."""
        raise NotImplementedError

    def stop(self, now: float) -> list[ClientOutput]:
        """Leave politely: what the outputs send is the exit notification. The flow may be closed after it."""
        raise NotImplementedError

    def renegotiate(self, now: float) -> list[ClientOutput]:
        """Begin a new key now: the data plane calls this when packet ids of the key in use pass 0xFF000000."""
        raise NotImplementedError

    def data_received(self, now: float, octets: int = 0) -> None:
        """A data record was authentic (a ping, too): the peer lives. ``octets``: its inner IP packet's length."""
        raise NotImplementedError

    def data_sent(self, now: float, octets: int = 0) -> None:
        """A data record left. ``octets``: its inner IP packet's length, 0 for a ping."""
        raise NotImplementedError

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is next due; None if nothing is pending."""
        raise NotImplementedError
