"""TLS through memory buffers: octets in, octets out, and the question of who the server is.

What it answers: is the server one that the profile trusts; what does it say; which keying material do both share?
Below is the reliability layer, whose payloads are one stream of octets each way; above is key method 2, and after it
the control strings. Each key id has a TLS session of its own; the client is the TLS client in all of them.

The TLS library is OpenSSL by way of pyOpenSSL, for ``ssl`` cannot export keying material. It draws its own randomness,
and reads the clock for the validity of certificates unless it is told a time.

Standards: RFC 8446, RFC 5246; RFC 5705 (exporter); RFC 5280 (path, CRL); OpenVPN ssl_openssl.c, ssl_verify.c
verify_peer_cert, ssl_verify_openssl.c verify_callback; PROTOCOL.md section 6.
Not here: session resumption, TLS renegotiation and compression, which OpenVPN switches off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)

LARGEST_RECORD = 16384
"""RFC 8446 5.1: one read gives the plaintext of one record at most."""

# X509_V_ERR_… of OpenSSL's x509_vfy.h; others are told by their number.
_UNABLE_TO_GET_CRL = 3
VERIFY_ERRORS = {
    2: "its issuer's certificate is not in the profile ('ca')",
    3: "no certificate revocation list of its issuer is in the profile ('crl-verify')",
    7: "its signature is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    11: "the certificate revocation list is not valid yet",
    12: "the certificate revocation list has expired",
    18: "it is self-signed and not in the profile ('ca')",
    19: "its chain ends in a certificate that is not in the profile ('ca')",
    20: "its issuer's certificate is not in the profile ('ca')",
    21: "its issuer's certificate is not in the profile ('ca')",
    23: "it is revoked",
    24: "an issuer in its chain is no certificate authority",
    26: "it is not for TLS servers",
    66: "its key is too small",
    67: "a key in its chain is too small",
    68: "a digest in its chain is too weak",
}


class TlsFailed(Exception):
    """The TLS session cannot go on."""


class NameCheck(StrEnum):
    """What ``verify-x509-name`` compares."""

    SUBJECT = "subject"
    NAME = "name"
    NAME_PREFIX = "name-prefix"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What the profile says of TLS."""

    authorities: tuple[x509.Certificate, ...] = ()
    certificate: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = ()
    """Certificates between ours and an authority, sent along."""
    private_key: PrivateKey | None = field(default=None, repr=False)
    revocations: tuple[x509.CertificateRevocationList, ...] = ()
    remote_cert_tls: bool = False
    """``remote-cert-tls server``: the certificate says itself that it is a TLS server's."""
    name: str | None = None
    name_check: NameCheck = NameCheck.SUBJECT
    fingerprints: tuple[bytes, ...] = ()
    """``peer-fingerprint``: SHA-256 of the server certificates that are accepted."""
    least_version: str = "1.2"
    largest_version: str | None = None
    cipher_list: str | None = None
    ciphersuites: str | None = None
    security_level: int | None = None
    """``tls-cert-profile``; None leaves the library's."""
    verify_at: datetime | None = None
    """The time for which certificates must be valid; None: the TLS library's own clock."""


_VERSIONS = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}


