"""A directory takes its name in one step: `renameat2` where the system has it, else the nearest to it."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from ckptconv.base.leftovers import OLD

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL)
"""No such call in this kernel; no such flag in this file system."""


def place(stage: Path, target: Path) -> None:
    """Rename `stage` to `target`, which must not be there. Raises OSError."""
    if not renameat2(stage, target, RENAME_NOREPLACE):
        os.rename(stage, target)  # onto a directory with content this fails, which is as good


def exchange(stage: Path, target: Path) -> Path:
    """Put `stage` in the place of `target`; return where the old one lies now.

    Raises: OSError: the old one is where it was.
    """
    if renameat2(stage, target, RENAME_EXCHANGE):
        return stage
    # Two steps. Whoever kills the run between them finds both beside the target, whole: see leftovers.py.
    aside = stage.with_name(stage.name + OLD)
    os.rename(target, aside)
    try:
        os.rename(stage, target)
    except OSError:
        os.rename(aside, target)
        raise
    return aside


def renameat2(source: Path, target: Path, flags: int) -> bool:
    """Rename with flags; return False where the system cannot. Raises OSError."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if call(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code))
