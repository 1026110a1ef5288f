"""Pegasus: BART with its norms first, one more after each stack, and positions of sines.

Source: transformers 4.57.6, models/pegasus. The Flax class computes the positions that PyTorch and TF store.
"""

from __future__ import annotations

from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    Style,
    bart_whole,
    half_of_whole,
    sine_limits,
    stored_sines,
)
from ckptconv.schema.family import Family, Whole

STYLE = Style(stored_sines, last_norm=True)

FAMILY = Family(
    model_type="pegasus",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=half_of_whole(STYLE, "PegasusForCausalLM"),
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
