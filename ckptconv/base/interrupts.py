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
    """How many blocks hold signals back, the signal that came meanwhile, what was published, whether the run ends."""

    blocks = 0
    pending: int | None = None
    published: str | None = None
    ended = False


def note_published(path: str) -> None:
    """Remember what exists from now on, so that no interruption says that nothing was written."""
    _State.published = path


def install() -> None:
    """Turn the first signal into `Interrupted`, raised in the main thread wherever it is; for a command line only.

    A signal that the parent ignores, as `nohup` and shells that start a job in the background do, stays ignored.
    """
    _State.published, _State.ended = None, False
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if _State.ended:
        return
    if _State.blocks:
        _State.pending = number
        return
    _end(number)


def _end(number: int) -> NoReturn:
    """Raise, and let no later signal disturb what is cleared up and said from here on."""
    _State.ended = True
    raise Interrupted(number, _State.published)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Hold signals back until the block ends.

    Python's own `Thread.start` is such a block: an exception in its midst leaves a thread that complains.
    """
    _State.blocks += 1
    try:
        yield
    finally:
        _State.blocks -= 1
    if not _State.blocks and _State.pending is not None:
        number, _State.pending = _State.pending, None
        _end(number)
