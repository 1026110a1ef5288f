"""The operations of which a move is a short list: pure data, each with its inverse.

An operation takes arrays and gives one array. Its inverse is again a list of operations, so that a way back follows
from the way there. `transfer/pieces.py` runs them on bytes; nothing here touches a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import TypeAlias

from ckptconv.schema.fixes import RowRange, inverse_rows
from ckptconv.schema.formulas import Formula

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in the same order, seen in another shape."""

    before: Shape
    after: Shape

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return self.after

    def inverse(self) -> tuple[Reshape, ...]:
        """Return the way back."""
        return (Reshape(self.after, self.before),)


@dataclass(frozen=True, slots=True)
class Permute:
    """The axes in another order: `order[n]` is the axis that becomes axis `n`."""

    order: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return tuple(shapes[0][axis] for axis in self.order)

    def inverse(self) -> tuple[Permute, ...]:
        """Return the way back."""
        return (Permute(tuple(self.order.index(axis) for axis in range(len(self.order)))),)


@dataclass(frozen=True, slots=True)
class Rows:
    """Ranges of a table's rows, one after the other; every row is in one of them, maybe several times."""

    ranges: tuple[RowRange, ...]

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        count = sum((run.stop - run.start) * run.times for run in self.ranges)
        return (count, *shapes[0][1:])

    def inverse(self) -> tuple[Rows, ...]:
        """Return the way back: the first copy of each row, in the first order."""
        return (Rows(inverse_rows(self.ranges)),)


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of indices along one axis."""

    axis: int
    start: int
    stop: int

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return (*shapes[0][: self.axis], self.stop - self.start, *shapes[0][self.axis + 1 :])


@dataclass(frozen=True, slots=True)
class Concat:
    """Several arrays one behind the other along one axis; `sizes` are their lengths there."""

    axis: int
    sizes: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return (*shapes[0][: self.axis], sum(self.sizes), *shapes[0][self.axis + 1 :])

    def inverse(self) -> tuple[Slice, ...]:
        """Return the way back: one slice for each array that went in."""
        bounds = accumulate(self.sizes, initial=0)
        return tuple(Slice(self.axis, start, stop) for start, stop in pairwise(bounds))


@dataclass(frozen=True, slots=True)
class Cast:
    """Another dtype. The way back gives the same bits where `after` holds every value of `before`."""

    before: str
    after: str

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return shapes[0]

    def inverse(self) -> tuple[Cast, ...]:
        """Return the way back."""
        return (Cast(self.after, self.before),)


@dataclass(frozen=True, slots=True)
class Fill:
    """Values that no source holds: normal around `mean`, or `mean` throughout where `std` is 0."""

    mean: float = 0.0
    std: float = 0.0
    seed: int = 0
    why: str = ""
    """The reason, as shown to the user."""
    formula: Formula | None = None
    """What gives the values instead, where they follow from the tensor's shape."""

    def inverse(self) -> tuple[()]:
        """Return the way back: nothing is kept."""
        return ()


Op: TypeAlias = Reshape | Permute | Rows | Slice | Concat | Cast
"""What is done to arrays that a source holds; `Fill` makes one of nothing."""


def in_order(order: Sequence[int]) -> bool:
    """Tell whether an order of axes changes nothing."""
    return list(order) == list(range(len(order)))


def ops_between(
    axes: Sequence[str],
    sizes: Sequence[int],
    target_axes: Sequence[str],
    ranges: Sequence[RowRange] = (),
) -> tuple[Op, ...]:
    """Return the operations that bring a stored tensor into the order of axes that is wanted.

    Args: axes: labels in the order that is stored, `1` for an axis of length one that not every naming has.
    sizes: of all these axes. wanted: the labels in the order asked for. ranges: rows to take, in this order.
    """
    dense_axes = [(label, size) for label, size in zip(axes, sizes, strict=True) if label != "1"]
    labels, shape = [label for label, _ in dense_axes], tuple(size for _, size in dense_axes)
    ops: list[Op] = []
    if shape != tuple(sizes):
        ops.append(Reshape(tuple(sizes), shape))
    order = tuple(labels.index(label) for label in target_axes if label != "1")
    if not in_order(order):
        ops.append(Permute(order))
        shape = ops[-1].shape(shape)
    if ranges:
        ops.append(Rows(tuple(ranges)))
        shape = ops[-1].shape(shape)
    dense = iter(shape)
    target = tuple(1 if label == "1" else next(dense) for label in target_axes)
    if target != shape:
        ops.append(Reshape(shape, target))
    assert prod(target) == prod(shape)
    return tuple(ops)
