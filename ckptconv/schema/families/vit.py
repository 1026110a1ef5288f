"""ViT. Source: transformers 4.57.6, models/vit/modeling_vit.py, modeling_tf_vit.py, modeling_flax_vit.py."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import VIT_DEFAULTS, image_limits, vit_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module


def encoder(c: Config) -> Iterator[Module]:
    """`ViTModel`."""
    return vit_stack(c, "cls_token")


FAMILY = Family(
    model_type="vit",
    base="vit",
    main_layer="vit",
    encoder=Encoder(
        encoder,
        {"pytorch": "ViTModel", "tf": "TFViTModel", "flax": "FlaxViTModel"},
        limits=image_limits,
        reads="pixels",
        one_size=True,
    ),
    defaults=VIT_DEFAULTS,
)
