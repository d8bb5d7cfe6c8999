"""Who the server is: what a certificate must say, and what a revocation list must be there (PROTOCOL.md 6)."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from glassgate.reference.openvpn.client import UseKey
from glassgate.reference.openvpn.tls import NameCheck, TlsFailed, TlsSettings, common_name, server_refusal, subject

SERVERS_ONLY = TlsSettings(remote_cert_tls=True)


# ── the certificate itself ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_servers_certificate_says_so(authority: Any) -> None:
    assert server_refusal(authority.issue("server", server=True).certificate, SERVERS_ONLY) is None
    client = server_refusal(authority.issue("client").certificate, SERVERS_ONLY)
    assert client == "its extended key usage is not TLS server authentication ('remote-cert-tls server')"
    bare = authority.issue("bare", purpose=False).certificate
    assert server_refusal(bare, SERVERS_ONLY) == "it has no key usage, which 'remote-cert-tls server' demands"
    without_usage = authority.issue("server", server=True, usage=False).certificate
    assert server_refusal(without_usage, SERVERS_ONLY) == "it has no key usage, which 'remote-cert-tls server' demands"
    assert server_refusal(bare, TlsSettings()) is None, "only where the profile demands it"


@pytest.mark.parametrize(
    ("name", "check", "accepted"),
    [
        ("C=DE, O=Glass, Gate, CN=server", NameCheck.SUBJECT, True),
        ("C=DE, O=Glass, Gate, CN=serve", NameCheck.SUBJECT, False),
        ("CN=server", NameCheck.SUBJECT, False),
        ("server", NameCheck.NAME, True),
        ("serve", NameCheck.NAME, False),
        ("serve", NameCheck.NAME_PREFIX, True),
        ("server1", NameCheck.NAME_PREFIX, False),
    ],
)
def test_names_are_compared_as_the_stock_program_writes_them(
    name: str, check: NameCheck, accepted: bool, server_identity: Any
) -> None:
    refusal = server_refusal(server_identity.certificate, TlsSettings(name=name, name_check=check))
    assert (refusal is None) is accepted
    assert subject(server_identity.certificate) == "C=DE, O=Glass, Gate, CN=server"
    assert common_name(server_identity.certificate) == "server"


def test_a_name_is_checked_besides_the_purpose(authority: Any) -> None:
    settings = replace(SERVERS_ONLY, name="server", name_check=NameCheck.NAME)
    assert server_refusal(authority.issue("server", server=True).certificate, settings) is None
    assert "key usage" in str(server_refusal(authority.issue("server").certificate, settings))
    assert "its name is" in str(server_refusal(authority.issue("other", server=True).certificate, settings))


def test_a_fingerprint_is_that_of_the_whole_certificate(authority: Any, server_identity: Any) -> None:
    settings = TlsSettings(fingerprints=(server_identity.certificate.fingerprint(SHA256()),))
    assert server_refusal(server_identity.certificate, settings) is None
    assert "peer-fingerprint" in str(server_refusal(authority.issue("server", server=True).certificate, settings))


def test_a_use_of_the_key_alone_is_no_purpose() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(days=1))
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certificate = builder.add_extension(usage, critical=True).sign(key, SHA256())
    assert server_refusal(certificate, SERVERS_ONLY) == (
        "its extended key usage is not TLS server authentication ('remote-cert-tls server')"
    )


# ── the chain, in a handshake ────────────────────────────────────────────────────────────────────────────────────────


def test_an_authority_between_may_be_sent_along(make_world: Any, authority: Any) -> None:
    between = authority.issue_authority("between")
    world = make_world()
    world.server.identity = between.issue("server", server=True)
    world.start()
    assert "('ca')" in world.failed.reason
    world.server.chain = [between.identity.certificate]
    world.server.restart()
    world.start()
    assert world.of(UseKey)


def test_the_servers_own_issuer_must_have_a_revocation_list_and_the_others_may(make_world: Any, authority: Any) -> None:
    between = authority.issue_authority("between")
    server = between.issue("server", server=True)
    cases: list[tuple[str, str | None]] = [
        (between.revoke(), None),
        (between.revoke() + authority.revoke(), None),
        (authority.revoke(), "no certificate revocation list of its issuer"),
        (between.revoke(server), "it is revoked"),
        (between.revoke() + authority.revoke(between.identity), "it is revoked"),
    ]
    for lists, reason in cases:
        world = make_world(f"<crl-verify>\n{lists}</crl-verify>")
        world.server.identity, world.server.chain = server, [between.identity.certificate]
        world.start()
        if reason is None:
            assert world.of(UseKey), world.failed
        else:
            assert reason in world.failed.reason


def test_a_fingerprint_stands_for_the_chain(make_world: Any, server_identity: Any) -> None:
    world = make_world()
    profile = world.client._profile
    prints = (server_identity.certificate.fingerprint(SHA256()),)
    settings = replace(profile.tls, authorities=(), fingerprints=prints, remote_cert_tls=False)
    world.client._profile = replace(profile, tls=settings)
    world.start()
    assert world.of(UseKey), world.failed


def test_a_subject_with_parts_of_many_kinds() -> None:
    oid = x509.NameOID
    parts = [(oid.DOMAIN_COMPONENT, "net"), (oid.ORGANIZATIONAL_UNIT_NAME, "x"), (oid.EMAIL_ADDRESS, "a@b")]
    name = x509.Name(
        [
            *(x509.RelativeDistinguishedName([x509.NameAttribute(kind, value)]) for kind, value in parts),
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(oid.COMMON_NAME, "me"), x509.NameAttribute(oid.SERIAL_NUMBER, "7")]
            ),
        ]
    )

    class Holder:
        subject = name

    text = subject(Holder())  # type: ignore[arg-type]
    assert text.startswith("DC=net, OU=x, emailAddress=a@b, ")
    assert set(text.rsplit(", ", 1)[1].split(" + ")) == {"CN=me", "serialNumber=7"}


# ── what OpenSSL is told, and what it says ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        (["tls-version-max 1.2", "tls-cipher TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384"], "TLSv1.2"),
        (["tls-ciphersuites TLS_AES_128_GCM_SHA256", "tls-cert-profile legacy"], "TLSv1.3"),
    ],
)
def test_versions_and_ciphers_are_those_of_the_profile(lines: list[str], version: str, make_world: Any) -> None:
    world = make_world(*lines)
    world.start()
    tls = world.server.keys[0].tls
    assert world.of(UseKey), world.failed
    assert (tls.get_protocol_version_name(), tls.get_cipher_name()) == (
        version,
        "ECDHE-ECDSA-AES256-GCM-SHA384" if version == "TLSv1.2" else "TLS_AES_128_GCM_SHA256",
    )


def test_a_client_may_have_no_certificate(make_world: Any) -> None:
    world = make_world("<auth-user-pass>\nalice\nsecret\n</auth-user-pass>", identity=None)
    world.start()
    assert world.of(UseKey), world.failed
    assert world.server.keys[0].tls.get_peer_certificate() is None


def test_authorities_between_are_sent_along(make_world: Any, authority: Any) -> None:
    between = authority.issue_authority("between")
    identity = between.issue("client")
    world = make_world(f"<extra-certs>\n{between.identity.pem}</extra-certs>", identity=identity)
    world.start()
    chain = world.server.keys[0].tls.get_peer_cert_chain(as_cryptography=True)
    assert chain == [between.identity.certificate], "beside the client's own"


def test_a_server_that_closes_tls_has_ended_it(make_world: Any) -> None:
    world = make_world()
    world.start()
    world.server.keys[0].tls.shutdown()
    world.server._flush(0)
    world.pass_on()
    assert world.failed.reason == "the server closed the TLS session"


def test_what_is_written_after_the_end_fails(make_world: Any) -> None:
    world = make_world()
    world.start()
    client = world.client._session.current._tls
    client._connection.shutdown()
    with pytest.raises(TlsFailed, match="TLS: "):
        client.write(b"too late")


def test_a_broken_record_fails(make_world: Any) -> None:
    world = make_world()
    world.start()
    client = world.client._session.current._tls
    client.receive(b"\x17\3\3\0\x20" + bytes(32))
    with pytest.raises(TlsFailed, match="TLS: "):
        list(client.records())
