"""Sealing and opening, with and without encrypt_into; known answers of a stock server; the replay window."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from glassgate.contract import Cipher, rules
from glassgate.optimized import data_channel
from glassgate.optimized.buffers import REGION, Outgoing
from glassgate.optimized.data_channel import OpeningKey, SealingKey

# PROTOCOL 20.1: produced or accepted by stock openvpn 2.6.14.
ECHO = bytes.fromhex("4500002c000140004001261e0a5800020a5800010800e55400010001676c617373676174652d6b61742d3031")
LIVE = {
    "AES-256-GCM, P_DATA_V2": (
        Cipher.AES_256_GCM,
        0,
        "9496a7aaf437f588a589edfa37183bbbc919e9a5812870ca813a7f1e587ce6ae",
        "84dec77195edcdf1",
        "4800000000000001360681dfb5cd30a28bc77529080d7cb9d7a70137a520280167c51b57c5f34c4ac2ffe02f8fa7021b506e4a704412d6"
        "2e549b905789bca91bbc058a47",
    ),
    "AES-256-GCM, P_DATA_V1": (
        Cipher.AES_256_GCM,
        None,
        "e3ea3a766a16c79b3ab80471534edb1e0a85f72cf6d7d97876bf67f8eaf4ace5",
        "0d065afaf0fe00a9",
        "3000000001913f5ce8f51230e56c5ae89036d91ae47230b6fa1321f42b3e228e2fa1f794d1f36314db0798c22275d008d933c4cd344125"
        "37c429e28ea4eac63547",
    ),
    "CHACHA20-POLY1305, P_DATA_V2": (
        Cipher.CHACHA20_POLY1305,
        0,
        "6ddf411b3f7f3344e68c04902794881c85978f4deb13db02fe8d526b6ef4aacf",
        "64ba1b01da861598",
        "48000000000000014c3c5003964cb2e1714ec149db2c445361a91bbe1690c7f1a4bcd4ac666bcf0a061deed05f786c21d3a0b4b5924e90"
        "d866cb559a1e179dcc8e107672",
    ),
}


class WithoutInto:
    """An AEAD of an older cryptography: no encrypt_into, no decrypt_into."""

    def __init__(self, aead):
        self.encrypt = aead.encrypt
        self.decrypt = aead.decrypt


@pytest.fixture(params=["into", "copy"], autouse=True)
def into(request, monkeypatch):
    """Each test runs with the ciphers of the installed cryptography, and with those of one that only copies."""
    if request.param == "copy":
        made = data_channel._aead
        monkeypatch.setattr(data_channel, "_aead", lambda cipher, key: WithoutInto(made(cipher, key)))


def sealing(cipher=Cipher.AES_256_GCM, key_id=0, peer_id=0, key=bytes(32), iv=bytes(8), **more):
    return SealingKey(Outgoing(recording=False, noting=False), cipher, key_id, peer_id, key, iv, **more)


def opened(key, record, after=b"\xa5" * 40):
    """Open one record that lies among other octets, which must be unchanged afterwards."""
    octets = bytearray(b"\xa5\xa5" + record + after)
    before = bytes(octets)
    target = bytearray(2000)
    length = key.open(octets, memoryview(octets), 2, 2 + len(record), memoryview(target), 14)
    assert octets == before
    return bytes(target[14 : 14 + length]) if length else key.refused


@pytest.mark.parametrize("name", LIVE)
def test_a_stock_server_accepts_these_octets(name):
    cipher, peer_id, key, iv, record = LIVE[name]
    sealer = sealing(cipher, 0, peer_id, bytes.fromhex(key), bytes.fromhex(iv))
    assert sealer.seal(memoryview(ECHO), 0, len(ECHO), rules.S14_FORWARD) is None
    flow = bytes(sealer._outgoing.flow[: sealer._outgoing.flow_end])
    assert flow == (len(record) // 2).to_bytes(2, "big") + bytes.fromhex(record)


@pytest.mark.parametrize("name", LIVE)
def test_they_open_again(name):
    cipher, _, key, iv, record = LIVE[name]
    opener = OpeningKey(cipher, 0, bytes.fromhex(key), bytes.fromhex(iv))
    assert opened(opener, bytes.fromhex(record)) == ECHO


SYNTHETIC = {  # PROTOCOL 20.4: key block seq(00,256), key id 2, peer id 5, packet id 7
    (Cipher.AES_256_GCM, 5): "4a00000500000007d8f17e42bda2494821ec014b3243ad3a9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc"
    "59fc6099955b42",
    (
        Cipher.AES_256_GCM,
        None,
    ): "32000000079eb4045e1629d2c234ee443c1ac0332f9dbc4e1ef8c1a54b9dc513a4f29b774893ad18bc59fc6099955b42",
    (
        Cipher.AES_128_GCM,
        5,
    ): "4a0000050000000767c92ec227085ff10e9e4fbec57ec39d5d8e0b55c55366200a0c7657c3db05056d61a780b4c9552f0520db",
    (
        Cipher.CHACHA20_POLY1305,
        5,
    ): "4a000005000000074967e6373d6db76387f0d3b2e3a1d2938379564ae6c1c9c8328ee40f75cb8512da17c044e5463fdd512d24",
    (Cipher.CHACHA20_POLY1305, None): "32000000073d97492410f59691a43632289f7faa2e8379564ae6c1c9c8328ee40f75cb8512da17c0"
    "44e5463fdd512d24",
}


@pytest.mark.parametrize(("cipher", "peer_id"), SYNTHETIC)
def test_each_cipher_and_header_gives_the_known_answer(cipher, peer_id):
    text = b"glassgate data channel test"
    key, iv = bytes(range(cipher.key_octets)), bytes(range(64, 72))
    sealer = sealing(cipher, 2, peer_id, key, iv, next_packet_id=7)
    sealer.seal(memoryview(b"\xa5" + text), 1, 1 + len(text), rules.S14_FORWARD)
    record = bytes.fromhex(SYNTHETIC[cipher, peer_id])
    assert bytes(sealer._outgoing.flow[2 : sealer._outgoing.flow_end]) == record
    assert opened(OpeningKey(cipher, 2, key, iv), record) == text


PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), max_size=6)


@given(PAYLOADS, st.integers(0, 500), st.integers(0, 6), st.booleans())
def test_all_at_once_are_sealed_as_one_by_one(payloads, room, ids_left, is_stream):
    """The same records, until room or ids are used up, and the same rule for what is not sealed."""
    first_id = 2**32 - ids_left
    both = [sealing(next_packet_id=first_id, is_stream=is_stream) for _ in range(2)]
    for sealer in both:
        sealer._outgoing.flow_limit = room
    one_by_one, at_once = both
    refused = [one_by_one.seal(memoryview(payload), 0, len(payload), rules.S14_FORWARD) for payload in payloads]
    sealed = next((number for number, rule in enumerate(refused) if rule is not None), len(refused))
    expected = bytes(one_by_one._outgoing.flow[: one_by_one._outgoing.flow_end])
    octets = b"".join(payloads)
    ends = [sum(map(len, payloads[: number + 1])) for number in range(len(payloads))]
    bounds = [(end - len(payload), end) for end, payload in zip(ends, payloads, strict=True)]
    assert at_once.seal_all(memoryview(octets), bounds, rules.S14_FORWARD) == sealed
    outgoing = at_once._outgoing
    assert expected.startswith(outgoing.flow[: outgoing.flow_end])  # one by one, a smaller one may find room later
    assert at_once.packet_id == first_id + sealed
    assert at_once.octets == sum(map(len, payloads[:sealed]))
    assert len(outgoing.record_bounds) == (0 if is_stream else sealed)
    if sealed < len(payloads):
        assert at_once.refusal(1, len(payloads[sealed])) is refused[sealed]


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6), st.sampled_from([None, 0, 0xFFFFFF]))
def test_records_lie_back_to_back_and_open_in_place(payloads, peer_id):
    key = bytes(range(32))
    sealer = sealing(Cipher.AES_256_GCM, 3, peer_id, key, b"implicit")
    for payload in payloads:
        assert sealer.seal(memoryview(payload), 0, len(payload), rules.S14_FORWARD) is None
    stream = bytearray(sealer._outgoing.flow[: sealer._outgoing.flow_end]) + bytearray(16)
    before = bytes(stream)
    opener = OpeningKey(Cipher.AES_256_GCM, 3, key, b"implicit")
    target = bytearray(100)
    at = 0
    for number, payload in enumerate(payloads, 1):
        end = at + 2 + int.from_bytes(stream[at : at + 2], "big")
        length = opener.open(stream, memoryview(stream), at + 2, end, memoryview(target), 3)
        assert target[3 : 3 + length] == payload
        header = 4 if peer_id is not None else 1
        assert int.from_bytes(stream[at + 2 + header : at + 6 + header], "big") == number
        at = end
    assert stream == before


@given(st.data())
def test_any_corrupted_octet_fails(make, data):
    record = bytearray(make.World().record(b"payload")[2:])
    at = data.draw(st.integers(0, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    record[0] = 0x48 if at else 0x49
    opener = OpeningKey(Cipher.AES_256_GCM, 0, make.RECEIVE_KEY, make.RECEIVE_IV)
    assert opened(opener, bytes(record)) is rules.S26_AUTHENTICATION


def test_a_truncated_or_empty_record_is_refused_by_name(make):
    record = make.World().record(b"x")[2:]
    opener = OpeningKey(Cipher.AES_256_GCM, 0, make.RECEIVE_KEY, make.RECEIVE_IV)
    for length in range(1, 24):
        assert opened(opener, record[:length]) is rules.S26_TOO_SHORT
    assert opened(opener, record[:24]) is rules.S26_EMPTY
    assert opened(opener, record) == b"x"


@given(st.lists(st.integers(0, 200) | st.sampled_from([0xFFFFFFFF, 0xFFFFFFFF - 63, 0xFFFFFFFF - 64]), max_size=60))
def test_each_id_is_accepted_once_and_within_the_window(ids):
    """Against the set of all ids seen (PROTOCOL 10.3: 63 behind the highest is accepted, 64 is not)."""
    key = OpeningKey(Cipher.AES_256_GCM, 0, bytes(32), bytes(8))
    seen: set[int] = set()
    for packet_id in ids:
        expected = packet_id != 0 and packet_id not in seen and max(seen, default=0) - packet_id < 64
        assert key._accept(packet_id) == expected, packet_id
        if expected:
            seen.add(packet_id)


def test_a_failed_record_does_not_move_the_window(make):
    world = make.World()
    forged = bytearray(world.record(b"later", packet_id=1000)[2:])
    forged[-1] ^= 1
    opener = OpeningKey(Cipher.AES_256_GCM, 0, make.RECEIVE_KEY, make.RECEIVE_IV)
    assert opened(opener, bytes(forged)) is rules.S26_AUTHENTICATION
    assert opened(opener, world.record(b"first", packet_id=1)[2:]) == b"first"


def test_the_last_id_is_used_and_none_after_it():
    sealer = sealing(next_packet_id=0xFFFFFFFF)
    assert sealer.seal(memoryview(b"x"), 0, 1, rules.S14_FORWARD) is None
    end = sealer._outgoing.flow_end
    assert sealer.seal(memoryview(b"x"), 0, 1, rules.S14_FORWARD) is rules.S24_IDS_USED_UP
    assert sealer._outgoing.flow_end == end


def test_a_full_region_refuses_before_an_id_is_taken():
    sealer = sealing()
    sealer._outgoing.flow_end = REGION - 41
    assert sealer.seal(memoryview(b"x"), 0, 1, rules.S14_FORWARD) is rules.S3_DROP_BEFORE_ID
    assert sealer.packet_id == 1
    sealer._outgoing.flow_end = REGION - 43
    assert sealer.seal(memoryview(b"x"), 0, 1, rules.S14_FORWARD) is None
    assert sealer.packet_id == 2


def test_the_installed_ciphers_have_their_into_where_they_have():
    for aead in (AESGCM(bytes(16)), ChaCha20Poly1305(bytes(32))):
        into = data_channel.encrypt_into(aead)
        target = bytearray(b"\xa5" * 19)
        into(bytes(12), b"abc", b"", memoryview(target)[:19])
        assert target == aead.encrypt(bytes(12), b"abc", b"")
