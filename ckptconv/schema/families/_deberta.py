"""What DeBERTa's two versions share: the embeddings, and the table of distances above the layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, activation
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
    buffer,
    embedding,
    linear,
    norm,
    parameter,
    under,
    word_embedding,
)


def embedding_width(c: Config) -> int:
    """Width of the tables, before a projection to the layers' width where the two differ."""
    return c.size("hidden_size") if c.get("embedding_size") is None else c.size("embedding_size")


def deberta_embeddings(c: Config) -> Iterator[Module]:
    """Words, with positions and token types only where the config asks for them."""
    width, hidden = embedding_width(c), c.size("hidden_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), width)
    if c.flag("position_biased_input"):
        yield embedding("position_embeddings", c.size("max_position_embeddings"), width)
    if c.size("type_vocab_size"):
        yield embedding("token_type_embeddings", c.size("type_vocab_size"), width)
    if width != hidden:
        yield linear("embed_proj", hidden, width, bias=False)
    yield norm("LayerNorm", hidden)
    yield buffer("position_ids", REBUILT)


def longest_distance(c: Config) -> int:
    """Return how far apart two tokens may be and still have a distance of their own."""
    longest = c.get("max_relative_positions")
    return (
        longest if isinstance(longest, int) and longest > 0 else c.size("max_position_embeddings")
    )


def distances(c: Config, span: int) -> Modules:
    """The table of distances to either side; TF's name for it has a dot in it."""
    table = [parameter("", row=2 * span, dim=c.size("hidden_size"))]
    return under("encoder.rel_embeddings.weight", table, tf=("encoder", "rel_embeddings.weight"))


def deberta_limits(c: Config) -> dict[NamingName, str]:
    """What TF's classes lack."""
    reasons = activation(c)
    if c.flag("position_biased_input") and embedding_width(c) != c.size("hidden_size"):
        reasons["tf"] = (
            "this class cannot add positions to embeddings of another width than the layers'"
        )
    return reasons


DEBERTA_DEFAULTS: Mapping[str, Json] = {
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "relative_attention": False,
    "max_relative_positions": -1,
    "position_biased_input": True,
    "pos_att_type": None,
    "pad_token_id": 0,
}
