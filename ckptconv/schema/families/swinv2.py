"""Swin 2: attention in windows, which move from layer to layer, and positions that a small network makes of distances.

Source: transformers 4.57.6, models/swinv2. PyTorch alone has a class. Each stage but the last joins four patches.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.families._swin import (
    SWIN_DEFAULTS,
    inner_width,
    last_width,
    layered,
    patches,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, buffer, linear, norm, parameter, under

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


def block(c: Config, width: int, heads: int) -> Iterator[Module]:
    """`Swinv2Layer`."""
    inner = inner_width(c, width)
    yield from under("attention.self", attention(c, width, heads))
    yield linear("attention.output.dense", width, width)
    yield norm("layernorm_before", width)
    yield linear("intermediate.dense", inner, width)
    yield linear("output.dense", width, inner)
    yield norm("layernorm_after", width)


def encoder(c: Config) -> Iterator[Module]:
    """`Swinv2Model`."""
    yield from patches(c)
    yield from layered(c, block, joined=lambda width: 2 * width)
    yield norm("layernorm", last_width(c))


FAMILY = Family(
    model_type="swinv2",
    base="swinv2",
    main_layer="swinv2",
    encoder=Encoder(encoder, {"pytorch": "Swinv2Model"}, reads="pixels", width=last_width),
    defaults=SWIN_DEFAULTS,
)
