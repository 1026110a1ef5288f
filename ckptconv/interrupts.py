"""Signals as exceptions, but not in the middle of what must not be cut in two."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ckptconv.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class _State:
    """How many blocks hold signals back, and the signal that came meanwhile."""

    held = 0
    pending: int | None = None


def install() -> None:
    """Turn signals into `Interrupted`, raised in the main thread wherever it is; for a command line only."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if _State.held:
        _State.pending = number
        return
    raise Interrupted(number)


@contextmanager
def held() -> Iterator[None]:
    """Hold signals back until the block ends.

    Python's own `Thread.start` is such a block: an exception in its midst leaves a thread that complains.
    """
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
    if not _State.held and _State.pending is not None:
        number, _State.pending = _State.pending, None
        raise Interrupted(number)
