"""OpenVPN configuration files (.ovpn), read for a client.

What it answers: which servers, which keys, which names must match, which timers; and what of the file is not obeyed.

A file is read in three steps: cut into directives (``directives.py``), each directive looked up in one of three tables
(obeyed, here; ignored or refused, there), then all checked against each other (keys and certificates by
``key_files.py``). Files are not opened here: ``read`` is handed in, so a profile can come from anywhere, and
``inlining.py`` makes one that holds everything.

Standards: OpenVPN options.c (add_option, options_postprocess_verify_ce); PROTOCOL.md sections 13, 14.2.
Not here: IPv6 transport, proxies, static-key mode, anything of a server.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Address
from typing import Literal, NoReturn

from glassgate.contract.configuration import LARGEST_MTU, SMALLEST_MTU, Cipher
from glassgate.reference.openvpn import directives
from glassgate.reference.openvpn.directives import Directive, Read, open_file, read_directives
from glassgate.reference.openvpn.directives import ProfileError as ProfileError
from glassgate.reference.openvpn.inlining import asks_for_credentials as asks_for_credentials
from glassgate.reference.openvpn.inlining import inlined as inlined
from glassgate.reference.openvpn.key_exchange import Credentials as Credentials
from glassgate.reference.openvpn.key_files import (
    certificates,
    client_key,
    private_key,
    revocations,
    static_key,
    unpack_pkcs12,
)
from glassgate.reference.openvpn.tls import NameCheck, TlsSettings, validity_problem
from glassgate.reference.openvpn.wrapping import Wrap, WrapPlain, WrapTlsAuth, WrapTlsCrypt

DEFAULT_PORT = 1194
DEFAULT_MTU = 1500
LARGEST_CREDENTIALS = 1500
"""User name and password share 2048 octets with random octets, options and peer info (PROTOCOL.md 7)."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A server to connect to. ``host`` is an address or a name; names are for the driver to resolve."""

    host: str
    port: int
    proto: Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class PullFilter:
    """``pull-filter``: what to do with pushed options that begin with ``text``."""

    action: Literal["accept", "ignore", "reject"]
    text: str


