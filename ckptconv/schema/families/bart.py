"""BART, of one piece and as a decoder; as an encoder `AutoModel` builds the whole, which no composite can run.

Source: transformers 4.57.6, models/bart/modeling_bart.py, modeling_tf_bart.py, modeling_flax_bart.py.

The table of positions has two rows more than positions, which all classes skip. The decoder's base model is two levels
deep: `model` only holds the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
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
)
from ckptconv.schema.family import Decoder, Family, Whole
from ckptconv.schema.vocabulary import Module, repeats, word_embedding

STYLE = Style(learned_positions(2), first_norm=True)


def other_names(c: Config) -> Iterator[Module]:
    """The one table of a whole BART, which its decoder has as well unless the config unties them.

    Source: `_tie_weights` of `BartModel`.
    """
    if c.flag("tie_word_embeddings", default=True):
        shared = word_embedding("model.shared", c.size("vocab_size"), c.size("hidden_size"))
        yield repeats(shared, "model.decoder.embed_tokens", tied=True)


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
        other_names=other_names,
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
