"""OpenAI GPT, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/openai/modeling_openai.py, modeling_tf_openai.py.

PyTorch reads the activation from `afn`, where `gelu` is the tanh approximation and `swish` is silu; TF always
computes the exact gelu, so that no config makes both agree.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    buffer,
    conv1d,
    embedding,
    layers,
    norm,
    under,
    word_embedding,
)


def block(hidden: int) -> Iterator[Module]:
    """`Block`: query, key and value are one layer of three times the width."""
    yield conv1d("attn.c_attn", 3 * hidden, hidden)
    yield conv1d("attn.c_proj", hidden, hidden)
    yield buffer("attn.bias", REBUILT)
    yield norm("ln_1", hidden)
    yield from under(
        "mlp", (conv1d("c_fc", 4 * hidden, hidden), conv1d("c_proj", hidden, 4 * hidden))
    )
    yield norm("ln_2", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`OpenAIGPTModel`."""
    hidden = c.size("hidden_size")
    yield word_embedding("tokens_embed", c.size("vocab_size"), hidden)
    yield embedding("positions_embed", c.size("n_positions"), hidden)
    yield buffer("position_ids", REBUILT)
    yield from layers("h", c.size("n_layer"), block(hidden))


FAMILY = Family(
    model_type="openai-gpt",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(
        encoder,
        {"pytorch": "OpenAIGPTModel", "tf": "TFOpenAIGPTModel"},
        refused={
            "tf": "TFOpenAIGPTModel computes the exact gelu whatever `afn` says, and PyTorch never does"
        },
    ),
    defaults={"vocab_size": 40478, "n_positions": 512, "n_embd": 768, "n_layer": 12, "n_head": 12},
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    },
)
