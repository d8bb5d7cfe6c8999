"""The control channel before TLS: how a session begins, and how an attempt ends.

Here the gateway gets an OpenVPN configuration file and no keys. What it says is exact up to its session id, which it
draws; with the first octet of TLS that ends, so these stories end there, too.
"""

from __future__ import annotations

from glassgate.conformance.authoring.places import FAR, HOST, SERVER
from glassgate.conformance.authoring.story import (
    CLOSES,
    OPENS,
    Category,
    Story,
    announces,
    error_to,
    fence_local,
    flow_brings,
    flow_closes,
    flow_opens,
    host_sends,
    introduces,
    leaves,
    time_passes,
    to_host,
)
from glassgate.conformance.model import Bind, ExpectedPacket, StartInput, VectorPort
from glassgate.conformance.packets import IPv4, Octets, framed, icmp_error, udp
from glassgate.contract import rules

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBTjCB9qADAgECAgEBMAoGCCqGSM49BAMCMCYxJDAiBgNVBAMMG0FuIGF1dGhv
cml0eSBvZiB0aGUgdmVjdG9yczAgFw0yMDAxMDEwMDAwMDBaGA85OTk5MTIzMTIz
NTk1OVowJjEkMCIGA1UEAwwbQW4gYXV0aG9yaXR5IG9mIHRoZSB2ZWN0b3JzMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElepJXDdTyEe+hT+XD7CgK1/xqYRyWw9E
yri91Wa761njww3xmm57teDE1yPPBpt6kyGYGEqsACpo95YUtxLxs6MTMBEwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAz1Bd92L1x2qXoakoxQ4B4
A9FtEmenVJckyLQ6c70AggIgB2RQ6a4Sd6jXuYsw5ZhEo8thQboyTIHvylSdyhj6
J5Q=
-----END CERTIFICATE-----
"""
"""An authority that signs nothing: its key was thrown away."""

OVPN = f"""\
client
dev tun
proto tcp-client
remote {SERVER} 1194
<ca>
{CERTIFICATE}</ca>
<auth-user-pass>
alice
secret
</auth-user-pass>
"""

category = Category(
    "control-channel",
    "The control channel before TLS: the reset that begins a session, its repetition, and how an attempt ends.",
    config={
        "internal": {"mac": "00:f0:0d:f0:0d:00", "address": "10.38.2.1/24", "mtu": 1500},
        "external": {"kind": "os"},
        "tunnel": {"remote": SERVER, "port": 1194, "proto": "tcp", "ovpn": OVPN},
        "services": {"icmp_echo": True, "udp_echo": [7], "tcp_echo": [7]},
    },
)

# The first octet is the opcode, five bits, and the key id, three (PROTOCOL 2).
HARD_RESET_CLIENT_V2 = 7 << 3
HARD_RESET_SERVER_V2 = 8 << 3
ACKNOWLEDGEMENT = 5 << 3

ASKED = IPv4(source=HOST.address, destination=FAR, payload=udp(5000, 53, b"question"))
STARTS = [
    Story(StartInput(), time=0.0).expect(announces(), OPENS),
    time_passes(2.0).expect(announces()),
    introduces(HOST),
]


def hard_reset(session: str = "session") -> ExpectedPacket:
    """The gateway's reset: its session id, nothing acknowledged, message 0 (PROTOCOL 3.1, 5.1)."""
    session_id = Octets(bytes(8), (Bind(0, 8, session, 0),))
    return leaves(
        VectorPort.FLOW, Octets(b"\x00\x0e") + bytes([HARD_RESET_CLIENT_V2]) + session_id + b"\x00" + bytes(4)
    )


def no_tunnel() -> Story:
    """The tunnel is down: the host is told so."""
    return host_sends(ASKED).expect(to_host(error_to(HOST.address, icmp_error(3, 0, ASKED))))


category.vector(
    "ctl-begins",
    "When the flow is open a reset with a fresh session id begins the session; until it is up the tunnel is down",
    rules.S2_OPEN_FLOW,
    rules.S2_FLOW_OPENED,
    rules.S4_TUNNEL_DOWN,
    source="PROTOCOL 5.1; OpenVPN ssl.c; RFC 1812 5.2.7.1",
    begins=STARTS,
    steps=[
        no_tunnel().at(3.5),
        flow_opens().at(4.0).expect(hard_reset()),
        no_tunnel().at(4.5),
    ],
)

category.invalid(
    "ctl-nobody-there",
    "A reset that nobody answers is sent again after 2, 4, 8 and 16 seconds; after 60 the attempt is over",
    rules.S2_HANDSHAKE_FAILED,
    rules.S2_RETRY,
    source="PROTOCOL 4, 13; OpenVPN reliable.c, options.c hand-window, connect-retry",
    begins=STARTS,
    steps=[
        flow_opens().at(4.0).expect(hard_reset()),
        time_passes(5.9).silence(),
        time_passes(6.0).expect(hard_reset()),
        time_passes(10.0).expect(hard_reset()),
        time_passes(18.0).expect(hard_reset()),
        time_passes(34.0).expect(hard_reset()),
        time_passes(63.9).silence(),
        time_passes(64.0).expect(CLOSES),
        no_tunnel().at(64.5),
        time_passes(64.9).silence(),
        time_passes(65.0).expect(OPENS),
        flow_opens().at(66.0).expect(hard_reset("another")),
        fence_local(),
    ],
)

category.invalid(
    "ctl-refused-twice",
    "A connection that is refused is tried again after a second, and that again after two",
    rules.S2_REFUSED,
    rules.S2_RETRY,
    source="PROTOCOL 13; OpenVPN options.c connect-retry",
    begins=STARTS,
    steps=[
        flow_closes().at(4.0).silence(),
        time_passes(4.9).silence(),
        time_passes(5.0).expect(OPENS),
        flow_closes().at(5.5).silence(),
        time_passes(7.4).silence(),
        time_passes(7.5).expect(OPENS),
        flow_opens().at(8.0).expect(hard_reset()),
        fence_local(),
    ],
)

for name, title, packet in (
    ("cut-session-id", "A control packet that ends in its session id", bytes([HARD_RESET_SERVER_V2]) + bytes(4)),
    (
        "cut-acknowledgements",
        "A control packet that announces more acknowledgements than it holds",
        bytes([ACKNOWLEDGEMENT]) + bytes(8) + b"\x04" + bytes(4),
    ),
    (
        "cut-message-id",
        "A control packet that ends before its message id",
        bytes([HARD_RESET_SERVER_V2]) + bytes(8) + b"\x00" + bytes(3),
    ),
    (
        "of-a-client",
        "A reset of a client, which no server sends",
        bytes([HARD_RESET_CLIENT_V2]) + bytes(8) + b"\x00" + bytes(4),
    ),
):
    category.invalid(
        f"ctl-{name}",
        f"{title}: over TCP the connection restarts",
        rules.S26_CONTROL_REFUSED,
        rules.S2_RETRY,
        source="PROTOCOL 3.1, 16.1; OpenVPN ssl.c tls_pre_decrypt",
        begins=STARTS,
        steps=[
            flow_opens().at(4.0).expect(hard_reset()),
            flow_brings(framed(packet)).at(4.5).expect(CLOSES),
            time_passes(5.4).silence(),
            time_passes(5.5).expect(OPENS),
            flow_opens().at(5.6).expect(hard_reset("another")),
            fence_local(),
        ],
    )
