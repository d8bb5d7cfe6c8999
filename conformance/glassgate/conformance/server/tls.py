"""TLS as the server, through memory buffers; and what the records on the wire are, for who watches.

The one thing here whose randomness is not an argument: the TLS library draws its own.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from glassgate.conformance.server.control import Refused

KEY_BLOCK_OCTETS = 256
DATA_KEYS_LABEL = b"EXPORTER-OpenVPN-datakeys"
DYNAMIC_WRAPPING_LABEL = b"EXPORTER-OpenVPN-dynamic-tls-crypt"
READ_OCTETS = 16384  # RFC 8446 5.1: no record holds more

TlsVersion = Literal["1.2", "1.3"]
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is, and whose clients it takes; all PEM."""

    authority: str
    certificate: str
    key: str


def server_context(identity: Identity, version: TlsVersion | None = None) -> SSL.Context:
    """The server's side of every handshake: a client needs a certificate of the authority. None: 1.2 and 1.3.

    Raises:
        ValueError, SSL.Error: a certificate or the key cannot be read, or they do not belong together.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[version or "1.2"])
    context.set_max_proto_version(_VERSIONS[version or "1.3"])
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(x509.load_pem_x509_certificate(identity.certificate.encode()))
    context.use_privatekey(load_pem_private_key(identity.key.encode(), None))  # type: ignore[arg-type]
    context.check_privatekey()
    store = context.get_cert_store()
    assert store is not None
    for authority in x509.load_pem_x509_certificates(identity.authority.encode()):
        store.add_cert(crypto.X509.from_cryptography(authority))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *arguments: bool(arguments[-1]))
    return context


class TlsServer:
    """One handshake and what is said under it."""

    def __init__(self, context: SSL.Context) -> None:
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self.is_up = False

    def receive(self, octets: bytes) -> list[bytes]:
        """Take octets of the stream; returns what the client wrote, one item for each record.

        Raises:
            Refused: the stream is broken, or the client is not to be trusted.
        """
        if octets:
            self._connection.bio_write(octets)
        written = []
        try:
            if not self.is_up:
                self._connection.do_handshake()
                self.is_up = True
            while True:
                written.append(self._connection.recv(READ_OCTETS))
        except SSL.WantReadError:
            return written
        except SSL.ZeroReturnError:
            return written  # close_notify: OpenVPN does without, and takes no notice
        except SSL.Error as error:
            raise Refused(f"TLS: {_words(error)}") from None

    def write(self, octets: bytes) -> None:
        """Say something to the client, as one record."""
        self._connection.send(octets)

    def take(self) -> bytes:
        """The octets of the stream that are to leave."""
        octets = b""
        try:
            while True:
                octets += self._connection.bio_read(65536)
        except SSL.WantReadError:
            return octets

    def export(self, label: bytes) -> bytes:
        """Keying material that both ends know (RFC 5705, RFC 8446 7.5)."""
        return self._connection.export_keying_material(label, KEY_BLOCK_OCTETS)

    @property
    def agreed(self) -> str:
        """Version and cipher suite, in a few words."""
        return f"{self._connection.get_protocol_version_name()}, {self._connection.get_cipher_name()}"


def _words(error: SSL.Error) -> str:
    """The library's own words."""
    reasons = [str(item[2]) for item in (error.args[0] if error.args else []) if isinstance(item, tuple)]
    return "; ".join(reasons) or "the stream is broken"


# ── the records on the wire ───────────────────────────────────────────────────────────────────────────────────────────

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
_RECORDS = {ALERT: "alert", APPLICATION_DATA: "encrypted record"}
_HANDSHAKES = {
    1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket", 11: "Certificate", 12: "ServerKeyExchange",
    13: "CertificateRequest", 14: "ServerHelloDone", 15: "CertificateVerify", 16: "ClientKeyExchange", 20: "Finished",
}  # fmt: skip


class RecordNames:
    """Names the TLS records of one direction as they pass, from what stands in clear."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._is_encrypted = False

    def names(self, octets: bytes) -> list[str]:
        """The records that begin, or go on, in the next octets of the stream."""
        found = []
        if self._left and octets:
            taken = min(self._left, len(octets))
            self._left -= taken
            octets = octets[taken:]
            found.append("a record goes on")
        stream, self._held = self._held + octets, b""
        while len(stream) >= 6:
            kind, length = stream[0], int.from_bytes(stream[3:5], "big")
            found.append(self._name(kind, stream[5 : 5 + length]))
            self._left = max(0, 5 + length - len(stream))
            stream = stream[5 + length :]
        self._held = stream
        return [_counted(name, len(list(same))) for name, same in itertools.groupby(found)]

    def _name(self, kind: int, content: bytes) -> str:
        if kind == CHANGE_CIPHER_SPEC:
            self._is_encrypted = True
            return "ChangeCipherSpec"
        if kind == HANDSHAKE and self._is_encrypted:
            return "Finished (encrypted)"
        if kind != HANDSHAKE:
            return _RECORDS.get(kind, f"record of type {kind}")
        names = []
        while len(content) >= 4:
            names.append(_HANDSHAKES.get(content[0], f"handshake message {content[0]}"))
            (length,) = struct.unpack("!I", b"\0" + content[1:4])
            content = content[4 + length :]
        return ", ".join(names) or "handshake"


def _counted(name: str, count: int) -> str:
    return name if count == 1 else f"{count} {name}s"
