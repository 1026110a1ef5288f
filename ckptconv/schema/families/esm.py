"""ESM, for proteins: RoBERTa with the norms before the layers and, in ESM-2, rotary positions.

Source: transformers 4.57.6, models/esm/modeling_esm.py, modeling_tf_esm.py. Irregular: the frequencies of rotary
positions are a buffer that every layer stores and loads (the published ones went through float16, so that they are
not what a new model makes); TF has a table of absolute positions even where it reads none; a head for contacts
comes with the base model, which the composite never reads. The activation is always gelu. There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.base.strict_json import in_words
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, bert_pooler, relative_positions
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    only_in,
    parameter,
    under,
    zeros_if_absent,
)


def embeddings(c: Config) -> Iterator[Module]:
    """Words and positions, and a norm where the config asks for one."""
    hidden = c.size("hidden_size")
    yield embedding("word_embeddings", c.size("vocab_size"), hidden)
    positions = [embedding("position_embeddings", c.size("max_position_embeddings"), hidden)]
    if c.get("position_embedding_type") == "absolute":
        yield from positions
    else:
        yield from only_in(
            "tf", zeros_if_absent(positions, "TF has the table and, as configured, never reads it")
        )
    if c.flag("emb_layer_norm_before"):
        yield norm("layer_norm", hidden)
    yield buffer("position_ids", REBUILT)


def attention(c: Config) -> Iterator[Module]:
    """Query, key and value, and where in them a token stands."""
    hidden = c.size("hidden_size")
    for name in ("query", "key", "value"):
        yield linear(f"self.{name}", hidden, hidden)
    if c.get("position_embedding_type") == "rotary":
        head = hidden // max(1, c.size("num_attention_heads"))
        yield parameter("self.rotary_embeddings.inv_freq", half=head // 2)
    yield from relative_positions(c)
    yield linear("output.dense", hidden, hidden)
    yield norm("LayerNorm", hidden)


def layer(c: Config) -> Iterator[Module]:
    """`EsmLayer`."""
    hidden, intermediate = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("attention", attention(c))
    yield linear("intermediate.dense", intermediate, hidden)
    yield linear("output.dense", hidden, intermediate)
    yield norm("LayerNorm", hidden)


def contact_head(c: Config) -> Modules:
    """One number from all attentions of all layers."""
    attentions = c.size("num_hidden_layers") * c.size("num_attention_heads")
    return zeros_if_absent(
        [linear("contact_head.regression", 1, attentions)], "the composite predicts no contacts"
    )


def encoder(c: Config) -> Iterator[Module]:
    """`EsmModel`."""
    yield from under("embeddings", embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c))
    yield norm("encoder.emb_layer_norm_after", c.size("hidden_size"))
    yield from bert_pooler(c)
    yield from contact_head(c)


def limits(c: Config) -> dict[NamingName, str]:
    """What TF's class does otherwise than PyTorch's, which since 4.57 leaves the mask out of the embeddings."""
    if c.flag("token_dropout"):
        return {
            "tf": "'token_dropout' is true, for which this class counts tokens without the padding, PyTorch's with it"
        }
    kind = c.get("position_embedding_type")
    why = f"'position_embedding_type' is {in_words(kind)}, for which this class has a table that it cannot load"
    return {} if kind in ("absolute", "rotary") else {"tf": why}


FAMILY = Family(
    model_type="esm",
    base="esm",
    main_layer="esm",
    encoder=Encoder(encoder, {"pytorch": "EsmModel", "tf": "TFEsmModel"}, limits=limits),
    defaults={
        "vocab_size": None,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 1026,
        "position_embedding_type": "absolute",
        "emb_layer_norm_before": None,
        "token_dropout": False,
        "pad_token_id": None,
    },
    positions="padding",
)
