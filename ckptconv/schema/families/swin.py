"""Swin: attention in windows that move from layer to layer. Source: transformers 4.57.6, models/swin."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._swin import SWIN_DEFAULTS, last_width, swin_stack
from ckptconv.schema.families._vit import image_limits
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, norm


def encoder(c: Config) -> Iterator[Module]:
    """`SwinModel`."""
    yield from swin_stack(c)
    yield norm("layernorm", last_width(c))


FAMILY = Family(
    model_type="swin",
    base="swin",
    main_layer="swin",
    encoder=Encoder(
        encoder,
        {"pytorch": "SwinModel", "tf": "TFSwinModel"},
        limits=image_limits,
        reads="pixels",
        width=last_width,
    ),
    defaults=SWIN_DEFAULTS,
)
