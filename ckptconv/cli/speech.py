"""What a command says: results to stdout, notices and errors to stderr; colour and wrapping on terminals alone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, TextIO

import click

from ckptconv.base.errors import DestinationError
from ckptconv.cli.progress import Advance
from ckptconv.cli.streams import silence_stdout

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.report.text import Screen

VERBOSE = "ckptconv.verbose"
"""Key of Click's context under which --verbose is kept."""
MAX_NOTICES = 20
"""Notices shown without --verbose; --json has them all."""
COLUMNS = 100
COLOURS = {
    "MATCH": "green",
    "MISMATCH": "red",
    "WHOLE": "green",
    "CHANGED": "red",
    "NOT PROVEN": "red",
    "cause": "red",
    "likely cause": "red",
    "Error": "red",
    "note": "yellow",
}
"""Words that are coloured where they begin a line."""


def set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Keep --verbose: Click's callback."""
    ctx.meta[VERBOSE] = value


def verbose() -> bool:
    """Return whether the user asked for more words."""
    ctx = click.get_current_context(silent=True)
    return bool(ctx and ctx.meta.get(VERBOSE))


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
            click.echo(dump(value()))
        elif not quiet:
            stream = sys.stderr if stdout_taken else sys.stdout
            shown = printable(without_breaks(text(screen(stream))))
            click.echo(painted(shown, stream), err=stdout_taken)
    except OSError as error:
        silence_stdout()
        raise DestinationError(
            f"the result cannot be printed ({error.strerror}); the work itself is done."
        ) from None


def screen(stream: TextIO) -> Screen:
    """Return where a result is shown: a terminal, or a pipe."""
    from ckptconv.report.text import PIPE, Screen

    if not stream.isatty():
        return PIPE
    columns = get_terminal_size().columns
    return Screen(min(COLUMNS, columns), columns)


def to_stderr(text: str) -> None:
    """Print lines to stderr: wrapped to fit where it is a terminal, untouched where it is not."""
    from ckptconv.base.untrusted import printable

    text = without_breaks(text)
    if sys.stderr.isatty():
        text = "\n".join(_fitted(line) for line in text.split("\n"))
    click.echo(painted(printable(text), sys.stderr), err=True)


def without_breaks(text: str) -> str:
    """Escape the names that came in with the command line where they hold line breaks.

    A shell's `*` puts there what others have called their files. Messages of several lines quote paths as they are, so
    that this is where they can still be told from breaks of ours.
    """
    paths = (*sys.argv[1:], _directory())
    names = {name for path in paths for name in path.split(os.sep)}  # noqa: PTH206  # any text
    for name in sorted((name for name in names if "\n" in name), key=len, reverse=True):
        text = text.replace(name, name.replace("\n", "\\n"))
    return text


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a text, not a Path
    except FileNotFoundError:
        return ""


def _fitted(line: str) -> str:
    """Cut a line between words, so that it fits the terminal; a path stays whole."""
    width = min(COLUMNS, get_terminal_size().columns)
    return fill(line, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def painted(text: str, stream: TextIO) -> str:
    """Colour the words of `COLOURS` where they begin a line, unless NO_COLOR is set or nobody can see it."""
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return "\n".join(_painted_line(line) for line in text.split("\n"))


def _painted_line(line: str) -> str:
    word, colon, rest = line.partition(":")
    return (
        click.style(word, fg=COLOURS[word], bold=True) + colon + rest if word in COLOURS else line
    )


class Phases:
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
