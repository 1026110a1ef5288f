"""An output exists whole, or not at all, and never in the place of an input.

Everything of a directory is written into a hidden one beside the target, made durable, and renamed into place.
On an error or a signal the hidden directory goes away; the target was never touched. What a killed run
left there is removed, or put back, by the next run of the same target.

A file by itself, such as a report or a trace, is written beside its place, flushed, and renamed over what has its name;
its mode and owner stay. What is no regular file cannot be replaced so: a device, a pipe and `-` (stdout) are written
through. A link is followed as the kernel allows it; the file that it leads to is replaced, not the link. A path is told
by what it leads to, not by how it is spelt: links, hard links, `..` and `/dev/stdout` are seen through.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import combinations, islice
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO, NoReturn, TypeAlias

from ckptconv.base.errors import CkptconvError, DestinationError, SourceError, system_reason
from ckptconv.base.leftovers import interrupted_replacements, new_stage
from ckptconv.base.presence import status_of, walked
from ckptconv.base.workers import note_published, signals_blocked
from ckptconv.transfer.publish.lock import (
    clear,
    exchange,
    locked,
    place,
    removal_remarks,
    require_replaceable,
)

STDOUT = Path("-")
"""The name that stands for standard output."""
WRITTEN_THROUGH = (stat.S_IFIFO, stat.S_IFCHR)
REFUSED = {
    stat.S_IFDIR: "is a directory, not a file to write",
    stat.S_IFSOCK: "is a socket, which cannot be written like a file",
    stat.S_IFBLK: "is a block device, which no report is written to",
}


def require_place(path: Path) -> None:
    """Refuse a place where no file can be put, before the work that fills it begins.

    Raises: DestinationError: the folder is missing or cannot be written; or a directory, a socket, a block device,
        a file that may not be written or a link that leads nowhere has the name.
    """
    if is_stdout(path):
        return
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        _require_new(path)
        return
    except OSError as error:
        raise _unwritable(path, error) from None
    kind = stat.S_IFMT(status.st_mode)
    if kind in REFUSED:
        raise DestinationError(f"{path}: {REFUSED[kind]}.")
    if kind in WRITTEN_THROUGH:
        if not os.access(path, os.W_OK):
            raise DestinationError(f"{path}: cannot be written (Permission denied)")
        return
    try:  # the kernel decides whether the file, and a link to it, may be written; nothing is changed
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError as error:
        raise _unwritable(path, error) from None


def _require_new(path: Path) -> None:
    """Refuse a name under which no file can be made. Raises DestinationError."""
    folder = path.parent
    if path.is_symlink():
        raise DestinationError(
            f"{path}: is a link that leads nowhere; remove it or name another file."
        )
    if not folder.is_dir():
        raise DestinationError(f"{path}: the directory {folder} does not exist; create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DestinationError(f"{path}: cannot be written (the folder does not allow it)")


def is_stdout(path: Path) -> bool:
    """Tell whether a path is `-`, or leads to what standard output writes to: `/dev/stdout`, `/dev/fd/1`."""
    if path == STDOUT:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(1)) and not is_null(path)
    except (OSError, ValueError):
        return False


def is_null(path: Path) -> bool:
    """Tell whether a path is the device that forgets what is written to it."""
    try:
        return os.path.samestat(path.stat(), Path(os.devnull).stat())
    except OSError:
        return False


def fsync(path: Path) -> None:
    """Make the content of a file, or the names in a directory, durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


SYNC_FILE_RANGE_WRITE = 2


@cache
def _sync_file_range() -> Callable[..., int] | None:
    """Return Linux's call of that name, which Python does not have; None where the C library lacks it."""
    import ctypes

    call: Callable[..., int] | None = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is None:
        return None
    return lambda fd, offset, nbytes: call(
        fd, ctypes.c_int64(offset), ctypes.c_int64(nbytes), ctypes.c_uint(SYNC_FILE_RANGE_WRITE)
    )


def begin_write_back(fd: int, offset: int, nbytes: int) -> None:
    """Let the system begin to put a run of a file on the disk, so that `fsync` has less to wait for.

    It is a hint: nothing waits for it, and what fails of it fails again in `fsync`, which alone makes anything durable.
    """
    call = _sync_file_range()
    if call is not None:
        call(fd, offset, nbytes)


