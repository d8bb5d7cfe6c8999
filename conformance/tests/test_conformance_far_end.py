"""The far end of the judge: records of a stock OpenVPN's wire facts, framing however it is cut, and every refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgate.conformance.far_end import DataChannel, FarEnd, Opened, StreamFraming, Unopened
from glassgate.contract import Cipher, ReceiveKey, SendKey, Session

# PROTOCOL.md 20.4: key_block 00 01 02 … ff; the client seals with its first slot: cipher octets 0…, implicit IV 64….
KEY_BLOCK = bytes(range(256))
PLAINTEXT = b"glassgate data channel test"
KNOWN = {
    (Cipher.AES_256_GCM, 5): "4a00000500000007d8f17e42bda2494821ec014b3243ad3a"
    "9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc59fc6099955b42",
    (Cipher.AES_256_GCM, None): "32000000079eb4045e1629d2c234ee443c1ac0332f"
    "9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc59fc6099955b42",
    (Cipher.AES_128_GCM, 5): "4a0000050000000767c92ec227085ff10e9e4fbec57ec39d"
    "5d8e0b55c55366200a0c7657c3db05056d61a780b4c9552f0520db",
    (Cipher.AES_128_GCM, None): "32000000071c46d08b15ac39774ebb532166f24f9a"
    "5d8e0b55c55366200a0c7657c3db05056d61a780b4c9552f0520db",
    (Cipher.CHACHA20_POLY1305, 5): "4a000005000000074967e6373d6db76387f0d3b2e3a1d293"
    "8379564ae6c1c9c8328ee40f75cb8512da17c044e5463fdd512d24",
    (Cipher.CHACHA20_POLY1305, None): "32000000073d97492410f59691a43632289f7faa2e"
    "8379564ae6c1c9c8328ee40f75cb8512da17c044e5463fdd512d24",
}


def channel(cipher: Cipher = Cipher.AES_256_GCM, peer_id: int | None = 5, next_packet_id: int = 7) -> DataChannel:
    return DataChannel(cipher, KEY_BLOCK[: cipher.key_octets], KEY_BLOCK[64:72], 2, peer_id, next_packet_id)


def session() -> Session:
    return Session(SendKey(bytes(32), bytes(8)), ReceiveKey(bytes([1]) * 32, bytes(8)))


def gateway_sends(packet_id: int = 1, packet: bytes = b"inner") -> bytes:
    """A framed record as the gateway of ``session`` seals it."""
    return StreamFraming.framed(DataChannel(Cipher.AES_256_GCM, bytes(32), bytes(8), 0, 0, packet_id).seal(packet))


def to_gateway(packet_id: int) -> bytes:
    """A record that somebody sends to the gateway in the far end's name."""
    return DataChannel(Cipher.AES_256_GCM, bytes([1]) * 32, bytes(8), 0, 0, packet_id).seal(b"x")


@pytest.mark.parametrize(("cipher", "peer_id"), KNOWN)
def test_it_opens_and_seals_the_known_records(cipher: Cipher, peer_id: int | None) -> None:
    record = bytes.fromhex(KNOWN[cipher, peer_id])
    assert channel(cipher, peer_id).open(record) == Opened(PLAINTEXT, 7)
    assert channel(cipher, peer_id).seal(PLAINTEXT) == record


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"", "the record is empty"),
        (b"\x20" + bytes(40), "opcode 4 is not one of data"),
        (b"\x4b" + bytes(40), "the key id is 3, not 2"),
        (bytes.fromhex(KNOWN[Cipher.AES_256_GCM, 5])[:24], "24 octets are too few"),
        (bytes.fromhex(KNOWN[Cipher.AES_256_GCM, 5])[:-1], "the tag is wrong"),
        (bytes.fromhex(KNOWN[Cipher.AES_256_GCM, None]), "the header is 32000000, not 4a000005"),
    ],
)
def test_what_it_cannot_have_it_names(record: bytes, words: str) -> None:
    opened = channel().open(record)
    assert isinstance(opened, Unopened)
    assert words in opened.problem


def test_every_octet_of_a_record_is_authenticated() -> None:
    record = bytes.fromhex(KNOWN[Cipher.AES_256_GCM, 5])
    for index in range(len(record)):
        spoilt = record[:index] + bytes([record[index] ^ 0x80]) + record[index + 1 :]
        assert isinstance(channel().open(spoilt), Unopened), index


def test_packet_ids_rise_by_one_and_a_gap_is_told_once() -> None:
    far_end = FarEnd(session())
    assert far_end.receive(gateway_sends(1)) == [Opened(b"inner", 1)]
    (gap,) = far_end.receive(gateway_sends(3))
    assert isinstance(gap, Unopened)
    assert "packet id is 3, not 2" in gap.problem
    assert far_end.receive(gateway_sends(4)) == [Opened(b"inner", 4)]
    (repeated,) = far_end.receive(gateway_sends(4))
    assert isinstance(repeated, Unopened)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 7))
def test_records_come_out_whole_however_the_stream_is_cut(records: list[bytes], size: int) -> None:
    stream = b"".join(map(StreamFraming.framed, records))
    framing = StreamFraming()
    found = [record for start in range(0, len(stream), size) for record in framing.push(stream[start : start + size])]
    assert found == records
    assert framing.held == b""


def test_the_beginning_of_a_record_is_told_and_forgotten() -> None:
    far_end = FarEnd(session())
    assert far_end.receive(gateway_sends()[:-1]) == []
    unfinished = far_end.unfinished()
    assert unfinished is not None
    assert unfinished.problem == "the stream ends inside a record"
    assert far_end.unfinished() is None


def test_after_a_new_connection_both_streams_begin_again() -> None:
    far_end = FarEnd(session())
    far_end.receive(gateway_sends()[:-1])
    far_end.note_injected(b"\0\x40begun")
    far_end.reconnect()
    assert far_end.receive(gateway_sends()) == [Opened(b"inner", 1)]
    far_end.note_injected(StreamFraming.framed(to_gateway(9)))
    assert far_end.send(b"next")[6:10] == (10).to_bytes(4, "big")


def test_over_udp_a_datagram_is_a_record() -> None:
    far_end = FarEnd(session(), "udp")
    assert far_end.receive(gateway_sends()[2:]) == [Opened(b"inner", 1)]
    assert far_end.unfinished() is None


def test_what_others_send_in_its_name_takes_its_packet_ids() -> None:
    far_end = FarEnd(session())
    stream = StreamFraming.framed(to_gateway(40))
    far_end.note_injected(stream[:5])
    far_end.note_injected(stream[5:] + StreamFraming.framed(b"\x48rubbish"))
    assert far_end.send(b"next")[6:10] == (41).to_bytes(4, "big")
    far_end.note_injected(StreamFraming.framed(to_gateway(3)))
    assert far_end.send(b"next")[6:10] == (42).to_bytes(4, "big")
