"""UniSpeech: wav2vec2 under another name, which PyTorch alone has.

Source: transformers 4.57.6, models/unispeech.
"""

from __future__ import annotations

from ckptconv.schema.families._wav2vec2 import WAV2VEC2_DEFAULTS, wav2vec2_stack
from ckptconv.schema.family import Encoder, Family

FAMILY = Family(
    model_type="unispeech",
    base="unispeech",
    main_layer="unispeech",
    encoder=Encoder(wav2vec2_stack, {"pytorch": "UniSpeechModel"}, reads="samples"),
    defaults=WAV2VEC2_DEFAULTS,
)
