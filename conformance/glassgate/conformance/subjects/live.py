"""Live gateways by name."""

from __future__ import annotations

from glassgate.conformance.lab.kernel import KernelGateway
from glassgate.conformance.subjects.wire import Wire

LINUX = frozenset({"external.os", "session", "cipher.aes-256-gcm", "udp_echo", "tcp_echo"})


def made(name: str, *, slow: bool) -> Wire:
    gateway = KernelGateway()
    try:
        gateway.build()
    except BaseException:
        gateway.close()
        raise
    return Wire("linux", gateway, LINUX, slow=slow)
