"""OpenVPN, seen from a client: how keys come about (left), and what they are for (right).

        a configuration file                                      an inner packet
             │ directives.read_directives, words.words                 │ tunnel.OpenVpnTunnel.send
             ▼                                                         ▼
        profile.Profile ── key_files, inlining                    data_channel.SendingKey.seal
             │                                                         │
             ▼                   keys                                  ▼
        client.Client ─────────────────────────────────────────► tunnel.OpenVpnTunnel ◄── data_channel.ReceivingKey.open
             │ session, outputs; when something is due: appointments   │                          ▲
             ▼                                                         │                          │
        negotiation.Negotiation: one key id's way from a reset         │                          │
             │  key_exchange, key_derivation, push                     │                          │
             ▼                                                         │                          │
        tls.TlsClient: a stream of octets                              │                          │
             │                                                         │                          │
             ▼                                                         │                          │
        reliability.Reliability: messages, acknowledged                │                          │
             │ packets.Header, packets.Body                            │                          │
             ▼                                                         │                          │
        wrapping.Wrapping: plain, tls-auth, tls-crypt                  │                          │
             │                                                         ▼                          │
             └────── control packets ──────────────────────────► framing ── data packets ─────────┘
                                                                       │
                                                                    the flow

A control packet that comes in goes up the left side in four steps: parse, authenticate, check replay, then act.
"""
