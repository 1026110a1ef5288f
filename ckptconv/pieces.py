"""The bytes of one move's target, piece by piece, in the target's order.

Written by `transfer`, compared by `verify`. A move never interprets values: a permutation needs the
item size only, so bfloat16 passes as 2-byte items. Only a cast that the user asked for reads numbers.
Memory: one piece, plus the whole source tensor where its axes change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from math import prod
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np

from ckptconv.casting import Items, cast, raw_dtype
from ckptconv.drawing import drawn
from ckptconv.errors import PlanError, Problem
from ckptconv.formats._files import FileReader
from ckptconv.moves import Move
from ckptconv.tensor import ITEMSIZE, Stored

PIECE_BYTES = 4 << 20
"""Small enough to stay in the cache between reading, checking and writing; measured 1 to 16 MiB."""
BLOCK_ROWS = 32
"""Rows transposed at a time: 2.5 times the speed of one copy of the whole (measured, 3072 x 768)."""


class OpenFiles:
    """Source files, opened once and kept open; safe to read from several threads."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._files: dict[Path, FileReader] = {}
        self._lock = Lock()

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def _file(self, path: Path) -> FileReader:
        with self._lock:
            if path not in self._files:
                self._files[path] = self._stack.enter_context(FileReader(path))
            return self._files[path]

    def read_into(self, stored: Stored, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with a tensor's bytes from byte `start` of the tensor on, across its extents."""
        file = self._file(stored.path)
        for extent in stored.extents:
            if start < extent.nbytes and len(buffer):
                count = min(extent.nbytes - start, len(buffer))
                file.read_into(extent.offset + start, buffer[:count])
                buffer, start = buffer[count:], start + count
            start -= extent.nbytes if start >= extent.nbytes else start


class Pieces:
    """Makes the bytes of moves; keeps its buffers from one move to the next. One for each thread."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._source = np.empty(0, np.uint8)
        self._piece = np.empty(PIECE_BYTES, np.uint8)

    def of(self, move: Move) -> Iterator[memoryview]:
        """Return the target's bytes in order. A piece is valid until the next one is asked for.

        Raises: SourceError: the source cannot be read, or a value does not fit the type it is cast to.
        """
        if move.source is None:
            assert move.fill is not None
            yield from (memoryview(piece).cast("B") for piece in drawn(move.fill, move.target))
            return
        made = self._ordered(move, move.source)
        if move.source.spec.dtype == move.target.dtype:
            yield from (memoryview(piece).cast("B") for piece in made)
            return
        overflowed = 0
        for piece in made:
            result, lost = cast(piece, move.source.spec.dtype, move.target.dtype)
            overflowed += lost
            if not lost:
                yield memoryview(result).cast("B")
        if overflowed:
            raise PlanError(
                f"{move.source.path}: cast to {move.target.dtype}",
                [Problem("values", move.source.spec.name, f"{overflowed} of {move.target.numel} become infinite")],
                "Choose a wider --dtype; bfloat16 has float32's range.",
            )

    def _ordered(self, move: Move, source: Stored) -> Iterator[Items]:
        """Return the source's items in the target's order, before any cast."""
        if move.rows:
            return self._rows(move, source)
        if move.permutation:
            return self._permuted(self._whole(source).reshape(move.source_shape), move.permutation)
        return self.plain(source)

    def plain(self, source: Stored) -> Iterator[Items]:
        """Return a tensor's items, row-major, whatever its strides."""
        if source.strides is not None:
            return self._permuted(self._whole(source), ())
        return self.straight(source)

    def straight(self, source: Stored, start: int = 0, stop: int | None = None) -> Iterator[Items]:
        """Return a tensor's items as they lie in the file, from byte `start` to byte `stop`."""
        stop = source.spec.nbytes if stop is None else stop
        for at in range(start, stop, PIECE_BYTES):
            piece = self._piece[: min(PIECE_BYTES, stop - at)]
            self._files.read_into(source, at, memoryview(piece))
            yield piece.view(raw_dtype(source.spec.dtype))

    def _rows(self, move: Move, source: Stored) -> Iterator[Items]:
        """Return the rows of a table in the order of a healing."""
        if source.strides is not None:
            table = self._whole(source)
            for part in move.rows:
                for _ in range(part.times):
                    yield from self._permuted(table[part.start : part.stop], ())
            return
        row = prod(source.spec.shape[1:]) * ITEMSIZE[source.spec.dtype]
        for part in move.rows:
            for _ in range(part.times):
                yield from self.straight(source, part.start * row, part.stop * row)

    def _whole(self, source: Stored) -> Items:
        """Return a whole tensor in its own shape, from the reused buffer."""
        nbytes = sum(extent.nbytes for extent in source.extents)
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


def _copy(source: Items, target: Items) -> None:
    """Copy a transposed view, in blocks that stay in the cache."""
    if source.ndim != 2:
        np.copyto(target, source)
        return
    for start in range(0, source.shape[1], BLOCK_ROWS):
        target[:, start : start + BLOCK_ROWS] = source[:, start : start + BLOCK_ROWS]
