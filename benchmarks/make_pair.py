"""Write a random model of 0.9 to 1.0 GB of float32, as PyTorch safetensors; a bert-base pair unless another is named.

python benchmarks/make_pair.py FOLDER [bert-base | t5-base | vit-gpt2 | whisper-small]
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
T5_BASE: dict[str, Json] = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "is_encoder_decoder": True,
    "dtype": "float32",
    "vocab_size": 32128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_decoder_layers": 12,
    "num_heads": 12,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
VIT_GPT2: dict[str, Json] = {
    "model_type": "vision-encoder-decoder",
    "architectures": ["VisionEncoderDecoderModel"],
    "is_encoder_decoder": True,
    "dtype": "float32",
    "tie_word_embeddings": False,
    "decoder_start_token_id": 50256,
    "eos_token_id": 50256,
    "pad_token_id": 50256,
    "encoder": {
        "model_type": "vit",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
    },
    "decoder": {
        "model_type": "gpt2",
        "vocab_size": 50257,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
        "is_decoder": True,
        "add_cross_attention": True,
    },
}
WHISPER_SMALL: dict[str, Json] = {
    "model_type": "whisper",
    "architectures": ["WhisperForConditionalGeneration"],
    "is_encoder_decoder": True,
    "dtype": "float32",
    "vocab_size": 51865,
    "d_model": 768,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 12,
    "decoder_attention_heads": 12,
    "encoder_ffn_dim": 3072,
    "decoder_ffn_dim": 3072,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "decoder_start_token_id": 50258,
    "eos_token_id": 50257,
    "pad_token_id": 50257,
}
CONFIGS = {
    "bert-base": PAIR,
    "t5-base": T5_BASE,
    "vit-gpt2": VIT_GPT2,
    "whisper-small": WHISPER_SMALL,
}


def make_pair(folder: Path, name: str = "bert-base") -> None:
    """Write config and weights: N(0, 0.02), and 1 + N(0, 0.02) for the gains of norms."""
    config = CONFIGS[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(dump_json(config))
    rows = [row for row in read_model(Config(config)).tensors if row.required]
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
            gain = values.ndim == 1 and row.key.endswith("weight")  # of norms alone
            file.seek(places[row.key][0].offset)
            file.write((values + np.float32(gain)).tobytes())


if __name__ == "__main__":
    make_pair(Path(sys.argv[1]), *sys.argv[2:])
