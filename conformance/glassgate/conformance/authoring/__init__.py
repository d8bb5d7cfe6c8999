"""How vectors are written: short sources that say who sends what, what must leave, and on whose authority.

places.py    the network of every vector: who is where, the keys, the configuration
story.py     vector(…), its steps and what they expect, and the fences that prove silence
sources/     one file a category; their order here is the order of the lecture

Nothing in this package imports a gateway. ``glassgate.conformance.filling`` turns the sources into ``vectors/*.json``;
an expectation is written by a person from a standard, and nothing here could take one from a gateway.
"""

from __future__ import annotations

SOURCES: tuple[str, ...] = (
    "local_delivery",
    "tcp_service",
    "forwarding",
    "fragmentation",
    "reassembly",
    "return_routing",
    "arp",
    "data_channel",
    "data_channel_v1",
    "data_channel_udp",
    "framing",
    "control_channel",
    "external",
    "stories",
    "configuration",
)
"""The modules of ``sources``, one category each."""
