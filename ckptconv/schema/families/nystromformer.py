"""Nystromformer: BERT whose attention goes through a few landmarks, as an encoder.

Source: transformers 4.57.6, models/nystromformer. PyTorch alone has a class. The table of positions has two rows more
than positions.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, bert_layer
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    buffer,
    embedding,
    layers,
    norm,
    parameter,
    under,
    word_embedding,
)

OFFSET = 2
"""Of positions in their table."""


def offset_embeddings(c: Config) -> Iterator[Module]:
    """BERT's embeddings, with positions that count from two."""
    hidden = c.size("hidden_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), hidden)
    yield embedding("position_embeddings", c.size("max_position_embeddings") + OFFSET, hidden)
    yield embedding("token_type_embeddings", c.size("type_vocab_size"), hidden)
    yield norm("LayerNorm", hidden)
    yield buffer("position_ids", REBUILT)
    yield buffer("token_type_ids", REBUILT)


def encoder(c: Config) -> Iterator[Module]:
    """`NystromformerModel`, which has no pooler; its convolution sees each head by itself."""
    layer = [*bert_layer(c.size("hidden_size"), c.size("intermediate_size"), cross=False)]
    if c.get("conv_kernel_size") is not None:
        sizes = {
            "head": c.size("num_attention_heads"),
            "one": 1,
            "kernel": c.size("conv_kernel_size"),
        }
        layer.append(parameter("attention.self.conv.weight", **sizes, wide=1))
    yield from under("embeddings", offset_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)


FAMILY = Family(
    model_type="nystromformer",
    base="nystromformer",
    main_layer="nystromformer",
    encoder=Encoder(encoder, {"pytorch": "NystromformerModel"}),
    defaults={
        "vocab_size": 30000,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 510,
        "type_vocab_size": 2,
        "conv_kernel_size": 65,
        "pad_token_id": 1,
    },
)
