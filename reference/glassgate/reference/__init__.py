"""The reference gateway: an OpenVPN gateway written to be read.

The way of a packet, each arrow with the file and the function that walks it. Read the files in the order of the way;
``gateway.py``, which joins them, comes last.

      internal frame                                                              octets of the flow
           │ ethernet.receive                                                            │ openvpn/framing.RecordReader
           ▼                                                                             ▼
      ARP? arp.Neighbours.receive                                        control? openvpn/client.Client.receive
           │ IPv4? ipv4.parse                                                            │ data? openvpn/tunnel
           ▼                                                                             ▼
      forwarding.from_inside ─────────┐                                  openvpn/data_channel.ReceivingKey.open
           │ for out there            │ for me                                           │ ipv4.parse
           ▼                          ▼                                                  ▼
      forwarding.refuse_options   forwarding.refuse_options ◄── for me ── forwarding.from_tunnel
           │                          │                                                  │ for a host inside
           ▼                          ▼                                                  ▼
      forwarding.onward           fragments.Reassembly.receive           forwarding.refuse_options
       time to live, size             │ whole                                            │
       fragments.fragment             ▼                                                  ▼
           │                      icmp.receive · udp.receive · tcp       forwarding.onward, fragments.fragment
           ▼                          │                                                  │
      openvpn/data_channel            ▼                                                  ▼
       SendingKey.seal            gateway._originate ── to a host ──────► arp.Neighbours.send
           │                          │ into the tunnel                                  │ ethernet.build
           ▼                          │                                                  ▼
      openvpn/framing.build ◄─────────┘                                           internal frame
           ▼
      octets of the flow: for the operating system, or for our own stack outside, external.External.send

A packet that goes no further falls out with a note that names its rule; ``icmp`` says when its source is told.
"""

from __future__ import annotations

from glassgate.contract import Entropy, Gateway, GatewayConfig, Implementation


def _make(config: GatewayConfig, entropy: Entropy) -> Gateway:
    # Imported here: whoever wants one module of this package need not load them all.
    from glassgate.reference.gateway import ReferenceGateway

    return ReferenceGateway(config, entropy)


implementation = Implementation(
    name="reference",
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
    factory=_make,
)
