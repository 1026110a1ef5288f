"""A checkpoint to try things on: bert -> bert, one layer a side, random weights, 60 kB; needs no framework."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ckptconv.base.strict_json import Json, dump_json
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import TensorSpec

BERT: dict[str, Json] = {
    "model_type": "bert",
    "vocab_size": 23,
    "hidden_size": 7,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 13,
    "max_position_embeddings": 17,
    "type_vocab_size": 3,
    "pad_token_id": 1,
}
"""A prime for each size, so that no two axes can be taken for each other."""
CONFIG: dict[str, Json] = {
    "model_type": "encoder-decoder",
    "architectures": ["EncoderDecoderModel"],
    "is_encoder_decoder": True,
    "dtype": "float32",
    "encoder": BERT,
    "decoder": {**BERT, "vocab_size": 29, "is_decoder": True, "add_cross_attention": True},
}


def write_pair(folder: Path) -> Path:
    """Write config, tokenizer file and safetensors weights into a new directory, and return it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(dump_json(CONFIG))
    (folder / "vocab.txt").write_text("".join(f"token{number}\n" for number in range(29)))
    rows = [
        row
        for row in read_model(Config(CONFIG)).tensors
        if row.module.presence != "dropped" and not row.module.tied
    ]
    specs = [TensorSpec(row.key, "float32", row.shape("pytorch")) for row in rows]
    create = FORMATS["safetensors"].create
    assert create is not None
    path, random = folder / "model.safetensors", np.random.default_rng(7)
    places = create(path, specs, "pytorch", False)
    with path.open("r+b") as file:
        for spec in specs:
            file.seek(places[spec.name][0].offset)
            file.write(random.standard_normal(spec.shape, dtype=np.float32).tobytes())
    return folder
