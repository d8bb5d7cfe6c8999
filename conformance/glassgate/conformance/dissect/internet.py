"""Ethernet (RFC 894), ARP (RFC 826), IPv4 (RFC 791), ICMP (RFC 792), UDP (RFC 768) and TCP (RFC 9293).

Each function reads one header and returns its layer, followed by the layers of what it carries. Field names are the
standard's. What is written here comes from the standards alone: no gateway's code is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Protocol

from glassgate.conformance.checksums import internet_checksum
from glassgate.conformance.dissect.tree import Cursor, Layer, counted, read_layer


class StreamReader(Protocol):
    """What decodes the payload of the tunnel's transport."""

    def segment(
        self, stream: tuple[str, ...], sequence: int, is_syn: bool, octets: bytes, start: int, end: int
    ) -> list[Layer]:
        """Decode the text of one TCP segment, which begins at ``sequence`` (a SYN counts as one)."""

    def datagram(self, octets: bytes, start: int, end: int) -> list[Layer]:
        """Decode the data of one UDP datagram."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beyond the octets themselves."""

    names: dict[str, str] = field(default_factory=dict)
    server_port: int = 1194
    tunnel: StreamReader | None = None
    is_quoted: bool = False
    """Whether this is the beginning of a packet that an ICMP error quotes."""

    def plain(self) -> Context:
        """The same for packets that cannot be the tunnel's own."""
        return replace(self, tunnel=None)

    def quoted(self) -> Context:
        """The same for a packet that an error quotes: cut short, and not the tunnel's."""
        return replace(self, tunnel=None, is_quoted=True)


def told(layers: Sequence[Layer]) -> str:
    """What the layers are about, in one line: the addresses, and the innermost header that can be read."""
    shown = [layer for layer in layers if layer.name not in ("padding", "data", "payload")]
    if not shown:
        return layers[-1].summary if layers else "no octets"
    address = next((layer for layer in shown if layer.name == "IPv4"), None)
    last = shown[-1]
    if address is not None and " fragment" in address.summary:
        return address.summary
    if address is None or last is address or last.name.startswith(("record", "text", "OpenVPN")):
        return last.summary
    return f"{address.summary.split(',')[0]}, {last.name}: {last.summary}"


# ── Ethernet ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x8100: "802.1Q tag", 0x86DD: "IPv6"}


def ethernet(context: Context, octets: bytes) -> list[Layer]:
    """Read a frame without preamble and frame check sequence, and what it carries."""
    found: list[int] = []

    def read(at: Cursor) -> None:
        destination = at.take("destination address", 6, _mac, lambda octets: _mac_meaning(context, octets))
        source = at.take("source address", 6, _mac, lambda octets: _mac_meaning(context, octets))
        if source[0] & 1:
            at.mark("a group address cannot send")
        found.append(at.number("type", 2, _type_meaning, hexadecimal=True))
        at.summary = f"{_mac(source)} → {_mac(destination)}, {ETHERTYPES.get(found[0], f'type 0x{found[0]:04x}')}"

    header = read_layer("Ethernet", octets, 0, len(octets), read)
    layers = [header]
    match found:
        case [0x0806]:
            layers.append(arp(context, octets, header.end))
        case [0x0800]:
            layers += packet(context, octets, header.end, len(octets))
    # A record that began in an earlier frame has octets of its own: its end is no place in this frame.
    return layers + _padding(octets, max(layer.end for layer in layers if layer.octets is octets))


def _padding(octets: bytes, end: int) -> list[Layer]:
    """Whatever stands in the frame after the packet."""
    if end >= len(octets):
        return []
    name, words = ("padding", "link padding") if end > 14 else ("payload", "payload")

    def read(at: Cursor) -> None:
        at.rest(name)
        at.summary = f"{counted(at.end - end)} of {words}"

    return [read_layer(name, octets, end, len(octets), read)]


def _mac(octets: bytes) -> str:
    return octets.hex(":")


def _mac_meaning(context: Context, octets: bytes) -> str:
    if octets == b"\xff" * 6:
        return "broadcast"
    named = context.names.get(_mac(octets), "")
    return named or ("multicast" if octets[0] & 1 else "")


