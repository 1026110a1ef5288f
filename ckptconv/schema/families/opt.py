"""OPT, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/opt/modeling_opt.py, modeling_tf_opt.py, modeling_flax_opt.py.

`AutoModel` builds `OPTModel`, which holds the stack as `decoder`. The table of positions has two rows more than
positions, which all classes skip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import PROJECTIONS
from ckptconv.schema.families._blocks import activation, numbered_layers, only
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    embedding,
    linear,
    norm,
    under,
    word_embedding,
)

OFFSET = 2
"""Of positions in their table."""


def layer(hidden: int, inner: int, *, bias: bool) -> Iterator[Module]:
    """`OPTDecoderLayer`."""
    yield from under("self_attn", (linear(name, hidden, hidden, bias=bias) for name in PROJECTIONS))
    yield norm("self_attn_layer_norm", hidden)
    yield linear("fc1", inner, hidden, bias=bias)
    yield linear("fc2", hidden, inner, bias=bias)
    yield norm("final_layer_norm", hidden)


def stack(c: Config) -> Iterator[Module]:
    """`OPTDecoder`."""
    hidden = c.size("hidden_size")
    once = layer(hidden, c.size("ffn_dim"), bias=c.flag("enable_bias", default=True))
    yield word_embedding("embed_tokens", c.size("vocab_size"), hidden)
    yield embedding("embed_positions", c.size("max_position_embeddings") + OFFSET, hidden)
    yield from numbered_layers("layers", c.size("num_hidden_layers"), once)
    if c.flag("do_layer_norm_before", default=True) and not c.flag("_remove_final_layer_norm"):
        yield norm("final_layer_norm", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`OPTModel`."""
    yield from under("decoder", stack(c))


def limits(c: Config) -> Mapping[NamingName, str]:
    """What TF and Flax have always, what PyTorch crashes with, and the activation."""
    reasons = activation(c, "activation_function")
    reasons |= only(c, "enable_bias", True, "these classes have biases always")
    reasons |= only(
        c, "layer_norm_elementwise_affine", True, "these classes have gains and offsets always"
    )
    if c.size("word_embed_proj_dim") != c.size("hidden_size"):
        why = "'word_embed_proj_dim' is not the hidden size, with which `EncoderDecoderModel` itself does not run"
        reasons |= {"tf": why, "flax": why}
    return reasons


FAMILY = Family(
    model_type="opt",
    base="model",
    main_layer="model",
    encoder=Encoder(
        encoder, {"pytorch": "OPTModel", "tf": "TFOPTModel", "flax": "FlaxOPTModel"}, limits=limits
    ),
    defaults={
        "vocab_size": 50272,
        "hidden_size": 768,
        "word_embed_proj_dim": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "ffn_dim": 3072,
        "max_position_embeddings": 2048,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "activation_function": "relu",
        "pad_token_id": 1,
    },
    positions="mask",
)
