"""The only loop that moves tensors: lay the files out, write, read everything back, make it durable.

Several threads, since reading, permuting, checking and writing all release Python's lock. Every target
has its place before the first byte is written, so the order of the moves changes nothing in the files.

What was written is read back: the digests of the file and of its tensors are made from what the system returns, not
from what it was given. The tensors' must be those of the bytes that were written, and the file's is what the manifest
says. The file is read once for both. Then the format's own reader says where the tensors lie, and it must be where
their digests were made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ckptconv.base.errors import DestinationError, one_line
from ckptconv.base.strict_json import dump_json
from ckptconv.base.workers import Workers, finish, run_all, signals_blocked, worker_count, workers
from ckptconv.binding.plan import Move, Plan
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import Format, TensorPlaces
from ckptconv.stores.layouts import huggingface
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer.casting import NOTHING, TensorValues, require_finite
from ckptconv.transfer.manifest import FileDigest, Hasher, Stopped, TensorDigest, hasher
from ckptconv.transfer.pieces import OpenFiles, Pieces, SharedPieces
from ckptconv.transfer.publish.stage import fsync
from ckptconv.transfer.segments import (
    SEGMENT_BYTES,
    DirectFile,
    Segments,
    aligned_buffer,
    runs_of,
)

READERS = 2
"""Threads that read one file back: one reads, another one sums."""
BUFFERS = 3
"""Segments between reading and summing."""
MAX_NAMES = 5
"""Tensors that a refusal names."""


@dataclass(frozen=True, slots=True)
class WrittenTensor:
    """A target whose bytes were written, and their digest."""

    spec: TensorSpec
    blake3: str


class ReadingBack:
    """Makes the digests of a file and its tensors from what the system returns: one thread reads, another one sums."""

    def __init__(
        self, path: Path, places: TensorPlaces, wait_for: Callable[[int], None] = lambda index: None
    ) -> None:
        """Take where tensors lie, and what waits until a segment may be read."""
        self._path, self._places, self._wait_for = path, places, wait_for
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._full: SimpleQueue[memoryview | None] = SimpleQueue()
        for _ in range(BUFFERS):
            self._free.put(aligned_buffer(SEGMENT_BYTES))

    def tensors(self, progress: Callable[[int], None]) -> dict[str, str]:
        """Read the file; return the BLAKE3 of each tensor by name. `whole` must run meanwhile.

        Args: progress: called with bytes of tensors.
        Raises: DestinationError: the file is shorter than it was. OSError. Stopped: the run ends.
        """
        try:  # whatever fails, `whole` must not wait for more
            digests = _RunningDigests(self._places)
            for at, block in self._blocks():
                done = digests.update(at, block)
                self._full.put(block)
                if done:
                    progress(done)
        finally:
            self._full.put(None)
        return digests.result()

    def _blocks(self) -> Iterator[tuple[int, memoryview]]:
        """Return the file, a segment at a time, and where each begins."""
        with closing(DirectFile(self._path)) as file:
            for at in range(0, file.size, SEGMENT_BYTES):
                self._wait_for(at // SEGMENT_BYTES)
                room = self._free.get()
                if room is None:
                    raise Stopped
                nbytes = file.read_into(at, room)
                if nbytes < min(SEGMENT_BYTES, file.size - at):
                    raise DestinationError(
                        f"{self._path.name}: read-back check failed: the file ends at byte {at + nbytes},"
                        f" {file.size} were written; nothing was published.\n"
                        "The disk may be faulty, or something else writes to it."
                    )
                yield at, room[:nbytes]

    def whole(self) -> FileDigest:
        """Return size and sha256 of what `tensors` reads, of as much as it reads."""
        digest, nbytes = sha256(), 0
        try:
            for block in iter(self._full.get, None):
                digest.update(block)
                nbytes += len(block)
                self._free.put(memoryview(block.obj))
        finally:
            self._free.put(None)
        return FileDigest(nbytes, digest.hexdigest())


class _RunningDigests:
    """Makes the digests of a file's tensors as its bytes pass; of few at once, since what makes one takes 2 kB."""

    def __init__(self, places: TensorPlaces) -> None:
        self._runs, self._number = runs_of(places), 0
        self._left = Counter(self._runs.tensors)
        """Runs that are not done, by tensor."""
        self._running: dict[str, Hasher] = {}
        self._digests = dict.fromkeys(places, "")

    def update(self, at: int, block: memoryview) -> int:
        """Take the bytes of the file from `at` on; return how many of them belong to tensors."""
        runs, end, done = self._runs, at + len(block), 0
        while self._number < len(runs) and runs.starts[self._number] < end:
            start = max(at, runs.starts[self._number])
            stop = min(end, runs.stops[self._number])
            name = runs.tensors[self._number]
            digest = self._running.get(name)
            if digest is None:
                digest = self._running[name] = hasher("blake3")
            digest.update(block[start - at : stop - at])
            done += stop - start
            if runs.stops[self._number] > end:
                break
            self._number += 1
            self._left[name] -= 1
            if not self._left[name]:
                self._digests[name] = self._running.pop(name).hexdigest()
        return done

    def result(self) -> dict[str, str]:
        """Return the BLAKE3 of each tensor by name, of as many bytes as there were."""
        nothing = hasher("blake3").hexdigest()
        rest = {name: digest.hexdigest() for name, digest in self._running.items()}
        return {name: digest or rest.get(name, nothing) for name, digest in self._digests.items()}


