"""SigLIP's image encoder, which PyTorch alone can have before a decoder. Source: transformers 4.57.6, models/siglip."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.families._clip import layer
from ckptconv.schema.families._vit import UNREAD_POOLER, VIT_DEFAULTS, patch_count, patches
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    parameter,
    under,
    zeros_if_absent,
)


def head(c: Config) -> Iterator[Module]:
    """`SiglipMultiheadAttentionPoolingHead`, whose projections of query, key and value are one tensor."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    yield parameter("probe", one=1, place=1, dim=hidden)
    yield parameter("attention.in_proj_weight", outs=3 * hidden, inputs=hidden)
    yield parameter("attention.in_proj_bias", outs=3 * hidden)
    yield linear("attention.out_proj", hidden, hidden)
    yield norm("layernorm", hidden)
    yield linear("mlp.fc1", inner, hidden)
    yield linear("mlp.fc2", hidden, inner)


def encoder(c: Config) -> Iterator[Module]:
    """`SiglipVisionModel`."""
    hidden = c.size("hidden_size")
    table = embedding("position_embedding", patch_count(c), hidden)
    places = buffer("position_ids", REBUILT)
    inside = [
        *under("embeddings", [patches(c, "patch_embedding"), table, places]),
        *layers("encoder.layers", c.size("num_hidden_layers"), layer(c)),
        norm("post_layernorm", hidden),
    ]
    if c.flag("vision_use_head", default=True):
        inside += zeros_if_absent(under("head", head(c)), UNREAD_POOLER)
    yield from under("vision_model", inside)


FAMILY = Family(
    model_type="siglip_vision_model",
    base="vision_model",
    main_layer="vision_model",
    encoder=Encoder(encoder, {"pytorch": "SiglipVisionModel"}, reads="pixels", one_size=True),
    defaults={
        **{key: value for key, value in VIT_DEFAULTS.items() if key != "qkv_bias"},
        "hidden_act": "gelu_pytorch_tanh",
    },
)
