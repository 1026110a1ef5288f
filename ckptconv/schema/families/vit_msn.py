"""ViT-MSN: ViT without a pooler, which the composite never reads, so that ViT's classes stand in.

Source: transformers 4.57.6, models/vit_msn. PyTorch alone has a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import VIT_DEFAULTS, image_limits, vit_stack
from ckptconv.schema.family import Encoder, Family, StandIn
from ckptconv.schema.formulas import Zeros
from ckptconv.schema.tensors import Module, NamingName, computed, held_by, linear


def encoder(c: Config) -> Iterator[Module]:
    """`ViTMSNModel`, and the pooler that ViT's classes have."""
    yield from vit_stack(c, "cls_token", pooler=False)
    hidden = c.size("hidden_size")
    pooler = held_by(("tf", "flax"), [linear("pooler.dense", hidden, hidden)])
    yield from computed(pooler, Zeros(), why="this model has none, and the composite reads none")


VIT = StandIn("vit", "ViT")
AS_VIT: Mapping[NamingName, StandIn] = {"tf": VIT, "flax": VIT}


FAMILY = Family(
    model_type="vit_msn",
    base="vit",
    main_layer="vit",
    encoder=Encoder(
        encoder,
        {"pytorch": "ViTMSNModel", "tf": "TFViTModel", "flax": "FlaxViTModel"},
        limits=image_limits,
        reads="pixels",
        one_size=True,
        stand_ins=AS_VIT,
    ),
    defaults=VIT_DEFAULTS,
)
