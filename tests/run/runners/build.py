"""Makes checkpoints with the real classes: `build.py pytorch|tf|flax FOLDER`, run as a process of its own.

FOLDER/pytorch is a tiny bert -> bert pair; the others are made from it by transformers itself
(`from_pt=True`, which is right for this pair), healthy and with planted faults. Every 1-D parameter
is shifted, so that no bias is zero and no gain is one, and attention is made sharp, so that queries
and keys matter: in a default tiny model a swapped bias or an untransposed query changes nothing.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {
    "hidden_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 44,
    "max_position_embeddings": 40,
}
SPECIAL = {"decoder_start_token_id": 3, "eos_token_id": 2, "pad_token_id": 0}


def pytorch(folder: Path) -> None:
    """Save the pair as `pytorch_model.bin`, since 4.57.6 cannot read safetensors into TF."""
    torch, transformers = import_module("torch"), import_module("transformers")
    torch.manual_seed(1)
    encoder = transformers.BertConfig(vocab_size=61, **SIZES)
    decoder = transformers.BertConfig(
        vocab_size=53, is_decoder=True, add_cross_attention=True, **SIZES
    )
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, **SPECIAL
    )
    model = transformers.EncoderDecoderModel(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.2)
            else:
                value.mul_(20.0 if "query" in name or "key" in name else 5.0)
    model.save_pretrained(folder / "pytorch", safe_serialization=False)
    model.encoder.pooler = None
    model.save_pretrained(folder / "pytorch-no-pooler", safe_serialization=False)


def tf(folder: Path) -> None:
    """Save the pair as HDF5: as it is, with one kernel transposed, and with two biases swapped."""
    transformers = import_module("transformers")
    model = transformers.TFEncoderDecoderModel.from_pretrained(folder / "pytorch", from_pt=True)
    model.save_pretrained(folder / "tf")
    names = {weight.name: weight for weight in model.weights}

    def one(part: str) -> Any:
        (result,) = (
            weight for name, weight in names.items() if part in name and "/encoder/bert/" in name
        )
        return result

    query = one("layer_._1/attention/self/query/kernel")
    query.assign(np.transpose(query.numpy()))
    model.save_pretrained(folder / "tf-transposed")
    query.assign(np.transpose(query.numpy()))
    biases = [one(f"layer_._0/attention/self/{which}/bias") for which in ("query", "key")]
    values = [bias.numpy() for bias in biases]
    biases[0].assign(values[1])
    biases[1].assign(values[0])
    model.save_pretrained(folder / "tf-swapped")


def flax(folder: Path) -> None:
    """Save the pair as msgpack, its token types repeated so that the class's `encode` is right.

    And once more with a tensor that the class does not expect, and without one that it does.
    """
    transformers = import_module("transformers")
    to_bytes = import_module("flax.serialization").to_bytes
    model = transformers.FlaxEncoderDecoderModel.from_pretrained(folder / "pytorch", from_pt=True)
    params = model.params
    table = params["encoder"]["embeddings"]["token_type_embeddings"]
    rows = np.asarray(table["embedding"])
    table["embedding"] = np.concatenate(
        [np.repeat(rows[:1], SIZES["max_position_embeddings"], 0), rows[1:]]
    )
    for name in ("flax", "flax-faulty"):
        model.save_pretrained(folder / name)
        config = json.loads((folder / name / "config.json").read_text())
        config["encoder"]["type_vocab_size"] = len(table["embedding"])
        (folder / name / "config.json").write_text(json.dumps(config))
        (folder / name / "flax_model.msgpack").write_bytes(to_bytes(params))
        params["encoder"]["pooler"]["dense"] = {"surplus": np.zeros(3, np.float32)}


if __name__ == "__main__":
    {"pytorch": pytorch, "tf": tf, "flax": flax}[sys.argv[1]](Path(sys.argv[2]))
