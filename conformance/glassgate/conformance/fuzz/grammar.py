"""Stories by grammar: what hosts, spoofers and far ends say to a gateway, sound or with one named fault.

A story is a handful of scenes. A scene is a few operations that belong together: a fragmented datagram in some order,
a neighbour that answers its request late, a burst for a host that never answers. Scenes are cut into one another, so
that the gateway meets each state in each other's company. Everything is drawn from one seeded generator.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

from glassgate.conformance import packets
from glassgate.conformance.fuzz.stories import Operation, Story
from glassgate.conformance.model import Bind, Checksum, FlowInput, Input, PacketInput, TickInput, VectorPort
from glassgate.conformance.packets import Arp, Ethernet, IPv4, Payload, Seal
from glassgate.contract import Cipher, FlowEvent

GATEWAY_MAC = "00:f0:0d:f0:0d:00"
GATEWAY = "10.38.2.1"
NEIGHBOURS = {f"10.38.2.{last}": f"02:00:00:00:00:{last:02x}" for last in (5, 6, 7, 8, 9)}
STRANGER_MAC = "02:00:00:00:00:66"
OUT_THERE = ("8.8.8.8", "1.2.3.4", "192.0.2.7", "203.0.113.10", "192.168.1.5", "10.8.0.2", "10.38.3.1")
SPECIAL = (
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "10.38.2.0",
    "10.38.2.255",
    GATEWAY,
)
WAITS = (0, 0, 0, 1, 1, 16, 512, 1024, 1025, 2048, 3072)
LONG_WAITS = (10 * 1024, 59 * 1024, 60 * 1024, 61 * 1024, 300 * 1024, 1140 * 1024, 1200 * 1024)

SEND_KEY = bytes(range(32))
RECEIVE_KEY = bytes(range(32, 64))
SEND_IV = bytes(range(64, 72))
RECEIVE_IV = bytes(range(72, 80))


def configuration(dice: random.Random, services: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A configuration in which bounds are near and sizes vary. Its keys are always the same."""
    cipher = dice.choice(tuple(Cipher))
    octets = cipher.key_octets
    config: dict[str, Any] = {
        "internal": {"mtu": dice.choice((1500, 1500, 1280, 576, 68))},
        "external": {"kind": "os"},
        "tunnel": {
            "session": {
                "cipher": cipher.value,
                "peer_id": dice.choice((0, 0, 5, None)),
                "key_id": dice.choice((0, 0, 3)),
                "mtu": dice.choice((1500, 1500, 1477, 1280, 576, 68)),
                "send": {"key": SEND_KEY[:octets].hex(), "implicit_iv": SEND_IV.hex()},
                "receive": {"key": RECEIVE_KEY[:octets].hex(), "implicit_iv": RECEIVE_IV.hex()},
            }
        },
        "services": dict(services or {}),
    }
    if dice.random() < 0.5:
        config["limits"] = {
            "arp_neighbours": dice.choice((1, 2, 3, 256)),
            "arp_queue": dice.choice((1, 2, 32)),
            "reassembly_contexts": dice.choice((1, 2, 1024)),
            "reassembly_octets": dice.choice((64, 2048, 4194304)),
            "reassembly_fragments": dice.choice((1, 2, 4, 256)),
            "icmp_burst": dice.choice((1, 2, 50)),
            "icmp_rate": dice.choice((1, 20)),
            "tcp_half_open": dice.choice((1, 2, 128)),
            "tcp_connections": dice.choice((1, 2, 1024)),
        }
    if dice.random() < 0.1:
        config["internal"]["sources"] = ["10.39.0.0/16"]
    return config


def story(dice: random.Random, services: Mapping[str, Any] | None = None) -> Story:
    """A fresh story of one to six scenes."""
    config = configuration(dice, services)
    scenes = Scenes(dice, config)
    parts = [scenes.any() for _ in range(dice.randint(1, 6))]
    operations: list[Operation] = []
    while parts := [part for part in parts if part]:
        part = dice.choice(parts)
        wait = dice.choice(LONG_WAITS) if dice.random() < 0.05 else dice.choice(WAITS)
        operations.append(Operation(wait, part.pop(0)))
    return Story(config, tuple(operations))


