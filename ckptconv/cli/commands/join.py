"""`join`: two models to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import CHECKPOINT, SEED, convert, target, writing


@click.command()
@click.argument("encoder", type=CHECKPOINT)
@click.argument("decoder", type=CHECKPOINT)
@target
@click.option(
    "--bridge",
    type=CHECKPOINT,
    help="Directory of the projection between the two widths; by default, the one beside ENCODER.",
)
@click.option(
    "--seed",
    type=SEED,
    metavar="N",
    default=0,
    show_default=True,
    help="Seed for newly initialised weights, which are the same on every machine.",
)
@click.option(
    "--cross-attention",
    type=click.Choice(["random", "self"]),
    default="random",
    show_default=True,
    help="Initialise a new cross-attention at random, or copy the decoder's self-attention.",
)
@click.option(
    "--tie", is_flag=True, help="Tie the decoder to the encoder; their weights must be equal."
)
@writing
def join(encoder: Path, decoder: Path, target: Path, **options: Any) -> None:
    """Join two models into an encoder-decoder.

    Joining the parts that split wrote restores the original.

    \b
    Example: ckptconv join parts/encoder parts/decoder joined
    """
    from ckptconv.verbs import join as verb

    own = {name: options.pop(name) for name in ("bridge", "seed", "cross_attention", "tie")}
    convert(
        lambda chosen: verb.join(
            encoder, decoder, target, verb.JoinOptions(**chosen.values(), **own)
        ),
        options,
    )
