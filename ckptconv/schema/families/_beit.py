"""BEiT's stack, which data2vec for images has as well: no key bias, layer scales, and positions in several ways.

Source: transformers 4.57.6, models/beit/modeling_beit.py, modeling_flax_beit.py,
models/data2vec/modeling_data2vec_vision.py, modeling_tf_data2vec_vision.py. With mean pooling the last norm is the
pooler's, and read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import (
    UNREAD_MASK,
    VIT_DEFAULTS,
    grid,
    patches,
    position_table,
    token,
    vit_attention,
)
from ckptconv.schema.tensors import Module, layers, linear, norm, parameter, under, zeros_if_absent

SPECIAL = 3
"""Distances to and from the first token, and its own."""


def distances(c: Config) -> Iterator[Module]:
    """The table of distances between patches, one column a head."""
    rows, columns = grid(c)
    count = (2 * rows - 1) * (2 * columns - 1) + SPECIAL
    path = "relative_position_bias.relative_position_bias_table"
    yield parameter(path, distance=count, head=c.size("num_attention_heads"))


def layer(c: Config) -> Iterator[Module]:
    """`BeitLayer`."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    attention = [*vit_attention(c, biases={"query": True, "key": False, "value": True})]
    if c.flag("use_relative_position_bias"):
        attention += under("attention", distances(c))
    yield from under("attention", attention)
    yield linear("intermediate.dense", inner, hidden)
    yield linear("output.dense", hidden, inner)
    yield norm("layernorm_before", hidden)
    yield norm("layernorm_after", hidden)
    if c.number("layer_scale_init_value") > 0:
        yield parameter("lambda_1", dim=hidden)
        yield parameter("lambda_2", dim=hidden)


def beit_stack(c: Config, *, pooled: bool) -> Iterator[Module]:
    """`BeitModel`. Args: pooled: whether `AutoModel` gives it a pooler, which then has the norm."""
    yield token(c, "embeddings.cls_token")
    if c.flag("use_mask_token"):
        yield from zeros_if_absent([token(c, "embeddings.mask_token")], UNREAD_MASK)
    if c.flag("use_absolute_position_embeddings"):
        yield from under("embeddings", [position_table(c, 1)])
    yield from under("embeddings", [patches(c)])
    if c.flag("use_shared_relative_position_bias"):
        yield from under("encoder", distances(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c))
    if not c.flag("use_mean_pooling", default=True):
        yield norm("layernorm", c.size("hidden_size"))
    elif pooled:
        yield norm("pooler.layernorm", c.size("hidden_size"))


BEIT_DEFAULTS: Mapping[str, Json] = {
    **{key: value for key, value in VIT_DEFAULTS.items() if key != "qkv_bias"},
    "layer_scale_init_value": 0.1,
    "use_mask_token": False,
    "use_absolute_position_embeddings": False,
    "use_relative_position_bias": False,
    "use_shared_relative_position_bias": False,
    "use_mean_pooling": True,
}
