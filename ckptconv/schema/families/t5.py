"""T5 of one piece: v1.0 with its head tied, and v1.1 and flan with gates and a head of their own.

Source: transformers 4.57.6, models/t5.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._t5 import CLIP, T5_ALIASES, encoder_alone, t5_limits, t5_whole
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module


def whole(c: Config) -> Iterator[Module]:
    """`T5ForConditionalGeneration`."""
    return t5_whole(c)


FAMILY = Family(
    model_type="t5",
    whole=Whole(
        whole,
        {
            "pytorch": "T5ForConditionalGeneration",
            "tf": "TFT5ForConditionalGeneration",
            "flax": "FlaxT5ForConditionalGeneration",
        },
        limits=t5_limits,
        notices=CLIP,
        sides=encoder_alone(whole, "T5"),
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
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    },
    aliases=T5_ALIASES,
)
