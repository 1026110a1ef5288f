"""Write a random bert-base pair: 247,363,386 parameters, 0.99 GB of float32, as PyTorch safetensors.

python benchmarks/make_pair.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ckptconv.base.strict_json import Json, dump_json
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import TensorSpec

BERT_BASE: dict[str, Json] = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
PAIR: dict[str, Json] = {
    "model_type": "encoder-decoder",
    "architectures": ["EncoderDecoderModel"],
    "is_encoder_decoder": True,
    "dtype": "float32",
    "decoder_start_token_id": 101,
    "eos_token_id": 102,
    "pad_token_id": 0,
    "encoder": BERT_BASE,
    "decoder": {**BERT_BASE, "is_decoder": True, "add_cross_attention": True},
}


def make_pair(folder: Path) -> None:
    """Write config and weights: N(0, 0.02), and 1 + N(0, 0.02) for the gains of norms."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(dump_json(PAIR))
    rows = [
        row
        for row in read_model(Config(PAIR)).tensors
        if row.module.presence != "dropped" and not row.module.tied
    ]
    specs = {row.key: TensorSpec(row.key, "float32", row.shape("pytorch")) for row in rows}
    create = FORMATS["safetensors"].create
    assert create is not None
    path = folder / "model.safetensors"
    path.unlink(missing_ok=True)
    places = create(path, list(specs.values()), "pytorch", False)
    random = np.random.default_rng(0)
    with path.open("r+b") as file:
        for row in rows:
            values = random.standard_normal(specs[row.key].shape, dtype=np.float32) * np.float32(
                0.02
            )
            gain = row.module.kind == "norm" and row.key.endswith("weight")
            file.seek(places[row.key][0].offset)
            file.write((values + np.float32(gain)).tobytes())


if __name__ == "__main__":
    make_pair(Path(sys.argv[1]))
