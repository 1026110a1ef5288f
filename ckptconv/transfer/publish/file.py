"""One file that is there whole, or as it was: written beside its place, flushed, and renamed over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptconv.base.errors import DestinationError


def require_place(path: Path) -> None:
    """Refuse a place where no file can be put, before the work that fills it begins.

    Raises: DestinationError: the folder is missing or cannot be written, or a directory has the name.
    """
    folder = path.parent
    if path.is_dir():
        raise DestinationError(f"{path}: is a directory, not a file to write.")
    if not folder.is_dir():
        raise DestinationError(f"{path}: there is no folder {folder}; make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DestinationError(f"{path}: cannot be written (the folder does not allow it)")


def fsync(path: Path) -> None:
    """Make the content of a file, or the names in a directory, durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, text: str) -> None:
    """Write a file of UTF-8, in the place of what has its name; not through a link.

    Raises: DestinationError: it cannot be written; what was there is as it was.
    """
    with replaced(path) as beside, beside.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a name beside a file's; what the block writes there, and flushes, takes the file's place.

    Raises: DestinationError: it cannot be written; what was there is as it was.
    """
    beside = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise DestinationError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            beside.unlink()
