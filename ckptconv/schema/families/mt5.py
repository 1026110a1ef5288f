"""mT5: T5 v1.1 over another vocabulary.

Source: transformers 4.57.6, models/mt5.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._t5 import CLIP, T5_ALIASES, encoder_alone, t5_limits, t5_whole
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module


def whole(c: Config) -> Iterator[Module]:
    """`MT5ForConditionalGeneration`."""
    return t5_whole(c)


FAMILY = Family(
    model_type="mt5",
    whole=Whole(
        whole,
        {
            "pytorch": "MT5ForConditionalGeneration",
            "tf": "TFMT5ForConditionalGeneration",
            "flax": "FlaxMT5ForConditionalGeneration",
        },
        limits=t5_limits,
        notices=CLIP,
        sides=encoder_alone(whole, "MT5"),
    ),
    defaults={
        "vocab_size": 250112,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 1024,
        "num_layers": 8,
        "num_heads": 6,
        "relative_attention_num_buckets": 32,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    },
    aliases=T5_ALIASES,
)
