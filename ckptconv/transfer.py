"""The only loop that moves tensors: lay the files out, pour, read everything back, make it durable.

Two threads, since reading, permuting, checking and writing all release Python's lock. Every target
has its place before the first byte is written, so the order of the moves changes nothing in the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Lock, local
from typing import TypeVar
from zlib import crc32

from ckptconv.config import dump_json
from ckptconv.errors import DestinationError
from ckptconv.formats import Format
from ckptconv.formats._files import write_at
from ckptconv.interrupts import held
from ckptconv.moves import Move, Plan
from ckptconv.pieces import OpenFiles, Pieces
from ckptconv.table import DialectName
from ckptconv.tensor import Extent, Stored, TensorSpec
from ckptconv.weights import check_equal

T = TypeVar("T")

WORKERS = 2
LARGE_BYTES = 16 << 20
"""Tensors above this whose axes change are moved one at a time: each is held in memory as a whole."""


@dataclass(frozen=True, slots=True)
class Written:
    """What lies in the stage: file names and sizes."""

    files: tuple[Path, ...]
    nbytes: int
    """Tensor data [bytes]."""


@dataclass(frozen=True, slots=True)
class _Poured:
    """A target whose bytes were written, and their checksum."""

    spec: TensorSpec
    checksum: int


def write_weights(
    plan: Plan,
    form: Format,
    dialect: DialectName,
    folder: Path,
    max_shard_bytes: int | None = None,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> Written:
    """Write a plan's targets into an empty folder, check them by reading back, and fsync them.

    Args: progress: called with bytes of data done; every byte is written once and read back once.
    Raises: SourceError: the source cannot be read or contradicts the plan. DestinationError: what was
    read back differs. OSError: the destination failed.
    """
    if form.create is None:
        raise AssertionError(f"{form.name} is only read")
    check_equal(plan.equalities)
    shards = split_shards(plan.moves, max_shard_bytes)
    names = [form.weights] if len(shards) == 1 else [form.shard(n + 1, len(shards)) for n in range(len(shards))]
    poured: dict[str, _Poured] = {}
    with OpenFiles() as files, _workers(WORKERS) as pool, _workers(1) as syncer:
        for name, moves in zip(names, shards, strict=True):
            places = form.create(folder / name, [move.target for move in moves], dialect, len(shards) > 1)
            poured |= _Pour(files, folder / name, places, progress).run(pool, moves)
        durable = [syncer.submit(_fsync, folder / name) for name in names]
        for name, moves in zip(names, shards, strict=True):
            expected = {move.target.name: poured[move.target.name] for move in moves}
            check_written(form, folder / name, expected, pool, progress)
        _finish(durable)
    if len(shards) > 1:
        _write_index(folder / form.index, plan, dict(zip(names, shards, strict=True)))
    return Written(tuple(folder / name for name in names), plan.nbytes)


def split_shards(moves: Sequence[Move], max_bytes: int | None) -> list[list[Move]]:
    """Cut moves into runs of at most `max_bytes` of data; a larger tensor is a shard of its own."""
    shards: list[list[Move]] = [[]]
    size = 0
    for move in moves:
        if max_bytes and shards[-1] and size + move.target.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(move)
        size += move.target.nbytes
    return shards


def _workers(count: int) -> ThreadPoolExecutor:
    """Return a pool whose threads have all begun, so that no signal comes while one begins."""
    with held():
        pool = ThreadPoolExecutor(count)
        together = Barrier(count + 1)
        for _ in range(count):
            pool.submit(together.wait)
        together.wait()
    return pool


class _OnePerThread:
    """Pieces, with their buffers, that a thread keeps from one tensor to the next."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._local = local()

    @property
    def pieces(self) -> Pieces:
        """This thread's own."""
        if not hasattr(self._local, "pieces"):
            self._local.pieces = Pieces(self._files)
        made: Pieces = self._local.pieces
        return made


