"""Swin 2: attention in windows, which move from layer to layer, and positions that a small network makes of distances.

Source: transformers 4.57.6, models/swinv2. PyTorch alone has a class. Each stage but the last joins four patches.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.base.errors import SourceError
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, buffer, conv2d, layers, linear, norm, parameter, under

DISTANCES, INNER = 2, 512
"""Inputs and width of the network that makes positions of distances."""


def attention(c: Config, width: int, heads: int) -> Iterator[Module]:
    """`Swinv2SelfAttention`; its key never has a bias."""
    bias = c.flag("qkv_bias", default=True)
    yield parameter("logit_scale", head=heads, query=1, key=1)
    yield linear("continuous_position_bias_mlp.0", INNER, DISTANCES)
    yield linear("continuous_position_bias_mlp.2", heads, INNER, bias=False)
    yield buffer("relative_coords_table", REBUILT)
    yield buffer("relative_position_index", REBUILT)
    for name in ("query", "key", "value"):
        yield linear(name, width, width, bias=bias and name != "key")


MOST_FEATURES = 1 << 31
MOST_STAGES = 16
"""Each doubles the width; real ones have four."""


def stages(c: Config) -> tuple[tuple[int, int], ...]:
    """Return layers and heads of each stage. Raises SourceError: more stages than any model has."""
    depths, heads = c.sizes("depths"), c.sizes("num_heads")
    if len(depths) > MOST_STAGES:
        raise SourceError(
            f"{c.where}: 'depths' has {len(depths)} stages; ckptconv takes {MOST_STAGES}"
        )
    return tuple(zip(depths, heads, strict=False))


def inner_width(c: Config, outer: int) -> int:
    """Return the width inside a layer. Raises SourceError: it is no size."""
    inner = c.number("mlp_ratio") * outer
    if not 0 <= inner < MOST_FEATURES:
        raise SourceError(f"{c.where}: 'mlp_ratio' times {outer} must be a size, found {inner}")
    return int(inner)


def block(c: Config, width: int, heads: int) -> Iterator[Module]:
    """`Swinv2Layer`."""
    inner = inner_width(c, width)
    yield from under("attention.self", attention(c, width, heads))
    yield linear("attention.output.dense", width, width)
    yield norm("layernorm_before", width)
    yield linear("intermediate.dense", inner, width)
    yield linear("output.dense", width, inner)
    yield norm("layernorm_after", width)


def width(c: Config) -> int:
    """Return the width of the last stage; each stage doubles it."""
    return c.size("embed_dim") << max(0, len(stages(c)) - 1)


def encoder(c: Config) -> Iterator[Module]:
    """`Swinv2Model`."""
    own, each = c.size("embed_dim"), stages(c)
    channels, patch = c.size("num_channels"), c.extent("patch_size")
    yield conv2d("embeddings.patch_embeddings.projection", own, channels, *patch)
    yield norm("embeddings.norm", own)
    for stage, (depth, count) in enumerate(each):
        path = f"encoder.layers.{stage}"
        yield from layers(f"{path}.blocks", depth, block(c, own, count))
        if stage + 1 < len(each):
            yield linear(f"{path}.downsample.reduction", 2 * own, 4 * own, bias=False)
            yield norm(f"{path}.downsample.norm", 2 * own)
            own *= 2
    yield norm("layernorm", own)


FAMILY = Family(
    model_type="swinv2",
    base="swinv2",
    main_layer="swinv2",
    encoder=Encoder(encoder, {"pytorch": "Swinv2Model"}, reads="pixels", width=width),
    defaults={
        "embed_dim": 96,
        "depths": [2, 2, 6, 2],
        "num_heads": [3, 6, 12, 24],
        "window_size": 7,
        "mlp_ratio": 4.0,
        "hidden_act": "gelu",
        "image_size": 224,
        "patch_size": 4,
        "num_channels": 3,
        "qkv_bias": True,
    },
)
