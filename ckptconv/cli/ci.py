"""What a CI is told of a verification: JUnit's XML in a file, and what GitHub's runner reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptconv.base.errors import CkptconvError, Interrupted
from ckptconv.cli.reports import github_summary, on_github
from ckptconv.cli.speech import to_stderr, without_breaks
from ckptconv.cli.unforeseen import unforeseen

if TYPE_CHECKING:
    from ckptconv.verbs.verify import Verification


@contextmanager
def reporting(junit: Path | None) -> Iterator[Callable[[Verification], None]]:
    """Give what reports a result to a CI; an error that comes instead is reported as well, and raised again.

    Raises: DestinationError: the file for JUnit cannot be written.
    """
    try:
        yield partial(_report, junit, time.monotonic())
    except Exception as error:
        if not isinstance(error, Interrupted):
            _report_error(junit, error if isinstance(error, CkptconvError) else unforeseen(error))
        raise


def _report(junit: Path | None, started: float, result: Verification) -> None:
    if junit:
        from ckptconv.report.junit import verification_junit
        from ckptconv.transfer.publish.file import write_file

        write_file(junit, verification_junit(result, time.monotonic() - started))
    if on_github():
        from ckptconv.report.github import annotated, summary

        for line in annotated(result):
            click.echo(line, err=True)
        add_to_summary(summary(result))


def _report_error(junit: Path | None, error: CkptconvError) -> None:
    if junit:
        from ckptconv.report.junit import error_junit
        from ckptconv.transfer.publish.file import write_file

        write_file(junit, error_junit(error, without_breaks))
    if on_github():
        from ckptconv.report.github import error_annotation

        click.echo(error_annotation(error), err=True)


def add_to_summary(text: str) -> None:
    """Add to the page that GitHub shows for the job. A page that cannot be written is no reason to fail."""
    path = github_summary()
    if path is None:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        to_stderr(f"note: {path}: no summary was written ({error.strerror})")
