"""Directories that ckptconv made are removed, and nothing beyond: no link is followed, no mount point entered."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ckptconv.base.mounts import mount_points
from ckptconv.base.untrusted import one_line
from ckptconv.transfer.manifest import MANIFEST

MAX_DEPTH = 32
"""An output is at most ten directories deep; what is deeper is none of ours."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Removal:
    """One removal under way."""

    device: int
    mounts: frozenset[bytes]
    real: str
    """The directory's path without links, as the list of mount points has it."""
    only: Collection[str] | None
    left: list[str] = field(default_factory=list)
    """What stays, as a message names it."""


def remove_directory(folder: Path, only: Collection[str] | None = None) -> list[str]:
    """Remove a directory; return what could not or must not be removed, each with the reason.

    The manifest goes last, so that a removal that is cut short leaves a directory that is known as ours.

    Args:
        folder: the directory; where it is missing or a link there is nothing to do.
        only: paths of files below it that may go, with slashes; None for all.
    """
    try:
        fd = os.open(folder, FOLDER)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{folder} ({error.strerror})"]
    try:
        real = os.path.realpath(folder)
        device = folder.parent.stat().st_dev
        removal = _Removal(device, mount_points(), real, only)
        if os.fstat(fd).st_dev != device:
            return [f"{folder} (a mount point)"]
        _empty(fd, "", removal, 0)
        if not removal.left:
            folder.rmdir()
    except OSError as error:
        removal.left.append(f"{folder} ({error.strerror})")
    finally:
        os.close(fd)
    return removal.left


def _empty(fd: int, above: str, removal: _Removal, depth: int) -> None:
    """Remove what an open directory holds. Raises OSError: it cannot be listed."""
    names = sorted(os.listdir(fd))  # of a descriptor
    if not above and MANIFEST in names:
        names.remove(MANIFEST)
        names.append(MANIFEST)
    for own in names:
        name = f"{above}/{own}" if above else own
        if own == MANIFEST and not above and removal.left:
            removal.left.append(name)
            return
        try:
            why = _removed(fd, own, name, removal, depth)
        except OSError as error:
            why = error.strerror
        if why is not None:
            removal.left.append(one_line(name) + (f" ({why})" if why else ""))


def _removed(fd: int, own: str, name: str, removal: _Removal, depth: int) -> str | None:
    """Remove one entry of a directory; return why it stays, or None. Raises OSError."""
    status = os.stat(own, dir_fd=fd, follow_symlinks=False)
    if status.st_dev != removal.device or os.fsencode(f"{removal.real}/{name}") in removal.mounts:
        return "a mount point"
    if not stat.S_ISDIR(status.st_mode):
        if removal.only is not None and name not in removal.only:
            return ""
        os.unlink(own, dir_fd=fd)
        return None
    if depth == MAX_DEPTH:
        return "too deep"
    before = len(removal.left)
    below = os.open(own, FOLDER, dir_fd=fd)
    try:
        _empty(below, name, removal, depth + 1)
    finally:
        os.close(below)
    if len(removal.left) == before:
        os.rmdir(own, dir_fd=fd)
    return None
