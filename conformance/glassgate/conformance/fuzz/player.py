"""Plays a story on one gateway: feeds each operation, copies what comes out, keeps it in comparable form.

The gateway gets each input in a buffer that is overwritten after the call, so that one that keeps a view of it parts
from one that does not. What it sends at ``flow`` is opened by the judge's own far end: two gateways need not seal the
same octets, since what they originate themselves may differ in its identification.
"""

from __future__ import annotations

import traceback

from glassgate.conformance.far_end import FarEnd, Opened
from glassgate.conformance.fuzz.oracles import Output, Turn
from glassgate.conformance.fuzz.stories import Story
from glassgate.conformance.model import FlowInput, Input, PacketInput, StartInput, TickInput, VectorPort
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


def play(implementation: Implementation, story: Story) -> list[Turn]:
    """One turn for each operation, the start first. After an exception the rest of the turns are empty."""
    config = story.gateway_config
    assert config.tunnel.session is not None, "stories have known keys"
    gateway = implementation(config, SeededEntropy(config.entropy))
    player = _Player(gateway, FarEnd(config.tunnel.session, config.tunnel.proto))
    turns: list[Turn] = []
    for now, input_ in story.timed():
        if turns and turns[-1].error:
            turns.append(Turn(()))
            continue
        turns.append(player.turn(input_, now))
    return turns


class _Player:
    def __init__(self, gateway: Gateway, far_end: FarEnd) -> None:
        self._gateway = gateway
        self._far_end = far_end

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
            case PacketInput(VectorPort.TUNNEL, data):
                return self._receive(Port.FLOW, self._far_end.send(data), now)
            case PacketInput(port, data):
                if port is VectorPort.FLOW:
                    self._far_end.note_injected(data)
                return self._receive(Port(port), data, now)

    def _receive(self, port: Port, data: bytes, now: float) -> list[Effect]:
        buffer = bytearray(data)
        effects = self._gateway.receive(port, buffer, now)
        buffer[:] = bytes([OVERWRITTEN]) * len(buffer)
        return effects

    def _told(self, effects: list[Effect]) -> Turn:
        outputs: list[Output] = []
        rules: list[str] = []
        for effect in effects:
            match effect:
                case Transmit(Port.FLOW, data):
                    outputs += self._opened(bytes(data))
                case Transmit(port, data):
                    outputs.append(Output(str(port), bytes(data)))
                case OpenFlow():
                    outputs.append(Output("open"))
                case CloseFlow():
                    self._far_end.reconnect()
                    outputs.append(Output("close"))
                case Note(kind, rule):
                    if kind is not NoteKind.STATE:
                        rules.append(rule.slug)
        return Turn(tuple(outputs), tuple(rules))

    def _opened(self, data: bytes) -> list[Output]:
        return [
            Output("tunnel", one.packet) if isinstance(one, Opened) else Output("unreadable", one.octets)
            for one in self._far_end.receive(data)
        ]
