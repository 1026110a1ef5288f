"""PLBART: BART over source code, which PyTorch alone has.

Source: transformers 4.57.6, models/plbart.
"""

from __future__ import annotations

from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    Style,
    bart_whole,
    half_of_whole,
    learned_positions,
)
from ckptconv.schema.family import Family, Whole

STYLE = Style(learned_positions(2), first_norm=True)


FAMILY = Family(
    model_type="plbart",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=half_of_whole(STYLE, "PLBartForCausalLM"),
    whole=Whole(
        bart_whole(STYLE),
        {
            "pytorch": "PLBartForConditionalGeneration",
        },
    ),
    defaults={
        **BART_DEFAULTS,
        "vocab_size": 50005,
        "d_model": 768,
        "encoder_layers": 6,
        "encoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "decoder_layers": 6,
        "decoder_attention_heads": 12,
        "decoder_ffn_dim": 3072,
    },
    aliases=BART_ALIASES,
)
