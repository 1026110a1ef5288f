"""A bar for what takes longer than two seconds, on a terminal; in a log, a line a minute while the models run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from threading import Event, Lock, Thread
from typing import Any, TypeAlias

from ckptconv.base.interrupts import signals_blocked
from ckptconv.base.untrusted import one_line
from ckptconv.run.phases import Phases, listening

Advance: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes to do; a total of 0 says that nobody knows."""

DELAY_SECONDS = 2.0
TICK_SECONDS = 0.5
LOG_SECONDS = 60.0
COLUMNS = 100
CLOCK = "{desc}: {elapsed}"
"""How a bar looks while no byte moves."""


@contextmanager
def progress(label: str, then: str = "", *, quiet: bool = False) -> Iterator[Advance]:
    """Give what an operation calls with bytes done and bytes to do; it draws a bar where somebody can see one.

    The bar stands on stderr, has a rate and the time left, and is gone when the block ends. Before the first byte
    and, as `then`, after the last there is a clock alone.
    """
    if quiet:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        with listening(_logging(then or label)):
            yield lambda done, total: None
        return
    bar = _Bar(label, then)
    try:
        with _ticking(bar), listening(bar.say):
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

    def say(self, phases: Phases) -> None:
        """Show what the frameworks are at, in the place of the label, and cut to the terminal."""
        room = min(COLUMNS, get_terminal_size().columns) - len(": 00:00:00")
        text = one_line(f"{self._then or 'running the models'}: {phases}")
        with self._lock:
            self._bar.set_description_str(text[:room], refresh=False)
            self._bar.bar_format = CLOCK

    def tick(self) -> None:
        """Draw the bar again where it stands: its clock runs on."""
        with self._lock:
            self._bar.update(0)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()


def _logging(label: str) -> Callable[[Phases], None]:
    """Return what writes a line to a log now and then: after a minute for the first time."""
    told = time.monotonic()

    def log(phases: Phases) -> None:
        nonlocal told
        if time.monotonic() - told >= LOG_SECONDS:
            told = time.monotonic()
            sys.stderr.write(one_line(f"{label}: {phases}") + "\n")
            sys.stderr.flush()

    return log


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
