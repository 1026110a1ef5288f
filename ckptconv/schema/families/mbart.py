"""mBART: BART with its norms first, and one more after each stack.

Source: transformers 4.57.6, models/mbart.
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

STYLE = Style(learned_positions(2), first_norm=True, last_norm=True, own_words=True)


FAMILY = Family(
    model_type="mbart",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=half_of_whole(STYLE, "MBartForCausalLM"),
    whole=Whole(
        bart_whole(STYLE),
        {
            "pytorch": "MBartForConditionalGeneration",
            "tf": "TFMBartForConditionalGeneration",
            "flax": "FlaxMBartForConditionalGeneration",
        },
        limits=whole_limits,
    ),
    defaults=BART_DEFAULTS,
    aliases=BART_ALIASES,
)
