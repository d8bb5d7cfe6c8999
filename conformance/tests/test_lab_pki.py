"""Keys and certificates of the lab."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from glassgate.conformance.lab.pki import Authority, Credential, static_key


def read(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def purposes(credential: Credential) -> list[x509.ObjectIdentifier]:
    return list(read(credential.certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_the_authority_issues_what_it_signs_and_says_that_it_is_one() -> None:
    authority = Authority()

    read(authority.server().certificate).verify_directly_issued_by(read(authority.certificate))
    basic = read(authority.certificate).extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value.ca


def test_a_server_and_a_client_are_not_taken_for_each_other() -> None:
    authority = Authority()

    assert purposes(authority.server()) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert purposes(authority.client()) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_key_belongs_to_its_certificate() -> None:
    credential = Authority().client()
    key = serialization.load_pem_private_key(credential.key.encode(), password=None)

    assert key.public_key() == read(credential.certificate).public_key()


def test_certificates_are_valid_now_and_not_for_long() -> None:
    certificate = read(Authority().server().certificate)
    now = datetime.now(UTC)

    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc < now + timedelta(days=2)


def test_an_expired_certificate_can_be_had() -> None:
    certificate = read(Authority().client(lifetime=-timedelta(days=2)).certificate)

    assert certificate.not_valid_before_utc < certificate.not_valid_after_utc < datetime.now(UTC)


def test_a_static_key_has_the_form_that_openvpn_writes() -> None:
    lines = static_key().splitlines()

    assert lines[0] == "-----BEGIN OpenVPN Static key V1-----"
    assert lines[-1] == "-----END OpenVPN Static key V1-----"
    assert len(lines) == 2 + 16  # 2048 bits, 16 octets a line
    assert {len(bytes.fromhex(line)) for line in lines[1:-1]} == {16}


def test_no_two_static_keys_are_equal() -> None:
    assert static_key() != static_key()
