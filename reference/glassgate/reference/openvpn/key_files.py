"""The keys and certificates that a configuration file holds or names: octets into values, or a line that says why not.

What it answers: is this a static key, a client's key, a certificate, a private key that belongs to it?
``contents`` are the octets by directive, with the directive that an error names.

Standards: OpenVPN crypto.c read_key_file, tls_crypt.c tls_crypt_v2_init_client_key, ssl_openssl.c tls_ctx_load_…;
PROTOCOL.md sections 3.5, 3.6; RFC 7468 (PEM), RFC 7292 (PKCS #12).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, MutableMapping

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from glassgate.reference.openvpn.directives import Directive
from glassgate.reference.openvpn.tls import PrivateKey
from glassgate.reference.openvpn.wrapping import STATIC_KEY_OCTETS, StaticKey, WrapTlsCryptV2

Contents = Mapping[str, tuple[Directive, bytes]]

SHORTEST_WRAPPED_KEY, LONGEST_WRAPPED_KEY = 290, 1024
"""Octets: tag, key and length, with no metadata or the most of it (tls_crypt.h TLS_CRYPT_V2_MAX_WKC_LEN)."""

_STATIC_KEY = re.compile(rb"-----BEGIN OpenVPN Static key V1-----([0-9a-fA-F\s]*)-----END OpenVPN Static key V1-----")
_CLIENT_KEY = re.compile(
    rb"-----BEGIN OpenVPN tls-crypt-v2 client key-----"
    rb"([A-Za-z0-9+/=\s]*)"
    rb"-----END OpenVPN tls-crypt-v2 client key-----"
)


def static_key(directive: Directive, content: bytes) -> StaticKey:
    """A static key of 2048 bits in hexadecimal; other text around it is ignored.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    match = _STATIC_KEY.search(content)
    octets = bytes.fromhex(b"".join(match[1].split()).decode()) if match and _is_even(match[1]) else b""
    if len(octets) != STATIC_KEY_OCTETS:
        raise directive.error("holds no OpenVPN static key of 2048 bits", show=directive.inline is None)
    return StaticKey(octets)


def _is_even(digits: bytes) -> bool:
    return len(b"".join(digits.split())) % 2 == 0


def client_key(directive: Directive, content: bytes) -> WrapTlsCryptV2:
    """The client's own key, then the same as only the server can open it; the last two octets tell its length.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    match = _CLIENT_KEY.search(content)
    try:
        octets = base64.b64decode(b"".join(match[1].split()), validate=True) if match else b""
    except binascii.Error:
        octets = b""
    key, wrapped = octets[:STATIC_KEY_OCTETS], octets[STATIC_KEY_OCTETS:]
    told_length = int.from_bytes(wrapped[-2:], "big")
    if told_length != len(wrapped) or not SHORTEST_WRAPPED_KEY <= told_length <= LONGEST_WRAPPED_KEY:
        raise directive.error("holds no tls-crypt-v2 client key", show=directive.inline is None)
    return WrapTlsCryptV2(StaticKey(key), wrapped)


def certificates(contents: Contents, name: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a directive, in their order; none if it was not given.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    if name not in contents:
        return ()
    directive, content = contents[name]
    try:
        return tuple(x509.load_pem_x509_certificates(content))
    except ValueError:
        raise directive.error("holds no readable PEM certificate", show=directive.inline is None) from None


def private_key(contents: Contents) -> PrivateKey | None:
    """The private key of ``key``, decrypted with the password of ``askpass`` if it must be; None if not given.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    if "key" not in contents:
        return None
    directive, content = contents["key"]
    shown = directive.inline is None
    is_encrypted = b"ENCRYPTED" in content
    if is_encrypted and "askpass" not in contents:
        raise directive.error("is encrypted: give its password with 'askpass FILE'", show=shown)
    try:
        key = serialization.load_pem_private_key(content, _password(contents) if is_encrypted else None)
    except ValueError:
        problem = "cannot be decrypted with the password of 'askpass'" if is_encrypted else "holds no readable PEM key"
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


def _password(contents: Contents) -> bytes:
    return contents["askpass"][1].split(b"\n")[0].rstrip(b"\r")


def unpack_pkcs12(contents: MutableMapping[str, tuple[Directive, bytes]]) -> None:
    """Authorities, certificate and key from one file; as a block it is base64 (ssl_openssl.c tls_ctx_load_pkcs12)."""
    directive, content = contents["pkcs12"]
    password = _password(contents) if "askpass" in contents else None
    try:
        octets = base64.b64decode(content) if directive.inline is not None else content
        bundle = pkcs12.load_pkcs12(octets, password)
    except (ValueError, binascii.Error):
        raise directive.error("cannot be read: no PKCS #12, or not the password of 'askpass'", show=False) from None
    if bundle.key is None or bundle.cert is None:
        raise directive.error("holds no certificate with its key", show=False)
    encoding = serialization.Encoding.PEM
    plain = bundle.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents["key"] = (directive, plain)
    contents["cert"] = (directive, bundle.cert.certificate.public_bytes(encoding))
    authorities = b"".join(other.certificate.public_bytes(encoding) for other in bundle.additional_certs)
    if authorities:
        contents.setdefault("ca", (directive, authorities))


_REVOCATIONS = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def revocations(contents: Contents) -> tuple[x509.CertificateRevocationList, ...]:
    """The lists of ``crl-verify``; none if it was not given.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    if "crl-verify" not in contents:
        return ()
    directive, content = contents["crl-verify"]
    try:
        lists = tuple(x509.load_pem_x509_crl(block) for block in _REVOCATIONS.findall(content))
    except ValueError:
        lists = ()
    if not lists:
        raise directive.error("holds no readable PEM certificate revocation list", show=directive.inline is None)
    return lists
