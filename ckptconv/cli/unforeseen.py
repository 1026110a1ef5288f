"""Exceptions that nobody foresaw, as one sentence: what ran out, or where the fault of ckptconv is."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from ckptconv.base.errors import (
    CkptconvError,
    DestinationError,
    InternalError,
    one_line,
    system_reason,
)

SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""What the system answers where it has no file, memory or thread to spare."""
MAX_CHARACTERS = 300
PACKAGE = Path(__file__).parents[1]


def unforeseen(error: Exception) -> CkptconvError:
    """Return what a user is told of an exception that is none of ckptconv's own."""
    if isinstance(error, OSError) and _stdout_fails():
        return DestinationError(f"the result cannot be printed ({system_reason(error)}).")
    if isinstance(error, FileNotFoundError) and not _has_directory():
        return DestinationError(
            "the working directory was deleted; change to another directory and run again."
        )
    kind, text = type(error).__name__, one_line(str(error))[:MAX_CHARACTERS]
    if _is_scarcity(error):
        return InternalError(
            f"the system has no memory, thread or open file left for this run ({text or kind});"
            " see `ulimit -a`."
        )
    return InternalError(
        f"internal error in {_place(error)}: {kind}: {text}\n"
        "Please report it with the output of `ckptconv --version`; --verbose shows the traceback."
    )


def _is_scarcity(error: Exception) -> bool:
    if isinstance(error, MemoryError) or "start new thread" in str(error):
        return True
    return isinstance(error, OSError) and error.errno in SCARCE


def _stdout_fails() -> bool:
    """Tell whether standard output is what failed: what was held back for it fails again."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _has_directory() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd is the same
    except FileNotFoundError:
        return False
    return True


def _place(error: Exception) -> str:
    """Return the innermost line of ckptconv's own that an exception passed."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if PACKAGE in Path(frame.filename).parents
    ]
    if not own:
        return "a library"
    return f"{Path(own[-1].filename).relative_to(PACKAGE)}:{own[-1].lineno}"
