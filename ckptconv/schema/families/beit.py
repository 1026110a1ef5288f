"""BEiT. Source: transformers 4.57.6, models/beit/modeling_beit.py, modeling_flax_beit.py."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._beit import BEIT_DEFAULTS, beit_stack
from ckptconv.schema.families._vit import image_limits
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module


def encoder(c: Config) -> Iterator[Module]:
    """`BeitModel`."""
    return beit_stack(c, pooled=True)


FAMILY = Family(
    model_type="beit",
    base="beit",
    main_layer="beit",
    encoder=Encoder(
        encoder,
        {"pytorch": "BeitModel", "flax": "FlaxBeitModel"},
        limits=image_limits,
        reads="pixels",
    ),
    defaults=BEIT_DEFAULTS,
)
