"""What the tunnel's transport carries: records in the stream, OpenVPN packets, and what is sealed in the data packets.

The formats are those of OpenVPN 2.6 (openvpn-rfc "wire packet format"; ssl_pkt.h for the opcodes; crypto.c for the
data channel). Opening is the far end's, for the eyes only: replays are not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from glassgate.conformance.dissect import internet
from glassgate.conformance.dissect.tree import Cursor, Layer, counted, read_layer
from glassgate.conformance.far_end import DataChannel, Opened
from glassgate.contract import Session

OPCODES = {
    1: "P_CONTROL_HARD_RESET_CLIENT_V1", 2: "P_CONTROL_HARD_RESET_SERVER_V1", 3: "P_CONTROL_SOFT_RESET_V1",
    4: "P_CONTROL_V1", 5: "P_ACK_V1", 6: "P_DATA_V1", 7: "P_CONTROL_HARD_RESET_CLIENT_V2",
    8: "P_CONTROL_HARD_RESET_SERVER_V2", 9: "P_DATA_V2", 10: "P_CONTROL_HARD_RESET_CLIENT_V3", 11: "P_CONTROL_WKC_V1",
}  # fmt: skip
ACK_V1, DATA_V1, DATA_V2 = 5, 6, 9
PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
OCC = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")
TAG_OCTETS = 16
MOST_CHANNELS = 6  # of keys before the last one: a tunnel has no more than three, two directions each
MOST_STREAMS = 64  # a stream that nobody remembers is read as if a record began at each segment


def wrapping_of(ovpn: str | None) -> str | None:
    """How the control packets of a configuration file are wrapped; None where there is no file to tell."""
    if ovpn is None:
        return None
    for wrapping in ("tls-crypt", "tls-auth"):
        if f"<{wrapping}" in ovpn or any(line.split()[:1] == [wrapping] for line in ovpn.splitlines()):
            return wrapping
    return "plain"


@dataclass(slots=True)
class _Stream:
    """One direction of a TCP stream: what comes next, and what has come of a record that is not whole yet."""

    next_sequence: int | None = None
    begun: bytes = b""


class Tunnel:
    """Decodes what the tunnel's transport carries, and remembers where records begin."""

    def __init__(self, session: Session | None, wrapping: str | None, over_udp: bool) -> None:
        self.inner = internet.Context()
        self._channels = _channels(session)
        self._wrapping = wrapping
        self._over_udp = over_udp
        self._streams: dict[tuple[str, ...], _Stream] = {}

    def learn(self, session: Session) -> None:
        """Open data packets with the keys of this session too."""
        self._channels = _channels(session) + self._channels[:MOST_CHANNELS]

    def segment(
        self, stream: tuple[str, ...], sequence: int, is_syn: bool, octets: bytes, start: int, end: int
    ) -> list[Layer]:
        """Decode the text of one TCP segment."""
        state = self._stream(stream)
        if is_syn:
            state.next_sequence, state.begun = (sequence + 1) % 2**32, b""
            sequence += 1
        if start >= end:
            return []
        ahead = (sequence - state.next_sequence) % 2**32 if state.next_sequence is not None else 0
        if ahead >= 2**31:
            return [_opaque("text sent before", octets, start, end)]
        if ahead:
            state.begun = b""  # something is missing: the best guess is that a record begins here
        state.next_sequence = (sequence + end - start) % 2**32
        return self._records(state, octets, start, end)

    def datagram(self, octets: bytes, start: int, end: int) -> list[Layer]:
        """Decode a UDP datagram: it is one packet."""
        return self._packet(octets, start, end)

    def piece(self, octets: bytes, direction: str) -> list[Layer]:
        """Decode a piece of the stream as the operating system hands it over, or a whole datagram."""
        if self._over_udp:
            return self._packet(octets, 0, len(octets))
        return self._records(self._stream((direction,)), octets, 0, len(octets))

    def _stream(self, key: tuple[str, ...]) -> _Stream:
        if key not in self._streams and len(self._streams) >= MOST_STREAMS:
            del self._streams[next(iter(self._streams))]
        return self._streams.setdefault(key, _Stream())

    # ── records ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _records(self, state: _Stream, octets: bytes, start: int, end: int) -> list[Layer]:
        layers: list[Layer] = []
        if state.begun:
            start, finished = self._finish(state, octets, start, end)
            layers += finished
        while start < end:
            length = int.from_bytes(octets[start : start + 2], "big")
            if end - start < 2 or end - start < 2 + length:
                state.begun = octets[start:end]
                layers.append(self._beginning(octets, start, end))
                break
            layers.append(self._record(octets, start, start + 2 + length))
            start += 2 + length
        return layers

    def _finish(self, state: _Stream, octets: bytes, start: int, end: int) -> tuple[int, list[Layer]]:
        """Add to the record that is not whole yet; returns where the next one begins."""
        known = state.begun + octets[start : start + max(0, 2 - len(state.begun))]
        whole = 2 + int.from_bytes(known[:2], "big") if len(known) >= 2 else 2
        taken = min(end - start, max(whole - len(state.begun), 0))
        had = len(state.begun)
        state.begun += octets[start : start + taken]
        words = f"octets {had} to {had + taken - 1} of a record"
        part = _opaque("record, continued", octets, start, start + taken, words)
        if len(known) < 2 or len(state.begun) < whole:
            return start + taken, [part]
        assembled, state.begun = state.begun, b""
        return start + taken, [part, self._record(assembled, 0, len(assembled), "record, put together")]

    def _beginning(self, octets: bytes, start: int, end: int) -> Layer:
        def read(at: Cursor) -> None:
            length = at.number("length", 2, "octets in this record")
            at.rest("begun packet", f"{at.left} of {counted(length)}")
            at.summary = f"the beginning of a record of {counted(length)}"

        return read_layer("record, begun", octets, start, end, read)

    def _record(self, octets: bytes, start: int, end: int, name: str = "record") -> Layer:
        def read(at: Cursor) -> None:
            length = at.number("length", 2, "octets in this record", lambda value: "" if value else "is 0")
            at.summary = f"{counted(length)}"
            for layer in self._packet(octets, at.position, end):
                at.add(layer)
                at.summary = layer.summary

        return read_layer(name, octets, start, end, read)

    # ── packets ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _packet(self, octets: bytes, start: int, end: int) -> list[Layer]:
        if start >= end:
            return []
        opcode = octets[start] >> 3
        read = self._data if opcode in (DATA_V1, DATA_V2) else self._control
        if opcode not in OPCODES or opcode < 3:
            read = self._unknown
        return [read_layer("OpenVPN", octets, start, end, read)]

    def _unknown(self, at: Cursor) -> None:
        _opcode(at, "is not from 3 to 11")
        at.rest("payload")

    def _data(self, at: Cursor) -> None:
        opcode, key_id = _opcode(at)
        if opcode == DATA_V2:
            at.number("peer id", 3, lambda value: "none" if value == 0xFFFFFF else "")
        packet_id = at.number("packet id", 4, "", lambda value: "" if value else "is 0, which is never sent")
        at.summary = f"{OPCODES[opcode]}, key id {key_id}, packet id {packet_id}"
        at.take("authentication tag", TAG_OCTETS)
        if not at.left:
            at.bits("ciphertext", at.position, at.position, "", "", "is empty")
            return
        at.rest("ciphertext")
        for channel in self._channels:
            found = channel.peek(at.octets[at.start : at.end])
            if isinstance(found, Opened):
                opened = self._opened(found.packet)
                at.add(opened)
                at.summary += f" ({opened.summary})"
                return
        if self._channels:
            at.mark("no key of this session opens it")

    def _opened(self, plaintext: bytes) -> Layer:
        """What a data packet carries. Its octets stand nowhere in the frame."""
        if plaintext == PING or plaintext.startswith(OCC):
            name = "ping" if plaintext == PING else "options consistency message"
            layers = [_opaque(name, plaintext, 0, len(plaintext))]
        else:
            layers = internet.packet(self.inner, plaintext, 0, len(plaintext))
        return Layer("opened", plaintext, 0, len(plaintext), tuple(layers), internet.told(layers))

    def _control(self, at: Cursor) -> None:
        opcode, key_id = _opcode(at)
        at.summary = f"{OPCODES[opcode]}, key id {key_id}"
        at.take("session id", 8)
        match self._wrapping:
            case "plain":
                _control_body(at, opcode)
            case "tls-crypt":
                at.number("replay id", 4, hexadecimal=True)
                at.number("time", 4, "seconds since 1970")
                at.take("tls-crypt tag", 32)
                at.rest("encrypted message")
            case "tls-auth":
                at.rest("HMAC, replay id, time, message", "the HMAC's length is the digest's")
            case _:
                at.rest("message", "how it is wrapped is not known here")


