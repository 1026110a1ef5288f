"""The only loop that moves tensors: lay the files out, write, read everything back, make it durable.

Two threads, since reading, permuting, checking and writing all release Python's lock. Every target
has its place before the first byte is written, so the order of the moves changes nothing in the files.

What was written is read back, every tensor through its format's own reader, and the file as a whole. Both are made from
what the system returns now, not from what it was given: the tensors' digests must be those of the bytes that were
written, and the file's digest is what the manifest says. The file is read once for both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ckptconv.base.errors import DestinationError, one_line
from ckptconv.base.files import FileReader, write_at
from ckptconv.base.strict_json import dump_json
from ckptconv.base.workers import Workers, finish, workers
from ckptconv.binding.plan import Move, Plan
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import Format
from ckptconv.stores.layouts import huggingface
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer.casting import NOTHING, TensorValues, require_finite
from ckptconv.transfer.manifest import FileDigest, Hasher, TensorDigest, hasher
from ckptconv.transfer.pieces import OpenFiles, Pieces, SharedPieces
from ckptconv.transfer.publish.stage import begin_write_back, fsync

EARLY_BYTES = 1 << 20
"""The system is asked to put runs of this length on the disk at once: while the processor works, the disk does."""
STEP_BYTES = 1 << 20
"""Read at a time: both digests are made of it while it is in the cache."""


@dataclass(frozen=True, slots=True)
class WrittenTensor:
    """A target whose bytes were written, and their digest."""

    spec: TensorSpec
    blake3: str


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of bytes that belongs to a tensor."""

    start: int
    stop: int
    tensor: str


def read_back(
    form: Format,
    path: Path,
    expected: Mapping[str, WrittenTensor],
    pool: Workers,
    progress: Callable[[int], None],
) -> FileDigest:
    """Read a file back through the format's own reader: names, dtypes, shapes and every byte.

    Returns: the digests of the file and its tensors. Raises: DestinationError: something differs.
    """
    stored = form.read(path).tensors
    wrong = {
        name
        for name in {*stored, *expected}
        if name not in stored or name not in expected or stored[name].spec != expected[name].spec
    }
    names = [name for name in stored if name not in wrong]
    whole, digests = _digests(path, [stored[name] for name in names], pool, progress)
    named = sorted(wrong) + [name for name in names if digests[name] != expected[name].blake3]
    if named:
        raise DestinationError(
            f"{path.name}: read-back check failed: data on disk differs from what was written:"
            f" {', '.join(map(one_line, named[:5]))};"
            " nothing was published.\nThe disk or the memory of this machine may be faulty."
        )
    tensors = {
        name: TensorDigest(
            stored[name].spec.dtype, stored[name].spec.shape, stored[name].extents, digests[name]
        )
        for name in names
    }
    return FileDigest(whole.nbytes, whole.sha256, tensors)


def _digests(
    path: Path,
    tensors: Sequence[Stored],
    pool: Workers,
    progress: Callable[[int], None],
) -> tuple[FileDigest, dict[str, str]]:
    """Return the digest of a file, and of the tensors in it by name: two threads, one reading."""
    runs = sorted(
        (
            _Run(extent.offset, extent.offset + extent.nbytes, stored.spec.name)
            for stored in tensors
            for extent in stored.extents
        ),
        key=lambda run: run.start,
    )
    whole, hashers = sha256(), {stored.spec.name: hasher("blake3") for stored in tensors}
    buffer = memoryview(bytearray(STEP_BYTES))
    waiting = iter(runs)
    run = next(waiting, None)
    with FileReader(path) as file:
        for start in range(0, file.size, STEP_BYTES):
            block = buffer[: min(STEP_BYTES, file.size - start)]
            file.read_into(start, block)
            stop, covered = start + len(block), []
            while run is not None and run.start < stop:
                covered.append(run)
                if run.stop > stop:
                    break
                run = next(waiting, None)
            tensor_data = pool.submit(_feed, hashers, list(_slices(covered, start, block)))
            whole.update(block)
            (nbytes,) = finish([tensor_data])
            progress(nbytes)
        digest = FileDigest(file.size, whole.hexdigest())
    return digest, {name: running.hexdigest() for name, running in hashers.items()}


def _slices(
    runs: Sequence[_Run], start: int, block: memoryview
) -> Iterator[tuple[str, memoryview]]:
    """Return what of a block that begins at `start` belongs to which tensor."""
    for run in runs:
        first, last = max(run.start, start) - start, min(run.stop, start + len(block)) - start
        yield run.tensor, block[first:last]


def _feed(hashers: Mapping[str, Hasher], slices: Sequence[tuple[str, memoryview]]) -> int:
    """Give each tensor's hasher its bytes, and return how many there were."""
    for name, data in slices:
        hashers[name].update(data)
    return sum(len(data) for _, data in slices)


@dataclass(frozen=True, slots=True)
class Written:
    """What lies in the stage, and what was found on the way."""

    files: tuple[Path, ...]
    nbytes: int
    """Tensor data [bytes]."""
    digests: Mapping[str, FileDigest]
    """File name -> digests of the file and of its tensors, made of what was read back."""
    values: tuple[TensorValues, ...]
    """Tensors with values that are not finite or were lost in a cast, in the target's order."""


