"""`export`: a program that runs without transformers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ckptconv.artefacts.formats import artefact_formats
from ckptconv.cli.progress import progress
from ckptconv.cli.shell import as_json, quiet, say, show, source, target


@click.command()
@source
@target
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(artefact_formats())),
    default="onnx",
    show_default=True,
    help="What runs it: onnx for ONNX Runtime and Triton.",
)
@click.option(
    "--max-length",
    type=click.IntRange(min=2),
    help="Tokens of the longest answer by default, the start token included; else the checkpoint's own setting.",
)
@click.option(
    "--beams",
    type=click.IntRange(min=1),
    help="Beams of the search; else the checkpoint's own setting.",
)
@click.option("--overwrite", is_flag=True, help="Replace an artefact that is there already.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that the export may take.",
)
@as_json
@quiet
def export(
    source: Path, target: Path, form: str, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Export a checkpoint as a program with its weights.

    It needs neither transformers nor the model's classes, generates by itself, and `ckptconv verify SOURCE TARGET`
    proves it. PyTorch makes it, and does not run it.

    \b
    Example: ckptconv export dates dates-onnx --format onnx
    """
    from ckptconv.report import export as render
    from ckptconv.verbs import export as verb

    started = time.monotonic()
    with progress("writing weights", "tracing the model", quiet=quiet) as advance:
        chosen = verb.ExportOptions(progress=advance, **options)
        result = verb.export(source, target, form, chosen)
    say(quiet, result.notices)
    seconds = time.monotonic() - started
    show(
        as_json,
        lambda: render.export_json(result),
        lambda screen: render.export_text(result, seconds, screen),
        quiet=quiet,
    )
