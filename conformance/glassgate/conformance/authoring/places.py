"""The network in which every vector plays: the example network of the design, with two hosts and a far network.

host 10.38.2.5 ──┐                                      ┌── far host 198.51.100.7
host 10.38.2.6 ──┴── 10.38.2.1  GATEWAY  10.8.0.2 ══ tunnel ══ far end 10.8.0.1 ──┴── …
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from glassgate.conformance.packets import Seal
from glassgate.contract import Cipher


@dataclass(frozen=True, slots=True)
class Station:
    """Somebody on the internal network."""

    address: str
    mac: str


GATEWAY = Station("10.38.2.1", "00:f0:0d:f0:0d:00")
HOST = Station("10.38.2.5", "02:00:0a:26:02:05")
NEIGHBOUR = Station("10.38.2.6", "02:00:0a:26:02:06")
STRANGER = Station("10.38.2.66", "02:00:0a:26:02:66")
"""A host that nobody has heard of."""

FAR = "198.51.100.7"
"""A host beyond the tunnel (RFC 5737's documentation prefix)."""
TUNNEL = "10.8.0.2"
"""The gateway's own address in the tunnel."""
FAR_END = "10.8.0.1"
"""The server's address in the tunnel."""
SERVER = "1.2.3.4"
"""The server's address on the outside."""

# The keys are those of the known answers in PROTOCOL 20.4: the key block 00 01 02 … ff, cut as a client cuts it.
_BLOCK = bytes(range(256))
GATEWAY_SEALS = Seal(key=_BLOCK[0:32], implicit_iv=_BLOCK[64:72])
"""From the gateway to the far end."""
FAR_END_SEALS = Seal(key=_BLOCK[128:160], implicit_iv=_BLOCK[192:200])
"""From the far end to the gateway."""


def of_cipher(seal: Seal, cipher: Cipher) -> Seal:
    """The same direction under another cipher: its key is the beginning of the slot."""
    return replace(seal, cipher=cipher, key=seal.key[: cipher.key_octets])


def session(cipher: Cipher = Cipher.AES_256_GCM, **members: Any) -> dict[str, Any]:
    """The ``session`` member of a configuration that is in step with the two seals above."""
    return {
        "cipher": cipher.value,
        "peer_id": 0,
        "key_id": 0,
        "address": f"{TUNNEL}/24",
        "mtu": 1500,
        "send": _half(of_cipher(GATEWAY_SEALS, cipher)) | {"next_packet_id": 1},
        "receive": _half(of_cipher(FAR_END_SEALS, cipher)),
    } | members


def _half(seal: Seal) -> dict[str, Any]:
    return {"key": seal.key.hex(), "implicit_iv": seal.implicit_iv.hex()}


CONFIG: dict[str, Any] = {
    "internal": {"mac": GATEWAY.mac, "address": f"{GATEWAY.address}/24", "mtu": 1500},
    "external": {"kind": "os"},
    "tunnel": {"remote": SERVER, "port": 1194, "proto": "tcp", "session": session()},
    "services": {"icmp_echo": True, "udp_echo": [7], "tcp_echo": [7]},
}
"""The configuration of every file; a vector patches it where it needs something else."""
