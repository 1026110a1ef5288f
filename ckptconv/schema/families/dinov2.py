"""DINOv2: ViT with layer scales, and a gated feed-forward in its largest model.

Source: transformers 4.57.6, models/dinov2/modeling_dinov2.py, modeling_flax_dinov2.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import (
    UNREAD_MASK,
    VIT_DEFAULTS,
    image_limits,
    patches,
    position_table,
    token,
    vit_attention,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, layers, linear, norm, parameter, under, zeros_if_absent


def feed_forward(c: Config) -> Iterator[Module]:
    """Two layers; gated, both halves of the first are one, and its width is two thirds, in steps of eight."""
    hidden = c.size("hidden_size")
    inner = int(hidden * c.number("mlp_ratio"))
    if c.flag("use_swiglu_ffn"):
        inner = (int(inner * 2 / 3) + 7) // 8 * 8
        yield linear("mlp.weights_in", 2 * inner, hidden)
        yield linear("mlp.weights_out", hidden, inner)
    else:
        yield linear("mlp.fc1", inner, hidden)
        yield linear("mlp.fc2", hidden, inner)


def layer(c: Config) -> Iterator[Module]:
    """`Dinov2Layer`."""
    hidden, bias = c.size("hidden_size"), c.flag("qkv_bias", default=True)
    biases = dict.fromkeys(("query", "key", "value"), bias)
    yield norm("norm1", hidden)
    yield from under("attention", vit_attention(c, biases=biases))
    yield parameter("layer_scale1.lambda1", dim=hidden)
    yield norm("norm2", hidden)
    yield from feed_forward(c)
    yield parameter("layer_scale2.lambda1", dim=hidden)


def dinov2_stack(c: Config) -> Iterator[Module]:
    """`Dinov2Model`."""
    hidden = c.size("hidden_size")
    yield token(c, "embeddings.cls_token")
    if c.flag("use_mask_token", default=True):
        mask = parameter("embeddings.mask_token", one=1, dim=hidden)
        yield from zeros_if_absent([mask], UNREAD_MASK)
    yield from under("embeddings", [position_table(c, 1), patches(c)])
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c))
    yield norm("layernorm", hidden)


FAMILY = Family(
    model_type="dinov2",
    base="dinov2",
    main_layer="dinov2",
    encoder=Encoder(
        dinov2_stack,
        {"pytorch": "Dinov2Model", "flax": "FlaxDinov2Model"},
        limits=image_limits,
        reads="pixels",
    ),
    defaults={
        **{key: value for key, value in VIT_DEFAULTS.items() if key != "intermediate_size"},
        "patch_size": 14,
        "mlp_ratio": 4,
        "use_swiglu_ffn": False,
        "use_mask_token": True,
    },
)
