"""`diff`: how do the weights of two checkpoints differ?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ckptconv.cli.progress import progress
from ckptconv.cli.shell import CHECKPOINT, as_html, as_json, quiet, say, show


@click.command()
@click.argument("first", metavar="A", type=CHECKPOINT)
@click.argument("second", metavar="B", type=CHECKPOINT)
@click.option("--tensors", is_flag=True, help="List every tensor, the equal ones too.")
@as_html
@as_json
@quiet
def diff(
    first: Path, second: Path, tensors: bool, html: Path | None, as_json: bool, quiet: bool
) -> None:
    """Say how the weights of two checkpoints differ.

    Name by name through the tables, whatever framework and format each is in: equal, cast, rounded, transposed,
    swapped with another, scaled, rows shifted, re-initialised, untied, or changed, and by how much. Runs no model.
    The exit code is 1 where a value or a key of the config differs; a cast alone is told and is no difference.

    \b
    Example: ckptconv diff fixtures/dates dates-tf
    """
    from ckptconv.report import diff as render
    from ckptconv.verbs import diff as verb

    with progress("comparing", quiet=quiet) as advance:
        result = verb.diff(first, second, advance)
    if html:
        from ckptconv.report.html.diff import diff_page
        from ckptconv.report.html.page import write_page

        write_page(html, diff_page(result))
    say(quiet, result.notices)
    show(
        as_json,
        lambda: render.diff_json(result),
        lambda: render.diff_text(result, tensors=tensors),
        quiet=quiet,
    )
    if not result.matches:
        sys.exit(1)
