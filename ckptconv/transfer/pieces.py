"""The bytes of one move's target, piece by piece, in the target's order.

Written by `transfer`, compared by `verify`. A move never interprets values: a permutation needs the
item size only, so bfloat16 passes as 2-byte items. Only a cast that the user asked for reads numbers.
Memory: one piece, plus where axes change the whole source tensor, or of a large one a block (`blocks.py`).
"""

from __future__ import annotations

import resource
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np

from ckptconv.base.unchanged import Identity, require_same
from ckptconv.binding.moves import Move
from ckptconv.binding.ops import Cast, Concat, Op, Permute, Reshape, Rows, Slice
from ckptconv.schema.fixes import RowRange
from ckptconv.stores.chunks import read_into
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.tensor import ITEMSIZE, Stored
from ckptconv.transfer.blocks import Block, Gatherer, cut, row_major
from ckptconv.transfer.casting import NOTHING, Items, cast, raw_dtype, special
from ckptconv.transfer.drawing import drawn

PIECE_BYTES = 4 << 20
"""Small enough to stay in the cache between reading, checking and writing; measured 1 to 16 MiB."""
HELD_BYTES = 128 << 20
"""A tensor whose axes change is held whole up to this size; of a larger one, a block of this size at a time.
Blocks take no longer (measured, 512 MiB: 0.5 to 1.0 s, held whole 1.1 to 1.5 s), but the more of them there
are, the more often the source is read."""
BLOCK_ROWS = 16
"""Rows transposed at a time: 2.2 to 4 times the speed of one copy of the whole, either way (measured, 3072 x 768)."""


class OpenFiles:
    """Source files, opened once and kept open, as many as this process may; safe to read from several threads.

    When the block ends without an error, no file may have changed meanwhile: that is a SourceError.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[Path, FileReader] = OrderedDict()
        self._readers: Counter[Path] = Counter()
        """How many threads are reading each file now."""
        self._closed: dict[Path, Identity] = {}
        """What files were that had to be closed to open others."""
        self._lock = Lock()
        self._most = max(8, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
            if kind is None:
                for file in self._files.values():
                    file.require_unchanged()
                for path, identity in self._closed.items():
                    require_same(path, identity)

    def read_into(self, stored: Stored, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with a tensor's bytes from byte `start` of the tensor on, across its chunks."""
        read_into(self._read, stored, start, buffer)

    def _read(self, path: Path, offset: int, buffer: memoryview) -> None:
        with self._lock:
            file = self._opened(path)
            self._readers[path] += 1
        try:
            file.read_into(offset, buffer)
        finally:
            with self._lock:
                self._readers[path] -= 1

    def _opened(self, path: Path) -> FileReader:
        """Return the open file of a path; where too many are open, the one that was longest unread is closed."""
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= self._most:
                self._close_one()
            file = self._files[path] = FileReader(path)
            before = self._closed.pop(path, None)
            if before is not None:
                require_same(path, before)
        self._files.move_to_end(path)
        return file

    def _close_one(self) -> None:
        path = next((path for path in self._files if not self._readers[path]), None)
        if path is not None:
            file = self._files.pop(path)
            self._closed[path] = file.identity
            file.require_unchanged()
            file.close()


