"""What a tensor is to ckptconv: a name, a dtype, a shape, and the bytes of files that hold it.

They lie in runs that follow each other, one almost always. Whoever moves tensors asks for a run of the tensor's own
bytes, row-major; where they lie is settled here, and so is whether they match the checksums that their file carries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes of a file that hold a part of a tensor: what follows the chunk before, in the tensor's own order."""

    path: Path
    offset: int
    """From the start of the file [bytes]."""
    nbytes: int


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
    """One almost always. Several where the format cuts large arrays (Flax msgpack)."""
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
        """The runs of bytes, in the tensor's own order."""
        return tuple([Extent(chunk.offset, chunk.nbytes) for chunk in self.chunks])

    @property
    def span_bytes(self) -> int:
        """Bytes that must be held to hold the tensor: with strides also what lies between its elements."""
        return sum(chunk.nbytes for chunk in self.chunks)

    def rows(self, start: int, stop: int) -> Stored:
        """Return some rows of a table, as a tensor of its own.

        Raises: SourceError: the table lies in several chunks.
        """
        if len(self.chunks) > 1:
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


Read: TypeAlias = Callable[[Path, int, memoryview], None]
"""Fills a buffer from a byte of a file on. Raises SourceError: the file ends before, or cannot be read."""


def read_into(read: Read, stored: Stored, start: int, buffer: memoryview) -> None:
    """Fill `buffer` with a tensor's bytes from byte `start` of the tensor on.

    Raises: SourceError: a file cannot be read.
    """
    for chunk in stored.chunks:
        if start < chunk.nbytes and len(buffer):
            count = min(chunk.nbytes - start, len(buffer))
            read(chunk.path, chunk.offset + start, buffer[:count])
            buffer, start = buffer[count:], start + count
        start -= chunk.nbytes if start >= chunk.nbytes else start


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
