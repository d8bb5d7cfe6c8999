"""A stock ``openvpn`` server to test against: real, in a network namespace of its own, reached through a socket file.

The server runs with its tun device behind ``unshare --net`` (and ``--user`` where we are not root). A relay in
the same namespace passes octets between a Unix socket and the server's port, so the tests need no namespace.
"""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import settings
from OpenSSL import SSL, crypto

from glassgate.contract import Cipher, SeededEntropy
from glassgate.reference.openvpn.client import (
    Client,
    ClientOutput,
    Configured,
    DropKey,
    Failed,
    InstallKey,
    SendPacket,
    SendPing,
    UseKey,
)
from glassgate.reference.openvpn.packets import Body, Header, Opcode, parse_body, parse_header
from glassgate.reference.openvpn.profile import Profile
from glassgate.reference.openvpn.reliability import Reliability
from glassgate.reference.openvpn.wrapping import Plain, StaticKey, TlsCrypt, Wrapping

settings.register_profile("no deadline", deadline=None)  # a busy machine is no fault of the code, nor is a tracer
settings.load_profile("no deadline")

RELAY = r"""
import os, socket, subprocess, sys, threading
proto, path, log = sys.argv[1:4]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = subprocess.Popen(sys.argv[4:], stdout=open(log, "w"), stderr=subprocess.STDOUT)
kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_SEQPACKET
inner = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
listener = socket.socket(socket.AF_UNIX, kind)
listener.bind(path)
listener.listen(8)

def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def accept():
    while True:
        outside, _ = listener.accept()
        inside = socket.socket(socket.AF_INET, inner)
        try:
            inside.connect(("127.0.0.1", 1194))
        except OSError:
            outside.close()
            continue
        threading.Thread(target=copy, args=(outside, inside), daemon=True).start()
        threading.Thread(target=copy, args=(inside, outside), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()
server.terminate()
try:
    server.wait(5)
except subprocess.TimeoutExpired:
    server.kill()
"""


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Authority:
    """Makes certificates."""

    identity: Identity

    @classmethod
    def make(cls, name: str = "Test CA") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key, NOW - DAY, NOW + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        return cls(Identity(builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()), key))

    def issue(
        self,
        name: str,
        *,
        server: bool = False,
        purpose: bool = True,
        usage: bool = True,
        begins: datetime.datetime = NOW - DAY,
        ends: datetime.datetime = NOW + 10 * DAY,
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Glass, Gate"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        builder = _builder(subject, self.identity.certificate.subject, key, begins, ends)
        if purpose:
            use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
            builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            if usage:
                builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
        return Identity(builder.sign(self.identity.key, hashes.SHA256()), key)

    def issue_authority(self, name: str) -> Authority:
        """An authority below this one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self.identity.certificate.subject, key, NOW - DAY, NOW + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        return Authority(Identity(builder.sign(self.identity.key, hashes.SHA256()), key))

    def revoke(self, *identities: Identity) -> str:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.identity.certificate.subject)
        builder = builder.last_update(NOW - DAY).next_update(NOW + DAY)
        for identity in identities:
            entry = x509.RevokedCertificateBuilder().serial_number(identity.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        return builder.sign(self.identity.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


def _key_usage(**uses: bool) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture(scope="session")
def server_identity(authority: Authority) -> Identity:
    return authority.issue("server", server=True)


@pytest.fixture(scope="session")
def client_identity(authority: Authority) -> Identity:
    return authority.issue("client")


def static_key_text(octets: bytes) -> str:
    lines = [octets[start : start + 16].hex() for start in range(0, 256, 16)]
    return "\n".join(["-----BEGIN OpenVPN Static key V1-----", *lines, "-----END OpenVPN Static key V1-----", ""])


STATIC_KEY = static_key_text(bytes(range(256)))


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class StockServer:
    """A running server."""

    proto: str
    directory: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def connect(self) -> Link:
        kind = socket.SOCK_STREAM if self.proto == "tcp" else socket.SOCK_SEQPACKET
        link = socket.socket(socket.AF_UNIX, kind)
        link.connect(str(self.directory / "socket"))
        return Link(self.proto, link)

    def stop(self) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class Link:
    """The transport as a driver sees it: whole packets over a stream or as datagrams."""

    def __init__(self, proto: str, link: socket.socket) -> None:
        self.proto = proto
        self.socket = link
        self.closed = False
        self._stream = b""

    def send(self, packet: bytes) -> None:
        try:
            self.socket.sendall(len(packet).to_bytes(2, "big") + packet if self.proto == "tcp" else packet)
        except OSError:
            self.closed = True

    def receive(self, seconds: float) -> list[bytes]:
        self.socket.settimeout(max(0.001, seconds))
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return []
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        if self.proto == "udp":
            return [data]
        self._stream += data
        packets = []
        while len(self._stream) >= 2 and len(self._stream) >= 2 + int.from_bytes(self._stream[:2], "big"):
            end = 2 + int.from_bytes(self._stream[:2], "big")
            packets.append(self._stream[2:end])
            self._stream = self._stream[end:]
        return packets


class Peer:
    """A client on a link, with a data channel written for the tests alone, following PROTOCOL.md 10.1."""

    def __init__(self, server: StockServer, profile: Profile, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.server = server
        self.profile = profile
        self.client = Client(profile, entropy)
        self.outputs: list[ClientOutput] = []
        self.keys: dict[int, InstallKey] = {}
        self.next_packet_id: dict[int, int] = {}
        self.key_in_use: int | None = None
        self.received: list[bytes] = []
        self.received_under: list[int] = []
        self.lose: Callable[[bytes], bool] = lambda packet: False
        """Whether a packet that the client sends is lost."""

    def start(self) -> None:
        self.link = self.server.connect()
        self.keys, self.key_in_use = {}, None
        self.do(self.client.start(time.monotonic()))

    def of(self, kind: type) -> list[ClientOutput]:
        return [output for output in self.outputs if isinstance(output, kind)]

    @property
    def failed(self) -> Failed | None:
        return next((output for output in self.outputs if isinstance(output, Failed)), None)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        ends = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            if now >= ends or self.link.closed:
                return until()
            deadline = self.client.deadline
            wait = min(ends, deadline if deadline is not None else ends, now + 0.5) - now
            for packet in self.link.receive(wait):
                self.take(packet)
            self.do(self.client.tick(time.monotonic()))
        return True

    def take(self, packet: bytes) -> None:
        now = time.monotonic()
        if packet[0] >> 3 not in (6, 9):
            self.do(self.client.receive(packet, now))
        elif packet[0] & 7 in self.keys:
            self.received.append(self.open(packet))
            self.received_under.append(packet[0] & 7)
            self.client.data_received(now, len(self.received[-1]))

    def do(self, outputs: list[ClientOutput]) -> None:
        self.outputs += outputs
        for output in outputs:
            match output:
                case SendPacket(packet):
                    if not self.lose(packet):
                        self.link.send(packet)
                case SendPing():
                    self.send(bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748"))
                case InstallKey(key_id):
                    self.keys[key_id] = output
                    self.next_packet_id[key_id] = 1
                case UseKey(key_id):
                    self.key_in_use = key_id
                case DropKey(key_id):
                    del self.keys[key_id]

    def send(self, payload: bytes) -> None:
        assert self.key_in_use is not None
        key = self.keys[self.key_in_use]
        packet_id = self.next_packet_id[key.key_id].to_bytes(4, "big")
        self.next_packet_id[key.key_id] += 1
        head = bytes((6 << 3 | key.key_id,))
        associated = packet_id
        if key.peer_id is not None:
            head = bytes((9 << 3 | key.key_id,)) + key.peer_id.to_bytes(3, "big")
            associated = head + packet_id
        sealed = _aead(key.cipher, key.send_key).encrypt(packet_id + key.send_implicit_iv, payload, associated)
        self.link.send(head + packet_id + sealed[-16:] + sealed[:-16])
        self.client.data_sent(time.monotonic(), len(payload))

    def open(self, packet: bytes) -> bytes:
        key = self.keys[packet[0] & 7]
        start = 4 if packet[0] >> 3 == 9 else 1
        packet_id, tag, text = packet[start : start + 4], packet[start + 4 : start + 20], packet[start + 20 :]
        associated = packet[:8] if start == 4 else packet_id
        cipher = _aead(key.cipher, key.receive_key)
        return cipher.decrypt(packet_id + key.receive_implicit_iv, text + tag, associated)

    def ping(self, sequence: int) -> bytes:
        """Send an ICMP echo request to the server's tunnel address; gives the reply's ICMP part that must come."""
        configured = next(output for output in self.outputs if isinstance(output, Configured))
        body = sequence.to_bytes(2, "big") + b"through the tunnel"
        icmp = _icmp(8, body)
        header = bytearray(bytes.fromhex("45000000000040004001 0000 00000000 0a580001".replace(" ", "")))
        header[2:4] = (20 + len(icmp)).to_bytes(2, "big")
        header[12:16] = configured.address.ip.packed
        header[10:12] = _checksum(bytes(header)).to_bytes(2, "big")
        self.send(bytes(header) + icmp)
        return _icmp(0, body)

    def pong(self, seconds: float = 5.0) -> bool:
        """Whether an echo request is answered."""
        expected = self.ping(len(self.received) & 0xFFFF)
        return self.run(seconds, lambda: any(packet.endswith(expected) for packet in self.received))


def _aead(cipher: Cipher, key: bytes) -> AESGCM | ChaCha20Poly1305:
    return ChaCha20Poly1305(key) if cipher is Cipher.CHACHA20_POLY1305 else AESGCM(key)


def _icmp(kind: int, body: bytes) -> bytes:
    blank = bytes((kind, 0, 0, 0, 0x47, 0x47)) + body
    return blank[:2] + _checksum(blank).to_bytes(2, "big") + blank[4:]


def _checksum(octets: bytes) -> int:
    if len(octets) % 2:
        octets += b"\0"
    total = sum(int.from_bytes(octets[place : place + 2], "big") for place in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


StartServer = Callable[..., StockServer]


@pytest.fixture
def start_server(tmp_path: Path, authority: Authority, server_identity: Identity) -> Iterator[StartServer]:
    """Starts stock servers; ``options`` are further lines of the configuration."""
    running: list[StockServer] = []

    def start(*options: str, proto: str = "tcp", identity: Identity = server_identity) -> StockServer:
        directory = tmp_path / f"server{len(running)}"
        directory.mkdir()
        files = {"ca": authority.identity.pem, "crt": identity.pem, "key": identity.key_pem}
        for name, text in files.items():
            (directory / name).write_text(text)
        lines = [
            "dev tun",
            f"proto {'tcp-server' if proto == 'tcp' else 'udp'}",
            "local 127.0.0.1",
            "server 10.88.0.0 255.255.255.0",
            "topology subnet",
            f"ca {directory}/ca",
            f"cert {directory}/crt",
            f"key {directory}/key",
            "dh none",
            "verb 4",
            *options,
        ]
        (directory / "conf").write_text("\n".join(lines) + "\n")
        openvpn = shutil.which("openvpn", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        assert openvpn, "these tests need the program openvpn (Debian: apt-get install openvpn)"
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", *user, "--net", "--", sys.executable, "-c", RELAY, proto]
        process = subprocess.Popen(
            [*command, f"{directory}/socket", f"{directory}/log", openvpn, f"{directory}/conf"],
            stdin=subprocess.PIPE,
        )
        server = StockServer(proto, directory, process)
        running.append(server)
        ends = time.monotonic() + 10
        while time.monotonic() < ends and not (
            (directory / "log").exists() and "Initialization Sequence Completed" in server.log
        ):
            assert process.poll() is None, f"the server did not start: {server.log}"
            time.sleep(0.05)
        assert "Initialization Sequence Completed" in server.log, server.log
        return server

    yield start
    for server in running:
        server.stop()


MakeProfile = Callable[..., Profile]


@pytest.fixture
def make_profile(authority: Authority, client_identity: Identity) -> MakeProfile:
    """Makes profiles for the stock server; ``lines`` are added to the file."""

    def make(*lines: str, proto: str = "tcp", identity: Identity | None = client_identity) -> Profile:
        text = [
            "client",
            "dev tun",
            f"remote 127.0.0.1 1194 {proto}",
            "remote-cert-tls server",
            f"<ca>\n{authority.identity.pem}</ca>",
        ]
        if identity is not None:
            text += [f"<cert>\n{identity.pem}</cert>", f"<key>\n{identity.key_pem}</key>"]
        return Profile.parse("\n".join([*text, *lines]) + "\n", "test.ovpn")

    return make


@pytest.fixture
def make_peer() -> Callable[[StockServer, Profile], Peer]:
    """Makes clients, not yet started."""
    return Peer


@pytest.fixture
def static_key() -> str:
    """A static key file: octets 0 to 255."""
    return STATIC_KEY


# ── a server in this process, with a clock that the test moves ───────────────────────────────────────────────────────

PUSH = "PUSH_REPLY,topology subnet,ifconfig 10.88.0.2 255.255.255.0,peer-id 3,cipher AES-256-GCM"
FLAGS = "protocol-flags cc-exit tls-ekm dyn-tls-crypt"


@dataclass
class ServerKey:
    """The server's side of one key id."""

    tls: SSL.Connection
    messages: Reliability
    wrapping: Wrapping
    heard: list[bytes] = field(default_factory=list)
    """Records that the client sent: its key method 2 message, then strings."""


class FakeServer:
    """The server's side of the control channel, as much as the tests need. It does what it is told, right or wrong."""

    def __init__(self, authority: Authority, identity: Identity, key: StaticKey | None = None) -> None:
        self.authority, self.identity = authority, identity
        self.static_key = key
        self.greets: list[str] = [f"{PUSH},{FLAGS}"]
        """What is said to a client right after the key exchange of a session's first key."""
        self.greets_again: list[str] = []
        """… and of each later key."""
        self.key_message = bytes(4) + b"\2" + b"\xb1" * 32 + b"\xb2" * 32 + b"\0\3V4\0" + bytes(6)
        self.early_negotiation = b""
        self.chain: list[x509.Certificate] = []
        """Authorities between the server's certificate and the one that the client knows."""
        self.is_deaf = False
        self.restart()

    def restart(self, session_id: bytes = b"\x11" * 8) -> None:
        self.session_id = session_id
        self.client_session_id = b""
        self.keys: dict[int, ServerKey] = {}
        self.wrapping = self._wrapping_of(self.static_key)
        self.dynamic_wrapping: Wrapping | None = None

    @staticmethod
    def _wrapping_of(key: StaticKey | None) -> Wrapping:
        # The client's other half: a server sends with key 0 (PROTOCOL.md 3.6).
        return Plain() if key is None else TlsCrypt(StaticKey(key.octets[128:] + key.octets[:128]))

    def take(self, packet: bytes, now: float) -> list[bytes]:
        if self.is_deaf:
            return []
        header = parse_header(packet)
        if header.key_id not in self.keys:
            self._begin(header.key_id, now)
        key = self.keys[header.key_id]
        body = parse_body(header.opcode, key.wrapping.authenticate(key.wrapping.parse(packet)))
        self.client_session_id = header.session_id
        key.messages.acknowledged(body.acknowledgements)
        if body.message_id is not None:
            key.messages.receive(body.message_id, header.opcode, body.payload)
        for opcode, payload in key.messages.read():
            if opcode in (Opcode.P_CONTROL_V1, Opcode.P_CONTROL_WKC_V1) and payload:
                key.tls.bio_write(payload)
        self._go_on(header.key_id)
        return self.due(now)

    def _begin(self, key_id: int, now: float) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self.identity.certificate)
        context.use_privatekey(self.identity.key)
        for certificate in self.chain:
            context.add_extra_chain_cert(certificate)
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.authority.identity.certificate))
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        tls = SSL.Connection(context, None)
        tls.set_accept_state()
        wrapping = self.dynamic_wrapping if key_id and self.dynamic_wrapping else self.wrapping
        self.keys[key_id] = ServerKey(tls, Reliability(2.0), wrapping)
        if key_id:
            self.keys[key_id].messages.send(Opcode.P_CONTROL_SOFT_RESET_V1, b"")
        else:
            self.keys[key_id].messages.send(Opcode.P_CONTROL_HARD_RESET_SERVER_V2, self.early_negotiation)

    def _go_on(self, key_id: int) -> None:
        key = self.keys[key_id]
        try:
            key.tls.do_handshake()
            while True:
                key.heard.append(key.tls.recv(16384))
                if len(key.heard) == 1:
                    self._greet(key_id)
        except SSL.Error:
            pass
        self._flush(key_id)

    def _greet(self, key_id: int) -> None:
        key = self.keys[key_id]
        key.tls.send(self.key_message)
        for text in self.greets_again if key_id else self.greets:
            key.tls.send(text.encode() + b"\0")
        if key_id == 0:
            exported = StaticKey(key.tls.export_keying_material(b"EXPORTER-OpenVPN-dynamic-tls-crypt", 256))
            mixed = exported if self.static_key is None else exported.mixed(self.static_key)
            if any(FLAGS in text for text in self.greets):
                self.dynamic_wrapping = self._wrapping_of(mixed)

    def _flush(self, key_id: int) -> None:
        key = self.keys[key_id]
        try:
            while True:
                key.messages.send(Opcode.P_CONTROL_V1, key.tls.bio_read(1000))
        except SSL.WantReadError:
            pass

    def say(self, text: str, key_id: int = 0) -> None:
        self.keys[key_id].tls.send(text.encode() + b"\0")
        self._flush(key_id)

    def renegotiate(self, key_id: int, now: float) -> None:
        self._begin(key_id, now)

    def due(self, now: float) -> list[bytes]:
        packets = []
        for key_id, key in self.keys.items():
            for message in key.messages.due(now):
                packets.append(self.packet(key_id, message.opcode, message.message_id, message.payload, now))
            while key.messages.owes_acknowledgement:
                packets.append(self.packet(key_id, Opcode.P_ACK_V1, None, b"", now))
        return packets

    def packet(
        self, key_id: int, opcode: Opcode, message_id: int | None, payload: bytes, now: float, acknowledged: bool = True
    ) -> bytes:
        key = self.keys[key_id]
        acknowledgements = key.messages.acknowledgements(4) if acknowledged else ()
        peer = self.client_session_id if acknowledgements else b""
        body = Body(acknowledgements, peer, message_id, payload)
        return key.wrapping.wrap(Header(opcode, key_id, self.session_id).build(), body.build(), now)

    def strings(self, key_id: int = 0) -> list[str]:
        """The control strings that the client said."""
        return [record.rstrip(b"\0").decode() for record in self.keys[key_id].heard[1:]]

    def key_block(self, key_id: int = 0) -> bytes:
        """What both sides export."""
        return self.keys[key_id].tls.export_keying_material(b"EXPORTER-OpenVPN-datakeys", 256)