def interrogated(dice: random.Random, story: Story) -> Story:
    """The story, and questions after it whose answers tell the state that a gateway was left in.

    The contract has no way to look inside a gateway, and needs none: whom it knows, it sends to at once; what a
    connection expects, it tells whoever speaks out of turn; what it holds and what it waits for comes out in time.
    """
    scenes = Scenes(dice, story.config)
    questions: list[Operation] = []
    for neighbour in NEIGHBOURS:
        packet = IPv4(source=OUT_THERE[0], destination=neighbour, payload=packets.echo_request())
        questions.append(Operation(0, PacketInput(VectorPort.TUNNEL, packet.build().data)))
    for operation in story.operations:
        if (asked := _asks_connection(operation.input)) is not None:
            questions.append(Operation(0, asked))
    for neighbour in NEIGHBOURS:
        packet = IPv4(source=neighbour, destination=OUT_THERE[0], payload=packets.echo_request(), time_to_live=1)
        questions.append(Operation(0, scenes.frame_from(neighbour, packet.build().data)))
    questions += [Operation(wait, TickInput()) for wait in (1024, 1024, 1024, 2048, 26 * 1024, 31 * 1024, 240 * 1024)]
    return story.with_operations((*story.operations, *questions))


def _asks_connection(opened: Input) -> Input | None:
    """Text far behind the window, on the connection that a SYN may have opened: the answer tells both its numbers."""
    match opened:
        case PacketInput(VectorPort.TUNNEL | VectorPort.INTERNAL as port, data, fill) if not fill:
            start = 14 if port is VectorPort.INTERNAL else 0
        case _:
            return None
    packet = data[start:]
    if len(packet) < 40 or packet[0] != 0x45 or packet[9] != 6 or packet[33] & 0x17 != packets.SYN:
        return None
    source_port, port_asked, sequence = struct.unpack_from("!HHI", packet, 20)
    if port_asked != 7:
        return None
    segment = packets.tcp(source_port, 7, packets.ACK, sequence=(sequence - 70000) % 2**32, acknowledgment=0, data=b"?")
    source, destination = (str(IPv4Address(packet[at : at + 4])) for at in (12, 16))
    built = IPv4(source=source, destination=destination, payload=segment).build()
    return PacketInput(port, data[:start] + built.data)