def write_weights(
    plan: Plan,
    form: Format,
    naming: NamingName,
    folder: Path,
    max_shard_bytes: int | None = None,
    progress: Callable[[int], None] = lambda nbytes: None,
    *,
    allow_overflow: bool = False,
) -> Written:
    """Write a plan's targets into an empty folder, check them by reading back, and fsync them.

    Args: progress: called with bytes of data done; every byte is written once and read back once.
    allow_overflow: let a cast make infinities of numbers.
    Raises: SourceError: the source cannot be read, or does not fit a cast.
    DestinationError: what was read back differs. OSError: the destination failed.
    """
    if form.create is None:
        raise AssertionError(f"{form.name} is only read")
    shards = split_shards(plan.moves, max_shard_bytes)
    names = huggingface.shard_names(form, len(shards))
    written_tensors: dict[str, WrittenTensor] = {}
    values: list[TensorValues] = []
    with OpenFiles() as files, workers() as pool, workers(1) as syncer:
        for name, moves in zip(names, shards, strict=True):
            places = form.create(
                folder / name, [move.target for move in moves], naming, len(shards) > 1
            )
            writer = _Writer(files, folder / name, places, progress)
            written_tensors |= writer.run(pool, moves)
            values += writer.values
        if not allow_overflow:
            require_finite(_sources(plan), values)
        durable = [syncer.submit(fsync, folder / name) for name in names]
        digests = {}
        for name, moves in zip(names, shards, strict=True):
            expected = {move.target.name: written_tensors[move.target.name] for move in moves}
            digests[name] = read_back(form, folder / name, expected, pool, progress)
        finish(durable)
    if len(shards) > 1:
        _write_index(
            folder / huggingface.index_name(form), plan, dict(zip(names, shards, strict=True))
        )
    return Written(tuple(folder / name for name in names), plan.nbytes, digests, tuple(values))


def _sources(plan: Plan) -> str:
    """Name what a plan reads: the one file, or the directories of several."""
    paths = {move.source.path for move in plan.moves if move.source}
    return " + ".join(
        sorted(map(str, paths if len(paths) == 1 else {path.parent for path in paths}))
    )


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


class _Writer:
    """Writes the moves of one file."""

    def __init__(
        self,
        files: OpenFiles,
        path: Path,
        places: Mapping[str, tuple[Extent, ...]],
        progress: Callable[[int], None],
    ) -> None:
        self._path, self._places, self._progress = path, places, progress
        self._shared = SharedPieces(files)
        self._fd = -1
        self._values: dict[str, TensorValues] = {}
        self.values: list[TensorValues] = []
        """What the moves found, in the plan's order."""

    def run(self, pool: Workers, moves: Sequence[Move]) -> dict[str, WrittenTensor]:
        """Write every move's bytes at its place. Raises what a move raises; the others are given up."""
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            # In the target's order: a fifth quicker than in the source's (measured, page cache warm).
            ordered = sorted(moves, key=lambda move: self._places[move.target.name][0].offset)
            written_tensors = {
                written.spec.name: written
                for written in finish([pool.submit(self._move, move) for move in ordered])
            }
            self.values = [
                self._values[move.target.name] for move in moves if move.target.name in self._values
            ]
            return written_tensors
        finally:
            os.close(self._fd)

    def _move(self, move: Move) -> WrittenTensor:
        with self._shared.pieces_for(move) as pieces:
            return self._write(move, pieces)

    def _write(self, move: Move, pieces: Pieces) -> WrittenTensor:
        digest, start = hasher("blake3"), 0
        for piece in pieces.of(move):
            digest.update(piece)
            self._put(self._places[move.target.name], start, piece)
            start += len(piece)
            self._progress(len(piece))
        if start != move.target.nbytes:
            raise AssertionError(
                f"{move.target.name}: {start} bytes written, {move.target.nbytes} planned"
            )
        if move.source and pieces.counts != NOTHING:
            source = move.source.spec
            self._values[move.target.name] = TensorValues(
                source.name, source.dtype, move.target.dtype, move.target.numel, pieces.counts
            )
        return WrittenTensor(move.target, digest.hexdigest())

    def _put(self, extents: Sequence[Extent], start: int, piece: memoryview) -> None:
        """Write a piece at byte `start` of a tensor, across its extents."""
        for extent in extents:
            if start < extent.nbytes and len(piece):
                count = min(extent.nbytes - start, len(piece))
                write_at(self._fd, extent.offset + start, piece[:count])
                if count >= EARLY_BYTES:
                    begin_write_back(self._fd, extent.offset + start, count)
                piece, start = piece[count:], start + count
            start -= extent.nbytes if start >= extent.nbytes else start


def _write_index(path: Path, plan: Plan, shards: Mapping[str, Sequence[Move]]) -> None:
    """Write which shard holds which tensor, under the names that the shards themselves use."""
    weight_map = {move.target.name: name for name, moves in shards.items() for move in moves}
    path.write_bytes(
        dump_json({"metadata": {"total_size": plan.nbytes}, "weight_map": dict(weight_map)})
    )
