"""The part of msgpack that flax uses: maps with string keys, whole numbers, flags, and arrays as extensions.

Source: the msgpack specification. Array data is never read, only its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from ckptconv.errors import SourceError
from ckptconv.formats._files import FileReader
from ckptconv.tensor import ITEMSIZE, Extent

NDARRAY = 1
"""flax's extension code of an array."""
MAX_DEPTH = 32
MAX_NODES = 1_000_000
MAX_KEY_BYTES = 512


@dataclass(frozen=True, slots=True)
class Array:
    """One array of the file."""

    dtype: str
    shape: tuple[int, ...]
    extent: Extent


Tree: TypeAlias = "dict[str, Tree | Array | int]"


class Parser:
    """A cursor over one file. Everything unexpected is a SourceError with its byte offset."""

    def __init__(self, file: FileReader) -> None:
        self.file = file
        self.at = 0
        self.nodes = 0

    def fail(self, what: str) -> SourceError:
        """Return the refusal of this file, at the cursor."""
        return SourceError(f"{self.file.path}: not a Flax checkpoint: {what} at byte {self.at}")

    def take(self, nbytes: int) -> bytes:
        """Return the next bytes and move past them."""
        data = self.file.read(self.at, nbytes)
        self.at += nbytes
        return data

    def number(self, nbytes: int) -> int:
        """Return the next bytes as a big-endian number."""
        return int.from_bytes(self.take(nbytes), "big")

    def value(self, depth: int) -> Tree | Array | int:
        """Return the value at the cursor: a map, an array or a whole number."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.fail(f"more than {MAX_NODES} values")
        head = self.number(1)
        if head < 0x80:
            return head
        if head in (0xC2, 0xC3):
            return head - 0xC2
        if head & 0xF0 == 0x80:
            return self.tree(head & 0x0F, depth)
        if head in (0xDE, 0xDF):
            return self.tree(self.number(2 if head == 0xDE else 4), depth)
        if 0xCC <= head <= 0xCF:
            return self.number(1 << (head - 0xCC))
        if head in (0xC7, 0xC8, 0xC9):
            return self.array(self.number(1 << (head - 0xC7)))
        if 0xD4 <= head <= 0xD8:
            return self.array(1 << (head - 0xD4))
        raise self.fail(f"unexpected type byte {head:#04x}")

    def tree(self, count: int, depth: int) -> Tree:
        """Return a map of `count` entries."""
        if depth > MAX_DEPTH:
            raise self.fail(f"maps deeper than {MAX_DEPTH} levels")
        tree: Tree = {}
        for _ in range(count):
            key = self.text()
            if key in tree:
                raise self.fail(f"name {key!a} stands twice")
            tree[key] = self.value(depth + 1)
        return tree

    def text(self) -> str:
        """Return a string of at most MAX_KEY_BYTES."""
        head = self.number(1)
        if head & 0xE0 == 0xA0:
            length = head & 0x1F
        elif head in (0xD9, 0xDA):
            length = self.number(1 if head == 0xD9 else 2)
        else:
            raise self.fail(f"expected a name, found type byte {head:#04x}")
        if length > MAX_KEY_BYTES:
            raise self.fail(f"a name of {length} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.fail("a name that is not UTF-8") from None

    def array(self, nbytes: int) -> Array:
        """Return the array whose extension payload of `nbytes` bytes follows: (shape, dtype, data)."""
        code = self.number(1)
        end = self.at + nbytes
        if code != NDARRAY or self.number(1) != 0x93:
            raise self.fail(f"extension type {code} is not an array")
        head = self.number(1)
        if head & 0xF0 != 0x90:
            raise self.fail("an array without a shape")
        shape = tuple(self.size() for _ in range(head & 0x0F))
        dtype = self.text()
        if dtype not in ITEMSIZE:
            raise self.fail(f"dtype {dtype!a} is not one that ckptconv moves")
        head = self.number(1)
        if head not in (0xC4, 0xC5, 0xC6):
            raise self.fail("an array without data")
        length = self.number(1 << (head - 0xC4))
        extent = Extent(self.at, length)
        if self.at + length != end or prod(shape) * ITEMSIZE[dtype] != length:
            raise self.fail(f"{dtype} {list(shape)} does not take {length} bytes")
        if end > self.file.size:
            raise self.fail("data past the end of the file")
        self.at = end
        return Array(dtype, shape, extent)

    def size(self) -> int:
        """Return one whole number of a shape."""
        found = self.value(0)
        if not isinstance(found, int):
            raise self.fail("a shape that is not numbers")
        return found


def parse(file: FileReader) -> Tree:
    """Return the tree of a whole file.

    Raises: SourceError: anything that flax does not write, or bytes after the end.
    """
    parser = Parser(file)
    tree = parser.value(0)
    if not isinstance(tree, dict):
        raise parser.fail("the file does not begin with a map")
    if parser.at != file.size:
        raise parser.fail("bytes after the end")
    return tree


def head(count: int) -> bytes:
    """Return the head of a map of `count` entries."""
    if count < 16:
        return bytes([0x80 | count])
    return b"\xde" + count.to_bytes(2, "big") if count < 2**16 else b"\xdf" + count.to_bytes(4, "big")


def text(value: str) -> bytes:
    """Return a string."""
    data = value.encode()
    if len(data) < 32:
        return bytes([0xA0 | len(data)]) + data
    return (b"\xd9" + bytes([len(data)]) if len(data) < 256 else b"\xda" + len(data).to_bytes(2, "big")) + data


def number(value: int) -> bytes:
    """Return a whole number in the fewest bytes."""
    if value < 0x80:
        return bytes([value])
    width = next(power for power in range(4) if value < 1 << (8 << power))
    return bytes([0xCC + width]) + value.to_bytes(1 << width, "big")


def array(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return everything of an array but its data, which must follow."""
    nbytes = prod(shape) * ITEMSIZE[dtype]
    width = next(power for power in range(3) if nbytes < 1 << (8 << power))
    sizes = b"".join(number(size) for size in shape)
    payload = b"\x93" + bytes([0x90 | len(shape)]) + sizes + text(dtype)
    payload += bytes([0xC4 + width]) + nbytes.to_bytes(1 << width, "big")
    total = len(payload) + nbytes
    if total in (1, 2, 4, 8, 16):
        return bytes([0xD4 + total.bit_length() - 1, NDARRAY]) + payload
    width = next(power for power in range(3) if total < 1 << (8 << power))
    return bytes([0xC7 + width]) + total.to_bytes(1 << width, "big") + bytes([NDARRAY]) + payload
