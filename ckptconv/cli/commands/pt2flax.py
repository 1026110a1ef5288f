"""`pt2flax`: PyTorch to Flax."""

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
    type=click.Choice(["msgpack", "safetensors"]),
    default="msgpack",
    show_default=True,
    help="File format of the weights.",
)
@click.option(
    "--heal/--no-heal",
    default=True,
    show_default=True,
    help="Move rows of two tables, because the Flax class numbers positions differently.",
)
@click.option(
    "--forward-only",
    is_flag=True,
    help="Write the model even if Flax's class cannot generate with it; its forward pass works.",
)
@writing
def pt2flax(
    source: Path, target: Path, form: str, heal: bool, forward_only: bool, **options: Any
) -> None:
    """Convert PyTorch to Flax.

    FlaxEncoderDecoderModel.from_pretrained(TARGET) loads the result. A one-piece, image or speech model is loaded
    by its own class, such as FlaxT5ForConditionalGeneration.

    \b
    Example: ckptconv pt2flax dates dates-flax
    """
    from ckptconv.verbs import convert as verb

    convert(
        lambda chosen: verb.pt2flax(
            source, target, form, chosen, heal=heal, forward_only=forward_only
        ),
        options,
    )
