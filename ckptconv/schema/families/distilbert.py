"""DistilBERT, as an encoder: BERT's stack without token types and pooler, under names of its own.

Source: transformers 4.57.6, models/distilbert/modeling_distilbert.py, modeling_tf_distilbert.py. Sinusoidal
positions are a table like any other, in the checkpoint too. Irregular: Flax's module knows no `position_ids`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, activation
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    under,
    word_embedding,
)


def embeddings(c: Config) -> Iterator[Module]:
    """Words and positions, summed and normed."""
    yield word_embedding("word_embeddings", c.size("vocab_size"), c.size("dim"))
    yield embedding("position_embeddings", c.size("max_position_embeddings"), c.size("dim"))
    yield norm("LayerNorm", c.size("dim"))
    yield buffer("position_ids", REBUILT)


def block(dim: int, inner: int) -> Iterator[Module]:
    """`TransformerBlock`."""
    for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
        yield linear(f"attention.{name}", dim, dim)
    yield norm("sa_layer_norm", dim)
    yield linear("ffn.lin1", inner, dim)
    yield linear("ffn.lin2", dim, inner)
    yield norm("output_layer_norm", dim)


def encoder(c: Config) -> Iterator[Module]:
    """`DistilBertModel`."""
    yield from under("embeddings", embeddings(c))
    yield from layers(
        "transformer.layer", c.size("n_layers"), block(c.size("dim"), c.size("hidden_dim"))
    )


def limits(c: Config) -> Mapping[NamingName, str]:
    """Activations that a framework lacks; the norms' epsilon is 1e-12 in every one."""
    return activation(c, "activation")


FAMILY = Family(
    model_type="distilbert",
    base="distilbert",
    main_layer="distilbert",
    encoder=Encoder(
        encoder,
        {"pytorch": "DistilBertModel", "tf": "TFDistilBertModel"},
        refused={
            "flax": "FlaxEncoderDecoderModel passes `position_ids`, which FlaxDistilBertModule does not take"
        },
        limits=limits,
    ),
    defaults={
        "vocab_size": 30522,
        "dim": 768,
        "n_layers": 6,
        "n_heads": 12,
        "hidden_dim": 3072,
        "activation": "gelu",
        "max_position_embeddings": 512,
        "pad_token_id": 0,
    },
    aliases={
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    },
)
