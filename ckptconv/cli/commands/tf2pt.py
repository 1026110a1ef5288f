"""`tf2pt`: TensorFlow to PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import convert, source, target, writing


@click.command()
@source
@target
@writing
def tf2pt(source: Path, target: Path, **options: Any) -> None:
    """Convert TensorFlow to PyTorch.

    Reads checkpoints saved by TFEncoderDecoderModel (or another class, such as TFT5ForConditionalGeneration) or
    written by pt2tf; writes safetensors.

    \b
    Example: ckptconv tf2pt dates-tf dates-again
    """
    from ckptconv.stores.layouts.huggingface import read_ahead

    read_ahead(source)  # beside the imports
    from ckptconv.verbs import convert as verb

    convert(lambda chosen: verb.tf2pt(source, target, chosen), options)