def write_file(path: Path, text: str) -> None:
    """Write a file of UTF-8; see above for what has the name already.

    Raises: DestinationError: it cannot be written; a regular file is as it was.
    """
    with replaced(path) as draft, draft.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a free name; what the block writes under it, and flushes, takes the place of `path`.

    Raises: DestinationError: it cannot be written; a regular file is as it was.
    """
    try:
        real = _replaceable(path)
        with _scratch(real) as folder:
            draft = folder / "draft"
            yield draft
            beside = real is not None and folder.parent == real.parent
            if real is None or not beside or not _take_place(draft, real):
                _write_through(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _replaceable(path: Path) -> Path | None:
    """Return the regular file that is replaced, without links; None where the path is written through.

    Raises: DestinationError: as `require_place`.
    """
    require_place(path)
    if is_stdout(path):
        return None
    try:
        status = path.stat()
    except FileNotFoundError:
        return Path(os.path.abspath(path))
    return Path(os.path.realpath(path)) if stat.S_ISREG(status.st_mode) else None


@contextmanager
def _scratch(real: Path | None) -> Iterator[Path]:
    """Make a directory that nobody else may enter: beside the file, or else among temporary files."""
    folder = None
    if real is not None:
        try:
            folder = Path(mkdtemp(prefix=".ckptconv-", dir=real.parent))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
    folder = folder or Path(mkdtemp(prefix="ckptconv-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_place(draft: Path, real: Path) -> bool:
    """Rename a draft over a file, with its mode and owner; return False where only the file itself can be written to.

    Raises: OSError: neither; the file is as it was.
    """
    try:
        if real.exists():
            old, own = real.lstat(), draft.stat()
            if (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid):
                os.chown(draft, old.st_uid, old.st_gid)
            draft.chmod(stat.S_IMODE(old.st_mode) & 0o777)
        draft.replace(real)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.EBUSY):  # another's file; a mount point
            return False
        raise
    return True


def _write_through(draft: Path, path: Path) -> None:
    """Copy a draft to what is no regular file, or cannot be replaced. Raises OSError."""
    with draft.open("rb") as source:
        if is_stdout(path):
            _to_stdout(source)
            return
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
        fd = os.open(path, flags | (os.O_TRUNC if path.is_file() else 0))
        with os.fdopen(fd, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


def _to_stdout(source: BinaryIO) -> None:
    """Copy an open file to standard output; a reader that goes away, as `head` does, is no error. Raises OSError."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    sys.stdout.flush()
    try:
        shutil.copyfileobj(source, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unwritable(path: Path, error: OSError) -> DestinationError:
    return DestinationError(f"{path}: cannot be written ({system_reason(error)})")


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
    for file in islice(walked(folder), MAX_ENTRIES):
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
        absent = [parent for parent in target.parents if status_of(parent) is None]
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
    if status_of(target, follow=False) is None:
        return
    if not overwrite:
        raise DestinationError(
            f"{target}: already exists; give another directory, or --overwrite to replace it."
        )
    require_replaceable(target)


def _require_room(parent: Path, needs: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < needs:
        raise DestinationError(
            f"{parent}: needs {needs:,} bytes, the disk has {free:,} free; nothing was written."
        )


def _publish(stage: _Stage, target: Path, absent: Sequence[Path], *, overwrite: bool) -> None:
    """Put the stage in the target's place; no signal comes between the rename and the knowledge of it."""
    with signals_blocked():
        if overwrite and status_of(target, follow=False):
            require_replaceable(target)  # once more: minutes have passed
            stage.path = exchange(stage.path, target)
        else:
            place(stage.path, target)
        note_published(str(target))
        _confirm(target, [target.parent, *(parent.parent for parent in absent)])


def _fsync_tree(folder: Path) -> None:
    """Make every file and directory below `folder` durable, the deepest first."""
    for root, _, files in os.walk(folder, topdown=False, onerror=_fail):
        for name in files:
            fsync(Path(root, name))
        fsync(Path(root))


def _fail(error: OSError) -> NoReturn:
    """End a walk that would go on without what a directory holds."""
    raise error


def _confirm(target: Path, folders: Sequence[Path]) -> None:
    """Make new names durable. Raises DestinationError: it is published, but may not survive a power cut."""
    try:
        for folder in folders:
            fsync(folder)
    except OSError as error:
        raise DestinationError(
            f"{target}: is published and whole, but the system would not confirm that it is on the disk"
            f" ({system_reason(error)}). Run sync, and check the disk."
        ) from None


def _reason(target: Path, error: OSError) -> str:
    """Say what the system said, and that nothing was published."""
    lies_there = os.path.lexists(target.parent)  # noqa: TID251  # which words, and no more
    if lies_there and not target.parent.is_dir():
        return f"{target.parent}: is not a directory, so nothing can be written into it."
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
        return f"{target}: appeared while this run was under way; it was left as it is."
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = " Free some space and run again." if full else ""
    return f"{target}: cannot be written ({system_reason(error)}); nothing was published.{advice}"
