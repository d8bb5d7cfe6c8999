"""OpenVPN configuration files (.ovpn), read for a client.

What it answers: which servers, which keys, which names must match, which timers; and what of the file is not obeyed.

A file is read in three steps: cut into directives (words, inline blocks), each directive looked up in one of three
tables (obeyed, ignored, refused; ``directives.py`` holds the latter two), then all checked against each other.
An error is one line: ``client.ovpn:12: proto 'sctp': not one of …``.

Files are not opened here: ``read`` is handed in, so a profile can come from anywhere. ``inlined`` turns a file that
refers to others into one that holds everything.

Standards: OpenVPN options.c (add_option, options_postprocess), crypto.c read_key_file, tls_crypt.c
tls_crypt_v2_init_client_key; PROTOCOL.md sections 3.5, 3.6, 13, 14.2.
Not here: IPv6 transport, proxies, static-key mode, anything of a server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Literal, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from glassgate.contract.configuration import LARGEST_MTU, SMALLEST_MTU, Cipher
from glassgate.reference.openvpn import directives
from glassgate.reference.openvpn.key_exchange import Credentials
from glassgate.reference.openvpn.tls import NameCheck, PrivateKey, TlsSettings
from glassgate.reference.openvpn.words import WordsError, words
from glassgate.reference.openvpn.wrapping import (
    STATIC_KEY_OCTETS,
    StaticKey,
    Wrap,
    WrapPlain,
    WrapTlsAuth,
    WrapTlsCrypt,
    WrapTlsCryptV2,
)

DEFAULT_PORT = 1194
DEFAULT_MTU = 1500
MOST_WORDS = 16
LARGEST_WORD = 255
DEEPEST_INCLUSION = 10
LONGEST_SHOWN = 80

Read = Callable[[str], bytes]
"""Opens a file that a profile names, and gives its octets; raises OSError."""


class ProfileError(ValueError):
    """A configuration file that cannot be used: one line that names file, line, directive and value."""


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
        for directive in _directives(text, name, read):
            draft.take(directive)
        return draft.finish()

    def ignores(self, option: str) -> bool:
        """Whether ``pull-filter`` takes a pushed option away; the first that fits decides (apply_pull_filter).

        Raises:
            ProfileError: the option is to be rejected, and with it the session.
        """
        for pull_filter in self.pull_filters:
            if option.lstrip().startswith(pull_filter.text):
                if pull_filter.action == "reject":
                    raise ProfileError(f"the server pushes {option!r}, which 'pull-filter reject' forbids")
                return pull_filter.action == "ignore"
        return False


# ── step 1: directives ───────────────────────────────────────────────────────────────────────────────────────────────


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


def _directives(text: str, name: str, read: Read | None, depth: int = 1) -> Iterator[Directive]:
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
    text = _open(directive, path, read).decode("utf-8", "replace")
    yield from _directives(text, path, read, depth + 1)


def _open(directive: Directive, path: str, read: Read | None) -> bytes:
    if read is None:
        raise directive.error("files cannot be opened here: put its contents inline")
    try:
        return read(path)
    except OSError as error:
        raise directive.error(error.strerror or "cannot be opened") from None


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
        return _open(directive, path or directive.value(0), self.read)

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
    for entry in _directives(directive.inline or "", directive.file, draft.read):
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
    """``setenv opt X``: X, if it is known. ``UV_…`` and ``IV_…`` are for the server, the rest for scripts."""
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
"""The directives that are acted on. Which of them take a file is told by ``_FILES`` below."""

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
        return WrapTlsCrypt(_static_key(directive, content))
    if directive.name == "tls-crypt-v2":
        return _client_key(directive, content)
    digest, direction = draft.fields.get("digest", "sha1"), draft.fields.get("key_direction")
    assert isinstance(digest, str)
    assert direction is None or isinstance(direction, int)
    if digest == "none":
        raise directive.error("needs a digest, and 'auth' is 'none'", show=False)
    return WrapTlsAuth(_static_key(directive, content), digest, direction)


_STATIC_KEY = re.compile(
    rb"-----BEGIN OpenVPN Static key V1-----\s*([0-9a-fA-F\s]*?)\s*-----END OpenVPN Static key V1-----"
)
_CLIENT_KEY = re.compile(
    rb"-----BEGIN OpenVPN tls-crypt-v2 client key-----\s*"
    rb"([A-Za-z0-9+/=\s]*?)"
    rb"\s*-----END OpenVPN tls-crypt-v2 client key-----"
)


def _static_key(directive: Directive, content: bytes) -> StaticKey:
    match = _STATIC_KEY.search(content)
    octets = bytes.fromhex(b"".join(match[1].split()).decode()) if match and _is_even(match[1]) else b""
    if len(octets) != STATIC_KEY_OCTETS:
        raise directive.error("holds no OpenVPN static key of 2048 bits", show=directive.inline is None)
    return StaticKey(octets)


def _is_even(digits: bytes) -> bool:
    return len(b"".join(digits.split())) % 2 == 0


def _client_key(directive: Directive, content: bytes) -> WrapTlsCryptV2:
    """The client's own key, then the same as only the server can open it; the last two octets tell its length."""
    match = _CLIENT_KEY.search(content)
    try:
        octets = base64.b64decode(b"".join(match[1].split()), validate=True) if match else b""
    except binascii.Error:
        octets = b""
    key, wrapped = octets[:STATIC_KEY_OCTETS], octets[STATIC_KEY_OCTETS:]
    if not 290 <= len(wrapped) <= 1024 or int.from_bytes(wrapped[-2:], "big") != len(wrapped):
        raise directive.error("holds no tls-crypt-v2 client key", show=directive.inline is None)
    return WrapTlsCryptV2(StaticKey(key), wrapped)


