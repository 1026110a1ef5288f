"""The bytes of one move's target, piece by piece, in the target's order.

Written by `transfer`, compared by `verify`. A move never interprets values: a permutation needs the
item size only, so bfloat16 passes as 2-byte items. Only a cast that the user asked for reads numbers.
Memory: one piece, plus where axes change the whole source tensor, or of a large one a block.

A block is a run of the target's items. In the source they lie apart, so a block is gathered: by one read a
run where the runs are far from each other, by reading everything between them where they are near.

Values that no source holds are drawn from a seed, the same on every machine: normal values are looked up among 65,536
quantiles, since a library's own normal stream may change from version to version, and logarithms differ in the last bit
from machine to machine. The stream below is Philox's raw output, which is fixed by its authors; each tensor has a
stream of its own.
"""

from __future__ import annotations

import resource
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import prod
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.base.files import FileIdentity, FileReader, require_same
from ckptconv.base.workers import PerThread
from ckptconv.binding.plan import Cast, Concat, Fill, Move, Op, Permute, Reshape, Rows, Slice
from ckptconv.schema.fixes import RowRange
from ckptconv.stores.tensor import INTEGERS, ITEMSIZE, Stored, TensorSpec, read_into
from ckptconv.transfer.casting import NOTHING, Items, cast, encode, raw_dtype, special

STEP = 1 << 20
"""Elements made at a time."""


