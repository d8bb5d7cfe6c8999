"""Addresses, entropy, effects and implementations; and that the contract depends on nothing of ours."""

from __future__ import annotations

import ast
import doctest
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import glassgate.contract
from glassgate.contract import (
    BROADCAST,
    CAPABILITIES,
    Effect,
    Entropy,
    Gateway,
    GatewayConfig,
    Implementation,
    MacAddress,
    Port,
    SeededEntropy,
    Transmit,
    Unsupported,
    addresses,
    entropy,
    rules,
)

# ── Ethernet addresses ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["00:f0:0d:f0:0d:00", "00-f0-0d-f0-0d-00", "00:F0:0D:F0:0D:00"])
def test_an_address_is_read_in_either_notation_and_written_with_colons(text: str) -> None:
    address = MacAddress.parse(text)
    assert address == bytes.fromhex("00f00df00d00")
    assert str(address) == "00:f0:0d:f0:0d:00"
    assert repr(address) == "MacAddress('00:f0:0d:f0:0d:00')"


@pytest.mark.parametrize(
    "text", ["", "00:f0:0d:f0:0d", "00:f0:0d:f0:0d:00:00", "00f00df00d00", "0g:f0:0d:f0:0d:00", " "]
)
def test_what_is_no_address_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not an Ethernet address"):
        MacAddress.parse(text)


@pytest.mark.parametrize("octets", [b"", bytes(5), bytes(7)])
def test_an_address_has_six_octets(octets: bytes) -> None:
    with pytest.raises(ValueError, match=f"has 6 octets, not {len(octets)}"):
        MacAddress(octets)


@given(st.binary(min_size=6, max_size=6))
def test_the_lowest_bit_of_the_first_octet_makes_a_group(octets: bytes) -> None:
    address = MacAddress(octets)
    assert address.is_group == (octets[0] % 2 == 1)
    assert MacAddress.parse(str(address)) == address


def test_broadcast_is_a_group() -> None:
    assert str(BROADCAST) == "ff:ff:ff:ff:ff:ff"
    assert BROADCAST.is_group


# ── entropy ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def blocks(seed: bytes, count: int) -> bytes:
    """SHA-256(seed ‖ 64-bit counter), block after block, as protocol 1 says."""
    return b"".join(hashlib.sha256(seed + number.to_bytes(8, "big")).digest() for number in range(count))


@given(st.binary(max_size=40), st.lists(st.integers(0, 70), max_size=8))
def test_octets_are_the_blocks_in_order_however_they_are_drawn(seed: bytes, counts: list[int]) -> None:
    draw = SeededEntropy(seed)
    drawn = b"".join(draw(count) for count in counts)
    assert len(drawn) == sum(counts)
    assert drawn == blocks(seed, 20)[: len(drawn)]


def test_the_first_octets_of_the_empty_seed_are_known() -> None:
    # printf '\0\0\0\0\0\0\0\0' | sha256sum
    known = "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"
    assert SeededEntropy(b"")(32).hex() == known


@pytest.mark.parametrize("module", [addresses, entropy])
def test_examples_in_docstrings_are_true(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# ── effects and implementations ──────────────────────────────────────────────────────────────────────────────────────


def test_effects_are_equal_whatever_the_reason() -> None:
    one: Effect = Transmit(Port.INTERNAL, b"a", rules.S7_REPLY)
    assert one == Transmit(Port.INTERNAL, b"a", rules.S7_PROBE)
    assert one != Transmit(Port.FLOW, b"a", rules.S7_REPLY)


def no_gateway(config: GatewayConfig, entropy: Entropy) -> Gateway:
    raise AssertionError("must not be made")


def test_an_implementation_refuses_what_it_does_not_declare() -> None:
    key = {"key": "00" * 32, "implicit_iv": "00" * 8}
    config = GatewayConfig.from_json({"tunnel": {"session": {"send": key, "receive": key}}})
    poor = Implementation("poor", "1", frozenset({"external.stack", "session"}), no_gateway)
    with pytest.raises(Unsupported) as caught:
        poor(config, bytes)
    assert caught.value.capability == "cipher.aes-256-gcm"


def test_an_implementation_cannot_declare_what_nobody_knows() -> None:
    with pytest.raises(ValueError, match="mine: unknown capabilities fly"):
        Implementation("mine", "1", frozenset({"fly", "session"}), no_gateway)


def test_every_need_of_a_configuration_is_a_capability() -> None:
    for cipher in ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"):
        assert f"cipher.{cipher.lower()}" in CAPABILITIES
    assert {"external.stack", "external.os", "session", "ovpn", "transport.udp"} <= CAPABILITIES.keys()


# ── arrows ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "glassgate"}
    return {name for name in found if name.split(".")[0] == "glassgate"}


def sources(package: str) -> list[Path]:
    folder = Path(next(iter(glassgate.contract.__path__))).parent / package
    return sorted(folder.rglob("*.py"))


def test_the_contract_imports_nothing_of_ours() -> None:
    for path in sources("contract"):
        assert all(name.startswith("glassgate.contract") for name in imported(path)), path


def test_the_suite_imports_no_implementation() -> None:
    files = sources("conformance")
    assert files
    for path in files:
        assert all(name.startswith(("glassgate.contract", "glassgate.conformance")) for name in imported(path)), path