class TlsClient:
    """One TLS session over memory buffers."""

    def __init__(self, settings: TlsSettings) -> None:
        self._refusal: str | None = None
        self._settings = settings
        self._connection = SSL.Connection(self._context(), None)
        self._connection.set_connect_state()
        self.established = False

    def receive(self, ciphertext: bytes) -> None:
        """Take octets of the stream.

        Raises:
            TlsFailed: the handshake cannot go on, or the server is not who it should be.
        """
        if ciphertext:
            self._connection.bio_write(ciphertext)

    def handshake(self) -> None:
        """Go on with the handshake as far as what was received allows.

        Raises:
            TlsFailed: the handshake cannot go on, or the server is not who it should be.
        """
        if self.established:
            return
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise TlsFailed(self._reason(error)) from None
        self.established = True

    def records(self) -> Iterator[bytes]:
        """The plaintext of each record that has arrived whole.

        Raises:
            TlsFailed: a record is broken, or the server closed the TLS session.
        """
        while self.established:
            try:
                yield self._connection.recv(LARGEST_RECORD)
            except SSL.WantReadError:
                return
            except SSL.ZeroReturnError:
                raise TlsFailed("the server closed the TLS session") from None
            except SSL.Error as error:
                raise TlsFailed(self._reason(error)) from None

    def write(self, plaintext: bytes) -> None:
        """Say something, in one record.

        Raises:
            TlsFailed: the TLS session is over.
        """
        assert len(plaintext) <= LARGEST_RECORD
        try:
            self._connection.send(plaintext)
        except SSL.Error as error:
            raise TlsFailed(self._reason(error)) from None

    def ciphertext(self) -> bytes:
        """What the TLS session wants to send; nothing is left after it."""
        pieces = []
        while True:
            try:
                pieces.append(self._connection.bio_read(LARGEST_RECORD))
            except SSL.WantReadError:
                return b"".join(pieces)

    def export(self, label: bytes, octets: int) -> bytes:
        """Keying material that both sides share and nobody else (RFC 5705, without context)."""
        return self._connection.export_keying_material(label, octets)

    @property
    def description(self) -> str:
        """Protocol version and cipher, for a person."""
        return f"{self._connection.get_protocol_version_name()} {self._connection.get_cipher_name()}"

    # ── who the server is ────────────────────────────────────────────────────────────────────────────────────────────

    def _verify(self, connection: SSL.Connection, found: crypto.X509, error: int, depth: int, accepted: int) -> bool:
        """OpenSSL asks for each certificate of the chain, from the authority's to the server's (depth 0)."""
        certificate = found.to_cryptography()
        refusal = self._chain_refusal(error, depth) if not accepted else None
        if refusal is None and depth == 0:
            refusal = server_refusal(certificate, self._settings)
        if refusal is not None and self._refusal is None:
            self._refusal = f"the certificate of {subject(certificate)!r} is refused: {refusal}"
        return refusal is None

    def _chain_refusal(self, error: int, depth: int) -> str | None:
        if self._settings.fingerprints and not self._settings.authorities:
            return None  # ssl_verify_openssl.c verify_callback: the fingerprint stands for the chain
        if error == _UNABLE_TO_GET_CRL and depth > 0:
            return None  # the stock program lets it pass at any depth; here the server's issuer must have one
        return VERIFY_ERRORS.get(error, f"OpenSSL's verification error {error}")

    def _reason(self, error: SSL.Error) -> str:
        if self._refusal is not None:
            return self._refusal
        reasons = [entry[2] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
        return "TLS: " + ("; ".join(filter(None, reasons)) or "the handshake failed")

    # ── what OpenSSL is told ─────────────────────────────────────────────────────────────────────────────────────────

    def _context(self) -> SSL.Context:
        settings = self._settings
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if settings.cipher_list is not None or settings.security_level is not None:
            level = "" if settings.security_level is None else f":@SECLEVEL={settings.security_level}"
            context.set_cipher_list(f"{settings.cipher_list or 'DEFAULT'}{level}".encode())
        if settings.ciphersuites is not None:
            context.set_tls13_ciphersuites(settings.ciphersuites.encode())
        context.set_min_proto_version(_VERSIONS[settings.least_version])
        if settings.largest_version is not None:
            context.set_max_proto_version(_VERSIONS[settings.largest_version])
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
        context.set_verify(SSL.VERIFY_PEER, self._verify)
        if settings.certificate is not None and settings.private_key is not None:
            context.use_certificate(settings.certificate)
            context.use_privatekey(settings.private_key)
            for certificate in settings.chain:
                context.add_extra_chain_cert(certificate)
        self._fill_store(context.get_cert_store())
        return context

    def _fill_store(self, store: crypto.X509Store | None) -> None:
        assert store is not None
        settings = self._settings
        for authority in settings.authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        if settings.revocations:
            for revocations in settings.revocations:
                store.add_crl(revocations)
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
        if settings.verify_at is not None:
            store.set_time(settings.verify_at.astimezone(UTC).replace(tzinfo=None))


def server_refusal(certificate: x509.Certificate, settings: TlsSettings) -> str | None:
    """Why a certificate is not that of the server meant; None if it is (ssl_verify.c verify_peer_cert)."""
    if settings.fingerprints and certificate.fingerprint(SHA256()) not in settings.fingerprints:
        return "its SHA-256 is none of 'peer-fingerprint'"
    if settings.remote_cert_tls:
        if not _has_key_usage(certificate):
            return "it has no key usage, which 'remote-cert-tls server' demands"
        if not _is_for_servers(certificate):
            return "its extended key usage is not TLS server authentication ('remote-cert-tls server')"
    return _name_refusal(certificate, settings)


def _name_refusal(certificate: x509.Certificate, settings: TlsSettings) -> str | None:
    if settings.name is None:
        return None
    if settings.name_check is NameCheck.SUBJECT:
        found = subject(certificate)
        matches = found == settings.name
    else:
        found = common_name(certificate)
        matches = (
            found.startswith(settings.name)
            if settings.name_check is NameCheck.NAME_PREFIX
            else (found == settings.name)
        )
    return None if matches else f"its {settings.name_check} is {found!r}, not {settings.name!r} ('verify-x509-name')"


def _has_key_usage(certificate: x509.Certificate) -> bool:
    try:
        certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return False
    return True


def _is_for_servers(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in usage.value


def validity_problem(certificate: x509.Certificate, at: datetime) -> str | None:
    """Why a certificate counts for nothing at a time; None if it does (ssl_openssl.c tls_ctx_check_cert_time)."""
    if at < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
    if at > certificate.not_valid_after_utc:
        return f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    return None


# OpenSSL's short names (objects.txt), for X509_NAME_print_ex as the stock program calls it.
_SHORT_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    NameOID.STREET_ADDRESS: "street",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.DN_QUALIFIER: "dnQualifier",
}


def subject(certificate: x509.Certificate) -> str:
    """The subject as the stock program writes it, such as ``C=DE, O=Example, CN=server``."""
    return ", ".join(
        " + ".join(f"{_SHORT_NAMES.get(part.oid, part.oid.dotted_string)}={part.value!s}" for part in name)
        for name in certificate.subject.rdns
    )


def common_name(certificate: x509.Certificate) -> str:
    """The last common name of the subject; empty if there is none (ssl_verify_openssl.c extract_x509_field_ssl)."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[-1].value) if names else ""
