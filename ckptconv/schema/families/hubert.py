"""HuBERT: wav2vec2 under another name, which PyTorch alone has.

Source: transformers 4.57.6, models/hubert.
"""

from __future__ import annotations

from ckptconv.schema.families._wav2vec2 import WAV2VEC2_DEFAULTS, wav2vec2_stack
from ckptconv.schema.family import Encoder, Family

FAMILY = Family(
    model_type="hubert",
    base="hubert",
    main_layer="hubert",
    encoder=Encoder(wav2vec2_stack, {"pytorch": "HubertModel"}, reads="samples"),
    defaults=WAV2VEC2_DEFAULTS,
)
