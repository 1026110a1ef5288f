"""MPNet: BERT's layers with T5's relative positions on top.

Source: transformers 4.57.6, models/mpnet/modeling_mpnet.py, modeling_tf_mpnet.py. Irregular: there are no token
types; one table of position biases, a row a bucket and a column a head, serves all layers; positions count from
a padding token that all classes take to be 1, whatever the config says; PyTorch uses 32 buckets however many there
are, TF all of them. There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.base.strict_json import in_words
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, activation, bert_pooler, not_causal
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
    hidden = c.size("hidden_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), hidden)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    yield norm("LayerNorm", hidden)
    yield buffer("position_ids", REBUILT)


def layer(hidden: int, intermediate: int) -> Iterator[Module]:
    """`MPNetLayer`."""
    for name in ("q", "k", "v", "o"):
        yield linear(f"attention.attn.{name}", hidden, hidden)
    yield norm("attention.LayerNorm", hidden)
    yield linear("intermediate.dense", intermediate, hidden)
    yield linear("output.dense", hidden, intermediate)
    yield norm("output.LayerNorm", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`MPNetModel`."""
    sizes = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("embeddings", embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(*sizes))
    buckets, heads = c.size("relative_attention_num_buckets"), c.size("num_attention_heads")
    yield embedding("encoder.relative_attention_bias", buckets, heads)
    yield from bert_pooler(c)


def limits(c: Config) -> dict[NamingName, str]:
    """What TF lacks: activations, causal encoders, another number of buckets."""
    reasons, buckets = activation(c) | not_causal(c), c.get("relative_attention_num_buckets")
    if buckets != 32:
        reasons["tf"] = (
            f"'relative_attention_num_buckets' is {in_words(buckets)}: PyTorch's class uses 32 of them, TF's all"
        )
    return reasons


FAMILY = Family(
    model_type="mpnet",
    base="mpnet",
    main_layer="mpnet",
    encoder=Encoder(encoder, {"pytorch": "MPNetModel", "tf": "TFMPNetModel"}, limits=limits),
    defaults={
        "vocab_size": 30527,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "relative_attention_num_buckets": 32,
        "pad_token_id": 1,
    },
    positions="padding",
)
