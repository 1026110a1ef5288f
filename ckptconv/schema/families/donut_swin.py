"""Donut's encoder: Swin without a norm after its last stage, which PyTorch alone has.

Source: transformers 4.57.6, models/donut/modeling_donut_swin.py. TF's Swin always has that norm, so it holds none.
"""

from __future__ import annotations

from ckptconv.schema.families._swin import SWIN_DEFAULTS, last_width, swin_stack
from ckptconv.schema.family import Encoder, Family

FAMILY = Family(
    model_type="donut-swin",
    base="swin",
    main_layer="swin",
    encoder=Encoder(swin_stack, {"pytorch": "DonutSwinModel"}, reads="pixels", width=last_width),
    defaults=SWIN_DEFAULTS,
)
