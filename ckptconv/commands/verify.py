"""`verify`: are two checkpoints the same?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ckptconv.shell import as_json, quiet, say, show, source, target


@click.command()
@source
@target
@click.option("--level", type=click.Choice(["weights", "outputs"]), default="outputs", show_default=True,
              help="weights: bit for bit, no framework. outputs: and run both models.")  # fmt: skip
@click.option("--text", "texts", multiple=True, help="A sentence to generate for on both sides; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random probes.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds the frameworks may take.")
@as_json
@quiet
def verify(
    source: Path, target: Path, level: Any, texts: tuple[str, ...], seed: int, timeout: float | None, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Prove that two checkpoints are the same.

    TARGET must hold SOURCE's weights, bit for bit, and compute what it computes; else the exit code is 1.

    \b
    Example: ckptconv verify fixtures/dates dates-tf
    """
    from ckptconv.operations import verify as verb
    from ckptconv.render import verify as render

    result = verb.verify(source, target, level, seed=seed, texts=texts, timeout=timeout)
    say(quiet, tuple(render.notices(result)))
    show(
        as_json,
        lambda: render.verification_json(result),
        lambda: render.verification_text(result),
        quiet=quiet,
    )
    if not result.matches:
        sys.exit(1)
