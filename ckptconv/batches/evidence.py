"""The bytes on which a verdict rests: digests of two directories, to be held against later."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ckptconv.base.environment import versions
from ckptconv.base.errors import CkptconvError, SourceError
from ckptconv.base.files import FileIdentity, identity_now
from ckptconv.base.presence import files_below
from ckptconv.base.strict_json import Json
from ckptconv.batches.plan import WRITING
from ckptconv.batches.task import Task
from ckptconv.transfer.manifest import file_digest, read_manifest
from ckptconv.verbs.check import check
from ckptconv.verbs.convert import OWN_OPTIONS, WriteOptions, shaping, way_of
from ckptconv.verbs.planning import Way
from ckptconv.version import __version__


def evidence(source: Path, target: Path, extra: Path | None = None) -> dict[str, Json]:
    """Return the digests of all that lies in two directories, and what is installed here.

    Args: extra: a file of inputs.
    """
    paths = {"source": source, "target": target} | ({"inputs": extra} if extra else {})
    files: dict[str, Json] = {role: _digests(path) for role, path in paths.items()}
    return {"files": files, "versions": dict(versions())}


def _digests(path: Path) -> Json:
    """Return name -> sha256; a file is a directory of itself. No verdict rests on what cannot be read."""
    return {str(file.relative_to(path)): _digest(file) for file in files_below(path)}


def _digest(file: Path) -> str:
    try:
        return file_digest(file).sha256
    except SourceError:
        return "unreadable"


def states(*paths: Path) -> dict[Path, FileIdentity | None]:
    """Return what every file below some directories is now: an entry differs once it was written to or replaced."""
    return {file: identity_now(file) for path in paths for file in files_below(path)}


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
            and dict(origin.options) == shaping_options(task)
            and all(
                file_digest(source / name).sha256 == digest.sha256
                for name, digest in origin.sources["source"].items()
            )
        )
        return same and check(target).whole
    except (CkptconvError, KeyError):
        return False


def shaping_options(task: Task) -> dict[str, Json]:
    """Return the options of a conversion as the manifest of its output has them."""
    return {**write_options(task).shaping(), **shaping(way(task))}


def way(task: Task) -> Way:
    """Return what a task's conversion does. Raises UsageError."""
    return way_of(task.command, **_chosen(task, OWN_OPTIONS.get(task.command, {})))


def write_options(task: Task) -> WriteOptions:
    """Return how a task's conversion writes. Raises UsageError."""
    return WriteOptions(**_chosen(task, WRITING), overwrite=task.overwrite)


def _chosen(task: Task, names: Iterable[str]) -> dict[str, Any]:
    return {name: task.options[name] for name in names if name in task.options}
