"""Good conversions to plant faults into: every family on every side, a shared pair, the trained one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ckptconv
from ckptconv.schema.model import Model, read_model
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import Checkpoint, open_checkpoint
from conftest import ROOT
from faultkit.tensors import Tensor, tensors
from tiny import pairs
from verbs.test_diff_families import random_checkpoint

DATES = ROOT / "fixtures" / "dates"
SAMPLE = {
    ("gpt2", "bert"),
    ("bert", "gpt2"),
    ("roberta", "bert"),
    ("bert", "bart"),
    ("bert", "xglm"),
}
"""Pairs that together have a place for every kind of fault, in TF and in Flax."""
SHARED = {"tie_encoder_decoder": True}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A source, its faithful conversion, and every tensor of it."""

    title: str
    source: Checkpoint
    composition: Model
    target: Checkpoint
    tensors: dict[str, Tensor]
    """Key -> tensor."""

    @property
    def by_name(self) -> dict[str, Tensor]:
        """Return name in the target -> tensor."""
        return {tensor.name: tensor for tensor in self.tensors.values()}


def conversions(
    naming: NamingName, root: Path, form: str | None = None, *, whole: bool = True
) -> Iterator[Conversion]:
    """Make and convert every model for a framework.

    Args:
        naming: The framework.
        root: Where they are written.
        form: The format; None takes the framework's own.
        whole: Take every pair of families; else `SAMPLE`.
    """
    yield converted(DATES, naming, root / "dates", "dates", form)
    shared, _ = random_checkpoint("bert", "bert", root / "shared", **SHARED)
    yield converted(shared, naming, root / "shared-converted", "bert -> bert, shared", form)
    for encoder, decoder in pairs(naming):
        if not whole and (encoder, decoder) not in SAMPLE:
            continue
        name = f"{encoder}-{decoder}"
        source, _ = random_checkpoint(encoder, decoder, root / name)
        yield converted(source, naming, root / f"{name}-converted", f"{encoder} -> {decoder}", form)


def converted(
    source: Path, naming: NamingName, folder: Path, title: str, form: str | None = None
) -> Conversion:
    """Convert a checkpoint and look at its tensors."""
    if naming == "tf":
        ckptconv.pt2tf(source, folder, form or "hdf5")
    else:
        ckptconv.pt2flax(source, folder, form or "msgpack")
    first, second = open_checkpoint(source), open_checkpoint(folder)
    composition = read_model(first.config)
    return Conversion(title, first, composition, second, tensors(first, composition, second))
