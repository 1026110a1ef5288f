"""A pair of any size that takes no room."""

from __future__ import annotations

import json
from pathlib import Path

from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import TensorSpec


def write_large(folder: Path, sizes: dict[str, int]) -> Path:
    """Write a pair whose tensors are holes: only its header takes room."""
    side = {"model_type": "bert", "max_position_embeddings": 512, "type_vocab_size": 2, **sizes}
    config = {
        "model_type": "encoder-decoder",
        "encoder": side,
        "decoder": {**side, "is_decoder": True, "add_cross_attention": True},
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    specs = [
        TensorSpec(row.spellings["pytorch"].names[0], "float32", row.shape("pytorch"))
        for row in read_model(Config(config)).tensors
        if row.module.presence != "dropped" and not (row.tied_to and row.module.tied)
    ]
    safetensors.create(folder / "model.safetensors", specs, "pytorch", False)
    return folder
