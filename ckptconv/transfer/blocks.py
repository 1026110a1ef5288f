"""Tensors too large to be held whole while their axes change: cut in blocks of the target, each read by strides.

A block is a run of the target's items. In the source they lie apart, so a block is gathered: by one read a
run where the runs are far from each other, by reading everything between them where they are near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from ckptconv.transfer.casting import Items

BAND_BYTES = 4 << 20
"""Read at a time where what lies between the runs is read too."""
NEAR_BYTES = 16 << 10
"""Runs nearer to each other than this are read together: a read costs as much as copying about 16 KiB (measured)."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a tensor, seen in the target's order of axes."""

    start: int
    """Its first item in the source [items]."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """From one index to the next along each axis, in the source [items]."""


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides [items] of a tensor whose elements follow each other."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def cut(block: Block, most: int) -> Iterator[Block]:
    """Return the block in parts of at most `most` items; one after the other they are the whole, row-major."""
    if prod(block.shape) <= most:
        yield block
        return
    step = most // prod(block.shape[1:])
    for index in range(0, block.shape[0], max(1, step)):
        start = block.start + index * block.strides[0]
        if step:
            rows = min(step, block.shape[0] - index)
            yield Block(start, (rows, *block.shape[1:]), block.strides)
        else:
            yield from cut(Block(start, block.shape[1:], block.strides[1:]), most)


class Gatherer:
    """Reads blocks of one tensor."""

    def __init__(
        self, read: Callable[[int, memoryview], None], dtype: np.dtype[np.generic]
    ) -> None:
        """Take `read(first item, buffer)`, which fills the buffer, and the type of an item."""
        self._read = read
        self._band: Items = np.empty(max(1, BAND_BYTES // dtype.itemsize), dtype)
        self._near = NEAR_BYTES // dtype.itemsize

    def fill(self, block: Block, room: Items) -> Items:
        """Read a block into the first items of `room`; return it in the block's own order of axes."""
        order = sorted(range(len(block.shape)), key=lambda axis: -block.strides[axis])
        shape, strides = (
            tuple(values[axis] for axis in order) for values in (block.shape, block.strides)
        )
        dense = room[: prod(shape)].reshape(shape)
        if dense.size:
            self._gather(block.start, dense, strides)
        return dense.transpose(np.argsort(order))

    def _gather(self, start: int, dense: Items, strides: tuple[int, ...]) -> None:
        """Fill a row-major array with items that lie by `strides`, the largest first."""
        span = _span(dense.shape, strides)
        if span == dense.size:
            self._read(start, memoryview(dense.reshape(-1)).cast("B"))
        elif span <= len(self._band) and strides[0] <= self._near:
            band = self._band[:span]
            self._read(start, memoryview(band).cast("B"))
            steps = tuple(stride * dense.itemsize for stride in strides)
            dense[...] = np.lib.stride_tricks.as_strided(band, dense.shape, steps, writeable=False)
        else:
            self._rows(start, dense, strides)

    def _rows(self, start: int, dense: Items, strides: tuple[int, ...]) -> None:
        """Fill some rows at a time: those that a band holds, or where they are far from each other one by one."""
        inner = _span(dense.shape[1:], strides[1:])
        step = 1
        if strides[0] <= self._near:
            step = max(1, (len(self._band) - inner) // max(1, strides[0]) + 1)
        for index in range(0, len(dense), step):
            at = start + index * strides[0]
            if step == 1 and dense.ndim > 1:  # of one axis, a run is one item
                self._gather(at, dense[index], strides[1:])
            else:
                self._gather(at, dense[index : index + step], strides)


def _span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Return how many items lie from the first to the last of a part, both counted."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
