"""What a tensor is to ckptconv: a name, a dtype, a shape, and the bytes of a file that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Record:
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
    path: Path
    extents: tuple[Extent, ...]
    """One run almost always; several where the format cuts large arrays (Flax msgpack)."""
    strides: tuple[int, ...] | None = None
    """Elements from one index to the next along each axis, for a PyTorch view that is not
    row-major; then the single extent spans all elements that the view touches."""
    record: Record | None = None
    """What of the file's own checksums covers these bytes, and maybe those of other tensors."""

    def rows(self, start: int, stop: int) -> Stored:
        """Return some rows of a table, as a tensor of its own.

        Raises: SourceError: the table lies in several runs, so that it has more than 2^30 bytes.
        """
        if len(self.extents) > 1:
            raise SourceError(
                f"{self.path}: {self.spec.name} is larger than any table that was ever healed"
            )
        row = prod(self.spec.shape[1:]) * ITEMSIZE[self.spec.dtype]
        shape = (stop - start, *self.spec.shape[1:])
        spec = replace(self.spec, name=f"{self.spec.name}[{start}:{stop}]", shape=shape)
        return Stored(spec, self.path, (Extent(self.extents[0].offset + start * row, spec.nbytes),))

    def reordered(self, axes: Sequence[str], wanted: Sequence[str]) -> Stored:
        """Return the same tensor, read in another order of its axes; both orders by labels."""
        if axes == wanted:
            return self
        shape = self.spec.shape
        strides = {axis: prod(shape[n + 1 :]) for n, axis in enumerate(axes)}
        sizes = dict(zip(axes, shape, strict=True))
        spec = replace(self.spec, shape=tuple(sizes[axis] for axis in wanted))
        return replace(self, spec=spec, strides=tuple(strides[axis] for axis in wanted))
