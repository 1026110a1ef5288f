"""Two tensors, a piece of each at a time: are they equal, and how far apart are they?

Memory: one piece of each side. Where both are equal the cost is that of comparing memory. What differs gets a relation:
the kind of difference, and the figures that go with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, isfinite, nan, sqrt
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.stores.tensor import FLOATS, ITEMSIZE, Stored
from ckptconv.transfer.casting import Items, Numbers, decode, encode, raw_dtype
from ckptconv.transfer.pieces import OpenFiles, Pieces

Kind: TypeAlias = Literal[
    "cast",
    "rounded",
    "transposed",
    "swapped",
    "copied",
    "scaled",
    "negated",
    "shifted",
    "permuted",
    "row",
    "element",
    "bit",
    "zeros",
    "constant",
    "initialised",
    "untied",
    "changed",
    "shape",
    "only in A",
    "only in B",
]


@dataclass(frozen=True, slots=True)
class Figures:
    """How far a tensor is from another of the same shape, over all elements."""

    differing: int
    """Elements whose bits differ; whose values differ where the dtypes do."""
    numel: int
    worst: float
    """Largest absolute difference; infinite where a NaN or an infinity is on one side only."""
    rms: float
    """Root of the mean squared difference, over what is finite on both sides."""
    reference_rms: float
    """Root of the mean square of what was expected, over the same elements."""
    cosine: float
    """Of the angle between the two, seen as vectors; NaN against zeros."""

    @property
    def relative(self) -> float:
        """RMS difference over the RMS of what was expected; infinite against zeros."""
        if self.rms == 0:
            return 0.0
        return self.rms / self.reference_rms if self.reference_rms else inf

    def __str__(self) -> str:
        return f"{self.differing} of {self.numel} elements differ, by at most {self.worst:.2g}"


@dataclass(frozen=True, slots=True)
class Relation:
    """How one tensor came of another, as far as the values tell."""

    kind: Kind
    detail: str
    """One line: what happened, with names, indices and values."""
    figures: Figures | None = None
    """None where there is nothing to compare."""

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class Sums:
    """What adds up to figures, piece by piece and tensor by tensor; in float64."""

    differing: int = 0
    numel: int = 0
    worst: float = 0.0
    apart: float = 0.0
    """Sum of the squared differences."""
    reference: float = 0.0
    """Sum of the squares of what was expected."""
    found: float = 0.0
    """Sum of the squares of what was found."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.differing + other.differing,
            self.numel + other.numel,
            max(self.worst, other.worst),
            self.apart + other.apart,
            self.reference + other.reference,
            self.found + other.found,
        )

    @property
    def figures(self) -> Figures:
        """Return the figures of all that was added."""
        count = max(self.numel, 1)
        both = sqrt(self.reference) * sqrt(self.found)
        cosine = (self.reference + self.found - self.apart) / (2 * both) if both else nan
        return Figures(
            self.differing,
            self.numel,
            self.worst,
            sqrt(self.apart / count),
            sqrt(self.reference / count),
            max(-1.0, min(1.0, cosine)) if cosine == cosine else nan,
        )


HEAD = 256
"""Items of each side that are kept: enough to tell two tensors apart, and to test a suspicion."""
MAX_CHANGES = 8
"""Changed elements that are kept with their values."""
TINY = 1e-30
"""Sums of squares below this may have lost some that float32 cannot hold."""
MEASURED = 1 << 16
"""Items measured at a time."""
BLOCK = 4096
"""Items whose squares are summed in their own precision; blocks are summed in float64."""


@dataclass(frozen=True, slots=True)
class Change:
    """One element that differs."""

    at: int
    """Index in row-major order."""
    expected: int
    """The item's bits."""
    found: int


@dataclass(slots=True)
class Streamed:
    """What one pass over both tensors showed."""

    expected_dtype: str
    found_dtype: str
    sums: Sums = field(default_factory=Sums)
    """Elements that differ are counted in the common dtype, distances are those of the values as stored."""
    same: bool = True
    """True where every bit is the same in the common dtype."""
    changes: list[Change] = field(default_factory=list)
    """The first elements that differ."""
    expected_head: Items = field(default_factory=lambda: np.empty(0, np.uint8))
    """In the common dtype, as all items here."""
    found_head: Items = field(default_factory=lambda: np.empty(0, np.uint8))

    @property
    def casts(self) -> bool:
        """True where the dtypes differ."""
        return self.expected_dtype != self.found_dtype

    @property
    def dtype(self) -> str:
        """The dtype in which both are compared: the narrower one."""
        return min(self.found_dtype, self.expected_dtype, key=ITEMSIZE.__getitem__)


