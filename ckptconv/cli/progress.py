"""A bar for what takes longer than two seconds, on a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from threading import Event, Lock, Thread
from typing import Any, TypeAlias

from ckptconv.base.interrupts import signals_blocked

Advance: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes to do; a total of 0 says that nobody knows."""

DELAY_SECONDS = 2.0
TICK_SECONDS = 0.5
COLUMNS = 100
CLOCK = "{desc}: {elapsed}"
"""How a bar looks while no byte moves."""


@contextmanager
def progress(label: str, then: str = "", *, quiet: bool = False) -> Iterator[Advance]:
    """Give what an operation calls with bytes done and bytes to do; it draws a bar where somebody can see one.

    The bar stands on stderr, has a rate and the time left, and is gone when the block ends. Before the first byte
    and, as `then`, after the last there is a clock alone.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    bar = _Bar(label, then)
    try:
        with _ticking(bar):
            yield bar.advance
    finally:
        bar.close()


class _Bar:
    """tqdm's bar, moved by one thread at a time."""

    def __init__(self, label: str, then: str) -> None:
        from tqdm import tqdm  # here, since most runs need none

        tqdm.monitor_interval = 0  # its own watching thread would begin where a signal may come
        self._lock, self._then = Lock(), then
        self._bar: Any = tqdm(
            desc=label,
            unit="B",
            unit_scale=True,
            delay=DELAY_SECONDS,
            miniters=0,
            mininterval=TICK_SECONDS / 2,
            leave=False,
            file=sys.stderr,
            bar_format=CLOCK,
            ncols=min(COLUMNS, get_terminal_size().columns),
        )

    def advance(self, done: int, total: int) -> None:
        """Move the bar to `done` bytes of `total`."""
        with self._lock:
            self._bar.total = total or None
            if self._then and done >= total > 0:
                self._bar.set_description_str(self._then, refresh=False)
                self._bar.bar_format = CLOCK
            else:
                self._bar.bar_format = None  # tqdm's own
            self._bar.update(done - self._bar.n)

    def tick(self) -> None:
        """Draw the bar again where it stands: its clock runs on."""
        with self._lock:
            self._bar.update(0)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()


@contextmanager
def _ticking(bar: _Bar) -> Iterator[None]:
    """Draw a bar again and again, since its clock must run where no byte moves, as while a framework computes."""
    ended = Event()

    def tick() -> None:
        while not ended.wait(TICK_SECONDS):
            bar.tick()

    thread = Thread(target=tick, daemon=True)
    with signals_blocked():
        thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
