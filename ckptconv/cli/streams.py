"""Standard input, output and error as a run needs them, whatever the caller closed or broke.

A stream that is closed is opened on the null device before anything else is: else the next file that is opened gets its
number, and a message would be written into a checkpoint. Standard error never fails, since nobody could be told. Of
standard output only a reader that went away, as `head` does, is no error.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Buffer

STDOUT, STDERR = 1, 2
NULL_FLAGS = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)
"""How the null device takes the place of descriptors 0 to 2. A result that is written to a closed standard output
fails as it would have; a message to a closed standard error vanishes."""


def prepare_streams() -> None:
    """Open what is closed, and make the streams of Python fail only as said above."""
    for number, flags in enumerate(NULL_FLAGS):
        try:
            os.fstat(number)
        except OSError:
            fd = os.open(os.devnull, flags)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            os.set_inheritable(number, True)
    if sys.stdout is sys.__stdout__:  # else somebody took its place, as tests do
        sys.stdout = _wrapped(_Output(STDOUT, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _wrapped(_Messages(STDERR, "w", closefd=False), sys.stderr)


def silence_stdout() -> None:
    """Let what is still to be written to standard output vanish."""
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, STDOUT)
    os.close(fd)


class _Output(io.FileIO):
    """Standard output: a reader that went away ends the output, not the run."""

    def write(self, data: Buffer, /) -> int:
        """Write, or let it vanish."""
        try:
            return super().write(data)
        except BrokenPipeError:
            silence_stdout()
            return memoryview(data).nbytes


class _Messages(io.FileIO):
    """Standard error: what cannot be written vanishes."""

    def write(self, data: Buffer, /) -> int:
        """Write, or let it vanish."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _wrapped(raw: io.FileIO, stream: TextIO | None) -> TextIO:
    """Return a text stream over a descriptor, with the encoding of the one whose place it takes."""
    encoding = stream.encoding if stream is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=raw.fileno() == STDERR or raw.isatty(),
    )
