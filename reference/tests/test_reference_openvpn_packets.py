"""Control packets: fields read and written, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import rules
from glassgate.reference.openvpn.packets import (
    Body,
    ControlRefused,
    Header,
    Opcode,
    parse_body,
    parse_early_negotiation,
    parse_header,
)

OURS = bytes.fromhex("0102030405060708")


def test_the_first_octet_holds_opcode_and_key_id() -> None:
    assert parse_header(bytes((0x38,)) + OURS) == Header(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, OURS)
    assert parse_header(bytes((0x5F,)) + OURS) == Header(Opcode.P_CONTROL_WKC_V1, 7, OURS)


def test_a_plain_client_reset_has_fourteen_octets() -> None:
    # PROTOCOL.md 20.3, plain, opcode 7
    header = Header(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, OURS)
    assert (header.build() + Body((), b"", 0).build()).hex() == "3801020304050607080000000000"


def test_a_plain_server_reset_is_read() -> None:
    # PROTOCOL.md 20.3, plain, the server's reply
    packet = bytes.fromhex("40807de7c757e257e60100000000010203040506070800000000")
    header = parse_header(packet)
    assert header == Header(Opcode.P_CONTROL_HARD_RESET_SERVER_V2, 0, bytes.fromhex("807de7c757e257e6"))
    assert parse_body(header.opcode, packet[9:]) == Body((0,), OURS, 0, b"")


def test_an_acknowledgement_has_no_message_id() -> None:
    body = Body((3, 2, 1, 0), OURS, None)
    assert body.build().hex() == "04" + "00000003000000020000000100000000" + OURS.hex()
    assert parse_body(Opcode.P_ACK_V1, body.build()) == body


@given(st.lists(st.integers(0, 2**32 - 1), max_size=8), st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_what_is_built_is_read(acknowledgements: list[int], message_id: int, payload: bytes) -> None:
    body = Body(tuple(acknowledgements), OURS if acknowledgements else b"", message_id, payload)
    assert parse_body(Opcode.P_CONTROL_V1, body.build()) == body


@given(
    st.sampled_from([opcode for opcode in Opcode if 3 <= opcode <= 11 and opcode not in (6, 9)]),
    st.integers(0, 7),
    st.binary(min_size=8, max_size=8).filter(any),
    st.binary(max_size=20),
)
def test_a_header_that_is_built_is_read(opcode: Opcode, key_id: int, session_id: bytes, rest: bytes) -> None:
    header = Header(opcode, key_id, session_id)
    assert parse_header(header.build() + rest) == header


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8), st.binary(min_size=8, max_size=8))
def test_an_acknowledgement_that_is_built_is_read(acknowledgements: list[int], session_id: bytes) -> None:
    body = Body(tuple(acknowledgements), session_id, None)
    assert parse_body(Opcode.P_ACK_V1, body.build()) == body


@pytest.mark.parametrize("opcode", [0, 1, 2, 12, 31])
def test_an_opcode_out_of_range_is_refused_by_its_rule(opcode: int) -> None:
    with pytest.raises(ControlRefused) as refused:
        parse_header(bytes((opcode << 3,)) + OURS)
    assert refused.value.because is rules.S26_OPCODE
    assert refused.value.detail == {"opcode": opcode}


@pytest.mark.parametrize("length", range(9))
def test_every_truncated_header_is_refused(length: int) -> None:
    with pytest.raises(ControlRefused, match="under 9 octets"):
        parse_header((b"\x20" + OURS)[:length])


def test_a_session_id_of_zero_is_refused() -> None:
    with pytest.raises(ControlRefused, match="zero"):
        parse_header(b"\x20" + bytes(8))


@pytest.mark.parametrize("length", range(21))
def test_every_truncated_body_is_refused(length: int) -> None:
    whole = Body((1, 2), OURS, 5).build()
    assert len(whole) == 21
    with pytest.raises(ControlRefused):
        parse_body(Opcode.P_CONTROL_V1, whole[:length])


def test_nine_acknowledgements_are_refused() -> None:
    body = bytes((9,)) + bytes(36) + OURS + bytes(4)
    with pytest.raises(ControlRefused, match="more than 8"):
        parse_body(Opcode.P_CONTROL_V1, body)


# ── early negotiation ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_asks_for_the_client_key_again() -> None:
    assert parse_early_negotiation(bytes.fromhex("000100020001"))  # PROTOCOL.md 20.3, tls-crypt-v2
    assert not parse_early_negotiation(bytes.fromhex("000100020002"))
    assert not parse_early_negotiation(b"")


def test_unknown_entries_are_skipped() -> None:
    assert parse_early_negotiation(bytes.fromhex("77770003aabbcc000100020001"))


@pytest.mark.parametrize("payload", ["00", "000100", "0001000200", "00010001ff", "0001000300000000", "7777ffff00"])
def test_a_malformed_list_is_refused(payload: str) -> None:
    with pytest.raises(ControlRefused):
        parse_early_negotiation(bytes.fromhex(payload))
