"""CLIP's image encoder, which PyTorch alone can have before a decoder. Source: transformers 4.57.6, models/clip."""

from __future__ import annotations

from ckptconv.schema.families._clip import CLIP_DEFAULTS, clip_stack
from ckptconv.schema.family import Encoder, Family

FAMILY = Family(
    model_type="clip_vision_model",
    base="vision_model",
    main_layer="vision_model",
    encoder=Encoder(clip_stack, {"pytorch": "CLIPVisionModel"}, reads="pixels", one_size=True),
    defaults=CLIP_DEFAULTS,
)
