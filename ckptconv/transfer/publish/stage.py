"""An output directory exists whole, or not at all.

Everything is written into a hidden directory beside the target, made durable, and renamed into place.
On an error or a signal the hidden directory goes away; the target was never touched. What a killed run
left there is removed, or put back, by the next run of the same target.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import CkptconvError, DestinationError, SourceError
from ckptconv.base.interrupts import note_published, signals_blocked
from ckptconv.base.leftovers import interrupted_replacements, new_stage
from ckptconv.transfer.publish.file import fsync
from ckptconv.transfer.publish.lock import clear, locked, removal_remarks
from ckptconv.transfer.publish.ownership import require_replaceable
from ckptconv.transfer.publish.renaming import exchange, place


@dataclass(slots=True)
class _Stage:
    """Where a run writes; after the exchange, where that which was replaced lies."""

    path: Path


@contextmanager
def published(
    target: Path, *, overwrite: bool, needs: int = 0, remarks: list[str] | None = None
) -> Iterator[Path]:
    """Give an empty directory that becomes `target` when the block ends without an error.

    Args:
        target: the directory; it must not exist, or with `overwrite` be one that ckptconv wrote.
        overwrite: replace it.
        needs: bytes that will be written; refused at once where the disk has less.
        remarks: takes what the user should know of directories of other runs: what was put back, what could
            not be removed. Where the block fails they are notes of the exception.
    Raises: DestinationError: the target exists, holds what ckptconv did not write, is being written by another run,
        cannot be written or has no room.
    """
    remarks = [] if remarks is None else remarks
    try:
        target = Path(os.path.abspath(target))
        _require_free(target, overwrite=overwrite)
        absent = [parent for parent in target.parents if not parent.exists()]
        with _without(absent), locked(target) as lock:
            if lock.exclusive:
                remarks += clear(lock)
            remarks += interrupted_replacements(target.parent, but=target.name)
            _require_free(target, overwrite=overwrite)
            _require_room(target.parent, needs)
            stage = _Stage(new_stage(target))
            lock.record(stage.path)
            with _removed(stage, remarks):
                yield stage.path
                _fsync_tree(stage.path)
                _publish(stage, target, absent, overwrite=overwrite)
    except OSError as error:
        failure = DestinationError(_reason(target, error))
        raise _noted(failure, remarks) from None
    except CkptconvError as error:
        raise _noted(error, remarks) from None


def _noted(error: CkptconvError, remarks: Sequence[str]) -> CkptconvError:
    """Add what else the user should know to an error."""
    for remark in remarks:
        error.add_note(remark)
    return error


@contextmanager
def _without(absent: Sequence[Path]) -> Iterator[None]:
    """Remove parents that were made for the target, the deepest first, where it did not come into being."""
    try:
        yield
    finally:
        with signals_blocked():
            for parent in absent:
                with suppress(OSError):  # it is not empty where the run succeeded
                    parent.rmdir()


@contextmanager
def _removed(stage: _Stage, remarks: list[str]) -> Iterator[None]:
    """Make a directory, and remove in the end what was not published, or was replaced."""
    path = stage.path
    try:
        path.mkdir()
        yield
    except SourceError as error:
        if str(path) not in str(error):
            raise
        text = str(error).replace(f"{path}{os.sep}", "")
        # What was to be read is no source, but what this run wrote.
        raise DestinationError(
            f"what was written cannot be read back; nothing was published.\n{text}"
        ) from None
    finally:
        with signals_blocked():
            remarks += removal_remarks(stage.path)


def _require_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that exists, and even with `overwrite` one that ckptconv did not write."""
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise DestinationError(
            f"{target}: exists already; give another directory, or --overwrite to replace it."
        )
    require_replaceable(target)


def _require_room(parent: Path, needs: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < needs:
        raise DestinationError(
            f"{parent}: needs {needs} bytes, the disk has {free} free; nothing was written."
        )


def _publish(stage: _Stage, target: Path, absent: Sequence[Path], *, overwrite: bool) -> None:
    """Put the stage in the target's place; no signal comes between the rename and the knowledge of it."""
    with signals_blocked():
        if overwrite and os.path.lexists(target):
            require_replaceable(target)  # once more: minutes have passed
            stage.path = exchange(stage.path, target)
        else:
            place(stage.path, target)
        note_published(str(target))
        _confirm(target, [target.parent, *(parent.parent for parent in absent)])


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
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = " Free some space and run again." if full else ""
    return (
        f"{target}: cannot be written ({error.strerror or error}); nothing was published.{advice}"
    )
