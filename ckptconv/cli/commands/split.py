"""`split`: an encoder-decoder to its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import say, show, source, target, writing, writing_options


@click.command()
@source
@target
@writing
def split(source: Path, target: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Split a checkpoint into encoder and decoder.

    Writes TARGET/encoder, TARGET/decoder and, if their widths differ, TARGET/bridge.
    AutoModel and AutoModelForCausalLM load the parts. For a one-piece model it writes the side that a class can load on
    its own, such as T5's encoder or BART's decoder.

    \b
    Example: ckptconv split dates parts
    """
    from ckptconv.report import conversions as render
    from ckptconv.verbs import split as verb

    with writing_options(quiet, options) as (write_options, seconds):
        result = verb.split(source, target, write_options)
    say(quiet, result.notices)
    show(
        as_json,
        lambda: render.split_json(result),
        lambda screen: render.split_text(
            result, seconds(), dry_run=write_options.dry_run, screen=screen
        ),
        quiet=quiet,
    )
