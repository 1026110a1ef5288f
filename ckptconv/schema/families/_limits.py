"""What a config may ask for and the TF and Flax classes of transformers 4.57.6 cannot do, or do otherwise.

Each function says it for one setting, as a family's `limits` want it: naming -> the reason.

Source: activations.py, activations_tf.py (`get_tf_activation`), modeling_flax_utils.py (`ACT2FN`). Every function
that a framework has under PyTorch's name was measured over 160,000 inputs from -30 to 30 against float64:
its error is that of PyTorch's own float32, 1e-6 at most. What differs is what a framework has.
"""

from __future__ import annotations

from collections.abc import Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.vocabulary import NamingName

_BOTH = frozenset({"gelu", "gelu_new", "quick_gelu", "relu", "silu", "swish", "tanh"})
ACTIVATIONS: Mapping[NamingName, frozenset[str]] = {
    "tf": _BOTH | {"gelu_10", "gelu_fast", "mish", "sigmoid"},
    "flax": _BOTH | {"gelu_pytorch_tanh"},
}
"""Naming -> the activation functions that it has and computes as PyTorch does."""

EQUAL = {
    "gelu_python": "gelu",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "gelu_accurate": "gelu_new",
}
"""Another name of the same function, to float32 rounding (measured as above): what a user may write instead."""


def activation(c: Config, key: str = "hidden_act") -> dict[NamingName, str]:
    """Name the namings that lack a config's activation function."""
    name = c.text(key)
    hint = f"; {EQUAL[name]!r} is the same function" if name in EQUAL else ""
    return {
        naming: f"{key!r} is {name!a}, which transformers' {naming} classes do not have{hint}"
        for naming, functions in ACTIVATIONS.items()
        if name not in functions
    }


def absolute_positions(c: Config) -> dict[NamingName, str]:
    """Name the namings that add absolute positions whatever the config says: TF and Flax."""
    kind = c.get("position_embedding_type")
    if kind in (None, "absolute"):
        return {}
    why = f"'position_embedding_type' is {kind!a}, but these classes always add absolute positions"
    return {"tf": why, "flax": why}


def only(c: Config, key: str, value: bool, why: str) -> dict[NamingName, str]:
    """Name TF and Flax where a switch is not what their classes take it for."""
    flag = c.flag(key, default=value)
    return (
        {}
        if flag is value
        else dict.fromkeys(("tf", "flax"), f"{key!r} is {str(flag).lower()}, but {why}")
    )


def not_causal(c: Config) -> dict[NamingName, str]:
    """Name TF and Flax where an encoder is to look back only, as PyTorch does by `is_decoder`, and they do not."""
    return only(c, "is_decoder", False, "this class always sees the whole text")


def bert_limits(c: Config) -> dict[NamingName, str]:
    """BERT's and its relatives'."""
    return activation(c) | absolute_positions(c)


def padding_is_one(c: Config) -> dict[NamingName, str]:
    """Name TF where its class takes 1 for the padding token, after which positions count, whatever the config says."""
    pad = c.get("pad_token_id")
    why = f"'pad_token_id' is {pad}, but this class takes it for 1 and counts positions from there"
    return {} if pad == 1 else {"tf": why}


def roberta_limits(c: Config) -> dict[NamingName, str]:
    """RoBERTa's and its relatives'."""
    return bert_limits(c) | padding_is_one(c)
