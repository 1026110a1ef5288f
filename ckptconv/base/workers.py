"""Threads that are given up together, and that no signal can lock out.

A signal becomes an exception wherever the main thread is (`interrupts.py`). In the midst of `submit`, `wait` or
`Thread.start`, which are Python, that would leave a lock taken for ever, and the pool's end would wait for it.
So signals are held back there, and come through between two short waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Barrier
from typing import Any, TypeVar

from ckptconv.base.interrupts import signals_blocked

T = TypeVar("T")

WAIT_SECONDS = 0.1
"""How long a signal may have to wait."""


class Workers(ThreadPoolExecutor):
    """A pool that only the main thread gives work."""

    def submit(self, work: Callable[..., T], /, *args: Any, **more: Any) -> Future[T]:
        """Add work, which runs under the limits that hold here; signals wait."""
        with signals_blocked():
            return super().submit(copy_context().run, work, *args, **more)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end what they have begun; signals wait."""
        with signals_blocked():
            super().shutdown(wait, cancel_futures=cancel_futures)


def workers(count: int) -> Workers:
    """Return a pool whose threads have all begun."""
    with signals_blocked():
        pool = Workers(count)
        together = Barrier(count + 1)
        for _ in range(count):
            pool.submit(together.wait)
        together.wait()
    return pool


def finish(futures: Sequence[Future[T]]) -> list[T]:
    """Wait for all; when one raises, or a signal comes, give up those that have not begun."""
    try:
        ended = False
        while not ended:
            with signals_blocked():
                waiting = wait(futures, WAIT_SECONDS, FIRST_EXCEPTION)
            failed = any(not future.cancelled() and future.exception() for future in waiting.done)
            ended = failed or not waiting.not_done
        return [future.result() for future in futures if future.done() and not future.cancelled()]
    finally:
        for future in futures:
            future.cancel()
