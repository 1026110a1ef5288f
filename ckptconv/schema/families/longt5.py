"""LongT5: T5 whose encoder attends to its surroundings, or to those and to a summary of each block.

Source: transformers 4.57.6, models/longt5.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._t5 import CLIP, T5_ALIASES, encoder_alone, t5_limits, t5_whole
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module, embedding, gain


def whole(c: Config) -> Iterator[Module]:
    """`LongT5ForConditionalGeneration`."""
    if c.text("encoder_attention_type") != "transient-global":
        return t5_whole(c, attention="LocalSelfAttention", twice=True)
    buckets, heads = c.size("relative_attention_num_buckets"), c.size("num_heads")
    summaries = (
        embedding("global_relative_attention_bias", buckets, heads),
        gain("global_input_layer_norm", c.size("d_model")),
    )
    return t5_whole(c, attention="TransientGlobalSelfAttention", beside=summaries, twice=True)


FAMILY = Family(
    model_type="longt5",
    whole=Whole(
        whole,
        {
            "pytorch": "LongT5ForConditionalGeneration",
            "flax": "FlaxLongT5ForConditionalGeneration",
        },
        limits=t5_limits,
        notices=CLIP,
        sides=encoder_alone(whole, "LongT5"),
    ),
    defaults={
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "feed_forward_proj": "relu",
        "encoder_attention_type": "local",
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    },
    aliases=T5_ALIASES,
)
