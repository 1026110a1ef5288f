"""XLNet, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/xlnet/modeling_xlnet.py, modeling_tf_xlnet.py.

The projections are bare tensors of three axes, (width, head, head size), in both frameworks and without biases;
the output projection is stored like the others and applied the other way round. `mask_emb` is read in
pretraining only, and the segments' tables wherever token types are passed, which the composite does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    layers,
    linear,
    norm,
    parameter,
    under,
    word_embedding,
)

SEGMENTS = 2
"""The same segment, or another one."""


def attention(hidden: int, heads: int) -> Iterator[Module]:
    """`XLNetRelativeAttention`."""
    size = hidden // heads
    for name in ("q", "k", "v", "o", "r"):
        yield parameter(name, width=hidden, head=heads, size=size)
    for name in ("r_r_bias", "r_s_bias", "r_w_bias"):
        yield parameter(name, head=heads, size=size)
    yield parameter("seg_embed", segment=SEGMENTS, head=heads, size=size)
    yield norm("layer_norm", hidden)


def layer(hidden: int, inner: int, heads: int) -> Iterator[Module]:
    """`XLNetLayer`."""
    yield from under("rel_attn", attention(hidden, heads))
    yield norm("ff.layer_norm", hidden)
    yield linear("ff.layer_1", inner, hidden)
    yield linear("ff.layer_2", hidden, inner)


def encoder(c: Config) -> Iterator[Module]:
    """`XLNetModel`."""
    hidden = c.size("hidden_size")
    yield word_embedding("word_embedding", c.size("vocab_size"), hidden)
    yield parameter("mask_emb", query=1, batch=1, width=hidden)
    yield from layers(
        "layer", c.size("n_layer"), layer(hidden, c.size("d_inner"), c.size("n_head"))
    )


def limits(c: Config) -> Mapping[NamingName, str]:
    """The activation, and attention in one direction, which PyTorch cannot run and nobody could compare."""
    reasons = activation(c, "ff_activation")
    if c.text("attn_type") != "bi":
        reasons["tf"] = (
            "'attn_type' is not 'bi', with which PyTorch's class crashes on several rows with a mask"
        )
    return reasons


FAMILY = Family(
    model_type="xlnet",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(
        encoder,
        {"pytorch": "XLNetModel", "tf": "TFXLNetModel"},
        limits=limits,
    ),
    defaults={
        "vocab_size": 32000,
        "d_model": 1024,
        "n_layer": 24,
        "n_head": 16,
        "d_inner": 4096,
        "ff_activation": "gelu",
        "attn_type": "bi",
        "pad_token_id": 5,
    },
    aliases={
        "hidden_size": "d_model",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    token_types=2,
)
