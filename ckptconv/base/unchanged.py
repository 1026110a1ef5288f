"""A source that changes while it is read is refused: what was read of it is two things in one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.errors import SourceError

Identity: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size [bytes], times of the last change of content and of inode [ns]."""


def identity(status: os.stat_result) -> Identity:
    """Return what differs once a file was written to, cut or replaced; reading changes none of it."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def require_same(path: Path, before: Identity | None, fd: int | None = None) -> None:
    """Compare a file, by its path and where it is open by its descriptor, with what it was.

    Raises: SourceError: it is another file by now, or another content.
    """
    if (
        before is None
        or _now(path) != before
        or (fd is not None and identity(os.fstat(fd)) != before)
    ):
        raise SourceError(
            f"{path}: changed while it was read; nothing was published.\nRun again when nothing writes to it."
        )


def _now(path: Path) -> Identity | None:
    try:
        return identity(path.stat())
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the files of some directories were before the first of them was read."""

    files: Mapping[Path, Identity]

    @classmethod
    def of(cls, *folders: Path) -> Snapshot:
        """Look at every entry; a folder that cannot be listed has none: whoever reads it says why."""
        identities: dict[Path, Identity] = {}
        for folder in folders:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208  # a name each is all that is needed
            except OSError:
                continue
            identities |= {folder / name: now for name in names if (now := _now(folder / name))}
        return cls(identities)

    def require_unchanged(self, read: Iterable[Path]) -> None:
        """Look again at the files that were read. Raises SourceError: one changed, appeared or went away."""
        for path in read:
            require_same(path, self.files.get(path))

    def require_none_new(self, paths: Iterable[Path]) -> None:
        """Look whether one of some files has come meanwhile. Raises SourceError: it has."""
        for path in paths:
            if path not in self.files and _now(path) is not None:
                raise SourceError(
                    f"{path}: appeared while the other files were read; nothing was published.\n"
                    "Run again when nothing writes to the directory."
                )
