"""Plays a story on one gateway: feeds each operation, copies what comes out, keeps it in comparable form.

The gateway gets each input in a buffer that is overwritten after the call, so that one that keeps a view of it parts
from one that does not. What it sends at ``flow`` is opened by the judge's own far end: two gateways need not seal the
same octets, since what they originate themselves may differ in its identification.

A host that speaks TCP with the gateway acknowledges from the gateway's initial sequence number on, which each gateway
chooses: the player remembers it from the SYN that it saw, fills it into what the host says, and tells the judge.
"""

from __future__ import annotations

import traceback

from glassgate.conformance.checksums import NoSuchField
from glassgate.conformance.far_end import FarEnd, Opened
from glassgate.conformance.fuzz.oracles import Output, Turn
from glassgate.conformance.fuzz.stories import Story
from glassgate.conformance.matching import filled
from glassgate.conformance.model import Bind, FlowInput, Input, PacketInput, StartInput, TickInput, VectorPort
from glassgate.contract import (
    CloseFlow,
    Effect,
    Gateway,
    Implementation,
    Note,
    NoteKind,
    OpenFlow,
    Port,
    SeededEntropy,
    Transmit,
)

OVERWRITTEN = 0xA5
SYN, RST, ACK = 0x02, 0x04, 0x10
REACH = 1 << 17
"""No story moves a sequence number so far; the clock of the initial ones needs half a second (RFC 9293 3.4.1)."""


def play(implementation: Implementation, story: Story) -> list[Turn]:
    """One turn for each operation, the start first. After an exception the rest of the turns are empty."""
    config = story.gateway_config
    assert config.tunnel.session is not None, "stories have known keys"
    gateway = implementation(config, SeededEntropy(config.entropy))
    player = Player(gateway, FarEnd(config.tunnel.session, config.tunnel.proto))
    turns: list[Turn] = []
    for now, input_ in story.timed():
        if turns and turns[-1].error:
            turns.append(Turn(()))
            continue
        turns.append(player.turn(input_, now))
    return turns


