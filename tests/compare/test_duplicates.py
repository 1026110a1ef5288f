"""Which tensors hold the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ckptconv.compare.duplicates import duplicates
from ckptconv.compare.statistics import measure
from ckptconv.stores.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from conftest import Pair


def groups(folder: Path) -> list[tuple[str, ...]]:
    """Return the names of each group in a checkpoint."""
    tensors = list(open_checkpoint(folder).weights.tensors.values())
    return sorted(
        tuple(sorted(tensor.spec.name for tensor in group))
        for group in duplicates(tensors, measure(tensors))
    )


def test_equal_bytes_are_found(pair: Pair, tmp_path: Path) -> None:
    """Three tensors of the same bytes are one group, whatever their shape; constants and equal figures are none."""
    values = np.arange(1, 15, dtype=np.float32)
    pair.arrays |= {
        "one": values,
        "two": values.reshape(2, 7),
        "three": values,
        "four": values[::-1].copy(),
        "half": values.astype(np.float16),
        "zero": np.zeros(14, np.float32),
        "naught": np.zeros(14, np.float32),
    }
    assert groups(pair.write(tmp_path / "source")) == [("one", "three", "two")]


def test_the_same_figures_are_not_the_same_bytes(pair: Pair, tmp_path: Path) -> None:
    """Tensors of equal figures and histogram are told apart by their digests: one bit is enough."""
    ordered = np.repeat(np.array([-1, 1], np.float32), 50)
    signed = np.where(np.arange(100) == 7, -0.0, 0.0).astype(np.float32)
    pair.arrays |= {
        "a": ordered,
        "b": np.tile(np.array([-1, 1], np.float32), 50),
        "c": ordered.copy(),
        "d": np.append(signed, 1).astype(np.float32),
        "e": np.append(np.abs(signed), 1).astype(np.float32),
    }
    assert groups(pair.write(tmp_path / "source")) == [("a", "c")]
