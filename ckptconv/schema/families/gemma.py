"""Gemma, as an encoder: Llama's stack with a head size of its own; its head has no cross-attention.

Source: transformers 4.57.6, models/gemma/modeling_gemma.py, modeling_flax_gemma.py.

PyTorch reads the activation from `hidden_act`, Flax from `hidden_activation`, and without one takes the tanh
approximation of gelu.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import in_words
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.families._llama import THETA, llama_stack, rotation_limits
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, NamingName

APPROXIMATE = "gelu_pytorch_tanh"


def encoder(c: Config) -> Iterator[Module]:
    """`GemmaModel`."""
    return llama_stack(c, bias=c.flag("attention_bias"))


def limits(c: Config) -> Mapping[NamingName, str]:
    """What the Flax class does not read, or reads elsewhere."""
    reasons = activation(c) | rotation_limits(c)
    read = c.get("hidden_activation") or APPROXIMATE
    if read != c.text("hidden_act"):
        reasons["flax"] = (
            f"'hidden_act' is {c.text('hidden_act')!a}, but the Flax class computes {in_words(read)}"
        )
    return reasons


FAMILY = Family(
    model_type="gemma",
    base="model",
    main_layer="model",
    encoder=Encoder(encoder, {"pytorch": "GemmaModel", "flax": "FlaxGemmaModel"}, limits=limits),
    defaults={
        "vocab_size": 256000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "hidden_act": APPROXIMATE,
        "hidden_activation": None,
        "rope_theta": THETA,
        "attention_bias": False,
    },
)
