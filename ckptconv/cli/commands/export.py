"""`export`: a program that runs without transformers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import SECONDS, as_json, quiet, say, show, source, target
from ckptconv.cli.speech import progress


@click.command()
@source
@target
@click.option(
    "--format",
    "form",
    type=click.Choice(["jax", "litert", "onnx", "savedmodel"]),
    default="onnx",
    show_default=True,
    help="Runtime to export for: onnx for ONNX Runtime and Triton, savedmodel for TensorFlow and TensorFlow Serving,"
    " jax for JAX, litert for phones.",
)
@click.option(
    "--max-length",
    type=click.IntRange(min=2),
    metavar="N",
    help="Maximum length of an answer in tokens, the start token included; by default the checkpoint's setting.",
)
@click.option(
    "--beams",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of beams; by default the checkpoint's setting.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="litert: fixed number of rows of every input; by default 1.",
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    metavar="N",
    help="litert: fixed number of tokens of every input; by default 64, or the encoder's limit.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="litert: store the weights as 8-bit integers; the loss of accuracy is measured and reported.",
)
@click.option("--orbax", is_flag=True, help="jax: also write the weights in Orbax's layout.")
@click.option("--overwrite", is_flag=True, help="Replace an existing artefact.")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="Time limit for the export.",
)
@as_json
@quiet
def export(
    source: Path, target: Path, form: str, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Export a checkpoint as a program with its weights.

    The program needs neither transformers nor the model's classes, and generates on its own. `ckptconv verify SOURCE
    TARGET` proves it. Exporting requires PyTorch; running the program does not.

    \b
    Example: ckptconv export dates dates-onnx --format onnx
    """
    from ckptconv.report import export as render
    from ckptconv.verbs import export as verb

    settings = _settings(form, options)
    started = time.monotonic()
    with progress("writing weights", "tracing the model", quiet=quiet) as advance:
        chosen = verb.ExportOptions(progress=advance, settings=settings, **options)
        result = verb.export(source, target, form, chosen)
    say(quiet, result.notices)
    seconds = time.monotonic() - started
    show(
        as_json,
        lambda: render.export_json(result),
        lambda screen: render.export_text(result, seconds, screen),
        quiet=quiet,
    )


def _settings(form: str, options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of single formats out of `options`; return those that were given.

    Raises: click.UsageError: one is of another format.
    """
    from ckptconv.artefacts.formats import ARTEFACT_FORMATS as formats

    names = {name for chosen in formats.values() for name in chosen.options}
    values = {name: options.pop(name) for name in sorted(names)}
    settings = {name: value for name, value in values.items() if value}
    for name in settings:
        if name not in formats[form].options:
            owners = [chosen.name for chosen in formats.values() if name in chosen.options]
            raise click.UsageError(
                f"--{name} is an option of --format {', '.join(owners)}, not of {form}."
            )
    return settings
