"""`flax2pt`: Flax to PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptconv.cli.shell import convert, source, target, writing


@click.command()
@source
@target
@writing
def flax2pt(source: Path, target: Path, **options: Any) -> None:
    """Convert Flax to PyTorch.

    Reads checkpoints saved by FlaxEncoderDecoderModel or written by pt2flax, whose healing it undoes.

    \b
    Example: ckptconv flax2pt dates-flax dates-again
    """
    from ckptconv.verbs import convert as verb

    convert(lambda chosen: verb.flax2pt(source, target, chosen), options)
