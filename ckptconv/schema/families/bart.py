"""BART, of one piece and as a decoder; as an encoder `AutoModel` builds the whole, which no composite can run.

Source: transformers 4.57.6, models/bart/modeling_bart.py, modeling_tf_bart.py, modeling_flax_bart.py.

The table of positions has two rows more than positions, which all classes skip. The decoder's base model is two levels
deep: `model` only holds the decoder.
"""

from __future__ import annotations

from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    BART_TWINS,
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
    model_type="bart",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        bart_decoder(STYLE),
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "BartForCausalLM", "flax": "FlaxBartForCausalLM"},
        limits=bart_limits,
        other_names=whole_names,
    ),
    whole=Whole(
        bart_whole(STYLE),
        {
            "pytorch": "BartForConditionalGeneration",
            "tf": "TFBartForConditionalGeneration",
            "flax": "FlaxBartForConditionalGeneration",
        },
        limits=whole_limits,
    ),
    defaults=BART_DEFAULTS,
    aliases=BART_ALIASES,
)
