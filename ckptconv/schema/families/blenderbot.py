"""Blenderbot: BART with its norms first, one more after each stack, and none over the embeddings.

Source: transformers 4.57.6, models/blenderbot.
"""

from __future__ import annotations

from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    BART_TWINS,
    Style,
    bart_decoder,
    bart_head,
    bart_whole,
    learned_positions,
    whole_limits,
    whole_names,
)
from ckptconv.schema.family import Decoder, Family, Whole

STYLE = Style(learned_positions(0), last_norm=True)


FAMILY = Family(
    model_type="blenderbot",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        bart_decoder(STYLE),
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "BlenderbotForCausalLM"},
        other_names=whole_names,
    ),
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
