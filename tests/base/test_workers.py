"""`workers`: threads that stand, and work that is given up together."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from threading import Event

import pytest

from ckptconv.base import workers as module
from ckptconv.base.errors import UsageError
from ckptconv.base.workers import VARIABLE, finish, run_all, worker_count, workers

SIGNALLED = """
import random, signal
from ckptconv.base import workers as module
from ckptconv.base.workers import finish, workers
signal.signal(signal.SIGALRM, module._interrupt)
rng, ended = random.Random(0), 0
for _ in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0003, 0.006))
        with workers(2) as pool:
            finish([pool.submit(pow, 3, n) for n in range(400)])
        signal.setitimer(signal.ITIMER_REAL, 0)
    except module.Interrupted:
        ended += 1
print(ended > 0)
"""


def test_all_threads_stand() -> None:
    """A pool has all its threads before it gets any work."""
    before = threading.active_count()
    with workers(3) as pool:
        assert threading.active_count() == before + 3
        assert finish([pool.submit(pow, 2, n) for n in range(5)]) == [1, 2, 4, 8, 16]


def test_a_thread_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system starts no more threads, that is an error, and those that had begun end."""
    start, begun = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        workers(3)
    for thread in begun:
        thread.join(60)
    assert [thread.is_alive() for thread in begun] == [False, False]


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


def test_results_are_in_the_items_order() -> None:
    """Every item is done once, by all threads, whichever of them is free first."""
    names: set[str] = set()

    def work(number: int) -> int:
        if number < 3:
            together.wait()
        names.add(threading.current_thread().name)
        return number * number

    together = threading.Barrier(3, timeout=60)
    with workers(3) as pool:
        assert run_all(pool, work, range(50)) == [number * number for number in range(50)]
        assert run_all(pool, work, []) == []
    assert len(names) == 3


def test_of_several_errors_the_first_items_is_raised() -> None:
    """Whichever fails first in time, and no item begins after it."""
    begun, failed = [], Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            failed.wait(60)
            raise KeyError("first item")
        failed.set()
        raise KeyError("first in time")

    with workers(2) as pool, pytest.raises(KeyError, match="first item"):
        run_all(pool, work, range(1000))
    assert sorted(begun) == [0, 1]


@pytest.mark.parametrize(
    ("cores", "quota", "count"),
    [
        (1, "max 100000", 2),
        (2, "max 100000", 2),
        (4, "", 4),
        (64, "max 100000", 8),
        (64, "250000 100000", 3),
        (64, "100000 0", 8),
        (4, "800000 100000", 4),
    ],
)
def test_threads_are_as_many_as_cores_may_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, quota: str, count: int
) -> None:
    """By affinity and by the container's quota; two at least, eight at most."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(module, "QUOTA", tmp_path / "cpu.max")
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert worker_count() == count


def test_the_environment_may_ask_for_another_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is no count is refused."""
    monkeypatch.setenv(VARIABLE, "5")
    with workers() as pool:
        assert (worker_count(), pool.count) == (5, 5)
    for text in ("0", "65", "-1", "two", "\u0663", "0000000019999", "9" * 5000):
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(UsageError, match="CKPTCONV_WORKERS: expected a number from 1 to 64"):
            worker_count()


@pytest.mark.thorough
def test_no_signal_locks_a_pool_out() -> None:
    """Wherever a signal strikes, the pool comes to its end: 200 times, while work is added and waited for."""
    process = subprocess.run(
        [sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=120, check=False
    )
    assert (process.stdout, process.returncode) == ("True\n", 0), process.stderr