class World:
    """A client, a server and the clock between them."""

    def __init__(self, profile: Profile, server: FakeServer) -> None:
        self.client = Client(profile, SeededEntropy(b"world"))
        self.server = server
        self.now = 1000.0
        self.outputs: list[tuple[float, ClientOutput]] = []
        self.lose: Callable[[bytes], bool] = lambda packet: False

    def of(self, kind: type) -> list[ClientOutput]:
        return [output for _, output in self.outputs if isinstance(output, kind)]

    def times(self, kind: type) -> list[float]:
        return [when - 1000.0 for when, output in self.outputs if isinstance(output, kind)]

    @property
    def failed(self) -> Failed | None:
        return next(iter(self.of(Failed)), None)  # type: ignore[return-value]

    def start(self) -> World:
        self.do(self.client.start(self.now))
        return self

    def do(self, outputs: list[ClientOutput]) -> None:
        self.outputs += [(self.now, output) for output in outputs]
        for output in outputs:
            if isinstance(output, SendPacket) and not self.lose(output.packet):
                for packet in self.server.take(output.packet, self.now):
                    self.do(self.client.receive(packet, self.now))

    def give(self, packet: bytes) -> list[ClientOutput]:
        """A packet to the client alone; what it says to it."""
        outputs = self.client.receive(packet, self.now)
        self.outputs += [(self.now, output) for output in outputs]
        return outputs

    def pass_on(self) -> None:
        """Deliver what the server wants to send by itself."""
        for packet in self.server.due(self.now):
            self.do(self.client.receive(packet, self.now))

    def say(self, text: str) -> None:
        self.server.say(text)
        self.pass_on()

    def wait(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        ends = self.now + seconds
        for _ in range(1000):
            deadline = self.client.deadline
            if deadline is None or deadline > ends:
                break
            self.now = max(self.now, deadline)
            self.do(self.client.tick(self.now))
            after = self.client.deadline
            assert after is None or after > self.now, "a deadline that is over would have the driver spin"
        else:
            raise AssertionError("a thousand deadlines: the client spins")
        self.now = ends


@pytest.fixture
def make_world(authority: Authority, server_identity: Identity, make_profile: MakeProfile) -> Callable[..., World]:
    """Makes a client and a server in this process; ``lines`` are added to the client's profile."""

    def make(*lines: str, proto: str = "tcp", key: StaticKey | None = None, identity: Any = "client") -> World:
        if key is not None:
            lines = (*lines, f"<tls-crypt>\n{static_key_text(key.octets)}</tls-crypt>")
        others = {} if identity == "client" else {"identity": identity}
        return World(make_profile(*lines, proto=proto, **others), FakeServer(authority, server_identity, key))

    return make
