"""ConvBERT, as an encoder: half of BERT's heads give way to convolutions whose kernels depend on the tokens.

Source: transformers 4.57.6, models/convbert/modeling_convbert.py, modeling_tf_convbert.py; there is no Flax class.
Irregular: no pooler; `embeddings_project` exists where the widths differ; with `num_groups` the feed-forward pair
is block-diagonal. TF takes the size of a head from the number of heads before their reduction, which is PyTorch's
only where half of them remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation, bert_embeddings, not_causal
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    grouped_linear,
    layers,
    linear,
    norm,
    separable_conv,
    under,
)


def heads(c: Config) -> int:
    """Return the number of heads that attend."""
    return max(1, c.size("num_attention_heads") // max(1, c.size("head_ratio")))


def attention(c: Config) -> Iterator[Module]:
    """`ConvBertSelfAttention`, then the output projection with its norm."""
    hidden, kernel = c.size("hidden_size"), c.size("conv_kernel_size")
    half = heads(c) * (hidden // heads(c) // 2)
    for name in ("query", "key", "value", "conv_out_layer"):
        yield linear(f"self.{name}", half, hidden)
    yield separable_conv("self.key_conv_attn_layer", half, hidden, kernel)
    yield linear("self.conv_kernel_layer", heads(c) * kernel, half)
    yield linear("output.dense", hidden, hidden)
    yield norm("output.LayerNorm", hidden)


def dense(path: str, out: int, inp: int, groups: int) -> Module:
    """A dense layer, or as many small ones as there are groups."""
    return linear(path, out, inp) if groups == 1 else grouped_linear(path, out, inp, groups)


def layer(c: Config) -> Iterator[Module]:
    """`ConvBertLayer`."""
    hidden, inner, groups = (
        c.size("hidden_size"),
        c.size("intermediate_size"),
        max(1, c.size("num_groups")),
    )
    yield from under("attention", attention(c))
    yield dense("intermediate.dense", inner, hidden, groups)
    yield dense("output.dense", hidden, inner, groups)
    yield norm("output.LayerNorm", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`ConvBertModel`."""
    hidden, width = c.size("hidden_size"), c.size("embedding_size")
    yield from under("embeddings", bert_embeddings(c, width))
    if width != hidden:
        yield linear("embeddings_project", hidden, width)
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c))


def limits(c: Config) -> Mapping[NamingName, str]:
    """Activations that a framework lacks, a causal encoder, and numbers of heads that TF takes for others."""
    reasons = activation(c) | not_causal(c)
    if c.size("num_attention_heads") != 2 * heads(c):
        reasons["tf"] = (
            "TF's attention is right where 'head_ratio' leaves half of the heads, and nowhere else"
        )
    return reasons


FAMILY = Family(
    model_type="convbert",
    base="convbert",
    main_layer="convbert",
    encoder=Encoder(encoder, {"pytorch": "ConvBertModel", "tf": "TFConvBertModel"}, limits=limits),
    defaults={
        "vocab_size": 30522,
        "embedding_size": 768,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "head_ratio": 2,
        "conv_kernel_size": 9,
        "num_groups": 1,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 1,
    },
)
