"""Live gateways: those whose surroundings this package builds itself, and anybody's by a file that describes them."""

from __future__ import annotations

from pathlib import Path

from glassgate.conformance import profile
from glassgate.conformance.lab import foreign, network, programs
from glassgate.conformance.lab.errors import LabError
from glassgate.conformance.lab.foreign import ForeignGateway
from glassgate.conformance.lab.kernel import KernelGateway
from glassgate.conformance.lab.program import ProgramGateway
from glassgate.conformance.lab.tunnel import GatewayKind
from glassgate.conformance.profile import Profile
from glassgate.conformance.subjects.wire import Wire

LINUX = "linux"
BUILT = (LINUX, GatewayKind.REFERENCE.value, GatewayKind.OPTIMIZED.value)
"""The names that are known here."""


def find(name: str, declared: Profile | None, *, slow: bool) -> Wire:
    """Bring up the live gateway of that name, or reach the one that a file describes.

    Without ``declared`` the profile is the one that comes with it.

    Raises:
        LabError: it cannot be brought up here.
        ProfileError: the file cannot be used.
    """
    if name not in BUILT:
        return _described(name, declared, slow=slow)
    programs.require()
    network.take_down_abandoned()
    gateway = KernelGateway() if name == LINUX else ProgramGateway(GatewayKind(name))
    try:
        gateway.build()
    except BaseException:
        gateway.close()
        raise
    return Wire(name, gateway, declared or _usual(name), slow=slow)


def _usual(name: str) -> Profile:
    return profile.packaged(name) if name == LINUX else Profile()


def _described(name: str, declared: Profile | None, *, slow: bool) -> Wire:
    path = Path(name)
    if path.suffix != ".toml":
        raise LabError(f"{name!r} is neither {', '.join(BUILT)} nor a file such as mine.toml")
    surroundings, own = foreign.load(path)
    foreign.require_root()
    return Wire(surroundings.name, ForeignGateway(surroundings), declared or own, slow=slow)
