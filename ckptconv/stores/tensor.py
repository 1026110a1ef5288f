"""What a tensor is to ckptconv: a name, a dtype, a shape, and the bytes of files that hold it.

They lie in chunks: runs that follow each other, or boxes, compressed or not. Whoever moves tensors asks for a run of
the tensor's own bytes, row-major; where they lie is settled here, and so is whether they match the checksums that
their file carries.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import TypeAlias, TypeGuard
from zlib import crc32

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FETCH, FileReader, require_announced
from ckptconv.base.workers import finish, workers
from ckptconv.stores.parsers.stream import refusal, shown

ITEMSIZE = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "float32": 4,
    "int64": 8,
    "float64": 8,
}
"""Canonical dtype name -> bytes an item. Every format translates its own names into these."""

QUANTISED = "8-bit floats or smaller, so codes of quantised weights and not weights"
DEQUANTISE = "Load it with its class, call model.dequantize(), and save it, or use the checkpoint that it was made of."
"""What to do about codes in place of weights."""
SMALL_FLOAT = re.compile(r"(F|float)[468](_.*)?")
"""How safetensors, and numpy's and JAX's extensions, name the dtypes that only quantised weights have."""
FLOATS = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that a cast may touch; the others are kept as they are."""


INTEGERS = ("int64", "int32")
"""The dtypes of numbers that follow from a config."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype (a key of ITEMSIZE) and shape of one tensor; no data."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements; 1 for a scalar."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the data [bytes]."""
        return self.numel * ITEMSIZE[self.dtype]

    def renamed(self, name: str) -> TensorSpec:
        """Return the same tensor under another name."""
        return replace(self, name=name)


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes in a file."""

    offset: int
    """From the start of the file [bytes]."""
    nbytes: int


Box: TypeAlias = tuple[tuple[int, int], ...]
"""A part of a tensor: for each axis the first index and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a tensor, and the bytes of a file that hold it."""

    path: Path
    offset: int
    """From the start of the file [bytes]."""
    nbytes: int
    """As stored."""
    box: Box | None = None
    """Which elements, row-major within the box; None: those that follow the chunk before, in the tensor's own order."""
    codec: str | None = None
    """How the bytes are compressed, a key of `CODECS`; None: as they are."""


@dataclass(frozen=True, slots=True)
class ChecksumSpan:
    """A run of bytes whose checksum the file itself gives."""

    path: Path
    name: str
    """As the file names it, such as `data/7`."""
    extent: Extent
    crc: int
    """CRC-32."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the bytes of one tensor lie: little-endian, row-major unless strides say otherwise."""

    spec: TensorSpec
    chunks: tuple[Chunk, ...]
    """One almost always. Several runs where the format cuts large arrays (Flax msgpack); boxes where it cuts
    every array (torch DCP, zarr). All have boxes or none has."""
    strides: tuple[int, ...] | None = None
    """Elements from one index to the next along each axis, for a PyTorch view that is not
    row-major; then the single chunk spans all elements that the view touches."""
    checksum: ChecksumSpan | None = None
    """What of the file's own checksums covers these bytes, and maybe those of other tensors."""

    @classmethod
    def in_file(
        cls,
        spec: TensorSpec,
        path: Path,
        extents: Sequence[Extent],
        strides: tuple[int, ...] | None = None,
        checksum: ChecksumSpan | None = None,
    ) -> Stored:
        """Return a tensor whose bytes lie in one file as they are, in one run or several."""
        chunks = tuple(Chunk(path, extent.offset, extent.nbytes) for extent in extents)
        return cls(spec, chunks, strides, checksum)

    @property
    def path(self) -> Path:
        """The file that holds the tensor, or its first chunk."""
        return self.chunks[0].path

    @property
    def extents(self) -> tuple[Extent, ...]:
        """The runs of bytes of a tensor that is neither cut into boxes nor compressed."""
        assert self.is_raw
        return tuple(Extent(chunk.offset, chunk.nbytes) for chunk in self.chunks)

    @property
    def is_raw(self) -> bool:
        """True where the chunks, one after the other, are the tensor's bytes."""
        return all(chunk.box is None and chunk.codec is None for chunk in self.chunks)

    @property
    def span_bytes(self) -> int:
        """Bytes that must be held to hold the tensor: with strides also what lies between its elements."""
        return sum(chunk.nbytes for chunk in self.chunks) if self.is_raw else self.spec.nbytes

    def rows(self, start: int, stop: int) -> Stored:
        """Return some rows of a table, as a tensor of its own.

        Raises: SourceError: the table lies in several chunks.
        """
        if len(self.chunks) > 1 or not self.is_raw:
            raise SourceError(
                f"{self.path}: {self.spec.name} is stored in several chunks:"
                " moving rows of such a table is not supported"
            )
        row = prod(self.spec.shape[1:]) * ITEMSIZE[self.spec.dtype]
        shape = (stop - start, *self.spec.shape[1:])
        spec = replace(self.spec, name=f"{self.spec.name}[{start}:{stop}]", shape=shape)
        return Stored.in_file(
            spec, self.path, [Extent(self.chunks[0].offset + start * row, spec.nbytes)]
        )

    def reordered(self, axes: Sequence[str], order: Sequence[str]) -> Stored:
        """Return the same tensor, read in another order of its axes; both orders by labels.

        An axis of length one, `1`, may be on one side only.
        """
        if axes == order:
            return self
        shape = self.spec.shape
        strides = {"1": 1} | {axis: prod(shape[n + 1 :]) for n, axis in enumerate(axes)}
        sizes = {"1": 1} | dict(zip(axes, shape, strict=True))
        spec = replace(self.spec, shape=tuple(sizes[axis] for axis in order))
        return replace(self, spec=spec, strides=tuple(strides[axis] for axis in order))


