"""`demo`: the small trained model that every example uses, from the installed package."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.results import Result
from ckptconv.stores.hub import local_path
from ckptconv.transfer.publish.stage import fsync, published

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "demo", PACKAGE.parent / "fixtures" / "dates")
"""Where the model lies in a wheel, and in a clone of the repository."""


@dataclass(frozen=True, slots=True, repr=False)
class Demo(Result):
    """A copy of the model."""

    path: Path
    files: tuple[str, ...]
    nbytes: int


def demo(target: Path | str) -> Demo:
    """Write the trained model of the examples: a bert-to-bert pair that rewrites dates, 1.7 MB.

    Args:
        target: directory to write; it must not exist.

    Returns: what was written.
    Raises: DestinationError: nothing was published. SourceError: this installation has no copy of the model.
    """
    source = next((place for place in PLACES if (place / "config.json").is_file()), None)
    if source is None:
        raise SourceError("this installation of ckptconv has no demo model; reinstall it.")
    target = local_path(target)
    files = sorted(path for path in source.iterdir() if path.is_file())
    nbytes = sum(path.stat().st_size for path in files)
    with published(target, overwrite=False, needs=nbytes) as stage:
        for path in files:
            shutil.copyfile(path, stage / path.name)
            fsync(stage / path.name)
    return Demo(target, tuple(path.name for path in files), nbytes)
