"""`selftest`: do the promises hold here?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ckptconv.cli.main import FilePath, as_json, quiet, show
from ckptconv.cli.speech import progress


def _there(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a directory that is not there, as wrong usage."""
    if value is not None and not value.is_dir():
        raise click.BadParameter(f"{value}: no such directory; create it first", ctx, param)
    return value


@click.command()
@click.option(
    "--faults",
    is_flag=True,
    help="Also make system calls fail and kill conversions, at 150 points.",
)
@click.option(
    "--folder",
    type=FilePath(file_okay=False),
    callback=_there,
    help="A directory on the file system to test; by default, the one for temporary files.",
)
@as_json
@quiet
def selftest(faults: bool, folder: Path | None, as_json: bool, quiet: bool) -> None:
    """Test the promises of SECURITY.md on this machine.

    Generated malformed checkpoints of every kind must be refused, each for its own reason. With --faults, each
    system call that writes fails or is killed in turn; the target must be whole or absent. Exit code 1: a promise
    is broken.

    \b
    Example: ckptconv selftest
    """
    from ckptconv.trials import report as render
    from ckptconv.trials import selftest as verb

    with progress("testing", quiet=quiet):
        result = verb.selftest(faults=faults, folder=folder)
    show(
        as_json,
        lambda: render.selftest_json(result),
        lambda screen: render.selftest_text(result, screen),
        quiet=quiet,
    )
    if not result.holds:
        sys.exit(1)
