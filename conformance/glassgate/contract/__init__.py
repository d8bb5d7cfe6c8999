"""What gateways, drivers and judges share: configuration, events, effects, rules. No logic beyond validation.

configuration.py  GatewayConfig, read from protocol 1's JSON and checked member by member
rules.py          every decision a gateway can take: slug, sentence, citation, level
gateway.py        the Gateway protocol, its ports, events and effects
addresses.py      MacAddress
entropy.py        randomness as an argument, and the seeded kind of protocol 1
"""

from glassgate.contract.addresses import BROADCAST, MacAddress
from glassgate.contract.configuration import (
    Cipher,
    ConfigError,
    ExternalOs,
    ExternalStack,
    GatewayConfig,
    Internal,
    Limits,
    ReceiveKey,
    SendKey,
    Services,
    Session,
    Tunnel,
)
from glassgate.contract.entropy import Entropy, SeededEntropy
from glassgate.contract.gateway import (
    CAPABILITIES,
    CloseFlow,
    Effect,
    FlowEvent,
    Gateway,
    Implementation,
    Note,
    NoteKind,
    OpenFlow,
    Port,
    Transmit,
    Unsupported,
)
from glassgate.contract.rules import Level, Rule

__all__ = [
    "BROADCAST",
    "CAPABILITIES",
    "Cipher",
    "CloseFlow",
    "ConfigError",
    "Effect",
    "Entropy",
    "ExternalOs",
    "ExternalStack",
    "FlowEvent",
    "Gateway",
    "GatewayConfig",
    "Implementation",
    "Internal",
    "Level",
    "Limits",
    "MacAddress",
    "Note",
    "NoteKind",
    "OpenFlow",
    "Port",
    "ReceiveKey",
    "Rule",
    "SeededEntropy",
    "SendKey",
    "Services",
    "Session",
    "Transmit",
    "Tunnel",
    "Unsupported",
]
