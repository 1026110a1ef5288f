"""Which places of a quantity count: those of tokens (or patches, or frames), and not of padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.modalities import Modality
from ckptconv.run.runners import Array, Batch

MAPS = (".attention", ".cross")
"""How the names of attention maps end."""
ATTENTION_PLACES = 300
"""Attention maps are asked for up to so many places a row: they grow with the square, and a layer has them a head."""


def is_map(name: str, rank: int) -> bool:
    """Tell whether a quantity is an attention map, of shape (batch, heads, queries, keys)."""
    return name.endswith(MAPS) and rank == 4


@dataclass(frozen=True, slots=True)
class Places:
    """How the inputs of a model become places."""

    modality: Modality
    facts: Mapping[str, Json]
    """As `Modality.facts` returns them."""

    def valid(self, batch: Batch, name: str, shape: tuple[int, ...]) -> Array | None:
        """Return which places of a quantity count, shape (batch, length), or () for a single number.

        Those that are not padding, in rows with at least one such place in the encoder. None: there are
        fewer places than inputs (Funnel's blocks pool them), so that some are of both.

        Args: batch: one probe. name, shape: the quantity's.
        """
        if name == "loss":
            return np.asarray(True)
        places = (shape[0], shape[2]) if is_map(name, len(shape)) else shape[:2]
        if name.startswith("encoder."):
            valid = self.modality.encoder_mask(batch, self.facts, places[1]) == 1
        else:
            encoder = self.modality.encoder_mask(batch, self.facts) == 1
            valid = (batch["decoder_attention_mask"] == 1) & encoder.any(axis=1, keepdims=True)
        if places == valid.shape:
            return np.asarray(valid)
        return np.ones(places, bool) if valid.all() else None

    def wants_maps(self, batch: Batch) -> bool:
        """Tell whether a probe is short enough to ask for attention maps."""
        encoder = self.modality.encoder_mask(batch, self.facts).shape[1]
        return max(int(encoder), int(batch["decoder_input_ids"].shape[1])) <= ATTENTION_PLACES
