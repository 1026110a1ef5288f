"""Blocks that several families are made of; each takes sizes and gives modules."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.config import Config
from ckptconv.family import Twin
from ckptconv.table import (
    Module,
    Modules,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    parameter,
    part,
    repeats,
    under,
    word_embedding,
    zeros_if_absent,
)

REBUILT = "a constant that every model makes anew"
UNREAD_POOLER = "the composite never reads the pooler"


def bert_embeddings(c: Config) -> Iterator[Module]:
    """Words, positions and token types, summed and normed."""
    hidden = c.size("hidden_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), hidden)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    yield embedding("token_type_embeddings", c.size("type_vocab_size"), hidden)
    yield norm("LayerNorm", hidden)
    yield buffer("position_ids", REBUILT)
    yield buffer("token_type_ids", REBUILT)


def bert_attention(hidden: int) -> Iterator[Module]:
    """Query, key and value, then the output projection with its norm."""
    for name in ("query", "key", "value"):
        yield linear(f"self.{name}", hidden, hidden)
    yield linear("output.dense", hidden, hidden)
    yield norm("output.LayerNorm", hidden)


BERT_TWINS = {
    f"crossattention.{path}": Twin(f"attention.{path}")
    for path in ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
}
"""A cross-attention has the modules of the self-attention beside it."""


def bert_layer(hidden: int, intermediate: int, *, cross: bool) -> Iterator[Module]:
    """Attention, cross-attention in a decoder, and the feed-forward pair."""
    yield from under("attention", bert_attention(hidden))
    if cross:
        yield from part("cross-attention", under("crossattention", bert_attention(hidden)))
    yield linear("intermediate.dense", intermediate, hidden)
    yield linear("output.dense", hidden, intermediate)
    yield norm("output.LayerNorm", hidden)


def bert_stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """Embeddings and layers: the base model without its pooler."""
    layer = bert_layer(c.size("hidden_size"), c.size("intermediate_size"), cross=cross)
    yield from under("embeddings", bert_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)


def bert_pooler(c: Config) -> Iterator[Module]:
    """The dense layer over the first state that `AutoModel` adds and the composite never reads."""
    hidden = c.size("hidden_size")
    return zeros_if_absent([linear("pooler.dense", hidden, hidden)], UNREAD_POOLER)


def tied_output(path: str, c: Config, embeddings: str, *, bias: str | None) -> Modules:
    """An output projection to the vocabulary that repeats the input embeddings unless untied.

    Source: `_tied_weights_keys` of the PyTorch class. TF's classes have no place for it: they always
    reuse the embeddings. Its bias, where there is one, is another name for the head's own `bias`.
    """
    vocab, hidden = c.size("vocab_size"), c.size("hidden_size")
    tied = c.flag("tie_word_embeddings", default=True)
    output = linear(path, vocab, hidden, bias=False)
    yield repeats(output, embeddings, tied=tied, held_by=("pytorch", "flax"))
    if bias:
        yield repeats(parameter(f"{path}.bias", out=vocab), bias, tied=True)
