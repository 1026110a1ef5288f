"""An output directory exists whole, or not at all.

Everything is written into a hidden directory beside the target, made durable, and renamed into place.
On an error or a signal the hidden directory goes away; the target was never touched. What a killed run
left there is removed by the next run of the same target.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptconv.base.errors import DestinationError, SourceError
from ckptconv.base.interrupts import held, note_published
from ckptconv.transfer.publish.file import fsync
from ckptconv.transfer.publish.lock import clear, locked, new_stage
from ckptconv.transfer.publish.renaming import exchange, place


@contextmanager
def published(target: Path, *, overwrite: bool, needs: int = 0) -> Iterator[Path]:
    """Give an empty directory that becomes `target` when the block ends without an error.

    Args: needs: bytes that will be written; refused at once where the disk has less.
    Raises: DestinationError: the target exists, is being written by another run, cannot be written or has no room.
    """
    target = Path(os.path.abspath(target))
    _require_free(target, overwrite=overwrite)
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        with _without(made), locked(target) as exclusive:
            if exclusive:
                clear(target)
            _require_free(target, overwrite=overwrite)
            _require_room(target.parent, needs)
            with _removed(new_stage(target)) as stage:
                yield stage
                _fsync_tree(stage)
                _publish(stage, target, made, overwrite=overwrite)
    except OSError as error:
        raise DestinationError(_reason(target, error)) from None


@contextmanager
def _without(made: Sequence[Path]) -> Iterator[None]:
    """Remove parents that were made for the target, the deepest first, where it did not come into being."""
    try:
        yield
    finally:
        with held():
            for parent in made:
                with suppress(OSError):  # it is not empty where the run succeeded
                    parent.rmdir()


@contextmanager
def _removed(stage: Path) -> Iterator[Path]:
    """Make a directory, and remove what has its name in the end: what was not published, or was replaced."""
    try:
        stage.mkdir()
        yield stage
    except SourceError as error:
        if str(stage) not in str(error):
            raise
        said = str(error).replace(f"{stage}{os.sep}", "")
        # What was to be read is no source, but what this run wrote.
        raise DestinationError(
            f"what was written cannot be read back; nothing was published.\n{said}"
        ) from None
    finally:
        with held():
            shutil.rmtree(stage, ignore_errors=True)


def _require_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that exists, and even with `overwrite` one that no run of ours can have made."""
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise DestinationError(
            f"{target}: exists already; give another directory, or --overwrite to replace it."
        )
    if target.is_symlink() or not target.is_dir():
        raise DestinationError(
            f"{target}: is not a directory; --overwrite replaces only a checkpoint directory."
        )
    if any(target.iterdir()) and not (target / "config.json").is_file():
        raise DestinationError(
            f"{target}: holds something else than a checkpoint (no config.json), so --overwrite leaves it alone."
        )


def _require_room(parent: Path, needs: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < needs:
        raise DestinationError(
            f"{parent}: needs {needs} bytes, the disk has {free} free; nothing was written."
        )


def _publish(stage: Path, target: Path, made: Sequence[Path], *, overwrite: bool) -> None:
    """Put the stage in the target's place; no signal comes between the rename and the knowledge of it."""
    with held():
        if overwrite and os.path.lexists(target):
            exchange(stage, target)
        else:
            place(stage, target)
        note_published(str(target))
        _confirm(target, [target.parent, *(parent.parent for parent in made)])


def _fsync_tree(folder: Path) -> None:
    """Make every file and directory below `folder` durable, the deepest first."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            fsync(Path(root, name))
        fsync(Path(root))


def _confirm(target: Path, folders: Sequence[Path]) -> None:
    """Make new names durable. Raises DestinationError: it is published, but may not survive a power cut."""
    try:
        for folder in folders:
            fsync(folder)
    except OSError as error:
        raise DestinationError(
            f"{target}: is published and whole, but the system would not confirm that it is on the disk"
            f" ({error.strerror}). Run sync, and check the disk."
        ) from None


def _reason(target: Path, error: OSError) -> str:
    """Say what the system said, and that nothing was published."""
    if os.path.lexists(target.parent) and not target.parent.is_dir():
        return f"{target.parent}: is not a directory, so nothing can be written into it."
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
        return f"{target}: appeared while this run was under way; it was left as it is."
    advice = (
        " Free some space and run again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    )
    return (
        f"{target}: cannot be written ({error.strerror or error}); nothing was published.{advice}"
    )
