"""Llama's stack, which Mistral and Gemma have as well.

The norms have a gain alone, which is a bare tensor called `weight` in every naming. Positions are rotations, which
every class computes: no tensor holds them.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.base.strict_json import in_words
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, numbered_layers
from ckptconv.schema.tensors import Module, NamingName, buffer, embedding, linear, parameter, under

THETA = 10000.0
"""Base of the rotations in the Flax classes, whatever the config says."""


def head_size(c: Config) -> int:
    """Return the width of one head: the model's over their number, unless the config says it."""
    return (
        c.size("hidden_size") // c.size("num_attention_heads")
        if c.get("head_dim") is None
        else c.size("head_dim")
    )


def llama_attention(c: Config, *, bias: bool) -> Iterator[Module]:
    """`LlamaAttention`: several query heads may share one of keys and values."""
    hidden, size = c.size("hidden_size"), head_size(c)
    queries, keys = (size * c.size(f"num_{name}_heads") for name in ("attention", "key_value"))
    yield linear("q_proj", queries, hidden, bias=bias)
    yield linear("k_proj", keys, hidden, bias=bias)
    yield linear("v_proj", keys, hidden, bias=bias)
    yield linear("o_proj", hidden, queries, bias=bias)
    yield buffer("rotary_emb.inv_freq", REBUILT)


def llama_layer(c: Config, *, bias: bool, mlp_bias: bool) -> Iterator[Module]:
    """`LlamaDecoderLayer`."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("self_attn", llama_attention(c, bias=bias))
    yield linear("mlp.gate_proj", inner, hidden, bias=mlp_bias)
    yield linear("mlp.up_proj", inner, hidden, bias=mlp_bias)
    yield linear("mlp.down_proj", hidden, inner, bias=mlp_bias)
    yield parameter("input_layernorm.weight", dim=hidden)
    yield parameter("post_attention_layernorm.weight", dim=hidden)


def llama_stack(c: Config, *, bias: bool = False, mlp_bias: bool = False) -> Iterator[Module]:
    """`LlamaModel`."""
    hidden = c.size("hidden_size")
    yield embedding("embed_tokens", c.size("vocab_size"), hidden)
    yield from numbered_layers(
        "layers", c.size("num_hidden_layers"), llama_layer(c, bias=bias, mlp_bias=mlp_bias)
    )
    yield parameter("norm.weight", dim=hidden)
    yield buffer("rotary_emb.inv_freq", REBUILT)


def rotation_limits(c: Config) -> dict[NamingName, str]:
    """The Flax classes rotate in one way only."""
    for key, value in (("rope_theta", THETA), ("rope_scaling", None)):
        if c.get(key) != value:
            return {
                "flax": f"{key!r} is not {in_words(value)}, but the Flax class computes with that always"
            }
    return {}


def head_limits(c: Config) -> dict[NamingName, str]:
    """Classes that know no head size of its own."""
    if head_size(c) * c.size("num_attention_heads") == c.size("hidden_size"):
        return {}
    why = "'head_dim' is not the width over the number of heads, but these classes have no other"
    return {"tf": why, "flax": why}
