"""What image encoders of ViT's kind share: patches that one convolution projects, a first token, and BERT-like layers.

Source: transformers 4.57.6, models/vit, deit, beit, data2vec (vision), dinov2, vit_msn, ijepa.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
    conv2d,
    layers,
    linear,
    norm,
    parameter,
    under,
    zeros_if_absent,
    zeros_in,
)

UNREAD_POOLER = "the composite never reads the pooler"
NO_BIAS = "this class has biases always, and those of such a model are zero"
UNREAD_MASK = "the composite never masks a patch"


def grid(c: Config) -> tuple[int, int]:
    """Return the number of patches along each side of an image."""
    (high, wide), (tall, broad) = c.extent("image_size"), c.extent("patch_size")
    return high // max(1, tall), wide // max(1, broad)


def patch_count(c: Config) -> int:
    """Return the number of patches of an image."""
    rows, columns = grid(c)
    return rows * columns


def patches(c: Config, path: str = "patch_embeddings.projection") -> Module:
    """The projection of each patch to the model's width."""
    return conv2d(path, c.size("hidden_size"), c.size("num_channels"), *c.extent("patch_size"))


def token(c: Config, path: str) -> Module:
    """A learned vector among the patches, of shape (1, 1, width)."""
    return parameter(path, one=1, place=1, dim=c.size("hidden_size"))


def position_table(c: Config, more: int) -> Module:
    """Positions of the patches and of `more` tokens before them, of shape (1, places, width)."""
    return parameter(
        "position_embeddings", one=1, place=patch_count(c) + more, dim=c.size("hidden_size")
    )


def vit_attention(c: Config, *, biases: Mapping[str, bool]) -> Iterator[Module]:
    """Query, key, value and output. Args: biases: which of the first three have one."""
    hidden = c.size("hidden_size")
    for name in ("query", "key", "value"):
        yield linear(f"attention.{name}", hidden, hidden, bias=biases[name])
    yield linear("output.dense", hidden, hidden)


def zero_biases(c: Config) -> Iterator[Module]:
    """The biases of query, key and value that TF's class has even where the model has none."""
    for name in ("query", "key", "value"):
        bias = parameter(f"attention.{name}.bias", out=c.size("hidden_size"))
        yield from zeros_in("tf", [bias], NO_BIAS)


def vit_layer(c: Config, beside: Modules = ()) -> Iterator[Module]:
    """`ViTLayer`. Args: beside: what else its attention has."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    bias = c.flag("qkv_bias", default=True)
    attention = vit_attention(c, biases=dict.fromkeys(("query", "key", "value"), bias))
    yield from under("attention", (*attention, *beside))
    yield linear("intermediate.dense", inner, hidden)
    yield linear("output.dense", hidden, inner)
    yield norm("layernorm_before", hidden)
    yield norm("layernorm_after", hidden)


def vit_stack(c: Config, *tokens: str, tf: bool = True, pooler: bool = True) -> Iterator[Module]:
    """`ViTModel`.

    Args: tokens: vectors before the patches. tf: whether TF has a class, whose biases are always there.
    """
    for name in tokens:
        yield token(c, f"embeddings.{name}")
    yield from under("embeddings", [position_table(c, len(tokens)), patches(c)])
    without = tf and not c.flag("qkv_bias", default=True)
    layer = vit_layer(c, zero_biases(c) if without else ())
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)
    yield norm("layernorm", c.size("hidden_size"))
    if pooler:
        yield from dense_pooler(c)


def dense_pooler(c: Config) -> Iterator[Module]:
    """The dense layer over the first state, which the composite never reads."""
    hidden = c.size("hidden_size")
    out = hidden if c.get("pooler_output_size") is None else c.size("pooler_output_size")
    yield from zeros_if_absent([linear("pooler.dense", out, hidden)], UNREAD_POOLER)


def image_limits(c: Config) -> dict[NamingName, str]:
    """What the classes of TF and Flax lack: activation functions, and images that are not square."""
    limits = activation(c)
    if isinstance(c.get("image_size"), list):
        why = "'image_size' is a list, with which this class crashes"
        limits = {"tf": why, "flax": why, **limits}
    elif isinstance(c.get("patch_size"), list):
        limits = {"flax": "'patch_size' is a list, with which this class crashes", **limits}
    return limits


VIT_DEFAULTS: Mapping[str, Json] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "qkv_bias": True,
}
