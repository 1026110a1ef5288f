"""Pegasus: BART with its norms first, one more after each stack, and positions of sines.

Source: transformers 4.57.6, models/pegasus. The Flax class computes the positions that PyTorch and TF store.
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
    sine_limits,
    stored_sines,
    whole_names,
)
from ckptconv.schema.family import Decoder, Family, Whole

STYLE = Style(stored_sines, last_norm=True)

FAMILY = Family(
    model_type="pegasus",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        bart_decoder(STYLE),
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "PegasusForCausalLM"},
        other_names=whole_names,
    ),
    whole=Whole(
        bart_whole(STYLE),
        {
            "pytorch": "PegasusForConditionalGeneration",
            "tf": "TFPegasusForConditionalGeneration",
            "flax": "FlaxPegasusForConditionalGeneration",
        },
        limits=sine_limits,
    ),
    defaults={**BART_DEFAULTS, "pad_token_id": 0},
    aliases=BART_ALIASES,
)
