"""The part of msgpack that flax uses: maps with string keys, whole numbers, flags, and arrays as extensions.

Source: the msgpack specification. Array data is never read, only its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader, limits, more
from ckptconv.stores.tensor import ITEMSIZE, Extent, is_size, quantised_dtype

NDARRAY, SCALAR = 1, 3
"""flax's extension codes of an array, and of a number of numpy's."""
PASSED_OVER = {0xC0: 0, 0xCA: 4, 0xCB: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
"""Type byte of nil, a float or a negative number -> what follows it [bytes]; after one from 0xe0 on, nothing."""
WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
"""Type byte of a whole number -> its length [bytes]."""
MAX_DEPTH = 32
MAX_KEY_BYTES = 512
BLOCK_BYTES = 1 << 16
"""Read at a time: the structure comes in items of a few bytes."""


@dataclass(frozen=True, slots=True)
class PackedArray:
    """One array of the file."""

    dtype: str
    shape: tuple[int, ...]
    extent: Extent


@dataclass(frozen=True, slots=True)
class Other:
    """A value that no parameter has, such as nil in the state of an optimizer; passed over, never read."""

    what: str
    """How a refusal calls it."""
    at: int
    """Where it stands [byte of the file]."""


Tree: TypeAlias = "dict[str, Tree | PackedArray | Other | int]"


class Parser:
    """A cursor over one file. Everything unexpected is a SourceError with its byte offset."""

    def __init__(self, file: FileReader) -> None:
        self.file = file
        self.at = 0
        self.nodes = self.structure = 0
        self._block, self._start = b"", 0

    def fail(self, what: str) -> SourceError:
        """Return the refusal of this file, at the cursor."""
        return SourceError(f"{self.file.path}: not a Flax checkpoint: {what} at byte {self.at}")

    def take(self, nbytes: int) -> bytes:
        """Return the next bytes and move past them; never an array's data."""
        begin = self.at - self._start
        if begin < 0 or begin + nbytes > len(self._block):
            length = max(nbytes, min(BLOCK_BYTES, self.file.size - self.at))
            self._block, self._start, begin = self.file.read(self.at, length), self.at, 0
        self.at += nbytes
        self.structure += nbytes
        if self.structure > limits().header_bytes:
            raise self.fail(
                f"more than {limits().header_bytes} bytes of structure ({more('header_bytes')})"
            )
        return self._block[begin : begin + nbytes]

    def number(self, nbytes: int) -> int:
        """Return the next bytes as a big-endian number."""
        return int.from_bytes(self.take(nbytes), "big")

    def value(self, depth: int) -> Tree | PackedArray | Other | int:
        """Return the value at the cursor: a map, an array, a whole number, or what is passed over."""
        self.nodes += 1
        if self.nodes > limits().tensors * 3 // 2:  # a layer is a map of two arrays or more
            raise self.fail(f"more than {self.nodes - 1} values ({more('tensors')})")
        head = self.number(1)
        if head < 0x80:
            return head
        if head in (0xC2, 0xC3):
            return head == 0xC3
        if head & 0xF0 == 0x80:
            return self.tree(head & 0x0F, depth)
        if head in (0xDE, 0xDF):
            return self.tree(self.number(2 if head == 0xDE else 4), depth)
        if head in WIDTHS:
            return self.number(WIDTHS[head])
        if head in (0xC7, 0xC8, 0xC9):
            return self.array(self.number(1 << (head - 0xC7)))
        if 0xD4 <= head <= 0xD8:
            return self.array(1 << (head - 0xD4))
        if head in PASSED_OVER or head >= 0xE0:
            self.take(PASSED_OVER.get(head, 0))
            return Other(f"unexpected type byte {head:#04x}", self.at)
        raise self.fail(f"unexpected type byte {head:#04x}")

    def tree(self, count: int, depth: int) -> Tree:
        """Return a map of `count` entries."""
        if depth > MAX_DEPTH:
            raise self.fail(f"maps deeper than {MAX_DEPTH} levels")
        tree: Tree = {}
        for _ in range(count):
            key = self.text()
            if key in tree:
                raise self.fail(f"duplicate name {key!a}")
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

    def array(self, nbytes: int) -> PackedArray | Other:
        """Return the array whose extension payload of `nbytes` bytes follows: (shape, dtype, data)."""
        code = self.number(1)
        end = self.at + nbytes
        if code == SCALAR and nbytes <= MAX_KEY_BYTES:
            self.take(nbytes)
            return Other(f"extension type {SCALAR} is not an array", self.at)
        if code != NDARRAY:
            raise self.fail(f"extension type {code} is not an array")
        if self.number(1) != 0x93:
            raise self.fail("an array that is not of shape, dtype and data")
        head = self.number(1)
        if head & 0xF0 != 0x90:
            raise self.fail("an array without a shape")
        shape = tuple(self.size() for _ in range(head & 0x0F))
        dtype = self.text()
        if dtype not in ITEMSIZE:
            refusal = self.fail(f"dtype {dtype[:40]!a} is not one that ckptconv moves")
            raise SourceError(f"{refusal}{quantised_dtype(dtype)}")
        return PackedArray(dtype, shape, self.data(dtype, shape, end))

    def data(self, dtype: str, shape: tuple[int, ...], end: int) -> Extent:
        """Return the place of an array's data, which must end at byte `end`, and move past it."""
        head = self.number(1)
        if head not in (0xC4, 0xC5, 0xC6):
            raise self.fail("an array without data")
        length = self.number(1 << (head - 0xC4))
        if prod(shape) * ITEMSIZE[dtype] != length:
            raise self.fail(f"{dtype} {list(shape)} does not take {length} bytes")
        if self.at + length != end:
            raise self.fail(f"an array of {length} bytes in an extension of another length")
        if end > self.file.size:
            raise self.fail("data past the end of the file")
        extent, self.at = Extent(self.at, length), end
        return extent

    def size(self) -> int:
        """Return one whole number of a shape: never a value that could hold another shape."""
        head = self.number(1)
        size = self.number(WIDTHS[head]) if head in WIDTHS else head
        if (head >= 0x80 and head not in WIDTHS) or not is_size(size):
            raise self.fail("a shape that is not a list of integers")
        return size


def parse(file: FileReader) -> Tree:
    """Return the tree of a whole file.

    Raises: SourceError: anything that flax does not write, or bytes after the end.
    """
    parser = Parser(file)
    tree = parser.value(0)
    if isinstance(tree, Other):
        raise parser.fail(tree.what)
    if not isinstance(tree, dict):
        raise parser.fail("the file does not begin with a map")
    if parser.at != file.size:
        raise parser.fail("bytes after the end")
    return tree


def head(count: int) -> bytes:
    """Return the head of a map of `count` entries."""
    if count < 16:
        return bytes([0x80 | count])
    return (
        b"\xde" + count.to_bytes(2, "big") if count < 2**16 else b"\xdf" + count.to_bytes(4, "big")
    )


def text(value: str) -> bytes:
    """Return a string."""
    data = value.encode()
    if len(data) < 32:
        return bytes([0xA0 | len(data)]) + data
    return (
        b"\xd9" + bytes([len(data)]) if len(data) < 256 else b"\xda" + len(data).to_bytes(2, "big")
    ) + data


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
