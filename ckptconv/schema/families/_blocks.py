"""Blocks that several families are made of; each takes sizes and gives modules."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.family import Twin
from ckptconv.schema.vocabulary import (
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


def bert_embeddings(c: Config, width: int | None = None) -> Iterator[Module]:
    """Words, positions and token types, summed and normed; as wide as the layers unless `width` says otherwise."""
    dim = c.size("hidden_size") if width is None else width
    yield word_embedding("word_embeddings", c.size("vocab_size"), dim)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), dim)
    yield embedding("token_type_embeddings", c.size("type_vocab_size"), dim)
    yield norm("LayerNorm", dim)
    yield buffer("position_ids", REBUILT)
    yield buffer("token_type_ids", REBUILT)


def bert_attention(hidden: int) -> Iterator[Module]:
    """Query, key and value, then the output projection with its norm."""
    for name in ("query", "key", "value"):
        yield linear(f"self.{name}", hidden, hidden)
    yield linear("output.dense", hidden, hidden)
    yield norm("output.LayerNorm", hidden)


def relative_positions(c: Config, path: str = "self.") -> Iterator[Module]:
    """The table of distances that an attention may have, with `path` before its name; see `_limits.py`."""
    if c.get("position_embedding_type") in ("relative_key", "relative_key_query"):
        head = c.size("hidden_size") // max(1, c.size("num_attention_heads"))
        yield embedding(
            f"{path}distance_embedding", max(0, 2 * c.size("max_position_embeddings") - 1), head
        )


BERT_TWINS = {
    f"crossattention.{path}": Twin(f"attention.{path}")
    for path in ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
}
"""A cross-attention has the modules of the self-attention beside it."""


def bert_layer(
    hidden: int, intermediate: int, *, cross: bool, distances: Modules = ()
) -> Iterator[Module]:
    """Attention, cross-attention in a decoder, and the feed-forward pair."""
    yield from under("attention", bert_attention(hidden))
    yield from under("attention", distances)
    if cross:
        yield from part("cross-attention", under("crossattention", bert_attention(hidden)))
    yield linear("intermediate.dense", intermediate, hidden)
    yield linear("output.dense", hidden, intermediate)
    yield norm("output.LayerNorm", hidden)


def bert_stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """Embeddings and layers: the base model without its pooler."""
    sizes = c.size("hidden_size"), c.size("intermediate_size")
    layer = bert_layer(*sizes, cross=cross, distances=relative_positions(c))
    yield from under("embeddings", bert_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)


def bert_pooler(c: Config) -> Iterator[Module]:
    """The dense layer over the first state that `AutoModel` adds and the composite never reads."""
    hidden = c.size("hidden_size")
    return zeros_if_absent([linear("pooler.dense", hidden, hidden)], UNREAD_POOLER)


def numbered_layers(path: str, count: int, modules: Modules) -> Iterator[Module]:
    """Repeat modules as `path.0`, `path.1` ..., which TF's families from BART on take for one level."""
    once = tuple(modules)
    for index in range(count):
        yield from under(f"{path}.{index}", once, tf=(f"{path}.{index}",))


def tied_output(
    path: str, c: Config, embeddings: str, *, bias: str | None, width: int | None = None
) -> Modules:
    """An output projection to the vocabulary that repeats the input embeddings unless untied.

    Source: `_tied_weights_keys` of the PyTorch class. TF's classes have no place for it: they always
    reuse the embeddings. Its bias, where there is one, is another name for the head's own `bias`.
    """
    vocab, dim = c.size("vocab_size"), c.size("hidden_size") if width is None else width
    tied = c.flag("tie_word_embeddings", default=True)
    output = linear(path, vocab, dim, bias=False)
    yield repeats(output, embeddings, tied=tied, held_by=("pytorch", "flax"))
    if bias:
        yield repeats(parameter(f"{path}.bias", out=vocab), bias, tied=True)


def bert_predictions(c: Config, base: str, width: int | None = None) -> Iterator[Module]:
    """`BertOnlyMLMHead`: a dense layer, a norm and the output projection; TF calls the level `cls` otherwise.

    Args: base: level of the base model, whose word embeddings it repeats. width: of these, where it is their own.
    """
    dim = c.size("hidden_size") if width is None else width
    predictions = [
        linear("predictions.transform.dense", dim, c.size("hidden_size")),
        norm("predictions.transform.LayerNorm", dim),
        parameter("predictions.bias", out=c.size("vocab_size")),
    ]
    yield from under("cls", predictions, tf="mlm___cls")
    words, bias = f"{base}.embeddings.word_embeddings", "cls.predictions.bias"
    yield from tied_output("cls.predictions.decoder", c, words, bias=bias, width=dim)
