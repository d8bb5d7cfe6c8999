"""A gateway that gets its keys by a real handshake: so the vectors, whose keys are known, judge that session too.

The configuration gets an ``ovpn`` file in place of ``session``, and the suite's own server makes the tunnel before the
vector begins. From then on every record of the vector is opened with the vector's keys and sealed with those that the
handshake made, under the same packet id, and back. A record that does not open is passed on as it is: it will not open
there either. Control packets stay between gateway and server; those of a vector, which no server sent, go nowhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from glassgate.conformance.far_end import DataChannel, Opened, StreamFraming
from glassgate.conformance.matching import Actual, ActualAction, ActualPacket
from glassgate.conformance.model import Vector, VectorPort
from glassgate.conformance.server.control import DATA, Opcode
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import Introduction, client_configuration, introduce
from glassgate.conformance.server.session import Ended, Installed, Output, Send
from glassgate.conformance.server.settings import Control, Settings
from glassgate.conformance.subjects.subject import Fault, Reply, Said, Subject, SubjectFault
from glassgate.contract import ConfigError, FlowEvent, GatewayConfig, Port, SeededEntropy, Session, rules

MOST_PACKETS = 1000
"""More than this in one handshake is a conversation without an end."""
LONGER = 268  # a record that is so much longer than an inner packet may be ends the connection at once (S3)
CONTROL = frozenset(Opcode) - frozenset(DATA)
USUAL_MTU = 1500
LARGEST_PUSHED_MTU = 1600  # what a client lets itself be told (OpenVPN options.c, TUN_MTU_MAX_MIN)


def leads_to(vector: Vector) -> bool:
    """Whether a handshake can end where the vector begins: at its first key and first packet id, and nothing odder.

    What becomes of known keys when their flow is lost is no question here: a handshake makes others. Nor is how long
    a record may be where the MTU is small: a gateway that negotiates takes control packets of every tunnel's length.
    """
    if rules.S4_KEYS_END.slug in vector.rules:
        return False
    try:
        session = GatewayConfig.from_json(vector.config).tunnel.session
    except ConfigError:
        return True  # it will be refused, and that is what is judged
    if session is None or session.key_id != 0 or session.mtu > LARGEST_PUSHED_MTU:
        return False
    if rules.S3_BAD_LENGTH.slug in vector.rules and session.mtu < USUAL_MTU:
        return False
    return session.send.next_packet_id == 1


class ThroughHandshake:
    """Wraps a subject that has ``ovpn`` and ``external.os``."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._tunnel: _Tunnel | None = None

    @property
    def name(self) -> str:
        """The subject's name, and the way."""
        return f"{self._subject.name} after a handshake"

    @property
    def version(self) -> str:
        """The subject's version."""
        return self._subject.version

    @property
    def language(self) -> str:
        """The subject's language."""
        return self._subject.language

    @property
    def capabilities(self) -> frozenset[str]:
        """What the subject declares, its handshake standing for known keys. (Its own stack is not on this way.)"""
        declared = self._subject.capabilities - {"external.stack", "session"}
        return declared | {"session"} if "ovpn" in declared else declared

    @property
    def passes(self) -> tuple[str, ...]:
        """The subject's plain pass: what buffers it keeps, the others have shown."""
        return self._subject.passes[:1]

    def start(self, config: Mapping[str, Any], now: float, run: str) -> Reply:
        """Begin afresh, and make the tunnel.

        Raises:
            Refused: the configuration is an error.
            SaysUnsupported: a capability is lacking.
            SubjectFault: the subject failed, or there is no tunnel after the handshake.
        """
        self._tunnel = None
        try:
            checked = GatewayConfig.from_json(config)
        except ConfigError:
            return self._subject.start(config, now, run)
        assert checked.tunnel.session is not None
        tunnel = _Tunnel(checked, checked.tunnel.session)
        changed = {name: value for name, value in config["tunnel"].items() if name != "session"}
        first = self._subject.start({**config, "tunnel": {**changed, "ovpn": tunnel.ovpn}}, now, run)
        self._tunnel = tunnel
        opened = self._subject.flow(FlowEvent.OPENED, now)
        reply = self._translated(opened, [], now)
        if tunnel.made is None:
            raise SubjectFault(Fault.ERROR, f"no tunnel came of the handshake: {tunnel.ended or 'it stopped'}")
        own = tuple(effect for effect in first.effects if effect != ActualAction("open"))
        return Reply(own + reply.effects, first.notes + reply.notes, reply.deadline)

    def receive(self, port: Port, data: bytes, now: float) -> Reply:
        """Give octets at a port; those of the flow are sealed anew.

        Raises:
            SubjectFault: the subject failed.
        """
        if port is Port.FLOW and self._tunnel is not None:
            return self._translated(self._subject.tick(now), self._tunnel.to_gateway(data), now)
        return self._translated(self._subject.receive(port, data, now), [], now)

    def flow(self, event: FlowEvent, now: float) -> Reply:
        """Tell what became of the transport. After it was lost, nobody answers a handshake any more.

        Raises:
            SubjectFault: the subject failed.
        """
        if self._tunnel is not None:
            self._tunnel.lost()
        return self._translated(self._subject.flow(event, now), [], now)

    def tick(self, now: float) -> Reply:
        """Let time pass.

        Raises:
            SubjectFault: the subject failed.
        """
        return self._translated(self._subject.tick(now), [], now)

    def close(self) -> None:
        """Let go of the subject."""
        self._subject.close()

    def _translated(self, reply: Reply, given: list[bytes], now: float) -> Reply:
        """What a reply means to the vector, after packets have gone to and fro until nobody has more to say."""
        effects: list[Actual] = []
        notes: list[Said] = [*reply.notes]
        answers = deque(given)
        deadline = reply.deadline
        self._take(reply.effects, effects, answers, now)
        for _ in range(MOST_PACKETS):
            if not answers:
                return Reply(tuple(effects), tuple(notes), deadline)
            further = self._subject.receive(Port.FLOW, answers.popleft(), now)
            notes += further.notes
            deadline = further.deadline
            self._take(further.effects, effects, answers, now)
        raise SubjectFault(Fault.ERROR, f"the handshake has no end ({MOST_PACKETS} packets)")

    def _take(self, given: tuple[Actual, ...], effects: list[Actual], answers: deque[bytes], now: float) -> None:
        for actual in given:
            if self._tunnel is None or not isinstance(actual, ActualPacket) or actual.port is not VectorPort.FLOW:
                if isinstance(actual, ActualAction) and self._tunnel is not None:
                    self._tunnel.lost()
                effects.append(actual)
                continue
            records, replies = self._tunnel.from_gateway(actual.data, now)
            effects += [ActualPacket(VectorPort.FLOW, record) for record in records]
            answers.extend(replies)


