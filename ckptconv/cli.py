"""The command line: parse, one call, render. No decisions, and no heavy import before a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from ckptconv import __version__
from ckptconv.shell import CHECKPOINT, as_json, convert, quiet, run, say, show, source, target, writing, writing_options


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
    """Show what a checkpoint holds.

    From its config and headers alone; no tensor is loaded.

    \b
    Example: ckptconv inspect fixtures/dates
    """
    from ckptconv import render
    from ckptconv.operations import inspect as verb

    result = verb.inspect(checkpoint)
    show(as_json, lambda: render.inspection_json(result), lambda: render.inspection_text(result, tensors=tensors))


@cli.command()
@source
@target
@writing
def split(source: Path, target: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Split into encoder and decoder.

    Writes TARGET/encoder, TARGET/decoder and, where widths differ, TARGET/bridge.
    AutoModel and AutoModelForCausalLM load the parts.

    \b
    Example: ckptconv split fixtures/dates parts
    """
    from ckptconv import render
    from ckptconv.operations import split as verb

    with writing_options(quiet, options) as (write_options, seconds):
        result = verb.split(source, target, write_options)
    say(quiet, result.notices)
    show(
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
    """Convert PyTorch to TensorFlow.

    TFEncoderDecoderModel.from_pretrained(TARGET) loads the result.

    \b
    Example: ckptconv pt2tf fixtures/dates dates-tf
    """
    from ckptconv.operations import convert as verb

    convert(lambda chosen: verb.pt2tf(source, target, form, chosen), options)


@cli.command()
@source
@target
@click.option("--format", "form", type=click.Choice(["msgpack", "safetensors"]), default="msgpack", show_default=True)
@click.option("--heal/--no-heal", default=True, show_default=True,
              help="Move rows of two tables, since Flax's class numbers positions otherwise.")  # fmt: skip
@writing
def pt2flax(source: Path, target: Path, form: str, heal: bool, **options: Any) -> None:
    """Convert PyTorch to Flax.

    FlaxEncoderDecoderModel.from_pretrained(TARGET) loads the result.

    \b
    Example: ckptconv pt2flax fixtures/dates dates-flax
    """
    from ckptconv.operations import convert as verb

    convert(lambda chosen: verb.pt2flax(source, target, form, chosen, heal=heal), options)


@cli.command()
@click.argument("encoder", type=CHECKPOINT)
@click.argument("decoder", type=CHECKPOINT)
@target
@click.option("--bridge", type=CHECKPOINT, help="Directory of the projection; else the one beside ENCODER.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is new; the same on every machine.")
@click.option("--cross-attention", type=click.Choice(["random", "self"]), default="random", show_default=True,
              help="Draw a new cross-attention, or copy the decoder's self-attention.")  # fmt: skip
@click.option("--tie", is_flag=True, help="Share the encoder with the decoder; both must be equal.")
@writing
def join(encoder: Path, decoder: Path, target: Path, **options: Any) -> None:
    """Join two models to an encoder-decoder.

    The parts that split wrote give the original back.

    \b
    Example: ckptconv join parts/encoder parts/decoder joined
    """
    from ckptconv.operations import join as verb

    own = {name: options.pop(name) for name in ("bridge", "seed", "cross_attention", "tie")}
    convert(lambda chosen: verb.join(encoder, decoder, target, verb.JoinOptions(**chosen.values(), **own)), options)


@cli.command()
@source
@target
@writing
def tf2pt(source: Path, target: Path, **options: Any) -> None:
    """Convert TensorFlow to PyTorch.

    Reads what TFEncoderDecoderModel saved, or pt2tf wrote; writes safetensors.

    \b
    Example: ckptconv tf2pt dates-tf dates-again
    """
    from ckptconv.operations import convert as verb

    convert(lambda chosen: verb.tf2pt(source, target, chosen), options)


@cli.command()
@source
@target
@writing
def flax2pt(source: Path, target: Path, **options: Any) -> None:
    """Convert Flax to PyTorch.

    Reads what FlaxEncoderDecoderModel saved, or pt2flax wrote; what that healed is undone.

    \b
    Example: ckptconv flax2pt dates-flax dates-again
    """
    from ckptconv.operations import convert as verb

    convert(lambda chosen: verb.flax2pt(source, target, chosen), options)


@cli.command()
@source
@target
@writing
def normalize(source: Path, target: Path, **options: Any) -> None:
    """Write a PyTorch checkpoint anew.

    As safetensors, with today's names, shared tensors in full.

    \b
    Example: ckptconv normalize old-checkpoint clean-checkpoint
    """
    from ckptconv.operations import convert as verb

    convert(lambda chosen: verb.normalize(source, target, chosen), options)


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
    """Prove that two checkpoints are the same.

    TARGET must hold SOURCE's weights, bit for bit, and compute what it computes; else the exit code is 1.

    \b
    Example: ckptconv verify fixtures/dates dates-tf
    """
    from ckptconv import render_verify
    from ckptconv.operations import verify as verb

    result = verb.verify(source, target, level, seed=seed, texts=texts, timeout=timeout)
    say(quiet, tuple(render_verify.notices(result)))
    show(
        as_json,
        lambda: render_verify.verification_json(result),
        lambda: render_verify.verification_text(result),
        quiet=quiet,
    )
    if not result.matches:
        sys.exit(1)


@cli.command()
@click.option("--markdown", is_flag=True, help="Print docs/support.md.")
@as_json
def families(markdown: bool, as_json: bool) -> None:
    """Show which model types are supported.

    As encoder and as decoder, in which framework, and why not.

    \b
    Example: ckptconv families
    """
    from ckptconv import render_families as render
    from ckptconv.operations import families as verb

    found = verb.families()
    text = render.families_markdown if markdown else render.families_text
    show(as_json, lambda: render.families_json(found), lambda: text(found))


def main() -> NoReturn:
    """Run the command line."""
    run(cli)
