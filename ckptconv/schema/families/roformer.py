"""RoFormer: BERT's stack with rotary positions; PyTorch alone has a decoder that reads an encoder.

Source: transformers 4.57.6, models/roformer/modeling_roformer.py, modeling_tf_roformer.py, modeling_flax_roformer.py.
Irregular: no pooler; `embeddings_project` exists where the widths differ; the table of sines is a parameter, saved
with the others. Flax's module knows no `position_ids`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    activation,
    bert_layer,
    bert_predictions,
    not_causal,
)
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    embedding,
    layers,
    linear,
    norm,
    under,
    word_embedding,
)


def width(c: Config) -> int:
    """Return the embeddings' width; absent means the layers'."""
    return c.size("hidden_size") if c.get("embedding_size") is None else c.size("embedding_size")


def embeddings(c: Config) -> Iterator[Module]:
    """Words and token types, summed and normed."""
    yield word_embedding("word_embeddings", c.size("vocab_size"), width(c))
    yield embedding("token_type_embeddings", c.size("type_vocab_size"), width(c))
    yield norm("LayerNorm", width(c))


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`RoFormerModel`."""
    hidden = c.size("hidden_size")
    yield from under("embeddings", embeddings(c))
    if width(c) != hidden:
        yield linear("embeddings_project", hidden, width(c))
    head_size = hidden // max(1, c.size("num_attention_heads"))
    yield embedding("encoder.embed_positions", c.size("max_position_embeddings"), head_size)
    once = bert_layer(hidden, c.size("intermediate_size"), cross=cross)
    yield from layers("encoder.layer", c.size("num_hidden_layers"), once)


def encoder(c: Config) -> Iterator[Module]:
    """`RoFormerModel` without cross-attention."""
    return stack(c, cross=False)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `RoFormerForCausalLM`."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`RoFormerOnlyMLMHead`."""
    return bert_predictions(c, base="roformer", width=width(c))


def limits(c: Config) -> Mapping[NamingName, str]:
    """Activations that a framework lacks, and a causal encoder; positions are rotary in every one."""
    return activation(c) | not_causal(c)


FAMILY = Family(
    model_type="roformer",
    base="roformer",
    main_layer="roformer",
    encoder=Encoder(
        encoder,
        {"pytorch": "RoFormerModel", "tf": "TFRoFormerModel"},
        refused={
            "flax": "FlaxEncoderDecoderModel passes `position_ids`, which FlaxRoFormerModule does not take"
        },
        limits=limits,
    ),
    decoder=Decoder(
        decoder,
        head,
        classes={"pytorch": "RoFormerForCausalLM"},
        self_attention=BERT_TWINS,
        refused={"tf": "TFRoFormerForCausalLM has no cross-attention"},
    ),
    defaults={
        "vocab_size": 50000,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 1536,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
