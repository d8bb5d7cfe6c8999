"""A gateway in this process, handled as roughly as its contract allows.

Outputs are copied at once. The input buffer is overwritten with 0xA5 after each call, so a gateway that kept a view of
it sends rubbish and is found out. On the second pass the input is a read-only view at an odd offset, so one that
writes into its input, or relies on alignment, is found out too. A call that does not return is interrupted.
"""

from __future__ import annotations

import json
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from glassgate.conformance.matching import Actual, ActualAction, ActualPacket
from glassgate.conformance.model import VectorPort
from glassgate.conformance.subjects.subject import Fault, Refused, Reply, Said, SaysUnsupported, SubjectFault
from glassgate.contract import (
    CloseFlow,
    ConfigError,
    Effect,
    FlowEvent,
    Gateway,
    GatewayConfig,
    Implementation,
    Note,
    NoteKind,
    OpenFlow,
    Port,
    Rule,
    SeededEntropy,
    Transmit,
    Unsupported,
)

_Value = TypeVar("_Value")
POISON = 0xA5
PLAIN = "buffers overwritten after each call"
ODD_VIEWS = "read-only views at odd offsets"
DEFAULT_LIMIT = 5.0
_DOORS = ("start", "receive", "flow", "tick", "deadline")
_PORTS = {Port.INTERNAL: VectorPort.INTERNAL, Port.EXTERNAL: VectorPort.EXTERNAL, Port.FLOW: VectorPort.FLOW}


class InProcess:
    """Drives an implementation. ``limit`` is the number of seconds that one call may take."""

    passes: tuple[str, ...] = (PLAIN, ODD_VIEWS)

    def __init__(self, implementation: Implementation, limit: float = DEFAULT_LIMIT) -> None:
        self._implementation = implementation
        self._limit = limit
        self._gateway: Gateway | None = None
        self._run = PLAIN
        self._checked: tuple[Mapping[str, Any], GatewayConfig] | None = None

    @property
    def name(self) -> str:
        """The implementation's name."""
        return self._implementation.name

    @property
    def version(self) -> str:
        """The implementation's version."""
        return self._implementation.version

    @property
    def language(self) -> str:
        """The implementation's language."""
        return self._implementation.language

    @property
    def capabilities(self) -> frozenset[str]:
        """What the implementation declares."""
        return self._implementation.capabilities

    def start(self, config: Mapping[str, Any], now: float, run: str = PLAIN) -> Reply:
        """Make a gateway and start it.

        Raises:
            Refused: the configuration is an error.
            SaysUnsupported: a capability is lacking.
            SubjectFault: the gateway raised something else, or does not return.
        """
        self._run = run
        self._gateway = None
        try:
            checked = self._check(config)
            with _watched(self._limit):
                self._gateway = _made(self._implementation, checked)
        except ConfigError as error:
            raise Refused(str(error)) from None
        except Unsupported as error:
            raise SaysUnsupported(error.capability) from None
        return self._called(lambda gateway: gateway.start(now))

    def _check(self, config: Mapping[str, Any]) -> GatewayConfig:
        """The configuration, read once for all passes of a vector."""
        if self._checked is None or self._checked[0] is not config:
            self._checked = config, GatewayConfig.from_json(config)
        return self._checked[1]

    def receive(self, port: Port, data: bytes, now: float) -> Reply:
        """Give octets in a buffer that is spoilt afterwards.

        Raises:
            SubjectFault: the gateway raised an exception, or does not return.
        """
        if self._run == ODD_VIEWS:
            buffer = bytearray(b"\0" + data)
            given: bytearray | memoryview = memoryview(buffer)[1:].toreadonly()
        else:
            given = buffer = bytearray(data)
        try:
            return self._called(lambda gateway: gateway.receive(port, given, now))
        finally:
            buffer[:] = bytes([POISON]) * len(buffer)

    def flow(self, event: FlowEvent, now: float) -> Reply:
        """Tell what became of the transport.

        Raises:
            SubjectFault: the gateway raised an exception, or does not return.
        """
        return self._called(lambda gateway: gateway.flow(event, now))

    def tick(self, now: float) -> Reply:
        """Let time pass.

        Raises:
            SubjectFault: the gateway raised an exception, or does not return.
        """
        return self._called(lambda gateway: gateway.tick(now))

    def close(self) -> None:
        """Forget the gateway."""
        self._gateway = None

    def _called(self, call: Callable[[Gateway], list[Effect]]) -> Reply:
        gateway = self._gateway
        if gateway is None:
            raise SubjectFault(Fault.ERROR, "the gateway is not started")
        with _watched(self._limit):
            effects = call(gateway)
            reply = _copied(effects, gateway.deadline)
        return reply