class _Tunnel:
    """The server of one vector, and the translation of its records."""

    def __init__(self, config: GatewayConfig, session: Session) -> None:
        settings, introduction = _introduced()
        self._settings: Settings = replace(
            settings, proto=config.tunnel.proto, ciphers=(session.cipher,), peer_id=session.peer_id,
            address=session.address, mtu=session.mtu,
        )  # fmt: skip
        remote, port = str(config.tunnel.remote), config.tunnel.port
        self.ovpn = client_configuration(self._settings, introduction, remote, port) + "reneg-sec 0\nmssfix 0\n"
        self.made: Session | None = None
        self.ended = ""
        self._known = session
        self._endpoint = Endpoint(self._settings, SeededEntropy(config.entropy))
        self._is_stream = config.tunnel.proto == "tcp"
        self._sent, self._given = StreamFraming(), StreamFraming()
        self._is_lost = False

    def lost(self) -> None:
        """The transport is gone, and with it the server."""
        self._is_lost = True
        self._sent.clear()
        self._given.clear()

    def from_gateway(self, octets: bytes, now: float) -> tuple[list[bytes], list[bytes]]:
        """What the gateway sent: the records that the vector sees, and what the server answers."""
        seen: list[bytes] = []
        replies: list[bytes] = []
        for record in self._sent.push(octets) if self._is_stream else [octets]:
            if not record or record[0] >> 3 in DATA:
                seen.append(self._framed(self._resealed(record, self.made, self._known, "send")))
            elif not self._is_lost:
                replies += self._heard(self._endpoint.receive(self._framed(record), now))
        return seen, replies

    def to_gateway(self, octets: bytes) -> list[bytes]:
        """What the vector gives, as the gateway is to get it; a record that has begun waits for its end."""
        if self.made is None or self._is_lost:
            return [octets]
        if not self._is_stream:
            return [] if _is_control(octets) else [self._resealed(octets, self._known, self.made, "receive")]
        records = [record for record in self._given.push(octets) if not _is_control(record)]
        given = [self._framed(self._resealed(record, self._known, self.made, "receive")) for record in records]
        if len(held := self._given.held) >= 2 and int.from_bytes(held[:2], "big") > self._settings.mtu + LONGER:
            self._given.clear()
            given.append(held)  # its length alone is an end
        return [b"".join(given)] if given else []

    def _heard(self, outputs: list[Output]) -> list[bytes]:
        for output in outputs:
            if isinstance(output, Installed):
                self.made = output.session
            elif isinstance(output, Ended):
                self.ended = output.reason
        return [output.packet for output in outputs if isinstance(output, Send)]

    def _framed(self, record: bytes) -> bytes:
        return StreamFraming.framed(record) if self._is_stream else record

    @staticmethod
    def _resealed(record: bytes, before: Session | None, after: Session | None, way: str) -> bytes:
        """The record under the other session's key of the same direction; one that does not open, as it is."""
        if before is None or after is None:
            return record
        opened = _channel(before, way, before.peer_id).peek(record)
        if not isinstance(opened, Opened):
            return record
        peer_id = int.from_bytes(record[1:4], "big") if record[0] >> 3 == DATA[1] else None
        channel = _channel(after, way, peer_id)
        channel.next_packet_id = opened.packet_id
        return channel.seal(opened.packet)


def _is_control(record: bytes) -> bool:
    return bool(record) and record[0] >> 3 in CONTROL


def _channel(session: Session, way: str, peer_id: int | None) -> DataChannel:
    key = session.send if way == "send" else session.receive
    return DataChannel(session.cipher, key.key, key.implicit_iv, session.key_id, peer_id)


@cache
def _introduced() -> tuple[Settings, Introduction]:
    """One authority for all vectors of a run. Without tls-crypt: what wraps is judged elsewhere, and takes time."""
    settings, introduction = introduce(SeededEntropy(b"the suite"), Control.PLAIN)
    return replace(settings, ping=0, renews_wrapping=False), introduction
