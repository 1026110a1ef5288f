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

    Reads what FlaxEncoderDecoderModel saved, or pt2flax wrote; what that healed is undone.

    \b
    Example: ckptconv flax2pt dates-flax dates-again
    """
    from ckptconv.verbs import convert as verb

    convert(lambda chosen: verb.flax2pt(source, target, chosen), options)
