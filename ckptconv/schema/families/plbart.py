"""PLBART: BART over source code, which PyTorch alone has.

Source: transformers 4.57.6, models/plbart.
"""

from __future__ import annotations

from ckptconv.schema.families._bart import (
    AS_BART,
    BART_ALIASES,
    BART_CLASSES,
    BART_DECODER,
    BART_DEFAULTS,
    BART_TWINS,
    DECODER_AS_BART,
    Style,
    bart_decoder,
    bart_head,
    bart_limits,
    bart_whole,
    learned_positions,
    whole_limits,
    whole_names,
)
from ckptconv.schema.family import Decoder, Family, Whole

STYLE = Style(learned_positions(2), first_norm=True, own_words=True)


FAMILY = Family(
    model_type="plbart",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        bart_decoder(STYLE),
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "PLBartForCausalLM", "flax": BART_DECODER},
        limits=bart_limits,
        stand_ins=DECODER_AS_BART,
        other_names=whole_names,
    ),
    whole=Whole(
        bart_whole(STYLE),
        {"pytorch": "PLBartForConditionalGeneration", **BART_CLASSES},
        limits=whole_limits,
        stand_ins=AS_BART,
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
