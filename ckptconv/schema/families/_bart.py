"""BART's decoder layer, which XGLM has as well, with its norms elsewhere in the order."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.family import Twin
from ckptconv.schema.vocabulary import Module, linear, norm, part, under

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")

BART_TWINS = {f"encoder_attn.{name}": Twin(f"self_attn.{name}") for name in PROJECTIONS} | {
    "encoder_attn_layer_norm": Twin("self_attn_layer_norm")
}
"""A cross-attention has the modules of the self-attention beside it."""


def bart_attention(name: str, hidden: int) -> Iterator[Module]:
    """`BartAttention` and its norm."""
    yield from under(name, (linear(one, hidden, hidden) for one in PROJECTIONS))
    yield norm(f"{name}_layer_norm", hidden)


def bart_layer(hidden: int, inner: int, *, cross: bool) -> Iterator[Module]:
    """`BartDecoderLayer`."""
    yield from bart_attention("self_attn", hidden)
    if cross:
        yield from part("cross-attention", bart_attention("encoder_attn", hidden))
    yield linear("fc1", inner, hidden)
    yield linear("fc2", hidden, inner)
    yield norm("final_layer_norm", hidden)
