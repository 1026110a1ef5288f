"""ModernBERT as an encoder: rotated positions, gates, and norms before each part.

Source: transformers 4.57.6, models/modernbert. PyTorch alone has a class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, buffer, gain, linear, norm, under, word_embedding


def scaled(c: Config, path: str) -> Module:
    """A norm, with an offset where the config says so."""
    hidden = c.size("hidden_size")
    return norm(path, hidden) if c.flag("norm_bias") else gain(path, hidden)


def layer(c: Config, *, first: bool) -> Iterator[Module]:
    """`ModernBertEncoderLayer`; the first has no norm before its attention."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    if not first:
        yield scaled(c, "attn_norm")
    bias = c.flag("attention_bias")
    yield linear("attn.Wqkv", 3 * hidden, hidden, bias=bias)
    yield linear("attn.Wo", hidden, hidden, bias=bias)
    yield buffer("attn.rotary_emb.inv_freq", REBUILT)
    yield scaled(c, "mlp_norm")
    bias = c.flag("mlp_bias")
    yield linear("mlp.Wi", 2 * inner, hidden, bias=bias)
    yield linear("mlp.Wo", hidden, inner, bias=bias)


def encoder(c: Config) -> Iterator[Module]:
    """`ModernBertModel`."""
    hidden = c.size("hidden_size")
    yield word_embedding("embeddings.tok_embeddings", c.size("vocab_size"), hidden)
    yield scaled(c, "embeddings.norm")
    for number in range(c.size("num_hidden_layers")):
        yield from under(f"layers.{number}", layer(c, first=number == 0))
    yield scaled(c, "final_norm")


FAMILY = Family(
    model_type="modernbert",
    base="model",
    main_layer="model",
    encoder=Encoder(encoder, {"pytorch": "ModernBertModel"}),
    defaults={
        "vocab_size": 50368,
        "hidden_size": 768,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "intermediate_size": 1152,
        "max_position_embeddings": 8192,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "pad_token_id": 50283,
    },
)