MAX_NAME = 512
"""Characters; the longest that transformers makes has about 150."""
MAX_RANK = 32
"""Axes of a tensor: more than numpy or torch print, and few enough to multiply."""
SHOWN = 200


def quantised_dtype(dtype: str) -> str:
    """Return what follows the refusal of a dtype where only quantised weights have it; else nothing."""
    return f": {QUANTISED}. {DEQUANTISE}" if SMALL_FLOAT.fullmatch(dtype) else ""


def require_name(name: str, where: str) -> None:
    """Names end up in files, in tables and on terminals: refuse one that is empty, far too long, or does not print.

    What does not print are control characters, changes of direction, zero-width characters and separators but spaces.
    Raises: SourceError: with the name in ASCII.
    """
    if not name:
        raise SourceError(f"{where}: a tensor without a name")
    if len(name) > MAX_NAME:
        raise SourceError(
            f"{where}: the name {name[:40]!a}... of {len(name)} characters is too long"
        )
    if not name.isprintable():
        raise SourceError(
            f"{where}: the name {ascii(name)[:SHOWN]} holds a character that does not print"
        )


def is_size(value: object) -> TypeGuard[int]:
    """Tell whether a value is the length of an axis, or a place in a file: a whole number below 2^63."""
    return type(value) is int and 0 <= value < 1 << 63


def _inflate(data: bytes, nbytes: int) -> bytes:
    """Undo zlib's or gzip's compression, to at most one byte more than is expected. Raises zlib.error."""
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, nbytes + 1)


CODECS: Mapping[str, Callable[[bytes, int], bytes]] = {"zlib": _inflate, "gzip": _inflate}
"""Name of a compression -> what undoes it: (stored bytes, expected size) -> data."""


Read: TypeAlias = Callable[[Path, int, memoryview], None]
"""Fills a buffer from a byte of a file on. Raises SourceError: the file ends before, or cannot be read."""


def read_into(read: Read, stored: Stored, start: int, buffer: memoryview) -> None:
    """Fill `buffer` with a tensor's bytes from byte `start` of the tensor on.

    Raises: SourceError: a file cannot be read, or a chunk does not hold what it should.
    """
    if not stored.is_raw:
        _read_boxes(read, stored, start, buffer)
        return
    for chunk in stored.chunks:
        if start < chunk.nbytes and len(buffer):
            count = min(chunk.nbytes - start, len(buffer))
            read(chunk.path, chunk.offset + start, buffer[:count])
            buffer, start = buffer[count:], start + count
        start -= chunk.nbytes if start >= chunk.nbytes else start


def _read_boxes(read: Read, stored: Stored, start: int, buffer: memoryview) -> None:
    """Copy of every box what lies in the run `start` to `start + len(buffer)` of the tensor's bytes."""
    stop, item = start + len(buffer), ITEMSIZE[stored.spec.dtype]
    for chunk in stored.chunks:
        box = chunk.box or tuple((0, size) for size in stored.spec.shape)
        data: bytes | None = None
        for at, inside, nbytes in _runs(stored.spec.shape, box, item, (start, stop)):
            first, last = max(at, start), min(at + nbytes, stop)
            if first >= last:
                continue
            room, inside = buffer[first - start : last - start], inside + first - at
            if chunk.codec is None:
                read(chunk.path, chunk.offset + inside, room)
                continue
            data = data if data is not None else _decoded(read, chunk, box, item)
            room[:] = data[inside : inside + len(room)]


