"""Funnel: blocks of layers, each with half as many states as the one before, and a decoder that restores the length.

Source: transformers 4.57.6, models/funnel/modeling_funnel.py, modeling_tf_funnel.py. Irregular: the query has no
bias; the weights of relative positions are bare tensors with an axis a head; a repeated layer is stored once; positions
are sines that no tensor holds. `EncoderDecoderModel` asks the config's `architectures` which of two classes it is;
the one without a decoder answers with fewer states than tokens, which fits no attention mask. There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def attention(c: Config) -> Iterator[Module]:
    """`FunnelRelMultiheadAttention`: to content (w), positions (r) and segments (s)."""
    hidden, heads, dim = c.size("hidden_size"), c.size("num_attention_heads"), c.size("d_head")
    yield linear("q_head", heads * dim, hidden, bias=False)
    yield linear("k_head", heads * dim, hidden)
    yield linear("v_head", heads * dim, hidden)
    for name in ("r_w_bias", "r_r_bias", "r_s_bias"):
        yield parameter(name, head=heads, dim=dim)
    yield parameter("r_kernel", hidden=hidden, head=heads, dim=dim)
    yield parameter("seg_embed", same=2, head=heads, dim=dim)
    yield linear("post_proj", hidden, heads * dim)
    yield norm("layer_norm", hidden)


def layer(c: Config) -> Iterator[Module]:
    """`FunnelLayer`."""
    hidden, inner = c.size("hidden_size"), c.size("d_inner")
    yield from under("attention", attention(c))
    yield linear("ffn.linear_1", inner, hidden)
    yield linear("ffn.linear_2", hidden, inner)
    yield norm("ffn.layer_norm", hidden)


def is_base(c: Config) -> bool:
    """Tell whether the config asks for `FunnelBaseModel`, which has no decoder."""
    return "funnelbasemodel" in c.words("architectures")


def encoder(c: Config) -> Iterator[Module]:
    """`FunnelModel`, or `FunnelBaseModel`."""
    hidden = c.size("hidden_size")
    yield word_embedding("embeddings.word_embeddings", c.size("vocab_size"), hidden)
    yield norm("embeddings.layer_norm", hidden)
    for block, count in enumerate(c.sizes("block_sizes")):
        yield from layers(f"encoder.blocks.{block}", count, layer(c))
    if not is_base(c):
        yield from layers("decoder.layers", c.size("num_decoder_layers"), layer(c))


def limits(c: Config) -> dict[NamingName, str]:
    """What TF lacks, and the class that no composite can use with a mask."""
    why = "'FunnelBaseModel' answers with fewer states than tokens, and the decoder's attention mask does not fit them"
    return activation(c) | ({"tf": why} if is_base(c) else {})


FAMILY = Family(
    model_type="funnel",
    base="funnel",
    main_layer="funnel",
    encoder=Encoder(encoder, {"pytorch": "FunnelModel", "tf": "TFFunnelModel"}, limits=limits),
    defaults={
        "vocab_size": 30522,
        "block_sizes": [4, 4, 4],
        "num_decoder_layers": 2,
        "d_model": 768,
        "n_head": 12,
        "d_head": 64,
        "d_inner": 3072,
        "hidden_act": "gelu_new",
    },
    aliases={"hidden_size": "d_model", "num_attention_heads": "n_head"},
)
