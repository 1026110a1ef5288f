"""Megatron-BERT: BERT with its norms before each part, one more after the last layer, and none over the embeddings.

Source: transformers 4.57.6, models/megatron_bert. PyTorch alone has a class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    REBUILT,
    bert_pooler,
    bert_predictions,
    relative_positions,
)
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


def attention(c: Config) -> Iterator[Module]:
    """A norm, then query, key, value and output."""
    hidden = c.size("hidden_size")
    yield norm("ln", hidden)
    for name in PROJECTIONS:
        yield linear(name, hidden, hidden)
    yield from relative_positions(c)


def layer(c: Config, *, cross: bool) -> Iterator[Module]:
    """`MegatronBertLayer`."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("attention", attention(c))
    if cross:
        yield from part("cross-attention", under("crossattention", attention(c)))
    yield norm("ln", hidden)
    yield linear("intermediate.dense", inner, hidden)
    yield linear("output.dense", hidden, inner)


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`MegatronBertModel` without its pooler."""
    yield from under("embeddings", embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c, cross=cross))
    yield norm("encoder.ln", c.size("hidden_size"))


def encoder(c: Config) -> Iterator[Module]:
    """`MegatronBertModel`."""
    yield from stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `MegatronBertForCausalLM`."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`MegatronBertOnlyMLMHead`."""
    return bert_predictions(c, base="bert")


FAMILY = Family(
    model_type="megatron-bert",
    base="bert",
    main_layer="bert",
    encoder=Encoder(encoder, {"pytorch": "MegatronBertModel"}),
    decoder=Decoder(
        decoder,
        head,
        classes={"pytorch": "MegatronBertForCausalLM"},
        self_attention={
            f"crossattention.{name}": Twin(f"attention.{name}") for name in ("ln", *PROJECTIONS)
        },
    ),
    defaults={
        "vocab_size": 29056,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
