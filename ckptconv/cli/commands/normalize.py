"""`normalize`: PyTorch to PyTorch, with today's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import convert, source, target, writing


@click.command()
@source
@target
@writing
def normalize(source: Path, target: Path, **options: Any) -> None:
    """Rewrite a PyTorch checkpoint.

    Writes safetensors with current tensor names and shared tensors in full.

    \b
    Example: ckptconv normalize old-checkpoint clean-checkpoint
    """
    from ckptconv.verbs import convert as verb

    convert(lambda chosen: verb.normalize(source, target, chosen), options)