def digests_of(
    reading: ReadingBack, readers: Workers, progress: Callable[[int], None]
) -> Callable[[], tuple[FileDigest, dict[str, str]]]:
    """Begin to read a file back with two threads; return what waits for its digest and those of its tensors."""
    with signals_blocked():  # each of the two waits for the other
        whole, tensors = readers.submit(reading.whole), readers.submit(reading.tensors, progress)

    def result() -> tuple[FileDigest, dict[str, str]]:
        finish([whole])  # its errors are causes, those of the other may be consequences
        (digests,) = finish([tensors])
        return whole.result(), digests

    return result


def require_written(
    form: Format,
    path: Path,
    expected: Mapping[str, WrittenTensor],
    places: TensorPlaces,
    digests: tuple[FileDigest, Mapping[str, str]],
) -> FileDigest:
    """Hold what was read back against what was written: names, dtypes, shapes and every byte.

    Args: places: what the digests were made of; the format's own reader must find each tensor there.
    Returns: the digests of the file and its tensors. Raises: DestinationError: something differs.
    """
    whole, tensors = digests
    stored = form.read(path).tensors
    wrong = sorted(
        name
        for name in stored.keys() | expected.keys()
        if name not in stored
        or name not in expected
        or stored[name].spec != expected[name].spec
        or not _lies_at(stored[name], places.get(name, ()))
        or tensors[name] != expected[name].blake3
    )
    if wrong:
        raise DestinationError(
            f"{path.name}: read-back check failed: data on disk differs from what was written:"
            f" {', '.join(map(one_line, wrong[:MAX_NAMES]))};"
            " nothing was published.\nThe disk or the memory of this machine may be faulty."
        )
    digests_by_name = {}
    for name, tensor in stored.items():
        spec = expected[name].spec
        extents = places[name] if spec.nbytes else tensor.extents
        digests_by_name[name] = TensorDigest(spec.dtype, spec.shape, extents, tensors[name])
    return FileDigest(whole.nbytes, whole.sha256, digests_by_name)


def _lies_at(stored: Stored, extents: Sequence[Extent]) -> bool:
    """Tell whether a tensor lies in these runs; one without bytes lies anywhere."""
    if not stored.spec.nbytes:
        return True
    runs = [(chunk.offset, chunk.nbytes) for chunk in stored.chunks]
    return runs == [(extent.offset, extent.nbytes) for extent in extents]


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
    digests: dict[str, FileDigest] = {}
    values: list[TensorValues] = []
    files = list(zip(names, shards, strict=True))
    with _threads(progress, len(files)) as threads:
        durable = []
        for start in range(0, len(files), threads.files):
            writers = []
            for name, moves in files[start : start + threads.files]:
                specs = [move.target for move in moves]
                places = form.create(folder / name, specs, naming, len(files) > 1)
                writers.append(_Writer(threads, folder / name, places, moves))
            for writer, written, found in _written(threads, writers):
                values += writer.values
                path = writer.path
                durable.append(threads.syncer.submit(fsync, path))
                digests[path.name] = require_written(form, path, written, writer.places, found)
        if not allow_overflow:
            require_finite(_sources(plan), values)
        finish(durable)
    if len(shards) > 1:
        _write_index(folder / huggingface.index_name(form), plan, dict(files))
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


@dataclass(frozen=True, slots=True)
class _Threads:
    """What the files of one run have in common: open sources, threads, progress."""

    outputs: ExitStack
    """Closes outputs once no thread works any more."""
    shared: SharedPieces
    pool: Workers
    readers: Workers
    syncer: Workers
    progress: Callable[[int], None]
    files: int
    """Written at once."""


