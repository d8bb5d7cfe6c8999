"""``glassgate demo``: the suite, then a handshake, a ping and a datagram followed through the network.

Everything happens in this process and needs no privilege. What comes out is not only shown: the ping's answer, the
datagram's answer and what the far end opened are compared with what RFC 791, RFC 792 and RFC 862 make of what the host
sent, octet for octet. If anything is otherwise, the exit status is 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import click
from rich.console import Console
from rich.text import Text

from glassgate.conformance import model, packets, report, runner
from glassgate.conformance.capture import RAW_IP, Writer
from glassgate.conformance.dissect import Dissector
from glassgate.conformance.explain import DETAIL_HELP, DETAILS, Detail, Explainer, reasons
from glassgate.conformance.flow_headers import FlowHeaders
from glassgate.conformance.server.endpoint import Endpoint
from glassgate.conformance.server.profile import client_configuration, introduce
from glassgate.conformance.server.session import Crossed, Installed, Output
from glassgate.conformance.simulation import Host, Moment, NegotiatedFar, Network, Read, fragments
from glassgate.conformance.subjects import discovery
from glassgate.conformance.subjects.in_process import InProcess
from glassgate.conformance.terminal import paragraph
from glassgate.contract import (
    GatewayConfig,
    Implementation,
    Note,
    Port,
    SeededEntropy,
    Session,
    Transmit,
    Unsupported,
    rules,
)

FAR_SERVER = "192.0.2.7"  # an address for documentation (RFC 5737)
ECHO_PORT = 7
OUR_PORT = 40000
PING_IDENTIFIER = 0x2605
PING_DATA = bytes(range(56))  # as much as the ping of every system sends
DATAGRAM_DATA = bytes(index * 7 % 256 for index in range(4000))
HANDSHAKE_ENDS = 1.0  # seconds; it takes some milliseconds here
HANDSHAKE_RULES = (rules.S2_PUSHED, rules.S2_ESTABLISHED)
UNEXPECTED = 1


@click.command()
@click.option("--gateway", default="reference", show_default=True, metavar="NAME", help="The gateway to follow.")
@click.option("--external", type=click.Choice(["stack", "os"]), help="Who has the outer TCP; the gateway, if it can.")
@click.option("--session", is_flag=True, help="No handshake: both ends know the keys from the start.")
@click.option("--no-suite", is_flag=True, help="Leave out the conformance suite.")
@click.option("--detail", type=click.Choice(DETAILS), default="changes", show_default=True, help=DETAIL_HELP)
@click.option("--pcapng", type=click.File("wb", lazy=False), metavar="FILE", help="Write what each port saw.")
def demo(
    gateway: str, external: str | None, session: bool, no_suite: bool, detail: str, pcapng: BinaryIO | None
) -> int:
    """Run the suite against both gateways; then follow a handshake, a ping and a 4000-octet datagram."""
    console = Console(highlight=False)
    try:
        implementation = discovery.find(gateway)
        is_as_expected = no_suite or _suite(console)
    except (discovery.SubjectError, runner.SelectionError) as error:
        raise click.UsageError(str(error)) from None
    kind = external or ("stack" if "external.stack" in implementation.capabilities else "os")
    negotiates = not session and "ovpn" in implementation.capabilities
    try:
        story = _Story(implementation, kind, console, Detail(detail), negotiates=negotiates)
    except Unsupported as error:
        raise click.UsageError(f"gateway {gateway}: {error}") from None
    is_as_expected &= story.tell()
    if pcapng is not None:
        write_capture(pcapng, story.config, story.moments, story.names, story.sessions)
        console.print()
        paragraph(
            console, Text(f"Written: {pcapng.name}. The comments of its frames say what was decided.", style="dim")
        )
    console.print()
    words, style = ("All as expected.", "bold green") if is_as_expected else ("NOT as expected.", "bold red")
    console.print(Text(words, style=style))
    return 0 if is_as_expected else UNEXPECTED


# ── the suite ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _suite(console: Console) -> bool:
    """Judge every gateway that is installed; returns whether all are good."""
    _chapter(console, "The suite")
    vectors = runner.select(model.load_packaged())
    words = "vectors, each a story with every octet that must come out, against each gateway that is installed."
    _paragraph(console, f"{len(vectors)} {words}")
    runs = [_judged(name, vectors, console) for name in discovery.names()]
    return bool(runs) and all(run.is_good for run in runs)


def _judged(name: str, vectors: Sequence[model.Vector], console: Console) -> runner.Run:
    """Judge one gateway, with a bar while it lasts."""
    subject = InProcess(discovery.find(name))
    with report.progress_bar(console) as bar:
        task = bar.add_task(name, total=len(vectors), bad="")

        def advance(_: runner.VectorResult) -> None:
            bar.advance(task)

        run = runner.run(subject, vectors, progress=advance)
    subject.close()
    console.print()
    report.tell(run, console, most_failures=3)
    return run


# ── the story ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def configuration(kind: str) -> GatewayConfig:
    """The network of the first page of the documentation, with keys that were made up for this story."""
    keys = SeededEntropy(b"the keys of a demonstration")
    return GatewayConfig.from_json(
        {
            "external": {"kind": kind},
            "tunnel": {
                "session": {
                    "send": {"key": keys(32).hex(), "implicit_iv": keys(8).hex()},
                    "receive": {"key": keys(32).hex(), "implicit_iv": keys(8).hex()},
                }
            },
            "entropy": b"demonstration".hex(),
        }
    )


def negotiated(kind: str) -> tuple[GatewayConfig, Endpoint]:
    """The same network, but for keys: a far end that negotiates them, and its client's configuration file."""
    settings, introduction = introduce(SeededEntropy(b"the far end's keys of a demonstration"))
    settings = replace(settings, ping=0)  # nothing is ever lost in this network
    default = configuration(kind).tunnel
    config = GatewayConfig.from_json(
        {
            "external": {"kind": kind},
            "tunnel": {"ovpn": client_configuration(settings, introduction, str(default.remote), default.port)},
            "entropy": b"demonstration".hex(),
        }
    )
    return config, Endpoint(settings, SeededEntropy(b"the far end of a demonstration"))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was expected, and how it came otherwise; empty if it came as expected."""

    expected: str
    problem: str = ""


class _Story:
    def __init__(
        self, implementation: Implementation, kind: str, console: Console, detail: Detail, *, negotiates: bool = False
    ) -> None:
        self.moments: list[Moment] = []
        self.sessions: list[Session] = []
        """What the handshake made."""
        self._negotiates = negotiates
        far = None
        if negotiates:
            self.config, endpoint = negotiated(kind)
            far = NegotiatedFar(endpoint, self._hear)
        else:
            self.config = configuration(kind)
        self._name = implementation.name
        self._console = console
        self._detail = detail
        gateway = implementation(self.config, SeededEntropy(self.config.entropy))
        self._network = Network(gateway, self.config, self._watch, far)
        self.names = self._network.names | {FAR_SERVER: "a server beyond the tunnel"}
        self._dissector = Dissector.for_config(self.config, self.names)
        self._explainer = Explainer(console, self._dissector, detail)
        self._findings: list[Finding] = []
        self._handshake: list[Moment] | None = None

    def _watch(self, moment: Moment) -> None:
        self.moments.append(moment)
        if self._handshake is not None:
            self._handshake.append(moment)
        if self._handshake is None or self._detail is Detail.WHOLE:
            self._explainer.moment(moment)

    def _hear(self, output: Output) -> None:
        """Tell what the far end has to say of the handshake."""
        if isinstance(output, Installed):
            self.sessions.append(output.session)
            self._dissector.learn(output.session)
        elif isinstance(output, Crossed):
            if self._handshake is None:
                self._begin_handshake()
            way = "far end → gateway" if output.is_sent else "gateway → far end"
            told = Text.assemble((f"{self._network.now:.4f} s  ", "dim"), (way, "bold blue"), "  ", output.words)
            paragraph(self._console, told, indent=10)

    def tell(self) -> bool:
        """Tell all chapters; returns whether everything was as expected."""
        self._start()
        self._ping()
        self._datagram()
        return not any(finding.problem for finding in self._findings)

    def _start(self) -> None:
        host = self._network.host
        _chapter(self._console, f"The gateway starts ({self._name})")
        where = "the router 192.168.1.1, the server 1.2.3.4" if self._is_stack else "the system's TCP to 1.2.3.4"
        keys = "The session's keys are known to both ends, made up for this story."
        if self._negotiates:
            keys = "The two ends share a tls-crypt key, and each has a certificate of an authority that both trust."
        _paragraph(
            self._console,
            f"The host {host.address} is inside, {where} and the far end of the tunnel are outside; beyond it"
            f" {FAR_SERVER} answers whoever asks. {keys}",
        )
        self._network.start()
        if self._negotiates:
            self._network.run(until=HANDSHAKE_ENDS)
            self._end_handshake()
        self._network.run(until=3.0)

    def _begin_handshake(self) -> None:
        self._handshake = []
        _chapter(self._console, "The handshake")
        _paragraph(
            self._console,
            "Each line is a control packet, as the far end reads it: its opcode, the key that is made, its number if it"
            " has to be acknowledged, the numbers that it acknowledges; and what TLS does with it.",
        )
        self._console.print()

    def _end_handshake(self) -> None:
        notes = [effect for moment in self._handshake or () for effect in moment.effects if isinstance(effect, Note)]
        self._handshake = None
        told = [note for note in notes if note.rule in HANDSHAKE_RULES]
        self._console.print()
        if told:
            self._explainer.effects(told)
            self._console.print()
        is_up = any(note.rule is rules.S2_ESTABLISHED for note in told)
        self._check("the handshake gave both ends a key for the tunnel", self._handshake_wrong(is_up))

    def _handshake_wrong(self, is_up: bool) -> str:
        if unopened := self._network.far.unopened:
            return unopened[0].problem
        if not self.sessions:
            return "the far end has none"
        return "" if is_up else "the gateway has none"

    @property
    def _is_stack(self) -> bool:
        return self.config.external.kind == "stack"

    def _ping(self) -> None:
        _chapter(self._console, "A ping through the tunnel")
        _paragraph(
            self._console,
            f"The host pings {FAR_SERVER}. It does not know the gateway's hardware address yet, so it asks first.",
        )
        network = self._network
        network.inject(network.host.ping(FAR_SERVER, PING_IDENTIFIER, 1, PING_DATA))
        network.run(until=3.5)
        request = packets.echo_request(PING_IDENTIFIER, 1, PING_DATA)
        reply = packets.echo_reply(PING_IDENTIFIER, 1, PING_DATA)
        self._console.print()
        self._check("the far end opened the echo, one hop older and otherwise unchanged", self._opened_wrong([request]))
        self._check("the host got its echo reply, octet for octet", _answer_wrong(network.host, 1, reply, packets.ICMP))

    def _datagram(self) -> None:
        _chapter(self._console, "A datagram of 4000 octets")
        _paragraph(
            self._console,
            f"The host sends 4000 octets to the echo port of {FAR_SERVER}. That is over its MTU, so the host cuts the"
            " datagram into three fragments. The gateway forwards each as it is; the far end puts them together, and"
            " its answer comes back in fragments too.",
        )
        network = self._network
        network.inject(network.host.datagram(FAR_SERVER, OUR_PORT, ECHO_PORT, DATAGRAM_DATA))
        network.run(until=4.5)
        sent = packets.udp(OUR_PORT, ECHO_PORT, DATAGRAM_DATA)
        answer = packets.udp(ECHO_PORT, OUR_PORT, DATAGRAM_DATA)
        request = packets.echo_request(PING_IDENTIFIER, 1, PING_DATA)
        self._console.print()
        self._check("the far end opened three fragments, as the host cut them", self._opened_wrong([request, sent]))
        self._check("every frame to the host is within its MTU", self._frames_wrong())
        self._check(
            "the host got the datagram back, octet for octet", _answer_wrong(network.host, 2, answer, packets.UDP)
        )

    # ── what was expected ─────────────────────────────────────────────────────────────────────────────────────────────

    def _check(self, expected: str, problem: str) -> None:
        self._findings.append(Finding(expected, problem))
        mark, style = ("✗", "bold red") if problem else ("✓", "bold green")
        told = Text.assemble((f"{mark} ", style), expected, (f": {problem}" if problem else "", style))
        paragraph(self._console, told, indent=2)

    def _opened_wrong(self, sent: Sequence[packets.Payload]) -> str:
        """What is wrong with what the far end opened so far: it must be what the host sent, with one hop less."""
        far = self._network.far
        if far.unopened:
            return far.unopened[0].problem
        expected = list(_one_hop_on(sent, self._network.host.address, self.config.internal.mtu))
        if len(far.opened) != len(expected):
            return f"{len(far.opened)} packets came, not {len(expected)}"
        return next(filter(None, map(difference, expected, far.opened)), "")

    def _frames_wrong(self) -> str:
        longest = max(
            (len(effect.data) for effect in _transmissions(self.moments) if effect.port is Port.INTERNAL), default=0
        )
        limit = 14 + self.config.internal.mtu
        return f"one has {longest} octets, over {limit}" if longest > limit else ""


def _one_hop_on(sent: Sequence[packets.Payload], source: str, mtu: int) -> Iterator[bytes]:
    """The packets that the host sends, as they must be once they were forwarded (RFC 1812 5.3.1)."""
    for index, payload in enumerate(sent):
        packet = packets.IPv4(
            source=source,
            destination=FAR_SERVER,
            identification=Host.FIRST_IDENTIFICATION + index,
            time_to_live=63,
            payload=payload,
        )
        yield from fragments(packet, mtu)


def _answer_wrong(host: Host, number: int, expected: packets.Payload, protocol: int) -> str:
    """What is wrong with the last packet that the host got, which must be its ``number``-th."""
    if len(host.received) != number:
        return f"it got {len(host.received)} packets so far, not {number}"
    got: Read = host.received[-1]
    if (got.source, got.protocol) != (FAR_SERVER, protocol):
        return f"it got protocol {got.protocol} from {got.source}"
    return difference(expected.build(got.source, got.destination).data, got.payload)


def difference(expected: bytes, actual: bytes) -> str:
    """Where two octet strings part, in words; empty if they are equal.

    >>> difference(b"abc", b"abd")
    'octet 2 is 64, not 63'
    """
    if expected == actual:
        return ""
    for place, (right, have) in enumerate(zip(expected, actual, strict=False)):
        if right != have:
            return f"octet {place} is {have:02x}, not {right:02x}"
    return f"it has {len(actual)} octets, not {len(expected)}"


def _transmissions(moments: Sequence[Moment]) -> Iterator[Transmit]:
    return (effect for moment in moments for effect in moment.effects if isinstance(effect, Transmit))


def _chapter(console: Console, title: str) -> None:
    console.print()
    console.rule(Text(title, style="bold"), characters="═", style="cyan")


def _paragraph(console: Console, words: str) -> None:
    console.print()
    paragraph(console, Text(words))


# ── the capture ───────────────────────────────────────────────────────────────────────────────────────────────────────


def write_capture(
    file: BinaryIO,
    config: GatewayConfig,
    moments: Sequence[Moment],
    names: dict[str, str],
    sessions: Sequence[Session] = (),
) -> None:
    """Write what each port saw, with what was decided as comments; the inner packets have an interface of their own."""
    writer = Writer(file)
    ports = {Port.INTERNAL: writer.interface("internal", "frames of the internal network")}
    if config.external.kind == "stack":
        ports[Port.EXTERNAL] = writer.interface("external", "frames of the external network")
    else:
        words = "the tunnel's stream; its IPv4 and TCP headers were made up for this file"
        ports[Port.FLOW] = writer.interface("flow", words, RAW_IP)
    tunnel = writer.interface("tunnel", "what the records carry, opened with the session's key", RAW_IP)
    dissector = Dissector.for_config(config, names)
    for session in sessions:
        dissector.learn(session)
    headers = FlowHeaders(config)

    def write(port: Port, at: float, data: bytes, comments: Sequence[str], outbound: bool) -> None:
        direction = "out" if outbound else "in"
        for piece in headers.wrap(data, outbound=outbound) if port is Port.FLOW else [data]:
            writer.packet(ports[port], at, piece, *comments, direction=direction)  # type: ignore[arg-type]
        opened = dissector.frame(port, data, outbound=outbound).find_all("opened")
        for layer in opened:
            writer.packet(tunnel, at, layer.octets, layer.summary, direction=direction)  # type: ignore[arg-type]

    for moment in moments:
        if moment.port is not None:
            came = f"{moment.sender} sends this to the gateway"
            write(moment.port, moment.at, moment.data, [came, *reasons(moment.effects)], False)
        for effect in moment.effects:
            if isinstance(effect, Transmit):
                because = f"sent by {effect.because}: {effect.because.sentence} ({effect.because.citation})"
                write(effect.port, moment.at, effect.data, [because], True)
