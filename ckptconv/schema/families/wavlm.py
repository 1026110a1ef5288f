"""WavLM: wav2vec2 whose attention gates distances between frames. PyTorch alone has a class.

Source: transformers 4.57.6, models/wavlm. The first layer has the table of distances, and all of them read it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._wav2vec2 import WAV2VEC2_DEFAULTS, adapter, wav2vec2_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, embedding, layers, linear, parameter, under

GATES = 8
"""Outputs of the gate of each head."""


def encoder(c: Config) -> Iterator[Module]:
    """`WavLMModel`."""
    yield from wav2vec2_stack(c)
    heads = c.size("num_attention_heads")
    table = embedding("rel_attn_embed", c.size("num_buckets"), heads)
    yield from under("encoder.layers.0.attention", [table])
    gate = linear("gru_rel_pos_linear", GATES, c.size("hidden_size") // max(1, heads))
    constant = parameter("gru_rel_pos_const", one=1, head=heads, query=1, key=1)
    gating = under("attention", [constant, gate])
    yield from layers("encoder.layers", c.size("num_hidden_layers"), gating)
    yield from adapter(c)


FAMILY = Family(
    model_type="wavlm",
    base="wavlm",
    main_layer="wavlm",
    encoder=Encoder(encoder, {"pytorch": "WavLMModel"}, reads="samples"),
    defaults={
        **WAV2VEC2_DEFAULTS,
        "num_buckets": 320,
        "add_adapter": False,
        "adapter_kernel_size": 3,
        "adapter_stride": 2,
        "num_adapter_layers": 3,
    },
)