@contextmanager
def _threads(progress: Callable[[int], None], files: int) -> Iterator[_Threads]:
    """Open what the files of one run have in common; when the block ends, the threads end first.

    Of several files a half as many are written at once as there are threads, since each takes two more to read it back.
    """
    count = worker_count()
    at_once = max(1, min(files, count // READERS))
    with (
        ExitStack() as outputs,
        OpenFiles() as sources,
        workers(count) as pool,
        workers(READERS * at_once) as readers,
        workers(1) as syncer,
    ):
        yield _Threads(outputs, SharedPieces(sources), pool, readers, syncer, progress, at_once)


def _written(
    threads: _Threads, writers: Sequence[_Writer]
) -> Iterator[tuple[_Writer, dict[str, WrittenTensor], tuple[FileDigest, dict[str, str]]]]:
    """Write all moves of some files; return, in the files' order, what was written and what was read back.

    Raises what the first move raises that fails; the others are given up.
    """
    try:
        results = [writer.begin() for writer in writers]
        moves = [(writer, move) for writer in writers for move in writer.ordered]
        tensors = iter(run_all(threads.pool, lambda pair: pair[0].move(pair[1]), moves))
        for writer, result in zip(writers, results, strict=True):
            written = {each.spec.name: each for each in islice(tensors, len(writer.ordered))}
            writer.require_whole()
            yield writer, written, result()
            writer.close()
    except BaseException:
        for writer in writers:
            writer.give_up()
        raise


class _Writer:
    """Writes the moves of one file, and reads it back."""

    def __init__(
        self, threads: _Threads, path: Path, places: TensorPlaces, moves: Sequence[Move]
    ) -> None:
        self._threads, self.path, self.places, self._moves = threads, path, places, moves
        self._segments = threads.outputs.enter_context(closing(Segments(path, runs_of(places))))
        self._values: dict[str, TensorValues] = {}
        self.ordered = sorted(moves, key=lambda move: places[move.target.name][0].offset)
        """In the file's order: few segments are begun at a time, and those at the front are whole soon."""

    @property
    def values(self) -> list[TensorValues]:
        """What the moves found, in the plan's order."""
        names = (move.target.name for move in self._moves)
        return [self._values[name] for name in names if name in self._values]

    def begin(self) -> Callable[[], tuple[FileDigest, dict[str, str]]]:
        """Begin to read back what will be written; return what waits for the digests."""
        threads = self._threads
        reading = ReadingBack(self.path, self.places, self._segments.wait_for)
        return digests_of(reading, threads.readers, threads.progress)

    def require_whole(self) -> None:
        """Refuse a file whose bytes were not all written."""
        if not self._segments.is_whole:
            raise AssertionError(f"{self.path}: bytes of it were never written")

    def give_up(self) -> None:
        """Let nobody wait for what is not written."""
        self._segments.give_up()

    def close(self) -> None:
        """Close the file, when it was read back."""
        self._segments.close()

    def move(self, move: Move) -> WrittenTensor:
        """Write a move's bytes at their place."""
        with self._threads.shared.pieces_for(move) as pieces:
            return self._write(move, pieces)

    def _write(self, move: Move, pieces: Pieces) -> WrittenTensor:
        digest, start, extents = hasher("blake3"), 0, self.places[move.target.name]
        for piece in pieces.of(move, lambda at: self._room(extents, at)):
            digest.update(piece)
            if pieces.in_place:
                self._segments.fill(_place(extents, start)[0], len(piece))
            else:
                self._put(extents, start, piece)
            start += len(piece)
            self._threads.progress(len(piece))
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

    def _room(self, extents: Sequence[Extent], start: int) -> NDArray[np.uint8]:
        """Return memory for the bytes of a tensor from `start` on, within one extent."""
        offset, left = _place(extents, start)
        return self._segments.room(offset)[:left]

    def _put(self, extents: Sequence[Extent], start: int, piece: memoryview) -> None:
        """Write a piece at byte `start` of a tensor, across its extents."""
        while len(piece):
            offset, left = _place(extents, start)
            self._segments.put(offset, piece[:left])
            piece, start = piece[left:], start + left


def _place(extents: Sequence[Extent], start: int) -> tuple[int, int]:
    """Return where in the file byte `start` of a tensor lies, and how many bytes of it follow in one run."""
    for extent in extents:
        if start < extent.nbytes:
            return extent.offset + start, extent.nbytes - start
        start -= extent.nbytes
    raise AssertionError("more bytes than planned")


def _write_index(path: Path, plan: Plan, shards: Mapping[str, Sequence[Move]]) -> None:
    """Write which shard holds which tensor, under the names that the shards themselves use."""
    weight_map = {move.target.name: name for name, moves in shards.items() for move in moves}
    path.write_bytes(
        dump_json({"metadata": {"total_size": plan.nbytes}, "weight_map": dict(weight_map)})
    )
