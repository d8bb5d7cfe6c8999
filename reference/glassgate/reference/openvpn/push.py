"""What the server pushes: the tunnel's address, the cipher, the timers, and much that a gateway has no use for.

What it answers: which options hold for this session?
``PUSH_REPLY,option,option,…`` comes as a control string; a list too long for one is continued in the next, and only
the last part makes it whole. Each option is written as in a configuration file.

Every option is obeyed, or reported with the reason why not, or refuses the session where going on would be wrong.

Standards: PROTOCOL.md section 9; OpenVPN push.c process_incoming_push_msg, options.c apply_push_options and add_option.
Not here: PUSH_UPDATE, which is not asked for (IV_PROTO).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

from glassgate.contract.configuration import LARGEST_MTU, SMALLEST_MTU, Cipher
from glassgate.reference.openvpn.words import WordsError, words

CONTINUED = "push-continuation 2"
LAST_PART = "push-continuation 1"
MOST_OPTIONS = 4096
"""Parts of a continued list are kept until the last; a list with more options than this is refused."""


class PushRefused(Exception):
    """What was pushed cannot be obeyed, and ignoring it would be wrong."""


@dataclass(slots=True)
class Pushed:
    """The options of one session, with what holds where nothing is pushed."""

    address: IPv4Interface | None = None
    cipher: Cipher | None = None
    peer_id: int | None = None
    mtu: int | None = None
    tls_key_export: bool = False
    dynamic_tls_crypt: bool = False
    exit_notify: bool = False
    """``cc-exit``: an exit is told by a control string."""
    ping: float | None = None
    ping_restart: float | None = None
    ping_exit: float | None = None
    inactive: float | None = None
    inactive_octets: int = 0
    session_timeout: float | None = None
    explicit_exit_notify: int | None = None
    auth_token: str | None = field(default=None, repr=False)
    auth_token_user: str | None = field(default=None, repr=False)
    reports: list[str] = field(default_factory=list)
    """Options that are not obeyed, each with its reason."""
    topology: str | None = None
    ifconfig: tuple[str, str] | None = None


class PushReply:
    """The parts of a pushed list, until the last one is there."""

    def __init__(self) -> None:
        self._options: list[str] = []

    def add(self, message: str) -> list[str] | None:
        """Take one ``PUSH_REPLY`` string. Gives all options once the list is complete, else None.

        Raises:
            PushRefused: the list is too long.
        """
        options = message.split(",")[1:]
        self._options += [option for option in options if option not in (CONTINUED, LAST_PART)]
        if len(self._options) > MOST_OPTIONS:
            raise PushRefused(f"the server pushes more than {MOST_OPTIONS} options")
        if CONTINUED in options:
            return None
        complete, self._options = self._options, []
        return complete


def read_options(
    options: list[str],
    topology: str = "net30",
    ifconfig: tuple[str, str] | None = None,
    ignore: Callable[[str], bool] = lambda option: False,
) -> Pushed:
    """Read pushed options.

    ``topology`` and ``ifconfig`` hold if none is pushed; ``ignore`` is the profile's ``pull-filter``.

    Raises:
        PushRefused: an option cannot be obeyed, and ignoring it would be wrong.
    """
    pushed = Pushed(topology=topology, ifconfig=ifconfig)
    for option in options:
        try:
            name, *values = words(option) or [""]
        except WordsError as error:
            pushed.reports.append(f"{option.split()[0]}: {error}")
            continue
        if ignore(option):
            pushed.reports.append(f"{shown(name, values)}: ignored by 'pull-filter'")
        else:
            _read_option(pushed, name, values)
    pushed.address = _address(pushed)
    return pushed


SECRETS = frozenset(("auth-token", "auth-token-user", "setenv-safe", "echo", "parameter"))
"""Options whose values are nobody's business, or may be."""


def shown(name: str, values: list[str]) -> str:
    """An option as it may be told to anybody."""
    return f"{name} …" if name in SECRETS and values else " ".join([name, *values])


def _read_option(pushed: Pushed, name: str, values: list[str]) -> None:
    """One option: obeyed, refused or reported."""
    if name in REFUSED:
        raise PushRefused(f"the server pushes '{shown(name, values)}': {REFUSED[name]}")
    if name in NOT_NEEDED:
        pushed.reports.append(f"{shown(name, values)}: {NOT_NEEDED[name]}")
        return
    if name not in OBEYED:
        pushed.reports.append(f"{shown(name, values)}: unknown")
        return
    try:
        OBEYED[name](pushed, values)
    except (ValueError, IndexError):
        raise PushRefused(f"the server pushes '{shown(name, values)}', which cannot be read") from None


def _address(pushed: Pushed) -> IPv4Interface | None:
    """The tunnel's address: with a mask in a subnet, with the peer's address otherwise (helper.c, tun.c init_tun)."""
    if pushed.ifconfig is None:
        return None
    local, remote = pushed.ifconfig
    try:
        if pushed.topology == "subnet":
            return IPv4Interface(f"{local}/{remote}")
        IPv4Address(remote)
        return IPv4Interface(f"{local}/{30 if pushed.topology == 'net30' else 32}")
    except ValueError:
        raise PushRefused(
            f"the server pushes 'ifconfig {local} {remote}', no address for topology {pushed.topology}"
        ) from None


# ── obeyed ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _ifconfig(pushed: Pushed, values: list[str]) -> None:
    pushed.ifconfig = (values[0], values[1])


def _topology(pushed: Pushed, values: list[str]) -> None:
    if values[0] not in ("subnet", "net30", "p2p"):
        raise ValueError
    pushed.topology = values[0]


