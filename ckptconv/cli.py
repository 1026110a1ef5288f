"""The command line: parse, one call, render. No decisions, and no heavy import before a command runs."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ckptconv import __version__
from ckptconv.errors import CkptconvError, Interrupted

if TYPE_CHECKING:
    from ckptconv.config import Json
    from ckptconv.operations.convert import Conversion
    from ckptconv.operations.options import WriteOptions

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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="ckptconv %(version)s")
def cli() -> None:
    """Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    Exit codes: 0 done, 1 verify found a difference, 2 wrong usage, 3 the source is refused,
    4 the destination failed, 5 a framework is missing or died. Nothing is ever half written.
    """


@cli.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.option("--tensors", is_flag=True, help="List every tensor.")
@as_json
def inspect(checkpoint: Path, tensors: bool, as_json: bool) -> None:
    """Show what a checkpoint is and holds, without loading it.

    \b
    Example: ckptconv inspect fixtures/dates
    """
    from ckptconv import render
    from ckptconv.operations import inspect as verb

    result = verb.inspect(checkpoint)
    _print(as_json, lambda: render.inspection_json(result), lambda: render.inspection_text(result, tensors=tensors))


@cli.command()
@source
@target
@writing
def split(source: Path, target: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Split a checkpoint into TARGET/encoder, TARGET/decoder and, where there is one, TARGET/bridge.

    AutoModel and AutoModelForCausalLM load the parts.

    \b
    Example: ckptconv split fixtures/dates parts
    """
    from ckptconv import render
    from ckptconv.operations import split as verb

    with _run(quiet, options) as (write_options, seconds):
        result = verb.split(source, target, write_options)
    _say(quiet, result.notices)
    _print(
        as_json,
        lambda: render.split_json(result),
        lambda: render.split_text(result, seconds(), dry_run=write_options.dry_run),
        quiet=quiet,
    )


@cli.command()
@source
@target
@click.option("--format", "form", type=click.Choice(["hdf5", "safetensors"]), default="hdf5", show_default=True)
@writing
def pt2tf(source: Path, target: Path, form: str, **options: Any) -> None:
    """Convert PyTorch to what TFEncoderDecoderModel.from_pretrained(TARGET) loads.

    \b
    Example: ckptconv pt2tf fixtures/dates dates-tf
    """
    from ckptconv.operations import convert

    _convert(lambda chosen: convert.pt2tf(source, target, form, chosen), options)


@cli.command()
@source
@target
@click.option("--format", "form", type=click.Choice(["msgpack", "safetensors"]), default="msgpack", show_default=True)
@click.option("--heal/--no-heal", default=True, show_default=True,
              help="Move rows of two tables, since Flax's class numbers positions otherwise.")  # fmt: skip
@writing
def pt2flax(source: Path, target: Path, form: str, heal: bool, **options: Any) -> None:
    """Convert PyTorch to what FlaxEncoderDecoderModel.from_pretrained(TARGET) loads.

    \b
    Example: ckptconv pt2flax fixtures/dates dates-flax
    """
    from ckptconv.operations import convert

    _convert(lambda chosen: convert.pt2flax(source, target, form, chosen, heal=heal), options)


@cli.command()
@source
@target
@writing
def tf2pt(source: Path, target: Path, **options: Any) -> None:
    """Convert what TFEncoderDecoderModel saved to PyTorch safetensors.

    \b
    Example: ckptconv tf2pt dates-tf dates-again
    """
    from ckptconv.operations import convert

    _convert(lambda chosen: convert.tf2pt(source, target, chosen), options)


@cli.command()
@source
@target
@writing
def flax2pt(source: Path, target: Path, **options: Any) -> None:
    """Convert what FlaxEncoderDecoderModel saved to PyTorch safetensors; what pt2flax healed is undone.

    \b
    Example: ckptconv flax2pt dates-flax dates-again
    """
    from ckptconv.operations import convert

    _convert(lambda chosen: convert.flax2pt(source, target, chosen), options)


@cli.command()
@source
@target
@writing
def normalize(source: Path, target: Path, **options: Any) -> None:
    """Write a PyTorch checkpoint anew: safetensors, today's names, shared tensors in full.

    \b
    Example: ckptconv normalize old-checkpoint clean-checkpoint
    """
    from ckptconv.operations import convert

    _convert(lambda chosen: convert.normalize(source, target, chosen), options)


@cli.command()
@source
@target
@click.option("--level", type=click.Choice(["weights", "outputs"]), default="outputs", show_default=True,
              help="weights: bit for bit, no framework. outputs: and run both models.")  # fmt: skip
@click.option("--text", "texts", multiple=True, help="A sentence to generate for on both sides; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random probes.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds the frameworks may take.")
@as_json
@quiet
def verify(
    source: Path, target: Path, level: Any, texts: tuple[str, ...], seed: int, timeout: float | None, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Prove that TARGET holds SOURCE's weights and computes the same; exit 1 if it does not.

    \b
    Example: ckptconv verify fixtures/dates dates-tf
    """
    from ckptconv import render_verify
    from ckptconv.operations import verify as verb

    result = verb.verify(source, target, level, seed=seed, texts=texts, timeout=timeout)
    _say(quiet, tuple(render_verify.notices(result)))
    _print(
        as_json,
        lambda: render_verify.verification_json(result),
        lambda: render_verify.verification_text(result),
        quiet=quiet,
    )
    if not result.matches:
        sys.exit(1)


def _convert(verb: Callable[[WriteOptions], Conversion], options: dict[str, Any]) -> None:
    """Run a conversion and say what came of it."""
    from ckptconv import render

    quiet = options.pop("quiet")
    with _run(quiet, options) as (write_options, seconds):
        result = verb(write_options)
    _say(quiet, result.notices)
    _print(
        options["as_json"],
        lambda: render.conversion_json(result),
        lambda: render.conversion_text(result, seconds()),
        quiet=quiet,
    )


@contextmanager
def _run(quiet: bool, options: dict[str, Any]) -> Iterator[tuple[WriteOptions, Callable[[], float]]]:
    """Give the options of a writing verb, with a progress bar where stderr is a terminal, and a clock."""
    from ckptconv.operations.options import WriteOptions

    started = time.monotonic()
    chosen = {"dtype": options["dtype"], "max_shard_bytes": options["max_shard_size"],
              "overwrite": options["overwrite"], "dry_run": options["dry_run"]}  # fmt: skip
    if quiet or not sys.stderr.isatty():
        yield WriteOptions(**chosen), lambda: time.monotonic() - started
        return
    with click.progressbar(length=1, label="writing", file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield WriteOptions(**chosen, progress=show), lambda: time.monotonic() - started


def _say(quiet: bool, notices: tuple[str, ...]) -> None:
    from ckptconv.render import printable

    if not quiet:
        for notice in notices:
            click.echo(f"note: {printable(notice)}", err=True)


def _print(
    as_json: bool, value: Callable[[], dict[str, Json]], text: Callable[[], str], *, quiet: bool = False
) -> None:
    from ckptconv.render import dump

    if as_json:
        click.echo(dump(value()))
    elif not quiet:
        click.echo(text())


def main() -> NoReturn:
    """Run the command line; every error becomes a message and an exit code, never a traceback."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupt)
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


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _fail(error: CkptconvError) -> NoReturn:
    """Print an error where the caller looks for it, and end with its code."""
    from ckptconv import render

    code = 128 + error.signal_number if isinstance(error, Interrupted) else error.exit_code
    if "--json" in sys.argv[1:]:
        click.echo(render.dump(render.error_json(error, code)))
    click.echo(render.error_text(error), err=True)
    sys.exit(code)
