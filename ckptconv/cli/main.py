"""The command line, and what every command runs in: options, reports, errors as messages with an exit code.

Its commands are the files in `commands/`; each is imported when it is asked for.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ckptconv.base.errors import (
    MAX_SEED,
    CkptconvError,
    Interrupted,
    is_blank,
    one_line,
    system_reason,
)
from ckptconv.base.workers import install, note_done, note_until_published
from ckptconv.cli import commands
from ckptconv.cli.speech import (
    OutputStyle,
    Timings,
    help_columns,
    prepare_streams,
    progress,
    set_json,
    set_verbose,
    silence_stdout,
    to_stderr,
    without_breaks,
)
from ckptconv.cli.speech import say as say
from ckptconv.cli.speech import show as show

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ckptconv.verbs.convert import Conversion, WriteOptions


def require_outputs(
    outputs: Mapping[str, Path | None],
    *,
    as_json: bool,
    checkpoints: Sequence[Path | None] = (),
    files: Sequence[Path | None] = (),
) -> bool:
    """Refuse outputs that would be written over each other or over what is read.

    Args:
        outputs: option -> its file, if it was given.
        as_json: the result itself goes to standard output as JSON.
        checkpoints: what the command reads: directories, or names on the hub.
        files: other files that it reads.
    Returns: whether one of the outputs goes to standard output; the text of the result must go elsewhere then.
    Raises: DestinationError: an output is an input. click.UsageError: two outputs are one.
    """
    chosen = {option: path for option, path in outputs.items() if path is not None}
    if not chosen:
        return False
    from ckptconv.transfer.publish.stage import clashing, is_stdout, require_apart_from_inputs

    printed = [option for option, path in chosen.items() if is_stdout(path)]
    if printed and as_json:
        raise click.UsageError(
            f"--json and {printed[0]} both write to standard output; give {printed[0]} a file."
        )
    for first, second in clashing(chosen):
        raise click.UsageError(f"{first} and {second} are the same file: {chosen[second]}")
    require_apart_from_inputs(
        chosen,
        checkpoints=[path for path in checkpoints if isinstance(path, Path)],
        files=[path for path in files if path is not None],
    )
    return bool(printed)


def on_github() -> bool:
    """Tell whether GitHub's runner reads what this process prints."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def github_summary() -> Path | None:
    """Return the file to which a job on GitHub adds what its page shows; None elsewhere."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(path) if path and on_github() else None


@dataclass(frozen=True, slots=True)
class CIReports:
    """What a result is in the forms that a CI reads; each is made only where it is asked for."""

    junit: Callable[[float], str]
    """Seconds that all of it took -> a document for JUnit."""
    annotations: Callable[[], Iterable[str]]
    """Workflow commands for GitHub's runner."""
    summary: Callable[[], str]
    """Markdown for the page of the job."""


@contextmanager
def reporting(command: str, junit: Path | None) -> Iterator[Callable[[CIReports], None]]:
    """Give what reports a result to a CI; an error that comes instead is reported as well, and raised again.

    Raises: DestinationError: the file for JUnit cannot be written.
    """
    started = time.monotonic()
    try:
        yield lambda reports: _report(junit, reports, time.monotonic() - started)
    except Exception as error:
        if not isinstance(error, Interrupted):
            kind = error if isinstance(error, CkptconvError) else _unforeseen(error)
            _report_error(command, junit, kind)
        raise


def _report(junit: Path | None, reports: CIReports, seconds: float) -> None:
    if junit:
        from ckptconv.transfer.publish.stage import write_file

        write_file(junit, reports.junit(seconds))
    if on_github():
        for line in reports.annotations():
            click.echo(line, err=True)
        add_to_summary(reports.summary())


def _report_error(command: str, junit: Path | None, error: CkptconvError) -> None:
    if on_github():
        from ckptconv.report.github import error_annotation, error_summary

        click.echo(error_annotation(command, error), err=True)
        add_to_summary(error_summary(command, error, without_breaks))
    if junit:  # last: it may be what could not be written
        from ckptconv.report.junit import error_junit
        from ckptconv.transfer.publish.stage import write_file

        write_file(junit, error_junit(command, error, without_breaks))


