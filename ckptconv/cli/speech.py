"""What a command says: results to stdout, notices and errors to stderr; colour, bars and wrapping on terminals alone.

A stream that is closed is opened on the null device before anything else is: else the next file that is opened gets its
number, and a message would be written into a checkpoint. Standard error never fails, since nobody could be told. Of
standard output only a reader that went away, as `head` does, is no error.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from textwrap import fill
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import click

from ckptconv.base.errors import DestinationError, names_in_one_line, one_line, system_reason
from ckptconv.base.workers import signals_blocked

if TYPE_CHECKING:
    from collections.abc import Buffer

    from ckptconv.base.strict_json import Json
    from ckptconv.report.text import Screen
    from ckptconv.run.phases import PhaseListener, Phases


STDOUT, STDERR = 1, 2
NULL_FLAGS = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)
"""How the null device takes the place of descriptors 0 to 2. A result that is written to a closed standard output
fails as it would have; a message to a closed standard error vanishes."""


def prepare_streams() -> None:
    """Open what is closed, and make the streams of Python fail only as said above."""
    for number, flags in enumerate(NULL_FLAGS):
        try:
            os.fstat(number)
        except OSError:
            fd = os.open(os.devnull, flags)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            os.set_inheritable(number, True)
    if sys.stdout is sys.__stdout__:  # else somebody took its place, as tests do
        sys.stdout = _wrapped(_Output(STDOUT, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _wrapped(_Messages(STDERR, "w", closefd=False), sys.stderr)


def silence_stdout() -> None:
    """Let what is still to be written to standard output vanish."""
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, STDOUT)
    os.close(fd)


class _Output(io.FileIO):
    """Standard output: a reader that went away ends the output, not the run."""

    def write(self, data: Buffer, /) -> int:
        """Write, or let it vanish."""
        try:
            return super().write(data)
        except BrokenPipeError:
            silence_stdout()
            return memoryview(data).nbytes


class _Messages(io.FileIO):
    """Standard error: what cannot be written vanishes."""

    def write(self, data: Buffer, /) -> int:
        """Write, or let it vanish."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _wrapped(raw: io.FileIO, stream: TextIO | None) -> TextIO:
    """Return a text stream over a descriptor, with the encoding of the one whose place it takes."""
    encoding = stream.encoding if stream is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=raw.fileno() == STDERR or raw.isatty(),
    )


Advance: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes to do; a total of 0 says that nobody knows."""

DELAY_SECONDS = 2.0
TICK_SECONDS = 0.5
LOG_SECONDS = 60.0
CLOCK = "{desc}: {elapsed}"
"""How a bar looks while no byte moves."""


@contextmanager
def progress(
    label: str, then: str = "", *, quiet: bool = False, models: bool = False
) -> Iterator[Advance]:
    """Give what an operation calls with bytes done and bytes to do; it draws a bar where somebody can see one.

    The bar stands on stderr, has a rate and the time left, and is gone when the block ends. Before the first byte
    and, as `then`, after the last there is a clock alone. Where the operation runs `models`, what they are at is shown
    as well; in a log, once a minute.
    """
    if quiet:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        with _listening(_logging(then or label)) if models else nullcontext():
            yield lambda done, total: None
        return
    bar = _Bar(label, then)
    try:
        with _ticking(bar), _listening(bar.say) if models else nullcontext():
            yield bar.advance
    finally:
        bar.close()


def _listening(listener: PhaseListener) -> AbstractContextManager[None]:
    from ckptconv.run.phases import listening  # here, since most commands run no model

    return listening(listener)


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
            ncols=min(COLUMNS, terminal_columns()),
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
        room = min(COLUMNS, terminal_columns()) - len(": 00:00:00")
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
    logged_at = time.monotonic()

    def log(phases: Phases) -> None:
        nonlocal logged_at
        if time.monotonic() - logged_at >= LOG_SECONDS:
            logged_at = time.monotonic()
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


@dataclass(slots=True)
class OutputStyle:
    """How a command's options want its output; the object of Click's context, and kept for an error's message."""

    json: bool = False
    verbose: bool = False


MAX_NOTICES = 20
"""Notices shown without --verbose; --json has them all."""
COLUMNS = 100
COLOURS = {
    "MATCH": "green",
    "MISMATCH": "red",
    "WHOLE": "green",
    "CHANGED": "red",
    "NOT PROVEN": "red",
    "NOT DONE": "red",
    "REFUSED": "red",
    "FAILED": "red",
    "cause": "red",
    "likely cause": "red",
    "Error": "red",
    "note": "yellow",
}
"""Words that are coloured where they begin a line and a colon or the line's end follows."""
VERDICTS = "|".join(word for word in COLOURS if word.isupper())
VERDICT = re.compile(rf"(\[\d+/\d+\] )({VERDICTS})(?= )|({VERDICTS})(?=  )")
"""A verdict at the beginning of a table's row, or after a count: how `batch` lists what came of each conversion."""


def set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Keep --verbose: Click's callback."""
    ctx.ensure_object(OutputStyle).verbose = value


