"""DeBERTa v2 and v3: like DeBERTa, with layers of their own for query, key and value, and distances in buckets.

Source: transformers 4.57.6, models/deberta_v2/modeling_deberta_v2.py, modeling_tf_deberta_v2.py. Irregular: with
`share_att_key` the projections of content serve for distances too; else they are called otherwise in TF, which is
where `from_pt=True` loses them; TF's main layer is called `deberta` all the same. There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, frexp, log
from struct import pack, unpack

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.families._deberta import (
    DEBERTA_DEFAULTS,
    deberta_embeddings,
    deberta_limits,
    distances,
    longest_distance,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, NamingName, convolution, layers, linear, norm, under


def attention(c: Config) -> Iterator[Module]:
    """`DebertaV2Attention`."""
    hidden = c.size("hidden_size")
    for name in ("query_proj", "key_proj", "value_proj"):
        yield linear(f"self.{name}", hidden, hidden)
    if c.flag("relative_attention") and not c.flag("share_att_key"):
        if "c2p" in c.words("pos_att_type"):
            yield from under("self.pos_key_proj", [linear("", hidden, hidden)], tf="self.pos_proj")
        if "p2c" in c.words("pos_att_type"):
            yield from under(
                "self.pos_query_proj", [linear("", hidden, hidden)], tf="self.pos_q_proj"
            )
    yield linear("output.dense", hidden, hidden)
    yield norm("output.LayerNorm", hidden)


def layer(c: Config) -> Iterator[Module]:
    """`DebertaV2Layer`."""
    hidden, intermediate = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("attention", attention(c))
    yield linear("intermediate.dense", intermediate, hidden)
    yield linear("output.dense", hidden, intermediate)
    yield norm("output.LayerNorm", hidden)


def buckets(c: Config) -> int:
    """Return how many distances to one side are told apart."""
    count = c.get("position_buckets")
    return count if isinstance(count, int) and count > 0 else longest_distance(c)


def kernel_size(c: Config) -> int:
    """Return the length of the convolution beside the first layer; 0: there is none."""
    return 0 if c.get("conv_kernel_size") is None else c.size("conv_kernel_size")


def encoder(c: Config) -> Iterator[Module]:
    """`DebertaV2Model`, which has no pooler."""
    hidden = c.size("hidden_size")
    yield from under("embeddings", deberta_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c))
    if c.flag("relative_attention"):
        yield from distances(c, buckets(c))
    if "layer_norm" in c.words("norm_rel_ebd"):
        yield norm("encoder.LayerNorm", hidden)
    if kernel_size(c):
        yield convolution("encoder.conv.conv", hidden, hidden, kernel_size(c))
        yield norm("encoder.conv.LayerNorm", hidden)


def buckets_apart(count: int, longest: int) -> bool:
    """Tell whether TF may put the longest distance into another bucket than PyTorch.

    Both divide log(q) by log(q), q = (longest - 1) / middle, and round the quotient up. PyTorch takes both
    in float32, so the quotient is 1. TF takes the upper one in float64 and rounds it, the lower one in float32:
    where they differ by a bit, the bucket is the next one. Of 1,116 pairs of sizes 176 came out apart, all of
    which are among the 252 that this names; 256 buckets for 512 positions, as published, are not.
    """
    middle = count // 2
    if middle == 0 or longest - 1 <= middle:
        return False
    upper = _float32(log((longest - 1) / middle))
    exact = log(_float32((longest - 1) / middle))
    lower = _float32(exact)
    ulp = 2.0 ** (frexp(lower)[1] - 24)
    # A float32 logarithm may round either way where the exact one lies near the middle of two numbers.
    either = [lower] + [
        lower + sign * ulp for sign in (-1, 1) if sign * (exact - lower) > 0.4 * ulp
    ]
    return any(
        ceil(_float32(_float32(upper / step) * (middle - 1))) != middle - 1 for step in either
    )


def _float32(number: float) -> float:
    return float(unpack("f", pack("f", number))[0])


def limits(c: Config) -> dict[NamingName, str]:
    """What TF's class lacks."""
    reasons = deberta_limits(c)
    count, longest = c.get("position_buckets"), longest_distance(c)
    if (
        c.flag("relative_attention")
        and isinstance(count, int)
        and count > 0
        and buckets_apart(count, longest)
    ):
        reasons["tf"] = (
            f"'position_buckets' is {count} for distances up to {longest}: this class rounds the longest distance"
            " into another bucket than PyTorch"
        )
    if kernel_size(c):
        reasons |= activation(c, "conv_act") if c.get("conv_act") is not None else {}
        if c.get("conv_groups") not in (None, 1):
            reasons["tf"] = "'conv_groups' is not 1, but this class has one group always"
    return reasons


FAMILY = Family(
    model_type="deberta-v2",
    base="deberta",
    main_layer="deberta",
    encoder=Encoder(
        encoder, {"pytorch": "DebertaV2Model", "tf": "TFDebertaV2Model"}, limits=limits
    ),
    defaults={
        **DEBERTA_DEFAULTS,
        "vocab_size": 128100,
        "hidden_size": 1536,
        "num_hidden_layers": 24,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
    },
)
