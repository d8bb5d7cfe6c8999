"""A configuration file that refers to others, turned into one that holds everything.

What it answers: how does a profile travel to a gateway that opens no files and looks no names up?

Standards: OpenVPN options.c check_inline_file.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from glassgate.reference.openvpn.directives import Directive, Read, open_file, read_directives
from glassgate.reference.openvpn.key_exchange import Credentials

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
        for directive in read_directives(text, name, read)
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
    return "".join(written.directive(directive) for directive in read_directives(text, name, read))


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes directives with nothing left to look up."""

    read: Read
    credentials: Credentials | None
    resolve: Callable[[str], str]

    def directive(self, directive: Directive) -> str:
        name, values = directive.name, directive.values
        if name == "connection" and directive.inline is not None:
            inner = read_directives(directive.inline, directive.file, self.read)
            return f"<{name}>\n{''.join(map(self.directive, inner))}</{name}>\n"
        if directive.inline is not None:
            return f"<{name}>\n{directive.inline}</{name}>\n"
        if name == "auth-user-pass" and not values and self.credentials is not None:
            return f"<{name}>\n{self.credentials.username}\n{self.credentials.password}\n</{name}>\n"
        if name == "remote" and values:
            values = (self._address(directive), *values[1:])
        elif name == "pkcs12" and values:
            bundle = base64.encodebytes(open_file(directive, values[0], self.read)).decode()
            return f"<{name}>\n{bundle}</{name}>\n"
        elif name in _FILES and values:
            return self._file(directive)
        return " ".join((name, *map(_quoted, values))) + "\n"

    def _file(self, directive: Directive) -> str:
        """The file that a directive names, as a block; a key's direction becomes a directive of its own."""
        name, values = directive.name, directive.values
        content = open_file(directive, values[0], self.read).decode("utf-8", "replace").removesuffix("\n")
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
