"""Threads that are given up together, the signals that may end them, and the progress that they add up to.

A signal becomes an exception wherever the main thread is. In the midst of `submit`, `wait` or `Thread.start`, which
are Python, that would leave a lock taken for ever, and the pool's end would wait for it. So signals are held back
there, and come through between two short waits.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Barrier, Event, Lock, local
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from ckptconv.base.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class _State:
    """How many blocks hold signals back, the signal that came meanwhile, what an interruption says, if the run ends."""

    blocks = 0
    pending: int | None = None
    published: str | None = None
    otherwise = ""
    ended = False


def note_published(path: str) -> None:
    """Remember what exists from now on, so that no interruption says that nothing was written."""
    _State.published = path


def note_until_published(text: str) -> None:
    """Set what an interruption says from now on, such as that nothing was written, until something is published."""
    _State.otherwise, _State.published = text, None


def install() -> None:
    """Turn the first signal into `Interrupted`, raised in the main thread wherever it is; for a command line only.

    A signal that the parent ignores, as `nohup` and shells that start a job in the background do, stays ignored.
    """
    _State.published, _State.otherwise, _State.ended = None, "", False
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _interrupt)


def note_done() -> None:
    """Let no signal disturb how Python ends: all that was asked for is done and said."""
    _State.ended = True


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
    raise Interrupted(number, _State.published, _State.otherwise)


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


A = TypeVar("A")
T = TypeVar("T")

WAIT_SECONDS = 0.1
"""How long a signal may have to wait."""


class Workers:
    """A pool that only the main thread gives work."""

    def __init__(self, count: int) -> None:
        """Take the number of threads."""
        from concurrent.futures import ThreadPoolExecutor  # here, since every command imports this

        self._pool = ThreadPoolExecutor(count)
        self.count = count

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.shutdown()

    def submit(self, work: Callable[..., T], /, *args: Any, **more: Any) -> Future[T]:
        """Add work, which runs under the limits that hold here; signals wait."""
        with signals_blocked():
            return self._pool.submit(copy_context().run, work, *args, **more)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end what they have begun; signals wait."""
        with signals_blocked():
            self._pool.shutdown(wait, cancel_futures=cancel_futures)


MAX_WORKERS = 8
"""Of one pool: beside them, files are hashed by as many threads, and each has buffers of its own (2 to 16 MB)."""
MIN_WORKERS = 2
"""Also on one core: one works while another one waits for the disk."""
VARIABLE = "CKPTCONV_WORKERS"
"""Threads of a pool, whatever cores there are: to measure, and for machines that are shared."""
MOST = 64
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""How much processor time this container may use, in how much time [us]; `max` stands for all."""


def worker_count() -> int:
    """Return how many threads read, sum, compare and write: all of these release Python's lock.

    Raises: UsageError: the environment asks for a count that is none.
    """
    text = os.environ.get(VARIABLE, "")
    if text:
        # of few digits: Python takes no number of thousands
        count = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if not 1 <= count <= MOST:
            raise UsageError(f"{VARIABLE}: expected a number from 1 to {MOST}, found {text[:40]!a}")
        return count
    return max(MIN_WORKERS, min(core_count(), MAX_WORKERS))


def core_count() -> int:
    """Return how many cores this process may use, by its affinity and by the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or no bound
        return cores


def workers(count: int | None = None) -> Workers:
    """Return a pool whose threads, as many as `worker_count` says or another count, have all begun.

    Raises: RuntimeError: the system starts no more threads; those that had begun have ended.
    """
    count = count or worker_count()
    with signals_blocked():
        pool = Workers(count)
        together = Barrier(count + 1)
        try:
            for _ in range(count):
                pool.submit(together.wait)
            together.wait()
        except BaseException:
            together.abort()  # or those that have begun wait for ever, and the end of the process for them
            pool.shutdown()
            raise
    return pool


def _note_failure(failed: Event, future: Future[Any]) -> None:
    if not future.cancelled() and future.exception():
        failed.set()


def finish(futures: Sequence[Future[T]]) -> list[T]:
    """Wait for all; when one raises, or a signal comes, give up those that have not begun.

    It waits for one after the other: to wait for 100,000 at once looks at each of them again and again.
    """
    from concurrent.futures import wait

    failed = Event()
    try:
        with signals_blocked():
            for future in futures:
                future.add_done_callback(partial(_note_failure, failed))
        for future in futures:
            while not future.done() and not failed.is_set():
                with signals_blocked():
                    wait([future], WAIT_SECONDS)
        return [future.result() for future in futures if future.done() and not future.cancelled()]
    finally:
        for future in futures:
            future.cancel()


def run_all(pool: Workers, work: Callable[[A], T], items: Sequence[A]) -> list[T]:
    """Do the same work for every item, begun in their order by all threads of a pool; return the results in it.

    A thread takes the next item as soon as it is free, so an item costs no more than its result: a future of its own
    takes 3 kB, and a checkpoint may have 100,000 tensors.

    Raises: what the first of the items raises for which the work fails; those that have not begun are given up.
    """
    results: list[Any] = [None] * len(items)
    errors: dict[int, BaseException] = {}
    numbers, ended = iter(range(len(items))), Event()

    def take() -> None:
        while not ended.is_set() and (number := next(numbers, None)) is not None:
            try:
                results[number] = work(items[number])
            except BaseException as error:  # raised by the caller: the pool would keep it to itself
                errors[number] = error
                ended.set()

    try:
        finish([pool.submit(take) for _ in range(min(pool.count, len(items)))])
    finally:
        ended.set()
    if errors:
        raise errors[min(errors)]
    return results


class PerThread(Generic[T]):
    """Something that every thread makes once, such as its buffers, and keeps from one task to the next."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._local = make, local()

    @property
    def own(self) -> T:
        """This thread's."""
        if not hasattr(self._local, "own"):
            self._local.own = self._make()
        own: T = self._local.own
        return own


def counted(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Return a callback that adds up bytes for `progress(done, total)`, whichever thread calls it."""
    done, lock = 0, Lock()

    def add(nbytes: int) -> None:
        nonlocal done
        with lock:
            done += nbytes
            progress(done, total)

    return add
