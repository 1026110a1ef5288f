"""`ckptconv.json`: what an output directory holds and how it came to be; `SHA256SUMS`: the same for `sha256sum -c`.

A manifest names every file below its directory but itself and its SHA256SUMS, so that nothing can be added,
taken away or changed unseen. It holds nothing that differs from run to run or from machine to machine. One
of its keys is the digest of all the others: whoever edits it by hand or loses a bit is found out. Whoever means
harm can make that digest anew, so keep it elsewhere (or sign it) where that matters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import read_source
from ckptconv.base.limits import limits, more
from ckptconv.base.strict_json import Json, dump_json, parse_json
from ckptconv.stores.tensor import Extent
from ckptconv.transfer.digests import Algorithm, FileDigest, Sources, TensorDigest, file_digest
from ckptconv.version import __version__

MANIFEST, SUMS = "ckptconv.json", "SHA256SUMS"
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,200}(/(?!\.)[A-Za-z0-9._-]{1,200}){0,8}")
"""A file below the directory, and nowhere else."""
LAYOUT = 2
"""Counts the changes of the manifest's own form: 2 has BLAKE3 of the tensors, where 1 had sha256."""
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

    def content(self) -> dict[str, Json]:
        """Return everything but the manifest's own digest."""
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
        return sha256(
            json.dumps(self.content(), sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()

    def dump(self) -> bytes:
        """Return the one and only spelling of the manifest: sorted, ASCII."""
        return dump_json({**self.content(), "sha256": self.digest})

    def sums(self, dumped: bytes) -> bytes:
        """Return what `sha256sum -c` reads: every file, and the manifest, whose bytes are `dumped`."""
        digests = {name: digest.sha256 for name, digest in self.files.items()}
        digests[MANIFEST] = sha256(dumped).hexdigest()
        return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def _file(digest: FileDigest) -> Json:
    """Return a file as JSON; only a weights file has tensors."""
    values: dict[str, Json] = {"bytes": digest.nbytes, "sha256": digest.sha256}
    if digest.tensors:
        values["tensors"] = {
            name: {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "extents": [_extent(run) for run in tensor.extents],
                tensor.algorithm: tensor.digest,
            }
            for name, tensor in digest.tensors.items()
        }
    return values


def _extent(extent: Extent) -> Json:
    return [extent.offset, extent.nbytes]


def write_manifest(folder: Path, origin: Origin, digests: Mapping[str, FileDigest]) -> Manifest:
    """Write the manifest of a finished folder, and the sums beside it.

    Args: digests: digests of the weights files, by path below the folder; the others are made here.
    Raises: OSError: the destination failed.
    """
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    manifest = Manifest(
        origin, {name: digests.get(name) or file_digest(folder / name) for name in names}
    )
    dumped = manifest.dump()
    (folder / MANIFEST).write_bytes(dumped)
    (folder / SUMS).write_bytes(manifest.sums(dumped))
    return manifest


def read_manifest(folder: Path) -> tuple[Manifest, str, bytes]:
    """Return the manifest of a directory, the digest that it gives for itself, and the file's bytes.

    Raises: SourceError: there is none, it is malformed, or of a later version of ckptconv.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SourceError(
            f"{folder}: no {MANIFEST} here, so there is nothing to check against.\n"
            "ckptconv writes one into every directory that it makes."
        )
    most = limits().json_bytes
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
    if sum(run.nbytes for tensor in tensors.values() for run in tensor.extents) > nbytes:
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