def add_to_summary(text: str) -> None:
    """Add to the page that GitHub shows for the job. A page that cannot be written is no reason to fail."""
    path = github_summary()
    if path is None:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        to_stderr(f"note: {path}: no summary was written ({system_reason(error)})")


class Number(click.FloatRange):
    """A finite number in a range; `nan` is in every range for Click, and `inf` in some."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; anything else is wrong usage."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!a} is not a finite number", param, ctx)
        return number


SEED = click.IntRange(0, MAX_SEED)
PERCENT = Number(0, 100)


class Seconds(Number):
    """A time that the system can wait for."""

    def __init__(self) -> None:
        super().__init__(0, threading.TIMEOUT_MAX, min_open=True)

    def _describe_range(self) -> str:
        """Return what the help says of the range: the most is more than anybody waits."""
        return "x>0"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the time; the range of the help does not say that there is a most."""
        if click.FLOAT.convert(value, param, ctx) > threading.TIMEOUT_MAX:
            most = f"{threading.TIMEOUT_MAX:.0f}, the longest time that the system can wait for"
            self.fail(f"{value!a} is more than {most}", param, ctx)
        return super().convert(value, param, ctx)


SECONDS = Seconds()


UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


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
        if nbytes and not unit:
            self.fail(f"{value!r} has no unit; write {text}MB or {text}GB, or {text}B", param, ctx)
        if nbytes < 1:
            self.fail(f"{value!r} is not a size; write 200MB, 5GB or 1GiB", param, ctx)
        return nbytes


class FilledText(click.ParamType):  # type: ignore[type-arg]  # generic only in later clicks
    """A text in which something is written."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; a blank one is wrong usage: else an option would be passed over that was given."""
        if is_blank(value):
            self.fail("an empty text; leave the option out, or give one", param, ctx)
        return str(value)


class FilePath(click.Path):
    """A path of any kind; a blank one, which Python takes for the working directory, is none."""

    advice = ""
    """What follows the refusal of a blank one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a path; a blank text is wrong usage."""
        if is_blank(value):
            self.fail(f"an empty path{self.advice}", param, ctx)
        return super().convert(value, param, ctx)


TEXT = FilledText()


class Directory(FilePath):
    """A directory that need not be there; the shell completes directories, for these are what a checkpoint is."""

    advice = "; the working directory is ."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a path; an address as it is, since a Path would take one of its slashes."""
        from ckptconv.stores.hub import is_address

        if is_address(str(value)) and not os.path.lexists(value):
            return str(value)
        return super().convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete directories."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="dir")]


class CheckpointPath(Directory):
    """A checkpoint's directory, a name of the hub such as `org/name`, or an address; `./org/name` is a directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a path; an absolute one for what is meant to be here and is not; an address as it is."""
        path: Any = super().convert(value, param, ctx)
        here = isinstance(path, Path) and str(value).startswith("./") and not os.path.lexists(value)
        return Path(os.path.abspath(path)) if here else path


CHECKPOINT = CheckpointPath()
source = click.argument("source", type=CHECKPOINT)


