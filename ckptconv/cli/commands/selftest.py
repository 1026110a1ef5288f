"""`selftest`: do the promises hold here?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ckptconv.cli.progress import progress
from ckptconv.cli.shell import as_json, quiet, show


@click.command()
@click.option(
    "--faults", is_flag=True, help="Also let system calls fail and kill conversions, 150 times."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory on the file system to test, else that for temporary files.",
)
@as_json
@quiet
def selftest(faults: bool, folder: Path | None, as_json: bool, quiet: bool) -> None:
    """Test the promises of SECURITY.md on this machine.

    Malformed checkpoints of every kind, made by code, must be refused, each for its own reason. With --faults,
    every call that writes fails or kills in turn; the target must be whole or absent. Exit 1: a promise is broken.

    \b
    Example: ckptconv selftest
    """
    from ckptconv.report import selftest as render
    from ckptconv.trials import selftest as verb

    with progress("testing", quiet=quiet):
        result = verb.selftest(faults=faults, folder=folder)
    show(
        as_json,
        lambda: render.selftest_json(result),
        lambda: render.selftest_text(result),
        quiet=quiet,
    )
    if not result.holds:
        sys.exit(1)
