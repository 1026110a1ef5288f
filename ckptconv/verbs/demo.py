"""`demo`: the small trained models that the examples use, from the installed package."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ckptconv.base.errors import SourceError, require_choice
from ckptconv.base.results import Result
from ckptconv.stores.hub import local_path
from ckptconv.transfer.publish.stage import fsync, published

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "demo", PACKAGE.parent / "fixtures")
"""Where the models lie in a wheel, and in a clone of the repository."""
MODELS: Mapping[str, str] = MappingProxyType(
    {
        "dates": "bert -> bert, trained to rewrite dates",
        "dates-t5": "t5, trained to rewrite dates",
        "digits": "vit -> gpt2, trained to read numbers in pictures",
    }
)
"""What there is, and what it does; the first is the one of nearly all examples."""


@dataclass(frozen=True, slots=True, repr=False)
class Demo(Result):
    """A copy of a model."""

    path: Path
    files: tuple[str, ...]
    nbytes: int
    model: str
    """One of `MODELS`."""


def demo(target: Path | str, model: str = "dates") -> Demo:
    """Write a trained model of the examples, 0.7 to 1.7 MB.

    Args:
        target: directory to write; it must not exist.
        model: `dates`, a bert-to-bert pair that rewrites dates; `dates-t5`, a T5 that does; `digits`, a ViT before a
            GPT-2 that reads numbers in pictures, with some pictures.

    Returns: what was written.
    Raises: DestinationError: nothing was published. SourceError: this installation has no copy of the model.
    UsageError: there is no model of that name.
    """
    require_choice("model", model, MODELS)
    source = next((p / model for p in PLACES if (p / model / "config.json").is_file()), None)
    if source is None:
        raise SourceError("this installation of ckptconv has no demo model; reinstall it.")
    target = local_path(target)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    nbytes = sum(path.stat().st_size for path in files)
    names = tuple(str(path.relative_to(source)) for path in files)
    with published(target, overwrite=False, needs=nbytes) as stage:
        for path, name in zip(files, names, strict=True):
            (stage / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, stage / name)
            fsync(stage / name)
    return Demo(target, names, nbytes, model)
