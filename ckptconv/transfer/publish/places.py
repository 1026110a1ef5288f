"""Reports lie apart from what is read, and from each other.

A path is told by what it leads to, not by how it is spelt: links, hard links, `..` and `/dev/stdout` are seen through.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.errors import DestinationError
from ckptconv.transfer.publish.file import is_null, is_stdout

Inode: TypeAlias = tuple[int, int]
MAX_ENTRIES = 100_000
"""Files of a checkpoint's directory that are looked at."""


def require_apart_from_inputs(
    outputs: Mapping[str, Path], *, checkpoints: Sequence[Path], files: Sequence[Path]
) -> None:
    """Refuse outputs that would change what a command reads.

    Args:
        outputs: option -> path of a file that will be written.
        checkpoints: directories that are read, or names on the hub.
        files: other files that are read.
    Raises: DestinationError: an output is one of the files, or lies in one of the directories: there it would pass for
        a part of the model.
    """
    problems = [
        f"{option}: {path}: {objection}"
        for option, path in outputs.items()
        if not is_stdout(path) and (objection := _objection(path, checkpoints, files))
    ]
    if problems:
        raise DestinationError("\n".join(problems))


def clashing(outputs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Return pairs of options whose files are one and the same; the null device takes any number."""
    for (first, path), (second, rival) in combinations(outputs.items(), 2):
        if _same(path, rival) and not is_null(path):
            yield first, second


def _same(path: Path, rival: Path) -> bool:
    if is_stdout(path) or is_stdout(rival):
        return is_stdout(path) and is_stdout(rival)
    first, second = _inode(path), _inode(rival)
    if first is None and second is None:
        return _place(path) == _place(rival)
    return first == second


def _objection(path: Path, checkpoints: Sequence[Path], files: Sequence[Path]) -> str | None:
    """Say why an output must not be written, or return None."""
    own = _inode(path)
    folder = Path(os.path.realpath(path)).parent
    for file in files:
        if _same(path, file):
            return f"is {file}, which this command reads; give another file."
    for checkpoint in filter(Path.is_dir, checkpoints):
        real = Path(os.path.realpath(checkpoint))
        if real == folder or real in folder.parents:
            return (
                f"lies in the checkpoint {checkpoint}, where it would pass for a part of the model;"
                " give a file outside."
            )
        if own is not None and own in set(_inodes(checkpoint)):
            return f"is a file of the checkpoint {checkpoint}, by another name; give another file."
    if any(parent.name.startswith("models--") for parent in folder.parents):
        return "lies in the cache of the Hugging Face hub; give a file outside."
    return None


def _inodes(folder: Path) -> Iterator[Inode]:
    """Return every file below a directory, and what links there lead to."""
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    for file in islice(files, MAX_ENTRIES):
        inode = _inode(file)
        if inode is not None:
            yield inode


def _inode(path: Path) -> Inode | None:
    """Return what tells a file from every other; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _place(path: Path) -> tuple[Inode | None, str]:
    """Return what tells a free name from every other: its directory, and the name in it."""
    return _inode(path.parent), path.name
