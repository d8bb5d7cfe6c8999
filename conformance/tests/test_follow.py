"""``glassgate follow``: every way to bring a frame, the rule that is reported, and one line for what cannot be used."""

from __future__ import annotations

import io
import json
from pathlib import Path

import dpkt
import pytest

from glassgate.conformance import cli, packets
from glassgate.conformance.demo import configuration
from glassgate.contract.rules import CHAPTERS, RULES

HOST, GATEWAY = "02:00:0a:26:02:05", "00:f0:0d:f0:0d:00"
PACKET = packets.IPv4(source="10.38.2.5", destination="192.0.2.7", payload=packets.udp(5000, 5001, b"hello"))
EIGHT_OCTETS = packets.raw(17, bytes(8))
ASK = packets.Ethernet(
    source=HOST,
    destination=packets.BROADCAST_MAC,
    type=packets.TYPE_ARP,
    payload=packets.Arp(
        operation=1, sender_hardware=HOST, sender_protocol="10.38.2.5", target_protocol="10.38.2.1"
    ).build(),
)


def framed(packet: packets.IPv4, **fields: object) -> packets.Ethernet:
    frame = packets.Ethernet(source=HOST, destination=GATEWAY, type=packets.TYPE_IPV4, payload=packet.build())
    return frame.but(**fields)


def hexadecimal(frame: packets.Ethernet) -> str:
    return frame.build().data.hex()


