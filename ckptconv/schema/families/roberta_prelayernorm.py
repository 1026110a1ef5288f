"""RoBERTa-PreLayerNorm: RoBERTa with each norm before its part, and one more after the last layer.

Source: transformers 4.57.6, models/roberta_prelayernorm/modeling_roberta_prelayernorm.py,
modeling_tf_roberta_prelayernorm.py, modeling_flax_roberta_prelayernorm.py. Irregular: the norms sit in the
attention and in `intermediate`, not in the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    bert_embeddings,
    bert_pooler,
    relative_positions,
    roberta_limits,
)
from ckptconv.schema.families._roberta import POSITIONS, ROBERTA_DEFAULTS, TOKEN_TYPES, roberta_head
from ckptconv.schema.family import Decoder, Encoder, Family, Twin
from ckptconv.schema.tensors import Module, layers, linear, norm, part, under


def attention(hidden: int) -> Iterator[Module]:
    """The norm, then query, key and value, then the output projection."""
    yield norm("LayerNorm", hidden)
    for name in ("self.query", "self.key", "self.value", "output.dense"):
        yield linear(name, hidden, hidden)


def layer(c: Config, *, cross: bool) -> Iterator[Module]:
    """Attention, cross-attention in a decoder, and the feed-forward pair."""
    hidden, intermediate = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("attention", attention(hidden))
    yield from under("attention", relative_positions(c))
    if cross:
        yield from part("cross-attention", under("crossattention", attention(hidden)))
    yield norm("intermediate.LayerNorm", hidden)
    yield linear("intermediate.dense", intermediate, hidden)
    yield linear("output.dense", hidden, intermediate)


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`RobertaPreLayerNormModel` without its pooler."""
    yield from under("embeddings", bert_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c, cross=cross))
    yield norm("LayerNorm", c.size("hidden_size"))


def encoder(c: Config) -> Iterator[Module]:
    """`RobertaPreLayerNormModel`."""
    yield from stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `RobertaPreLayerNormForCausalLM`, which has no pooler."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`RobertaPreLayerNormLMHead`."""
    return roberta_head(c, base="roberta_prelayernorm")


FAMILY = Family(
    model_type="roberta-prelayernorm",
    base="roberta_prelayernorm",
    main_layer="roberta_prelayernorm",
    encoder=Encoder(
        encoder,
        {
            "pytorch": "RobertaPreLayerNormModel",
            "tf": "TFRobertaPreLayerNormModel",
            "flax": "FlaxRobertaPreLayerNormModel",
        },
        healings=(POSITIONS, TOKEN_TYPES),
        limits=roberta_limits,
    ),
    decoder=Decoder(
        decoder,
        head,
        self_attention={
            f"crossattention.{path}": Twin(f"attention.{path}")
            for path in ("LayerNorm", "self.query", "self.key", "self.value", "output.dense")
        },
        classes={
            "pytorch": "RobertaPreLayerNormForCausalLM",
            "tf": "TFRobertaPreLayerNormForCausalLM",
            "flax": "FlaxRobertaPreLayerNormForCausalLM",
        },
        healings=(POSITIONS,),
        limits=roberta_limits,
    ),
    defaults=ROBERTA_DEFAULTS,
    positions="padding",
)
