"""mBART: BART with its norms first, and one more after each stack.

Source: transformers 4.57.6, models/mbart.
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

STYLE = Style(learned_positions(2), first_norm=True, last_norm=True)


FAMILY = Family(
    model_type="mbart",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        bart_decoder(STYLE),
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "MBartForCausalLM"},
        other_names=whole_names,
    ),
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
