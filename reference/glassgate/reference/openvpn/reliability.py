"""The reliability layer: control messages arrive once and in order, whatever the transport does.

What it answers: which messages are due, which acknowledgements, which payloads may be read now.
Above is TLS, a stream of octets; below are the packets. There is one of these for each key id: message ids start at 0
with each, and both sides number alone. It runs over TCP as over UDP, for the stock program does.

   send                                     receive
   queue ─→ window of 6 ─→ packets          packets ─→ window of 12 ─→ in order ─→ TLS
            again after 2, 4, 8 … s                   each acknowledged, repeated ones too
            at once after 3 later acks                beyond the window: dropped, not acknowledged

Standards: PROTOCOL.md section 4; OpenVPN reliable.c, ssl.c tls_process, reliable.h for the numbers.
Not here: when to give up, which is the negotiation's (hand-window).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from glassgate.reference.openvpn.packets import MOST_ACKNOWLEDGEMENTS, Opcode

SEND_WINDOW = 6
"""ssl_common.h TLS_RELIABLE_N_SEND_BUFFERS."""
RECEIVE_WINDOW = 12
"""ssl_common.h TLS_RELIABLE_N_REC_BUFFERS."""
LATER_ACKNOWLEDGEMENTS = 3
"""reliable.h N_ACK_RETRANSMIT."""
MOST_PIGGYBACKED = 4
"""ssl.c CONTROL_SEND_ACK_MAX: acknowledgements in a packet that is a message itself."""


@dataclass(slots=True)
class Message:
    """One message on its way: sent until it is acknowledged."""

    opcode: Opcode
    message_id: int
    payload: bytes
    timeout: float
    due: float
    acknowledged_later: int = 0

    def sent(self, now: float) -> None:
        """Wait for twice as long as the last time (reliable.c reliable_send)."""
        self.due = now + self.timeout
        self.timeout *= 2
        self.acknowledged_later = 0

    def is_due(self, now: float) -> bool:
        """Whether it must be sent (again)."""
        return now >= self.due or self.acknowledged_later >= LATER_ACKNOWLEDGEMENTS


class Reliability:
    """Both directions of one key id's messages."""

    def __init__(self, first_timeout: float) -> None:
        self._first_timeout = first_timeout
        self._queue: deque[tuple[Opcode, bytes]] = deque()
        self._flight: dict[int, Message] = {}
        self._next_to_send = 0
        self._next_to_read = 0
        self._held: dict[int, tuple[Opcode, bytes]] = {}
        self._to_acknowledge: list[int] = []
        self._recently_acknowledged: deque[int] = deque(maxlen=MOST_ACKNOWLEDGEMENTS)

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, opcode: Opcode, payload: bytes) -> None:
        """Queue one message; it leaves when the window has room."""
        self._queue.append((opcode, payload))

    def due(self, now: float) -> list[Message]:
        """The messages to send now, lowest id first; each is due again after its timeout."""
        self._fill_window(now)
        due = [message for message in self._flight.values() if message.is_due(now)]
        for message in due:
            message.sent(now)
        return due

    def acknowledged(self, message_ids: Iterable[int]) -> None:
        """The peer has these. Ids that are not in flight are repetitions, and ignored (PROTOCOL 4)."""
        for message_id in message_ids:
            self._flight.pop(message_id, None)
            for message in self._flight.values():
                if message.message_id < message_id:
                    message.acknowledged_later += 1

    @property
    def everything_acknowledged(self) -> bool:
        """Whether nothing waits or is in flight."""
        return not self._flight and not self._queue

    @property
    def first_is_acknowledged(self) -> bool:
        """Whether the message of id 0, our reset, has arrived."""
        return self._next_to_send > 0 and 0 not in self._flight

    @property
    def deadline(self) -> float | None:
        """When ``due`` next has something."""
        if any(message.acknowledged_later >= LATER_ACKNOWLEDGEMENTS for message in self._flight.values()):
            return 0.0
        return min((message.due for message in self._flight.values()), default=None)

    def _fill_window(self, now: float) -> None:
        """The window is a span of ids: the lowest in flight holds it (reliable_get_buf_output_sequenced)."""
        while self._queue:
            lowest = min(self._flight, default=self._next_to_send)
            if self._next_to_send >= lowest + SEND_WINDOW:
                return
            opcode, payload = self._queue.popleft()
            self._flight[self._next_to_send] = Message(
                opcode, self._next_to_send, payload, timeout=self._first_timeout, due=now
            )
            self._next_to_send += 1

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, message_id: int, opcode: Opcode, payload: bytes) -> bool:
        """Take one message. False if it is beyond the window, so neither kept nor acknowledged."""
        if message_id >= self._next_to_read + RECEIVE_WINDOW:
            return False
        if message_id >= self._next_to_read:
            self._held.setdefault(message_id, (opcode, payload))
        if message_id not in self._to_acknowledge and len(self._to_acknowledge) < MOST_ACKNOWLEDGEMENTS:
            self._to_acknowledge.append(message_id)
        return True

    def read(self) -> list[tuple[Opcode, bytes]]:
        """What arrived and is next in order."""
        ready = []
        while self._next_to_read in self._held:
            ready.append(self._held.pop(self._next_to_read))
            self._next_to_read += 1
        return ready

    @property
    def owes_acknowledgement(self) -> bool:
        """Whether something received has not been acknowledged yet."""
        return bool(self._to_acknowledge)

    def acknowledgements(self, at_most: int) -> tuple[int, ...]:
        """The ids to put into the next packet: new ones first, then recent ones again (reliable_ack_write)."""
        fresh, self._to_acknowledge = self._to_acknowledge[:at_most], self._to_acknowledge[at_most:]
        for message_id in reversed(fresh):
            if message_id in self._recently_acknowledged:
                self._recently_acknowledged.remove(message_id)
            self._recently_acknowledged.appendleft(message_id)
        return tuple(self._recently_acknowledged)[:at_most]
