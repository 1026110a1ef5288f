"""Signals as exceptions, but not in the middle of what must not be cut in two."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ckptconv.base.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class _State:
    """How many blocks hold signals back, the signal that came meanwhile, and what was published."""

    held = 0
    pending: int | None = None
    published: str | None = None


def note_published(path: str) -> None:
    """Remember what exists from now on, so that no interruption says that nothing was written."""
    _State.published = path


def install() -> None:
    """Turn the first signal into `Interrupted`, raised in the main thread wherever it is; for a command line only."""
    _State.published = None
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if _State.held:
        _State.pending = number
        return
    _end(number)


def _end(number: int) -> NoReturn:
    """Raise, and let no later signal disturb what is cleared up and said from here on."""
    for signal_number in SIGNALS:
        signal.signal(signal_number, signal.SIG_IGN)
    raise Interrupted(number, _State.published)


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
        _end(number)
