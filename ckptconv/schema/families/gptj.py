"""GPT-J, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/gptj/modeling_gptj.py, modeling_tf_gptj.py, modeling_flax_gptj.py.

Positions are rotations, which every class computes: no tensor holds them.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, activation
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, buffer, layers, linear, norm, under, word_embedding


def block(hidden: int, inner: int) -> Iterator[Module]:
    """`GPTJBlock`: the projections have no biases."""
    yield norm("ln_1", hidden)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield linear(f"attn.{name}", hidden, hidden, bias=False)
    yield buffer("attn.bias", REBUILT)
    yield buffer("attn.masked_bias", REBUILT)
    yield from under("mlp", (linear("fc_in", inner, hidden), linear("fc_out", hidden, inner)))


def encoder(c: Config) -> Iterator[Module]:
    """`GPTJModel`; an absent `n_inner` means four times the width."""
    hidden = c.size("hidden_size")
    inner = 4 * hidden if c.get("n_inner") is None else c.size("n_inner")
    yield word_embedding("wte", c.size("vocab_size"), hidden)
    yield from layers("h", c.size("n_layer"), block(hidden, inner))
    yield norm("ln_f", hidden)


FAMILY = Family(
    model_type="gptj",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(
        encoder,
        {"pytorch": "GPTJModel", "tf": "TFGPTJModel", "flax": "FlaxGPTJModel"},
        limits=lambda c: activation(c, "activation_function"),
    ),
    defaults={
        "vocab_size": 50400,
        "n_positions": 2048,
        "n_embd": 4096,
        "n_layer": 28,
        "n_head": 16,
        "n_inner": None,
        "activation_function": "gelu_new",
    },
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    },
)
