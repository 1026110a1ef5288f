"""`workers`: threads that stand, and work that is given up together."""

from __future__ import annotations

import threading
import time
from threading import Event

import pytest

from ckptconv.workers import finish, workers


def test_all_threads_stand() -> None:
    """A pool has all its threads before it gets any work."""
    before = threading.active_count()
    with workers(3) as pool:
        assert threading.active_count() == before + 3
        assert finish([pool.submit(pow, 2, n) for n in range(5)]) == [1, 2, 4, 8, 16]


def test_the_first_error_gives_up_the_rest() -> None:
    """Work that has not begun is not begun any more, and the error is the caller's."""
    begun, go = [], Event()

    def fail() -> None:
        go.wait(10)
        raise KeyError("first")

    def slow(number: int) -> None:
        begun.append(number)
        time.sleep(0.02)

    with workers(1) as pool:
        futures = [pool.submit(fail), *(pool.submit(slow, n) for n in range(100))]
        go.set()
        with pytest.raises(KeyError, match="first"):
            finish(futures)
    assert len(begun) < 100
    assert any(future.cancelled() for future in futures)