def _credentials(draft: _Draft) -> Credentials | None:
    directive = draft.last.get("auth-user-pass")
    if directive is None:
        return None
    if draft.asked_credentials is None:
        raise directive.error("names no file, and there is nobody to ask: give a file or a <auth-user-pass> block")
    return draft.asked_credentials


def _tls_settings(draft: _Draft) -> TlsSettings:
    if "pkcs12" in draft.contents:
        _unpack_pkcs12(draft)
    settings = TlsSettings(
        authorities=_certificates(draft, "ca"),
        chain=_certificates(draft, "cert")[1:] + _certificates(draft, "extra-certs"),
        certificate=next(iter(_certificates(draft, "cert")), None),
        private_key=_private_key(draft),
        revocations=_revocations(draft),
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


def _certificates(draft: _Draft, name: str) -> tuple[x509.Certificate, ...]:
    if name not in draft.contents:
        return ()
    directive, content = draft.contents[name]
    try:
        return tuple(x509.load_pem_x509_certificates(content))
    except ValueError:
        raise directive.error("holds no readable PEM certificate", show=directive.inline is None) from None


def _private_key(draft: _Draft) -> PrivateKey | None:
    if "key" not in draft.contents:
        return None
    directive, content = draft.contents["key"]
    shown = directive.inline is None
    encrypted = b"ENCRYPTED" in content
    if encrypted and "askpass" not in draft.contents:
        raise directive.error("is encrypted: give its password with 'askpass FILE'", show=shown)
    try:
        key = serialization.load_pem_private_key(content, _password(draft) if encrypted else None)
    except ValueError:
        problem = "cannot be decrypted with the password of 'askpass'" if encrypted else "holds no readable PEM key"
        raise directive.error(problem, show=shown) from None
    return _usable(directive, key)


def _usable(directive: Directive, key: object) -> PrivateKey:
    if not isinstance(
        key,
        rsa.RSAPrivateKey
        | ec.EllipticCurvePrivateKey
        | ed25519.Ed25519PrivateKey
        | ed448.Ed448PrivateKey
        | dsa.DSAPrivateKey,
    ):
        raise directive.error("is a key of a kind that TLS does not sign with", show=directive.inline is None)
    return key


def _password(draft: _Draft) -> bytes:
    return draft.contents["askpass"][1].split(b"\n")[0].rstrip(b"\r")


def _unpack_pkcs12(draft: _Draft) -> None:
    """Authorities, certificate and key from one file; as a block it is base64 (ssl_openssl.c tls_ctx_load_pkcs12)."""
    directive, content = draft.contents["pkcs12"]
    password = _password(draft) if "askpass" in draft.contents else None
    try:
        octets = base64.b64decode(content) if directive.inline is not None else content
        bundle = pkcs12.load_pkcs12(octets, password)
    except (ValueError, binascii.Error):
        raise directive.error("cannot be read: no PKCS #12, or not the password of 'askpass'", show=False) from None
    if bundle.key is None or bundle.cert is None:
        raise directive.error("holds no certificate with its key", show=False)
    encoding = serialization.Encoding.PEM
    plain = bundle.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    draft.contents["key"] = (directive, plain)
    draft.contents["cert"] = (directive, bundle.cert.certificate.public_bytes(encoding))
    authorities = b"".join(other.certificate.public_bytes(encoding) for other in bundle.additional_certs)
    if authorities:
        draft.contents.setdefault("ca", (directive, authorities))


_REVOCATIONS = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def _revocations(draft: _Draft) -> tuple[x509.CertificateRevocationList, ...]:
    if "crl-verify" not in draft.contents:
        return ()
    directive, content = draft.contents["crl-verify"]
    try:
        lists = tuple(x509.load_pem_x509_crl(block) for block in _REVOCATIONS.findall(content))
    except ValueError:
        lists = ()
    if not lists:
        raise directive.error("holds no readable PEM certificate revocation list", show=directive.inline is None)
    return lists


# ── a file without others ────────────────────────────────────────────────────────────────────────────────────────────

_FILES = frozenset(
    (
        "ca",
        "cert",
        "extra-certs",
        "key",
        "askpass",
        "crl-verify",
        "tls-auth",
        "tls-crypt",
        "tls-crypt-v2",
        "auth-user-pass",
    )
)


def asks_for_credentials(text: str, name: str, read: Read) -> bool:
    """Whether the file leaves user name and password to a person.

    Raises:
        ProfileError: a file cannot be opened or the text cannot be cut into directives.
    """
    return any(
        directive.name == "auth-user-pass" and not directive.values and directive.inline is None
        for directive in _directives(text, name, read)
    )


def inlined(
    text: str,
    name: str,
    read: Read,
    credentials: Credentials | None = None,
    resolve: Callable[[str], str] = lambda host: host,
) -> str:
    """The same profile with the contents of all files in it, so that it can be read elsewhere.

    ``resolve`` turns the names of remotes into addresses, for a gateway that cannot look names up.

    Raises:
        ProfileError: a file cannot be opened, a name not be looked up, or the text not be cut into directives.
    """
    written = _Writer(read, credentials, resolve)
    return "".join(written.directive(directive) for directive in _directives(text, name, read))


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes directives with nothing left to look up."""

    read: Read
    credentials: Credentials | None
    resolve: Callable[[str], str]

    def directive(self, directive: Directive) -> str:
        name, values = directive.name, directive.values
        if name == "connection" and directive.inline is not None:
            inner = _directives(directive.inline, directive.file, self.read)
            return f"<{name}>\n{''.join(map(self.directive, inner))}</{name}>\n"
        if directive.inline is not None:
            return f"<{name}>\n{directive.inline}</{name}>\n"
        if name == "auth-user-pass" and not values and self.credentials is not None:
            return f"<{name}>\n{self.credentials.username}\n{self.credentials.password}\n</{name}>\n"
        if name == "remote" and values:
            values = (self._address(directive), *values[1:])
        elif name == "pkcs12" and values:
            bundle = base64.encodebytes(_open(directive, values[0], self.read)).decode()
            return f"<{name}>\n{bundle}</{name}>\n"
        elif name in _FILES and values:
            return self._file(directive)
        return " ".join((name, *map(_quoted, values))) + "\n"

    def _file(self, directive: Directive) -> str:
        """The file that a directive names, as a block; a key's direction becomes a directive of its own."""
        name, values = directive.name, directive.values
        content = _open(directive, values[0], self.read).decode("utf-8", "replace").removesuffix("\n")
        direction = f"key-direction {values[1]}\n" if name == "tls-auth" and len(values) > 1 else ""
        return f"<{name}>\n{content}\n</{name}>\n{direction}"

    def _address(self, directive: Directive) -> str:
        try:
            return self.resolve(directive.values[0])
        except OSError as error:
            raise directive.error(error.strerror or "this name is unknown") from None


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
