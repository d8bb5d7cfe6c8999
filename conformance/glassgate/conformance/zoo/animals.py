"""The bugs. Each has an origin that can be looked up; the change rebuilds what it did, not the code that did it.

*Measured* means: that system's packet path was executed with such packets, and this is what it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Changes = Mapping[str, Sequence[tuple[str, str]]]

MIRAGEVPN = "miragevpn's router, measured 2026-07"
MIRAGE_TCPIP = "mirage-tcpip, measured 2026-07"
LINUX = "Linux 6.18 forwarding into a tun, measured"


def _smoltcp(*numbers: int) -> str:
    return ", ".join(f"smoltcp-rs/smoltcp#{number}" for number in numbers)


def _mirage(number: int) -> str:
    return f"mirage/mirage-tcpip#{number}"


@dataclass(frozen=True, slots=True)
class Animal:
    """One bug. ``rules`` are those of which a vector must cite one when it catches it."""

    name: str
    what: str
    origin: str
    rules: tuple[str, ...]
    changes: Changes


_UNASSERTED_GRID = ("    assert packet.fragment_offset % OFFSET_UNIT == 0\n", "")
_RECOMPUTED = "        header_checksum=checksum.update(packet.header_checksum, old, old - 0x0100),\n"


def _instead_of_own(decision: str) -> tuple[str, str]:
    return "        return Deliver(rules.S10_FOR_ME)\n", f"        return {decision}\n"


FRAGMENTATION = (
    Animal(
        "first-fragment-is-whole",
        "The first fragment carries the whole payload.",
        MIRAGEVPN,
        ("s21-fragment",),
        {"fragments": [("piece = replace(packet, payload=packet.payload[:size],", "piece = replace(packet,")]},
    ),
    Animal(
        "cut-off-the-grid",
        "Fragments are cut at the MTU and not at a multiple of 8 octets.",
        f"{MIRAGEVPN}; {_smoltcp(1116)}",
        ("s21-fragment",),
        {
            "fragments": [
                (
                    "size = (mtu - packet.header_length) // OFFSET_UNIT * OFFSET_UNIT",
                    "size = mtu - packet.header_length",
                )
            ],
            "ipv4": [_UNASSERTED_GRID],
        },
    ),
    Animal(
        "offsets-from-zero",
        "A fragment that is cut again loses its place: offsets count from zero.",
        MIRAGEVPN,
        ("s21-refragment", "s21-fragment"),
        {"fragments": [("fragment_offset=packet.fragment_offset + size,", "fragment_offset=size,")]},
    ),
    Animal(
        "options-not-counted",
        "The room for data is reckoned as if the header had no options.",
        MIRAGEVPN,
        ("s21-fragment", "s21-options"),
        {"fragments": [("size = (mtu - packet.header_length) //", "size = (mtu - ipv4.SHORTEST_HEADER) //")]},
    ),
    Animal(
        "options-in-every-fragment",
        "All options are copied into every fragment.",
        MIRAGE_TCPIP,
        ("s21-options",),
        {"options": [("if isinstance(option, Option) and option.is_copied]", "if isinstance(option, Option)]")]},
    ),
    Animal(
        "one-length-slips-through",
        "A packet a few octets over the MTU is not cut.",
        _smoltcp(1008),
        ("s21-fragment", "s22-fits"),
        {"fragments": [("    if packet.total_length <= mtu:", "    if packet.total_length <= mtu + 4:")]},
    ),
    Animal(
        "first-fragment-length",
        "The first fragment's total length leaves out its header.",
        _smoltcp(791, 792),
        ("s21-fragment",),
        {
            "ipv4": [
                (
                    "        packet.total_length,\n",
                    "        len(packet.payload) if packet.more_fragments and not packet.fragment_offset"
                    " else packet.total_length,\n",
                )
            ]
        },
    ),
    Animal(
        "rounded-but-empty",
        "First fragments are rounded only where the MTU less 20 is no multiple of 8 already by luck.",
        MIRAGE_TCPIP,
        ("s21-fragment", "s21-options"),
        {
            "fragments": [
                (
                    "size = (mtu - packet.header_length) // OFFSET_UNIT * OFFSET_UNIT",
                    "size = mtu - packet.header_length if not packet.fragment_offset"
                    " else (mtu - packet.header_length) // OFFSET_UNIT * OFFSET_UNIT",
                )
            ],
            "ipv4": [_UNASSERTED_GRID],
        },
    ),
    Animal(
        "next-hop-mtu-20-short",
        "The Next-Hop MTU of 3/4 leaves out the IP header.",
        MIRAGEVPN,
        ("s22-df",),
        {"icmp": [('struct.pack("!HH", 0, mtu)', 'struct.pack("!HH", 0, mtu - 20)')]},
    ),
    Animal(
        "df-ignored",
        "A packet over the MTU is cut although it says DF.",
        "FreeBSD and others before RFC 1191; the black holes of RFC 2923 2.1 are its mirror image",
        ("s22-df",),
        {"forwarding": [("if packet.total_length > mtu and packet.dont_fragment:", "if False:")]},
    ),
)

FORWARDING = (
    Animal(
        "own-address-tunnelled",
        "Packets to the gateway itself go into the tunnel.",
        MIRAGEVPN,
        ("s10-for-me",),
        {"forwarding": [_instead_of_own("Onward(rules.S14_FORWARD)")]},
    ),
    Animal(
        "multicast-tunnelled",
        "Multicast destinations go into the tunnel.",
        MIRAGEVPN,
        ("s14-multicast",),
        {"forwarding": [("        return rules.S14_MULTICAST\n", "        return None\n")]},
    ),
    Animal(
        "loopback-tunnelled",
        "Destinations in 127/8 go into the tunnel.",
        f"{MIRAGEVPN}; the class of CVE-2020-8558",
        ("s14-loopback",),
        {"forwarding": [("        return rules.S14_LOOPBACK\n", "        return None\n")]},
    ),
    Animal(
        "this-network-tunnelled",
        "Destinations in 0/8 go into the tunnel.",
        MIRAGEVPN,
        ("s14-this-network",),
        {"forwarding": [("        return rules.S14_THIS_NETWORK\n", "        return None\n")]},
    ),
    Animal(
        "link-local-tunnelled",
        "Destinations in 169.254/16 go into the tunnel.",
        LINUX,
        ("s14-link-local",),
        {"forwarding": [("        return rules.S14_LINK_LOCAL\n", "        return None\n")]},
    ),
    Animal(
        "class-e-tunnelled",
        "Destinations in 240/4 go into the tunnel.",
        LINUX,
        ("s14-reserved",),
        {"forwarding": [("        return rules.S14_RESERVED\n", "        return None\n")]},
    ),
    Animal(
        "hairpin",
        "Packets between two internal hosts are forwarded.",
        LINUX,
        ("s14-own-network",),
        {"forwarding": [("        return rules.S14_OWN_NETWORK\n", "        return None\n")]},
    ),
    Animal(
        "broadcast-frame-forwarded",
        "An IP packet in a broadcast or multicast frame is forwarded: the LAN's chatter leaks into the tunnel.",
        MIRAGEVPN,
        ("s6-ip-in-group-frame",),
        {"ethernet": [("if frame.type == TYPE_IPV4 and frame.destination.is_group:", "if False:")]},
    ),
    Animal(
        "promiscuous",
        "Frames to other stations are processed as well.",
        _mirage(114),
        ("s5-other-station",),
        {"ethernet": [("if frame.destination != own and not frame.destination.is_group:", "if False:")]},
    ),
    Animal(
        "header-unverified",
        "The header checksum is not verified; a spoiled header leaves with a good one.",
        MIRAGEVPN,
        ("s9-checksum",),
        {
            "ipv4": [
                ("    if not checksum.is_good(octets[:header_length]):", "    if False:"),
                (_RECOMPUTED, "        header_checksum=None,\n"),
            ]
        },
    ),
    Animal(
        "type-of-service-zeroed",
        "Type of service and ECN are zeroed on the way.",
        MIRAGEVPN,
        ("s18-unchanged",),
        {"ipv4": [(_RECOMPUTED, "        type_of_service=0,\n        header_checksum=None,\n")]},
    ),
    Animal(
        "df-and-identification-cleared",
        "DF is cleared and the identification zeroed on the way.",
        MIRAGEVPN,
        ("s18-unchanged",),
        {
            "ipv4": [
                (
                    _RECOMPUTED,
                    "        dont_fragment=False,\n        identification=0,\n        header_checksum=None,\n",
                )
            ]
        },
    ),
    Animal(
        "options-stripped",
        "Options are stripped on the way.",
        MIRAGEVPN,
        ("s18-options-kept",),
        {"ipv4": [(_RECOMPUTED, '        options=b"",\n        header_checksum=None,\n')]},
    ),
    Animal(
        "checksum-by-subtraction",
        "The checksum is adjusted as RFC 1141 had it: 0xffff comes out where 0x0000 should.",
        "RFC 1624 2 on RFC 1141",
        ("s17-decrement",),
        {
            "checksum": [
                (
                    "    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new\n",
                    "    total = ((checksum + old + (~new & 0xFFFF) + 0xFFFF * 2 - 1) % 0xFFFF + 1) ^ 0xFFFF\n",
                )
            ]
        },
    ),
    Animal(
        "foreign-packets-routed-back",
        "A packet from the tunnel to anywhere else is sent on.",
        LINUX,
        ("s30-elsewhere",),
        {
            "forwarding": [
                (
                    "        return dropped(rules.S30_ELSEWHERE, destination=packet.destination)\n",
                    "        return Onward(rules.S29_TO_HOST)\n",
                )
            ]
        },
    ),
    Animal(
        "own-packets-from-tunnel-dropped",
        "Packets from the tunnel to the gateway itself are dropped.",
        MIRAGEVPN,
        ("s28-for-me",),
        {
            "forwarding": [
                (
                    "        return Deliver(rules.S28_FOR_ME)\n",
                    "        return dropped(rules.S28_FOR_ME)\n",
                )
            ]
        },
    ),
    Animal(
        "three-protocols-only",
        "From the tunnel only ICMP, TCP and UDP reach the LAN.",
        MIRAGEVPN,
        ("s19-any-protocol",),
        {
            "forwarding": [
                (
                    "    return Onward(rules.S29_TO_HOST)\n",
                    "    if packet.protocol not in (1, 6, 17):\n        return dropped(rules.S19_ANY_PROTOCOL)\n"
                    "    return Onward(rules.S29_TO_HOST)\n",
                )
            ]
        },
    ),
    Animal(
        "martians-let-in",
        "Sources that are no host's are let in from the tunnel.",
        MIRAGEVPN,
        ("s16-martian",),
        {"forwarding": [("    if block is not None:\n", "    if False:\n")]},
    ),
    Animal(
        "source-route-obeyed",
        "Packets with a source route pass.",
        "CVE-1999-0510; RFC 7126 4.3",
        ("s18-source-route",),
        {"forwarding": [("        if option.is_source_route:\n", "        if False:\n")]},
    ),
    Animal(
        "land",
        "A packet from the gateway's own address is taken.",
        "the LAND attack, CVE-1999-0016",
        ("s16-own",),
        {"forwarding": [("    if packet.source in place.own:\n", "    if False:\n")]},
    ),
    Animal(
        "smurf",
        "An echo request to the directed broadcast is answered.",
        "the smurf attack, CVE-1999-0513",
        ("s14-broadcast", "s15-group"),
        {
            "forwarding": [
                (
                    "    if packet.destination == place.inside.own:\n        return Deliver(rules.S10_FOR_ME)\n",
                    "    if packet.destination == place.inside.own or place.inside.is_edge(packet.destination):\n"
                    "        return Deliver(rules.S10_FOR_ME)\n",
                )
            ],
            "gateway": [("        if packet.source not in self._place.own:  # ", "        if False:  # ")],
        },
    ),
)

ERRORS = (
    Animal(
        "no-error-about-echo",
        "No ICMP error is sent about an echo request, as if it were an error itself.",
        MIRAGEVPN,
        ("s17-expired", "s22-df", "s20-not-about-error", "s4-tunnel-down"),
        {"icmp": [("ERROR_TYPES = frozenset({", "ERROR_TYPES = frozenset({ECHO_REQUEST, ")]},
    ),
    Animal(
        "error-about-error",
        "ICMP errors are sent about ICMP errors.",
        "RFC 792's closing sentence, RFC 1122 3.2.2: the storms that they forbid",
        ("s20-not-about-error",),
        {"icmp": [("    if is_error(about):\n", "    if False:\n")]},
    ),
    Animal(
        "error-about-multicast",
        "Multicast with an expired time to live is answered by 11/0.",
        MIRAGEVPN,
        ("s14-multicast", "s20-not-about-group"),
        {
            "forwarding": [("        return rules.S14_MULTICAST\n", "        return None\n")],
            "icmp": [
                (
                    "    if edge or about.destination in MULTICAST or about.destination == LIMITED_BROADCAST:\n",
                    "    if edge:\n",
                )
            ],
        },
    ),
    Animal(
        "error-about-later-fragment",
        "ICMP errors are sent about fragments other than the first.",
        "RFC 1122 3.2.2; the reason for RFC 1812 4.3.2.7",
        ("s20-not-about-later-fragment",),
        {"icmp": [("    if about.fragment_offset > 0:\n", "    if False:\n")]},
    ),
    Animal(
        "quoted-header-rewritten",
        "The quoted header is not the one that was received.",
        MIRAGEVPN,
        ("s20-quote",),
        {
            "icmp": [
                (
                    "ipv4.build(about)[:room]",
                    "ipv4.build(replace(about, identification=0, header_checksum=None))[:room]",
                )
            ]
        },
    ),
    Animal(
        "error-with-the-offenders-options",
        "ICMP errors carry the options of the packet that they are about.",
        MIRAGEVPN,
        ("s20-header", "s20-quote", "s18-malformed-option"),
        {
            "gateway": [
                (
                    "            type_of_service=icmp.INTERNETWORK_CONTROL,\n",
                    "            type_of_service=icmp.INTERNETWORK_CONTROL,\n            options=about.options,\n",
                )
            ]
        },
    ),
    Animal(
        "error-from-the-wrong-interface",
        "Errors into the tunnel come from the internal address.",
        MIRAGEVPN,
        ("s20-source",),
        {
            "gateway": [
                (
                    "        return self._tunnel.address.ip\n\n    # ── out",
                    "        return self._inside.own\n\n    # ── out",
                )
            ]
        },
    ),
    Animal(
        "unlimited-errors",
        "ICMP errors are not rate limited.",
        "RFC 1812 4.3.2.8: why routers must limit them",
        ("s20-rate",),
        {"icmp": [("        if self._tokens < 1 - ROUNDING:\n", "        if False:\n")]},
    ),
    Animal(
        "no-host-unreachable",
        "A neighbour that does not answer is given up without a word.",
        MIRAGEVPN,
        ("s31-give-up",),
        {
            "arp": [
                (
                    "                    yield Unreachable(waiting, neighbour, rules.S31_GIVE_UP)\n",
                    "                    pass\n",
                )
            ]
        },
    ),
)

REASSEMBLY = (
    Animal(
        "teardrop",
        "Overlapping fragments are put together.",
        "teardrop, CVE-1999-0015",
        ("s12-overlap",),
        {
            "fragments": [
                ("    if held.overlaps(packet):\n", "    if False:\n"),
                ("self.octets == self.end", "self.octets >= self.end"),
            ]
        },
    ),
    Animal(
        "ping-of-death",
        "A fragment that ends beyond octet 65535 is taken.",
        "the ping of death, CVE-1999-0128; miragevpn's 66992-octet datagrams, measured 2026-07",
        ("s12-too-long",),
        {
            "fragments": [
                ("    return packet.header_length + packet.fragment_end > ipv4.LONGEST_PACKET\n", "    return False\n")
            ]
        },
    ),
    Animal(
        "fragment-smack",
        "A datagram may come in any number of fragments.",
        "FragmentSmack, CVE-2018-5391",
        ("s12-fragment-limit",),
        {"fragments": [("    if len(held.pieces) == limits.reassembly_fragments:\n", "    if False:\n")]},
    ),
    Animal(
        "unbounded-contexts",
        "Any number of datagrams may be in reassembly.",
        "the jolt2 and rose attacks, CVE-2000-0305",
        ("s12-context-limit",),
        {
            "fragments": [
                ("len(self._contexts) >= self._limits.reassembly_contexts:", "len(self._contexts) >= 1 << 30:")
            ]
        },
    ),
    Animal(
        "empty-fragments",
        "Fragments without data are held; they weigh nothing, so no bound is reached.",
        MIRAGEVPN,
        ("s12-empty",),
        {"fragments": [("    if not packet.payload:\n", "    if False:\n")]},
    ),
    Animal(
        "end-is-the-highest",
        "The datagram ends where the highest fragment so far does.",
        MIRAGE_TCPIP,
        ("s12-hold", "s12-complete", "s12-timeout", "s12-timeout-silent"),
        {
            "fragments": [
                (
                    "        if not fragment.more_fragments:\n            self.end = fragment.fragment_end\n",
                    "        self.end = max(self.end or 0, fragment.fragment_end)\n",
                )
            ]
        },
    ),
    Animal(
        "duplicate-kills",
        "A duplicate fragment discards its datagram.",
        MIRAGE_TCPIP,
        ("s12-duplicate",),
        {"fragments": [("isinstance(context, Assembling) and context.holds(packet):", "False:")]},
    ),
    Animal(
        "length-after-reassembly",
        "The datagram put together lacks its last piece.",
        _smoltcp(1094),
        ("s12-complete",),
        {
            "fragments": [
                ('b"".join(piece.payload for piece in pieces)', 'b"".join(piece.payload for piece in pieces[:-1])')
            ]
        },
    ),
    Animal(
        "key-lacks-the-protocol",
        "Fragments of different protocols with one identification are mixed.",
        "PyTCP: the key of its fragment store",
        ("s12-hold", "s12-complete"),
        {
            "fragments": [
                (
                    "key = Key(packet.source, packet.destination, packet.protocol, packet.identification)",
                    "key = Key(packet.source, packet.destination, 0, packet.identification)",
                )
            ]
        },
    ),
    Animal(
        "fragments-never-expire",
        "What is incomplete is held for ever.",
        "PyTCP: its fragment store has no timer",
        ("s12-timeout", "s12-timeout-silent"),
        {"fragments": [("return next((context.due for context in self._contexts.values()), None)", "return None")]},
    ),
    Animal(
        "two-ends",
        "A second last fragment moves the end.",
        "bonk and boink, CVE-1999-0258",
        ("s12-two-ends", "s12-beyond-end"),
        {
            "fragments": [
                ("    if held.end is not None and end != held.end:\n", "    if False:\n"),
                ("    if end is not None and reaches > end:\n", "    if False:\n"),
            ]
        },
    ),
)

NEIGHBOURS = (
    Animal(
        "multicast-neighbour",
        "A multicast hardware address is believed.",
        f"{MIRAGEVPN}; RFC 1812 3.3.2",
        ("s8-group-hardware",),
        {"arp": [("        if packet.sender_hardware.is_group:\n", "        if False:\n")]},
    ),
    Animal(
        "requests-teach-nothing",
        "The sender of a request is not learned.",
        MIRAGEVPN,
        ("s8-learn", "s7-reply"),
        {
            "arp": [
                (
                    "        if is_for_us:\n            return rules.S8_LEARN\n",
                    "        if is_for_us and packet.operation == REPLY:\n            return rules.S8_LEARN\n",
                )
            ]
        },
    ),
    Animal(
        "replies-to-others-teach",
        "The table is filled by replies that are not for us.",
        _smoltcp(544),
        ("s8-not-learned",),
        {
            "arp": [
                (
                    "            return rules.S8_UPDATE\n        return None\n",
                    "            return rules.S8_UPDATE\n        return rules.S8_LEARN\n",
                )
            ]
        },
    ),
    Animal(
        "foreign-neighbours",
        "A sender of another network is learned and answered.",
        _smoltcp(536, 544),
        ("s8-foreign-sender",),
        {
            "arp": [
                (
                    "        if not is_probe and not self._network.is_host(packet.sender_protocol):\n",
                    "        if False:\n",
                )
            ]
        },
    ),
    Animal(
        "answers-for-others",
        "Requests for other addresses are answered.",
        LINUX,
        ("s7-not-for-us",),
        {
            "arp": [
                (
                    "        is_for_us = packet.target_protocol == self._network.own\n",
                    "        is_for_us = packet.operation == REQUEST\n",
                )
            ]
        },
    ),
    Animal(
        "unbounded-waiters",
        "Any number of packets wait for a neighbour that does not answer.",
        MIRAGEVPN,
        ("s31-queue-full",),
        {"arp": [("        if len(entry.queue) == self._limits.arp_queue:\n", "        if False:\n")]},
    ),
    Animal(
        "new-neighbour-thrown-away",
        "When the table is full, the new entry is thrown away and not an old one.",
        MIRAGE_TCPIP,
        ("s31-table-full",),
        {
            "arp": [
                (
                    "        neighbour = next(iter(self._entries))\n",
                    "        neighbour = next(reversed(self._entries))\n",
                )
            ]
        },
    ),
    Animal(
        "own-address-given-away",
        "A conflict is not seen: whoever claims our address gets an answer.",
        "RFC 5227 1.2: hosts that notice nothing",
        ("s7-conflict", "s7-defend"),
        {"arp": [("        if packet.sender_protocol == self._network.own:\n", "        if False:\n")]},
    ),
)

LOCAL = (
    Animal(
        "icmp-checksum",
        "The checksum of an echo reply covers its header alone.",
        _mirage(401),
        ("l1-echo",),
        {"icmp": [("checksum.compute(without), message.rest)", "checksum.compute(without[:8]), message.rest)")]},
    ),
    Animal(
        "udp-length-below-eight",
        "A UDP length under that of its header is taken.",
        _mirage(307),
        ("l2-length",),
        {"udp": [("    if not HEADER.size <= length <= len(octets):\n", "    if length > len(octets):\n")]},
    ),
    Animal(
        "udp-checksum-unverified",
        "The UDP checksum is not verified.",
        MIRAGE_TCPIP,
        ("l2-checksum",),
        {"udp": [("    if has_checksum and not checksum.is_good(", "    if False and not checksum.is_good(")]},
    ),
    Animal(
        "udp-without-checksum-refused",
        "A datagram without checksum is refused.",
        _smoltcp(632),
        ("l2-no-checksum",),
        {"udp": [("    if has_checksum and not checksum.is_good(", "    if not checksum.is_good(")]},
    ),
    Animal(
        "udp-checksum-zero",
        "A checksum that computes to 0 is sent as 0.",
        _mirage(359),
        ("l2-echo",),
        {
            "udp": [
                (
                    "computed = checksum.compute(pseudo_header + without) or 0xFFFF",
                    "computed = checksum.compute(pseudo_header + without)",
                )
            ]
        },
    ),
    Animal(
        "echo-loop",
        "The echo service answers the echo service.",
        "CERT CA-1996-01, CVE-1999-0103",
        ("l2-echo-loop",),
        {"udp": [("    elif datagram.source_port in (ECHO_PORT, CHARACTER_GENERATOR_PORT):\n", "    elif False:\n")]},
    ),
    Animal(
        "reset-fields",
        "A reset for a closed port acknowledges one octet too few.",
        MIRAGE_TCPIP,
        ("l3-closed-port",),
        {
            "tcp.service": [
                (
                    "everything = segment.sequence_number + segment.length",
                    "everything = segment.sequence_number + len(segment.text)",
                )
            ]
        },
    ),
    Animal(
        "reset-to-reset",
        "A reset to a closed port is answered by a reset.",
        "RFC 9293 3.10.7.1: the ping-pong that it forbids",
        ("l3-no-reset-to-reset",),
        {"tcp.service": [("    if segment.control & RST:\n        return None\n", "")]},
    ),
    Animal(
        "tcp-checksum-unverified",
        "The TCP checksum is not verified.",
        MIRAGE_TCPIP,
        ("l3-checksum",),
        {"tcp.segment": [("if not checksum.is_good(", "if False and not checksum.is_good(")]},
    ),
)

TUNNEL = (
    Animal(
        "no-replay-check",
        "A packet id may come again.",
        MIRAGEVPN,
        ("s26-replay",),
        {"openvpn.data_channel": [("        if not self._window.accepts(data_packet_id):\n", "        if False:\n")]},
    ),
    Animal(
        "packet-id-rollover",
        "When packet ids run out, the program stops at an assertion.",
        "OpenVPN, CVE-2017-7479",
        ("s24-ids-used-up",),
        {"gateway": [("        if self._tunnel.ids_left < len(pieces):\n", "        if False:\n")]},
    ),
    Animal(
        "short-record",
        "A record too short for its header is read all the same.",
        "OpenVPN's assertion on too small a packet, CVE-2014-8104, in the data channel",
        ("s26-too-short",),
        {"openvpn.data_channel": [("        if len(record) < tag_end:\n", "        if False:\n")]},
    ),
    Animal(
        "length-overwritten",
        "The peer id stands where the stream wants the record's length.",
        MIRAGEVPN,
        ("s3-record", "s24-seal"),
        {"openvpn.framing": [("    return LENGTH.pack(len(record)) + record\n", "    return record[1:3] + record\n")]},
    ),
    Animal(
        "padding-goes-along",
        "Ethernet padding is taken for payload and goes into the tunnel.",
        "RFC 894: why the total length counts",
        ("s9-padding", "s5-padding"),
        {"ipv4": [("payload=octets[header_length:total_length],", "payload=octets[header_length:],")]},
    ),
)

ANIMALS: tuple[Animal, ...] = (
    *FRAGMENTATION,
    *FORWARDING,
    *ERRORS,
    *REASSEMBLY,
    *NEIGHBOURS,
    *LOCAL,
    *TUNNEL,
)
"""All of them."""
