"""The reliability layer of one key: messages leave until they are acknowledged, and arrive once and in order.

Six messages may be on their way, twelve are held (reliable.c, ssl.h TLS_RELIABLE_N_SEND_BUFFERS and _REC_BUFFERS).
A message that is not acknowledged leaves again after 2 s, 4 s, and so on; over TCP too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from glassgate.conformance.server.control import Opcode

SEND_WINDOW = 6
RECEIVE_WINDOW = 12
FIRST_TIMEOUT = 2.0
MOST_PIGGYBACKED = 4
MOST_IN_ACK = 8


@dataclass(slots=True)
class Outgoing:
    """A message on its way."""

    opcode: Opcode
    message_id: int
    payload: bytes
    meaning: str
    """What it is for, in words; for who watches."""
    due: float
    timeout: float = FIRST_TIMEOUT
    times: int = 0
    """How often it has left."""


class Reliability:
    """Both directions of one key's control channel."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Opcode, bytes, str]] = deque()
        self._sent: list[Outgoing] = []
        self._next_send = 0
        self._held: dict[int, bytes] = {}
        self._next_receive = 0
        self._to_acknowledge: list[int] = []
        self._told: list[int] = []

    def queue(self, opcode: Opcode, payload: bytes, meaning: str = "") -> None:
        """Give a message to be sent, behind those before it."""
        self._queue.append((opcode, payload, meaning))

    def due(self, now: float) -> list[Outgoing]:
        """What leaves now, for the first time or again; its next time is noted."""
        while self._queue and len(self._sent) < SEND_WINDOW:
            opcode, payload, meaning = self._queue.popleft()
            self._sent.append(Outgoing(opcode, self._next_send, payload, meaning, now))
            self._next_send += 1
        leaving = [message for message in self._sent if message.due <= now]
        for message in leaving:
            message.due = now + message.timeout
            message.timeout *= 2
            message.times += 1
        return leaving

    def acknowledged(self, message_ids: tuple[int, ...]) -> None:
        """The peer has these; ids that are not on their way are of no interest."""
        self._sent = [message for message in self._sent if message.message_id not in message_ids]

    def arrived(self, message_id: int, payload: bytes) -> list[bytes]:
        """Take a message; returns the payloads that are in order now. One beyond the window is as if lost."""
        if message_id >= self._next_receive + RECEIVE_WINDOW:
            return []
        if message_id not in self._to_acknowledge:
            self._to_acknowledge.append(message_id)
        if message_id >= self._next_receive:
            self._held.setdefault(message_id, payload)
        in_order = []
        while self._next_receive in self._held:
            in_order.append(self._held.pop(self._next_receive))
            self._next_receive += 1
        return in_order

    def take_acknowledgements(self, most: int) -> tuple[int, ...]:
        """What the peer is to be told that it came; in what room is left, what it was told lately.

        An acknowledgement is not acknowledged: said once, it could be lost, and the message would come again after
        ever longer times (reliable.c, reliable_ack_write with its list of the last ones).
        """
        taken, self._to_acknowledge = self._to_acknowledge[:most], self._to_acknowledge[most:]
        taken += [message_id for message_id in self._told if message_id not in taken][: most - len(taken)]
        self._told = (taken + [message_id for message_id in self._told if message_id not in taken])[:MOST_IN_ACK]
        return tuple(taken)

    @property
    def owes_acknowledgement(self) -> bool:
        """Whether something came that was not acknowledged."""
        return bool(self._to_acknowledge)

    @property
    def is_idle(self) -> bool:
        """Whether all that was given was acknowledged."""
        return not self._queue and not self._sent

    @property
    def deadline(self) -> float | None:
        """When something leaves again."""
        return min((message.due for message in self._sent), default=None)
