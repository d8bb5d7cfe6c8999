"""What a dissection is made of: fields with their octets, in layers; and the cursor that reads them in order.

A field that cannot be right carries its problem in words. A header that is cut off ends with the field in which the
octets ran out. Nothing here raises on account of what the octets hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in the standard's words, its octets, what they hold and what that means.

    ``start`` and ``end`` count octets of the layer's ``octets``. ``problem`` is empty where the value can be right.
    """

    name: str
    start: int
    end: int
    value: str
    meaning: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """A header with its fields, or a container of layers; ``summary`` tells it in one line.

    All ranges below a layer refer to the same ``octets``, save where a nested layer brings its own: what was sealed
    or spread over several segments stands nowhere in the frame.
    """

    name: str
    octets: bytes = field(repr=False)
    start: int
    end: int
    parts: tuple[Field | Layer, ...] = ()
    summary: str = ""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The layer's own fields, in order."""
        return tuple(part for part in self.parts if isinstance(part, Field))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers directly below, in order."""
        return tuple(part for part in self.parts if isinstance(part, Layer))

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Layer, Field]]:
        """Every field below, depth first: the names of the layers above it, the layer that holds it, and itself."""
        path = (*path, self.name)
        for part in self.parts:
            if isinstance(part, Field):
                yield path, self, part
            else:
                yield from part.walk(path)

    def find(self, name: str) -> Layer | None:
        """The first layer of that name below, or this one."""
        return next(iter(self.find_all(name)), None)

    def find_all(self, name: str) -> list[Layer]:
        """Every layer of that name below, and this one if it has the name, in order."""
        found = [self] if self.name == name else []
        return found + [layer for below in self.layers for layer in below.find_all(name)]

    def value(self, name: str) -> str | None:
        """What the layer's own field of that name holds."""
        return next((part.value for part in self.fields if part.name == name), None)

    def problems(self) -> list[str]:
        """Everything below that cannot be right, as lines such as ``IPv4 · header checksum: is not 0x1234``."""
        return [f"{path[-1]} · {found.name}: {found.problem}" for path, _, found in self.walk() if found.problem]

    def at(self, offset: int) -> Field | None:
        """The narrowest field of this layer's octets that covers the octet at ``offset``."""
        covering = [
            found
            for _, layer, found in self.walk()
            if layer.octets is self.octets and found.start <= offset < found.end
        ]
        return min(covering, key=lambda found: found.end - found.start, default=None)


class Cut(Exception):
    """The octets ended inside a field. Caught by ``read_layer``; it never leaves this package."""


Telling = str | Callable[[int], str]
"""A meaning or problem: fixed words, or a function of the field's value."""


class Cursor:
    """Reads the fields of one layer in order, and keeps them."""

    def __init__(self, octets: bytes, start: int, end: int) -> None:
        self.octets = octets
        self.start = start
        self.position = start
        self.end = end
        self.parts: list[Field | Layer] = []
        self.summary = ""

    @property
    def left(self) -> int:
        """How many octets have not been read."""
        return self.end - self.position

    def number(
        self, name: str, size: int, meaning: Telling = "", problem: Telling = "", *, hexadecimal: bool = False
    ) -> int:
        """Read a big-endian number of ``size`` octets."""
        value = int.from_bytes(self._take(name, size), "big")
        text = f"0x{value:0{2 * size}x}" if hexadecimal else str(value)
        self.parts.append(
            Field(name, self.position - size, self.position, text, _told(meaning, value), _told(problem, value))
        )
        return value

    def take(
        self,
        name: str,
        size: int,
        show: Callable[[bytes], str] = bytes.hex,
        meaning: Callable[[bytes], str] | str = "",
        problem: str = "",
    ) -> bytes:
        """Read ``size`` octets as they are."""
        octets = self._take(name, size)
        told = meaning if isinstance(meaning, str) else meaning(octets)
        self.parts.append(Field(name, self.position - size, self.position, show(octets), told, problem))
        return octets

    def rest(self, name: str, meaning: str = "", problem: str = "") -> bytes:
        """Read all that is left, if anything is."""
        if self.left <= 0:
            return b""
        return self.take(name, self.left, abridged, meaning or counted(self.left), problem)

    def shared(self, name: str, size: int) -> int:
        """Read octets that several fields share: ``bits`` then notes each of them."""
        return int.from_bytes(self._take(name, size), "big")

    def bits(self, name: str, start: int, end: int, value: object, meaning: str = "", problem: str = "") -> None:
        """Note a field that is only part of octets; the position stays."""
        self.parts.append(Field(name, start, end, str(value), meaning, problem))

    def mark(self, problem: str, index: int = -1, meaning: str = "") -> None:
        """Say what is wrong with the field that was read last, or the ``index``-th, or else what it means."""
        marked = self.parts[index]
        assert isinstance(marked, Field)
        self.parts[index] = replace(marked, meaning=meaning or marked.meaning, problem=problem)

    def add(self, layer: Layer) -> None:
        """Keep a layer below this one, and go on behind it if it lies in the same octets."""
        self.parts.append(layer)
        if layer.octets is self.octets:
            self.position = max(self.position, layer.end)

    def _take(self, name: str, size: int) -> bytes:
        if size > self.left:
            have = max(self.left, 0)
            octets = self.octets[self.position : self.position + have]
            problem = f"cut off: {have} of {counted(size)}"
            self.parts.append(Field(name, self.position, self.position + have, abridged(octets), "", problem))
            self.position += have
            raise Cut
        self.position += size
        return self.octets[self.position - size : self.position]


def read_layer(name: str, octets: bytes, start: int, end: int, read: Callable[[Cursor], None]) -> Layer:
    """Read one layer. Its end is where its reader stopped; ``read`` may leave early because the octets ran out."""
    cursor = Cursor(octets, start, min(end, len(octets)))
    try:
        read(cursor)
    except Cut:
        cursor.summary = f"{cursor.summary}, cut off" if cursor.summary else "cut off"
    return Layer(name, octets, start, cursor.position, tuple(cursor.parts), cursor.summary)


def _told(telling: Telling, value: int) -> str:
    return telling if isinstance(telling, str) else telling(value)


def counted(octets: int) -> str:
    """A number of octets in words.

    >>> counted(1), counted(20)
    ('1 octet', '20 octets')
    """
    return f"{octets} octet" if octets == 1 else f"{octets} octets"


def abridged(octets: bytes, most: int = 24) -> str:
    """Octets in hexadecimal, the middle left out where there are more than ``most``.

    >>> abridged(bytes(range(30)), most=4)
    '0001 … 1c1d'
    """
    if len(octets) <= most:
        return octets.hex()
    half = most // 2
    return f"{octets[:half].hex()} … {octets[-half:].hex()}"
