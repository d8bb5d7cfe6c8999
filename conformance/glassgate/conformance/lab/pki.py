"""Keys and certificates of one lab: an authority, a server, a client, and the key of tls-crypt. Fresh each time.

Elliptic keys (P-256): made in a millisecond, and every OpenSSL that OpenVPN 2.6 runs with takes them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=1)
CLOCK_SKEW = timedelta(hours=1)
SERVER_NAME = "lab-server"
CLIENT_NAME = "lab-client"
STATIC_KEY_OCTETS = 256  # PROTOCOL: OpenVPN's static key file holds 2048 bits, 16 octets a line


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


class Authority:
    """A certificate authority that lives as long as the lab."""

    def __init__(self, name: str = "Glassgate lab") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        usage = _key_usage(signs_certificates=True)
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> str:
        """The authority's own certificate, PEM."""
        return _pem(self._certificate)

    def server(self, name: str = SERVER_NAME, lifetime: timedelta = LIFETIME) -> Credential:
        """A certificate for an OpenVPN server: ``remote-cert-tls server`` accepts it."""
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, lifetime)

    def client(self, name: str = CLIENT_NAME, lifetime: timedelta = LIFETIME) -> Credential:
        """A certificate for an OpenVPN client. A negative lifetime makes one that has expired."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, lifetime)

    def revocation_list(self, *revoked: Credential) -> str:
        """The list of the certificates that are no longer to be accepted, PEM."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(self._name, now - CLOCK_SKEW, now + LIFETIME)
        for credential in revoked:
            number = x509.load_pem_x509_certificate(credential.certificate.encode()).serial_number
            entry = x509.RevokedCertificateBuilder(number, now - CLOCK_SKEW).build()
            builder = builder.add_revoked_certificate(entry)
        return _pem(builder.sign(self._key, hashes.SHA256()))

    def _issue(self, name: str, purpose: x509.ObjectIdentifier, lifetime: timedelta) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_name(name), self._name, key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credential(_pem(certificate), private.decode())


def static_key() -> str:
    """A fresh key file of OpenVPN's own form, as ``openvpn --genkey secret`` writes it."""
    octets = secrets.token_bytes(STATIC_KEY_OCTETS).hex()
    lines = [octets[start : start + 32] for start in range(0, len(octets), 32)]
    return "\n".join(["-----BEGIN OpenVPN Static key V1-----", *lines, "-----END OpenVPN Static key V1-----", ""])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + lifetime) - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(signed: x509.Certificate | x509.CertificateRevocationList) -> str:
    return signed.public_bytes(serialization.Encoding.PEM).decode()
