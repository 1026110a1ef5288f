"""The files that a command writes beside its result: checked before minutes of work are spent on them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click


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
    from ckptconv.transfer.publish.file import is_stdout
    from ckptconv.transfer.publish.places import clashing, require_apart_from_inputs

    chosen = {option: path for option, path in outputs.items() if path is not None}
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