def _writes(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Let an interruption say from here on that nothing was written: what only reads says nothing of that."""
    note_until_published("nothing was written")
    return value


target = click.argument("target", type=Directory(), callback=_writes)
positions = click.option(
    "--positions",
    type=click.Choice(["trained-in-flax", "as-pytorch"]),
    help="How a RoBERTa-like Flax model counts positions, where its config does not record it:"
    " from 0, as training in Flax does, or from pad_token_id + 1, as PyTorch does.",
)
as_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,  # an error of another option is told as JSON too
    callback=set_json,
    help="Print the result as JSON.",
)


def writable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse now a file that could not be written after the work is done: the callback of an option."""
    if value is not None:
        from ckptconv.transfer.publish.stage import require_place

        require_place(value)
    return value


def _page(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse now a page for which the libraries or the place are missing."""
    if writable(ctx, param, value) is not None:
        from ckptconv.report.html.page import require_libraries

        require_libraries()
    return value


as_html = click.option(
    "--html",
    type=FilePath(),
    metavar="FILE",
    callback=_page,
    help="Also write an HTML report: one file that needs no network.",
)


def verbose_option(help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what adds --verbose, which `speech.verbose()` and an internal error's traceback heed."""
    option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
        "--verbose",
        "-v",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=set_verbose,
        help=help,
    )
    return option


traceable = verbose_option("Print the traceback of an internal error.")


def quiet(command: Callable[..., None]) -> Callable[..., None]:
    """Add --quiet, which the command gets, and --verbose."""
    for option in (
        verbose_option("Print versions, the time of each phase, and every notice."),
        click.option(
            "--quiet",
            "-q",
            is_flag=True,
            callback=_silent,
            help="Print only errors; the exit code is the result.",
        ),
    ):
        command = option(command)
    return command


def _silent(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Let downloads be silent too."""
    if value:
        from ckptconv.stores.hub.bars import showing_downloads

        ctx.with_resource(showing_downloads(False))
    return value


def writing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every verb that writes."""
    for option in (
        click.option(
            "--dtype",
            type=click.Choice(["keep", "float32", "float16", "bfloat16"]),
            default="keep",
            show_default=True,
            help="Cast the weights; keep leaves every value as it is.",
        ),
        click.option(
            "--max-shard-size",
            type=Size(),
            metavar="SIZE",
            help="Split the weights into files of at most this size: 200MB, 5GB.",
        ),
        click.option(
            "--allow-overflow",
            is_flag=True,
            help="Allow values that overflow the target dtype to become infinity.",
        ),
        click.option(
            "--overwrite",
            is_flag=True,
            help="Replace an existing output of ckptconv, and nothing else.",
        ),
        click.option(
            "--dry-run",
            "-n",
            is_flag=True,
            help="Show how each tensor would be moved; write nothing.",
        ),
        as_json,
        quiet,
    ):
        command = option(command)
    return command


def convert(verb: Callable[[WriteOptions], Conversion], options: dict[str, Any]) -> None:
    """Run a conversion and say what came of it."""
    from ckptconv.report import conversions as render

    quiet = options.pop("quiet")
    with writing_options(quiet, options) as (write_options, seconds):
        result = verb(write_options)
    say(quiet, result.notices)
    show(
        options["as_json"],
        lambda: render.conversion_json(result),
        lambda screen: render.conversion_text(result, seconds(), screen),
        quiet=quiet,
    )


@contextmanager
def writing_options(
    quiet: bool, options: dict[str, Any]
) -> Iterator[tuple[WriteOptions, Callable[[], float]]]:
    """Give the options of a writing verb, with a progress bar where stderr is a terminal, and a clock."""
    from ckptconv.verbs.convert import WriteOptions

    started = time.monotonic()
    chosen = {
        "dtype": options["dtype"],
        "max_shard_bytes": options["max_shard_size"],
        "allow_overflow": options["allow_overflow"],
        "overwrite": options["overwrite"],
        "dry_run": options["dry_run"],
    }
    timings = Timings()
    with progress("writing", "flushing to the disk", quiet=quiet) as advance:
        yield (
            WriteOptions(**chosen, progress=timings.watched(advance)),
            lambda: time.monotonic() - started,
        )
    if not quiet:
        timings.tell()


def run(cli: click.Group) -> NoReturn:
    """Run the command line; every error becomes a message and an exit code, never a traceback."""
    prepare_streams()
    install()
    style = OutputStyle()
    try:
        cli.main(
            prog_name="ckptconv",
            standalone_mode=False,
            terminal_width=help_columns(sys.stdout),
            obj=style,
        )
    except click.ClickException as error:
        _show_usage(error)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail(Interrupted(signal.SIGINT), style)
    except CkptconvError as error:
        _fail(error, style)
    except Exception as error:
        _fail(_unforeseen(error), style, error)
    note_done()
    sys.exit(0)


def _unforeseen(error: Exception) -> CkptconvError:
    from ckptconv.cli.unforeseen import unforeseen  # here, since few runs need it

    return unforeseen(error)


def _show_usage(error: click.ClickException) -> None:
    """Print what is wrong with the command line. It quotes arguments, among them names of files, in one line."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()  # the help, which quotes nobody
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    click.UsageError(one_line(error.format_message()), context).show()


def _fail(error: CkptconvError, style: OutputStyle, cause: Exception | None = None) -> NoReturn:
    """Print an error where the caller looks for it, and end with its code.

    Args:
        error: what happened.
        style: what the options of the command said, as far as they were read.
        cause: the exception that nobody foresaw; --verbose shows where it was raised.
    """
    from ckptconv.report import text as render

    code = 128 + error.signal_number if isinstance(error, Interrupted) else error.exit_code
    if cause is not None and style.verbose:
        import traceback

        to_stderr(render.printable("".join(traceback.format_exception(cause))).rstrip())
    to_stderr(render.error_text(error, without_breaks))
    say(False, tuple(getattr(error, "__notes__", ())))
    try:
        if style.json:
            click.echo(render.dump(render.error_json(error, code)))
        sys.stdout.flush()
    except OSError:  # a full disk, a closed stream: the exit code still tells
        silence_stdout()
    sys.exit(code)


MAX_DIGITS = 18
"""No limit is a larger number; Python counts those of its C calls in 64 bits."""


@cache
def _command_names() -> tuple[str, ...]:
    from pkgutil import iter_modules

    return tuple(sorted(module.name for module in iter_modules(commands.__path__)))


class Commands(click.Group):
    """A group whose commands are the modules of `ckptconv.cli.commands`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `help COMMAND` for `COMMAND --help`, as git does."""
        if args and args[0] == "help":
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return list(_command_names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, if there is one of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(
            import_module(f"ckptconv.cli.commands.{cmd_name}"), cmd_name
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name those that are spelt nearly so: Click knows only commands that are imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from None


class Limit(click.ParamType):  # type: ignore[type-arg]  # generic only in later clicks
    """A bound on what a reader may spend, such as tensors=1000000."""

    name = "limit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return name and number; anything else is wrong usage."""
        from ckptconv.base.files import NAMES

        name, _, number = str(value).partition("=")
        if name not in NAMES:
            from difflib import get_close_matches

            near = get_close_matches(name, NAMES, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(NAMES)}."
            self.fail(f"there is no limit {name!a}. {advice}", param, ctx)
        if not (
            number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS and int(number)
        ):
            self.fail(
                f"{value!a}: write an integer of at least 1, as in {name}=1000000", param, ctx
            )
        return name, int(number)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so."""
        from click.shell_completion import CompletionItem

        from ckptconv.base.files import NAMES

        return [CompletionItem(f"{name}=") for name in NAMES if name.startswith(incomplete)]


def _print_versions(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print what belongs into every report of a problem, and end."""
    if value and not ctx.resilient_parsing:
        from ckptconv.base.environment import versions

        click.echo("\n".join(f"{name} {version}" for name, version in versions().items()))
        ctx.exit()


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    "-V",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Print the versions of ckptconv and its dependencies.",
)
@click.option(
    "limit",
    "--limit",
    type=Limit(),
    multiple=True,
    metavar="NAME=NUMBER",
    help="Raise or lower a safety limit of the parsers: --limit tensors=1000000.",
)
@click.option(
    "--follow-links",
    is_flag=True,
    help="Follow links that lead out of a checkpoint; for directories that you trust.",
)
@click.pass_context
def cli(ctx: click.Context, limit: tuple[tuple[str, int], ...], follow_links: bool) -> None:
    """Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    Exit codes: 0 done, 1 verify, diff or check found a difference, 2 wrong usage, 3 source refused,
    4 destination failed, 5 framework missing or died, 70 internal error. An output is either complete or absent.
    """
    from ckptconv.base.files import following_links, limited  # here, since help reads no file

    ctx.with_resource(limited(**dict(limit)))
    ctx.with_resource(following_links(follow_links))
    if sys.stderr.isatty():
        from ckptconv.stores.hub.bars import showing_downloads

        ctx.with_resource(showing_downloads(True))


def main() -> NoReturn:
    """Run the command line."""
    run(cli)