def set_json(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Keep --json: Click's callback."""
    ctx.ensure_object(OutputStyle).json = value
    return value


def verbose() -> bool:
    """Return whether the user asked for more words."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and ctx.ensure_object(OutputStyle).verbose


def say(quiet: bool, notices: tuple[str, ...]) -> None:
    """Print notices to stderr, unless the user wants quiet."""
    from ckptconv.report.text import one_line

    if quiet:
        return
    shown = notices if verbose() else notices[:MAX_NOTICES]
    for notice in shown:
        to_stderr(f"note: {one_line(notice)}")
    if len(notices) > len(shown):
        to_stderr(f"note: {len(notices) - len(shown)} more; --verbose and --json list them all")


def show(
    as_json: bool,
    value: Callable[[], dict[str, Json]],
    text: Callable[[Screen], str],
    *,
    quiet: bool = False,
    stdout_taken: bool = False,
) -> None:
    """Print a result to stdout, as JSON or as text; quiet prints no text.

    Where a report goes to stdout, the text goes to stderr.
    """
    from ckptconv.report.text import dump, printable

    try:
        if as_json:
            click.echo(_with_addresses(dump(value())))
        elif not quiet:
            stream = sys.stderr if stdout_taken else sys.stdout
            shown = printable(without_breaks(text(screen(stream))))
            click.echo(painted(shown, stream), err=stdout_taken)
    except OSError as error:
        silence_stdout()
        raise DestinationError(
            f"the result cannot be printed ({system_reason(error)}); the work itself is done."
        ) from None


def screen(stream: TextIO) -> Screen:
    """Return where a result is shown: a terminal, or a pipe."""
    from ckptconv.report.text import PIPE, Screen

    if not stream.isatty():
        return PIPE
    columns = terminal_columns()
    return Screen(min(COLUMNS, columns), columns)


def terminal_columns() -> int:
    """Return the width of the terminal, or what COLUMNS says."""
    from shutil import get_terminal_size  # here, since help in a pipe asks for none

    return get_terminal_size().columns


def help_columns(stream: TextIO) -> int | None:
    """Return how wide help is in a pipe, as results are; None: as wide as the terminal, as Click does it."""
    return None if stream.isatty() else COLUMNS


def to_stderr(text: str) -> None:
    """Print lines to stderr: wrapped to fit where it is a terminal, untouched where it is not."""
    from ckptconv.base.errors import printable

    text = without_breaks(text)
    if sys.stderr.isatty():
        text = "\n".join(_fitted(line) for line in text.split("\n"))
    click.echo(painted(printable(text), sys.stderr), err=True)


def without_breaks(text: str) -> str:
    """Escape the names that came in with the command line where they hold line breaks.

    A shell's `*` puts there what others have called their files. Messages of several lines quote paths as they are, so
    that this is where they can still be told from breaks of ours.
    """
    return names_in_one_line(_with_addresses(text), (*sys.argv[1:], _directory()))


def _with_addresses(text: str) -> str:
    from ckptconv.base.files import with_addresses  # here, since help quotes no path

    return with_addresses(text)


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a text, not a Path
    except FileNotFoundError:
        return ""


def _fitted(line: str) -> str:
    """Cut a line between words, so that it fits the terminal; a path stays whole."""
    width = min(COLUMNS, terminal_columns())
    return fill(line, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def painted(text: str, stream: TextIO) -> str:
    """Colour the words of `COLOURS` where they begin a line, unless NO_COLOR is set or nobody can see it."""
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return "\n".join(_painted_line(line) for line in text.split("\n"))


def _painted_line(line: str) -> str:
    word, colon, rest = line.partition(":")
    if word in COLOURS:
        return _coloured(word) + colon + rest
    verdict = VERDICT.match(line)
    if verdict is None:
        return line
    count, word = verdict[1] or "", verdict[2] or verdict[3]
    return f"{count}{_coloured(word)}{line[verdict.end() :]}"


def _coloured(word: str) -> str:
    return click.style(word, fg=COLOURS[word], bold=True)


class Timings:
    """When a writing verb began to move bytes, and when it had moved them all: what --verbose tells."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._moving = self._moved = 0.0
        self._nbytes = 0

    def watched(self, advance: Advance) -> Advance:
        """Return a callback that notes its moments and passes bytes done and to do on."""

        def watch(done: int, total: int) -> None:
            self._moved = time.monotonic()
            self._moving = self._moving or self._moved
            self._nbytes = total // 2  # every byte counts twice: written, and read back
            advance(done, total)

        return watch

    def tell(self) -> None:
        """Print the versions and the time of each phase to stderr, if the user asked for more words."""
        if not verbose():
            return
        from ckptconv.base.environment import versions
        from ckptconv.report.text import size

        ran = ", ".join(f"{name} {version}" for name, version in versions().items())
        to_stderr(fill(ran, COLUMNS, break_on_hyphens=False))
        ended = time.monotonic()
        phases = [("headers read, every move planned", (self._moving or ended) - self._started)]
        if self._moving:
            phases.append(
                (f"{size(self._nbytes)} written and read back", self._moved - self._moving)
            )
            phases.append(("flushed to the disk and published", ended - self._moved))
        for what, seconds in phases:
            to_stderr(f"{seconds:7.2f} s  {what}")
