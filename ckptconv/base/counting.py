"""Bytes of many threads added up to one progress."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


def counted(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Return a callback that adds up bytes for `progress(done, total)`, whichever thread calls it."""
    done, lock = 0, Lock()

    def add(nbytes: int) -> None:
        nonlocal done
        with lock:
            done += nbytes
            progress(done, total)

    return add
