"""Hidden names beside an output: what a killed run leaves there, and how a later run finds it.

.NAME.ckptconv-lock           held while NAME is written; see `lock.py`
.NAME.ckptconv-1a2b3c4d       a stage: what a run has written so far, or what it replaced
.NAME.ckptconv-1a2b3c4d-old   the replaced directory, between two renames, on a file system that
                              cannot exchange two directories in one step
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "ckptconv"
OLD = "-old"
PATTERN = re.compile(rf"\.(?P<name>.+)\.{MARK}-(?P<token>[0-9a-f]{{8}})(?P<old>{OLD})?", re.DOTALL)
TOKEN = re.compile(r"[0-9a-f]{8}")
"""The random part of a stage's name."""
MAX_ENTRIES = 100_000
"""Names of a directory that are looked at, so that a huge one costs a fraction of a second."""
MAX_SHOWN = 3
"""Interrupted replacements that one run describes."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One hidden entry that has the name of a stage, whoever made it."""

    path: Path
    target: Path
    """The output that it was made for."""
    stage: str
    """Name of the stage, without `-old`."""
    is_old: bool


def new_stage(target: Path) -> Path:
    """Return a hidden name beside `target` that nobody uses."""
    return stage_path(target, os.urandom(4).hex())


def stage_path(target: Path, token: str) -> Path:
    """Return where the stage with some random part in its name lies."""
    return target.with_name(f".{target.name}.{MARK}-{token}")


def stage_token(name: str) -> str:
    """Return the random part of a stage's name."""
    return name[-8:]


def lock_path(target: Path) -> Path:
    """Return where the lock of an output lies."""
    return target.with_name(f".{target.name}.{MARK}-lock")


def leftovers(folder: Path, target: str | None = None) -> list[Leftover]:
    """Return the stages in a directory, sorted by name; none where it cannot be listed.

    Args:
        folder: the directory that holds outputs.
        target: name of the output whose stages are wanted; None for those of every output.
    """
    stages = []
    with suppress(OSError), os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= MAX_ENTRIES:
                break
            match = PATTERN.fullmatch(entry.name)
            if match and target in (None, match["name"]):
                name = entry.name.removesuffix(OLD)
                stages.append(
                    Leftover(folder / entry.name, folder / match["name"], name, bool(match["old"]))
                )
    return sorted(stages, key=lambda leftover: leftover.path.name)


def interrupted_replacements(folder: Path, *, but: str | None = None) -> Iterator[str]:
    """Describe outputs that a killed run left without a name, and how to put them back.

    Args:
        folder: the directory that holds outputs.
        but: name of the output that the caller takes care of.
    """
    lost = [
        leftover
        for leftover in leftovers(folder)
        if leftover.is_old
        and leftover.target.name != but
        and not os.path.lexists(leftover.target)
        and not being_written(leftover.target)
    ]
    yield from (_described(leftover) for leftover in lost[:MAX_SHOWN])
    if len(lost) > MAX_SHOWN:
        yield f"{folder}: {len(lost) - MAX_SHOWN} more replacements were interrupted here"


def replacement_of(target: Path) -> str | None:
    """Describe the interrupted replacement of one output that is missing; None where there is none."""
    for leftover in leftovers(target.parent, target.name):
        if leftover.is_old and not os.path.lexists(target):
            return _described(leftover)
    return None


def stages_of(target: Path) -> Iterator[str]:
    """Describe what lies beside an output under the name of one of its stages, while nobody writes it."""
    if being_written(target):
        return
    for leftover in leftovers(target.parent, target.name):
        if os.path.lexists(target):
            yield (
                f"{leftover.path}: is left of a run that was killed while it wrote {target.name};"
                " the next run that writes it clears it away"
            )


def _described(leftover: Leftover) -> str:
    """Say where the old and the new output lie."""
    import shlex  # here, since few runs find a leftover

    target, old = leftover.target, leftover.path
    if not is_directory(old):
        return f"{old}: has the name of a replaced output, but is no directory; it was left alone"
    new = old.with_name(leftover.stage)
    where = f"the old one is {old}" + (f", the new one is {new}" if is_directory(new) else "")
    command = f"mv -T {shlex.quote(str(old))} {shlex.quote(str(target))}"
    return (
        f"{target}: is missing, since a run was killed while it replaced it: {where}."
        f" The next run that writes {target.name} puts the old one back, and so does: {command}"
    )


def is_directory(path: Path) -> bool:
    """Tell whether a path is a directory itself, and not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def being_written(target: Path) -> bool:
    """Tell whether a run holds the lock of an output at this moment."""
    try:
        fd = os.open(lock_path(target), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN)
    finally:
        os.close(fd)
    return False