def _runs(
    shape: tuple[int, ...], box: Box, item: int, span: tuple[int, int]
) -> Iterator[tuple[int, int, int]]:
    """Return the runs of bytes that a box and the whole tensor have in common: (in the tensor, in the box, length).

    Rows of the first axis that lie outside of the wanted bytes of the tensor are passed over at once.
    """
    sizes = [stop - start for start, stop in box]
    whole = len(shape)  # axes from here on lie in one run: the box has all of them
    while whole and sizes[whole - 1] == shape[whole - 1]:
        whole -= 1
    outer = max(whole - 1, 0)  # the axis before them is cut once, and still one run
    run = prod(sizes[outer:]) * item
    steps = [prod(shape[axis + 1 :]) * item for axis in range(len(shape))]
    inner = [prod(sizes[axis + 1 :]) * item for axis in range(len(shape))]
    base = sum(start * steps[axis] for axis, (start, _) in enumerate(box))
    ranges = [range(size) for size in sizes[:outer]]
    if ranges and steps[0]:
        first = max(0, (span[0] - base) // steps[0] - 1)
        last = min(sizes[0], (span[1] - base) // steps[0] + 1)
        ranges[0] = range(first, max(first, last))
    for index in product(*ranges):
        yield (
            base + sum(number * steps[axis] for axis, number in enumerate(index)),
            sum(number * inner[axis] for axis, number in enumerate(index)),
            run,
        )


def _decoded(read: Read, chunk: Chunk, box: Box, item: int) -> bytes:
    """Return a compressed chunk's data. Raises SourceError: an unknown codec, or not the size of the box."""
    nbytes = prod(stop - start for start, stop in box) * item
    decode = CODECS.get(chunk.codec or "")
    if decode is None:
        raise SourceError(
            f"{chunk.path}: a chunk compressed with {chunk.codec!a}; known are {', '.join(CODECS)}."
        )
    compressed = bytearray(chunk.nbytes)
    read(chunk.path, chunk.offset, memoryview(compressed))
    try:
        data = decode(bytes(compressed), nbytes)
    except zlib.error:
        data = b""
    if len(data) != nbytes:
        raise SourceError(
            f"{chunk.path}: the chunk at byte {chunk.offset} does not decompress to {nbytes} bytes."
        )
    return data


_PIECE_BYTES = 1 << 20
"""Read at a time: it stays in the cache between reading and summing."""


def checksum_spans(tensors: Iterable[Stored]) -> tuple[ChecksumSpan, ...]:
    """Return the checksummed spans that hold these tensors, each once, in the order of the files."""
    spans = {stored.checksum for stored in tensors if stored.checksum}
    return tuple(sorted(spans, key=lambda span: (span.path, span.extent.offset)))


def require_checksums(tensors: Iterable[Stored], *, announced: bool = True) -> None:
    """Compare all that these tensors are read from with the files' own checksums, where there are some.

    Args: announced: also with the digests that the hub announced, which takes reading the files as a whole.
    Raises: SourceError: as `check_span`.
    """
    tensors = list(tensors)
    if announced:
        require_announced(chunk.path for stored in tensors for chunk in stored.chunks)
    spans = checksum_spans(tensors)
    if spans:
        with workers() as pool:
            finish([pool.submit(check_span, span) for span in spans])


def check_span(span: ChecksumSpan) -> None:
    """Compare a span of bytes with its checksum, in little memory.

    Raises: SourceError: they disagree, or cannot be read.
    """
    with FileReader(span.path) as file:
        actual = checksum(file, span.extent.offset, span.extent.nbytes)
    if actual != span.crc:
        what = f"zip member {shown(span.name)} has the CRC-32 {actual:08x}, the zip directory says {span.crc:08x}"
        raise refusal(span.path, what, at=span.extent.offset, advice=FETCH)


def checksum(file: FileReader, offset: int, nbytes: int) -> int:
    """Return the CRC-32 of a run of bytes. Raises SourceError: they cannot be read."""
    room = memoryview(bytearray(min(nbytes, _PIECE_BYTES)))
    total = 0
    for at in range(0, nbytes, _PIECE_BYTES):
        piece = room[: nbytes - at]
        file.read_into(offset + at, piece)
        total = crc32(piece, total)
    return total
