"""`diff`: how do the weights of two checkpoints differ?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ckptconv.cli.main import (
    CHECKPOINT,
    as_html,
    as_json,
    positions,
    quiet,
    require_outputs,
    say,
    show,
)
from ckptconv.cli.speech import progress


@click.command()
@click.argument("first", metavar="A", type=CHECKPOINT)
@click.argument("second", metavar="B", type=CHECKPOINT)
@click.option("--tensors", is_flag=True, help="List every tensor, including equal ones.")
@positions
@as_html
@as_json
@quiet
def diff(
    first: Path,
    second: Path,
    tensors: bool,
    positions: Any,
    html: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show how the weights of two checkpoints differ.

    Compares tensor by tensor, whatever framework and format each checkpoint uses: equal, cast, rounded, transposed,
    swapped, scaled, rows shifted, re-initialised, untied, or changed, and by how much. Runs no model. The exit code
    is 1 if a value or a config key differs; a cast alone is reported but does not count.

    \b
    Example: ckptconv diff dates dates-tf
    """
    from ckptconv.stores.layouts.huggingface import read_ahead

    read_ahead(first, second)  # beside the imports
    from ckptconv.report import diff as render
    from ckptconv.verbs import diff as verb

    stdout_taken = require_outputs({"--html": html}, as_json=as_json, checkpoints=[first, second])
    with progress("comparing", quiet=quiet) as advance:
        result = verb.diff(first, second, advance, positions=positions)
    if html:
        from ckptconv.report.html.diff import diff_page
        from ckptconv.report.html.page import write_page

        write_page(html, diff_page(result))
    say(quiet, result.notices)
    show(
        as_json,
        lambda: render.diff_json(result),
        lambda screen: render.diff_text(result, tensors=tensors, screen=screen),
        quiet=quiet,
        stdout_taken=stdout_taken,
    )
    if not result.matches:
        sys.exit(1)
