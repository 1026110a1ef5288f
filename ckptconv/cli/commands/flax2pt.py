"""`flax2pt`: Flax to PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import convert, positions, source, target, writing


@click.command()
@source
@target
@positions
@click.option(
    "--take-trained-row",
    is_flag=True,
    help="Where rows that healing repeated differ by now, use the first, which is the one that Flax trains.",
)
@writing
def flax2pt(
    source: Path, target: Path, positions: Any, take_trained_row: bool, **options: Any
) -> None:
    """Convert Flax to PyTorch.

    Reads checkpoints saved by FlaxEncoderDecoderModel (or another class, such as FlaxT5ForConditionalGeneration) or
    written by pt2flax, whose healing it undoes.

    \b
    Example: ckptconv flax2pt dates-flax dates-again
    """
    from ckptconv.verbs import convert as verb

    convert(
        lambda chosen: verb.flax2pt(
            source, target, chosen, positions=positions, take_trained_row=take_trained_row
        ),
        options,
    )
