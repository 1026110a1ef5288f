"""Blocks that several families are made of, and settings of these that the TF and Flax classes cannot do.

A block takes sizes and gives modules. A limit says of one setting, as a family's `limits` want it: naming -> the reason
why the class of transformers 4.57.6 cannot do it, or does it otherwise.

Source: activations.py, activations_tf.py (`get_tf_activation`), modeling_flax_utils.py (`ACT2FN`). Every function
that a framework has under PyTorch's name was measured over 160,000 inputs from -30 to 30 against float64:
its error is that of PyTorch's own float32, 1e-6 at most. What differs is what a framework has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json, in_words
from ckptconv.schema.config import Config
from ckptconv.schema.family import Twin
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
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

_BOTH = frozenset({"gelu", "gelu_new", "quick_gelu", "relu", "silu", "swish", "tanh"})
ACTIVATIONS: Mapping[NamingName, frozenset[str]] = {
    "tf": _BOTH | {"gelu_10", "gelu_fast", "mish", "sigmoid"},
    "flax": _BOTH | {"gelu_pytorch_tanh"},
}
"""Naming -> the activation functions that it has and computes as PyTorch does."""

EQUAL = {
    "gelu_python": "gelu",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "gelu_accurate": "gelu_new",
}
"""Another name of the same function, to float32 rounding (measured as above): what a user may write instead."""


def activation(c: Config, key: str = "hidden_act") -> dict[NamingName, str]:
    """Name the namings that lack a config's activation function."""
    name = c.text(key)
    hint = f"; {EQUAL[name]!r} is the same function" if name in EQUAL else ""
    return {
        naming: f"{key!r} is {name!a}, which transformers' {naming} classes do not have{hint}"
        for naming, functions in ACTIVATIONS.items()
        if name not in functions
    }


def absolute_positions(c: Config) -> dict[NamingName, str]:
    """Name the namings that add absolute positions whatever the config says: TF and Flax."""
    kind = c.get("position_embedding_type")
    if kind in (None, "absolute"):
        return {}
    why = f"'position_embedding_type' is {in_words(kind)}, but these classes always add absolute positions"
    return {"tf": why, "flax": why}


def only(c: Config, key: str, value: bool, why: str) -> dict[NamingName, str]:
    """Name TF and Flax where a switch is not what their classes take it for."""
    flag = c.flag(key, default=value)
    return (
        {}
        if flag is value
        else dict.fromkeys(("tf", "flax"), f"{key!r} is {in_words(flag)}, but {why}")
    )


def not_causal(c: Config) -> dict[NamingName, str]:
    """Name TF and Flax where an encoder is to look back only, as PyTorch does by `is_decoder`, and they do not."""
    return only(c, "is_decoder", False, "this class always sees the whole text")


def bert_limits(c: Config) -> dict[NamingName, str]:
    """BERT's and its relatives'."""
    return activation(c) | absolute_positions(c)


def padding_is_one(c: Config) -> dict[NamingName, str]:
    """Name TF where its class takes 1 for the padding token, after which positions count, whatever the config says."""
    pad = c.get("pad_token_id")
    why = f"'pad_token_id' is {in_words(pad)}, but this class takes it for 1 and counts positions from there"
    return {} if pad == 1 else {"tf": why}


def roberta_limits(c: Config) -> dict[NamingName, str]:
    """RoBERTa's and its relatives'."""
    return bert_limits(c) | padding_is_one(c)


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
    """The table of distances that an attention may have, with `path` before its name."""
    if c.get("position_embedding_type") in ("relative_key", "relative_key_query"):
        head = c.size("hidden_size") // max(1, c.size("num_attention_heads"))
        yield embedding(
            f"{path}distance_embedding", max(0, 2 * c.size("max_position_embeddings") - 1), head
        )


BERT_DEFAULTS: Mapping[str, Json] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
"""What `BertConfig`, and those derived from it, give to keys that a file leaves out."""
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