def _made(implementation: Implementation, config: GatewayConfig) -> Gateway:
    """A new gateway, if the factory makes one."""
    made: Any = implementation(config, SeededEntropy(config.entropy))
    missing = [door for door in _DOORS if not hasattr(made, door)]
    if missing:
        raise SubjectFault(
            Fault.RUBBISH, f"the factory returned {type(made).__name__}, which is no Gateway: no {', '.join(missing)}"
        )
    gateway: Gateway = made
    return gateway


def _copied(effects: object, deadline: object) -> Reply:
    """The effects as the judge wants them, copied before anybody can change them, if they are effects."""
    if not isinstance(effects, list):
        raise SubjectFault(Fault.RUBBISH, f"the gateway returned {type(effects).__name__}, not a list of effects")
    if deadline is not None and not (isinstance(deadline, int | float) and deadline == deadline):
        raise SubjectFault(Fault.RUBBISH, f"the gateway's deadline is {deadline!r}")
    made: list[Actual] = []
    notes: list[Said] = []
    for effect in effects:
        if isinstance(effect, Note):
            notes.append(_said(effect))
        else:
            made.append(_actual(effect))
    return Reply(tuple(made), tuple(notes), deadline)


def _actual(effect: object) -> Actual:
    if isinstance(effect, Transmit) and effect.port in _PORTS:
        return ActualPacket(_PORTS[effect.port], bytes(effect.data))
    if isinstance(effect, OpenFlow):
        return ActualAction("open")
    if isinstance(effect, CloseFlow):
        return ActualAction("close")
    raise SubjectFault(Fault.RUBBISH, f"the gateway returned {effect!r:.60}, which is no effect")


def _said(note: Note) -> Said:
    try:
        kind, rule = NoteKind(note.kind), note.rule
        detail = dict(note.detail)
        json.dumps(detail, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SubjectFault(Fault.RUBBISH, f"the gateway's note is no JSON: {error}: {note!r:.80}") from None
    if not isinstance(rule, Rule):
        raise SubjectFault(Fault.RUBBISH, f"the gateway's note has {rule!r:.60} for a rule")
    return Said(kind.value, rule.slug, detail)


# ── foreign code: whatever it does, it is a fault of the subject and not of ours ─────────────────────────────────────


class _Overdue(BaseException):
    """Interrupts a call that does not return. No ``except Exception`` of a gateway stops it."""


class _Foreign:
    """Turns whatever a gateway raises into a fault that tells where, an exit too. Our own exceptions pass."""

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception | SystemExit) and not isinstance(
            error, SubjectFault | ConfigError | Unsupported
        ):
            raise SubjectFault(Fault.ERROR, told(error)) from error


def told(error: BaseException) -> str:
    """An exception in one line: its class, its words, and the place that raised it.

    >>> told(ValueError("no"))
    'the gateway raised ValueError: no'
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    words = " ".join(str(error).split())
    return f"the gateway raised {type(error).__name__}{': ' if words else ''}{words[:200]}{place}"


def called_safely(call: Callable[[], _Value]) -> _Value:
    """The value of a call into foreign code.

    Raises:
        SubjectFault: it raised something that its contract does not know.
    """
    with _Foreign():
        return call()


@contextmanager
def _watched(limit: float) -> Iterator[None]:
    """Bound a call in time (in the main thread, where signals arrive) and translate what it raises."""
    if threading.current_thread() is not threading.main_thread():
        with _Foreign():
            yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Overdue

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        with _Foreign():
            yield
    except _Overdue:
        raise SubjectFault(Fault.HUNG, f"no answer within {limit:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
