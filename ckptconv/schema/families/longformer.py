"""Longformer: RoBERTa whose attention sees a window, with a second set of projections for tokens that see all.

Source: transformers 4.57.6, models/longformer/modeling_longformer.py, modeling_tf_longformer.py. Irregular: every
layer has `query_global`, `key_global` and `value_global`, read only where a caller names global tokens; TF takes 1
for the padding token, after which positions count. There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    activation,
    bert_embeddings,
    bert_layer,
    bert_pooler,
    not_causal,
    padding_is_one,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, NamingName, layers, linear, under


def layer(hidden: int, intermediate: int) -> Iterator[Module]:
    """`LongformerLayer`."""
    yield from bert_layer(hidden, intermediate, cross=False)
    for name in ("query_global", "key_global", "value_global"):
        yield linear(f"attention.self.{name}", hidden, hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`LongformerModel`."""
    yield from under("embeddings", bert_embeddings(c))
    once = layer(c.size("hidden_size"), c.size("intermediate_size"))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), once)
    yield from bert_pooler(c)


def limits(c: Config) -> dict[NamingName, str]:
    """What TF lacks: activations, causal encoders, another padding token."""
    return activation(c) | not_causal(c) | padding_is_one(c)


FAMILY = Family(
    model_type="longformer",
    base="longformer",
    main_layer="longformer",
    encoder=Encoder(
        encoder, {"pytorch": "LongformerModel", "tf": "TFLongformerModel"}, limits=limits
    ),
    defaults={
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 1,
    },
    positions="padding",
)