class Reader:
    """Reads stored tensors in pieces of any length, one after the other; keeps its buffer from one to the next."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._buffer = np.empty(0, np.uint8)

    def whole(self, stored: Stored) -> Items | None:
        """Return the items of a view that is not row-major, which is held whole; None for any other tensor."""
        if stored.strides is None:
            return None
        parts = [piece.copy() for piece in Pieces(self._files).plain(stored)]
        return np.concatenate(parts) if parts else np.empty(0, raw_dtype(stored.spec.dtype))

    def take(self, stored: Stored, count: int, start: int) -> Items:
        """Return `count` items of a row-major tensor from item `start` on; valid until the next call."""
        item = ITEMSIZE[stored.spec.dtype]
        if len(self._buffer) < count * item:
            self._buffer = np.empty(count * item, np.uint8)
        buffer = self._buffer[: count * item]
        self._files.read_into(stored, start * item, memoryview(buffer))
        return buffer.view(raw_dtype(stored.spec.dtype))


def compare_stream(
    expected: Iterator[memoryview],
    dtype: str,
    actual: Stored,
    reader: Reader,
    *,
    measured: bool = True,
) -> Streamed:
    """Compare bytes as they come, in row-major order, with a stored tensor of as many elements.

    Args:
        expected: the bytes.
        dtype: theirs; that of `actual` may be another if both are floats.
        actual: where the tensor lies.
        reader: reads it.
        measured: add up how far the two are apart. False: only tell whether every bit is the same, which ends at the
            first piece that is not, and leaves the sums empty.
    Raises: SourceError: a file cannot be read.
    """
    result = Streamed(dtype, actual.spec.dtype)
    whole, start = reader.whole(actual), 0
    for piece in expected:
        left = np.frombuffer(piece, raw_dtype(dtype))
        right = (
            reader.take(actual, left.size, start)
            if whole is None
            else whole[start : start + left.size]
        )
        _compare_piece(result, left, right, start, measured)
        if not measured and not result.same:
            break
        start += left.size
    return result


def in_dtype(items: Items, dtype: str, target: str) -> Items:
    """Return items in a dtype, cast where they have another; what overflows becomes infinite."""
    return items if dtype == target else encode(decode(items, dtype), target)


def _compare_piece(
    result: Streamed, expected: Items, actual: Items, start: int, measured: bool
) -> None:
    """Add one piece to the result."""
    left = in_dtype(expected, result.expected_dtype, result.dtype)
    right = in_dtype(actual, result.found_dtype, result.dtype)
    if start == 0:
        result.expected_head, result.found_head = left[:HEAD].copy(), right[:HEAD].copy()
    if _same_bytes(left, right):
        differing = 0
    else:
        result.same = False
        unequal = left != right
        differing = int(np.count_nonzero(unequal))
        _keep(result, left, right, unequal, start)
    if measured:
        result.sums += _sums(result, expected, actual, differing)


def _keep(
    result: Streamed, left: Items, right: Items, unequal: NDArray[np.bool_], start: int
) -> None:
    """Keep the first elements that differ."""
    if len(result.changes) < MAX_CHANGES:
        for at in np.flatnonzero(unequal)[: MAX_CHANGES - len(result.changes)]:
            result.changes.append(Change(start + int(at), int(left[at]), int(right[at])))


def _sums(result: Streamed, left: Items, right: Items, differing: int) -> Sums:
    """Return the sums of one piece."""
    if result.expected_dtype not in FLOATS:
        return Sums(differing, left.size, inf if differing else 0.0)
    if differing or result.casts:
        return _measure(
            _numbers(left, result.expected_dtype), _numbers(right, result.found_dtype), differing
        )
    return _reference(_numbers(left, result.expected_dtype))


def _same_bytes(left: Items, right: Items) -> bool:
    """Compare eight bytes at a time where the length allows it."""
    wide = np.dtype("<u8") if left.nbytes % 8 == 0 else np.dtype("u1")
    return np.array_equal(left.view(wide), right.view(wide))


def _numbers(items: Items, dtype: str) -> Numbers:
    """Return items as float32, or as float64 where they are."""
    numbers = decode(items, dtype)
    return numbers.astype(np.float32) if numbers.dtype.itemsize < 4 else numbers


def _reference(numbers: Numbers) -> Sums:
    """Return the sums of equal pieces."""
    with np.errstate(all="ignore"):
        square = _dot(numbers, numbers)
    if isfinite(square):
        return Sums(numel=numbers.size, reference=square, found=square)
    return _measure_carefully(numbers, numbers)


def _measure(left: Numbers, right: Numbers, differing: int) -> Sums:
    """Return the sums of two runs of numbers, some at a time: fresh memory costs more than the arithmetic."""
    total = Sums(differing)
    for start in range(0, left.size, MEASURED):
        total += _measure_block(left[start : start + MEASURED], right[start : start + MEASURED])
    return total


def _measure_block(left: Numbers, right: Numbers) -> Sums:
    """Return the sums of a few numbers; `differing` is left to the caller."""
    with np.errstate(all="ignore"):
        apart = right - left
        worst = max(float(apart.max()), -float(apart.min()))
        squares = [_dot(apart, apart), _dot(left, left), _dot(right, right)]
    if all(isfinite(square) for square in squares) and (squares[0] > TINY or worst == 0):
        return Sums(0, left.size, worst, *squares)
    return _measure_carefully(left, right)


def _measure_carefully(first: Numbers, second: Numbers) -> Sums:
    """Do the same in float64, where squares overflowed or vanished, or some values are not finite."""
    with np.errstate(all="ignore"):
        left, right = first.astype(np.float64), second.astype(np.float64)
        finite = np.isfinite(left) & np.isfinite(right)
        same = finite | (left == right) | (np.isnan(left) & np.isnan(right))
        apart = np.where(finite, right - left, 0.0)
        worst = float(np.max(np.abs(apart), initial=0.0)) if same.all() else inf
        numbers = (apart, np.where(finite, left, 0.0), np.where(finite, right, 0.0))
        squares = (_dot(values, values) for values in numbers)
        return Sums(0, first.size, worst, *squares)


def _dot(left: Numbers, right: Numbers) -> float:
    """Return a sum of products: blocks in the values' own precision, then in float64; always in the same order."""
    cut = left.size // BLOCK * BLOCK
    blocks = np.einsum("ij,ij->i", left[:cut].reshape(-1, BLOCK), right[:cut].reshape(-1, BLOCK))
    rest = np.einsum("i,i->", left[cut:].astype(np.float64), right[cut:].astype(np.float64))
    return float(blocks.sum(dtype=np.float64)) + float(rest)