class Player:
    """One gateway and its far end, and what it has chosen so far: its initial sequence numbers."""

    def __init__(self, gateway: Gateway, far_end: FarEnd) -> None:
        self._gateway = gateway
        self._far_end = far_end
        self._initial: dict[bytes, int] = {}
        """The gateway's initial sequence numbers, by addresses and ports as a host's segment has them."""
        self._bases: dict[int, int] = {}
        """The acknowledgment numbers that hosts sent, and from which initial number each was counted (0: none)."""
        self._opening: set[bytes] = set()
        """Where a host sent a SYN and has seen no answer; it may have been lost on its way, waiting for ARP."""

    def turn(self, input_: Input, now: float) -> Turn:
        """One operation. Whatever the gateway raises is what is looked for, so all of it is caught here."""
        try:
            effects = self._feed(input_, now)
        except Exception as error:  # noqa: BLE001  the fuzzer's purpose: any exception is a finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            return Turn((), error=f"{type(error).__name__}: {error} (line {where.lineno} of {where.name})")
        return self._told(effects)

    def _feed(self, input_: Input, now: float) -> list[Effect]:
        match input_:
            case StartInput():
                return self._gateway.start(now)
            case TickInput():
                return self._gateway.tick(now)
            case FlowInput(event):
                self._far_end.reconnect()
                return self._gateway.flow(event, now)
            case PacketInput(VectorPort.TUNNEL):
                return self._receive(Port.FLOW, self._far_end.send(self._filled(input_)), now)
            case PacketInput(port):
                data = self._filled(input_)
                if port is VectorPort.FLOW:
                    self._far_end.note_injected(data)
                return self._receive(Port(port), data, now)

    def _filled(self, given: PacketInput) -> bytes:
        """The octets with the gateway's numbers and the checksums over them; as they are where that makes no sense."""
        data, base = given.data, 0
        start = 14 if given.port.carries_frames else 0
        initial = self._initial.get(_quoted(data[start:]) or _connection(data[start:]), 0)
        if given.fill and all(fill.end <= len(data) for fill in given.fill):
            numbers = {fill.name: initial for fill in given.fill if isinstance(fill, Bind)}
            try:
                data, base = filled(given, numbers), initial
            except NoSuchField:
                data = given.data
        segment = _segment(data[start:])
        if len(segment) >= 20:
            self._bases[int.from_bytes(segment[8:12], "big")] = base
            if segment[13] & (SYN | ACK) == SYN:
                self._opening.add(_connection(data[start:]))
        return data

    def _output(self, port: str, data: bytes) -> Output:
        """What came out; of a segment also the number that its sequence number is to be seen from."""
        packet = data[14:] if port == "internal" else data
        segment = _segment(packet)
        if len(segment) < 20:
            return Output(port, data)
        sequence, flags = int.from_bytes(segment[4:8], "big"), segment[13]
        back = _connection(packet[:12] + packet[16:20] + packet[12:16] + packet[20:], reverse=True)
        base = self._initial.get(back, 0)
        if flags & (SYN | ACK) == SYN | ACK:
            self._opening.discard(back)
            self._initial[back] = base = sequence
        elif not flags & RST and back in self._opening and (sequence - base) % 2**32 >= REACH:
            self._initial[back] = base = sequence - 1  # the SYN and ACK was not seen
        if flags & (RST | ACK) == RST:  # it repeats a number that a host sent (RFC 9293 3.10.7.1), or is our own
            base = self._bases.get(sequence, base)
        return Output(port, data, base)

    def _receive(self, port: Port, data: bytes, now: float) -> list[Effect]:
        buffer = bytearray(data)
        effects = self._gateway.receive(port, buffer, now)
        buffer[:] = bytes([OVERWRITTEN]) * len(buffer)
        return effects

    def _told(self, effects: list[Effect]) -> Turn:
        outputs: list[Output] = []
        rules: list[str] = []
        reasons: list[str] = []
        for effect in effects:
            match effect:
                case Transmit(Port.FLOW, data):
                    outputs += self._opened(bytes(data))
                case Transmit(port, data):
                    outputs.append(self._output(str(port), bytes(data)))
                case OpenFlow():
                    outputs.append(Output("open"))
                case CloseFlow():
                    self._far_end.reconnect()
                    outputs.append(Output("close"))
                case Note(kind, rule):
                    if kind is not NoteKind.STATE:
                        rules.append(rule.slug)
            reasons.append((effect.rule if isinstance(effect, Note) else effect.because).slug)
        return Turn(tuple(outputs), tuple(rules), reasons=tuple(reasons))

    def _opened(self, data: bytes) -> list[Output]:
        return [
            self._output("tunnel", one.packet) if isinstance(one, Opened) else Output("unreadable", one.octets)
            for one in self._far_end.receive(data)
        ]


def _segment(packet: bytes) -> bytes:
    """The TCP segment in an IPv4 packet that is no fragment, empty if there is none."""
    if len(packet) < 40 or packet[9] != 6 or packet[0] >> 4 != 4 or int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return b""
    return packet[4 * (packet[0] & 15) : int.from_bytes(packet[2:4], "big")]


def _connection(packet: bytes, *, reverse: bool = False) -> bytes:
    """Addresses and ports; ``reverse`` exchanges the ports (the caller has exchanged the addresses)."""
    ports = _segment(packet)[:4]
    return packet[12:20] + (ports[2:] + ports[:2] if reverse else ports)


def _quoted(packet: bytes) -> bytes:
    """The connection that an ICMP error is about, as a host's segment has it; nothing if this is none."""
    quote = packet[28:]
    if len(quote) < 24 or packet[9] != 1 or packet[0] != 0x45 or quote[0] != 0x45 or quote[9] != 6:
        return b""
    return quote[16:20] + quote[12:16] + quote[22:24] + quote[20:22]
