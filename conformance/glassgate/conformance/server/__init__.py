"""The far end of the tunnel: the server's side of OpenVPN's protocol, small, and independent of every gateway.

::

    packet ── control.py: opcode, header ──┬── wrapping.py: tls-auth, tls-crypt ── reliability.py: once, and in order
                                           │     └── tls.py: the handshake ── key_exchange.py: key method 2, keys
                                           │           └── settings.py: what is granted and pushed
                                           └── data: far_end.DataChannel ── the inner packet

    negotiation.py   all of the upper way, for one key
    session.py       Server: packets and the time go in; packets, inner packets and tidings come out
    endpoint.py      the same behind a stream or datagrams
    key_files.py     the static key and those of tls-crypt-v2, read and made
    profile.py       a far end with fresh keys, and the ``.ovpn`` file of its client
    beyond.py        a network behind it, in which every address answers
    tun.py           or a network interface of Linux
    driver.py        sockets; command.py: ``glassgate far-end``

It serves one client, pushes what it is told to, and knows the ciphers that the gateways know. Not here: the cookie
exchange of a UDP server, compression, epoch keys, an options consistency check.
"""
