"""One key of a session: its control channel, its TLS, its key exchange messages.

    reset acknowledged → TLS handshake → the client's message → ours → control strings

A session's first key and every later one take the same way; what differs is who decides when the data keys are made
(see ``session``).
"""

from __future__ import annotations

from OpenSSL import SSL

from glassgate.conformance.server import key_exchange
from glassgate.conformance.server.control import Message, Opcode
from glassgate.conformance.server.key_exchange import ClientMessage, Randoms
from glassgate.conformance.server.reliability import Reliability
from glassgate.conformance.server.settings import Settings
from glassgate.conformance.server.tls import DATA_KEYS_LABEL, RecordNames, TlsServer
from glassgate.contract import Entropy

TLS_OCTETS = 1100  # so that a control packet, whatever wraps it, is not over OpenVPN's 1250 with its outer headers


class Negotiation:
    """The server's side of one key's negotiation."""

    def __init__(
        self, key_id: int, reset: Opcode, settings: Settings, context: SSL.Context, entropy: Entropy, now: float
    ) -> None:
        self.key_id = key_id
        self.began = now
        self.reliability = Reliability()
        self.client: ClientMessage | None = None
        """What the client said, once it did."""
        self.finished: float | None = None
        """When both had said what makes the data keys."""
        self._tls = TlsServer(context)
        self._randoms = Randoms(entropy(32), entropy(32))
        self._options = settings.options_string()
        self._received, self._sent = RecordNames(), RecordNames()
        self.reliability.queue(reset, b"")

    def receive(self, message: Message, now: float) -> tuple[list[str], str]:
        """Take a message; returns the control strings that it completes, and in words what it brought.

        Raises:
            Refused: the TLS stream or the key exchange message is not right.
        """
        self.reliability.acknowledged(message.acknowledged)
        if message.message_id is None:
            return [], ""
        octets = b"".join(self.reliability.arrived(message.message_id, message.payload))
        meanings = self._received.names(octets)
        was_up = self._tls.is_up
        records = self._tls.receive(octets) if octets else []
        if self._tls.is_up and not was_up:
            meanings.append(f"TLS is up ({self._tls.agreed})")
        self._flush("")
        if records and self.client is None:
            meanings.append("key exchange message of the client")
            self._exchange(records.pop(0), now)
        strings = [text for record in records for text in _strings(record)]
        return strings, "; ".join(meanings + [_told(text) for text in strings])

    def _exchange(self, record: bytes, now: float) -> None:
        self.client = key_exchange.parse(record)
        self._tls.write(key_exchange.build(self._randoms, self._options))
        self._flush("key exchange message of the server")
        self.finished = now

    def say(self, text: str) -> None:
        """Say a control string."""
        self._tls.write(text.encode() + b"\0")
        self._flush(_told(text))

    def key_block(self, *, by_exporter: bool, client_session_id: bytes, server_session_id: bytes) -> bytes:
        """The 256 octets of key that both ends know now."""
        assert self.client is not None
        if by_exporter:
            return self._tls.export(DATA_KEYS_LABEL)
        return key_exchange.prf_key_block(
            self.client.pre_master, self.client.randoms, self._randoms, client_session_id, server_session_id
        )

    def export(self, label: bytes) -> bytes:
        """Keying material of this key's TLS session."""
        return self._tls.export(label)

    def _flush(self, meaning: str) -> None:
        """Queue what TLS has written."""
        octets = self._tls.take()
        for start in range(0, len(octets), TLS_OCTETS):
            payload = octets[start : start + TLS_OCTETS]
            names = "; ".join(self._sent.names(payload))
            self.reliability.queue(Opcode.P_CONTROL_V1, payload, f"{names}: {meaning}" if meaning else names)


def _strings(record: bytes) -> list[str]:
    """The control strings in a record, each ended by a zero octet (ssl_pkt.c extract_command_buffer)."""
    return [part.decode("ascii", "replace").rstrip("\r\n") for part in record.split(b"\0")[:-1]]


def _told(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}…"
