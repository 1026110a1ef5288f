"""Blenderbot: BART with its norms first, one more after each stack, and none over the embeddings.

Source: transformers 4.57.6, models/blenderbot.
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

STYLE = Style(learned_positions(0), last_norm=True)


FAMILY = Family(
    model_type="blenderbot",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=half_of_whole(STYLE, "BlenderbotForCausalLM"),
    whole=Whole(
        bart_whole(STYLE),
        {
            "pytorch": "BlenderbotForConditionalGeneration",
            "tf": "TFBlenderbotForConditionalGeneration",
            "flax": "FlaxBlenderbotForConditionalGeneration",
        },
        limits=whole_limits,
    ),
    defaults={
        **BART_DEFAULTS,
        "vocab_size": 8008,
        "d_model": 2560,
        "encoder_layers": 2,
        "encoder_attention_heads": 32,
        "encoder_ffn_dim": 10240,
        "decoder_layers": 24,
        "decoder_attention_heads": 32,
        "decoder_ffn_dim": 10240,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    },
    aliases=BART_ALIASES,
)
