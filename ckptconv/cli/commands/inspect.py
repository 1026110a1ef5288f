"""`inspect`: what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ckptconv.cli.main import CHECKPOINT, TEXT, as_html, as_json, require_outputs, show, traceable
from ckptconv.cli.speech import progress


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.option(
    "--tensors",
    metavar="[GLOB]",
    is_flag=False,
    flag_value="*",
    type=TEXT,
    help="List every tensor, or those whose names match.",
)
@click.option(
    "--stats",
    is_flag=True,
    help="Read every value: statistics for each tensor, and suspicious weights.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@as_html
@as_json
@traceable
def inspect(
    checkpoint: Path,
    tensors: str | None,
    stats: bool,
    form: Literal["text", "markdown"],
    html: Path | None,
    as_json: bool,
) -> None:
    """Show what a checkpoint contains, and which commands accept it.

    Reads only the config and the headers. With --stats it reads every value, and also reports NaN, constants,
    duplicates, broken ties, and weights that were never trained.

    \b
    Example: ckptconv inspect dates --tensors "*.crossattention.*" --stats
    """
    from ckptconv.stores.layouts.huggingface import read_ahead

    read_ahead(checkpoint)  # beside the imports
    from ckptconv.report.inspect import inspection_json, inspection_markdown, inspection_text
    from ckptconv.verbs import inspect as verb

    glob = tensors or ""
    stdout_taken = require_outputs({"--html": html}, as_json=as_json, checkpoints=[checkpoint])
    with progress("reading", quiet=not stats) as advance:
        result = verb.inspect(checkpoint, stats=stats, progress=advance)
    if html:
        from ckptconv.report.html.inspect import inspection_page
        from ckptconv.report.html.page import write_page

        write_page(html, inspection_page(result))
    show(
        as_json,
        lambda: inspection_json(result, tensors=glob),
        lambda screen: (
            inspection_markdown(result, tensors=glob)
            if form == "markdown"
            else inspection_text(result, tensors=glob, screen=screen)
        ),
        stdout_taken=stdout_taken,
    )