def _opcode(at: Cursor, problem: str = "") -> tuple[int, int]:
    """Read the first octet: five bits of opcode, three of key id."""
    first = at.shared("opcode and key id", 1)
    opcode, key_id = first >> 3, first & 7
    at.bits("opcode", at.start, at.start + 1, opcode, OPCODES.get(opcode, "unknown"), problem)
    at.bits("key id", at.start, at.start + 1, key_id)
    at.summary = OPCODES.get(opcode, f"opcode {opcode}")
    return opcode, key_id


def _control_body(at: Cursor, opcode: int) -> None:
    """Read acknowledgements and message id (PROTOCOL 3.1)."""
    count = at.number("acknowledgement count", 1, "", lambda value: "is over 8" if value > 8 else "")
    if count > 8:
        at.rest("unreadable")
        return
    for _ in range(count):
        at.number("acknowledged message id", 4)
    if count:
        at.take("remote session id", 8)
    if opcode != ACK_V1:
        message = at.number("message id", 4)
        at.summary += f", message id {message}"
        at.rest("payload")


def _opaque(name: str, octets: bytes, start: int, end: int, words: str = "") -> Layer:
    def read(at: Cursor) -> None:
        at.rest(name)
        at.summary = words or f"{name}, {counted(end - start)}"

    return read_layer(name, octets, start, end, read)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _channels(session: Session | None) -> tuple[DataChannel, ...]:
    """One for each direction: what the gateway seals, and what it opens."""
    if session is None:
        return ()
    return tuple(
        DataChannel(session.cipher, key.key, key.implicit_iv, session.key_id, session.peer_id)
        for key in (session.send, session.receive)
    )
