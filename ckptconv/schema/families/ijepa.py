"""I-JEPA: ViT without a first token, which PyTorch alone has. Source: transformers 4.57.6, models/ijepa."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import VIT_DEFAULTS, vit_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module


def encoder(c: Config) -> Iterator[Module]:
    """`IJepaModel`."""
    return vit_stack(c, tf=False, pooler=False)


FAMILY = Family(
    model_type="ijepa",
    base="ijepa",
    main_layer="ijepa",
    encoder=Encoder(encoder, {"pytorch": "IJepaModel"}, reads="pixels", one_size=True),
    defaults=VIT_DEFAULTS,
)
