"""What the lab reads out of logs when it breaks things."""

from __future__ import annotations

from dataclasses import fields

import pytest
from cryptography import x509

from glassgate.conformance.lab import faults
from glassgate.conformance.lab.faults import History
from glassgate.conformance.lab.pki import Authority
from glassgate.conformance.lab.tunnel import Secrets

HANDSHAKE = "192.168.1.5:1 Control Channel: TLSv1.3, cipher TLSv1.3 TLS_AES_256_GCM_SHA384\n"
CONNECTED = f"{HANDSHAKE}192.168.1.5:1 [lab-client] Peer Connection Initiated with [AF_INET]192.168.1.5:1\n"


@pytest.mark.parametrize(
    ("log", "history"),
    [
        ("", History(0, 0)),
        (CONNECTED, History(0, 0)),
        (CONNECTED + HANDSHAKE + HANDSHAKE, History(0, 2)),
        (CONNECTED + CONNECTED, History(1, 0)),
        (CONNECTED + HANDSHAKE + CONNECTED, History(1, 1)),
    ],
)
def test_the_servers_log_tells_what_happened(log: str, history: History) -> None:
    assert History.read(log) == history


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("INFO s2-flow-opened\nINFO s2-handshake-failed reason=not in the profile\nINFO s2-retry 2\n", 1),
        ("INFO s2-flow-opened\nWARNING connection: closed by the server\nINFO s4-flow-lost\n", 1),
        ("TLS Error: TLS handshake failed\nRestart pause, 1 second(s)\n", 0),
        ("nothing\nto the point\n", 1),
    ],
)
def test_the_reason_is_the_last_line_that_tells_one(log: str, line: int) -> None:
    assert faults.reason(log) == log.splitlines()[line]


def test_a_program_that_said_nothing_is_said_to_have_said_nothing() -> None:
    assert faults.reason("") == "it said nothing"


@pytest.fixture(scope="module")
def keys() -> Secrets:
    issuer = Authority()
    return Secrets(issuer, issuer.certificate, issuer.server(), issuer.client(), "right", "right")


@pytest.mark.parametrize("mistake", faults.MISTAKES, ids=lambda mistake: mistake.title)
def test_each_mistake_changes_one_thing(keys: Secrets, mistake: faults.Mistake) -> None:
    spoiled = mistake.spoil(keys)

    names = [member.name for member in fields(Secrets)]
    assert len([name for name in names if getattr(spoiled, name) != getattr(keys, name)]) == 1


def test_a_revoked_certificate_is_on_the_list() -> None:
    issuer = Authority()
    client, other = issuer.client(), issuer.client()

    listed = x509.load_pem_x509_crl(issuer.revocation_list(client).encode())

    numbers = [x509.load_pem_x509_certificate(each.certificate.encode()).serial_number for each in (client, other)]
    assert [listed.get_revoked_certificate_by_serial_number(number) is not None for number in numbers] == [True, False]
    assert listed.is_signature_valid(x509.load_pem_x509_certificate(issuer.certificate.encode()).public_key())


def test_titles_are_unique() -> None:
    titles = [check.title for check in faults.CHECKS]

    assert len(set(titles)) == len(titles)