class Pieces:
    """Makes the bytes of moves; keeps its buffers from one move to the next. One for each thread."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._source = np.empty(0, np.uint8)
        self._piece = np.empty(PIECE_BYTES, np.uint8)
        self.counts = NOTHING
        """What was not finite in the move made last, or is lost in its cast; known when its pieces are all taken."""

    def of(self, move: Move) -> Iterator[memoryview]:
        """Return the target's bytes in order. A piece is valid until the next one is asked for.

        Raises: SourceError: the source cannot be read.
        """
        self.counts = NOTHING
        if move.source is None:
            assert move.fill is not None
            yield from (memoryview(piece).cast("B") for piece in drawn(move.fill, move.target))
            return
        source, target = move.source.spec.dtype, move.target.dtype
        for piece in self._ordered(move, move.source):
            result, counts = (
                (piece, special(piece, source)) if source == target else cast(piece, source, target)
            )
            self.counts += counts
            yield memoryview(result).cast("B")

    def _ordered(self, move: Move, source: Stored) -> Iterator[Items]:
        """Return the source's items in the target's order, before any cast.

        What no more than orders axes, or takes rows, is streamed; any other list of operations is run on whole arrays.
        """
        changing = [op for op in move.ops if not isinstance(op, Reshape)]
        match changing:
            case [] if not move.more:
                return self.plain(source)
            case [Rows(ranges=ranges)] if not move.more:
                return self._rows(ranges, source)
            case [Permute(order=order)] if not move.more:
                first = move.ops[0]
                shape = first.after if isinstance(first, Reshape) else source.spec.shape
                return self._changed(source, shape, order)
        arrays = [self._whole(stored).copy() for stored in (source, *move.more)]
        return self._permuted(applied(move.ops, arrays), ())

    def plain(self, source: Stored) -> Iterator[Items]:
        """Return a tensor's items, row-major, whatever its strides."""
        if source.strides is not None:
            return self._changed(source, source.spec.shape)
        return self.straight(source)

    def straight(self, source: Stored, start: int = 0, stop: int | None = None) -> Iterator[Items]:
        """Return a tensor's items as they lie in the file, from byte `start` to byte `stop`."""
        stop = source.spec.nbytes if stop is None else stop
        for at in range(start, stop, PIECE_BYTES):
            piece = self._piece[: min(PIECE_BYTES, stop - at)]
            self._files.read_into(source, at, memoryview(piece))
            yield piece.view(raw_dtype(source.spec.dtype))

    def _rows(self, ranges: Sequence[RowRange], source: Stored) -> Iterator[Items]:
        """Return the rows of a table in the order of a healing."""
        row = prod(source.spec.shape[1:]) * ITEMSIZE[source.spec.dtype]
        for part in ranges:
            for _ in range(part.times):
                if source.strides is None:
                    yield from self.straight(source, part.start * row, part.stop * row)
                    continue
                shape = (part.stop - part.start, *source.spec.shape[1:])
                yield from self._blocks(
                    source, Block(part.start * source.strides[0], shape, source.strides)
                )

    def _changed(
        self, source: Stored, shape: tuple[int, ...], order: tuple[int, ...] = ()
    ) -> Iterator[Items]:
        """Return a tensor's items, seen in `shape`, in another order of the axes; () keeps the order."""
        if source.span_bytes <= HELD_BYTES:
            return self._permuted(self._whole(source).reshape(shape), order)
        strides = _seen_in(shape, source)
        order = order or tuple(range(len(shape)))
        view = Block(
            0, tuple(shape[axis] for axis in order), tuple(strides[axis] for axis in order)
        )
        return self._blocks(source, view)

    def _blocks(self, source: Stored, view: Block) -> Iterator[Items]:
        """Return the items of a part of a tensor, gathered a block at a time."""
        dtype = raw_dtype(source.spec.dtype)
        most = max(1, HELD_BYTES // dtype.itemsize)
        room = np.empty(min(most, prod(view.shape)), dtype)
        gatherer = Gatherer(
            lambda first, buffer: self._files.read_into(source, first * dtype.itemsize, buffer),
            dtype,
        )
        for block in cut(view, most):
            yield from self._permuted(gatherer.fill(block, room), ())

    def _whole(self, source: Stored) -> Items:
        """Return a whole tensor in its own shape, from the reused buffer."""
        nbytes = source.span_bytes
        if len(self._source) < nbytes:
            self._source = np.empty(nbytes, np.uint8)
        buffer = self._source[:nbytes]
        self._files.read_into(source, 0, memoryview(buffer))
        items = buffer.view(raw_dtype(source.spec.dtype))
        if source.strides is None:
            return items.reshape(source.spec.shape)
        strides = tuple(stride * items.itemsize for stride in source.strides)
        return np.lib.stride_tricks.as_strided(items, source.spec.shape, strides, writeable=False)

    def _permuted(self, array: Items, permutation: tuple[int, ...]) -> Iterator[Items]:
        """Return the items of `array` with its axes in another order, some target rows at a time."""
        array = np.atleast_1d(array.transpose(permutation) if permutation else array)
        row = max(1, prod(array.shape[1:]) * array.itemsize)
        step = max(1, PIECE_BYTES // row)
        for start in range(0, len(array), step):
            part = array[start : start + step]
            room = self._piece if part.nbytes <= PIECE_BYTES else np.empty(part.nbytes, np.uint8)
            piece = room[: part.nbytes].view(array.dtype).reshape(part.shape)
            _copy(part, piece)
            yield piece.reshape(-1)


def applied(ops: Sequence[Op], arrays: Sequence[Items]) -> Items:
    """Run operations on whole arrays; the first may join several, each later one takes the one that there is."""
    arrays = list(arrays)
    for op in ops:
        arrays = [_applied(op, arrays)]
    (array,) = arrays
    return array


def _applied(op: Op, arrays: Sequence[Items]) -> Items:
    match op:
        case Concat(axis=axis, sizes=sizes):
            if tuple(array.shape[axis] for array in arrays) != sizes:
                raise AssertionError(f"{op}: the arrays have other lengths")
            return np.concatenate(arrays, axis)
        case Reshape(after=after):
            return arrays[0].reshape(after)
        case Permute(order=order):
            return arrays[0].transpose(order)
        case Rows(ranges=ranges):
            runs = [arrays[0][run.start : run.stop] for run in ranges for _ in range(run.times)]
            return np.concatenate(runs)
        case Slice(axis=axis, start=start, stop=stop):
            return arrays[0][(slice(None),) * axis + (slice(start, stop),)]
        case Cast(before=before, after=after):
            result, _ = cast(np.ascontiguousarray(arrays[0]).reshape(-1), before, after)
            return result.reshape(arrays[0].shape)


def _seen_in(shape: tuple[int, ...], source: Stored) -> tuple[int, ...]:
    """Return the strides [items] of a tensor in a shape that lacks some of its axes of length one, or has more."""
    if source.strides is None:
        return row_major(shape)
    steps = [
        step for size, step in zip(source.spec.shape, source.strides, strict=True) if size != 1
    ]
    return tuple(1 if size == 1 else steps.pop(0) for size in shape)


def _copy(source: Items, target: Items) -> None:
    """Copy a transposed view, in blocks that stay in the cache."""
    if source.ndim != 2:
        np.copyto(target, source)
        return
    for start in range(0, source.shape[1], BLOCK_ROWS):
        target[:, start : start + BLOCK_ROWS] = source[:, start : start + BLOCK_ROWS]
