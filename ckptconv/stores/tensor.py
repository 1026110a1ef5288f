"""What a tensor is to ckptconv: a name, a dtype, a shape, and the bytes of a file that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.errors import SourceError

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

FLOATS = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that a cast may touch; the others are kept as they are."""


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

    def reordered(self, axes: Sequence[str], wanted: Sequence[str]) -> Stored:
        """Return the same tensor, read in another order of its axes; both orders by labels.

        An axis of length one, `1`, may be on one side only.
        """
        if axes == wanted:
            return self
        shape = self.spec.shape
        strides = {"1": 1} | {axis: prod(shape[n + 1 :]) for n, axis in enumerate(axes)}
        sizes = {"1": 1} | dict(zip(axes, shape, strict=True))
        spec = replace(self.spec, shape=tuple(sizes[axis] for axis in wanted))
        return replace(self, spec=spec, strides=tuple(strides[axis] for axis in wanted))