@dataclass(frozen=True, slots=True)
class Mssfix:
    """``mssfix``: the largest outer packet, and which headers count for it (PROTOCOL 14.2)."""

    octets: int
    mode: Literal["tunnel", "mtu", "fixed"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a configuration file says, checked."""

    name: str
    """The file's name, for messages."""
    remotes: tuple[Remote, ...]
    wrap: Wrap = field(default_factory=WrapPlain)
    tls: TlsSettings = field(default_factory=TlsSettings)
    digest: str = "sha1"
    """``auth``, by hashlib's name. Only tls-auth uses it."""
    key_direction: int | None = None
    data_ciphers: tuple[Cipher, ...] = (Cipher.AES_256_GCM, Cipher.AES_128_GCM, Cipher.CHACHA20_POLY1305)
    fallback_cipher: Cipher | None = None
    """For a server that does not choose (``data-ciphers-fallback``, ``cipher``)."""
    credentials: Credentials | None = None
    retry_authentication: bool = False
    """``auth-retry nointeract``: come back after AUTH_FAILED."""
    peer_info: tuple[tuple[str, str], ...] = ()
    exports_keys: bool = True
    """Whether to tell the server that data keys may come from TLS (``tls-ekm``); else they come from the PRF."""
    mtu: int = DEFAULT_MTU
    mssfix: Mssfix | None = None
    topology: str = "net30"
    ifconfig: tuple[str, str] | None = None
    """The tunnel's address, for a server that pushes none."""
    ping: float = 0.0
    """Seconds; 0 means never, here and in the timers below."""
    ping_restart: float | None = None
    """None: the default, which is 120 s over UDP until the server pushes another (init.c)."""
    ping_exit: float = 0.0
    inactive: float = 0.0
    inactive_octets: int = 0
    session_timeout: float = 0.0
    explicit_exit_notify: int = 0
    hand_window: float = 60.0
    tran_window: float = 3600.0
    renegotiate_seconds: float = 3600.0
    renegotiate_octets: int = 0
    renegotiate_packets: int = 0
    tls_timeout: float = 2.0
    connect_retry: float = 1.0
    connect_retry_longest: float = 60.0
    connect_timeout: float = 120.0
    attempts: int = 0
    """``connect-retry-max``: rounds through all remotes; 0 means no end."""
    largest_control_packet: int = 1250
    """``max-packet-size``: a control packet with IP and UDP headers."""
    pull_filters: tuple[PullFilter, ...] = ()
    reports: tuple[str, ...] = ()
    """What of the file is not obeyed: file, line, directive, reason."""

    @classmethod
    def parse(
        cls, text: str, name: str = "ovpn", read: Read | None = None, credentials: Credentials | None = None
    ) -> Profile:
        """Read the text of a configuration file.

        Args:
            text: the file's contents.
            name: what messages call it.
            read: opens the files that it names; None: everything must be inline.
            credentials: user name and password where the file leaves them to a person.

        Raises:
            ProfileError: the file cannot be used.
        """
        draft = _Draft(name, read, credentials)
        for directive in read_directives(text, name, read):
            draft.take(directive)
        return draft.finish()

    def warnings(self, at: datetime) -> list[str]:
        """What is wrong with it at a time. A certificate may be renewed while this runs: it is told, not refused."""
        certificate = self.tls.certificate
        problem = None if certificate is None else validity_problem(certificate, at)
        return [] if problem is None else [f"{self.name}: cert: this client's certificate {problem}"]

    def ignores(self, option: str) -> bool:
        """Whether ``pull-filter`` takes a pushed option away; the first that fits decides (apply_pull_filter).

        Raises:
            ProfileError: the option is to be rejected, and with it the session.
        """
        for pull_filter in self.pull_filters:
            if option.lstrip().startswith(pull_filter.text):
                if pull_filter.action == "reject":
                    raise ProfileError(f"the server pushes what 'pull-filter reject \"{pull_filter.text}\"' forbids")
                return pull_filter.action == "ignore"
        return False


# ── step 2: each directive on its own ────────────────────────────────────────────────────────────────────────────────


class _Draft:
    """A profile in the making: values by field name, and what must wait until the whole file is read."""

    def __init__(self, name: str, read: Read | None, credentials: Credentials | None) -> None:
        self.name = name
        self.read = read
        self.fields: dict[str, object] = {}
        self.tls: dict[str, object] = {}
        self.remotes: list[tuple[Directive, str, int | None, str | None]] = []
        self.port = DEFAULT_PORT
        self.proto = "udp"
        self.asked_credentials = credentials
        self.contents: dict[str, tuple[Directive, bytes]] = {}
        """Files and inline blocks by directive: ``ca``, ``cert``, ``key`` …"""
        self.last: dict[str, Directive] = {}
        """The last directive of each name."""
        self.optional: set[str] = set()
        self.pull_filters: list[PullFilter] = []
        self.peer_info: list[tuple[str, str]] = []
        self.reports: list[str] = []

    def take(self, directive: Directive) -> None:
        """Obey, ignore or refuse one directive."""
        name = directive.name
        if name in OBEYED:
            OBEYED[name](self, directive)
            self.last[name] = directive
        elif name in directives.IGNORED:
            self.report(directive, f"ignored: {directives.IGNORED[name]}")
        elif name in directives.REFUSED:
            raise directive.error(directives.REFUSED[name], show=directive.inline is None)
        elif name in self.optional:
            self.report(directive, "ignored: unknown, and the file says that it may be")
        else:
            raise directive.error("unknown directive", show=directive.inline is None)

    def report(self, directive: Directive, reason: str) -> None:
        """Note that a directive is not obeyed."""
        self.reports.append(f"{directive.file}:{directive.line}: {directive.name}: {reason}")

    def content(self, directive: Directive, path: str | None = None) -> bytes:
        """What an inline block holds, or the file that the first value names."""
        if directive.inline is not None:
            return directive.inline.encode()
        return open_file(directive, path or directive.value(0), self.read)

    def finish(self) -> Profile:
        """Step 3: what only the whole file can tell."""
        return Profile(
            name=self.name,
            remotes=_remotes(self),
            wrap=_wrap(self),
            tls=_tls_settings(self),
            credentials=_credentials(self),
            peer_info=tuple(self.peer_info) if "push-peer-info" in self.last else (),
            pull_filters=tuple(self.pull_filters),
            reports=tuple(self.reports),
            **self.fields,  # type: ignore[arg-type]  # each was made for the field of its name
        )


Handler = Callable[[_Draft, Directive], None]


def _nothing(draft: _Draft, directive: Directive) -> None:
    """What is so anyway, or is looked at in step 3."""


def _content(draft: _Draft, directive: Directive) -> None:
    draft.contents[directive.name] = (directive, draft.content(directive))


def _remote(draft: _Draft, directive: Directive) -> None:
    port = directive.integer(1, 1, 65535) if len(directive.values) > 1 else None
    proto = _proto_value(directive, 2) if len(directive.values) > 2 else None
    draft.remotes.append((directive, directive.value(0), port, proto))


def _port(draft: _Draft, directive: Directive) -> None:
    draft.port = directive.integer(0, 1, 65535)


def _proto(draft: _Draft, directive: Directive) -> None:
    draft.proto = _proto_value(directive, 0)


def _proto_value(directive: Directive, index: int) -> str:
    value = directive.value(index)
    if "6" in value:
        raise directive.error("IPv6 transport is not supported")
    if value in ("tcp-server", "tcp4-server"):
        raise directive.error("this is a client")
    known = {"udp": "udp", "udp4": "udp", "tcp": "tcp", "tcp4": "tcp", "tcp-client": "tcp", "tcp4-client": "tcp"}
    if value not in known:
        raise directive.error(f"{value!r} is not one of {', '.join(known)}")
    return known[value]


def _connection(draft: _Draft, directive: Directive) -> None:
    """A block with a remote of its own (options.c, CE options)."""
    inner = _Draft(draft.name, draft.read, None)
    inner.port, inner.proto, inner.optional = draft.port, draft.proto, draft.optional
    for entry in read_directives(directive.inline or "", directive.file, draft.read):
        shifted = replace(entry, line=directive.line + entry.line)
        if shifted.name not in ("remote", "proto", "port", "rport") and shifted.name in OBEYED:
            raise shifted.error("not supported in <connection>: put it outside")
        inner.take(shifted)
    if len(inner.remotes) != 1:
        raise directive.error(f"needs exactly one 'remote', has {len(inner.remotes)}", show=False)
    entry, host, port, proto = inner.remotes[0]
    draft.remotes.append((entry, host, port or inner.port, proto or inner.proto))
    draft.reports += inner.reports


def _dev(draft: _Draft, directive: Directive) -> None:
    value = directive.value(0)
    if "dev-type" not in draft.last and not value.startswith(("tun", "null")):
        raise directive.error("only tun is supported" if value.startswith("tap") else "needs 'dev-type tun' before it")


def _dev_type(draft: _Draft, directive: Directive) -> None:
    if directive.value(0) != "tun":
        raise directive.error("only tun is supported")


def _mode(draft: _Draft, directive: Directive) -> None:
    if directive.value(0) != "p2p":
        raise directive.error("this is a client")


def _key_direction(draft: _Draft, directive: Directive) -> None:
    draft.fields["key_direction"] = int(directive.choice(0, ("0", "1")))


def _tls_auth(draft: _Draft, directive: Directive) -> None:
    _content(draft, directive)
    if directive.inline is None and len(directive.values) > 1:
        draft.fields["key_direction"] = int(directive.choice(1, ("0", "1")))


def _auth(draft: _Draft, directive: Directive) -> None:
    name = directive.value(0)
    if name == "none":
        draft.fields["digest"] = "none"
        return
    digest = name.lower().removeprefix("rsa-").replace("-", "")
    if (
        digest not in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
        or digest not in hashlib.algorithms_available
    ):
        raise directive.error(f"{name!r} is not one of SHA1, SHA224, SHA256, SHA384, SHA512, MD5, none")
    draft.fields["digest"] = digest


def _data_ciphers(draft: _Draft, directive: Directive) -> None:
    offered = []
    for name in directive.value(0).split(":"):
        if cipher := _cipher(name.removeprefix("?")):
            offered.append(cipher)
        else:
            draft.report(directive, f"{name} is not offered: only {', '.join(Cipher)} are supported")
    if not offered:
        raise directive.error(f"none of these is supported; supported are {':'.join(Cipher)}")
    draft.fields["data_ciphers"] = tuple(dict.fromkeys(offered))


def _fallback_cipher(draft: _Draft, directive: Directive) -> None:
    cipher = _cipher(directive.value(0))
    if cipher is None:
        draft.report(directive, "not supported: the server must agree to one of 'data-ciphers'")
    draft.fields["fallback_cipher"] = cipher


def _cipher(name: str) -> Cipher | None:
    try:
        return Cipher(name.upper())
    except ValueError:
        return None


def _remote_cert_tls(draft: _Draft, directive: Directive) -> None:
    if directive.choice(0, ("server", "client")) == "client":
        raise directive.error("the peer of a client is a server")
    draft.tls["remote_cert_tls"] = True


def _verify_x509_name(draft: _Draft, directive: Directive) -> None:
    draft.tls["name"] = directive.value(0)
    kinds = tuple(kind.value for kind in NameCheck)
    draft.tls["name_check"] = NameCheck(directive.choice(1, kinds)) if len(directive.values) > 1 else NameCheck.SUBJECT


def _peer_fingerprint(draft: _Draft, directive: Directive) -> None:
    lines = directive.inline.split() if directive.inline is not None else [directive.value(0)]
    prints = []
    for line in lines:
        try:
            octets = bytes.fromhex(line.replace(":", ""))
        except ValueError:
            octets = b""
        if len(octets) != 32:
            raise directive.error(f"{line!r} is not a SHA-256 in hexadecimal", show=False)
        prints.append(octets)
    known = draft.tls.get("fingerprints", ())
    assert isinstance(known, tuple)
    draft.tls["fingerprints"] = (*known, *prints)


def _crl_verify(draft: _Draft, directive: Directive) -> None:
    if len(directive.values) > 1:
        raise directive.error("a directory of revocations is not supported: name one PEM file")
    _content(draft, directive)


def _tls_version_min(draft: _Draft, directive: Directive) -> None:
    draft.tls["least_version"] = directive.choice(0, ("1.0", "1.1", "1.2", "1.3"))


def _tls_version_max(draft: _Draft, directive: Directive) -> None:
    draft.tls["largest_version"] = directive.choice(0, ("1.0", "1.1", "1.2", "1.3"))


def _tls_cipher(draft: _Draft, directive: Directive) -> None:
    draft.tls["cipher_list"] = ":".join(_openssl_name(name) for name in directive.value(0).split(":"))


def _openssl_name(name: str) -> str:
    """OpenSSL's name of a TLS 1.2 cipher that OpenVPN writes by IANA's (ssl.c tls_cipher_name_pairs)."""
    match = re.fullmatch(
        r"TLS-(ECDHE-RSA|ECDHE-ECDSA|DHE-RSA)-WITH-(AES|CHACHA20)-?(\d+)?-?(GCM|CBC|POLY1305)-?(SHA\d*)", name
    )
    if match is None:
        return name
    exchange, algorithm, bits, mode, digest = match.groups()
    if algorithm == "CHACHA20":
        return f"{exchange}-CHACHA20-POLY1305"
    return f"{exchange}-AES{bits}-{'GCM-' if mode == 'GCM' else ''}{digest}"


def _tls_ciphersuites(draft: _Draft, directive: Directive) -> None:
    draft.tls["ciphersuites"] = directive.value(0)


def _tls_cert_profile(draft: _Draft, directive: Directive) -> None:
    levels = {"insecure": 0, "legacy": 1, "preferred": 2, "suiteb": 3}
    draft.tls["security_level"] = levels[directive.choice(0, tuple(levels))]


def _auth_user_pass(draft: _Draft, directive: Directive) -> None:
    """Two lines: user name, password. Without a file they come from a person (misc.c get_user_pass)."""
    if directive.inline is None and not directive.values:
        return
    lines = draft.content(directive).decode("utf-8", "replace").splitlines()
    if len(lines) < 2 or not lines[0]:
        raise directive.error("needs two lines: user name and password", show=directive.inline is None)
    draft.asked_credentials = Credentials(lines[0], lines[1])


def _auth_retry(draft: _Draft, directive: Directive) -> None:
    draft.fields["retry_authentication"] = directive.choice(0, ("none", "nointeract", "interact")) == "nointeract"


def _askpass(draft: _Draft, directive: Directive) -> None:
    if directive.inline is None and not directive.values:
        raise directive.error("needs a file: there is nobody to ask")
    _content(draft, directive)


def _keepalive(draft: _Draft, directive: Directive) -> None:
    draft.fields["ping"] = directive.seconds(0)
    draft.fields["ping_restart"] = directive.seconds(1)
    draft.fields["ping_exit"] = 0.0


def _ping_restart(draft: _Draft, directive: Directive) -> None:
    draft.fields["ping_restart"], draft.fields["ping_exit"] = directive.seconds(0), 0.0


def _ping_exit(draft: _Draft, directive: Directive) -> None:
    draft.fields["ping_exit"], draft.fields["ping_restart"] = directive.seconds(0), 0.0


def _inactive(draft: _Draft, directive: Directive) -> None:
    draft.fields["inactive"] = directive.seconds(0)
    draft.fields["inactive_octets"] = directive.integer(1, 0, 2**63) if len(directive.values) > 1 else 0


def _explicit_exit_notify(draft: _Draft, directive: Directive) -> None:
    draft.fields["explicit_exit_notify"] = directive.integer(0, 0, 100) if directive.values else 1


def _connect_retry(draft: _Draft, directive: Directive) -> None:
    draft.fields["connect_retry"] = float(directive.integer(0, 1, 65535))
    if len(directive.values) > 1:
        draft.fields["connect_retry_longest"] = float(directive.integer(1, 1, 65535))


def _mssfix(draft: _Draft, directive: Directive) -> None:
    if not directive.values:
        draft.fields["mssfix"] = Mssfix(1492, "mtu")  # options.c options_set_backwards_compatible_options
        return
    octets = directive.integer(0, 0, 65535)
    mode = directive.choice(1, ("mtu", "fixed")) if len(directive.values) > 1 else "tunnel"
    draft.fields["mssfix"] = Mssfix(octets, mode) if octets else None  # type: ignore[arg-type]  # the three words


def _pull_filter(draft: _Draft, directive: Directive) -> None:
    action = directive.choice(0, ("accept", "ignore", "reject"))
    draft.pull_filters.append(PullFilter(action, directive.value(1)))  # type: ignore[arg-type]  # the three words


def _setenv(draft: _Draft, directive: Directive) -> None:
    """``setenv opt X``: X, if it is known. ``UV_…`` and ``IV_…`` are for the server, the rest for scripts.

    One name is our own, for OpenVPN has no directive for it: ``GLASSGATE_KEY_DERIVATION`` with ``prf`` keeps quiet
    about the TLS exporter, so that any server makes its data keys as those before 2.6 did (PROTOCOL 8.2).
    """
    name = directive.value(0)
    if name == "opt":
        inner = replace(directive, name=directive.value(1), values=directive.values[2:])
        known = inner.name in OBEYED or inner.name in directives.IGNORED or inner.name in directives.REFUSED
        if known:
            draft.take(inner)
        else:
            draft.report(inner, "ignored: unknown, and the file says that it may be")
    elif name == "CLIENT_CERT" and directive.values[1:] == ("0",):
        draft.last["setenv CLIENT_CERT 0"] = directive
    elif name == "GLASSGATE_KEY_DERIVATION":
        draft.fields["exports_keys"] = directive.choice(1, ("tls-ekm", "prf")) == "tls-ekm"
    elif name.startswith(("UV_", "IV_GUI_VER", "IV_SSO")):
        draft.peer_info.append((name, directive.value(1)))
    else:
        draft.report(directive, "ignored: scripts are not run")


def _ifconfig(draft: _Draft, directive: Directive) -> None:
    addresses = directive.value(0), directive.value(1)
    for address in addresses:
        try:
            IPv4Address(address)
        except ValueError:
            raise directive.error(f"{address!r} is not an IPv4 address") from None
    draft.fields["ifconfig"] = addresses


def _ignore_unknown_option(draft: _Draft, directive: Directive) -> None:
    draft.optional.update(directive.values)


def _whole(name: str, low: int, high: int) -> Handler:
    """A handler for a directive with one whole number."""

    def handler(draft: _Draft, directive: Directive) -> None:
        draft.fields[name] = directive.integer(0, low, high)

    return handler


def _time(name: str) -> Handler:
    """A handler for a directive with one time in seconds."""

    def handler(draft: _Draft, directive: Directive) -> None:
        draft.fields[name] = directive.seconds(0)

    return handler


def _word(name: str, choices: tuple[str, ...]) -> Handler:
    """A handler for a directive with one of several words."""

    def handler(draft: _Draft, directive: Directive) -> None:
        draft.fields[name] = directive.choice(0, choices)

    return handler


OBEYED: dict[str, Handler] = {
    "client": _nothing,
    "pull": _nothing,
    "tls-client": _nothing,
    "push-peer-info": _nothing,
    "mode": _mode,
    "dev": _dev,
    "dev-type": _dev_type,
    "topology": _word("topology", ("subnet", "net30", "p2p")),
    "ifconfig": _ifconfig,
    "remote": _remote,
    "port": _port,
    "rport": _port,
    "proto": _proto,
    "connection": _connection,
    "connect-retry": _connect_retry,
    "connect-retry-max": _whole("attempts", 0, 2**31 - 1),
    "connect-timeout": _time("connect_timeout"),
    "server-poll-timeout": _time("connect_timeout"),
    "ca": _content,
    "cert": _content,
    "extra-certs": _content,
    "key": _content,
    "pkcs12": _content,
    "askpass": _askpass,
    "crl-verify": _crl_verify,
    "remote-cert-tls": _remote_cert_tls,
    "verify-x509-name": _verify_x509_name,
    "peer-fingerprint": _peer_fingerprint,
    "tls-version-min": _tls_version_min,
    "tls-version-max": _tls_version_max,
    "tls-cipher": _tls_cipher,
    "tls-ciphersuites": _tls_ciphersuites,
    "tls-cert-profile": _tls_cert_profile,
    "tls-auth": _tls_auth,
    "tls-crypt": _content,
    "tls-crypt-v2": _content,
    "key-direction": _key_direction,
    "auth": _auth,
    "cipher": _fallback_cipher,
    "data-ciphers": _data_ciphers,
    "ncp-ciphers": _data_ciphers,
    "data-ciphers-fallback": _fallback_cipher,
    "auth-user-pass": _auth_user_pass,
    "auth-retry": _auth_retry,
    "tun-mtu": _whole("mtu", SMALLEST_MTU, LARGEST_MTU),
    "mssfix": _mssfix,
    "max-packet-size": _whole("largest_control_packet", 154, 1500),
    "ping": _time("ping"),
    "ping-restart": _ping_restart,
    "ping-exit": _ping_exit,
    "ping-timer-rem": _nothing,
    "keepalive": _keepalive,
    "inactive": _inactive,
    "session-timeout": _time("session_timeout"),
    "explicit-exit-notify": _explicit_exit_notify,
    "hand-window": _time("hand_window"),
    "tran-window": _time("tran_window"),
    "reneg-sec": _time("renegotiate_seconds"),
    "reneg-bytes": _whole("renegotiate_octets", 0, 2**63),
    "reneg-pkts": _whole("renegotiate_packets", 0, 2**63),
    "tls-timeout": _time("tls_timeout"),
    "pull-filter": _pull_filter,
    "setenv": _setenv,
    "ignore-unknown-option": _ignore_unknown_option,
}
"""The directives that are acted on."""

# ── step 3: all together ─────────────────────────────────────────────────────────────────────────────────────────────


def _missing(draft: _Draft, problem: str) -> NoReturn:
    raise ProfileError(f"{draft.name}: {problem}")


def _remotes(draft: _Draft) -> tuple[Remote, ...]:
    if "client" not in draft.last and "pull" not in draft.last:
        _missing(draft, "client: is missing; only clients that pull their settings are supported")
    if not draft.remotes:
        _missing(draft, "remote: is missing")
    if "dev" not in draft.last and "dev-type" not in draft.last:
        _missing(draft, "dev: is missing; 'dev tun' is meant")
    return tuple(
        Remote(host, port or draft.port, "tcp" if (proto or draft.proto) == "tcp" else "udp")
        for _, host, port, proto in draft.remotes
    )


def _wrap(draft: _Draft) -> Wrap:
    given = [name for name in ("tls-auth", "tls-crypt", "tls-crypt-v2") if name in draft.contents]
    if len(given) > 1:
        raise draft.contents[given[1]][0].error(f"cannot be together with '{given[0]}'", show=False)
    if not given:
        return WrapPlain()
    directive, content = draft.contents[given[0]]
    if directive.name == "tls-crypt":
        return WrapTlsCrypt(static_key(directive, content))
    if directive.name == "tls-crypt-v2":
        return client_key(directive, content)
    digest, direction = draft.fields.get("digest", "sha1"), draft.fields.get("key_direction")
    assert isinstance(digest, str)
    assert direction is None or isinstance(direction, int)
    if digest == "none":
        raise directive.error("needs a digest, and 'auth' is 'none'", show=False)
    return WrapTlsAuth(static_key(directive, content), digest, direction)


def _credentials(draft: _Draft) -> Credentials | None:
    directive = draft.last.get("auth-user-pass")
    if directive is None:
        return None
    if draft.asked_credentials is None:
        raise directive.error("names no file, and there is nobody to ask: give a file or a <auth-user-pass> block")
    given = draft.asked_credentials
    if len(given.username.encode()) + len(given.password.encode()) > LARGEST_CREDENTIALS:
        problem = f"user name and password are longer than {LARGEST_CREDENTIALS} octets together"
        raise directive.error(problem, show=directive.inline is None)
    return given


def _tls_settings(draft: _Draft) -> TlsSettings:
    if "pkcs12" in draft.contents:
        unpack_pkcs12(draft.contents)
    settings = TlsSettings(
        authorities=certificates(draft.contents, "ca"),
        chain=certificates(draft.contents, "cert")[1:] + certificates(draft.contents, "extra-certs"),
        certificate=next(iter(certificates(draft.contents, "cert")), None),
        private_key=private_key(draft.contents),
        revocations=revocations(draft.contents),
        **draft.tls,  # type: ignore[arg-type]  # each was made for the field of its name
    )
    _check_identity(draft, settings)
    if not settings.authorities and not settings.fingerprints:
        _missing(draft, "ca: is missing: without it (or 'peer-fingerprint') no server can be verified")
    if not (settings.remote_cert_tls or settings.name or settings.fingerprints):
        draft.reports.append(
            f"{draft.name}: neither 'remote-cert-tls server' nor 'verify-x509-name': "
            "any certificate of 'ca' is taken for the server's"
        )
    return settings


def _check_identity(draft: _Draft, settings: TlsSettings) -> None:
    """Certificate and key come together, and belong together."""
    certificate, key = settings.certificate, settings.private_key
    if (certificate is None) != (key is None):
        _missing(draft, f"{'cert' if certificate is None else 'key'}: is missing: certificate and key come together")
    if certificate is None and "auth-user-pass" not in draft.last and "setenv CLIENT_CERT 0" not in draft.last:
        _missing(draft, "cert: is missing, and so is 'auth-user-pass': the server could not know this client")
    if certificate is not None and key is not None and certificate.public_key() != key.public_key():
        raise draft.contents["key"][0].error("is not the key of the certificate in 'cert'", show=False)
