"""Threads that all stand before a signal can come, and that are given up together."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Barrier
from typing import TypeVar

from ckptconv.interrupts import held

T = TypeVar("T")


def workers(count: int) -> ThreadPoolExecutor:
    """Return a pool whose threads have all begun, so that no signal comes while one begins."""
    with held():
        pool = ThreadPoolExecutor(count)
        together = Barrier(count + 1)
        for _ in range(count):
            pool.submit(together.wait)
        together.wait()
    return pool


def finish(futures: Sequence[Future[T]]) -> list[T]:
    """Wait for all; when one raises, or a signal comes, give up those that have not begun."""
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        return [future.result() for future in futures if not future.cancelled()]
    finally:
        for future in futures:
            future.cancel()
