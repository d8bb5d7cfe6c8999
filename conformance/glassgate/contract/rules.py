"""Every decision a gateway can take, acceptances as well as refusals: the vocabulary that joins code, vectors and docs.

A rule has a slug that begins with the number of its requirement, one sentence in our words, the citation it rests on,
and a level: MUST and SHOULD as RFC 2119 has them, CHOICE where the standards leave room and this project decided.
The constants' names are the slugs in capitals. ``RULES`` holds them all by slug, in the order of the requirements;
``CHAPTERS`` gives each requirement its title.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How binding a rule is."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    CHOICE = "CHOICE"


@dataclass(frozen=True, slots=True)
class Rule:
    """One decision. ``str()`` gives the slug."""

    slug: str
    sentence: str
    citation: str
    level: Level

    @property
    def requirement(self) -> str:
        """The number of the requirement that the rule belongs to, such as ``S17``."""
        return self.slug.split("-", 1)[0].upper()

    def __str__(self) -> str:
        return self.slug


_rules: dict[str, Rule] = {}


def _rule(level: Level, slug: str, citation: str, sentence: str) -> Rule:
    assert slug not in _rules, slug
    _rules[slug] = made = Rule(slug, sentence, citation, level)
    return made


def find(slug: str) -> Rule:
    """The rule of that slug.

    Raises:
        KeyError: no rule has it.
    """
    return RULES[slug]


MUST, SHOULD, CHOICE = Level.MUST, Level.SHOULD, Level.CHOICE

# Two lines a rule: what it is called and rests on; what it says.
# fmt: off


# ── S1 Addresses ──────────────────────────────────────────────────────────────────────────────────────────────────────

S1_OWN_SOURCE = _rule(MUST, "s1-own-source", 'seed "Internal network", "External network"; RFC 1122 3.2.1.3',
    "What the gateway originates carries as source one of its own addresses and no other.")
S1_NO_BROADCAST_IN_31 = _rule(MUST, "s1-no-broadcast-in-31", "RFC 3021 2.1",
    "A prefix of 31 or 32 bits has neither a network nor a broadcast address: both ends are hosts.")
S1_PREFIXES_APART = _rule(CHOICE, "s1-prefixes-apart", 'seed "Internal network"; RFC 1812 4.2.2.11',
    "Internal, external and tunnel prefixes that overlap are refused as a configuration.")

# ── S2 Tunnel setup ───────────────────────────────────────────────────────────────────────────────────────────────────

S2_OPEN_FLOW = _rule(MUST, "s2-open-flow", 'seed "Tunnel setup"',
    "Before anything is forwarded, one connection to the server is opened from the external address.")
S2_ROUTER_BY_ARP = _rule(MUST, "s2-router-by-arp", "RFC 1122 3.3.1.1",
    "The server is on no attached network, so the hardware address that is asked for is the router's.")
S2_SYN_TO_ROUTER = _rule(MUST, "s2-syn-to-router", "RFC 9293 3.10.1; RFC 1122 3.3.1.1",
    "The SYN leaves in a frame to the router's hardware address.")
S2_FLOW_OPENED = _rule(MUST, "s2-flow-opened", 'seed "Tunnel setup"',
    "The transport is connected: the tunnel can be set up over it.")
S2_ESTABLISHED = _rule(MUST, "s2-established", 'seed "Tunnel setup"; OpenVPN ssl.c tls_process',
    "The session has its keys: packets may pass.")
S2_ROUTER_SILENT = _rule(CHOICE, "s2-router-silent", "RFC 1122 2.3.2.1",
    "A router that does not answer ARP ends this attempt to connect.")
S2_UNANSWERED = _rule(CHOICE, "s2-unanswered", "RFC 9293 3.8.3",
    "A SYN that stays unanswered through its retransmissions ends this attempt to connect.")
S2_REFUSED = _rule(MUST, "s2-refused", "RFC 9293 3.10.7.3",
    "A reset in answer to the SYN ends this attempt to connect.")
S2_HANDSHAKE_FAILED = _rule(MUST, "s2-handshake-failed", "OpenVPN ssl.c tls_process; PROTOCOL 12.3",
    "The server cannot be authenticated, refuses, or does not finish in time: the attempt is given up.")
S2_RETRY = _rule(CHOICE, "s2-retry", "OpenVPN options.c connect-retry",
    "An attempt that failed is repeated after 1 s, then after twice the time, up to 60 s.")
S2_PUSHED = _rule(MUST, "s2-pushed", "OpenVPN options.c apply_push_options; PROTOCOL 9",
    "Each option that the server pushes is obeyed, reported where a gateway has no use for it, or ends the session.")

# ── S3 One flow ───────────────────────────────────────────────────────────────────────────────────────────────────────

S3_RECORD = _rule(MUST, "s3-record", "OpenVPN socket.c stream_buf_added",
    "Each tunnel packet travels as a 16-bit length and that many octets, however the stream is cut.")
S3_INCOMPLETE = _rule(MUST, "s3-incomplete", "OpenVPN socket.c stream_buf_added",
    "A record that has not arrived whole waits for its rest.")
S3_BAD_LENGTH = _rule(MUST, "s3-bad-length", "OpenVPN socket.c stream_buf_added",
    "A record length of 0 or over the MTU plus 268 loses the stream as soon as it is read: the connection restarts.")
S3_DROP_BEFORE_ID = _rule(CHOICE, "s3-drop-before-id", "OpenVPN packet_id.c packet_id_write",
    "What must be dropped under pressure is dropped before it takes a packet id.")
S3_RESET_LOST_FLOW = _rule(CHOICE, "s3-reset-lost-flow", "RFC 9293 3.10.5",
    "A flow that the gateway gives up is reset, not left open.")

# ── S4 Flow loss ──────────────────────────────────────────────────────────────────────────────────────────────────────

S4_FLOW_LOST = _rule(MUST, "s4-flow-lost", 'seed "Tunnel setup"; OpenVPN forward.c process_incoming_link',
    "The transport closed under the tunnel: the tunnel is down and the flow is opened again with back-off.")
S4_TUNNEL_DOWN = _rule(MUST, "s4-tunnel-down", "RFC 1812 5.2.7.1",
    "A packet for a tunnel that is down is dropped and answered with ICMP 3/0; it is never kept.")
S4_KEYS_END = _rule(CHOICE, "s4-keys-end", "OpenVPN packet_id.c packet_id_write",
    "Keys given in the configuration end with their flow: the tunnel stays down after it.")
S4_FRESH_SESSION = _rule(MUST, "s4-fresh-session", "OpenVPN ssl.c tls_session_init",
    "After a reconnection everything is fresh: keys, packet ids from 1, tunnel address and routes as pushed now.")
S4_PEER_ENDS = _rule(MUST, "s4-peer-ends", "OpenVPN forward.c parse_incoming_control_channel_command; PROTOCOL 12.3",
    "A server that ends the session is obeyed: whether, where and when to come back is as it says.")
S4_IDLE = _rule(CHOICE, "s4-idle", "OpenVPN ping.c, forward.c check_inactivity_timeout; PROTOCOL 13",
    "A tunnel that carried too little for the agreed time, or has lasted as long as agreed, is ended for good.")
S4_LEAVE = _rule(SHOULD, "s4-leave", "OpenVPN sig.c process_explicit_exit_notification_init; PROTOCOL 12.4",
    "A gateway that stops tells the server so before it closes the flow.")

# ── S5 Frame filter ───────────────────────────────────────────────────────────────────────────────────────────────────

S5_FOR_US = _rule(MUST, "s5-for-us", 'seed "Receiving a packet on the internal network"',
    "A frame to the gateway's hardware address enters the internal stack.")
S5_OTHER_STATION = _rule(MUST, "s5-other-station", 'seed "Receiving a packet on the internal network"',
    "A frame to another unicast address has no effect.")
S5_RUNT = _rule(MUST, "s5-runt", "RFC 894",
    "A frame shorter than its 14-octet header is dropped.")
S5_SOURCE_GROUP = _rule(MUST, "s5-source-group", "RFC 894; IEEE 802.3 3.2.3",
    "A frame whose source is a group address is dropped.")
S5_SOURCE_OWN = _rule(CHOICE, "s5-source-own", "IEEE 802.3 3.2.3",
    "A frame from our own hardware address is an echo or a forgery and is dropped.")
S5_LENGTH_FIELD = _rule(CHOICE, "s5-length-field", "RFC 1122 2.3.3",
    "A value under 0x0600 in the type field is an 802.3 length: that encapsulation is not spoken here.")
S5_VLAN = _rule(CHOICE, "s5-vlan", "IEEE 802.1Q 9.6",
    "A frame with an 802.1Q tag is dropped: the internal network is untagged.")
S5_UNKNOWN_TYPE = _rule(MUST, "s5-unknown-type", "RFC 894",
    "A type other than ARP and IPv4 is dropped.")
S5_PADDING = _rule(MUST, "s5-padding", "RFC 894",
    "Octets after the payload are padding and are ignored.")

# ── S6 IP in a broadcast or multicast frame ───────────────────────────────────────────────────────────────────────────

S6_IP_IN_GROUP_FRAME = _rule(MUST, "s6-ip-in-group-frame", "RFC 1812 5.3.4, 4.3.2.7; RFC 1122 3.3.6",
    "An IP packet in a broadcast or multicast frame is neither forwarded, nor delivered, nor answered by an error.")

# ── S7 ARP answers ────────────────────────────────────────────────────────────────────────────────────────────────────

S7_REPLY = _rule(MUST, "s7-reply", "RFC 826 Packet Reception",
    "A request for our address is answered by a unicast reply.")
S7_NOT_FOR_US = _rule(MUST, "s7-not-for-us", "RFC 826 Packet Reception",
    "A request for another address is met with silence.")
S7_PROBE = _rule(MUST, "s7-probe", "RFC 5227 2.1.1, 2.3",
    "A probe (sender address 0.0.0.0) for our address is answered, and nothing is learned from it.")
S7_CONFLICT = _rule(MUST, "s7-conflict", "RFC 5227 2.4",
    "A sender that claims our address from another hardware address is noted as a conflict; the address is kept.")
S7_DEFEND = _rule(MUST, "s7-defend", "RFC 5227 2.4",
    "A conflict is answered by one announcement, at most one in 10 s.")
S7_ANNOUNCE = _rule(SHOULD, "s7-announce", "RFC 5227 2.3",
    "At start our address is announced twice, 2 s apart.")
S7_TRUNCATED = _rule(MUST, "s7-truncated", "RFC 826 Packet format",
    "An ARP packet under 28 octets is dropped.")
S7_HARDWARE_TYPE = _rule(MUST, "s7-hardware-type", "RFC 826 Packet Reception",
    "A hardware type other than Ethernet is dropped.")
S7_PROTOCOL_TYPE = _rule(MUST, "s7-protocol-type", "RFC 826 Packet Reception",
    "A protocol type other than IPv4 is dropped.")
S7_ADDRESS_LENGTH = _rule(MUST, "s7-address-length", "RFC 826 Packet Reception",
    "Address lengths other than 6 and 4 are dropped.")
S7_OPERATION = _rule(MUST, "s7-operation", "RFC 826 Packet Reception",
    "An operation other than request and reply is dropped.")

# ── S8 ARP learning ───────────────────────────────────────────────────────────────────────────────────────────────────

S8_LEARN = _rule(MUST, "s8-learn", "RFC 826 Packet Reception",
    "A request or reply addressed to us creates or updates the sender's entry.")
S8_UPDATE = _rule(MUST, "s8-update", "RFC 826 Packet Reception",
    "An ARP packet not addressed to us updates an entry that exists.")
S8_NOT_LEARNED = _rule(MUST, "s8-not-learned", "RFC 826 Packet Reception",
    "An ARP packet not addressed to us creates no entry.")
S8_GROUP_HARDWARE = _rule(MUST, "s8-group-hardware", "RFC 1812 3.3.2",
    "A reply or request that gives a group address as its sender's hardware address is not believed.")
S8_NO_STATION = _rule(CHOICE, "s8-no-station", "IEEE 802.3 3.2.3; RFC 826 Packet Reception",
    "A sender's hardware address that is our own or all zero is no other station: neither learned nor answered.")
S8_FOREIGN_SENDER = _rule(CHOICE, "s8-foreign-sender", "RFC 1812 3.3.2",
    "A sender outside the network, or one that is no host of it, is neither learned nor answered.")

# ── S9 Validity first ─────────────────────────────────────────────────────────────────────────────────────────────────

S9_TRUNCATED = _rule(MUST, "s9-truncated", "RFC 1812 5.2.2",
    "Fewer than 20 octets are no IPv4 header.")
S9_VERSION = _rule(MUST, "s9-version", "RFC 1812 5.2.2; RFC 1122 3.2.1.1",
    "A version other than 4 is dropped.")
S9_HEADER_LENGTH = _rule(MUST, "s9-header-length", "RFC 1812 5.2.2",
    "A header length under 5 words is dropped.")
S9_TOTAL_LENGTH_SHORT = _rule(MUST, "s9-total-length-short", "RFC 1812 5.2.2",
    "A total length that does not cover the header is dropped.")
S9_TOTAL_LENGTH_LONG = _rule(SHOULD, "s9-total-length-long", "RFC 1812 5.2.2",
    "A total length over what arrived is dropped.")
S9_CHECKSUM = _rule(MUST, "s9-checksum", "RFC 1812 5.2.2; RFC 1122 3.2.1.2",
    "A bad header checksum is dropped silently.")
S9_PADDING = _rule(MUST, "s9-padding", "RFC 791 3.1; RFC 894",
    "Octets after the total length are padding and are cut off.")

# ── S10 For me ────────────────────────────────────────────────────────────────────────────────────────────────────────

S10_FOR_ME = _rule(MUST, "s10-for-me", 'RFC 1812 5.2.3; seed "Receiving a packet on the internal network"',
    "A packet to the internal address is delivered locally and never enters the tunnel.")
S10_OTHER_OWN_ADDRESS = _rule(CHOICE, "s10-other-own-address", 'seed "Receiving a packet on the internal network"',
    "From inside, the external and the tunnel address are somewhere else: such packets enter the tunnel.")

# ── S11 Time to live in local delivery ────────────────────────────────────────────────────────────────────────────────

S11_TTL_IGNORED = _rule(MUST, "s11-ttl-ignored", "RFC 1812 4.2.2.9; RFC 1122 3.2.1.7",
    "Local delivery does not look at the time to live: 0 and 1 are delivered.")

# ── S12 Reassembly ────────────────────────────────────────────────────────────────────────────────────────────────────

S12_HOLD = _rule(MUST, "s12-hold", "RFC 791 3.2; RFC 1122 3.3.2",
    "A fragment for the gateway itself is held until its datagram is whole.")
S12_COMPLETE = _rule(MUST, "s12-complete", "RFC 791 3.2; RFC 1122 3.3.2",
    "The last missing fragment completes the datagram, which is delivered.")
S12_TRANSIT = _rule(MUST, "s12-transit", "RFC 1812 5.2.6, 4.2.2.8",
    "Fragments in transit are forwarded one by one, never reassembled.")
S12_DUPLICATE = _rule(CHOICE, "s12-duplicate", "RFC 791 3.2",
    "A fragment whose octets are all held already, and equal, is ignored.")
S12_OVERLAP = _rule(CHOICE, "s12-overlap", "RFC 5722 4 (done there for IPv6)",
    "A fragment that overlaps others in any other way discards the whole datagram.")
S12_TWO_ENDS = _rule(CHOICE, "s12-two-ends", "RFC 5722 4 (done there for IPv6)",
    "Two last fragments that end at different octets discard the datagram.")
S12_BEYOND_END = _rule(CHOICE, "s12-beyond-end", "RFC 5722 4 (done there for IPv6)",
    "Octets beyond the end that the last fragment gave discard the datagram.")
S12_DISCARDED = _rule(CHOICE, "s12-discarded", "RFC 5722 4 (done there for IPv6)",
    "What still comes of a discarded datagram is dropped until its time is over.")
S12_TIMEOUT = _rule(MUST, "s12-timeout", "RFC 1122 3.3.2; RFC 792 Time Exceeded",
    "60 s after the first arrival an incomplete datagram is dropped, with ICMP 11/1 if its first fragment is held.")
S12_TIMEOUT_SILENT = _rule(MUST, "s12-timeout-silent", "RFC 1122 3.3.2; RFC 792 Time Exceeded",
    "An incomplete datagram without its first fragment times out silently.")
S12_TOO_LONG = _rule(MUST, "s12-too-long", "RFC 791 3.1",
    "A fragment that would end beyond octet 65535 of the datagram is dropped, in transit too.")
S12_NOT_MULTIPLE_OF_8 = _rule(MUST, "s12-not-multiple-of-8", "RFC 791 3.1",
    "A fragment that is not the last and has a length that is no multiple of 8 is dropped.")
S12_EMPTY = _rule(MUST, "s12-empty", "RFC 791 3.2",
    "A fragment without data is dropped.")
S12_CONTEXT_LIMIT = _rule(CHOICE, "s12-context-limit", "RFC 1122 3.3.2",
    "When too many datagrams are in reassembly, the oldest gives way.")
S12_OCTET_LIMIT = _rule(CHOICE, "s12-octet-limit", "RFC 1122 3.3.2",
    "When reassembly holds too many octets, the oldest datagram gives way.")
S12_FRAGMENT_LIMIT = _rule(CHOICE, "s12-fragment-limit", "RFC 1122 3.3.2",
    "A datagram in more fragments than the limit is discarded.")

# ── S13 Replies ───────────────────────────────────────────────────────────────────────────────────────────────────────

S13_REPLY = _rule(MUST, "s13-reply", 'seed "Receiving a packet on the internal network"; RFC 1122 3.3.4.2',
    "A reply to an internal host leaves through the internal stack, from the address that was asked.")

# ── S14 For out there ─────────────────────────────────────────────────────────────────────────────────────────────────

S14_FORWARD = _rule(MUST, "s14-forward", 'seed "Receiving a packet on the internal network"',
    "A packet to somewhere else is transmitted via the tunnel.")
S14_OWN_NETWORK = _rule(MUST, "s14-own-network", 'seed "Receiving a packet on the internal network"',
    "A packet from inside to another host of the internal network is not forwarded: no hairpin, no redirect.")
S14_BROADCAST = _rule(MUST, "s14-broadcast", "RFC 1812 5.3.5, 4.2.3.1; RFC 2644",
    "The limited broadcast and the internal network's own broadcast and network addresses are not forwarded.")
S14_MULTICAST = _rule(MUST, "s14-multicast", 'seed "Receiving a packet on the internal network"',
    "A multicast destination is not forwarded.")
S14_THIS_NETWORK = _rule(MUST, "s14-this-network", "RFC 1812 5.3.7, 4.2.2.11",
    "A destination in 0.0.0.0/8 is not forwarded.")
S14_LOOPBACK = _rule(MUST, "s14-loopback", "RFC 1812 5.3.7, 4.2.2.11",
    "A destination in 127.0.0.0/8 is not forwarded.")
S14_LINK_LOCAL = _rule(MUST, "s14-link-local", "RFC 3927 7",
    "A destination in 169.254.0.0/16 is not forwarded.")
S14_RESERVED = _rule(SHOULD, "s14-reserved", "RFC 1812 5.3.7, 4.2.2.11",
    "A destination in 240.0.0.0/4 is not forwarded.")

# ── S15 Neither ───────────────────────────────────────────────────────────────────────────────────────────────────────

S15_GROUP = _rule(MUST, "s15-group", "RFC 1122 4.2.3.10, 3.2.2.6; RFC 1812 4.3.2.7",
    "A packet to a broadcast or multicast address is never given to TCP, ICMP or the echo services, nor answered.")

# ── S16 Sources ───────────────────────────────────────────────────────────────────────────────────────────────────────

S16_FOREIGN = _rule(SHOULD, "s16-foreign", "RFC 1812 5.3.8; RFC 2827",
    "From inside only sources of the internal network and the configured prefixes are accepted.")
S16_CONFIGURED = _rule(CHOICE, "s16-configured", "RFC 1812 5.3.8; RFC 2827",
    "A source in one of the configured further prefixes is accepted from inside.")
S16_MARTIAN = _rule(MUST, "s16-martian", "RFC 1812 5.3.7, 4.2.2.11; RFC 3927 7",
    "A source in 0/8, 127/8, 169.254/16, multicast, 240/4 or the limited broadcast is dropped, from either side.")
S16_OWN = _rule(SHOULD, "s16-own", "RFC 1812 5.3.8",
    "A packet that arrives from one of our own addresses is dropped, from either side.")
S16_NETWORK = _rule(MUST, "s16-network", "RFC 1812 5.3.7, 4.2.2.11",
    "A source that is the internal network's network or broadcast address is dropped.")

# ── S17 Time to live ──────────────────────────────────────────────────────────────────────────────────────────────────

S17_EXPIRED = _rule(MUST, "s17-expired", "RFC 1812 5.3.1",
    "A packet that arrives to be forwarded with a time to live of 1 or 0 is dropped and answered with ICMP 11/0.")
S17_DECREMENT = _rule(MUST, "s17-decrement", "RFC 1812 5.3.1; RFC 1624 3",
    "A forwarded packet's time to live falls by one, and its checksum stays right.")

# ── S18 What survives ─────────────────────────────────────────────────────────────────────────────────────────────────

S18_UNCHANGED = _rule(MUST, "s18-unchanged", "RFC 1812 4.2.2.3, 5.3.13; RFC 6864 4.3; RFC 3168 5",
    "All else of a forwarded packet survives: type of service, identification, flags, protocol, addresses, payload.")
S18_OPTIONS_KEPT = _rule(CHOICE, "s18-options-kept", "RFC 1812 5.3.13.1, 5.3.13.5, 5.3.13.6",
    "Options of a forwarded packet survive as they are, record route and timestamp among them.")
S18_SOURCE_ROUTE = _rule(CHOICE, "s18-source-route", "RFC 7126 4.3, 4.4",
    "A packet with a loose or strict source route, used up or not, is dropped silently.")
S18_MALFORMED_OPTION = _rule(MUST, "s18-malformed-option", "RFC 1812 5.3.13, 4.3.3.5; RFC 1122 3.2.2.5",
    "A malformed option is answered with ICMP 12/0 that points to the option's type octet.")
S18_END_OF_OPTIONS = _rule(MUST, "s18-end-of-options", "RFC 791 3.1",
    "What follows the end-of-options octet is not read.")

# ── S19 Any protocol ──────────────────────────────────────────────────────────────────────────────────────────────────

S19_ANY_PROTOCOL = _rule(MUST, "s19-any-protocol", 'RFC 1812 5.2.1; seed "Receiving a packet on the internal network"',
    "Any protocol number is forwarded, both ways.")

# ── S20 ICMP errors ───────────────────────────────────────────────────────────────────────────────────────────────────

S20_NOT_ABOUT_ERROR = _rule(MUST, "s20-not-about-error", "RFC 1812 4.3.2.7; RFC 1122 3.2.2",
    "No ICMP error is sent about an ICMP error.")
S20_NOT_ABOUT_GROUP = _rule(MUST, "s20-not-about-group", "RFC 1812 4.3.2.7; RFC 1122 3.2.2",
    "No ICMP error is sent about a packet to a link or IP broadcast or multicast.")
S20_NOT_ABOUT_LATER_FRAGMENT = _rule(MUST, "s20-not-about-later-fragment", "RFC 1812 4.3.2.7; RFC 1122 3.2.2",
    "No ICMP error is sent about a fragment other than the first.")
S20_NOT_TO_SOURCE = _rule(MUST, "s20-not-to-source", "RFC 1812 4.3.2.7; RFC 1122 3.2.2",
    "No ICMP error is sent to a source that is not one unicast host.")
S20_SOURCE = _rule(MUST, "s20-source", "RFC 1812 4.3.2.4; RFC 1122 3.2.2.1",
    "An ICMP error leaves with the address of its interface as source; 3/2 and 3/3 with the address that was asked.")
S20_QUOTE = _rule(SHOULD, "s20-quote", "RFC 1812 4.3.2.3",
    "An ICMP error quotes the received header unchanged and as much data as fits in 576 octets.")
S20_HEADER = _rule(SHOULD, "s20-header", "RFC 1812 4.3.2.5, 4.2.2.9",
    "An ICMP error has precedence 6 and a time to live of 64.")
S20_RATE = _rule(SHOULD, "s20-rate", "RFC 1812 4.3.2.8",
    "ICMP errors are limited by a token bucket.")

# ── S21 Too big, may be fragmented ────────────────────────────────────────────────────────────────────────────────────

S21_FRAGMENT = _rule(MUST, "s21-fragment", "RFC 791 3.2; RFC 1812 4.2.2.7",
    "A packet over the MTU without DF leaves in fragments: 8-octet grid, one identification, in order.")
S21_REFRAGMENT = _rule(MUST, "s21-refragment", "RFC 791 3.2",
    "A fragment that is fragmented again keeps its base offset and, on the last piece, its MF.")
S21_OPTIONS = _rule(MUST, "s21-options", "RFC 791 3.1, 3.2",
    "The first fragment has all options, the others those with the copied bit, padded with zero.")

# ── S22 Too big, must not be fragmented ───────────────────────────────────────────────────────────────────────────────

S22_DF = _rule(MUST, "s22-df", "RFC 1191 4; RFC 1812 4.2.3.3, 5.2.7.1",
    "A packet over the MTU with DF is dropped and answered with ICMP 3/4 that gives the MTU.")
S22_FITS = _rule(MUST, "s22-fits", "RFC 1191 4",
    "A packet of exactly the MTU passes whole.")

# ── S23 The tunnel's MTU ──────────────────────────────────────────────────────────────────────────────────────────────

S23_INNER_MTU = _rule(CHOICE, "s23-inner-mtu", "OpenVPN options.c tun-mtu; PROTOCOL 14",
    "What counts is the tunnel's inner MTU, not what remains of the outer one.")
S23_MSSFIX = _rule(CHOICE, "s23-mssfix", "OpenVPN mss.c mss_fixup_ipv4",
    "Where configured or pushed, the MSS of passing SYN segments is lowered, checksum kept right.")

# ── S24 Seal ──────────────────────────────────────────────────────────────────────────────────────────────────────────

S24_SEAL = _rule(MUST, "s24-seal", "OpenVPN crypto.c openvpn_encrypt_aead; PROTOCOL 10.1, 10.3",
    "One inner packet is one data record; packet ids rise by one and are never reused under a key.")
S24_IDS_USED_UP = _rule(MUST, "s24-ids-used-up", "OpenVPN packet_id.c packet_id_write; PROTOCOL 10.3",
    "When a key has no packet id left, nothing more is sealed with it.")
S24_RENEGOTIATE = _rule(MUST, "s24-renegotiate", "OpenVPN ssl.c should_trigger_renegotiation; PROTOCOL 15",
    "Renegotiation starts long before packet ids run out, and when either side's time has come.")
S24_PING = _rule(MUST, "s24-ping", "OpenVPN ping.c check_ping_send; PROTOCOL 12.1",
    "When nothing was sent for the ping interval, a ping record is.")

# ── S25 The external side ─────────────────────────────────────────────────────────────────────────────────────────────

S25_OUTER_ADDRESSES = _rule(MUST, "s25-outer-addresses", 'seed "Receiving a packet on the internal network"',
    "Every record leaves from the external address to the server, in a frame to the router.")
S25_ARP_REPLY = _rule(MUST, "s25-arp-reply", "RFC 826 Packet Reception",
    "ARP for the external address is answered.")
S25_SILENCE = _rule(CHOICE, "s25-silence", 'seed "Tunnel setup"',
    "To anything else outside there is silence: no echo, no reset to a stranger.")
S25_FOREIGN_ERROR = _rule(MUST, "s25-foreign-error", "RFC 5927 4; RFC 1122 4.2.3.9",
    "An ICMP error that does not quote our own flow is ignored.")

# ── S26 Open ──────────────────────────────────────────────────────────────────────────────────────────────────────────

S26_OPEN = _rule(MUST, "s26-open", "OpenVPN crypto.c openvpn_decrypt_aead; PROTOCOL 10",
    "A data record is passed up only after authentication and replay check.")
S26_TOO_SHORT = _rule(MUST, "s26-too-short", "OpenVPN crypto.c openvpn_decrypt_aead; PROTOCOL 16.1",
    "A data record too short for header, packet id and tag is refused; over TCP the connection restarts.")
S26_EMPTY = _rule(MUST, "s26-empty", "OpenVPN crypto.c openvpn_decrypt_aead; PROTOCOL 10.1",
    "A data record without payload is refused; over TCP the connection restarts.")
S26_AUTHENTICATION = _rule(MUST, "s26-authentication", "OpenVPN forward.c process_incoming_link_part1; PROTOCOL 10.3",
    "A data record that fails authentication is refused; over TCP the connection restarts.")
S26_REPLAY = _rule(MUST, "s26-replay", "OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3",
    "A packet id that is 0, seen already or 64 behind is refused; over TCP the connection restarts.")
S26_GAP = _rule(MUST, "s26-gap", "OpenVPN packet_id.c packet_id_test; PROTOCOL 10.3",
    "A higher packet id is accepted with any gap.")
S26_UNKNOWN_KEY = _rule(MUST, "s26-unknown-key", "OpenVPN ssl.c tls_pre_decrypt; PROTOCOL 16.1",
    "A data record under an unknown key id is ignored.")
S26_OPCODE = _rule(MUST, "s26-opcode", "OpenVPN ssl.c tls_pre_decrypt; PROTOCOL 2",
    "An opcode out of range is refused; over TCP the connection restarts.")
S26_CONTROL_REFUSED = _rule(MUST, "s26-control-refused", "OpenVPN ssl.c tls_pre_decrypt; PROTOCOL 16.1",
    "A control packet that is malformed or fails its wrapping is refused; over TCP the connection restarts.")
S26_PING_RESTART = _rule(MUST, "s26-ping-restart", "OpenVPN ping.c check_ping_restart; PROTOCOL 13",
    "A peer from which nothing authentic came for the ping-restart time is given up: the connection restarts.")

# ── S27 Only data payloads pass ───────────────────────────────────────────────────────────────────────────────────────

S27_PING = _rule(MUST, "s27-ping", "OpenVPN ping.h is_ping_msg; PROTOCOL 12.1",
    "A ping is taken by the gateway and goes no further.")
S27_OCC = _rule(MUST, "s27-occ", "OpenVPN occ.c process_received_occ_msg; PROTOCOL 12.2",
    "An options-consistency message is taken by the gateway and goes no further.")
S27_CONTROL = _rule(MUST, "s27-control", "OpenVPN ssl.c tls_pre_decrypt",
    "Control packets between data packets neither pass nor delay nor reorder them.")
S27_IPV6 = _rule(CHOICE, "s27-ipv6", 'seed "Receiving a packet via OpenVPN"',
    "An IPv6 packet from the tunnel is dropped by name: it is out of scope.")
S27_TWO_KEYS = _rule(MUST, "s27-two-keys", "OpenVPN ssl.c tls_pre_decrypt; PROTOCOL 15",
    "Two keys may live at once; each record is opened with the one that it names.")

# ── S28 From the tunnel to the gateway ────────────────────────────────────────────────────────────────────────────────

S28_FOR_ME = _rule(MUST, "s28-for-me", 'seed "Receiving a packet via OpenVPN"',
    "A packet from the tunnel to the internal address enters the internal stack; answers return through the tunnel.")
S28_TUNNEL_ADDRESS = _rule(CHOICE, "s28-tunnel-address", "RFC 1812 5.2.3",
    "A packet from the tunnel to the tunnel address is handled in the same way.")

# ── S29 From the tunnel to a host ─────────────────────────────────────────────────────────────────────────────────────

S29_TO_HOST = _rule(MUST, "s29-to-host", 'seed "Receiving a packet via OpenVPN"',
    "A packet from the tunnel to another internal host is transmitted inside, its source unchanged.")
S29_BROADCAST = _rule(MUST, "s29-broadcast", "RFC 2644; RFC 1812 5.3.5",
    "A packet from the tunnel to the internal network or broadcast address is dropped.")
S29_SOURCE_INSIDE = _rule(CHOICE, "s29-source-inside", "RFC 1812 5.3.8; RFC 2827",
    "A packet from the tunnel whose source is an internal address is dropped.")

# ── S30 From the tunnel to anywhere else ──────────────────────────────────────────────────────────────────────────────

S30_ELSEWHERE = _rule(MUST, "s30-elsewhere", 'seed "Receiving a packet via OpenVPN"',
    "A packet from the tunnel to anywhere else is dropped, and nothing is emitted.")

# ── S31 ARP on the way back ───────────────────────────────────────────────────────────────────────────────────────────

S31_KNOWN = _rule(MUST, "s31-known", 'seed "Receiving a packet via OpenVPN"; RFC 826 Packet Generation',
    "A packet for a known neighbour leaves at once.")
S31_ASK = _rule(MUST, "s31-ask", "RFC 826 Packet Generation; RFC 1812 3.3.2",
    "A packet for an unknown neighbour waits, and one request is broadcast.")
S31_WAIT = _rule(SHOULD, "s31-wait", "RFC 1812 3.3.2; RFC 1122 2.3.2.1, 2.3.2.2",
    "Further packets for that neighbour wait behind the first without another request.")
S31_RELEASE = _rule(SHOULD, "s31-release", "RFC 1122 2.3.2.2",
    "On the reply the packets that waited leave in order.")
S31_QUEUE_FULL = _rule(CHOICE, "s31-queue-full", "RFC 1122 2.3.2.2",
    "When too many wait for one neighbour, the oldest is dropped.")
S31_RETRY = _rule(CHOICE, "s31-retry", "RFC 1122 2.3.2.1",
    "An unanswered request is repeated after 1 s, three in all.")
S31_GIVE_UP = _rule(MUST, "s31-give-up", "RFC 1812 5.2.7.1, 3.3.2",
    "One second after the third request the neighbour is given up: one ICMP 3/1 to each source that waits.")
S31_NEGATIVE = _rule(CHOICE, "s31-negative", "RFC 1122 2.3.2.1",
    "For one second after giving up, packets for that neighbour are answered with 3/1 without a request.")
S31_REFRESH = _rule(CHOICE, "s31-refresh", "RFC 1122 2.3.2.1",
    "An entry in use is probed by a unicast request before it expires.")
S31_EXPIRE = _rule(MUST, "s31-expire", "RFC 1122 2.3.2.1",
    "An entry that was not confirmed for 20 minutes is forgotten.")
S31_TABLE_FULL = _rule(CHOICE, "s31-table-full", "RFC 1122 2.3.2.1",
    "When the table is full, the entry used least recently gives way.")

# ── S32 The internal MTU ──────────────────────────────────────────────────────────────────────────────────────────────

S32_INTERNAL_MTU = _rule(MUST, "s32-internal-mtu", "RFC 1812 4.2.2.7, 4.2.3.3",
    "Toward the internal network the internal MTU decides on fragments and on 3/4.")

# ── L1 Echo ───────────────────────────────────────────────────────────────────────────────────────────────────────────

L1_ECHO = _rule(MUST, "l1-echo", "RFC 1122 3.2.2.6; RFC 1812 4.3.3.6",
    "An echo request is answered: same identifier, sequence number and payload, from the address that was asked.")
L1_CHECKSUM = _rule(MUST, "l1-checksum", "RFC 792",
    "An ICMP message with a bad checksum is dropped silently.")
L1_TRUNCATED = _rule(MUST, "l1-truncated", "RFC 792",
    "An ICMP message under 8 octets is dropped silently.")
L1_DISABLED = _rule(CHOICE, "l1-disabled", "RFC 1812 4.3.3.6",
    "Where the echo service is switched off, echo requests are met with silence.")

# ── L2 UDP ────────────────────────────────────────────────────────────────────────────────────────────────────────────

L2_ECHO = _rule(MUST, "l2-echo", 'RFC 862; seed "Receiving a packet on the internal network"',
    "A datagram to the echo service returns its data to the sender.")
L2_TRUNCATED = _rule(MUST, "l2-truncated", "RFC 768",
    "A UDP datagram under 8 octets is dropped.")
L2_LENGTH = _rule(MUST, "l2-length", "RFC 768",
    "A UDP length under 8, or over what IP delivered, is dropped.")
L2_EXCESS = _rule(CHOICE, "l2-excess", "RFC 768",
    "A UDP length under what IP delivered is accepted, and the rest ignored.")
L2_CHECKSUM = _rule(MUST, "l2-checksum", "RFC 1122 4.1.3.4",
    "A UDP checksum that is neither 0 nor right is dropped silently.")
L2_NO_CHECKSUM = _rule(MUST, "l2-no-checksum", "RFC 768; RFC 1122 4.1.3.4",
    "A UDP checksum of 0 means that there is none: the datagram is accepted.")
L2_CLOSED_PORT = _rule(SHOULD, "l2-closed-port", "RFC 1122 4.1.3.1",
    "A datagram to a port without service is answered with ICMP 3/3.")
L2_ECHO_LOOP = _rule(CHOICE, "l2-echo-loop", "RFC 862; RFC 864",
    "The echo service does not answer source ports 7 and 19: two services would talk for ever.")
L2_PORT_ZERO = _rule(CHOICE, "l2-port-zero", "RFC 768",
    "No datagram from or to port 0 is answered.")

# ── L3 TCP ────────────────────────────────────────────────────────────────────────────────────────────────────────────

L3_TRUNCATED = _rule(MUST, "l3-truncated", "RFC 9293 3.1",
    "A segment under 20 octets, or with a data offset under 5 or beyond its end, is dropped.")
L3_CHECKSUM = _rule(MUST, "l3-checksum", "RFC 9293 3.1; RFC 1122 4.2.2.7",
    "A segment with a bad checksum is dropped silently.")
L3_CLOSED_PORT = _rule(MUST, "l3-closed-port", "RFC 9293 3.10.7.1",
    "A segment to a port without service is answered by a reset with the fields that the standard gives.")
L3_NO_RESET_TO_RESET = _rule(MUST, "l3-no-reset-to-reset", "RFC 9293 3.10.7.1",
    "A reset to a port without service is dropped.")
L3_PORT_ZERO = _rule(CHOICE, "l3-port-zero", "RFC 9293 3.1",
    "No segment from or to port 0 is answered.")
L3_PASSIVE_OPEN = _rule(MUST, "l3-passive-open", "RFC 9293 3.10.7.2",
    "A SYN to a service opens a connection, answered by SYN and ACK.")
L3_LISTEN_ACK = _rule(MUST, "l3-listen-ack", "RFC 9293 3.10.7.2",
    "An acknowledgement to a service without connection is answered by a reset.")
L3_LISTEN_RESET = _rule(MUST, "l3-listen-reset", "RFC 9293 3.10.7.2 first",
    "A reset to a service without connection is dropped.")
L3_LISTEN_NOTHING = _rule(MUST, "l3-listen-nothing", "RFC 9293 3.10.7.2 fourth",
    "A segment to a service without connection, with neither reset, acknowledgement nor SYN, is dropped.")
L3_SYN_SENT = _rule(MUST, "l3-syn-sent", "RFC 9293 3.10.7.3",
    "The answer to our SYN is checked: acknowledgement, reset, then SYN.")
L3_ESTABLISHED = _rule(MUST, "l3-established", "RFC 9293 3.10.7.4",
    "The handshake is complete: the connection is established.")
L3_SEQUENCE = _rule(MUST, "l3-sequence", "RFC 9293 3.10.7.4 first",
    "A segment outside the receive window is acknowledged and dropped.")
L3_RESET = _rule(MUST, "l3-reset", "RFC 9293 3.10.7.4 second; RFC 5961 3.2",
    "A reset with exactly the expected sequence number ends the connection.")
L3_CHALLENGE_RESET = _rule(MUST, "l3-challenge-reset", "RFC 5961 3.2",
    "A reset elsewhere in the window draws a challenge acknowledgement.")
L3_CHALLENGE_SYN = _rule(MUST, "l3-challenge-syn", "RFC 9293 3.10.7.4 fourth; RFC 5961 4.2",
    "A SYN in a synchronized state draws a challenge acknowledgement.")
L3_CHALLENGE_LIMIT = _rule(SHOULD, "l3-challenge-limit", "RFC 5961 7",
    "Challenges, and answers to what is outside the window and brings no text, are limited: ten in five seconds.")
L3_RETURN_TO_LISTEN = _rule(MUST, "l3-return-to-listen", "RFC 9293 3.10.7.4 fourth",
    "A SYN in the window of a half-open connection ends it: the service listens as before.")
L3_NO_ACK = _rule(MUST, "l3-no-ack", "RFC 9293 3.10.7.4 fifth",
    "A segment without acknowledgement is dropped in a synchronized state.")
L3_ACCEPTABLE_ACK = _rule(MUST, "l3-acceptable-ack", "RFC 9293 3.10.7.4 fifth",
    "An acknowledgement of what was sent moves the send window.")
L3_UNACCEPTABLE_ACK = _rule(MUST, "l3-unacceptable-ack", "RFC 9293 3.10.7.4 fifth; RFC 5961 5.2",
    "An acknowledgement of what was never sent, or of the distant past, is answered by an acknowledgement and dropped.")
L3_URGENT = _rule(MUST, "l3-urgent", "RFC 9293 3.10.7.4 sixth, 3.8.5",
    "Urgent text stays in line; that there is some is told.")
L3_TEXT = _rule(MUST, "l3-text", "RFC 9293 3.10.7.4 seventh",
    "Segment text in the window is taken, in order or kept for its turn, and acknowledged.")
L3_OUT_OF_ORDER = _rule(SHOULD, "l3-out-of-order", "RFC 9293 3.10.7.4 seventh; RFC 5681 4.2",
    "Text beyond a gap is kept, and an acknowledgement repeats what is expected.")
L3_FIN = _rule(MUST, "l3-fin", "RFC 9293 3.10.7.4 eighth",
    "A FIN in its turn is acknowledged, and the other side is known to send no more.")
L3_CLOSE = _rule(MUST, "l3-close", "RFC 9293 3.10.4",
    "When the user has no more to send, a FIN follows the last octet.")
L3_ABORT = _rule(MUST, "l3-abort", "RFC 9293 3.10.5",
    "An abort sends a reset and forgets the connection.")
L3_ECHO = _rule(MUST, "l3-echo", "RFC 862",
    "The echo service returns each octet that it receives, in order.")
L3_RETRANSMIT = _rule(MUST, "l3-retransmit", "RFC 6298 5",
    "What stays unacknowledged is sent again, each time after twice the time.")
L3_FAST_RETRANSMIT = _rule(SHOULD, "l3-fast-retransmit", "RFC 5681 3.2",
    "Three duplicate acknowledgements have the missing segment sent again at once.")
L3_GIVE_UP = _rule(MUST, "l3-give-up", "RFC 9293 3.8.3",
    "A connection whose retransmissions stay unanswered is given up, with a reset where an abort would send one.")
L3_PROBE = _rule(MUST, "l3-probe", "RFC 9293 3.8.6.1",
    "A window that is closed over text is probed with an octet, a time-out after it closed, then ever more rarely.")
L3_WINDOW_UPDATE = _rule(SHOULD, "l3-window-update", "RFC 9293 3.8.6.2.2",
    "A window that opens by a full segment or half of its buffer is told, and none that opens by less.")
L3_TIME_WAIT = _rule(MUST, "l3-time-wait", "RFC 9293 3.6.1, 3.10.8",
    "After an active close the connection waits two segment lifetimes.")
L3_UNLISTED = _rule(MUST, "l3-unlisted", "RFC 9293 3.3.2, 3.10",
    "An event that a connection's state does not list is refused, and changes nothing.")
L3_MSS = _rule(MUST, "l3-mss", "RFC 9293 3.7.1; RFC 6691",
    "The maximum segment size offered comes from the interface that the segment leaves by.")
L3_INITIAL_SEQUENCE = _rule(MUST, "l3-initial-sequence", "RFC 6528 3",
    "Initial sequence numbers come from the clock and a keyed hash of the connection's addresses and ports.")
L3_HALF_OPEN_LIMIT = _rule(CHOICE, "l3-half-open-limit", "RFC 4987 3",
    "When too many connections are half open, the oldest of these gives way.")
L3_CONNECTION_LIMIT = _rule(CHOICE, "l3-connection-limit", "RFC 9293 3.10.7.2",
    "When no connection can be added, a SYN is dropped.")

# ── L4 Other protocols ────────────────────────────────────────────────────────────────────────────────────────────────

L4_PROTOCOL = _rule(SHOULD, "l4-protocol", "RFC 1122 3.2.2.1",
    "A protocol to us that is neither ICMP, UDP nor TCP is answered with ICMP 3/2.")
L4_ICMP_NO_ANSWER = _rule(MUST, "l4-icmp-no-answer", "RFC 1122 3.2.2",
    "ICMP messages that need no answer get none.")
L4_FLOW_ERROR = _rule(MUST, "l4-flow-error", "RFC 1122 4.2.3.9; RFC 1191 6; RFC 5927 4.1",
    "An ICMP error that quotes a sequence number in flight of our flow is given to it; 3/4 lowers its segment size.")

# fmt: on

RULES: Mapping[str, Rule] = dict(_rules)
"""Every rule by its slug."""

CHAPTERS: Mapping[str, str] = {
    "S1": "Addresses",
    "S2": "Tunnel setup",
    "S3": "One flow",
    "S4": "Flow loss",
    "S5": "Frame filter",
    "S6": "IP in a broadcast or multicast frame",
    "S7": "ARP answers",
    "S8": "ARP learning",
    "S9": "Validity first",
    "S10": "For me",
    "S11": "Time to live in local delivery",
    "S12": "Reassembly",
    "S13": "Replies",
    "S14": "For out there",
    "S15": "Neither",
    "S16": "Sources",
    "S17": "Time to live",
    "S18": "What survives",
    "S19": "Any protocol",
    "S20": "ICMP errors",
    "S21": "Too big, may be fragmented",
    "S22": "Too big, must not be fragmented",
    "S23": "The tunnel's MTU",
    "S24": "Seal",
    "S25": "The external side",
    "S26": "Open",
    "S27": "Only data payloads pass",
    "S28": "From the tunnel to the gateway",
    "S29": "From the tunnel to a host",
    "S30": "From the tunnel to anywhere else",
    "S31": "ARP on the way back",
    "S32": "The internal MTU",
    "L1": "Echo",
    "L2": "UDP",
    "L3": "TCP",
    "L4": "Other protocols",
}
"""Each requirement's number and title."""
