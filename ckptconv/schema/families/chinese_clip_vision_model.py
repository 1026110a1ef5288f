"""Chinese CLIP's image encoder: CLIP's under another name. Source: transformers 4.57.6, models/chinese_clip."""

from __future__ import annotations

from ckptconv.schema.families._clip import CLIP_DEFAULTS, clip_stack
from ckptconv.schema.family import Encoder, Family

FAMILY = Family(
    model_type="chinese_clip_vision_model",
    base="vision_model",
    main_layer="vision_model",
    encoder=Encoder(
        clip_stack, {"pytorch": "ChineseCLIPVisionModel"}, reads="pixels", one_size=True
    ),
    defaults=CLIP_DEFAULTS,
)