def _cipher(pushed: Pushed, values: list[str]) -> None:
    try:
        pushed.cipher = Cipher(values[0].upper())
    except ValueError:
        raise PushRefused(f"the server chose the cipher {values[0]!r}, which was not offered") from None


def _peer_id(pushed: Pushed, values: list[str]) -> None:
    pushed.peer_id = _between(values[0], 0, 0xFFFFFF)


def _tun_mtu(pushed: Pushed, values: list[str]) -> None:
    pushed.mtu = _between(values[0], SMALLEST_MTU, LARGEST_MTU)


def _protocol_flags(pushed: Pushed, values: list[str]) -> None:
    for flag in values:
        if flag == "tls-ekm":
            pushed.tls_key_export = True
        elif flag == "dyn-tls-crypt":
            pushed.dynamic_tls_crypt = True
        elif flag == "cc-exit":
            pushed.exit_notify = True
        elif flag == "aead-epoch":  # 2.7's other packet format, not offered in IV_PROTO
            raise PushRefused("the server pushes 'protocol-flags aead-epoch', which was not offered")
        else:
            pushed.reports.append(f"protocol-flags {flag}: unknown")


def _key_derivation(pushed: Pushed, values: list[str]) -> None:
    if values != ["tls-ekm"]:
        raise PushRefused(f"the server pushes 'key-derivation {' '.join(values)}', which is unknown")
    pushed.tls_key_export = True


def _ping(pushed: Pushed, values: list[str]) -> None:
    pushed.ping = _seconds(values[0])


def _ping_restart(pushed: Pushed, values: list[str]) -> None:
    pushed.ping_restart, pushed.ping_exit = _seconds(values[0]), 0.0  # one timer: the later option holds


def _ping_exit(pushed: Pushed, values: list[str]) -> None:
    pushed.ping_exit, pushed.ping_restart = _seconds(values[0]), 0.0


def _inactive(pushed: Pushed, values: list[str]) -> None:
    pushed.inactive = _seconds(values[0])
    pushed.inactive_octets = _between(values[1], 0, 2**63) if len(values) > 1 else 0


def _session_timeout(pushed: Pushed, values: list[str]) -> None:
    pushed.session_timeout = _seconds(values[0])


def _explicit_exit_notify(pushed: Pushed, values: list[str]) -> None:
    pushed.explicit_exit_notify = _between(values[0], 0, 100) if values else 1


def _auth_token(pushed: Pushed, values: list[str]) -> None:
    pushed.auth_token = values[0]


def _auth_token_user(pushed: Pushed, values: list[str]) -> None:
    try:
        pushed.auth_token_user = base64.b64decode(values[0], validate=True).decode()
    except binascii.Error:
        raise ValueError from None


def _between(text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ValueError
    return int(text)


def _seconds(text: str) -> float:
    return float(_between(text, 0, 2**31 - 1))


OBEYED: dict[str, Callable[[Pushed, list[str]], None]] = {
    "ifconfig": _ifconfig,
    "topology": _topology,
    "cipher": _cipher,
    "peer-id": _peer_id,
    "tun-mtu": _tun_mtu,
    "protocol-flags": _protocol_flags,
    "key-derivation": _key_derivation,
    "ping": _ping,
    "ping-restart": _ping_restart,
    "ping-exit": _ping_exit,
    "inactive": _inactive,
    "session-timeout": _session_timeout,
    "explicit-exit-notify": _explicit_exit_notify,
    "auth-token": _auth_token,
    "auth-token-user": _auth_token_user,
}

_ALL_GOES_THROUGH = "not needed: all that is not internal goes through the tunnel"
_HOSTS_OWN = "not for a gateway: its hosts keep their own settings"
_NO_IPV6 = "IPv6 in the tunnel is out of scope"
_OWN_SOCKET = "the transport has its own settings"
NOT_NEEDED: dict[str, str] = {
    "route": _ALL_GOES_THROUGH,
    "route-gateway": _ALL_GOES_THROUGH,
    "route-metric": _ALL_GOES_THROUGH,
    "route-delay": _ALL_GOES_THROUGH,
    "redirect-gateway": _ALL_GOES_THROUGH,
    "redirect-private": _ALL_GOES_THROUGH,
    "ifconfig-ipv6": _NO_IPV6,
    "route-ipv6": _NO_IPV6,
    "tun-ipv6": _NO_IPV6,
    "block-ipv6": _NO_IPV6,
    "dhcp-option": _HOSTS_OWN,
    "dns": _HOSTS_OWN,
    "block-outside-dns": _HOSTS_OWN,
    "register-dns": _HOSTS_OWN,
    "sndbuf": _OWN_SOCKET,
    "rcvbuf": _OWN_SOCKET,
    "socket-flags": _OWN_SOCKET,
    "persist-tun": "there is no tun device to keep",
    "persist-key": "keys are kept in memory anyway",
    "verb": "the log's level is set at the command line",
    "mute": "the log's level is set at the command line",
    "echo": "for a person or a program beside",
    "parameter": "for a person or a program beside",
    "setenv-safe": "no scripts are run",
    "ping-timer-rem": "the timer runs once connected",
    "client-nat": "addresses are not translated",
    "shaper": "the rate is not limited",
    "ip-win32": "a matter of Windows",
    "": "empty",
}
"""Options that a server may push and a gateway does without, each with the reason."""

_COMPRESSION = "compression is not supported (and not safe): take it out of the server's configuration"
REFUSED: dict[str, str] = {
    "comp-lzo": _COMPRESSION,
    "compress": _COMPRESSION,
    "comp-noadapt": _COMPRESSION,
    "fragment": "OpenVPN's own fragmentation is not supported",
    "auth": "a data channel with a separate hash is not supported",
}
"""Options that change what is on the wire in a way that is not spoken here."""
