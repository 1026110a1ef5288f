"""UMT5: mT5 with a table of distances in every block, which PyTorch alone has.

Source: transformers 4.57.6, models/umt5.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._t5 import T5_ALIASES, encoder_alone, t5_whole
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module


def whole(c: Config) -> Iterator[Module]:
    """`UMT5ForConditionalGeneration`."""
    return t5_whole(c, every=True)


FAMILY = Family(
    model_type="umt5",
    whole=Whole(
        whole,
        {"pytorch": "UMT5ForConditionalGeneration"},
        sides=encoder_alone(whole, "UMT5"),
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
        "tie_word_embeddings": True,
    },
    aliases=T5_ALIASES,
)