def _type_meaning(value: int) -> str:
    if value < 0x0600:
        return f"an 802.3 length: {counted(value)}"
    return ETHERTYPES.get(value, "unknown here")


# ── ARP ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def arp(context: Context, octets: bytes, start: int) -> Layer:
    """Read an ARP packet for IPv4 over Ethernet; of any other only the first eight octets are named."""

    def read(at: Cursor) -> None:
        hardware = at.number("hardware type", 2, lambda value: "Ethernet" if value == 1 else "", _not(1, "1, Ethernet"))
        protocol = at.number("protocol type", 2, _type_meaning, _not(0x0800, "0x0800, IPv4"), hexadecimal=True)
        sizes = (
            at.number("hardware address length", 1, "", _not(6, "6")),
            at.number("protocol address length", 1, "", _not(4, "4")),
        )
        operation = at.number("operation", 2, _operation, lambda value: "" if value in (1, 2) else "is not 1 or 2")
        if (hardware, protocol, *sizes) != (1, 0x0800, 6, 4):
            at.summary = "not IPv4 over Ethernet"
            at.rest("addresses")
            return
        sender_mac = at.take("sender hardware address", 6, _mac, lambda value: _mac_meaning(context, value))
        sender = _address(at, context, "sender protocol address")
        at.take("target hardware address", 6, _mac, lambda value: _mac_meaning(context, value))
        target = _address(at, context, "target protocol address")
        at.summary = _arp_summary(operation, _mac(sender_mac), sender, target)

    return read_layer("ARP", octets, start, len(octets), read)


def _arp_summary(operation: int, sender_mac: str, sender: str, target: str) -> str:
    if operation == 2:
        return f"{sender} is at {sender_mac}"
    if operation != 1:
        return f"operation {operation}"
    if sender == target:
        return f"announcement: {sender} is at {sender_mac}"
    if sender == "0.0.0.0":
        return f"probe: is {target} taken?"
    return f"who has {target}? tell {sender}"


def _operation(value: int) -> str:
    return {1: "request", 2: "reply"}.get(value, "")


def _not(right: int, words: str) -> _Check:
    return _Check(right, words)


@dataclass(frozen=True, slots=True)
class _Check:
    """A problem unless the value is the one that the standard demands."""

    right: int
    words: str

    def __call__(self, value: int) -> str:
        return "" if value == self.right else f"is not {self.words}"


# ── IPv4 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

