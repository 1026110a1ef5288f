"""CTRL, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/ctrl/modeling_ctrl.py, modeling_tf_ctrl.py.

Positions are sines, which PyTorch makes in float32 and TF in float64 and rounds: no tensor holds them. The two are
apart by PyTorch's rounding of the angles, 8e-7 as RMS over 250 positions. The two linear layers of `ffn` are 0 and 2
of a `Sequential` in PyTorch, and in TF two layers with these names, which are not spelled like numbers of a list.
The norms in PyTorch's layers always add 1e-6 to the variance, TF's what the config says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, NamingName, embedding, layers, linear, norm, under

EPSILON = 1e-6
"""Of the norms in PyTorch's `EncoderLayer`, whatever the config says."""


def layer(hidden: int, inner: int) -> Iterator[Module]:
    """`EncoderLayer`."""
    for name in ("Wq", "Wk", "Wv", "dense"):
        yield linear(f"multi_head_attention.{name}", hidden, hidden)
    yield from under("ffn.0", [linear("", inner, hidden)], tf="ffn/0")
    yield from under("ffn.2", [linear("", hidden, inner)], tf="ffn/2")
    yield norm("layernorm1", hidden)
    yield norm("layernorm2", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`CTRLModel`."""
    hidden = c.size("hidden_size")
    yield embedding("w", c.size("vocab_size"), hidden)
    yield from layers("h", c.size("n_layer"), layer(hidden, c.size("dff")))
    yield norm("layernorm", hidden)


def limits(c: Config) -> Mapping[NamingName, str]:
    """TF's layers read an epsilon that PyTorch's do not."""
    if c.get("layer_norm_epsilon") == EPSILON:
        return {}
    return {
        "tf": f"'layer_norm_epsilon' is not {EPSILON}, which PyTorch's layers have always and TF's do not"
    }


FAMILY = Family(
    model_type="ctrl",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(encoder, {"pytorch": "CTRLModel", "tf": "TFCTRLModel"}, limits=limits),
    defaults={
        "vocab_size": 246534,
        "n_positions": 256,
        "n_embd": 1280,
        "dff": 8192,
        "n_layer": 48,
        "n_head": 16,
        "layer_norm_epsilon": 1e-6,
    },
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    },
)
