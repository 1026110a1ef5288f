"""As a program, `flax_positions.py FOLDER`: Flax's own class saves a random roberta pair, and prints its logits."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
}


def main(folder: Path) -> None:
    """Save the pair into the folder, and print what it answers."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "JAX_PLATFORMS": "cpu"}
    transformers: Any = import_module("transformers")
    trees: Any = import_module("flax.traverse_util")
    roberta = transformers.RobertaConfig
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        roberta(**SIZES), roberta(**SIZES, is_decoder=True, add_cross_attention=True)
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 0, 1, 2
    model = transformers.FlaxEncoderDecoderModel(config, seed=0)
    noise = np.random.default_rng(0)
    model.params = trees.unflatten_dict(
        {
            key: np.asarray(value) * 3
            if value.ndim > 1
            else np.asarray(value) + 0.05 * noise.standard_normal(value.shape).astype(np.float32)
            for key, value in trees.flatten_dict(model.params).items()
        }
    )
    model.save_pretrained(folder)
    rng = np.random.default_rng(1)
    tokens, target = rng.integers(5, 90, (3, 20)), rng.integers(5, 90, (3, 9))
    logits = model(input_ids=tokens, decoder_input_ids=target).logits
    sys.stdout.write(json.dumps(np.asarray(logits, np.float64).tolist()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