PROTOCOLS = {1: "ICMP", 2: "IGMP", 4: "IP in IP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 51: "AH", 132: "SCTP"}
ECN = {0: "", 1: "ECT(1)", 2: "ECT(0)", 3: "CE"}


@dataclass(slots=True)
class _Packet:
    """What the layers above need of the IPv4 header."""

    source: str = ""
    destination: str = ""
    protocol: int = 0
    end: int = 0
    is_fragment: bool = False
    offset: int = 0
    more: bool = False
    is_whole: bool = False
    """Whether every octet that Total Length promises is there."""


def packet(context: Context, octets: bytes, start: int, end: int) -> list[Layer]:
    """Read an IPv4 packet and what it carries. The last layer returned ends where the packet does."""
    if start < end and octets[start] >> 4 == 6:
        return [_ipv6(octets, start, end)]
    head = _Packet(end=start)
    header = read_layer("IPv4", octets, start, end, lambda at: _ipv4_header(at, context, head))
    layers = [header]
    if not head.end or header.end >= head.end:
        return layers
    return layers + _payload(context, head, octets, header.end)


def _ipv6(octets: bytes, start: int, end: int) -> Layer:
    def read(at: Cursor) -> None:
        at.bits("version", start, start + 1, 6, "IPv6")
        at.rest("IPv6 packet")
        at.summary = "IPv6, which is not looked into"

    return read_layer("IPv6", octets, start, end, read)


def _ipv4_header(at: Cursor, context: Context, head: _Packet) -> None:
    first = at.shared("version and header length", 1)
    version, words = first >> 4, first & 15
    at.bits("version", at.start, at.start + 1, version, "", "" if version == 4 else "is not 4")
    short = "under 5, the smallest" if words < 5 else ""
    at.bits("header length", at.start, at.start + 1, words, f"{words} × 4 = {counted(4 * words)}", short)
    at.number("type of service", 1, _type_of_service, hexadecimal=True)
    total = at.number("total length", 2)
    head.is_whole = total <= at.end - at.start
    if total < 4 * words:
        at.mark("is under the header length")
    elif not head.is_whole and not context.is_quoted:
        at.mark(f"is over the {counted(at.end - at.start)} that are there")
    at.number("identification", 2, hexadecimal=True)
    _flags_and_offset(at, head)
    at.number("time to live", 1)
    head.protocol = at.number("protocol", 1, lambda value: PROTOCOLS.get(value, ""))
    at.number("header checksum", 2, "", hexadecimal=True)
    checksum_field = len(at.parts) - 1
    head.source = _address(at, context, "source address")
    head.destination = _address(at, context, "destination address")
    at.summary = f"{head.source} → {head.destination}, {_carries(head, total)}"
    _options(at, min(at.start + 4 * max(words, 5), at.end))
    _ipv4_checksum(at, checksum_field, 4 * words)
    # A length that is too long was marked; whatever is there is read as the payload.
    head.end = min(at.start + max(total, at.position - at.start), at.end)


def _carries(head: _Packet, total: int) -> str:
    what = PROTOCOLS.get(head.protocol, f"protocol {head.protocol}")
    if head.is_fragment:
        what += f" fragment, octets {head.offset} on{'' if head.more else ', the last'}"
    return f"{what}, {counted(total)}"


def _type_of_service(value: int) -> str:
    precedence = f"precedence {value >> 5}" if value >> 5 else "routine"
    return ", ".join(filter(None, (precedence, f"DSCP {value >> 2}" if value >> 2 else "", ECN[value & 3])))


def _flags_and_offset(at: Cursor, head: _Packet) -> None:
    word = at.shared("flags and fragment offset", 2)
    start = at.position - 2
    reserved, dont, more = word >> 15, word >> 14 & 1, word >> 13 & 1
    names = [
        text
        for text, is_set in (("reserved bit", reserved), ("don't fragment", dont), ("more fragments", more))
        if is_set
    ]
    at.bits("flags", start, start + 1, f"0b{word >> 13:03b}", ", ".join(names))
    head.offset, head.more = 8 * (word & 0x1FFF), bool(more)
    head.is_fragment = head.more or head.offset > 0
    at.bits("fragment offset", start, start + 2, word & 0x1FFF, f"× 8 = octet {head.offset}" if head.offset else "")


def _ipv4_checksum(at: Cursor, index: int, header_length: int) -> None:
    """Verify the header checksum, once the whole header was seen."""
    header = at.octets[at.start : at.start + header_length]
    if header_length < 20 or len(header) < header_length or at.position - at.start < header_length:
        return
    right = internet_checksum(header[:10] + b"\0\0" + header[12:])
    have = int.from_bytes(header[10:12], "big")
    _settle(at, index, have, right)


def _settle(at: Cursor, index: int, have: int, right: int) -> None:
    """Say of the checksum field whether it is right."""
    # 0 and 0xffff are the same number in one's complement arithmetic.
    if have == right or {have, right} == {0, 0xFFFF}:
        at.mark("", index, "right")
    else:
        at.mark(f"wrong: 0x{right:04x} is right", index)


def _address(at: Cursor, context: Context, name: str) -> str:
    octets = at.take(name, 4, _dotted, lambda octets: _address_meaning(context, octets))
    return _dotted(octets)


def _dotted(octets: bytes) -> str:
    return str(IPv4Address(octets))


def _address_meaning(context: Context, octets: bytes) -> str:
    address = IPv4Address(octets)
    if str(address) in context.names:
        return context.names[str(address)]
    if octets == b"\xff" * 4:
        return "limited broadcast"
    if address.is_multicast:
        return "multicast"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return ""


# ── IPv4 options ──────────────────────────────────────────────────────────────────────────────────────────────────────

OPTIONS = {
    0: "end of option list", 1: "no operation", 7: "record route", 68: "internet timestamp", 130: "security",
    131: "loose source route", 136: "stream identifier", 137: "strict source route", 148: "router alert",
}  # fmt: skip


def _options(at: Cursor, end: int) -> None:
    while at.position < end:
        option = read_layer("option", at.octets, at.position, end, _option)
        at.add(option)
        if option.fields and option.fields[0].value == "0":  # what follows is padding
            if at.position < end:
                at.take("padding", end - at.position)
            return
        if any(found.problem for found in option.fields):
            if at.position < end:
                at.take("unreadable", end - at.position)
            return


def _option(at: Cursor) -> None:
    kind = at.number("option type", 1, lambda value: _option_meaning(value))
    at.summary = OPTIONS.get(kind, f"option {kind}")
    if kind < 2:
        return
    length = at.number("option length", 1)
    if length < 2 or length - 2 > at.left:
        at.mark("is under 2" if length < 2 else "is beyond the header")
        return
    if kind in (7, 131, 137) and length >= 3:
        at.number("pointer", 1, "", lambda value: "" if value >= 4 else "is under 4")
        if (length - 3) % 4 == 0:
            for _ in range((length - 3) // 4):
                at.take("route address", 4, _dotted)
            return
    taken = at.position - at.start
    if length > taken:
        at.take("option data", length - taken)


def _option_meaning(kind: int) -> str:
    return OPTIONS.get(kind, "unknown here") + (", copied into fragments" if kind & 0x80 else "")


# ── what IPv4 carries ─────────────────────────────────────────────────────────────────────────────────────────────────


def _payload(context: Context, head: _Packet, octets: bytes, start: int) -> list[Layer]:
    if head.offset:
        return [_data(octets, start, head.end, f"octets {head.offset} to {head.offset + head.end - start - 1}")]
    match head.protocol:
        case 1:
            return icmp(context, head, octets, start)
        case 17:
            return udp(context, head, octets, start)
        case 6:
            return tcp(context, head, octets, start)
    return [_data(octets, start, head.end, "not looked into")]


def _data(octets: bytes, start: int, end: int, words: str = "") -> Layer:
    def read(at: Cursor) -> None:
        at.rest("data", _readable(octets[start:end]))
        at.summary = ", ".join(filter(None, (counted(end - start), words)))

    return read_layer("data", octets, start, end, read)


def _readable(octets: bytes) -> str:
    """The octets as text, if that is what they are."""
    count = counted(len(octets))
    if 4 <= len(octets) <= 64 and all(32 <= octet < 127 for octet in octets):
        return f"{count}: “{octets.decode()}”"
    return count


def _pseudo_header(head: _Packet, length: int) -> bytes:
    addresses = IPv4Address(head.source).packed + IPv4Address(head.destination).packed
    return addresses + bytes((0, head.protocol)) + length.to_bytes(2, "big")


def _verify(at: Cursor, head: _Packet, index: int, covered: bytes, place: int, have: int) -> None:
    """Settle a checksum over ``covered``, whose field stands ``place`` octets from its beginning."""
    if head.is_fragment or not head.is_whole:
        at.mark("", index, "covers octets that are not here")
        return
    _settle(at, index, have, internet_checksum(covered[:place] + b"\0\0" + covered[place + 2 :]))


# ── ICMP ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

ICMP_TYPES = {
    0: "echo reply", 3: "destination unreachable", 4: "source quench", 5: "redirect", 8: "echo",
    9: "router advertisement", 10: "router solicitation", 11: "time exceeded", 12: "parameter problem",
    13: "timestamp", 14: "timestamp reply", 15: "information request", 16: "information reply",
    17: "address mask request", 18: "address mask reply",
}  # fmt: skip
ICMP_CODES = {
    (3, 0): "net unreachable", (3, 1): "host unreachable", (3, 2): "protocol unreachable", (3, 3): "port unreachable",
    (3, 4): "fragmentation needed and DF set", (3, 5): "source route failed", (3, 13): "administratively prohibited",
    (11, 0): "time to live exceeded in transit", (11, 1): "fragment reassembly time exceeded",
    (12, 0): "pointer indicates the error", (12, 1): "a required option is missing", (12, 2): "bad length",
}  # fmt: skip
_ERRORS = frozenset((3, 4, 5, 11, 12))


def icmp(context: Context, head: _Packet, octets: bytes, start: int) -> list[Layer]:
    """Read an ICMP message; an error's quoted packet is a layer below it."""

    def read(at: Cursor) -> None:
        kind = at.number("type", 1, lambda value: ICMP_TYPES.get(value, "unknown here"))
        code = at.number("code", 1, lambda value: ICMP_CODES.get((kind, value), ""))
        have = at.number("checksum", 2, hexadecimal=True)
        _verify(at, head, 2, octets[start : head.end], 2, have)
        at.summary = ICMP_CODES.get((kind, code)) or ICMP_TYPES.get(kind, f"ICMP type {kind}")
        if kind in _ERRORS:
            _error(at, context, kind, code)
            return
        if kind in (0, 8, 13, 14, 15, 16, 17, 18):
            identifier = at.number("identifier", 2)
            sequence = at.number("sequence number", 2)
            at.summary += f", identifier {identifier}, sequence number {sequence}"
        at.rest("data", _readable(octets[at.position : head.end]))

    return [read_layer("ICMP", octets, start, head.end, read)]


def _error(at: Cursor, context: Context, kind: int, code: int) -> None:
    if (kind, code) == (3, 4):
        at.number("unused", 2)
        at.summary += f", next-hop MTU {at.number('next-hop MTU', 2)}"
    elif kind == 12:
        at.summary += f", octet {at.number('pointer', 1)}"
        at.number("unused", 3)
    elif kind == 5:
        at.summary += f", use {_address(at, context, 'gateway internet address')}"
    else:
        at.number("unused", 4)
    if not at.left:
        return
    if context.is_quoted:  # an error about an error is forbidden; a nest of them is not followed down
        at.rest("quoted octets")
        return
    inner = packet(context.quoted(), at.octets, at.position, at.end)
    at.add(Layer("quoted packet", at.octets, at.position, inner[-1].end, tuple(inner), inner[0].summary))
    at.rest("beyond the quoted packet")


# ── UDP ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

SERVICES = {7: "echo", 19: "character generator", 53: "domain", 67: "bootps", 80: "http", 123: "ntp", 443: "https",
            1194: "openvpn", 5353: "mdns"}  # fmt: skip


def udp(context: Context, head: _Packet, octets: bytes, start: int) -> list[Layer]:
    """Read a UDP datagram's header and its data."""
    ports: list[int] = []

    def read(at: Cursor) -> None:
        ports.extend((at.number("source port", 2, _service), at.number("destination port", 2, _service)))
        length = at.number("length", 2)
        at.summary = f"port {ports[0]} → {ports[1]}, {counted(max(length - 8, 0))} of data"
        if length < 8:
            at.mark("is under 8, the header")
        elif length > head.end - start and not (head.is_fragment or context.is_quoted):
            at.mark(f"is over the {counted(head.end - start)} that IP delivered")
        have = at.number("checksum", 2, hexadecimal=True)
        if have == 0:
            at.mark("", meaning="none was computed")
        elif 8 <= length <= head.end - start:
            _verify(at, head, 3, _pseudo_header(head, length) + octets[start : start + length], 18, have)

    header = read_layer("UDP", octets, start, head.end, read)
    if header.end >= head.end:
        return [header]
    if context.tunnel is not None and context.server_port in ports:
        return [header, *context.tunnel.datagram(octets, header.end, head.end)]
    return [header, _data(octets, header.end, head.end)]


def _service(port: int) -> str:
    return SERVICES.get(port, "")


# ── TCP ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

CONTROL_BITS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # from the lowest bit up


@dataclass(slots=True)
class _Segment:
    ports: tuple[int, int] = (0, 0)
    sequence: int = 0
    bits: tuple[str, ...] = ()


def tcp(context: Context, head: _Packet, octets: bytes, start: int) -> list[Layer]:
    """Read a TCP segment's header and its text."""
    segment = _Segment()
    header = read_layer("TCP", octets, start, head.end, lambda at: _tcp_header(at, head, segment))
    if header.end >= head.end and "SYN" not in segment.bits:
        return [header]
    if context.tunnel is not None and context.server_port in segment.ports:
        source, destination = (
            f"{address}:{port}" for address, port in zip((head.source, head.destination), segment.ports, strict=True)
        )
        is_syn = "SYN" in segment.bits
        return [
            header,
            *context.tunnel.segment((source, destination), segment.sequence, is_syn, octets, header.end, head.end),
        ]
    return [header, _data(octets, header.end, head.end)] if header.end < head.end else [header]


def _tcp_header(at: Cursor, head: _Packet, segment: _Segment) -> None:
    segment.ports = (at.number("source port", 2, _service), at.number("destination port", 2, _service))
    segment.sequence = at.number("sequence number", 4)
    acknowledgement = at.number("acknowledgment number", 4)
    offset = at.shared("data offset", 1) >> 4
    place = at.position - 1
    wrong = "under 5, the smallest" if offset < 5 else "beyond the segment" if 4 * offset > at.end - at.start else ""
    at.bits("data offset", place, place + 1, offset, f"{offset} × 4 = {counted(4 * offset)}", wrong)
    control = at.number("control bits", 1, _control_bits, hexadecimal=True)
    segment.bits = tuple(bit for place, bit in enumerate(CONTROL_BITS) if control >> place & 1)
    at.number("window", 2)
    have = at.number("checksum", 2, hexadecimal=True)
    index = len(at.parts) - 1
    at.number("urgent pointer", 2)
    length = head.end - at.start
    _verify(at, head, index, _pseudo_header(head, length) + at.octets[at.start : head.end], 28, have)
    _tcp_options(at, min(at.start + 4 * max(offset, 5), at.end))
    at.summary = _tcp_summary(segment, acknowledgement, head.end - at.position)


def _tcp_summary(segment: _Segment, acknowledgement: int, text: int) -> str:
    parts = [f"port {segment.ports[0]} → {segment.ports[1]}", " ".join(segment.bits) or "no control bits"]
    parts.append(f"sequence number {segment.sequence}")
    if "ACK" in segment.bits:
        parts.append(f"acknowledges {acknowledgement}")
    if text > 0:
        parts.append(f"{counted(text)} of text")
    return ", ".join(parts)


def _control_bits(value: int) -> str:
    return " ".join(bit for place, bit in enumerate(CONTROL_BITS) if value >> place & 1)


TCP_OPTIONS = {0: "end of option list", 1: "no operation", 2: "maximum segment size", 3: "window scale",
               4: "SACK permitted", 5: "SACK", 8: "timestamps"}  # fmt: skip


def _tcp_options(at: Cursor, end: int) -> None:
    while at.position < end:
        option = read_layer("option", at.octets, at.position, end, _tcp_option)
        at.add(option)
        is_last = bool(option.fields) and option.fields[0].value == "0"
        if is_last or any(found.problem for found in option.fields):
            if at.position < end:
                at.take("padding" if is_last else "unreadable", end - at.position)
            return


def _tcp_option(at: Cursor) -> None:
    kind = at.number("kind", 1, lambda value: TCP_OPTIONS.get(value, "unknown here"))
    at.summary = TCP_OPTIONS.get(kind, f"option {kind}")
    if kind < 2:
        return
    length = at.number("length", 1)
    if length < 2 or length - 2 > at.left:
        at.mark("is under 2" if length < 2 else "is beyond the header")
        return
    match kind, length:
        case 2, 4:
            at.summary += f" {at.number('maximum segment size', 2)}"
        case 3, 3:
            at.summary += f" {at.number('shift count', 1)}"
        case 8, 10:
            at.number("timestamp value", 4)
            at.number("timestamp echo reply", 4)
        case _ if length > 2:
            at.take("option data", length - 2)
