"""What every command runs in: options, progress, notices, and errors as messages with an exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ckptconv.errors import CkptconvError, DestinationError, Interrupted
from ckptconv.interrupts import install

if TYPE_CHECKING:
    from ckptconv.config import Json
    from ckptconv.operations.writing import Conversion, WriteOptions

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only in later clicks
    """A size such as 200MB, 5GB or 1GiB, as transformers takes for its shards."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes; anything else is wrong usage."""
        text = str(value).strip().upper()
        digits = text.rstrip("KMGIB ")
        unit = text[len(digits) :].strip()
        try:
            nbytes = int(float(digits) * UNITS[unit])
        except (KeyError, ValueError, OverflowError):
            nbytes = 0
        if nbytes < 1:
            self.fail(f"{value!r} is not a size; write 200MB, 5GB or 1GiB", param, ctx)
        return nbytes


CHECKPOINT = click.Path(path_type=Path)
source = click.argument("source", type=CHECKPOINT)
target = click.argument("target", type=CHECKPOINT)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors; the exit code tells.")


def writing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every verb that writes."""
    for option in (
        click.option("--dtype", type=click.Choice(["keep", "float32", "float16", "bfloat16"]), default="keep",
                     show_default=True, help="Cast the weights; keep changes no value."),
        click.option("--max-shard-size", type=Size(), metavar="SIZE", help="Cut the weights into files: 200MB, 5GB."),
        click.option("--overwrite", is_flag=True, help="Replace a checkpoint that is there already."),
        click.option("--dry-run", is_flag=True, help="Show every tensor's move and write nothing."),
        as_json,
        quiet,
    ):  # fmt: skip
        command = option(command)
    return command


def convert(verb: Callable[[WriteOptions], Conversion], options: dict[str, Any]) -> None:
    """Run a conversion and say what came of it."""
    from ckptconv.render import conversions as render

    quiet = options.pop("quiet")
    with writing_options(quiet, options) as (write_options, seconds):
        result = verb(write_options)
    say(quiet, result.notices)
    show(
        options["as_json"],
        lambda: render.conversion_json(result),
        lambda: render.conversion_text(result, seconds()),
        quiet=quiet,
    )


@contextmanager
def writing_options(quiet: bool, options: dict[str, Any]) -> Iterator[tuple[WriteOptions, Callable[[], float]]]:
    """Give the options of a writing verb, with a progress bar where stderr is a terminal, and a clock."""
    from ckptconv.operations.writing import WriteOptions

    started = time.monotonic()
    chosen = {"dtype": options["dtype"], "max_shard_bytes": options["max_shard_size"],
              "overwrite": options["overwrite"], "dry_run": options["dry_run"]}  # fmt: skip
    if quiet or not sys.stderr.isatty():
        yield WriteOptions(**chosen), lambda: time.monotonic() - started
        return
    with click.progressbar(length=1, label="writing", file=sys.stderr) as bar:

        def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield WriteOptions(**chosen, progress=advance), lambda: time.monotonic() - started


def say(quiet: bool, notices: tuple[str, ...]) -> None:
    """Print notices to stderr, unless the user wants quiet."""
    from ckptconv.render._text import printable

    if not quiet:
        for notice in notices:
            click.echo(f"note: {printable(notice)}", err=True)


def show(as_json: bool, value: Callable[[], dict[str, Json]], text: Callable[[], str], *, quiet: bool = False) -> None:
    """Print a result to stdout, as JSON or as text; quiet prints no text."""
    from ckptconv.render._text import dump, printable

    try:
        if as_json:
            click.echo(dump(value()))
        elif not quiet:
            click.echo(printable(text()))
    except BrokenPipeError:  # the reader went away, as `head` does; the exit code still tells
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise DestinationError(f"the result cannot be printed ({error.strerror}); the work itself is done.") from None


def run(cli: click.Group) -> NoReturn:
    """Run the command line; every error becomes a message and an exit code, never a traceback."""
    install()
    try:
        cli.main(prog_name="ckptconv", standalone_mode=False)
        sys.exit(0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (CkptconvError, KeyboardInterrupt, click.Abort) as error:
        _fail(error if isinstance(error, CkptconvError) else Interrupted(signal.SIGINT))
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output went away; nobody is left to tell
        sys.exit(0)


def _fail(error: CkptconvError) -> NoReturn:
    """Print an error where the caller looks for it, and end with its code."""
    from ckptconv.render import _text as render

    code = 128 + error.signal_number if isinstance(error, Interrupted) else error.exit_code
    if "--json" in sys.argv[1:]:
        click.echo(render.dump(render.error_json(error, code)))
    click.echo(render.error_text(error), err=True)
    sys.exit(code)
