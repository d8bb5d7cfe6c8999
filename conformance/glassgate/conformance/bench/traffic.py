"""Configurations to measure with, and packets of every kind that is measured."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface

from glassgate.conformance.far_end import DataChannel, StreamFraming
from glassgate.conformance.packets import (
    ACK,
    REQUEST,
    TYPE_ARP,
    TYPE_IPV4,
    Arp,
    Ethernet,
    IPv4,
    Payload,
    echo_request,
    raw,
    tcp,
    udp,
)
from glassgate.contract import (
    Cipher,
    ExternalOs,
    GatewayConfig,
    Internal,
    Limits,
    MacAddress,
    ReceiveKey,
    SendKey,
    Services,
    Session,
    Tunnel,
)

HOST = "10.38.2.5"
GATEWAY = "10.38.2.1"
BEYOND = "203.0.113.10"
HOST_MAC = "02:00:0a:26:02:05"
GATEWAY_MAC = str(Internal().mac)
KEY, IMPLICIT_IV = bytes(range(32)), bytes(range(8))
BACK_KEY, BACK_IMPLICIT_IV = bytes(range(32, 64)), bytes(range(8, 16))
TUNNEL_MTU = 1400
RECORD_OVERHEAD = 26
"""Octets that sealing adds in a stream: length 2, header 4, packet id 4, tag 16."""
FRAME_HEADER = 14
IP_HEADER = 20
START, READY = 0.0, 3.0
"""Begin, and a time by which the gateway has nothing left to do for its beginning."""


def configuration(
    limits: Limits | None = None, address: str = f"{GATEWAY}/24", tcp_echo: tuple[int, ...] = ()
) -> GatewayConfig:
    """Known keys, the kernel's transport outside, and nobody who listens to notes: what a driver would run."""
    session = Session(
        send=SendKey(KEY, IMPLICIT_IV),
        receive=ReceiveKey(BACK_KEY, BACK_IMPLICIT_IV),
        cipher=Cipher.AES_256_GCM,
        mtu=TUNNEL_MTU,
    )
    return GatewayConfig(
        internal=Internal(address=IPv4Interface(address)),
        external=ExternalOs(),
        tunnel=Tunnel(session=session),
        services=Services(tcp_echo=tcp_echo),
        limits=limits or Limits(),
        notes=False,
    )


def hardware(number: int) -> str:
    """The Ethernet address of the host of that number."""
    return str(MacAddress(b"\x02\x00" + number.to_bytes(4, "big")))


def introduction(address: str = HOST, mac: str = HOST_MAC, gateway: str = GATEWAY) -> bytes:
    """The frame by which the gateway learns a host: its ARP request for the gateway."""
    request = Arp(operation=REQUEST, sender_hardware=mac, sender_protocol=address, target_protocol=gateway)
    return Ethernet(source=mac, destination="ff:ff:ff:ff:ff:ff", type=TYPE_ARP, payload=request.build()).build().data


def frame(packet: bytes, mac: str = HOST_MAC) -> bytes:
    """A packet as a host sends it to the gateway."""
    return Ethernet(source=mac, destination=GATEWAY_MAC, type=TYPE_IPV4, payload=packet).build().data


def datagram(source: str, destination: str, octets: int) -> bytes:
    """A UDP packet of that many octets, IP header and all."""
    return _packet(source, destination, udp(40000, 9, bytes(octets - IP_HEADER - 8)))


def segments(source: str, destination: str, octets: int, count: int) -> Iterator[bytes]:
    """So many segments of one TCP flow, one after the other, which carry so many octets each."""
    data = random.Random(1).randbytes(octets)  # octets of zero would be cheaper to sum
    for number in range(count):
        payload = tcp(5001, 5001, ACK, sequence=number * octets & 0xFFFFFFFF, acknowledgment=1, data=data)
        packet = IPv4(source=source, destination=destination, payload=payload, identification=number & 0xFFFF)
        yield packet.build().data


def ping(source: str, destination: str, octets: int) -> bytes:
    """An echo request of that many octets."""
    return _packet(source, destination, echo_request(data=bytes(octets - IP_HEADER - 8)))


def _packet(source: str, destination: str, payload: Payload) -> bytes:
    return IPv4(source=source, destination=destination, payload=payload).build().data


def pieces(source: str, destination: str, octets: int, identification: int, cut: int) -> tuple[bytes, bytes]:
    """An echo request of that many octets in two fragments, the first with ``cut`` octets of data."""
    whole = IPv4(
        source=source,
        destination=destination,
        payload=echo_request(data=bytes(octets - IP_HEADER - 8)),
        identification=identification,
    )
    data = whole.data().data
    first = whole.but(payload=raw(1, data[:cut]), more_fragments=True).build().data
    return first, whole.but(payload=raw(1, data[cut:]), fragment_offset=cut // 8).build().data


def far_channel() -> DataChannel:
    """What the far end seals with."""
    return DataChannel(Cipher.AES_256_GCM, BACK_KEY, BACK_IMPLICIT_IV, 0, 0)


def framed(channel: DataChannel, packet: bytes) -> bytes:
    """A packet as the far end puts it into the stream."""
    return StreamFraming.framed(channel.seal(packet))


def records(packets: Iterable[bytes]) -> list[bytes]:
    """Each of these packets as the far end puts it into the stream."""
    channel = far_channel()
    return [framed(channel, packet) for packet in packets]