def follow(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run(["follow", *arguments]) == 0
    return capsys.readouterr().out


def rules_told(text: str) -> list[str]:
    """The rules by which something was decided or sent, in the order of the telling."""
    lines = [line.split() for line in text.splitlines()]
    return [words[-1] for words in lines if words[:1] in (["■"], ["▶"])]


# ── ways to bring a frame ─────────────────────────────────────────────────────────────────────────────────────────────


def test_hexadecimal_octets_may_have_spaces_and_colons(capsys: pytest.CaptureFixture[str]) -> None:
    plain = hexadecimal(framed(PACKET))
    spaced = " ".join(plain[at : at + 2] for at in range(0, len(plain), 2))
    assert follow(capsys, plain) == follow(capsys, spaced) == follow(capsys, spaced.replace(" ", ":"))


def test_several_frames_arrive_one_after_another(capsys: pytest.CaptureFixture[str]) -> None:
    text = follow(capsys, hexadecimal(ASK), hexadecimal(framed(PACKET.but(time_to_live=1))))
    assert "── 1 · 3.0000 s · you → gateway, at internal" in text
    assert "── 2 · 3.0000 s · you → gateway, at internal" in text
    assert "time to live exceeded in transit" in text


def test_a_file_of_lines_with_comments_and_continuation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "frames.txt"
    digits = hexadecimal(framed(PACKET))
    path.write_text(f"# two frames\n\n{digits[:28]} \\  # the header\n{digits[28:]}\n{hexadecimal(ASK)}\n")
    assert follow(capsys, str(path)) == follow(capsys, digits, hexadecimal(ASK))


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(hexadecimal(ASK).encode())

    monkeypatch.setattr("sys.stdin", Input)
    assert "who has 10.38.2.1? tell 10.38.2.5" in follow(capsys, "-")


@pytest.mark.parametrize("writer", [dpkt.pcap.Writer, dpkt.pcapng.Writer])
def test_captures_keep_their_times(writer: type, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "frames.cap"
    with path.open("wb") as file:
        made = writer(file)
        made.writepkt(ASK.build().data, ts=1000.0)
        made.writepkt(framed(PACKET).build().data, ts=1001.5)
    text = follow(capsys, str(path))
    assert "── 1 · 3.0000 s" in text
    assert "── 2 · 4.5000 s" in text


def test_the_demos_capture_is_followed_port_by_port(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "demo.pcapng"
    assert cli.run(["demo", "--no-suite", "--external", "os", "--pcapng", str(path)]) == 0
    capsys.readouterr()
    inside = follow(capsys, str(path))
    assert inside.count("you → gateway, at internal") == 5  # what the host sent, and nothing that the gateway sent
    beyond = follow(capsys, "--port", "tunnel", str(path))
    assert beyond.count("the far end → gateway, at flow") == 4


def test_an_inner_packet_is_sealed_by_the_far_end(capsys: pytest.CaptureFixture[str]) -> None:
    answer = packets.IPv4(source="192.0.2.7", destination="10.38.2.1", payload=packets.echo_request())
    text = follow(capsys, "--port", "tunnel", answer.build().data.hex())
    assert "delivered by l1-echo" in text


def test_the_flow_takes_octets_of_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert "dropped by s26-opcode" in follow(capsys, "--port", "flow", "0001f8")


def test_with_wait_the_gateway_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    packet = PACKET.but(source="192.0.2.7", destination="10.38.2.77").build().data.hex()
    assert "s31-retry" not in follow(capsys, "--port", "tunnel", packet)
    text = follow(capsys, "--port", "tunnel", "--wait", "3.5", packet)
    assert text.count("sends at internal by s31-retry") == 2
    assert "dropped by s31-give-up" in text


@pytest.mark.parametrize("gateway", ["reference", "optimized"])
def test_either_gateway_can_be_followed(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "forwarded by s14-forward" in follow(capsys, "--gateway", gateway, hexadecimal(framed(PACKET)))


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_configuration_without_keys_gets_the_demos(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"external": {"kind": "os"}, "tunnel": {}, "internal": {"mtu": 68}}))
    packet = PACKET.but(source="192.0.2.7", destination="10.38.2.5", payload=packets.udp(1, 2, bytes(100)))
    assert "s21-fragment" in follow(capsys, "--config", str(path), "--port", "tunnel", packet.build().data.hex())


def test_with_a_stack_outside_the_tunnel_is_up_before_the_first_frame(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "stack.json"
    path.write_text(json.dumps(configuration("stack").to_json()))
    text = follow(capsys, "--config", str(path), hexadecimal(framed(PACKET)))
    assert "forwarded by s14-forward" in text
    assert "source address            192.168.1.5  the gateway, outside" in text


# ── the rules that are reported ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "frame"),
    [
        ("s5-other-station", framed(PACKET, destination="02:00:00:00:00:77")),
        ("s5-vlan", framed(PACKET, type=0x8100)),
        ("s6-ip-in-group-frame", framed(PACKET, destination=packets.BROADCAST_MAC)),
        ("s7-reply", ASK),
        ("s8-learn", ASK),
        ("s9-checksum", framed(PACKET.but(header_checksum=1))),
        ("l1-echo", framed(PACKET.but(destination="10.38.2.1", payload=packets.echo_request()))),
        ("s12-hold", framed(PACKET.but(destination="10.38.2.1", more_fragments=True, payload=EIGHT_OCTETS))),
        ("s14-forward", framed(PACKET)),
        ("s14-own-network", framed(PACKET.but(destination="10.38.2.77"))),
        ("s14-broadcast", framed(PACKET.but(destination="10.38.2.255"))),
        ("s14-multicast", framed(PACKET.but(destination="224.0.0.1"))),
        ("s16-foreign", framed(PACKET.but(source="172.16.0.1"))),
        ("s16-martian", framed(PACKET.but(source="127.0.0.1"))),
        ("s17-expired", framed(PACKET.but(time_to_live=1))),
        ("s18-source-route", framed(PACKET.but(options=packets.loose_source_route("192.0.2.1") + b"\0"))),
        ("l2-echo", framed(PACKET.but(destination="10.38.2.1", payload=packets.udp(5000, 7, b"x")))),
        ("l2-closed-port", framed(PACKET.but(destination="10.38.2.1"))),
        ("l3-closed-port", framed(PACKET.but(destination="10.38.2.1", payload=packets.tcp(5000, 80, packets.SYN)))),
        ("l4-protocol", framed(PACKET.but(destination="10.38.2.1", payload=packets.raw(47, b"x")))),
    ],
)  # fmt: skip
def test_the_rule_is_reported_in_words(rule: str, frame: packets.Ethernet, capsys: pytest.CaptureFixture[str]) -> None:
    text = follow(capsys, hexadecimal(frame))
    assert rule in rules_told(text)
    assert " ".join(RULES[rule].sentence.split()) in " ".join(text.split())


@pytest.mark.parametrize(
    ("rule", "packet"),
    [
        ("s28-for-me", packets.IPv4(source="192.0.2.7", destination="10.38.2.1", payload=packets.echo_request())),
        ("s29-source-inside", packets.IPv4(source="10.38.2.9", destination="10.38.2.5", payload=packets.udp(1, 2))),
        ("s29-broadcast", packets.IPv4(source="192.0.2.7", destination="10.38.2.255", payload=packets.udp(1, 2))),
        ("s30-elsewhere", packets.IPv4(source="192.0.2.7", destination="203.0.113.1", payload=packets.udp(1, 2))),
        ("s31-ask", packets.IPv4(source="192.0.2.7", destination="10.38.2.5", payload=packets.udp(1, 2))),
    ],
)
def test_from_the_tunnel_too(rule: str, packet: packets.IPv4, capsys: pytest.CaptureFixture[str]) -> None:
    assert rule in follow(capsys, "--port", "tunnel", packet.build().data.hex())


# ── one packet for each requirement ───────────────────────────────────────────────────────────────────────────────────

TO_ME = PACKET.but(destination="10.38.2.1")
BACK = packets.IPv4(source="192.0.2.7", destination="10.38.2.5", payload=packets.udp(5001, 5000, b"hello"))
BIG = packets.udp(5000, 5001, bytes(1000))
SMALL_MTU = {"internal": {"mtu": 500}, "external": {"kind": "os"}}
SMALL_TUNNEL = {
    **SMALL_MTU,
    "tunnel": {"session": {**configuration("os").to_json()["tunnel"]["session"], "mtu": 500}},
    "internal": {"mtu": 1500},
}
STACK = configuration("stack").to_json()
FATAL = "0001f8"


def inside(*sent: packets.IPv4, **fields: object) -> list[str]:
    return [hexadecimal(framed(packet, **fields)) for packet in sent]


def beyond(*sent: packets.IPv4) -> list[str]:
    return ["--port", "tunnel", *(packet.build().data.hex() for packet in sent)]


REQUIREMENTS: dict[str, tuple[str, list[str], dict[str, object] | None]] = {
    "S1": ("s1-own-source", inside(TO_ME.but(payload=packets.echo_request())), None),
    "S2": ("s2-router-by-arp", inside(PACKET), STACK),
    "S3": ("s3-bad-length", ["--port", "flow", "0000"], None),
    "S4": ("s4-keys-end", ["--port", "flow", FATAL], None),
    "S5": ("s5-for-us", inside(PACKET), None),
    "S6": ("s6-ip-in-group-frame", inside(PACKET, destination="01:00:5e:00:00:01"), None),
    "S7": ("s7-reply", [hexadecimal(ASK)], None),
    "S8": ("s8-learn", [hexadecimal(ASK)], None),
    "S9": ("s9-version", inside(PACKET.but(version=7)), None),
    "S10": ("s10-for-me", inside(TO_ME), None),
    "S11": ("s11-ttl-ignored", inside(TO_ME.but(time_to_live=0, payload=packets.echo_request())), None),
    "S12": ("s12-transit", inside(PACKET.but(more_fragments=True, payload=EIGHT_OCTETS)), None),
    "S13": ("s13-reply", inside(TO_ME.but(payload=packets.echo_request())), None),
    "S14": ("s14-link-local", inside(PACKET.but(destination="169.254.1.1")), None),
    "S15": ("s15-group", beyond(BACK.but(destination="224.0.0.5")), None),
    "S16": ("s16-own", inside(PACKET.but(source="10.38.2.1")), None),
    "S17": ("s17-decrement", inside(PACKET), None),
    "S18": ("s18-malformed-option", inside(PACKET.but(options=packets.option(7, b"", length=9) + bytes(2))), None),
    "S19": ("s19-any-protocol", inside(PACKET.but(payload=packets.raw(132, b"any"))), None),
    "S20": ("s20-quote", inside(PACKET.but(time_to_live=1)), None),
    "S21": ("s21-fragment", inside(PACKET.but(payload=packets.udp(1, 2, bytes(1000)))), SMALL_TUNNEL),
    "S22": ("s22-df", inside(PACKET.but(payload=packets.udp(1, 2, bytes(1000)), dont_fragment=True)), SMALL_TUNNEL),
    "S23": ("s23-inner-mtu", inside(PACKET), None),
    "S24": ("s24-seal", inside(PACKET), None),
    "S25": ("s25-silence", ["--port", "external", *inside(PACKET, destination="02:00:c0:a8:01:05")], STACK),
    "S26": ("s26-unknown-key", ["--port", "flow", "0019" + "4f" + "00" * 24], None),
    "S27": ("s27-ping", ["--port", "tunnel", packets.PING.hex()], None),
    "S28": ("s28-for-me", beyond(BACK.but(destination="10.38.2.1")), None),
    "S29": ("s29-to-host", beyond(BACK), None),
    "S30": ("s30-elsewhere", beyond(BACK.but(destination="8.8.8.8")), None),
    "S31": ("s31-wait", beyond(BACK, BACK), None),
    "S32": ("s32-internal-mtu", beyond(BACK.but(payload=BIG)), SMALL_MTU),
    "L1": ("l1-checksum", inside(TO_ME.but(payload=packets.echo_request(given=1))), None),
    "L2": ("l2-checksum", inside(TO_ME.but(payload=packets.udp(5000, 7, b"x", given=1))), None),
    "L3": ("l3-no-reset-to-reset", inside(TO_ME.but(payload=packets.tcp(5000, 80, packets.RST))), None),
    "L4": ("l4-icmp-no-answer", inside(TO_ME.but(payload=packets.icmp(13, 0, bytes(4), bytes(12)))), None),
}  # fmt: skip


@pytest.mark.parametrize("requirement", CHAPTERS)
def test_each_requirement_is_told_by_its_rule(
    requirement: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rule, arguments, config = REQUIREMENTS[requirement]
    assert RULES[rule].requirement == requirement
    if config is not None:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        arguments = ["--config", str(path), *arguments]
    text = follow(capsys, *arguments)
    assert rule in text.split()
    assert " ".join(RULES[rule].sentence.split()) in " ".join(text.split())


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'HEX|FILE|-…'"),
        (["zz"], "'zz': is neither a file nor hexadecimal octets"),
        (["abc"], "'abc' has an odd number of hexadecimal digits"),
        (["--port", "moon", "ab"], "'moon' is not one of"),
        (["--port", "external", "ab"], "--port external: the configuration's external.kind is 'os'"),
        (["--gateway", "nobody", "ab"], "no gateway is called 'nobody'"),
        (["--wait", "-1", "ab"], "--wait: -1.0 is not from 0"),
        (["--wait", "nan", "ab"], "--wait: nan is not from 0"),
        (["--config", "/nowhere.json", "ab"], "/nowhere.json: cannot be read: No such file or directory"),
        (["/"], "'/': cannot be read: Is a directory"),
        (["\0"], "cannot be read"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["follow", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("frames.txt", b"ab cd\n# fine\nxy\n", "frames.txt: line 3: 'xy' is not hexadecimal octets"),
        ("frames.txt", b"ab c\n", "frames.txt: line 1: 'abc' has an odd number of hexadecimal digits"),
        ("frames.txt", b"ab \\\n", "frames.txt: the last line goes on, and nothing follows"),
        ("frames.txt", b"# nothing\n", "holds no frame for the port internal"),
        ("picture.png", b"\x89PNG\r\n", "picture.png: is neither a capture file nor hexadecimal octets"),
        ("cut.pcapng", bytes.fromhex("0a0d0d0a1c0000004d3c2b1a01"), "cut.pcapng: octet 0: a block length of 28"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_the_place(
    name: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert cli.run(["follow", str(path)]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON: line 1, column 2"),
        ('{"internal": {"mtu": 1500, "mtu": 1400}}', "the member 'mtu' stands twice"),
        ('{"internal": {"mtu": NaN}}', "NaN is no number of JSON"),
        (f'{{"internal": {{"mtu": {"9" * 5000}}}}}', "an integer of 5000 digits: 999999999999…"),
        ("[]", "config: [] is not an object"),
        ('{"internal": {"mtu": 67}}', "internal.mtu: 67 is under 68"),
        ('{"interal": {}}', "interal: unknown member"),
        ('{"tunnel": {"ovpn": "client"}}', "tunnel.ovpn: follow has no server to negotiate with"),
        ("[" * 100_000, "config.json: is nested too deeply"),
    ],
)
def test_a_bad_configuration_gets_one_line_that_names_the_member(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert cli.run(["follow", "--config", str(path), "ab"]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


def test_a_frame_that_was_not_captured_whole_is_not_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "frames.pcap"
    with path.open("wb") as file:
        dpkt.pcap.Writer(file, snaplen=30).writepkt(ASK.build().data, ts=0.0)
    octets = bytearray(path.read_bytes())
    octets[32:36] = (30).to_bytes(4, "little")  # dpkt leaves the cutting to others
    path.write_bytes(octets[:70])
    assert cli.run(["follow", str(path)]) == 2
    assert "packet 1: 30 of its 42 octets were captured" in capsys.readouterr().err


def test_an_empty_standard_input_is_called_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Input:
        buffer = io.BytesIO(b"")

    monkeypatch.setattr("sys.stdin", Input)
    assert cli.run(["follow", "-"]) == 2
    assert capsys.readouterr().err == "glassgate: standard input: holds no frame for the port internal\n"


def test_a_capture_of_the_wrong_kind_says_what_the_port_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "frames.pcap"
    with path.open("wb") as file:
        dpkt.pcap.Writer(file).writepkt(ASK.build().data, ts=0.0)
    assert cli.run(["follow", "--port", "tunnel", str(path)]) == 2
    assert "packet 1: is Ethernet, and the port tunnel takes raw IP" in capsys.readouterr().err
