"""`inspect`: what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path

import click

from ckptconv.shell import CHECKPOINT, as_json, show


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.option("--tensors", is_flag=True, help="List every tensor.")
@as_json
def inspect(checkpoint: Path, tensors: bool, as_json: bool) -> None:
    """Show what a checkpoint holds.

    From its config and headers alone; no tensor is loaded.

    \b
    Example: ckptconv inspect fixtures/dates
    """
    from ckptconv.operations import inspect as verb
    from ckptconv.render import inspect as render

    result = verb.inspect(checkpoint)
    show(as_json, lambda: render.inspection_json(result), lambda: render.inspection_text(result, tensors=tensors))
