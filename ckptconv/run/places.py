"""Which places of a quantity count: those of tokens, and not of padding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ckptconv.run.runners import Array

MAPS = (".attention", ".cross")
"""How the names of attention maps end."""


def is_map(name: str, rank: int) -> bool:
    """Tell whether a quantity is an attention map, of shape (batch, heads, queries, keys)."""
    return name.endswith(MAPS) and rank == 4


def valid_places(batch: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array | None:
    """Return which places of a quantity count, shape (batch, length), or () for a single number.

    Those of tokens that are not padding, in rows with at least one such token in the encoder. None: there are
    fewer places than tokens (Funnel's blocks pool them), so that some are of both.

    Args: batch: one probe. name, shape: the quantity's.
    """
    if name == "loss":
        return np.asarray(True)
    encoder = batch["attention_mask"] == 1
    valid = encoder
    if not name.startswith("encoder."):
        valid = (batch["decoder_attention_mask"] == 1) & encoder.any(axis=1, keepdims=True)
    places = (shape[0], shape[2]) if is_map(name, len(shape)) else shape[:2]
    if places == valid.shape:
        return np.asarray(valid)
    return np.ones(places, bool) if valid.all() else None
