"""CLIP's image encoder, which Chinese CLIP has as well. Source: transformers 4.57.6, models/clip, chinese_clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import PROJECTIONS
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.families._vit import VIT_DEFAULTS, patch_count
from ckptconv.schema.tensors import (
    Module,
    buffer,
    conv2d,
    embedding,
    layers,
    linear,
    norm,
    parameter,
    under,
)


def embeddings(c: Config) -> Iterator[Module]:
    """`CLIPVisionEmbeddings`."""
    hidden = c.size("hidden_size")
    yield parameter("class_embedding", dim=hidden)
    size = c.extent("patch_size")
    yield conv2d("patch_embedding", hidden, c.size("num_channels"), *size, bias=False)
    yield embedding("position_embedding", patch_count(c) + 1, hidden)
    yield buffer("position_ids", REBUILT)


def layer(c: Config) -> Iterator[Module]:
    """`CLIPEncoderLayer`."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("self_attn", (linear(name, hidden, hidden) for name in PROJECTIONS))
    yield norm("layer_norm1", hidden)
    yield linear("mlp.fc1", inner, hidden)
    yield linear("mlp.fc2", hidden, inner)
    yield norm("layer_norm2", hidden)


def clip_stack(c: Config) -> Iterator[Module]:
    """`CLIPVisionModel`; the first norm is spelt so in the class."""
    hidden = c.size("hidden_size")
    inside = (
        *under("embeddings", embeddings(c)),
        norm("pre_layrnorm", hidden),
        *layers("encoder.layers", c.size("num_hidden_layers"), layer(c)),
        norm("post_layernorm", hidden),
    )
    yield from under("vision_model", inside)


CLIP_DEFAULTS: Mapping[str, Json] = {
    **{key: value for key, value in VIT_DEFAULTS.items() if key != "qkv_bias"},
    "hidden_act": "quick_gelu",
    "patch_size": 32,
}
