"""Pegasus-X: Pegasus over blocks, with a few global tokens, which PyTorch alone has.

Source: transformers 4.57.6, models/pegasus_x. Positions are computed and never stored.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    PROJECTIONS,
    Style,
    bart_layer,
    bart_whole,
)
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module, Modules, embedding, norm, part

STYLE = Style(lambda _c: (), last_norm=True, biased=False)


def layer(c: Config, side: str) -> Iterator[Module]:
    """A layer of one side; the encoder's has a norm for its global tokens."""
    hidden, cross = c.size("d_model"), side == "decoder"
    biases = dict.fromkeys(PROJECTIONS, False)
    yield from bart_layer(hidden, c.size(f"{side}_ffn_dim"), cross=cross, biases=biases)
    if not cross:
        yield norm("global_self_attn_layer_norm", hidden)


stacks = bart_whole(STYLE, layer)


def whole(c: Config) -> Iterator[Module]:
    """`PegasusXForConditionalGeneration`."""
    yield from stacks(c)
    table: Modules = [
        embedding("model.encoder.embed_global", c.size("num_global_tokens"), c.size("d_model"))
    ]
    yield from part("encoder", table)


FAMILY = Family(
    model_type="pegasus_x",
    whole=Whole(whole, {"pytorch": "PegasusXForConditionalGeneration"}),
    defaults={
        **BART_DEFAULTS,
        "vocab_size": 96103,
        "encoder_layers": 16,
        "decoder_layers": 16,
        "max_position_embeddings": 16384,
        "num_global_tokens": 32,
        "pad_token_id": 0,
    },
    aliases=BART_ALIASES,
)