class Scenes:
    """Makes scenes for one configuration; remembers what a far end must remember."""

    def __init__(self, dice: random.Random, config: Mapping[str, Any]) -> None:
        self._dice = dice
        session = config["tunnel"]["session"]
        self._seal = Seal(
            bytes.fromhex(session["receive"]["key"]),
            bytes.fromhex(session["receive"]["implicit_iv"]),
            Cipher(session["cipher"]),
            session["key_id"],
            session["peer_id"],
        )
        self._next_packet_id = 1
        self._kinds: tuple[tuple[int, Callable[[], list[Input]]], ...] = (
            (8, self._packet_from_inside),
            (6, self._packet_from_tunnel),
            (4, self._fragments_from_inside),
            (2, self._fragments_from_tunnel),
            (4, self._arp),
            (3, self._neighbour_asked),
            (2, self._burst),
            (2, self._records),
            (5 if config["services"].get("tcp_echo") else 0, self._tcp_conversation),
            (1, self._flow),
            (1, self._rubbish),
            (2, self._time),
        )

    def any(self) -> list[Input]:
        """The inputs of one scene."""
        weights = [weight for weight, _ in self._kinds]
        kind = self._dice.choices([make for _, make in self._kinds], weights)[0]
        return kind()

    # ── scenes ──

    def _packet_from_inside(self) -> list[Input]:
        neighbour = self._dice.choice(tuple(NEIGHBOURS))
        scene: list[Input] = []
        if self._dice.random() < 0.5:
            scene.append(self._arp_input(self._sound_arp(neighbour)))
        packet = self._packet(self._source_inside(neighbour), self._destination_inside())
        scene.append(self._frame(self._octets(packet), NEIGHBOURS[neighbour]))
        return scene

    def _packet_from_tunnel(self) -> list[Input]:
        packet = self._packet(self._source_outside(), self._destination_from_tunnel())
        return [self._from_tunnel(self._octets(packet))]

    def _fragments_from_inside(self) -> list[Input]:
        neighbour = self._dice.choice(tuple(NEIGHBOURS))
        whole = self._packet(
            neighbour, GATEWAY if self._dice.random() < 0.8 else self._dice.choice(OUT_THERE), big=True
        )
        scene: list[Input] = [self._arp_input(self._sound_arp(neighbour))]
        scene += [self._frame(piece, NEIGHBOURS[neighbour]) for piece in self._pieces(whole)]
        return scene

    def _fragments_from_tunnel(self) -> list[Input]:
        target = self._dice.choice((GATEWAY, "10.8.0.2", "10.38.2.5"))
        whole = self._packet(self._dice.choice(OUT_THERE[:4]), target, big=True)
        return [self._from_tunnel(piece) for piece in self._pieces(whole)]

    def _arp(self) -> list[Input]:
        neighbour = self._dice.choice(tuple(NEIGHBOURS))
        packet = self._sound_arp(neighbour)
        fault = self._dice.choice(tuple(_ARP_FAULTS))
        if self._dice.random() < 0.7:
            packet = _ARP_FAULTS[fault](packet)
        return [self._arp_input(packet)]

    def _neighbour_asked(self) -> list[Input]:
        """Packets for a neighbour, who answers now, late or never."""
        neighbour = self._dice.choice(tuple(NEIGHBOURS))
        scene: list[Input] = [
            self._from_tunnel(self._octets(self._packet(self._dice.choice(OUT_THERE[:4]), neighbour)))
            for _ in range(self._dice.randint(1, 4))
        ]
        scene += [TickInput() for _ in range(self._dice.randint(0, 4))]
        if self._dice.random() < 0.6:
            scene.append(self._arp_input(self._sound_arp(neighbour).but(operation=packets.REPLY)))
        return scene

    def _burst(self) -> list[Input]:
        """The same packet many times: rate limits and queues."""
        neighbour = self._dice.choice(tuple(NEIGHBOURS))
        data = self._octets(self._packet(neighbour, self._destination_inside()))
        once = self._frame(data, NEIGHBOURS[neighbour])
        return [self._arp_input(self._sound_arp(neighbour)), *[once] * self._dice.randint(2, 12)]

    def _records(self) -> list[Input]:
        """Records with faults of the data channel, or cut and joined in the stream."""
        payload = self._octets(self._packet(self._dice.choice(OUT_THERE[:4]), self._destination_from_tunnel()))
        fault = self._dice.choice(_RECORD_FAULTS)
        first, second = self._next_packet_id, self._next_packet_id + 1
        seal = self._seal
        record = seal.record(first, payload)
        stream = packets.framed(record)
        if fault == "joined":
            stream = packets.framed(record, seal.record(second, payload))
            self._next_packet_id += 1
        elif fault == "replay":
            stream = packets.framed(record, record)
        elif fault == "gap":
            stream = packets.framed(seal.record(first + self._dice.choice((1, 63, 64, 1000)), payload), record)
        elif fault in ("old", "zero"):
            stream = packets.framed(seal.record(0 if fault == "zero" else max(0, first - 1), payload))
        elif fault == "tag":
            stream = packets.framed(seal.record(first, payload, tag_flip=1))
        elif fault == "short":
            stream = packets.framed(record[: self._dice.randint(1, 24)])
        elif fault == "key":
            stream = packets.framed(bytes([record[0] ^ 1]) + record[1:])
        elif fault == "opcode":
            stream = packets.framed(bytes([self._dice.randrange(256)]) + record[1:])
        elif fault == "ping":
            stream = packets.framed(seal.record(first, packets.PING))
        elif fault == "empty":
            stream = packets.framed(seal.record(first, b""))
        elif fault == "length":
            stream = struct.pack("!H", self._dice.choice((0, 1, 1768, 1769, 65535))) + record
        self._next_packet_id += 1
        if fault == "split" or self._dice.random() < 0.2:
            return [PacketInput(VectorPort.FLOW, part) for part in self._cut(stream)]
        return [PacketInput(VectorPort.FLOW, stream)]

    def _tcp_conversation(self) -> list[Input]:
        """A host speaks with the echo service: it opens, says and acknowledges things, soundly or not, and ends."""
        dice = self._dice
        inside = dice.random() < 0.7
        host = dice.choice(tuple(NEIGHBOURS)) if inside else dice.choice(OUT_THERE[:4])
        talk = Conversation(dice, host, dice.choice((5000, 5001, 40000)))
        segments = [talk.syn()]
        if dice.random() < 0.9:
            segments.append(talk.acknowledges())
        for _ in range(dice.choice((0, 1, 2, 3, 5, 8, 10, 20))):
            segments += [talk.anything()] * dice.choice((1, 1, 1, 1, 1, 1, 1, 3, 4))
        if dice.random() < 0.03:
            segments += talk.overflow()
        if dice.random() < 0.05:
            segments.pop(0)
        scene: list[Input] = [self._arp_input(self._sound_arp(host))] if inside else []
        for segment in segments:
            if dice.random() < 0.2:
                scene.append(TickInput())
            scene.append(self._segment_input(segment, host if inside else None))
        return scene

    def _segment_input(self, packet: IPv4, neighbour: str | None) -> Input:
        built = packet.build()
        port = VectorPort.TUNNEL
        if neighbour is None:
            self._next_packet_id += 1
        else:
            frame = Ethernet(source=NEIGHBOURS[neighbour], destination=GATEWAY_MAC, type=packets.TYPE_IPV4,
                             payload=built)  # fmt: skip
            built, port = frame.build(), VectorPort.INTERNAL
        return PacketInput(port, built.data, tuple(one for one in built.free if isinstance(one, Bind | Checksum)))

    def _flow(self) -> list[Input]:
        events: list[Input] = [FlowInput(FlowEvent.CLOSED), TickInput(), FlowInput(FlowEvent.OPENED)]
        return events[: self._dice.randint(1, 3)]

    def _rubbish(self) -> list[Input]:
        data = self._dice.randbytes(self._dice.choice((0, 1, 13, 14, 20, 42, 60, 200)))
        head = (
            packets.mac(GATEWAY_MAC)
            + packets.mac(STRANGER_MAC)
            + self._dice.choice((b"\x08\x00", b"\x08\x06", b"\x81\x00"))
        )
        if self._dice.random() < 0.5:
            return [PacketInput(VectorPort.INTERNAL, head + data)]
        if self._dice.random() < 0.5:
            return [PacketInput(VectorPort.INTERNAL, data)]
        return [PacketInput(VectorPort.TUNNEL, data or b"\x45")]

    def _time(self) -> list[Input]:
        return [TickInput() for _ in range(self._dice.randint(1, 4))]

    # ── parts ──

    def _source_inside(self, neighbour: str) -> str:
        if self._dice.random() < 0.85:
            return neighbour
        return self._dice.choice((*SPECIAL, *OUT_THERE, "10.39.1.1"))

    def _destination_inside(self) -> str:
        pool = self._dice.choices((OUT_THERE, (GATEWAY,), SPECIAL, tuple(NEIGHBOURS)), (5, 4, 2, 1))[0]
        return self._dice.choice(pool)

    def _source_outside(self) -> str:
        pool = self._dice.choices((OUT_THERE, SPECIAL, tuple(NEIGHBOURS)), (8, 1, 1))[0]
        return self._dice.choice(pool)

    def _destination_from_tunnel(self) -> str:
        pool = self._dice.choices((tuple(NEIGHBOURS), (GATEWAY, "10.8.0.2"), SPECIAL, OUT_THERE), (6, 3, 1, 1))[0]
        return self._dice.choice(pool)

    def _payload(self, big: bool) -> Payload:
        dice = self._dice
        size = dice.choice((1472, 2000, 4000) if big else (0, 1, 8, 9, 56, 100, 548, 1400, 1472, 1473))
        data = dice.randbytes(size)
        kind = dice.randrange(10)
        if kind < 3:
            return packets.echo_request(dice.randrange(65536), dice.randrange(65536), data)
        if kind < 6:
            port = dice.choice((7, 7, 9, 0, 19, 1194))
            return packets.udp(dice.choice((40000, 40000, 7, 19, 0)), port, data)
        if kind < 7:
            flags = dice.choice(
                (packets.SYN, packets.ACK, packets.RST, packets.FIN | packets.ACK, packets.SYN | packets.ACK)
            )
            return packets.tcp(40000, dice.choice((81, 0, 443)), flags, sequence=dice.randrange(2**32),
                               acknowledgment=dice.randrange(2**32), data=data)  # fmt: skip
        if kind < 8:
            about = IPv4(source=GATEWAY, destination="10.38.2.5", payload=packets.echo_reply())
            return dice.choice((
                packets.icmp_error(3, 3, about), packets.icmp_error(11, 0, about), packets.echo_reply(),
                packets.icmp(13, 0, data=bytes(12)), packets.icmp(dice.randrange(256), 0, data=data[:64]),
            ))  # fmt: skip
        return packets.raw(dice.choice((2, 41, 47, 50, 132, 255, 0)), data)

    def _packet(self, source: str, destination: str, big: bool = False) -> IPv4:
        dice = self._dice
        return IPv4(
            source=source,
            destination=destination,
            payload=self._payload(big),
            type_of_service=dice.choice((0, 0, 0x10, 0xB8, 0x03)),
            identification=dice.randrange(65536),
            dont_fragment=not big and dice.random() < 0.3,
            time_to_live=dice.choice((64, 64, 64, 2, 1, 0, 255)),
            options=dice.choice(_OPTIONS) if dice.random() < 0.2 else b"",
        )

    def _pieces(self, whole: IPv4) -> list[bytes]:
        """A datagram in fragments: in some order, some twice, some missing, some overlapping."""
        dice = self._dice
        length = len(whole.data())
        cuts = sorted({0, *(dice.randrange(0, length, 8) for _ in range(dice.randint(1, 4)))})
        spans = list(zip(cuts, [*cuts[1:], length], strict=True))
        trouble = dice.random()
        if trouble < 0.15:
            dice.shuffle(spans)
        elif trouble < 0.25:
            spans.append(dice.choice(spans))
        elif trouble < 0.35:
            spans.pop(dice.randrange(len(spans)))
        elif trouble < 0.45:
            start, end = dice.choice(spans)
            spans.append((start, min(length, end + 8)))
        pieces = [whole.piece(start, end, more=end < length) for start, end in spans]
        if dice.random() < 0.1:
            index = dice.randrange(len(pieces)) if pieces else 0
            pieces[index : index + 1] = [self._spoil_fragment(piece) for piece in pieces[index : index + 1]]
        return [self._octets(piece) if dice.random() < 0.05 else piece.build().data for piece in pieces]

    def _spoil_fragment(self, piece: IPv4) -> IPv4:
        return self._dice.choice((
            piece.but(fragment_offset=8191), piece.but(more_fragments=not piece.more_fragments),
            piece.but(fragment_offset=piece.fragment_offset + 1),
            piece.but(payload=packets.raw(piece.payload.protocol, b"")),
        ))  # fmt: skip

    def _octets(self, packet: IPv4) -> bytes:
        """The packet's octets, one in six with a named fault."""
        if self._dice.random() < 5 / 6:
            return packet.build().data
        fault = self._dice.choice(tuple(_PACKET_FAULTS))
        return _PACKET_FAULTS[fault](self._dice, packet)

    def frame_from(self, neighbour: str, payload: bytes) -> Input:
        """A sound frame of a neighbour."""
        frame = Ethernet(source=NEIGHBOURS[neighbour], destination=GATEWAY_MAC, type=packets.TYPE_IPV4, payload=payload)
        return PacketInput(VectorPort.INTERNAL, frame.build().data)

    def _frame(self, payload: bytes, source: str) -> Input:
        dice = self._dice
        frame = Ethernet(source=source, destination=GATEWAY_MAC, type=packets.TYPE_IPV4, payload=payload,
                         pad_to=dice.choice((0, 60)), pad_with=dice.choice((0, 0xEE)))  # fmt: skip
        if dice.random() < 0.05:
            frame = dice.choice((
                frame.but(destination="ff:ff:ff:ff:ff:ff"), frame.but(destination="01:00:5e:00:00:01"),
                frame.but(destination=STRANGER_MAC), frame.but(source="01:00:5e:00:00:01"),
                frame.but(source=GATEWAY_MAC),
                frame.but(type=0x8100), frame.but(type=0x0100), frame.but(type=0x86DD),
            ))  # fmt: skip
        return PacketInput(VectorPort.INTERNAL, frame.build().data)

    def _sound_arp(self, neighbour: str) -> Arp:
        return Arp(
            operation=packets.REQUEST,
            sender_hardware=NEIGHBOURS[neighbour],
            sender_protocol=neighbour,
            target_protocol=GATEWAY,
        )

    def _arp_input(self, packet: Arp) -> Input:
        to = GATEWAY_MAC if packet.operation == packets.REPLY else packets.BROADCAST_MAC
        source = STRANGER_MAC if self._dice.random() < 0.05 else "02:00:00:00:00:05"
        frame = Ethernet(source=source, destination=to, type=packets.TYPE_ARP, payload=packet.build(), pad_to=60)
        return PacketInput(VectorPort.INTERNAL, frame.build().data)

    def _from_tunnel(self, packet: bytes) -> Input:
        self._next_packet_id += 1
        return PacketInput(VectorPort.TUNNEL, packet)

    def _cut(self, stream: bytes) -> list[bytes]:
        cuts = sorted({0, *(self._dice.randrange(len(stream)) for _ in range(self._dice.randint(1, 3))), len(stream)})
        return [stream[start:end] for start, end in pairwise(cuts)]


