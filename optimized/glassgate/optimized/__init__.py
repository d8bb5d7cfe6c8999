"""The gateway written to be fast: the reference's contract, over buffers that are allocated once and reused.

    internal frame
      └ Forwarding.upstream (forwarding.py) ── the ordinary packet ───────────────┬▶ SealingKey.seal ─▶ flow
          └ Ethernet.receive (ethernet.py)                                        │
              ├ Arp.receive (arp.py) ─▶ internal frame                            │
              └ Forwarding.from_inside ── refusals (ipv4.py, addresses.py)        │
                  ├ Forwarding._into_tunnel ── TTL, MTU, cut (fragments.py) ──────┘
                  └ Local.receive (local.py) ── Reassembly, Icmp, Udp, Tcp ─▶ Output.send (output.py) ─▶ back

    flow
      └ Forwarding.downstream ── StreamBuffer (framing.py), Tunnel (tunnel.py)
          └ OpeningKey.open (data_channel.py) ── the ordinary packet ── header ───┬▶ internal frame
              └ Forwarding.from_tunnel ── refusals (ipv4.py, addresses.py)        │
                  ├ Forwarding._into_network ── TTL, MTU, cut ── Arp.send (arp.py)┘
                  └ Local.receive ─▶ back

A packet is a buffer, a start and an end. Who is called may write in place, and keeps nothing after returning.
``buffers.py`` says where octets lie; ``gateway.py`` puts the layers together and has the doors.
"""

from glassgate.contract import Implementation
from glassgate.optimized.gateway import BatchGateway, InProcess

implementation = Implementation(
    name="optimized",
    version="0.1.0",
    capabilities=frozenset(
        {
            "external.os",
            "external.stack",
            "session",
            "ovpn",
            "transport.udp",
            "cipher.aes-256-gcm",
            "cipher.aes-128-gcm",
            "cipher.chacha20-poly1305",
            "udp_echo",
            "tcp_echo",
            "notes",
        }
    ),
    factory=InProcess,
    batches=BatchGateway,
)
"""The entry point ``optimized`` of the group ``glassgate.gateways``."""

__all__ = ["BatchGateway", "InProcess", "implementation"]
