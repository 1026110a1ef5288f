"""DeiT: ViT with a second token that was taught by another model. Source: transformers 4.57.6, models/deit."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import VIT_DEFAULTS, image_limits, vit_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module


def encoder(c: Config) -> Iterator[Module]:
    """`DeiTModel`."""
    return vit_stack(c, "cls_token", "distillation_token")


FAMILY = Family(
    model_type="deit",
    base="deit",
    main_layer="deit",
    encoder=Encoder(
        encoder,
        {"pytorch": "DeiTModel", "tf": "TFDeiTModel"},
        limits=image_limits,
        reads="pixels",
        one_size=True,
    ),
    defaults=VIT_DEFAULTS,
)
