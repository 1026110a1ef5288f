"""Blenderbot small: BART without the two rows that its positions do not use.

Source: transformers 4.57.6, models/blenderbot_small.
"""

from __future__ import annotations

from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    Style,
    bart_whole,
    half_of_whole,
    learned_positions,
    whole_limits,
)
from ckptconv.schema.family import Family, Whole

STYLE = Style(learned_positions(0), first_norm=True)


FAMILY = Family(
    model_type="blenderbot-small",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=half_of_whole(STYLE, "BlenderbotSmallForCausalLM"),
    whole=Whole(
        bart_whole(STYLE),
        {
            "pytorch": "BlenderbotSmallForConditionalGeneration",
            "tf": "TFBlenderbotSmallForConditionalGeneration",
            "flax": "FlaxBlenderbotSmallForConditionalGeneration",
        },
        limits=whole_limits,
    ),
    defaults={
        **BART_DEFAULTS,
        "d_model": 512,
        "encoder_layers": 8,
        "encoder_ffn_dim": 2048,
        "decoder_layers": 8,
        "decoder_ffn_dim": 2048,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
    },
    aliases=BART_ALIASES,
)
