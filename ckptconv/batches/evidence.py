"""The bytes on which a verdict rests: digests of two directories, to be held against later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ckptconv.base.environment import versions
from ckptconv.base.errors import CkptconvError, SourceError
from ckptconv.base.files import lazy_file
from ckptconv.base.strict_json import Json
from ckptconv.batches.task import Task
from ckptconv.transfer.manifest import file_digest, read_manifest
from ckptconv.verbs.check import check
from ckptconv.verbs.convert import WriteOptions
from ckptconv.version import __version__

DEFAULT_FORMATS = {"pt2tf": "hdf5", "pt2flax": "msgpack"}


def evidence(source: Path, target: Path, extra: Path | None = None) -> dict[str, Json]:
    """Return the digests of all that lies in two directories, and what is installed here.

    Args: extra: a file of inputs.
    """
    paths = {"source": source, "target": target} | ({"inputs": extra} if extra else {})
    files: dict[str, Json] = {role: _digests(path) for role, path in paths.items()}
    return {"files": files, "versions": dict(versions())}


def _digests(path: Path) -> Json:
    """Return name -> sha256; a file is a directory of itself. No verdict rests on what cannot be read."""
    return {str(file.relative_to(path)): _digest(file) for file in _files(path)}


def _digest(file: Path) -> str:
    try:
        return file_digest(file).sha256
    except SourceError:
        return "unreadable"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(Path(root, name) for root, _, names in os.walk(path) for name in names)


def stamps(*paths: Path) -> list[tuple[str, int, int, int]]:
    """Return what changes where a file is written meanwhile: name, size, time and inode. Raises SourceError."""
    try:
        entries = [
            (str(file), file.lstat())
            for path in paths
            for file in _files(path)
            if lazy_file(file) is None  # which is compared with itself while it is read
        ]
    except OSError as error:
        raise SourceError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return [(name, at.st_size, at.st_mtime_ns, at.st_ino) for name, at in entries]


def is_its_output(task: Task, source: Path) -> bool:
    """Tell whether the target is, byte for byte, what this conversion of this source writes.

    It is where this version of ckptconv wrote it with the same command and options from files of the same digests,
    and every byte is as it was written: what a run leaves that was killed between writing and verifying.
    """
    target = Path(task.target)
    try:
        origin = read_manifest(target)[0].origin
        same = (
            origin.version == __version__
            and origin.command == task.command
            and dict(origin.options) == _shaping(task)
            and all(
                file_digest(source / name).sha256 == digest.sha256
                for name, digest in origin.sources["source"].items()
            )
        )
        return same and check(target).whole
    except (CkptconvError, KeyError):
        return False


def _shaping(task: Task) -> dict[str, Json]:
    """Return the options as the manifest of the output has them."""
    options = task.options
    shaping = write_options(options, overwrite=False).shaping()
    shaping["format"] = options.get("format", DEFAULT_FORMATS.get(task.command, "safetensors"))
    if task.command == "pt2flax":
        shaping["heal"] = options.get("heal", True)
    if options.get("positions"):
        shaping["positions"] = options["positions"]
    if options.get("take_trained_row"):
        shaping["take_trained_row"] = True
    return shaping


def write_options(options: Mapping[str, Json], *, overwrite: bool) -> WriteOptions:
    """Return how a conversion writes. Raises UsageError."""
    names = ("dtype", "max_shard_bytes", "allow_overflow")
    chosen = {name: options[name] for name in names if name in options}
    return WriteOptions(**chosen, overwrite=overwrite)  # type: ignore[arg-type]
