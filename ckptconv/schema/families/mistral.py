"""Mistral, as an encoder: Llama's stack, with a window of attention; its head has no cross-attention.

Source: transformers 4.57.6, models/mistral/modeling_mistral.py, modeling_tf_mistral.py, modeling_flax_mistral.py.

TF's class attends to everything whatever the window. Flax's window is one token wider than PyTorch's, and where there
is none, a token attends to nothing but itself. All agree where the window holds every position.
"""

from __future__ import annotations

from collections.abc import Mapping

from ckptconv.base.strict_json import in_words
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.families._llama import THETA, head_limits, llama_stack, rotation_limits
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import NamingName


def window_limits(c: Config) -> dict[NamingName, str]:
    """The window of attention, where it is not as good as none."""
    window = c.get("sliding_window")
    if window is None:
        return {
            "flax": "'sliding_window' is null, for which the Flax class lets a token attend to itself alone"
        }
    if c.size("sliding_window") >= c.size("max_position_embeddings"):
        return {}
    return {
        "tf": f"'sliding_window' is {in_words(window)}, but the TF class attends to everything",
        "flax": f"'sliding_window' is {in_words(window)}, but the Flax class attends to one token more",
    }


def limits(c: Config) -> Mapping[NamingName, str]:
    """What the TF and Flax classes do not read, or read otherwise."""
    return activation(c) | rotation_limits(c) | head_limits(c) | window_limits(c)


FAMILY = Family(
    model_type="mistral",
    base="model",
    main_layer="model",
    encoder=Encoder(
        llama_stack,
        {"pytorch": "MistralModel", "tf": "TFMistralModel", "flax": "FlaxMistralModel"},
        limits=limits,
    ),
    defaults={
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "head_dim": None,
        "hidden_act": "silu",
        "rope_theta": THETA,
        "sliding_window": 4096,
    },
)
