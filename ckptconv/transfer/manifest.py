"""`ckptconv.json`: what an output directory holds and how it came to be; `SHA256SUMS`: the same for `sha256sum -c`.

A manifest names every file below its directory but itself and its SHA256SUMS, so that nothing can be added,
taken away or changed unseen. It holds nothing that differs from run to run or from machine to machine. One
of its keys is the digest of all the others: whoever edits it by hand or loses a bit is found out. Whoever means
harm can make that digest anew, so keep it elsewhere (or sign it) where that matters.

Files have their sha256, since `sha256sum`, git-lfs and the hub say it of the same files. Tensors, whose digests nobody
else reads, have BLAKE3, which takes a quarter of the time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader, limits, more, read_source, require_same_digest
from ckptconv.base.presence import files_below, is_file
from ckptconv.base.strict_json import Json, compact_blocks, json_blocks, parse_json
from ckptconv.base.workers import finish, worker_count, workers
from ckptconv.schema.tensors import NamingName, SchemaTensor
from ckptconv.stores.tensor import Extent, Stored
from ckptconv.version import __version__

if TYPE_CHECKING:
    from concurrent.futures import Future

Algorithm: TypeAlias = Literal["sha256", "blake3"]
BLOCK_BYTES = 1 << 20
"""Read at a time: it stays in the cache until it is hashed, and other threads wait seldom for Python's lock."""


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
    """Of its data as it lies there, little-endian [64 hex digits]: row-major but for matrices that LiteRT turns."""
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


