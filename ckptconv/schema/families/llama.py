"""Llama, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/llama/modeling_llama.py, modeling_flax_llama.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation, only
from ckptconv.schema.families._llama import THETA, head_limits, llama_stack, rotation_limits
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, NamingName


def encoder(c: Config) -> Iterator[Module]:
    """`LlamaModel`."""
    return llama_stack(c, bias=c.flag("attention_bias"), mlp_bias=c.flag("mlp_bias"))


def limits(c: Config) -> Mapping[NamingName, str]:
    """What the Flax class does not read."""
    biases = only(c, "mlp_bias", False, "the Flax class has no biases there")
    return activation(c) | rotation_limits(c) | head_limits(c) | biases


FAMILY = Family(
    model_type="llama",
    base="model",
    main_layer="model",
    encoder=Encoder(encoder, {"pytorch": "LlamaModel", "flax": "FlaxLlamaModel"}, limits=limits),
    defaults={
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "rope_theta": THETA,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
    },
)