class _Pour:
    """Pours the moves of one file."""

    def __init__(
        self, files: OpenFiles, path: Path, places: Mapping[str, tuple[Extent, ...]], progress: Callable[[int], None]
    ) -> None:
        self._files, self._path, self._places, self._progress = files, path, places, progress
        self._buffers = _OnePerThread(files)
        self._large = Lock()
        self._fd = -1

    def run(self, pool: ThreadPoolExecutor, moves: Sequence[Move]) -> dict[str, _Poured]:
        """Write every move's bytes at its place. Raises what a move raises; the others are given up."""
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            # In the target's order: a fifth quicker than in the source's (measured, page cache warm).
            ordered = sorted(moves, key=lambda move: self._places[move.target.name][0].offset)
            return {one.spec.name: one for one in _finish([pool.submit(self._move, move) for move in ordered])}
        finally:
            os.close(self._fd)

    def _move(self, move: Move) -> _Poured:
        if move.permutation and move.target.nbytes > LARGE_BYTES:
            with self._large:
                return self._write(move, Pieces(self._files))
        return self._write(move, self._buffers.pieces)

    def _write(self, move: Move, pieces: Pieces) -> _Poured:
        checksum = start = 0
        for piece in pieces.of(move):
            checksum = crc32(piece, checksum)
            self._put(self._places[move.target.name], start, piece)
            start += len(piece)
            self._progress(len(piece))
        if start != move.target.nbytes:
            raise AssertionError(f"{move.target.name}: {start} bytes made, {move.target.nbytes} planned")
        return _Poured(move.target, checksum)

    def _put(self, extents: Sequence[Extent], start: int, piece: memoryview) -> None:
        """Write a piece at byte `start` of a tensor, across its extents."""
        for extent in extents:
            if start < extent.nbytes and len(piece):
                count = min(extent.nbytes - start, len(piece))
                write_at(self._fd, extent.offset + start, piece[:count])
                piece, start = piece[count:], start + count
            start -= extent.nbytes if start >= extent.nbytes else start


def check_written(
    form: Format,
    path: Path,
    expected: Mapping[str, _Poured],
    pool: ThreadPoolExecutor,
    progress: Callable[[int], None],
) -> None:
    """Read a file back through the format's own reader: names, dtypes, shapes and every byte.

    Raises: DestinationError: something differs.
    """
    found = form.read(path).tensors
    wrong = {name for name in {*found, *expected}
             if name not in found or name not in expected or found[name].spec != expected[name].spec}  # fmt: skip
    with OpenFiles() as files:
        buffers = _OnePerThread(files)

        def differs(name: str) -> bool:
            progress(found[name].spec.nbytes)
            return _checksum(buffers.pieces, found[name]) != expected[name].checksum

        names = [name for name in found if name not in wrong]
        differing = _finish([pool.submit(differs, name) for name in names])
    named = sorted(wrong) + [name for name, different in zip(names, differing, strict=True) if different]
    if named:
        raise DestinationError(
            f"{path.name}: read back otherwise than written: {', '.join(named[:5])}; nothing was published.\n"
            "The disk or the memory of this machine may be faulty."
        )


def _checksum(pieces: Pieces, stored: Stored) -> int:
    checksum = 0
    for piece in pieces.straight(stored):
        checksum = crc32(memoryview(piece).cast("B"), checksum)
    return checksum


def _write_index(path: Path, plan: Plan, shards: Mapping[str, Sequence[Move]]) -> None:
    """Write which shard holds which tensor, under the names that the shards themselves use."""
    weight_map = {move.target.name: name for name, moves in shards.items() for move in moves}
    path.write_bytes(dump_json({"metadata": {"total_size": plan.nbytes}, "weight_map": dict(weight_map)}))


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _finish(futures: Sequence[Future[T]]) -> list[T]:
    """Wait for all; when one raises, or a signal comes, give up those that have not begun."""
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        return [future.result() for future in futures if not future.cancelled()]
    finally:
        for future in futures:
            future.cancel()
