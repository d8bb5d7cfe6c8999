"""Live gateways by name: those whose surroundings this package builds itself."""

from __future__ import annotations

from glassgate.conformance import profile
from glassgate.conformance.lab import programs
from glassgate.conformance.lab.kernel import KernelGateway
from glassgate.conformance.lab.program import ProgramGateway
from glassgate.conformance.lab.tunnel import GatewayKind
from glassgate.conformance.profile import Profile
from glassgate.conformance.subjects.wire import Wire

LINUX = "linux"
BUILT = (LINUX, GatewayKind.REFERENCE.value, GatewayKind.OPTIMIZED.value)
"""The names that are known here."""


def find(name: str, declared: Profile | None, *, slow: bool) -> Wire:
    """Bring up the live gateway of that name. Without ``declared`` the profile is the one that comes with it.

    Raises:
        LabError: it cannot be brought up here.
    """
    programs.require()
    gateway = KernelGateway() if name == LINUX else ProgramGateway(GatewayKind(name))
    try:
        gateway.build()
    except BaseException:
        gateway.close()
        raise
    return Wire(name, gateway, declared or _usual(name), slow=slow)


def _usual(name: str) -> Profile:
    return profile.packaged(name) if name == LINUX else Profile()
