"""What a command tells beside its result: files that are checked before minutes of work, and reports to a CI."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptconv.base.errors import CkptconvError, Interrupted
from ckptconv.cli.speech import to_stderr, without_breaks
from ckptconv.cli.unforeseen import unforeseen

if TYPE_CHECKING:
    from ckptconv.verbs.verify import Verification


def require_outputs(
    outputs: Mapping[str, Path | None],
    *,
    as_json: bool,
    checkpoints: Sequence[Path | None] = (),
    files: Sequence[Path | None] = (),
) -> bool:
    """Refuse outputs that would be written over each other or over what is read.

    Args:
        outputs: option -> its file, if it was given.
        as_json: the result itself goes to standard output as JSON.
        checkpoints: what the command reads: directories, or names on the hub.
        files: other files that it reads.
    Returns: whether one of the outputs goes to standard output; the text of the result must go elsewhere then.
    Raises: DestinationError: an output is an input. click.UsageError: two outputs are one.
    """
    chosen = {option: path for option, path in outputs.items() if path is not None}
    if not chosen:
        return False
    from ckptconv.transfer.publish.stage import clashing, is_stdout, require_apart_from_inputs

    printed = [option for option, path in chosen.items() if is_stdout(path)]
    if printed and as_json:
        raise click.UsageError(
            f"--json and {printed[0]} both write to standard output; give {printed[0]} a file."
        )
    for first, second in clashing(chosen):
        raise click.UsageError(f"{first} and {second} are the same file: {chosen[second]}")
    require_apart_from_inputs(
        chosen,
        checkpoints=[path for path in checkpoints if path is not None],
        files=[path for path in files if path is not None],
    )
    return bool(printed)


def on_github() -> bool:
    """Tell whether GitHub's runner reads what this process prints."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def github_summary() -> Path | None:
    """Return the file to which a job on GitHub adds what its page shows; None elsewhere."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(path) if path and on_github() else None


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
        from ckptconv.transfer.publish.stage import write_file

        write_file(junit, verification_junit(result, time.monotonic() - started))
    if on_github():
        from ckptconv.report.github import annotated, summary

        for line in annotated(result):
            click.echo(line, err=True)
        add_to_summary(summary(result))


def _report_error(junit: Path | None, error: CkptconvError) -> None:
    if junit:
        from ckptconv.report.junit import error_junit
        from ckptconv.transfer.publish.stage import write_file

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