def drawn(fill: Fill, spec: TensorSpec) -> Iterator[Items]:
    """Return a tensor's items as a fill says, some at a time, in the target's dtype."""
    if fill.formula is not None:
        table = fill.formula.values(spec.shape).reshape(-1)
        if spec.dtype in INTEGERS:
            yield table.astype(f"<i{ITEMSIZE[spec.dtype]}").view(raw_dtype(spec.dtype))
        else:
            yield encode(table.astype(np.float32), spec.dtype)
        return
    counts = (min(STEP, spec.numel - start) for start in range(0, spec.numel, STEP))
    if not fill.std:
        yield from (encode(np.full(count, fill.mean, np.float32), spec.dtype) for count in counts)
        return
    # Only here, since numpy imports its random numbers where they are first asked for.
    stream = np.random.Philox(
        key=int.from_bytes(sha256(f"{fill.seed}:{spec.name}".encode()).digest()[:16], "big")
    )
    for count in counts:
        raw = stream.random_raw((count + 3) // 4).astype("<u8").view("<u2")[:count]
        values = _quantiles()[raw] * np.float32(fill.std) + np.float32(fill.mean)
        yield encode(values, spec.dtype)


@cache
def _quantiles() -> NDArray[np.float32]:
    """Return the standard normal's quantiles at the middles of 65,536 equal steps; the largest is 4.3."""
    from statistics import NormalDist  # takes long to import, and few values are drawn

    normal = NormalDist()
    upper = [normal.inv_cdf((index + 0.5) / 65536) for index in range(32768, 65536)]
    half = np.array(upper, np.float32)
    return np.concatenate([-half[::-1], half])


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


PIECE_BYTES = 1 << 20
"""Small enough to stay in the cache between reading, checking and writing; measured 1 to 16 MiB."""
HELD_BYTES = 128 << 20
"""A tensor whose axes change is held whole up to this size; of a larger one, a block of this size at a time.
Blocks take no longer (measured, 512 MiB: 0.5 to 1.0 s, held whole 1.1 to 1.5 s), but the more of them there
are, the more often the source is read."""
BLOCK_ROWS = 256
"""Source rows that are turned at a time, by way of memory in which they do not lie a power of two apart: such rows push
each other out of the cache. 0.13 to 0.19 s a GB, without it 0.17 to 0.41 (measured, 768 to 3072 rows and columns)."""
BLOCK_PAD = 16
"""Items between the rows of a block."""


class OpenFiles:
    """Source files, opened once and kept open, as many as this process may; safe to read from several threads.

    When the block ends without an error, no file may have changed meanwhile: that is a SourceError.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[Path, FileReader] = OrderedDict()
        self._readers: Counter[Path] = Counter()
        """How many threads are reading each file now."""
        self._closed: dict[Path, FileIdentity] = {}
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


Room: TypeAlias = Callable[[int], NDArray[np.uint8]]
"""Byte of a target -> memory for the bytes from there on, as many as there may be."""


def _no_room(_start: int) -> NDArray[np.uint8]:
    return np.empty(0, np.uint8)


class Pieces:
    """Makes the bytes of moves; keeps its buffers from one move to the next. One for each thread."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._source = np.empty(0, np.uint8)
        self._piece = np.empty(PIECE_BYTES, np.uint8)
        self._block = np.empty(0, np.uint8)
        self._room: Room = _no_room
        self._done = 0
        """Bytes of the target that were made so far."""
        self.in_place = False
        """Whether the piece made last lies in the room that was given for it."""
        self.counts = NOTHING
        """What was not finite in the move made last, or is lost in its cast; known when its pieces are all taken."""

    def of(
        self, move: Move, room: Room | None = None, *, counted: bool = True
    ) -> Iterator[memoryview]:
        """Return the target's bytes in order. A piece is valid until the next one is asked for.

        Args: room: where pieces may be made; `in_place` says of each whether it was.
        counted: also count what is not finite where nothing is cast.
        Raises: SourceError: the source cannot be read.
        """
        self.counts, self.in_place, self._done = NOTHING, False, 0
        self._room = _no_room
        if move.source is None:
            assert move.fill is not None
            yield from (memoryview(piece).cast("B") for piece in drawn(move.fill, move.target))
            return
        source, target = move.source.spec.dtype, move.target.dtype
        if room is not None and source == target:
            self._room = room
        for piece in self._ordered(move, move.source):
            if source != target:
                result, counts = cast(piece, source, target)
            else:
                result, counts = piece, special(piece, source) if counted else NOTHING
            self.counts += counts
            yield memoryview(result).cast("B")
            self._done += result.nbytes

    def clear(self) -> None:
        """Let the memory of the last move go; the next one takes its own."""
        self._source = self._block = np.empty(0, np.uint8)

    def _place(self, unit: int, most: int, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
        """Return memory for the next piece: a whole number of units [bytes], at least one, and at most `most` bytes.

        It lies in the room given, where one unit fits and items are aligned; else in the buffer of this object.
        """
        room = self._room(self._done)
        nbytes = min(len(room), most) // unit * unit
        aligned = len(room) >= dtype.itemsize and room[: dtype.itemsize].view(dtype).flags.aligned
        self.in_place = aligned and nbytes > 0
        if self.in_place:
            return room[:nbytes]
        # One unit where it does not fit any more, so that the next one has a room again.
        nbytes = unit if aligned else max(1, min(PIECE_BYTES, most) // unit) * unit
        return self._piece[:nbytes] if nbytes <= PIECE_BYTES else np.empty(nbytes, np.uint8)

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
        dtype = raw_dtype(source.spec.dtype)
        while start < stop:
            piece = self._place(dtype.itemsize, stop - start, dtype)
            self._files.read_into(source, start, memoryview(piece))
            yield piece.view(dtype)
            start += len(piece)

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
        start = 0
        while start < len(array) and array.size:
            room = self._place(row, (len(array) - start) * row, array.dtype)
            part = array[start : start + len(room) // row]
            piece = room.view(array.dtype).reshape(part.shape)
            self._copy(part, piece)
            yield piece.reshape(-1)
            start += len(part)

    def _copy(self, source: Items, target: Items) -> None:
        """Copy an array; the columns of a transposed one in blocks that stay in the cache."""
        if not _turned(source):
            np.copyto(target, source)
            return
        rows, stride = source.T, len(source) + BLOCK_PAD
        nbytes = min(BLOCK_ROWS, len(rows)) * stride * source.itemsize
        if len(self._block) < nbytes:
            self._block = np.empty(nbytes, np.uint8)
        block = self._block[:nbytes].view(source.dtype).reshape(-1, stride)[:, : len(source)]
        for start in range(0, len(rows), BLOCK_ROWS):
            part = block[: len(rows) - start]
            np.copyto(part, rows[start : start + BLOCK_ROWS])
            np.copyto(target[:, start : start + BLOCK_ROWS], part.T)


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


def _turned(array: Items) -> bool:
    """Tell whether an array is a transposed matrix: its columns, not its rows, lie in one run."""
    return array.ndim == 2 and len(array) > 1 and array.strides[0] == array.itemsize


ALONE_BYTES = 16 << 20
"""Tensors above this whose axes change are taken one at a time: each is held in memory as a whole."""


class SharedPieces:
    """Pieces for many threads: each keeps its own buffers from one move to the next."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._buffers = PerThread(lambda: Pieces(files))
        self._alone = Lock()

    @contextmanager
    def pieces_for(self, move: Move) -> Iterator[Pieces]:
        """Give what makes a move's bytes; a large tensor whose axes change waits for the one before it."""
        if move.permutation and move.target.nbytes > ALONE_BYTES:
            with self._alone:
                pieces = Pieces(self._files)
                try:
                    yield pieces
                finally:
                    pieces.clear()  # before the next one begins: whoever asked still refers to it
        else:
            yield self._buffers.own
