"""A directory takes its name in one step: `renameat2` where the system has it, else the nearest to it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

from ckptconv.transfer.publish.lock import OLD

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL)
"""No such call in this kernel; no such flag in this file system."""


def place(stage: Path, target: Path) -> None:
    """Rename `stage` to `target`, which must not be there. Raises OSError."""
    if not renameat2(stage, target, RENAME_NOREPLACE):
        os.rename(stage, target)  # onto a directory with content this fails, which is as good


def exchange(stage: Path, target: Path) -> None:
    """Put `stage` in the place of `target`; the old one then has the stage's name, or is gone.

    Raises: OSError: the old one is where it was.
    """
    if renameat2(stage, target, RENAME_EXCHANGE):
        return
    # Two steps. Between them both are whole beside the target, and the next run puts the old one back.
    aside = stage.with_name(stage.name + OLD)
    os.rename(target, aside)
    try:
        os.rename(stage, target)
    except OSError:
        os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


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
