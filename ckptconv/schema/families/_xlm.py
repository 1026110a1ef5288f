"""XLM's stack, which FlauBERT has as well.

The lists of a layer's parts stand beside each other (`attentions.0`, `layer_norm1.0`, `ffns.0` ...). A table of
languages exists where there are several of them, though the composite passes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, only
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    word_embedding,
)


def xlm_stack(c: Config) -> Iterator[Module]:
    """`XLMModel`, `FlaubertModel`."""
    hidden, count = c.size("hidden_size"), c.size("n_layers")
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    if c.size("n_langs") > 1 and c.flag("use_lang_emb"):
        yield embedding("lang_embeddings", c.size("n_langs"), hidden)
    yield word_embedding("embeddings", c.size("vocab_size"), hidden)
    yield norm("layer_norm_emb", hidden)
    yield buffer("position_ids", REBUILT)
    yield from layers(
        "attentions",
        count,
        (linear(f"{name}_lin", hidden, hidden) for name in ("q", "k", "v", "out")),
    )
    yield from layers("layer_norm1", count, [norm("", hidden)])
    yield from layers(
        "ffns", count, (linear("lin1", 4 * hidden, hidden), linear("lin2", hidden, 4 * hidden))
    )
    yield from layers("layer_norm2", count, [norm("", hidden)])


def xlm_limits(c: Config) -> dict[NamingName, str]:
    """TF's `get_masks` reads a variable that it has not set, where there is a padding mask."""
    return only(c, "causal", False, "TF's class crashes then as soon as it gets an attention mask")


XLM_DEFAULTS: Mapping[str, Json] = {
    "vocab_size": 30145,
    "emb_dim": 2048,
    "n_layers": 12,
    "n_heads": 16,
    "max_position_embeddings": 512,
    "n_langs": 1,
    "use_lang_emb": True,
    "causal": False,
    "sinusoidal_embeddings": False,
    "pad_token_id": 2,
}

XLM_ALIASES = {
    "hidden_size": "emb_dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
}
