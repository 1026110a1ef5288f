"""One file, such as a report or a trace: it is there whole, or what was there is as it was.

A regular file is written beside its place, flushed, and renamed over what has its name; its mode and owner stay.
What is no regular file cannot be replaced so: a device, a pipe and `-` (stdout) are written through. A link is
followed as the kernel allows it; the file that it leads to is replaced, not the link.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from ckptconv.base.errors import DestinationError

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
        raise DestinationError(f"{path}: there is no folder {folder}; make it first.")
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
    return DestinationError(f"{path}: cannot be written ({error.strerror or error})")
