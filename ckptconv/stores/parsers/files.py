"""Positioned reads and writes that never come back short."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from ckptconv.base.errors import SourceError
from ckptconv.base.files import open_source
from ckptconv.base.unchanged import identity, require_same


class FileReader:
    """One file open for positioned reads; a context manager. Raises SourceError as `open_source` does.

    Plain reads instead of a memory map: a map of a file that someone truncates kills the process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = open_source(path)
        status = os.fstat(self._fd)
        self.identity = identity(status)
        """What changes when the file is written to or replaced."""
        self.size = status.st_size
        """Length of the file [bytes]."""
        self.inode = (status.st_dev, status.st_ino)
        """Which file this is, whatever its name leads to meanwhile."""

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it cannot be read any more."""
        os.close(self._fd)

    def require_unchanged(self) -> None:
        """Raise SourceError where the file is not what it was when it was opened."""
        require_same(self.path, self.identity, self._fd)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` bytes from `offset`.

        Raises: SourceError: the file ends before.
        """
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise SourceError(
                f"{self.path}: cut short: needs bytes up to {offset + nbytes}, the file has {self.size}.\n"
                "Fetch or save it once more."
            )
        buffer = bytearray(nbytes)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`.

        Raises: SourceError: the file ends before, or cannot be read.
        """
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise SourceError(
                    f"{self.path}: cannot be read at byte {offset + done} ({error.strerror})"
                ) from None
            if count == 0:
                raise SourceError(
                    f"{self.path}: cut short at byte {offset + done}. Fetch or save it once more."
                )
            done += count


def write_at(fd: int, offset: int, data: memoryview | bytes) -> None:
    """Write all of `data` at `offset`. Raises OSError."""
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], offset + done)