class Conversation:
    """A host's half of a TCP connection to the echo service. What it has acknowledged counts from the gateway's SYN."""

    def __init__(self, dice: random.Random, host: str, port: int) -> None:
        self._dice = dice
        self._host = host
        self._port = port
        self._size = dice.choice((0, 1, 5, 100, 536, 1460))
        self._sequence = dice.choice((1000, 0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFE, dice.randrange(2**32)))
        self._acknowledged = 1
        self._returned = 1
        self._window = dice.choice((65535, 65535, 4000, 1000, 150, 1, 0))
        self._kinds: tuple[tuple[int, Callable[[], IPv4]], ...] = (
            (6, self._text),
            (6, self.acknowledges),
            (3, self._acknowledges_in_part),
            (2, self._out_of_order),
            (2, self._old_text),
            (2, self._fin),
            (1, self._reset),
            (1, self._syn_again),
            (1, self._unsent),
            (2, self._window_changes),
            (1, self._too_big),
            (1, self._odd_flags),
        )

    def syn(self) -> IPv4:
        """The first segment."""
        dice = self._dice
        options = dice.choice((b"", b"\x02\x04" + struct.pack("!H", dice.choice((100, 536, 1460, 65535))),
                               b"\x02\x04\x05\xb4\x01\x03\x03" + bytes([dice.choice((0, 2, 7, 14, 255))]),
                               b"\x02\x04\x00\x64\x04\x02\x01\x01", b"\x00\x02\x04\x00", b"\x02\x00\x01\x01",
                               b"\x03\x03\x00\x01"))  # fmt: skip
        flags = packets.SYN if dice.random() < 0.95 else packets.SYN | dice.choice((packets.FIN, 0xC0))
        data = b"early" if dice.random() < 0.05 else b""
        made = self._segment(flags, self._sequence, None, data, options)
        self._sequence += 1
        return made

    def acknowledges(self) -> IPv4:
        """All that may have come back is acknowledged, or a part."""
        if self._dice.random() < 0.8:
            self._acknowledged = self._returned
        return self._segment(packets.ACK, self._sequence, self._acknowledged)

    def _acknowledges_in_part(self) -> IPv4:
        """Some of it, wherever a segment may end or not; the window may have changed with it."""
        dice = self._dice
        ahead = max(0, self._returned - self._acknowledged)
        self._acknowledged += min(ahead, dice.choice((1, 28, 100, 536, 1460, 2920, ahead // 2)))
        if dice.random() < 0.3:
            self._window = dice.choice((65535, 4000, 1000, 150, 100, 10, 1, 0))
        return self._segment(packets.ACK, self._sequence, self._acknowledged)

    def overflow(self) -> list[IPv4]:
        """More text than the service can hold while nothing comes back; then, slowly, it does."""
        self._window = self._dice.choice((0, 1, 1000, 1460))
        self._size = self._dice.choice((1400, 1460))
        texts = [self._text() for _ in range(48 * 1460 // self._size)]
        self._window = self._dice.choice((1000, 1460, 65535))
        return texts + [self._acknowledges_in_part() for _ in range(self._dice.randint(1, 20))]

    def _too_big(self) -> IPv4:
        """A router on the way back could not pass on what the gateway sent."""
        dice = self._dice
        sequence = packets.bound("isn", self._acknowledged + dice.choice((0, 0, 0, 1, 100, -1, 5000)))
        segment = packets.tcp(7, self._port, packets.ACK, sequence=sequence, acknowledgment=self._sequence % 2**32)
        quoted = IPv4(source=GATEWAY, destination=self._host, payload=segment, dont_fragment=True).build()
        quote = packets.Octets(quoted.data[:28], tuple(one for one in quoted.free if one.end <= 28))
        mtu = dice.choice((0, 20, 67, 68, 296, 576, 1400, 1499, 1500, 9000))
        message = packets.Octets(bytes([3, dice.choice((4, 4, 4, 4, 3, 1)), 0, 0, 0, 0]) + mtu.to_bytes(2, "big"))
        message += quote
        summed = packets.Octets(message.data, (Checksum(2, 4, "icmp"), *message.free))
        return IPv4(source=self._host, destination=GATEWAY, payload=Payload(1, lambda *_: summed))

    def anything(self) -> IPv4:
        """Whatever a host, or who pretends to be one, may send next."""
        return self._dice.choices([make for _, make in self._kinds], [weight for weight, _ in self._kinds])[0]()

    def _text(self) -> IPv4:
        data = self._dice.randbytes(self._size or self._dice.choice((1, 99, 100, 101, 700)))
        if self._dice.random() < 0.5:
            self._acknowledged = self._returned
        made = self._segment(packets.PSH | packets.ACK, self._sequence, self._acknowledged, data)
        self._sequence += len(data)
        self._returned += len(data)
        return made

    def _out_of_order(self) -> IPv4:
        ahead = self._dice.choice((1, 50, 100, 5000, 32767, 32768, 40000))
        data = self._dice.randbytes(self._dice.choice((1, 60, 100)))
        return self._segment(packets.ACK, self._sequence + ahead, self._acknowledged, data)

    def _old_text(self) -> IPv4:
        data = self._dice.randbytes(self._dice.choice((1, 20, 120)))
        return self._segment(
            packets.ACK, self._sequence - self._dice.choice((1, 10, 100, 2000)), self._acknowledged, data
        )

    def _fin(self) -> IPv4:
        data = self._dice.choice((b"", b"", b"bye"))
        made = self._segment(packets.FIN | packets.ACK, self._sequence, self._acknowledged, data)
        self._sequence += len(data) + 1
        self._returned += len(data) + 1
        return made

    def _reset(self) -> IPv4:
        at = self._sequence + self._dice.choice((0, 0, 1, -1, 100, 32767, 32768, 100000))
        return self._segment(packets.RST, at, self._dice.choice((None, self._acknowledged)))

    def _syn_again(self) -> IPv4:
        at = self._sequence + self._dice.choice((0, -1, 1, 1000, -1000, 100000))
        return self._segment(packets.SYN, at, self._dice.choice((None, self._acknowledged)))

    def _unsent(self) -> IPv4:
        ahead = self._dice.choice((1, 100, 65536, 2**30, -1, -100, -70000, -(2**30)))
        data = self._dice.choice((b"", b"data"))
        return self._segment(packets.ACK, self._sequence, self._returned + ahead, data)

    def _window_changes(self) -> IPv4:
        self._window = self._dice.choice((65535, 1000, 150, 100, 1, 0))
        return self.acknowledges()

    def _odd_flags(self) -> IPv4:
        flags = self._dice.choice((0, packets.PSH, packets.URG | packets.ACK, packets.SYN | packets.ACK,
                                   packets.SYN | packets.RST, 0x3F, packets.FIN))  # fmt: skip
        acknowledged = self._acknowledged if flags & packets.ACK else None
        return self._segment(flags, self._sequence, acknowledged, self._dice.choice((b"", b"odd")))

    def _segment(
        self, flags: int, sequence: int, acknowledged: int | None, data: bytes = b"", options: bytes = b""
    ) -> IPv4:
        bad_checksum = 0x1234 if self._dice.random() < 0.02 else None
        given: packets.Value = 0
        if acknowledged is not None and bad_checksum is None:  # what is bad must not be good for one of the two
            given = packets.bound("isn", acknowledged)
        segment = packets.tcp(
            self._port,
            7,
            flags,
            sequence=sequence % 2**32,
            acknowledgment=given,
            window=self._window,
            data=data,
            options=options,
            given=bad_checksum,
        )
        return IPv4(source=self._host, destination=GATEWAY, payload=segment)


_ARP_FAULTS: Mapping[str, Callable[[Arp], Arp]] = {
    "reply": lambda arp: arp.but(operation=packets.REPLY, target_hardware=GATEWAY_MAC),
    "gratuitous": lambda arp: arp.but(target_protocol=arp.sender_protocol),
    "probe": lambda arp: arp.but(sender_protocol="0.0.0.0"),
    "conflict": lambda arp: arp.but(sender_protocol=GATEWAY),
    "for another": lambda arp: arp.but(target_protocol="10.38.2.99"),
    "moved": lambda arp: arp.but(sender_hardware=STRANGER_MAC),
    "group hardware": lambda arp: arp.but(sender_hardware="01:00:5e:00:00:01"),
    "broadcast hardware": lambda arp: arp.but(sender_hardware=packets.BROADCAST_MAC),
    "own hardware": lambda arp: arp.but(sender_hardware=GATEWAY_MAC),
    "foreign sender": lambda arp: arp.but(sender_protocol="192.0.2.1"),
    "broadcast sender": lambda arp: arp.but(sender_protocol="10.38.2.255"),
    "network sender": lambda arp: arp.but(sender_protocol="10.38.2.0"),
    "hardware type": lambda arp: arp.but(hardware_type=6),
    "protocol type": lambda arp: arp.but(protocol_type=0x86DD),
    "hardware length": lambda arp: arp.but(hardware_length=8),
    "protocol length": lambda arp: arp.but(protocol_length=16),
    "operation": lambda arp: arp.but(operation=3),
}

_OPTIONS: tuple[bytes, ...] = (
    packets.record_route(room=1) + packets.NO_OPERATION,
    packets.timestamp(1),
    packets.ROUTER_ALERT,
    packets.ROUTER_ALERT + packets.record_route(room=2) + packets.END_OF_OPTIONS,
    packets.loose_source_route("192.0.2.9") + packets.NO_OPERATION,
    packets.strict_source_route("192.0.2.9", pointer=8) + packets.END_OF_OPTIONS,
    packets.option(7, b"\x04", length=0) + b"\0",
    packets.option(7, b"\x04", length=40) + b"\0",
    packets.NO_OPERATION * 3 + b"\x94",
    packets.END_OF_OPTIONS + b"\x83\xff\xff",
    packets.option(200, b"\0\0"),
    packets.NO_OPERATION * 4,
)

_RECORD_FAULTS = (
    "split",
    "joined",
    "replay",
    "gap",
    "old",
    "zero",
    "tag",
    "short",
    "key",
    "opcode",
    "ping",
    "empty",
    "length",
)

_PACKET_FAULTS: Mapping[str, Callable[[random.Random, IPv4], bytes]] = {
    "version": lambda dice, packet: packet.but(version=dice.choice((0, 5, 6, 15))).build().data,
    "header length": lambda dice, packet: packet.but(header_length=dice.choice((0, 4, 6, 15))).build().data,
    "total length": lambda dice, packet: packet.but(total_length=dice.choice((0, 19, 20, 21, 28, 65535))).build().data,
    "checksum": lambda dice, packet: packet.but(header_checksum=dice.choice((0, 0xFFFF, 0x1234))).build().data,
    "reserved bit": lambda dice, packet: packet.but(reserved_bit=True).build().data,
    "flags": lambda dice, packet: packet.but(dont_fragment=True, more_fragments=dice.random() < 0.5).build().data,
    "offset": lambda dice, packet: packet.but(fragment_offset=dice.choice((1, 185, 8189, 8191))).build().data,
    "options": lambda dice, packet: packet.but(options=dice.choice(_OPTIONS)).build().data,
    "truncated": lambda dice, packet: packet.build().data[: dice.randrange(60)],
    "padded": lambda dice, packet: packet.build().data + dice.randbytes(dice.randint(1, 40)),
    "octet": lambda dice, packet: _flip(dice, packet.build().data),
    "payload octet": lambda dice, packet: _flip(dice, packet.build().data, 20),
}


def _flip(dice: random.Random, data: bytes, start: int = 0) -> bytes:
    """One octet changed, the IPv4 header checksum left as it was."""
    if len(data) <= start:
        return data
    at = dice.randrange(start, len(data))
    return data[:at] + bytes([data[at] ^ dice.randint(1, 255)]) + data[at + 1 :]
