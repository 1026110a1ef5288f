"""`check`: is an output still what was written?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ckptconv.cli.main import CHECKPOINT, as_json, quiet, say, show
from ckptconv.cli.speech import progress


@click.command()
@click.argument("directory", type=CHECKPOINT)
@as_json
@quiet
def check(directory: Path, as_json: bool, quiet: bool) -> None:
    """Check an output against its manifest.

    Reads every file that ckptconv wrote and lists those that were added, removed, renamed or changed, with the
    tensors in them. The exit code is 1 if there are any.

    \b
    Example: ckptconv check dates-tf
    """
    from ckptconv.report import check as render
    from ckptconv.verbs import check as verb

    with progress("checking", quiet=quiet) as advance:
        result = verb.check(directory, progress=advance)
    say(quiet, result.notices)
    show(
        as_json,
        lambda: render.check_json(result),
        lambda screen: render.check_text(result, screen),
        quiet=quiet,
    )
    if not result.whole:
        sys.exit(1)
