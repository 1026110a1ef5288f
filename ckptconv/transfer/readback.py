"""What was written, read back: every tensor through its format's own reader, and the file as a whole.

Both are made from what the system returns now, not from what it was given: the tensors' digests must be
those of the bytes that were written, and the file's digest is what the manifest says. The file is read once for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ckptconv.base.errors import DestinationError
from ckptconv.base.untrusted import one_line
from ckptconv.base.workers import finish
from ckptconv.stores.formats import Format
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.tensor import Stored, TensorSpec
from ckptconv.transfer.digests import FileDigest, Hasher, TensorDigest, hasher

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
    pool: ThreadPoolExecutor,
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
    pool: ThreadPoolExecutor,
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
