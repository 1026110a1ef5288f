"""An output directory exists whole, or not at all.

Everything is written into a hidden directory beside the target, made durable, and renamed into place.
On an error or a signal the hidden directory goes away; the target was never touched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptconv.errors import DestinationError

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100


@contextmanager
def published(target: Path, *, overwrite: bool, needs: int = 0) -> Iterator[Path]:
    """Give an empty directory that becomes `target` when the block ends without an error.

    Args: needs: bytes that will be written; refused at once where the disk has less.
    Raises: DestinationError: the target exists, cannot be written or has no room.
    """
    target = Path(os.path.abspath(target))
    _require_free(target, overwrite=overwrite)
    stage = target.parent / f".{target.name}.ckptconv-{secrets.token_hex(4)}"
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _require_room(target.parent, needs)
        stage.mkdir()
        yield stage
        _fsync_tree(stage)
        _rename(stage, target, overwrite=overwrite)
        _confirm(target)
    except OSError as error:
        raise DestinationError(_reason(target, error)) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # it is not empty where the run succeeded
                parent.rmdir()


def _require_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that exists, and even with `overwrite` one that no run of ours can have made."""
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise DestinationError(f"{target}: exists already; give another directory, or --overwrite to replace it.")
    if target.is_symlink() or not target.is_dir():
        raise DestinationError(f"{target}: is not a directory; --overwrite replaces only a checkpoint directory.")
    if any(target.iterdir()) and not (target / "config.json").is_file():
        raise DestinationError(
            f"{target}: holds something else than a checkpoint (no config.json), so --overwrite leaves it alone."
        )


def _require_room(parent: Path, needs: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < needs:
        raise DestinationError(f"{parent}: needs {needs} bytes, the disk has {free} free; nothing was written.")


def _rename(stage: Path, target: Path, *, overwrite: bool) -> None:
    """Put the stage in the target's place; an old target is exchanged in one step, then removed."""
    if not overwrite or not os.path.lexists(target):
        _renameat2(stage, target, RENAME_NOREPLACE)
        return
    _renameat2(stage, target, RENAME_EXCHANGE)


def _renameat2(source: Path, target: Path, flags: int) -> None:
    """Rename with flags where the system can, else in plain steps. Raises OSError."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        code = errno.ENOSYS
    else:
        if call(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) == 0:
            return
        code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code))
    if flags == RENAME_NOREPLACE:
        os.rename(source, target)  # onto a directory with content this fails, which is as good
        return
    aside = source.with_name(source.name + "-old")
    os.rename(target, aside)
    os.rename(source, target)
    shutil.rmtree(aside, ignore_errors=True)


def _fsync_tree(folder: Path) -> None:
    """Make every file and directory below `folder` durable, the deepest first."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            _fsync(Path(root, name))
        _fsync(Path(root))


def _confirm(target: Path) -> None:
    """Make the rename itself durable. Raises DestinationError: it is published, but may not survive a power cut."""
    try:
        _fsync(target.parent)
    except OSError as error:
        raise DestinationError(
            f"{target}: is published and whole, but the system would not confirm that it is on the disk"
            f" ({error.strerror}). Run sync, and check the disk."
        ) from None


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _reason(target: Path, error: OSError) -> str:
    """Say what the system said, and that nothing was published."""
    if os.path.lexists(target.parent) and not target.parent.is_dir():
        return f"{target.parent}: is not a directory, so nothing can be written into it."
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
        return f"{target}: appeared while this run was under way; it was left as it is."
    advice = " Free some space and run again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{target}: cannot be written ({error.strerror or error}); nothing was published.{advice}"
