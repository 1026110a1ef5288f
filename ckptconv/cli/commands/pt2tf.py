"""`pt2tf`: PyTorch to TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import convert, source, target, writing


@click.command()
@source
@target
@click.option(
    "--format",
    "form",
    type=click.Choice(["hdf5", "safetensors"]),
    default="hdf5",
    show_default=True,
    help="File format of the weights.",
)
@writing
def pt2tf(source: Path, target: Path, form: str, **options: Any) -> None:
    """Convert PyTorch to TensorFlow.

    TFEncoderDecoderModel.from_pretrained(TARGET) loads the result. A one-piece or image model is loaded by its own
    class, such as TFT5ForConditionalGeneration.

    \b
    Example: ckptconv pt2tf dates dates-tf
    """
    from ckptconv.verbs import convert as verb

    convert(lambda chosen: verb.pt2tf(source, target, form, chosen), options)
