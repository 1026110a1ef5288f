"""ViT-MSN: ViT without a pooler, which PyTorch alone has. Source: transformers 4.57.6, models/vit_msn."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import VIT_DEFAULTS, vit_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module


def encoder(c: Config) -> Iterator[Module]:
    """`ViTMSNModel`."""
    return vit_stack(c, "cls_token", tf=False, pooler=False)


FAMILY = Family(
    model_type="vit_msn",
    base="vit",
    main_layer="vit",
    encoder=Encoder(encoder, {"pytorch": "ViTMSNModel"}, reads="pixels", one_size=True),
    defaults=VIT_DEFAULTS,
)
