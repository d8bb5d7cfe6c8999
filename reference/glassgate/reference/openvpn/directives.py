"""A configuration file cut into directives; and those that this client does not act on, each with the reason.

What it answers: which directive, in which line, with which values or which block? An error is one line, and begins
with it: ``client.ovpn:12: proto 'sctp': not one of …``.

Three treatments, and every directive has exactly one: obeyed (the table in ``profile.py``), ignored because
nothing is lost by it (reported all the same), refused because ignoring it would weaken security or break the tunnel.
What is in none of the tables is refused as unknown, as the stock program does, unless the file itself says
``ignore-unknown-option`` or ``setenv opt``.

Standards: OpenVPN options.c (read_config_file, read_inline_file; add_option for the names), 2.6.14.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from glassgate.reference.openvpn.words import WordsError, words

MOST_WORDS = 16
LARGEST_WORD = 255
DEEPEST_INCLUSION = 10
LONGEST_SHOWN = 80

Read = Callable[[str], bytes]
"""Opens a file that a profile names, and gives its octets; raises OSError."""


class ProfileError(ValueError):
    """A configuration file that cannot be used: one line that names file, line, directive and value."""


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of the file, or one inline block."""

    file: str
    line: int
    name: str
    values: tuple[str, ...]
    inline: str | None = field(default=None, repr=False)

    def error(self, problem: str, *, show: bool = True) -> ProfileError:
        """The error that this directive makes; ``show`` false leaves out values that may be secret."""
        values = "".join(f" {value!r}" for value in self.values) if show else ""
        return ProfileError(f"{self.file}:{self.line}: {_shown(self.name)}{values}: {problem}")

    def value(self, index: int) -> str:
        """A value that must be there."""
        if index >= len(self.values):
            raise self.error("a value is missing")
        return self.values[index]

    def integer(self, index: int, low: int, high: int) -> int:
        """A whole number in a range."""
        text = self.value(index)
        if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
            raise self.error(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    def seconds(self, index: int) -> float:
        """A time in whole seconds."""
        return float(self.integer(index, 0, 2**31 - 1))

    def choice(self, index: int, choices: tuple[str, ...]) -> str:
        """One of several words."""
        text = self.value(index)
        if text not in choices:
            raise self.error(f"{text!r} is not one of {', '.join(choices)}")
        return text


def _shown(text: str) -> str:
    """Text of the file as one short line, whatever it holds."""
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return text if text.isprintable() else ascii(text)


def read_directives(text: str, name: str, read: Read | None, depth: int = 1) -> Iterator[Directive]:
    """Each directive in the order of the file; ``config FILE`` is replaced by that file's."""
    lines = iter(enumerate(text.removeprefix("\ufeff").splitlines(), start=1))
    for number, line in lines:
        try:
            found = words(line)
        except WordsError as error:
            raise ProfileError(f"{name}:{number}: {_shown(line.strip())}: {error}") from None
        if not found:
            continue
        directive = Directive(name, number, found[0].removeprefix("--"), tuple(found[1:]))
        _check_size(directive)
        block = re.fullmatch(r"<([^/>]+)>", found[0])
        if block and len(found) == 1:
            yield replace(directive, name=block[1], inline=_inline_block(directive, block[1], lines))
        elif directive.name == "config":
            yield from _included(directive, read, depth)
        else:
            yield directive


def _check_size(directive: Directive) -> None:
    if len(directive.values) > MOST_WORDS - 1:
        raise directive.error(f"more than {MOST_WORDS - 1} values")
    if any(len(value) > LARGEST_WORD for value in directive.values):
        raise directive.error(f"a value is longer than {LARGEST_WORD} characters", show=False)


def _inline_block(directive: Directive, name: str, lines: Iterator[tuple[int, str]]) -> str:
    """The lines up to the closing tag (options.c read_inline_file)."""
    block: list[str] = []
    for _, line in lines:
        if line.lstrip().startswith(f"</{name}>"):
            return "".join(f"{kept}\n" for kept in block)
        block.append(line)
    raise directive.error(f"no closing </{name}>")


def _included(directive: Directive, read: Read | None, depth: int) -> Iterator[Directive]:
    if depth >= DEEPEST_INCLUSION:
        raise directive.error(f"files include each other more than {DEEPEST_INCLUSION} deep")
    path = directive.value(0)
    text = open_file(directive, path, read).decode("utf-8", "replace")
    yield from read_directives(text, path, read, depth + 1)


def open_file(directive: Directive, path: str, read: Read | None) -> bytes:
    """What a file holds that a directive names.

    Raises:
        ProfileError: it cannot be opened.
    """
    if read is None:
        raise directive.error("files cannot be opened here: put its contents inline")
    try:
        return read(path)
    except OSError as error:
        raise directive.error(error.strerror or "cannot be opened") from None


# ── what is not acted on ─────────────────────────────────────────────────────────────────────────────────────────────

_ALL_THROUGH = "all that is not internal goes through the tunnel anyway"
_NO_DEVICE = "there is no tun device here"
_NO_SCRIPT = "scripts are not run"
_NO_IPV6 = "IPv6 in the tunnel is out of scope"
_LOGGING = "logging is set at the command line"
_PROCESS = "the process is looked after from outside"
_HOSTS_OWN = "hosts behind a gateway keep their own settings"
_EPHEMERAL = "the transport leaves from an ephemeral port"
_SOCKET = "the socket keeps its defaults"
_SERVER_ONLY = "only a server needs it"
_NO_MANAGEMENT = "there is no management interface"

IGNORED: dict[str, str] = {
    "nobind": _EPHEMERAL,
    "bind": _EPHEMERAL,
    "lport": _EPHEMERAL,
    "local": _EPHEMERAL,
    "multihome": _EPHEMERAL,
    "resolv-retry": "names are looked up at each attempt",
    "preresolve": "names are looked up at each attempt",
    "remote-random": "servers are tried in the order of the file",
    "remote-random-hostname": "names are looked up as they are",
    "persist-key": "keys are kept in memory anyway",
    "persist-tun": _NO_DEVICE,
    "persist-local-ip": _NO_DEVICE,
    "persist-remote-ip": "names are looked up at each attempt",
    "float": "the transport is connected to one address",
    "route": _ALL_THROUGH,
    "route-gateway": _ALL_THROUGH,
    "route-metric": _ALL_THROUGH,
    "route-method": _ALL_THROUGH,
    "route-delay": _ALL_THROUGH,
    "route-nopull": _ALL_THROUGH,
    "route-noexec": _ALL_THROUGH,
    "max-routes": _ALL_THROUGH,
    "allow-pull-fqdn": _ALL_THROUGH,
    "redirect-gateway": _ALL_THROUGH,
    "redirect-private": _ALL_THROUGH,
    "allow-recursive-routing": _ALL_THROUGH,
    "ifconfig-noexec": _NO_DEVICE,
    "ifconfig-nowarn": _NO_DEVICE,
    "dev-node": _NO_DEVICE,
    "lladdr": _NO_DEVICE,
    "txqueuelen": _NO_DEVICE,
    "disable-dco": _NO_DEVICE,
    "windows-driver": _NO_DEVICE,
    "iproute": _NO_DEVICE,
    "ip-win32": _NO_DEVICE,
    "tap-sleep": _NO_DEVICE,
    "dhcp-renew": _NO_DEVICE,
    "dhcp-release": _NO_DEVICE,
    "register-dns": _HOSTS_OWN,
    "dhcp-option": _HOSTS_OWN,
    "dns": _HOSTS_OWN,
    "block-outside-dns": _HOSTS_OWN,
    "ifconfig-ipv6": _NO_IPV6,
    "route-ipv6": _NO_IPV6,
    "route-ipv6-gateway": _NO_IPV6,
    "tun-ipv6": _NO_IPV6,
    "block-ipv6": _NO_IPV6,
    "up": _NO_SCRIPT,
    "down": _NO_SCRIPT,
    "down-pre": _NO_SCRIPT,
    "up-delay": _NO_SCRIPT,
    "up-restart": _NO_SCRIPT,
    "route-up": _NO_SCRIPT,
    "route-pre-down": _NO_SCRIPT,
    "ipchange": _NO_SCRIPT,
    "script-security": _NO_SCRIPT,
    "tls-export-cert": _NO_SCRIPT,
    "x509-track": _NO_SCRIPT,
    "setenv-safe": _NO_SCRIPT,
    "verb": _LOGGING,
    "mute": _LOGGING,
    "mute-replay-warnings": _LOGGING,
    "log": _LOGGING,
    "log-append": _LOGGING,
    "syslog": _LOGGING,
    "status": _LOGGING,
    "status-version": _LOGGING,
    "suppress-timestamps": _LOGGING,
    "machine-readable-output": _LOGGING,
    "errors-to-stderr": _LOGGING,
    "echo": _LOGGING,
    "parameter": _LOGGING,
    "user": _PROCESS,
    "group": _PROCESS,
    "chroot": _PROCESS,
    "cd": _PROCESS,
    "daemon": _PROCESS,
    "nice": _PROCESS,
    "mlock": _PROCESS,
    "setcon": _PROCESS,
    "writepid": _PROCESS,
    "tmp-dir": _PROCESS,
    "service": _PROCESS,
    "pause-exit": _PROCESS,
    "remap-usr1": _PROCESS,
    "fast-io": _SOCKET,
    "sndbuf": _SOCKET,
    "rcvbuf": _SOCKET,
    "socket-flags": _SOCKET,
    "tcp-nodelay": _SOCKET,
    "tcp-queue-limit": _SOCKET,
    "mark": _SOCKET,
    "bind-dev": _SOCKET,
    "passtos": _SOCKET,
    "mtu-disc": _SOCKET,
    "ip-remote-hint": _SOCKET,
    "dh": _SERVER_ONLY,
    "ecdh-curve": _SERVER_ONLY,
    "allow-compression": "nothing is ever compressed",
    "auth-nocache": "the password is kept in memory for renegotiation",
    "single-session": "a client has one session",
    "tls-exit": "what ends a session is told in the log",
    "disable-occ": "options are compared by the server only",
    "opt-verify": "options are compared by the server only",
    "mtu-test": "the path MTU is left to the transport",
    "link-mtu": "the size inside the tunnel is 'tun-mtu'",
    "tun-mtu-max": "the size inside the tunnel is 'tun-mtu'",
    "replay-window": "the window is 64 packets",
    "replay-persist": "packet ids do not outlive their keys",
    "hash-size": _SERVER_ONLY,
    "bcast-buffers": _SERVER_ONLY,
    "engine": "cryptography is that of the Python packages",
    "providers": "cryptography is that of the Python packages",
    "prng": "randomness is the operating system's",
    "use-prediction-resistance": "randomness is the operating system's",
    "compat-mode": "what a server can do is negotiated",
    "compat-names": "names are compared as OpenVPN 2.3 and later do",
    "no-name-remapping": "names are compared as OpenVPN 2.3 and later do",
    "management": _NO_MANAGEMENT,
    "management-client": _NO_MANAGEMENT,
    "management-client-user": _NO_MANAGEMENT,
    "management-client-group": _NO_MANAGEMENT,
    "management-log-cache": _NO_MANAGEMENT,
    "management-forget-disconnect": _NO_MANAGEMENT,
    "management-signal": _NO_MANAGEMENT,
    "management-up-down": _NO_MANAGEMENT,
    "socks-proxy-retry": "there is no proxy",
    "http-proxy-retry": "there is no proxy",
    "http-proxy-timeout": "there is no proxy",
    "http-proxy-option": "there is no proxy",
}

_COMPRESSION = "compression is not supported (and not safe); the server must be set up without it, too"
_IS_SERVER = "this is a client"
_PROXY = "proxies are not supported"
_CERTIFICATES = "put PEM files into 'ca', 'cert' and 'key'"
_WEAKER = "ignoring it would weaken security"

REFUSED: dict[str, str] = {
    "secret": "static-key mode is not supported: it has no forward secrecy, and OpenVPN gives it up",
    "fragment": "OpenVPN's own fragmentation is not supported",
    "comp-lzo": _COMPRESSION,
    "compress": _COMPRESSION,
    "comp-noadapt": _COMPRESSION,
    "http-proxy": _PROXY,
    "http-proxy-user-pass": _PROXY,
    "http-proxy-override": _PROXY,
    "socks-proxy": _PROXY,
    "plugin": "plugins are not supported",
    "capath": _CERTIFICATES,
    "cryptoapicert": _CERTIFICATES,
    "pkcs11-providers": _CERTIFICATES,
    "pkcs11-id": _CERTIFICATES,
    "pkcs11-id-management": _CERTIFICATES,
    "management-external-key": _CERTIFICATES,
    "management-external-cert": _CERTIFICATES,
    "management-hold": "it would wait for a management interface, and there is none",
    "management-query-passwords": "it would wait for a management interface, and there is none",
    "management-query-remote": "it would wait for a management interface, and there is none",
    "management-query-proxy": "it would wait for a management interface, and there is none",
    "tls-verify": f"scripts are not run, and {_WEAKER}",
    "verify-hash": f"use 'peer-fingerprint' or 'verify-x509-name'; {_WEAKER}",
    "remote-cert-ku": f"use 'remote-cert-tls server'; {_WEAKER}",
    "remote-cert-eku": f"use 'remote-cert-tls server'; {_WEAKER}",
    "ns-cert-type": f"OpenVPN has given it up: use 'remote-cert-tls server'; {_WEAKER}",
    "x509-username-field": f"names are compared by common name; {_WEAKER}",
    "tls-groups": f"groups are those of the TLS library; {_WEAKER}",
    "force-tls-key-material-export": f"how keys are derived is the server's choice; {_WEAKER}",
    "keying-material-exporter": "there are no plugins to export to",
    "static-challenge": "it would need an answer from a person",
    "no-replay": "replay protection cannot be switched off",
    "mtu-dynamic": "OpenVPN's own fragmentation is not supported",
    "tun-mtu-extra": "it belongs to tap mode",
    "shaper": "the rate cannot be limited",
    "client-nat": "addresses are not translated",
    "tls-server": _IS_SERVER,
    "server": _IS_SERVER,
    "server-bridge": _IS_SERVER,
    "server-ipv6": _IS_SERVER,
    "push": _IS_SERVER,
    "client-config-dir": _IS_SERVER,
    "client-to-client": _IS_SERVER,
    "duplicate-cn": _IS_SERVER,
    "ifconfig-pool": _IS_SERVER,
    "ifconfig-push": _IS_SERVER,
    "iroute": _IS_SERVER,
    "max-clients": _IS_SERVER,
    "verify-client-cert": _IS_SERVER,
    "auth-user-pass-verify": _IS_SERVER,
    "auth-gen-token": _IS_SERVER,
    "tls-crypt-v2-verify": _IS_SERVER,
    "username-as-common-name": _IS_SERVER,
    "port-share": _IS_SERVER,
    "mktun": "it is a command, not a configuration",
    "rmtun": "it is a command, not a configuration",
    "genkey": "it is a command, not a configuration",
}
