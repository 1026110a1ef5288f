"""XLM-RoBERTa XL: RoBERTa with its norms before each part, one more after the last layer, and none over the embeddings.

Source: transformers 4.57.6, models/xlm_roberta_xl. PyTorch alone has a class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, bert_pooler, relative_positions
from ckptconv.schema.families._roberta import roberta_head
from ckptconv.schema.family import Decoder, Encoder, Family, Twin
from ckptconv.schema.tensors import (
    Module,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    part,
    under,
    word_embedding,
)

PROJECTIONS = ("self.query", "self.key", "self.value", "output.dense")


def embeddings(c: Config) -> Iterator[Module]:
    """Words, positions and token types, summed."""
    hidden = c.size("hidden_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), hidden)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    yield embedding("token_type_embeddings", c.size("type_vocab_size"), hidden)
    yield buffer("position_ids", REBUILT)
    yield buffer("token_type_ids", REBUILT)


def attention(c: Config) -> Iterator[Module]:
    """A norm, then query, key, value and output."""
    hidden = c.size("hidden_size")
    yield norm("self_attn_layer_norm", hidden)
    for name in PROJECTIONS:
        yield linear(name, hidden, hidden)


def layer(c: Config, *, cross: bool) -> Iterator[Module]:
    """`XLMRobertaXLLayer`."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("attention", attention(c))
    yield from under("attention", relative_positions(c))
    if cross:
        yield from part("cross-attention", under("crossattention", attention(c)))
    yield linear("intermediate.dense", inner, hidden)
    yield linear("output.dense", hidden, inner)
    yield norm("LayerNorm", hidden)


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`XLMRobertaXLModel` without its pooler."""
    yield from under("embeddings", embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c, cross=cross))
    yield norm("encoder.LayerNorm", c.size("hidden_size"))


def encoder(c: Config) -> Iterator[Module]:
    """`XLMRobertaXLModel`."""
    yield from stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `XLMRobertaXLForCausalLM`."""
    return stack(c, cross=True)


FAMILY = Family(
    model_type="xlm-roberta-xl",
    base="roberta",
    main_layer="roberta",
    encoder=Encoder(encoder, {"pytorch": "XLMRobertaXLModel"}),
    decoder=Decoder(
        decoder,
        roberta_head,
        classes={"pytorch": "XLMRobertaXLForCausalLM"},
        self_attention={
            f"crossattention.{name}": Twin(f"attention.{name}")
            for name in ("self_attn_layer_norm", *PROJECTIONS)
        },
    ),
    defaults={
        "vocab_size": 250880,
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "intermediate_size": 10240,
        "hidden_act": "gelu",
        "max_position_embeddings": 514,
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "pad_token_id": 1,
    },
    positions="padding",
)
