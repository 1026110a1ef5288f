"""The small model that malformed `.bin` files are made from: whole and convertible before it is spoilt."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.trials.case import MalformedCase

WEIGHTS = "pytorch_model.bin"
_SIDE: dict[str, Json] = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 2,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 3,
    "max_position_embeddings": 7,
    "type_vocab_size": 2,
}
CONFIG: dict[str, Json] = {
    "model_type": "encoder-decoder",
    "is_encoder_decoder": True,
    "encoder": _SIDE,
    "decoder": {**_SIDE, "is_decoder": True, "add_cross_attention": True},
}


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Return the name of each tensor of the model -> its shape."""
    return {
        row.spellings["pytorch"].names[0]: row.shape("pytorch")
        for row in read_model(Config(CONFIG)).tensors
        if row.module.presence == "required" and not row.tied_to and "pytorch" in row.spellings
    }


def values(shape: tuple[int, ...]) -> bytes:
    """Return float32 values for a tensor: no two of a tensor the same."""
    return struct.pack(f"<{prod(shape)}f", *(1 + n / 64 for n in range(prod(shape))))


def write(folder: Path, weights: bytes) -> None:
    """Write config and weights into an empty directory."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / WEIGHTS).write_bytes(weights)


def case(name: str, threat: str, says: str, weights: Callable[[], bytes]) -> MalformedCase:
    """Return the case of a checkpoint whose weights are malformed."""
    return MalformedCase(name, threat, lambda folder: write(folder, weights()), says)
