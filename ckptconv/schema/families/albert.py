"""ALBERT: few layers, shared by many; embeddings of a width of their own.

Source: transformers 4.57.6, models/albert/modeling_albert.py, modeling_tf_albert.py, modeling_flax_albert.py.
Irregular: weights come in groups of layers, of which there are fewer than layers; the pooler is one bare dense
layer. A causal class with cross-attention does not exist, so ALBERT is an encoder only.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    UNREAD_POOLER,
    bert_embeddings,
    bert_limits,
    relative_positions,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.fixes import RepeatTokenType
from ckptconv.schema.tensors import Module, layers, linear, norm, under, zeros_if_absent


def layer(c: Config) -> Iterator[Module]:
    """`AlbertLayer`."""
    hidden, intermediate = c.size("hidden_size"), c.size("intermediate_size")
    yield norm("full_layer_layer_norm", hidden)
    for name in ("query", "key", "value", "dense"):
        yield linear(f"attention.{name}", hidden, hidden)
    yield norm("attention.LayerNorm", hidden)
    yield from under("attention", relative_positions(c, ""))
    yield linear("ffn", intermediate, hidden)
    yield linear("ffn_output", hidden, intermediate)


def encoder(c: Config) -> Iterator[Module]:
    """`AlbertModel`."""
    hidden = c.size("hidden_size")
    group = layers("albert_layers", c.size("inner_group_num"), layer(c))
    yield from under("embeddings", bert_embeddings(c, c.size("embedding_size")))
    yield linear("encoder.embedding_hidden_mapping_in", hidden, c.size("embedding_size"))
    yield from layers("encoder.albert_layer_groups", c.size("num_hidden_groups"), group)
    yield from zeros_if_absent([linear("pooler", hidden, hidden)], UNREAD_POOLER)


FAMILY = Family(
    model_type="albert",
    base="albert",
    main_layer="albert",
    encoder=Encoder(
        encoder,
        {"pytorch": "AlbertModel", "tf": "TFAlbertModel", "flax": "FlaxAlbertModel"},
        healings=(RepeatTokenType("embeddings.token_type_embeddings"),),
        limits=bert_limits,
    ),
    defaults={
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_hidden_layers": 12,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 512,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
