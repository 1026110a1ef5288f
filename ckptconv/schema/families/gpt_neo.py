"""GPT-Neo, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/gpt_neo/modeling_gpt_neo.py, modeling_flax_gpt_neo.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, activation
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, buffer, embedding, layers, linear, norm, under


def attention(hidden: int) -> Iterator[Module]:
    """`GPTNeoSelfAttention`: only the output projection has a bias."""
    for name in ("q_proj", "k_proj", "v_proj"):
        yield linear(name, hidden, hidden, bias=False)
    yield linear("out_proj", hidden, hidden)
    yield buffer("bias", REBUILT)
    yield buffer("masked_bias", REBUILT)


def block(hidden: int, inner: int) -> Iterator[Module]:
    """`GPTNeoBlock`."""
    yield norm("ln_1", hidden)
    yield from under("attn.attention", attention(hidden))
    yield norm("ln_2", hidden)
    yield from under("mlp", (linear("c_fc", inner, hidden), linear("c_proj", hidden, inner)))


def encoder(c: Config) -> Iterator[Module]:
    """`GPTNeoModel`; an absent `intermediate_size` means four times the width."""
    hidden = c.size("hidden_size")
    inner = 4 * hidden if c.get("intermediate_size") is None else c.size("intermediate_size")
    yield embedding("wte", c.size("vocab_size"), hidden)
    yield embedding("wpe", c.size("max_position_embeddings"), hidden)
    yield from layers("h", c.size("num_layers"), block(hidden, inner))
    yield norm("ln_f", hidden)


FAMILY = Family(
    model_type="gpt_neo",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(
        encoder,
        {"pytorch": "GPTNeoModel", "flax": "FlaxGPTNeoModel"},
        limits=lambda c: activation(c, "activation_function"),
    ),
    defaults={
        "vocab_size": 50257,
        "max_position_embeddings": 2048,
        "hidden_size": 2048,
        "num_layers": 24,
        "num_heads": 16,
        "intermediate_size": None,
        "activation_function": "gelu_new",
    },
    aliases={"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
)