def stored_digest(path: Path, tensors: Iterable[Stored]) -> FileDigest:
    """Return the digests of a file that a library wrote, and of the tensors that lie in it, each as it lies there.

    Raises: SourceError: it cannot be read.
    """
    whole = file_digest(path)
    with FileReader(path) as file:
        digests = {
            stored.spec.name: TensorDigest(
                stored.spec.dtype,
                stored.spec.shape,
                stored.extents,
                extents_digest(file, stored.extents, algorithm="blake3"),
            )
            for stored in tensors
        }
    return replace(whole, tensors=digests)


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
    """Make the digests of the sources' files in threads of their own, while the block moves their tensors."""
    stop = Event()
    files = sum(len(paths) for paths in sources.values())
    with workers(max(1, min(files, worker_count() // 2))) as pool:
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


ROWS = 64
"""Tensors of a model that are spelt together."""


def tables_digest(rows: Iterable[SchemaTensor], namings: Iterable[NamingName]) -> str:
    """Return the digest of what the tables say of a model in some namings: names, axes, sizes, ties."""
    sorted_namings = sorted(set(namings))
    encode = json.JSONEncoder(sort_keys=True).encode
    content, digest, lead = (_row_json(row, sorted_namings) for row in rows), sha256(), "["
    while some := list(islice(content, ROWS)):  # as the text of one list
        digest.update((lead + encode(some)[1:-1]).encode())
        lead = ", "
    digest.update(b"]" if lead != "[" else b"[]")
    return digest.hexdigest()


def _row_json(row: SchemaTensor, namings: Iterable[NamingName]) -> dict[str, object]:
    return {
        "key": row.key,
        "kind": row.module.kind,
        "presence": row.module.presence,
        "sizes": dict(row.sizes),
        "spellings": {
            naming: [row.spellings[naming].names, row.spellings[naming].axes]
            for naming in namings
            if naming in row.spellings
        },
        "tied": [row.tied_to, row.module.tied, row.module.copied],
    }


MANIFEST, SUMS = "ckptconv.json", "SHA256SUMS"
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,200}(/(?!\.)[A-Za-z0-9._-]{1,200}){0,8}")
"""A file below the directory, and nowhere else."""
LAYOUT = 2
"""Counts the changes of the manifest's own form: 2 has BLAKE3 of the tensors, where 1 had sha256."""
MANIFEST_TIMES = 8
"""Of the bytes that other JSON may have: a tensor takes about 370, and a file may hold 200,000 of them."""
LAYOUTS = (1, 2)
"""Those that are read."""
KEYS = {
    "manifest",
    "ckptconv",
    "command",
    "options",
    "pair",
    "dialect",
    "format",
    "tables",
    "healed",
    "sources",
    "files",
    "sha256",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """How an output came to be."""

    command: str
    options: Mapping[str, Json]
    """Those that shape the bytes."""
    pair: str
    naming: str
    format: str
    tables: str
    """Digest of what the tables said of this model: names, axes and sizes in both namings."""
    healed: tuple[Mapping[str, Json], ...]
    sources: Sources
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a directory holds, and its origin."""

    origin: Origin
    files: Mapping[str, FileDigest]
    """Path below the directory, with slashes -> digests."""
    layout: int = LAYOUT

    def content(self) -> dict[str, object]:
        """Return everything but the manifest's own digest: JSON, but for tensors, which `tensor_json` makes it."""
        origin = self.origin
        return {
            "manifest": self.layout,
            "ckptconv": origin.version,
            "command": origin.command,
            "options": dict(origin.options),
            "pair": origin.pair,
            "dialect": origin.naming,
            "format": origin.format,
            "tables": origin.tables,
            "healed": [dict(fix) for fix in origin.healed],
            "sources": {
                role: {name: _file(digest) for name, digest in files.items()}
                for role, files in origin.sources.items()
            },
            "files": {name: _file(digest) for name, digest in self.files.items()},
        }

    @property
    def digest(self) -> str:
        """The digest of the content, in JSON without spaces: the same whatever the file looks like."""
        digest = sha256()
        for block in compact_blocks(self.content(), tensor_json):
            digest.update(block)
        return digest.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """Return the one and only spelling of the manifest, some kB at a time: sorted, ASCII."""
        return json_blocks({**self.content(), "sha256": self.digest}, tensor_json)

    def dump(self) -> bytes:
        """Return that spelling as a whole."""
        return b"".join(self.blocks())

    def sums(self, digest: str) -> bytes:
        """Return what `sha256sum -c` reads: every file, and the manifest, whose sha256 is `digest`."""
        digests = {name: file.sha256 for name, file in self.files.items()}
        digests[MANIFEST] = digest
        return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def _file(digest: FileDigest) -> dict[str, object]:
    """Return a file as JSON but for its tensors; only a weights file has some."""
    values: dict[str, object] = {"bytes": digest.nbytes, "sha256": digest.sha256}
    if digest.tensors:
        values["tensors"] = dict(digest.tensors)
    return values


def tensor_json(tensor: TensorDigest) -> Json:
    """Return a tensor as the manifest has it."""
    return {
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "extents": [_extent(run) for run in tensor.extents],
        tensor.algorithm: tensor.digest,
    }


def _extent(extent: Extent) -> Json:
    return [extent.offset, extent.nbytes]


def write_manifest(folder: Path, origin: Origin, digests: Mapping[str, FileDigest]) -> Manifest:
    """Write the manifest of a finished folder, and the sums beside it.

    Args: digests: digests of the weights files, by path below the folder; the others are made here.
    Raises: OSError: the destination failed.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in files_below(folder))
    manifest = Manifest(
        origin, {name: digests.get(name) or file_digest(folder / name) for name in names}
    )
    dumped = sha256()
    with (folder / MANIFEST).open("wb") as file:
        for block in manifest.blocks():
            file.write(block)
            dumped.update(block)
    (folder / SUMS).write_bytes(manifest.sums(dumped.hexdigest()))
    return manifest


def read_manifest(folder: Path) -> tuple[Manifest, str, bytes]:
    """Return the manifest of a directory, the digest that it gives for itself, and the file's bytes.

    Raises: SourceError: there is none, it is malformed, or of a later version of ckptconv.
    """
    path = folder / MANIFEST
    if not is_file(path):
        raise SourceError(
            f"{folder}: no {MANIFEST} here, so there is nothing to check against.\n"
            "ckptconv writes one into every directory that it makes."
        )
    most = limits().json_bytes * MANIFEST_TIMES
    raw = read_source(path, most + 1)
    if len(raw) > most:
        raise SourceError(f"{path}: more than {most} bytes of JSON; {more('json_bytes')}")
    values = parse_json(raw, str(path))
    if type(values.get("manifest")) is int and values["manifest"] not in LAYOUTS:
        raise SourceError(
            f"{path}: of a layout ({values['manifest']}) that ckptconv {__version__} does not know."
        )
    try:
        return _manifest(values), _text(values, "sha256"), raw
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path}: malformed: {ascii(str(error))[:200]}") from None


def _manifest(values: Mapping[str, Json]) -> Manifest:
    """Check every field. Raises KeyError, TypeError, ValueError."""
    unknown = set(values) - KEYS
    if unknown:
        raise ValueError(f"unknown key {min(unknown)}")
    sources = {role: _files(files) for role, files in _object(values["sources"]).items()}
    healed = values["healed"]
    if not isinstance(healed, list):
        raise TypeError("healed")
    origin = Origin(
        command=_text(values, "command"),
        options=_object(values["options"]),
        pair=_text(values, "pair"),
        naming=_text(values, "dialect"),
        format=_text(values, "format"),
        tables=_text(values, "tables"),
        healed=tuple(map(_object, healed)),
        sources=sources,
        version=_text(values, "ckptconv"),
    )
    return Manifest(origin, _files(values["files"]), _whole(values["manifest"]))


def _files(value: Json) -> dict[str, FileDigest]:
    return {_name(name): _file_of(_object(file)) for name, file in _object(value).items()}


def _name(name: str) -> str:
    """Return a file's path, if it leads to nothing but what lies below the directory."""
    if not NAME.fullmatch(name):
        raise ValueError(f"file name {name!r}")
    return name


def _file_of(values: Mapping[str, Json]) -> FileDigest:
    tensors = {
        name: _tensor(_object(tensor))
        for name, tensor in _object(values.get("tensors", {})).items()
    }
    nbytes = _whole(values["bytes"])
    runs = {
        run for tensor in tensors.values() for run in tensor.extents
    }  # equal tensors may share one
    if sum(run.nbytes for run in runs) > nbytes:
        raise ValueError("tensors that are larger than their file")
    return FileDigest(nbytes, _text(values, "sha256"), tensors)


def _tensor(values: Mapping[str, Json]) -> TensorDigest:
    shape, runs = values["shape"], values["extents"]
    if not isinstance(shape, list) or not isinstance(runs, list):
        raise TypeError("shape and extents must be lists")
    extents = tuple(
        Extent(*map(_whole, run)) for run in runs if isinstance(run, list) and len(run) == 2
    )
    if len(extents) != len(runs):
        raise TypeError("extents must be pairs")
    algorithm: Algorithm = "blake3" if "blake3" in values else "sha256"
    dtype, digest = _text(values, "dtype"), _text(values, algorithm)
    return TensorDigest(dtype, tuple(map(_whole, shape)), extents, digest, algorithm)


def _text(values: Mapping[str, Json], key: str) -> str:
    value = values[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a text")
    return value


def _whole(value: Json) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("sizes must be whole numbers")
    return value


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def below(folder: str, digests: Mapping[str, FileDigest]) -> dict[str, FileDigest]:
    """Return the digests of a folder's files as the folder above names them."""
    return {f"{folder}/{name}": digest for name, digest in digests.items()}


def within(folder: str, digests: Mapping[str, FileDigest]) -> dict[str, FileDigest]:
    """Return the digests of the files of a folder, as itself names them."""
    start = f"{folder}/"
    return {
        name.removeprefix(start): digest
        for name, digest in digests.items()
        if name.startswith(start)
    }
