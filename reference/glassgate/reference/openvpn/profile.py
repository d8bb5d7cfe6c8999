"""OpenVPN configuration files (.ovpn), read for a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


class ProfileError(ValueError):
    """A configuration file that cannot be used: one line that names file, line, directive and value."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A server to connect to. ``host`` is an address or a name; names are for the driver to resolve."""

    host: str
    port: int
    proto: Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a configuration file says, checked."""

    remotes: tuple[Remote, ...]

    @classmethod
    def parse(cls, text: str, name: str = "ovpn", read: Callable[[str], bytes] | None = None) -> Profile:
        """Read the text of a configuration file.

        Raises:
            ProfileError: naming ``name``, the line and the value.
        """
        raise NotImplementedError
