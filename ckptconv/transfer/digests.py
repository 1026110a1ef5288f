"""Digests of files, of tensors in files, and of tables: what a manifest is made of.

Files have their sha256, since `sha256sum`, git-lfs and the hub say it of the same files. Tensors, whose digests nobody
else reads, have BLAKE3, which takes a quarter of the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Literal, Protocol, TypeAlias

from ckptconv.base.workers import finish, workers
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.parsers.announced import require_same_digest
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.tensor import Extent

Algorithm: TypeAlias = Literal["sha256", "blake3"]
BLOCK_BYTES = 1 << 18
"""Read at a time: it stays in the cache until it is hashed."""


class Hasher(Protocol):
    """What makes a digest, as those of hashlib do."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take more bytes."""
        ...  # pragma: no cover

    def hexdigest(self) -> str:
        """Return the digest of all that it took [64 hex digits]."""
        ...  # pragma: no cover


def hasher(algorithm: Algorithm) -> Hasher:
    """Return a new hasher; BLAKE3's library is imported where a tensor is digested, not to read a header."""
    if algorithm == "sha256":
        return sha256()
    from blake3 import blake3

    return blake3()


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]
    extents: tuple[Extent, ...]
    """Where its bytes lie in the file."""
    digest: str
    """Of its data, row-major, little-endian [64 hex digits]."""
    algorithm: Algorithm = "blake3"
    """Manifests of ckptconv 0.1 have sha256."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file."""

    nbytes: int
    sha256: str
    """Of the whole file [64 hex digits]."""
    tensors: Mapping[str, TensorDigest] = field(default_factory=dict)
    """Of a weights file: by the names that its format's reader gives."""


class Stopped(Exception):
    """The run ends before the digest is known; nobody waits for it."""


def file_digest(
    path: Path, stop: Event | None = None, progress: Callable[[int], None] = lambda nbytes: None
) -> FileDigest:
    """Return size and digest of a file.

    Args: progress: called with bytes read.
    Raises: SourceError: it cannot be read. Stopped: `stop` was set meanwhile.
    """
    with FileReader(path) as file:
        return FileDigest(file.size, extents_digest(file, [Extent(0, file.size)], stop, progress))


def extents_digest(
    file: FileReader,
    extents: Iterable[Extent],
    stop: Event | None = None,
    progress: Callable[[int], None] = lambda nbytes: None,
    algorithm: Algorithm = "sha256",
) -> str:
    """Return the digest of some runs of a file, one after the other; see `file_digest`."""
    digest, buffer = hasher(algorithm), memoryview(bytearray(BLOCK_BYTES))
    for extent in extents:
        for start in range(extent.offset, extent.offset + extent.nbytes, BLOCK_BYTES):
            if stop is not None and stop.is_set():
                raise Stopped
            block = buffer[: min(BLOCK_BYTES, extent.offset + extent.nbytes - start)]
            file.read_into(start, block)
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


Sources = Mapping[str, Mapping[str, FileDigest]]
"""Role, such as `source` or `encoder` -> file name -> digest."""


class Pending:
    """Digests that another thread is making."""

    def __init__(self, futures: Mapping[tuple[str, str], Future[FileDigest]]) -> None:
        self._futures = futures

    def result(self) -> Sources:
        """Wait for them. Raises SourceError: a file cannot be read, or was changed meanwhile."""
        digests = dict(zip(self._futures, finish([*self._futures.values()]), strict=True))
        return {
            role: {name: digest for (of, name), digest in digests.items() if of == role}
            for role, _ in digests
        }


def _source_digest(path: Path, stop: Event) -> FileDigest:
    with FileReader(path) as file:
        digest = FileDigest(file.size, extents_digest(file, [Extent(0, file.size)], stop))
        file.require_unchanged()
    require_same_digest(path, digest.sha256)
    return digest


@contextmanager
def digested(sources: Mapping[str, Sequence[Path]]) -> Iterator[Pending]:
    """Make the digests of the sources' files in a thread of its own, while the block moves their tensors."""
    stop = Event()
    with workers(1) as pool:
        try:
            yield Pending(
                {
                    (role, name): pool.submit(_source_digest, path, stop)
                    for role, paths in sources.items()
                    for name, path in _named(paths).items()
                }
            )
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return files by the names that a manifest gives them: below the folder of the first, which is the config."""
    top = paths[0].parent
    return {
        path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name: path
        for path in paths
    }


def tables_digest(rows: Iterable[SchemaTensor], namings: Iterable[NamingName]) -> str:
    """Return the digest of what the tables say of a model in some namings: names, axes, sizes, ties."""
    sorted_namings = sorted(set(namings))
    content = [
        {
            "key": row.key,
            "kind": row.module.kind,
            "presence": row.module.presence,
            "sizes": dict(row.sizes),
            "spellings": {
                naming: [row.spellings[naming].names, row.spellings[naming].axes]
                for naming in sorted_namings
                if naming in row.spellings
            },
            "tied": [row.tied_to, row.module.tied, row.module.copied],
        }
        for row in rows
    ]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
