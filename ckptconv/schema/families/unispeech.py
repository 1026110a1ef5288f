"""UniSpeech: wav2vec2 under another name, and in Flax by its class.

Source: transformers 4.57.6, models/unispeech.
"""

from __future__ import annotations

from ckptconv.schema.families._wav2vec2 import (
    AS_WAV2VEC2,
    WAV2VEC2_DEFAULTS,
    flax_limits,
    wav2vec2_stack,
)
from ckptconv.schema.family import Encoder, Family

FAMILY = Family(
    model_type="unispeech",
    base="unispeech",
    main_layer="unispeech",
    encoder=Encoder(
        wav2vec2_stack,
        {"pytorch": "UniSpeechModel", "flax": "FlaxWav2Vec2Model"},
        limits=flax_limits,
        reads="samples",
        stand_ins=AS_WAV2VEC2,
    ),
    defaults=WAV2VEC2_DEFAULTS,
)
